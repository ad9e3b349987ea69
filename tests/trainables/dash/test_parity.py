"""Agreement with the authors' implementation, with inputs and outputs in tests/data/reference_small.npz.

Single evaluations agree to a relative error of 1e-5, trajectories of training and sampling to 1e-4 (float32, CPU).
"""

from __future__ import annotations

import copy
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from diffusers import DDIMScheduler
from recorded_calls import RecordedCalls
from torch import Tensor, nn

from branchwise.trainables.dash.authors import golden as golden_values
from branchwise.trainables.dash.data.batches import Batch
from branchwise.trainables.dash.diffusion import curriculum, sampling, schedule
from branchwise.trainables.dash.diffusion.guidance import scales
from branchwise.trainables.dash.diffusion.samplers import ddim, ddim_consistent
from branchwise.trainables.dash.evaluation import calibration
from branchwise.trainables.dash.nets import unet
from branchwise.trainables.dash.nets.forward import forward
from branchwise.trainables.dash.settings.guidance import TagGuidance
from branchwise.trainables.dash.settings.spec import Method, Optimization, Spec, Teacher, UNet
from branchwise.trainables.dash.training import objectives
from branchwise.trainables.dash.training.trainee import Trainee

GOLDEN = golden_values.read()
ABAR = schedule.cosine_alphas_cumprod()
NULL = 10
ONE_WORKER = RecordedCalls().context(Path())


def golden(name: str) -> Tensor:
    return torch.from_numpy(GOLDEN[name])


def assert_agree(actual: Tensor | float, expected: Tensor | float, tolerance: float) -> None:
    assert relative_error(actual, expected) < tolerance


def relative_error(actual: Tensor | float, expected: Tensor | float) -> float:
    """Relative to the norm, as rounding in a sum is, not element by element."""
    actual, expected = torch.as_tensor(actual).double(), torch.as_tensor(expected).double()
    assert actual.shape == expected.shape
    return float((actual - expected).norm() / expected.norm())


def build(salt: str, net: str) -> nn.Module:
    return golden_values.build(GOLDEN, salt, net)


@pytest.fixture(scope="module")
def teacher() -> nn.Module:
    return build("teacher", "teacher")


def batch(step: int) -> Batch:
    """Step `step` of the golden trajectories."""
    images, noise, t = (golden(f"traj_{name}")[step] for name in ("x0", "noise", "t"))
    noisy = schedule.add_noise(images, noise, ABAR, t)
    return Batch(noisy, noise, golden("traj_y")[step], t, torch.ones(8), t, slice(0, 8), 1.0)


def test_golden_weights_are_stated_ones() -> None:
    for net in ("teacher", "student"):
        total = sum(
            float(value.double().abs().sum()) for value in golden_values.stated_weights(GOLDEN, net, net).values()
        )
        assert total == pytest.approx(float(GOLDEN[f"{net}_weights_checksum"][0]), rel=1e-9)


def test_schedule() -> None:
    torch.testing.assert_close(ABAR, golden("alphas_cumprod"), rtol=1e-5, atol=0)


def test_tag() -> None:
    assert_agree(scales(TagGuidance(w_min=1.0, w_max=4.0, beta=5.0)), golden("tag_curve"), 1e-5)


def test_tirt_weights() -> None:
    table = curriculum.importance_table("transfer", golden("tirt_lambda"), ABAR, "authors", 5.0)
    assert_agree(curriculum.batch_weights(table, golden("tirt_t")), golden("tirt_weights"), 1e-5)


@pytest.mark.parametrize("net", ["teacher", "student"])
def test_unet(net: str) -> None:
    model = build(net, net)
    x, t, y = (golden(f"unet_{name}") for name in "xty")
    with torch.inference_mode():
        assert_agree(model(x, t, y, return_dict=False)[0], golden(f"{net}_cond"), 1e-5)
        assert_agree(model(x, t, torch.full_like(y, NULL), return_dict=False)[0], golden(f"{net}_null"), 1e-5)


@pytest.mark.parametrize(
    ("name", "guidance"), [("ddim_tag_w4", TagGuidance()), ("ddim_fixed_w4", 4.0), ("ddim_fixed_w1", 1.0)]
)
def test_ddim_is_as_near_as_float32_allows(teacher: nn.Module, name: str, guidance: float | TagGuidance) -> None:
    """50 steps through random weights are chaotic: see docs/decisions/ddim-parity.md for the reason for this bound.

    Unrelated samples have a distance of sqrt(2); the authors' must be nearly as close as our float64 run.
    """
    denoise = sampling.guided(teacher, golden("ddim_labels"), NULL, scales(guidance))
    actual = ddim.sample(denoise, golden("ddim_noise"), ABAR, 50)
    double = copy.deepcopy(teacher).double()
    denoise = sampling.guided(double, golden("ddim_labels"), NULL, scales(guidance))
    exact = ddim.sample(denoise, golden("ddim_noise").double(), ABAR.double(), 50)
    assert relative_error(actual, golden(name)) < 2 * relative_error(actual, exact)
    assert relative_error(actual, golden(name)) < 1


@pytest.mark.parametrize("steps", [10, 25, 50])
@pytest.mark.parametrize(("sampler", "clipped"), [(ddim, False), (ddim_consistent, True)])
def test_ddim_is_diffusers_ddim(sampler: ModuleType, clipped: bool, steps: int) -> None:
    """The same update in an independent implementation, with a denoiser that does not amplify rounding."""
    scheduler: Any = DDIMScheduler(
        beta_schedule="squaredcos_cap_v2", clip_sample=True, timestep_spacing="leading", set_alpha_to_one=True
    )
    scheduler.alphas_cumprod = ABAR
    scheduler.set_timesteps(steps)

    def denoise(x: Tensor, t: int) -> Tensor:
        return torch.tanh(x + t / 1000)

    x = golden("ddim_noise")
    for t in scheduler.timesteps.tolist():
        x = scheduler.step(denoise(x, t), t, x, eta=0.0, use_clipped_model_output=clipped).prev_sample
    assert_agree(sampler.sample(denoise, golden("ddim_noise"), ABAR, steps), x, 1e-4)


def test_only_consistent_ddim_settles_under_guidance() -> None:
    """With exact noise of four classes of images: guidance does not move their means, nor must more steps."""
    images = 0.6 * torch.sign(torch.randn(4, 16, generator=torch.Generator().manual_seed(0)))
    noise = torch.randn(64, 16, generator=torch.Generator().manual_seed(1))
    own = images[torch.arange(64) % 4]

    def guided(x: Tensor, t: int, guidance: float) -> Tensor:
        abar = ABAR[t]
        variance = 0.15**2 * abar + 1 - abar
        shares = (-((x[:, None] - abar.sqrt() * images) ** 2).sum(-1) / (2 * variance)).softmax(-1)
        cond, uncond = ((1 - abar).sqrt() / variance * (x - abar.sqrt() * mean) for mean in (own, shares @ images))
        return cond + guidance * (cond - uncond)

    def distances(sampler: ModuleType, guidance: float) -> list[float]:
        def denoise(x: Tensor, t: int) -> Tensor:
            return guided(x, t, guidance)

        drawn = [sampler.sample(denoise, noise, ABAR, steps) for steps in (10, 50, 100)]
        return [float((x - own).square().mean().sqrt()) for x in drawn]

    assert distances(ddim_consistent, 1.5) == pytest.approx([0.10, 0.14, 0.15], abs=0.02)
    assert distances(ddim, 0.0) == pytest.approx(distances(ddim_consistent, 0.0), abs=0.01)
    few, more, many = distances(ddim, 1.5)
    assert few < 0.3 < 0.9 < more < many


def test_losses() -> None:
    table = curriculum.importance_table("transfer", golden("tirt_lambda"), ABAR, "authors", 5.0)
    weights = curriculum.batch_weights(table, golden("loss_t"))
    student, other = (
        {branch: golden(f"loss_in_{net}_{name}") for branch, name in (("cond", "cond"), ("uncond", "null"))}
        for net in ("student", "teacher")
    )
    match = objectives.dash(Method(), student, other, golden("loss_in_noise"), weights)
    terms = [term for term in (match.total, match.imitation, match.uncond, match.anchor) if term is not None]
    assert_agree(torch.stack(terms), golden("loss_out"), 1e-5)


@pytest.fixture(scope="module")
def distilled(teacher: nn.Module) -> SimpleNamespace:
    """The student after the six golden steps of DASH, with the losses of each step."""
    settings = Optimization(steps=6, lr=2e-4, lr_min=2e-4, weight_decay=1e-3, clip=1.0, ema=0.9995)
    method = Method(curriculum="transfer", snr_weighting="authors")
    trainee = Trainee(build("student", "student"), settings, method, golden("tirt_lambda"), ABAR, ONE_WORKER)
    for step in range(6):
        b = batch(step)
        with torch.inference_mode():
            targets = forward(teacher, ("cond", "uncond"), b, NULL, 0.0)
        outputs = forward(trainee.model, ("cond", "uncond"), b, NULL, 0.0)
        trainee.learn(objectives.dash(method, outputs, targets, b.noise, trainee.weights(b)), step)
        trainee.log(step)
    raw = outputs_at(trainee.net.eval())
    return SimpleNamespace(curve=trainee.curve, raw=raw, averaged=outputs_at(trainee.finish()))


def outputs_at(net: nn.Module) -> tuple[Tensor, Tensor]:
    """Both branches at the golden inputs."""
    x, t, y = (golden(f"unet_{name}") for name in "xty")
    with torch.inference_mode():
        return net(x, t, y, return_dict=False)[0], net(x, t, torch.full_like(y, NULL), return_dict=False)[0]


def test_distillation_losses(distilled: SimpleNamespace) -> None:
    columns = ("loss", "loss_imitation", "loss_uncond", "loss_anchor", "grad_norm")
    actual = torch.tensor([[row[column] for column in columns] for row in distilled.curve], dtype=torch.float64)
    for column in range(5):
        assert_agree(actual[:, column], golden("traj_losses")[:, column], 1e-4)


def test_distilled_student_and_its_average(distilled: SimpleNamespace) -> None:
    assert_agree(distilled.raw[0], golden("traj_student_cond_after"), 1e-4)
    assert_agree(distilled.averaged[0], golden("traj_ema_cond_after"), 1e-4)


def test_gap_metrics(distilled: SimpleNamespace, teacher: nn.Module) -> None:
    result = calibration.compare(distilled.raw, outputs_at(teacher))
    rho, cosine, gap_mse = GOLDEN["gap_metrics"]
    assert result["rho"] == pytest.approx(rho, rel=1e-4)
    assert result["cos_delta"] == pytest.approx(cosine, abs=1e-4)  # of size 1, here near 0
    assert result["gap_mse"] == pytest.approx(gap_mse, rel=1e-4)


def test_teacher_training_with_its_curriculum() -> None:
    settings = Teacher(
        channels=(64,),
        steps=6,
        lr=2e-4,
        lr_min=2e-4,
        weight_decay=0.01,
        curriculum="learned",
        snr_weighting="authors",
    )
    trainee = Trainee(build("fresh", "student"), settings, settings, None, ABAR, ONE_WORKER)
    for step in range(6):
        b = batch(step)
        eps = forward(trainee.model, ("cond",), b, NULL, 0.0)["cond"]
        trainee.learn(objectives.Losses(objectives.weighted_error(eps, b.noise, trainee.weights(b))), step)
        trainee.log(step)
    assert_agree(torch.tensor([row["loss"] for row in trainee.curve]), golden("teacher_traj_losses"), 1e-4)
    assert_agree(trainee.importance.detach(), golden("teacher_traj_lambda_after"), 1e-4)


@pytest.mark.parametrize(
    ("space", "teacher", "student"),
    [
        ("cifar10_ablation", 35_751_939, 6_082_627),
        ("cifar10_quick", 35_751_939, 6_082_627),
        ("cifar100_ablation", 35_751_939 + 90 * 512, 6_082_627 + 90 * 256),  # 90 more rows of the class embedding
        ("imagenet64_ablation", 116_451_203, 22_336_579),  # published: 116.5 M and 22.3 M
    ],
)
def test_spaces_have_papers_nets(space: str, teacher: int, student: int) -> None:
    tree = yaml.safe_load((Path(__file__).parents[3] / "search_spaces" / f"{space}.yaml").read_text())
    spec = Spec.model_validate({key: tree[key] for key in Spec.model_fields})
    for net, expected in ((spec.teacher, teacher), (spec.student, student)):
        assert isinstance(net, UNet)
        with torch.device("meta"):
            assert unet.size(unet.build(net, spec.data.image_shape, spec.data.classes, seed=0)) == expected
