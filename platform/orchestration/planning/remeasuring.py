"""The plan of remeasuring finished models: models, settings and duration. Writes no files."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from branchwise.orchestration.designs.method import Method
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.input.yaml_file import parse_yaml
from branchwise.orchestration.planning.cost_estimate import local_device
from branchwise.orchestration.planning.machine import Cluster, machine, slots, threads_of_worker
from branchwise.orchestration.planning.packing import makespan
from branchwise.orchestration.planning.plan import JobPlan
from branchwise.orchestration.run_folder.plan_file import read_plan, refuse_other_data, started_run
from branchwise.orchestration.run_folder.tables import records
from branchwise.orchestration.run_folder.teachers import SweepTeacher, find_teachers
from branchwise.orchestration.space import Space
from branchwise.run_files.sealing import DamagedError
from branchwise.trainables import Arm, Cohort, Device
from branchwise.trainables.runtime.job import TEACHER
from branchwise.trainables.runtime.processes import scratch_folder
from branchwise.trainables.runtime.run_folder import Measurements, RunFolder
from branchwise.trainables.runtime.shared_models import FeatureNetStore, TeacherStore
from branchwise.trainables.runtime.storage import Storage

MAX_MEASURES = 1000
TASKS_A_SLOT = 4  # at least so many, given as many measures, so that slots end together


@dataclass(frozen=True, kw_only=True)
class MeasureSettings:
    """The settings of a measure.

    Attributes:
        key: The address of what `spec` measures.
        patch: Is laid over the run's settings, which gives `spec`.
        settings: The user's part of the patch.
        spec: The resulting settings.
    """

    key: str
    patch: Mapping[str, Any]
    settings: Mapping[str, Any]
    spec: Any


@dataclass(frozen=True, kw_only=True)
class RemeasurePlan(JobPlan):
    """The plan of remeasuring the finished models of a run.

    `arms` are the finished models, under the run's settings; each of the `cohorts` is an arm under
    several settings. `teachers` are those that these arms learned from; `nets` are the settings
    with feature nets to be trained first.
    """

    measures: tuple[MeasureSettings, ...]
    nets: tuple[Any, ...]

    @property
    def work_folder(self) -> RunFolder:
        """The folder to which measuring writes progress, logs and its lock."""
        return Measurements(self.run).work()

    @property
    def stages(self) -> tuple[tuple[Cohort, ...], ...]:
        """Teachers, then students: these use what a rule has chosen in their teacher's evaluation."""
        of_teachers = tuple(cohort for cohort in self.cohorts if cohort.arms[0].name == TEACHER)
        return of_teachers, tuple(cohort for cohort in self.cohorts if cohort not in of_teachers)

    @property
    def models(self) -> Iterator[Arm]:
        """The models that are measured: each teacher, as an arm called TEACHER, and the arms."""
        for teacher in self.teachers:
            student = next(arm for arm in self.arms if arm.teacher == teacher.key)
            yield Arm(name=TEACHER, seed=0, cell=TEACHER, spec=student.spec, patch=student.patch, teacher=teacher.key)
        yield from self.arms

    def measured(self, key: str) -> set[str]:
        """The models that are measured under this key: names of arms, and keys of teachers."""
        evaluations = TeacherStore(self.storage)
        arms = {arm.name for arm in self.arms}.intersection(Measurements(self.run).folder(key).record_names())
        return arms | {item.key for item in self.teachers if evaluations.read_evaluation(item.key, key) is not None}

    @property
    def finished(self) -> int:
        """Measurements of the plan that are stored."""
        return sum(len(self.measured(measure.key)) for measure in self.measures)

    @property
    def remaining(self) -> int:
        """Measurements that are not done yet."""
        return sum(len(cohort.arms) for cohort in self.cohorts)

    @property
    def total(self) -> int:
        """Measurements requested: of each model under each measure."""
        return len(self.measures) * (len(self.arms) + len(self.teachers))

    @property
    def seconds(self) -> float:
        nets = sum(float(self.space.module.estimate_features(spec)) for spec in self.nets)
        return nets + makespan(self.cohorts, max(1, self.slots))


def plan_remeasuring(
    storage: Storage,
    name: str,
    chosen: Sequence[str],
    settings: Sequence[str],
    grid: Sequence[str],
    trust: bool = False,
    dry_run: bool = False,
) -> RemeasurePlan:
    """Plan to remeasure the run called `name`.

    `chosen` are arms or cells, all when empty; `settings` are KEY=VALUE, `grid` KEY=VALUE,VALUE,... of which every
    combination is measured. Raises UserError.
    """
    run = started_run(storage, name, "run")
    space, _ = read_plan("run", run, trust, dry_run)
    if space.design.across:
        raise UserError(f"run {name}: its data sets are measured differently; measure runs on one data set each")
    if not space.has_trainable:
        raise UserError(f"run {name}: {space.trainable} is not imported by a dry run, so its measures are not known")
    if not space.module.MEASURED:
        raise UserError(f"run {name}: trainable {space.trainable} cannot measure a finished model again")
    refuse_other_data(run, space)
    measures = _measures(space.method, settings, grid, space.imports)
    arms = _finished(run, space, chosen)
    plan = RemeasurePlan(
        space=space,
        storage=storage,
        run=run,
        measures=measures,
        arms=arms,
        cohorts=(),
        nets=_nets(space, storage, measures),
        slots=1,
        teachers=_teachers_of(arms, space, storage, name),
    )
    _check_measured_alike(plan)
    return fit_to_cluster(plan, machine())


def fit_to_cluster(plan: RemeasurePlan, on: Cluster) -> RemeasurePlan:
    """The plan for this cluster."""
    plan = replace(plan, slots=slots(plan.space, on))
    plan = replace(plan, cohorts=tuple(_cohorts(plan)))
    _check_models(plan)
    return plan


def _measures(
    method: Method, settings: Sequence[str], grid: Sequence[str], imports: bool
) -> tuple[MeasureSettings, ...]:
    """Each combination of the grid, over the settings; each address once."""
    fixed = {key: value for text in settings for key, value in [_setting("--set", text, method)]}
    axes = [_axis(text, method) for text in grid]
    keys = [key for key, _ in axes]
    if duplicate := next((key for key in keys if keys.count(key) > 1 or key in fixed), None):
        raise UserError(f"--grid {duplicate}: is given twice")
    if math.prod(len(values) for _, values in axes) > MAX_MEASURES:
        raise UserError(f"--grid: makes more than {MAX_MEASURES} measures")
    results: dict[str, MeasureSettings] = {}
    for values in itertools.product(*(values for _, values in axes)):
        patch = {**fixed, **dict(zip(keys, values, strict=True))}
        where = ", ".join(f"{key}={value}" for key, value in patch.items()) or "the run's own settings"
        method.check_patch(where, patch)
        laid = {**method.module.MEASURED_ALONE, **patch} if patch else {}
        method.check_patch(where, laid)
        spec = method.patched(laid)
        try:
            key = method.module.evaluation_key(spec)
            method.module.check_inputs(spec)
            if imports:
                method.module.check_code(spec)
        except (OSError, ValueError) as error:
            raise UserError(str(error)) from error
        results.setdefault(key, MeasureSettings(key=key, patch=laid, settings=patch, spec=spec))
    return tuple(results.values())


def _axis(text: str, method: Method) -> tuple[str, list[Any]]:
    key, equals, values = text.partition("=")
    return _setting("--grid", f"{key}{equals}[{values}]" if equals else text, method)


def _setting(option: str, text: str, method: Method) -> tuple[str, Any]:
    """The key and the value of KEY=VALUE. Raises UserError when a measure may not change it."""
    key, equals, value = text.partition("=")
    sections = method.module.MEASURED
    if not equals or not value or "." not in key:
        raise UserError(f"{option} {text}: must be KEY.KEY=VALUE, for example {option} {sections[0]}.samples=2000")
    if key.split(".")[0] not in sections:
        raise UserError(
            f"{option} {key}: only {' and '.join(f'{section}.*' for section in sections)} can be changed: a finished "
            "model keeps the data and settings that it was trained with"
        )
    method.current(f"{option} {key}", key)
    try:
        return key, parse_yaml(value)
    except ValueError as error:
        raise UserError(f"{option} {text}: not a YAML value: {error}") from error


def _finished(run: RunFolder, space: Space, chosen: Sequence[str]) -> tuple[Arm, ...]:
    """The finished arms with a model, block by block; of those `chosen`. Raises UserError."""
    done = [r for r in records(run).values() if r is not None and r["status"] == "done" and r["kind"] != "search"]
    names = {name for record in done for name in (record["arm"], record["cell"])}
    for name in chosen:
        if name not in names:
            cells = ", ".join(dict.fromkeys(record["cell"] for record in done))
            raise UserError(f"--arms {name}: is no finished arm or cell of {run.name}; cells: {cells or 'none'}")
    stored = [r for r in done if not chosen or {r["arm"], r["cell"]} & set(chosen)]
    if not stored:
        raise UserError(f"run {run.name}: no arm has finished, so there is nothing to measure")
    stored.sort(key=lambda record: (record["block"], record["arm"]))
    return tuple(
        Arm(
            name=record["arm"],
            spec=space.method.patched(record["patch"]),
            teacher=record["teacher"],
            **{key: record[key] for key in ("seed", "kind", "cell", "block", "components", "patch")},
        )
        for record in stored
    )


def _teachers_of(arms: Sequence[Arm], space: Space, storage: Storage, name: str) -> tuple[SweepTeacher, ...]:
    """The teachers of these arms, each once. Raises UserError when one is missing."""
    requested = {arm.teacher for arm in arms}
    results = {entry.key: entry for entry in find_teachers(space, storage) if entry.key in requested}
    for item in results.values():
        if not item.trained:
            raise UserError(f"run {name}: a teacher of it, {TeacherStore(storage).path(item.key)}, is not there")
    if missing := sorted(key for key in requested if key is not None and key not in results):
        raise UserError(f"run {name}: its space asks for other teachers now than when it was trained, for {missing[0]}")
    return tuple(results.values())


def _nets(space: Space, storage: Storage, measures: Sequence[MeasureSettings]) -> tuple[Any, ...]:
    """The settings of the feature nets that are not trained yet, one of each net.

    Raises UserError for a net that is present and not good enough.
    """
    nets = FeatureNetStore(storage)
    keys = [(space.module.features_key(measure.spec), measure.spec) for measure in measures]
    requested: dict[str, Any] = {key: spec for key, spec in keys if key is not None}
    for key in filter(nets.trained, requested):
        with scratch_folder() as scratch:
            try:
                space.module.check_features(requested[key], nets.get(key, scratch))
            except ValueError as error:
                raise UserError(str(error)) from error
    return tuple(spec for key, spec in requested.items() if not nets.trained(key))


def _check_measured_alike(plan: RemeasurePlan) -> None:
    """Refuse an arm with its own evaluation settings: no measure would be the same for all."""
    module = plan.space.module
    local_key = module.evaluation_key(plan.space.spec)
    for arm in plan.arms:
        if module.evaluation_key(arm.spec) != local_key:
            raise UserError(f"--arms {arm.name}: its components change how it is measured, so it cannot be otherwise")


def _cohorts(plan: RemeasurePlan) -> Iterator[Cohort]:
    """The remaining measurements, the teachers first, the measures of a model in groups."""
    module, method = plan.space.module, plan.space.method
    on = local_device(plan.space) or Device(threads=threads_of_worker(plan.space))
    measured = {measure.key: plan.measured(measure.key) for measure in plan.measures}
    number = itertools.count()
    for model in plan.models:
        of_teacher = model.name == TEACHER
        name = model.teacher if of_teacher else model.name
        at_once = plan.slots if of_teacher else math.ceil(TASKS_A_SLOT * max(1, plan.slots) / len(plan.arms))
        missing = [measure for measure in plan.measures if name not in measured[measure.key]]
        for group in _groups(missing, max(1, at_once)):
            patches = [{**model.patch, **measure.patch} for measure in group]
            arms = tuple(replace(model, patch=patch, spec=method.patched(patch)) for patch in patches)
            seconds = sum(module.estimate_measure(arm.spec, of_teacher, on) for arm in arms)
            yield Cohort(name=f"m{next(number):04d}", arms=arms, seconds=seconds)


def _groups(measures: Sequence[MeasureSettings], count: int) -> Iterator[Sequence[MeasureSettings]]:
    """The measures in at most `count` groups of nearly equal size."""
    size = math.ceil(len(measures) / count)
    for start in range(0, len(measures), max(1, size)):
        yield measures[start : start + size]


def _check_models(plan: RemeasurePlan) -> None:
    """Refuse to measure a model that its training did not store; at a URI the workers check."""
    local = plan.run.files.local
    for name in dict.fromkeys(arm.name for cohort in plan.cohorts for arm in cohort.arms if arm.name != TEACHER):
        try:
            if local is not None:
                plan.run.get_model(name, local)
        except (DamagedError, FileNotFoundError) as error:
            raise UserError(f"run {plan.run.name}: {name} cannot be measured: {error}") from error
