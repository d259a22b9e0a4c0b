"""Posteriors q(z | x), and the registry of their kinds.

Imports no torch: the workflow reads the registry on every cluster job.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from vae_ablation.common.registry import Options, Registry, register
from vae_ablation.models.shapes import LOG_STD_BOUND as LOG_STD_BOUND

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Posterior:
    """q(z | x) = N(mean, diag(std²)); shapes [..., latent]."""

    mean: Tensor
    log_std: Tensor

    @property
    def std(self) -> Tensor:
        """σ(x)."""
        return self.log_std.exp()

    def at(self, noise: Tensor) -> Tensor:
        """μ + σ·noise for noise [..., draws, latent]."""
        return self.mean.unsqueeze(-2) + self.std.unsqueeze(-2) * noise

    def log_prob(self, z: Tensor) -> Tensor:
        """Log q(z | x), summed over the last axis, nats."""
        standard = (z - self.mean) * (-self.log_std).exp()
        per_dim = -0.5 * standard.square() - self.log_std - 0.5 * math.log(2 * math.pi)
        return per_dim.sum(-1)


POSTERIORS: Registry[PosteriorKind] = Registry("posterior")


class PosteriorKind(ABC):
    """A kind of posterior: the meaning of the encoder's outputs, and whether z is drawn.

    Attributes:
        name: what the config calls it.
        options: settings that it reads, in the config's model section.
        deterministic: whether z is the mean: noise is masked, the KL is not finite and codes have
            no width.
    """

    registry: ClassVar[Registry[PosteriorKind]] = POSTERIORS
    name: ClassVar[str]
    options: ClassVar[Options] = ()
    deterministic: ClassVar[bool] = False

    @abstractmethod
    def outputs(self, latent_dim: int) -> int:
        """Number of outputs of the encoder's network."""

    @abstractmethod
    def posterior(self, output: Tensor, options: Mapping[str, Any]) -> Posterior:
        """q(z | x) from the network's output [..., outputs].

        Args:
            output: of the encoder's network.
            options: the config's model section.
        """


@register
class Gaussian(PosteriorKind):
    """A Gaussian whose mean and diagonal scale are learned functions of x."""

    name = "gaussian"

    def outputs(self, latent_dim: int) -> int:
        """Mean and log σ."""
        return 2 * latent_dim

    def posterior(self, output: Tensor, options: Mapping[str, Any]) -> Posterior:
        """See PosteriorKind."""
        mean, log_std = output.chunk(2, dim=-1)
        return Posterior(mean, log_std.clamp(-LOG_STD_BOUND, LOG_STD_BOUND))


@register
class Point(Gaussian):
    """A deterministic code: the Gaussian's mean, its scale ignored.

    The network is the Gaussian's, so that both share packs and initial weights.
    """

    name = "point"
    deterministic = True


@register
class Fixed(PosteriorKind):
    """A Gaussian whose mean is learned and whose scale is posterior_sigma for every x."""

    name = "fixed"
    options = ("posterior_sigma",)

    def outputs(self, latent_dim: int) -> int:
        """The mean."""
        return latent_dim

    def posterior(self, output: Tensor, options: Mapping[str, Any]) -> Posterior:
        """See PosteriorKind."""
        import torch

        log_std = math.log(float(options["posterior_sigma"]))
        return Posterior(output, torch.full_like(output, log_std))
