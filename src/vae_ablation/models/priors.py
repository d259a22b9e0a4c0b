"""Priors p(z), and their registry.

Imports no torch: the workflow reads the registry on every cluster job.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from vae_ablation.common.registry import Options, Registry, register

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from vae_ablation.data.base import Observed
    from vae_ablation.models.posteriors import Posterior

LOG_2PI = math.log(2 * math.pi)
REGION_DRAWS = 10_000


PRIORS: Registry[type[Prior]] = Registry("prior", lambda cls: cls)


class Prior(ABC):
    """p(z) of one model. A registered subclass and a test is all that a new prior needs.

    Attributes:
        name: what the config calls it.
        options: settings that it reads, in the config's model section.
        span: ends of the range of each dimension that a traversal covers.
    """

    registry: ClassVar[Registry[type[Prior]]] = PRIORS
    name: ClassVar[str]
    options: ClassVar[Options] = ()
    span: tuple[float, float] = (-3.0, 3.0)

    def __init__(
        self,
        latent_dim: int,
        settings: Mapping[str, Any],
        learned: Mapping[str, Tensor],
        encode: Callable[[Tensor], Posterior],
    ) -> None:
        """A prior with its learned parameters.

        Args:
            latent_dim: dimensions of z.
            settings: the config's model section.
            learned: its parameters, as `initial` names them.
            encode: the model's encoder, for a prior that is made of posteriors.
        """
        self.latent_dim = latent_dim
        self.settings = settings
        self.learned = learned
        self.encode = encode

    @classmethod
    def initial(
        cls, observed: Observed, latent_dim: int, settings: Mapping[str, Any]
    ) -> dict[str, Tensor]:
        """Initial values of the learned parameters; the optimiser trains them with the networks."""
        return {}

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """Log p(z) of z [..., latent]: [...], nats."""

    def log_prob_per_dim(self, z: Tensor) -> Tensor | None:
        """Log p(z_j) of each dimension, [..., latent], where these are independent; or None."""
        return None

    def expansion(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Slope of log p(z), [..., latent], and curvature −∂² with its negative part cut off.

        Args:
            z: [..., latent].

        Returns:
            slope, and curvature [..., latent, latent].
        """
        import torch
        from torch.func import grad, hessian, vmap

        flat = z.reshape(-1, z.shape[-1])
        curvature = torch.nan_to_num(-vmap(hessian(self.log_prob))(flat))
        values, vectors = torch.linalg.eigh(0.5 * (curvature + curvature.mT))
        positive = (vectors * values.clamp(min=0).unsqueeze(-2)) @ vectors.mT
        slope = torch.nan_to_num(vmap(grad(self.log_prob))(flat))
        return slope.reshape(z.shape), positive.reshape(*z.shape, z.shape[-1])

    @abstractmethod
    def at(self, noise: Tensor, generator: torch.Generator) -> Tensor:
        """Draws z ~ p(z) from standard normals of the same shape, [..., latent].

        Args:
            noise: standard normals.
            generator: stream of anything else that is drawn; the standard normal draws nothing.
        """

    def sample(
        self, generator: torch.Generator, *shape: int, dtype: torch.dtype | None = None
    ) -> Tensor:
        """Draws z ~ p(z), [*shape, latent]."""
        import torch

        noise = torch.randn(*shape, self.latent_dim, generator=generator, dtype=dtype)
        device = next((value.device for value in self.learned.values()), noise.device)
        return self.at(noise.to(device), generator)

    def kl_per_dim(self, posterior: Posterior) -> Tensor | None:
        """KL(q(z | x) ‖ p(z)) per dimension, [..., latent], nats; None without a closed form."""
        return None

    def kl(self, posterior: Posterior) -> Tensor | None:
        """KL(q(z | x) ‖ p(z)), [...], nats; None without a closed form."""
        per_dim = self.kl_per_dim(posterior)
        return None if per_dim is None else per_dim.sum(-1)

    def log_ratio(self, posterior: Posterior, noise: Tensor) -> Tensor:
        """Log q(z | x) − log p(z) at z = μ + σ·noise for noise [..., draws, latent]: [..., draws].

        Its mean over draws is a Monte-Carlo estimate of the KL.
        """
        from vae_ablation.models.posteriors import Posterior

        z = posterior.at(noise)
        each = Posterior(posterior.mean.unsqueeze(-2), posterior.log_std.unsqueeze(-2))
        return each.log_prob(z) - self.log_prob(z)

    def rate(self, posterior: Posterior, noise: Tensor) -> Tensor:
        """The KL in closed form, or else its estimate from draws: [...], nats."""
        closed = self.kl(posterior)
        return self.log_ratio(posterior, noise).mean(-1) if closed is None else closed

    def quantile(self, shares: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """Quantiles of each dimension, [shares, latent]; None where they are not known."""
        return None

    @property
    def standard(self) -> bool:
        """Whether it is N(0, I), of which regions are known without drawing."""
        return False

    def regions(self, shares: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Levels of log p(z) above which these shares of the prior lie, and draws, [n, latent].

        Estimated from draws of one fixed stream: regions of highest density.
        """
        import numpy as np
        import torch

        with torch.no_grad():
            z = self.sample(torch.Generator().manual_seed(0), REGION_DRAWS)
            heights = self.log_prob(z).double().cpu().numpy()
        levels: NDArray[np.float64] = np.quantile(heights, [1 - share for share in shares])
        return levels, z.double().cpu().numpy()


@register
class StandardNormal(Prior):
    """N(0, I)."""

    name = "standard_normal"

    @classmethod
    def of(cls, latent_dim: int) -> StandardNormal:
        """It has no settings, learns nothing, and reads no posterior."""

        def encode(x: Tensor) -> Posterior:
            raise NotImplementedError

        return cls(latent_dim, {}, {}, encode)

    def log_prob(self, z: Tensor) -> Tensor:
        """See Prior."""
        return -0.5 * z.square().sum(-1) - 0.5 * z.shape[-1] * LOG_2PI

    def log_prob_per_dim(self, z: Tensor) -> Tensor:
        """See Prior."""
        return -0.5 * (z.square() + LOG_2PI)

    def expansion(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """−z and the identity."""
        import torch

        identity = torch.eye(z.shape[-1], dtype=z.dtype, device=z.device)
        return -z, identity.expand(*z.shape, z.shape[-1])

    def at(self, noise: Tensor, generator: torch.Generator) -> Tensor:
        """The noise itself."""
        return noise

    def kl_per_dim(self, posterior: Posterior) -> Tensor:
        """½(μ² + σ² − 1) − log σ (Kingma and Welling 2014, appendix B)."""
        square, log_std = posterior.mean.square(), posterior.log_std
        return 0.5 * (square + (2 * log_std).exp() - 1) - log_std

    def log_ratio(self, posterior: Posterior, noise: Tensor) -> Tensor:
        """See Prior; the normalising constants cancel."""
        z = posterior.at(noise)
        squares = 0.5 * (z.square() - noise.square())
        return (squares - posterior.log_std.unsqueeze(-2)).sum(-1)

    @property
    def standard(self) -> bool:
        """It is N(0, I)."""
        return True

    def quantile(self, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """See Prior."""
        import numpy as np
        from scipy.stats import norm

        return np.repeat(norm.ppf(shares)[:, None], self.latent_dim, axis=1)


def log_probs(priors: Sequence[Prior], z: Tensor) -> Tensor:
    """Log p(z) of z [runs, ..., latent] under the prior of each run: [runs, ...], nats."""
    import torch

    return torch.stack([prior.log_prob(own) for prior, own in zip(priors, z, strict=True)])


def draws_from(
    priors: Sequence[Prior], noise: Tensor, generators: Sequence[torch.Generator]
) -> Tensor:
    """Draws from the prior of each run, [runs, ..., latent], from standard normals."""
    import torch

    each = zip(priors, noise, generators, strict=True)
    return torch.stack([prior.at(own, generator) for prior, own, generator in each])


DEFAULT_PRIOR = StandardNormal.name
