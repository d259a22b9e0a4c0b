"""Decoder distributions against scipy, sums, integrals and series."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor

from vae_ablation.models.distributions import (
    Bernoulli,
    ContinuousBernoulli,
    DiscretizedLogistic,
    Distribution,
    Gaussian,
    expansion_of,
    parameters_of,
    softplus,
    with_slopes,
)
from vae_ablation.models.from_torch import FromTorch

LOGITS = np.array([-30.0, -7.5, -2.0, -0.3, -1e-3, 0.0, 1e-6, 0.05, 0.3, 1.5, 9.0, 40.0])


def wide(values: object) -> torch.Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.float64)


def elementwise(distribution: Callable[[torch.Tensor], Distribution], x: np.ndarray) -> np.ndarray:
    """log p of each x on its own: one data dimension per call's last axis."""
    return distribution(wide(x)[:, None]).log_prob(wide(x)[:, None]).numpy()


def uniform_stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- log-densities and log-masses against scipy ------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bernoulli_is_scipys(dtype: torch.dtype) -> None:
    logits = LOGITS[np.abs(LOGITS) < 16]
    p = 1 / (1 + np.exp(-logits))
    for x in (0.0, 1.0):
        ours = Bernoulli(torch.tensor(logits[:, None], dtype=dtype)).log_prob(
            torch.full((len(logits), 1), x, dtype=dtype)
        )
        assert ours.dtype == dtype
        rtol, atol = (1e-6, 1e-6) if dtype == torch.float32 else (1e-9, 1e-14)
        np.testing.assert_allclose(ours, stats.bernoulli.logpmf(x, p), rtol=rtol, atol=atol)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gaussian_is_scipys(dtype: torch.dtype) -> None:
    rng = np.random.default_rng(0)
    x, loc, scale = rng.normal(size=(3, 50, 4))
    scale = np.exp(scale)
    ours = Gaussian(torch.tensor(loc, dtype=dtype), torch.tensor(scale, dtype=dtype)).log_prob(
        torch.tensor(x, dtype=dtype)
    )
    truth = stats.norm.logpdf(x, loc, scale).sum(-1)
    np.testing.assert_allclose(ours, truth, rtol=2e-5 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize("levels", [17, 256])
@pytest.mark.parametrize(("loc", "scale"), [(0.5, 0.1), (0.02, 0.01), (-0.3, 0.2), (1.4, 0.5)])
def test_discretized_logistic_is_a_difference_of_scipys_distribution_function(
    levels: int, loc: float, scale: float
) -> None:
    values = np.arange(levels) / (levels - 1)
    half = 0.5 / (levels - 1)
    logistic = stats.logistic(loc, scale)
    # differences of whichever tail is small, so that scipy's own digits are not lost
    upper, lower = values + half, values - half
    mass = np.where(
        values < loc,
        np.where(values == 1, 1, logistic.cdf(upper))
        - np.where(values == 0, 0, logistic.cdf(lower)),
        np.where(values == 0, 1, logistic.sf(lower)) - np.where(values == 1, 0, logistic.sf(upper)),
    )
    x = wide(values)[:, None]
    ours = DiscretizedLogistic(wide([loc]), wide([scale]), levels).log_prob(x)
    np.testing.assert_allclose(ours, np.log(mass), rtol=1e-9, atol=1e-11)
    narrow = DiscretizedLogistic(torch.tensor([loc]), torch.tensor([scale]), levels)
    np.testing.assert_allclose(narrow.log_prob(x.float()), np.log(mass), rtol=1e-4, atol=1e-5)


def continuous_bernoulli_log_density(x: float, eta: float) -> float:
    """log of η e^(ηx) / (e^η − 1), written for η of either sign without overflow."""
    if eta == 0:
        return 0.0
    size = abs(eta)
    y = x if eta > 0 else 1 - x
    return math.log(size) - size * (1 - y) - math.log(-math.expm1(-size))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_continuous_bernoulli_is_its_closed_form(dtype: torch.dtype) -> None:
    rtol = 1e-6 if dtype == torch.float32 else 1e-10
    for eta in LOGITS[np.abs(LOGITS) != 1e-6]:
        for x in (0.0, 0.2, 0.5, 1.0):
            ours = ContinuousBernoulli(torch.tensor([eta], dtype=dtype)).log_prob(
                torch.tensor([x], dtype=dtype)
            )
            truth = continuous_bernoulli_log_density(x, eta)
            assert float(ours) == pytest.approx(truth, rel=10 * rtol, abs=10 * rtol)


# --- everything sums or integrates to one --------------------------------------------------------


def test_bernoulli_sums_to_one() -> None:
    total = sum(Bernoulli(wide(LOGITS)[:, None]).log_prob(wide([x])).exp() for x in (0.0, 1.0))
    np.testing.assert_allclose(total, 1, atol=1e-14)


@pytest.mark.parametrize("levels", [2, 17, 256])
@pytest.mark.parametrize("scale", [1e-4, 0.01, 0.1, 3.0, 1e4])
def test_discretized_logistic_sums_to_one(levels: int, scale: float) -> None:
    values = wide(np.arange(levels) / (levels - 1))[:, None, None]
    loc = wide([-2.0, 0.0, 0.31, 0.5, 1.0, 3.0])[:, None]
    total = DiscretizedLogistic(loc, wide([scale]), levels).log_prob(values).exp().sum(0)
    np.testing.assert_allclose(total, 1, atol=1e-9)


@pytest.mark.parametrize("levels", [17, 256])
def test_discretized_logistic_sums_to_one_in_float32(levels: int) -> None:
    values = torch.arange(levels)[:, None, None] / (levels - 1)
    loc = torch.tensor([-0.5, 0.0, 0.31, 1.0])[:, None]
    total = DiscretizedLogistic(loc, torch.tensor([0.03]), levels).log_prob(values).exp().sum(0)
    np.testing.assert_allclose(total, 1, atol=1e-4)


@pytest.mark.parametrize("eta", LOGITS)
def test_continuous_bernoulli_integrates_to_one(eta: float) -> None:
    def density(x: float) -> float:
        return float(ContinuousBernoulli(wide([eta])).log_prob(wide([x])).exp())

    total, _ = integrate.quad(density, 0, 1, points=[0.01, 0.1, 0.9, 0.99], epsabs=1e-11)
    assert total == pytest.approx(1, abs=1e-8)


@pytest.mark.parametrize("scale", [0.01, 1.0, 20.0])
def test_gaussian_integrates_to_one(scale: float) -> None:
    def density(x: float) -> float:
        return float(Gaussian(wide([0.3]), wide([scale])).log_prob(wide([x])).exp())

    total, _ = integrate.quad(density, 0.3 - 12 * scale, 0.3 + 12 * scale, limit=200)
    assert total == pytest.approx(1, abs=1e-8)


def test_log_prob_sums_over_the_last_axis_and_nothing_else() -> None:
    x = torch.rand(5, 3, 7, generator=uniform_stream())
    whole = Gaussian(torch.zeros(7), torch.ones(7)).log_prob(x)
    assert whole.shape == (5, 3)
    np.testing.assert_allclose(whole, stats.norm.logpdf(x.numpy()).sum(-1), rtol=1e-5)


# --- the continuous Bernoulli where its normaliser is 0/0 -----------------------------------------


def normalizer_series(eta: float) -> float:
    """log((e^η − 1)/η) to the eighth order, from the Bernoulli numbers."""
    return eta / 2 + eta**2 / 24 - eta**4 / 2880 + eta**6 / 181440 - eta**8 / 9676800


@pytest.mark.parametrize("eta", [1e-12, 1e-6, 1e-3, 0.02, 0.1, 0.1999, 0.2001, 0.3])
@pytest.mark.parametrize("sign", [-1, 1])
def test_the_normaliser_near_one_half_is_its_taylor_series(eta: float, sign: int) -> None:
    ours = float(ContinuousBernoulli(wide([sign * eta])).log_normalizer)
    assert ours == pytest.approx(normalizer_series(sign * eta), rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_density_mean_and_slope_are_continuous_across_the_switch_to_the_series(
    dtype: torch.dtype,
) -> None:
    tolerance = 3e-6 if dtype == torch.float32 else 1e-9
    for switch in (-0.2, 0.2):
        sides = [switch * (1 - 1e-7), switch * (1 + 1e-7)]
        eta = torch.tensor(sides, dtype=dtype, requires_grad=True)
        distribution = ContinuousBernoulli(eta)
        distribution.log_normalizer.sum().backward()
        for values in (distribution.log_normalizer, distribution.mean, eta.grad):
            below, above = values.detach().double().tolist()
            assert abs(above - below) < tolerance + 3e-8


def test_the_slope_of_the_normaliser_is_the_mean() -> None:
    eta = wide(LOGITS).requires_grad_()
    ContinuousBernoulli(eta).log_normalizer.sum().backward()
    np.testing.assert_allclose(eta.grad, ContinuousBernoulli(eta.detach()).mean, rtol=1e-7)


# --- means and samples --------------------------------------------------------------------------


@pytest.mark.parametrize("eta", [-20.0, -1.0, -0.1, 0.0, 0.19, 0.21, 3.0, 15.0])
def test_the_continuous_bernoullis_mean_is_the_integral_and_not_lambda(eta: float) -> None:
    truth, _ = integrate.quad(
        lambda x: x * math.exp(continuous_bernoulli_log_density(x, eta)), 0, 1, epsabs=1e-12
    )
    assert float(ContinuousBernoulli(wide([eta])).mean) == pytest.approx(truth, abs=1e-8)
    if abs(eta) > 0.05:
        assert abs(truth - 1 / (1 + math.exp(-eta))) > 0.01 or abs(eta) > 14


@pytest.mark.parametrize("levels", [17, 256])
@pytest.mark.parametrize(("loc", "scale"), [(0.5, 0.1), (0.0, 0.2), (1.3, 0.4), (-0.2, 0.05)])
def test_the_discretized_logistics_mean_is_the_sum_and_not_its_location(
    levels: int, loc: float, scale: float
) -> None:
    distribution = DiscretizedLogistic(wide([loc]), wide([scale]), levels)
    values = wide(np.arange(levels) / (levels - 1))
    truth = float((values * distribution.log_prob(values[:, None]).exp()).sum())
    assert float(distribution.mean) == pytest.approx(truth, abs=1e-10)
    if loc != 0.5:
        assert abs(truth - loc) > 0.01


DISTRIBUTIONS = {
    "bernoulli": lambda: Bernoulli(torch.linspace(-4, 4, 9)),
    "continuous_bernoulli": lambda: ContinuousBernoulli(torch.linspace(-12, 12, 9)),
    "gaussian": lambda: Gaussian(torch.linspace(-1, 1, 9), torch.linspace(0.1, 2, 9)),
    "logistic17": lambda: DiscretizedLogistic(
        torch.linspace(-0.3, 1.3, 9), torch.full((9,), 0.2), 17
    ),
    "logistic256": lambda: DiscretizedLogistic(
        torch.linspace(-0.3, 1.3, 9), torch.full((9,), 0.05), 256
    ),
}  # fmt: skip


def draws_of(distribution: Distribution, count: int) -> torch.Tensor:
    fields = vars(distribution)
    repeated = {
        name: value.expand(count, *value.shape) if isinstance(value, torch.Tensor) else value
        for name, value in fields.items()
    }
    return type(distribution)(**repeated).sample(uniform_stream(7))


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_the_average_of_samples_is_the_mean(name: str) -> None:
    distribution = DISTRIBUTIONS[name]()
    draws = draws_of(distribution, 40_000).double()
    error = draws.std(0) / math.sqrt(len(draws))
    assert ((draws.mean(0) - distribution.mean).abs() <= 4.5 * error + 1e-6).all()


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_the_average_log_prob_of_samples_is_minus_the_entropy_of_scipy(name: str) -> None:
    distribution = DISTRIBUTIONS[name]()
    draws = draws_of(distribution, 20_000)
    logs = distribution.log_prob(draws)
    if name == "gaussian":
        truth = -stats.norm(0, np.linspace(0.1, 2, 9)).entropy().sum()
    elif name == "bernoulli":
        truth = -stats.bernoulli(1 / (1 + np.exp(-np.linspace(-4, 4, 9)))).entropy().sum()
    elif name == "continuous_bernoulli":
        truth = sum(
            integrate.quad(
                lambda x, eta=eta: continuous_bernoulli_log_density(x, eta)
                * math.exp(continuous_bernoulli_log_density(x, eta)), 0, 1,
            )[0]
            for eta in np.linspace(-12, 12, 9)
        )  # fmt: skip
    else:
        levels = distribution.levels
        values = torch.arange(levels, dtype=torch.float64)[:, None] / (levels - 1)
        loc, scale = distribution.loc.double().numpy(), distribution.scale.double().numpy()
        edges = (np.arange(levels - 1) + 0.5)[:, None] / (levels - 1)
        cdf = np.vstack([np.zeros(9), stats.logistic.cdf(edges, loc, scale), np.ones(9)])
        mass = np.clip(np.diff(cdf, axis=0), 1e-300, None)
        truth = (mass * np.log(mass)).sum()
        assert len(values) == len(mass)
    error = float(logs.std()) / math.sqrt(len(logs))
    assert abs(float(logs.double().mean()) - truth) < 4.5 * error + 1e-4


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_samples_lie_in_the_support_and_repeat_with_their_seed(name: str) -> None:
    distribution = DISTRIBUTIONS[name]()
    draws = draws_of(distribution, 2000)
    assert draws.dtype == torch.float32
    assert torch.isfinite(draws).all()
    assert torch.equal(draws, draws_of(distribution, 2000))
    if name == "bernoulli":
        assert set(draws.unique().tolist()) == {0.0, 1.0}
    elif name.startswith("logistic"):
        steps = draws * (distribution.levels - 1)
        assert torch.allclose(steps, steps.round(), atol=1e-4)
    if name != "gaussian":
        assert draws.min() >= 0
        assert draws.max() <= 1


def test_samples_of_extreme_parameters_stay_finite_and_in_the_support() -> None:
    logits = torch.tensor([-1e4, -88.0, 0.0, 88.0, 1e4])
    for draws in (ContinuousBernoulli(logits).sample(), Bernoulli(logits).sample()):
        assert ((draws >= 0) & (draws <= 1)).all()
    far = DiscretizedLogistic(torch.tensor([-1e6, 0.5, 1e6]), torch.tensor([1e-8, 1e8, 1.0]), 17)
    draws = far.sample()
    assert ((draws >= 0) & (draws <= 1)).all()


# --- gradients ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [Bernoulli, ContinuousBernoulli])
def test_gradients_are_finite_at_extreme_logits(cls: type) -> None:
    sides = [0.0, 1e-30, 1e-6, 0.19999, 0.2, 0.20001, 1.0, 50.0, 104.0, 1e3, 1e4]
    logits = torch.tensor([s * v for v in sides for s in (-1, 1)]).requires_grad_()
    for x in (0.0, 0.5, 1.0):
        value = cls(logits).log_prob(torch.full_like(logits, x))
        (gradient,) = torch.autograd.grad(value, logits)
        assert torch.isfinite(value)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("levels", [17, 256])
@pytest.mark.parametrize("scale", [1e-6, 1e-2, 1.0, 1e6])
def test_gradients_of_the_discretized_logistic_are_finite(levels: int, scale: float) -> None:
    loc = torch.tensor([-1e4, -1.0, 0.0, 0.5, 1.0, 2.0, 1e4]).requires_grad_()
    scales = torch.full((7,), scale).requires_grad_()
    for x in (0.0, 8 / 16 if levels == 17 else 128 / 255, 1.0):
        value = DiscretizedLogistic(loc, scales, levels).log_prob(torch.full((7,), x))
        for gradient in torch.autograd.grad(value, (loc, scales)):
            assert torch.isfinite(gradient).all()
        assert torch.isfinite(value)


def test_gradients_of_the_gaussian_are_finite_at_its_floor() -> None:
    loc = torch.tensor([-1e4, 0.0, 1e4]).requires_grad_()
    scale = torch.tensor([0.01, 1.0, 1e6]).requires_grad_()
    value = Gaussian(loc, scale).log_prob(torch.zeros(3))
    for gradient in torch.autograd.grad(value, (loc, scale)):
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("x", [0.0, 1.0])
def test_the_bernoullis_gradient_is_x_minus_its_mean_also_at_logit_zero(x: float) -> None:
    logits = wide([-3.0, -1e-9, 0.0, 1e-9, 3.0]).requires_grad_()
    (gradient,) = torch.autograd.grad(Bernoulli(logits).log_prob(wide([x] * 5)), logits)
    np.testing.assert_allclose(gradient, x - 1 / (1 + np.exp(-logits.detach().numpy())), atol=1e-8)


def test_the_discretized_logistics_gradient_is_that_of_finite_differences() -> None:
    values = wide([0.0, 3 / 16, 0.5, 1.0])
    loc, scale = wide([0.1, 0.3, 0.46875, 0.8]), wide([0.05, 0.1, 0.2, 0.3])

    def log_mass(where: torch.Tensor, width: torch.Tensor) -> torch.Tensor:
        return DiscretizedLogistic(where, width, 17).log_prob(values)

    assert torch.autograd.gradcheck(
        log_mass, (loc.requires_grad_(), scale.requires_grad_()), atol=1e-6
    )


def test_softplus_is_within_a_rounding_of_one() -> None:
    x = np.concatenate([-np.logspace(-6, 4, 40), np.logspace(-6, 4, 40), [0.0]])
    ours = softplus(torch.tensor(x, dtype=torch.float32)).double().numpy()
    np.testing.assert_allclose(ours, np.logaddexp(0, x), rtol=3e-7, atol=1.2e-7)


def test_a_bernoulli_grows_with_the_logit_where_x_is_one() -> None:
    logs = [float(Bernoulli(wide([eta])).log_prob(wide([1.0]))) for eta in (-3, 0, 3)]
    assert all(low < high for low, high in pairwise(logs))


# --- gradients in closed form --------------------------------------------------------------------


def slopes_by_hand(value: Tensor, *slopes: tuple[Tensor, Tensor]) -> Tensor:
    """`with_slopes` in plain arithmetic, right where slopes are finite."""
    for parameter, slope in slopes:
        value = value + slope * (parameter - parameter.detach())
    return value


@pytest.mark.parametrize("in_dims", [(0, 0, 0), (1, 1, None), (0, None, 0), (None, 0, 1)])
def test_given_slopes_under_vmap_are_those_of_plain_arithmetic(
    in_dims: tuple[int | None, ...],
) -> None:
    generator = torch.Generator().manual_seed(0)

    def draw(dim: int | None, *shape: int) -> Tensor:
        whole = list(shape) if dim is None else [*shape[:dim], 2, *shape[dim:]]
        return torch.randn(whole, generator=generator).requires_grad_()

    value, wide, narrow = draw(in_dims[0], 4, 3), draw(in_dims[1], 4, 3), draw(in_dims[2], 3)

    def gradients(function: Callable[..., Tensor]) -> tuple[Tensor, ...]:
        def once(value: Tensor, wide: Tensor, narrow: Tensor) -> Tensor:
            fixed = wide.detach()
            return function(value, (wide, fixed.exp()), (narrow, narrow.detach() * fixed)).sin()

        result = torch.func.vmap(once, in_dims)(value, wide, narrow)
        return result, *torch.autograd.grad(result.square().sum(), (value, wide, narrow))

    for ours, theirs in zip(gradients(with_slopes), gradients(slopes_by_hand), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_slope_that_is_not_finite_leaves_the_value_alone() -> None:
    parameter = torch.zeros(3, requires_grad=True)
    slope = torch.tensor([1.0, math.inf, math.nan])
    value = with_slopes(torch.arange(3.0), (parameter, slope))
    assert value.tolist() == [0, 1, 2]
    (gradient,) = torch.autograd.grad(value.sum(), parameter)
    torch.testing.assert_close(gradient, slope, equal_nan=True)


class _Plain:
    """A geometric mass, no dataclass, as parts from outside may give it."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits

    @property
    def mean(self) -> Tensor:
        return self.logits.exp()

    def log_prob(self, x: Tensor) -> Tensor:
        return (x * self.logits - (x + 1) * self.logits.exp().log1p()).sum(-1)


def test_distributions_from_outside_are_expanded_by_differentiation() -> None:
    mean, scale, x = torch.tensor([[0.5, -1.0]]), torch.tensor([[2.0, 0.5]]), torch.ones(1, 2)
    normal = FromTorch(torch.distributions.Normal(mean, scale, validate_args=False))
    (first, second), (location, width) = parameters_of(normal), expansion_of(normal, x)
    assert torch.equal(first, mean)
    assert torch.equal(second, scale)
    assert location.slope == pytest.approx((x - mean) / scale**2)
    assert location.curvature == pytest.approx(scale**-2)
    assert width.slope == pytest.approx((x - mean) ** 2 / scale**3 - 1 / scale)
    logits = torch.tensor([[0.3, -0.2]])
    (found,), p = expansion_of(_Plain(logits), x), logits.sigmoid()  # type: ignore[arg-type]
    assert found.slope == pytest.approx(x - (x + 1) * p)
    assert found.curvature == pytest.approx((x + 1) * p * (1 - p))
    (own,) = parameters_of(_Plain(logits))  # type: ignore[arg-type]
    assert own is logits


def test_arguments_that_were_expanded_can_be_expanded_in() -> None:
    mean, scale = torch.tensor([[0.5, -1.0]]), torch.tensor([2.0]).expand(1, 2)
    tailed = torch.distributions.StudentT(4.0 + 0 * scale, mean, scale, validate_args=False)
    degrees, location, width = expansion_of(FromTorch(tailed, mean=mean), torch.ones(1, 2))
    off = 1 - mean
    assert location.slope == pytest.approx(5 * off / (4 * scale**2 + off**2))
    assert all(torch.isfinite(one.curvature).all() for one in (degrees, location, width))
