"""`verify` finds what was changed after the fact, and the report's JSON fits its published schema."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from jsonschema import Draft202012Validator

from branchwise.analysis.report import REPORT_SCHEMA
from branchwise.analysis.report.build import build_report
from branchwise.analysis.verify import checks, main
from branchwise.cli import main as branchwise

RUNS = ("ablation", "search")


@pytest.fixture(scope="module")
def original(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its report, as a sweep leaves it."""
    run = tmp_path_factory.mktemp("original") / "ablation"
    shutil.copytree(root / "tests/data/runs/ablation", run)
    build_report([run])
    return run


@pytest.fixture
def reported(original: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(original, tmp_path / "ablation"))


def failed(folder: Path) -> list[str]:
    return [check.name for check in checks(folder) if not check.holds]


def test_untouched_run_verifies(reported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert failed(reported) == []
    assert main([str(reported)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["holds"] * len(lines)
    assert "2, as sealed at " in lines[0]


def _edit(file: str, change: Callable[[str], str]) -> Callable[[Path], None]:
    def edit(run: Path) -> None:
        (run / file).write_text(change((run / file).read_text()))

    return edit


def _without_an_arm(run: Path) -> None:
    pd.read_parquet(run / "arms.parquet").iloc[1:].to_parquet(run / "arms.parquet")
    (run / "SHA256SUMS").unlink(missing_ok=True)


def _another_value(run: Path) -> None:
    arms = pd.read_parquet(run / "arms.parquet")
    arms["value"] = arms["value"].mask(arms.index == 0, arms["value"] * 0.9)
    arms.to_parquet(run / "arms.parquet")
    (run / "SHA256SUMS").unlink(missing_ok=True)


def _another_measure(run: Path) -> None:
    arms = pd.read_parquet(run / "arms.parquet")
    arms.loc[0, "comparability_key"] = '{"metric": "fd_digits64", "samples": 700}'
    arms.to_parquet(run / "arms.parquet")
    (run / "SHA256SUMS").unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("change", "fail"),
    [
        (_edit("space.yaml", lambda text: text.replace("> 0.6", "> 0.1")), {"claims", "space", "numbers"}),
        (_edit("space.yaml", lambda text: text + "\n"), {"space", "numbers"}),
        (_edit("report/ablation.json", lambda text: text.replace('"verdict": "', '"verdict": "not ')), {"numbers"}),
        (lambda run: shutil.rmtree(run / "report"), {"numbers"}),
        (_without_an_arm, {"stopping rule", "numbers"}),
        (_another_value, {"numbers"}),
        (_another_measure, {"measure", "numbers"}),
    ],
)
def test_later_changes_are_detected(change: Any, fail: set[str], reported: Path) -> None:
    change(reported)
    assert set(failed(reported)) - {"records"} == fail
    assert main([str(reported)]) == 1


def test_job_can_wait_for_verdict(reported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = json.loads((reported / "report/ablation.json").read_text())
    verdicts = {claim["text"]: claim["verdict"] for claim in report["claims"]}
    for text, verdict in verdicts.items():
        assert main([str(reported), "--require", text.replace(" ", "")]) == (verdict != "supported")
    assert main([str(reported), "--require"]) == any(verdict != "supported" for verdict in verdicts.values())
    capsys.readouterr()
    assert main([str(reported), "--require", "anchor.shapley > 7"]) == 2
    assert "is no claim of " in capsys.readouterr().err
    assert main([str(reported.parent)]) == 2


@pytest.mark.parametrize("runs", [RUNS[:1], RUNS[1:], RUNS])
def test_report_follows_its_schema(runs: tuple[str, ...], root: Path, tmp_path: Path) -> None:
    validator = Draft202012Validator(json.loads(REPORT_SCHEMA.read_text()))
    for i, name in enumerate(runs):
        shutil.copytree(root / "tests/data/runs" / name, tmp_path / f"run{i}")
    if len(runs) > 1:  # measured differently, they share no report
        shutil.rmtree(tmp_path / "run1")
        shutil.copytree(tmp_path / "run0", tmp_path / "run1")
    build_report([tmp_path / f"run{i}" for i in range(len(runs))], tmp_path / "report")
    report = json.loads((tmp_path / "report/ablation.json").read_text())
    assert [error.message for error in validator.iter_errors(report)] == []
    first = report["runs"][0] if len(runs) > 1 else report
    for key, wrong in (("format", 1), ("claims", [{"text": "x"}]), ("cells", {}), ("metric", None), ("missing", [1])):
        right, first[key] = first[key], wrong
        assert not validator.is_valid(report), key
        first[key] = right


def test_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert branchwise(["schema", "report"]) == 0
    printed = json.loads(capsys.readouterr().out)
    Draft202012Validator.check_schema(printed)
    assert printed["$id"] == "urn:branchwise:ablation:2"
