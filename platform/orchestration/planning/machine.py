"""The resources of a cluster, and the number of cohorts of a space that fit into it."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from dataclasses import dataclass

from branchwise.orchestration.space import Space

OPEN_FILES = 1024  # that a process may have; Linux's default
ADDRESS_SPACE = 16 << 30  # bytes that a process may map; Ray's workers with torch were seen to map 13 GB
DRIVER_SECONDS = 10.0  # as long may nvidia-smi take


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The resources of a cluster."""

    nodes: tuple[int, ...]  # CPUs of each
    gpus: float
    dashboard: str  # URL, empty if none exists
    outside: bool = False  # this process is not part of it: a ray:// connection
    joined: bool = False  # others started it: its nodes may share no files with this machine

    @property
    def cpus(self) -> int:
        return sum(self.nodes)

    def fit(self, cpus: int) -> int:
        """The number of tasks of so many CPUs that run at once; each is on a single node."""
        return sum(node // cpus for node in self.nodes)


def machine() -> Cluster:
    """This machine as a cluster, for planning before anything is started."""
    return Cluster(nodes=(len(os.sched_getaffinity(0)),), gpus=len(gpu_names()), dashboard="")


def gpu_names() -> tuple[str, ...]:
    """The GPUs of this machine that Ray will offer, by their driver's names.

    Needs neither torch nor Ray.
    """
    if shutil.which("nvidia-smi") is None:
        return ()
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=DRIVER_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    names = (
        tuple(line.strip() for line in process.stdout.splitlines() if line.strip()) if process.returncode == 0 else ()
    )
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return names
    displayed = [part for part in visible.split(",") if part.strip() not in ("", "-1", "NoDevFiles")]
    return names[: len(displayed)]


def threads_of_worker(space: Space) -> int:
    """CPUs of each worker of a cohort."""
    return max(1, space.resources.cpus_per_trial // max(1, space.resources.workers))


def slots(space: Space, on: Cluster) -> int:
    """The number of cohorts that run at a time; 0 when not even one fits."""
    resources = space.resources
    fit = on.fit(threads_of_worker(space)) // max(1, resources.workers)
    if resources.gpus_per_trial:
        fit = min(fit, _fit_on_gpus(resources.gpus_per_trial, on))
    return fit if resources.max_concurrent == "auto" else min(fit, resources.max_concurrent)


def _fit_on_gpus(gpus: float, on: Cluster) -> int:
    """The number of trials of so many GPUs that run at once; a part of a GPU is on one of them."""
    return int(on.gpus) * int(1 / gpus + 1e-9) if gpus < 1 else int(on.gpus / gpus)


def gpus_missing(space: Space, on: Cluster) -> str:
    """The message when `space` requests GPUs and none exists; a teacher needs only one."""
    gpus = space.resources.gpus_per_trial
    return f"resources.gpus_per_trial: {gpus:g} is not allowed here: there is no GPU" if gpus and not on.gpus else ""


def shortages(space: Space, on: Cluster) -> list[str]:
    """Messages on each resource that is too scarce for even one cohort; empty when one fits."""
    resources, short = space.resources, []
    room, workers = on.fit(threads_of_worker(space)), max(1, resources.workers)
    if 0 < room < workers:
        capacity = f"the machines have room for {room} of {threads_of_worker(space)} CPUs each"
        short.append(f"resources.workers: {workers} is not allowed here: {capacity}")
    elif room < workers:
        capacity = f"the machines have {', '.join(map(str, on.nodes))} CPUs"
        short.append(f"resources.cpus_per_trial: {resources.cpus_per_trial} is not allowed here: {capacity}")
    gpus = resources.gpus_per_trial
    if missing := gpus_missing(space, on):
        short.append(missing)
    elif gpus and not _fit_on_gpus(gpus, on):
        short.append(f"resources.gpus_per_trial: {gpus:g} is not allowed here: the machines have {on.gpus:g} GPUs")
    return short


def without_docstrings() -> str:
    """The reason why Ray cannot be imported by a Python that removed docstrings; empty if none."""
    if sys.flags.optimize < 2:
        return ""
    return "PYTHONOPTIMIZE=2 (python -OO) removes docstrings, without which Ray does not start; unset it, or use 1"


def check_ulimits() -> str:
    """The limit or mode of this process that keeps Ray from starting here, and what to do.

    Empty if there is none. Raises the limit on open files where permitted.
    """
    if stripped := without_docstrings():
        return stripped
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
    """The files for `space` that this machine does not have, and what to do; empty if none."""
    differing = {}  # by data set and teacher: other data ask for another
    for data_set in space.design.data_sets:
        method = data_set.on(space.method)
        differing[data_set.name, method.teacher({})] = method.spec
        for cell in space.design.cells(method):
            differing.setdefault((data_set.name, method.teacher(cell.patch)), method.patched(cell.patch))
    try:
        for spec in differing.values():
            space.module.check_inputs(spec)
            if space.imports:
                space.module.check_code(spec)
    except (OSError, ValueError) as error:
        return str(error)
    return ""
