"""Distributions of counts against scipy, arbitrary precision, sums, integrals and limits."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats

from vae_ablation.models.count_distributions import (
    Joint,
    LogNormalGaussian,
    NegativeBinomial,
    Poisson,
    ZeroInflatedNegativeBinomial,
)
from vae_ablation.models.distributions import Distribution

COUNTS = [0.0, 1.0, 2.0, 3.0, 7.0, 30.0, 400.0, 5000.0, 1e5]
MEANS = [1e-12, 1e-6, 1e-3, 0.1, 1.0, 10.0, 999.0, 1e4, 1e6]
DISPERSIONS = [1e-6, 1e-3, 0.1, 0.5, 0.99, 1.0, 1.01, 5.0, 100.0, 1e4, 1e6, 1e8]


def wide(values: object) -> torch.Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.float64)


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def assert_same(
    ours: torch.Tensor, truth: torch.Tensor, rtol: float = 2e-6, atol: float = 1e-7
) -> None:
    np.testing.assert_allclose(ours.detach(), truth.detach(), rtol=rtol, atol=atol)


def grid(*axes: list[float], dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    """All combinations, [combinations, 1] each: one data dimension per log_prob."""
    return [
        torch.tensor(np.ravel(axis), dtype=dtype)[:, None]
        for axis in np.meshgrid(*axes, indexing="ij")
    ]


def logs(values: list[float]) -> list[float]:
    return [math.log(value) for value in values]


def gamma_ratio(x: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """log Γ(x + θ) − log Γ(θ) without cancellation, as a sum over the counts below x."""
    return np.array(
        [np.log(t + np.arange(int(n))).sum() for n, t in np.broadcast(x, theta)]
    ).reshape(np.broadcast(x, theta).shape)


def exact_negative_binomial(x: np.ndarray, mu: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """The textbook's log mass in float64, its gamma functions as finite sums."""
    log_q = -np.log1p(theta / mu)
    return gamma_ratio(x, theta) - special.gammaln(x + 1) - theta * np.log1p(mu / theta) + x * log_q


def exact_slopes(x: np.ndarray, mu: np.ndarray, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives of the textbook's log mass by log μ and by log θ, digammas as finite sums."""
    digammas = np.array(
        [(1 / (t + np.arange(int(n)))).sum() for n, t in np.broadcast(x, theta)]
    ).reshape(np.broadcast(x, theta).shape)
    by_mean = (x - mu) * theta / (theta + mu)
    by_dispersion = theta * (digammas - np.log1p(mu / theta) + (mu - x) / (mu + theta))
    return by_mean, by_dispersion


def parameters(tensors: list[torch.Tensor]) -> list[np.ndarray]:
    """What float32 parameters mean exactly: e^(log value) in float64."""
    return [tensor.double().exp().numpy() for tensor in tensors]


# --- log-masses against scipy -------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_poisson_is_scipys(dtype: torch.dtype) -> None:
    x, log_rate = grid(COUNTS, logs(MEANS), dtype=dtype)
    truth = stats.poisson.logpmf(x.double().numpy(), *parameters([log_rate]))[:, 0]
    ours = Poisson(log_rate).log_prob(x)
    assert ours.dtype == dtype
    rtol, atol = (1e-5, 2e-7) if dtype == torch.float32 else (1e-9, 1e-8)
    np.testing.assert_allclose(ours, truth, rtol=rtol, atol=atol)


def test_negative_binomial_is_scipys_with_n_theta_and_p_its_share() -> None:
    axes = (COUNTS, logs(MEANS), logs([t for t in DISPERSIONS if t <= 1e4]))
    x, log_mean, log_dispersion = grid(*axes)
    mu, theta = parameters([log_mean, log_dispersion])
    keep = mu / theta > 1e-3  # elsewhere scipy's own p = 1 − tiny has lost the digits of μ
    truth = stats.nbinom.logpmf(x.numpy(), theta, theta / (theta + mu))
    ours = NegativeBinomial(log_mean, log_dispersion).log_prob(x).numpy()[:, None]
    np.testing.assert_allclose(ours[keep], truth[keep], rtol=1e-7, atol=2e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_negative_binomial_keeps_its_digits_at_extreme_parameters(dtype: torch.dtype) -> None:
    x, log_mean, log_dispersion = grid(COUNTS, logs(MEANS), logs(DISPERSIONS), dtype=dtype)
    mu, theta = parameters([log_mean, log_dispersion])
    truth = exact_negative_binomial(x.double().numpy(), mu, theta)[:, 0]
    ours = NegativeBinomial(log_mean, log_dispersion).log_prob(x)
    assert ours.dtype == dtype
    rtol, atol = (2e-5, 3e-7) if dtype == torch.float32 else (1e-8, 1e-8)
    # the truth itself is a difference of terms of up to 1e5·log(1e8)
    np.testing.assert_allclose(ours, truth, rtol=rtol, atol=atol)


@pytest.mark.parametrize("gate", [-12.0, -1.0, 0.0, 3.0, 12.0])
def test_zero_inflated_negative_binomial_is_the_mixture_of_scipys(gate: float) -> None:
    x, log_mean, log_dispersion = grid([0.0, 1.0, 9.0], logs([1e-3, 1.0, 50.0]), logs([0.1, 9.0]))
    mu, theta = parameters([log_mean, log_dispersion])
    mass = stats.nbinom.pmf(x.numpy(), theta, theta / (theta + mu))
    pi = 1 / (1 + math.exp(-gate))
    truth = np.log(np.where(x == 0, pi, 0) + (1 - pi) * mass)[:, 0]
    gates = torch.full_like(x, gate)
    ours = ZeroInflatedNegativeBinomial(log_mean, log_dispersion, gates).log_prob(x)
    np.testing.assert_allclose(ours, truth, rtol=1e-8, atol=1e-8)


def log_normal(dtype: torch.dtype = torch.float64) -> LogNormalGaussian:
    return LogNormalGaussian(
        torch.tensor([[-1.0, 0.5, 2.0], [3.0, 0.0, 1.0]], dtype=dtype),
        torch.tensor([0.3, 0.8, 1.5], dtype=dtype),
        torch.tensor([[2000.0], [15000.0]], dtype=dtype),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log_normal_gaussian_is_scipys_shifted_log_normal(dtype: torch.dtype) -> None:
    ours = log_normal(dtype)
    x = torch.tensor([[0.0, 3.0, 100.0], [1.0, 0.0, 2.5]], dtype=dtype)
    # x + library/target is log-normal: its logarithm is y + log(library/target)
    shift = ours.library.double().numpy() / 1e4
    truth = stats.lognorm.logpdf(
        x.double().numpy(),
        ours.scale.double().numpy(),
        loc=-shift,
        scale=shift * np.exp(ours.loc.double().numpy()),
    ).sum(-1)
    np.testing.assert_allclose(ours.log_prob(x), truth, rtol=2e-6 if dtype.itemsize == 4 else 1e-12)
    assert ours.log_normalized_mean is ours.loc


# --- everything sums or integrates to one -------------------------------------------------------


@pytest.mark.parametrize("mean", [1e-6, 0.3, 4.0, 700.0])
@pytest.mark.parametrize("theta", [0.05, 1.0, 30.0, 1e8])
def test_masses_sum_to_one_and_have_their_mean_and_variance(mean: float, theta: float) -> None:
    # the tail falls by e every μ/θ counts
    x = torch.arange(0, 200 + 10 * mean + 30 * mean / theta, dtype=torch.float64)[:, None]
    log_mean, log_dispersion = wide([math.log(mean)]), wide([math.log(theta)])
    for distribution, variance in (
        (NegativeBinomial(log_mean, log_dispersion), mean + mean**2 / theta),
        (Poisson(log_mean), mean),
    ):
        mass = distribution.log_prob(x).exp()
        assert float(mass.sum()) == pytest.approx(1, abs=1e-7)
        assert float((mass * x[:, 0]).sum()) == pytest.approx(mean, rel=1e-6)
        spread = (mass * (x[:, 0] - mean).square()).sum()
        assert float(spread) == pytest.approx(variance, rel=1e-6)
    gated = ZeroInflatedNegativeBinomial(log_mean, log_dispersion, wide([0.7]))
    mass = gated.log_prob(x).exp()
    assert float(mass.sum()) == pytest.approx(1, abs=1e-7)
    assert float((mass * x[:, 0]).sum()) == pytest.approx(float(gated.mean), rel=1e-6)


@pytest.mark.parametrize(("loc", "scale"), [(-0.5, 0.2), (1.0, 0.5), (2.5, 1.0)])
@pytest.mark.parametrize("library", [500.0, 20_000.0])
def test_the_log_normal_density_integrates_to_one_with_its_mean(
    loc: float, scale: float, library: float
) -> None:
    distribution = LogNormalGaussian(wide([loc]), wide([scale]), wide([library]))
    unit = library / 1e4

    def density(x: float) -> float:
        return float(distribution.log_prob(wide([x])).exp())

    # the support reaches down to −library/target, where 1 + x·target/library is 0
    edges = unit * np.expm1(loc + scale * np.linspace(-9, 9, 19))
    mass = sum(integrate.quad(density, *pair)[0] for pair in pairwise(edges))
    mean = sum(integrate.quad(lambda x: x * density(x), *pair)[0] for pair in pairwise(edges))
    assert mass == pytest.approx(1, abs=1e-7)
    assert float(distribution.mean) == pytest.approx(max(mean, 0.0), rel=1e-5)


# --- limits -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_negative_binomial_becomes_poisson_as_theta_grows(dtype: torch.dtype) -> None:
    x, log_mean = grid([0.0, 1.0, 5.0, 60.0, 1000.0], logs([1e-6, 0.1, 3.0, 900.0]), dtype=dtype)
    poisson = Poisson(log_mean).log_prob(x)
    mu, counts = log_mean[:, 0].exp(), x[:, 0]
    differences = [
        NegativeBinomial(log_mean, torch.full_like(x, math.log(theta))).log_prob(x) - poisson
        for theta in (1e6, 1e8)
    ]
    # the first term of the expansion in 1/θ
    first = ((counts - mu).square() - counts) / 2
    for difference, theta in zip(differences, (1e6, 1e8), strict=True):
        rounding = (1e-6 if dtype == torch.float32 else 1e-8) * (
            1 + poisson.abs() + (counts - mu).abs()
        )
        bound = 2e-3 * (first / theta).abs() + rounding
        assert ((difference - first / theta).abs() <= bound).all()
    infinite = NegativeBinomial(log_mean, torch.full_like(x, 500.0)).log_prob(x)
    np.testing.assert_allclose(infinite, poisson, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_inflated_becomes_negative_binomial_as_the_gate_closes(dtype: torch.dtype) -> None:
    x, log_mean, log_dispersion = grid(
        [0.0, 1.0, 40.0], logs([0.1, 3.0, 30.0]), logs([0.3, 2.0, 1e6]), dtype=dtype
    )
    truth = NegativeBinomial(log_mean, log_dispersion)
    never = ZeroInflatedNegativeBinomial(log_mean, log_dispersion, torch.full_like(x, -80.0))
    assert torch.equal(never.log_prob(x), truth.log_prob(x))
    assert_same(never.mean, truth.mean)
    always = ZeroInflatedNegativeBinomial(log_mean, log_dispersion, torch.full_like(x, 80.0))
    np.testing.assert_allclose(always.log_prob(x)[x[:, 0] == 0], 0, atol=1e-4)
    assert (always.log_prob(x)[x[:, 0] > 0] < -75).all()
    assert always.mean.max() < 1e-30


# --- gradients ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_negative_binomials_gradients_are_the_exact_ones(dtype: torch.dtype) -> None:
    x, log_mean, log_dispersion = grid(COUNTS, logs(MEANS), logs(DISPERSIONS), dtype=dtype)
    mu, theta = parameters([log_mean, log_dispersion])
    by_mean, by_dispersion = exact_slopes(x.double().numpy(), mu, theta)
    value = NegativeBinomial(log_mean.requires_grad_(), log_dispersion.requires_grad_()).log_prob(x)
    ours = torch.autograd.grad(value.sum(), (log_mean, log_dispersion))
    rtol, atol = (1e-5, 3e-6) if dtype == torch.float32 else (1e-6, 2e-6)
    scale = (x.detach().double().numpy() + mu) * theta / (theta + mu)
    assert (np.abs(ours[0].double().numpy() - by_mean) <= 1e-5 * scale).all()
    difference = np.abs(ours[1].double().numpy() - by_dispersion)
    # the truth subtracts terms of size θ·digamma: look where float64 leaves it digits
    known = theta * np.log1p((x.numpy() + mu) / theta) < 1e8
    assert (difference <= rtol * np.abs(by_dispersion) + atol)[known].all()
    assert known.mean() > 0.8


def test_the_slope_by_dispersion_keeps_its_digits_where_it_is_tiny() -> None:
    counts, mu = [0.0, 1.0, 4.0, 20.0], [0.5, 3.0]
    x, log_mean, log_dispersion = grid(counts, logs(mu), logs([1e4, 1e6, 1e8]), dtype=torch.float32)
    value = NegativeBinomial(log_mean, log_dispersion.requires_grad_()).log_prob(x)
    (ours,) = torch.autograd.grad(value.sum(), log_dispersion)
    rate, theta = parameters([log_mean, log_dispersion.detach()])
    # −∂/∂log θ of ((x − μ)² − x)/(2θ), the first term in 1/θ: 1e-9 to 1e-2 here
    first = (x.numpy() - (x.numpy() - rate) ** 2) / (2 * theta)
    np.testing.assert_allclose(ours, first, rtol=5e-3)


def hard_cases() -> list[torch.Tensor]:
    far = [-1e4, -200.0, -90.0, -28.0, 0.0, 14.0, 60.0, 90.0, 200.0, 1e4]
    return grid(COUNTS, far, [-1e4, -90.0, -14.0, 0.0, 18.4, 90.0, 1e4], dtype=torch.float32)


@pytest.mark.parametrize("gate", [None, -1e4, -90.0, 0.0, 90.0, 1e4])
def test_values_and_gradients_stay_finite_far_outside_the_range(gate: float | None) -> None:
    x, log_mean, log_dispersion = hard_cases()
    leaves = [log_mean.requires_grad_(), log_dispersion.requires_grad_()]
    if gate is None:
        value = NegativeBinomial(*leaves).log_prob(x)
    else:
        leaves.append(torch.full_like(x, gate).requires_grad_())
        value = ZeroInflatedNegativeBinomial(*leaves).log_prob(x)
    assert torch.isfinite(value).all()
    assert (value <= 1e-3).all()
    for gradient in torch.autograd.grad(value.sum(), leaves):
        assert torch.isfinite(gradient).all()


def test_the_poissons_gradient_is_x_minus_its_mean() -> None:
    x, log_rate = grid(COUNTS, [-1e4, -27.0, 0.0, 3.0, 13.8], dtype=torch.float32)
    value = Poisson(log_rate.requires_grad_()).log_prob(x)
    (gradient,) = torch.autograd.grad(value.sum(), log_rate)
    assert torch.isfinite(value).all()
    assert_same(gradient, x - log_rate.detach().exp())
    enormous = torch.tensor([1e4]).requires_grad_()
    value = Poisson(enormous).log_prob(torch.tensor([3.0]))
    assert torch.isfinite(value)
    assert torch.isfinite(torch.autograd.grad(value, enormous)[0]).all()


CASES: dict[str, Callable[..., Distribution]] = {
    "poisson": lambda a, b, c: Poisson(a),
    "negative_binomial": lambda a, b, c: NegativeBinomial(a, b),
    "zero_inflated_negative_binomial": ZeroInflatedNegativeBinomial,
    "log_normal_gaussian": lambda a, b, c: LogNormalGaussian(
        a, b.exp(), torch.full_like(a[..., :1], 3000.0)
    ),
}


def random_case(
    *leading: int, dtype: torch.dtype = torch.float64
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    rng = np.random.default_rng(3)
    shape = (*leading, 6)
    values = [torch.tensor(rng.normal(size=shape), dtype=dtype) for _ in range(3)]
    values[1] = values[1].mean(-2, keepdim=True)  # one dispersion per gene
    return torch.tensor(rng.poisson(1.5, size=shape), dtype=dtype), values


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    x, values = random_case(5)
    build = CASES[name]
    used = [value.requires_grad_() for value in values]

    def log_prob(*given: torch.Tensor) -> torch.Tensor:
        return build(*given).log_prob(x)

    assert torch.autograd.gradcheck(log_prob, tuple(used), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_the_value_is_the_same_with_and_without_gradients(name: str) -> None:
    x, values = random_case(5, dtype=torch.float32)
    with torch.no_grad():
        without = CASES[name](*values).log_prob(x)
    values = [value.requires_grad_() for value in values]
    assert torch.equal(without, CASES[name](*values).log_prob(x).detach())


@pytest.mark.parametrize("dispersion_per_cell", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_several_draws_of_a_cell_are_scored_as_each_alone(
    name: str, dispersion_per_cell: bool
) -> None:
    x, values = random_case(5, 3)
    x = x[:, :1]
    if dispersion_per_cell:
        values[1] = values[0].flip(0)
    used = [value.requires_grad_() for value in values]
    ours, theirs = (CASES[name](*used).log_prob(c) for c in (x, x.expand_as(values[0])))
    torch.testing.assert_close(ours, theirs)
    slopes, expected = (
        torch.autograd.grad(value.sum(), used, allow_unused=True, materialize_grads=True)
        for value in (ours, theirs)
    )
    torch.testing.assert_close(slopes, expected)


@pytest.mark.parametrize("shared_counts", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_vmap_gives_the_same_values_and_gradients_as_a_loop(name: str, shared_counts: bool) -> None:
    x, values = random_case(3, 5, dtype=torch.float32)
    x = x[0] if shared_counts else x
    weights = torch.linspace(0.5, 2, 15).reshape(3, 5)
    values = [value.requires_grad_() for value in values]

    def log_prob(counts: torch.Tensor, *given: torch.Tensor) -> torch.Tensor:
        return CASES[name](*given).log_prob(counts)

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # an operation without a batching rule warns
        in_dims = (None if shared_counts else 0, 0, 0, 0)
        packed = torch.func.vmap(log_prob, in_dims=in_dims)(x, *values)
    rows = [x] * 3 if shared_counts else list(x)
    looped = torch.stack([log_prob(rows[i], *(v[i] for v in values)) for i in range(3)])
    assert_same(packed, looped, rtol=1e-6, atol=1e-6)
    of_packed = torch.autograd.grad((weights * packed).sum(), values, allow_unused=True)
    of_looped = torch.autograd.grad((weights * looped).sum(), values, allow_unused=True)
    for ours, truth in zip(of_packed, of_looped, strict=True):
        assert (ours is None) == (truth is None)
        if ours is not None:
            assert_same(ours, truth, rtol=1e-5, atol=1e-6)


# --- samples ------------------------------------------------------------------------------------

DRAWS = 40_000


def gene(*values: float) -> torch.Tensor:
    return torch.tensor(values).expand(DRAWS, len(values))


SAMPLED: dict[str, tuple[Distribution, list[float], list[float]]] = {
    # distribution, its variance per dimension
    "poisson": (
        Poisson(gene(*logs([0.01, 0.7, 12.0, 3000.0]))),
        [0.01, 0.7, 12.0, 3000.0],
        [0.01, 0.7, 12.0, 3000.0],
    ),
    "negative_binomial": (
        NegativeBinomial(gene(*logs([0.05, 2.0, 300.0])), torch.tensor(logs([0.3, 5.0, 1e6]))),
        [0.05, 2.0, 300.0],
        [0.05 + 0.05**2 / 0.3, 2.0 + 4 / 5, 300.0 + 9e4 / 1e6],
    ),
    "zero_inflated_negative_binomial": (
        ZeroInflatedNegativeBinomial(
            gene(*logs([2.0, 40.0])), torch.tensor(logs([1.0, 8.0])), gene(0.0, -1.0)
        ),
        [1.0, 40 / (1 + math.exp(-1))],
        [
            0.5 * (2 + 4) + 0.25 * 4,
            (1 - special.expit(-1)) * (40 + 200) + special.expit(-1) * special.expit(1) * 1600,
        ],
    ),
    "log_normal_gaussian": (
        LogNormalGaussian(gene(2.0, 3.0), torch.tensor([0.2, 0.3]), torch.tensor([5000.0])),
        [0.5 * math.expm1(2.02), 0.5 * math.expm1(3.045)],
        [0.25 * math.expm1(0.04) * math.exp(4.04), 0.25 * math.expm1(0.09) * math.exp(6.09)],
    ),
}


@pytest.mark.parametrize("name", SAMPLED)
def test_samples_have_their_mean_and_variance(name: str) -> None:
    distribution, mean, variance = SAMPLED[name]
    draws = distribution.sample(stream(7)).double()
    np.testing.assert_allclose(distribution.mean[0], mean, rtol=1e-5)
    error = np.sqrt(np.array(variance) / DRAWS)
    assert (np.abs(draws.mean(0).numpy() - mean) <= 4.5 * error).all()
    squares = (draws - torch.tensor(mean)).square()
    error = squares.std(0) / math.sqrt(DRAWS)
    assert ((squares.mean(0) - torch.tensor(variance)).abs() <= 4.5 * error).all()


@pytest.mark.parametrize("name", SAMPLED)
def test_samples_lie_in_the_support_and_repeat_with_their_seed(name: str) -> None:
    distribution = SAMPLED[name][0]
    draws = distribution.sample(stream(3))
    assert draws.dtype == torch.float32
    assert torch.equal(draws, distribution.sample(stream(3)))
    assert not torch.equal(draws, distribution.sample(stream(4)))
    assert draws.min() >= 0
    if name != "log_normal_gaussian":
        assert torch.equal(draws, draws.round())


def test_the_frequencies_of_samples_are_the_masses() -> None:
    log_mean, theta = gene(math.log(1.3)), torch.tensor([math.log(0.6)])
    distribution = ZeroInflatedNegativeBinomial(log_mean, theta, gene(-0.5))
    draws = distribution.sample(stream(11))[:, 0]
    for count in range(6):
        share = float((draws == count).double().mean())
        mass = float(distribution.log_prob(torch.full((DRAWS, 1), float(count)))[0].exp())
        assert abs(share - mass) < 4.5 * math.sqrt(mass / DRAWS)


def test_samples_of_extreme_parameters_are_finite_counts() -> None:
    _, log_mean, log_dispersion = hard_cases()
    for draws in (
        Poisson(log_mean).sample(stream()),
        NegativeBinomial(log_mean, log_dispersion).sample(stream()),
    ):
        assert torch.isfinite(draws).all()
        assert draws.min() >= 0


def test_a_log_normal_below_zero_counts_is_zero() -> None:
    low = LogNormalGaussian(torch.full((4,), -5.0), torch.full((4,), 0.1), torch.tensor([1000.0]))
    assert torch.equal(low.mean, torch.zeros(4))
    assert torch.equal(low.sample(stream()), torch.zeros(4))


# --- two modalities -----------------------------------------------------------------------------


def rna_and_protein() -> tuple[Joint, Distribution, Distribution]:
    _, (log_mean, log_dispersion, gate) = random_case(5)
    rna = ZeroInflatedNegativeBinomial(log_mean[:, :4], log_dispersion[:, :4], gate[:, :4])
    protein = Poisson(log_mean[:, 4:] + 3)
    return Joint((rna, protein), (4, 2)), rna, protein


def test_a_joint_is_the_sum_of_its_parts() -> None:
    joint, rna, protein = rna_and_protein()
    x, _ = random_case(5)
    apart = torch.stack([rna.log_prob(x[:, :4]), protein.log_prob(x[:, 4:])], -1)
    assert_same(joint.log_probs(x), apart)
    assert_same(joint.log_prob(x), apart.sum(-1))
    assert_same(joint.mean, torch.cat([rna.mean, protein.mean], -1))


def test_a_joint_draws_its_parts_one_after_the_other() -> None:
    joint, rna, protein = rna_and_protein()
    one = stream(5)
    apart = [rna.sample(one), protein.sample(one)]
    assert torch.equal(joint.sample(stream(5)), torch.cat(apart, -1))


def test_a_joint_refuses_counts_of_another_width() -> None:
    joint, _, _ = rna_and_protein()
    with pytest.raises(RuntimeError, match="split"):
        joint.log_prob(torch.zeros(5, 7, dtype=torch.float64))
