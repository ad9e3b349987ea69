"""Cohorts: the result of an arm must not depend on its cohort, on an interruption, or on another arm's fate."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DModel
from PIL import Image
from recorded_calls import RecordedCalls
from safetensors.torch import load_file

import branchwise.trainables.dash as dash
from branchwise.trainables import Arm
from branchwise.trainables.dash.diffusion import schedule
from branchwise.trainables.dash.nets import checkpoint
from branchwise.trainables.dash.settings.spec import Method, Optimization
from branchwise.trainables.dash.training import cohort
from branchwise.trainables.dash.training.objectives import Losses
from branchwise.trainables.dash.training.trainee import Trainee
from branchwise.trainables.runtime.settings import patched

PATCHES: dict[str, dict[str, Any]] = {
    "full": {},
    "imitation": {"uncond_weight": 0.0, "anchor_weight": 0.0, "curriculum": "uniform"},
    "uncond": {"imitation_weight": 0.0, "anchor_weight": 0.0},
    "learned": {"curriculum": "learned"},
    "dropout": {"student.dropout": 0.1},
    **dash.BASELINES,
}
COLUMNS = {
    "metric", "value", "value_repeats", "kid", "inception_score", "rho", "cos_delta", "gap_mse", "relative_gap",
    "mse_cond", "mse_uncond", "student_params", "teacher_params", "compression", "steps", "train_seconds",
    "eval_seconds", "sample_seconds", "device", "comparability_key", "student_sha256", "floor_halves",
    "floor_halves_samples", "floor_held_out", "floor_held_out_samples", "precision", "recall", "density", "coverage",
    "sample_gflop", "sample_memory",
}  # fmt: skip


def arms_of(spec: dash.Spec, *names: str) -> list[Arm]:
    return [Arm(name=name, seed=3, spec=patched(spec, PATCHES[name])) for name in names]


def run(
    arms: list[Arm], calls: RecordedCalls, teacher: Path, scratch: Path, files: Path | None = None
) -> RecordedCalls:
    scratch.mkdir()
    dash.run_cohort(arms, calls.context(scratch, teacher, evaluation_files=files))
    return calls


def weights(calls: RecordedCalls, name: str) -> dict[str, torch.Tensor]:
    return load_file(calls.student(name) / "diffusion_pytorch_model.safetensors")


def without_time(values: Any) -> dict[str, Any]:
    of_process = ("_seconds", "sample_memory")
    return {key: value for key, value in values.items() if not key.endswith(of_process)}


def test_cohort_writes_columns_and_diffusers_students(
    spec: dash.Spec, teacher_folder: Path, calls: RecordedCalls, tmp_path: Path
) -> None:
    run(arms_of(spec, "full"), calls, teacher_folder, tmp_path / "scratch")
    result = calls.results["full"]
    assert result.status == "done"
    assert set(result.values) == COLUMNS
    assert all(math.isfinite(result.values[c]) for c in ("value", "kid", "rho", "gap_mse", "train_seconds"))
    assert all(result.values[c] > 0 for c in ("mse_cond", "mse_uncond"))
    assert [row["step"] for row in result.tables["curves"]] == [2, 4, 6]
    assert len(result.tables["gaps"]) == 10
    folder = calls.student("full")
    net = UNet2DModel.from_pretrained(folder, low_cpu_mem_usage=False)
    assert sum(p.numel() for p in net.parameters()) == result.values["student_params"]
    assert load_file(folder / "curriculum.safetensors")["lambda"].shape == (1000,)
    assert Image.open(folder / "samples.png").size == (80, 64)
    last = {report["phase"]: report for report in calls.reports}
    assert set(last) == {"train", "evaluate"}
    assert all(report["step"] == report["steps"] for report in last.values())


@pytest.mark.parametrize("patch", [{"train.steps": 8}, {"train.batch_size": 8}, {"evaluate.guidance": 2.0}])
def test_arms_that_differ_in_what_cohort_shares_are_refused(
    spec: dash.Spec, teacher_folder: Path, calls: RecordedCalls, tmp_path: Path, patch: dict[str, Any]
) -> None:
    other = Arm(name="other", seed=3, spec=patched(spec, patch))
    with pytest.raises(ValueError, match="arms full and other cannot train together"):
        run([*arms_of(spec, "full"), other], calls, teacher_folder, tmp_path / "scratch")
    assert not calls.results


def trained(
    arms: list[Arm], calls: RecordedCalls, teacher: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """The learners of `arms` as training leaves them, not evaluated."""
    trainees: dict[str, Any] = {}
    with monkeypatch.context() as patch:
        patch.setattr(cohort, "evaluate_students", lambda students, setting: trainees.update(students))
        dash.run_cohort(arms, calls.context(scratch, teacher))
    return {name: trainee for name, (_, trainee) in trainees.items()}


def test_cohort_equals_single_arms_bit_for_bit(
    spec: dash.Spec, teacher_folder: Path, calls: RecordedCalls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = trained(arms_of(spec, *PATCHES), calls, teacher_folder, tmp_path, monkeypatch)
    for name in PATCHES:
        single = trained(arms_of(spec, name), calls, teacher_folder, tmp_path, monkeypatch)[name]
        for actual, reference in zip(single.average, together[name].average, strict=True):
            assert torch.equal(actual, reference), name
        assert torch.equal(single.importance, together[name].importance)
        assert str(single.curve) == str(together[name].curve)


def test_resumed_cohort_continues_arms_it_is_given_bit_for_bit(
    spec: dash.Spec, teacher_folder: Path, calls: RecordedCalls, tmp_path: Path
) -> None:
    names = ["full", "dropout", "fitnets", "pruning"]
    complete = run(arms_of(spec, *names), calls, teacher_folder, tmp_path / "whole")
    assert len(complete.checkpoints) == 1  # after step 3; the end needs none
    repeated = type(calls)(stored=complete.checkpoints[0])
    run(arms_of(spec, *names[1:]), repeated, teacher_folder, tmp_path / "again")
    assert set(repeated.results) == set(names[1:])
    for name in repeated.results:
        assert without_time(repeated.results[name].values) == without_time(complete.results[name].values)
        assert str(repeated.results[name].tables["curves"]) == str(complete.results[name].tables["curves"])
    assert set(checkpoint.from_bytes(complete.checkpoints[0], "cpu")["arms"]) == set(names)


def test_diverged_arm_leaves_and_others_go_on_unchanged(
    spec: dash.Spec, teacher_folder: Path, calls: RecordedCalls, tmp_path: Path
) -> None:
    wild = Arm(name="wild", seed=3, spec=patched(spec, {"train.lr": 1e30}))
    run([wild, *arms_of(spec, "full")], calls, teacher_folder, tmp_path / "with")
    assert calls.results["wild"].status == "diverged"
    assert "not finite" in calls.results["wild"].error
    assert calls.folders["wild"] is None
    single = run(arms_of(spec, "full"), type(calls)(), teacher_folder, tmp_path / "without")
    assert calls.results["full"].values["student_sha256"] == single.results["full"].values["student_sha256"]


def test_arm_behind_at_rung_stops_without_affecting_others(
    spec: dash.Spec, teacher_folder: Path, calls: RecordedCalls, tmp_path: Path
) -> None:
    requested: list[tuple[str, int]] = []

    def keep(arm: Arm, step: int, value: float) -> bool:
        requested.append((arm.name, step))
        assert math.isfinite(value)
        return arm.name == "full"

    (tmp_path / "with").mkdir()
    context = replace(calls.context(tmp_path / "with", teacher_folder), rungs=(2, 4), should_continue=keep)
    dash.run_cohort(arms_of(spec, "full", "imitation"), context)
    assert requested == [("full", 2), ("imitation", 2), ("full", 4)]
    stopped = calls.results["imitation"]
    assert stopped.status == "stopped"
    assert stopped.values["steps"] == 2
    assert math.isfinite(stopped.values["rung_value"])
    single = run(arms_of(spec, "full"), type(calls)(), teacher_folder, tmp_path / "without")
    assert calls.results["full"].values["student_sha256"] == single.results["full"].values["student_sha256"]


def test_measuring_at_budgets_does_not_change_training(
    spec: dash.Spec, teacher_folder: Path, teacher_samples: Path, calls: RecordedCalls, tmp_path: Path
) -> None:
    arms = arms_of(spec, "full", "single_head")
    plain = run(arms, type(calls)(), teacher_folder, tmp_path / "without", teacher_samples)
    with_checkpoints = patched(spec, {"evaluate.at_steps": (2, 5)})
    run(arms_of(with_checkpoints, "full", "single_head"), calls, teacher_folder, tmp_path / "with", teacher_samples)
    for name, result in calls.results.items():
        assert without_time(result.values) == without_time(plain.results[name].values)
        assert str(result.tables["curves"]) == str(plain.results[name].tables["curves"])
    rows = calls.results["full"].tables["budgets"]
    claimable = {column.name for column in dash.COLUMNS if column.claimable}
    assert [row["step"] for row in rows] == [2, 5] == list(dash.measured_at(with_checkpoints))
    assert all(set(row) == {"step", *claimable} for row in rows)
    assert all(math.isfinite(row[name]) for row in rows for name in claimable)
    assert [row["rho"] for row in calls.results["single_head"].tables["budgets"]] == [None] * 2
    assert not plain.results["full"].tables["budgets"]
    assert not dash.measured_at(spec)
    (middle,) = calls.checkpoints  # after step 3
    assert [row["step"] for row in checkpoint.from_bytes(middle, "cpu")["arms"]["full"]["budgets"]] == [2]
    resumed = type(calls)(stored=middle)
    repeated = run(arms_of(with_checkpoints, "full"), resumed, teacher_folder, tmp_path / "again", teacher_samples)
    assert repeated.results["full"].tables["budgets"] == rows


def test_students_are_sampled_as_teachers_evaluation_chose(
    spec: dash.Spec, teacher_folder: Path, calls: RecordedCalls, tmp_path: Path
) -> None:
    rule = patched(spec, {"evaluate.guidance": {"choose": [1.0, 3.0]}})
    with pytest.raises(ValueError, match="the teacher was not evaluated under it"):
        run(arms_of(rule, "full"), calls, teacher_folder, tmp_path / "without")
    provided = {"chosen_guidance": 3.0, "floor_halves": 0.02, "floor_halves_samples": 898}
    (tmp_path / "chosen").mkdir()
    dash.run_cohort(arms_of(rule, "full"), calls.context(tmp_path / "chosen", teacher_folder, provided))
    fixed = patched(spec, {"evaluate.guidance": 3.0})
    other = run(arms_of(fixed, "full"), type(calls)(), teacher_folder, tmp_path / "fixed")
    values, expected = calls.results["full"].values, other.results["full"].values
    assert values["value_repeats"] == expected["value_repeats"]
    assert values["comparability_key"] == expected["comparability_key"]
    assert json.loads(values["comparability_key"])["guidance"] == 3.0
    assert (values["floor_halves"], values["floor_halves_samples"], values["floor_held_out"]) == (0.02, 898, None)
    assert expected["floor_halves"] is None


def test_teacher_candidates_use_separate_noise(
    spec: dash.Spec, teacher_folder: Path, calls: RecordedCalls, tmp_path: Path
) -> None:
    def evaluated(guidance: Any) -> dict[str, Any]:
        requested = patched(spec, {"evaluate.guidance": guidance})
        return dict(dash.evaluate_teacher(requested, teacher_folder, calls.context(tmp_path)))

    candidates = [4.0, 1.0, {"w_min": 1.0, "w_max": 2.0, "beta": 5.0}]
    result = evaluated({"choose": candidates})
    assert json.loads(json.dumps(result)) == result
    tried = {json.dumps(row["guidance"]): row["value"] for row in result["guidance_candidates"]}
    assert list(tried) == [json.dumps(candidate) for candidate in candidates]
    assert tried[json.dumps(result["chosen_guidance"])] == min(tried.values())
    fixed = evaluated(result["chosen_guidance"])
    assert "chosen_guidance" not in fixed
    assert result["value_repeats"] == fixed["value_repeats"]
    assert result["comparability_key"] == fixed["comparability_key"]
    assert result["value"] not in tried.values()
    assert result["floor_halves_samples"] == 898


def test_pruned_gradients_are_excluded_from_clipped_norm(calls: RecordedCalls, tmp_path: Path) -> None:
    net = torch.nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, 0.0]]))
    settings = Optimization(steps=2, clip=1.0)
    method = Method(curriculum="uniform")
    masks = [torch.tensor([[True, False]])]
    trainee = Trainee(net, settings, method, None, schedule.cosine_alphas_cumprod(), calls.context(tmp_path), masks)
    trainee.learn(Losses((net.weight * torch.tensor([[3.0, 1000.0]])).sum()), 0)
    trainee.log(0)
    assert trainee.curve[0]["grad_norm"] == 3
    assert net.weight[0, 1].item() == 0


def test_terms_that_are_off_are_nan_in_curve(
    spec: dash.Spec, teacher_folder: Path, calls: RecordedCalls, tmp_path: Path
) -> None:
    run(arms_of(spec, "imitation"), calls, teacher_folder, tmp_path / "scratch")
    row = calls.results["imitation"].tables["curves"][-1]
    assert math.isnan(row["loss_uncond"])
    assert math.isnan(row["loss_anchor"])
    assert row["loss"] == row["loss_imitation"]


def test_pruned_teacher_keeps_quarter_of_its_parameters(
    spec: dash.Spec, teacher_folder: Path, calls: RecordedCalls, tmp_path: Path
) -> None:
    run(arms_of(spec, "pruning"), calls, teacher_folder, tmp_path / "scratch")
    values = calls.results["pruning"].values
    nonzero = sum(int(w.count_nonzero()) for w in weights(calls, "pruning").values())
    assert nonzero <= values["student_params"]  # a remaining weight may still be zero by chance
    assert values["compression"] == pytest.approx(4, rel=1e-3)


def test_single_head_is_sampled_without_guidance_and_has_no_gap(
    spec: dash.Spec, teacher_folder: Path, calls: RecordedCalls, tmp_path: Path
) -> None:
    spec = patched(spec, {"composite_guidance": 1.5})
    run(arms_of(spec, "single_head"), calls, teacher_folder, tmp_path / "scratch")
    unguided = patched(spec, {"objective": "single_head", "evaluate.guidance": 1.0})
    other = run([Arm(name="one", seed=3, spec=unguided)], type(calls)(), teacher_folder, tmp_path / "other")
    result = calls.results["single_head"]
    assert result.values["value"] == other.results["one"].values["value"]
    assert result.values["rho"] is result.values["mse_cond"] is None
    assert not result.tables["gaps"]
    assert json.loads((calls.student("single_head") / "student.json").read_text())["guidance_inside"]
