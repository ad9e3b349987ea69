"""Report of a search: settings that scored best, which mattered, and trade-offs found.

None of it is attribution: searched arms share their seeds and were chosen for their values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from branchwise.analysis.declared.distributions import distribution, token
from branchwise.analysis.records.run import Run
from branchwise.analysis.report.figures import COLORS, INK, Plot, color, log_y, new_figure, render
from branchwise.analysis.report.text import Table, number
from branchwise.analysis.statistics.sequential.searched import searched
from branchwise.run_files.columns import Better

GOOD = 5  # PED-ANOVA needs at least so many arms among the good ones
MIN_IMPORTANCE = 2 * GOOD
MAX_SLICES = 6


def tried(run: Run) -> pd.DataFrame:
    """Return searched arms with a value; with multiple seeds, a row of means per configuration."""
    if result := searched(run.arms, run.design):
        return result.rows
    arms = run.arms
    rows: pd.DataFrame = arms[(arms["kind"] == "search") & (arms["status"] == "done") & np.isfinite(arms["value"])]
    return rows


def knobs(run: Run) -> Mapping[str, Mapping[str, Any]]:
    """The searched settings and their distributions, from the space."""
    return {
        key: knob
        for key, knob in (run.design.get("knobs") or run.design.get("space") or {}).items()
        if f"hp.{key}" in run.arms
    }


def search_tables(run: Run) -> list[Table]:
    """The tables of a search; none for a run without a search."""
    return [best_table(run), importance_table(run)] if len(tried(run)) else []


def search_plots(run: Run) -> list[Plot]:
    """The plots of a search; none for a run without a search."""
    if not len(tried(run)):
        return []
    return [plot for plot in (slices(run), front(run)) if plot is not None]


def best_table(run: Run, limit: int = 10) -> Table:
    """The best searched arms with their settings: what to search next, never a result."""
    best = tried(run).sort_values("value", ascending=run.outline.better("value") == "lower", kind="stable").head(limit)
    multiple = best["cell"].nunique() > 1
    objectives = [objective for objective in _objectives(run) if objective != "value"]
    match = searched(run.arms, run.design)
    rows = tuple(
        (
            str(row["arm"]),
            *((str(row["cell"]),) if multiple else ()),
            f"{number(row['value'])} [{number(row['low'])}, {number(row['high'])}]" if match else number(row["value"]),
            *(number(row[objective]) for objective in objectives),
            *(setting(row[f"hp.{key}"]) for key in knobs(run)),
        )
        for _, row in best.iterrows()
    )
    what, seeds = "first arm" if match else "arm", _seeds(run)
    means = f"Means over {seeds} with 95% intervals, which do not allow for the choice. " if match else ""
    return Table(
        title=f"Best {'configurations' if match else 'arms'} of the search",
        columns=(what, *(("cell",) if multiple else ()), run.metric, *objectives, *knobs(run)),
        rows=rows,
        text_columns=2 if multiple else 1,
        note=f"{means}Chosen because they scored well on {seeds}, so their values are too good: the best of many is "
        "optimistic. What counts is how the best settings do on the fresh seeds, in the table of cells.",
    )


def _seeds(run: Run) -> str:
    result = searched(run.arms, run.design)
    return f"{result.seeds} seeds" if result else "one seed"


def setting(value: object) -> str:
    """A setting as a table shows it."""
    if isinstance(value, float):
        return number(value, 4)
    return str(value.tolist() if isinstance(value, np.ndarray) else value)


def importance_table(run: Run) -> Table:
    """PED-ANOVA importances of the settings, by study."""
    rows = []
    for cell, arms in tried(run).groupby("cell", sort=False):
        for key, share in importances(arms, knobs(run), run.outline.better("value")).items():
            rows.append((str(cell), key, f"{100 * share:.0f}%"))
    return Table(
        title="Which settings the search found to matter", columns=("study", "setting", "importance"),
        rows=tuple(rows), text_columns=2,
        note="PED-ANOVA (Watanabe et al. 2023) on the searched arms: how far the values of a setting among the best "
        f"arms, a tenth of them or {GOOD}, differ from those among all. It ranks settings within the ranges searched, "
        f"on {_seeds(run)}. It is not a share of the gain.",
    )  # fmt: skip


def importances(
    arms: pd.DataFrame, space: Mapping[str, Mapping[str, Any]], better: Better = "lower"
) -> dict[str, float]:
    """Return importances of settings, largest first; empty with few arms, or none that differ."""
    import optuna  # only a report on a search waits for it

    distributions: dict[str, Any] = {
        key: distribution(knob) for key, knob in space.items() if arms[f"hp.{key}"].notna().all()
    }
    if len(arms) < MIN_IMPORTANCE or not distributions:
        return {}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study, sign = optuna.create_study(), -1.0 if better == "higher" else 1.0
    for _, arm in arms.iterrows():
        params = {key: token(arm[f"hp.{key}"]) for key in distributions}
        try:
            trial = optuna.create_trial(params=params, distributions=distributions, value=sign * float(arm["value"]))
        except ValueError:
            continue  # a setting that was not searched in this arm, and has a value outside the range
        study.add_trial(trial)
    if len(study.trials) < MIN_IMPORTANCE:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=max(0.1, GOOD / len(study.trials)))
    return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))


def slices(run: Run) -> Plot | None:
    """The value of each searched arm against each setting; darker is later."""
    visible, arms = list(knobs(run).items())[:MAX_SLICES], tried(run)
    if not visible:
        return None
    figure, panels = new_figure(max(4.0, 2.9 * len(visible)), 3.1, columns=len(visible), sharey=True)
    for axes, (key, knob) in zip(panels, visible, strict=True):
        _slice(axes, arms, key, knob)
    panels[0].set_ylabel(f"{run.metric} ({run.outline.better('value')} is better)")
    if (arms["value"] > 0).all():
        log_y(panels[0])
    what = "configurations" if searched(run.arms, run.design) else "arms"
    alt = f"{len(arms)} searched {what} that ran to their end, by setting; darker dots came later. On {_seeds(run)}."
    return render(figure, "slices", "Every searched arm by its settings", alt)


def _slice(axes: Axes, arms: pd.DataFrame, key: str, knob: Mapping[str, Any]) -> None:
    values = arms[f"hp.{key}"]
    if "choice" in knob:
        labels = [str(token(value)) for value in knob["choice"]]
        at = [labels.index(str(token(value))) if str(token(value)) in labels else np.nan for value in values]
        axes.set_xticks(range(len(labels)), labels, rotation=30, ha="right")
        axes.set_xlim(-0.5, len(labels) - 0.5)
    else:
        at = values.astype(float).tolist()
        if "log_uniform" in knob or "log_int" in knob:
            axes.set_xscale("log")
    shades = [(*to_rgb(color(0)), alpha) for alpha in np.linspace(0.25, 1.0, len(arms))]
    axes.scatter(at, arms["value"], color=shades, s=22, linewidths=0)
    axes.set_xlabel(key)


def _objectives(run: Run) -> list[str]:
    return [str(objective) for objective in run.design.get("objectives") or ["value"]]


def front(run: Run) -> Plot | None:
    """Plot further objectives against the first, with the arms that no other beats in all."""
    first, *others = _objectives(run)
    arms = tried(run)
    arms = arms[arms[[first, *others]].notna().all(axis=1)]
    if not others or arms.empty:
        return None
    signs = [-1.0 if run.outline.better(objective) == "higher" else 1.0 for objective in (first, *others)]
    best = unbeaten(arms[[first, *others]].to_numpy(dtype=float) * signs)
    figure, panels = new_figure(max(4.8, 4.4 * len(others)), 3.6, columns=len(others), sharey=True)
    for axes, other in zip(panels, others, strict=True):
        axes.scatter(arms[other], arms[first], color=color(0), alpha=0.45, s=22, linewidths=0, label="searched")
        edge = arms[best].sort_values(other)
        axes.plot(edge[other], edge[first], "o", color=COLORS[5], markersize=6, markeredgecolor=INK, label="unbeaten")
        axes.set_xlabel(other)
    panels[0].set_ylabel(run.metric if first == "value" else first)
    panels[0].legend(loc="best")
    among = ", ".join([first, *others])
    alt = f"{int(best.sum())} of {len(arms)} searched arms are beaten by no other in all of {among}."
    return render(figure, "front", "What the objectives cost one another", alt)


def unbeaten(values: np.ndarray) -> np.ndarray:
    """Return the mask (n,) of rows (n, objectives), to be minimized, that no other row beats."""
    no_worse = (values[:, None] <= values[None]).all(axis=2)
    better = (values[:, None] < values[None]).any(axis=2)
    return np.logical_not((no_worse & better).any(axis=0))
