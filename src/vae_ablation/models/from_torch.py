"""Distributions of `torch.distributions` as decoder distributions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from vae_ablation.models.distributions import Expansion, expanded


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

    @property
    def _own(self) -> dict[str, Tensor]:
        """Arguments that the distribution was made of, by name."""
        known = vars(self.distribution)
        return {name: known[name] for name in self.distribution.arg_constraints if name in known}

    @property
    def _large(self) -> list[str]:
        """Names of the arguments that are as large as the mean, so that z may set them."""
        return [name for name, value in self._own.items() if value.shape == self.mean.shape]

    def parameters(self) -> tuple[Tensor, ...]:
        """Tensors that z may set, [..., dims] each."""
        return tuple(self._own[name] for name in self._large)

    def expansion(self, x: Tensor) -> tuple[Expansion, ...]:
        """Expansion of log p(x) in each of `parameters`, by differentiation; see `expansion_of`."""

        def total(name: str, value: Tensor) -> Tensor:
            make: Callable[..., torch.distributions.Distribution] = type(self.distribution)
            found: Tensor = make(**{**self._own, name: value}, validate_args=False).log_prob(x)
            return found.sum()

        return tuple(expanded(partial(total, name), self._own[name]) for name in self._large)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """One draw of x, [..., dims], from a stream that the generator begins."""
        with torch.random.fork_rng(devices=[]):
            if generator is not None:
                torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
            draw: Tensor = self.distribution.sample()
        return draw
