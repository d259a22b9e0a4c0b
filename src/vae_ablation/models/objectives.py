"""What training minimises: distortion + β·rate, or the importance-weighted bound; nats."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from vae_ablation.models.count_distributions import Joint
from vae_ablation.models.distributions import Distribution
from vae_ablation.models.vae import VAE, Posterior


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


class SubsampledTerms(NamedTuple):
    """As `ElboTerms`, and those of each modality alone (Wu and Goodman 2018, eq. 5).

    Attributes:
        distortion: see ElboTerms.
        rate: see ElboTerms.
        distortion_apart: Σ over modalities m of −log p(x_m given z), z ~ q(z given x_m): [batch].
        rate_apart: Σ over modalities m of KL(q(z given x_m) ‖ N(0, I)): [batch].
    """

    distortion: Tensor
    rate: Tensor
    distortion_apart: Tensor
    rate_apart: Tensor


Terms = ElboTerms | IwaeTerms | SubsampledTerms


def elbo_terms(model: VAE, x: Tensor, context: Tensor, noise: Tensor) -> ElboTerms:
    """Distortion and rate of each example.

    Args:
        model: the VAE of one run.
        x: observed variable, [batch, dims].
        context: what both networks are told beside it, [batch, context].
        noise: standard normal draws, [batch, draws, latent]; zeros give the deterministic
            autoencoder.
    """
    posterior, likelihood = model(x, context, noise)
    return ElboTerms(_distortion(likelihood, x).mean(-1), posterior.rate_per_dim().sum(-1))


def mvae_terms(model: VAE, x: Tensor, context: Tensor, noise: Tensor) -> SubsampledTerms:
    """Distortion and rate of each example, and of each of its modalities alone.

    Without the latter the experts of single modalities would never be trained to stand alone.
    Arguments as elbo_terms; all posteriors share the noise.
    """
    joint = elbo_terms(model, x, context, noise)
    distortions, rates = [], []
    for place, present in enumerate(((True, False), (False, True))):
        posterior = model.encoder(x, context, present)
        likelihood = model.decoder(posterior.at(noise), context[:, None])
        assert isinstance(likelihood, Joint)
        distortions.append(-likelihood.log_probs(x[:, None])[..., place].mean(-1))
        rates.append(posterior.rate_per_dim().sum(-1))
    return SubsampledTerms(*joint, distortions[0] + distortions[1], rates[0] + rates[1])


def iwae_terms(model: VAE, x: Tensor, context: Tensor, noise: Tensor) -> IwaeTerms:
    """Distortion, rate and importance-weighted bound of each example; arguments as elbo_terms."""
    posterior, likelihood = model(x, context, noise)
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


OBJECTIVES: dict[str, Callable[[VAE, Tensor, Tensor, Tensor], Any]] = {
    "elbo": elbo_terms,
    "iwae": iwae_terms,
    "mvae": mvae_terms,
}


def objective(terms: Terms, beta: Tensor | float) -> Tensor:
    """Distortion + β·rate (Higgins et al. 2017), or the importance-weighted bound: [batch], nats.

    To be minimised. The bound has no β: it is defined for β = 1 alone. With subsampled terms the
    distortions and rates of single modalities are added to those of both.
    """
    if isinstance(terms, IwaeTerms):
        return terms.bound
    if isinstance(terms, SubsampledTerms):
        distortion = terms.distortion + terms.distortion_apart
        return distortion + beta * (terms.rate + terms.rate_apart)
    return terms.distortion + beta * terms.rate
