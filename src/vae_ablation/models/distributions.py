"""Decoder distributions: normalised, summed over the event, stable at the edges.

Every distribution factorises over the data dimensions. Shapes are [..., dims]; `log_prob` sums
over the last axis and is in nats. All is elementwise torch and runs under `torch.func.vmap`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.func import grad, jvp


class Distribution(Protocol):
    """p(x given z) over the data dimensions."""

    @property
    def mean(self) -> Tensor:
        """E[x], [..., dims]."""

    def log_prob(self, x: Tensor) -> Tensor:
        """Log p(x), summed over the last axis: [...], nats."""

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """One draw of x, [..., dims]."""


def _uniform(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Uniform draws in the open interval (0, 1)."""
    drawn = torch.rand(like.shape, generator=generator, dtype=torch.float64)
    return drawn.clamp(1e-12, 1 - 1e-12).to(like.device, like.dtype).clamp(1e-7, 1 - 1e-7)


def with_slopes(value: Tensor, *slopes: tuple[Tensor, Tensor]) -> Tensor:
    """`value` with the gradients given in closed form as (parameter, slope) pairs.

    Backward is then one product per parameter and keeps one tensor each, not all that the value
    went through. Only first derivatives hold. Parameters and slopes broadcast against `value`.
    """
    pairs = [tensor for pair in slopes for tensor in pair]
    return _WithSlopes.apply(value, *pairs)


class _WithSlopes(torch.autograd.Function):
    """The first argument; those that follow are parameters, each followed by its slope."""

    @staticmethod
    def forward(value: Tensor, *pairs: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.shapes = [parameter.shape for parameter in inputs[1::2]]
        ctx.save_for_backward(*inputs[2::2])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        by_value, *needed = ctx.needs_input_grad
        gradients: list[Tensor | None] = [gradient if by_value else None]
        for shape, slope, by_it in zip(ctx.shapes, ctx.saved_tensors, needed[::2], strict=True):
            gradients += [(gradient * slope).sum_to_size(shape) if by_it else None, None]
        return tuple(gradients)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], *tensors: Tensor
    ) -> tuple[Tensor, int | None]:
        """Batched tensors get the batch in front and as many axes as `value` behind it."""
        value, *pairs = tensors
        if in_dims[0] is None:
            value = value.expand(info.batch_size, *value.shape)
        else:
            value = value.movedim(in_dims[0], 0)
        rest = zip(pairs, in_dims[1:], strict=True)
        return _WithSlopes.apply(value, *(_aligned(*one, value.ndim) for one in rest)), 0


def _aligned(tensor: Tensor, batch_dim: int | None, axes: int) -> Tensor:
    """A tensor with its batch in front and `axes` axes; as it is where it has no batch."""
    if batch_dim is None:
        return tensor
    batched = tensor.movedim(batch_dim, 0)
    return batched[(slice(None), *[None] * (axes - batched.ndim))]


def unit_step_(x: Tensor) -> Tensor:
    """1 where x > 0, else 0, written over x; on a CPU a comparison takes several times as long."""
    return x.relu_().sign_()


def log1p_exp(x: Tensor) -> Tensor:
    """log(1 + e^x) of a tensor without gradients, within one float32 rounding of 1.

    torch's own softplus calls log1p, which runs ten times slower than log on a CPU.
    """
    return x.abs().neg_().exp_().add_(1).log_().add_(x.relu())


def softplus(x: Tensor) -> Tensor:
    """`log1p_exp` and its first derivative σ(x)."""
    fixed = x.detach()
    value = log1p_exp(fixed)
    return with_slopes(value, (x, fixed.sigmoid())) if torch.is_grad_enabled() else value


@dataclass(frozen=True)
class Expansion:
    """Second-order expansion of log p(x) in one of its parameters, elementwise: [..., dims].

    Attributes:
        slope: ∂ log p.
        curvature: −∂² log p, or its expectation over x; never negative.
    """

    slope: Tensor
    curvature: Tensor


def parameters_of(distribution: Distribution) -> tuple[Tensor, ...]:
    """Tensors that z sets: a distribution's `parameters()`, or those as large as its mean.

    Args:
        distribution: an object whose attributes are these tensors, unless it has that method.
    """
    own = getattr(distribution, "parameters", None)
    return own() if own else tuple(tensor for _, tensor in _large(distribution))


def expansion_of(distribution: Distribution, x: Tensor) -> tuple[Expansion, ...]:
    """Expansion of log p(x) in each of `parameters_of`, by differentiation where none is written.

    Mixed derivatives between parameters are left out: it serves to place draws.

    Args:
        distribution: one whose log p is differentiable twice, unless it has `expansion`.
        x: [..., dims].
    """
    own = getattr(distribution, "expansion", None)
    if own:
        return own(x)
    return _differentiated(distribution, lambda one: one.log_prob(x))


def level_expansion_of(distribution: Distribution, x: Tensor, levels: int) -> tuple[Expansion, ...]:
    """The same of the log mass of grey levels; see `level_log_mass`."""
    own = getattr(distribution, "level_expansion", None)
    if own:
        return own(x, levels)
    if getattr(distribution, "expansion", None) is None:
        return _differentiated(distribution, lambda one: level_log_mass(one, x, levels))
    return expansion_of(distribution, x)


def _large(distribution: Any) -> list[tuple[str, Tensor]]:
    shape = distribution.mean.shape
    written = is_dataclass(distribution)
    names = [one.name for one in fields(distribution)] if written else vars(distribution)
    each = ((name, getattr(distribution, name)) for name in names)
    return [(name, t) for name, t in each if isinstance(t, Tensor) and t.shape == shape]


def _with_tensor(distribution: Any, name: str, value: Tensor) -> Any:
    if is_dataclass(distribution) and not isinstance(distribution, type):
        return replace(distribution, **{name: value})
    other = copy(distribution)
    setattr(other, name, value)
    return other


def _differentiated(
    distribution: Any, score: Callable[[Any], Tensor | None]
) -> tuple[Expansion, ...]:
    """Expansion of a score, summed over independent dimensions, in each large tensor."""

    def total(name: str, parameter: Tensor) -> Tensor:
        found = score(_with_tensor(distribution, name, parameter))
        assert found is not None
        return found.sum()

    return tuple(expanded(partial(total, name), value) for name, value in _large(distribution))


def expanded(total: Callable[[Tensor], Tensor], value: Tensor) -> Expansion:
    """Expansion of a sum over independent dimensions in a parameter."""
    value = value.contiguous()  # one that is expanded cannot be written to
    # dimensions are independent, so that the row sums of the Hessian are its diagonal
    found = jvp(grad(total), (value,), (torch.ones_like(value),))
    return Expansion(found[0], (-found[1]).clamp(min=0))


def level_log_mass(distribution: Distribution, x: Tensor, levels: int) -> Tensor | None:
    """Log mass of the grey level of each x, summed: [...], nats; None where nothing gives it.

    A distribution's own `level_log_mass(x, levels)`; or differences of its `cdf(x)`, elementwise,
    between the edges half-way between levels, the outer cells reaching to ±∞.

    Args:
        distribution: of x.
        x: k/(levels − 1), [..., dims].
        levels: number of grey levels.
    """
    own = getattr(distribution, "level_log_mass", None)
    if own:
        return own(x, levels)
    cdf = getattr(distribution, "cdf", None)
    if cdf is None:
        return None
    half = 0.5 / (levels - 1)
    upper = torch.where(x > 1 - half, 1.0, cdf(x + half).double())
    lower = torch.where(x < half, 0.0, cdf(x - half).double())
    return (upper - lower).clamp(min=torch.finfo(torch.float64).tiny).log().sum(-1)


@dataclass(frozen=True)
class Bernoulli:
    """x in {0, 1} with log p = x·η − softplus(η).

    On x strictly inside (0, 1) the same formula is a cross-entropy and no likelihood.
    """

    logits: Tensor

    @property
    def mean(self) -> Tensor:
        """σ(η)."""
        return self.logits.sigmoid()

    def log_prob(self, x: Tensor) -> Tensor:
        """Log p(x), nats. The gradient by η is x − σ(η)."""
        logits = self.logits.detach()
        value = x * logits - log1p_exp(logits)
        if torch.is_grad_enabled():
            value = with_slopes(value, (self.logits, x - logits.sigmoid()))
        return value.sum(-1)

    def parameters(self) -> tuple[Tensor, ...]:
        """η."""
        return (self.logits,)

    def expansion(self, x: Tensor) -> tuple[Expansion, ...]:
        """See `expansion_of`; −∂² = σ(η)(1 − σ(η))."""
        share = self.logits.sigmoid()
        return (Expansion(x - share, share * (1 - share)),)

    def level_log_mass(self, x: Tensor, levels: int) -> Tensor:
        """Log p(x) where x has the two levels 0 and 1."""
        return self.log_prob(x)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draws in {0, 1}."""
        return (_uniform(self.logits, generator) < self.mean).to(self.logits.dtype)


_NEAR = 0.2
"""Below this logit the normaliser is taken from its series."""


@dataclass(frozen=True)
class ContinuousBernoulli:
    """Density on [0, 1] proportional to exp(η·x) (Loaiza-Ganem and Cunningham 2019).

    log p = η·x − A(η) with A(η) = log((e^η − 1)/η) = η/2 + log(sinh(u)/u), u = |η|/2; near η = 0
    (λ = 0.5) from its Taylor series u²/6 − u⁴/180 + u⁶/2835.
    """

    logits: Tensor

    @property
    def _near_zero(self) -> Tensor:
        return self.logits.abs() < _NEAR

    @property
    def log_normalizer(self) -> Tensor:
        """A(η), elementwise, nats."""
        return with_slopes(self._normalizer(self._terms()), (self.logits, self.mean))

    @property
    def mean(self) -> Tensor:
        """A'(η) = 1/(1 − e^−η) − 1/η, without gradients; it is not λ = σ(η)."""
        return self._mean(self._terms())

    def _terms(self) -> tuple[Tensor, ...]:
        """Without gradients: η, |η|, η², 1 where |η| is far from 0, h = |η| or more, and 1 − e^−h.

        `lerp` by the fourth tells the cases apart: a `where` takes ten times as long on a CPU.
        """
        eta = self.logits.detach()
        size = eta.abs()
        held = size.clamp(min=_NEAR)
        return eta, size, eta * eta, unit_step_(size - _NEAR), held, (-held).exp_().neg_().add_(1)

    @staticmethod
    def _normalizer(terms: tuple[Tensor, ...]) -> Tensor:
        """A(η) = max(η, 0) + log((1 − e^−|η|)/|η|), or its series."""
        eta, size, square, far, held, rest = terms
        series = (square * (1 / 181440)).sub_(1 / 2880).mul_(square).add_(1 / 24).mul_(square)
        return torch.lerp(series.sub_(0.5 * size), (rest / held).log_(), far).add_(eta.relu())

    @staticmethod
    def _mean(terms: tuple[Tensor, ...]) -> Tensor:
        """A'(η) = ½ + sign(η)·(1/(1 − e^−|η|) − 1/|η| − ½), or its series."""
        eta, _, square, far, held, rest = terms
        series = (square * (1 / 30240)).sub_(1 / 720).mul_(square).add_(1 / 12).mul_(eta)
        exact = (1 / rest).sub_(1 / held).sub_(0.5).mul_(eta.sign())
        return torch.lerp(series, exact, far).add_(0.5)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density of x, nats. The gradient by η is x − A'(η)."""
        terms = self._terms()
        value = x * terms[0] - self._normalizer(terms)
        if torch.is_grad_enabled():
            value = with_slopes(value, (self.logits, x - self._mean(terms)))
        return value.sum(-1)

    def parameters(self) -> tuple[Tensor, ...]:
        """η."""
        return (self.logits,)

    def expansion(self, x: Tensor) -> tuple[Expansion, ...]:
        """See `expansion_of`; −∂² = Var x = A''(η) = 1/η² − 1/(4 sinh²(η/2))."""
        terms = self._terms()
        return (Expansion(x - self._mean(terms), self._variance(terms)),)

    @staticmethod
    def _variance(terms: tuple[Tensor, ...]) -> Tensor:
        """A''(η), or its series."""
        _, _, square, far, held, rest = terms
        series = (square * (1 / 6048)).sub_(1 / 240).mul_(square).add_(1 / 12)
        # 1/(4 sinh²(h/2)) = e^−h/(1 − e^−h)²
        exact = held.square().reciprocal_().sub_((1 - rest).div_(rest.square()))
        return torch.lerp(series, exact, far)

    def level_expansion(self, x: Tensor, levels: int) -> tuple[Expansion, ...]:
        """See `level_expansion_of`."""
        lower, terms = (x * (levels - 1)).round() / levels, self._terms()
        cell = ContinuousBernoulli(self.logits / levels)._terms()
        slope = lower + self._mean(cell) / levels - self._mean(terms)
        curvature = self._variance(terms) - self._variance(cell) / levels**2
        return (Expansion(slope, curvature.clamp(min=0)),)

    def level_log_mass(self, x: Tensor, levels: int) -> Tensor:
        """Log mass of the cell of each x = k/(levels − 1), [k, k + 1]/levels: [...], nats.

        The masses are e^(ηk/levels)·(e^(η/levels) − 1)/(e^η − 1): a truncated geometric law.
        """
        lower = (x * (levels - 1)).round() / levels
        width = ContinuousBernoulli(self.logits / levels)
        normalizer = width._normalizer(width._terms()) - self._normalizer(self._terms())
        return (lower * self.logits + normalizer - math.log(levels)).sum(-1)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draws in [0, 1], by the inverse of the distribution function."""
        uniform = _uniform(self.logits, generator)
        far = torch.where(self._near_zero, torch.ones_like(self.logits), self.logits)
        size = far.abs()
        rising = 1 + torch.log(uniform + (1 - uniform) * torch.exp(-size)) / size
        inverse = torch.where(far > 0, rising, 1 - rising)
        return torch.where(self._near_zero, uniform, inverse).clamp(0, 1)


_SQRT_HALF = math.sqrt(0.5)
_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)


_FAR = 30.0
"""Edges of a cell beyond this many σ take the normal's tail from its asymptotic series."""


def _normal_cell(x: Tensor, loc: Tensor, scale: Tensor, half: float) -> Tensor:
    """Log of the normal mass in [x − half, x + half]; open below 0 and above 1; float64."""
    value = _NormalCell.apply(x, loc.detach(), scale.detach(), half)
    if torch.is_grad_enabled():
        edges, ratios = _edges(x, loc.detach(), scale.detach(), half, value)
        by_loc = (ratios[0] - ratios[1]) / scale.detach()
        by_scale = (edges[0] * ratios[0] - edges[1] * ratios[1]) / scale.detach()
        value = with_slopes(value, (loc, by_loc), (scale, by_scale))
    return value


class _NormalCell(torch.autograd.Function):
    """`_normal_cell` in float64 without a gradient; under `vmap` its far tail may look at values.

    The cell is mirrored so that its edges, in units of σ, are a < b with b ≥ |a|, an open cell so
    that its edge is a and its mass the tail above. With the upper tail Q the mass is Q(a) − Q(b),
    which cancels by no more than the cell's width in σ.
    """

    @staticmethod
    def forward(x: Tensor, loc: Tensor, scale: Tensor, half: float) -> Tensor:
        inverse, distance = scale.double().reciprocal(), (x - loc).double()
        first, last = (x < half).double(), (x > 1 - half).double()
        closed = 1 - first - last
        # a `where` takes several times as long on a CPU
        middle = torch.addcmul(distance * (last - first), distance.abs(), closed).mul_(inverse)
        gap = 2 * half * inverse
        a = middle.sub_(0.5 * gap)
        mass = torch.erfc(a * _SQRT_HALF)
        mass -= torch.erfc((a + gap).mul_(_SQRT_HALF)).mul_(closed)
        value, far = mass.mul_(0.5).log_(), a > _FAR
        if far.any():
            gaps, kept = gap.expand_as(a)[far], closed.expand_as(a)[far]
            value[far] = _far_cell(a[far], gaps, kept)
        return value

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Nothing is kept."""

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *given: Any) -> tuple[Tensor, int | None]:
        """Batched tensors get the batch in front of as many axes as the value has."""
        *tensors, half = given
        each = list(zip(tensors, in_dims, strict=False))
        axes = 1 + max(tensor.ndim - (dim is not None) for tensor, dim in each)
        return _NormalCell.apply(*(_aligned(*one, axes) for one in each), half), 0


def _far_cell(a: Tensor, gap: Tensor, closed: Tensor) -> Tensor:
    """Log(Q(a) − closed·Q(a + gap)) for a > _FAR, with e^(−a²/2) taken out of both tails."""
    b = a + gap
    rest = _tail_ratio(b) * (-0.5 * gap * (a + b)).exp() * closed
    return (_tail_ratio(a) - rest).log() - 0.5 * a.square() - _LOG_SQRT_2PI


def _tail_ratio(t: Tensor) -> Tensor:
    """Q(t)/φ(t) = (1 − 1/t² + 3/t⁴ − 15/t⁶ + 105/t⁸ − …)/t, within 2·10⁻¹² for t > _FAR."""
    u = t.square().reciprocal()
    return (1 - u * (1 - u * (3 - u * (15 - u * 105)))) / t


def _edges(
    x: Tensor, loc: Tensor, scale: Tensor, half: float, log_mass: Tensor
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Edges of each cell in units of σ, and r = φ/mass there, 0 at an open end; float64."""
    distance, wide = (x - loc).double(), scale.double()
    low, high = (distance - half) / wide, (distance + half) / wide
    found = [
        torch.where(there, (-0.5 * edge.square() - _LOG_SQRT_2PI - log_mass).exp(), 0.0)
        for edge, there in ((low, x > half), (high, x < 1 - half))
    ]
    return (low, high), (found[0], found[1])


@dataclass(frozen=True)
class Gaussian:
    """Independent normals; `scale` broadcasts against `loc`.

    Attributes:
        loc: μ, [..., dims].
        scale: σ.
        present: 1 where x is there, 0 where it is missing and has no part in `log_prob`; None where
            all of it is there.
    """

    loc: Tensor
    scale: Tensor
    present: Tensor | None = None

    @property
    def mean(self) -> Tensor:
        """μ."""
        return self.loc

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density of x, nats."""
        scale = self.scale.detach()
        standard = (x - self.loc.detach()) / scale
        square = standard * standard
        value = square * -0.5 - (torch.log(scale) + 0.5 * math.log(2 * math.pi))
        if torch.is_grad_enabled():
            slopes = ((self.loc, standard / scale), (self.scale, (square - 1) / scale))
            value = with_slopes(value, *slopes)
        return _summed(value, self.present)

    def parameters(self) -> tuple[Tensor, ...]:
        """μ."""
        return (self.loc,)

    def expansion(self, x: Tensor) -> tuple[Expansion, ...]:
        """See `expansion_of`; −∂² = 1/σ²."""
        precision = self.scale.square().reciprocal().expand_as(self.loc)
        return (Expansion((x - self.loc) * precision, precision),)

    def level_log_mass(self, x: Tensor, levels: int) -> Tensor:
        """Log mass of the cell of each level, the outer cells reaching to ±∞: [...], nats."""
        return _normal_cell(x, self.loc, self.scale, 0.5 / (levels - 1)).sum(-1).to(x.dtype)

    def level_expansion(self, x: Tensor, levels: int) -> tuple[Expansion, ...]:
        """See `level_expansion_of`.

        With r = φ/mass at the edges a < b: the slope is (r(a) − r(b))/σ, and −∂² its square plus
        (b·r(b) − a·r(a))/σ².
        """
        half, wide = 0.5 / (levels - 1), self.scale.double()
        log_mass = _normal_cell(x, self.loc, self.scale, half)
        edges, ratios = _edges(x, self.loc, self.scale, half, log_mass)
        slope = (ratios[0] - ratios[1]) / wide
        curvature = slope.square() + (edges[1] * ratios[1] - edges[0] * ratios[0]) / wide.square()
        precise = Expansion(slope, curvature.clamp(min=0))
        return (Expansion(precise.slope.to(x.dtype), precise.curvature.to(x.dtype)),)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draws on the real line."""
        noise = torch.randn(self.loc.shape, generator=generator)
        return self.loc + self.scale * noise.to(self.loc.device, self.loc.dtype)


def _summed(value: Tensor, present: Tensor | None) -> Tensor:
    """Elementwise log-densities [..., dims] summed over the dimensions that are there."""
    return value.sum(-1) if present is None else (value * present).sum(-1)


@dataclass(frozen=True)
class Laplace:
    """Independent Laplace densities, e^(−|x − μ| / b) / 2b; attributes as of `Gaussian`."""

    loc: Tensor
    scale: Tensor
    present: Tensor | None = None

    @property
    def mean(self) -> Tensor:
        """μ."""
        return self.loc

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density of x, nats."""
        value = -(x - self.loc).abs() / self.scale - torch.log(2 * self.scale)
        return _summed(value, self.present)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draws on the real line, by the inverse of the distribution function."""
        centred = _uniform(self.loc, generator) - 0.5
        return self.loc - self.scale * centred.sign() * torch.log1p(-2 * centred.abs())


@dataclass(frozen=True)
class StudentT:
    """Independent Student-t densities with `freedom` degrees of freedom, above 1.

    Attributes:
        loc: μ, [..., dims].
        scale: s, which is not the standard deviation; broadcasts against `loc`.
        freedom: ν.
        present: as of `Gaussian`.
    """

    loc: Tensor
    scale: Tensor
    freedom: float
    present: Tensor | None = None

    @property
    def mean(self) -> Tensor:
        """μ."""
        return self.loc

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density of x, nats."""
        nu = self.freedom
        constant = math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2) - 0.5 * math.log(nu * math.pi)
        standard = (x - self.loc) / self.scale
        value = constant - torch.log(self.scale) - (nu + 1) / 2 * torch.log1p(standard**2 / nu)
        return _summed(value, self.present)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draws on the real line by the polar method (Bailey 1994)."""
        first, second = _uniform(self.loc, generator), _uniform(self.loc, generator)
        radius = (self.freedom * (first ** (-2 / self.freedom) - 1)).sqrt()
        return self.loc + self.scale * radius * torch.cos(2 * math.pi * second)


@dataclass(frozen=True)
class DiscretizedLogistic:
    """Mass of a logistic in the bins of `levels` equally spaced values of [0, 1].

    The first and last bin reach to −∞ and +∞ (Kingma et al. 2016; Salimans et al. 2017). With bin
    edges a < b (standardised), log(σ(b) − σ(a)) = log σ(b) + log σ(−a) + log(1 − e^{−(b − a)}), an
    identity without cancellation; b − a is the same in every bin.
    """

    loc: Tensor
    scale: Tensor
    levels: int

    @property
    def _half_bin(self) -> float:
        return 0.5 / (self.levels - 1)

    def _elementwise(self, x: Tensor) -> Tensor:
        width = 2 * self._half_bin / self.scale
        upper = (x + self._half_bin - self.loc) / self.scale
        not_first = unit_step_(x - self._half_bin)
        not_last = unit_step_((1 - self._half_bin) - x)
        inside = not_first * not_last * torch.log(-torch.expm1(-width))
        a, b = (upper - width).detach(), upper.detach()
        value = inside.sub(not_last * log1p_exp(-b)).sub_(not_first * log1p_exp(a))
        if not torch.is_grad_enabled():
            return value
        below, above = not_last * (-b).sigmoid_(), not_first * a.sigmoid()
        return with_slopes(value, (upper, below - above), (width, above))

    def log_prob(self, x: Tensor) -> Tensor:
        """Log mass of x, nats."""
        return self._elementwise(x).sum(-1)

    def parameters(self) -> tuple[Tensor, ...]:
        """μ."""
        return (self.loc,)

    def expansion(self, x: Tensor) -> tuple[Expansion, ...]:
        """See `expansion_of`; −∂² = (F(b)(1 − F(b)) + F(a)(1 − F(a)))/s² at a cell's edges."""
        half = self._half_bin
        b = ((x + half - self.loc) / self.scale).sigmoid_()
        a = ((x - half - self.loc) / self.scale).sigmoid_()
        above, below = unit_step_((1 - half) - x), unit_step_(x - half)
        slope = (below * a - above * (1 - b)) / self.scale
        curvature = (below * a * (1 - a) + above * b * (1 - b)) / self.scale.square()
        return (Expansion(slope, curvature),)

    def level_log_mass(self, x: Tensor, levels: int) -> Tensor:
        """Log mass of the data's own levels, which is what it is."""
        return self.log_prob(x)

    @property
    def mean(self) -> Tensor:
        """Σ value · mass over the levels: Σ of P(x ≥ each level above the first) / (levels − 1)."""
        edges = torch.arange(1, self.levels, device=self.loc.device, dtype=self.loc.dtype)
        edges = (edges - 0.5) / (self.levels - 1)
        total = torch.zeros_like(self.loc + self.scale)
        for edge in edges:
            total = total + torch.sigmoid((self.loc - edge) / self.scale)
        return total / (self.levels - 1)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draws on the grey levels of [0, 1]."""
        uniform = _uniform(self.loc, generator)
        continuous = self.loc + self.scale * torch.logit(uniform)
        return (continuous.clamp(0, 1) * (self.levels - 1)).round() / (self.levels - 1)
