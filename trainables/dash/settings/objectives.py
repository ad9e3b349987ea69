"""Requirements of each objective, in a single table without torch.

Settings, costs and the cohort read it.

Its loss is under the same name in `training/objectives.py`. A student pass is named for its labels: `cond` (the
labels), `uncond` (the null label) or `dropped` (each label replaced by the null label with probability
`label_dropout`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Passes = Callable[[Any], tuple[str, ...]]  # of the settings of a method (spec.Method)


def _always(*passes: str) -> Passes:
    return lambda method: passes


def _dash_passes(method: Any) -> tuple[str, ...]:
    cond = ("cond",) if method.imitation_weight or method.anchor_weight else ()
    return (*cond, "uncond") if method.uncond_weight else cond


@dataclass(frozen=True, kw_only=True)
class Objective:
    """`baseline` are the settings of the baseline of this name, besides its objective."""

    passes: Passes  # of the student over the batch, in a single step
    teacher_passes: bool = True  # the step needs the teacher's outputs
    transfers: bool = True  # the student may have its teacher's curriculum
    features: bool = False  # mid-block features of both nets are compared
    prunes_teacher: bool = False  # the student is the teacher, pruned
    guidance_inside: bool = False  # it learns the guided output, and is sampled without guidance
    baseline: Mapping[str, Any] = field(default_factory=dict)

    def learns_from_dropped_labels(self, method: Any) -> bool:
        """Whether only dropped labels train the unconditional branch."""
        return "dropped" in self.passes(method)


OBJECTIVES = {
    "dash": Objective(passes=_dash_passes),
    "scratch": Objective(  # its curriculum is learned, as its teacher's was
        passes=_always("dropped"), teacher_passes=False, transfers=False, baseline={"curriculum": "learned"}
    ),
    "conditional": Objective(passes=_always("cond")),
    "composite": Objective(passes=_always("cond", "uncond")),
    "multi_composite": Objective(passes=_always("cond", "uncond")),
    "gap_matching": Objective(passes=_always("cond", "uncond")),
    "fitnets": Objective(passes=_always("dropped"), features=True),
    "single_head": Objective(passes=_always("cond"), guidance_inside=True),
    "pruning": Objective(passes=_always("dropped"), teacher_passes=False, prunes_teacher=True),
}
BASELINES = {
    name: {"objective": name, **objective.baseline} for name, objective in OBJECTIVES.items() if name != "dash"
}
