"""A linear VAE is probabilistic PCA, exactly, at any β (Dai et al. 2018; Lucas et al. 2019).

Linear encoder and decoder, free decoder mean, decoder variance 1, objective
½·SSE + ½·D·ln 2π + β·KL. With population covariance eigenvalues λ₁ ≥ λ₂ ≥ … and latent dimension d,
dimension i ≤ d is active iff λᵢ > β, and at the optimum KL = Σ_active ½ ln(λᵢ/β) and
½SSE = ½(β·#active + Σ_inactive λᵢ). The data's mean does not enter; it is taken away, since Adam
finds the bias of the encoder that cancels it only slowly.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from support import (
    examples,
    make_run,
    model_options,
    rate_per_dim,
    stacked,
    trained_model,
    training_settings,
)
from vae_ablation.data.base import Dataset
from vae_ablation.evaluation.bounds import distortions, encode
from vae_ablation.evaluation.codes import active_units
from vae_ablation.models.streams import stream
from vae_ablation.training.pack import Hooks, train_pack


def settling(settings: Mapping[str, Any], epoch: int) -> float:
    """A step size that falls a hundredfold, so that its noise does not hide the optimum."""
    return settings["learning_rate"] * 10 ** (-2 * epoch / settings["epochs"])


@dataclass(frozen=True)
class Optimum:
    """What training has to reach, per example."""

    active: int
    doubtful: int  # dimensions within 5 % of the threshold
    rate: float
    half_sse: float
    elbo: float


def closed_form(eigenvalues: np.ndarray, beta: float, latent_dim: int) -> Optimum:
    top = eigenvalues[:latent_dim]
    active = top[top > beta]
    rate = 0.5 * np.log(active / beta).sum()
    half_sse = 0.5 * (beta * len(active) + eigenvalues.sum() - active.sum())
    constant = 0.5 * len(eigenvalues) * math.log(2 * math.pi)
    doubtful = int((np.abs(top / beta - 1) <= 0.05).sum())
    return Optimum(len(active), doubtful, rate, half_sse, -(half_sse + constant + rate))


def eigenvalues_of(dataset: Dataset) -> np.ndarray:
    """Of the population covariance of the rows trained on."""
    x = dataset.observe("train").astype(np.float64)
    return np.linalg.eigvalsh(np.cov(x, rowvar=False, bias=True))[::-1]


def centred(dataset: Dataset, scale: float) -> Dataset:
    x = (dataset.x - dataset.intensities("train").mean(0)) * np.float32(scale)
    return dataclasses.replace(dataset, x=x)


@dataclass(frozen=True)
class Reached:
    active: int
    rate: float
    half_sse: float
    elbo: float


def train_linear(
    dataset: Dataset, betas: list[float], latent_dim: int, **settings: float
) -> list[Reached]:
    """Train all β in one pack and evaluate on the rows trained on."""
    options = model_options(hidden=[], gaussian_scale="fixed", gaussian_sigma=1.0)
    runs = [make_run(latent_dim=latent_dim, beta=beta) for beta in betas]
    chosen, hooks = training_settings(**settings), Hooks(step_size=settling)
    results = train_pack(runs, dataset, options, chosen, hooks=hooks)
    assert [result.status for result in results] == ["ok"] * len(runs)
    pack = stacked([trained_model(result, dataset, options) for result in results])
    seen = examples(torch.from_numpy(dataset.observe("train")))
    posterior = encode(pack, seen)
    noise = [stream(0, "oracle") for _ in runs]
    distortion = distortions(pack, posterior, seen, noise, [False] * len(runs)).mean(1)
    rates = rate_per_dim(posterior).double().sum(-1).mean(-1).numpy()
    constant = 0.5 * seen.x.shape[1] * math.log(2 * math.pi)
    return [
        Reached(
            active_units(posterior.mean[run].numpy()),
            float(rates[run]),
            float(distortion[run]) - constant,
            -float(distortion[run] + rates[run]),
        )
        for run in range(len(runs))
    ]


def assert_reached(reached: Reached, optimum: Optimum, beta: float) -> None:
    assert abs(reached.active - optimum.active) <= optimum.doubtful, (beta, reached, optimum)
    for name in ("rate", "half_sse", "elbo"):
        found, truth = getattr(reached, name), getattr(optimum, name)
        assert abs(found - truth) <= max(0.03, 0.01 * abs(truth)), (beta, name, found, truth)


MNIST_TABLE = {  # ORACLES.md: λ of all 60,000 rows, latent 20
    0.1: (20, 26.178, 10.396, -757.021),
    0.5: (20, 10.083, 14.396, -744.927),
    1.0: (12, 4.334, 18.404, -743.186),
    2.0: (6, 1.391, 22.466, -744.304),
    4.0: (1, 0.123, 25.804, -746.375),
    8.0: (0, 0.000, 26.363, -746.810),
}


def test_nothing_is_active_on_the_digits_from_beta_1_up(digits: Dataset) -> None:
    eigenvalues = eigenvalues_of(digits)
    assert eigenvalues[0] == pytest.approx(0.70, abs=0.02)
    assert closed_form(eigenvalues, 1.0, 20).active == 0


@pytest.mark.mnist
def test_the_closed_form_gives_the_table_for_mnist(mnist: Dataset) -> None:
    eigenvalues = eigenvalues_of(mnist)
    for beta, (active, rate, half_sse, elbo) in MNIST_TABLE.items():
        optimum = closed_form(eigenvalues, beta, 20)
        assert optimum.active == active
        assert optimum.rate == pytest.approx(rate, abs=0.002)
        assert optimum.half_sse == pytest.approx(half_sse, abs=0.002)
        assert optimum.elbo == pytest.approx(elbo, abs=0.002)
    two = closed_form(eigenvalues, 1.0, 2)
    assert (two.rate, two.half_sse, two.elbo) == pytest.approx((1.476, 22.933, -744.857), abs=0.002)


def test_a_linear_vae_on_the_digits_is_ppca_at_every_beta_in_one_pack(digits: Dataset) -> None:
    # three times the data is nine times λ and β: weights of like size, which Adam finds sooner
    dataset = centred(digits, scale=3.0)
    betas = [9 * beta for beta in (0.01, 0.05, 0.1, 0.25, 0.5)]
    eigenvalues = eigenvalues_of(dataset)
    n = len(dataset.rows("train"))
    found = train_linear(
        dataset, betas, latent_dim=20, epochs=4000, batch_size=n, learning_rate=0.03
    )
    optima = [closed_form(eigenvalues, beta, 20) for beta in betas]
    assert [optimum.active for optimum in optima] == [20, 18, 12, 5, 3]
    for reached, optimum, beta in zip(found, optima, betas, strict=True):
        assert_reached(reached, optimum, beta)


@pytest.mark.mnist
def test_a_linear_vae_on_mnist_is_ppca(mnist: Dataset) -> None:
    found = train_linear(
        centred(mnist, scale=1.0),
        [1.0, 2.0],
        20,
        epochs=30,
        batch_size=1000,
        learning_rate=0.02,
    )
    eigenvalues = eigenvalues_of(mnist)
    for reached, beta in zip(found, (1.0, 2.0), strict=True):
        optimum = closed_form(eigenvalues, beta, 20)
        assert optimum.doubtful == 0
        assert_reached(reached, optimum, beta)
