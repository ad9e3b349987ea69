"""Time and memory of `python -m analysis`, from a usual sweep up to 100,000 arms.

    python benchmarks/report.py [--arms 24 1000 100000]

The arms are drawn from the model that the analysis fits, with 3 components. The limits are 20 s and 2 GB.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _common import ROOT, peak_mb, show

LIMIT_SECONDS, LIMIT_MB = 20.0, 2000.0
COMPONENTS = ("a", "b", "c")


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--arms", type=int, nargs="+", default=[24, 1000, 100_000])
    rows = []
    for arms in parser.parse_args().arms:
        with tempfile.TemporaryDirectory(prefix="branchwise-report-") as scratch:
            run = Path(scratch) / "run"
            count = draw(run, arms // 2 ** len(COMPONENTS))
            seconds, peak = analyze(run)
        share = max(seconds / LIMIT_SECONDS, peak / LIMIT_MB)
        rows.append((f"{count:,}", f"{seconds:.1f}", f"{peak:.0f}", f"{share:.2f}"))
    columns = ("arms", "seconds", "peak MB", "of the limit")
    show("The report of one run", columns, rows, f"Limits: {LIMIT_SECONDS:.0f} s, {LIMIT_MB:.0f} MB.")
    return 0


def draw(run: Path, blocks: int) -> int:
    """Writes a run folder of so many blocks; returns how many arms it has."""
    import numpy as np
    import pandas as pd
    import yaml

    from branchwise.analysis.declared.cells import BASE, FULL, factorial_cells

    run.mkdir()
    cells = factorial_cells(COMPONENTS)
    design = {"components": {name: {"off": {name: 0}} for name in COMPONENTS}, "blocks": blocks}
    (run / "space.yaml").write_text(yaml.safe_dump({"name": "run", "trainable": "surface", "design": design}))
    (run / "manifest.json").write_text(json.dumps({"format": 1, "name": "run"}))
    rng = np.random.default_rng(0)
    parts = [COMPONENTS if cell == FULL else () if cell == BASE else cell.split("+") for cell in cells]
    gains = np.array([0.5 * ("a" in on) + 0.1 * ("b" in on) for on in parts])
    log_value = 3 - gains[None] + rng.normal(0, 0.1, (blocks, 1)) + rng.normal(0, 0.05, (blocks, len(cells)))
    arms = pd.DataFrame(
        {
            "arm": [f"{cell}-b{block}" for block in range(blocks) for cell in cells],
            "block": np.repeat(np.arange(blocks), len(cells)),
            "seed": np.repeat(np.arange(blocks), len(cells)),
            "cell": list(cells) * blocks,
            "value": np.exp(log_value).ravel(),
        }
    ).assign(kind="cell", status="done", metric="surface", error="", comparability_key='{"metric": "surface"}')
    arms.to_parquet(run / "arms.parquet")
    return len(arms)


def analyze(run: Path) -> tuple[float, float]:
    """Seconds and peak MB of the complete command."""
    started, peak = time.perf_counter(), 0.0
    process = subprocess.Popen([sys.executable, "-m", "analysis", str(run)], cwd=ROOT, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, peak_mb(process.pid))
        time.sleep(0.02)
    if process.returncode:
        raise SystemExit(process.returncode)
    return time.perf_counter() - started, peak


if __name__ == "__main__":
    sys.exit(main())
