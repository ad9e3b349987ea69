"""How long `import branchwise` and `branchwise --help` take, each in fresh interpreters.

python benchmarks/imports.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RUNS = 11
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import branchwise": ["-c", "import branchwise"],
    "branchwise --help": ["-m", "branchwise.cli", "--help"],
    "branchwise run --help": ["-m", "branchwise.cli", "run", "--help"],
}


def seconds(arguments: list[str]) -> float:
    """The median over RUNS processes, without the first, which fills caches."""
    times = []
    for _ in range(RUNS + 1):
        started = time.perf_counter()
        subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


if __name__ == "__main__":
    print(f"| what | median of {RUNS}, s |\n| --- | ---: |")
    for name, arguments in COMMANDS.items():
        print(f"| `{name}` | {seconds(arguments):.3f} |")
