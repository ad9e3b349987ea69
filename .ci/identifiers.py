"""Fail on banned terms in identifiers: `python .ci/identifiers.py`, part of `make lint`.

A name states what a thing is, in the field's terms: docs/glossary.md.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path

INSTEAD = {
    "lend": "provide",
    "lent": "provided",
    "learner": "trainee, student",
    "reckon": "estimate",
    "sitting": "session",
    "the": "(leave it out)",
    "whoever": "(leave it out)",
    "yardstick": "reference",
}
PREFIXES = {"MOST_": "MAX_", "LEAST_": "MIN_"}
ALLOWED = {"as_in_the_sweep", "claims_after_the_runs", "of_the_sweep"}  # keys of files in existing run folders


def main() -> int:
    """Return 1 where a tracked Python file has such a name, else 0."""
    listed = subprocess.run(["git", "ls-files", "*.py"], capture_output=True, text=True, check=True).stdout.split("\n")
    failures = 0
    for file in (Path(name) for name in listed if name):
        if file.is_symlink():
            continue
        for token in tokenize.generate_tokens(io.StringIO(file.read_text(encoding="utf-8")).readline):
            if token.type != tokenize.NAME or token.string in ALLOWED:
                continue
            for prefix, instead in PREFIXES.items():
                if token.string.startswith(prefix):
                    print(f"{file}:{token.start[0]}: {token.string}: not {prefix}; use {instead}")
                    failures += 1
            for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", token.string):
                if instead := INSTEAD.get(part.lower()):
                    print(f"{file}:{token.start[0]}: {token.string}: not {part.lower()!r}; use {instead}")
                    failures += 1
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
