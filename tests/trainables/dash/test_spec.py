"""Settings that cannot work are refused when they are read, without torch."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import branchwise.trainables.dash as dash
from branchwise.orchestration.space import load_space
from branchwise.trainables.dash.settings import cost
from branchwise.trainables.dash.settings.spec import UNet
from branchwise.trainables.runtime.settings import patched


def changed(tiny: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    tree = copy.deepcopy(tiny)
    *sections, last = path.split(".")
    node: Any = tree
    for section in sections:
        node = node.setdefault(section, {})
    node[last] = value
    return tree


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("student.norm_groups", 8, "erases the time and class embeddings"),
        ("teacher.channels", [8, 10], "multiple of norm_groups"),
        ("student.attention_at", [5], "attention_at: 5 is not a resolution"),
        ("student.channels", [8, 8, 8, 8, 8], "cannot halve 8 pixels evenly"),
        ("evaluate.samples", 500, "at least 640"),
        ("evaluate.gap_bins", 5, "greater than or equal to 10"),
        ("method.anchor_weight", -1.0, "greater than or equal to 0"),
        ("method", {"imitation_weight": 0.0, "uncond_weight": 0.0, "anchor_weight": 0.0}, "nothing to learn from"),
        ("method", {"objective": "scratch"}, "has no teacher"),
        ("evaluate.guidance", {"scale": 2.0, "t_low": 500, "t_high": 400}, "t_low 500 is above t_high 400"),
        ("evaluate.guidance", {"w_max": 3.0, "beta": 0.0}, "greater than 0"),
        ("evaluate.sampler", "euler", "must be one of ddim, dpmpp_2m, unipc"),
        ("teacher.label_dropout", 0.0, "trains no unconditional branch"),
        ("method", {"objective": "scratch", "curriculum": "learned", "label_dropout": 0.0}, "no unconditional branch"),
        ("train.steps", 0, "greater than 0"),
        ("train.speed", 1, "Extra inputs are not permitted"),
        ("train.lr", "fast", "valid number"),
    ],
)
def test_refused(tiny: dict[str, Any], path: str, value: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        dash.Spec.model_validate(changed(tiny, path, value))


def test_every_baseline_fits_a_spec(spec: dash.Spec) -> None:
    for name, patch in dash.BASELINES.items():
        assert patched(spec, patch).method.objective == name


def test_planning_needs_no_torch(tiny: dict[str, Any]) -> None:
    code = (
        "import sys, branchwise.trainables.dash as d;"
        f"s = d.Spec.model_validate({tiny!r});"
        "d.estimate_cohort([s], 1), d.estimate_teacher(s, 2), d.teacher_key(s), d.evaluation_key(s);"
        "print([m for m in ('torch', 'diffusers', 'ray', 'sklearn') if m in sys.modules])"
    )
    root = Path(__file__).parents[3]
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert out.stdout.strip() == "[]"


def test_teacher_key_depends_on_what_the_weights_depend_on(spec: dash.Spec) -> None:
    key = dash.teacher_key(spec)
    assert dash.teacher_key(patched(spec, {"teacher.workers": 1})) == key
    assert dash.teacher_key(patched(spec, {"train.lr": 1e-4})) == key
    assert dash.teacher_key(patched(spec, {"teacher.seed": 1})) != key
    assert dash.evaluation_key(spec) != dash.evaluation_key(patched(spec, {"evaluate.guidance": 2.0}))


def test_teacher_key_of_a_checkpoint_is_of_its_weights(tiny: dict[str, Any], tmp_path: Path) -> None:
    tree = changed(tiny, "teacher", {"checkpoint": str(tmp_path)})
    with pytest.raises(FileNotFoundError, match=r"teacher\.checkpoint"):
        dash.teacher_key(dash.Spec.model_validate(tree))
    (tmp_path / "config.json").write_text('{"in_channels": 1, "sample_size": 8, "num_class_embeds": 11}')
    (tmp_path / "curriculum.safetensors").touch()
    weights = tmp_path / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(b"one")
    one = dash.teacher_key(dash.Spec.model_validate(tree))
    weights.write_bytes(b"two")
    assert dash.teacher_key(dash.Spec.model_validate(tree)) != one


def test_macs_are_the_papers() -> None:
    teacher = UNet(channels=(128, 256, 256, 256), res_blocks=2, attention_at=(16,))
    student = UNet(channels=(64, 128, 128, 128), res_blocks=1, attention_at=(16,))
    assert cost.forward_macs(teacher, (3, 32, 32)) == pytest.approx(6.22e9, rel=1e-3)
    assert cost.forward_macs(student, (3, 32, 32)) == pytest.approx(1.08e9, rel=5e-3)


def test_a_plan_counts_no_teacher_pass_for_those_that_take_none(spec: dash.Spec) -> None:
    alike = {"teacher.attention_at": (), "curriculum": "uniform"}  # then the pruned teacher costs what the student does
    seconds = {
        name: dash.estimate_cohort([patched(spec, {**alike, "objective": name})], 1)
        for name in ("conditional", "scratch", "pruning")
    }
    assert seconds["pruning"] == pytest.approx(seconds["scratch"])
    assert seconds["conditional"] > seconds["scratch"]


def test_the_old_word_for_the_authors_weighting_still_works(tiny: dict[str, Any]) -> None:
    new = changed(changed(tiny, "teacher.snr_weighting", "authors"), "method", {"snr_weighting": "authors"})
    old = changed(changed(tiny, "teacher.snr_weighting", "reference"), "method", {"snr_weighting": "reference"})
    with pytest.warns(FutureWarning, match="snr_weighting: reference is now called authors"):
        read = dash.Spec.model_validate(old)
    assert read == dash.Spec.model_validate(new)


@pytest.mark.parametrize(
    ("space", "settings", "key"),
    [
        ("ablation", [], "66bdbb758feb04aa"),
        ("cifar10_ablation", ["teacher.precision=fp32"], "8e550910f54627f6"),
        ("imagenet64_ablation", [], "a590954816dd7c0c"),
    ],
)
def test_teachers_that_exist_are_found_again(root: Path, space: str, settings: list[str], key: str) -> None:
    assert dash.teacher_key(load_space(root / f"search_spaces/{space}.yaml", settings).spec) == key


FULL_SIZE = [
    file.stem for file in Path(__file__).parents[3].glob("search_spaces/*.yaml") if "gpus_per" in file.read_text()
]


@pytest.mark.parametrize("space", FULL_SIZE)
def test_spaces_for_gpus_train_in_bf16_and_fast_and_exact_is_one_setting_away(root: Path, space: str) -> None:
    file = root / f"search_spaces/{space}.yaml"
    spec = load_space(file).spec
    assert (spec.train.precision, spec.train.mode) == (spec.teacher.precision, spec.teacher.mode) == ("bf16", "fast")
    exact = load_space(file, ["train.mode=exact"]).spec
    assert exact.train.mode == "exact"
    assert dash.teacher_key(exact) == dash.teacher_key(spec)
