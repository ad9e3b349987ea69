"""Terminal output of remeasuring finished models, before it starts and after it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import rich.table
from rich.console import Console
from rich.text import Text

from branchwise.orchestration.monitoring.progress import duration
from branchwise.orchestration.planning.measures import MeasurePlan, describe
from branchwise.trainables.runtime.run_folder import Measurements

if TYPE_CHECKING:  # it imports pandas and matplotlib
    from branchwise.analysis.report.build import Summary


def print_measures(plan: MeasurePlan, console: Console) -> None:
    grid = rich.table.Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column()
    for key, text in describe(plan):
        grid.add_row(key, text)
    expected = f"about {duration(plan.seconds)} on this machine, start-up aside"
    grid.add_row("time", "not estimated for GPUs" if plan.space.resources.gpus_per_trial else expected)
    grid.add_row("results", Measurements(plan.run).files.root)
    console.print(grid, highlight=False)


def print_measured(
    plan: MeasurePlan,
    missing: int,
    same: tuple[int, int] | None,
    summary: Summary,
    seconds: float,
    console: Console,
) -> None:
    """`same`: the number of models with the sweep's values, and of those measured as in the sweep."""
    from branchwise.analysis.report.terminal import rich_table

    for table in summary.measures:
        if table.rows:
            console.print(rich_table(table))
    if same is not None:
        console.print(f"As in the sweep: {same[0]} of {same[1]} students equal, bit for bit.", highlight=False)
    console.print(f"{plan.total - missing} of {plan.total} measurements made in {duration(seconds)}.", highlight=False)
    if missing:
        message = f"; see {Measurements(plan.run).work().path('logs')}"
        console.print(Text.assemble((f"{missing} missing", "bold red"), message))
    console.print(f"report: {plan.run.report_path()}", highlight=False, soft_wrap=True)
