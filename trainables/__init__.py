"""The seam between the platform and what it trains.

A *trainable* is a module. The platform lays out arms, packs them into cohorts, runs cohorts on Ray and collects the
results; what an arm is made of is the trainable's affair. A trainable module gives

    Spec                              frozen, strict pydantic model of its settings; has a section `method`
    BASELINES                         {name: patch}: students to compare with that are no cell of the ablation
    cohort_key(spec)                  a text; arms may train together where theirs are equal
    check_inputs(spec)                raises OSError or ValueError when this machine lacks a file the settings need
    estimate_cohort(specs, threads)   seconds one cohort of these arms is expected to take
    run_cohort(arms, context)         trains and evaluates the arms; calls `context.finish` once for each

and, when its students learn from a teacher (otherwise `teacher_key` returns None and the rest is never called),

    teacher_key(spec)                 content address of the teacher these settings ask for
    evaluation_key(spec)              content address of the settings its evaluation depends on
    estimate_teacher(spec, workers)   seconds training it is expected to take
    train_teacher(spec, out, context) leaves the finished teacher's files in the folder `out` (rank 0)
    evaluate_teacher(spec, folder, context)   returns {"value": ..., ...}, stored beside the teacher

Importing the module must be cheap: no torch before `run_cohort`, since `--help` and `--dry-run` import it too.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

BUILT_IN = {"dash": "trainables.dash", "surface": "trainables.surface"}


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One student to train: its name within the sweep, its block's seed, and the settings patched for it."""

    name: str
    seed: int
    spec: Any


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of one arm. `values` become columns of arms.parquet; the lists become rows of the other tables."""

    status: Literal["done", "stopped", "diverged", "failed"]
    values: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    curves: tuple[Mapping[str, Any], ...] = ()  # one a logged step
    gaps: tuple[Mapping[str, Any], ...] = ()  # one a timestep bin
    guidance: tuple[Mapping[str, Any], ...] = ()  # one a guidance scale, where several were evaluated


@dataclass(frozen=True, kw_only=True)
class Context:
    """What the platform lends a running cohort or teacher: where it runs, and how to speak to the outside.

    `save` and `load` keep one checkpoint (whole or not at all); `finish` stores one arm's result and, where there is
    one, the folder of its student. With several workers, each calls `report` and `keep`; only rank 0 calls `save` and
    `finish`.

    A search may stop arms that are behind: after each of the steps in `rungs`, the trainable measures an arm as cheaply
    as it can, lower being better, and asks `keep(arm, step, value)`. An arm that is not kept is to be finished at once
    as `stopped`, with "rung_value" and "steps" among its values. A trainable that never asks trains every arm to its
    end.
    """

    rank: int
    world_size: int
    device: str  # "cpu", "cuda:0", ...
    threads: int
    scratch: Path  # an empty local folder, removed afterwards
    teacher: Path | None  # a local folder that `train_teacher` once wrote
    report: Callable[[Mapping[str, Any]], None]  # at least {"phase", "step", "steps"}
    save: Callable[[bytes], None]
    load: Callable[[], bytes | None]
    finish: Callable[[Arm, Result, Path | None], None]
    rungs: tuple[int, ...] = ()
    keep: Callable[[Arm, int, float], bool] = lambda arm, step, value: True


def load_trainable(name: str) -> ModuleType:
    """The trainable called `name`: a built-in one, or the dotted path of a module of the user's own.

    Raises ModuleNotFoundError when there is none.
    """
    return importlib.import_module(BUILT_IN.get(name, name))
