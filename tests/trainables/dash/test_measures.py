"""Sampling, feature distances and calibration diagnostics."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from recorded_calls import RecordedCalls
from torch import Tensor, nn
from torch_fidelity.metric_fid import fid_statistics_to_metric

import branchwise.trainables.dash as dash
from branchwise.trainables.dash.data import datasets
from branchwise.trainables.dash.diffusion import sampling, schedule
from branchwise.trainables.dash.diffusion.guidance import scales
from branchwise.trainables.dash.evaluation import calibration, features, floor, measurement, metrics, reference_set
from branchwise.trainables.dash.evaluation.reference_set import extract
from branchwise.trainables.dash.nets import checkpoint
from branchwise.trainables.dash.settings.data import Digits
from branchwise.trainables.dash.settings.guidance import IntervalGuidance
from branchwise.trainables.runtime.settings import patched


@pytest.fixture(scope="module")
def digits() -> datasets.Dataset:
    return datasets.load_reference_images(Digits(), "cpu")


def test_samples_do_not_depend_on_batch_size(spec: dash.Spec, teacher_folder: Path, digits: datasets.Dataset) -> None:
    net, _ = checkpoint.load_model(teacher_folder, "cpu")
    abar = schedule.cosine_alphas_cumprod()
    complete = measurement.sample(net, digits, abar, spec.evaluate, 2.0, 7, range(12))
    parts = [measurement.sample(net, digits, abar, spec.evaluate, 2.0, 7, range(i, i + 4)) for i in (0, 4, 8)]
    torch.testing.assert_close(torch.cat(parts), complete, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "patch",
    [
        {"evaluate.samples": 700},
        {"evaluate.precision": "bf16"},
        {"evaluate.repeats": 3},
        {"evaluate.guidance": 2.0},
        {"evaluate.sampler_steps": 3},
        {"evaluate.sampler": "unipc"},
        {"teacher.steps": 7},
    ],
)
def test_declared_comparability_matches_measured(
    spec: dash.Spec,
    teacher_folder: Path,
    teacher_evaluation: tuple[Mapping[str, Any], Path],
    calls: RecordedCalls,
    tmp_path: Path,
    patch: dict[str, Any],
) -> None:
    changed, (baseline, _) = patched(spec, patch), teacher_evaluation
    other = dash.evaluate_teacher(changed, teacher_folder, calls.context(tmp_path))
    is_same_key = baseline["comparability_key"] == other["comparability_key"]
    assert (dash.comparability_key(spec) == dash.comparability_key(changed)) == is_same_key


def test_unit_guidance_skips_unconditional_branch() -> None:
    images_drawn = []

    class Net(nn.Module):
        def forward(self, x: Tensor, t: Tensor, y: Tensor, return_dict: bool) -> tuple[Tensor]:
            images_drawn.append(len(x))
            return (x * y.view(-1, 1, 1, 1),)

    net, x, labels = Net(), torch.ones(3, 1, 2, 2), torch.tensor([1, 2, 3])
    assert sampling.guided(net, labels, 10, scales(1.0))(x, 500)[:, 0, 0, 0].tolist() == [1, 2, 3]
    assert sampling.guided(net, labels, 10, scales(2.0))(x, 500)[:, 0, 0, 0].tolist() == [-8, -6, -4]  # 10 + 2 (y - 10)
    interval = sampling.guided(net, labels, 10, scales(IntervalGuidance(scale=2.0, t_low=100, t_high=400)))
    for t in (99, 100, 400, 401):
        interval(x, t)
    assert images_drawn == [3, 6, 3, 6, 6, 3]


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # diffusers' schedulers with numpy 2
@pytest.mark.parametrize("sampler", ["ddim", "dpmpp_2m", "unipc"])
def test_samplers_recover_gaussian_mean(sampler: str) -> None:
    """With the exact denoiser of N(0.3, 0.1^2), samples have that mean and SD."""
    abar = schedule.cosine_alphas_cumprod()

    def exact(x: torch.Tensor, t: int) -> torch.Tensor:
        a = abar[t]
        return (1 - a).sqrt() * (x - a.sqrt() * 0.3) / (a * 0.01 + 1 - a)

    noise = sampling.starting_noise(0, range(64), (1, 8, 8), "cpu")
    result = sampling.sampler(sampler)(exact, noise, abar, 50)
    assert float(result.mean()) == pytest.approx(0.3, abs=0.01)
    assert float(result.std()) == pytest.approx(0.1, abs=0.02)


@pytest.mark.filterwarnings("ignore:__array__ implementation")
@pytest.mark.parametrize("steps", [2, 7, 20, 30, 50, 600, 1000])
@pytest.mark.parametrize("sampler", ["ddim", "dpmpp_2m", "unipc"])
def test_samplers_pass_evenly_from_noise_to_image(sampler: str, steps: int) -> None:
    """At 600 steps DDIM once started at t = 599; the others never ran at DDIM's timesteps."""
    images_drawn = []

    def denoise(x: torch.Tensor, t: int) -> torch.Tensor:
        images_drawn.append(t)
        return 0.9 * x

    noise = sampling.starting_noise(0, range(2), (1, 2, 2), "cpu")
    result = sampling.sampler(sampler)(denoise, noise, schedule.cosine_alphas_cumprod(), steps)
    assert result.isfinite().all()
    strides = {before - after for before, after in pairwise([1000, *images_drawn])}
    assert len(images_drawn) == steps
    assert images_drawn[-1] == 0
    assert strides <= {1000 // steps, -(-1000 // steps)}


def test_fifty_steps_are_authors() -> None:
    assert schedule.sampling_timesteps(50) == list(range(980, -1, -20))


def denoise(x: Tensor, t: int) -> Tensor:
    """A denoiser that does not amplify rounding."""
    return torch.tanh(x + t / 1000)


@pytest.mark.parametrize("steps", [10, 20, 50, 250])
def test_ddim_is_what_it_was_bit_for_bit_where_steps_divide_1000(steps: int) -> None:
    abar, stride = schedule.cosine_alphas_cumprod(), 1000 // steps
    noise = x = sampling.starting_noise(0, range(4), (1, 8, 8), "cpu")
    for t in range((steps - 1) * stride, -1, -stride):
        eps = denoise(x, t)
        x = ((x - (1 - abar[t]).sqrt() * eps) / (abar[t].sqrt() + 1e-8)).clamp(-1, 1)
        if t > 0:
            before = abar[t - stride]
            x = before.sqrt() * x + (1 - before).sqrt() * eps
    assert torch.equal(sampling.sampler("ddim")(denoise, noise, abar, steps), x)


@pytest.mark.filterwarnings("ignore:__array__ implementation")
def test_dpmpp_matches_diffusers() -> None:
    """DPMSolverMultistepScheduler, of the two, can be given timesteps: then it does the same."""
    abar = schedule.cosine_alphas_cumprod()
    betas = 1 - abar.double() / torch.cat([torch.ones(1, dtype=torch.float64), abar[:-1].double()])
    scheduler: Any = DPMSolverMultistepScheduler(
        trained_betas=betas.float().numpy(), thresholding=True, sample_max_value=1.0
    )
    scheduler.set_timesteps(timesteps=schedule.sampling_timesteps(30))
    noise = x = sampling.starting_noise(0, range(4), (1, 8, 8), "cpu")
    for t in scheduler.timesteps.tolist():
        x = scheduler.step(denoise(x, t), t, x).prev_sample
    result = sampling.sampler("dpmpp_2m")(denoise, noise, abar, 30)
    torch.testing.assert_close(result, x.clamp(-1, 1), rtol=0, atol=1e-4)


def test_real_images_against_real_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    holdout, against = (
        datasets.load_holdout(Digits(), "cpu"),
        reference_set.get(Digits(), features.digits("cpu"), "cpu"),
    )
    result = floor.measure(Digits(), holdout, against)
    assert result["floor_halves_samples"] == 898
    assert result["floor_halves"] == pytest.approx(0.1419, abs=1e-3)
    assert result["floor_held_out"] is result["floor_held_out_samples"] is None  # 300 images are too few
    monkeypatch.setattr(features.Extractor, "min_samples", 300)
    enough = floor.measure(Digits(), holdout, against)
    assert enough["floor_held_out_samples"] == 300
    trained = reference_set.features_of(against.extractor, datasets.load(Digits(), "cpu"))
    apart = reference_set.features_of(against.extractor, holdout)
    expected = metrics.frechet_distance(metrics.statistics(apart), metrics.statistics(trained))
    assert enough["floor_held_out"] == pytest.approx(expected, rel=1e-4)


def test_frechet_distance_agrees_with_torch_fidelity() -> None:
    a, b = torch.randn(500, 16) @ torch.randn(16, 16), torch.randn(400, 16) + 0.3
    first, two = metrics.statistics(a), metrics.statistics(b)
    expected = fid_statistics_to_metric(first, two, verbose=False)["frechet_inception_distance"]
    assert metrics.frechet_distance(first, two) == pytest.approx(expected, rel=1e-8)
    assert metrics.frechet_distance(first, first) == pytest.approx(0, abs=1e-8)


def test_frechet_distance_survives_singular_covariances() -> None:
    a = {"mu": np.zeros(3), "sigma": np.diag([1.0, 0.0, 0.0])}
    b = {"mu": np.ones(3), "sigma": np.diag([0.0, 4.0, 0.0])}
    assert metrics.frechet_distance(a, b) == pytest.approx(3 + 1 + 4)


def test_kernel_distance_separates_distributions() -> None:
    torch.manual_seed(0)
    a = torch.randn(600, 8)
    assert abs(metrics.kernel_distance(a, torch.randn(700, 8), 20, 500)) < 0.02
    assert metrics.kernel_distance(a, torch.randn(700, 8) + 1, 20, 500) > 0.3


def test_digits_features_are_committed_ones(digits: datasets.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    extractor = features.digits("cpu")
    result = extract(extractor, digits.images)
    assert result.shape == (1797, 64)
    assert float(result.square().mean()) == pytest.approx(1, rel=1e-4)
    monkeypatch.setattr(features, "DIGITS_SHA256", "0" * 64)
    with pytest.raises(ValueError, match="SHA-256"):
        features.digits("cpu")


def test_self_calibration_is_identity(spec: dash.Spec, teacher_folder: Path, digits: datasets.Dataset) -> None:
    net, _ = checkpoint.load_model(teacher_folder, "cpu")
    probes = calibration.draw_probes(digits, schedule.cosine_alphas_cumprod(), spec.evaluate, seed=0)
    outputs = calibration.outputs(net, probes)
    pooled, rows = calibration.diagnose(outputs, outputs, probes)
    assert pooled["rho"] == 1
    assert pooled["cos_delta"] == pytest.approx(1, abs=1e-6)
    assert pooled["gap_mse"] == pooled["mse_cond"] == 0
    assert [(row["t_low"], row["t_high"]) for row in rows] == [(100 * b, 100 * b + 99) for b in range(10)]


def test_probes_are_balanced_holdout_images(spec: dash.Spec) -> None:
    holdout = datasets.load_holdout(Digits(), "cpu")
    clean = torch.ones_like(schedule.cosine_alphas_cumprod())
    settings = spec.evaluate.model_copy(update={"gap_samples": 60})  # 600 in all: each of 300 twice
    probes = calibration.draw_probes(holdout, clean, settings, seed=0)
    images_drawn = [image.numpy().tobytes() for image in torch.cat(probes.noisy)]
    once = [image.numpy().tobytes() for image in datasets.to_float(holdout.images)]
    assert sorted(images_drawn) == sorted(2 * once)
    assert [(int(t.min()) // 100, int(t.max()) // 100) for t in probes.timesteps] == [(b, b) for b in range(10)]


def test_outputs_do_not_depend_on_how_many_probes_pass_at_once(
    spec: dash.Spec, teacher_folder: Path, digits: datasets.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, _ = checkpoint.load_model(teacher_folder, "cpu")
    probes = calibration.draw_probes(digits, schedule.cosine_alphas_cumprod(), spec.evaluate, seed=0)
    complete = calibration.outputs(net, probes)
    monkeypatch.setattr(calibration, "BATCH", 3)
    for bin_expected, bin_parts in zip(complete, calibration.outputs(net, probes), strict=True):
        for item, other in zip(bin_expected, bin_parts, strict=True):
            torch.testing.assert_close(item, other, rtol=0, atol=1e-5)


def test_diagnostics_match_constructed_gaps() -> None:
    cond, uncond = torch.full((4, 1, 2, 2), 3.0), torch.full((4, 1, 2, 2), 1.0)  # the teacher's gap: 2 everywhere
    values = calibration.compare((uncond - 1, uncond), (cond, uncond))  # the student's: -1 everywhere
    assert values["rho"] == pytest.approx(0.5)
    assert values["cos_delta"] == pytest.approx(-1)
    assert values["gap_mse"] == pytest.approx(9)
    assert values["relative_gap"] == pytest.approx(9 / 4)
    assert values["mse_cond"] == pytest.approx(9)
    assert values["mse_uncond"] == 0
