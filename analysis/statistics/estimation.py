"""Estimates of each effect on each outcome from the arms; claims are tested with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import nan

import pandas as pd

from branchwise.analysis.declared.claims import Claim
from branchwise.analysis.declared.factors import Grid
from branchwise.analysis.declared.inference import DEFAULT, Inference
from branchwise.analysis.declared.outcomes import Outcome
from branchwise.analysis.declared.scales import Resolution, placed, resolution
from branchwise.analysis.records.observations import Observations
from branchwise.analysis.statistics.attribution import Attribution, analyze_scale, with_worst_values
from branchwise.analysis.statistics.model import Estimate
from branchwise.run_files.columns import Scale


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The estimates that claims are tested with.

    Attributes:
        outcomes: The attribution of each outcome on its scale, the primary first.
        raws: The same in the metric's unit.
        results: The finished arms.
        resolutions: Of each outcome, the grid of its values.
        with_worst: The same with bad values substituted for failed arms; None without failed arms.
        notes: On values that the scale of an outcome cannot take.
        inference: How claims are tested.
    """

    outcomes: Sequence[Attribution]
    raws: Sequence[Attribution]
    results: pd.DataFrame
    resolutions: Mapping[str, Resolution | None] = field(default_factory=dict)
    with_worst: Evidence | None = None
    notes: tuple[str, ...] = ()
    inference: Inference = DEFAULT

    def index(self, claim: Claim) -> int:
        """Return the index of the outcome that a claim is about."""
        names = [attribution.outcome.name for attribution in self.outcomes]
        return names.index(claim.outcome) if claim.outcome else 0


def estimate(observed: Observations) -> Evidence:
    """Estimate each effect on each outcome, before any adjustment for their number.

    Once the plan is finished, the effects are estimated again with bad values in place of failed arms.
    """
    outcomes, notes, resolutions = [], [], {}
    for outcome in observed.outcomes:
        rows = observed.results[observed.results[outcome.name].notna()]
        values = rows[outcome.name].to_numpy(dtype=float)
        usable, note = placed(outcome, values, rows["arm"].tolist())
        outcomes.append(usable)
        notes += [note] if note else []
        resolutions[outcome.name] = resolution(outcome, values)
    bare = Evidence(
        outcomes=(), raws=(), results=observed.results, resolutions=resolutions, notes=tuple(notes),
        inference=observed.inference,
    )  # fmt: skip
    evidence = _attributed(bare, observed.grid, outcomes)
    if observed.failed.empty or observed.unfinished:
        return evidence
    filled = pd.concat([observed.results, observed.failed])
    for attribution in evidence.outcomes:
        column = attribution.outcome.name
        complete = with_worst_values(observed.results, observed.failed.assign(**{column: nan}), attribution)
        filled[column] = complete[column].reindex(filled.index)
    return replace(evidence, with_worst=_attributed(replace(evidence, results=filled), observed.grid, outcomes))


def _attributed(evidence: Evidence, grid: Grid, outcomes: Sequence[Outcome]) -> Evidence:
    """The evidence with the attribution of each outcome, on its scale and in the metric's unit."""

    def attributed(scale: Scale | None) -> tuple[Attribution, ...]:
        steps = evidence.resolutions
        return tuple(
            analyze_scale(evidence.results, grid, outcome, scale, steps.get(outcome.name), evidence.inference)
            for outcome in outcomes
        )

    return replace(evidence, outcomes=attributed(None), raws=attributed("identity"))


def effects_with_worst(observed: Observations, attribution: Attribution) -> Mapping[str, Estimate]:
    """Return each component's tested effect with bad values for failed arms; empty without any.

    Of unfinished plans too, which `estimate` tests without them. Without the resolution of the measurement: values that
    are substituted have none.
    """
    failed = observed.factorial_failed
    if failed.empty or not observed.grid.components or attribution.fit.n < 1:
        return {}
    complete = with_worst_values(observed.results, failed, attribution)
    filled = analyze_scale(complete, observed.grid, attribution.outcome, inference=observed.inference)
    return {row.component: row.effect for row in filled.rows}
