"""What the benchmarks share: timing in turn, a table with the circumstances, and the paper's nets without data."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]

PAPER: dict[str, Any] = {  # CIFAR-10 at the paper's size
    "data": {"name": "cifar10"},
    "teacher": {"channels": [128, 256, 256, 256], "res_blocks": 2, "attention_at": [16], "dropout": 0.1, "steps": 1},
    "student": {"channels": [64, 128, 128, 128], "res_blocks": 1, "attention_at": [16], "dropout": 0.1},
    "train": {"steps": 1_000_000, "weight_decay": 0.001, "ema": 0.9995},
    "method": {"snr_weighting": "authors"},
    "evaluate": {"samples": 10_000, "guidance": 4.0},
}


def in_turn(ways: Mapping[str, Callable[[], object]], n: int, device: str = "cpu") -> dict[str, list[float]]:
    """Seconds of `n` calls of each method, taken in turn so that load affects all equally; a warm-up call before."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(n + 1):
        for name, call in ways.items():
            spent = timed(call, device)
            if round_:
                seconds[name].append(spent)
    return seconds


def timed(call: Callable[[], object], device: str = "cpu") -> float:
    """Seconds until `call` has returned and the device has finished its work, by `clock`."""
    wait(device)
    start = clock(device)
    call()
    wait(device)
    return clock(device) - start


def clock(device: str) -> float:
    """On a CPU the processor's seconds: what other programs take meanwhile does not count. On a GPU, time passing."""
    return time.process_time() if device == "cpu" else time.perf_counter()


def wait(device: str) -> None:
    """Until the device has finished its work."""
    if device != "cpu":
        import torch

        torch.cuda.synchronize()


def median(seconds: Sequence[float]) -> float:
    return statistics.median(seconds)


def range_text(seconds: Sequence[float]) -> str:
    """The least and the greatest, as percentages of the median."""
    middle = median(seconds)
    return f"{100 * (min(seconds) / middle - 1):+.0f}% {100 * (max(seconds) / middle - 1):+.0f}%"


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *notes: str) -> None:
    """A single table, with the machine and the versions it was measured on."""
    table = Table(*columns, title=title, box=box.MARKDOWN, title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(*row)
    console = Console(width=160, highlight=False)
    console.print(table)
    for note in (*notes, machine()):
        console.print(note)


def peak_mb(pid: int) -> float:
    """Peak memory of a running process, in MB; 0 for a finished process."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # it has just exited
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def machine() -> str:
    packages = [name for name in ("torch", "diffusers", "ray") if find_spec(name)]  # a bare image has no Ray
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    cores = len(os.sched_getaffinity(0))
    return f"{_processor()}, {cores} cores{_gpu()}; Python {platform.python_version()}, {versions}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def _gpu() -> str:
    torch = sys.modules.get("torch")  # a benchmark without torch does not wait for it
    return f", {torch.cuda.get_device_name()}" if torch and torch.cuda.is_available() else ""


def start(command: str, storage: Path, settings: Mapping[str, int], *arguments: str) -> subprocess.Popen[bytes]:
    """Start a command of `branchwise` on the default space with these settings laid over it; `finish` waits for it."""
    overrides = [argument for key, value in settings.items() for argument in ("--set", f"{key}={value}")]
    space = str(ROOT / "search_spaces/ablation.yaml")
    program = [sys.executable, "-m", "branchwise.cli", command]
    options = ["--space", space, "--storage", str(storage), *arguments, *overrides]
    with (storage / "log").open("ab") as log:
        return subprocess.Popen([*program, *options], stdout=log, stderr=log)


def finish(process: subprocess.Popen[bytes], storage: Path) -> None:
    if process.wait():
        raise SystemExit((storage / "log").read_text())


def paper_setting(device: str, threads: int) -> tuple[Any, Any]:
    """A cohort's `Setting` with the paper's teacher, untrained, on random images, and the spec it belongs to."""
    import torch

    from branchwise.trainables.dash.machine.fixtures import setting
    from branchwise.trainables.dash.settings.spec import Spec

    spec = Spec.model_validate(PAPER)
    torch.set_num_threads(threads)
    return setting(spec, silent(device)), spec


def silent(device: str) -> Any:
    """A context for work that is measured and then forgotten."""
    from branchwise.trainables import Context

    return Context(
        rank=0,
        world_size=1,
        device=device,
        threads=1,
        scratch=Path(tempfile.gettempdir()),
        teacher=None,
        report=lambda progress: None,
        save=lambda content: None,
        load=lambda: None,
        finish=lambda arm, result, folder: None,
    )
