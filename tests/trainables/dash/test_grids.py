"""Grids of samples from model folders."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from branchwise.trainables.dash.evaluation.grids import sample_model, save_grid

SCRIPT = Path(__file__).parents[3] / "platform" / "sample.py"
QUICK = {"guidance": 1.5, "sampler": "ddim", "steps": 2, "seed": 0}


def test_classes_lie_across(tmp_path: Path) -> None:
    pixels = torch.arange(30, dtype=torch.uint8).view(30, 1, 1, 1).expand(30, 1, 8, 8)
    save_grid(tmp_path / "grid.png", pixels, classes=10)
    found = np.asarray(Image.open(tmp_path / "grid.png"))[::8, ::8]
    assert found.tolist() == [list(range(10)), list(range(10, 20)), list(range(20, 30))]


def test_a_grid_of_every_class_and_of_one(teacher_folder: Path, tmp_path: Path) -> None:
    sample_model(teacher_folder, tmp_path / "all.png", label=None, count=3, **QUICK)
    assert Image.open(tmp_path / "all.png").size == (80, 24)
    sample_model(teacher_folder, tmp_path / "one.png", label=7, count=5, **QUICK)
    assert Image.open(tmp_path / "one.png").size == (24, 16)


def test_bad_input_is_one_line_and_exit_code_2(teacher_folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, SCRIPT, "--model", teacher_folder, "--class", "10", "--out", tmp_path / "x.png"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 2
    assert run.stderr.strip().splitlines()[-1] == "sample: class 10: the model knows 0 to 9"
    assert not (tmp_path / "x.png").exists()


def test_guidance_of_a_single_head_is_refused(teacher_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "single"
    shutil.copytree(teacher_folder, folder)
    (folder / "student.json").write_text(json.dumps({"guidance_inside": True}))
    with pytest.raises(ValueError, match="guidance must be 1"):
        sample_model(folder, tmp_path / "x.png", label=None, count=1, **QUICK)
    sample_model(folder, tmp_path / "x.png", label=None, count=1, **{**QUICK, "guidance": 1.0})
