"""Named evaluations and the distance to the teacher."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from pydantic import ValidationError
from recorded_calls import RecordedCalls

import branchwise.trainables.dash as dash
from branchwise.trainables import Arm, load_trainable
from branchwise.trainables.dash.compute.seeding import derive
from branchwise.trainables.dash.data import datasets
from branchwise.trainables.dash.data.datasets import to_pixels
from branchwise.trainables.dash.diffusion import schedule
from branchwise.trainables.dash.evaluation import features, measurement
from branchwise.trainables.dash.nets import checkpoint
from branchwise.trainables.dash.settings.data import Digits
from branchwise.trainables.dash.settings.spec import Teacher
from branchwise.trainables.runtime.settings import patched

STRONG = {"guidance": {"choose": [1.0, 3.0]}, "repeats": 1, "sampler_steps": 3, "samples": 650}


class TrainedTeacher:
    """A teacher's evaluation: its values, and the folder of what it leaves for students."""

    def __init__(self, spec: dash.Spec, teacher: Path, calls: RecordedCalls, folder: Path) -> None:
        folder.mkdir()
        self.files = folder
        values = dash.evaluate_teacher(spec, teacher, calls.context(folder, evaluation_files=folder))
        self.values = json.loads(json.dumps(values))

    def context(self, calls: RecordedCalls, scratch: Path, teacher: Path) -> Any:
        scratch.mkdir(exist_ok=True)
        return calls.context(scratch, teacher, self.values, self.files)


@pytest.fixture
def both(spec: dash.Spec) -> dash.Spec:
    return patched(spec, {"evaluate.also": {"strong": STRONG}, "evaluate.sampler_steps": 2})


def test_named_evaluation_equals_remeasurement(
    both: dash.Spec, teacher_folder: Path, calls: RecordedCalls, tmp_path: Path
) -> None:
    """Bit for bit, of a student and of its teacher."""
    trained = TrainedTeacher(both, teacher_folder, calls, tmp_path / "both")
    (arm,) = [Arm(name="full", seed=3, spec=both)]
    dash.run_cohort([arm], trained.context(calls, tmp_path / "cohort", teacher_folder))
    matches, model = calls.results["full"].values, calls.student("full")
    single = patched(both, {**dash.MEASURED_ALONE, **{f"evaluate.{key}": value for key, value in STRONG.items()}})
    assert not single.evaluate.also
    single_sampled = TrainedTeacher(single, teacher_folder, calls, tmp_path / "alone")
    measured = dash.measure_model(
        Arm(name="full", seed=3, spec=single), model, single_sampled.context(calls, tmp_path / "again", teacher_folder)
    ).values
    for column in ("value", "teacher_distance", "value_repeats", "comparability_key", "metric"):
        assert matches[f"{column}(strong)"] == measured[column], column
        assert trained.values[f"{column}(strong)"] == single_sampled.values[column], column
    assert matches["value(strong)"] != matches["value"]
    assert trained.values["chosen_guidance(strong)"] == single_sampled.values["chosen_guidance"]
    repeated = dash.measure_model(arm, model, trained.context(calls, tmp_path / "same", teacher_folder)).values
    measured_columns = [key for key in repeated if not key.endswith(("_seconds", "_seconds(strong)"))]
    differ = [key for key in measured_columns if "memory" not in key and repeated[key] != matches[key]]
    assert not differ, "measured again as in the sweep, every evaluation has the same values"


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Fréchet distance of two sets of features (N, d), by SciPy's matrix square root."""
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(cov_a @ cov_b).real
    return float(((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum() + np.trace(cov_a + cov_b - 2 * root))


@torch.inference_mode()
def sampled(spec: dash.Spec, folder: Path, seed: int, count: int, guidance: float) -> np.ndarray:
    """Features of `count` samples of the model in `folder`, in float64."""
    net, _ = checkpoint.load_model(folder, "cpu")
    dataset = datasets.load(Digits(), "cpu")
    abar = schedule.cosine_alphas_cumprod()
    extractor = features.digits("cpu")
    parts = [range(start, min(start + 250, count)) for start in range(0, count, 250)]
    rows = [
        extractor.net(to_pixels(measurement.sample(net, dataset, abar, spec.evaluate, guidance, seed, part)))
        for part in parts
    ]
    return torch.cat(rows)[:, : extractor.dims].double().numpy()


def test_teacher_distance_equals_numpy(
    spec: dash.Spec, teacher_folder: Path, teacher_samples: Path, calls: RecordedCalls, tmp_path: Path
) -> None:
    once = patched(spec, {"evaluate.repeats": 1})
    dash.run_cohort(
        [Arm(name="full", seed=3, spec=once)], calls.context(tmp_path, teacher_folder, None, teacher_samples)
    )
    guidance = 1.5  # of the settings
    single_sampled = sampled(once, teacher_folder, derive(0, "samples to compare students with"), 1797, guidance)
    student = sampled(once, calls.student("full"), 3, once.evaluate.samples, guidance)
    assert calls.results["full"].values["teacher_distance"] == pytest.approx(
        distance(student, single_sampled), rel=1e-4
    )
    trained_teacher = TrainedTeacher(once, teacher_folder, calls, tmp_path / "floor")
    floor = distance(sampled(once, teacher_folder, 0, once.evaluate.samples, guidance), single_sampled)
    assert trained_teacher.values["teacher_distance"] == pytest.approx(floor, rel=1e-4), (
        "the teacher against its other samples"
    )
    stored = np.load(trained_teacher.files / "primary.npz")
    np.testing.assert_allclose(stored["sigma"], np.cov(single_sampled, rowvar=False), atol=1e-5)


def test_students_need_samples_of_each_evaluation(
    both: dash.Spec, teacher_folder: Path, teacher_samples: Path, calls: RecordedCalls, tmp_path: Path
) -> None:
    provided = calls.context(tmp_path, teacher_folder, {"chosen_guidance(strong)": 3.0}, teacher_samples)
    with pytest.raises(FileNotFoundError, match=r"strong\.npz"):
        dash.run_cohort([Arm(name="full", seed=3, spec=both)], provided)


@pytest.mark.parametrize(
    ("also", "message"),
    [
        ({"rho": {"repeats": 1}}, "also.rho: is the name of a column"),
        ({"primary": {"samples": 700}}, "also.primary: is the name of a column"),
        ({"Weak": {"samples": 700}}, "should match pattern"),
        ({"a-b": {"samples": 700}}, "should match pattern"),
        ({"weak": {}}, "also.weak: has the settings of the primary evaluation"),
        ({"weak": {"repeats": 1}}, "also.weak: has the settings of the primary evaluation"),
        ({"a": {"guidance": 2.0}, "b": {"guidance": 2.0}}, "also.b: has the settings of the a evaluation"),
        ({"weak": {"guidance_grid": [1.0]}}, "Extra inputs are not permitted"),
        ({"weak": {"samples": 639}}, "evaluate.also.weak.samples: 639 is too few"),
    ],
)
def test_evaluations_are_refused(tiny: dict[str, Any], also: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        dash.Spec.model_validate({**tiny, "evaluate": {**tiny["evaluate"], "also": also}})


def test_evaluations_declare_columns(tiny: dict[str, Any]) -> None:
    assert load_trainable("dash", tiny).COLUMNS == dash.COLUMNS
    named = load_trainable("dash", {**tiny, "evaluate": {"also": {"strong": STRONG}}})
    columns = {column.name: column for column in named.COLUMNS}
    assert columns["value(strong)"].claimable
    assert columns["value(strong)"].better == columns["teacher_distance(strong)"].better == "lower"
    assert "rho(strong)" not in columns, "gaps depend on no sampler"
    assert "the teacher's choice of 1; 3, ddim with 3 steps, 650 samples" in columns["value(strong)"].about
    assert load_trainable("dash", {**tiny, "evaluate": {"also": {"strong": 3}}}).COLUMNS == dash.COLUMNS


def test_keys_know_each_evaluation(spec: dash.Spec) -> None:
    def with_also(**also: Any) -> dash.Spec:
        return patched(spec, {"evaluate.also": also})

    first, other = with_also(weak={"guidance": 2.0}), with_also(weak={"guidance": 3.0})
    for key in (dash.comparability_key, dash.evaluation_key, dash.cohort_key):
        assert len({key(spec), key(first), key(other)}) == 3
    fewer = patched(spec, {"evaluate.teacher_samples": 700})
    assert dash.comparability_key(fewer) != dash.comparability_key(spec), "teacher_distance depends on it"
    rule = with_also(weak={"guidance": {"choose": [1.0, 2.0]}})
    longer = patched(rule, {"teacher.steps": 7})
    assert dash.comparability_key(longer) != dash.comparability_key(rule), "another teacher may choose another scale"


def test_composite_imitates_at_judging_scale(spec: dash.Spec) -> None:
    schedule_to_4 = patched(spec, {"evaluate.guidance": {"w_min": 1.0, "w_max": 4.0, "beta": 5.0}})
    assert spec.method.evaluation_method(spec.evaluate).composite_guidance == 1.5
    assert spec.method.evaluation_method(schedule_to_4.evaluate).composite_guidance == 4.0
    given = patched(schedule_to_4, {"composite_guidance": 2.0})
    assert given.method.evaluation_method(given.evaluate).composite_guidance == 2.0


def test_teacher_follows_seed_of_its_block(spec: dash.Spec) -> None:
    by_block = patched(spec, {"teacher.seed": "block"})
    assert dash.block_patch(spec, 400) == {}
    patches = [dash.block_patch(by_block, seed) for seed in (400, 401)]
    assert patches == [{"teacher.seed": 1_000_400}, {"teacher.seed": 1_000_401}]
    keys = {dash.teacher_key(patched(by_block, patch)) for patch in patches}
    assert len(keys) == 2
    assert dash.comparability_key(patched(by_block, patches[0])) == dash.comparability_key(by_block)
    teacher = by_block.teacher
    assert isinstance(teacher, Teacher)
    with pytest.raises(ValueError, match="before a block is given"):
        _ = teacher.sampling_seed


@pytest.mark.parametrize("where", ["guidance", "also.weak.guidance"])
def test_teachers_of_blocks_choose_no_guidance(spec: dash.Spec, where: str) -> None:
    rule = {"choose": [1.0, 2.0]}
    evaluate = {"evaluate.guidance": rule} if where == "guidance" else {"evaluate.also": {"weak": {"guidance": rule}}}
    with pytest.raises(ValidationError, match=rf"evaluate\.{where}: must be a scale"):
        patched(spec, {"teacher.seed": "block", **evaluate})
