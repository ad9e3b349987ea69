"""`python -m analysis.verify RUN`: is a run's report what its sealed claims and its arms give? Also for CI jobs."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from branchwise.analysis.console import make_console, single_line
from branchwise.analysis.declared.claim_grammar import parse_claim
from branchwise.analysis.records.comparing import IncomparableError, check_comparable
from branchwise.analysis.records.damage import RunFolderError, path_in, read_bytes, read_json
from branchwise.analysis.records.folder import find_run, load_run
from branchwise.analysis.records.run import Run
from branchwise.analysis.statistics.findings import Findings, analyze_run
from branchwise.analysis.statistics.sequential.looks import LookResults
from branchwise.command_io import JSON_HELP, ArgumentsError, CommandParser, print_document, refuser
from branchwise.run_files import schemas
from branchwise.run_files.layout import ARMS, REPORT, RESULTS

ROUNDING = 1e-9  # relative; another processor may differ by so much
MAX_NAMED = 3


@dataclass(frozen=True)
class Check:
    """A check: its subject, whether it holds, and a message."""

    name: str
    holds: bool
    message: str


def checks(folder: Path) -> list[Check]:
    """Return all checks of a single run folder.

    Raises:
        RunFolderError: The folder is no run folder, or cannot be read.
    """
    run = load_run(folder)
    analyses = analyze_run(run)
    findings = analyses[0]
    of_data_sets = [item.run for item in analyses] if run.outline.across else [run]
    return [
        _claims(findings),
        _space(run),
        _stopping(run, of_data_sets, findings.looks),
        _measure(of_data_sets),
        *_records(run),
        _numbers(run),
    ]


def _claims(findings: Findings) -> Check:
    run = findings.run
    started = run.manifest.get("started", "an unknown time")
    if run.manifest.get("claims_after_the_runs"):
        return Check("claims", False, "they were written after the runs")
    if not run.claims:
        gone = findings.claims_modified
        return Check("claims", not gone, f"the space has none{' any more' if gone else ''}")
    if findings.claims_modified:
        return Check("claims", False, f"they are not those that were sealed at {started}")
    seal = run.manifest.get("claims_sha256", "none; the whole space is sealed")
    return Check("claims", True, f"{len(run.claims)}, as sealed at {started} (seal {seal})")


def _space(run: Run) -> Check:
    message = "is not the one that the run began with" if run.modified else "is the one that the run began with"
    return Check("space", not run.modified, f"space.yaml {message}")


def _stopping(run: Run, of_data_sets: Sequence[Run], looks: LookResults | None) -> Check:
    """The run is complete: it has each arm of each block on each data set, no fewer and no more."""
    if looks and not looks.ended:
        return Check("stopping rule", False, f"not judged: {looks.progress}; no look has ended the run")
    if looks:
        run = replace(run, outline=replace(run.outline, blocks=run.outline.blocks[: looks.blocks[-1]]))
        of_data_sets = [run]
    planned = {
        item.arm(cell, block)
        for item in of_data_sets
        for block in run.outline.blocks
        for cell in (*run.outline.planned, *run.outline.baselines)
    }
    counted = run.arms[run.arms["kind"].isin(["cell", "baseline"])]
    more = [arm for arm in counted["arm"] if arm not in planned]
    blocks = len(run.outline.blocks)
    unfinished = of_data_sets[0].unfinished
    status_prefix = f"not judged: {unfinished}; " if unfinished else ""
    missing = tuple(arm for item in of_data_sets for arm in item.missing)
    for names, what in ((missing, "planned and not there"), (tuple(more), "there and not planned")):
        if names:
            return Check("stopping rule", False, f"{status_prefix}{len(names)} arms are {what}: {_abbreviate(names)}")
    without_value = tuple(run.failed_arms["arm"])
    if without_value:
        message = f"{len(without_value)} of {len(run.arms)} arms gave no value: {_abbreviate(without_value)}"
        return Check("stopping rule", False, message)
    if looks:
        why = f"where the look after {blocks} of at most {looks.looks.max} ended the run ({looks.ended})"
        return Check("stopping rule", True, f"{len(run.arms)} arms in {blocks} blocks, {why}")
    on = f" on each of {', '.join(item.data_set for item in of_data_sets)}" if run.outline.across else ""
    return Check("stopping rule", True, f"{len(run.arms)} arms in {blocks} blocks{on}, as planned")


def _measure(of_data_sets: Sequence[Run]) -> Check:
    measured = []
    for run in of_data_sets:
        try:
            check_comparable([run])
        except IncomparableError as error:
            return Check("measure", False, str(error))
        samples = run.comparability.get("samples")
        on = f"{run.data_set}: " if run.data_set else ""
        measured.append(f"{on}{run.metric}, {samples:,} samples" if samples else f"{on}{run.metric}")
    return Check("measure", True, f"the same for every arm: {'; '.join(measured)}")


def _records(run: Run) -> Iterator[Check]:
    """The sealed record of each arm against its row in the table."""
    files = sorted(path_in(run.folder, ARMS).glob("[!.]*.json"))
    if not files:
        return  # of external runs
    values = run.arms.set_index("arm")["value"].to_dict()
    for file in files:
        try:
            record = read_json(run.folder, f"{ARMS}/{file.name}", schemas.Record) or {}
        except RunFolderError as error:
            yield Check("records", False, str(error))
            return
        recorded, row = (record.get("values") or {}).get("value"), values.get(record.get("arm"), math.nan)
        if not _same_value(recorded, None if math.isnan(row) else row):
            yield Check("records", False, f"{file.name} says {recorded}, arms.parquet {row}")
            return
    names = {file.name.removesuffix(".json") for file in files}
    unrecorded = [str(arm) for arm, value in values.items() if not math.isnan(value) and arm not in names]
    if unrecorded:
        yield Check("records", False, f"arms of arms.parquet without a record: {_abbreviate(unrecorded)}")
        return
    yield Check("records", True, f"{len(files)} records are whole, and arms.parquet has their values")


def _numbers(run: Run) -> Check:
    from branchwise.analysis.report.build import numbers_of

    file = run.folder / REPORT / "ablation.json"
    try:
        reported = json.loads(read_bytes(run.folder, f"{REPORT}/{file.name}") or b"")
    except (RecursionError, ValueError) as error:
        return Check("numbers", False, f"{file} cannot be read: {error}")
    try:
        computed = json.loads(numbers_of(run.folder))
    except IncomparableError as error:
        return Check("numbers", False, f"the arms give no report: {error}")
    difference = next(_differences(reported, computed, ""), None)
    if difference:
        return Check("numbers", False, f"report/ablation.json differs from what the arms give in {difference}")
    return Check("numbers", True, "report/ablation.json is what the arms give")


def _differences(item: Any, other: Any, where: str) -> Iterator[str]:
    if isinstance(item, dict) and isinstance(other, dict):
        for key in [*item, *(key for key in other if key not in item)]:
            yield from _differences(item.get(key), other.get(key), f"{where}.{key}" if where else key)
    elif isinstance(item, list) and isinstance(other, list) and len(item) == len(other):
        for i, pair in enumerate(zip(item, other, strict=True)):
            yield from _differences(*pair, f"{where}[{i}]")
    elif not _same_value(item, other):
        yield f"{where} ({item!r} against {other!r})"


def _same_value(item: Any, other: Any) -> bool:
    if isinstance(item, float) and isinstance(other, float | int):
        return math.isclose(item, other, rel_tol=ROUNDING, abs_tol=ROUNDING)
    return bool(item == other)


def _abbreviate(names: Sequence[str]) -> str:
    return ", ".join(names[:MAX_NAMED]) + (f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else "")


def verdicts(folder: Path, claims: Sequence[str]) -> list[Check]:
    """Check that each of these claims is supported; without any, all claims of the run.

    Raises RunFolderError for a claim that the run does not declare.
    """
    analyses = analyze_run(load_run(folder))
    findings = analyses[0]
    on_each = analyses if findings.run.data_set else [findings]
    by_claim = {verdict.claim.canonical: verdict for verdict in findings.verdicts}
    requested = list(by_claim)
    if claims:
        try:
            requested = [parse_claim(claim, findings.run.vocabulary).canonical for claim in claims]
        except ValueError as error:
            raise RunFolderError(f"--require: {error}") from error
    for text, canonical in zip(claims, requested, strict=False):
        if canonical not in by_claim:
            raise RunFolderError(f"--require {text}: is no claim of {findings.run.name}; it declares "
                                 f"{'; '.join(findings.run.claims) or 'none'}")  # fmt: skip
    return [
        Check(f"{verdict.claim.text}{f' on {item.run.data_set}' if item.run.data_set else ''}",
              verdict.status == "supported", f"{verdict.status}: {verdict.reason}".rstrip(": "))
        for canonical in requested
        for item in on_each
        for verdict in item.verdicts
        if verdict.claim.canonical == canonical
    ]  # fmt: skip


def parser(program: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of `branchwise verify` and of `python -m analysis.verify`."""
    parser = CommandParser(
        prog=program or "python -m analysis.verify",
        description="Check that a run's claims are those that were sealed before it, that it has the arms that it "
        "planned, all measured alike, and that its report is what they give. Exit code 1 when something does not hold.",
    )
    parser.add_argument("run", metavar="RUN", help="name of a run, or its folder")
    parser.add_argument(
        "--storage", type=Path, default=Path(RESULTS), metavar="DIR", help="where runs are kept (default: ./results)"
    )
    parser.add_argument(
        "--require",
        nargs="*",
        metavar="CLAIM",
        help="exit code 1 as well when one of these claims is not supported; without any, all claims of the run",
    )
    parser.add_argument("--json", action="store_true", help=JSON_HELP)
    return parser


def main(argv: Sequence[str] | None = None, program: str | None = None) -> int:
    """Return the exit code: 0 when everything holds, 1 when something does not, 2 for bad input."""
    refuse = refuser(program, argv)
    console = make_console()
    try:
        args = parser(program).parse_args(argv)
        folder = find_run(args.run, args.storage)
        result = checks(folder)
        result += verdicts(folder, args.require) if args.require is not None else []
    except (RunFolderError, IncomparableError, ArgumentsError) as error:
        return refuse(single_line(error))
    except OSError as error:  # a folder that cannot be read, or with a name that no file system accepts
        return refuse(single_line(f"{error.filename}: {error.strerror or error}"))
    holds = all(check.holds for check in result)
    if args.json:
        results = [{"check": check.name, "holds": check.holds, "detail": check.message} for check in result]
        print_document({"run": str(folder), "holds": holds, "checks": results})
        return 0 if holds else 1
    width = max(len(check.name) for check in result)
    for check in result:
        console.print(f"{'holds' if check.holds else 'FAILS':<6}  {check.name:<{width}}  {single_line(check.message)}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
