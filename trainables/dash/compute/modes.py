"""Modes of the same computation: `exact`, reproducible bit for bit, or `fast`.

On a CPU the two are equal: its kernels are deterministic, and compiling costs more than it saves.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from branchwise.trainables.contract import Context
from branchwise.trainables.dash.compute.memory import release_memory
from branchwise.trainables.dash.settings.spec import Mode

RECOMPILES = 32  # variants of a single net: its batch sizes in training and sampling, with and without gradients


def choose(mode: Mode, device: str) -> None:
    """Set this process's switches; call it before the first work on the device."""
    if device == "cpu":
        return
    exact = mode == "exact"
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with a fixed workspace
    torch.use_deterministic_algorithms(exact)
    deterministic: Any = torch.utils.deterministic
    deterministic.fill_uninitialized_memory = False  # a help to find errors, at a cost
    torch.backends.cudnn.benchmark = not exact
    _allow_tf32(not exact)


def prepare(net: nn.Module, mode: Mode, context: Context) -> None:
    """Compile `net` in place where mode and device require it; its state's names are unchanged."""
    if compiles(mode, context):
        # CUDA graphs and the exchange of gradients between ranks do not go together.
        compile_module(net, "reduce-overhead" if context.world_size == 1 else "default")


def compile_module(net: nn.Module, how: str = "default", backend: str = "inductor") -> None:
    """Compile `net` for each shape it meets.

    More than RECOMPILES variants are an error, not a silent fallback.
    """
    import torch._dynamo

    torch._dynamo.config.recompile_limit = RECOMPILES
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    net.compile(mode=how, dynamic=False, backend=backend)


def begin_step(mode: Mode, context: Context) -> None:
    """Tell CUDA graphs that the previous step's outputs are done with, but not this step's."""
    if compiles(mode, context):
        torch.compiler.cudagraph_mark_step_begin()


def release(mode: Mode, context: Context) -> None:
    """Release the graphs and memory that the device holds for finished work."""
    if compiles(mode, context):
        torch.compiler.reset()
    release_memory()


def compiles(mode: Mode, context: Context) -> bool:
    return mode == "fast" and context.device != "cpu"


@contextmanager
def full_precision() -> Iterator[None]:
    """Measurements use plain float32, regardless of the training's precision."""
    allowed = torch.backends.cudnn.allow_tf32
    _allow_tf32(False)
    try:
        yield
    finally:
        _allow_tf32(allowed)


def _allow_tf32(allowed: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
