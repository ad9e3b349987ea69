"""`fast` and `exact`: equal on a CPU, and excess compiled variants are an error."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from recorded_calls import RecordedCalls
from torch import nn

import branchwise.trainables.dash as dash
from branchwise.trainables import Arm
from branchwise.trainables.dash.compute import modes
from branchwise.trainables.dash.data import datasets
from branchwise.trainables.dash.diffusion import schedule
from branchwise.trainables.dash.evaluation import measurement
from branchwise.trainables.dash.nets import unet
from branchwise.trainables.dash.settings.spec import UNet
from branchwise.trainables.dash.training import cohort, steps
from branchwise.trainables.dash.training.steps import Setting, Students
from branchwise.trainables.runtime.settings import patched


def test_on_cpu_fast_is_exact_number_by_number(
    spec: dash.Spec, teacher_folder: Path, calls: RecordedCalls, tmp_path: Path
) -> None:
    shas = []
    for mode in ("exact", "fast"):
        (tmp_path / mode).mkdir()
        arm = Arm(name=mode, seed=0, spec=patched(spec, {"train.mode": mode}))
        dash.run_cohort([arm], calls.context(tmp_path / mode, teacher_folder))
        shas.append(calls.results[mode].values["student_sha256"])
    assert shas[0] == shas[1]


def test_mode_is_no_part_of_teachers_address(spec: dash.Spec) -> None:
    fast = patched(spec, {"teacher.mode": "fast", "train.mode": "fast"})
    assert dash.teacher_key(fast) == dash.teacher_key(spec)
    assert dash.evaluation_key(fast) == dash.evaluation_key(spec)


def test_arms_of_two_modes_do_not_train_together(
    spec: dash.Spec, teacher_folder: Path, calls: RecordedCalls, tmp_path: Path
) -> None:
    arms = [Arm(name=mode, seed=0, spec=patched(spec, {"train.mode": mode})) for mode in ("exact", "fast")]
    with pytest.raises(ValueError, match="mode"):
        dash.run_cohort(arms, calls.context(tmp_path, teacher_folder))


def test_compiling_keeps_state_names_and_reports_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    net = nn.Linear(2, 2)
    names = list(net.state_dict())
    monkeypatch.setattr(modes, "RECOMPILES", 3)
    modes.compile_module(net, backend="eager")
    assert list(net.state_dict()) == names
    for batch in (2, 3, 4):
        net(torch.ones(batch, 2))
    with pytest.raises(torch._dynamo.exc.FailOnRecompileLimitHit):
        net(torch.ones(5, 2))


@pytest.mark.slow
def test_compiled_cohort_matches_uncompiled(
    spec: dash.Spec, teacher_folder: Path, calls: RecordedCalls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, but with a compiler that changes no number; no net meets more variants than are allowed."""
    arms = [Arm(name=str(weight), seed=0, spec=patched(spec, {"uncond_weight": weight})) for weight in (0.0, 1.0)]
    (tmp_path / "plain").mkdir()
    dash.run_cohort(arms, calls.context(tmp_path / "plain", teacher_folder))
    monkeypatch.setattr(modes, "compiles", lambda mode, context: True)
    compile_module_ = modes.compile_module
    monkeypatch.setattr(modes, "compile_module", lambda net, how: compile_module_(net, backend="aot_eager"))
    compiled = type(calls)()
    (tmp_path / "compiled").mkdir()
    dash.run_cohort(arms, compiled.context(tmp_path / "compiled", teacher_folder))
    for name, result in calls.results.items():
        assert str(compiled.results[name].tables["curves"]) == str(result.tables["curves"])
        assert compiled.results[name].values["value"] == result.values["value"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_on_gpu_no_step_waits_for_it_and_both_modes_learn_same(
    spec: dash.Spec, teacher_folder: Path, calls: RecordedCalls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses: dict[str, list[float]] = {}

    def watched(students: Students, setting: Setting, step: int, arm_seconds: dict[str, float]) -> None:
        torch.cuda.set_sync_debug_mode("error" if step > 0 else "default")  # the first compiles
        steps.take_step(students, setting, step, arm_seconds)
        torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(cohort, "take_step", watched)
    for mode in ("exact", "fast"):
        (tmp_path / mode).mkdir()
        context = replace(calls.context(tmp_path / mode, teacher_folder), device="cuda:0")
        dash.run_cohort([Arm(name=mode, seed=0, spec=patched(spec, {"train.mode": mode}))], context)
        losses[mode] = [row["loss"] for row in calls.results[mode].tables["curves"]]
    assert losses["fast"] == pytest.approx(losses["exact"], rel=0.02)
    modes.choose("exact", "cuda:0")


def test_measurements_disable_tf32() -> None:
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        with modes.full_precision():
            assert not torch.backends.cuda.matmul.allow_tf32
            assert not torch.backends.cudnn.allow_tf32
        assert torch.backends.cuda.matmul.allow_tf32 == torch.backends.cudnn.allow_tf32
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False


def test_bf16_sampling_rounds_and_keeps_fp32_address(spec: dash.Spec) -> None:
    digits = datasets.load(spec.data, "cpu")
    assert isinstance(spec.teacher, UNet)
    net = unet.build(spec.teacher, digits.image_shape, digits.classes, seed=0).eval()
    abar = schedule.cosine_alphas_cumprod()
    half = patched(spec, {"evaluate.precision": "bf16"})
    exact, rounded = (measurement.sample(net, digits, abar, s.evaluate, 2.0, 7, range(8)) for s in (spec, half))
    assert rounded.dtype == torch.float32
    assert 0 < (exact - rounded).abs().max() < 0.2
    assert dash.evaluation_key(half) != dash.evaluation_key(spec)
    assert dash.evaluation_key(spec) == "56813736ee45f80b"  # another address evaluates all teachers anew
