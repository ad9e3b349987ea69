"""Schemas of the JSON files of a run folder, checked before any value that is read is used.

Unlisted keys are kept unchanged. Keys that a reader relies on are listed, with their constraints.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from branchwise.run_files.columns import Better, Scale
from branchwise.run_files.layout import FORMAT, is_file_name
from branchwise.run_files.sealing import DamagedError

MAX_TEXT = 200  # characters of a name
MAX_CELL = 1000  # of the name of a cell or an arm, which is built from names
MAX_CHARACTERS = 80  # characters of a value in a message


def _check_file_name(name: str) -> str:
    if not is_file_name(name):
        raise ValueError("must name a file: no path, not hidden, no control characters, at most 255 characters")
    return name


def _check_format(number: int) -> int:
    if number != FORMAT:
        raise ValueError(f"must be {FORMAT}, not {number}: another version of this program wrote it")
    return number


def _check_time(text: str) -> str:
    datetime.fromisoformat(text)
    return text


Name = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
FileName = Annotated[str, AfterValidator(_check_file_name)]
PlainName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=MAX_TEXT)]  # also of HTML ids
Time = Annotated[str, AfterValidator(_check_time)]
Format = Annotated[int, AfterValidator(_check_format)]
Number = float  # may be NaN
Finite = Annotated[float, Field(allow_inf_nan=False)]
ALPHA, MAX_ALPHA = 0.05, 0.5  # error of the tests: the default, and the largest that may be declared
Alpha = Annotated[float, Field(gt=0, le=MAX_ALPHA)]
Level = bool | str | None


class Schema(BaseModel):
    """Required content of a file; other keys are let through."""

    model_config = ConfigDict(extra="allow", strict=True)


class _Factor(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: Name
    levels: Annotated[list[Name], Field(min_length=2)] = Field(default_factory=lambda: ["off", "on"])
    reference: str = "off"
    full: str = "on"
    doses: list[Number] = []
    label: Annotated[str, Field(max_length=MAX_TEXT)] = ""

    @model_validator(mode="after")
    def _check_levels(self) -> _Factor:
        if len(set(self.levels)) < len(self.levels):
            raise ValueError("levels must differ")
        if self.reference not in self.levels or self.full not in self.levels or self.reference == self.full:
            raise ValueError(f"reference and full must be two of the levels {', '.join(self.levels)}")
        if self.doses and len(self.doses) != len(self.levels):
            raise ValueError("doses must be as many as levels")
        return self


class _Cell(Schema):
    cell: Annotated[str, Field(min_length=1, max_length=MAX_CELL)]
    kind: Name
    components: dict[str, Level]


class _Part(Schema):
    kinds: Annotated[list[str], Field(min_length=1)]
    name: str
    question: str


class _Column(Schema):
    name: Name
    about: str
    unit: str
    better: Better | None
    shown: bool
    cost: bool = False
    scale: Scale = "log"
    declared: bool = True
    range: Annotated[list[Finite], Field(min_length=2, max_length=2)] | None = None


class _Lines(Schema):
    table: PlainName
    name: PlainName
    title: str
    x: Annotated[list[Name], Field(min_length=1, max_length=2)]
    x_label: str
    y: Annotated[list[_Column], Field(min_length=1)]
    level: Number | None
    linear: list[str]


class _Published(Schema):
    values: dict[str, Number]
    source: str


class _Looks(Schema):
    blocks: Annotated[list[Annotated[int, Field(gt=0)]], Field(min_length=1)]
    spending: Literal["obrien_fleming", "quadratic"]
    futility: Annotated[float, Field(ge=0, le=1)]

    @model_validator(mode="after")
    def _check_order(self) -> _Looks:
        if any(later <= earlier for earlier, later in pairwise(self.blocks)):
            raise ValueError("looks must come after rising numbers of blocks")
        return self


class _Across(Schema):
    name: Name
    levels: Annotated[list[Name], Field(min_length=2)]

    @model_validator(mode="after")
    def _check_levels(self) -> _Across:
        if len(set(self.levels)) < len(self.levels):
            raise ValueError("levels must differ")
        return self


class _Decision(Schema):
    run: Name
    hypothesis: str
    text: str
    component: str
    outcome: str
    weights: dict[str, Finite]
    verdict: str
    p_holm: Annotated[float, Field(ge=0, le=1)] | None


class _Extends(Schema):
    """The run that a run adds to, or confirms."""

    run: Name
    blocks: Annotated[int, Field(ge=0)]  # after which seeds were first tested; of a confirmation, in all
    components: list[Name] = []
    baselines: list[Name] = []
    cells: list[Annotated[str, Field(min_length=1, max_length=MAX_CELL)]] = []
    decided: list[_Decision] = []
    confirmation: bool = False
    earlier: list[Name] = []  # confirmations of the same run
    first_seed: Annotated[int, Field(ge=0)] = 0


class _PlannedTeacher(Schema):
    key: FileName
    cells: list[str]


class Plan(Schema):
    """plan.json as the analysis and a resume rely on it."""

    format: Format = FORMAT
    space_sha256: str = ""
    space_folder: str = ""
    components: list[Name]
    factors: list[_Factor]
    outcomes: Annotated[list[Name], Field(min_length=1)]
    blocks: list[Annotated[int, Field(ge=0)]]
    cells: list[_Cell]
    parts: Annotated[list[_Part], Field(min_length=1)]
    columns: list[_Column]
    lines: list[_Lines]
    looks: _Looks | None = None
    across: _Across | None = None
    extends: _Extends | None = None
    paired: bool = True
    alpha: Alpha = ALPHA
    published: _Published | None = None
    teachers: list[_PlannedTeacher] = []
    cohorts: dict[FileName, list[FileName]] = {}

    @model_validator(mode="after")
    def _check_cells(self) -> Plan:
        names = [factor.name for factor in self.factors]
        if names != self.components or len(set(names)) < len(names):
            raise ValueError(f"components must be the names of the factors, each once: {', '.join(names)}")
        for i, cell in enumerate(self.cells):
            if cell.components and set(cell.components) != set(names):
                raise ValueError(f"cells.{i}.components: must have a level of {', '.join(names)}, or be empty")
            for factor in self.factors:
                level = cell.components.get(factor.name)
                text = {True: "on", False: "off", None: "off"}.get(level, level)  # type: ignore[arg-type]
                if factor.name in cell.components and text not in factor.levels:
                    raise ValueError(f"cells.{i}.components.{factor.name}: must be one of {', '.join(factor.levels)}")
        if len(set(self.blocks)) < len(self.blocks):
            raise ValueError("blocks must differ")
        return self


class _Teacher(Schema):
    key: FileName
    cells: list[str] = []
    value: Number | None = None


class _FinishedLook(Schema):
    blocks: int
    decided: list[str]


class Manifest(Schema):
    """manifest.json; each key may be missing."""

    name: Name = ""
    format: Format = FORMAT
    started: Time = ""
    ended: Time | None = None
    status: Name = ""
    source: str = ""
    claims_sha256: str | None = None
    claims_after_the_runs: bool = False
    notes: list[str] = []
    progress: dict[str, str] | None = None
    teachers: list[_Teacher] = []
    looks: list[_FinishedLook] | None = None
    spent: dict[str, Finite] | None = None
    limit: str = ""
    stopped_after: int = 0
    stopped_because: Literal["decided", "futile", "max"] = "max"
    arms: int = 0
    arms_by_status: dict[str, int] | None = None
    host: str | None = None
    device: str | None = None
    git_commit: str | None = None


class Record(Schema):
    """arms/<arm>.json"""

    arm: FileName
    trial: FileName
    kind: Name
    cell: str
    block: int
    seed: int
    components: dict[str, Level]
    patch: dict[str, Any]
    across: dict[str, str] = {}
    teacher: FileName | None = None
    status: Literal["done", "stopped", "diverged", "failed"]
    values: dict[str, Any]
    error: str
    tables: dict[PlainName, list[dict[str, Any]]]
    seconds: Finite = 0.0


class _RunningArm(Schema):
    arm: FileName
    cell: str
    block: int


class Progress(Schema):
    """progress/<cohort>.json"""

    phase: str
    step: Finite
    steps: Finite
    arms: list[_RunningArm]
    begun: Finite
    time: Finite
    steps_per_second: Finite = 0.0


class Rung(Schema):
    """rungs/<cell>/<step>/<arm>.json"""

    value: Number


class Lock(Schema):
    """lock.json"""

    host: str
    pid: Annotated[int, Field(gt=0, lt=1 << 31)]
    token: str
    renewed: Finite
    host_namespace_id: str = ""
    process_start_time: str = ""


class Remeasurement(Schema):
    """measurements/<key>/measure.json"""

    settings: dict[PlainName, dict[PlainName, Any]]
    of_the_sweep: dict[PlainName, dict[PlainName, Any]]
    as_in_the_sweep: bool


class Evaluation(Schema):
    """teachers/<key>/evaluations/<settings>.json"""

    value: Number


class _Design(Schema):
    kind: str = ""
    claims: list[str] | None = None
    components: dict[str, Any] | None = None
    alpha: Alpha = ALPHA
    seeds: Annotated[int, Field(ge=1, le=100)] | None = None  # of each configuration of a search


class SpaceTree(Schema):
    """space.yaml as the analysis relies on it; a sweep validates all of it."""

    name: Name | None = None
    design: _Design | None = None
    limits: dict[str, Any] | None = None


def check(model: type[Schema], content: Any, where: str) -> Any:
    """Return `content` as it is when it fits the schema.

    Args:
        model: The schema of the file.
        content: What was read from it.
        where: How messages call the file.

    Raises:
        DamagedError: It does not fit; a message with the file, the key and what is allowed.
    """
    if not isinstance(content, Mapping):
        raise DamagedError(f"{where}: must hold a mapping")
    try:
        model.model_validate(content)
    except ValidationError as error:
        raise DamagedError(f"{where}: {_describe_error(error.errors()[0])}") from error
    return content


def _describe_error(item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"])
    message = item["msg"].removeprefix("Value error, ")
    value = repr(item["input"])
    visible = "" if len(value) > MAX_CHARACTERS or item["type"] in ("missing", "value_error") else f", not {value}"
    return f"{key}: {message[0].lower()}{message[1:]}{visible}" if key else message
