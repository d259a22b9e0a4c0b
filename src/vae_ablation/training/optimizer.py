"""Adam over stacked weights, whose moments follow a shrinking pack."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from vae_ablation.common.torch_private import adam_


class StackedAdam:
    """Adam (Kingma and Ba 2015) on stacked weights, [runs, ...] each.

    Adam is elementwise, so runs do not touch one another.

    Attributes:
        rates: step size of each run, [runs]; one that all share may stand alone.
    """

    def __init__(self, leaves: Sequence[Tensor], rates: Sequence[float]) -> None:
        self.leaves = list(leaves)
        self.rates = list(rates)
        self.means = [torch.zeros_like(leaf) for leaf in leaves]
        self.squares = [torch.zeros_like(leaf) for leaf in leaves]
        self.steps = torch.zeros((), device=self.leaves[0].device)

    def step(self, gradients: Sequence[Tensor]) -> None:
        """One step of all runs along the gradient by each leaf."""
        self.update(gradients, slice(None))
        self.steps += 1

    @torch.no_grad()
    def update(self, gradients: Sequence[Tensor], runs: slice) -> None:
        """The next step of some runs, which is counted when all have taken it.

        Neighbours of one rate take it in one call of the kernel, so sort runs by their rate.

        Gradients are made contiguous, since the kernel reads memory in the weights' own layout.
        """
        groups = [(rate, len(list(of))) for rate, of in itertools.groupby(self.rates[runs])]
        if len(groups) == 1:
            self._update(gradients, runs, groups[0][0])
            return
        start = runs.indices(len(self.rates))[0]
        place = 0
        for rate, count in groups:
            part = [gradient[place : place + count] for gradient in gradients]
            self._update(part, slice(start + place, start + place + count), rate)
            place += count

    def _update(self, gradients: Sequence[Tensor], runs: slice, rate: float) -> None:
        """The next step of runs with one step size: one call of the kernel."""
        adam_(
            _rows(self.leaves, runs),
            [gradient.contiguous() for gradient in gradients],
            _rows(self.means, runs),
            _rows(self.squares, runs),
            self.steps + 1,
            rate,
        )

    def all_finite(self) -> Tensor:
        """[runs] false where a second moment is not finite: Adam then takes no step ever again."""
        finite = [square.isfinite().flatten(1).all(1) for square in self.squares]
        return torch.stack(finite).all(0)

    def select(self, leaves: Sequence[Tensor], keep: Sequence[int]) -> StackedAdam:
        """The same optimiser for the runs at these positions, whose weights are `leaves`."""
        other = StackedAdam(leaves, [self.rates[position] for position in keep])
        other.means, other.squares = chosen(self.means, keep), chosen(self.squares, keep)
        other.steps = self.steps
        return other


def chosen(leaves: Sequence[Tensor], keep: Sequence[int]) -> list[Tensor]:
    """The rows of runs at these positions, detached."""
    index = torch.tensor(keep, device=leaves[0].device)
    return [leaf.detach()[index] for leaf in leaves]


def _rows(leaves: list[Tensor], runs: slice) -> list[Tensor]:
    """Some runs' part of each leaf."""
    return leaves if runs == slice(None) else [leaf[runs] for leaf in leaves]
