"""Laplace and Student-t against scipy, and missing numbers in every density of tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from support import given, model_options
from vae_ablation.data.base import Observed
from vae_ablation.models.distributions import Gaussian, Laplace, StudentT
from vae_ablation.models.likelihoods import LIKELIHOODS

RANDOM = np.random.default_rng(0)
LOC, SCALE = torch.tensor([-1.5, 0.0, 40.0]), torch.tensor([0.02, 1.0, 7.0])


def made(name: str, loc: Any = LOC, scale: Any = SCALE, present: Any = None) -> Any:
    if name == "student_t":
        return StudentT(loc, scale, 3.5, present)
    return {"gaussian": Gaussian, "laplace": Laplace}[name](loc, scale, present)


def truth(name: str, loc: Any = LOC, scale: Any = SCALE) -> Any:
    place = {"loc": np.asarray(loc), "scale": np.asarray(scale)}
    if name == "student_t":
        return stats.t(3.5, **place)
    return {"gaussian": stats.norm, "laplace": stats.laplace}[name](**place)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["gaussian", "laplace", "student_t"])
def test_densities_are_scipys(name: str, dtype: torch.dtype) -> None:
    x = torch.tensor(RANDOM.normal(0, 3, (200, 3)) * SCALE.numpy() + LOC.numpy()).to(dtype)
    found = made(name, LOC.to(dtype), SCALE.to(dtype)).log_prob(x)
    expected = truth(name, LOC.to(dtype), SCALE.to(dtype)).logpdf(x.numpy()).sum(1)
    np.testing.assert_allclose(
        found.numpy(), expected, rtol=2e-5 if dtype == torch.float32 else 1e-10
    )


@pytest.mark.parametrize("name", ["laplace", "student_t"])
def test_densities_integrate_to_one(name: str) -> None:
    one = made(name, torch.tensor([0.3], dtype=torch.float64), torch.tensor([2.0]))

    def density(x: float) -> float:
        return float(one.log_prob(torch.tensor([x], dtype=torch.float64)).exp())

    total, _ = integrate.quad(density, -np.inf, 0.3)
    rest, _ = integrate.quad(density, 0.3, np.inf)
    assert total + rest == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", ["laplace", "student_t"])
def test_samples_are_from_scipys_distribution_and_repeat(name: str) -> None:
    one = made(name, LOC.expand(20_000, 3), SCALE)
    drawn = one.sample(torch.Generator().manual_seed(0))
    assert torch.equal(drawn, one.sample(torch.Generator().manual_seed(0)))
    for column in range(3):
        law = truth(name, LOC[column], SCALE[column])
        assert stats.kstest(drawn[:, column].numpy(), law.cdf).pvalue > 1e-3
    np.testing.assert_allclose(one.mean[0], LOC)


@pytest.mark.parametrize("name", ["gaussian", "laplace", "student_t"])
def test_missing_numbers_have_no_part_in_density_and_gradient(name: str) -> None:
    present = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    loc = torch.randn(2, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    scale = torch.ones(3).requires_grad_()
    x = torch.zeros(2, 3)
    found = made(name, loc, scale, present).log_prob(x)
    law = truth(name, loc.detach(), scale.detach())
    np.testing.assert_allclose(
        found.detach(), (law.logpdf(x.numpy()) * present.numpy()).sum(1), rtol=1e-5
    )
    (gradient,) = torch.autograd.grad(found.sum(), loc)
    assert not gradient[present == 0].any()
    assert gradient[present == 1].all()


@pytest.mark.parametrize("name", ["laplace", "student_t"])
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    loc = torch.tensor([0.4, -2.0], dtype=torch.float64, requires_grad=True)
    scale = torch.tensor([0.5, 2.0], dtype=torch.float64, requires_grad=True)
    x = torch.tensor([1.0, 3.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda a, b: made(name, a, b).log_prob(x), (loc, scale))


def test_the_likelihood_takes_its_freedom_from_the_config() -> None:
    observed = Observed((3,), None, real=True)
    options = model_options(student_freedom=2.5)
    likelihood = LIKELIHOODS["student_t"]
    initial = likelihood.parameters(observed, options)
    x = torch.randn(5, 3)
    found = likelihood.distribution(torch.zeros(5, 3), initial, given(observed, options))
    expected = stats.t(2.5, scale=0.01 + np.exp(-1)).logpdf(x.numpy()).sum(1)
    np.testing.assert_allclose(found.log_prob(x), expected, rtol=1e-5)
