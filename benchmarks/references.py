"""Moments and neighbors against 1,000,000 reference features in a file: seconds, and memory without its pages.

    .venv/bin/python benchmarks/references.py [--references 1000000] [--dims 64]

The question: does memory stay bounded for any size of the reference set? The file is mapped; Linux counts its pages as
the process's while they are in memory, and reclaims them when it needs room, so they are counted separately.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap

from branchwise.trainables.dash.evaluation import metrics, neighbors

SAMPLES, SUBSET = 10_000, 20_000


def anonymous() -> float:
    """Megabytes of this process that no file holds."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024 / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--references", type=int, default=1_000_000)
    parser.add_argument("--dims", type=int, default=64)
    options = parser.parse_args()
    draws = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "features.npy"
        rows = open_memmap(file, mode="w+", dtype=np.float32, shape=(options.references, options.dims))
        for start in range(0, options.references, 1 << 16):
            part = rows[start : start + (1 << 16)]
            part[:] = draws.standard_normal(part.shape, dtype=np.float32)
        rows.flush()
        reference = torch.from_numpy(np.load(file, mmap_mode="c"))
        samples = 1.1 * torch.randn(SAMPLES, options.dims, generator=torch.Generator().manual_seed(0))
        before = anonymous()
        started = time.perf_counter()
        moments = metrics.statistics(reference)
        print(f"moments of {options.references:,} x {options.dims}: {time.perf_counter() - started:.1f} s, "
              f"{anonymous() - before:.0f} MB left over")  # fmt: skip
        subset = reference[:SUBSET]
        direct = {"mu": subset.double().mean(0).numpy(), "sigma": np.cov(subset.double().numpy(), rowvar=False)}
        metrics.CHUNK = 4096
        streamed = metrics.statistics(subset)
        worst = max(float(np.abs(streamed[name] - direct[name]).max()) for name in direct)
        print(f"streamed against direct on {SUBSET:,}: largest difference {worst:.1e}")
        print(f"distance of the samples: {metrics.frechet_distance(metrics.statistics(samples), moments):.4f}")
        started = time.perf_counter()
        chosen = reference[neighbors.chosen(len(reference))]
        result = neighbors.compare(samples, chosen, neighbors.radii(chosen, "cpu"))
        message = ", ".join(f"{name} {value:.4f}" for name, value in result.items())
        print(f"against {len(chosen):,} of them: {message}; {time.perf_counter() - started:.1f} s")
        status = Path("/proc/self/status").read_text().splitlines()
        peak = next(line for line in status if line.startswith("VmHWM"))
        resident, file_mb = int(peak.split()[1]) * 1024 / 1e6, file.stat().st_size / 1e6
        print(
            f"peak resident {resident:.0f} MB with a file of {file_mb:.0f}; {anonymous():.0f} MB at the end of no file"
        )


if __name__ == "__main__":
    main()
