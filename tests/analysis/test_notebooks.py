"""The notebooks run from top to bottom on small runs that real sweeps wrote."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ANALYSIS = Path(__file__).resolve().parents[2] / "analysis"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "start"), [("ablation", ANALYSIS), ("guidance", ANALYSIS.parent), ("search", ANALYSIS)]
)
def test_a_notebook_runs(name: str, start: Path) -> None:
    notebook = nbformat.read(ANALYSIS / f"{name}.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "commit notebooks without outputs"
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(start)}}).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/svg+xml" in output.get("data", {}) or "image/png" in output.get("data", {}) for output in shown)
