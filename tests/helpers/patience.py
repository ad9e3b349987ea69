"""What a busy machine needs: waiting that grows with its load, and a Ray that is restarted."""

from __future__ import annotations

import os
import sys
import time

SHARED_CPUS = 2
_of_ray: dict[str, str] = {}  # the variables that `ray.init` has set


def patience(seconds: float = 200) -> float:
    """`seconds` on an idle machine, and longer the more processes wait for each of its cores."""
    return seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def start_ray() -> None:
    """Start a Ray of two CPUs in this process, unless it is running; retried where Ray times out."""
    import ray

    if ray.is_initialized():
        os.environ.update(_of_ray)
        return
    before = dict(os.environ)
    for last in (False, False, True):
        try:
            ray.init(address="local", num_cpus=SHARED_CPUS, include_dashboard=False, log_to_driver=False)
            break
        except Exception as error:
            if last or "timed out during startup" not in str(error):
                raise
            ray.shutdown()
    _of_ray.clear()
    _of_ray.update({name: value for name, value in os.environ.items() if before.get(name) != value})


def stop_ray() -> None:
    """Ends the Ray that this process has started, if any."""
    ray = sys.modules.get("ray")
    if ray is not None:
        ray.shutdown()


def ray_is_idle(seconds: float = 20) -> bool:
    """Whether all CPUs of Ray are free, immediately or after a while: actors need time to exit."""
    import ray

    deadline = time.monotonic() + patience(seconds)
    while time.monotonic() < deadline:
        if ray.available_resources().get("CPU") == SHARED_CPUS:  # type: ignore[no-untyped-call]
            return True
        time.sleep(0.05)
    return False
