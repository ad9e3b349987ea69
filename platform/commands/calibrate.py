"""Benchmark the training steps of a space on this machine; plans use the measured rates."""

from __future__ import annotations

import multiprocessing
import statistics
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from branchwise.analysis.console import single_line
from branchwise.orchestration.checkout import ROOT
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.input.parser import Parser
from branchwise.orchestration.planning.gpus import name_in_table
from branchwise.orchestration.planning.machine import gpu_names, machine
from branchwise.orchestration.planning.rates import add_rates, processor
from branchwise.orchestration.space import load_space
from branchwise.trainables import load_trainable

SECONDS = 100.0  # of measuring; imports come on top
IDENTITY = ("kind", "net", "rows", "precision", "mode", "threads")


def main(arguments: list[str], program: str) -> int:
    """Return the exit code: 0 the rates are stored, 2 bad input."""
    try:
        options = parser(program).parse_args(arguments)
        space = load_space(options.space, options.set)
        names = gpu_names()
        on_gpu = space.resources.gpus_per_trial > 0 and bool(names) and not options.cpu
        device = (name_in_table(names[0]) or names[0]) if on_gpu else processor()
        # A CPU is as fast as its cores are when all trials run: they share memory, and often one core's units.
        together = 1 if on_gpu else max(1, machine().fit(space.resources.cpus_per_trial))
        threads = space.resources.cpus_per_trial
        print(f"Measuring {device}, {together} at a time with {threads} threads each, about {options.seconds:g} s")
        spec = space.spec.model_dump(mode="json")
        work = (space.trainable, spec, "cuda:0" if on_gpu else "cpu", threads, options.seconds)
        with ProcessPoolExecutor(together, mp_context=multiprocessing.get_context("spawn")) as pool:
            measurements = [task.result() for task in [pool.submit(measure_in_process, *work) for _ in range(together)]]
        rates = average_rates(measurements)
        if not rates:
            raise UserError(f"{options.space}: trainable: {space.trainable} has no measure_rates")
    except (UserError, ValueError) as error:
        print(f"{program}: {single_line(error)}", file=sys.stderr)
        return 2
    description = {"torch": version("torch"), "measured": datetime.now(UTC).isoformat(timespec="seconds")}
    file = add_rates(device, rates, description)
    for rate in rates:
        identity = [str(rate[name]) for name in IDENTITY if name in rate]
        memory = f"  {rate['working'] / 1e9:.2f} GB" if rate.get("working") else ""  # of a GPU
        print(f"{rate['seconds'] * 1e3:10.2f} ms  {', '.join(identity)}{memory}")
    print(f"{file}: plans of this device use these rates now; delete it to forget them")
    return 0


def measure_in_process(trainable: str, spec: Mapping[str, Any], device: str, threads: int, seconds: float) -> list[Any]:
    """Return the trainable's rates; runs in a worker process."""
    module = load_trainable(trainable)
    return list(module.measure_rates(module.Spec.model_validate(spec), device, threads, seconds))


def average_rates(rates: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Return the mean over the processes of each rate that all of them measured."""
    count = min(len(item) for item in rates)
    return [
        {**rates[0][number], "seconds": statistics.mean(entry[number]["seconds"] for entry in rates)}
        for number in range(count)
    ]


def parser(program: str) -> Parser:
    parser = Parser(prog=program, description=__doc__)
    option = parser.add_argument
    option("--space", metavar="FILE", type=Path, default=ROOT / "search_spaces/ablation.yaml")
    option("--cpu", action="store_true", help="measure the CPU although the space asks for GPUs")
    option(
        "--seconds",
        metavar="S",
        type=float,
        default=SECONDS,
        help=f"approximate duration in seconds (default: {SECONDS:g})",
    )
    option("--set", metavar="KEY=VALUE", action="append", default=[], help="override a value of the space; repeatable")
    return parser
