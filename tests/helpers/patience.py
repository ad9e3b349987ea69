"""What a busy machine needs: waiting that grows with its load, and a Ray that is restarted."""

from __future__ import annotations

import os


def patience(seconds: float = 200) -> float:
    """`seconds` on an idle machine, and longer the more processes wait for each of its cores."""
    return seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def start_ray() -> None:
    """Has this process start a Ray of two CPUs; retried where Ray times out."""
    import ray

    for last in (False, False, True):
        try:
            ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
            return
        except Exception as error:
            if last or "timed out during startup" not in str(error):
                raise
            ray.shutdown()
