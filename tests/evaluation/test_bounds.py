"""Distortions, codes and reconstructions of a split against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

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
    decode_mean,
    distortions,
    encode,
    example_blocks,
    run_blocks,
)
from vae_ablation.models.streams import stream
from vae_ablation.models.vae import VAE
from vae_ablation.training.pack import train_pack

SIGMA = 0.4
DIMS, LATENT = 6, 3


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


def test_the_elbo_is_exact_where_the_encoder_is_the_posterior() -> None:
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
