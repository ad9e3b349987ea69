"""The report of a running sweep, rebuilt at each finished block by a separate process.

It has no verdicts: those follow after the last block, so that no sweep is stopped when convenient.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.console import Console

from branchwise.orchestration.checkout import ROOT
from branchwise.orchestration.monitoring.progress import duration
from branchwise.orchestration.monitoring.run_state import Follower, RunState
from branchwise.orchestration.monitoring.status import describe
from branchwise.orchestration.planning.plan import Plan
from branchwise.orchestration.run_folder.tables import tables_of
from branchwise.orchestration.run_folder.teachers import refresh
from branchwise.trainables import Arm
from branchwise.trainables.runtime.processes import scratch_folder
from branchwise.trainables.runtime.run_folder import RunFolder
from branchwise.trainables.runtime.storage import storage_at

PAUSE = 10  # times the duration of a report, before the next: they use up to a tenth of a core
WARNED = ("started", "arms", "teacher", "speed", "left")  # of what `status` prints


@contextmanager
def interim_reports(plan: Plan, console: Console) -> Iterator[Follower]:
    """A follower that rebuilds a running sweep's report at finished blocks, limited by PAUSE.

    A search is not reported on before its end: its arms are no results.
    """
    if plan.space.design.searches():
        yield lambda state, new: None
        return
    with scratch_folder() as scratch:
        reports = _Reports(plan, scratch, console)
        try:
            yield reports
        finally:
            reports.stop()


def finished_blocks(arms: Sequence[Arm], finished: Collection[str]) -> tuple[int, ...]:
    """The blocks of which all arms are finished, in order."""
    open_ = {arm.block for arm in arms if arm.name not in finished}
    return tuple(sorted({arm.block for arm in arms} - open_))


class _Reports:
    """Build a single report at a time from a copy of what the analysis reads, and stores it."""

    def __init__(self, plan: Plan, scratch: Path, console: Console) -> None:
        self._plan = plan
        self._copy = RunFolder(storage_at(scratch), plan.run.name)
        self._folder = scratch / plan.run.name
        self._console = console
        self._blocks = len({arm.block for arm in plan.arms})
        self._reported_blocks = 0  # blocks in the last report that was requested
        self._warned = False
        self._started_at, self._earliest = 0.0, 0.0  # of the last report, and for the next
        self._building: subprocess.Popen[str] | None = None

    def __call__(self, state: RunState, new: Sequence[str]) -> None:
        try:
            self._follow(state)
        except Exception as error:  # no failure of a report may end the sweep
            self._print_failure(" ".join(str(error).split()))

    def _follow(self, state: RunState) -> None:
        if self._building is not None:
            if self._building.poll() is None:
                return
            built, self._building = self._building, None
            self._store(built)
            now = time.monotonic()
            self._earliest = now + PAUSE * (now - self._started_at)
        blocks = finished_blocks(self._plan.arms, state.records)
        further = self._reported_blocks < len(blocks) < self._blocks  # the final report follows the last block
        if further and time.monotonic() >= self._earliest:
            self._reported_blocks, self._started_at = len(blocks), time.monotonic()
            self._building = self._build(state, blocks)

    def stop(self) -> None:
        if self._building is not None:
            self._building.kill()
            self._building.wait()

    def _build(self, state: RunState, blocks: Sequence[int]) -> subprocess.Popen[str]:
        plan, run = self._plan, self._plan.run
        shutil.rmtree(self._folder, ignore_errors=True)
        run.copy_for_report(self._folder)
        block_arms = {arm.name for arm in plan.arms if arm.block in blocks}
        records = [state.records[arm.name] for arm in plan.arms if arm.name in block_arms]
        records = [record for record in records if "arm" in record]  # damaged records have none
        teachers = [refresh(teacher, plan.storage) for teacher in plan.teachers]
        self._copy.write_tables(tables_of(records, run.name, plan.space, teachers))
        spent = sum(record.get("seconds", 0.0) for record in state.records.values())
        entries = {key: text for key, text in describe(plan.storage, run, state) if key in WARNED}
        entries |= {
            "blocks": f"{len(blocks)} of {self._blocks} finished",
            "spent": f"{duration(spent)} in finished arms",
        }
        self._copy.write_manifest(run.read_manifest() | {"progress": entries})
        building = subprocess.Popen(
            [sys.executable, "-m", "branchwise.analysis", str(self._folder)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the sweep
        )
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, building.pid, 10)  # arms are first
        return building

    def _store(self, built: subprocess.Popen[str]) -> None:
        _, complaint = built.communicate()
        if built.returncode == 0:
            self._plan.run.replace_report(self._folder / "report")
            if not self._warned:
                where = self._plan.run.report_path()
                self._console.print(f"Interim report, renewed at every finished block: {where}", highlight=False)
                self._warned = True
        else:
            self._print_failure((complaint.strip().splitlines() or ["it ended without a word"])[-1])

    def _print_failure(self, output: str) -> None:
        self._console.print(f"the interim report failed; the sweep goes on: {output}", highlight=False, markup=False)
