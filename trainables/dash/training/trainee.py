"""A network in training, with its state for checkpoints."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from branchwise.trainables.contract import Context
from branchwise.trainables.dash.compute.parallel import average_, distributed
from branchwise.trainables.dash.data.batches import Batch
from branchwise.trainables.dash.diffusion import curriculum
from branchwise.trainables.dash.nets import pruning
from branchwise.trainables.dash.settings.spec import Method, Optimization, Teacher
from branchwise.trainables.dash.training import optimization
from branchwise.trainables.dash.training.objectives import Losses

COLUMNS = ("loss", "loss_imitation", "loss_uncond", "loss_anchor", "grad_norm")


class Trainee:
    """A network, its moving average, curriculum, optimizer, and the curve of its losses so far."""

    def __init__(
        self,
        net: nn.Module,
        settings: Optimization,
        weighting: Method | Teacher,
        teacher_importance: Tensor | None,
        alphas_cumprod: Tensor,
        context: Context,
        masks: list[Tensor] | None = None,
        adapter: nn.Module | None = None,
    ) -> None:
        """Prepare `net` for training.

        `masks` are of a pruned net's parameters; `adapter` is trained along with the net and not averaged.
        """
        self.net = net.to(alphas_cumprod.device).train()
        self.model = distributed(self.net, context)
        self.settings = settings
        self.parameters: list[Tensor] = list(self.net.parameters())
        self.average = [p.detach().clone() for p in self.parameters]
        self.importance = curriculum.initial_importance(weighting.curriculum, teacher_importance, alphas_cumprod.device)
        self.masks = masks
        self.adapter = None if adapter is None else adapter.to(alphas_cumprod.device)
        self._adapter_parameters: list[Tensor] = [] if adapter is None else list(adapter.parameters())
        if self.importance.requires_grad:
            self._adapter_parameters.append(self.importance)
        self.optimizer = optimization.adamw(self.parameters + self._adapter_parameters, settings)
        self.curve: list[dict[str, float]] = []
        self.budgets: list[dict[str, float | None]] = []  # measurements during training, a row for each step
        self.seconds = 0.0  # of training, this learner's share of the cohort's time
        self._weighting = weighting
        self.alphas_cumprod = alphas_cumprod
        self.context = context
        self._frozen_table = None if self.importance.requires_grad else self._importance_table()
        self.sums = torch.zeros(len(COLUMNS), device=alphas_cumprod.device)  # since the last logged step
        self._summed = 0

    def weights(self, batch: Batch) -> Tensor:
        """w_t of this rank's samples, shape (b,), normalized over the global batch.

        They include the rank's share of the batch, so that the mean over ranks of mean(w * error) is the global mean.
        """
        table = self._importance_table() if self._frozen_table is None else self._frozen_table
        return curriculum.batch_weights(table, batch.all_timesteps)[batch.here] * batch.share

    def learn(self, losses: Losses, step: int) -> None:
        """Back-propagates and takes optimizer step `step` (from 0). No host synchronisation."""
        losses.total.backward()
        for parameter in self._adapter_parameters:
            if parameter.grad is not None:
                average_(parameter.grad, self.context)
        if self.masks is not None:  # of weights that stay zero: they must not count in the norm that is clipped
            pruning.apply_to_gradients(self.parameters, self.masks)
        rate = optimization.learning_rate(step, self.settings)
        norm = optimization.update(self.optimizer, self.parameters, self.average, rate, self.settings)
        if self.masks is not None:
            pruning.apply(self.parameters, self.masks)
            pruning.apply(self.average, self.masks)
        off = torch.full_like(norm, math.nan)
        terms = (losses.total, losses.imitation, losses.uncond, losses.anchor, norm)
        self.sums += torch.stack([off if term is None else term.detach() for term in terms])
        self._summed += 1

    def log(self, step: int) -> bool:
        """Add the means since the last logged step to the curve; return False once not finite.

        A mean is NaN where a term is off.
        """
        means = average_(self.sums / self._summed, self.context).tolist()
        self.sums.zero_()
        self._summed = 0
        row = dict(zip(COLUMNS, means, strict=True))
        self.curve.append({"step": step + 1, **row, "lr": optimization.learning_rate(step, self.settings)})
        return math.isfinite(row["loss"]) and math.isfinite(row["grad_norm"])

    def finish(self) -> nn.Module:
        """The network with the averaged weights, for evaluation. Training cannot go on afterwards."""
        with torch.no_grad():
            torch._foreach_copy_(self.parameters, self.average)
        return self.net.eval()

    @contextmanager
    def averaged(self) -> Iterator[nn.Module]:
        """Yield the network with the averaged weights, in the midst of training.

        They hold for the time of a `with` block.
        """
        trained = [p.detach().clone() for p in self.parameters]
        try:
            yield self.finish()
        finally:
            with torch.no_grad():
                torch._foreach_copy_(self.parameters, trained)
            self.net.train()

    def finite(self) -> bool:
        return all(bool(p.isfinite().all()) for p in self.parameters)

    def size(self) -> int:
        """The number of parameters, of a pruned net only the unpruned."""
        if self.masks is None:
            return sum(p.numel() for p in self.parameters)
        return sum(int(mask.sum()) for mask in self.masks)

    def state(self) -> dict[str, Any]:
        """Plain tensors and containers, from which `restore` continues bit for bit."""
        return {
            "weights": self.net.state_dict(),
            "average": self.average,
            "importance": self.importance.detach(),
            "adapter": None if self.adapter is None else self.adapter.state_dict(),
            "masks": self.masks,
            "optimizer": self.optimizer.state_dict(),
            "curve": self.curve,
            "budgets": self.budgets,
            "seconds": self.seconds,
            "sums": self.sums,
            "summed": self._summed,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.net.load_state_dict(state["weights"])
        with torch.no_grad():
            torch._foreach_copy_(self.average, [a.to(self.average[0].device) for a in state["average"]])
            self.importance.copy_(state["importance"])
        if self.adapter is not None:
            self.adapter.load_state_dict(state["adapter"])
        self.masks = state["masks"]
        if self._frozen_table is not None:
            self._frozen_table = self._importance_table()
        self.optimizer.load_state_dict(state["optimizer"])
        self.curve = list(state["curve"])
        self.budgets = list(state["budgets"])
        self.seconds = state["seconds"]
        self.sums.copy_(state["sums"])
        self._summed = state["summed"]

    def _importance_table(self) -> Tensor:
        w = self._weighting
        return curriculum.importance_table(
            w.curriculum, self.importance, self.alphas_cumprod, w.snr_weighting, w.snr_gamma
        )
