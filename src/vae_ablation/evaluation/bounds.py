"""Posteriors, reconstructions and distortions of a split, in blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae_ablation.data.loading import Examples
from vae_ablation.models.posteriors import Posterior

if TYPE_CHECKING:
    from vae_ablation.training.stacked import BoundVAE, StackedVAE

ELBO_DRAWS = 16
"""Draws of z per example behind distortion and elbo."""

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
