"""Jobs on a cluster that is watched meanwhile: shared by sweeps, measuring and teachers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console

from branchwise.orchestration import interrupts
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.execution.cluster import TOKEN_HINT, on_cluster, refuse_unshared, started
from branchwise.orchestration.execution.trials import run_cohorts
from branchwise.orchestration.execution.watchdog import Watchdog
from branchwise.orchestration.limits import Meter
from branchwise.orchestration.monitoring.progress import Display, watch
from branchwise.orchestration.planning.machine import Cluster, shortages, slots
from branchwise.orchestration.planning.plan import JobPlan
from branchwise.orchestration.run_folder.lock import Lease
from branchwise.orchestration.space import Space
from branchwise.trainables import Cohort
from branchwise.trainables.runtime.job import Job
from branchwise.trainables.runtime.storage import Storage


@contextmanager
def cluster_for(plan: JobPlan, address: str | None, console: Console) -> Iterator[Cluster]:
    """The cluster of a plan, started or joined; raise UserError when it cannot execute the plan."""
    with plan.work_folder.ray_log() as log, started(address, log, plan.space, console) as on:
        interrupts.check(swallowed=True)  # Ray's imports have bare excepts
        if on.joined and plan.run.files.local is not None:
            refuse_unshared(plan.run.files.local)
        if not slots(plan.space, on):
            raise UserError("; ".join(shortages(plan.space, on)))
        if on.dashboard:
            console.print(f"Dashboard: {on.dashboard} ({TOKEN_HINT})", highlight=False)
        yield on


@dataclass(frozen=True, kw_only=True)
class JobRunner:
    """A runner of jobs on a cluster; `check` is called every second and raises what ends them."""

    space: Space
    storage: Storage
    on: Cluster
    display: Display
    check: Callable[[], None]

    def run(
        self, cohorts: Sequence[Cohort], job: Job, at_a_time: int, show: Callable[[], None], meter: Meter | None = None
    ) -> str:
        """Run each cohort, and `show` the progress, until a limit is reached; return it, if any."""
        limit = ""

        def work(stop: threading.Event) -> None:
            nonlocal limit
            arguments = cohorts, job, self.space.resources, at_a_time
            if self.on.outside:
                limit = on_cluster(run_cohorts, *arguments, None, meter, stop=stop) or ""
            else:
                limit = run_cohorts(*arguments, stop, meter)

        watch(work, show, self.check)
        show()
        return limit


@contextmanager
def job_runner(
    space: Space,
    storage: Storage,
    on: Cluster,
    display: Display,
    lease: Lease | None = None,
    modified: Callable[[], Sequence[str]] = list,
    check: Callable[[], None] = lambda: None,
) -> Iterator[JobRunner]:
    """A runner that ends its jobs when something that they need is lost.

    Args:
        space: The space of the jobs.
        storage: Where teachers and feature nets are kept.
        on: The cluster.
        display: Shows the progress, and whether anything moves.
        lease: The hold of this process on the folder that it writes to.
        modified: Returns the files of the run that have changed since its start.
        check: Called every second, too.
    """
    with Watchdog(space, on, lease, modified) as watchdog, watchdog.translate_errors():

        def check_all() -> None:
            watchdog.check(display.pulse)
            check()

        yield JobRunner(space=space, storage=storage, on=on, display=display, check=check_all)
