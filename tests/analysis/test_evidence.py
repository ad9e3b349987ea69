"""Committed evidence is what the code makes of the runs' tables."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from branchwise.analysis.across import across, write_report
from branchwise.analysis.records.folder import load_run, parts
from branchwise.analysis.report.build import numbers_of
from branchwise.analysis.report.claims import claims_table
from branchwise.analysis.report.tables import attribution_table
from branchwise.analysis.report.text import with_minus
from branchwise.analysis.statistics.findings import analyze_part

ROOT = Path(__file__).resolve().parents[2]
STORED_RUNS = sorted((ROOT / "docs/evidence").rglob("*.run"))


def check(stored: Path) -> None:
    """The numbers next to a run's tables are those of the tables, and the page shows them."""
    base = stored.with_suffix("")
    committed, created = (json.loads(text) for text in (base.with_suffix(".json").read_text(), numbers_of(stored)))
    _same(committed, created, stored.name)
    visible_text = _visible_text(base.with_suffix(".html").read_text(encoding="utf-8"))
    for part in parts(load_run(stored)):
        findings = analyze_part(part)
        for table in (claims_table([findings]), attribution_table([findings])):
            for row in table.rows:
                for cell in row[1:]:
                    assert _visible_text(with_minus(cell)) in visible_text, f"{stored.name}: {table.title}: {cell}"


def _same(committed: object, created: object, where: str) -> None:
    """Equal, numbers to nine digits: other processors round the last ones otherwise."""
    if isinstance(committed, dict) and isinstance(created, dict):
        assert committed.keys() == created.keys(), where
        for key in committed:
            _same(committed[key], created[key], f"{where}: {key}")
    elif isinstance(committed, list) and isinstance(created, list):
        assert len(committed) == len(created), where
        for i, pair in enumerate(zip(committed, created, strict=True)):
            _same(*pair, f"{where}[{i}]")
    elif isinstance(committed, float) and isinstance(created, float):
        assert created == pytest.approx(committed, rel=1e-9, abs=1e-12), where
    else:
        assert committed == created, where


def _visible_text(text: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


def test_side_by_side_data_sets_match_code(tmp_path: Path) -> None:
    runs = [ROOT / f"docs/evidence/{name}/ablation.run" for name in ("digits", "fashion")]
    committed = ROOT / "docs/evidence/digits-and-fashion/across.json"
    if not committed.is_file():
        pytest.skip("not committed: the command is in docs/evidence/README.md")
    created = write_report(across(runs), tmp_path / "across") / "across.json"
    _same(json.loads(committed.read_text()), json.loads(created.read_text()), "across")


@pytest.mark.parametrize("stored", STORED_RUNS, ids=lambda path: path.name)
def test_evidence_matches_code(stored: Path) -> None:
    check(stored)


def test_evidence_is_stored_with_its_tables(tmp_path: Path) -> None:
    out = tmp_path / "docs" / "digits"
    ran = subprocess.run(
        [sys.executable, "docs/evidence.py", str(_copy(tmp_path)), "--out", str(out)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    stored = out.with_name("digits.run")
    assert sum(path.stat().st_size for path in stored.rglob("*")) < 1_000_000
    check(stored)
    numbers = out.with_suffix(".json")
    changed = json.loads(numbers.read_text())
    changed["model"]["residual_sd"] *= 1.001
    numbers.write_text(json.dumps(changed))
    with pytest.raises(AssertionError, match="residual_sd"):
        check(stored)


def _copy(parent: Path) -> Path:
    import shutil

    return Path(shutil.copytree(ROOT / "tests/data/runs/ablation", parent / "run"))
