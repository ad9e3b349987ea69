"""The contract between the platform and what it trains.

A *trainable* is typed as `Trainable` below: a module, a function, or a command. The platform lays out arms, packs them
into cohorts, runs the cohorts on Ray and collects what they report. What an arm trains is the trainable's business: the
platform and the analysis know only the columns that it declares. `runtime/loading.py` finds it and fills in what it
omits.

Importing a trainable must be cheap: no torch before `run_cohort`, because `--help` and `--dry-run` import it too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel

from branchwise.run_files.arm_kinds import Kind
from branchwise.run_files.columns import Column, PlotSpec

ArmStatus = Literal["done", "stopped", "diverged", "failed"]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A model to train, the same from the design to its record in the run folder.

    All arms of a block share its seed. `patch` holds the settings in which the arm differs from the space; `spec`
    is the result, validated once and shared by all arms of an equal patch.
    """

    name: str
    seed: int
    spec: Any
    kind: Kind = "cell"
    cell: str = ""
    block: int = 0
    components: Mapping[str, bool | str] = field(default_factory=dict)  # on or off, or the level; empty for a baseline
    patch: Mapping[str, Any] = field(default_factory=dict)
    across: Mapping[str, str] = field(default_factory=dict)  # of a design on multiple data sets, the name of this one
    teacher: str | None = None  # the key of the teacher in its settings

    def described(self) -> dict[str, Any]:
        """The arm as plain values, without its settings: what a record keeps."""
        return {
            "arm": self.name,
            "kind": self.kind,
            "cell": self.cell,
            "block": self.block,
            "seed": self.seed,
            "components": dict(self.components),
            "patch": dict(self.patch),
            "teacher": self.teacher,
            **({"across": dict(self.across)} if self.across else {}),
        }


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """Arms of a single block that train together, on a single teacher: a Ray Tune trial.

    `out_of` names the cohort that a single arm was taken out of; it continues from that cohort's checkpoint.
    """

    name: str
    arms: tuple[Arm, ...]
    seconds: float = 0.0  # expected
    out_of: str = ""

    @property
    def teacher(self) -> str | None:
        """The key of the teacher that all its arms learn from."""
        return self.arms[0].teacher if self.arms else None


@dataclass(frozen=True, kw_only=True)
class Result:
    """Result of an arm.

    `values` fill the declared columns; each of `tables` fills rows of `<name>.parquet`.
    """

    status: ArmStatus
    values: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RequiredFile:
    """A file, or a data set, that settings need and that can be fetched.

    `fetch` writes it to `location` atomically, and reports each number of bytes received. It raises OSError if the
    server does not answer, ValueError if the content is not the expected one.
    """

    description: str  # "weights of vgg16"
    source: str  # a URL, or whom to ask
    location: Path
    size: int = 0  # bytes; 0: unknown
    sha256: str = ""  # or its first digits; empty: unknown
    fetch: Callable[[Callable[[int], None]], None]


@dataclass(frozen=True, kw_only=True)
class Device:
    """The device of each worker of a cohort, for plans: CPU cores, or a GPU, which has `memory`.

    `rates` are what the trainable's `measure_rates` once measured on it; the other values are assumed where it did not.
    """

    name: str = "cpu"
    threads: int = 1  # CPU cores
    memory: float = 0.0  # bytes of the GPU
    flops: Mapping[str, float] = field(default_factory=dict)  # peak FLOP/s of the GPU in "fp32", "tf32", "bf16"
    efficiency: Mapping[str, float] = field(default_factory=dict)  # the share of each that is reached
    launch_seconds: Mapping[str, float] = field(default_factory=dict)  # of a kernel, in "exact" and in "fast"
    rates: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, kw_only=True)
class CostEstimate:
    """Expected cost of a cohort, or a teacher; phases have the trainable's names, in order."""

    seconds: Mapping[str, float] = field(default_factory=dict)  # by phase
    memory: Mapping[str, float] = field(default_factory=dict)  # by phase, the peak in bytes on each GPU
    flop: float = 0.0  # floating-point operations, of all workers together
    measured: float = 0.0  # the share of the seconds that rests on rates measured on the device

    @property
    def total(self) -> float:
        return sum(self.seconds.values())


@dataclass(frozen=True, kw_only=True)
class Context:
    """Context of a running cohort or teacher: where it runs, and how to report.

    `save` and `load` keep a checkpoint (atomically); `finish` stores an arm's result and, if it
    exists, the folder of its model. With multiple workers, each calls `report` and `should_continue`; only rank 0
    calls `save` and `finish`. `log` stores a text in the run's logs under the arm's name.

    A search may stop arms that are behind: after each of the steps in `rungs`, the trainable measures an arm as cheaply
    as it can, lower being better, and calls `should_continue(arm, step, value)`. If it returns False, the arm must
    finish at once as `stopped`, with "rung_value" and "steps" among its values. A trainable that never calls it trains
    each arm to its end.
    """

    rank: int
    world_size: int
    device: str  # "cpu", "cuda:0", ...
    threads: int
    scratch: Path  # an empty local folder, removed afterwards
    teacher: Path | None  # of the cohort: a local folder that `train_teacher` once wrote
    evaluation: Mapping[str, Any] = field(default_factory=dict)  # of that teacher: what `evaluate_teacher` returned
    evaluation_files: Path | None = None  # a local folder: `evaluate_teacher` may leave files there for students
    report: Callable[[Mapping[str, Any]], None]  # at least {"phase", "step", "steps"}
    save: Callable[[bytes], None]
    load: Callable[[], bytes | None]
    finish: Callable[[Arm, Result, Path | None], None]
    rungs: tuple[int, ...] = ()
    should_continue: Callable[[Arm, int, float], bool] = lambda arm, step, value: True
    features: Path | None = None  # a local folder that `train_features` once wrote
    workspaces: Path | None = None  # where folders outlive an attempt
    log: Callable[[Arm, str], None] = lambda arm, text: None

    def workspace(self, arm: Arm) -> Path:
        """A local folder of the arm, the same when it is retried or the run is resumed, until it is
        finished. Where `workspaces` is None, as in a run that is stored at a URI, it lasts only as long as the attempt.
        """
        folder = (self.workspaces or self.scratch / "workspaces") / arm.name
        folder.mkdir(parents=True, exist_ok=True)
        return folder


class Essential(Protocol):
    """The required members of each trainable."""

    @property
    def Spec(self) -> type[BaseModel]:  # noqa: N802
        """Frozen, strict settings with a section `method` or `settings`.

        Derive them from `runtime.settings.Strict`.
        """

    def run_cohort(self, arms: Any, context: Context) -> None:
        """Trains and evaluates the arms, and calls `context.finish` once for each."""


class Declaring(Protocol):
    """The declarations of a trainable on its results and settings; all have defaults."""

    @property
    def BASELINES(self) -> Mapping[str, Mapping[str, Any]]:  # noqa: N802
        """Models to compare with that are no cell of the ablation: name -> patch."""

    @property
    def COLUMNS(self) -> Sequence[Column]:  # noqa: N802
        """Columns of a result's values, in the order of arms.parquet."""

    @property
    def LINES(self) -> Sequence[PlotSpec]:  # noqa: N802
        """Plots of a result's tables in a report."""

    @property
    def WORKERS(self) -> bool:  # noqa: N802
        """Whether a cohort may train on multiple Ray Train workers."""

    def describe(self, spec: Any) -> Sequence[tuple[str, str]]:
        """Rows of a plan, each a key and a text, that describe what is trained and measured."""

    def cohort_key(self, spec: Any) -> str | None:
        """Return a key: arms with equal keys may train together; None where they do not benefit.

        They also need the same teacher, evaluated the same.
        """

    def block_patch(self, spec: Any, seed: int) -> Mapping[str, Any]:
        """Return settings derived from a block's seed, which override the arm's; none by default.

        For example, which of several teachers it learns from.
        """

    def comparability_key(self, spec: Any) -> str:
        """Return a key of the settings that decide what the values mean.

        Values with equal keys may be compared.

        The column `comparability_key` has it, with what else decides.
        """

    def check_inputs(self, spec: Any) -> None:
        """Check that this machine has the files that the settings need.

        Imports no code of the user's: a dry run calls it, too. Raises OSError or ValueError.
        """

    def check_code(self, spec: Any) -> None:
        """Check that user code in the settings can be used; may import and run it.

        Raises ValueError.
        """

    def data_sha256(self, spec: Any) -> str | None:
        """Return the SHA-256 of the data that the settings name; None, the default, if unknown.

        A run keeps it, and is resumed on the same data only. Raises OSError or ValueError when they are missing.
        """

    def missing_files(self, spec: Any) -> Sequence[RequiredFile]:
        """Return what the settings need that is not on this machine and can be fetched."""

    def measured_at(self, spec: Any) -> Sequence[int]:
        """Training steps after which arms are measured, for rows of the table `budgets`."""


class Estimating(Protocol):
    """Cost estimates of a trainable before it runs; none by default."""

    def estimate_cohort(self, specs: Any, threads: int) -> float:
        """Return the expected seconds of a cohort of these settings; 0 if unknown."""

    def cohort_cost(self, specs: Any, on: Device, workers: int) -> CostEstimate | None:
        """Return the cost of a cohort on `workers` devices; None, the default, without an estimate."""

    def describe_models(self, spec: Any) -> Iterable[tuple[str, str]]:
        """Descriptions of the models in a plan: pairs of a key and a text; empty by default."""

    def measure_rates(self, spec: Any, device: str, threads: int, seconds: float) -> Sequence[Mapping[str, Any]]:
        """Benchmark this machine in about `seconds`, as the `rates` of a `Device`; none by default."""


class Teaching(Protocol):
    """The teacher of the students.

    Nothing else here is called where `teacher_key` is missing or returns None.
    """

    def teacher_key(self, spec: Any) -> str | None:
        """The content address of the teacher that these settings ask for."""

    def teacher_workers(self, spec: Any) -> int:
        """Return the number of GPUs to train the teacher on; 1 by default."""

    def evaluation_key(self, spec: Any) -> str:
        """The content address of the settings that the teacher's evaluation depends on."""

    def estimate_teacher(self, spec: Any, workers: int, trained: bool) -> float:
        """Return the expected seconds of evaluating the teacher, and of training it if needed."""

    def teacher_cost(self, spec: Any, on: Device, workers: int, trained: bool) -> CostEstimate | None:
        """Return the cost of training and evaluating the teacher; None, the default, if unknown."""

    def train_teacher(self, spec: Any, out: Path, context: Context) -> None:
        """Train the teacher and leave its files in the folder `out` (rank 0)."""

    def evaluate_teacher(self, spec: Any, folder: Path, context: Context) -> Mapping[str, Any]:
        """Return `{"value": ..., ...}`, stored with the teacher.

        Students get it as `context.evaluation`.
        """


class Remeasuring(Protocol):
    """Remeasuring finished models; not possible without `MEASURED`. Requires `evaluation_key`."""

    @property
    def MEASURED(self) -> Sequence[str]:  # noqa: N802
        """Sections of settings under which a finished model can be remeasured; empty: it cannot."""

    @property
    def MEASURED_ALONE(self) -> Mapping[str, Any]:  # noqa: N802
        """Defaults of remeasuring, which switch off what the sweep measures in addition."""

    def measure_model(self, arm: Arm, model: Path, context: Context) -> Result:
        """Measure the finished model of an arm under `arm.spec`.

        `model` is a local folder with what `finish` was given.
        Under the settings that it was trained with, the values are those of its training, bit for bit.
        """

    def estimate_measure(self, spec: Any, teacher: bool, on: Device) -> float:
        """Return the expected seconds of measuring a model, or the teacher, on a device."""


class TrainingFeatures(Protocol):
    """Nets that are trained before anything is measured; without `features_key` none exist."""

    def features_key(self, spec: Any) -> str | None:
        """Return the content address of the net to train before measuring; None without one."""

    def train_features(self, spec: Any, out: Path, context: Context) -> None:
        """Train that net and leave its files in the folder `out` (rank 0)."""

    def check_features(self, spec: Any, folder: Path) -> Mapping[str, Any]:
        """Return the metadata of that net; raise ValueError if it is too bad to measure with."""

    def estimate_features(self, spec: Any) -> float:
        """Return the expected seconds of training that net."""


class Trainable(Essential, Declaring, Estimating, Teaching, Remeasuring, TrainingFeatures, Protocol):
    """A method that can be trained; only `Essential` is required.

    `runtime/loading.py` has defaults for the rest.

    A module whose columns or settings depend on the space has a function `from_settings(settings, folder)` that returns
    the trainable: `settings` are the space's keys, `folder` is where the space is.
    """


# A trainable that defines the key must define these members, too.
GO_TOGETHER = {
    "teacher_key": ("evaluation_key", "estimate_teacher", "train_teacher", "evaluate_teacher"),
    "MEASURED": ("evaluation_key", "measure_model", "estimate_measure"),
    "features_key": ("train_features", "check_features", "estimate_features"),
}


def declared(trainable: Trainable) -> dict[str, Any]:
    """Return the columns and plots of a trainable as plain values, as `plan.json` has them."""
    return {
        "columns": [asdict(column) for column in trainable.COLUMNS],
        "lines": [asdict(plot) for plot in trainable.LINES],
    }
