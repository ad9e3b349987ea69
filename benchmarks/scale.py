"""Overhead of the platform from 10 to 10,000 arms: complete sweeps of the instant `surface` trainable.

    python benchmarks/scale.py [--arms 10 100 1000 10000]

`sweep` is the complete command: `before` the first result, then up to the last, and `after`: the tables and the
report. The limit is on the driver's memory; a cost that grows linearly has a steady number of arms a
second, once the start-up no longer weighs.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _common import ROOT, peak_mb, show

LIMIT_MB = 1500
ARMS_A_BLOCK = 9
SPACE = """\
name: scale
trainable: surface
train: {{steps: 3}}
design:
  components:
    uncond_branch: {{off: {{uncond_weight: 0}}}}
    anchor: {{off: {{anchor_weight: 0}}}}
    curriculum_transfer: {{off: {{curriculum: learned}}}}
  baselines: [scratch]
  blocks: {blocks}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--arms", type=int, nargs="+", default=[10, 100, 1000, 10_000], help="about so many")
    rows = []
    for summary in parser.parse_args().arms:
        blocks = math.ceil(summary / ARMS_A_BLOCK)
        arms = blocks * ARMS_A_BLOCK
        complete, first, last, peak = sweep(blocks)
        between = (arms - 1) / (last - first) if last > first else math.inf
        seconds = (f"{value:.1f}" for value in (complete, first, last - first, complete - last))
        rows.append((f"{arms:,}", *seconds, f"{between:.0f}", f"{peak:.0f}", f"{peak / LIMIT_MB:.2f}"))
        print(f"{arms:,} arms: {complete:.0f} s, {peak:.0f} MB", file=sys.stderr)
    show(
        "Sweeps of `surface`, one each",
        ("arms", "sweep s", "before s", "arms s", "after s", "arms/s", "driver's peak MB", f"of {LIMIT_MB} MB"),
        rows,
    )
    return 0


def sweep(blocks: int) -> tuple[float, float, float, float]:
    """Seconds from the start of a sweep to its end and to its first and last result; its driver's peak MB."""
    with tempfile.TemporaryDirectory(prefix="branchwise-scale-") as scratch:
        folder = Path(scratch)
        (folder / "space.yaml").write_text(SPACE.format(blocks=blocks))
        command = [sys.executable, str(ROOT / "platform/run_sweep.py"), "--space", str(folder / "space.yaml")]
        with (folder / "log").open("w") as log:
            started = time.time()
            process = subprocess.Popen([*command, "--storage", str(folder)], stdout=log, stderr=log)
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, peak_mb(process.pid))
            time.sleep(0.1)
        complete = time.time() - started
        if process.returncode:
            raise SystemExit((folder / "log").read_text())
        ends = [file.stat().st_mtime - started for file in (folder / "scale/arms").glob("[!.]*.json")]
        return complete, min(ends), max(ends), peak


if __name__ == "__main__":
    sys.exit(main())
