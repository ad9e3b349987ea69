"""Report of a run that grew out of another, or that confirms a run on fresh seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isclose, isnan, nan
from typing import Any

from branchwise.analysis.declared.inference import Inference
from branchwise.analysis.records.lineage import Decision, Lineage
from branchwise.analysis.statistics.attribution import ComponentRow
from branchwise.analysis.statistics.claims.judging import FamilyResult
from branchwise.analysis.statistics.claims.verdicts import Verdict
from branchwise.analysis.statistics.sequential.boundaries import error_of

MIN_BLOCKS_OF_FIRST_LOOK = 3  # below, the levels of a second look are not computed


def with_decisions(lineage: Lineage, family: FamilyResult) -> FamilyResult:
    """Return the tests of an extended run, with earlier p-values as they were then or larger.

    An extension never lowers them.
    """
    before = lineage.decided
    claims = {item.hypothesis: item for item in before if not item.component}
    effects = {(entry.outcome, entry.component): entry for entry in before if entry.component}
    verdicts = []
    for verdict in family.verdicts:
        result = verdict
        if old := claims.get(verdict.claim.canonical):
            test = replace(verdict.test, p_holm=_stricter(old.p_holm, verdict.test.p_holm))
            reason = "; ".join(filter(None, [verdict.reason, f"{old.verdict} before the extension, in {old.run}"]))
            result = replace(verdict, test=test, reason=reason)
        verdicts.append(result)
    outcomes = []
    for attribution in family.outcomes:
        rows = tuple(
            _decided_row(row, effects.get((attribution.outcome.name, row.component))) for row in attribution.rows
        )
        outcomes.append(replace(attribution, rows=rows))
    return replace(family, verdicts=tuple(verdicts), outcomes=tuple(outcomes))


def _decided_row(row: ComponentRow, old: Decision | None) -> ComponentRow:
    if old is None:
        return row
    if not _same(old.weights, row.tested_weights):  # another effect of a component that was tested
        return replace(row, p_holm=nan)
    return replace(row, p_holm=_stricter(old.p_holm, row.effect.p if isnan(row.p_holm) else row.p_holm))


def _same(item: Mapping[str, float], other: Mapping[str, float]) -> bool:
    return item.keys() == other.keys() and all(isclose(item[cell], other[cell], abs_tol=1e-9) for cell in item)


def _stricter(old: float, new: float) -> float:
    """The larger p-value; NaN if none is earlier."""
    return old if isnan(old) or isnan(new) else max(old, new)


def exploratory(verdicts: Sequence[Verdict]) -> tuple[Verdict, ...]:
    """The verdicts, none of which confirms anything, as where seeds were added after a verdict."""
    return tuple(
        verdict if verdict.status == "not judged" else replace(verdict, status="exploratory") for verdict in verdicts
    )


def notes(lineage: Lineage, reused: Mapping[str, int], inference: Inference) -> list[str]:
    """Return notes on the origin of the arms, and on what that does to the verdicts.

    Args:
        lineage: What the run grew out of.
        reused: Arms taken from other runs, by the name of the run.
        inference: How effects are tested.
    """
    sentences = []
    if reused:
        taken = ", ".join(f"{number} of {source}" for source, number in reused.items())
        sentences.append(
            f"Finished arms were taken from other runs ({taken}), equal in settings, seed, code and machine."
        )
    extends = lineage.extends
    if not extends:
        return sentences
    if extends.get("confirmation"):
        return [*sentences, _confirmation(extends, inference.alpha)]
    name, before, now = extends["run"], int(extends["blocks"]), lineage.blocks
    if lineage.adds_seeds:
        rate = ""
        if before >= MIN_BLOCKS_OF_FIRST_LOOK:
            error = error_of((before, now), (inference.alpha, inference.alpha))
            rate = f" errs in up to {error:.1%} of null runs ({before} blocks, then {now}), not {inference.error}"
        sentences.append(
            f"Exploratory: {name} was judged after {before} blocks, and adding seeds after a verdict"
            f"{rate or f' errs more often than {inference.error}'}. To confirm, run fresh seeds alone: branchwise "
            f"extend {name} --blocks N --confirm."
        )
    if new := lineage.added:
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
