"""The part of the inference gap that a better encoder would close (Cremer et al. 2018)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae_ablation.evaluation.refined import ANTITHETIC, Gaussians, Target, normals
from vae_ablation.models.posteriors import Posterior

GAP_EXAMPLES = 64
"""Examples whose best diagonal Gaussian is sought, evenly spaced."""

GAP_DRAWS = 32
"""Antithetic pairs of draws behind each ELBO."""

STEPS = (1.0, 0.7, 0.5, 0.5, 0.3, 0.3)
"""Sizes of the variational Gauss–Newton steps."""


@torch.no_grad()
def encoder_gaps(
    target: Target, posterior: Posterior, main: Gaussians, generators: Sequence[torch.Generator]
) -> NDArray[np.float64]:
    """ELBO of the best diagonal Gaussian of each example minus that of the encoder's: [runs, n].

    The best is sought by variational Gauss–Newton steps from a refined posterior. It is the
    encoder's own where that scores higher; the two are chosen between on other draws than those
    that the gap is taken from.

    Args:
        target: the log joint.
        posterior: the encoder's, [runs, n, latent].
        main: refined posteriors.
        generators: one stream per run.
    """
    best = _diagonal(target, main, generators)
    own = Gaussians(posterior.mean.double(), torch.diag_embed((-posterior.log_std.double()).exp()))
    choice, score = (_elbo_gains(target, own, best, generators) for _ in range(2))
    return torch.where(choice > 0, score, 0.0).cpu().numpy()


def _diagonal(target: Target, start: Gaussians, generators: Sequence[torch.Generator]) -> Gaussians:
    """The mean-field Gaussian after variational steps, whose precision is the expected diagonal."""
    precision = (start.root @ start.root.mT).diagonal(dim1=-2, dim2=-1)
    mean, latent = start.mean, start.mean.shape[-1]
    for size in STEPS:
        noise = normals(generators, (len(target), ANTITHETIC, latent), target.places)
        now = _of_precision(mean, precision)
        gradient, expected = target.expansion(now.at(torch.cat([noise, -noise], dim=2)))
        precision = (1 - size) * precision + size * expected.diagonal(dim1=-2, dim2=-1)
        mean = mean + size * torch.nan_to_num(gradient / precision)
    return _of_precision(mean, precision)


def _of_precision(mean: Tensor, precision: Tensor) -> Gaussians:
    return Gaussians(mean, torch.diag_embed(precision.clamp(min=1e-12).sqrt()))


def _elbo_gains(
    target: Target, own: Gaussians, other: Gaussians, generators: Sequence[torch.Generator]
) -> Tensor:
    """ELBO of others minus that of some Gaussians, by the same noise: [runs, n]."""
    half = normals(generators, (len(target), GAP_DRAWS, own.mean.shape[-1]), target.places)
    noise = torch.cat([half, -half], dim=2)
    each = [target.log_joint(one.at(noise)).mean(-1) - one.half_log_det for one in (own, other)]
    return torch.nan_to_num(each[1] - each[0], nan=-math.inf)
