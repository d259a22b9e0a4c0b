"""Predictive checks against planted cells: right models pass, wrong ones fail where they must."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from vae_ablation.applications.predictive_checks import (
    Genes,
    IndependentGenes,
    PredictiveChecks,
    Tally,
    independent_genes,
    ks_distance,
)
from vae_ablation.data.base import Dataset, Observed

GENES = 50
SETTINGS = {"draws": 19, "cells": 2000}


class Known:
    """A model that knows each cell's mean, [n, dims], and draws by a given function of it."""

    def __init__(self, dataset: Dataset, means: Any, draw: Any, posterior: str = "gaussian"):
        self.run = SimpleNamespace(condition="none", latent_dim=1, posterior=posterior)
        self.places = {row.tobytes(): float(place) for place, row in enumerate(dataset.x)}
        self.means, self.draw, self.std = torch.as_tensor(means), draw, 0.0

    def encode(self, x: Any, context: Any = None, present: Any = None) -> Any:
        mean = torch.tensor([[self.places[row.tobytes()]] for row in x])
        return SimpleNamespace(mean=mean, std=torch.full_like(mean, self.std))

    def decode(self, z: Any, context: Any = None) -> Any:
        mean = self.means[z[:, 0].round().long().clamp(0, len(self.means) - 1)]
        return SimpleNamespace(sample=lambda generator: self.draw(mean, generator))


def poisson(mean: Any, generator: Any) -> Any:
    return torch.poisson(mean, generator=generator)


def drawn_by(random: Any) -> Any:
    """Draws of a numpy function of mean and generator, seeded by the torch generator."""

    def draw(mean: Any, generator: Any) -> Any:
        seed = int(torch.randint(2**31, (1,), generator=generator))
        return torch.as_tensor(random(mean.numpy(), np.random.default_rng(seed)))

    return draw


def true_means(n: int = 900) -> Any:
    rng = np.random.default_rng(0)
    profiles = rng.dirichlet(np.full(GENES, 1.0), 3)[rng.integers(0, 3, n)]
    return profiles * rng.lognormal(4.6, 0.3, (n, 1))


def dataset_of(x: Any) -> Dataset:
    n = len(x)
    return Dataset(
        "cells", x.astype(np.float32), None, np.repeat([0, 2], [n // 3, n - n // 3]),
        np.zeros(n, int), Observed((x.shape[1],), None, counts=True), False, "",
    )  # fmt: skip


def negative_binomial(mean: Any, rng: Any, dispersion: float = 0.8) -> Any:
    return rng.poisson(mean * rng.gamma(1 / dispersion, dispersion, mean.shape)).astype(float)


def checked(dataset: Dataset, model: Any, **settings: Any) -> dict[str, dict[str, float]]:
    rows = PredictiveChecks().apply(model, dataset, SETTINGS | settings, seed=0).scores
    assert {row["subject"] for row in rows} == {"all"}
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        found.setdefault(row["method"], {})[row["metric"]] = row["value"]
    return found


def test_poisson_cells_pass_the_check_of_their_own_poisson():
    means = true_means()
    dataset = dataset_of(np.random.default_rng(1).poisson(means))
    found = checked(dataset, Known(dataset, means, poisson))["vae"]
    assert found["coverage"] == pytest.approx(0.9, abs=0.006)
    assert found["zero_inflation"] == pytest.approx(0, abs=0.005)
    assert found["zero_fraction_error"] < 0.02
    assert found["log_mean_rmse"] < 0.05
    assert found["log_variance_rmse"] < 0.12
    # 600 observed cells: the distance exceeds this with probability 0.001.
    assert max(found["cell_zero_fraction_ks"], found["cell_total_ks"]) < 1.95 / np.sqrt(600)


@pytest.mark.parametrize("draws", [1, 3, 5, 19])
def test_coverage_is_that_of_the_interval_whatever_the_number_of_draws(draws):
    means = true_means()
    dataset = dataset_of(np.random.default_rng(1).poisson(means))
    model = Known(dataset, means, poisson)
    assert checked(dataset, model, draws=draws)["vae"]["coverage"] == pytest.approx(0.9, abs=0.006)


def test_zeros_that_were_planted_appear_as_zero_inflation_of_a_poisson():
    means, gate = true_means(), 0.25
    rng = np.random.default_rng(2)
    dataset = dataset_of(rng.poisson(means) * (rng.random(means.shape) > gate))
    found = checked(dataset, Known(dataset, means, poisson))["vae"]
    test = dataset.split == 2
    planted = gate * (1 - np.exp(-means[test])).mean()
    assert planted > 0.1
    assert found["zero_inflation"] == pytest.approx(planted, abs=0.008)
    assert found["zero_fraction_error"] == pytest.approx(planted, abs=0.02)
    assert found["cell_zero_fraction_ks"] > 0.5

    def inflated(mean: Any, random: Any) -> Any:
        return random.poisson(mean) * (random.random(mean.shape) > gate).astype(float)

    right = checked(dataset, Known(dataset, means, drawn_by(inflated)))["vae"]
    assert right["zero_inflation"] == pytest.approx(0, abs=0.005)
    assert right["coverage"] == pytest.approx(0.9, abs=0.006)
    assert right["log_variance_rmse"] < found["log_variance_rmse"]


def test_overdispersed_cells_leave_a_poisson_and_stay_in_a_negative_binomial():
    means = 5 * true_means()
    dataset = dataset_of(negative_binomial(means, np.random.default_rng(3)))
    narrow = checked(dataset, Known(dataset, means, poisson))["vae"]
    right = checked(dataset, Known(dataset, means, drawn_by(negative_binomial)))["vae"]
    assert narrow["coverage"] < 0.7
    assert right["coverage"] == pytest.approx(0.9, abs=0.006)
    assert right["log_cv2_rmse"] < 0.5 * narrow["log_cv2_rmse"]


def test_a_wide_model_covers_more_than_it_says():
    means = 20 * true_means()
    dataset = dataset_of(np.random.default_rng(4).poisson(means))
    wide = checked(dataset, Known(dataset, means, drawn_by(negative_binomial)))["vae"]
    assert wide["coverage"] > 0.97


def library_genes(n: int, dispersion: Any) -> tuple[Dataset, Any]:
    """Cells whose genes know nothing of each other; library sizes are the observed sums."""
    rng = np.random.default_rng(5)
    proportions = rng.dirichlet(np.full(200, 2.0))
    means = proportions * rng.lognormal(7, 0.4, (n, 1))
    spread = rng.gamma(1 / dispersion, dispersion, means.shape) if dispersion else 1.0
    return dataset_of(rng.poisson(means * spread)), proportions


@pytest.mark.parametrize(
    ("dispersion", "name"), [(0.0, "gene_poisson"), (0.5, "gene_negative_binomial")]
)
def test_independent_genes_pass_the_check_of_their_own_baseline(dispersion, name):
    dataset, _ = library_genes(1500, dispersion)
    found = checked(dataset, Known(dataset, np.ones_like(dataset.x), poisson))[name]
    assert found["coverage"] == pytest.approx(0.9, abs=0.01)
    assert found["zero_inflation"] == pytest.approx(0, abs=0.01)
    assert found["log_mean_rmse"] < 0.15
    assert found["cell_zero_fraction_ks"] < 0.08


def test_the_poisson_baseline_has_the_zero_fractions_of_its_formula():
    dataset, _ = library_genes(600, 0.5)
    x = dataset.x.astype(float)
    train, test = x[dataset.split == 0], x[dataset.split == 2]
    means = test.sum(1, keepdims=True) * train.sum(0) / train.sum()
    model = Known(dataset, np.ones_like(x), poisson)
    arrays = PredictiveChecks().apply(model, dataset, SETTINGS, 0).arrays
    np.testing.assert_allclose(
        arrays["gene_poisson_zero_fraction"], stats.poisson.pmf(0, means).mean(0), rtol=1e-5
    )
    np.testing.assert_allclose(arrays["gene_poisson_mean"], means.mean(0), rtol=1e-5)
    np.testing.assert_allclose(
        arrays["gene_poisson_variance"], means.mean(0) + means.var(0), rtol=1e-5
    )
    np.testing.assert_allclose(arrays["observed_zero_fraction"], (test == 0).mean(0), rtol=1e-6)
    np.testing.assert_allclose(arrays["observed_mean"], test.mean(0), rtol=1e-6)
    np.testing.assert_allclose(arrays["observed_variance"], test.var(0), rtol=1e-5)
    np.testing.assert_allclose(
        arrays["observed_cell_zero_fraction"],
        np.quantile((test == 0).mean(1), np.linspace(0, 1, 101)),
        rtol=1e-5,
    )


def test_the_method_of_moments_finds_the_planted_dispersion():
    dataset, proportions = library_genes(3000, 0.5)
    found = independent_genes(dataset)["gene_negative_binomial"]
    often = proportions > np.median(proportions)
    assert np.median(found.dispersion[often]) == pytest.approx(0.5, abs=0.05)
    np.testing.assert_allclose(found.proportions[often], proportions[often], rtol=0.15)
    poisson_only = independent_genes(library_genes(3000, 0.0)[0])["gene_negative_binomial"]
    assert np.median(poisson_only.dispersion) < 0.01


def test_distribution_functions_are_those_of_scipy():
    genes = IndependentGenes(np.ones(3), np.array([0.0, 0.3, 4.0]))
    mean = np.array([[0.1, 3.0, 50.0], [20.0, 400.0, 0.02]])
    for k in (-1.0, 0.0, 1.0, 7.0, 60.0):
        found = genes.cdf(np.full((2, 3), k), mean)
        np.testing.assert_allclose(found[:, 0], stats.poisson.cdf(k, mean[:, 0]))
        for column, dispersion in ((1, 0.3), (2, 4.0)):
            size = 1 / dispersion
            expected = stats.nbinom.cdf(k, size, size / (size + mean[:, column]))
            np.testing.assert_allclose(found[:, column], expected)
    size = 1 / 0.3
    _, variance = stats.nbinom.stats(size, size / (size + 3.0))
    assert genes.variance(mean)[0, 1] == pytest.approx(variance)


def test_the_distance_from_expected_numbers_is_that_from_draws_of_them():
    rng = np.random.default_rng(6)
    chance = rng.beta(2, 2, (300, 400))
    seen = (rng.random((300, 400)) < np.clip(chance + 0.01, 0, 1)).sum(1)
    draws = (rng.random((60, 300, 400)) < chance).sum(2).ravel()
    spread = np.sqrt((chance * (1 - chance)).sum(1))
    expected = ks_distance(chance.sum(1), seen, spread)
    assert expected == pytest.approx(stats.ks_2samp(seen, draws).statistic, abs=0.012)
    assert ks_distance(draws, seen, None) == pytest.approx(stats.ks_2samp(seen, draws).statistic)
    # One certain number is below, at, or above the observed one.
    assert [ks_distance(np.array([p]), np.array([3.0]), np.zeros(1)) for p in (2.0, 3, 4)] == [
        pytest.approx(distance, abs=1e-9) for distance in (1, 0, 1)
    ]


def test_blocks_and_draws_add_up_to_the_statistics_of_the_whole():
    counts = np.random.default_rng(7).poisson(2, (2, 30, 5)).astype(float)
    tally = Tally(2, 5)
    for draw in (0, 1):
        tally.add(draw, counts[draw, :11])
        tally.add(draw, counts[draw, 11:])
    found = tally.checked()
    np.testing.assert_allclose(found.genes.variance, counts.var(1).mean(0))
    np.testing.assert_allclose(found.genes.mean, counts.mean((0, 1)))
    np.testing.assert_allclose(found.genes.zero_fraction, (counts == 0).mean((0, 1)))
    np.testing.assert_array_equal(found.cell_totals, counts.sum(2).ravel())


def test_a_gene_without_counts_has_no_coefficient_of_variation():
    genes = Genes(np.array([1.0, 0.2]), np.array([0.0, 2.0]), np.array([0.0, 8.0]))
    np.testing.assert_array_equal(genes.cv2, [np.nan, 2.0])


def test_a_point_posterior_is_taken_without_its_conventional_spread():
    means = true_means()
    dataset = dataset_of(np.random.default_rng(1).poisson(means))
    model = Known(dataset, means, poisson, posterior="point")
    certain = checked(dataset, model)
    model.std = 300.0
    assert checked(dataset, model) == certain
    model.run.posterior = "gaussian"
    assert checked(dataset, model)["vae"] != certain["vae"]


def test_draws_of_a_density_stand_for_the_nearest_count():
    means = true_means()
    dataset = dataset_of(np.random.default_rng(1).poisson(means))

    def near(mean: Any, random: Any) -> Any:
        return random.poisson(mean) + random.uniform(-0.45, 0.45, mean.shape)

    model = Known(dataset, means, drawn_by(near))
    found = PredictiveChecks().apply(model, dataset, SETTINGS, 0)
    rounded = {row["metric"]: row["value"] for row in found.scores if row["method"] == "vae"}
    assert rounded["coverage"] == pytest.approx(0.9, abs=0.006)
    assert rounded["zero_inflation"] == pytest.approx(0, abs=0.005)


def test_the_same_seed_gives_the_same_scores_and_proteins_are_left_out():
    means = true_means(300)
    dataset = dataset_of(np.random.default_rng(1).poisson(means))
    model = Known(dataset, means, poisson)
    once = checked(dataset, model)
    assert once == checked(dataset, model)
    proteins = np.full((300, 2), 77.0, np.float32)
    wide = replace(
        dataset,
        x=np.hstack([dataset.x, proteins]),
        observed=Observed((GENES + 2,), None, counts=True, proteins=2),
    )
    model = Known(wide, np.hstack([means, proteins]), poisson)
    with_proteins = checked(wide, model)
    assert with_proteins["gene_poisson"] == once["gene_poisson"]
    arrays = PredictiveChecks().apply(model, wide, SETTINGS, 0).arrays
    assert len(arrays["vae_mean"]) == GENES
    assert with_proteins["vae"]["coverage"] == pytest.approx(0.9, abs=0.02)


def test_data_without_counts_cannot_be_checked():
    dataset = dataset_of(np.ones((6, 4)))
    assert PredictiveChecks().missing(dataset) is None
    pictures = replace(dataset, observed=Observed((2, 2), 17))
    assert PredictiveChecks().missing(pictures) == "holds no counts"
