"""Adam over stacked weights: torch's fused kernel, and moments that follow a shrinking pack."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.optim.adam import adam

_LINE = 16
"""Floats that the fused kernel takes at once; what is left over it computes with other roundings."""


def _whole_lines(stacked: Tensor) -> Tensor:
    """[runs, ...] itself, or zero-padded to [runs, n] so that every run fills whole lines.

    Without it the roundings of a run's last weights would depend on its place in the pack.
    """
    missing = -stacked[0].numel() % _LINE
    return pad(stacked.flatten(1), (0, missing)) if missing else stacked


class StackedAdam:
    """Adam (Kingma and Ba 2015) on leaves of shape [runs, ...].

    Adam is elementwise, so runs do not touch one another. This calls torch's functional form:
    `torch.optim.Adam` imports torch's compiler on its first step, three seconds in every job.
    """

    def __init__(self, leaves: Sequence[Tensor], learning_rate: float) -> None:
        self.leaves = list(leaves)
        self.learning_rate = learning_rate
        with torch.no_grad():
            self.means = [torch.zeros_like(_whole_lines(leaf)) for leaf in leaves]
            self.squares = [torch.zeros_like(_whole_lines(leaf)) for leaf in leaves]
        self.steps = [torch.zeros((), device=leaf.device) for leaf in leaves]

    def gradients(self, loss: Tensor) -> list[Tensor]:
        """D loss / d leaf for every leaf; zeros where the loss does not depend on it.

        Contiguous, since the fused kernel reads memory in the leaves' own layout and a gradient
        that comes out of a matrix product is often transposed.
        """
        found = torch.autograd.grad(loss, self.leaves, materialize_grads=True)
        return [gradient.contiguous() for gradient in found]

    @torch.no_grad()
    def step(self, gradients: list[Tensor]) -> None:
        """One step along these gradients."""
        padded = [_whole_lines(leaf) for leaf in self.leaves]
        adam(
            padded,
            [_whole_lines(gradient) for gradient in gradients],
            self.means,
            self.squares,
            [],
            self.steps,
            foreach=False,
            fused=True,
            has_complex=False,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=self.learning_rate,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )
        for leaf, values in zip(self.leaves, padded, strict=True):
            if values is not leaf:
                leaf.copy_(values[:, : leaf[0].numel()].view_as(leaf))

    def select(self, leaves: Sequence[Tensor], keep: Sequence[int]) -> StackedAdam:
        """The same optimiser for the runs at these positions, over their `leaves`."""
        chosen = StackedAdam(leaves, self.learning_rate)
        index = torch.tensor(keep, device=self.leaves[0].device)
        chosen.means = [mean[index] for mean in self.means]
        chosen.squares = [square[index] for square in self.squares]
        chosen.steps = self.steps
        return chosen
