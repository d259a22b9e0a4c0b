"""Adam over stacked weights: torch's fused kernel, and moments that follow a shrinking pack."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from vae_ablation.stacked import chosen


class StackedAdam:
    """Adam (Kingma and Ba 2015) on stacked weights, [runs, ...] each.

    Adam is elementwise, so runs do not touch one another. This calls the kernel of
    `torch.optim.Adam(fused=True)` itself: that class imports torch's compiler on its first step,
    three seconds in every job, and sorts its tensors anew in each.

    Attributes:
        rates: step size of each run, [runs].
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

        Gradients are made contiguous, since the fused kernel reads memory in the weights' own
        layout.
        """
        first, last, _ = runs.indices(len(self.rates))
        for rate, part in _equal_rates(self.rates[first:last]):
            whole = slice(first + part.start, first + part.stop)
            self._update(_rows(gradients, part), whole, rate)

    def _update(self, gradients: list[Tensor], runs: slice, rate: float) -> None:
        """The next step of runs with one step size: one call of the kernel."""
        steps = self.steps + 1
        torch._fused_adam_(
            _rows(self.leaves, runs),
            [gradient.contiguous() for gradient in gradients],
            _rows(self.means, runs),
            _rows(self.squares, runs),
            [],
            [steps] * len(self.leaves),
            lr=rate,
            beta1=0.9,
            beta2=0.999,
            weight_decay=0.0,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )

    def healthy(self) -> Tensor:
        """[runs] false where a second moment is not finite: Adam then takes no step ever again."""
        finite = [square.isfinite().flatten(1).all(1) for square in self.squares]
        return torch.stack(finite).all(0)

    def select(self, leaves: Sequence[Tensor], keep: Sequence[int]) -> StackedAdam:
        """The same optimiser for the runs at these positions, whose weights are `leaves`."""
        other = StackedAdam(leaves, [self.rates[position] for position in keep])
        other.means, other.squares = chosen(self.means, keep), chosen(self.squares, keep)
        other.steps = self.steps
        return other


def _rows(leaves: Sequence[Tensor], runs: slice) -> list[Tensor]:
    """Some runs' part of each leaf."""
    every = all(runs == slice(0, len(leaf)) for leaf in leaves[:1])
    return list(leaves) if every else [leaf[runs] for leaf in leaves]


def _equal_rates(rates: Sequence[float]) -> Iterator[tuple[float, slice]]:
    """Neighbouring runs of one step size, as slices."""
    start = 0
    for rate, members in itertools.groupby(rates):
        stop = start + len(list(members))
        yield rate, slice(start, stop)
        start = stop
