"""The aggregate posterior (mean of q(z given x) over x): what z holds of x, and prior mismatch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae_ablation.data.examples import spaced
from vae_ablation.evaluation.bounds import example_blocks, run_blocks
from vae_ablation.models.posteriors import Posterior
from vae_ablation.models.priors import Prior, StandardNormal, draws_from

COMPONENTS = 60_000
"""Most posteriors of the train and validation splits in q_N, evenly spaced: all of MNIST's.

Those of the held-out split are all among its components.
"""

MIXTURE_DRAWS = 2048
"""Least number of z drawn from held-out posteriors, equally many of each example.

A split of more examples gives one draw each: this only steadies the columns of a small one.
"""

DIMENSION_DRAWS = 1024
"""Most of them behind the columns of single dimensions: each costs N exponentials per dimension."""

HOLE_DRAWS = 2048
"""Draws of z ~ p(z) behind hole_rate, and the most draws from held-out posteriors.

Each costs a density under all train posteriors. The hole rate's standard error is 0.003 at a rate
of 0.01, 0.011 at most.
"""

HOLE_SHARE = 0.01
"""Share of the held-out codes that lie below the density that makes a hole."""

SATURATION = 2.0
"""Mutual information within this many nats of ln N says little but that N is too small.

It is biased long before it reaches ln N: with 359 posteriors of digits 4.74 nats, with 1,797 5.02.
"""

INFORMED = 0.01
"""Nats above which the mutual information of a dimension counts it as active."""

PLANE_SIDE = 100
"""Points of the shown density on each side of the plane."""

HOLE_SIDE = 64
"""Points of the grid on each side of the plane that shows holes."""

PRIOR_REACH = math.sqrt(-2 * math.log(0.001))
"""Radius of the disc that holds 99.9 % of N(0, I) in the plane: r² = −2 log(1 − share)."""
PRIOR_SHARES = (0.393, 0.5, 0.865, 0.95)
"""Shares of a prior whose regions figures show; of N(0, I) the first and third are 1σ and 2σ."""

_LOG_2PI = math.log(2 * math.pi)
_EXPANSION_ERROR = 1e-8
_BLOCK_COST = 4
"""Numbers of a block's size per pair of z and component, whose copies stay in a cache."""


@dataclass(frozen=True)
class Aggregate:
    """Aggregate posterior of one run.

    Attributes:
        columns: in nats where nothing else is said; z ~ q(z given x) of held-out x:
            mutual_information, E[log q(z given x) − log q_N(z)], of z and x as an index of the N
            examples; mi_ceiling, ln N, which it cannot exceed; mi_saturated (bool), whether it is
            within SATURATION of that; marginal_kl, E[log q_N(z) − log p(z)], and its parts
            total_correlation, E[log q_N(z) − Σ_d log q_N(z_d)], and dimension_kl,
            E[Σ_d log q_N(z_d) − log p(z_d)], absent where p(z) has dependent dimensions;
            active_units_mi, dimensions whose E[log q(z_d given x) − log q_N(z_d)] is above
            INFORMED; hole_rate, the share of z ~ p(z) in holes, absent where mi_saturated.
        hole_level: 1st percentile of the log density of all train posteriors at held-out
            z ~ q(z given x), nats: where that density is lower, there is a hole. NaN where
            mi_saturated.
    """

    columns: dict[str, float]
    hole_level: float


@torch.no_grad()
def aggregates(
    posterior: Posterior,
    train: Posterior,
    generators: Sequence[torch.Generator],
    priors: Sequence[Prior] | None = None,
    mixture: Posterior | None = None,
) -> list[Aggregate]:
    """Aggregate posterior of every run with a Gaussian posterior.

    With q_N the mixture of the N posteriors of all splits, and on the same draws of z from those of
    held-out x, the rate falls into two parts (Hoffman and Johnson 2016): mutual_information +
    marginal_kl is a Monte-Carlo estimate of the rate. The second falls into two again (Chen et al.
    2018): total_correlation + dimension_kl.

    Args:
        posterior: `encode(model, x)` of the held-out split, [runs, n, latent].
        train: `encode(model, x)` of the train split, [runs, m, latent].
        generators: one stream per run; what a run draws depends on nothing else.
        priors: of each run; standard normals unless they are given.
        mixture: the N posteriors of q_N, [runs, N, latent], among them those of the held-out split:
            `joined` of all splits; None is the held-out split alone.
    """
    if priors is None:
        priors = [StandardNormal.of(posterior.mean.shape[-1]) for _ in generators]
    z, log_q = _draw(posterior, generators)
    mixture = posterior if mixture is None else mixture
    log_mixture = mixture_log_prob(mixture, z)
    log_prior = torch.stack([_log_prior(*each) for each in zip(priors, z, strict=True)])
    information = (log_q.sum(-1) - log_mixture).mean(-1).tolist()
    marginal = (log_mixture - log_prior).mean(-1).tolist()
    kept = spaced(z.shape[1], DIMENSION_DRAWS)
    single = _dimensions(mixture, z[:, kept], log_q[:, kept], log_mixture[:, kept], priors)
    holes = _holes(train, z, generators, priors)
    ceiling = math.log(mixture.mean.shape[1])
    return [
        _aggregate(*each, ceiling)
        for each in zip(information, marginal, single, holes, strict=True)
    ]


def _aggregate(
    information: float,
    marginal: float,
    single: dict[str, float],
    hole: tuple[float, float],
    ceiling: float,
) -> Aggregate:
    """One run; an exploded one seems to be without holes, since their threshold is its needles'."""
    saturated = information > ceiling - SATURATION
    rate, level = hole
    return Aggregate(
        {
            "mutual_information": information,
            "mi_ceiling": ceiling,
            "mi_saturated": saturated,
            "marginal_kl": marginal,
            **single,
            **({} if saturated else {"hole_rate": rate}),
        },
        math.nan if saturated else level,
    )


def joined(held_out: Posterior, *others: Posterior) -> Posterior:
    """Posteriors of all splits, [runs, N, latent]: at most COMPONENTS of those not held out."""

    def together(name: str) -> Tensor:
        rest = torch.cat([getattr(one, name) for one in others], dim=1)
        return torch.cat([getattr(held_out, name), rest[:, spaced(rest.shape[1], COMPONENTS)]], 1)

    return Posterior(together("mean"), together("log_std"))


def _dimensions(
    mixture: Posterior, z: Tensor, log_q: Tensor, log_mixture: Tensor, priors: Sequence[Prior]
) -> list[dict[str, float]]:
    """Columns of single dimensions of every run.

    Args:
        mixture: q_N, [runs, N, latent].
        z: draws, [runs, n, latent].
        log_q: log q(z_d given x) of the example that each was drawn for, [runs, n, latent].
        log_mixture: log q_N(z), [runs, n].
        priors: of each run.
    """
    marginals = marginal_log_probs(mixture, z)
    correlation = (log_mixture - marginals.sum(-1)).mean(-1).tolist()
    informed = ((log_q - marginals).mean(1) > INFORMED).sum(-1).tolist()
    found = []
    for place, prior in enumerate(priors):
        columns = {"total_correlation": correlation[place], "active_units_mi": informed[place]}
        per_dim = prior.log_prob_per_dim(z[place])
        if per_dim is not None:
            columns["dimension_kl"] = float((marginals[place] - per_dim).sum(-1).mean())
        found.append(columns)
    return found


def _draw(posterior: Posterior, generators: Sequence[torch.Generator]) -> tuple[Tensor, Tensor]:
    """Draws z ~ q(z given x) and log q(z_d given x), both [runs, draws, latent]; float64.

    In float32 a z far from 0 would be rounded by more than a narrow posterior's width.
    """
    _, count, latent = posterior.mean.shape
    each = math.ceil(MIXTURE_DRAWS / count)
    noise = _normals(generators, (count, each, latent), posterior.mean.device)
    wide = Posterior(posterior.mean[:, :, None].double(), posterior.log_std[:, :, None].double())
    z = wide.mean + wide.std * noise
    log_q = -0.5 * (noise.square() + _LOG_2PI) - wide.log_std
    return z.flatten(1, 2), log_q.flatten(1, 2)


def _normals(
    generators: Sequence[torch.Generator], shape: tuple[int, ...], device: torch.device
) -> Tensor:
    """Standard normals in float64, [runs, *shape], each run from its own stream."""
    draws = [torch.randn(shape, generator=g, dtype=torch.float64) for g in generators]
    return torch.stack(draws).to(device)


def _log_prior(prior: Prior, z: Tensor) -> Tensor:
    """Log p(z) of z [n, latent]: [n], summed over dimensions where these are independent."""
    per_dim = prior.log_prob_per_dim(z)
    return prior.log_prob(z) if per_dim is None else per_dim.sum(-1)


def _holes(
    train: Posterior,
    codes: Tensor,
    generators: Sequence[torch.Generator],
    priors: Sequence[Prior],
) -> list[tuple[float, float]]:
    """Share of z ~ p(z) that the train posteriors cover less than 99 % of held-out codes.

    Beside it, per run, the log density under train posteriors that those 99 % exceed.
    """
    noise = _normals(generators, (HOLE_DRAWS, codes.shape[-1]), codes.device)
    prior = draws_from(priors, noise, generators)
    kept = codes[:, spaced(codes.shape[1], HOLE_DRAWS)]
    logs = mixture_log_prob(train, torch.cat([prior, kept], dim=1))
    at_prior, at_codes = logs.split([HOLE_DRAWS, kept.shape[1]], dim=1)
    level = at_codes.quantile(HOLE_SHARE, dim=1, keepdim=True)
    rates = (at_prior < level).double().mean(-1).tolist()
    return list(zip(rates, level[:, 0].tolist(), strict=True))


# --- one run -------------------------------------------------------------------------------------


def density_in_plane(
    train: Posterior, held_out: Posterior, hole_level: float, prior: Prior | None = None
) -> dict[str, NDArray[np.generic]]:
    """Density of all train posteriors in the plane, as density.npz holds it for figures.

    Args:
        train: posteriors of a run's train split, [m, 2].
        held_out: posteriors of its held-out split, [n, 2].
        hole_level: see `Aggregate`.
        prior: N(0, I) unless given.

    Returns:
        side [PLANE_SIDE], coordinates on both axes, which reach the held-out means and 99.9 % of
        the prior; log_q [y, x], log density there, of posteriors that are at least half a cell
        wide, since narrower ones would fall between the points; hole_side [HOLE_SIDE], within the
        prior's 99.9 %; hole_log_q [y, x], the log density itself; hole_level. Of another prior than
        N(0, I) also prior_log_p [y, x] on side, prior_levels, above which `PRIOR_SHARES` of it lie,
        and hole_prior [y, x] on hole_side, positive within its 99.9 %. Nats.
    """
    means = held_out.mean[held_out.mean.isfinite()].abs()
    other = None if prior is None or prior.standard else prior
    levels, reach = ([], PRIOR_REACH) if other is None else _reach(other)
    limit = max(reach, float(means.max())) * 1.06 if len(means) else reach * 1.06
    side = torch.linspace(-limit, limit, PLANE_SIDE, dtype=torch.float64)
    holes = torch.linspace(-reach, reach, HOLE_SIDE, dtype=torch.float64)
    cell = float(side[1] - side[0])
    width = torch.hypot(train.std.double(), torch.tensor(cell / 2, dtype=torch.float64))
    own = {}
    if other is not None:
        within = prior_on(holes, other) - levels[-1]
        own = {
            "prior_log_p": prior_on(side, other).astype(np.float32),
            "prior_levels": np.array(levels[:-1]),
            "hole_prior": within.astype(np.float32),
        }
    return own | {
        "side": side.numpy(),
        "log_q": log_density_on(side, Posterior(train.mean, width.log())).astype(np.float32),
        "hole_side": holes.numpy(),
        "hole_log_q": log_density_on(holes, train).astype(np.float32),
        "hole_level": np.array(hole_level),
    }


def _reach(prior: Prior) -> tuple[list[float], float]:
    """Levels of `PRIOR_SHARES` and of 99.9 % of a prior, and how far the latter reaches."""
    levels, draws = prior.regions([*PRIOR_SHARES, 0.999])
    heights = prior.log_prob(torch.from_numpy(draws)).detach().cpu().numpy()
    return levels.tolist(), float(np.abs(draws[heights >= levels[-1]]).max())


@torch.no_grad()
def prior_on(side: Tensor, prior: Prior) -> NDArray[np.float64]:
    """Log density of a prior on a square grid of the plane: [y, x], nats."""
    y, x = torch.meshgrid(side, side, indexing="ij")
    found = prior.log_prob(torch.stack([x.flatten(), y.flatten()], dim=1))
    return np.asarray(found.reshape(len(side), len(side)).double().cpu().numpy())


def log_density_on(side: Tensor, posterior: Posterior) -> NDArray[np.float64]:
    """Log density of the mixture of posteriors [n, 2] on a square grid of the plane: [y, x]."""
    y, x = torch.meshgrid(side, side, indexing="ij")
    found = log_density(posterior, torch.stack([x.flatten(), y.flatten()], dim=1))
    return found.reshape(len(side), len(side))


def log_density(posterior: Posterior, z: Tensor) -> NDArray[np.float64]:
    """Log density of the mixture of posteriors [n, latent] at z [m, latent]: [m], nats."""
    components = Posterior(posterior.mean[None], posterior.log_std[None])
    logs = mixture_log_prob(components, z.to(posterior.mean.device)[None])
    return np.asarray(logs[0].cpu().numpy())


# --- the mixture ---------------------------------------------------------------------------------


@torch.no_grad()
def mixture_log_prob(components: Posterior, z: Tensor) -> Tensor:
    """Log of (1/N) Σ_j N(z; μ_j, diag σ_j²), exact over all N components, nats, float64.

    Memory grows with N and with the block of z, never with [n, N, latent]. Expanded, the quadratic
    form is a matrix product of z² and z with 1/σ² and μ/σ². That cancels where |μ| ≫ σ, as it is
    without the KL: it errs by 0.02 nats at |μ| = 10⁶ σ. A run whose error may exceed 10⁻⁸ has the
    form summed dimension by dimension instead, which takes several times as long.

    Args:
        components: N posteriors of each run, [runs, N, latent].
        z: points, [runs, n, latent].

    Returns:
        [runs, n].
    """
    runs, count, _ = components.mean.shape
    blocks = list(example_blocks(z.shape[1], _BLOCK_COST * count))
    parts = []
    for group in run_blocks(runs, blocks[0].stop * _BLOCK_COST * count, z.device):
        mean, log_std = components.mean[group].double(), components.log_std[group].double()
        centre = mean.mean(1, keepdim=True)
        mean, points = mean - centre, z[group].double() - centre
        expandable = _expandable(mean, log_std, points)
        logs = torch.empty(points.shape[:2], dtype=points.dtype, device=points.device)
        for log_sums, chosen in ((_expanded, expandable), (_by_dimension, ~expandable)):
            if chosen.any():
                logs[chosen] = log_sums(mean[chosen], log_std[chosen], points[chosen], blocks)
        parts.append(logs)
    return torch.cat(parts) - math.log(count)


@torch.no_grad()
def marginal_log_probs(components: Posterior, z: Tensor) -> Tensor:
    """Log of (1/N) Σ_j N(z_d; μ_jd, σ_jd²) of every dimension d alone, nats, float64.

    Args:
        components: N posteriors of each run, [runs, N, latent].
        z: points that were drawn from components, so that no sum underflows, [runs, n, latent].

    Returns:
        [runs, n, latent].
    """
    found = torch.empty(z.shape, dtype=torch.float64, device=z.device)
    count = components.mean.shape[1]
    for group in run_blocks(len(z), 2 * count, z.device):
        mean, log_std = components.mean[group].double(), components.log_std[group].double()
        inverse = _dims_first((-log_std).exp())
        shift = -_dims_first(mean) * inverse
        for rows in example_blocks(z.shape[1], _BLOCK_COST * count):
            points = _dims_first_points(z[group][:, rows].double())
            for dim, (scale, offset) in enumerate(zip(inverse, shift, strict=True)):
                bells = torch.addcmul(offset, points[dim], scale).square_().mul_(-0.5).exp_()
                found[group, rows, dim] = (bells @ scale.mT)[..., 0].log()
    return found - 0.5 * _LOG_2PI - math.log(count)


def _dims_first_points(z: Tensor) -> Tensor:
    """[runs, n, latent] → [latent, runs, n, 1]."""
    return z.movedim(-1, 0)[..., None]


def _expandable(mean: Tensor, log_std: Tensor, z: Tensor) -> Tensor:
    """Runs whose squares in units of σ are small enough for float64 to tell their difference."""
    inverse = (-log_std).exp().amax(1)
    largest = torch.maximum(mean.abs().amax(1), z.abs().amax(1))
    error = torch.finfo(torch.float64).eps * (largest * inverse).square().sum(-1)
    return error <= _EXPANSION_ERROR


def _expanded(mean: Tensor, log_std: Tensor, z: Tensor, blocks: Sequence[slice]) -> Tensor:
    """Log Σ_j N(z; μ_j, diag σ_j²) of [runs, N, latent] at z [runs, n, latent]: [runs, n]."""
    precision = (-2 * log_std).exp()
    constant = (log_std + 0.5 * (_LOG_2PI + mean.square() * precision)).sum(-1)
    weights = torch.cat([-0.5 * precision, mean * precision], dim=-1).mT
    powers = torch.cat([z.square(), z], dim=-1)
    height = -constant[:, None]
    sums = [torch.baddbmm(height, powers[:, rows], weights).logsumexp(-1) for rows in blocks]
    return torch.cat(sums, dim=1)


def _by_dimension(mean: Tensor, log_std: Tensor, z: Tensor, blocks: Sequence[slice]) -> Tensor:
    """The same, with the differences squared."""
    inverse = _dims_first((-log_std).exp())
    offset = -_dims_first(mean) * inverse
    height = -0.5 * (2 * log_std + _LOG_2PI).sum(-1)[:, None]
    return torch.cat([_log_sum(inverse, offset, height, z[:, rows]) for rows in blocks], dim=1)


def _dims_first(values: Tensor) -> Tensor:
    """[runs, N, latent] → [latent, runs, 1, N]."""
    return values.movedim(-1, 0)[:, :, None].contiguous()


def _log_sum(inverse: Tensor, offset: Tensor, height: Tensor, z: Tensor) -> Tensor:
    """Log Σ_j exp(height_j − ½|z/σ_j − μ_j/σ_j|²) of points z [runs, block, latent].

    Args:
        inverse: 1/σ, [latent, runs, 1, N].
        offset: −μ/σ, [latent, runs, 1, N].
        height: log density at the mean, [runs, 1, N].
        z: [runs, block, latent].
    """
    logs = height.expand(-1, z.shape[1], -1).clone()
    for scale, shift, points in zip(inverse, offset, z.movedim(-1, 0)[..., None], strict=True):
        standard = torch.addcmul(shift, points, scale)
        logs.addcmul_(standard, standard, value=-0.5)
    return logs.logsumexp(-1)
