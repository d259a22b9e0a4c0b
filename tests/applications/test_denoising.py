"""Denoising against planted truth: stand-in models that know the answer, or only gene means."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import mean_poisson_deviance

from vae_ablation.applications.denoising import (
    LEAST_MEAN,
    Denoising,
    Target,
    chosen_rows,
    denoising_scores,
    gene_proportions,
    log_pca,
    poisson_deviance,
    spearman,
    zeroed_targets,
)
from vae_ablation.data.base import Cells, Dataset, Observed
from vae_ablation.data.counts import CountMatrix, thin, zero

SETTINGS = {"cells": 1000}
GENES = 40
SHARE = 0.3
ERRORS = ("mean_absolute_error", "rmse", "poisson_deviance")


class Knowing:
    """A model that answers with given proportions, [n, dims], of the library that it is told."""

    def __init__(self, dataset: Dataset, proportions: Any, latent_dim: int = 2) -> None:
        self.run = SimpleNamespace(condition="none", latent_dim=latent_dim, posterior="gaussian")
        known = dataset.x[np.arange(len(dataset.labels))]
        self.places = {row.tobytes(): place for place, row in enumerate(known)}
        self.proportions = torch.as_tensor(proportions)

    def encode(self, x: Any, context: Any = None, present: Any = None) -> Any:
        mean = torch.tensor([[float(self.places[row.tobytes()])] for row in x])
        return SimpleNamespace(mean=mean, std=torch.zeros_like(mean))

    def decode(self, z: Any, context: Any = None) -> Any:
        library = torch.as_tensor(context)[:, :1]
        return SimpleNamespace(mean=library * self.proportions[z[:, 0].long()])


def dataset_of(kind: str, share: float = SHARE, n: int = 600) -> Dataset:
    """Poisson cells of four kinds, with their proportions, thinned or zeroed."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, n)
    truth = rng.dirichlet(np.full(GENES, 0.7), 4)[labels]
    clean = rng.poisson(truth * rng.lognormal(5.5, 0.4, n)[:, None]).astype(np.float32)
    change = rng.spawn(1)[0]
    x = thin(clean, share, change) if kind == "thin" else zero(clean, share, change)[0]
    return Dataset(
        "cells", x, None, np.repeat([0, 1, 2], [n // 2, n // 6, n // 3]).astype(np.int8), labels,
        Observed((GENES,), None, counts=True), False, "",
        cells=Cells(tuple(map(str, range(GENES))), truth={"cell/proportions": truth}),
        clean=clean, corruption={"kind": kind, "share": share},
    )  # fmt: skip


def table_of(dataset: Dataset, model: Any, **settings: Any) -> dict[tuple[str, str, str], float]:
    applied = Denoising().apply(model, dataset, SETTINGS | settings, seed=0)
    return {(row["subject"], row["method"], row["metric"]): row["value"] for row in applied.scores}


def perfect(dataset: Dataset) -> Knowing:
    assert dataset.cells is not None
    return Knowing(dataset, dataset.cells.truth["cell/proportions"])


@pytest.mark.parametrize(("kind", "subject"), [("thin", "removed"), ("zero", "zeroed")])
def test_the_true_means_beat_every_baseline(kind, subject):
    dataset = dataset_of(kind)
    table = table_of(dataset, perfect(dataset))
    for baseline in ("gene_mean", "log_pca", "observed"):
        for metric in ERRORS if kind == "zero" else ("poisson_deviance",):
            assert table[subject, "vae", metric] < table[subject, baseline, metric], baseline
        if (subject, baseline, "spearman") in table:
            assert table[subject, "vae", "spearman"] > table[subject, baseline, "spearman"]


def test_the_true_means_rank_entries_as_the_truth_does():
    dataset = dataset_of("thin")
    table = table_of(dataset, perfect(dataset))
    # Library sizes are observed with noise and scale both sides, so ranks may swap a little.
    assert table["all", "vae", "truth_spearman"] > 0.995
    for baseline in ("gene_mean", "log_pca", "observed"):
        assert table["all", baseline, "truth_spearman"] < 0.97


def test_clean_counts_favour_who_repeats_the_observed_ones_until_half_is_gone():
    error = ("rmse", "mean_absolute_error", "poisson_deviance")
    for share, better in ((0.1, "observed"), (0.8, "vae")):
        dataset = dataset_of("thin", share)
        table = table_of(dataset, perfect(dataset))
        worse = "vae" if better == "observed" else "observed"
        assert all(table["all", better, m] < table["all", worse, m] for m in error)
        deviance = {
            method: table["removed", method, "poisson_deviance"]
            for method in ("vae", "observed", "gene_mean", "log_pca")
        }
        assert min(deviance, key=deviance.__getitem__) == "vae"


@pytest.mark.parametrize("kind", ["thin", "zero"])
def test_a_model_of_gene_means_scores_as_that_baseline(kind):
    dataset = dataset_of(kind)
    means = np.tile(gene_proportions(dataset), (len(dataset.labels), 1))
    table = table_of(dataset, Knowing(dataset, means))
    mine = {(s, metric): v for (s, method, metric), v in table.items() if method == "vae"}
    theirs = {(s, metric): v for (s, method, metric), v in table.items() if method == "gene_mean"}
    assert mine == pytest.approx(theirs, rel=1e-5)
    assert len(mine) == (9 if kind == "thin" else 12)


def test_gene_means_are_of_the_train_split_alone():
    dataset = dataset_of("thin")
    train = dataset.x[:300].astype(float)
    np.testing.assert_allclose(gene_proportions(dataset), train.sum(0) / train.sum())
    other = np.where((dataset.split == 2)[:, None], 0, dataset.x)
    np.testing.assert_array_equal(
        gene_proportions(replace(dataset, x=other)), gene_proportions(dataset)
    )


@pytest.mark.parametrize("kind", ["thin", "zero"])
def test_who_predicts_the_mean_of_corrupted_counts_is_rescaled_to_the_clean_ones(kind):
    dataset = dataset_of(kind)
    library = dataset.library(np.arange(600))[:, None]
    table = table_of(dataset, Knowing(dataset, (1 - SHARE) * dataset.clean / library))
    for subject in ("all",) if kind == "thin" else ("zeroed", "left_alone"):
        for metric in ERRORS:
            assert table[subject, "vae", metric] == pytest.approx(0, abs=1e-4)
        assert table[subject, "vae", "spearman"] == pytest.approx(1)


def test_zeroed_and_left_alone_are_positive_counts_in_equal_number():
    dataset = dataset_of("zero")
    clean, x = dataset.clean.astype(float), dataset.x.astype(float)
    targets = zeroed_targets(clean, x, seed=0)
    gone = [i for i in range(x.size) if clean.flat[i] > 0 and x.flat[i] == 0]
    assert targets["zeroed"].entries.tolist() == gone
    alone = targets["left_alone"].entries
    assert len(set(alone.tolist())) == len(gone)
    assert (x.ravel()[alone] == clean.ravel()[alone]).all()
    assert (x.ravel()[alone] > 0).all()
    # Drawn without regard to the value: the two samples look alike.
    assert stats.ks_2samp(clean.ravel()[alone], clean.ravel()[gone]).pvalue > 0.01
    again = zeroed_targets(clean, x, seed=0)["left_alone"].entries
    np.testing.assert_array_equal(alone, again)
    assert not np.array_equal(alone, zeroed_targets(clean, x, seed=1)["left_alone"].entries)


def test_what_was_left_alone_is_observed_without_error_and_a_constant_has_no_rank():
    table = table_of(dataset := dataset_of("zero"), perfect(dataset))
    assert table["left_alone", "observed", "rmse"] == 0
    assert ("zeroed", "observed", "spearman") not in table
    wanted = np.log1p(dataset.clean * 1e4 / dataset.clean.sum(1, keepdims=True))[dataset.split == 2]
    gone = (dataset.clean > dataset.x)[dataset.split == 2]
    assert table["zeroed", "observed", "median_absolute_error"] == pytest.approx(
        np.median(wanted[gone]), rel=1e-5
    )


def test_scores_are_those_of_independent_implementations():
    rng = np.random.default_rng(1)
    clean, guess = rng.poisson(3, (30, 8)).astype(float), rng.gamma(2, 2, (30, 8))
    library = np.maximum(clean.sum(1), 1)
    found = denoising_scores(guess, Target(clean), library, truth=guess**2)
    a, b = (np.log1p(1e4 * v / library[:, None]).ravel() for v in (guess, clean))
    assert found["rmse"] == pytest.approx(np.sqrt(((a - b) ** 2).mean()))
    assert found["median_absolute_error"] == pytest.approx(np.median(abs(a - b)))
    assert found["mean_absolute_error"] == pytest.approx(abs(a - b).mean())
    assert found["spearman"] == pytest.approx(stats.spearmanr(a, b).statistic)
    assert found["truth_spearman"] == pytest.approx(stats.spearmanr(a, guess.ravel()).statistic)
    assert found["poisson_deviance"] == pytest.approx(
        mean_poisson_deviance(clean.ravel(), guess.ravel())
    )
    part = denoising_scores(guess, Target(clean, 1.0, np.array([3, 9])), library)
    assert part["mean_absolute_error"] == pytest.approx(abs(a - b)[[3, 9]].mean())
    assert denoising_scores(guess, Target(clean, 1.0, np.array([], int)), library) == {}


def test_the_deviance_of_a_mean_of_nothing_is_finite_and_ties_share_a_rank():
    assert poisson_deviance(np.zeros(1), np.array([2.0])) == pytest.approx(
        2 * (2 * np.log(2 / LEAST_MEAN) - 2 + LEAST_MEAN)
    )
    assert poisson_deviance(np.array([3.0]), np.zeros(1)) == pytest.approx(6)
    assert spearman(np.ones(3), np.arange(3.0)) is None
    a, b = np.array([1.0, 1, 2, 5]), np.array([0.0, 3, 3, 9])
    assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)


def test_principal_components_rebuild_what_lies_in_their_space():
    dataset = dataset_of("thin")
    rows = dataset.rows("test")
    whole = log_pca(dataset, rows, GENES, seed=0)
    np.testing.assert_allclose(whole, dataset.x[rows], atol=1e-2)
    few, more = (log_pca(dataset, rows, k, seed=0) for k in (1, 3))
    assert (few >= 0).all()
    errors = [np.square(np.log1p(g) - np.log1p(dataset.x[rows])).mean() for g in (few, more)]
    assert errors[1] < errors[0]
    assert log_pca(dataset, rows, 10 * GENES, seed=0) == pytest.approx(whole, abs=1e-2)


def test_proteins_are_left_out_and_library_sizes_are_of_rna():
    dataset = dataset_of("thin")
    proteins = np.random.default_rng(2).integers(500, 900, (600, 3)).astype(np.float32)
    wide = replace(
        dataset,
        x=np.hstack([dataset.x, proteins]),
        clean=np.hstack([dataset.clean, 2 * proteins]),
        observed=Observed((GENES + 3,), None, counts=True, proteins=3),
    )
    truth = np.hstack([dataset.cells.truth["cell/proportions"], np.ones((600, 3))])
    assert table_of(wide, Knowing(wide, truth)) == pytest.approx(
        table_of(dataset, perfect(dataset))
    )


def test_sparse_counts_and_many_cells_change_nothing_but_their_number():
    dataset = dataset_of("zero")
    model = perfect(dataset)
    from scipy.sparse import csr_matrix

    sparse = replace(
        dataset,
        x=CountMatrix.of(csr_matrix(dataset.x)),
        clean=CountMatrix.of(csr_matrix(dataset.clean)),
    )
    assert table_of(sparse, model) == table_of(dataset, model)
    few = chosen_rows(dataset.rows("test"), 50, seed=0)
    assert len(set(few)) == 50
    assert set(few) <= set(dataset.rows("test"))
    assert (np.diff(few) > 0).all()
    some = table_of(dataset, model, cells=50)
    assert some.keys() == table_of(dataset, model).keys()
    clean = dataset.clean[few].astype(float)
    wanted = denoising_scores(
        dataset.x[few].astype(float),
        zeroed_targets(clean, dataset.x[few].astype(float), 0)["zeroed"],
        clean.sum(1),
    )
    assert some["zeroed", "observed", "rmse"] == pytest.approx(wanted["rmse"])


def test_data_that_were_not_corrupted_have_nothing_to_score():
    dataset = dataset_of("thin")
    assert Denoising().missing(dataset) is None
    assert "corrupt" in str(Denoising().missing(replace(dataset, clean=None, corruption=None)))


def test_without_simulated_truth_its_column_is_absent():
    dataset = dataset_of("thin")
    model = perfect(dataset)
    table = table_of(replace(dataset, cells=None), model)
    assert not [key for key in table if key[2] == "truth_spearman"]
    assert ("all", "vae", "spearman") in table
