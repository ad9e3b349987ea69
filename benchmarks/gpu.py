"""The code of `benchmarks/gpu.sh`: the paper's nets on a GPU against the authors' step, the plan, and the peak.

    python benchmarks/gpu.py [--reference DIR] [--device cuda:0] [--batch 64] [--arms 1 4 8 15] [--seconds 540]

Steps: the authors' code (or the plain loop of `step.py`), then ours in both modes and precisions; the cost of
an arm by cohort size; then samples and their features a second. Next to the peak of reserved memory,
graphs included, is the plan's estimate. Measurements that did not fit into the seconds are omitted, and named.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _common import PAPER, median, range_text, show, timed
from step import AUTHORS, PLAIN, against_reference, plain

WAYS = (("exact", "fp32"), ("fast", "fp32"), ("exact", "bf16"), ("fast", "bf16"))
WARM_UP = 2  # calls after the first: CUDA graphs are recorded in the second and third
COLUMNS = ("what", "n", "median", "spread", "against", "target", "peak GB", "planned GB", "of peak FLOP/s")


class Table:
    """Rows as they are measured, while time remains."""

    def __init__(self, device: str, n: int, seconds: float) -> None:
        self.rows: list[tuple[str, ...]] = []
        self.skipped: list[str] = []
        self.device, self.n = device, n
        self._until = time.monotonic() + seconds

    def measure(self, name: str, call: Callable[[], object], **extra: Any) -> float | None:
        """The median seconds of some calls after three that do not count, and a row; None where the time is over."""
        if time.monotonic() > self._until:
            self.skipped.append(name)
            return None
        first = timed(call, self.device)
        for _ in range(WARM_UP):
            timed(call, self.device)
        reset_peak(self.device)
        seconds = [timed(call, self.device) for _ in range(self.n)]
        self.add(name, seconds, **extra)
        row = dict(zip(COLUMNS, self.rows[-1], strict=True))
        message_now = ", ".join(f"{key} {value}" for key, value in row.items() if value and key != "what")
        print(f"{name}: {message_now}; the first call {first:.1f} s", flush=True)
        return median(seconds)

    def add(
        self,
        name: str,
        seconds: list[float],
        *,
        against: Callable[[float], str] = lambda seconds: "",
        target: str = "",
        formatter: Callable[[float], str] = lambda seconds: f"{1e3 * seconds:.1f} ms",
        planned: float = 0.0,
        flop: float = 0.0,
        rate: float = 0.0,
    ) -> None:
        middle = median(seconds)
        peak = peak_bytes(self.device)
        row = (name, str(len(seconds)), formatter(middle), range_text(seconds), against(middle), target)
        memory = (f"{peak / 1e9:.2f}" if peak else "", f"{planned / 1e9:.2f}" if planned else "")
        self.rows.append((*row, *memory, f"{flop / middle / rate:.1%}" if flop and rate else ""))


def peak_bytes(device: str) -> float:
    import torch

    return 0.0 if device == "cpu" else float(torch.cuda.max_memory_reserved(device))


def reset_peak(device: str) -> None:
    import torch

    if device != "cpu":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def main() -> None:
    options = parse()
    import torch

    from branchwise.trainables.dash.machine import fixtures
    from branchwise.trainables.dash.settings.spec import Spec

    torch.set_num_threads(options.threads)
    spec, on = Spec.model_validate(PAPER), fixtures.context(options.device)
    table = Table(options.device, options.steps, options.seconds)
    rates = peak_rates(options.device)
    baseline = evaluation_reference(table, fixtures.setting(spec, on), spec, options)
    for mode, precision in WAYS:
        cohort(table, spec, on, 1, options.batch, mode, precision, rates, baseline, f"ours, {mode}, {precision}")
    single_seconds: float | None = None
    for count in options.arms:
        seconds = cohort(
            table, spec, on, count, options.batch, "fast", "bf16", rates, single_seconds, f"cohort of {count}, an arm"
        )
        single_seconds = single_seconds or seconds
    for mode, precision in (("exact", "fp32"), ("fast", "bf16")):
        sampling(table, spec, on, options, mode, precision, rates)
    features(table, options)
    notes = [f"Left out, the seconds were over: {', '.join(table.skipped)}"] if table.skipped else []
    if not rates:
        notes.append("planning/gpus.yaml does not list this device, so no share of its peak is told.")
    show(f"The paper's nets, batch {options.batch}, {options.device}", COLUMNS, table.rows, *notes)


def peak_rates(device: str) -> dict[str, float]:
    """Peak FLOP/s by precision, from the table of GPUs; empty for an unlisted GPU and on a CPU."""
    import torch

    if device == "cpu":
        return {}
    from branchwise.orchestration.planning.gpus import device_of, name_in_table

    name = name_in_table(torch.cuda.get_device_name(device))
    return dict(device_of(name).flops) if name else {}


def rate_for(rates: dict[str, float], mode: str, precision: str) -> float:
    name = "bf16" if precision == "bf16" else "tf32" if mode == "fast" else "fp32"
    return rates.get(name, rates.get("fp32", 0.0))


def evaluation_reference(table: Table, setting: Any, spec: Any, options: argparse.Namespace) -> float | None:
    """Seconds of the step of the reference implementation."""
    if options.reference is None:
        return table.measure(PLAIN, plain(setting, spec, options.batch))
    seconds = against_reference(options.reference.resolve(), {}, options.steps, options.batch, options.device)[AUTHORS]
    table.add(AUTHORS, seconds)
    return median(seconds)


def cohort(
    table: Table,
    spec: Any,
    on: Any,
    count: int,
    batch: int,
    mode: str,
    precision: str,
    rates: dict[str, float],
    baseline: float | None,
    name: str,
) -> float | None:
    """A cohort's step, reported per arm; its seconds per arm."""
    from branchwise.trainables.contract import Device
    from branchwise.trainables.dash.compute import modes
    from branchwise.trainables.dash.costs import memory
    from branchwise.trainables.dash.costs.counts import count as counted
    from branchwise.trainables.dash.machine import fixtures
    from branchwise.trainables.dash.training import steps

    modes.choose(mode, on.device)
    setting = fixtures.setting(spec, on)
    arms = fixtures.arms_of(spec, count, batch_size=batch, mode=mode, precision=precision)
    students, numbers = steps.begin(arms, setting), itertools.count()
    arm_seconds = dict.fromkeys(students, 0.0)
    shape, classes = spec.data.image_shape, spec.data.classes
    macs = 2 * counted(spec.teacher, shape, classes).macs + count * 6 * counted(spec.student, shape, classes).macs
    compared = "" if name.startswith("ours") else "x one alone"
    elapsed = table.measure(
        name,
        lambda: steps.take_step(students, setting, next(numbers), arm_seconds),
        against=lambda s: f"{baseline / s * count:.2f}{compared}" if baseline else "1.00",
        target="5" if (mode, precision) == ("fast", "bf16") and not compared else "2.22" if count == 8 else "",
        formatter=lambda s: f"{1e3 * s / count:.1f} ms",
        planned=memory.training_bytes([arm.spec for arm in arms], 1, Device())
        - memory.CONTEXT
        - memory.data_bytes(spec),
        flop=2.0 * macs * batch,
        rate=rate_for(rates, mode, precision),
    )
    modes.release(mode, on)
    return elapsed / count if elapsed else None


def sampling(
    table: Table, spec: Any, on: Any, options: argparse.Namespace, mode: str, precision: str, rates: dict[str, float]
) -> None:
    import torch

    from branchwise.trainables.dash.compute import modes
    from branchwise.trainables.dash.costs.counts import count as counted
    from branchwise.trainables.dash.diffusion import sampling as sampler
    from branchwise.trainables.dash.diffusion import schedule
    from branchwise.trainables.dash.diffusion.guidance import scales
    from branchwise.trainables.dash.nets import unet

    shape, classes, steps = spec.data.image_shape, spec.data.classes, options.sampler_steps
    modes.choose(mode, on.device)
    net = unet.build(spec.student, shape, classes, seed=0).to(on.device).eval()
    modes.prepare(net, mode, on)
    chosen = range(options.images)
    noise = sampler.starting_noise(0, chosen, shape, on.device)
    labels = sampler.balanced_labels(chosen, classes, on.device)
    denoise = sampler.guided(net, labels, classes, scales(4.0, on.device), precision)
    draw, alphas_cumprod = sampler.sampler("ddim"), schedule.cosine_alphas_cumprod(on.device)
    counts = counted(spec.student, shape, classes)

    @torch.inference_mode()
    def sample() -> object:
        return draw(denoise, noise, alphas_cumprod, steps)

    table.measure(
        f"{options.images} images of the student, {steps} steps, {mode}, {precision}",
        sample,
        formatter=lambda s: f"{options.images / s:.0f} images/s",
        against=lambda s: f"50,000 in {50_000 * s / options.images * 50 / steps / 60:.1f} min",
        target="4 min with features",
        planned=2 * options.images * counts.live * 4.0 + 4.0 * counts.parameters,
        flop=2.0 * counts.macs * 2 * options.images * steps,
        rate=rate_for(rates, mode, precision),
    )
    modes.release(mode, on)


def features(table: Table, options: argparse.Namespace) -> None:
    """Inception's, where torch-fidelity is here. Its weights are random: the time does not depend on them."""
    import torch

    from branchwise.trainables.dash.compute.modes import full_precision

    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError:
        table.skipped.append("features (torch-fidelity is not installed)")
        return

    class Untrained(FeatureExtractorInceptionV3):  # type: ignore[misc]
        def load_state_dict(self, *args: Any, **kwargs: Any) -> None:
            pass

    with tempfile.NamedTemporaryFile(suffix=".pth") as empty:
        torch.save({}, empty.name)
        net = Untrained("inception", ["2048", "logits_unbiased"], feature_extractor_weights_path=empty.name)
    net = net.to(options.device).eval()
    pixels = torch.randint(0, 256, (options.images, 3, 32, 32), dtype=torch.uint8, device=options.device)

    @torch.inference_mode()
    def extract() -> object:
        with full_precision():
            return net(pixels)

    name, images = f"Inception features of {options.images} images", options.images
    table.measure(name, extract, formatter=lambda s: f"{images / s:.0f} images/s")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    option = parser.add_argument
    option("--reference", metavar="DIR", type=Path, help="a checkout of the authors' repository")
    option("--device", default="cuda:0", help="cuda:0, or cpu to try the script itself")
    option("--batch", type=int, default=64)
    option("--steps", type=int, default=20, help="timed calls of each; three more come before")
    option("--arms", type=int, nargs="+", default=[1, 4, 8, 15])
    option("--images", type=int, default=1000, help="sampled at once")
    option("--sampler-steps", type=int, default=50)
    option("--threads", type=int, default=4)
    option("--seconds", type=float, default=540, help="after which nothing more is begun")
    return parser.parse_args()


if __name__ == "__main__":
    main()
