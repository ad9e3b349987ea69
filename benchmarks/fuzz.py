"""Invalid spaces and arguments: does each result in a plan or a single message, within seconds?

    PYTHONPATH=tests/helpers python benchmarks/fuzz.py [--cases 10000] [--seed 0]

Each case takes a real space, changes its text or its tree or adds mutated `--set`, and requests a dry run. A
finding is a traceback, a case of more than 5 s, a refusal that is not a printable line, or a plan with two equal rows
or a component without an effect on settings.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from _common import show
from fuzzing import LIMIT_SECONDS, examine, mutated


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    findings = []
    with tempfile.TemporaryDirectory(prefix="branchwise-fuzz-") as scratch:
        for number in range(options.cases):
            case = mutated(f"{options.seed}/{number}")
            verdict = examine(case, Path(scratch))
            outcomes[f"{case.how}: {verdict.outcome}"] += 1
            slowest = max(slowest, verdict.seconds)
            if verdict.finding:
                findings.append((number, verdict.finding))
                print(f"case {number} ({case.how}): {verdict.finding}\n  --set {case.overrides}", file=sys.stderr)
    rows = [[outcome, f"{count:,}"] for outcome, count in sorted(outcomes.items())]
    note = f"{len(findings)} findings; the slowest case took {slowest:.1f} s (limit {LIMIT_SECONDS:.0f} s)."
    show(f"{options.cases:,} spaces and arguments with something wrong, seed {options.seed}", ["case", "n"], rows, note)
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
