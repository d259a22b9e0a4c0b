"""Integrals of densities and sums of masses over one or two dimensions, on grids."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vae_ablation.data.base import Observed

LogProb = Callable[[Tensor], Tensor]
_POINTS = {1: 20_001, 2: 901}
_REACH = {1: 11.0, 2: 9.0}
"""Ends of a grid in arsinh of standard deviations: it reaches over four thousand of them."""
_BLOCK = 200_000
_MOST_COUNTS = {1: 600, 2: 150}


def total_mass(log_prob: LogProb, observed: Observed) -> float:
    """Sum of a mass over the values of x, of which there may be two at most."""
    x = torch.cartesian_prod(*[_values(observed)] * observed.dims).reshape(-1, observed.dims)
    return float(_at(log_prob, x).exp().sum())


def _values(observed: Observed) -> Tensor:
    """Values of one number of x, as far as a mass of counts can reach."""
    if observed.counts:
        return torch.arange(float(_MOST_COUNTS[observed.dims]))
    assert observed.levels is not None
    return torch.arange(float(observed.levels)) / (observed.levels - 1)


def mass_disagreement(log_prob: LogProb, draws: Tensor, observed: Observed) -> tuple[float, float]:
    """As `disagreement`, of a mass of one number."""
    values = _values(observed)
    theirs = _at(log_prob, values[:, None]).exp().cumsum(0)
    own = (draws.double() <= values.double() + 1e-6).double().mean(0)
    return float((theirs - own).abs().max()), 2.3 / len(draws) ** 0.5


def integral(log_prob: LogProb, draws: Tensor, unit: bool = False) -> list[float]:
    """Integral of a density over all of its space, and over [0, 1] where `unit` asks for it.

    Args:
        log_prob: of x [n, dims], nats.
        draws: from the density, [n, dims], which say where it lies.
        unit: whether a density on [0, 1] would do too.
    """
    x, weights = _grid(draws)
    found = [float((_at(log_prob, x).exp() * weights).sum())]
    if unit:
        cube, equal = _unit_grid(draws.shape[-1])
        found.append(float((_at(log_prob, cube).exp() * equal).sum()))
    return found


def _unit_grid(dims: int) -> tuple[Tensor, Tensor]:
    """Middles of equal cells of [0, 1]^dims, [n, dims], and their volumes, [n]."""
    middle = (torch.arange(_POINTS[dims], dtype=torch.float64) + 0.5) / _POINTS[dims]
    cube = torch.cartesian_prod(*[middle] * dims).reshape(-1, dims)
    return cube, torch.full((len(cube),), 1 / len(cube), dtype=torch.float64)


def disagreement(log_prob: LogProb, draws: Tensor, unit: bool = False) -> tuple[float, float]:
    """Largest distance between the distribution of draws and a density's, along each dimension.

    Args:
        log_prob: of x [n, dims], nats.
        draws: [draws, dims].
        unit: whether it is a density on [0, 1], of one dimension.

    Returns:
        The distance (Kolmogorov and Smirnov), and what chance allows in one of ten thousand tries.
    """
    dims = draws.shape[-1]
    x, weights = _unit_grid(dims) if unit else _grid(draws)
    mass = (_at(log_prob, x).exp() * weights).reshape([_POINTS[dims]] * dims)
    places = x.reshape([_POINTS[dims]] * dims + [dims])
    largest = 0.0
    for axis in range(dims):
        own = mass.sum([other for other in range(dims) if other != axis]) if dims > 1 else mass
        along = places.select(1 - axis, 0)[..., axis] if dims > 1 else places[:, 0]
        along = along.contiguous()
        below = own.cumsum(0) - 0.5 * own
        largest = max(largest, _distance(draws[:, axis].double(), along, below / own.sum()))
    return largest, 2.3 / len(draws) ** 0.5


def _distance(draws: Tensor, along: Tensor, below: Tensor) -> float:
    ordered = draws.sort().values
    place = torch.searchsorted(along, ordered).clamp(1, len(along) - 1)
    share = (ordered - along[place - 1]) / (along[place] - along[place - 1])
    theirs = below[place - 1] + share.clamp(0, 1) * (below[place] - below[place - 1])
    own = (torch.arange(len(ordered)) + 0.5) / len(ordered)
    return float((theirs - own).abs().max())


def _grid(draws: Tensor) -> tuple[Tensor, Tensor]:
    """Points [n, dims], dense where draws are and reaching far, and their weights [n]."""
    dims = draws.shape[-1]
    wide = draws.double()
    quartiles = torch.quantile(wide[:100_000], torch.tensor([0.25, 0.5, 0.75]).double(), dim=0)
    scale = ((quartiles[2] - quartiles[0]) / 1.349).clamp_min(1e-6)
    even = torch.linspace(-_REACH[dims], _REACH[dims], _POINTS[dims], dtype=torch.float64)
    step = even[1] - even[0]
    axes = [quartiles[1, i] + scale[i] * even.sinh() for i in range(dims)]
    heights = [scale[i] * even.cosh() * step for i in range(dims)]
    x = torch.cartesian_prod(*axes).reshape(-1, dims)
    weights = torch.cartesian_prod(*heights).reshape(-1, dims).prod(-1)
    return x, weights


def _at(log_prob: LogProb, x: Tensor) -> Tensor:
    """Log density at x in blocks, in float64: [n]."""
    blocks = x.float().split(_BLOCK)
    return torch.cat([log_prob(block).reshape(len(block)).double() for block in blocks])
