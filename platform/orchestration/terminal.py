"""What a sweep prints before it starts and after it ends."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import rich.box
import rich.table
import rich.text
from rich.console import Console

from orchestration.progress import duration
from orchestration.sweep import Plan

if TYPE_CHECKING:  # pandas and matplotlib come with them
    from analysis.report import Summary
    from analysis.tables import Table


def make_console() -> Console:
    """A terminal of the user's width; 120 columns where there is none, so that logs keep their tables whole."""
    # Ray's chatter is caught by redirecting sys.stdout; the console keeps the real one.
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else 120)


def print_plan(plan: Plan, console: Console) -> None:
    """What will run, on what, and for how long."""
    space, design = plan.space, plan.space.design
    grid = rich.table.Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column()
    cells = len(list(design.cells()))
    baselines = f" + {len(design.baselines)} baselines ({', '.join(design.baselines)})" if design.baselines else ""
    waiting = sum(len(trial.arms) for trial in plan.trials)
    grid.add_row("sweep", f"{space.name} ({design.kind}, {space.trainable})")
    grid.add_row("components", ", ".join(design.components))
    grid.add_row("arms", f"{len(plan.arms)} = ({cells} cells{baselines}) x {design.blocks} blocks")
    if waiting < len(plan.arms):
        grid.add_row("", f"{len(plan.arms) - waiting} have a result already, {waiting} to run")
    grid.add_row("trials", f"{len(plan.trials)} of up to {_largest(plan)} arms, {plan.slots} at a time")
    if plan.teacher:
        state = "reused" if plan.teacher.trained else f"to be trained, about {duration(plan.teacher_seconds)}"
        grid.add_row("teacher", f"{plan.teacher.key}, {state}")
    for claim in design.claims:
        grid.add_row("claim", claim)
    grid.add_row("time", f"about {duration(plan.teacher_seconds + plan.arm_seconds)} on this machine, start-up aside")
    grid.add_row("results", plan.run.root)
    console.print(grid, highlight=False)


def print_outcome(plan: Plan, counts: Mapping[str, int], summary: Summary, seconds: float, console: Console) -> None:
    """The table, what failed, and where everything lies."""
    for table in (summary.attribution, *summary.cells, summary.claims):
        if table.rows:
            console.print(_rendered(table, leave_out={*plan.space.design.components, "per-block check"}))
    for sentence in summary.answers:
        console.print(sentence, highlight=False)
    done, total = counts["done"], len(plan.arms)
    console.print(f"{done} of {total} arms done in {duration(seconds)}.", highlight=False)
    if done < total:
        others = ", ".join(f"{number} {status}" for status, number in counts.items() if status != "done" and number)
        console.print(f"[bold red]{others}[/]; see the column `error` of {plan.run.path('arms.parquet')}")
    console.print(f"Report:  {plan.run.path('report/index.html')}", highlight=False, soft_wrap=True)
    console.print(f"Results: {plan.run.root}", highlight=False, soft_wrap=True)


def print_interrupted(plan: Plan, storage: str | None, console: Console) -> None:
    """How to go on."""
    name = plan.run.root.rpartition("/")[2]
    command = ["python", sys.argv[0], "--resume", name, *(["--storage", storage] if storage else [])]
    console.print("Interrupted. Finished arms are kept. To go on:")
    console.print(f"  {shlex.join(command)}", highlight=False, soft_wrap=True)


def _largest(plan: Plan) -> int:
    return max((len(trial.arms) for trial in plan.trials), default=0)


def _rendered(table: Table, leave_out: Collection[str]) -> rich.table.Table:
    """`table` for the terminal, without the columns the report has room for."""
    shown = [index for index, column in enumerate(table.columns) if column not in leave_out]
    rendered = rich.table.Table(
        title=table.title, title_justify="left", caption=table.note, caption_justify="left", box=rich.box.SIMPLE_HEAD
    )
    for index in shown:
        words = index < table.text_columns
        rendered.add_column(table.columns[index], justify="left" if words else "right", no_wrap=index == 0)
    for row in table.rows:
        rendered.add_row(*(rich.text.Text(row[index]) for index in shown))
    return rendered
