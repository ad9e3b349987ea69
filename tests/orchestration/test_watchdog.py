"""Failures that the watchdog reports, and those it tolerates."""

from __future__ import annotations

import time
from typing import Any

import pytest

from branchwise.orchestration.errors import (
    ClusterUnavailableError,
    RunModifiedError,
    StalledError,
    StorageUnavailableError,
)
from branchwise.orchestration.execution import watchdog as module
from branchwise.orchestration.execution.watchdog import Watchdog, cohort_needs, fits
from branchwise.orchestration.planning.machine import Cluster
from branchwise.orchestration.space import parse_space

SPACE = """\
name: watched
trainable: surface
design: {components: {anchor: {off: {anchor_weight: 0}}}}
resources: {max_silence: 60, cpus_per_trial: 2, %s}
"""
LOCAL = Cluster(nodes=(2,), gpus=0, dashboard="")
JOINED = Cluster(nodes=(2,), gpus=0, dashboard="", joined=True)


class Clock:
    """A manual clock, and Ray's view of its nodes; None: no response."""

    def __init__(self) -> None:
        self.now = 0.0
        self.nodes: list[dict[str, Any]] | None = [node("here", 2)]

    def pass_seconds(self, dog: Watchdog, seconds: int, pulse: object = "same") -> None:
        for _ in range(seconds):
            self.now += 1
            if self.nodes is not None:
                dog.nodes.last, dog.nodes.answers = self.nodes, dog.nodes.answers + 1
            dog.check(pulse)


def node(name: str, cpus: float, alive: bool = True, gpus: float = 0) -> dict[str, Any]:
    return {"NodeID": name, "Alive": alive, "Resources": {"CPU": cpus} | ({"GPU": gpus} if gpus else {})}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    result = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: result.now)
    monkeypatch.setattr(module, "local_node", lambda: "here")
    monkeypatch.setattr(module, "ASK_SECONDS", 1e6)  # the probes read the clock only
    monkeypatch.setattr(module, "FILES_SECONDS", 1e6)
    return result


def watched(on: Cluster = LOCAL, resources: str = "max_concurrent: 1") -> Watchdog:
    return Watchdog(parse_space("space.yaml", (SPACE % resources).encode()), on)


def test_healthy_sweep_is_untouched(clock: Clock) -> None:
    with watched() as dog:
        for report in range(20):
            clock.pass_seconds(dog, 50, pulse=report)


def test_dead_node_of_this_machine_is_end_at_once(clock: Clock) -> None:
    clock.nodes = [node("here", 2, alive=False), node("other", 8)]
    with watched() as dog, pytest.raises(ClusterUnavailableError, match="node of this machine is dead"):
        clock.pass_seconds(dog, 1)


def test_unresponsive_ray_is_detected_within_minute(clock: Clock) -> None:
    with watched() as dog:
        clock.pass_seconds(dog, 5)
        clock.nodes = None
        with pytest.raises(ClusterUnavailableError, match="has not answered for 45 s"):
            clock.pass_seconds(dog, 60)
        assert 45 < clock.now - 5 <= 47


def test_unplaceable_cohort_stops_waiting(clock: Clock) -> None:
    clock.nodes = [node("here", 1), node("other", 2)]
    with watched(JOINED) as dog:
        clock.pass_seconds(dog, 100, pulse=None)
        clock.nodes = [node("here", 1), node("other", 2, alive=False)]
        with pytest.raises(ClusterUnavailableError, match="takes 2 CPUs; the cluster offers 1 CPUs"):
            clock.pass_seconds(dog, 62, pulse=None)
        clock.nodes = [node("here", 1), node("third", 2)]  # if a node joins in time, it continues
        clock.pass_seconds(dog, 10, pulse=None)


def test_missing_gpu_is_named(clock: Clock) -> None:
    missing = "takes 2 CPUs and 1 GPUs; the cluster offers 2 CPUs"
    with watched(resources="gpus_per_trial: 1") as dog, pytest.raises(ClusterUnavailableError, match=missing):
        clock.pass_seconds(dog, 62)


def test_silent_cohorts_are_stalled(clock: Clock) -> None:
    with watched() as dog, pytest.raises(StalledError, match=r"no progress for 1 min 0 s.*max_silence"):
        clock.pass_seconds(dog, 62)
    with watched(JOINED) as dog:
        clock.pass_seconds(dog, 600, pulse=None)  # it waits for its turn
        with pytest.raises(StalledError):
            clock.pass_seconds(dog, 62, pulse=("t0000", 1.0))


def test_failures_from_outage_are_reported_as_outage(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ask_nodes", lambda: [node("here", 2, alive=False)])
    with watched() as dog, pytest.raises(ClusterUnavailableError, match="dead"), dog.translate_errors():
        raise SystemExit(0)
    monkeypatch.setattr(module, "ask_nodes", lambda: [node("here", 2)])
    with (
        watched() as dog,
        pytest.raises(ClusterUnavailableError, match="Ray failed: SystemExit"),
        dog.translate_errors(),
    ):
        raise SystemExit(0)
    with watched() as dog, pytest.raises(ZeroDivisionError), dog.translate_errors():
        raise ZeroDivisionError
    for exception in (KeyboardInterrupt, StorageUnavailableError):
        with watched() as dog, pytest.raises(exception), dog.translate_errors():
            raise exception
    dog = Watchdog(
        parse_space("space.yaml", (SPACE % "max_concurrent: 1").encode()), LOCAL, None, lambda: ["a/plan.json"]
    )
    with dog, pytest.raises(RunModifiedError, match=r"a/plan\.json was deleted or changed"), dog.translate_errors():
        raise FileNotFoundError


def test_what_cohort_needs_and_where_it_fits() -> None:
    workers = parse_space("space.yaml", (SPACE % "workers: 2, gpus_per_trial: 2").encode())
    assert cohort_needs(workers) == [{"CPU": 1.0, "GPU": 1.0}] * 2
    assert fits(cohort_needs(workers), [{"CPU": 8, "GPU": 1}, {"CPU": 1, "GPU": 1}])
    assert not fits(cohort_needs(workers), [{"CPU": 8, "GPU": 1}, {"CPU": 8}])
