"""Models of the documents of `--json` and of the lines of `--progress json`.

`branchwise schema` prints the schema of each.

Numbers that are unknown are null. Paths are as the command prints them.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from branchwise.command_io import SCHEMA_VERSION


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Document(_Part):
    """A document with the version of its schema."""

    schema_version: Literal[1] = SCHEMA_VERSION


class Detail(_Part):
    """A line of the printed plan."""

    name: str
    text: str


class PlanDocument(Document):
    """Plan of a run: `plan --json`, and `--dry-run --json` of run, resume, extend and follow-up."""

    run: str
    folder: str
    kind: str = Field(description="kind of the design")
    trainable: str
    components: list[str]
    claims: list[str]
    arms: int = Field(description="in all, those with a result included")
    arms_left: int | None = Field(description="null for a search, whose arms are not known beforehand")
    blocks: int = Field(description="shared seeds; the largest number where looks are declared")
    seconds: float | None = Field(description="expected duration; null where it is not known")
    machine: str | None = Field(description="what the duration holds for; null where it is not known")
    obstacle: str | None = Field(description="why the run cannot start; exit code 2")
    notices: list[str]
    details: list[Detail] = Field(description="the plan as it is printed for people")


class RunningCohort(_Part):
    """A cohort that trains now."""

    cohort: str
    arms: list[str]
    phase: str
    step: int
    steps: int
    steps_per_second: float | None


class BestArm(_Part):
    """The arm with the best value so far, in the metric's direction."""

    arm: str
    metric: str
    value: float
    seeds: int = Field(description="seeds that the value is the mean of: more than 1 for a search with `seeds`")


class StatusDocument(Document):
    """Progress of a run: `status --json`."""

    run: str
    folder: str
    state: str = Field(
        description="running, finished, interrupted, limited, failed, stopped (its process is gone), damaged"
    )
    started: str | None
    ended: str | None
    host: str | None
    pid: int | None = Field(description="process that runs it now")
    arms: int
    arms_finished: int
    arms_by_status: dict[str, int]
    seconds_left: float | None = Field(description="null where nobody runs it, or where it is not known yet")
    running: list[RunningCohort]
    best: BestArm | None
    report: str | None
    limit: str | None = Field(description="limit that ended it")


class ListedRun(_Part):
    """A run of a storage."""

    run: str
    state: str
    arms: int
    arms_finished: int
    started: str | None


class ListDocument(Document):
    """The runs of a storage: `list --json`."""

    storage: str
    runs: list[ListedRun]


class AnalysisDocument(Document):
    """Findings of `analyze --json`."""

    report: str = Field(description="folder of the report")
    warnings: list[str]
    answers: list[str] = Field(description="the result in sentences")
    notes: list[str]
    exploratory: list[dict[str, str]] = Field(description="rows of --claim, as they are printed for people")
    results: dict[str, Any] = Field(
        description="ablation.json of the report; `branchwise schema report` has its schema"
    )


class AcrossDocument(Document):
    """Findings of `analyze --across --json`."""

    across: list[str] = Field(description="names of the runs")
    scale: str
    level: float = Field(description="of intervals, such as 0.95")
    effects: dict[str, list[dict[str, Any]]] = Field(description="by component, its effect in each run")
    combined: dict[str, dict[str, Any]] = Field(description="by component, the random-effects mean")
    notes: list[str]


class CompareDocument(Document):
    """Findings of `compare --json`: the second minus the first."""

    names: list[str] = Field(description="of the two runs, cells or groups")
    metric: str
    better: str = Field(description="lower or higher; empty where none is declared")
    paired: bool
    level: float = Field(description="of intervals, such as 0.95")
    differences: list[dict[str, Any]] = Field(description="one for each cell")
    settings: dict[str, list[Any]] = Field(description="settings that differ, with both values")
    notes: list[str]


class CheckResult(_Part):
    """A check of `verify`."""

    check: str
    holds: bool
    detail: str


class VerifyDocument(Document):
    """Whether a run is what it says: `verify --json`."""

    run: str = Field(description="folder of the run")
    holds: bool = Field(description="whether every check holds; else the exit code is 1")
    checks: list[CheckResult]


class MachineCheck(_Part):
    """A check of `doctor`."""

    check: str
    state: Literal["passed", "failed", "not possible here"]
    detail: str


class DoctorDocument(Document):
    """Whether a machine computes what it should: `doctor --json`."""

    device: str
    versions: list[str]
    checks: list[MachineCheck]


class ErrorDocument(Document):
    """Printed in place of a command's document where it failed; the same sentence is on stderr."""

    error: str
    exit_code: int


class ProgressLine(Document):
    """A line of `--progress json`."""

    event: Literal[
        "planned", "teacher", "cohort_started", "cohort_finished", "arm_finished", "arm_failed", "look", "limit", "done"
    ]
    time: str = Field(description="ISO 8601, UTC")
    run: str
    arms: int = Field(description="in all")
    arms_finished: int
    seconds_left: float | None = Field(description="null where it is not known")
    name: str | None = Field(default=None, description="teacher, cohort or arm")
    status: str | None = Field(default=None, description="of the teacher, the arm or the run")
    value: float | None = Field(default=None, description="of a finished arm")
    message: str | None = Field(default=None, description="error of an arm, decisions of a look, the limit")
    exit_code: int | None = Field(default=None, description="of the command, in the last line")


DOCUMENTS: dict[str, type[Document]] = {
    "plan": PlanDocument,
    "status": StatusDocument,
    "list": ListDocument,
    "analyze": AnalysisDocument,
    "across": AcrossDocument,
    "compare": CompareDocument,
    "verify": VerifyDocument,
    "doctor": DoctorDocument,
    "error": ErrorDocument,
    "progress": ProgressLine,
}


def json_schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema of a document; each key that a document always has is required."""
    schema = DOCUMENTS[name].model_json_schema(mode="serialization")
    identity = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:branchwise:{name}:{SCHEMA_VERSION}",
    }
    return identity | schema
