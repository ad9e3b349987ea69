"""A watch on what a running sweep needs: its run folder, its cluster, and progress.

The caller polls `check` every second. It never blocks: requests that may hang run in threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Generic, TypeVar

from branchwise.orchestration.errors import (
    ClusterUnavailableError,
    RunModifiedError,
    StalledError,
    SweepAbortedError,
    UserError,
)
from branchwise.orchestration.execution.cluster import local_node
from branchwise.orchestration.monitoring.progress import duration
from branchwise.orchestration.planning.machine import Cluster, threads_of_worker
from branchwise.orchestration.run_folder.lock import Lease
from branchwise.orchestration.space import Resources, Space
from branchwise.orchestration.time_limit import IdleTimer, run_with_timeout

ASK_SECONDS = 3.0  # between two questions to Ray
FILES_SECONDS = 5.0  # between two looks at the files that the run depends on
ANSWER_SECONDS = 45.0  # without an answer, Ray is lost
UNPLACED_SECONDS = 60.0  # without a node for a cohort
LAST_SECONDS = 10.0  # for a last question, when something has failed already

Nodes = list[dict[str, Any]]
T = TypeVar("T")


class Probe(Generic[T]):
    """Poll a function in a separate thread. `last` is the last result; failures are ignored."""

    def __init__(self, ask: Callable[[], T], interval: float) -> None:
        self.last: T | None = None
        self.answers = 0
        self._ask, self._interval, self._stop = ask, interval, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            with suppress(Exception):
                self.last = self._ask()
                self.answers += 1

    def stop(self) -> None:
        """Stop it, after an answer in progress: Ray fails on a request while it is shut down."""
        self._stop.set()
        self._thread.join(LAST_SECONDS)


class Watchdog:
    """A context manager that watches a running sweep.

    `modified` returns the files of the run that have changed since it started.
    """

    def __init__(
        self, space: Space, on: Cluster, lease: Lease | None = None, modified: Callable[[], Sequence[str]] = list
    ) -> None:
        self._on, self._lease, self._ask_files = on, lease, modified
        self._max_silence = space.resources.max_silence
        self._cohort = cohort_needs(space)
        self._local_node = local_node()
        self._unanswered, self._unplaced, self._unmoved = IdleTimer(), IdleTimer(), IdleTimer()

    def __enter__(self) -> Watchdog:
        self.nodes = Probe(ask_nodes, ASK_SECONDS)
        self._modified = Probe(self._ask_files, FILES_SECONDS)
        return self

    def __exit__(self, *exception: object) -> None:
        self.nodes.stop()
        self._modified.stop()

    def check(self, pulse: Hashable) -> None:
        """Raise the SweepAbortedError that ends the sweep, if there is a reason for one.

        `pulse` changes when something that runs has reported.
        """
        self._check_folder(self._modified.last)
        if self._unanswered.of(self.nodes.answers) > ANSWER_SECONDS:
            raise ClusterUnavailableError(
                f"Ray has not answered for {ANSWER_SECONDS:.0f} s: its control service (GCS) is lost"
            )
        if self.nodes.last is not None:
            self._check_nodes(self.nodes.last)
        waits_for_others = self._on.joined and pulse is None  # a cluster's other work may keep us waiting for long
        if self._unmoved.of(pulse) > self._max_silence and not waits_for_others:
            raise StalledError(
                f"no progress for {duration(self._max_silence)}, but Ray is healthy (resources.max_silence)"
            )

    def _check_folder(self, changed: Sequence[str] | None) -> None:
        if self._lease:
            self._lease.check()
        if changed:
            raise modified(changed)

    def _check_nodes(self, nodes: Nodes) -> None:
        alive = [node for node in nodes if node["Alive"]]
        if self._local_node and not any(node["NodeID"] == self._local_node for node in alive):
            raise ClusterUnavailableError(
                "the Ray node of this machine is dead: its raylet or an agent of it has ended"
            )
        offers = [node["Resources"] for node in alive]
        placeable = fits(self._cohort, offers)
        if self._unplaced.of(placeable) > UNPLACED_SECONDS and not placeable:
            raise ClusterUnavailableError(
                f"no node is left for a cohort, which takes {_described(self._cohort)}; "
                f"the cluster offers {_described(offers) or 'nothing'}"
            )

    @contextmanager
    def translate_errors(self) -> Iterator[None]:
        """Raise the loss that caused a failure within the block."""
        try:
            yield
        except (KeyboardInterrupt, UserError, SweepAbortedError):
            raise
        except BaseException as error:
            if reason := self._cause(error):
                raise reason from error
            raise

    def _cause(self, error: BaseException) -> SweepAbortedError | None:
        try:
            self._check_folder(run_with_timeout(LAST_SECONDS, self._ask_files))
            self._check_nodes(run_with_timeout(LAST_SECONDS, ask_nodes))
        except SweepAbortedError as reason:
            return reason
        except Exception:
            pass  # no usable response: the error itself is more informative
        if isinstance(error, SystemExit) or type(error).__module__.startswith("ray."):
            output = " ".join(str(error).split())[:300]
            return ClusterUnavailableError(f"Ray failed: {type(error).__name__}{f': {output}' if output else ''}")
        return None


def modified(paths: Sequence[str]) -> RunModifiedError:
    return RunModifiedError(
        f"{' and '.join(paths)} {'was' if len(paths) == 1 else 'were'} deleted or changed while the sweep ran"
    )


def cohort_needs(space: Space) -> list[dict[str, float]]:
    """The resources of a cohort: one bundle for each of its processes."""
    resources: Resources = space.resources
    gpu = {"GPU": resources.gpus_per_worker} if resources.gpus_per_worker else {}
    if resources.workers:
        return [{"CPU": float(threads_of_worker(space)), **gpu}] * resources.workers
    return [{"CPU": float(resources.cpus_per_trial), **gpu}]


def fits(bundles: Sequence[Mapping[str, float]], nodes: Sequence[Mapping[str, float]]) -> bool:
    """Whether each bundle fits on a node, on otherwise idle nodes."""
    free = [dict(node) for node in nodes]
    for bundle in bundles:
        result = next((node for node in free if all(node.get(r, 0) >= n for r, n in bundle.items())), None)
        if result is None:
            return False
        for resource, amount in bundle.items():
            result[resource] -= amount
    return True


def _described(bundles: Sequence[Mapping[str, float]]) -> str:
    return ", ".join(
        " and ".join(f"{amount:g} {resource}s" for resource in ("CPU", "GPU") if (amount := bundle.get(resource)))
        for bundle in bundles
    )


def ask_nodes() -> Nodes:
    import ray

    return list(ray.nodes())  # type: ignore[no-untyped-call]
