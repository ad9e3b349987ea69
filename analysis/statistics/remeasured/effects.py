"""Does what was found hold under another evaluation? Each component's effect under each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from branchwise.analysis.records.remeasured import NamedEvaluation, Remeasurement, named_evaluations
from branchwise.analysis.records.run import Run
from branchwise.analysis.statistics.attribution import Attribution, ComponentRow
from branchwise.analysis.statistics.findings import Findings, analyze_part
from branchwise.analysis.statistics.remeasured.curves import Axis, axes_of

Conclusion = Literal["helps", "hurts", "not shown"]


@dataclass(frozen=True, kw_only=True)
class Effects:
    """The effect of each component under a measure, of so many arms."""

    label: str
    metric: str
    attribution: Attribution  # of the primary outcome
    arms: int

    @property
    def rows(self) -> Mapping[str, ComponentRow]:
        """By component."""
        return {row.component: row for row in self.attribution.rows}

    def conclusion(self, component: str) -> Conclusion:
        """By the interval over blocks, for only this component and measure."""
        effect = self.rows[component].effect
        if not effect.has_interval or effect.low <= 0 <= effect.high:
            return "not shown"
        return "helps" if effect.low > 0 else "hurts"


@dataclass(frozen=True, kw_only=True)
class Remeasured:
    """Results of further evaluations of a run; empty when it has none.

    `effects` begins with the sweep's primary. named: those that the run declared.
    """

    run: Run
    named: tuple[NamedEvaluation, ...] = ()
    effects: tuple[Effects, ...]
    axes: tuple[Axis, ...]

    def agreement(self, component: str) -> str:
        """Whether each evaluation leads to the sweep's conclusion on this component."""
        conclusions = [effects.conclusion(component) for effects in self.effects]
        if {"helps", "hurts"} <= set(conclusions):
            return "reverses"
        same = sum(item == conclusions[0] for item in conclusions)
        return "holds" if same == len(conclusions) else f"holds under {same} of {len(conclusions)}"

    def as_json(self) -> list[dict[str, Any]]:
        return [
            {
                "measure": effect.label,
                "metric": effect.metric,
                "scale": effect.attribution.scale,
                "arms": effect.arms,
                "components": {
                    name: {
                        "shapley": asdict(row.shapley),
                        "share": asdict(row.share),
                        "conclusion": effect.conclusion(name),
                    }
                    for name, row in effect.rows.items()
                },
            }
            for effect in self.effects
        ]


def under_each_measurement(findings: Findings, measures: Sequence[Remeasurement]) -> Remeasured:
    """Return effects under the primary, named and remeasured evaluations, curves by setting."""
    run = findings.run
    named = tuple(evaluation for evaluation in named_evaluations(run) if len(evaluation.run.results))
    others = [measure for measure in measures if not measure.matches_sweep and len(measure.run.results)]
    if not others and not named:
        return Remeasured(run=run, effects=(), axes=())
    effects = [
        _effects(findings, "as in the sweep"),
        *(_effects(analyze_part(item.run), item.name) for item in named),
        *(_effects(analyze_part(entry.run), entry.label()) for entry in others),
    ]
    return Remeasured(run=run, named=named, effects=tuple(effects), axes=tuple(axes_of(run, measures)))


def _effects(findings: Findings, label: str) -> Effects:
    run = findings.run
    return Effects(label=label, metric=run.metric, attribution=findings.headline, arms=len(run.results))
