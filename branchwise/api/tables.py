"""Analysing runs that other programs made, straight from their objects."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from branchwise.api.errors import InputError, input_errors
from branchwise.api.study import Study, load

if TYPE_CHECKING:
    import pandas as pd


def analyze(
    runs: Any,
    *,
    components: Sequence[str],
    value: str,
    direction: str,
    block: str = "seed",
    scale: str | None = None,
    reference: Mapping[str, str] | None = None,
    full: Mapping[str, str] | None = None,
    claims: Sequence[str] = (),
    out: str | Path | None = None,
) -> Study:
    """Analyse runs made elsewhere, one row or object per run.

    Args:
        runs: A pandas or polars DataFrame, a `ray.tune.ResultGrid`, an `optuna.Study`, a list of W&B runs
            (`wandb.Api().runs(...)`), an MLflow experiment (`mlflow.get_experiment(...)`), or the path of a file or
            folder that the command line reads.
        components: Columns (settings) whose values are compared.
        value: Column of the result.
        direction: "maximize" or "minimize".
        block: Column of the seed that the cells share.
        scale: "log", "logit" or "identity"; by default one that suits the values.
        reference: By component, the value that others are compared with; by default off, False, None or the smallest.
        full: By component, its value in the full method; by default the last one.
        claims: Statements to be judged. They came after the runs, so their verdicts are exploratory.
        out: Folder for the analysis; by default a temporary one.

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
    from branchwise.analysis.elsewhere.folder import run_from_table
    from branchwise.analysis.elsewhere.table import Asked

    with input_errors():
        source = as_table(runs)
        asked = Asked(
            components=list(components),
            block=block,
            value=value,
            direction=direction,
            scale=scale,  # type: ignore[arg-type]  # checked by `Asked`
            reference=dict(reference or {}),
            full=dict(full or {}),
            claims=list(claims),
        )
        target = Path(out) if out is not None else Path(tempfile.mkdtemp(prefix="branchwise-")) / "analysis"
        return load(run_from_table(source, asked, target))


def as_table(runs: Any) -> pd.DataFrame | str:
    """Return the runs as a DataFrame with a row per run, or the path of those that lie in a file or folder.

    Raises:
        InputError: The object is of a kind that is not known.
    """
    if isinstance(runs, str | Path):
        return str(runs)
    reader = _READERS.get((type(runs).__module__.partition(".")[0], type(runs).__name__))
    if (reader is None and isinstance(runs, Sequence)) or type(runs).__module__.startswith("wandb"):
        reader = _of_wandb
    if reader is None:
        raise InputError(
            f"runs: {type(runs).__name__} is not supported; pass a pandas or polars DataFrame, a Ray Tune ResultGrid, "
            "an Optuna study, a list of W&B runs, an MLflow experiment, or a path"
        )
    table: pd.DataFrame = reader(runs)
    return table


def _of_ray(results: Any) -> pd.DataFrame:
    """Settings as `config/NAME`, as Ray's own table has them, and the state: a trial with an error has failed."""
    table: pd.DataFrame = results.get_dataframe()
    failed = {results[i].path for i in range(len(results)) if results[i].error is not None}
    paths = [results[i].path for i in range(len(results)) if results[i].metrics]
    if len(paths) == len(table):
        table["state"] = ["failed" if path in failed else "finished" for path in paths]
    return table


def _of_optuna(study: Any) -> pd.DataFrame:
    table: pd.DataFrame = study.trials_dataframe(attrs=("number", "value", "params", "user_attrs", "state"))
    taken = set(table.columns)
    short = {name: name.removeprefix("params_") for name in taken if name.startswith("params_")}
    return table.rename(columns={name: new for name, new in short.items() if new not in taken})


def _of_polars(frame: Any) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(frame.to_dict(as_series=False))


def _of_wandb(runs: Any) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for run in runs:
        if not all(hasattr(run, part) for part in ("config", "summary", "state")):
            raise InputError(f"runs: {run!r} is not a W&B run; pass wandb.Api().runs(...)")
        config = {key: value for key, value in run.config.items() if not key.startswith("_")}
        summary = {key: value for key, value in dict(run.summary).items() if not key.startswith("_")}
        clashes = {f"config.{key}" if key in summary else key: value for key, value in config.items()}
        rows.append({"id": run.id, "name": run.name, "state": run.state, **summary, **clashes})
    return pd.DataFrame(rows)


def _of_mlflow(experiment: Any) -> pd.DataFrame:
    import mlflow

    table: pd.DataFrame = mlflow.search_runs(experiment_ids=[experiment.experiment_id])
    return table


def _unchanged(frame: pd.DataFrame) -> pd.DataFrame:
    return frame


_READERS: dict[tuple[str, str], Callable[[Any], Any]] = {
    ("pandas", "DataFrame"): _unchanged,
    ("polars", "DataFrame"): _of_polars,
    ("ray", "ResultGrid"): _of_ray,
    ("optuna", "Study"): _of_optuna,
    ("mlflow", "Experiment"): _of_mlflow,
}
