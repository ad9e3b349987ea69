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
from branchwise.trainables.dash.settings.guidance import TagGuidance
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
        ("evaluate.repeats", 10**18, "less than or equal to 1000"),
        ("method.anchor_weight", -1.0, "greater than or equal to 0"),
        ("method", {"imitation_weight": 0.0, "uncond_weight": 0.0, "anchor_weight": 0.0}, "nothing to learn from"),
        ("method", {"objective": "scratch"}, "has no teacher"),
        ("evaluate.guidance", {"scale": 2.0, "t_low": 500, "t_high": 400}, "t_low 500 is above t_high 400"),
        ("evaluate.guidance", {"w_max": 3.0, "beta": 0.0}, "greater than 0"),
        ("evaluate.sampler", "euler", "must be one of ddim, ddim_consistent, dpmpp_2m, unipc"),
        ("evaluate.guidance", {"choose": [1.0]}, "at least 2 items"),
        (
            "evaluate.guidance",
            {"choose": [1.0, {"w_max": 3.0}, {"w_max": 3.0}]},
            "duplicate guidance scale adaptive 1 to 3, beta 5",
        ),
        ("evaluate.guidance", {"choose": [1.0, {"choose": [1.0, 2.0]}]}, "Input tag 'choose'"),
        ("evaluate.sampler_steps", 1, "greater than or equal to 2"),
        ("evaluate.at_steps", [4, 2], "each step must be above the one before"),
        ("evaluate.at_steps", [2, 6], "at_steps: 6 is not below train.steps 6"),
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


def test_baselines_fit_spec(spec: dash.Spec) -> None:
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


def test_teacher_key_depends_on_what_weights_depend_on(spec: dash.Spec) -> None:
    key = dash.teacher_key(spec)
    assert dash.teacher_key(patched(spec, {"teacher.workers": 1})) == key
    assert dash.teacher_key(patched(spec, {"train.lr": 1e-4})) == key
    assert dash.teacher_key(patched(spec, {"teacher.seed": 1})) != key
    assert dash.evaluation_key(spec) != dash.evaluation_key(patched(spec, {"evaluate.guidance": 2.0}))


def test_teacher_evaluation_ignores_student_settings(spec: dash.Spec) -> None:
    assert dash.evaluation_key(patched(spec, {"evaluate.at_steps": (2,)})) == dash.evaluation_key(spec)


def test_rule_for_guidance_survives_json_and_waits_for_teacher(tiny: dict[str, Any]) -> None:
    rule = {"choose": [1.0, {"w_min": 1.0, "w_max": 3.0, "beta": 5.0}, {"scale": 2.0, "t_low": 0, "t_high": 400}]}
    spec = dash.Spec.model_validate(changed(tiny, "evaluate.guidance", rule))
    assert dash.Spec.model_validate(spec.model_dump(mode="json")) == patched(spec, {}) == spec
    for chosen in rule["choose"]:
        fixed = dash.Spec.model_validate(changed(tiny, "evaluate.guidance", chosen))
        assert spec.evaluate.resolved({"chosen_guidance": chosen}) == {"": fixed.evaluate}
        assert fixed.evaluate.resolved({}) == {"": fixed.evaluate}
    with pytest.raises(ValueError, match="the teacher was not evaluated under it"):
        spec.evaluate.resolved({"value": 1.0})


def test_teachers_with_chosen_guidance_are_not_compared(spec: dash.Spec) -> None:
    other = {"teacher.steps": 7}
    assert dash.comparability_key(patched(spec, other)) == dash.comparability_key(spec)
    rule = patched(spec, {"evaluate.guidance": {"choose": [1.0, 2.0]}})
    assert dash.comparability_key(patched(rule, other)) != dash.comparability_key(rule)


def test_plan_counts_candidates_and_budgets(spec: dash.Spec) -> None:
    def seconds(**evaluate: Any) -> tuple[float, float]:
        changed = patched(spec, {f"evaluate.{key}": value for key, value in evaluate.items()})
        return dash.estimate_teacher(changed, 1, trained=True), dash.estimate_cohort([changed], 1)

    teacher, student = seconds(guidance=2.0)
    first, _ = seconds(guidance={"choose": [2.0, 3.0]})
    two, follower = seconds(guidance={"choose": [2.0, 3.0, 4.0]})
    assert (first - teacher) / 2 == pytest.approx(two - first)  # a further candidate is a further set of samples
    assert follower == student
    same, measured = seconds(guidance=2.0, at_steps=(2, 4))
    assert same == teacher
    assert measured > student
    named, further = seconds(guidance=2.0, also={"strong": {"guidance": 4.0, "repeats": 1}})
    fewer, _ = seconds(guidance=2.0, teacher_samples=640)
    assert named > teacher > fewer
    assert further > student
    repeated, doubled = seconds(guidance=2.0, also={"strong": {"guidance": 4.0, "repeats": 2}})
    assert repeated - named == pytest.approx(doubled - further, rel=0.5)


def test_teacher_key_of_checkpoint_is_of_its_weights(tiny: dict[str, Any], tmp_path: Path) -> None:
    tree = changed(tiny, "teacher", {"checkpoint": str(tmp_path)})
    with pytest.raises(FileNotFoundError, match=r"teacher\.checkpoint"):
        dash.teacher_key(dash.Spec.model_validate(tree))
    (tmp_path / "config.json").write_text('{"in_channels": 1, "sample_size": 8, "num_class_embeds": 11}')
    (tmp_path / "curriculum.safetensors").touch()
    weights = tmp_path / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(b"one")
    first = dash.teacher_key(dash.Spec.model_validate(tree))
    weights.write_bytes(b"two")
    assert dash.teacher_key(dash.Spec.model_validate(tree)) != first


def test_plan_counts_no_teacher_pass_for_those_that_take_none(spec: dash.Spec) -> None:
    shared = {
        "teacher.attention_at": (),
        "curriculum": "uniform",
    }  # then the pruned teacher costs what the student does
    seconds = {
        name: dash.estimate_cohort([patched(spec, {**shared, "objective": name})], 1)
        for name in ("conditional", "scratch", "pruning")
    }
    assert seconds["pruning"] == pytest.approx(seconds["scratch"])
    assert seconds["conditional"] > seconds["scratch"]


@pytest.mark.parametrize(
    ("space", "overrides", "key"),
    [
        ("ablation", [], "8ba7c9bf2ab84e1d"),
        (
            "cifar10_ablation",
            ["teacher.steps=351500", "teacher.precision=fp32"],
            "5118ab2a6865e717",
        ),
        # Its images are a folder, which is addressed by its content: here there is none.
        ("imagenet64_ablation", [], "33ba9ee7b0ea4b51"),
    ],
)
def test_addresses_of_teachers(root: Path, space: str, overrides: list[str], key: str) -> None:
    assert dash.teacher_key(load_space(root / f"search_spaces/{space}.yaml", overrides).spec) == key


@pytest.mark.parametrize("space", ["cifar10_ablation", "cifar100_ablation"])
def test_full_size_spaces_count_last_partial_batch(root: Path, space: str) -> None:
    spec = load_space(root / f"search_spaces/{space}.yaml").spec
    epoch = -(-45_000 // spec.train.batch_size)
    assert epoch == 704
    assert (spec.teacher.steps, spec.train.steps) == (500 * epoch, 270 * epoch)


@pytest.mark.parametrize("space", ["cifar10_ablation", "cifar100_ablation", "imagenet64_ablation"])
def test_full_size_spaces_measure_as_authors_code_does(root: Path, space: str) -> None:
    evaluate = load_space(root / f"search_spaces/{space}.yaml").spec.evaluate
    assert evaluate.guidance == TagGuidance(w_min=1.0, w_max=4.0, beta=5.0)
    assert evaluate.guidance_grid == (4.0,)
    assert evaluate.repeats >= 2
    assert evaluate.gap_samples * evaluate.gap_bins == 10_000


FULL_SIZE = [
    file.stem for file in Path(__file__).parents[3].glob("search_spaces/*.yaml") if "gpus_per" in file.read_text()
]


@pytest.mark.parametrize("space", FULL_SIZE)
def test_gpu_spaces_train_fast_in_bf16(root: Path, space: str) -> None:
    file = root / f"search_spaces/{space}.yaml"
    spec = load_space(file).spec
    assert (spec.train.precision, spec.train.mode) == (spec.teacher.precision, spec.teacher.mode) == ("bf16", "fast")
    exact = load_space(file, ["train.mode=exact"]).spec
    assert exact.train.mode == "exact"
    assert dash.teacher_key(exact) == dash.teacher_key(spec)
