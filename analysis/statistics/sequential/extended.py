"""What is reported for a run that grew out of another, or that confirms a run on fresh seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import isclose, isnan, nan
from typing import Any

from branchwise.analysis.records.run import Run
from branchwise.analysis.statistics.attribution import ComponentRow, ScaleResult
from branchwise.analysis.statistics.claims.verdicts import Verdict
from branchwise.analysis.statistics.sequential.boundaries import error_of

MIN_BLOCKS = 3  # below, the levels of a second look are not computed


@dataclass(frozen=True, kw_only=True)
class Decision:
    """A hypothesis that was tested before the run grew.

    Attributes:
        run: The run that tested it.
        hypothesis: The claim in its canonical form, or `anchor.shapley`; for a further outcome `anchor.shapley(rho)`.
        text: The claim as it was written; else the hypothesis.
        component: The component of the effect; empty for a claim.
        outcome: The outcome of that effect.
        weights: Of that effect, by cell.
        verdict: The run's verdict.
        p_holm: Adjusted over the family of that run; NaN where it had no test.
    """

    run: str
    hypothesis: str
    text: str
    component: str = ""
    outcome: str = ""
    weights: Mapping[str, float]
    verdict: str
    p_holm: float


def grew(run: Run) -> bool:
    """Whether seeds were added to those that had been inspected."""
    extends = run.outline.extends
    return bool(extends and not extends.get("confirmation")) and len(run.outline.blocks) > int(
        (extends or {})["blocks"]
    )


def decided_before(run: Run) -> tuple[Decision, ...]:
    """What was tested before the run grew, as its plan keeps it."""
    rows = (run.outline.extends or {}).get("decided") or ()
    names = [field.name for field in fields(Decision)]
    return tuple(
        Decision(**{name: row[name] for name in names} | {"p_holm": nan if row["p_holm"] is None else row["p_holm"]})
        for row in rows
    )


def added(run: Run) -> tuple[str, ...]:
    """The components, baselines and cells that this run adds to another."""
    extends = run.outline.extends or {}
    return tuple(name for key in ("components", "baselines", "cells") for name in extends.get(key, ()))


def tested_components(run: Run) -> tuple[str, ...]:
    """The components that are not in the family of this run: one that it extends has tested them."""
    if not added(run) or grew(run):
        return ()
    return tuple(dict.fromkeys(item.component for item in decided_before(run) if item.component))


def with_decisions(
    run: Run, verdicts: Sequence[Verdict], outcomes: Sequence[ScaleResult]
) -> tuple[tuple[Verdict, ...], tuple[ScaleResult, ...]]:
    """The results, with what was tested before at its p-value of then, or a larger p-value: growing never lowers it."""
    before = decided_before(run)
    claims = {item.hypothesis: item for item in before if not item.component}
    effects = {(entry.outcome, entry.component): entry for entry in before if entry.component}
    settled = []
    for verdict in verdicts:
        result = verdict
        if old := claims.get(verdict.claim.canonical):
            test = replace(verdict.test, p_holm=_stricter(old.p_holm, verdict.test.p_holm))
            reason = "; ".join(filter(None, [verdict.reason, f"{old.verdict} before the extension, in {old.run}"]))
            result = replace(verdict, test=test, reason=reason)
        settled.append(result)
    scales = []
    for scale in outcomes:
        rows = tuple(_decided_row(row, effects.get((scale.outcome.name, row.component))) for row in scale.rows)
        scales.append(replace(scale, rows=rows))
    return tuple(settled), tuple(scales)


def _decided_row(row: ComponentRow, old: Decision | None) -> ComponentRow:
    if old is None:
        return row
    if not _same(old.weights, row.tested_weights):  # another effect of a component that was tested
        return replace(row, p_holm=nan)
    return replace(row, p_holm=_stricter(old.p_holm, row.effect.p if isnan(row.p_holm) else row.p_holm))


def _same(item: Mapping[str, float], other: Mapping[str, float]) -> bool:
    return item.keys() == other.keys() and all(isclose(item[cell], other[cell], abs_tol=1e-9) for cell in item)


def _stricter(old: float, new: float) -> float:
    """The larger p-value; NaN without an earlier one."""
    return old if isnan(old) or isnan(new) else max(old, new)


def exploratory(run: Run, verdicts: Sequence[Verdict]) -> tuple[Verdict, ...]:
    """The verdicts, none of which confirms anything where seeds were added after a verdict."""
    if not grew(run):
        return tuple(verdicts)
    return tuple(
        verdict if verdict.status == "not judged" else replace(verdict, status="exploratory") for verdict in verdicts
    )


def notes(run: Run) -> list[str]:
    """Where the arms are from, and what that does to the verdicts."""
    sentences = []
    if reused := run.manifest.get("reused"):
        taken = ", ".join(f"{number} of {source}" for source, number in reused.items())
        sentences.append(
            f"Finished arms were taken from other runs ({taken}), equal in settings, seed, code and machine."
        )
    extends = run.outline.extends
    if not extends:
        return sentences
    if extends.get("confirmation"):
        return [*sentences, _confirmation(extends, run.inference.alpha)]
    name, before, now = extends["run"], int(extends["blocks"]), len(run.outline.blocks)
    if grew(run):
        rate = ""
        if before >= MIN_BLOCKS:
            error = error_of((before, now), (run.inference.alpha, run.inference.alpha))
            rate = f" errs in up to {error:.1%} of null runs ({before} blocks, then {now}), not {run.inference.error}"
        sentences.append(
            f"Exploratory: {name} was judged after {before} blocks, and adding seeds after a verdict"
            f"{rate or f' errs more often than {run.inference.error}'}. To confirm, run fresh seeds alone: branchwise "
            f"extend {name} --blocks N --confirm."
        )
    if new := added(run):
        sentences.append(
            f"This run adds {', '.join(new)} to {name}: its verdicts are a family of their own, and those of {name} "
            "stay as they were."
        )
    return sentences


def _confirmation(extends: Mapping[str, Any], alpha: float) -> str:
    first, earlier = int(extends["first_seed"]), list(extends.get("earlier") or ())
    message = f"Confirms {extends['run']} on fresh seeds, from {first} on, which no run of the storage had used."
    if earlier:
        rate = 1 - (1 - alpha) ** (len(earlier) + 1)
        message += (
            f" It is confirmation {len(earlier) + 1} (before: {', '.join(earlier)}): where an effect is zero, one or "
            f"more of {len(earlier) + 1} confirmations err in {rate:.1%} of cases."
        )
    return message
