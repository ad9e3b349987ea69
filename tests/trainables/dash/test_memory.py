"""Where a GPU's memory is exhausted, batches and cohorts are halved without losses. The error is a stub."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from recorded_calls import RecordedCalls

import branchwise.trainables.dash as dash
from branchwise.trainables import Arm, Cohort, Result
from branchwise.trainables.dash.compute.memory import AdaptiveBatcher
from branchwise.trainables.dash.evaluation import features, measurement
from branchwise.trainables.dash.training import cohort, steps
from branchwise.trainables.runtime.job import Job
from branchwise.trainables.runtime.kinds import run_job
from branchwise.trainables.runtime.settings import patched
from branchwise.trainables.runtime.shared_models import TeacherStore
from branchwise.trainables.runtime.storage import storage_at


def doubled_up_to(limit: int, sizes: list[int]) -> Any:
    """Doubles rows, of which the memory holds `limit` at once."""

    def work(part: slice) -> torch.Tensor:
        sizes.append(part.stop - part.start)
        if sizes[-1] > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 2 * torch.arange(part.start, part.stop)

    return work


def test_portions_are_halved_once_and_stay_so(caplog: pytest.LogCaptureFixture) -> None:
    requested: list[int] = []
    portions = AdaptiveBatcher(100, "sampling")
    work = doubled_up_to(30, requested)
    assert torch.equal(portions.run(work, 110), 2 * torch.arange(110))
    assert requested == [100, 50, 25, 25, 25, 25, 10]
    assert torch.equal(portions.run(work, 25), 2 * torch.arange(25))
    assert [record.message for record in caplog.records] == [
        "sampling: out of GPU memory with 100 at once; now 50",
        "sampling: out of GPU memory with 50 at once; now 25",
    ]


def test_row_larger_than_memory_is_error() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        AdaptiveBatcher(4, "sampling").run(doubled_up_to(0, []), 4)


def test_halved_batches_of_samples_and_features_give_same_values(
    spec: dash.Spec,
    teacher_folder: Path,
    teacher_evaluation: tuple[Mapping[str, Any], Path],
    calls: RecordedCalls,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    complete, _ = teacher_evaluation
    sample = measurement.sample

    def small_sample(*arguments: Any) -> torch.Tensor:
        if len(arguments[-1]) > 100:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return sample(*arguments)

    digits = features.digits

    def small_digits(device: str) -> Any:
        extractor = digits(device)
        net: Callable[[torch.Tensor], torch.Tensor] = extractor.net

        def extract(pixels: torch.Tensor) -> torch.Tensor:
            if len(pixels) > 70:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return net(pixels)

        return type(extractor)(**{**vars(extractor), "net": extract})

    monkeypatch.setattr(measurement, "sample", small_sample)
    monkeypatch.setattr(features, "digits", small_digits)
    halved = dash.evaluate_teacher(spec, teacher_folder, calls.context(tmp_path))
    assert halved["value"] == pytest.approx(complete["value"], rel=1e-4)
    assert halved["kid"] == pytest.approx(complete["kid"], rel=1e-3)


def short_of_memory(monkeypatch: pytest.MonkeyPatch, limit: int, after: int = 0) -> list[int]:
    """Steps of more than `limit` arms exhaust the memory once `after` steps are done; the sizes that were tried."""
    sizes: list[int] = []

    def short(students: Any, setting: Any, step: int, arm_seconds: Any) -> None:
        if not sizes or sizes[-1] != len(students):
            sizes.append(len(students))
        if len(students) > limit and step >= after:
            raise torch.OutOfMemoryError("CUDA out of memory")
        steps.take_step(students, setting, step, arm_seconds)

    monkeypatch.setattr(cohort, "take_step", short)
    return sizes


@pytest.fixture(scope="module")
def three_arms(spec: dash.Spec) -> list[Arm]:
    return [Arm(name=f"w{weight}", seed=0, spec=patched(spec, {"uncond_weight": weight})) for weight in (0.0, 0.5, 1.0)]


@pytest.fixture(scope="module")
def together(
    three_arms: list[Arm], teacher_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Result]:
    """The results of the three arms in a cohort that fits into memory."""
    calls = RecordedCalls()
    dash.run_cohort(three_arms, calls.context(tmp_path_factory.mktemp("together"), teacher_folder))
    return calls.results


@pytest.mark.parametrize("after", [0, 4])
def test_oversized_cohort_trains_in_equal_halves(
    three_arms: list[Arm],
    together: Mapping[str, Result],
    teacher_folder: Path,
    calls: RecordedCalls,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    after: int,
) -> None:
    sizes = short_of_memory(monkeypatch, limit=2, after=after)
    stored: list[bytes] = calls.checkpoints
    context = calls.context(tmp_path, teacher_folder)
    monkeypatch.setattr(type(calls), "stored", property(lambda self: stored[-1] if stored else None))
    dash.run_cohort(three_arms, context)
    assert sizes[:3] == [3, 2, 1]
    assert calls.results.keys() == together.keys()
    for name, result in together.items():
        assert calls.results[name].values["student_sha256"] == result.values["student_sha256"]
        assert str(calls.results[name].tables["curves"]) == str(result.tables["curves"])


def test_oversized_arm_is_error(
    spec: dash.Spec, teacher_folder: Path, calls: RecordedCalls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_of_memory(monkeypatch, limit=0)
    with pytest.raises(torch.OutOfMemoryError):
        dash.run_cohort([Arm(name="one", seed=0, spec=spec)], calls.context(tmp_path, teacher_folder))


def test_arms_missing_from_checkpoint_restart(
    spec: dash.Spec, teacher_folder: Path, calls: RecordedCalls, tmp_path: Path
) -> None:
    """As after a process that died while the first half of its cohort trained."""
    first, two = (Arm(name=name, seed=0, spec=spec) for name in ("one", "two"))
    for name in ("whole", "half", "resumed"):
        (tmp_path / name).mkdir()
    dash.run_cohort([first, two], calls.context(tmp_path / "whole", teacher_folder))
    half = type(calls)()
    dash.run_cohort([first], half.context(tmp_path / "half", teacher_folder))
    resumed = type(calls)(stored=half.checkpoints[0])
    dash.run_cohort([first, two], resumed.context(tmp_path / "resumed", teacher_folder))
    for name in ("one", "two"):
        assert resumed.results[name].values["student_sha256"] == calls.results[name].values["student_sha256"]


def test_worker_leaves_line_among_logs_of_its_run(
    spec: dash.Spec, teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = storage_at(tmp_path / "storage")
    TeacherStore(storage).put(teacher_folder, "key")
    TeacherStore(storage).write_evaluation("key", dash.evaluation_key(spec), {"metric": "fd", "value": 1.0})
    settings = spec.model_dump(mode="json")
    job = Job(trainable="dash", spec=settings, storage=storage.root, run="run", workers=0, threads=1, gpus=0.0)
    short_of_memory(monkeypatch, limit=1)
    arms = tuple(Arm(name=name, seed=0, spec=spec, teacher="key") for name in ("one", "two"))
    run_job(Cohort(name="t0000", arms=arms), job)
    assert sorted(job.run_folder().record_names()) == ["one", "two"]
    notes = (tmp_path / "storage/run/logs/t0000-notes.txt").read_text()
    assert "out of GPU memory with 2 arms; now 1 at a time" in notes
    assert len(notes.splitlines()) == 1
    assert not logging.getLogger("branchwise").handlers
