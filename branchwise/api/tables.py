"""Analyzing runs of other programs, straight from their objects."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from branchwise.api.errors import InputError, input_errors
from branchwise.api.study import Study, load
from branchwise.run_files.layout import RESULTS

if TYPE_CHECKING:
    import pandas as pd

    from branchwise.analysis.comparison import Comparison
    from branchwise.analysis.importers.run_table import RunTable
    from branchwise.analysis.statistics.comparisons.data_sets import Across


def analyze(
    runs: Any,
    *,
    components: Sequence[str] = (),
    value: str,
    direction: str,
    block: str | None = None,
    scale: str | None = None,
    value_range: tuple[float, float] | None = None,
    reference: Mapping[str, str] | None = None,
    full: Mapping[str, str] | None = None,
    claims: Sequence[str] = (),
    at: str | int | None = None,
    paired: bool = True,
    alpha: float = 0.05,
    out: str | Path | None = None,
) -> Study:
    """Analyze external runs, a row or object per run.

    Args:
        runs: A pandas or polars DataFrame, a `ray.tune.ResultGrid`, an `optuna.Study`, a list of W&B runs
            (`wandb.Api().runs(...)`), an MLflow experiment (`mlflow.get_experiment(...)`), or the path of a file or
            folder that the command line reads.
        components: Columns (settings) with the values to compare. None: all runs are of a single cell, `full`, on which
            `claims` speak, such as `full.value < 3.28`.
        value: Column of the result.
        direction: "maximize" or "minimize".
        block: Column of the seed that the cells share; by default `seed`.
        scale: "log", "logit" or "identity"; by default chosen by the values.
        value_range: Lowest and highest value of the result, such as `(0, 100)` for per cent.
        reference: By component, the value that others are compared with; by default off, False, None or the smallest.
        full: By component, its value in the full method; by default the last.
        at: Value of the result's history: "last", "best" (optimistic) or a step; by default that which the source
            keeps, which is the last, for W&B the run's summary.
        claims: Statements to be tested. They came after the runs, so their verdicts are exploratory.
        paired: Whether runs of different cells are compared within a seed. False: by Welch's t.
        alpha: Error of all tests together; intervals are at 1 - alpha.
        out: Folder for the analysis; by default a temporary folder.

    Raises:
        InputError: The runs cannot be read, or are no ablation of these components.

    Example:
        >>> import itertools, pandas as pd
        >>> rows = [
        ...     {"ema": ema, "seed": seed, "acc": 0.80 + 0.03 * ema + 0.001 * seed * (1 + ema)}
        ...     for ema, seed in itertools.product([False, True], range(5))
        ... ]
        >>> study = analyze(pd.DataFrame(rows), components=["ema"], value="acc", direction="maximize")
        >>> round(float(study.effects.effect[0]), 1)  # points of accuracy
        3.2
    """
    if isinstance(components, str):
        raise InputError(f"components: must be a list of columns, such as [{components!r}]")
    from branchwise.analysis.importers.folder import run_from_table
    from branchwise.analysis.importers.options import ImportOptions

    with input_errors():
        source = as_table(runs)
        options = ImportOptions(
            components=list(components),
            block=block,
            value=value,
            direction=direction,
            scale=scale,  # type: ignore[arg-type]  # checked when they are read
            range=value_range,
            reference=dict(reference or {}),
            full=dict(full or {}),
            claims=list(claims),
            at=None if at is None else str(at),
            paired=paired,
            alpha=alpha,
        )
        target = Path(out) if out is not None else Path(tempfile.mkdtemp(prefix="branchwise-")) / "analysis"
        return load(run_from_table(source, options, target))


def compare(
    first: Any,
    second: str | Path | None = None,
    *,
    group: str | None = None,
    value: str | None = None,
    block: str | None = None,
    scale: str | None = None,
    value_range: tuple[float, float] | None = None,
    paired: bool = True,
    alpha: float = 0.05,
    storage: str | Path = RESULTS,
) -> Comparison:
    """Compare two runs or two cells seed by seed, or two groups of a table by Welch's t.

    Args:
        first: Name or folder of a run, or one of its cells as `RUN:CELL`; with `group`, any input of `analyze`.
        second: The other run or cell; the difference is the second minus the first. None with `group`.
        group: Column that distinguishes the two groups of a table.
        value: Column of the result of a table.
        block: Column of the seed of a table; by default `seed`, if it exists.
        scale: "log", "logit" or "identity", for a table; by default "identity".
        value_range: Lowest and highest value of a table's result, such as `(0, 100)` for per cent.
        paired: Whether runs are compared within shared seeds. False: by Welch's t, as groups always are.
        alpha: Intervals are at 1 - alpha.
        storage: The storage of runs given by name.

    Raises:
        InputError: The two cannot be compared.

    Example:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"method": list("aabb"), "loss": [3.30, 3.31, 3.27, 3.28]})
        >>> round(float(compare(table, group="method", value="loss").differences.raw[0]), 3)
        -0.03
    """
    from branchwise.analysis.comparison import compare_groups, compare_runs
    from branchwise.analysis.importers.options import ImportOptions

    with input_errors():
        if group is None:
            if second is None or value is not None or block is not None or scale is not None or value_range:
                raise InputError("compare: pass two runs; or one table with group and value")
            return compare_runs(str(first), str(second), Path(storage), paired, alpha)
        if value is None or second is not None:
            raise InputError("compare: with group, pass one table and value")
        options = ImportOptions(
            components=[],
            block=block,
            value=value,
            direction="",
            scale=scale,  # type: ignore[arg-type]  # checked when they are read
            range=value_range,
            alpha=alpha,
        )
        return compare_groups(as_table(first), group, options)


def across(runs: Sequence[str | Path], *, storage: str | Path = RESULTS) -> Across:
    """Combine effects of runs on different data sets: random-effects mean, prediction interval.

    Args:
        runs: Names or folders of the runs, one per data set. A mean needs three.
        storage: The storage of runs given by name.

    Returns:
        The effects by run, `combined` by component, and a DataFrame `summary`.

    Raises:
        InputError: The effects are on other scales, of other kinds or directions, or no component is in each run.
    """
    from branchwise.analysis.across import across as combine
    from branchwise.analysis.records.folder import find_run

    with input_errors():
        if isinstance(runs, str):
            raise InputError(f"runs: must be a list of runs, such as [{runs!r}, ...]")
        return combine([find_run(str(run), Path(storage)) for run in runs])


def as_table(runs: Any) -> pd.DataFrame | RunTable | str:
    """Return the runs as a table with a row per run, or the path of their file or folder.

    Raises:
        InputError: The object is of a kind that is unknown.
    """
    if isinstance(runs, str | Path):
        return str(runs)
    package, kind = type(runs).__module__.partition(".")[0], type(runs).__name__
    reader = _READERS.get((package, kind))
    if reader is None and (package == "wandb" or isinstance(runs, list | tuple)):
        reader = _from_wandb
    if reader is None:
        raise InputError(
            f"runs: {kind} is not supported; pass a pandas or polars DataFrame, a Ray Tune ResultGrid, an Optuna "
            "study, a list of W&B runs, an MLflow experiment, or a path"
        )
    table: pd.DataFrame | RunTable | str = reader(runs)
    return table


def _from_polars(frame: Any) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(frame.to_dict(as_series=False))


def _from_ray(results: Any) -> RunTable:
    from branchwise.analysis.importers.trackers.ray_tune import table_of_results

    return table_of_results(results)


def _from_optuna(study: Any) -> RunTable:
    from branchwise.analysis.importers.trackers.optuna import table_of_studies

    return table_of_studies([study])


def _from_wandb(runs: Any) -> RunTable:
    from branchwise.analysis.importers.trackers.wandb import table_of_api

    all_runs = list(runs)
    for run in all_runs:
        if not all(hasattr(run, part) for part in ("id", "name", "config", "summary", "state")):
            raise InputError(f"runs: {type(run).__name__} is not a W&B run; pass wandb.Api().runs(...)")
    return table_of_api(all_runs)


def _from_mlflow(experiment: Any) -> RunTable:
    from mlflow import MlflowClient

    from branchwise.analysis.importers.trackers.mlflow import table_of_client

    return table_of_client(MlflowClient(), experiment.experiment_id)


_READERS: dict[tuple[str, str], Callable[[Any], Any]] = {
    ("pandas", "DataFrame"): lambda frame: frame,
    ("polars", "DataFrame"): _from_polars,
    ("ray", "ResultGrid"): _from_ray,
    ("optuna", "Study"): _from_optuna,
    ("mlflow", "Experiment"): _from_mlflow,
}
