"""Sampling, feature distances and calibration diagnostics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_fidelity.metric_fid import fid_statistics_to_metric

import branchwise.trainables.dash as dash
from branchwise.trainables.dash.data import datasets
from branchwise.trainables.dash.diffusion import sampling, schedule
from branchwise.trainables.dash.diffusion.guidance import scales
from branchwise.trainables.dash.evaluation import calibration, features, measurement, metrics
from branchwise.trainables.dash.evaluation.reference_set import extract
from branchwise.trainables.dash.nets import checkpoint
from branchwise.trainables.dash.settings.data import Digits
from branchwise.trainables.dash.settings.spec import IntervalGuidance
from branchwise.trainables.runtime.settings import patched


@pytest.fixture(scope="module")
def digits() -> datasets.Dataset:
    return datasets.load(Digits(), "cpu")


def test_samples_do_not_depend_on_the_batch_size(
    spec: dash.Spec, teacher_folder: Path, digits: datasets.Dataset
) -> None:
    net, _ = checkpoint.load_model(teacher_folder, "cpu")
    abar = schedule.cosine_alphas_cumprod()
    whole = measurement.sample(net, digits, abar, spec.evaluate, 2.0, 7, range(12))
    parts = [measurement.sample(net, digits, abar, spec.evaluate, 2.0, 7, range(i, i + 4)) for i in (0, 4, 8)]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "patch",
    [
        {"evaluate.samples": 700},
        {"evaluate.precision": "bf16"},
        {"evaluate.repeats": 2},
        {"evaluate.guidance": 2.0},
        {"evaluate.sampler_steps": 3},
        {"evaluate.sampler": "unipc"},
        {"teacher.steps": 7},
    ],
)
def test_what_the_settings_say_of_comparability_is_what_is_measured(
    spec: dash.Spec, teacher_folder: Path, told: Any, tmp_path: Path, patch: dict[str, Any]
) -> None:
    changed = patched(spec, patch)
    own, other = (dash.evaluate_teacher(one, teacher_folder, told.context(tmp_path)) for one in (spec, changed))
    alike = own["comparability_key"] == other["comparability_key"]
    assert (dash.comparability_key(spec) == dash.comparability_key(changed)) == alike


def test_guidance_of_one_skips_the_unconditional_branch() -> None:
    seen = []

    def net(x: torch.Tensor, t: torch.Tensor, y: torch.Tensor, return_dict: bool) -> tuple[torch.Tensor]:
        seen.append(len(x))
        return (x * y.view(-1, 1, 1, 1),)

    x, labels = torch.ones(3, 1, 2, 2), torch.tensor([1, 2, 3])
    assert sampling.guided(net, labels, 10, scales(1.0))(x, 500)[:, 0, 0, 0].tolist() == [1, 2, 3]
    assert sampling.guided(net, labels, 10, scales(2.0))(x, 500)[:, 0, 0, 0].tolist() == [-8, -6, -4]  # 10 + 2 (y - 10)
    interval = sampling.guided(net, labels, 10, scales(IntervalGuidance(scale=2.0, t_low=100, t_high=400)))
    for t in (99, 100, 400, 401):
        interval(x, t)
    assert seen == [3, 6, 3, 6, 6, 3]


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # diffusers' schedulers with numpy 2
@pytest.mark.parametrize("sampler", ["ddim", "dpmpp_2m", "unipc"])
def test_every_sampler_finds_the_mean_of_a_gaussian(sampler: str) -> None:
    """With the exact denoiser of N(0.3, 0.1^2), samples come out with that mean and spread."""
    abar = schedule.cosine_alphas_cumprod()

    def exact(x: torch.Tensor, t: int) -> torch.Tensor:
        a = abar[t]
        return (1 - a).sqrt() * (x - a.sqrt() * 0.3) / (a * 0.01 + 1 - a)

    noise = sampling.starting_noise(0, range(64), (1, 8, 8), "cpu")
    found = sampling.sampler(sampler)(exact, noise, abar, 50)
    assert float(found.mean()) == pytest.approx(0.3, abs=0.01)
    assert float(found.std()) == pytest.approx(0.1, abs=0.02)


def test_frechet_distance_agrees_with_torch_fidelity() -> None:
    a, b = torch.randn(500, 16) @ torch.randn(16, 16), torch.randn(400, 16) + 0.3
    one, two = metrics.statistics(a), metrics.statistics(b)
    expected = fid_statistics_to_metric(one, two, verbose=False)["frechet_inception_distance"]
    assert metrics.frechet_distance(one, two) == pytest.approx(expected, rel=1e-8)
    assert metrics.frechet_distance(one, one) == pytest.approx(0, abs=1e-8)


def test_frechet_distance_survives_singular_covariances() -> None:
    a = {"mu": np.zeros(3), "sigma": np.diag([1.0, 0.0, 0.0])}
    b = {"mu": np.ones(3), "sigma": np.diag([0.0, 4.0, 0.0])}
    assert metrics.frechet_distance(a, b) == pytest.approx(3 + 1 + 4)


def test_kernel_distance_is_small_for_one_distribution_and_not_for_two() -> None:
    torch.manual_seed(0)
    a = torch.randn(600, 8)
    assert abs(metrics.kernel_distance(a, torch.randn(700, 8), 20, 500)) < 0.02
    assert metrics.kernel_distance(a, torch.randn(700, 8) + 1, 20, 500) > 0.3


def test_digits_features_are_the_committed_ones(digits: datasets.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    extractor = features.digits("cpu")
    found = extract(extractor, digits.images)
    assert found.shape == (1797, 64)
    assert float(found.square().mean()) == pytest.approx(1, rel=1e-4)
    monkeypatch.setattr(features, "DIGITS_SHA256", "0" * 64)
    with pytest.raises(ValueError, match="SHA-256"):
        features.digits("cpu")


def test_a_net_is_calibrated_to_itself(spec: dash.Spec, teacher_folder: Path, digits: datasets.Dataset) -> None:
    net, _ = checkpoint.load_model(teacher_folder, "cpu")
    probes = calibration.draw_probes(digits, schedule.cosine_alphas_cumprod(), spec.evaluate, seed=0)
    outputs = calibration.outputs(net, probes)
    pooled, rows = calibration.diagnose(outputs, outputs, probes)
    assert pooled["rho"] == 1
    assert pooled["cos_delta"] == pytest.approx(1, abs=1e-6)
    assert pooled["gap_mse"] == pooled["mse_cond"] == 0
    assert [(row["t_low"], row["t_high"]) for row in rows] == [(100 * b, 100 * b + 99) for b in range(10)]


def test_diagnostics_of_known_gaps() -> None:
    cond, uncond = torch.full((4, 1, 2, 2), 3.0), torch.full((4, 1, 2, 2), 1.0)  # the teacher's gap: 2 everywhere
    values = calibration.compare((uncond - 1, uncond), (cond, uncond))  # the student's: -1 everywhere
    assert values["rho"] == pytest.approx(0.5)
    assert values["cos_delta"] == pytest.approx(-1)
    assert values["gap_mse"] == pytest.approx(9)
    assert values["relative_gap"] == pytest.approx(9 / 4)
    assert values["mse_cond"] == pytest.approx(9)
    assert values["mse_uncond"] == 0
