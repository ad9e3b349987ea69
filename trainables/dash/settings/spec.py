"""The settings of a DASH distillation.

No torch here: a space is read, refused and planned without it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Tag,
    model_validator,
)

from branchwise.trainables.dash.settings.data import Data, Digits
from branchwise.trainables.dash.settings.evaluate import Evaluate, Precision, member_of
from branchwise.trainables.dash.settings.features import DIGITS, full_name, min_samples, too_few
from branchwise.trainables.dash.settings.objectives import OBJECTIVES
from branchwise.trainables.runtime.settings import Strict, TupleOf, digest

TEACHER_SEEDS = 1_000_000  # teachers of blocks begin here: a student of the same seed would see the same noise
Curriculum = Literal["transfer", "learned", "min_snr", "uniform"]
Mode = Literal["exact", "fast"]


def _check_seed(value: Any) -> Any:
    if isinstance(value, str) and value != "block":
        raise ValueError("must be a number, or block for a teacher for each block")
    return value


# min(SNR, gamma) on the noise loss, or min(SNR, gamma) / SNR
SnrWeighting = Literal["authors", "eps"]
Sizes = Annotated[tuple[PositiveInt, ...], Field(min_length=1, strict=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class UNet(Strict):
    """A class-conditional DDPM U-Net (diffusers' UNet2DModel); the null label is one class more."""

    channels: Sizes  # of each resolution, the finest first
    res_blocks: Annotated[int, Field(ge=1, le=64)] = 1  # a resolution, on the way down
    attention_at: TupleOf[PositiveInt] = ()  # resolutions in pixels
    norm_groups: PositiveInt = 32
    dropout: Fraction = 0.0

    @model_validator(mode="after")
    def _check_widths(self) -> UNet:
        # One channel a group: GroupNorm subtracts regardless of the time and class embeddings added to it.
        for width in self.channels:
            if width % self.norm_groups or width < 2 * self.norm_groups:
                raise ValueError(
                    f"channels {width} with norm_groups {self.norm_groups} is not allowed: every width must be a "
                    "multiple of norm_groups and at least twice it, else GroupNorm erases the time and class embeddings"
                )
        return self

    def check_image(self, side: int) -> None:
        """Check that the net can take square images of `side` pixels; else raise ValueError."""
        sides = [side // 2**level for level in range(len(self.channels))]
        if side % 2 ** (len(self.channels) - 1):
            raise ValueError(f"channels: {len(self.channels)} resolutions cannot halve {side} pixels evenly")
        for resolution in self.attention_at:
            if resolution not in sides:
                raise ValueError(f"attention_at: {resolution} is not a resolution of the net, which are {sides}")


class Optimization(Strict):
    """AdamW, linear warm-up, cosine decay to `lr_min`, gradient clipping, EMA of the weights.

    The decay spans all steps.
    """

    steps: PositiveInt
    batch_size: PositiveInt = 64
    lr: PositiveFloat = 2e-4
    lr_min: NonNegativeFloat = 1e-6
    warmup_steps: NonNegativeInt = 0
    weight_decay: NonNegativeFloat = 0.01
    clip: PositiveFloat = 1.0
    ema: Fraction = 0.999
    precision: Precision = "fp32"  # of the passes; weights, optimizer and average stay fp32
    mode: Mode = "exact"  # `fast`: compiled and in TF32 on a GPU, not bit for bit repeatable; on a CPU the same
    log_every: PositiveInt = 25
    checkpoint_every: PositiveInt = 200


class Teacher(UNet, Optimization):
    """A teacher to train here: weights and curriculum together, by its own seed."""

    label_dropout: Fraction = 0.1  # each sample's label becomes the null label with this probability
    curriculum: Literal["learned", "min_snr", "uniform"] = "learned"
    snr_weighting: SnrWeighting = "eps"
    snr_gamma: PositiveFloat = 5.0
    # block: a teacher for each block, by the block's seed
    seed: Annotated[NonNegativeInt | Literal["block"], BeforeValidator(_check_seed)] = 0
    workers: PositiveInt = 2  # Ray Train workers; they share the batch, so the result stays the same but for rounding

    @property
    def sampling_seed(self) -> int:
        """The seed as a number.

        Raises ValueError where it follows the block's and no block is given.
        """
        if self.seed == "block":
            raise ValueError("teacher.seed: block is the seed of no teacher before a block is given")
        return self.seed


class TeacherCheckpoint(Strict):
    """A teacher that exists: a folder as this project writes it, or as import_reference.py does."""

    checkpoint: str


class Method(Strict):
    """The distillation objective (arXiv 2606.00798) and the settings its ablation switches."""

    objective: Annotated[str, member_of(OBJECTIVES)] = "dash"
    imitation_weight: NonNegativeFloat = 1.0
    uncond_weight: NonNegativeFloat = 1.0
    anchor_weight: NonNegativeFloat = 0.1
    curriculum: Curriculum = "transfer"
    snr_weighting: SnrWeighting = "eps"
    snr_gamma: PositiveFloat = 5.0
    # w of the guided output of `composite`, `single_head`; null: the largest scale of the primary evaluation
    composite_guidance: Annotated[float, Field(ge=1)] | None = None
    multi_guidance: Annotated[TupleOf[PositiveFloat], Field(min_length=2)] = (1.0, 2.0, 4.0)  # of `multi_composite`
    gap_weight: PositiveFloat = 1.0  # of the gap term of `gap_matching`
    feature_weight: PositiveFloat = 0.1  # of the feature term of `fitnets`
    pruning_keep: Annotated[float, Field(gt=0, lt=1)] = 0.25  # share of the teacher's parameters left by `pruning`
    label_dropout: Fraction = 0.1  # of `scratch`, `fitnets` and `pruning`

    @model_validator(mode="after")
    def _check_loss_terms(self) -> Method:
        if self.objective == "dash" and not (self.imitation_weight or self.uncond_weight or self.anchor_weight):
            raise ValueError("imitation_weight, uncond_weight and anchor_weight are all 0: nothing to learn from")
        if self.curriculum == "transfer" and not OBJECTIVES[self.objective].transfers:
            raise ValueError(
                f"objective {self.objective} has no teacher: curriculum must be learned, min_snr or uniform"
            )
        return self

    def evaluation_method(self, evaluate: Evaluate) -> Method:
        """Return these settings with a scale for `composite` where none is given.

        It is that of the evaluation that judges it.
        """
        if self.composite_guidance is not None:
            return self
        return self.model_copy(update={"composite_guidance": evaluate.strongest})


class Spec(Strict):
    data: Data = Digits()
    teacher: Annotated[
        Annotated[Teacher, Tag("trained")] | Annotated[TeacherCheckpoint, Tag("checkpoint")],
        Discriminator(lambda value: "checkpoint" if _has_checkpoint(value) else "trained"),
    ]
    student: UNet
    train: Optimization
    method: Method = Method()
    evaluate: Evaluate = Evaluate()

    @property
    def features(self) -> str:
        """The full name of the space that distances are measured in."""
        return full_name(self.evaluate.features, self.data)

    @model_validator(mode="after")
    def _check_combination(self) -> Spec:
        wrong = []
        for check in (
            self._check_nets,
            self._check_guidance,
            self._check_teachers,
            self._check_looks,
            self._check_features,
        ):
            try:
                check()
            except ValueError as error:
                wrong.append(str(error))
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    def _check_nets(self) -> None:
        self.student.check_image(self.data.image_shape[1])
        if isinstance(self.teacher, Teacher):
            self.teacher.check_image(self.data.image_shape[1])
            features = OBJECTIVES[self.method.objective].features
            if features and len(self.teacher.channels) != len(self.student.channels):
                raise ValueError(
                    f"objective {self.method.objective} needs a student with as many resolutions as its teacher"
                )

    def _check_guidance(self) -> None:
        further = (scale for evaluation in self.evaluate.evaluations().values() for scale in evaluation.candidates)
        scales = (*further, *self.evaluate.guidance_grid)
        objective = OBJECTIVES[self.method.objective]
        if all(scale == 1 for scale in scales) or objective.guidance_inside:
            return
        if isinstance(self.teacher, Teacher) and self.teacher.label_dropout == 0:
            raise ValueError("teacher.label_dropout: 0 trains no unconditional branch, so evaluate.guidance must be 1")
        if objective.learns_from_dropped_labels(self.method) and self.method.label_dropout == 0:
            raise ValueError("method.label_dropout: 0 trains no unconditional branch, so evaluate.guidance must be 1")

    def _check_teachers(self) -> None:
        if not isinstance(self.teacher, Teacher) or self.teacher.seed != "block":
            return
        for name, evaluation in self.evaluate.evaluations().items():
            if len(evaluation.candidates) > 1:
                raise ValueError(
                    f"evaluate.{f'also.{name}.' if name else ''}guidance: must be a scale, not a choice, with "
                    "teacher.seed: block: the teachers of two blocks may choose differently, and their students' "
                    "values could not be compared"
                )

    def _check_looks(self) -> None:
        if self.evaluate.at_steps and self.evaluate.at_steps[-1] >= self.train.steps:
            raise ValueError(
                f"evaluate.at_steps: {self.evaluate.at_steps[-1]} is not below train.steps {self.train.steps}, after "
                "which students are measured anyway"
            )

    def _check_features(self) -> None:
        if self.features == DIGITS and self.data.image_shape != Digits().image_shape:
            raise ValueError(f"evaluate.features: {DIGITS} takes grey 8x8 images; {self.data.name} has others")
        minimum = min_samples(self.features, self.evaluate.classifier)
        counts = {f"also.{name}.samples" if name else "samples": evaluation.samples
                  for name, evaluation in self.evaluate.evaluations().items()}  # fmt: skip
        for key, samples in (
            counts | {"teacher_samples": self.evaluate.teacher_samples or max(minimum, self.data.classes)}
        ).items():
            if samples < self.data.classes:
                raise ValueError(
                    f"evaluate.{key}: {samples} is below the {self.data.classes:,} classes of the data; at least one "
                    "of each"
                )
            if samples < minimum:
                raise ValueError(too_few(samples, self.features, minimum, key))


def _has_checkpoint(teacher: Any) -> bool:
    return isinstance(teacher, TeacherCheckpoint) or (isinstance(teacher, dict) and "checkpoint" in teacher)


def cohort_key(spec: Spec) -> str:
    """Return a key of what the arms of a cohort share.

    They share their batches, the teacher's pass, and when they log, save and are measured.
    """
    train = spec.train
    shared = (train.steps, train.batch_size, train.precision, train.mode, train.log_every, train.checkpoint_every)
    return digest([*(part.model_dump(mode="json") for part in (spec.data, spec.teacher, spec.evaluate)), *shared])


def block_patch(spec: Spec, seed: int) -> dict[str, Any]:
    """Return the settings that follow from a block's seed: its teacher's seed.

    No student of the run shares it.
    """
    by_block = isinstance(spec.teacher, Teacher) and spec.teacher.seed == "block"
    return {"teacher.seed": TEACHER_SEEDS + seed} if by_block else {}


def measured_at(spec: Spec) -> tuple[int, ...]:
    """Training steps after which students are measured."""
    return spec.evaluate.at_steps
