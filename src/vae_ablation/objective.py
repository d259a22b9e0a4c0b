"""The objective: distortion + β·rate, per example, in nats."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from vae_ablation.model import VAE


class ElboTerms(NamedTuple):
    """The two terms of −ELBO, per example, in nats (Alemi et al. 2018).

    Attributes:
        distortion: −log p(x given z) at one z ~ q(z given x), summed over data dimensions: [batch].
        rate: analytic KL(q(z given x) ‖ N(0, I)): [batch].
    """

    distortion: Tensor
    rate: Tensor


def elbo_terms(model: VAE, x: Tensor, noise: Tensor) -> ElboTerms:
    """Distortion and rate of each example.

    Args:
        model: the VAE of one run.
        x: observed variable, [batch, dims].
        noise: standard normal draws, [batch, latent]; zeros give the deterministic autoencoder.
    """
    posterior, likelihood = model(x, noise)
    return ElboTerms(-likelihood.log_prob(x), posterior.rate_per_dim().sum(-1))


def objective(terms: ElboTerms, beta: Tensor | float) -> Tensor:
    """Distortion + β·rate (Higgins et al. 2017), [batch], nats; to be minimised."""
    return terms.distortion + beta * terms.rate
