"""Running ablations and searches from Python, on the same path as the command line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from branchwise.api.errors import InputError, input_errors
from branchwise.api.execution import check_source, execute, run_space
from branchwise.api.hyperparameters import hyperparameter_trees
from branchwise.api.previews import Preview, preview
from branchwise.api.spaces import Function, ablation_space, build_space, locate, resources
from branchwise.api.study import Study
from branchwise.orchestration.input.command_line import open_storage
from branchwise.orchestration.planning.follow_up import follow_up_space
from branchwise.orchestration.planning.plan import plan_new, plan_resumed
from branchwise.run_files.layout import RESULTS


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
    across: Mapping[str, Any] | None = None,
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

    Each combination of components runs on each of `seeds` shared seeds. A second call with the same `name`, code
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
        claims: Statements to be tested, such as `"ema.effect > 0"`. They are sealed before the first arm runs.
        alpha: Error that all tests share, sealed with the claims; intervals are at 1 - alpha.
        across: Data sets that the ablation is repeated on, on `seeds` seeds each: the values of one setting,
            `{"dataset": ["a", "b"]}`, or the settings of each by its name, `{"dataset": {"a": {"path": "a.csv"}}}`.
            Claims are tested on each of them, as a single family.
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
        address: A Ray cluster to join, as in `ray.init`. A Ray that is initialized in this process is used and
            keeps running; otherwise a local one is started and stopped.
        progress: Whether to print progress.

    Returns:
        The finished run. Arms that failed are rows of `study.arms`, and a warning counts them.

    Raises:
        InputError: An argument is not allowed, or `name` is taken by a run with other code or settings.
        RunError: The run could not be finished.
        KeyboardInterrupt: Interrupted; finished arms are stored and the same call resumes.
    """
    with input_errors():
        space = ablation_space(
            function,
            caller="branchwise.ablate",
            name=name,
            metric=metric,
            direction=direction,
            settings=settings,
            outcomes=outcomes,
            scale=scale,
            value_range=value_range,
            components=components,
            seeds=seeds,
            first_seed=first_seed,
            claims=claims,
            design=design,
            alpha=alpha,
            across=across,
            resources=resources(cpus, gpus, max_concurrent),
        )
        return run_space(space, name, str(storage), address, progress)


def search(
    function: Function,
    *,
    hyperparameters: Mapping[str, Any],
    metric: str,
    direction: str,
    arms: int = 20,
    search_seeds: int = 1,
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
    """Search settings with Optuna, and compare the best with the function's on fresh seeds.

    Args:
        function: As for `ablate`.
        hyperparameters: Distributions by setting: `bw.loguniform(1e-4, 0.1)`, or Optuna's or Ray Tune's.
        metric: Key of the returned dict that counts.
        direction: "maximize" or "minimize".
        arms: Number of configurations to try.
        search_seeds: Seeds of each configuration, with the mean over them optimized. From 3 on, a paired race stops
            configurations that are behind the best.
        seeds: Fresh seeds on which the best configuration is compared with the function's settings.
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
        The finished run; `study.arms` has each configuration with its value.

    Raises:
        InputError: An argument is not allowed.
        RunError: The run could not be finished.
    """
    design = {
        "kind": "search",
        "arms": arms,
        "seeds": search_seeds,
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
            resources=resources(cpus, gpus, max_concurrent),
        )
        return run_space(space, name, str(storage), address, progress)


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
    across: Mapping[str, Any] | None = None,
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
    """Return what `ablate` with the same arguments would run. Starts no run and writes no file.

    Raises:
        InputError: An argument is not allowed.
    """
    with input_errors():
        space = ablation_space(
            function,
            caller="branchwise.plan",
            name=name,
            metric=metric,
            direction=direction,
            settings=settings,
            outcomes=outcomes,
            scale=scale,
            value_range=value_range,
            components=components,
            seeds=seeds,
            first_seed=first_seed,
            claims=claims,
            design=design,
            alpha=alpha,
            across=across,
            resources=resources(cpus, gpus, max_concurrent),
        )
        with open_storage(str(storage)) as storage_handle:
            return preview(plan_new(space, storage_handle, name))


def resume(
    name: str,
    function: Function | None = None,
    *,
    storage: str | Path = RESULTS,
    address: str | None = None,
    progress: bool = True,
    trust: bool = False,
) -> Study:
    """Resume a run by its name; finished arms are reused.

    Args:
        name: Name of the run.
        function: The run's function, where a Python session defined it; it must be the same code.
        storage: Folder of runs.
        address: As for `ablate`.
        progress: As for `ablate`.
        trust: Run the command or module of a run that this user did not start, as its folder names it.

    Raises:
        InputError: The run does not exist, its function is another, or this user did not start it.
        RunError: The run could not be finished.
    """
    with input_errors():
        source = locate(function)[2] if function is not None else ""
        with open_storage(str(storage)) as storage_handle:
            resumed = plan_resumed(storage_handle, name, trust)
            check_source(resumed, source, name)
            return execute(resumed, address, progress)


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
    """Run the full factorial of what a screening left, on fresh seeds: the confirming stage.

    Args:
        name: Name of the finished screening (`ablate(..., design="screening")`).
        survivors: Components to follow up, five at most; by default those with a significant main effect.
        others: How the other components are held: "full" or "off".
        seeds: Number of fresh seeds; by default as many as the screening had, five at least.
        claims: Statements to be tested, sealed before the first arm runs.
        storage: Folder of runs.
        address: As for `ablate`.
        progress: As for `ablate`.

    Returns:
        The finished run, called like the screening with `-follow-up` behind it.

    Raises:
        InputError: The screening does not exist, is not finished, or has no survivors.
        RunError: The run could not be finished.
    """
    if others not in ("full", "off"):
        raise InputError(f"others: {others!r} is not allowed; it must be 'full' or 'off'")
    if isinstance(survivors, str) or isinstance(claims, str):
        raise InputError("survivors and claims: must be lists of texts")
    overrides = [f"design.claims={json.dumps(list(claims))}"] if claims else []
    overrides += [f"design.blocks={seeds}"] if seeds is not None else []
    with input_errors():
        with open_storage(str(storage)) as storage_handle:
            space = follow_up_space(storage_handle, name, survivors, "off" if others == "off" else "full", overrides)
        return run_space(space, None, str(storage), address, progress)
