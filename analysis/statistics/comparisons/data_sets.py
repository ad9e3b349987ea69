"""The effects of components on multiple data sets side by side, and what holds across them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import pandas as pd

from branchwise.analysis.declared.inference import Inference
from branchwise.analysis.records.damage import RunFolderError
from branchwise.analysis.records.run import Run
from branchwise.analysis.statistics.attribution import Attribution, ComponentRow
from branchwise.analysis.statistics.comparisons.random_effects import MIN_STUDIES, RandomEffects, random_effects
from branchwise.analysis.statistics.findings import Findings
from branchwise.analysis.statistics.model import Estimate, holm

NO_MEAN = "Two data sets say nothing about a third: a mean over data sets needs three or more."
SHARED_SEEDS = (
    "Runs share seeds, and the mean takes their errors as independent: give each run seeds of its own "
    "(design.first_seed)."
)


@dataclass(frozen=True, kw_only=True)
class Across:
    """The effects of components on multiple data sets, and what holds across them.

    Attributes:
        runs: Names of the data sets or runs.
        effects: By component, its effect in each of them.
        combined: By component, the random-effects mean and what belongs to it.
        p_holm: By component, the p-value of the mean, adjusted over the components.
        scale: An attribution on the scale that all share.
        rules: How the runs were tested.
        notes: What a reader must know.
    """

    runs: tuple[str, ...]
    effects: dict[str, tuple[Estimate, ...]]
    combined: dict[str, RandomEffects]
    p_holm: dict[str, float]
    scale: Attribution
    rules: Inference
    notes: tuple[str, ...]

    @property
    def summary(self) -> pd.DataFrame:
        """A row per component: mean, both intervals and heterogeneity, on the effects' scale."""
        return pd.DataFrame(
            {
                "component": name, "k": item.k, "mean": item.mean.value, "low": item.mean.low, "high": item.mean.high,
                "p": item.mean.p, "p_holm": self.p_holm[name], "next_low": item.low, "next_high": item.high,
                "tau2": item.tau2, "i2": item.i2, "q": item.q, "q_p": item.q_p, "reason": item.reason,
            }
            for name, item in self.combined.items()
        )  # fmt: skip


def combine(analyses: Sequence[Findings], names: Sequence[str]) -> Across:
    """Combine the effects of components over data sets.

    Args:
        analyses: Of each data set, two or more.
        names: How tables call them.

    Raises:
        RunFolderError: The effects are on other scales, of other kinds or directions.
    """
    _check(analyses)
    shared = [
        name for name in analyses[0].run.components if all(name in findings.run.components for findings in analyses)
    ]
    if not shared:
        raise RunFolderError(
            "--across: no component is in every run; "
            + "; ".join(
                f"{name} has {', '.join(findings.run.components)}"
                for name, findings in zip(names, analyses, strict=True)
            )
        )
    table = {name: [_row(findings, name) for findings in analyses] for name in shared}
    for name, component_rows in table.items():
        kinds = {row.tested for row in component_rows if row.tested}
        if len(kinds) > 1:
            raise RunFolderError(f"--across: {name}: the tested effects are of different kinds: {', '.join(kinds)}")
    rules = analyses[0].run.inference
    effects = {name: tuple(row.effect for row in component_rows) for name, component_rows in table.items()}
    combined = {
        name: random_effects([e.value if e.has_interval else nan for e in each], [e.se for e in each], rules.alpha)
        for name, each in effects.items()
    }
    p_holm = dict(zip(combined, holm([item.mean.p for item in combined.values()]), strict=True))
    return Across(
        runs=tuple(names), effects=effects, combined=combined, p_holm=p_holm, scale=analyses[0].headline, rules=rules,
        notes=tuple(_notes(analyses, names, shared)),
    )  # fmt: skip


def _row(findings: Findings, name: str) -> ComponentRow:
    return next(row for row in findings.headline.rows if row.component == name)


def _check(result: Sequence[Findings]) -> None:
    """Check that effects can be put side by side; raise RunFolderError otherwise."""
    first = result[0]
    for other in result[1:]:
        both = (first.headline, other.headline)
        aspects: dict[str, list[object]] = {
            "scale": [scale.scale for scale in both], "direction": [scale.outcome.better for scale in both],
            "alpha": [first.run.inference.alpha, other.run.inference.alpha],
        }  # fmt: skip
        if first.headline.scale == "identity":  # effects are in the metric's unit
            aspects["metric"] = [scale.outcome.title for scale in both]
            aspects["range"] = [scale.outcome.range for scale in both]
        for what, pair in aspects.items():
            left, right = pair
            if left != right:
                raise RunFolderError(
                    f"--across: {first.run.name} and {other.run.name} cannot be combined: the {what} is {left} against "
                    f"{right}"
                )


def _notes(result: Sequence[Findings], names: Sequence[str], shared: Sequence[str]) -> list[str]:
    notes = [NO_MEAN] if len(result) < MIN_STUDIES else []
    if len(result) >= MIN_STUDIES and _share_seeds([findings.run for findings in result]):
        notes.append(SHARED_SEEDS)
    metrics = dict.fromkeys(findings.run.primary.title for findings in result)
    if len(metrics) > 1:
        notes.append(f"The metrics have different names: {', '.join(metrics)}. Effects are compared, values are not.")
    for name, item in zip(names, result, strict=True):
        if others := [component for component in item.run.components if component not in shared]:
            notes.append(f"{name}: {', '.join(others)} left out, which not every run has.")
    return notes


def _share_seeds(runs: Sequence[Run]) -> bool:
    seeds = [set(run.results["seed"].dropna()) for run in runs]
    return len(set().union(*seeds)) < sum(map(len, seeds))
