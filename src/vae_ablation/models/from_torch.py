"""Distributions of `torch.distributions` as decoder distributions."""

from __future__ import annotations

import torch
from torch import Tensor


class FromTorch:
    """A factorised distribution of `torch.distributions` over the data dimensions.

    Make it with `validate_args=False`: the checks branch on values, which a pack of runs cannot.

    Args:
        distribution: of batch shape [..., dims].
        mean: its mean, [..., dims], where its own is missing or branches on values.
    """

    def __init__(
        self, distribution: torch.distributions.Distribution, mean: Tensor | None = None
    ) -> None:
        self.distribution = distribution
        self._mean = mean

    @property
    def mean(self) -> Tensor:
        """E[x], [..., dims]."""
        return self.distribution.mean if self._mean is None else self._mean

    def log_prob(self, x: Tensor) -> Tensor:
        """Log p(x), summed over the last axis: [...], nats."""
        each: Tensor = self.distribution.log_prob(x)
        return each.sum(-1)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """One draw of x, [..., dims], from a stream that the generator begins."""
        with torch.random.fork_rng(devices=[]):
            if generator is not None:
                torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
            draw: Tensor = self.distribution.sample()
        return draw
