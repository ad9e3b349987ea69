"""Verdict board: claims with their verdicts, and the numbers behind each in one line."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import isnan

from branchwise.analysis.declared.cells import TEACHER
from branchwise.analysis.declared.claims import Claim
from branchwise.analysis.declared.inference import DEFAULT
from branchwise.analysis.records.teachers import has_teacher_for_each_block
from branchwise.analysis.report.text import DASH, Table, p_text, with_interval
from branchwise.analysis.report.wording import effect_text
from branchwise.analysis.statistics.claims.testing import Form, Test
from branchwise.analysis.statistics.claims.verdicts import Verdict
from branchwise.analysis.statistics.findings import Findings
from branchwise.analysis.statistics.model import Estimate

COLUMNS = ("claim", "verdict", "evidence", "p (Holm)")
VALUES: tuple[Form, ...] = ("value", "geometric mean", "ratio of values")  # claims on numbers in the metric's unit


def claims_table(analyses: Sequence[Findings]) -> Table:
    """Declared claims with their verdicts and the numbers behind them: the verdict board."""
    lead = (analyses[0].run.label_column,) if len(analyses) > 1 else ()
    rows = tuple(
        (*(findings.run.label for _ in lead), *_row(verdict, findings))
        for findings in analyses
        for verdict in findings.verdicts
    )
    inference = analyses[0].run.inference if analyses else DEFAULT
    return Table(
        title=f"Claims {claims_origin(analyses)}",
        name="claims",
        columns=(*lead, *COLUMNS),
        rows=rows,
        text_columns=3 + len(lead),
        note=f"Judged {inference.method}, two-sided at the {inference.error} level{_one_sided_note(analyses)}, "
        f"adjusted over all claims and tested effects{_data_sets_note(analyses)} together; equivalence by two "
        "one-sided tests. Claims and intervals are about the mean over seeds. Effects: positive = better."
        f"{_teachers_note(analyses)}",
    )


def claims_origin(analyses: Sequence[Findings]) -> str:
    """Return the origin of the claims as a title has it: `written before the run`."""
    if any(findings.run.lineage.adds_seeds for findings in analyses):
        return "exploratory: seeds were added after a verdict"
    if any(findings.run.manifest.get("claims_after_the_runs") for findings in analyses):
        return "written after the runs"
    return f"{'edited after' if any(findings.claims_modified for findings in analyses) else 'written before'} the run"


def _data_sets_note(analyses: Sequence[Findings]) -> str:
    return " of all data sets" if any(findings.run.data_set for findings in analyses) else ""


def exploratory_table(findings: Findings, verdicts: Sequence[Verdict]) -> Table:
    """Claims that were written for a finished run, with the numbers behind them."""
    return Table(
        title=f"Exploratory claims{f' on {on}' if (on := findings.run.data_set) else ''}, written after the run",
        columns=COLUMNS,
        rows=tuple(_row(verdict, findings) for verdict in verdicts),
        text_columns=3,
        note="Adjusted among themselves alone. They were chosen with the results at hand, so they confirm nothing; a "
        "confirmation takes fresh seeds.",
    )


def _row(verdict: Verdict, findings: Findings) -> tuple[str, ...]:
    return (verdict.claim.text, verdict_text(verdict), evidence(verdict, findings), p_text(verdict.test.p_holm))


def _one_sided_note(analyses: Sequence[Findings]) -> str:
    has_one_sided = any(verdict.claim.one_sided for findings in analyses for verdict in findings.verdicts)
    return ", one-sided where the claim says so" if has_one_sided else ""


def _teachers_note(analyses: Sequence[Findings]) -> str:
    named = [analysis for analysis in analyses if any(TEACHER in verdict.weights for verdict in analysis.verdicts)]
    if not named or all(
        has_teacher_for_each_block(findings_.run.arms, f"teacher_{findings_.run.primary.name}") for findings_ in named
    ):
        return ""
    return " One teacher is one teacher: its value varies by its sampling, as measured, and says nothing of others."


def verdict_text(verdict: Verdict) -> str:
    """The verdict, and the progress of the plan where it is not tested."""
    return f"{verdict.status}: {verdict.reason}" if verdict.status == "not judged" else verdict.status


def evidence(verdict: Verdict, findings: Findings) -> str:
    """The numbers behind a verdict in a single line, in the unit of the tables."""
    test, claim = verdict.test, verdict.claim
    why = test.reason or (verdict.reason if verdict.status != "not judged" else "")
    if not test.estimate.has_value:
        return why or DASH
    name = claim.outcome or findings.run.primary.name
    i = next(i for i, item in enumerate(findings.outcomes) if item.outcome.name == name)
    scale = findings.outcomes[i] if test.form == "ratio effect" else findings.raws[i]
    bounds = (-test.bound, test.bound) if claim.relation == "equivalent" else (test.bound,)
    relation = {"above": "above ", "below": "below ", "equivalent": "within "}[claim.relation]

    def text(estimate: Estimate) -> str:
        if test.form in ("effect", "ratio effect"):
            return effect_text(estimate, scale)
        return f"{with_interval(estimate, 100)}% of the gain" if test.form == "share" else with_interval(estimate)

    subject = {"geometric mean": "geometric mean ", "ratio of values": "ratio of geometric means "}.get(test.form, "")
    result = f"{subject}{text(test.estimate)}"
    if not isnan(test.limit):  # instead of an interval
        result = f"{subject}{_limited(test, claim, findings.run.inference.percent, text)}"
    if not isnan(test.bound):
        claimed = " to ".join(_bound_text(bound, test.form, text) for bound in bounds)
        result += f", claimed {relation}{claimed}"
    return f"{result} ({why})" if why else result


def _limited(test: Test, claim: Claim, percent: str, text: Callable[[Estimate], str]) -> str:
    """One-sided claim's estimate with its confidence limit, to an interval's digits."""
    away = 2 * test.estimate.value - test.limit
    above = claim.relation == "above"
    low, high = (test.limit, away) if above else (away, test.limit)
    match = re.fullmatch(r"(.*?) \[(.*), (.*)\](.*)", text(replace(test.estimate, low=low, high=high)))
    if match is None:
        return text(test.estimate)
    value, lower, upper, unit = match.groups()
    unit = unit or ("%" if value.endswith("%") else " points" if value.endswith(" points") else "")
    value = value if value.endswith(unit) else value + unit
    return f"{value}, {'lower' if above else 'upper'} {percent} limit {lower if above else upper}{unit}"


def _bound_text(bound: float, form: Form, text: Callable[[Estimate], str]) -> str:
    """A claimed bound in the unit of the tables, with all digits that were written."""
    visible = text(Estimate(value=bound)).removesuffix(" of the gain")
    exact = f"{bound:.10g}"
    return exact if form in VALUES and float(visible) != float(exact) else visible
