"""The notebooks run from top to bottom on small runs that real sweeps wrote."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from patience import patience

ANALYSIS = Path(__file__).resolve().parents[2] / "analysis"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "start"), [("ablation", ANALYSIS), ("guidance", ANALYSIS.parent), ("search", ANALYSIS)]
)
def test_notebook_runs(name: str, start: Path) -> None:
    notebook = nbformat.read(ANALYSIS / f"{name}.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "commit notebooks without outputs"
    NotebookClient(notebook, timeout=round(patience(120)), resources={"metadata": {"path": str(start)}}).execute()
    rows = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/svg+xml" in output.get("data", {}) or "image/png" in output.get("data", {}) for output in rows)


@pytest.mark.slow(60)
def test_quick_start_goes_from_function_to_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ANALYSIS.parent))
    notebook = nbformat.read(ANALYSIS / "quickstart.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "commit notebooks without outputs"
    NotebookClient(notebook, timeout=round(patience(300)), resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    text = "\n".join(output.get("data", {}).get("text/plain", "") for output in outputs)
    assert "augment: raises accuracy by" in text
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert (tmp_path / "results/quickstart/report/index.html").is_file()
