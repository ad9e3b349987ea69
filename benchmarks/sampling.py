"""Images a second: our sampler against diffusers' DDIM loop, for the paper's student and for the digits student.

    python benchmarks/sampling.py [--images 16] [--steps 2] [--rounds 5] [--threads 1] [--device cpu]

Both sample with guidance, so two passes a step. `diffusers` is its scheduler in the loop of its documentation, on the
same net, labels and noise: it has no pipeline that samples a class-conditional UNet2DModel with guidance, so the two
lines that mix the branches are added to it. A few sampler steps represent fifty: each costs the same.
`bf16` is the same net under autocast, `together` a vectorized pass for all students.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from _common import in_turn, median, range_text, show

NETS: dict[str, Any] = {
    "paper's student": ({"channels": (64, 128, 128, 128), "attention_at": (16,), "norm_groups": 32}, (3, 32, 32)),
    "digits student": ({"channels": (8, 12), "attention_at": (4,), "norm_groups": 4}, (1, 8, 8)),
}
TOGETHER = 4


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--images", type=int, default=16, help="of the paper's student; sixteen times as many digits")
    parser.add_argument("--steps", type=int, default=2, help="of the sampler")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds of each way; one more comes before")
    parser.add_argument("--threads", type=int, default=1, help="as a trial has them; more that wait count in full")
    parser.add_argument("--device", default="cpu", help="cpu or cuda:0")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    for name, (settings, shape) in NETS.items():
        images = options.images * (16 if shape[1] == 8 else 1)
        ways = samplers(settings, shape, images, options.steps, options.device)
        seconds = in_turn(ways, options.rounds, options.device)
        plain = median(seconds["diffusers"])
        for sampler_name, times in seconds.items():
            count = images * (TOGETHER if sampler_name.startswith(str(TOGETHER)) else 1)
            scale = options.steps / 50  # to the fifty steps of the paper
            rate, ratio = count / median(times) * scale, count / images * plain / median(times)
            rows.append((name, sampler_name, str(len(times)), f"{rate:.1f}", range_text(times), f"{ratio:.2f}"))
    show(
        f"Images a second at 50 guided DDIM steps, {options.device}, threads: {options.threads}",
        ("net", "way", "n", "images/s", "spread of s", "times diffusers"),
        rows,
    )


def samplers(settings: Any, shape: Any, images: int, steps: int, device: str) -> dict[str, Callable[[], object]]:
    import torch
    from diffusers import DDIMScheduler

    from branchwise.trainables.dash.diffusion import guidance, sampling, schedule
    from branchwise.trainables.dash.diffusion.samplers import ddim
    from branchwise.trainables.dash.nets import unet
    from branchwise.trainables.dash.settings.spec import UNet

    nets: list[Any] = [unet.build(UNet(**settings), shape, 10, seed).to(device).eval() for seed in range(TOGETHER)]
    alphas_cumprod, scales = schedule.cosine_alphas_cumprod(device), guidance.scales(4.0, device)
    noise, labels = torch.randn(images, *shape, device=device), torch.arange(images, device=device) % 10
    null = torch.full_like(labels, 10)
    abar = schedule.cosine_alphas_cumprod().double()
    betas = 1 - abar / torch.cat([torch.ones(1, dtype=torch.float64), abar[:-1]])

    def fused_sample(precision: str = "fp32") -> torch.Tensor:
        return ddim.sample(sampling.guided(nets[0], labels, 10, scales, precision), noise, alphas_cumprod, steps)

    @torch.no_grad()
    def diffusers() -> torch.Tensor:
        scheduler = DDIMScheduler(trained_betas=betas.float().numpy(), timestep_spacing="leading")
        scheduler.set_timesteps(steps, device=device)
        x = noise
        for t in scheduler.timesteps:
            cond, uncond = nets[0](x, t, labels).sample, nets[0](x, t, null).sample
            x = scheduler.step(uncond + 4.0 * (cond - uncond), t, x).prev_sample
        return x

    parameters, buffers = torch.func.stack_module_state(nets)

    def together() -> torch.Tensor:
        paired = torch.cat([labels, null])

        def single_step(weights: Any, setting: Any, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            inputs = (torch.cat([x, x]), t, paired)
            both: torch.Tensor = torch.func.functional_call(
                nets[0], (weights, setting), inputs, {"return_dict": False}
            )[0]
            return both

        def denoise(x: torch.Tensor, t: int) -> torch.Tensor:
            times = torch.full((2 * images,), t, device=device)
            both = torch.vmap(single_step, in_dims=(0, 0, 0, None))(parameters, buffers, x, times)
            cond, uncond = both.chunk(2, dim=1)
            return guidance.mix(cond, uncond, 4.0)

        return ddim.sample(denoise, noise.expand(TOGETHER, *noise.shape), alphas_cumprod, steps)

    return {
        "diffusers": diffusers,
        "ours": fused_sample,
        "ours, bf16": lambda: fused_sample("bf16"),
        f"{TOGETHER} together": together,
    }


if __name__ == "__main__":
    main()
