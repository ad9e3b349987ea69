"""What is not finite fails by name, and a user's feature function before any training."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from recorded_calls import RecordedCalls
from safetensors.torch import load_file, save_file
from scipy.spatial.distance import cdist
from torch import Tensor

import branchwise.trainables.dash as dash
from branchwise.trainables import Arm
from branchwise.trainables.dash.data import datasets
from branchwise.trainables.dash.diffusion import sampling, schedule
from branchwise.trainables.dash.evaluation import neighbors
from branchwise.trainables.dash.settings.addresses import CURRICULUM, WEIGHTS
from branchwise.trainables.dash.settings.data import Digits
from branchwise.trainables.dash.training import teacher as teachers

ABAR = schedule.cosine_alphas_cumprod()
FUNCTIONS = """
import torch
calls = 0
def good(p): return p.float().flatten(1)[:, :8] / 255 + 0.01 * p.float().mean((1, 2, 3))[:, None]
def some_nan(p): return torch.where(p.float().mean((1, 2, 3))[:, None] > 60, torch.nan, good(p))
def infinite(p): return torch.where(p.float().mean((1, 2, 3))[:, None] > 60, torch.inf, good(p))
def fewer_rows(p): return good(p)[:2]
def other_dims(p): return good(p)[:, : 8 if len(p) < 100 else 7]
def whole_numbers(p): return p.flatten(1)[:, :8]
def random(p): return good(p) + torch.rand(len(p), 8)
def batch_norm(p): return good(p) - good(p).mean(0)
def fails(p):
    if p.float().mean() > 0: raise RuntimeError("no such layer")
    return good(p)
"""


@pytest.fixture
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "odd_functions.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    sys.modules.pop("odd_functions", None)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("some_nan", r"of \d+ of 250 images it returned NaN or infinity"),
        ("infinite", r"of \d+ of 250 images it returned NaN or infinity"),
        ("fewer_rows", r"for 250 images it returned \(2, 8\)"),
        ("other_dims", r"must return a finite float tensor \(N, 8\).* returned \(250, 7\)"),
        ("whole_numbers", "torch.uint8"),
        ("random", "is not deterministic: for the same images a second call"),
        ("batch_norm", "is not deterministic: for the same images a call with 7 of them"),
        ("fails", "RuntimeError: no such layer"),
    ],
)
@pytest.mark.usefixtures("functions")
def test_functions_are_tried_before_teacher_trains(
    name: str, message: str, tiny: dict[str, Any], calls: RecordedCalls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny["evaluate"]["features"] = f"odd_functions:{name}"
    monkeypatch.setattr(teachers, "run_steps", lambda *given: pytest.fail("the teacher was trained"))
    with pytest.raises(ValueError, match=rf"evaluate\.features: odd_functions:{name} .*{message}|{message}") as raised:
        dash.train_teacher(dash.Spec.model_validate(tiny), tmp_path / "teacher", calls.context(tmp_path))
    assert f"odd_functions:{name}" in str(raised.value)


@pytest.mark.usefixtures("functions")
def test_sound_function_passes(tiny: dict[str, Any], calls: RecordedCalls, tmp_path: Path) -> None:
    tiny["evaluate"]["features"] = "odd_functions:good"
    dash.train_teacher(dash.Spec.model_validate(tiny), tmp_path / "teacher", calls.context(tmp_path))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("sampler", ["ddim", "ddim_consistent", "dpmpp_2m", "unipc"])
def test_output_that_is_not_finite_makes_no_image(sampler: str, value: float) -> None:
    noise = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))

    def denoise(x: Tensor, t: int) -> Tensor:
        eps = torch.tanh(x)
        if t >= 500:
            eps[2, 0, 3, 3] = value
        return eps

    images = sampling.draw(sampler, denoise, noise, ABAR, 4)
    assert images[2].isnan().all()
    assert images[[0, 1, 3]].isfinite().all()
    assert torch.equal(images[0], sampling.sampler(sampler)(denoise, noise, ABAR, 4)[0])


def broken_copy(folder: Path, to: Path, file: str, value: float) -> Path:
    to.mkdir()
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    tensors = load_file(to / file)
    name = sorted(tensors)[0]
    tensors[name].view(-1)[0] = value
    save_file(tensors, to / file)
    return to


@pytest.mark.parametrize("file", [WEIGHTS, CURRICULUM])
def test_teacher_that_is_not_finite_is_refused(
    file: str, tiny: dict[str, Any], teacher_folder: Path, calls: RecordedCalls, tmp_path: Path
) -> None:
    broken = broken_copy(teacher_folder, tmp_path / "broken", file, torch.nan)
    tiny["teacher"] = {"checkpoint": str(broken)}
    spec = dash.Spec.model_validate(tiny)
    with pytest.raises(ValueError, match=r"broken: the weights are not finite: \S+ holds NaN"):
        dash.train_teacher(spec, tmp_path / "out", calls.context(tmp_path))
    with pytest.raises(ValueError, match="not finite"):
        dash.evaluate_teacher(spec, broken, calls.context(tmp_path))


def test_samples_that_are_not_finite_fail_by_name(
    tiny: dict[str, Any], teacher_folder: Path, calls: RecordedCalls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = dash.Spec.model_validate(tiny)
    guided = sampling.guided

    def broken(*given: Any, **named: Any) -> Any:
        denoise = guided(*given, **named)
        return lambda x, t: denoise(x, t) * (torch.inf if t else 1)

    monkeypatch.setattr(sampling, "guided", broken)
    with pytest.raises(FloatingPointError, match=r"\d+ of \d+ samples are not finite: evaluate\.guidance 1\.5"):
        dash.evaluate_teacher(spec, teacher_folder, calls.context(tmp_path))
    (tmp_path / "scratch").mkdir()
    dash.run_cohort([Arm(name="full", seed=3, spec=spec)], calls.context(tmp_path / "scratch", teacher_folder))
    assert calls.results["full"].status == "diverged"
    assert "samples are not finite" in calls.results["full"].error


def test_guidance_has_limit(tiny: dict[str, Any]) -> None:
    for guidance in (1e30, {"w_max": 1e30}, {"scale": 1e30}, {"choose": [1.0, 1e30]}):
        tiny["evaluate"]["guidance"] = guidance
        with pytest.raises(ValidationError, match="less than or equal to 1000"):
            dash.Spec.model_validate(tiny)


def test_teacher_of_other_images_is_refused(
    tiny: dict[str, Any], teacher_folder: Path, calls: RecordedCalls, tmp_path: Path
) -> None:
    other = broken_copy(teacher_folder, tmp_path / "other", CURRICULUM, 0.0)
    description = json.loads((other / "teacher.json").read_text())
    assert description["images_sha256"] == datasets.load(Digits(), "cpu").labelled_sha256
    (other / "teacher.json").write_text(json.dumps(description | {"images_sha256": "0" * 64}))
    with pytest.raises(ValueError, match="not those that the teacher was trained on"):
        dash.evaluate_teacher(dash.Spec.model_validate(tiny), other, calls.context(tmp_path))


def test_neighbors_are_exact_under_any_offset() -> None:
    """Against SciPy in float64, with ties: duplicates, identical sets, a constant."""
    rng = torch.Generator().manual_seed(0)
    base, other = torch.randn(300, 16, generator=rng), 1.1 * torch.randn(280, 16, generator=rng)
    cases = [
        (other, base), (other + 1000, base + 1000), (other * 0.01 + 10, base * 0.01 + 10), (base, base),
        (base, base.flip(0)), (other, base[:75].repeat(4, 1)), (other[:1].repeat(280, 1), base),
        ((other * 20 + 128).round(), (base * 20 + 128).round()), (torch.ones(280, 16), torch.ones(300, 16)),
    ]  # fmt: skip
    for samples, reference in cases:
        s, r = samples.double().numpy(), reference.double().numpy()
        across, radii = cdist(s, r), cdist(r, r)
        radii.sort(1)
        third = sorted_third(s)
        within = across < radii[:, 5]
        expected = {
            "precision": (across <= radii[:, 3]).any(1).mean(),
            "recall": (across <= third[:, None]).any(0).mean(),
            "density": within.sum(1).mean() / 5,
            "coverage": within.any(0).mean(),
        }
        result = neighbors.compare(samples, reference, neighbors.radii(reference, "cpu"))
        assert result == pytest.approx(expected, abs=1e-12)


def sorted_third(rows: Any) -> Any:
    distances = cdist(rows, rows)
    distances.sort(1)
    return distances[:, 3]
