"""Encoder, decoder and VAE, written once for one run; a pack is a `torch.func.vmap` of it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from vae_ablation.data.base import Observed
from vae_ablation.distributions import Distribution
from vae_ablation.likelihoods import LIKELIHOODS
from vae_ablation.streams import stream

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "silu": nn.SiLU}
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


def _run(network: nn.Sequential, x: Tensor, outputs: int) -> Tensor:
    """`network(x)` where its layers may be wider than x and than `outputs` (see `StackedVAE`)."""
    first = network[0].weight
    assert isinstance(first, Tensor)
    return network(pad(x, (0, first.shape[-1] - x.shape[-1])))[..., :outputs]


def mlp(widths: list[int], activation: str) -> nn.Sequential:
    """Linear layers with an activation after each but the last; two widths give one linear map."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])


class Encoder(nn.Module):
    """x [..., dims] → q(z given x)."""

    def __init__(self, dims: int, latent_dim: int, hidden: list[int], activation: str) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.network = mlp([dims, *hidden, 2 * latent_dim], activation)

    def forward(self, x: Tensor) -> Posterior:
        """The posterior; log σ is held within ±10 so that an exploding run overflows no float."""
        mean, log_std = _run(self.network, x, 2 * self.latent_dim).chunk(2, dim=-1)
        return Posterior(mean, log_std.clamp(-LOG_STD_BOUND, LOG_STD_BOUND))


class Decoder(nn.Module):
    """z [..., latent] → p(x given z)."""

    def __init__(
        self, observed: Observed, likelihood: str, latent_dim: int, options: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.observed = observed
        self.likelihood = LIKELIHOODS[likelihood]
        self.options = options
        hidden = list(reversed(options["hidden"]))
        self.network = mlp([latent_dim, *hidden, observed.dims], options["activation"])
        initial = self.likelihood.parameters(observed, options)
        self.scale_sizes = {name: len(value) for name, value in initial.items()}
        self.scales = nn.ParameterDict({name: nn.Parameter(v) for name, v in initial.items()})

    def forward(self, z: Tensor) -> Distribution:
        """The likelihood."""
        output = _run(self.network, z, self.observed.dims)
        scales = {name: scale[: self.scale_sizes[name]] for name, scale in self.scales.items()}
        return self.likelihood.distribution(output, scales, self.observed, self.options)


class VAE(nn.Module):
    """A variational autoencoder (Kingma and Welling 2014)."""

    def __init__(
        self,
        observed: Observed,
        likelihood: str,
        latent_dim: int,
        options: Mapping[str, Any],
        seed: int,
    ) -> None:
        """Networks at their initial weights, which depend on the seed and the shapes alone."""
        super().__init__()
        with seeded(seed, "encoder weights"):
            self.encoder = Encoder(
                observed.dims, latent_dim, options["hidden"], options["activation"]
            )
        with seeded(seed, "decoder weights"):
            self.decoder = Decoder(observed, likelihood, latent_dim, options)

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Posterior, Distribution]:
        """q(z given x) and p(x given z) at z = μ + σ·noise; noise [..., latent], 0 for a point."""
        posterior = self.encoder(x)
        return posterior, self.decoder(posterior.mean + posterior.std * noise)


@contextmanager
def seeded(seed: int, purpose: str) -> Iterator[None]:
    """Make torch's global generator the stream of one seed and purpose; restore it afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.set_state(stream(seed, purpose).get_state())
        yield
