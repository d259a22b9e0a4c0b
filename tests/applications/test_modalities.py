from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from vae_ablation.applications.modalities import (
    Modalities,
    column_correlations,
    decode_from,
    permuted_pearson,
    sample,
)
from vae_ablation.data.base import Cells, Dataset, Observed
from vae_ablation.store.applied import Applied

GENES, PROTEINS, LATENT, CELLS = 40, 4, 2, 600
SETTINGS = {"cells": 500, "draws": 2}
RNG = np.random.default_rng(0)
LOADINGS = RNG.normal(0, 0.3, (LATENT, GENES))
PROTEIN_LOADINGS = RNG.normal(0, 0.7, (LATENT, PROTEINS))


def planted(depth: float = 1e5, library_spread: float = 0.3) -> Dataset:
    """Poisson counts of two modalities, log-linear in two common factors."""
    rng = np.random.default_rng(1)
    z = rng.normal(size=(CELLS, LATENT))
    shares = np.exp(z @ LOADINGS)
    shares /= shares.sum(1, keepdims=True)
    protein_mean = np.exp(7 + z @ PROTEIN_LOADINGS)
    library = depth * np.exp(library_spread * rng.normal(size=(CELLS, 1)))
    counts = np.hstack([rng.poisson(library * shares), rng.poisson(protein_mean)])
    genes = tuple(f"gene{i}" for i in range(GENES))
    return Dataset(
        name="cells",
        x=counts.astype(np.float32),
        fixed=None,
        split=np.where(np.arange(CELLS) < 400, 0, 2).astype(np.int8),
        labels=np.zeros(CELLS, np.int64),
        observed=Observed((GENES + PROTEINS,), None, counts=True, proteins=PROTEINS),
        dynamic=False,
        checksum="planted",
        cells=Cells(
            features=genes + tuple(f"protein{i}" for i in range(PROTEINS)),
            truth={"cell/proportions": shares, "cell/protein_mean": protein_mean},
        ),
    )


class Counts:
    """Poisson counts of given means."""

    def __init__(self, mean: torch.Tensor) -> None:
        self.mean = mean

    def sample(self, generator: torch.Generator) -> torch.Tensor:
        return torch.poisson(self.mean, generator)


class Oracle:
    """Knows the planted loadings; codes by least squares from the modality that it is shown."""

    def __init__(self, architecture: str = "poe") -> None:
        self.run = SimpleNamespace(architecture=architecture, condition="none", latent_dim=LATENT)
        self.shown: list[Any] = []

    def encode(self, x: Any, context: Any = None, present: Any = None) -> Any:
        self.shown.append((np.asarray(x), present))
        rna, protein = np.split(np.log(np.asarray(x, float) + 0.5), [GENES], axis=1)
        rna = rna - rna.mean(1, keepdims=True)
        centred = LOADINGS - LOADINGS.mean(1, keepdims=True)
        parts = [(rna, centred), (protein - 7, PROTEIN_LOADINGS)]
        known = [part for part, there in zip(parts, present, strict=True) if there]
        logs, loadings = (np.hstack(values) for values in zip(*known, strict=True))
        return SimpleNamespace(mean=torch.tensor(logs @ np.linalg.pinv(loadings)))

    def decode(self, z: Any, context: Any = None) -> Any:
        z = torch.as_tensor(z).double()
        library = torch.as_tensor(context).double()[:, :1]
        rna = torch.softmax(z @ torch.tensor(LOADINGS), 1) * library
        protein = torch.exp(7 + z @ torch.tensor(PROTEIN_LOADINGS))
        return Counts(torch.cat([rna, protein], 1))


@pytest.fixture(scope="module")
def cells() -> Dataset:
    return planted()


@pytest.fixture(scope="module")
def applied(cells: Dataset) -> Applied:
    return apply(cells)


def apply(dataset: Dataset, model: Any = None, **settings: Any) -> Applied:
    return Modalities().apply(model or Oracle(), dataset, SETTINGS | settings, 0)


def value(applied: Applied, subject: str, method: str, metric: str) -> float | None:
    key = {"subject": subject, "method": method, "metric": metric}
    found = [row["value"] for row in applied.scores if key.items() <= row.items()]
    assert len(found) <= 1
    return found[0] if found else None


def test_a_planted_linear_relation_is_found_by_ridge_regression(applied):
    for metric in ("pearson", "spearman", "truth_pearson"):
        assert value(applied, "RNA → protein", "ridge", metric) > 0.98
    assert value(applied, "protein → RNA", "ridge", "pearson") > 0.95
    assert value(applied, "RNA → protein", "knn", "pearson") > 0.9


@pytest.mark.parametrize("subject", ["RNA → protein", "protein → RNA", "both → protein"])
def test_a_model_that_knows_the_loadings_predicts_the_truth(applied, subject):
    assert value(applied, subject, "vae", "truth_pearson") > 0.99
    assert value(applied, subject, "vae", "pearson") > 0.98


def test_a_mean_has_an_error_and_no_correlation(applied, cells):
    assert value(applied, "RNA → protein", "mean", "pearson") is None
    assert value(applied, "protein0", "mean", "spearman") is None
    logs = np.log1p(cells.x[:, GENES:].astype(float))
    expected = np.sqrt(np.square(logs[400:] - logs[:400].mean(0)).mean())
    assert value(applied, "RNA → protein", "mean", "rmse") == pytest.approx(expected)


def test_each_protein_has_its_own_row(applied, cells):
    predicted, measured = applied.arrays["predicted"], applied.arrays["measured"]
    for i, protein in enumerate(cells.cells.features[GENES:]):
        known = stats.pearsonr(predicted[:, i], measured[:, i]).statistic
        assert value(applied, protein, "vae", "pearson") == pytest.approx(known, abs=1e-5)
    whole = np.mean([value(applied, f"protein{i}", "vae", "pearson") for i in range(PROTEINS)])
    assert value(applied, "RNA → protein", "vae", "pearson") == pytest.approx(whole)
    assert applied.arrays["proteins"].tolist() == [f"protein{i}" for i in range(PROTEINS)]


def test_the_encoder_is_not_shown_what_is_to_be_predicted(cells):
    model = Oracle()
    apply(cells, model)
    by_present = {present: x for x, present in model.shown}
    assert not by_present[(True, False)][:, GENES:].any()
    assert by_present[(True, False)][:, :GENES].any()
    assert not by_present[(False, True)][:, :GENES].any()
    assert by_present[(True, True)].all(1).any()


def test_the_library_alone_tells_of_rna_and_not_of_proteins():
    applied = apply(planted(library_spread=1.0))
    assert value(applied, "protein → RNA", "library", "pearson") > 0.5
    assert abs(value(applied, "RNA → protein", "library", "pearson")) < 0.2


def test_a_neighbours_counts_are_brought_to_the_cells_own_library():
    applied = apply(planted(library_spread=1.0))
    assert value(applied, "protein → RNA", "library", "pearson") < 0.95
    assert value(applied, "protein → RNA", "knn", "pearson") > 0.99


class Constant(Oracle):
    """Poisson counts of mean 1.5 everywhere."""

    def decode(self, z: Any, context: Any = None) -> Any:
        return Counts(torch.full((len(z), GENES + PROTEINS), 1.5))


def test_the_error_is_that_of_the_predictive_mean_whatever_the_number_of_draws():
    # The truth is drawn from the model: its best guess of log1p x errs by the variance of log1p x.
    grid = np.arange(60)
    mass, logs = stats.poisson.pmf(grid, 1.5), np.log1p(grid)
    variance = mass @ logs**2 - (mass @ logs) ** 2
    rng = np.random.default_rng(0)
    x = rng.poisson(1.5, (4000, GENES + PROTEINS)).astype(np.float32)
    dataset = replace(planted(), x=x, split=np.full(4000, 2, np.int8), labels=np.zeros(4000, int))
    test = sample(dataset, "test", 4000)
    for draws in (2, 8):
        found = decode_from(Constant(), dataset, test, "RNA", draws, 0)
        assert found["RNA"].squared_error == pytest.approx(variance, rel=0.02)
    assert np.square(np.log1p(1.5) - np.log1p(x)).mean() > variance * 1.05


def test_correlations_are_those_of_scipy_and_undefined_for_a_flat_column():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 50, 3)) ** 3
    a[:, 2] = 4.0
    pearson, spearman = column_correlations(a, b), column_correlations(a, b, ranks=True)
    for i in range(2):
        assert pearson[i] == pytest.approx(stats.pearsonr(a[:, i], b[:, i]).statistic)
        assert spearman[i] == pytest.approx(stats.spearmanr(a[:, i], b[:, i]).statistic)
    assert np.isnan([pearson[2], spearman[2]]).all()


def test_a_run_without_a_product_of_experts_has_no_scores(cells):
    applied = apply(cells, Oracle("mlp"))
    assert applied.scores == []
    assert applied.arrays == {}


def test_the_test_cells_are_capped(cells):
    assert len(sample(cells, "test", 30).rows) == 30
    assert len(sample(cells, "test", 3000).rows) == 200
    assert apply(cells, cells=30).arrays["measured"].shape == (30, PROTEINS)


def test_what_was_kept_of_one_dataset_is_not_used_for_another(cells):
    application = Modalities()
    other = planted(depth=2e4)
    for dataset in (cells, other, cells):
        again = application.apply(Oracle(), dataset, SETTINGS, 0)
        assert again.scores == apply(dataset).scores


def test_proteins_are_needed(cells):
    assert Modalities().missing(cells) is None
    plain = replace(cells, observed=Observed((GENES,), None, counts=True))
    assert Modalities().missing(plain) == "counts no proteins"


def test_cells_paired_at_random_have_no_good_score_and_no_effect(cells):
    scores, detected = [], 0
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(CELLS)
        x = np.hstack([cells.x[:, :GENES], cells.x[order, GENES:]])
        shuffled = apply(replace(cells, x=x))
        scores += [value(shuffled, "RNA → protein", m, "pearson") for m in ("vae", "ridge", "knn")]
        detected += value(shuffled, "RNA → protein", "truth", "effect_p") <= 0.05
    assert abs(np.mean(scores)) < 0.03
    assert detected <= 4  # of 20 tests at 5 %


def test_a_planted_relation_is_told_from_chance(applied):
    for subject in ("RNA → protein", "protein → RNA"):
        assert value(applied, subject, "truth", "effect_p") == 0.005
        for method in ("vae", "ridge", "knn"):
            assert value(applied, subject, method, "pearson_p") == 0.005
            assert abs(value(applied, subject, method, "pearson_null")) < 0.02
            assert 0 < value(applied, subject, method, "pearson_null_95") < 0.15
    assert value(applied, "both → protein", "truth", "effect_p") is None


def test_permuted_correlations_are_those_of_permuted_cells():
    random = np.random.default_rng(0)
    a, b = random.normal(size=(2, 700, 3))
    a[:, 2] = 1.0  # flat: it does not count
    found = permuted_pearson(a, b, seed=4)
    pairs = np.random.default_rng([4, 19])
    expected = [np.nanmean(column_correlations(a, b))]
    expected += [np.nanmean(column_correlations(a[pairs.permutation(700)], b)) for _ in range(199)]
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert permuted_pearson(np.ones((9, 2)), b[:9, :2], 0) is None
