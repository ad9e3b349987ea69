"""What a sweep prints before it starts and after it ends."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import rich.table
import yaml
from rich.console import Console

from branchwise.orchestration.designs.knobs import Search, Tuning
from branchwise.orchestration.monitoring.progress import duration
from branchwise.orchestration.planning.plan import Plan
from branchwise.orchestration.space.model import Design, TunedDesign

if TYPE_CHECKING:  # pandas and matplotlib come with them
    from branchwise.analysis.report.build import Summary


def make_console() -> Console:
    """A terminal of the user's width; 120 columns where there is none, so that logs keep their tables whole."""
    # Ray's chatter is caught by redirecting sys.stdout; the console keeps the real one.
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else 120)


def print_plan(plan: Plan, obstacle: str, console: Console) -> None:
    """What will run, on what, and for how long; and the obstacle to it on this machine, where there is one."""
    space, design = plan.space, plan.space.design
    grid = rich.table.Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column()
    grid.add_row("sweep", f"{space.name} ({design.kind}, {space.trainable})")
    for name, text in _tuned(plan, design) if isinstance(design, Tuning) else _ablated(plan, design):
        grid.add_row(name, text)
    if plan.teacher:
        takes = "" if space.resources.gpus_per_trial else f", about {duration(plan.teacher_seconds)}"
        state = "reused" if plan.teacher.trained else f"to be trained{takes}"
        grid.add_row("teacher", f"{plan.teacher.key}, {state}")
    for arm in plan.damaged:
        grid.add_row("damaged", f"arms/{arm}.json; the arm runs again")
    expected = f"about {duration(plan.teacher_seconds + plan.arm_seconds)} on this machine, start-up aside"
    grid.add_row("time", "not estimated for GPUs" if space.resources.gpus_per_trial else expected)
    if obstacle:
        grid.add_row("not here", obstacle)
    grid.add_row("results", plan.run.root)
    console.print(grid, highlight=False)


def _tuned(plan: Plan, design: TunedDesign) -> Iterator[tuple[str, str]]:
    yield "knobs", ", ".join(design.space)
    stopping = (
        "" if design.scheduler == "none" else f", {design.scheduler} at steps {', '.join(map(str, design.rungs))}"
    )
    how = f"by {design.algorithm}{stopping}, {plan.slots} trials at a time"
    if isinstance(design, Search):
        yield "search", f"{design.trials} arms {how}, for the least {', '.join(design.objectives)}"
        yield "confirm", f"the best settings and the space's own on {design.blocks} fresh seeds"
    else:
        cells = len(list(design.cells()))
        yield "components", ", ".join(design.components)
        yield "search", f"{design.trials} arms in each of {cells} cells {how}"
        yield "confirm", f"every cell, tuned and with the space's own settings, on {design.blocks} fresh seeds"
    for constraint in design.constraints:
        yield "constraint", constraint
    for claim in design.claims:
        yield "claim", claim
    if plan.earlier:
        yield "learns from", f"{len(plan.earlier)} arms of {', '.join(design.warm_start)}"


def _ablated(plan: Plan, design: Design) -> Iterator[tuple[str, str]]:
    cells = len(list(design.cells()))
    baselines = f" + {len(design.baselines)} baselines ({', '.join(design.baselines)})" if design.baselines else ""
    waiting = sum(len(trial.arms) for trial in plan.trials)
    yield "components", ", ".join(design.components)
    yield "arms", f"{len(plan.arms)} = ({cells} cells{baselines}) x {design.blocks} blocks"
    if waiting < len(plan.arms):
        yield "", f"{len(plan.arms) - waiting} have a result already, {waiting} to run"
    largest = max((len(trial.arms) for trial in plan.trials), default=0)
    yield "trials", f"{len(plan.trials)} of up to {largest} arms, {plan.slots} at a time"
    for claim in design.claims:
        yield "claim", claim
    for index, sentence in enumerate(_sensitivity(plan, design)):
        yield "" if index else "sees", sentence


def _sensitivity(plan: Plan, design: Design) -> list[str]:
    """What so many blocks can see, by the noise of the nearest earlier run of this storage where there is one."""
    from branchwise.analysis.statistics import power

    local, tree = plan.storage.local, yaml.safe_load(plan.space.resolved())
    earlier = power.earlier_residual_sd(local, tree) if local else None
    residual_sd = earlier.residual_sd if earlier else None
    sentences = power.describe(power.plan(len(design.components), design.blocks, design.kind, residual_sd))
    if earlier:
        other = f" (other {', '.join(earlier.differs)})" if earlier.differs else ""
        sentences.append(f"The noise is that of {earlier.run}{other}: residual SD {earlier.residual_sd:.3f} (log).")
    return sentences


def print_outcome(plan: Plan, counts: Mapping[str, int], summary: Summary, seconds: float, console: Console) -> None:
    """The table, what failed, and where everything lies."""
    from branchwise.analysis.report.terminal import show  # pandas and matplotlib come with it

    show(summary, console, plan.run.path("report/index.html"))
    stopped = f", {counts['stopped']} stopped at a rung" if counts["stopped"] else ""
    console.print(f"{counts['done']} of {plan.total} arms done{stopped} in {duration(seconds)}.", highlight=False)
    lost = {status: number for status, number in counts.items() if status not in ("done", "stopped") and number}
    if lost:
        others = ", ".join(f"{number} {status}" for status, number in lost.items())
        console.print(f"[bold red]{others}[/]; see the column `error` of {plan.run.path('arms.parquet')}")
    console.print(f"results: {plan.run.root}", highlight=False, soft_wrap=True)


def print_interrupted(plan: Plan, storage: str | None, console: Console) -> None:
    """How to go on."""
    if not plan.run.exists("plan.json"):
        console.print("Interrupted before anything was begun.")
        return
    console.print("Interrupted. Finished arms are kept. To go on:")
    console.print(f"  {resuming(plan, storage)}", highlight=False, soft_wrap=True)


def resuming(plan: Plan, storage: str | None) -> str:
    """The command that goes on with the sweep of `plan`."""
    name = plan.run.root.rpartition("/")[2]
    return shlex.join(["python", sys.argv[0], "--resume", name, *(["--storage", storage] if storage else [])])
