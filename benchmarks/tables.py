"""What the analysis of external runs costs, as a ratio to reading the same CSV with `pandas.read_csv`.

    python benchmarks/tables.py [--sizes 100000x4 100000x30 1000000x30] [--formats csv parquet jsonl]

Tables are temporary. Both are separate processes, imports included; seconds are of
processors. The means of the cells in `ablation.json` must be those of a `groupby` of pandas. The limits are those of
the CSV: 10 s for 100,000 runs, 60 s and 4 GB for 1,000,000 runs of 30 columns.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _common import ROOT, peak_mb, show

PLAIN = "import sys, pandas; pandas.read_csv(sys.argv[1])"
OPTIONS = ["--components", "a,b", "--block", "seed", "--value", "accuracy", "--direction", "maximize"]


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["100000x4", "100000x30", "1000000x30"], metavar="RUNSxCOLUMNS")
    parser.add_argument("--formats", nargs="+", default=["csv", "parquet", "jsonl"])
    options = parser.parse_args()
    rows = []
    for size in options.sizes:
        runs, columns = map(int, size.split("x"))
        with tempfile.TemporaryDirectory(prefix="branchwise-tables-") as scratch:
            frame = draw(runs, columns)
            frame.to_csv(Path(scratch) / "runs.csv", index=False)
            frame.to_parquet(Path(scratch) / "runs.parquet", index=False)
            frame.to_json(Path(scratch) / "runs.jsonl", orient="records", lines=True, double_precision=15)
            means = frame.groupby(["a", "b"])["accuracy"].mean().tolist()
            del frame
            plain = cost([sys.executable, "-c", PLAIN, str(Path(scratch) / "runs.csv")])
            for form in options.formats:
                out = Path(scratch) / "out"
                command = [sys.executable, "-m", "analysis", str(Path(scratch) / f"runs.{form}"), *OPTIONS]
                seconds, peak = cost([*command, "--out", str(out)])
                check(json.loads((out / "report/ablation.json").read_text()), means)
                ratios = f"{seconds / plain[0]:.1f}", f"{peak / plain[1]:.1f}"
                rows.append((f"{runs:,} x {columns}", form, f"{seconds:.1f}", f"{peak:.0f}", *ratios))
    columns = ("runs x columns", "format", "CPU seconds", "peak MB", "seconds / read_csv", "peak / read_csv")
    show("The analysis of a table of runs", columns, rows, "The means of the cells equal pandas' to 12 digits.")
    return 0


def draw(runs: int, columns: int) -> Any:
    """Draw runs of two components over seeds; the other columns hold numbers, texts, constants and names."""
    import numpy as np
    import pandas as pd

    rng, seeds = np.random.default_rng(0), runs // 4
    a, b = np.tile([0, 0, 1, 1], seeds), np.tile([0, 1, 0, 1], seeds)
    noise = rng.normal(0, 0.05, seeds).repeat(4) + rng.normal(0, 0.02, 4 * seeds)
    frame = {
        "a": a == 1,
        "b": b == 1,
        "seed": np.arange(seeds).repeat(4),
        "accuracy": 0.5 + 0.05 * a + 0.02 * b + noise,
    }
    others = (
        lambda: rng.normal(size=4 * seeds),
        lambda: np.full(4 * seeds, 1e-3),
        lambda: np.full(4 * seeds, "adam"),
        lambda: rng.integers(0, 10**6, 4 * seeds),
        lambda: np.char.add("run-", np.arange(4 * seeds).astype(str)),
    )
    return pd.DataFrame(frame | {f"column{i}": others[i % len(others)]() for i in range(columns - len(frame))})


def cost(command: list[str]) -> tuple[float, float]:
    """Seconds of processors and peak MB of a process. Its `ru_maxrss` would include this process's at the fork."""
    process, peak = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL), 0.0
    while True:
        waited, status, usage = os.wait4(process.pid, os.WNOHANG)
        if waited:
            break
        peak = max(peak, peak_mb(process.pid))
        time.sleep(0.02)
    if status:
        raise SystemExit(f"{' '.join(command)}: exit status {status}")
    return usage.ru_utime + usage.ru_stime, peak


def check(table: Any, means: list[float]) -> None:
    """Compare the means of the cells with those of pandas, in the order of a and b."""
    cells = {row["cell"]: row["mean"] for row in table["cells"]}
    for cell, mean in zip(("base", "b", "a", "full"), means, strict=True):
        if abs(cells[cell] - mean) > 1e-12:
            raise SystemExit(f"{cell}: the analysis has a mean of {cells[cell]}, pandas {mean}")


if __name__ == "__main__":
    sys.exit(main())
