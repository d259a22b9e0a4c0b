"""Adam over stacked weights: torch's fused kernel, and moments that follow a shrinking pack."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.adam import adam


class StackedAdam:
    """Adam (Kingma and Ba 2015) on the flat weights of a pack, [runs, size].

    Adam is elementwise, so runs do not touch one another. This calls torch's functional form:
    `torch.optim.Adam` imports torch's compiler on its first step, three seconds in every job.
    """

    def __init__(self, flat: Tensor, learning_rate: float) -> None:
        self.flat = flat
        self.learning_rate = learning_rate
        self.mean = torch.zeros_like(flat)
        self.square = torch.zeros_like(flat)
        self.steps = torch.zeros((), device=flat.device)

    def step(self, gradient: Tensor) -> None:
        """One step of all runs along the gradient, [runs, size]."""
        self.update(gradient, slice(None))
        self.steps += 1

    @torch.no_grad()
    def update(self, gradient: Tensor, runs: slice) -> None:
        """The next step of some runs, which is counted when all have taken it.

        The gradient is made contiguous, since the fused kernel reads memory in the weights' own
        layout.
        """
        adam(
            [self.flat[runs]],
            [gradient.contiguous()],
            [self.mean[runs]],
            [self.square[runs]],
            [],
            [self.steps.clone()],
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

    def healthy(self) -> Tensor:
        """[runs] false where a second moment is not finite: Adam then takes no step ever again."""
        return self.square.isfinite().all(1)

    def select(self, flat: Tensor, keep: Sequence[int]) -> StackedAdam:
        """The same optimiser for the runs at these positions, whose weights are `flat`."""
        chosen = StackedAdam(flat, self.learning_rate)
        index = torch.tensor(keep, device=self.flat.device)
        chosen.mean, chosen.square = self.mean[index], self.square[index]
        chosen.steps = self.steps
        return chosen
