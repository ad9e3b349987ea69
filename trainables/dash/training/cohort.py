"""Training a cohort: a block's students, on the same batches and one teacher pass a step."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import torch

from branchwise.trainables.contract import Arm, Context
from branchwise.trainables.dash.compute import modes
from branchwise.trainables.dash.compute.progress import Progress
from branchwise.trainables.dash.evaluation.evaluations import load_reference, read_teacher_samples
from branchwise.trainables.dash.nets import checkpoint
from branchwise.trainables.dash.settings.spec import cohort_key
from branchwise.trainables.dash.training import measuring
from branchwise.trainables.dash.training.steps import Setting, Students, begin, take_step
from branchwise.trainables.dash.training.teacher import refuse_other_images

logger = logging.getLogger("branchwise.dash")


def run(arms: Sequence[Arm], context: Context) -> None:
    """Trains and evaluates `arms`, and calls `context.finish` once for each (on rank 0).

    Continues from the checkpoint that `context.load` returns; of its arms only those given are continued, and those
    that it does not hold start from the beginning. Where a GPU's memory does not hold the cohort, its halves train one
    after the other. Raises ValueError when the arms differ in what a cohort shares.
    """
    _check_compatible(arms)
    torch.set_num_threads(context.threads)
    spec = arms[0].spec
    evaluations = spec.evaluate.resolved(context.evaluation)
    modes.choose(spec.train.mode, context.device)
    if context.teacher is None:
        raise ValueError("a cohort needs a teacher's folder")
    teacher, importance = checkpoint.load_model(context.teacher, context.device)
    reference = load_reference(spec, context.device, context.features)  # missing weights are found now
    refuse_other_images(spec, context.teacher, reference.dataset)
    setting = Setting(
        context=context,
        seed=arms[0].seed,
        reference=reference,
        teacher=teacher,
        teacher_importance=importance,
        evaluations=evaluations,
        teacher_samples=read_teacher_samples(context.evaluation_files, evaluations),
    )
    saved = [content for content in (context.load(),) if content is not None]
    waiting = _split_by_checkpoint(arms, saved)
    while waiting:
        part = waiting.pop(0)
        students = _trained(part, setting, saved)
        if students is None:
            half = -(-len(part) // 2)
            logger.warning("out of GPU memory with %d arms; now %d at a time", len(part), half)
            modes.release(spec.train.mode, context)
            waiting = [part[:half], part[half:], *waiting]
            saved += [content for content in (context.load(),) if content is not None]
        else:
            evaluate_students(students, setting)


def _check_compatible(arms: Sequence[Arm]) -> None:
    for arm in arms:
        if (arm.seed, cohort_key(arm.spec)) != (arms[0].seed, cohort_key(arms[0].spec)):
            raise ValueError(
                f"arms {arms[0].name} and {arm.name} cannot train together: a cohort shares seed, data, teacher, "
                "evaluation, steps, batch size, precision, mode, and the steps at which it logs and saves"
            )


def _split_by_checkpoint(arms: Sequence[Arm], saved: Sequence[bytes]) -> list[list[Arm]]:
    """The arms that train together: those of the checkpoint, and those that it does not hold."""
    if not saved:
        return [list(arms)]
    saved_arms = checkpoint.from_bytes(saved[0], "cpu")["arms"]
    parts = [arm for arm in arms if arm.name in saved_arms], [arm for arm in arms if arm.name not in saved_arms]
    return [part for part in parts if part]


def _trained(arms: Sequence[Arm], setting: Setting, saved: Sequence[bytes]) -> Students | None:
    """The students at their last step; None where the memory does not hold all at once."""
    try:
        students = begin(arms, setting)
        _train(students, setting, _resume(students, saved, setting.context))
    except torch.OutOfMemoryError:
        # Ranks cannot agree on it, since a single rank may be short; then the arms are tried separately, later.
        if len(arms) == 1 or setting.context.world_size > 1:
            raise
        return None
    return students


def _resume(students: Students, saved: Sequence[bytes], context: Context) -> int:
    """Load the newest checkpoint with all of `students` into them.

    Return the number of steps done.
    """
    for content in reversed(saved):
        state = checkpoint.from_bytes(content, context.device)
        if students.keys() <= state["arms"].keys():
            for name, (_, trainee) in students.items():
                trainee.restore(state["arms"][name])
            return int(state["step"])
    return 0


def _train(students: Students, setting: Setting, step: int) -> None:
    """Train from `step` on; arms with non-finite losses leave `students`.

    They are finished as diverged.
    """
    if not students:
        return
    context = setting.context
    settings = next(iter(students.values()))[0].spec.train
    progress = Progress(context, "train", settings.steps, step, arms=len(students))
    since = time.perf_counter()
    arm_seconds = dict.fromkeys(students, 0.0)
    while step < settings.steps and students:
        take_step(students, setting, step, arm_seconds)
        step += 1
        if step % settings.log_every == 0 or step == settings.steps:
            diverged = [name for name, (_, trainee) in students.items() if not trainee.log(step - 1)]
            since = _share_time(students, arm_seconds, since)
            for name in diverged:
                measuring.finish_diverged(*students.pop(name), step, context)
        if step in context.rungs and step < settings.steps:
            for name in [
                name for name, student in students.items() if not measuring.should_continue(*student, step, setting)
            ]:
                students.pop(name)
            since = _share_time(students, arm_seconds, since)
        if students and step in setting.evaluate.at_steps:
            _share_time(students, arm_seconds, since)
            measuring.evaluate_checkpoint(list(students.values()), step, setting)
            since = time.perf_counter()  # of no training
        if students and step % settings.checkpoint_every == 0 and step < settings.steps:
            since = _share_time(students, arm_seconds, since)
            if context.rank == 0:
                state = {"step": step, "arms": {name: trainee.state() for name, (_, trainee) in students.items()}}
                context.save(checkpoint.to_bytes(state))
        progress.advance(arms=len(students))


def _share_time(students: Students, arm_seconds: dict[str, float], since: float) -> float:
    """Add the seconds since `since` to the students; return the present time.

    Each gets its own, and what they share in equal parts.
    """
    now = time.perf_counter()
    if not students:
        return now
    shared = (now - since - sum(arm_seconds.values())) / len(students)
    for name, (_, trainee) in students.items():
        trainee.seconds += arm_seconds[name] + shared
        arm_seconds[name] = 0.0
    return now


def evaluate_students(students: Students, setting: Setting) -> None:
    """Measure each student of the cohort and hand it over as soon as it is measured."""
    batches = [measuring.batches_of(arm, setting) for arm, _ in students.values()]
    progress = Progress(setting.context, "evaluate", sum(batches), arms=len(students))
    for arm, trainee in students.values():
        measuring.finish(arm, trainee, setting, progress)
