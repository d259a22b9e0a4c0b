"""Bounds on −log p(x) against exact marginals, quadrature and identities."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import logsumexp

from support import (
    CPU,
    examples,
    make_dataset,
    make_run,
    model_options,
    rate_per_dim,
    stacked,
    told_nothing,
    trained_model,
    training_settings,
)
from vae_ablation.data.base import Dataset, Observed
from vae_ablation.evaluation.bounds import (
    NllEstimate,
    decode_mean,
    distortions,
    encode,
    example_blocks,
    importance_nll,
    run_blocks,
)
from vae_ablation.models.streams import stream
from vae_ablation.models.vae import VAE
from vae_ablation.training.pack import train_pack

SIGMA = 0.4
DIMS, LATENT = 6, 3


def mean_bounds(*arguments: Any) -> NllEstimate:
    """Bounds averaged over the examples."""
    return importance_nll(*arguments).means()


def streams(count: int, purpose: str = "test") -> list[torch.Generator]:
    return [stream(seed, purpose) for seed in range(count)]


def linear_gaussian(seed: int = 0) -> tuple[VAE, np.ndarray, np.ndarray]:
    """A linear decoder with known W and b; its marginal is N(b, WWᵀ + σ²I)."""
    options = model_options(hidden=[], gaussian_scale="fixed", gaussian_sigma=SIGMA)
    model = VAE(Observed((DIMS,), None), "gaussian", LATENT, options, seed)
    rng = np.random.default_rng(seed)
    weight, bias = rng.normal(size=(DIMS, LATENT)) * 0.7, rng.normal(size=DIMS)
    layer = model.decoder.network[0]
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight))
        layer.bias.copy_(torch.tensor(bias))
    return model, weight, bias


def with_exact_posterior(model: VAE, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Give the encoder the posterior means, and the exact scales where WᵀW is diagonal."""
    inner = weight.T @ weight + SIGMA**2 * np.eye(LATENT)
    gain = np.linalg.solve(inner, weight.T)
    scales = np.sqrt(SIGMA**2 / np.diag(inner))
    layer = model.encoder.network[0]
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(np.vstack([gain, np.zeros_like(gain)])))
        layer.bias.copy_(torch.tensor(np.concatenate([-gain @ bias, np.log(scales)])))
    return scales


def marginal(weight: np.ndarray, bias: np.ndarray) -> stats.rv_continuous:
    covariance = weight @ weight.T + SIGMA**2 * np.eye(DIMS)
    return stats.multivariate_normal(bias, covariance)


@pytest.mark.parametrize("fitted", [True, False])
def test_nll_is_the_exact_marginal_of_a_linear_gaussian_model(fitted: bool) -> None:
    model, weight, bias = linear_gaussian()
    if fitted:
        with_exact_posterior(model, weight, bias)
    truth = marginal(weight, bias)
    x = truth.rvs(60, random_state=1)
    seen = examples(torch.tensor(x, dtype=torch.float32))
    pack = stacked([model])
    found = mean_bounds(pack, encode(pack, seen), seen, 4096, streams(1))
    assert float(found.nll[0]) == pytest.approx(-truth.logpdf(x).mean(), abs=0.05)
    assert float(found.gap[0]) < 0.1


def test_the_bound_is_exact_where_the_encoder_is_the_posterior() -> None:
    model, weight, bias = linear_gaussian()
    weight = np.linalg.qr(weight)[0] * np.array([1.2, 0.8, 0.4])
    with torch.no_grad():
        model.decoder.network[0].weight.copy_(torch.tensor(weight))
    with_exact_posterior(model, weight, bias)
    truth = marginal(weight, bias)
    x = truth.rvs(50, random_state=2)
    seen = examples(torch.tensor(x, dtype=torch.float32))
    pack = stacked([model])
    posterior = encode(pack, seen)
    exact = -truth.logpdf(x).mean()
    distortion = distortions(pack, posterior, seen, streams(1), [False])[0].mean()
    rate = float(rate_per_dim(posterior).double().sum(-1).mean())
    assert distortion + rate == pytest.approx(exact, abs=0.1)
    found = mean_bounds(pack, posterior, seen, 1024, streams(1))
    assert found.nll[0] == pytest.approx(exact, abs=0.02)
    # half of the samples come from the prior: the others alone would give an ESS of K/2
    assert 0.3 < found.ess[0] <= 1


def test_mean_distortion_is_the_closed_form_of_a_linear_gaussian_model() -> None:
    model, weight, bias = linear_gaussian(3)
    scales = with_exact_posterior(model, weight, bias)
    x = marginal(weight, bias).rvs(400, random_state=3)
    seen = examples(torch.tensor(x, dtype=torch.float32))
    pack = stacked([model])
    posterior = encode(pack, seen)
    residual = x - bias - posterior.mean[0].double().numpy() @ weight.T
    spread = (np.square(weight) * scales**2).sum()
    truth = 0.5 * (np.square(residual).sum(1).mean() + spread) / SIGMA**2
    truth += DIMS * math.log(SIGMA * math.sqrt(2 * math.pi))
    found = distortions(pack, posterior, seen, streams(1), [False]).mean(1)
    assert found[0] == pytest.approx(truth, abs=0.05)


def test_a_point_posteriors_distortion_is_taken_at_its_mean() -> None:
    model, weight, bias = linear_gaussian(3)
    x = marginal(weight, bias).rvs(40, random_state=3)
    seen = examples(torch.tensor(x, dtype=torch.float32))
    pack = stacked([model, model])
    posterior = encode(pack, seen)
    residual = x - bias - posterior.mean[0].double().numpy() @ weight.T
    truth = -stats.norm.logpdf(residual, 0, SIGMA).sum(1).mean()
    found = distortions(pack, posterior, seen, streams(2), [True, False]).mean(1)
    assert found[0] == pytest.approx(truth, rel=1e-5)
    assert found[1] > found[0]


def quadrature_nll(model: VAE, x: torch.Tensor, half_width: float, steps: int) -> float:
    """−log ∫ p(x given z) p(z) dz on a grid, for latent_dim 2."""
    axis = torch.linspace(-half_width, half_width, steps, dtype=torch.float64)
    z = torch.cartesian_prod(axis, axis)
    prior = stats.norm.logpdf(z.numpy()).sum(1)
    cell = 2 * math.log(float(axis[1] - axis[0]))
    with torch.no_grad():
        decoded = model.decoder(z.float())
        rows = [decoded.log_prob(one).double().numpy() for one in x]
    return -float(np.mean([logsumexp(row + prior) + cell for row in rows]))


@pytest.fixture(scope="module")
def planar() -> tuple[Dataset, list[VAE]]:
    """A KL-off and a β = 1 arm, trained briefly on points around a curve."""
    rng = np.random.default_rng(0)
    t = rng.uniform(-1, 1, 600)
    curve = np.stack([t, t**2, np.sin(2 * t), np.cos(2 * t), -t, t**3], 1)
    dataset = make_dataset(0.5 + 0.3 * curve + 0.05 * rng.normal(size=curve.shape))
    options = model_options(hidden=[16], activation="tanh", gaussian_scale="fixed",
                            gaussian_sigma=0.15)  # fmt: skip
    runs = [make_run(kl=False), make_run(beta=1.0)]
    settings = training_settings(epochs=40, learning_rate=0.01)
    results = train_pack(runs, dataset, options, settings)
    return dataset, [trained_model(result, dataset, options) for result in results]


@pytest.mark.parametrize("arm", [0, 1], ids=["kl-off", "beta1"])
def test_nll_is_that_of_quadrature(arm: int, planar: tuple[Dataset, list[VAE]]) -> None:
    dataset, models = planar
    x = torch.from_numpy(dataset.observe("test")[:40])
    pack = stacked([models[arm]])
    posterior = encode(pack, examples(x))
    exact = quadrature_nll(models[arm], x, 7.0, 501)
    assert exact == pytest.approx(quadrature_nll(models[arm], x, 7.0, 701), abs=1e-3)
    found = mean_bounds(pack, posterior, examples(x), 16384, streams(1))
    assert found.nll[0] == pytest.approx(exact, abs=0.05)
    assert found.nll[0] >= exact - 0.05


def test_a_narrow_posterior_alone_would_miss_the_mass(planar: tuple[Dataset, list[VAE]]) -> None:
    dataset, models = planar
    x = torch.from_numpy(dataset.observe("test")[:40])
    pack = stacked([models[0]])
    posterior = encode(pack, examples(x))
    exact = quadrature_nll(models[0], x, 7.0, 501)
    rate = float(rate_per_dim(posterior).double().sum(-1).mean())
    elbo_bound = distortions(pack, posterior, examples(x), streams(1), [False])[0].mean() + rate
    assert elbo_bound > exact + 1, "the KL-off arm's q is no proposal that needs defending"
    assert mean_bounds(pack, posterior, examples(x), 4096, streams(1)).nll[0] < elbo_bound - 1


def test_nll_is_at_most_minus_elbo_and_falls_with_more_samples(
    planar: tuple[Dataset, list[VAE]],
) -> None:
    dataset, models = planar
    seen = examples(torch.from_numpy(dataset.observe("test")))
    pack = stacked(models)
    posterior = encode(pack, seen)
    rate = rate_per_dim(posterior).double().sum(-1).mean(-1).numpy()
    minus_elbo = distortions(pack, posterior, seen, streams(2), [False, False]).mean(1) + rate
    few = mean_bounds(pack, posterior, seen, 16, streams(2))
    many = mean_bounds(pack, posterior, seen, 1024, streams(2))
    assert (many.nll <= minus_elbo + 0.02).all()
    assert (many.nll <= few.nll + 0.02).all()
    for found in (few, many):
        assert (found.gap >= 0).all()
        assert ((found.ess > 0) & (found.ess <= 1)).all()
    assert (many.gap < few.gap).all()


def test_the_gap_is_the_fall_of_the_bound_when_the_samples_double() -> None:
    model, weight, bias = linear_gaussian()
    x = torch.tensor(marginal(weight, bias).rvs(300, random_state=1), dtype=torch.float32)
    pack, seen = stacked([model]), examples(x)
    posterior = encode(pack, seen)
    half = np.mean([
        mean_bounds(pack, posterior, seen, 32, [stream(i, "half")]).nll[0] for i in range(12)
    ])  # fmt: skip
    whole = [mean_bounds(pack, posterior, seen, 64, [stream(i, "whole")]) for i in range(12)]
    fall = half - np.mean([found.nll[0] for found in whole])
    assert np.mean([found.gap[0] for found in whole]) == pytest.approx(fall, abs=0.1)
    assert fall > 0.1


def test_encoding_and_decoding_in_blocks_is_the_module(planar: tuple[Dataset, list[VAE]]) -> None:
    dataset, models = planar
    x = torch.from_numpy(dataset.observe("test"))
    pack = stacked(models)
    posterior = encode(pack, examples(x))
    decoded = decode_mean(pack, posterior.mean, told_nothing(x))
    for run, model in enumerate(models):
        with torch.no_grad():
            truth = model.encoder(x)
            np.testing.assert_allclose(posterior.mean[run], truth.mean, atol=2e-5)
            np.testing.assert_allclose(posterior.std[run], truth.std, rtol=1e-4)
            mean = model.decoder(truth.mean).mean
        np.testing.assert_allclose(decoded[run], mean, atol=2e-5)


@pytest.mark.parametrize(("count", "each"), [(1, 1), (1000, 784), (10, 2**30), (2**19, 1)])
def test_blocks_cover_everything_once(count: int, each: int) -> None:
    rows = [i for block in example_blocks(count, each) for i in range(count)[block]]
    assert rows == list(range(count))
    few = min(count, 100)
    assert [i for group in run_blocks(few, each, CPU) for i in group] == list(range(few))
