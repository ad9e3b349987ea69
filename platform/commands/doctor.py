"""Checks, before the first real run, that this machine computes what it should; GPUs first of all.

It needs torch, diffusers and pydantic. Without Ray, the sweep is reported as not possible here.
"""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from branchwise.command_io import JSON_HELP, print_document, print_error, wants_json
from branchwise.orchestration.checkout import ROOT, installed_version
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.input.parser import Parser

NEEDED = ("torch", "diffusers", "pydantic")
PACKAGES = (*NEEDED, "torchvision", "ray", "torch-fidelity")
SMOKE_SECONDS = 300


def main(arguments: list[str], program: str) -> int:
    """Return the exit code: 0 all checks passed, 2 a library is missing, 3 a check failed."""
    try:
        options = parser(program).parse_args(arguments)
        if missing := [name for name in NEEDED if not importable(name)]:
            raise UserError(f"{', '.join(missing)} cannot be imported; install what is missing")
    except UserError as error:
        print_error(program, str(error), 2, as_json=wants_json(arguments))
        return 2
    import torch

    from branchwise.trainables.dash.machine import checks

    device = "cpu" if options.cpu or not torch.cuda.is_available() else "cuda:0"
    if not options.json:
        print("\n".join(versions()), flush=True)
    results = []
    for check in (*checks.run(device), checks.checked("a sweep with gpus_per_trial: 1", lambda: smoke(device))):
        results.append({"check": check.name, "state": check.state, "detail": check.detail})
        if not options.json:
            show(check.name, check.state, check.detail)
    states = [check["state"] for check in results]
    if options.json:
        print_document({"device": device, "versions": versions(), "checks": results})
    else:
        print(", ".join(f"{states.count(state)} {state}" for state in ("passed", "failed", "not possible here")))
    return 3 if "failed" in states else 0


def show(name: str, state: str, detail: str) -> None:
    """Print a line of the table as soon as its check is done."""
    print(f"{state:<18}  {name:<40}  {detail}", flush=True)


def importable(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


def versions() -> list[str]:
    """The versions that a report of a failure must name."""
    import torch

    packages = ", ".join(f"{name} {installed_version(name) or 'none'}" for name in PACKAGES)
    lines = [f"Python {platform.python_version()}, {packages}"]
    if torch.cuda.is_available():
        nccl = ".".join(map(str, torch.cuda.nccl.version()))
        lines.append(f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}, NCCL {nccl}")
    lines.append(f"driver {driver() or 'none'}")
    return lines


def driver() -> str:
    """The version of NVIDIA's driver; empty where nvidia-smi is missing or does not answer."""
    if shutil.which("nvidia-smi") is None:
        return ""
    command = ["nvidia-smi", "--query-gpu=driver_version,name,memory.total", "--format=csv,noheader"]
    process = subprocess.run(command, capture_output=True, text=True)
    return "; ".join(process.stdout.splitlines()) if process.returncode == 0 else ""


def smoke(device: str) -> str:
    """Run the main path from space to report on a GPU.

    The shortest space, in a storage that is thrown away.
    """
    from branchwise.trainables.dash.machine.checks import NotPossibleError

    if device == "cpu":
        raise NotPossibleError("needs a GPU, and this check runs on the CPU; `make smoke` runs such a sweep on CPUs")
    if not importable("ray"):
        raise NotPossibleError("Ray is not installed")
    space = ROOT / "search_spaces/smoke.yaml"
    if not space.is_file():
        raise NotPossibleError("needs search_spaces/smoke.yaml, which only a checkout has")
    settings = ("resources.gpus_per_trial=1", "resources.workers=1", "train.precision=bf16", "train.mode=fast")
    with tempfile.TemporaryDirectory(prefix="branchwise-") as storage:
        command: Sequence[str] = [
            *(sys.executable, "-m", "branchwise.cli", "run", str(space), "--storage", storage),
            *(argument for setting in settings for argument in ("--set", setting)),
        ]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=SMOKE_SECONDS, env=dict(os.environ))
    lines = (ran.stdout + ran.stderr).strip().splitlines()
    if ran.returncode:
        raise RuntimeError(f"exit code {ran.returncode}: {lines[-1] if lines else 'nothing was printed'}")
    return next((line for line in lines if "arms done" in line), "done")


def parser(program: str) -> Parser:
    parser = Parser(prog=program, description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cpu", action="store_true", help="check the CPU although there is a GPU")
    parser.add_argument("--json", action="store_true", help=JSON_HELP)
    return parser
