"""What training minimises: distortion + β·rate, or the importance-weighted bound; nats."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from vae_ablation.distributions import Distribution
from vae_ablation.model import VAE, Posterior


class ElboTerms(NamedTuple):
    """The two terms of −ELBO, per example, in nats (Alemi et al. 2018).

    Attributes:
        distortion: −log p(x given z) summed over data dimensions, mean over the draws of
            z ~ q(z given x): [batch].
        rate: analytic KL(q(z given x) ‖ N(0, I)): [batch].
    """

    distortion: Tensor
    rate: Tensor


class IwaeTerms(NamedTuple):
    """As `ElboTerms`, and the importance-weighted bound (Burda, Grosse, Salakhutdinov 2016, eq. 8).

    Attributes:
        distortion: see ElboTerms.
        rate: see ElboTerms.
        bound: −log (1/k) Σ p(x given zᵢ) p(zᵢ) / q(zᵢ given x) over k draws: [batch].
    """

    distortion: Tensor
    rate: Tensor
    bound: Tensor


Terms = ElboTerms | IwaeTerms


def elbo_terms(model: VAE, x: Tensor, noise: Tensor) -> ElboTerms:
    """Distortion and rate of each example.

    Args:
        model: the VAE of one run.
        x: observed variable, [batch, dims].
        noise: standard normal draws, [batch, draws, latent]; zeros give the deterministic
            autoencoder.
    """
    posterior, likelihood = model(x, noise)
    return ElboTerms(_distortion(likelihood, x).mean(-1), posterior.rate_per_dim().sum(-1))


def iwae_terms(model: VAE, x: Tensor, noise: Tensor) -> IwaeTerms:
    """Distortion, rate and importance-weighted bound of each example; arguments as elbo_terms."""
    posterior, likelihood = model(x, noise)
    distortion = _distortion(likelihood, x)
    rate = posterior.rate_per_dim().sum(-1)
    log_weights = -distortion - _log_density_ratio(posterior, noise)
    bound = math.log(noise.shape[-2]) - log_weights.logsumexp(-1)
    return IwaeTerms(distortion.mean(-1), rate, bound)


def _distortion(likelihood: Distribution, x: Tensor) -> Tensor:
    """−log p(x given z) of every draw: [batch, draws]."""
    return -likelihood.log_prob(x[:, None])


def _log_density_ratio(posterior: Posterior, noise: Tensor) -> Tensor:
    """Log q(z given x) − log p(z) at z = μ + σ·noise: [batch, draws]."""
    z = posterior.at(noise)
    return (0.5 * (z.square() - noise.square()) - posterior.log_std[:, None]).sum(-1)


OBJECTIVES: dict[str, Callable[[VAE, Tensor, Tensor], Any]] = {
    "elbo": elbo_terms,
    "iwae": iwae_terms,
}


def objective(terms: Terms, beta: Tensor | float) -> Tensor:
    """Distortion + β·rate (Higgins et al. 2017), or the importance-weighted bound: [batch], nats.

    To be minimised. The bound has no β: it is defined for β = 1 alone.
    """
    if isinstance(terms, IwaeTerms):
        return terms.bound
    return terms.distortion + beta * terms.rate
