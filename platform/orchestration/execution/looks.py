"""Declared looks of a sweep: its cohorts in stages, and the decisions after each stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console

from branchwise.orchestration.planning.plan import Plan
from branchwise.orchestration.run_folder.tables import records, tables_of
from branchwise.orchestration.run_folder.teachers import refresh
from branchwise.trainables.runtime.processes import scratch_folder
from branchwise.trainables.runtime.run_folder import RunFolder
from branchwise.trainables.runtime.storage import storage_at

if TYPE_CHECKING:  # it imports pandas
    from branchwise.analysis.statistics.sequential.looks import LookResults


def results_at(plan: Plan, blocks: int) -> LookResults:
    """Judge the run by the records of its first blocks, as the report will."""
    from branchwise.analysis.records.folder import load_run
    from branchwise.analysis.statistics.findings import analyze_part

    arms = [arm for arm in plan.arms if arm.block < blocks]
    result = records(plan.run)
    rows = [record for arm in arms if (record := result.get(arm.name)) is not None]
    teachers = [refresh(teacher, plan.storage) for teacher in plan.teachers]
    with scratch_folder() as scratch:
        copy = RunFolder(storage_at(scratch), plan.run.name)
        copy.write_space(plan.run.read_space())
        copy.write_plan(plan.run.read_plan())
        copy.write_manifest(plan.run.read_manifest())
        copy.write_tables(tables_of(rows, plan.run.name, plan.space, teachers))
        results = analyze_part(load_run(scratch / plan.run.name)).looks
    assert results is not None  # it is called only for runs with looks
    return results


def facts(results: LookResults) -> dict[str, Any]:
    """The manifest entries of the looks so far; `stopped_after` if a look has stopped the run."""
    looks = [
        {
            "blocks": blocks,
            "arms": arms,
            "decided": [hypothesis.name for hypothesis in results.hypotheses if hypothesis.decided_after == blocks],
        }
        for blocks, arms in zip(results.blocks, results.arms, strict=True)
    ]
    stop_entry = {"stopped_after": results.blocks[-1], "stopped_because": results.ended} if results.ended else {}
    return {"looks": looks, **stop_entry}


def print_interim(results: LookResults, console: Console) -> None:
    """Print what the last look decided, and whether the sweep continues."""
    blocks, max_blocks = results.blocks[-1], results.looks.max
    hypotheses = results.hypotheses
    new = [item.name for item in hypotheses if item.decided_after == blocks]
    waiting = [entry for entry in hypotheses if entry.decided_after is None]
    n_all, n_decided = len(hypotheses), len(hypotheses) - len(waiting)
    decided = f"decided {', '.join(new)}" if new else "nothing new decided"
    console.print(
        f"Look after {blocks} of at most {max_blocks} blocks: {decided}; {n_decided} of {n_all} in all.",
        highlight=False, markup=False,
    )  # fmt: skip
    console.print(
        f"{END[results.ended]}{_chances(waiting) if not results.ended else ''}", highlight=False, markup=False
    )


END: Mapping[str, str] = {
    "decided": "Everything is decided: the sweep ends here.",
    "futile": "Nothing that is open would be decided by the last look (each chance is below 10%): the sweep ends here.",
    "max": "This was the last look.",
    "": "The sweep goes on",
}


def _chances(waiting: Sequence[Any]) -> str:
    best = sorted(waiting, key=lambda item: -item.power)[:3]
    message = ", ".join(f"{entry.name}: {entry.power:.0%}" for entry in best)
    return f"; chance to be decided by the last look: {message}." if message else "."
