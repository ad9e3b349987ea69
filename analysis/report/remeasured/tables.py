"""Tables of further evaluations: whether effects hold, each cell's result, best settings."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan

from branchwise.analysis.records.remeasured import sweep_description
from branchwise.analysis.records.teachers import TeacherValue, teachers
from branchwise.analysis.report.text import DASH, Table, mean_sd, number, with_interval
from branchwise.analysis.report.wording import effect_text, verb
from branchwise.analysis.statistics.model import mean_and_sd
from branchwise.analysis.statistics.remeasured.curves import Curve
from branchwise.analysis.statistics.remeasured.effects import Remeasured


def holds_table(measured: Remeasured) -> Table:
    """Each component's effect and share under each measure, and whether the conclusions agree."""
    components = measured.run.components
    rows = []
    for effects in measured.effects:
        result = effects.rows
        pairs = [(effect_text(result[name].effect, effects.attribution), with_interval(result[name].share, 100))
                for name in components]  # fmt: skip
        rows.append((effects.label, effects.metric, *(text for pair in pairs for text in pair)))
    if rows and components:
        rows.append(("agree?", "", *(text for name in components for text in (measured.agreement(name), ""))))
    effect = f"{verb(measured.run.primary)} it by"
    described = {"As in the sweep": sweep_description(measured.run)}
    described |= {item.name: item.description for item in measured.named}
    return Table(
        title="Does it hold under another evaluation?",
        columns=(
            "evaluation",
            "metric",
            *(f"{name} {effect_name}" for name in components for effect_name in (effect, "% of the gain")),
        ),
        rows=tuple(rows),
        text_columns=2,
        note=f"{measured.run.inference.percent} intervals by block in brackets, each for itself: exploratory. “Agree?” "
        "compares, one by one, "
        "whether the interval lies above zero (helps), below (hurts) or holds it, with the sweep's own."
        + "".join(f" {name}: {description}." for name, description in described.items() if description),
    )


def evaluation_table(measured: Remeasured) -> Table:
    """Each cell's value under each evaluation that the run declared."""
    run = measured.run
    runs = {"as in the sweep": run} | {item.name: item.run for item in measured.named}
    rows = []
    for cell in dict.fromkeys((*run.cells, *run.outline.baselines)):
        groups = [other.results.loc[other.results["cell"] == cell, run.primary.name] for other in runs.values()]
        rows.append((cell, *(mean_sd(*mean_and_sd(values.dropna().to_numpy(dtype=float))) for values in groups)))
    for teacher in teachers(run.arms, f"teacher_{run.primary.name}"):
        same = [_same_teacher(teacher, teachers(other.arms, f"teacher_{run.primary.name}")) for other in runs.values()]
        rows.append((teacher.name, *(number(nan if entry is None else entry.value) for entry in same)))
    return Table(
        title="Cells under each evaluation", name="evaluations",
        columns=("cell", *(f"{other.primary.title}, {name}" for name, other in runs.items())),
        rows=tuple(rows) if measured.named else (),
        note=f"Mean and SD over training seeds. {run.primary.better.capitalize()} is better.",
    )  # fmt: skip


def _same_teacher(teacher: TeacherValue, others: Sequence[TeacherValue]) -> TeacherValue | None:
    return next((other for other in others if other.cells == teacher.cells), None)


def best_table(measured: Remeasured) -> Table:
    """By cell, the best value of each setting that was varied, and its distance."""
    curves = [(axis, curve) for axis in measured.axes for curve in axis.curves]
    cells = dict.fromkeys(cell for _, curve in curves for cell in curve.cells)
    rows = [(cell, *(_best(curve, cell) for _, curve in curves)) for cell in cells]
    return Table(
        title="The best setting of each cell",
        columns=("cell", *(f"best {axis.name}{_other_settings(curve)}" for axis, curve in curves)),
        rows=tuple(row for row in rows if set(row[1:]) != {DASH}) if curves else (),
        note="The setting with the best mean over blocks, and that mean. “edge”: the best was the first or last "
        "that was measured. Chosen for its value, so it is optimistically biased.",
    )


def _other_settings(curve: Curve) -> str:
    return f" ({curve.others})" if curve.others else ""


def _best(curve: Curve, cell: str) -> str:
    best = curve.best(cell)
    if best is None:
        return DASH
    x, estimate = best
    edge = ", edge" if x in (curve.x[0], curve.x[-1]) else ""
    return f"{x:g}{edge}: {number(estimate.value)}"
