"""Masses of grey levels against verified tables, and expansions against differences."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from vae_ablation.models import count_distributions as counts
from vae_ablation.models.distributions import (
    Bernoulli,
    ContinuousBernoulli,
    DiscretizedLogistic,
    Gaussian,
    expansion_of,
    level_expansion_of,
    level_log_mass,
    parameters_of,
)

MU, S = 0.3, 0.2
# by scipy with tails that do not cancel, μ 0.3 and scale 0.2: masses of the first, middle and last
# of 17 and of 256 levels, outer cells open
OPEN = {
    ("gaussian", 17): (0.0895146214, 0.0756151037, 4.132709e-4),
    ("gaussian", 256): (0.0680863436, 0.0046980120, 2.413331e-4),
    ("logistic", 17): (0.2068940488, 0.0613962316, 3.410043e-2),
    ("logistic", 256): (0.1838922989, 0.0038376264, 2.959247e-2),
}


def wide(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def masses(distribution: Any, levels: int) -> np.ndarray:
    """The mass of every level of one dimension."""
    x = torch.arange(levels, dtype=torch.float64)[:, None] / (levels - 1)
    found = level_log_mass(distribution, x, levels)
    assert found is not None
    return found.exp().numpy()


@pytest.mark.parametrize(("family", "levels"), OPEN)
def test_masses_with_open_cells_are_those_of_the_table(family: str, levels: int) -> None:
    loc, scale = wide(MU), wide(S)
    gaussian = family == "gaussian"
    one = Gaussian(loc, scale) if gaussian else DiscretizedLogistic(loc, scale, levels)
    found = masses(one, levels)
    middle = 8 if levels == 17 else 128
    np.testing.assert_allclose(found[[0, middle, -1]], OPEN[family, levels], rtol=2e-6)
    assert found.sum() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("eta", [-20.0, -3.0, -1e-3, 0.0, 0.5, 3.0, 14.0])
@pytest.mark.parametrize("levels", [2, 17, 256])
def test_equal_cells_of_the_continuous_bernoulli_are_its_integrals(eta: float, levels: int) -> None:
    edges = np.linspace(0, 1, levels + 1)
    cdf = edges if abs(eta) < 1e-9 else np.expm1(eta * edges) / np.expm1(eta)
    found = masses(ContinuousBernoulli(wide(eta)), levels)
    np.testing.assert_allclose(found, np.diff(cdf), rtol=1e-6, atol=1e-14)
    assert found.sum() == pytest.approx(1, abs=1e-8)
    # a truncated geometric law
    np.testing.assert_allclose(found[1:] / found[:-1], math.exp(eta / levels), rtol=1e-9)


def test_a_far_tail_keeps_its_logarithm_and_a_gradient_towards_the_data() -> None:
    x = wide(9 / 16)
    loc = wide(0.0).requires_grad_()
    found = level_log_mass(Gaussian(loc, wide(0.01)), x, 17)
    assert found is not None
    assert float(found) == pytest.approx(-1416.0247527, rel=1e-9)
    found.sum().backward()
    assert loc.grad is not None
    assert 0 < float(loc.grad) < math.inf


@pytest.mark.parametrize("scale", [0.011, 0.05, 0.3, 3.0])
def test_single_precision_is_near_scipy_everywhere(scale: float) -> None:
    loc = torch.linspace(-0.5, 1.5, 41)
    half, step = 0.5 / 255, 1 / 255
    for level in (0, 1, 100, 254, 255):
        x = np.float64(level) * step
        low = -np.inf if level == 0 else (x - half - loc.double().numpy()) / scale
        high = np.inf if level == 255 else (x + half - loc.double().numpy()) / scale
        upper = (np.asarray(low) + np.asarray(high)) > 0
        a, b = np.where(upper, -np.asarray(high), low), np.where(upper, -np.asarray(low), high)
        truth = stats.norm.logcdf(b) + np.log1p(
            -np.exp(stats.norm.logcdf(a) - stats.norm.logcdf(b))
        )
        for one in range(len(loc)):
            found = level_log_mass(
                Gaussian(loc[one : one + 1], torch.tensor([scale])), torch.tensor([float(x)]), 256
            )
            assert found is not None
            assert float(found) == pytest.approx(truth[one], rel=2e-5, abs=3e-4)


def test_a_density_of_dequantised_data_is_below_its_mass() -> None:
    """E log p(x + u) ≤ log ∫ p over a closed cell (Theis et al. 2016)."""
    gaussian, x = Gaussian(wide(MU), wide(S)), wide(8 / 16)
    u = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000 - 0.5
    density = gaussian.log_prob((x + u / 16)[:, None]).mean() - math.log(16)
    mass = level_log_mass(gaussian, x, 17)
    assert mass is not None
    assert 0 < float(mass - density) < 0.01


@dataclass(frozen=True)
class Laplace:
    """A part of someone else's, which knows its distribution function alone."""

    loc: Tensor
    scale: Tensor

    @property
    def mean(self) -> Tensor:
        return self.loc

    def log_prob(self, x: Tensor) -> Tensor:
        return (-(x - self.loc).abs() / self.scale - (2 * self.scale).log()).sum(-1)

    def cdf(self, x: Tensor) -> Tensor:
        below = 0.5 * (-(x - self.loc).abs() / self.scale).exp()
        return torch.where(x < self.loc, below, 1 - below)


def test_a_part_with_a_cdf_has_masses_and_one_without_has_none() -> None:
    table = (0.1304327931, 0.0577153398, 1.765216e-2)
    found = masses(Laplace(wide(MU), wide(S)), 17)
    np.testing.assert_allclose(found[[0, 8, -1]], table, rtol=2e-6)
    poisson = counts.Poisson(wide(0.0))
    assert level_log_mass(poisson, wide(0.0), 17) is None


# --- expansions ----------------------------------------------------------------------------------

X = torch.tensor([0.0, 0.25, 1.0], dtype=torch.float64)
COUNTED = torch.tensor([0.0, 3.0, 40.0], dtype=torch.float64)
DISTRIBUTIONS: dict[str, tuple[Any, Tensor]] = {
    "bernoulli": (Bernoulli(wide(-2.0, 0.3, 4.0)), torch.tensor([0.0, 1.0, 1.0]).double()),
    "continuous_bernoulli": (ContinuousBernoulli(wide(-8.0, 0.1, 3.0)), X),
    "gaussian": (Gaussian(wide(0.1, 0.5, 0.7), wide(0.2, 0.1, 0.4)), X),
    "discretized_logistic": (
        DiscretizedLogistic(wide(0.1, 0.5, 0.7), wide(0.2, 0.1, 0.4), 17), X,
    ),
    "poisson": (counts.Poisson(wide(0.2, 1.0, 3.0)), COUNTED),
    "negative_binomial": (
        counts.NegativeBinomial(wide(0.2, 1.0, 3.0), wide(0.0, 1.0, 2.0)), COUNTED,
    ),
    "zinb": (
        counts.ZeroInflatedNegativeBinomial(
            wide(0.2, 1.0, 3.0), wide(0.0, 1.0, 2.0), wide(-1.0, 0.5, 0.0)
        ), COUNTED,
    ),
    "log_normal": (
        counts.LogNormalGaussian(wide(0.2, 1.0, 3.0), wide(0.5, 0.4, 0.3), wide(900.0)), COUNTED,
    ),
}  # fmt: skip
EXPECTED = {"negative_binomial", "zinb"}
"""Their curvature is that of Fisher where x > 0."""


def perturbed(distribution: Any, place: int, step: float) -> Any:
    """With a step added to one of its parameters."""
    parameters = parameters_of(distribution)
    fields = vars(distribution)
    name = next(key for key, value in fields.items() if value is parameters[place])
    return type(distribution)(**{**fields, name: parameters[place] + step})


def elementwise(distribution: Any, x: Tensor) -> Tensor:
    """Log p of each dimension."""
    fields = {
        key: value[:, None] if isinstance(value, Tensor) and value.numel() == 3 else value
        for key, value in vars(distribution).items()
    }
    return type(distribution)(**fields).log_prob(x[:, None])


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_slopes_and_curvatures_are_those_of_differences(name: str) -> None:
    distribution, x = DISTRIBUTIONS[name]
    step = 1e-3
    dispersed = name in EXPECTED
    for place, found in enumerate(expansion_of(distribution, x)):
        below, here, above = (
            elementwise(perturbed(distribution, place, each), x) for each in (-step, 0.0, step)
        )
        slope, second = (above - below) / (2 * step), -(above - 2 * here + below) / step**2
        torch.testing.assert_close(found.slope.expand(3), slope, atol=2e-4, rtol=1e-3)
        kept = x == 0 if name in EXPECTED else torch.ones(3, dtype=torch.bool)
        truth = second.clamp(min=0)
        last = place == len(parameters_of(distribution)) - 1
        if name == "negative_binomial" or (dispersed and last):
            kept = torch.zeros(3, dtype=torch.bool)
        torch.testing.assert_close(
            found.curvature.expand(3)[kept], truth[kept], atol=2e-3, rtol=5e-3
        )
        assert (found.curvature >= 0).all()


def test_the_curvature_of_the_negative_binomial_is_its_fisher_information() -> None:
    mean, theta = 2.5, 1.7
    x = torch.arange(400, dtype=torch.float64)[:, None]
    one = counts.NegativeBinomial(wide(math.log(mean)), wide(math.log(theta)))
    mass = one.log_prob(x).exp()
    found, _ = expansion_of(one, x)
    fisher = float((mass * found.slope[:, 0].square()).sum())
    assert fisher == pytest.approx(float(found.curvature[0]), rel=1e-3)


@pytest.mark.parametrize("name", ["gaussian", "continuous_bernoulli"])
def test_expansions_of_masses_are_those_of_differences(name: str) -> None:
    distribution, x = DISTRIBUTIONS[name]
    step = 1e-3

    def of(each: float) -> Tensor:
        moved = perturbed(distribution, 0, each)
        fields = {key: value[:, None] for key, value in vars(moved).items() if value is not None}
        found = level_log_mass(type(moved)(**fields), x[:, None], 17)
        assert found is not None
        return found

    (found,) = level_expansion_of(distribution, x, 17)
    slope = (of(step) - of(-step)) / (2 * step)
    second = -(of(step) - 2 * of(0.0) + of(-step)) / step**2
    torch.testing.assert_close(found.slope, slope, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(found.curvature, second, atol=2e-3, rtol=2e-3)


def test_a_part_without_expansions_is_differentiated() -> None:
    @dataclass(frozen=True)
    class Plain:
        loc: Tensor
        scale: Tensor

        @property
        def mean(self) -> Tensor:
            return self.loc

        def log_prob(self, x: Tensor) -> Tensor:
            return (-0.5 * ((x - self.loc) / self.scale) ** 2).sum(-1)

    loc = wide(0.1, 0.5, 0.7)
    assert len(parameters_of(Plain(loc, wide(0.2)))) == 1
    (found,) = expansion_of(Plain(loc, wide(0.2)), X)
    torch.testing.assert_close(found.slope, (X - loc) / 0.04)
    torch.testing.assert_close(found.curvature, torch.full((3,), 25.0).double())
