"""An authors' checkpoint becomes a teacher, and an invalid file leaves no output."""

from __future__ import annotations

import ast
import os
import pickle
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recorded_calls import RecordedCalls

import branchwise.trainables.dash as dash
from branchwise.trainables.dash.authors.checkpoints import import_checkpoint
from branchwise.trainables.dash.nets import checkpoint

GOLDEN = np.load(Path(__file__).parents[2] / "data" / "reference_small.npz")


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    """A checkpoint in the authors' format; the averaged weights are those of the golden teacher."""
    shadow = {}
    for line in GOLDEN["teacher_keys"]:
        key, shape = str(line).split(" ", 1)
        drawn = np.random.default_rng(zlib.crc32(f"teacher/{key}".encode())).standard_normal(ast.literal_eval(shape))
        if drawn.ndim >= 2:
            drawn /= np.sqrt(np.prod(drawn.shape[1:]))
        else:
            drawn = 1 + 0.1 * drawn if key.endswith("weight") else 0.1 * drawn
        shadow[key] = torch.from_numpy(drawn.astype(np.float32))
    return {
        "epoch": 500,
        "model_state_dict": {key: torch.zeros_like(value) for key, value in shadow.items()},
        "ema_state_dict": {"shadow": shadow, "mu": 0.9999, "registered": True},
        "tirt_state_dict": {"importance_adjustment": torch.linspace(-1, 1, 1000), "snr_gamma": torch.tensor(5.0)},
    }


def saved(content: Any, folder: Path) -> Path:
    torch.save(content, folder / "teacher.pth")
    return folder / "teacher.pth"


def test_imported_teacher_is_average(content: dict[str, Any], tmp_path: Path) -> None:
    import_checkpoint(saved(content, tmp_path), 10, 16, tmp_path / "teacher")
    net, importance = checkpoint.load_model(tmp_path / "teacher", "cpu")
    x, t, y = (torch.from_numpy(GOLDEN[f"unet_{name}"]) for name in "xty")
    with torch.inference_mode():
        result = net(x, t, y, return_dict=False)[0]
    expected = torch.from_numpy(GOLDEN["teacher_cond"])
    assert float((result - expected).norm() / expected.norm()) < 1e-5
    assert torch.equal(importance, torch.linspace(-1, 1, 1000))


def without(content: dict[str, Any], *path: str) -> dict[str, Any]:
    """`content` without the entry at `path`; the original is unchanged."""
    if len(path) == 1:
        return {key: value for key, value in content.items() if key != path[0]}
    return {**content, path[0]: without(content[path[0]], *path[1:])}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (("tirt_state_dict",), "lacks 'tirt_state_dict'"),
        (("ema_state_dict", "shadow"), "lacks 'shadow'"),
        (("ema_state_dict", "shadow", "class_embed.weight"), "class_embed.weight' is missing"),
        (("ema_state_dict", "shadow", "mid.attn_1.q.weight"), "Missing key"),
        (("ema_state_dict", "shadow", "down.1.block.0.conv1.weight"), "is missing"),
    ],
)
def test_incomplete_checkpoint(content: dict[str, Any], tmp_path: Path, path: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        import_checkpoint(saved(without(content, *path), tmp_path), 10, 16, tmp_path / "out")
    assert [file.name for file in tmp_path.iterdir()] == ["teacher.pth"]


def test_other_classes_are_refused(content: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="it knows 10 classes, not 100"):
        import_checkpoint(saved(content, tmp_path), 100, 16, tmp_path / "out")


def test_truncated_file_is_refused_without_writing(content: dict[str, Any], tmp_path: Path) -> None:
    file = saved(content, tmp_path)
    file.write_bytes(file.read_bytes()[:100_000])
    command = [
        sys.executable,
        "-m",
        "branchwise.cli",
        "import-reference",
        "--checkpoint",
        str(file),
        "--num-classes",
        "10",
        "--image-size",
        "16",
    ]
    run = subprocess.run([*command, "--out", str(tmp_path / "out")], capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 2
    assert run.stderr.count("\n") == 1
    assert "not a readable PyTorch checkpoint" in run.stderr
    assert [f.name for f in tmp_path.iterdir()] == ["teacher.pth"]


class Code:
    """Runs `touch FILE` when it is unpickled freely."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.file}",)


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_file_that_would_run_code_is_refused(tmp_path: Path, form: str) -> None:
    file, mark = tmp_path / "teacher.pth", tmp_path / "ran"
    if form == "pickle":
        file.write_bytes(pickle.dumps(Code(mark)))
    else:
        torch.save({"ema_state_dict": Code(mark)}, file, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(ValueError, match="only tensors and plain containers are loaded") as refusal:
        import_checkpoint(file, 10, 16, tmp_path / "out")
    with pytest.raises(ValueError, match=r"the checkpoint cannot be read: .* only tensors .* delete it from"):
        checkpoint.from_bytes(file.read_bytes(), "cpu")
    assert str(refusal.value).startswith(f"{file} is not a readable PyTorch checkpoint: it ")
    assert "posix.system" in str(refusal.value) or form == "pickle"
    assert "weights_only" not in str(refusal.value)
    assert not mark.exists()


def test_folder_serves_as_teacher_and_must_fit_data(
    tiny: dict[str, Any], teacher_folder: Path, calls: RecordedCalls, tmp_path: Path
) -> None:
    tiny["teacher"] = {"checkpoint": str(teacher_folder)}
    spec = dash.Spec.model_validate(tiny)
    assert dash.teacher_key(spec)
    dash.train_teacher(spec, tmp_path / "teacher", calls.context(tmp_path))
    for file in ("config.json", "teacher.json", "curriculum.safetensors", "diffusion_pytorch_model.safetensors"):
        assert (tmp_path / "teacher" / file).read_bytes() == (teacher_folder / file).read_bytes()


def test_folder_of_another_size_is_refused(tiny: dict[str, Any], content: dict[str, Any], tmp_path: Path) -> None:
    import_checkpoint(saved(content, tmp_path), 10, 16, tmp_path / "teacher")
    tiny["teacher"] = {"checkpoint": str(tmp_path / "teacher")}
    with pytest.raises(ValueError, match="in_channels 3, but digits asks for 1"):
        dash.teacher_key(dash.Spec.model_validate(tiny))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("importance_adjustment", torch.full((1000,), torch.nan), "the curriculum is not finite"),
        ("importance_adjustment", torch.full((1000,), torch.inf), "the curriculum is not finite"),
        ("importance_adjustment", "word", "importance_adjustment is not a tensor of numbers"),
        ("importance_adjustment", None, "importance_adjustment is not a tensor of numbers"),
        ("importance_adjustment", [0.0] * 999, "the curriculum has 999 timesteps"),
        ("snr_gamma", None, "snr_gamma is NoneType, not a number"),
        ("snr_gamma", torch.zeros(2), "snr_gamma is Tensor, not a number"),
        ("snr_gamma", float("nan"), "snr_gamma is nan, not a positive finite number"),
    ],
)
def test_odd_curriculum_is_refused(content: dict[str, Any], tmp_path: Path, key: str, value: Any, message: str) -> None:
    odd = {**content, "tirt_state_dict": {**content["tirt_state_dict"], key: value}}
    with pytest.raises(ValueError, match=message):
        import_checkpoint(saved(odd, tmp_path), 10, 16, tmp_path / "teacher")
    assert not (tmp_path / "teacher").exists()


def test_curriculum_may_be_list(content: dict[str, Any], tmp_path: Path) -> None:
    odd = {**content, "tirt_state_dict": {"importance_adjustment": [0.5] * 1000, "snr_gamma": 5}}
    import_checkpoint(saved(odd, tmp_path), 10, 16, tmp_path / "teacher")
    assert torch.equal(checkpoint.load_model(tmp_path / "teacher", "cpu")[1], torch.full((1000,), 0.5))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_named(content: dict[str, Any], tmp_path: Path, value: float) -> None:
    shadow = {name: tensor.clone() for name, tensor in content["ema_state_dict"]["shadow"].items()}
    shadow["conv_out.bias"][0] = value
    odd = {**content, "ema_state_dict": {"shadow": shadow}}
    with pytest.raises(ValueError, match=r"not finite: conv_out\.bias holds NaN or infinity"):
        import_checkpoint(saved(odd, tmp_path), 10, 16, tmp_path / "teacher")
