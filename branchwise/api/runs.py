"""Running ablations and searches from Python, on the same path as the command line."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from branchwise.analysis.console import make_console
from branchwise.api.errors import InputError, RunError, input_errors
from branchwise.api.hyperparameters import hyperparameter_trees
from branchwise.api.spaces import Function, build_space, component_trees, locate, plain
from branchwise.api.study import Study, load
from branchwise.orchestration import interrupts
from branchwise.orchestration.input.command_line import open_storage
from branchwise.orchestration.planning.extending import Extension, plan_extended
from branchwise.orchestration.planning.follow_up import follow_up_space
from branchwise.orchestration.planning.plan import Plan, describe, obstacle_here, plan_new, plan_resumed
from branchwise.orchestration.run_folder.plan_file import run_named
from branchwise.orchestration.space import Space
from branchwise.run_files.layout import RESULTS
from branchwise.trainables.runtime.storage import Storage

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What a run would do; `print` it.

    Attributes:
        name: Name of the run.
        arms: One row per planned arm: arm, cell, block, seed. Empty for a search.
        seconds: Expected duration, 0 where the function's duration is not known yet.
        space: The space as YAML.
        text: The plan in lines.
    """

    name: str
    arms: pd.DataFrame
    seconds: float
    space: str
    text: str

    def __repr__(self) -> str:
        return self.text


def ablate(
    function: Function,
    *,
    components: Mapping[str, Any],
    metric: str,
    direction: str,
    settings: Mapping[str, Any] | None = None,
    seeds: int = 5,
    first_seed: int = 0,
    claims: Sequence[str] = (),
    alpha: float = 0.05,
    outcomes: Mapping[str, Any] | None = None,
    design: str = "factorial",
    scale: str | None = None,
    value_range: Sequence[float | None] | None = None,
    name: str | None = None,
    storage: str | Path = RESULTS,
    cpus: int = 1,
    gpus: float = 0,
    max_concurrent: int | None = None,
    address: str | None = None,
    progress: bool = True,
) -> Study:
    """Run an ablation on Ray and return its results.

    Each combination of components runs on each of `seeds` shared seeds. Calling it again with the same `name`, code
    and settings resumes the run, or loads it when it is finished.

    Args:
        function: A function that returns a dict with `metric`, or its name as `module:function`. Its keyword
            parameters with defaults are settings; `seed` receives the arm's seed, and `report`, `folder`,
            `checkpoints` and `device` are filled in where it has them.
        components: What can be removed: `{"ema": {"ema": False}}` means that the method without `ema` has the setting
            `ema=False`. Levels as in a space file: `{"lr": {"levels": {...}, "reference": ...}}`.
        metric: Key of the returned dict that counts.
        direction: "maximize" or "minimize".
        settings: Values of the full method, where they differ from the function's defaults.
        seeds: Number of shared seeds (blocks).
        first_seed: Seed of the first block; the others follow.
        claims: Statements to be judged, such as `"ema.effect > 0"`. They are sealed before the first arm runs.
        alpha: Error that all tests share, sealed with the claims; intervals are at 1 - alpha.
        outcomes: Further keys of the returned dict with their direction: `{"loss": "minimize"}`.
        design: "factorial" (all combinations, six components at most), "screening" (main effects of 4 to 20 components;
            `follow_up` confirms), "leave_one_out" or "add_one_in" (50 at most).
        scale: Scale of effects: "log", "logit" or "identity"; by default it follows from the metric's name and range.
        value_range: Lowest and highest value of the metric, such as `(0, 100)`; None for no bound.
        name: Name of the run; by default the function's, numbered when it is taken.
        storage: Folder of runs.
        cpus: CPUs per arm.
        gpus: GPUs per arm, 0, 1 or a fraction of 1.
        max_concurrent: Arms at a time; by default as many as fit.
        address: A Ray cluster to join, as `ray.init` takes it. A Ray that is initialized in this process is used and
            left running; otherwise a local one is started and stopped.
        progress: Whether to print progress.

    Returns:
        The finished run. Arms that failed are rows of `study.arms`, and a warning counts them.

    Raises:
        InputError: An argument is not allowed, or `name` is taken by a run with other code or settings.
        RunError: The run could not be finished.
        KeyboardInterrupt: Interrupted; finished arms are kept and the same call resumes.
    """
    with input_errors():
        space = build_space(
            function,
            caller="branchwise.ablate",
            name=name,
            metric=metric,
            direction=direction,
            settings=settings,
            outcomes=outcomes,
            scale=scale,
            value_range=value_range,
            design=_ablation_design(components, seeds, first_seed, claims, outcomes, design) | {"alpha": alpha},
            resources=_resources(cpus, gpus, max_concurrent),
        )
        return _run_space(space, name, str(storage), address, progress)


def search(
    function: Function,
    *,
    hyperparameters: Mapping[str, Any],
    metric: str,
    direction: str,
    arms: int = 20,
    seeds: int = 3,
    settings: Mapping[str, Any] | None = None,
    algorithm: str = "optuna_tpe",
    scale: str | None = None,
    value_range: Sequence[float | None] | None = None,
    name: str | None = None,
    storage: str | Path = RESULTS,
    cpus: int = 1,
    gpus: float = 0,
    max_concurrent: int | None = None,
    address: str | None = None,
    progress: bool = True,
) -> Study:
    """Search for better settings with Optuna, and compare the best with the function's own on fresh seeds.

    Args:
        function: As for `ablate`.
        hyperparameters: Distributions by setting: `bw.loguniform(1e-4, 0.1)`, or Optuna's or Ray Tune's.
        metric: Key of the returned dict that counts.
        direction: "maximize" or "minimize".
        arms: Number of configurations to try.
        seeds: Fresh seeds on which the best configuration is compared with the function's own settings.
        settings: As for `ablate`.
        algorithm: One of the space file's `design.algorithm`.
        scale: As for `ablate`.
        value_range: As for `ablate`.
        name: As for `ablate`.
        storage: As for `ablate`.
        cpus: As for `ablate`.
        gpus: As for `ablate`.
        max_concurrent: As for `ablate`.
        address: As for `ablate`.
        progress: As for `ablate`.

    Returns:
        The finished run; `study.arms` has every configuration with its value.

    Raises:
        InputError: An argument is not allowed.
        RunError: The run could not be finished.
    """
    design = {
        "kind": "search",
        "arms": arms,
        "algorithm": algorithm,
        "knobs": hyperparameter_trees(hyperparameters),
        "blocks": seeds,
    }
    with input_errors():
        space = build_space(
            function,
            caller="branchwise.search",
            name=name,
            metric=metric,
            direction=direction,
            settings=settings,
            outcomes=None,
            scale=scale,
            value_range=value_range,
            design=design,
            resources=_resources(cpus, gpus, max_concurrent),
        )
        return _run_space(space, name, str(storage), address, progress)


def plan(
    function: Function,
    *,
    components: Mapping[str, Any],
    metric: str,
    direction: str,
    settings: Mapping[str, Any] | None = None,
    seeds: int = 5,
    first_seed: int = 0,
    claims: Sequence[str] = (),
    alpha: float = 0.05,
    outcomes: Mapping[str, Any] | None = None,
    design: str = "factorial",
    scale: str | None = None,
    value_range: Sequence[float | None] | None = None,
    name: str | None = None,
    storage: str | Path = RESULTS,
    cpus: int = 1,
    gpus: float = 0,
    max_concurrent: int | None = None,
) -> Preview:
    """Return what `ablate` with the same arguments would run. Starts nothing and writes nothing.

    Raises:
        InputError: An argument is not allowed.
    """
    with input_errors():
        space = build_space(
            function,
            caller="branchwise.plan",
            name=name,
            metric=metric,
            direction=direction,
            settings=settings,
            outcomes=outcomes,
            scale=scale,
            value_range=value_range,
            design=_ablation_design(components, seeds, first_seed, claims, outcomes, design) | {"alpha": alpha},
            resources=_resources(cpus, gpus, max_concurrent),
        )
        with open_storage(str(storage)) as opened:
            return _preview(plan_new(space, opened, name))


def resume(
    name: str,
    function: Function | None = None,
    *,
    storage: str | Path = RESULTS,
    address: str | None = None,
    progress: bool = True,
    trust: bool = False,
) -> Study:
    """Resume a run by its name; finished arms are kept.

    Args:
        name: Name of the run.
        function: The run's function, where a Python session defined it; it must be the same code.
        storage: Folder of runs.
        address: As for `ablate`.
        progress: As for `ablate`.
        trust: Run the command or module of a run that this user did not start, as its folder names it.

    Raises:
        InputError: There is no such run, its function is another, or this user did not start it.
        RunError: The run could not be finished.
    """
    with input_errors():
        source = locate(function)[2] if function is not None else ""
        with open_storage(str(storage)) as opened:
            resumed = plan_resumed(opened, name, trust)
            _check_source(resumed, source, name)
            return _execute(resumed, address, progress)


def extend_run(
    folder: Path,
    function: Function | None,
    *,
    blocks: int | None,
    confirm: bool,
    added: Mapping[str, Any],
    name: str | None,
    address: str | None,
    progress: bool,
    trust: bool,
) -> Study:
    """Run what `Study.extend` adds to the run in `folder`; `added` has its further arguments."""
    if isinstance(added["claims"], str):
        raise InputError(f"claims: must be a list of texts, such as [{added['claims']!r}]")
    if blocks is not None and (isinstance(blocks, bool) or not isinstance(blocks, int)):
        raise InputError(f"blocks: {blocks!r} is not allowed; it must be a whole number")
    run = folder.resolve()
    extension = Extension(
        name=run.name,
        blocks=blocks,
        components=plain(component_trees(added["components"] or {})),
        baselines=[added["baselines"]] if isinstance(added["baselines"], str) else list(added["baselines"]),
        cells=_cells(added["cells"]),
        claims=list(added["claims"]),
        confirm=confirm,
    )
    with input_errors():
        source = locate(function)[2] if function is not None else ""
        with open_storage(str(run.parent)) as opened:
            prepared = plan_extended(opened, extension, name, trust)
            _check_source(prepared, source, run.name)
            return _execute(prepared, address, progress)


def _cells(cells: Any) -> list[dict[str, str]]:
    """The level of each component in each added cell; `True` and `False` are on and off."""
    listed = [cells] if isinstance(cells, Mapping) else list(cells)
    words = {True: "on", False: "off"}
    for cell in listed:
        if not isinstance(cell, Mapping) or not cell or not all(isinstance(v, str | bool) for v in cell.values()):
            raise InputError(f"add_cell: {cell!r} is not allowed; it must be a dict of component and level")
    return [
        {str(key): words[value] if isinstance(value, bool) else value for key, value in cell.items()} for cell in listed
    ]


def _check_source(prepared: Plan, source: str, name: str) -> None:
    """Raises InputError where a session's function is not the one that the run started with."""
    options = getattr(prepared.space.spec, "function", None)
    if source and getattr(options, "source", "") != source:
        raise InputError(f"function: its code is not that of the run {name}; give the code of the run")


def follow_up(
    name: str,
    *,
    survivors: Sequence[str] = (),
    others: str = "full",
    seeds: int | None = None,
    claims: Sequence[str] = (),
    storage: str | Path = RESULTS,
    address: str | None = None,
    progress: bool = True,
) -> Study:
    """Run the full factorial of what a screening left, on fresh seeds: the stage that confirms.

    Args:
        name: Name of the finished screening (`ablate(..., design="screening")`).
        survivors: Components to follow up, five at most; by default those whose main effect is significant.
        others: How the other components are held: "full" or "off".
        seeds: Number of fresh seeds; by default as many as the screening had, five at least.
        claims: Statements to be judged, sealed before the first arm runs.
        storage: Folder of runs.
        address: As for `ablate`.
        progress: As for `ablate`.

    Returns:
        The finished run, called like the screening with `-follow-up` behind it.

    Raises:
        InputError: There is no such screening, it is not finished, or nothing survived.
        RunError: The run could not be finished.
    """
    if others not in ("full", "off"):
        raise InputError(f"others: {others!r} is not allowed; it must be 'full' or 'off'")
    if isinstance(survivors, str) or isinstance(claims, str):
        raise InputError("survivors and claims: must be lists of texts")
    overrides = [f"design.claims={json.dumps(list(claims))}"] if claims else []
    overrides += [f"design.blocks={seeds}"] if seeds is not None else []
    with input_errors():
        with open_storage(str(storage)) as opened:
            space = follow_up_space(opened, name, survivors, "off" if others == "off" else "full", overrides)
        return _run_space(space, None, str(storage), address, progress)


def _ablation_design(
    components: Mapping[str, Any],
    seeds: int,
    first_seed: int,
    claims: Sequence[str],
    outcomes: Mapping[str, Any] | None,
    kind: str,
) -> dict[str, Any]:
    if isinstance(claims, str):
        raise InputError(f"claims: must be a list of texts, such as [{claims!r}]")
    return {
        "kind": kind,
        "components": component_trees(components),
        "outcomes": ["value", *(outcomes or {})],
        "blocks": seeds,
        "first_seed": first_seed,
        "claims": list(claims),
    }


def _resources(cpus: int, gpus: float, max_concurrent: int | None) -> dict[str, Any]:
    limit = {} if max_concurrent is None else {"max_concurrent": max_concurrent}
    return {"cpus_per_trial": cpus, "gpus_per_trial": float(gpus), **limit}


def _run_space(space: Space, name: str | None, storage: str, address: str | None, progress: bool) -> Study:
    with open_storage(storage) as opened:
        if name is not None and run_named(opened, name, "name").begun():
            return _execute(_resumed(space, opened, name), address, progress)
        return _execute(plan_new(space, opened, name), address, progress)


def _resumed(space: Space, storage: Storage, name: str) -> Plan:
    """The plan of the run called `name`, which must have been started with the same space."""
    run = run_named(storage, name, "name")
    stored, wanted = run.read_space().decode(), space.resolved()
    if stored != wanted:
        raise InputError(
            f"name {name!r}: {run.root} is a run with other {_difference(stored, wanted)}; choose another name, or "
            "repeat the call that started it"
        )
    return plan_resumed(storage, name)


def _difference(stored: str, wanted: str) -> str:
    """The keys in which two spaces differ, in a few words."""
    import yaml

    old, new = yaml.safe_load(stored), yaml.safe_load(wanted)
    if old.get("function", {}).get("source", "") != new.get("function", {}).get("source", ""):
        return "code"
    keys = [
        path
        for path in dict.fromkeys([*_leaves(old), *_leaves(new)])
        if _leaves(old).get(path) != _leaves(new).get(path)
    ]
    return f"settings: {', '.join(keys)}"


def _leaves(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Values by key, of sections by `section.key`."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves |= {f"{key}.{name}": inner for name, inner in value.items()} if isinstance(value, dict) else {key: value}
    return leaves


def _execute(prepared: Plan, address: str | None, progress: bool) -> Study:
    if obstacle := obstacle_here(prepared) if address is None else "":
        raise InputError(obstacle)
    local = prepared.run.files.local
    if local is None:
        raise InputError("storage: must be a folder of this machine; use the command line for object stores")
    if prepared.nothing_left:
        return load(local)
    from branchwise.orchestration.execution.sweep import run_sweep

    console = make_console() if progress else Console(quiet=True)
    console.print(f"{prepared.run.name}: {prepared.total} arms, results in {prepared.run.root}", highlight=False)
    with _signals(), _restored_logging():
        outcome = run_sweep(prepared, address, console)
    again = "the same call, or branchwise.resume"
    if outcome.ending.interrupted:
        raise KeyboardInterrupt(f"{prepared.run.name} was interrupted; finished arms are kept, and {again} resumes it")
    if outcome.summary is None:
        raise RunError(f"{prepared.run.name}: {outcome.ending.sentence}; {again} resumes it")
    study = load(local)
    failed = sum(number for status, number in outcome.counts.items() if status not in ("done", "stopped"))
    if failed:
        first = next((text for text in study.arms["error"] if text), "")
        warnings.warn(f"{failed} of {prepared.total} arms have no value; the first error: {first}", stacklevel=4)
    return study


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """Ctrl-C and "interrupt kernel" end the run in an orderly way; signals reach the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with interrupts.as_one_interrupt():
        yield


@contextlib.contextmanager
def _restored_logging() -> Iterator[None]:
    """The caller's logging set-up, which a run replaces, is put back afterwards."""
    loggers = [logging.getLogger(), logging.getLogger("ray")]
    before = [(logger, logger.handlers[:], logger.propagate) for logger in loggers]
    try:
        yield
    finally:
        for logger, handlers, propagate in before:
            logger.handlers, logger.propagate = handlers, propagate
        logging.captureWarnings(False)


def _preview(prepared: Plan) -> Preview:
    import pandas as pd

    rows = [{"arm": a.name, "cell": a.cell, "block": a.block, "seed": a.seed} for a in prepared.arms]
    lines = [("run", prepared.run.name), *describe(prepared), ("results", prepared.run.root)]
    width = max(len(key) for key, _ in lines)
    return Preview(
        name=prepared.run.name,
        arms=pd.DataFrame(rows, columns=["arm", "cell", "block", "seed"]),
        seconds=prepared.arm_seconds,
        space=prepared.space.resolved(),
        text="\n".join(f"{key:<{width}}  {text}" for key, text in lines),
    )
