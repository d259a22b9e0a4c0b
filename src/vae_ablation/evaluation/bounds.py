"""What decoder and posterior say of held-out data: distortion and a bound on −log p(x)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae_ablation.data.loading import Examples
from vae_ablation.models.posteriors import Posterior
from vae_ablation.models.priors import draws_from, log_probs
from vae_ablation.training.stacked import BoundVAE, StackedVAE

ELBO_DRAWS = 16
"""Draws of z per example behind distortion and elbo."""

NLL_LOOSE = 0.1
"""A bound that still moves by more than this many nats when the samples double is loose."""

_CPU_BLOCK = 2**19
_DEVICE_BLOCK = 2**28


def example_blocks(count: int, elements_per_example: int) -> Iterator[slice]:
    """Slices of examples of a size that depends on shapes alone, so that a pack changes no bit."""
    size = max(1, _CPU_BLOCK // elements_per_example)
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def run_blocks(runs: int, elements_per_run: int, device: torch.device) -> Iterator[list[int]]:
    """Groups of runs whose block fits the device."""
    budget = _CPU_BLOCK if device.type == "cpu" else _DEVICE_BLOCK
    size = max(1, budget // elements_per_run)
    for start in range(0, runs, size):
        yield list(range(start, min(start + size, runs)))


@torch.no_grad()
def encode(model: StackedVAE, examples: Examples) -> Posterior:
    """Posterior of every run at every example: mean and log_std [runs, n, latent].

    Args:
        model: the pack.
        examples: as observed.
    """
    parts = []
    for rows in example_blocks(len(examples), 4 * examples.x.shape[1]):
        block = [part.expand(len(model), *part.shape) for part in examples.at(rows)]
        parts.append(model.map(lambda m, v, c: tuple(_pair(m.encoder(v, c))), *block))
    means, log_stds = zip(*parts, strict=True)
    return Posterior(torch.cat(means, dim=1), torch.cat(log_stds, dim=1))


def _pair(posterior: Posterior) -> tuple[Tensor, Tensor]:
    return posterior.mean, posterior.log_std


@torch.no_grad()
def decode_mean(model: StackedVAE, z: Tensor, context: Tensor) -> Tensor:
    """E[x given z] of every run: z [runs, n, latent] → [runs, n, dims], on z's device.

    Args:
        model: the pack.
        z: codes.
        context: what the decoder is told beside z, [n, context].
    """
    dims = model.template.decoder.observed.dims
    parts = []
    for rows in example_blocks(z.shape[1], 4 * dims):
        told = context[rows].expand(len(model), *context[rows].shape)
        parts.append(model.map(lambda m, v, c: m.decoder(v, c).mean, z[:, rows], told))
    return torch.cat(parts, dim=1)


def _log_prob(model: BoundVAE, z: Tensor, x: Tensor, context: Tensor) -> Tensor:
    """Log p(x given z): z [n, draws, latent], x [n, dims] → [n, draws]."""
    return model.decoder(z, context[:, None]).log_prob(x[:, None])


@torch.no_grad()
def distortions(
    model: StackedVAE,
    posterior: Posterior,
    examples: Examples,
    generators: Sequence[torch.Generator],
    points: Sequence[bool],
    draws: int = ELBO_DRAWS,
) -> NDArray[np.float64]:
    """E over z ~ q(z given x) of −log p(x given z), of every example: [runs, n], nats.

    Args:
        model: the pack.
        posterior: `encode(model, examples)`.
        examples: as observed.
        generators: one stream per run.
        points: runs with a point posterior, for which z = μ.
        draws: of z per example.
    """
    latent = posterior.mean.shape[-1]
    parts = []
    device = posterior.mean.device
    mask = torch.tensor([not point for point in points], device=device)[:, None, None, None]
    for rows in example_blocks(len(examples), draws * examples.x.shape[1]):
        x, context = examples.at(rows)
        noise = _normals(generators, (len(x), draws, latent), device) * mask
        z = Posterior(posterior.mean[:, rows], posterior.log_std[:, rows]).at(noise)
        parts.append(-_by_runs(model, z, x, context, draws).mean(-1).cpu().numpy())
    return np.concatenate(parts, axis=1)


def _normals(
    generators: Sequence[torch.Generator], shape: tuple[int, ...], device: torch.device
) -> Tensor:
    """Standard normals, [runs, *shape], each run from its own stream."""
    return torch.stack([torch.randn(shape, generator=g) for g in generators]).to(device)


def _by_runs(model: StackedVAE, z: Tensor, x: Tensor, context: Tensor, draws: int) -> Tensor:
    """Log p(x given z) in float64 for z [runs, n, draws, latent]: [runs, n, draws]."""
    parts = []
    for group in run_blocks(len(model), len(x) * draws * x.shape[1], x.device):
        chosen = model if len(group) == len(model) else model.select(group)
        shared = [part.expand(len(group), *part.shape) for part in (x, context)]
        log_prob = chosen.map(_log_prob, z[group], *shared)
        parts.append(log_prob.double())
    return torch.cat(parts)


@dataclass(frozen=True)
class NllEstimate:
    """Importance-weighted bounds on −log p(x) of every example: each [runs, n].

    Attributes:
        nll: nats; an upper bound in expectation.
        ess: effective samples / K.
        gap: how much the bound falls when K/2 samples become K, nats.
    """

    nll: NDArray[np.float64]
    ess: NDArray[np.float64]
    gap: NDArray[np.float64]

    def means(self) -> NllEstimate:
        """Means over the split: each [runs]."""
        return NllEstimate(self.nll.mean(1), self.ess.mean(1), self.gap.mean(1))


@torch.no_grad()
def importance_nll(
    model: StackedVAE,
    posterior: Posterior,
    examples: Examples,
    samples: int,
    generators: Sequence[torch.Generator],
) -> NllEstimate:
    """−log (1/K) Σ p(x given z)p(z)/m(z), z from the defensive mixture m = ½q(z given x) + ½p(z).

    Half of the samples come from each component and all are weighted by the mixture density
    (deterministic-mixture weights: Owen and Zhou 2000; bound: Burda et al. 2016). Plain q as
    proposal fails where q is far narrower than the true posterior, as it is without the KL.

    Args:
        model: the pack.
        posterior: `encode(model, examples)`.
        examples: as observed.
        samples: K, a multiple of 4.
        generators: one stream per run.
    """
    parts = []
    for rows in example_blocks(len(examples), samples * examples.x.shape[1]):
        part = Posterior(posterior.mean[:, rows], posterior.log_std[:, rows])
        log_weights = _log_weights(model, part, *examples.at(rows), samples, generators)
        parts.append([values.cpu().numpy() for values in _estimates(log_weights)])
    nll, ess, gap = (np.concatenate(values, axis=1) for values in zip(*parts, strict=True))
    return NllEstimate(nll, ess, gap)


def _log_weights(
    model: StackedVAE,
    posterior: Posterior,
    x: Tensor,
    context: Tensor,
    samples: int,
    generators: Sequence[torch.Generator],
) -> Tensor:
    """Log p(x given z) + log p(z) − log m(z): [runs, n, samples] float64; draws alternate q, p."""
    latent = posterior.mean.shape[-1]
    noise = _normals(generators, (len(x), samples, latent), x.device)
    from_q = posterior.at(noise[:, :, ::2])
    priors = model.priors()
    from_p = draws_from(priors, noise[:, :, 1::2], generators)
    z = torch.stack([from_q, from_p], dim=3).flatten(2, 3)
    wide = z.double()
    prior = log_probs(priors, wide)
    q = Posterior(posterior.mean[:, :, None].double(), posterior.log_std[:, :, None].double())
    mixture = torch.logaddexp(q.log_prob(wide), prior) - math.log(2)
    return _by_runs(model, z, x, context, samples) + prior - mixture


def _estimates(log_weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """nll, effective sample share and gap of every example, [runs, n] each."""
    samples = log_weights.shape[-1]
    total = log_weights.logsumexp(-1)
    ess = (2 * total - (2 * log_weights).logsumexp(-1)).exp() / samples
    # two halves of K/2, each with the same share of q and p
    halves = log_weights.unflatten(-1, (2, samples // 2)).logsumexp(-1) - math.log(samples // 2)
    nll = math.log(samples) - total
    return nll, ess, -halves.mean(-1) - nll
