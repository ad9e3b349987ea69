"""Tables of external runs, for comparison with what was written."""

from __future__ import annotations

import hashlib
from pathlib import Path

from branchwise.analysis.importers.run_table import RunTable


def digest(path: Path) -> dict[str, str]:
    """The SHA-256 of a file, or of each file of a folder, and of what is next to it."""
    files = [file for file in path.parent.rglob("*") if file.is_file()]
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def columns(runs: RunTable) -> dict[str, list[str]]:
    return {name: [runs.cell(name, row) for row in range(len(runs))] for name in runs.names}
