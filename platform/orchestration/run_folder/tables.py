"""The records of a run, and the tables that are built from them."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from branchwise.orchestration.designs.method import TeacherAddress
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.run_folder.teachers import SweepTeacher
from branchwise.orchestration.space import Space
from branchwise.run_files.sealing import DamagedError
from branchwise.trainables.runtime.processes import scratch_folder
from branchwise.trainables.runtime.run_folder import RunFolder
from branchwise.trainables.runtime.settings import setting

if TYPE_CHECKING:
    from branchwise.analysis.report.build import Summary

Record = Mapping[str, Any]
Evaluations = Mapping[TeacherAddress, Mapping[str, Any]]  # of teachers

# The platform's columns of arms.parquet; those that the trainable declares follow.
RECORD_COLUMNS = {
    "sweep": "string",
    "trial": "string",  # the cohort
    "arm": "string",
    "block": "int64",
    "seed": "int64",
    "kind": "string",
    "cell": "string",
    "teacher": "string",  # its key
    "status": "string",
    "error": "string",
}


def records(run: RunFolder) -> dict[str, Record | None]:
    """The record of each finished arm, by its name; None for a record that is damaged."""
    results: dict[str, Record | None] = {}
    for arm in run.record_names():
        try:
            results[arm] = run.read_record(arm)
        except DamagedError:
            results[arm] = None
    return results


def trial_seconds(done: Iterable[Record]) -> dict[str, list[float]]:
    """By trial, the recorded seconds from its start to the end of each of its arms."""
    seconds: dict[str, list[float]] = {}
    for record in done:
        if "seconds" in record:
            seconds.setdefault(str(record.get("trial")), []).append(float(record["seconds"]))
    return seconds


def finished(record: Record | None) -> bool:
    """Whether the record of an arm is a result; a resumed sweep runs failed arms once more."""
    return record is not None and record["status"] != "failed"


def clear_failed_records(run: RunFolder, arms: Iterable[str]) -> None:
    """Clear those of `arms` that failed or have a damaged record, so that they rerun."""
    result = records(run)
    for arm in arms:
        if arm in result and not finished(result[arm]):
            run.delete_record(arm)


def complete(counts: Mapping[str, int], total: int) -> bool:
    """Whether each of `total` arms has a value, or was stopped on purpose."""
    failed = sum(number for status, number in counts.items() if status not in ("done", "stopped"))
    return not failed and counts["done"] + counts["stopped"] >= total


def collect(run: RunFolder, space: Space, order: Mapping[str, int], teachers: Sequence[SweepTeacher]) -> dict[str, int]:
    """Build the tables of the records; return the number of arms by status.

    `order` ranks the planned arms, `teachers` are those that they learn from.
    """
    done = [record for record in records(run).values() if record is not None and record["arm"] in order]
    done.sort(key=lambda record: order[record["arm"]])
    run.write_tables(tables_of(done, run.name, space, teachers))
    counts = dict.fromkeys(("done", "stopped", "diverged", "failed"), 0)
    for record in done:
        counts[record["status"]] += 1
    return counts | {"missing": len(order) - len(done)}


def tables_of(done: Sequence[Record], sweep: str, space: Space, teachers: Sequence[SweepTeacher]) -> dict[str, bytes]:
    """The Parquet files of these records, by the table's name."""
    import pandas as pd

    evaluations = {teacher.address: teacher.evaluation for teacher in teachers if teacher.evaluation is not None}
    rows = [_row(sweep, space, record, evaluations) for record in done]
    dtypes = {column.name: column.dtype for column in space.module.COLUMNS if column.dtype != "object"}
    schema = {**RECORD_COLUMNS, **dtypes}
    table = pd.DataFrame(rows, columns=list(dict.fromkeys([*schema, *(key for row in rows for key in row)])))
    tables = {"arms": _parquet(table.astype(schema))}
    names = dict.fromkeys(name for record in done for name in record["tables"])
    for name in names:
        rows = [
            {"sweep": sweep, **{key: record[key] for key in ("arm", "block", "cell")}, **row}
            for record in done
            for row in record["tables"].get(name, ())
        ]
        if rows:
            tables[name] = _parquet(pd.DataFrame(rows))
    return tables


def _row(sweep: str, space: Space, record: Record, evaluations: Evaluations) -> dict[str, Any]:
    settings = space.method.patched(record["patch"])
    values = {name: record.get(name, "") for name in RECORD_COLUMNS}
    columns = {**values, "sweep": sweep, "value": math.nan, **_teacher_values(space, record, evaluations)}
    components = {f"component.{name}": record["components"].get(name) for name in space.design.component_names()}
    hyperparameters = {f"hp.{key}": _plain(setting(settings, key)) for key in space.design.settings()}
    source = {"reused_from": record["reused_from"]} if "reused_from" in record else {}
    crossed = space.design.crossed
    components |= {crossed.column: record["across"][crossed.name]} if crossed else {}
    return columns | components | hyperparameters | dict(record["values"]) | source


def _plain(value: Any) -> Any:
    """A setting as a column holds it.

    A section is JSON, since sections of the same name may have other keys.
    """
    return value.model_dump_json() if isinstance(value, BaseModel) else value


def _teacher_values(space: Space, record: Record, evaluations: Evaluations) -> dict[str, Any]:
    """The teacher of an arm, and its numbers, measured as the arm's.

    Those are `teacher_X` for each X that may be claimed about.
    """
    teacher_spec = space.method.teacher(record["patch"])
    if teacher_spec is None:
        return {"teacher": None}
    address = TeacherAddress(record["teacher"], teacher_spec.evaluation)
    evaluation = evaluations.get(address, {})
    names = [column.name for column in space.module.COLUMNS if column.claimable and column.name in evaluation]
    return {"teacher": address.key} | {f"teacher_{name}": evaluation[name] for name in names}


def _parquet(table: Any) -> bytes:
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False, write_page_checksum=True)
    return buffer.getvalue()


def report(run: RunFolder) -> Summary:
    """Build the run's report; that of a run at a URI is built locally and uploaded."""
    from branchwise.analysis.report.build import build_report  # pandas and matplotlib: not before they are needed

    if run.files.local is not None:
        return build_report([run.files.local])
    with scratch_folder() as scratch:
        folder = scratch / run.name
        run.copy_for_report(folder)
        summary = build_report([folder])
        run.write_report(summary.folder)
        return summary


def verdicts_of(run: RunFolder) -> list[dict[str, Any]]:
    """Return the decisions of a finished run, for the plan of a run that grows out of it.

    Raises:
        UserError: The run cannot be analyzed.
    """
    from branchwise.analysis.records.damage import RunFolderError
    from branchwise.analysis.records.folder import load_run
    from branchwise.analysis.statistics.findings import analyze_part, decisions

    try:
        if run.files.local is not None:
            return decisions(analyze_part(load_run(run.files.local)))
        with scratch_folder() as scratch:
            run.copy_for_report(scratch / run.name)
            return decisions(analyze_part(load_run(scratch / run.name)))
    except RunFolderError as error:
        raise UserError(str(error)) from error
