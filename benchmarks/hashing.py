"""Time to hash the content of a folder of images: `python benchmarks/hashing.py [--images 50000]`.

The images are made here, in a folder that is removed afterwards. Each row has wall time and processor
time, which other work on the machine hardly changes: for files that were never seen, for the same ones in another
process later (the median of three), and once more in the same process.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]

ONCE = """
import sys, time
from branchwise.trainables.dash.settings import content
from branchwise.trainables.dash.settings.listing import list_images
def now(): return time.perf_counter(), time.process_time()
start = now(); content.folder_sha256(list_images(sys.argv[1]))
first = now(); content.folder_sha256(list_images(sys.argv[1]))
again = now(); print(*(b - a for one, two in ((start, first), (first, again)) for a, b in zip(one, two)))
"""


def make_images(folder: Path, count: int, side: int) -> int:
    """Writes PNGs of noise in ten classes; returns their bytes."""
    rng, size = np.random.default_rng(0), 0
    for i in range(count):
        file = folder / str(i % 10) / f"{i:06}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(file, compress_level=0)
        size += file.stat().st_size
    return size


def times(folder: Path, cache: Path) -> list[float]:
    """Seconds on the clock and of processors, of the first question of a process and of the second."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", ONCE, str(folder)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return [float(field) for field in result.stdout.split()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--side", type=int, default=32)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="branchwise-hashing-") as scratch:
        folder, cache = Path(scratch) / "images", Path(scratch) / "cache"
        folder.mkdir()
        size = make_images(folder, options.images, options.side)
        time.sleep(3)  # files that were just written are not remembered
        print(f"{options.images:,} images, {size / 1e6:,.0f} MB, {len(os.sched_getaffinity(0))} cores")
        rows = [times(folder, cache) for _ in range(4)]
        later = [statistics.median(column) for column in zip(*rows[1:], strict=True)]
        for what, (clock, processors) in (
            ("never seen", rows[0][:2]),
            ("in a later process", later[:2]),
            ("again in the same process", later[2:]),
        ):
            print(f"{what}: {clock:.2f} s, {processors:.2f} s of processors")


if __name__ == "__main__":
    main()
