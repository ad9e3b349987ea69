"""Each named objective against its formula, on constructed outputs."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from branchwise.trainables.dash.data.batches import Batch
from branchwise.trainables.dash.nets import pruning, unet
from branchwise.trainables.dash.nets.forward import forward, with_dropped
from branchwise.trainables.dash.settings.objectives import OBJECTIVES
from branchwise.trainables.dash.settings.spec import Method, UNet
from branchwise.trainables.dash.training.objectives import LOSSES, Losses

SHAPE = (4, 1, 2, 2)
SEEDED = torch.Generator().manual_seed(0)
STUDENT, TEACHER = (
    {name: torch.randn(SHAPE, generator=SEEDED) for name in ("cond", "uncond", "dropped")} for _ in range(2)
)
NOISE = torch.randn(SHAPE, generator=SEEDED)
WEIGHTS = torch.tensor([0.5, 1.0, 1.5, 1.0])


def losses(objective: str, **settings: Any) -> Losses:
    curriculum = "learned" if objective == "scratch" else "transfer"
    method = Method.model_validate({"objective": objective, "curriculum": curriculum, **settings})
    return LOSSES[objective](method, STUDENT, TEACHER, NOISE, WEIGHTS)


def error(a: Tensor, b: Tensor) -> float:
    """The weighted error, sample by sample."""
    each = [float(w) * float((x - y).square().mean()) for w, x, y in zip(WEIGHTS, a, b, strict=True)]
    return sum(each) / len(each)


def guided(net: dict[str, Tensor], w: float) -> Tensor:
    return (1 - w) * net["uncond"] + w * net["cond"]


def test_dash_adds_its_three_terms() -> None:
    result = losses("dash", imitation_weight=1.0, uncond_weight=2.0, anchor_weight=0.1)
    im, un = error(STUDENT["cond"], TEACHER["cond"]), error(STUDENT["uncond"], TEACHER["uncond"])
    an = error(STUDENT["cond"], NOISE)
    terms = (result.imitation, result.uncond, result.anchor)
    assert [float(term) for term in terms if term is not None] == pytest.approx([im, un, an])
    assert float(result.total) == pytest.approx(im + 2 * un + 0.1 * an)


def test_dash_does_not_compute_what_is_off() -> None:
    result = losses("dash", uncond_weight=0.0, anchor_weight=0.0)
    assert result.uncond is None
    assert result.anchor is None
    assert OBJECTIVES["dash"].passes(Method(uncond_weight=0.0)) == ("cond",)
    assert OBJECTIVES["dash"].passes(Method(imitation_weight=0.0, anchor_weight=0.0)) == ("uncond",)


COND = error(STUDENT["cond"], TEACHER["cond"])
GAP = error(STUDENT["cond"] - STUDENT["uncond"], TEACHER["cond"] - TEACHER["uncond"])
MIXED = {w: error(guided(STUDENT, w), guided(TEACHER, w)) for w in (1.0, 3.0, 4.0)}


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        ("scratch", error(STUDENT["dropped"], NOISE)),
        ("pruning", error(STUDENT["dropped"], NOISE)),
        ("conditional", COND),
        ("composite", MIXED[3.0]),
        ("multi_composite", (MIXED[1.0] + MIXED[4.0]) / 2),
        ("gap_matching", COND + 0.5 * GAP),
        ("single_head", error(STUDENT["cond"], guided(TEACHER, 3.0))),
    ],
)
def test_formula(objective: str, expected: float) -> None:
    result = losses(objective, composite_guidance=3.0, multi_guidance=(1.0, 4.0), gap_weight=0.5)
    assert float(result.total) == pytest.approx(expected, rel=1e-5)


def test_fitnets_imitates_outputs_and_features() -> None:
    student, teacher = ({"dropped": torch.randn(SHAPE), "dropped features": torch.randn(4, 8, 2, 2)} for _ in range(2))
    match = LOSSES["fitnets"](Method(objective="fitnets", feature_weight=0.3), student, teacher, NOISE, WEIGHTS)
    features = error(student["dropped features"], teacher["dropped features"])
    assert float(match.total) == pytest.approx(error(student["dropped"], teacher["dropped"]) + 0.3 * features, rel=1e-5)


@pytest.fixture
def net() -> torch.nn.Module:
    return unet.build(UNet(channels=(8, 8), norm_groups=4), (1, 8, 8), 10, seed=0).eval()


def test_labels_drop_per_sample_for_both_nets(net: torch.nn.Module) -> None:
    draws = torch.tensor([0.05, 0.5, 0.09, 0.9])
    t = torch.tensor([0, 300, 600, 999])
    x = torch.randn(4, 1, 8, 8)
    batch = Batch(x, x, torch.tensor([1, 2, 3, 4]), t, draws, t, slice(0, 4), 1.0)
    with torch.inference_mode():
        mid = net.get_submodule("mid_block")
        direct = forward(net, ("dropped",), batch, 10, 0.1, mid_block=mid)
        together = with_dropped(forward(net, ("cond", "uncond"), batch, 10, 0.1, mid_block=mid), batch, 0.1)
        by_hand = net(x, t, torch.tensor([10, 2, 10, 4]), return_dict=False)[0]
    torch.testing.assert_close(direct["dropped"], by_hand)
    for name in ("dropped", "dropped features"):
        torch.testing.assert_close(together[name], direct[name], rtol=1e-5, atol=1e-6)
    assert not net.get_submodule("mid_block")._forward_hooks


def test_pruning_keeps_largest_weights(net: torch.nn.Module) -> None:
    before = copy.deepcopy(net)
    pruned, masks = pruning.prune(net, 0.25)
    total = unet.size(net)
    assert sum(int(mask.sum()) for mask in masks) == pytest.approx(0.25 * total, abs=2)
    stored = torch.cat([p.detach().abs()[m] for p, m in zip(net.parameters(), masks, strict=True) if p.ndim > 1])
    pruned_weights = torch.cat(
        [p.detach().abs()[~m] for p, m in zip(net.parameters(), masks, strict=True) if p.ndim > 1]
    )
    assert stored.min() > pruned_weights.max()
    for p, original, mask in zip(pruned.parameters(), before.parameters(), masks, strict=True):
        assert torch.equal(p, original * mask)
    with pytest.raises(ValueError, match="biases and norms"):
        pruning.prune(net, 0.001)


def test_objectives_have_requirements_and_loss() -> None:
    assert list(OBJECTIVES) == list(LOSSES)
