"""Decoder distributions of counts: log-masses on whole numbers, in units of counts.

Shapes are [..., dims]; `log_prob` sums over the last axis and is in nats. All is elementwise torch
and runs under `torch.func.vmap`.

Log-masses are written as saddle points, log p(x) = log p(x; mean x) − deviance(x, mean), as in
Loader (2000), "Fast and accurate computation of binomial probabilities": no term is larger than
the result, so float32 keeps its digits where differences of lgamma lose them all (x or θ large).
On a CPU an elementwise operation costs what its memory does, a `where` as much as three
logarithms and lgamma eight: functions of one tensor work in place, and `lerp` by 0 or 1 tells cases
apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import grad

from vae_ablation.common.torch_private import standard_gamma
from vae_ablation.models.distributions import (
    Distribution,
    Expansion,
    expansion_of,
    parameters_of,
    softplus,
    unit_step_,
    with_slopes,
)

_LOG_2PI = math.log(2 * math.pi)
# beyond e^±40 float32 cannot tell the dispersion from its limits, and e^40 is no count
_LARGEST_LOG = 40.0
_LARGEST_DRAWN_RATE = 1e15


def _present(x: Tensor) -> Tensor:
    """1 where a count is not 0, else 0."""
    return x.clamp(max=1)


def _polynomial(s: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    """Σ coefficients[i]·sⁱ by Horner's rule."""
    total = s * coefficients[-1]
    for coefficient in coefficients[-2:0:-1]:
        total.add_(coefficient).mul_(s)
    return total.add_(coefficients[0])


_FAR = 0.01
"""Above this v² in `_log1p_gap` the difference keeps its digits."""


def _log1p_gap(u: Tensor, log1p_u: Tensor) -> Tensor:
    """The gap u − log(1 + u), u ≥ −1, without the digits that the difference loses near u = 0.

    There, with v = u/(2 + u), log(1 + u) = 2·atanh(v): the gap is v·(u − 2v²(1/3 + v²/5 + …)).
    """
    v = u / (u + 2)
    square = v * v
    series = _polynomial(square, (2 / 3, 2 / 5, 2 / 7, 2 / 9))
    near = torch.addcmul(u, series, square, value=-1).mul_(v)
    return torch.lerp(near, u - log1p_u, unit_step_(square - _FAR))


# log Γ(t + 1) = (t + ½)·log t − t + ½·log 2π + J(t), with J(t) = s/12 + s³·Q(s), s = 1/t, for
# t ≥ 1: Q fitted to mpmath's log-gamma, within 2e-9 of J and 3e-7 of t·J'(t)
_STIRLING = (-2.774749352e-3, -4.426810811e-5, 1.032767193e-3, -6.193428248e-4, 1.337283658e-4)


def _stirling(s: Tensor) -> Tensor:
    """J(1/s), the remainder of Stirling's formula, for s ≤ 1."""
    return _polynomial(s, _STIRLING).mul_(s).mul_(s).add_(1 / 12).mul_(s)


_STIRLING_SLOPE = tuple((power + 3) * value for power, value in enumerate(_STIRLING))


def _stirling_slope(s: Tensor) -> Tensor:
    """−J'(1/s), for s ≤ 1; positive."""
    return _polynomial(s, _STIRLING_SLOPE).mul_(s).mul_(s).add_(1 / 12).mul_(s).mul_(s)


def _stirling_down_to_zero(t: Tensor) -> tuple[Tensor, Tensor]:
    """J(t) and −t·J'(t) for any t > 0, below 1 from J(t) = J(t + 1) + (t + ½)·log(1 + 1/t) − 1."""
    small = unit_step_(1 - t)
    s = 1 / (t + small)
    log_step = torch.log((t + 1) / t)
    remainder = _stirling(s) + small * ((t + 0.5) * log_step - 1)
    slope = t * _stirling_slope(s) + small * ((t + 0.5) / (t + 1) - t * log_step)
    return remainder, slope


def _within_limits(log_dispersion: Tensor) -> Tensor:
    return log_dispersion.clamp(-_LARGEST_LOG, _LARGEST_LOG)


def _drawn_poisson(rate: Tensor, generator: torch.Generator | None, like: Tensor) -> Tensor:
    """Poisson counts at rates in float64 on the CPU, so that no draw depends on the device."""
    drawn = torch.poisson(rate.clamp(max=_LARGEST_DRAWN_RATE), generator=generator)
    return drawn.to(like.device, like.dtype)


@dataclass(frozen=True)
class Poisson:
    """Counts with mean and variance e^log_rate: log p = x·log μ − μ − log x!."""

    log_rate: Tensor

    @property
    def mean(self) -> Tensor:
        """μ = e^log_rate."""
        return self.log_rate.exp()

    def log_prob(self, x: Tensor) -> Tensor:
        """Log mass of x, nats. The gradient by log_rate is x − μ."""
        log_rate = self.log_rate.detach().clamp(max=_LARGEST_LOG)
        rate = log_rate.exp()
        above_zero = x.clamp(min=1)
        log_x = above_zero.log()
        gap = _log1p_gap((rate - x) / above_zero, log_rate - log_x)
        at_mean = 0.5 * (_LOG_2PI + log_x) + _stirling(1 / above_zero)
        value = -(x * gap + torch.lerp(rate, at_mean, _present(x)))
        return with_slopes(value, (self.log_rate, x - rate)).sum(-1)

    def parameters(self) -> tuple[Tensor, ...]:
        """Log μ."""
        return (self.log_rate,)

    def expansion(self, x: Tensor) -> tuple[Expansion, ...]:
        """See `expansion_of`; −∂² = μ."""
        rate = self.log_rate.clamp(max=_LARGEST_LOG).exp()
        return (Expansion(x - rate, rate),)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draws on the whole numbers."""
        rate = self.log_rate.detach().cpu().double().exp()
        return _drawn_poisson(rate, generator, self.log_rate)


def _negative_binomial(x: Tensor, log_mean: Tensor, log_dispersion: Tensor) -> Tensor:
    """Log mass of each x at mean μ and inverse dispersion θ, nats.

    With u = (x − μ)/(θ + μ) and Δ(u) = u − log(1 + u), where 1 + u = (θ + x)/(θ + μ), the deviance
    is θ·Δ(u) + x·Δ(−θu/x), and log p(x; mean x) = −½·log(2πx(1 + x/θ)) − J(x) − J(θ) + J(x + θ).
    Gradients: by log μ, θ·u; by log θ, θ·(J'(x + θ) − J'(θ)) + ½·x/(x + θ) − θ·Δ(u).
    """
    log_mu = log_mean.detach().clamp(max=_LARGEST_LOG)
    log_theta = _within_limits(log_dispersion.detach())
    mu, theta = log_mu.exp(), log_theta.exp()
    above_zero, positive = x.clamp(min=1), _present(x)
    log_x, total = above_zero.log(), above_zero + theta

    expected = mu + theta
    log_ratio = ((x + theta) / expected).log_()
    u = (x - mu).div_(expected)
    slope = theta * u
    gap = _log1p_gap(u, log_ratio).mul_(theta)
    log_ratio_x = log_ratio.add_(log_mu).sub_(log_x)
    deviance = _log1p_gap((slope / above_zero).neg_(), log_ratio_x).mul_(x).add_(gap)

    stirling, stirling_slope = _stirling_down_to_zero(theta)
    s = 1 / total
    saturated = (total / theta).log_().add_(log_x).add_(_LOG_2PI).mul_(0.5)
    saturated = saturated.add_(_stirling(1 / above_zero)).add_(stirling).sub_(_stirling(s))
    # at x = 0 the deviance's second term is −slope, and the saturated log-mass is 0
    value = deviance.add_(torch.lerp(-slope, saturated, positive)).neg_()
    if not torch.is_grad_enabled():
        return value
    by_dispersion = (above_zero * s).mul_(0.5).add_(stirling_slope)
    by_dispersion.sub_(_stirling_slope(s).mul_(theta)).mul_(positive)
    return with_slopes(value, (log_mean, slope), (log_dispersion, by_dispersion - gap))


def _expanded(x: Tensor, log_mean: Tensor, log_dispersion: Tensor) -> tuple[Tensor, ...]:
    """By log μ: slope θ(x − μ)/(θ + μ), Fisher information μθ/(θ + μ), and −∂² at x = 0."""
    log_mu = log_mean.clamp(max=_LARGEST_LOG)
    share = torch.sigmoid(_within_limits(log_dispersion) - log_mu)
    mu = log_mu.exp()
    return (x - mu) * share, mu * share, mu * share.square()


def _own_dispersion(log_mean: Tensor, log_dispersion: Tensor) -> tuple[Tensor, ...]:
    """Log θ where every cell has one of its own, which z sets."""
    return (log_dispersion,) if log_dispersion.shape == log_mean.shape else ()


def _dispersion_slopes(x: Tensor, log_mean: Tensor, log_dispersion: Tensor) -> tuple[Tensor, ...]:
    """∂ log p of the negative binomial by each cell's log θ; its curvature is taken to be 0."""

    def total(value: Tensor) -> Tensor:
        return _negative_binomial(x, log_mean, value).sum()

    return tuple(grad(total)(one) for one in _own_dispersion(log_mean, log_dispersion))


def _drawn_negative_binomial(
    log_mean: Tensor, log_dispersion: Tensor, generator: torch.Generator | None
) -> Tensor:
    """Poisson counts whose rates are Gamma with shape θ and mean μ."""
    mean, dispersion = torch.broadcast_tensors(
        log_mean.detach().cpu().double(), log_dispersion.detach().cpu().double()
    )
    dispersion = _within_limits(dispersion)
    gamma = standard_gamma(dispersion.exp(), generator)
    return _drawn_poisson(gamma * (mean - dispersion).exp(), generator, log_mean)


@dataclass(frozen=True)
class NegativeBinomial:
    """Counts with mean μ and variance μ + μ²/θ (Lopez et al. 2018, scVI's parameters).

    `log_dispersion`, log θ, broadcasts against `log_mean`: [dims] is one θ per gene. θ is the
    inverse dispersion: as θ → ∞ the counts become Poisson.
    """

    log_mean: Tensor
    log_dispersion: Tensor

    @property
    def mean(self) -> Tensor:
        """μ = e^log_mean."""
        return self.log_mean.exp()

    def log_prob(self, x: Tensor) -> Tensor:
        """Log mass of x, nats."""
        return _negative_binomial(x, self.log_mean, self.log_dispersion).sum(-1)

    def parameters(self) -> tuple[Tensor, ...]:
        """Log μ, and log θ where it is that of a cell."""
        return (self.log_mean, *_own_dispersion(self.log_mean, self.log_dispersion))

    def expansion(self, x: Tensor) -> tuple[Expansion, ...]:
        """See `expansion_of`; the Fisher information is μθ/(θ + μ)."""
        slope, information, _ = _expanded(x, self.log_mean, self.log_dispersion)
        return (
            Expansion(slope, information),
            *(
                Expansion(one, torch.zeros_like(one))
                for one in _dispersion_slopes(x, self.log_mean, self.log_dispersion)
            ),
        )

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draws on the whole numbers."""
        return _drawn_negative_binomial(self.log_mean, self.log_dispersion, generator)


def _log_sum(a: Tensor, b: Tensor) -> Tensor:
    """log(e^a + e^b), whose gradients at a = b are ½ each."""
    return torch.maximum(a, b) + torch.log(1 + torch.exp(-(a - b).abs()))


@dataclass(frozen=True)
class ZeroInflatedNegativeBinomial:
    """0 with probability π = σ(gate_logits), else a negative binomial.

    log p(0) = log(π + (1 − π)·NB(0)); log p(x) = log(1 − π) + log NB(x) for x > 0.
    """

    log_mean: Tensor
    log_dispersion: Tensor
    gate_logits: Tensor

    @property
    def mean(self) -> Tensor:
        """(1 − π)·μ, gate included."""
        return torch.sigmoid(-self.gate_logits) * self.log_mean.exp()

    def log_prob(self, x: Tensor) -> Tensor:
        """Log mass of x, nats."""
        open_gate = _negative_binomial(x, self.log_mean, self.log_dispersion)
        unnormalised = torch.lerp(_log_sum(self.gate_logits, open_gate), open_gate, _present(x))
        return (unnormalised - softplus(self.gate_logits)).sum(-1)

    def parameters(self) -> tuple[Tensor, ...]:
        """Log μ, the gate's logit, and log θ where it is that of a cell."""
        own = _own_dispersion(self.log_mean, self.log_dispersion)
        return (self.log_mean, self.gate_logits, *own)

    def expansion(self, x: Tensor) -> tuple[Expansion, ...]:
        """See `expansion_of`.

        At x > 0 the gate is open. At 0 it was closed with probability r: the slopes are those of
        the two cases weighted by r, and their spread r(1 − r)·(…)² is taken off the curvature.
        """
        slope, information, at_zero = _expanded(x, self.log_mean, self.log_dispersion)
        log_zero = _negative_binomial(
            torch.zeros_like(x), self.log_mean.detach(), self.log_dispersion.detach()
        )
        zero, share = 1 - _present(x), torch.sigmoid(self.gate_logits)
        closed = zero * torch.sigmoid(self.gate_logits - log_zero)
        spread = closed * (1 - closed)
        own = torch.lerp(information, (1 - closed) * at_zero - spread * slope.square(), zero)
        gate = share * (1 - share) - spread
        return (
            Expansion((1 - closed) * slope, own.clamp(min=0)),
            Expansion(closed - share, gate.clamp(min=0)),
            *(
                Expansion((1 - closed) * one, torch.zeros_like(one))
                for one in _dispersion_slopes(x, self.log_mean, self.log_dispersion)
            ),
        )

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draws on the whole numbers."""
        counts = _drawn_negative_binomial(self.log_mean, self.log_dispersion, generator)
        uniform = torch.rand(counts.shape, generator=generator, dtype=torch.float64)
        keep = uniform < torch.sigmoid(-self.gate_logits.detach().cpu().double())
        return counts * keep.to(counts.device, counts.dtype)


@dataclass(frozen=True)
class LogNormalGaussian:
    """y = log(1 + x·target/library) is Normal(loc, scale); the density is that of the counts x.

    `library` [..., 1], counts per cell, is given, not modelled; `scale` broadcasts against `loc`.
    """

    loc: Tensor
    scale: Tensor
    library: Tensor
    target: float = 1e4

    @property
    def log_normalized_mean(self) -> Tensor:
        """E[y] = loc, [..., dims]."""
        return self.loc

    def _counts(self, log_normalized: Tensor) -> Tensor:
        """Counts of y, those below 0 set to 0."""
        return (self.library / self.target) * torch.expm1(log_normalized).clamp(min=0)

    @property
    def mean(self) -> Tensor:
        """(library/target)·(e^(loc + scale²/2) − 1) counts, where that is not negative, else 0."""
        return self._counts(self.loc + 0.5 * self.scale.square())

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density of x, nats: that of y plus log dy/dx = log(target/library) − y."""
        log_normalized = torch.log1p(x * (self.target / self.library))
        standard = (log_normalized - self.loc) / self.scale
        jacobian = torch.log(self.target / self.library) - log_normalized
        normal = -0.5 * standard.square() - torch.log(self.scale) - 0.5 * _LOG_2PI
        return (normal + jacobian).sum(-1)

    def parameters(self) -> tuple[Tensor, ...]:
        """E[y]."""
        return (self.loc,)

    def expansion(self, x: Tensor) -> tuple[Expansion, ...]:
        """See `expansion_of`; −∂² = 1/scale²."""
        precision = self.scale.square().reciprocal().expand_as(self.loc)
        log_normalized = torch.log1p(x * (self.target / self.library))
        return (Expansion((log_normalized - self.loc) * precision, precision),)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draws of x, not whole; those below 0 set to 0."""
        noise = torch.randn(self.loc.shape, generator=generator)
        return self._counts(self.loc + self.scale * noise.to(self.loc.device, self.loc.dtype))


@dataclass(frozen=True)
class Joint:
    """Independent distributions of consecutive blocks of the last axis (RNA, then protein).

    sizes[i] dimensions are those of parts[i].
    """

    parts: tuple[Distribution, ...]
    sizes: tuple[int, ...]

    @property
    def mean(self) -> Tensor:
        """E[x] of all blocks, [..., dims]."""
        return torch.cat([part.mean for part in self.parts], -1)

    def _blocks(self, x: Tensor) -> Iterator[tuple[Distribution, Tensor]]:
        return zip(self.parts, x.split(self.sizes, -1), strict=True)

    def log_probs(self, x: Tensor) -> Tensor:
        """Log p of each block: [..., parts], nats."""
        return torch.stack([part.log_prob(block) for part, block in self._blocks(x)], -1)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log p(x), nats."""
        return self.log_probs(x).sum(-1)

    def parameters(self) -> tuple[Tensor, ...]:
        """Those of every block, in their order."""
        return tuple(one for part in self.parts for one in parameters_of(part))

    def expansion(self, x: Tensor) -> tuple[Expansion, ...]:
        """See `expansion_of`."""
        return tuple(one for part, block in self._blocks(x) for one in expansion_of(part, block))

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """One draw of every block, in their order."""
        return torch.cat([part.sample(generator) for part in self.parts], -1)
