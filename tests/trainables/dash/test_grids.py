"""Grids of samples from model folders."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from branchwise.cli import main as branchwise
from branchwise.trainables.dash.evaluation import efficiency
from branchwise.trainables.dash.evaluation.grids import sample_model, save_grid
from branchwise.trainables.dash.nets import unet
from branchwise.trainables.dash.settings.spec import UNet

QUICK: dict[str, Any] = {"guidance": 1.5, "sampler": "ddim", "steps": 2, "seed": 0}


def test_classes_form_columns(tmp_path: Path) -> None:
    pixels = torch.arange(30, dtype=torch.uint8).view(30, 1, 1, 1).expand(30, 1, 8, 8)
    save_grid(tmp_path / "grid.png", pixels, classes=10)
    result = np.asarray(Image.open(tmp_path / "grid.png"))[::8, ::8]
    assert result.tolist() == [list(range(10)), list(range(10, 20)), list(range(20, 30))]


def test_grid_of_all_classes_and_of_single_class(teacher_folder: Path, tmp_path: Path) -> None:
    sample_model(teacher_folder, tmp_path / "all.png", label=None, count=3, **QUICK)
    assert Image.open(tmp_path / "all.png").size == (80, 24)
    sample_model(teacher_folder, tmp_path / "one.png", label=7, count=5, **QUICK)
    assert Image.open(tmp_path / "one.png").size == (24, 16)


def test_bad_input_prints_single_line_and_exits_with_2(teacher_folder: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "branchwise.cli",
        "sample",
        "--model",
        str(teacher_folder),
        "--class",
        "10",
        "--out",
        "x.png",
    ]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 2
    assert run.stderr.strip().splitlines()[-1] == "branchwise sample: class 10: the model knows 0 to 9"
    assert not (tmp_path / "x.png").exists()


def test_guidance_of_single_head_is_refused(teacher_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "single"
    shutil.copytree(teacher_folder, folder)
    (folder / "student.json").write_text(json.dumps({"guidance_inside": True}))
    with pytest.raises(ValueError, match="guidance must be 1"):
        sample_model(folder, tmp_path / "x.png", label=None, count=1, **QUICK)
    sample_model(folder, tmp_path / "x.png", label=None, count=1, **{**QUICK, "guidance": 1.0})


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # diffusers' schedulers with numpy 2
def test_command_accepts_valid_guidance_only(teacher_folder: Path, tmp_path: Path) -> None:

    given = ["--model", str(teacher_folder), "--n", "1", "--steps", "2", "--out", str(tmp_path / "x.png")]
    pictures = []
    for guidance in ("2", "{w_min: 1.0, w_max: 3.0, beta: 5.0}", "{scale: 2.0, t_low: 100, t_high: 800}"):
        for sampler in ("ddim", "dpmpp_2m", "unipc"):
            assert branchwise(["sample", *given, "--guidance", guidance, "--sampler", sampler, "--batch", "3"]) == 0
            pictures.append((tmp_path / "x.png").read_bytes())
    assert len(set(pictures)) > 3
    (tmp_path / "x.png").unlink()
    for wrong in ("much", "-1", "{w_min: 1.0, wide: 2}", "{choose: [1.0, 2.0]}", ".nan", "1e30"):
        assert branchwise(["sample", *given, "--guidance", wrong]) == 2
    for option, wrong in (("--steps", "1"), ("--steps", "1001"), ("--seed", "-1"), ("--n", "0")):
        assert branchwise(["sample", *given, option, wrong]) == 2
    assert not (tmp_path / "x.png").exists()


def test_command_accepts_arm_of_run(teacher_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:

    from branchwise.trainables.runtime.run_folder import RunFolder
    from branchwise.trainables.runtime.storage import Storage

    run = RunFolder(Storage(str(tmp_path / "runs")), "one")
    run.write_plan({})
    run.write_record("full-b0", {})
    run.put_model("full-b0", teacher_folder)
    options = ["--storage", str(tmp_path / "runs"), "--n", "1", "--steps", "2", "--out", str(tmp_path / "x.png")]
    assert branchwise(["sample", "--run", "one", "--arm", "full-b0", *options]) == 0
    assert (tmp_path / "x.png").is_file()
    for given, message in (
        (["--run", "one", "--arm", "base-b0"], "there are: full-b0"),
        (["--run", "two", "--arm", "full-b0"], "no such run"),
        (["--run", "one"], "go together"),
    ):
        assert branchwise(["sample", *given, *options]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("channels", "blocks", "gflop"), [((128, 256, 256, 256), 2, 1244.4), ((64, 128, 128, 128), 1, 215.2)]
)
def test_papers_arithmetic(channels: tuple[int, ...], blocks: int, gflop: float) -> None:
    """The paper tabulates 1,247.8 and 216.3 GFLOP for 50 guided steps of its nets."""
    net = unet.build(UNet(channels=channels, res_blocks=blocks, attention_at=(16,)), (3, 32, 32), 10, 0)
    assert efficiency.sample_gflop(net, (3, 32, 32), 4.0, 50) == pytest.approx(gflop, rel=1e-3)
    assert efficiency.sample_gflop(net, (3, 32, 32), 1.0, 50) == pytest.approx(gflop / 2, rel=1e-3)


def test_peak_memory_is_measured() -> None:
    with efficiency.peak_memory(torch.device("cpu")) as peak:
        torch.ones(50_000_000)  # 200 MB
    assert peak.megabytes is None or 150 < peak.megabytes < 400
