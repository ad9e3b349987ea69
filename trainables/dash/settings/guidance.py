"""Guidance of samples: a fixed scale, a schedule over time, or what suits the teacher.

No torch here.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Field, PositiveFloat, Tag, model_validator

from branchwise.trainables.runtime.settings import Strict, TupleOf

Weight = Annotated[float, Field(ge=0, le=1000)]  # beyond, samples saturate and then are not finite
Timestep = Annotated[int, Field(ge=0, le=999)]


class TagGuidance(Strict):
    """Timestep-adaptive guidance.

    w(t) = w_min + (w_max - w_min) * sigmoid(beta * (0.5 - t / T)).
    """

    w_min: Weight = 1.0
    w_max: Weight = 4.0
    beta: PositiveFloat = 5.0


class IntervalGuidance(Strict):
    """Guidance of a fixed scale from `t_low` to `t_high` (Kynkäänniemi et al. 2024).

    There is no guidance at other timesteps.
    """

    scale: Weight
    t_low: Timestep = 0
    t_high: Timestep = 999

    @model_validator(mode="after")
    def _check_order(self) -> IntervalGuidance:
        if self.t_low > self.t_high:
            raise ValueError(f"t_low {self.t_low} is above t_high {self.t_high}")
        return self


def _kind(value: Any) -> str:
    if isinstance(value, int | float):
        return "fixed"
    for kind, key in ((IntervalGuidance, "scale"), (ChooseGuidance, "choose")):
        if isinstance(value, kind) or (isinstance(value, dict) and key in value):
            return key
    return "tag"


Scale = Annotated[
    Annotated[Weight, Tag("fixed")] | Annotated[TagGuidance, Tag("tag")] | Annotated[IntervalGuidance, Tag("scale")],
    Discriminator(_kind),
]


class ChooseGuidance(Strict):
    """The listed guidance under which the teacher's own samples are best.

    It is determined before any student is trained.
    """

    choose: Annotated[TupleOf[Scale], Field(min_length=2)]

    @model_validator(mode="after")
    def _check_duplicates(self) -> ChooseGuidance:
        lines = [described(scale) for scale in self.choose]
        for scale in lines:
            if lines.count(scale) > 1:
                raise ValueError(f"choose: duplicate guidance scale {scale}")
        return self


Guidance = Annotated[
    Annotated[Weight, Tag("fixed")]
    | Annotated[TagGuidance, Tag("tag")]
    | Annotated[IntervalGuidance, Tag("scale")]
    | Annotated[ChooseGuidance, Tag("choose")],
    Discriminator(_kind),
]


def described(scale: float | TagGuidance | IntervalGuidance) -> float | str:
    """A scale as a short text for keys and tables: a number, or "adaptive 1 to 4, beta 5"."""
    if isinstance(scale, TagGuidance):
        return f"adaptive {scale.w_min:g} to {scale.w_max:g}, beta {scale.beta:g}"
    if isinstance(scale, IntervalGuidance):
        return f"{scale.scale:g} at t {scale.t_low} to {scale.t_high}"
    return float(scale)
