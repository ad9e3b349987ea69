"""What a cluster offers, and how many cohorts of a space fit into it."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass

from branchwise.orchestration.space import Space

OPEN_FILES = 1024  # that a process may have; what Linux gives unless told otherwise
ADDRESS_SPACE = 16 << 30  # bytes that a process may map; Ray's workers with torch were seen to map 13 GB


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What the cluster offers."""

    nodes: tuple[int, ...]  # CPUs of each
    gpus: float
    dashboard: str  # URL, empty when there is none
    outside: bool = False  # this process is not part of it: a ray:// connection
    joined: bool = False  # others started it: it may have nodes that share nothing with this machine

    @property
    def cpus(self) -> int:
        return sum(self.nodes)

    def fit(self, cpus: int) -> int:
        """How many tasks of so many CPUs run at once; each lies on one node."""
        return sum(node // cpus for node in self.nodes)


def machine() -> Cluster:
    """This machine as a cluster, for planning before anything is started. GPUs are counted only by a running Ray."""
    return Cluster(nodes=(len(os.sched_getaffinity(0)),), gpus=0, dashboard="")


def threads_of_worker(space: Space) -> int:
    """CPUs of each worker of a cohort."""
    return max(1, space.resources.cpus_per_trial // max(1, space.resources.workers))


def slots(space: Space, on: Cluster) -> int:
    """How many cohorts run at a time; 0 when not even one fits."""
    resources = space.resources
    fit = on.fit(threads_of_worker(space)) // max(1, resources.workers)
    if resources.gpus_per_trial and on.gpus:
        fit = min(fit, int(on.gpus / resources.gpus_per_trial))
    return fit if resources.max_concurrent == "auto" else min(fit, resources.max_concurrent)


def too_small(space: Space, on: Cluster) -> str:
    """What to say when not even one cohort fits."""
    workers, fit = space.resources.workers, on.fit(threads_of_worker(space))
    if fit:
        return (
            f"resources.workers: {workers} is not allowed here: the machines have room for {fit} of "
            f"{threads_of_worker(space)} CPUs each (resources.cpus_per_trial: {space.resources.cpus_per_trial})"
        )
    return (
        f"resources.cpus_per_trial: {space.resources.cpus_per_trial} is not allowed here: the machines have "
        f"{', '.join(map(str, on.nodes))} CPUs"
    )


def tight_limits() -> str:
    """Which limit of this process is too tight for a Ray cluster here, and what to do; empty when none.

    Raises the one on open files itself where it may.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < OPEN_FILES:
        if hard != resource.RLIM_INFINITY and hard < OPEN_FILES:
            return f"ulimit -n allows {hard} open files, too few for Ray: allow at least {OPEN_FILES}"
        resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, hard))
    space, _ = resource.getrlimit(resource.RLIMIT_AS)
    if space != resource.RLIM_INFINITY and space < ADDRESS_SPACE:
        return (
            f"ulimit -v allows {space >> 10:,} kB of address space, too little for Ray and torch: allow at least "
            f"{ADDRESS_SPACE >> 10:,} or set no limit"
        )
    return ""


def missing_inputs(space: Space) -> str:
    """Which file this machine lacks for `space`, and what to do; empty when none."""
    try:
        space.module.check_inputs(space.spec)
    except (OSError, ValueError) as error:
        return str(error)
    return ""
