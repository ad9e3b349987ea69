"""The loss of each objective, over a batch (B, C, H, W).

The needs of an objective are in `settings/objectives.py`.

The teacher, where it is needed, always runs `cond` and `uncond` in one batch, so that an arm's numbers do not depend on
the rest of its cohort; its `dropped` outputs are composed of these.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from branchwise.trainables.dash.diffusion.guidance import mix
from branchwise.trainables.dash.nets.forward import Outputs
from branchwise.trainables.dash.settings.spec import Method


@dataclass(frozen=True)
class Losses:
    """The loss to minimize and the unscaled terms it is built from (None: off), scalar tensors."""

    total: Tensor
    imitation: Tensor | None = None
    uncond: Tensor | None = None
    anchor: Tensor | None = None


def weighted_error(prediction: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """mean_B(w * mean_CHW((prediction - target)^2)), a scalar."""
    return ((prediction - target).square().mean(dim=(1, 2, 3)) * weights).mean()


def dash(method: Method, student: Outputs, teacher: Outputs, noise: Tensor, weights: Tensor) -> Losses:
    """Return L = lam_im L_im + lam_un L_un + lam_an L_an (arXiv 2606.00798).

    A term of weight 0 is not computed.
    """
    imitation = uncond = anchor = None
    total = noise.new_zeros(())
    if method.imitation_weight:
        imitation = weighted_error(student["cond"], teacher["cond"], weights)
        total = total + method.imitation_weight * imitation
    if method.uncond_weight:
        uncond = weighted_error(student["uncond"], teacher["uncond"], weights)
        total = total + method.uncond_weight * uncond
    if method.anchor_weight:
        anchor = weighted_error(student["cond"], noise, weights)
        total = total + method.anchor_weight * anchor
    return Losses(total, imitation, uncond, anchor)


def scratch(method: Method, student: Outputs, teacher: Outputs, noise: Tensor, weights: Tensor) -> Losses:
    """The denoising loss with labels dropped per sample: the student trained without a teacher."""
    error = weighted_error(student["dropped"], noise, weights)
    return Losses(error, anchor=error)


def composite(method: Method, student: Outputs, teacher: Outputs, noise: Tensor, weights: Tensor) -> Losses:
    """Match the student's guided output to the teacher's at a single scale.

    Only the mixture is supervised.
    """
    scale = _scale_of(method)
    target = mix(teacher["cond"], teacher["uncond"], scale)
    error = weighted_error(mix(student["cond"], student["uncond"], scale), target, weights)
    return Losses(error, imitation=error)


def _scale_of(method: Method) -> float:
    assert method.composite_guidance is not None, "Method.evaluation_method fills it in"
    return method.composite_guidance


def conditional(method: Method, student: Outputs, teacher: Outputs, noise: Tensor, weights: Tensor) -> Losses:
    """Imitation of only the conditional branch, which leaves the guidance gap free."""
    error = weighted_error(student["cond"], teacher["cond"], weights)
    return Losses(error, imitation=error)


def multi_composite(method: Method, student: Outputs, teacher: Outputs, noise: Tensor, weights: Tensor) -> Losses:
    """`composite` at multiple scales, averaged. Two scales already determine both branches."""
    errors = [
        weighted_error(mix(student["cond"], student["uncond"], w), mix(teacher["cond"], teacher["uncond"], w), weights)
        for w in method.multi_guidance
    ]
    error = torch.stack(errors).mean()
    return Losses(error, imitation=error)


def gap_matching(method: Method, student: Outputs, teacher: Outputs, noise: Tensor, weights: Tensor) -> Losses:
    """L_im + gap_weight * E[w mean((D_S - D_T)^2)], D = cond - uncond: supervision of the gap."""
    imitation = weighted_error(student["cond"], teacher["cond"], weights)
    gap = weighted_error(student["cond"] - student["uncond"], teacher["cond"] - teacher["uncond"], weights)
    return Losses(imitation + method.gap_weight * gap, imitation=imitation)


def fitnets(method: Method, student: Outputs, teacher: Outputs, noise: Tensor, weights: Tensor) -> Losses:
    """Match the teacher's outputs and mid-block features (Romero et al. 2015).

    Both are at labels dropped per sample.

    The student's features come through a 1x1 adapter to the teacher's width, which is trained along and then dropped.
    """
    imitation = weighted_error(student["dropped"], teacher["dropped"], weights)
    features = weighted_error(student["dropped features"], teacher["dropped features"], weights)
    return Losses(imitation + method.feature_weight * features, imitation=imitation)


def single_head(method: Method, student: Outputs, teacher: Outputs, noise: Tensor, weights: Tensor) -> Losses:
    """Match the conditional branch to the teacher's guided output.

    Sampling then needs no guidance.
    """
    target = mix(teacher["cond"], teacher["uncond"], _scale_of(method))
    error = weighted_error(student["cond"], target, weights)
    return Losses(error, imitation=error)


Loss = Callable[[Method, Outputs, Outputs, Tensor, Tensor], Losses]  # student, teacher, noise, weights (B,)

LOSSES: dict[str, Loss] = {
    "dash": dash,
    "scratch": scratch,
    "conditional": conditional,
    "composite": composite,
    "multi_composite": multi_composite,
    "gap_matching": gap_matching,
    "fitnets": fitnets,
    "single_head": single_head,
    "pruning": scratch,  # the pruned teacher, trained on
}
