"""`python -m analysis`: what it prints, what it refuses, what it imports."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from branchwise.analysis.__main__ import main

ROOT = Path(__file__).parents[2]


def test_prints_findings_and_report_path(make_run: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run(claims=["uncond_branch.share > 0.5"])
    assert main([str(folder)]) == 0
    out = capsys.readouterr().out
    assert "uncond_branch: lowers fd_digits64 by" in out
    assert "supported" in out
    assert str(folder / "report" / "index.html") in out.replace("\n", "")


def test_out(make_run: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_run()
    assert main([str(folder), "--out", str(tmp_path / "elsewhere")]) == 0
    assert (tmp_path / "elsewhere" / "index.html").is_file()
    assert not (folder / "report").exists()


def bad_yaml(folder: Path) -> None:
    (folder / "space.yaml").write_text("name: [")


def tagged_yaml(folder: Path) -> None:
    (folder / "space.yaml").write_text("name: !!bool abc")


def deep_yaml(folder: Path) -> None:
    (folder / "space.yaml").write_text("name: " + "[" * 9000)


def list_yaml(folder: Path) -> None:
    (folder / "space.yaml").write_text("- a\n- b\n")


def no_space(folder: Path) -> None:
    (folder / "space.yaml").unlink()


def bad_parquet(folder: Path) -> None:
    (folder / "arms.parquet").write_bytes(b"not parquet at all")


def bad_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("{")


def doubled_arm(folder: Path) -> None:
    arms = pd.read_parquet(folder / "arms.parquet")
    pd.concat([arms, arms.iloc[:1]]).to_parquet(folder / "arms.parquet")


@pytest.mark.parametrize(
    "harm", [bad_yaml, tagged_yaml, deep_yaml, list_yaml, no_space, bad_parquet, bad_manifest, doubled_arm]
)
def test_bad_folder_is_refused_without_writing(
    make_run: Callable[..., Path], capsys: pytest.CaptureFixture[str], harm: Callable[[Path], None]
) -> None:
    folder = make_run()
    harm(folder)
    before = sorted(folder.iterdir())
    assert main([str(folder)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert str(folder) in captured.err
    assert captured.err.count("\n") == 1
    assert sorted(folder.iterdir()) == before


def test_folder_that_does_not_exist(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nowhere")]) == 2
    assert "nowhere is not a run folder" in capsys.readouterr().err


def test_neither_torch_nor_ray_is_imported(make_run: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_run(baselines=())
    code = ("import sys; from branchwise.analysis.__main__ import main; code = main(sys.argv[1:]); "
            "print(sorted({'torch', 'ray', 'orchestration'} & set(sys.modules))); sys.exit(code)")  # fmt: skip
    ran = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert ran.stdout.endswith("[]\n")
    assert ran.stderr == ""
