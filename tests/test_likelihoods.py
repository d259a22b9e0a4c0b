"""The registry: what each likelihood can stand on, and what its score may be compared with."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy import stats

from support import model_options
from vae_ablation.data.base import Observed
from vae_ablation.distributions import DiscretizedLogistic, Gaussian
from vae_ablation.likelihoods import LIKELIHOODS

GREY17 = Observed((4,), 17)
GREY256 = Observed((4,), 256)
SMOOTH = Observed((4,), None)
BINARY = Observed((4,), 2, binary=True)


def test_the_registry_has_the_four_likelihoods_under_their_names() -> None:
    assert set(LIKELIHOODS) == {
        "bernoulli", "continuous_bernoulli", "gaussian", "discretized_logistic"
    }  # fmt: skip
    assert all(likelihood.name == name for name, likelihood in LIKELIHOODS.items())


@pytest.mark.parametrize(
    ("name", "observed", "measure", "proper"),
    [
        ("bernoulli", BINARY, "binary/mass", True),
        ("bernoulli", GREY17, "grey/cross-entropy", False),
        ("bernoulli", SMOOTH, "grey/cross-entropy", False),
        ("continuous_bernoulli", GREY17, "grey/density", True),
        ("continuous_bernoulli", SMOOTH, "grey/density", True),
        ("continuous_bernoulli", BINARY, "binary/density", True),
        ("gaussian", GREY256, "grey/density", True),
        ("gaussian", BINARY, "binary/density", True),
        ("discretized_logistic", GREY17, "grey17/mass", True),
        ("discretized_logistic", GREY256, "grey256/mass", True),
        ("discretized_logistic", BINARY, "binary/mass", True),
    ],
)
def test_measure_and_marks(name: str, observed: Observed, measure: str, proper: bool) -> None:
    likelihood = LIKELIHOODS[name]
    assert likelihood.unsupported(observed) is None
    assert likelihood.measure(observed) == measure
    assert likelihood.proper(observed) is proper


def test_only_the_discretized_logistic_needs_grey_levels() -> None:
    refused = {name for name, one in LIKELIHOODS.items() if one.unsupported(SMOOTH)}
    assert refused == {"discretized_logistic"}


def test_a_bernoulli_on_grey_pixels_does_not_integrate_to_one() -> None:
    grid = torch.linspace(0, 1, 1001)[:, None]
    distribution = LIKELIHOODS["bernoulli"].distribution(
        torch.tensor([0.7]), {}, Observed((1,), None), model_options()
    )
    total = float(distribution.log_prob(grid).exp().mean())
    assert abs(total - 1) > 0.2


def test_gaussian_scales_are_fixed_scalar_or_per_dimension() -> None:
    gaussian = LIKELIHOODS["gaussian"]

    def scales(kind: str) -> list[int]:
        options = model_options(gaussian_scale=kind)
        return [len(scale) for scale in gaussian.parameters(GREY17, options).values()]

    sizes = {kind: scales(kind) for kind in ("fixed", "learned_scalar", "learned_per_dimension")}
    assert sizes == {"fixed": [], "learned_scalar": [1], "learned_per_dimension": [4]}
    fixed = model_options(gaussian_scale="fixed", gaussian_sigma=0.25)
    output = torch.zeros(2, 4)
    x = torch.rand(2, 4)
    ours = gaussian.distribution(output, {}, GREY17, fixed).log_prob(x)
    np.testing.assert_allclose(ours, stats.norm.logpdf(x.numpy(), 0, 0.25).sum(1), rtol=1e-5)


@pytest.mark.parametrize("name", ["gaussian", "discretized_logistic"])
def test_a_learned_scale_never_falls_below_its_floor(name: str) -> None:
    options = model_options(scale_floor=0.05)
    parameters = {
        key: torch.full_like(value, -1e4)
        for key, value in LIKELIHOODS[name].parameters(GREY17, options).items()
    }
    made = LIKELIHOODS[name].distribution(torch.zeros(4), parameters, GREY17, options)
    assert isinstance(made, (Gaussian, DiscretizedLogistic))
    np.testing.assert_allclose(made.scale, 0.05)


def test_the_continuous_bernoullis_logits_stay_within_their_clamp() -> None:
    options = model_options(logit_clamp=3.0)
    output = torch.tensor([-1e4, -1.0, 0.0, 1e-3, 1e4])
    made = LIKELIHOODS["continuous_bernoulli"].distribution(
        output, {}, Observed((5,), None), options
    )
    logits = made.logits  # type: ignore[attr-defined]
    assert logits.abs().max() <= 3
    np.testing.assert_allclose(logits[2:4], output[2:4], rtol=1e-5)


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("size", [0.0, 1.0, 1e2, 1e4])
def test_gradients_reach_the_decoder_finite_from_extreme_outputs(name: str, size: float) -> None:
    options = model_options()
    observed = BINARY if name == "bernoulli" else GREY17
    output = (size * torch.tensor([-1.0, 1.0, -0.5, 0.25])).requires_grad_()
    parameters = {
        key: value.requires_grad_()
        for key, value in LIKELIHOODS[name].parameters(observed, options).items()
    }
    for x in (torch.zeros(4), torch.ones(4), torch.tensor([0.0, 1.0, 0.5, 0.5])):
        log_prob = LIKELIHOODS[name].distribution(output, parameters, observed, options).log_prob(x)
        assert torch.isfinite(log_prob)
        for gradient in torch.autograd.grad(log_prob, [output, *parameters.values()]):
            assert torch.isfinite(gradient).all()


def test_reading_the_registry_imports_no_torch() -> None:
    code = "import sys, vae_ablation.likelihoods; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
