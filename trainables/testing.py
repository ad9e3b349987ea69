"""Check that a trainable fulfils the contract, in a single call, without Ray:

    from branchwise.trainables.testing import check_trainable

    def test_my_method():
        check_trainable("my_package.my_module")

Small settings make it quick: everything is trained repeatedly.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from branchwise.trainables.columns import OUTCOME
from branchwise.trainables.contract import Arm, Context, Result, Trainable
from branchwise.trainables.runtime.loading import BUILT_IN, load_trainable
from branchwise.trainables.runtime.settings import patched, section_of

HEAVY = ("torch", "ray", "diffusers", "pandas", "matplotlib")
MAX_RESUMES = 3  # checkpoints of a run that are resumed from


@dataclass
class RecordedCalls:
    """The recorded calls of a trainable's context."""

    results: dict[str, Result] = field(default_factory=dict)
    reports: list[Mapping[str, Any]] = field(default_factory=list)
    checkpoints: list[bytes] = field(default_factory=list)

    def finish(self, arm: Arm, result: Result, folder: Path | None) -> None:
        assert arm.name not in self.results, f"finish was called twice for {arm.name}"
        assert folder is None or folder.is_dir(), f"the model folder of {arm.name} is not there"
        self.results[arm.name] = result


def check_trainable(
    name: str,
    settings: Mapping[str, Any] | None = None,
    diverging: Mapping[str, Any] | None = None,
    folder: str = "",
) -> None:
    """Check a trainable against the contract.

    `name` is the trainable's; the settings of its Spec may be omitted when all have defaults.

    `diverging` is a patch under which an arm diverges, if one exists; `folder` is the folder of a space, with
    a command's files and user modules. Raises AssertionError saying what the contract requires.
    """
    trainable = load_trainable(name, settings, folder)
    if ":" not in name:  # a function's module may import what it likes
        _check_imports(BUILT_IN.get(name, name))
    spec = _check_spec(trainable, settings or {})
    _check_planning(trainable, spec)
    with tempfile.TemporaryDirectory(prefix="branchwise-") as location:
        scratch = Path(location)
        teacher = _teacher(trainable, spec, scratch)
        entire = _run(trainable, [_arm(spec, "one", 0), _arm(spec, "two", 0)], scratch / "whole", teacher)
        for arm, result in entire.results.items():
            _check_result(trainable, arm, result)
        _check_reports(entire.reports)
        single_results = _run(trainable, [_arm(spec, "one", 0)], scratch / "alone", teacher)
        _check_equal(
            trainable,
            single_results.results["one"],
            entire.results["one"],
            "an arm trains alone as it does in a cohort",
        )
        for number, checkpoint in enumerate(entire.checkpoints[:MAX_RESUMES]):
            arms = [_arm(spec, "one", 0), _arm(spec, "two", 0)]
            rerun = _run(trainable, arms, scratch / f"resumed-{number}", teacher, checkpoint)
            for arm in ("one", "two"):
                _check_equal(
                    trainable, rerun.results[arm], entire.results[arm], f"checkpoint {number} resumes bit for bit"
                )
        if diverging is not None:
            broken = _run(trainable, [_arm(patched(spec, diverging), "one", 0)], scratch / "diverged", teacher)
            result = broken.results["one"]
            assert result.status == "diverged", f"{diverging} must end as diverged, not {result.status}"
            assert result.error, "a diverged arm says why"


def _check_imports(module: str) -> None:
    code = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    environment = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert ran.returncode == 0, f"{module} cannot be imported: {ran.stderr[-500:]}"
    assert ran.stdout.strip() == "[]", f"importing {module} imports {ran.stdout.strip()}; import them in run_cohort"


def _check_spec(trainable: Trainable, settings: Mapping[str, Any]) -> Any:
    spec = trainable.Spec.model_validate(settings)
    assert section_of(type(spec)) in type(spec).model_fields, (
        "Spec has a section `method` or `settings`, whose keys components switch"
    )
    try:
        trainable.Spec.model_validate({**settings, "no_such_setting": 1})
    except ValidationError:
        pass
    else:
        raise AssertionError("Spec refuses unknown keys: derive it from runtime.settings.Strict")
    for baseline, patch in trainable.BASELINES.items():
        try:
            patched(spec, patch)
        except KeyError as error:
            raise AssertionError(f"the baseline {baseline} sets {error}, which Spec does not have") from error
    repeated = trainable.Spec.model_validate(spec.model_dump(mode="json"))
    assert repeated == spec, "settings read from their own JSON are the same settings"
    return spec


def _check_planning(trainable: Trainable, spec: Any) -> None:
    assert isinstance(trainable.cohort_key(spec), str | None), "cohort_key returns a text or None"
    assert trainable.cohort_key(spec) == trainable.cohort_key(spec.model_copy()), (
        "equal settings have equal cohort keys"
    )
    assert isinstance(trainable.comparability_key(spec), str), "comparability_key returns a text"
    trainable.check_inputs(spec)
    trainable.check_code(spec)
    seconds = trainable.estimate_cohort([spec, spec], 1)
    assert math.isfinite(seconds), "estimate_cohort returns seconds"
    assert seconds >= 0, "estimate_cohort returns seconds"
    names = [column.name for column in trainable.COLUMNS]
    assert len(set(names)) == len(names), "a column is declared once"
    for column in OUTCOME:
        assert column.name in names, f"COLUMNS declares {column.name}"


@dataclass(frozen=True)
class TrainedTeacher:
    """Return a trained teacher's folder and measurements; empty without a teacher."""

    folder: Path | None = None
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    files: Path | None = None


def _teacher(trainable: Trainable, spec: Any, scratch: Path) -> TrainedTeacher:
    if trainable.teacher_key(spec) is None:
        return TrainedTeacher()
    folder = scratch / "teacher"
    trainable.train_teacher(spec, folder, _context(scratch / "training", RecordedCalls(), TrainedTeacher(), None))
    files = scratch / "evaluation"
    files.mkdir()
    evaluating = replace(
        _context(scratch / "evaluating", RecordedCalls(), TrainedTeacher(), None), evaluation_files=files
    )
    values = trainable.evaluate_teacher(spec, folder, evaluating)
    assert math.isfinite(values["value"]), "evaluate_teacher returns a finite value"
    return TrainedTeacher(folder, json.loads(json.dumps(values)), files)


def _arm(spec: Any, name: str, seed: int) -> Arm:
    return Arm(name=name, seed=seed, spec=spec)


def _context(scratch: Path, calls: RecordedCalls, teacher: TrainedTeacher, checkpoint: bytes | None) -> Context:
    scratch.mkdir()
    return Context(
        rank=0,
        world_size=1,
        device="cpu",
        threads=1,
        scratch=scratch,
        teacher=teacher.folder,
        evaluation=teacher.evaluation,
        evaluation_files=teacher.files,
        report=calls.reports.append,
        save=calls.checkpoints.append,
        load=lambda: checkpoint,
        finish=calls.finish,
    )


def _run(
    trainable: Trainable, arms: Sequence[Arm], scratch: Path, teacher: TrainedTeacher, checkpoint: bytes | None = None
) -> RecordedCalls:
    calls = RecordedCalls()
    trainable.run_cohort(arms, _context(scratch, calls, teacher, checkpoint))
    missing = [arm.name for arm in arms if arm.name not in calls.results]
    assert not missing, f"finish is called once for each arm; it was not for {', '.join(missing)}"
    return calls


def _check_result(trainable: Trainable, arm: str, result: Result) -> None:
    assert result.status == "done", f"{arm} ended as {result.status}: {result.error}"
    assert math.isfinite(result.values["value"]), f"{arm} has a finite value"
    key = json.loads(result.values["comparability_key"])
    assert isinstance(key, dict), "a comparability key is a JSON object"
    for column in trainable.COLUMNS:
        value = result.values.get(column.name)
        if value is None:
            continue
        kinds: dict[str, Any] = {"float64": (float, int), "Int64": int, "string": str, "object": object}
        assert isinstance(value, kinds[column.dtype]), f"{column.name} is declared {column.dtype} and holds {value!r}"
    for lines in trainable.LINES:
        for row in list(result.tables.get(lines.table, ()))[:1]:
            absent = [name for name in lines.x if name not in row]
            assert not absent, f"rows of {lines.table} have {', '.join(lines.x)}, as LINES declares"


def _check_reports(reports: Sequence[Mapping[str, Any]]) -> None:
    for report in reports:
        absent = [key for key in ("phase", "step", "steps") if key not in report]
        assert not absent, f"a report holds phase, step and steps; {', '.join(absent)} is missing"
        assert 0 <= report["step"] <= report["steps"], "a report's step is at most its steps"


def _check_equal(trainable: Trainable, item: Result, other: Result, promise: str) -> None:
    """Equal but for times, memory and places."""
    differ = {column.name for column in trainable.COLUMNS if column.unit in ("s", "MB")} | {"device"}
    for name in item.values.keys() | other.values.keys():
        if name not in differ:
            same = repr(item.values.get(name)) == repr(other.values.get(name))
            assert same, f"{promise}: {name} is {item.values.get(name)!r} against {other.values.get(name)!r}"
