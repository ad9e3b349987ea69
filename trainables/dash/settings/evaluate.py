"""Settings of evaluation: a run's primary evaluation and further named ones.

No torch here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PositiveInt, TypeAdapter, model_validator

from branchwise.run_files.columns import under
from branchwise.trainables.dash.settings.columns import COLUMNS
from branchwise.trainables.dash.settings.features import Classifier, Features
from branchwise.trainables.dash.settings.guidance import (
    ChooseGuidance,
    Guidance,
    IntervalGuidance,
    Scale,
    TagGuidance,
    Weight,
    described,
)
from branchwise.trainables.metrics import Name
from branchwise.trainables.runtime.settings import Strict, TupleOf

SAMPLERS = sorted(file.stem for file in (Path(__file__).parents[1] / "diffusion/samplers").glob("[a-z]*.py"))
MAX_TEACHER_SAMPLES = 50_000  # by default: as many as published distances compare
PRIMARY = ""  # the evaluation with unnamed columns


def member_of(allowed: Iterable[str]) -> AfterValidator:
    """Refuse a value that is not in `allowed`."""

    def check(choice: str) -> str:
        if choice not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return choice

    return AfterValidator(check)


Sampler = Annotated[str, member_of(SAMPLERS)]
Steps = Annotated[int, Field(ge=2, le=1000)]
Repeats = Annotated[int, Field(ge=1, le=1000)]
Precision = Literal["fp32", "bf16"]


class Sampling(Strict):
    """A further evaluation: the settings of sampling that differ from the primary one's.

    A setting that is null is that of the primary evaluation.
    """

    samples: PositiveInt | None = None
    repeats: Repeats | None = None
    sampler: Sampler | None = None
    sampler_steps: Steps | None = None
    precision: Precision | None = None
    guidance: Guidance | None = None

    @property
    def overrides(self) -> dict[str, Any]:
        """The settings that are given, as they are in Python."""
        return {name: value for name in type(self).model_fields if (value := getattr(self, name)) is not None}


TAKEN = {"primary", *(column.name for column in COLUMNS)}  # no name of an evaluation


class Evaluate(Strict):
    """The primary evaluation, further ones of the run (`also`), and settings of the gaps."""

    samples: PositiveInt = 1000
    repeats: Repeats = 2  # independent sets of samples; their variance is the sampling noise
    labels: Literal["data", "balanced"] = "data"  # of the samples: by the classes' shares in a folder, or evenly
    sampler: Sampler = "ddim"
    sampler_steps: Steps = 50
    precision: Precision = "fp32"  # of the sampler's passes; features and gaps are always fp32
    guidance: Guidance = 1.5
    guidance_grid: TupleOf[Weight] = ()  # more scales, to plot the value against
    also: dict[Name, Sampling] = Field(default_factory=dict, max_length=8)  # further ones, by name
    teacher_samples: PositiveInt | None = None  # for teacher_distance; null: as many as the reference, 50,000 at most
    features: Features | None = None  # of the space that distances are measured in: of digits digits64, else inception
    classifier: Classifier = Classifier()  # of `features: classifier`
    gap_samples: PositiveInt = 512  # held-out images in each timestep bin
    gap_bins: Annotated[int, Field(ge=10, le=1000)] = 10
    at_steps: TupleOf[PositiveInt] = ()  # of the training: students are measured then, too, a single repeat, no grid

    def __hash__(self) -> int:
        return hash(self.model_dump_json())  # a dict of evaluations is not hashable

    @model_validator(mode="after")
    def _check_steps(self) -> Evaluate:
        if list(self.at_steps) != sorted(set(self.at_steps)):
            raise ValueError(f"at_steps {list(self.at_steps)}: each step must be above the one before")
        return self

    @model_validator(mode="after")
    def _check_evaluations(self) -> Evaluate:
        choices: dict[str, str] = {}
        for name, evaluation in self.evaluations().items():
            if name in TAKEN:
                raise ValueError(f"also.{name}: is the name of a column; choose another")
            settings = evaluation.model_dump_json(include=set(Sampling.model_fields) - {"repeats"})
            other = choices.setdefault(settings, name)
            if other != name:
                raise ValueError(
                    f"also.{name}: has the settings of the {other or 'primary'} evaluation; change one or leave it out"
                )
        return self

    @property
    def candidates(self) -> tuple[float | TagGuidance | IntervalGuidance, ...]:
        """The scale to sample with, or the candidates of a rule."""
        return self.guidance.choose if isinstance(self.guidance, ChooseGuidance) else (self.guidance,)

    def evaluations(self) -> dict[str, Evaluate]:
        """Return the settings of each evaluation by name, the primary first.

        Each evaluates once and as fixed.
        """
        rest: dict[str, Any] = {"guidance_grid": (), "at_steps": (), "also": {}}
        named = {name: self.model_copy(update=rest | item.overrides) for name, item in self.also.items()}
        return {PRIMARY: self.model_copy(update={"also": {}}), **named}

    def resolved(self, evaluation: Mapping[str, Any]) -> dict[str, Evaluate]:
        """Return `evaluations()` with the scales that the teacher's `evaluation` chose.

        Only where a rule chooses them.

        Raises ValueError when the evaluation holds no choice.
        """
        return {
            name: item.with_choice(evaluation.get(under("chosen_guidance", name)))
            for name, item in self.evaluations().items()
        }

    def with_choice(self, chosen: Any) -> Evaluate:
        """Return these settings with the `chosen` scale where a rule chooses it.

        Raises ValueError where none was chosen.
        """
        if not isinstance(self.guidance, ChooseGuidance):
            return self
        if chosen is None:
            raise ValueError("evaluate.guidance is chosen by a rule, but the teacher was not evaluated under it")
        return self.model_copy(update={"guidance": TypeAdapter(Scale).validate_python(chosen)})

    def with_any(self) -> Evaluate:
        """These settings with an arbitrary candidate scale, for counts that do not depend on it."""
        return self.model_copy(update={"guidance": self.candidates[-1]})

    @property
    def strongest(self) -> float:
        """The largest scale of guidance at any timestep."""
        return max(_largest(scale) for scale in self.candidates)

    def describe(self) -> str:
        """The settings of sampling in short, for plans and columns."""
        scales = [f"{scale:g}" if isinstance(scale, float) else scale for scale in map(described, self.candidates)]
        guidance = scales[0] if len(scales) == 1 else f"the teacher's choice of {'; '.join(scales)}"
        precision = "" if self.precision == "fp32" else f", {self.precision}"
        repeats = "" if self.repeats == 1 else f" x {self.repeats}"
        return (
            f"guidance {guidance}, {self.sampler} with {self.sampler_steps} steps, {self.samples:,} samples{repeats}"
            f"{precision}"
        )


def _largest(scale: float | TagGuidance | IntervalGuidance) -> float:
    if isinstance(scale, TagGuidance):
        return max(scale.w_min, scale.w_max)
    return scale.scale if isinstance(scale, IntervalGuidance) else scale
