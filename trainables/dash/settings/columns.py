"""Measurements of a student, column by column, and how a report draws them.

No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from branchwise.run_files.columns import Column, PlotSpec, under

# fmt: off
VALUE = Column(name="value", about="distance of the samples to the reference set", better="lower", searchable=True,
               claimable=True)
TEACHER_DISTANCE = Column(name="teacher_distance", about="distance of the samples to its teacher's samples under the "
                          "same evaluation, in the features of the value", better="lower", searchable=True,
                          claimable=True)
RHO = Column(name="rho", about="rho: student's gap / teacher's, 1 is best", claimable=True, scale="identity",
             shown=True)
COS_DELTA = Column(name="cos_delta", about="cosine of the student's and the teacher's gap", better="higher",
                   claimable=True, scale="identity")
GAP_MSE = Column(name="gap_mse", about="squared error of the gap", better="lower", searchable=True, claimable=True)
RELATIVE_GAP = Column(name="relative_gap", about="relative gap error", better="lower", searchable=True, claimable=True)
MSE_COND = Column(name="mse_cond", about="squared error of the conditional branch", better="lower", searchable=True,
                  claimable=True)
MSE_UNCOND = Column(name="mse_uncond", about="squared error of the unconditional branch", better="lower",
                    searchable=True, claimable=True)
CALIBRATION = (RHO, COS_DELTA, GAP_MSE, RELATIVE_GAP, MSE_COND, MSE_UNCOND)  # of both branches, against the teacher's

# Real images against real images, in the measure of `value`: near the minimum for samples.
FLOOR = (
    Column(name="floor_halves", about="one half of the real images against the other"),
    Column(name="floor_halves_samples", about="images of either half", dtype="Int64"),
    Column(name="floor_held_out", about="held-out images against those that train"),
    Column(name="floor_held_out_samples", about="held-out images", dtype="Int64"),
)

COLUMNS = (
    Column(name="metric", about="what the value measures", dtype="string"),
    VALUE,
    TEACHER_DISTANCE,
    Column(name="kid", about="kernel distance", better="lower", searchable=True),
    Column(name="inception_score", about="Inception score", better="higher"),
    *CALIBRATION,
    Column(name="teacher_value", about="the teacher's value"),
    Column(name="teacher_teacher_distance", about="the teacher's samples against its own from other noise: the "
           "floor of teacher_distance"),
    *FLOOR,
    Column(name="student_params", about="parameters of the student", dtype="Int64", better="lower", searchable=True,
           cost=True),
    Column(name="teacher_params", about="parameters of the teacher", dtype="Int64"),
    Column(name="compression", about="teacher's parameters / student's"),
    Column(name="steps", about="training steps", dtype="Int64"),
    Column(name="train_seconds", about="training, this arm's share", unit="s", better="lower", searchable=True),
    Column(name="eval_seconds", about="evaluation", unit="s"),
    Column(name="sample_seconds", about="sampling one image", unit="s", better="lower", searchable=True, cost=True),
    Column(name="sample_gflop", about="arithmetic of sampling one image", unit="GFLOP", better="lower", cost=True),
    Column(name="sample_memory", about="sampling a batch, at the peak", unit="MB", better="lower", cost=True),
    Column(name="rung_value", about="the value at the rung where the arm was stopped"),
    Column(name="device", about="where it trained", dtype="string"),
    Column(name="comparability_key", about="how the value was measured, as JSON", dtype="string"),
    Column(name="student_sha256", about="of the student's weights", dtype="string"),
    Column(name="value_repeats", about="the value of each set of samples", dtype="object"),
    Column(name="precision", about="precision of the samples", dtype="object", better="higher"),
    Column(name="recall", about="recall of the samples", dtype="object", better="higher"),
    Column(name="density", about="density of the samples", dtype="object", better="higher"),
    Column(name="coverage", about="coverage of the reference set", dtype="object", better="higher"),
    Column(name="cmmd", about="kernel distance with a Gaussian kernel, of CLIP features", dtype="object",
           better="lower"),
)
# fmt: on

# What a named evaluation measures: the Fréchet distances, and what shows how they were measured.
SAMPLED = (
    "metric", "value", "teacher_distance", "teacher_value", "teacher_teacher_distance", "sample_seconds",
    "sample_gflop", "sample_memory", "comparability_key", "value_repeats",
)  # fmt: skip


def columns(evaluations: Mapping[str, str]) -> tuple[Column, ...]:
    """COLUMNS of a run with multiple evaluations, each described by name: "" is the primary."""
    primary = (
        replace(column, about=f"{column.about}, under the primary evaluation: {evaluations['']}")
        if column.name in SAMPLED
        else column
        for column in COLUMNS
    )
    further = (
        replace(
            column,
            name=under(column.name, name),
            about=f"{column.about}, under {name}: {description}",
            searchable=False,
            cost=False,
        )
        for name, description in evaluations.items()
        for column in COLUMNS
        if name and column.name in SAMPLED
    )
    return (*primary, *further)


LINES = (
    PlotSpec(
        table="gaps",
        name="calibration",
        title="Guidance calibration by timestep",
        x=("t_low", "t_high"),
        x_label="timestep t",
        y=(RHO, RELATIVE_GAP),
        level=1.0,
        linear=("rho",),
    ),
    PlotSpec(
        table="guidance",
        name="guidance",
        title="Metric against guidance scale",
        x=("guidance",),
        x_label="guidance scale",
        y=(Column(name="value", about="", better="lower"),),
    ),
    PlotSpec(
        table="budgets",
        name="budgets",
        title="Outcomes against training steps",
        x=("step",),
        x_label="training step",
        y=(VALUE, TEACHER_DISTANCE, RELATIVE_GAP),
    ),
    PlotSpec(
        table="budgets",
        name="budgets_branches",
        title="Errors of both branches against training steps",
        x=("step",),
        x_label="training step",
        y=(MSE_COND, MSE_UNCOND),
    ),
    PlotSpec(
        table="curves",
        name="training",
        title="Training curves",
        x=("step",),
        x_label="training step",
        y=(  # not their sum: methods with different terms would share an axis
            Column(name="loss_imitation", about="loss of the imitation term"),
            Column(name="loss_uncond", about="loss of the unconditional term"),
            Column(name="loss_anchor", about="loss of the anchor term"),
        ),
    ),
)
