"""Encoder, decoder and VAE, written once for one run; a pack is a `torch.func.vmap` of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vae_ablation.architectures import ARCHITECTURES
from vae_ablation.data.base import Observed
from vae_ablation.distributions import Distribution
from vae_ablation.likelihoods import LIKELIHOODS
from vae_ablation.streams import stream
from vae_ablation.study import Run

LOG_STD_BOUND = 10.0


@dataclass(frozen=True)
class Posterior:
    """q(z given x) = N(mean, diag(std²)); shapes [..., latent]."""

    mean: Tensor
    log_std: Tensor

    @property
    def std(self) -> Tensor:
        """σ(x)."""
        return self.log_std.exp()

    def at(self, noise: Tensor) -> Tensor:
        """μ + σ·noise for noise [..., draws, latent]."""
        return self.mean.unsqueeze(-2) + self.std.unsqueeze(-2) * noise

    def rate_per_dim(self) -> Tensor:
        """Analytic KL(q ‖ N(0, I)) per latent dimension, [..., latent], nats.

        ½(μ² + σ² − 1) − log σ (Kingma and Welling 2014, appendix B).
        """
        return 0.5 * (self.mean.square() + (2 * self.log_std).exp() - 1) - self.log_std

    def log_prob(self, z: Tensor) -> Tensor:
        """Log q(z given x), summed over the last axis, nats."""
        standard = (z - self.mean) * (-self.log_std).exp()
        per_dim = -0.5 * standard.square() - self.log_std - 0.5 * math.log(2 * math.pi)
        return per_dim.sum(-1)


class Encoder(nn.Module):
    """x [..., dims] → q(z given x).

    Attributes:
        centre: what is taken from x, [dims] (the train split's mean where options say so), or None.
    """

    centre: Tensor | None

    def __init__(
        self,
        observed: Observed,
        latent_dim: int,
        options: Mapping[str, Any],
        architecture: str = "mlp",
        fixed: bool = False,
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.register_buffer("centre", torch.zeros(observed.dims) if options["center"] else None)
        self.fixed_std = float(options["posterior_sigma"]) if fixed else None
        outputs = latent_dim if fixed else 2 * latent_dim
        self.network = ARCHITECTURES[architecture].encoder(observed, outputs, options)

    def center_on(self, x: Tensor) -> None:
        """Take the mean of the train split x [n, dims] for the centre, if there is one."""
        if self.centre is not None:
            self.centre = x.double().mean(0).to(x.dtype)

    def forward(self, x: Tensor) -> Posterior:
        """The posterior; log σ is held within ±10 so that an exploding run overflows no float."""
        output = self.network(x if self.centre is None else x - self.centre)
        if self.fixed_std is not None:
            return Posterior(output, torch.full_like(output, math.log(self.fixed_std)))
        mean, log_std = output.chunk(2, dim=-1)
        return Posterior(mean, log_std.clamp(-LOG_STD_BOUND, LOG_STD_BOUND))


class Decoder(nn.Module):
    """z [..., latent] → p(x given z)."""

    def __init__(
        self,
        observed: Observed,
        likelihood: str,
        latent_dim: int,
        options: Mapping[str, Any],
        architecture: str = "mlp",
    ) -> None:
        super().__init__()
        self.observed = observed
        self.likelihood = LIKELIHOODS[likelihood]
        self.options = options
        self.network = ARCHITECTURES[architecture].decoder(observed, latent_dim, options)
        initial = self.likelihood.parameters(observed, options)
        self.scale_sizes = {name: len(value) for name, value in initial.items()}
        self.scales = nn.ParameterDict({name: nn.Parameter(v) for name, v in initial.items()})

    def forward(self, z: Tensor) -> Distribution:
        """The likelihood."""
        scales = {name: scale[: self.scale_sizes[name]] for name, scale in self.scales.items()}
        return self.likelihood.distribution(self.network(z), scales, self.observed, self.options)


class VAE(nn.Module):
    """A variational autoencoder (Kingma and Welling 2014)."""

    def __init__(
        self,
        observed: Observed,
        likelihood: str,
        latent_dim: int,
        options: Mapping[str, Any],
        seed: int,
        architecture: str = "mlp",
        fixed: bool = False,
    ) -> None:
        """Networks at their initial weights, which depend on the seed and the shapes alone.

        Args:
            observed: the observed variable.
            likelihood: name of the likelihood.
            latent_dim: dimensions of z.
            options: the config's model section.
            seed: of the initial weights.
            architecture: name of the networks' architecture.
            fixed: σ(x) is posterior_sigma for every x, and is not learned.
        """
        super().__init__()
        with seeded(seed, "encoder weights"):
            self.encoder = Encoder(observed, latent_dim, options, architecture, fixed)
        with seeded(seed, "decoder weights"):
            self.decoder = Decoder(observed, likelihood, latent_dim, options, architecture)

    @classmethod
    def of(cls, run: Run, observed: Observed, options: Mapping[str, Any]) -> VAE:
        """The VAE of a run at its initial weights."""
        return cls(
            observed,
            run.likelihood,
            run.latent_dim,
            options,
            run.seed,
            run.architecture,
            run.posterior == "fixed",
        )

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Posterior, Distribution]:
        """q(z given x) and p(x given z) at draws of z.

        Args:
            x: [batch, dims].
            noise: [batch, draws, latent]; z = μ + σ·noise, so that 0 gives a point.
        """
        posterior = self.encoder(x)
        return posterior, self.decoder(posterior.at(noise))


@contextmanager
def seeded(seed: int, purpose: str) -> Iterator[None]:
    """Make torch's global generator the stream of one seed and purpose; restore it afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.set_state(stream(seed, purpose).get_state())
        yield
