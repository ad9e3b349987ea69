"""A known response surface with noise, instead of training.

It runs in microseconds with a known truth, so it serves to test the platform, to measure how far it scales
and to check the statistics. Its knobs bear the names of DASH's. For designs with many components it has twenty parts,
x1 to x20, that are on or off; `effects` states the effects of them and their combinations.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, create_model, model_validator

from branchwise.run_files.columns import Column
from branchwise.trainables.columns import LOSS_CURVES, OUTCOME
from branchwise.trainables.contract import Arm, Context, Result
from branchwise.trainables.runtime.settings import Strict, TupleOf, digest

BASELINES = {"scratch": {"objective": "scratch"}}
COLUMNS = (
    *OUTCOME,
    Column(name="gain", about="minus the log of the value", better="higher", searchable=True),
    Column(name="cost", about="1000 uncond_weight", better="lower", searchable=True),
    Column(name="rung_value", about="the value at the rung where the arm was stopped"),
    Column(name="steps", about="training steps", dtype="Int64"),
    Column(name="device", dtype="string"),
    Column(name="trail", about="whether no step was lost or repeated", dtype="string"),
)
LINES = (LOSS_CURVES,)
PARTS = tuple(f"x{i}" for i in range(1, 21))


class Train(Strict):
    steps: PositiveInt = 10
    seconds_per_step: NonNegativeFloat = 0.0
    checkpoint_every: PositiveInt = 5


class Teacher(Strict):
    """Teacher of the students: the more steps it has trained, the lower their values."""

    steps: PositiveInt = 10
    seconds_per_step: NonNegativeFloat = 0.0


class Method(Strict):
    """The best settings are anchor_weight 0.1, uncond_weight 1, curriculum transfer."""

    objective: Literal["dash", "scratch"] = "dash"
    anchor_weight: NonNegativeFloat = 0.1
    uncond_weight: NonNegativeFloat = 1.0
    curriculum: Literal["transfer", "learned", "min_snr", "uniform"] = "transfer"


Parts: Any = create_model("Parts", __base__=Strict, **dict.fromkeys(PARTS, (bool, True)))  # type: ignore[call-overload]


class Noise(Strict):
    """Standard deviations on the log scale. effect: the SD of a part's effect over seeds."""

    block: NonNegativeFloat = 0.1
    residual: NonNegativeFloat = 0.05
    effect: NonNegativeFloat = 0.0


class Faults(Strict):
    """Faults in blocks of these seeds, to test how the platform handles them."""

    diverge: TupleOf[NonNegativeInt] = ()
    crash: TupleOf[NonNegativeInt] = ()


class Spec(Strict):
    train: Train = Train()
    method: Method = Method()
    noise: Noise = Noise()
    faults: Faults = Faults()
    teacher: Teacher | None = None
    parts: Parts = Parts()
    # By part, x1, or parts, x1:x2: the decrease of the logarithm of the value.
    effects: dict[str, float] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_parts(self) -> Spec:
        for name in self.effects:
            members = name.split(":")
            if not set(members) <= set(PARTS) or len(set(members)) < len(members):
                raise ValueError(f"effects.{name}: no part or combination of parts; allowed are x1 to x20, and x1:x2")
        return self


def log_value(method: Method) -> float:
    """The noiseless logarithm of the value; lower is better, its minimum is log 20."""
    if method.objective == "scratch":
        return math.log(90.0)
    uncond = 0.25 * math.log((method.uncond_weight + 0.1) / 1.1) ** 2
    anchor = 0.02 * math.log((method.anchor_weight + 0.01) / 0.11) ** 2
    curriculum = {"transfer": 0.0, "learned": 0.05, "min_snr": 0.1, "uniform": 0.15}[method.curriculum]
    return math.log(20.0) + uncond + anchor + curriculum + 0.3 * curriculum * uncond


def estimate_cohort(specs: Sequence[Spec], threads: int) -> float:
    """Seconds: the arms of a cohort take their steps together."""
    return 0.002 + max(spec.train.steps * spec.train.seconds_per_step for spec in specs)


def cohort_key(spec: Spec) -> str:
    """Arms of a cohort take their steps together."""
    return spec.train.model_dump_json()


def check_inputs(spec: Spec) -> None:
    """No-op: it needs no files."""


def teacher_key(spec: Spec) -> str | None:
    """The same for any speed; None without a teacher."""
    return None if spec.teacher is None else digest({"surface": spec.teacher.steps})


def evaluation_key(spec: Spec) -> str:
    """Always the same: a teacher's value depends only on itself."""
    return digest("surface")


def estimate_teacher(spec: Spec, workers: int, trained: bool) -> float:
    """Seconds: its evaluation is instant."""
    return 0.0 if trained or spec.teacher is None else spec.teacher.steps * spec.teacher.seconds_per_step


def train_teacher(spec: Spec, out: Path, context: Context) -> None:
    """Count the steps; store their number, and the step from which it was resumed."""
    assert spec.teacher is not None
    saved, steps = context.load(), spec.teacher.steps
    first = int(json.loads(saved)) if saved else 0
    for step in range(first, steps):
        time.sleep(spec.teacher.seconds_per_step)
        context.report({"phase": "train", "step": step + 1, "steps": steps})
        context.save(json.dumps(step + 1).encode())
    out.mkdir()
    (out / "teacher.json").write_text(json.dumps({"steps": steps, "resumed_from": first}))


def evaluate_teacher(spec: Spec, folder: Path, context: Context) -> Mapping[str, Any]:
    """Its value is a little below those that its students can reach."""
    return {"metric": "surface", "value": 19.0 * _lag(folder)}


def _lag(teacher: Path | None) -> float:
    """The factor by which a teacher that trained too short raises a value."""
    return 1.0 if teacher is None else 1 + 1 / int(json.loads((teacher / "teacher.json").read_text())["steps"])


def run_cohort(arms: Sequence[Arm], context: Context) -> None:
    """Count the steps, then draw each arm's value; `trail` shows missing or repeated steps."""
    for arm in arms:
        if arm.seed in arm.spec.faults.crash:
            raise RuntimeError(f"{arm.name}: told to crash")
    train = arms[0].spec.train
    saved = context.load()
    step, trail = json.loads(saved) if saved else (0, "")
    stored, lag = list(arms), _lag(context.teacher)
    while step < train.steps and stored:
        time.sleep(train.seconds_per_step)
        trail = hashlib.sha256(f"{trail}/{step}".encode()).hexdigest()[:16]
        step += 1
        context.report({"phase": "train", "step": step, "steps": train.steps})
        if step in context.rungs:
            stored = [arm for arm in stored if _continues(arm, step, lag, context)]
        if step % train.checkpoint_every == 0:
            context.save(json.dumps([step, trail]).encode())
    for arm in stored:
        context.finish(arm, outcome_of(arm, lag, trail), None)


def _continues(arm: Arm, step: int, lag: float, context: Context) -> bool:
    """Report the value after `step` steps, which falls towards the last value."""
    value = _value(arm, lag) * (1 + 1 / step)
    if context.should_continue(arm, step, value):
        return True
    context.finish(arm, Result(status="stopped", values={"rung_value": value, "steps": step}), None)
    return False


def outcome_of(arm: Arm, lag: float, trail: str) -> Result:
    if arm.seed in arm.spec.faults.diverge:
        return Result(status="diverged", error="told to diverge")
    value = _value(arm, lag)
    values: dict[str, Any] = {
        "metric": "surface",
        "value": value,
        "value_repeats": [value],
        "gain": -math.log(value),
        "cost": 1000.0 * arm.spec.method.uncond_weight,
        "steps": arm.spec.train.steps,
        "device": "cpu",
        "trail": trail,
        "comparability_key": json.dumps({"metric": "surface"}),
    }
    steps = range(0, arm.spec.train.steps, max(1, arm.spec.train.steps // 20))
    curves = tuple({"step": step, "loss": value / (1 + step)} for step in steps)
    return Result(status="done", values=values, tables={"curves": curves})


def _value(arm: Arm, lag: float) -> float:
    noise = arm.spec.noise
    block = _normal("block", arm.seed) * noise.block
    off = [name for name in PARTS if not getattr(arm.spec.parts, name)]
    drawn_by = (arm.spec.method.model_dump_json(), *([] if arm.spec.teacher is None else [lag]), *off)
    residual = _normal("residual", arm.seed, *drawn_by) * noise.residual
    return lag * math.exp(log_value(arm.spec.method) + _effect_of(off, arm) + block + residual)


def _effect_of(off: Sequence[str], arm: Arm) -> float:
    """By how much the logarithm of the value is higher without these parts."""
    effects: Mapping[str, float] = arm.spec.effects
    disabled_effects = sum(effect for name, effect in effects.items() if not set(off).isdisjoint(name.split(":")))
    sd: float = arm.spec.noise.effect
    return disabled_effects + sum(_normal("effect", arm.seed, name) * sd for name in off)


def _normal(*key: object) -> float:
    """A standard normal number that the key determines."""
    seed = int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big")
    return random.Random(seed).gauss(0.0, 1.0)
