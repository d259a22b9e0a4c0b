"""Reference numbers of the MNIST test split that any VAE's table can be held against."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from support import CPU, evaluation_settings, features_of, make_run, model_options
from vae_ablation.data.base import Dataset
from vae_ablation.evaluation import evaluate_pack
from vae_ablation.models.distributions import Bernoulli
from vae_ablation.models.vae import VAE

pytestmark = pytest.mark.mnist


def pixel_means(mnist: Dataset) -> np.ndarray:
    train = np.vstack([mnist.intensities("train"), mnist.intensities("validation")])
    return train.mean(0, dtype=np.float64).clip(1e-6, 1 - 1e-6)


def cross_entropy(x: np.ndarray, p: np.ndarray) -> float:
    """Mean over examples of −Σ x log p + (1 − x) log(1 − p), by the project's Bernoulli, nats."""
    logits = torch.tensor(np.log(p) - np.log1p(-p))
    return float(-Bernoulli(logits).log_prob(torch.tensor(x, dtype=torch.float64)).mean())


def test_a_collapsed_bernoulli_decoder_costs_205_80_nats_on_grey_pixels(mnist: Dataset) -> None:
    found = cross_entropy(mnist.intensities("test"), pixel_means(mnist))
    assert found == pytest.approx(205.80, abs=0.01)


def test_a_collapsed_bernoulli_decoder_costs_about_205_85_nats_on_thresholded_pixels(
    mnist: Dataset,
) -> None:
    cut = {split: mnist.intensities(split) >= 0.5 for split in ("train", "validation", "test")}
    p = np.vstack([cut["train"], cut["validation"]]).mean(0, dtype=np.float64)
    found = cross_entropy(cut["test"], p.clip(1e-6, 1 - 1e-6))
    assert found == pytest.approx(205.85, abs=0.2)


def test_grey_targets_have_an_entropy_of_45_53_nats_below_which_no_cross_entropy_falls(
    mnist: Dataset,
) -> None:
    x = mnist.intensities("test").astype(np.float64)
    found = cross_entropy(x, x.clip(1e-12, 1 - 1e-12))
    assert found == pytest.approx(45.53, abs=0.01)


def test_the_table_shows_a_collapsed_arm_at_its_reference_and_marks_it_improper(
    mnist: Dataset,
) -> None:
    few = np.flatnonzero(mnist.split == 2)
    keep = np.concatenate([np.flatnonzero(mnist.split != 2)[:200], few])
    dataset = dataclasses.replace(
        mnist, x=mnist.x[keep], split=mnist.split[keep], labels=mnist.labels[keep]
    )
    run = make_run("bernoulli", beta=4.0)
    options = model_options(hidden=[])
    model = VAE(dataset.observed, "bernoulli", 2, options, seed=0)
    p = pixel_means(mnist)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.decoder.network[0].bias.copy_(torch.tensor(np.log(p) - np.log1p(-p)))
    history = np.array([[206.0, 0.0, 206.0] * 2] * 3)
    settings = evaluation_settings(nll_samples=4)
    extractor = features_of(dataset)
    (found,) = evaluate_pack([run], [model], [history], dataset, extractor, settings, CPU)
    metrics = found.metrics
    assert metrics["distortion"] == pytest.approx(205.80, abs=0.02)
    assert metrics["nll"] == pytest.approx(205.80, abs=0.02)
    assert metrics["rate"] == 0
    assert metrics["active_units"] == 0
    assert (metrics["measure"], metrics["proper"]) == ("grey/cross-entropy", False)
    assert "bits_per_dim" not in metrics
