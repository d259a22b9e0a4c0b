from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse, stats
from sklearn.metrics import r2_score

from vae_ablation.applications.perturbation import (
    Groups,
    Measurements,
    Perturbation,
    conditions,
    correlation,
    effect,
    r2,
    where_seen,
)
from vae_ablation.data.base import HELD_OUT, TEST, TRAIN, Cells, Dataset, Observed
from vae_ablation.data.counts import CountMatrix, log_normalized
from vae_ablation.store.applied import Applied

NAMES = ("control", "p1", "p2", "p1+p2")
LABELS = ("T cells", "B cells", "NK cells")
GENES = 30
SETTINGS: dict[str, Any] = {"top_genes": 6, "min_cells": 5, "draws": 1}


class Logs:
    """A model whose code is log expression itself: code arithmetic is then that of raw means."""

    run = SimpleNamespace(latent_dim=GENES, condition="none", architecture="mlp")

    def encode(self, x: Any, context: Any = None, present: Any = None) -> Any:
        library = torch.as_tensor(context).double()[:, :1]
        return SimpleNamespace(mean=torch.log1p(torch.as_tensor(x).double() * 1e4 / library))

    def decode(self, z: Any, context: Any = None) -> Any:
        library = torch.as_tensor(context).double()[:, :1]
        mean = self.profile(torch.as_tensor(z).double()) * library / 1e4
        return SimpleNamespace(mean=mean, sample=lambda generator: mean)

    def profile(self, z: torch.Tensor) -> torch.Tensor:
        return torch.expm1(z)


class Deaf(Logs):
    """A collapsed model: whatever the code, it decodes one profile."""

    def profile(self, z: torch.Tensor) -> torch.Tensor:
        return torch.linspace(1, 500, GENES).double().expand(len(z), -1)


def planted(
    cells: dict[tuple[int, int], int],
    held_out: set[tuple[int, int]],
    effects: np.ndarray,
    *,
    depth: float = 1e6,
    seed: int = 0,
    interaction: np.ndarray | None = None,
) -> Dataset:
    """Poisson counts of (perturbation, label) groups whose log fold changes are `effects`.

    The library is so large that noise is small; log expression is far from 0, so that log1p of a
    moved profile is the profile's log1p plus the effect.
    """
    rng = np.random.default_rng(seed)
    base = rng.normal(5, 1, (len(LABELS), GENES))
    moved = np.vstack([np.zeros(GENES), effects, effects.sum(0)])
    moved[3] += 0 if interaction is None else interaction
    key = np.array([pair for pair, n in cells.items() for _ in range(n)])
    logits = base[key[:, 1]] + moved[key[:, 0]]
    # One gene takes up what the others gain or lose, so that effects are the planted ones exactly.
    rates = np.exp(logits) / np.exp(base).sum(1).max() / 4
    rates[:, 0] = 1 - rates[:, 1:].sum(1)
    split = [HELD_OUT if tuple(pair) in held_out else TRAIN for pair in key.tolist()]
    return Dataset(
        name="cells",
        x=rng.poisson(depth * rates).astype(np.float32),
        fixed=None,
        split=np.array(split, np.int8),
        labels=key[:, 1].astype(np.int64),
        observed=Observed((GENES,), None, counts=True, classes=3),
        dynamic=False,
        checksum="planted",
        cells=Cells(
            features=tuple(f"gene{i}" for i in range(GENES)),
            label_names=LABELS,
            perturbation=key[:, 0].astype(np.int64),
            perturbation_names=NAMES,
            truth={"cell/proportions": rates},
        ),
    )


def effects_of(seed: int = 3) -> np.ndarray:
    """Two effects on four genes each, the first gene untouched."""
    found = np.zeros((2, GENES))
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], 8)
    found[0, 5:9], found[1, 12:16] = signs[:4], signs[4:]
    return found


EVERYWHERE = {(p, c): 40 for p in range(4) for c in range(3)}
WITHHELD = {(2, 1), (3, 0), (3, 1), (3, 2)}


@pytest.fixture(scope="module")
def additive() -> Dataset:
    return planted(EVERYWHERE, WITHHELD, effects_of())


def apply(dataset: Dataset, model: Any = None, **settings: Any) -> Applied:
    return Perturbation().apply(model or Logs(), dataset, SETTINGS | settings, 0)


def value(applied: Applied, subject: str, method: str, metric: str) -> float | None:
    key = {"subject": subject, "method": method, "metric": metric}
    found = [row["value"] for row in applied.scores if key.items() <= row.items()]
    assert len(found) <= 1
    return found[0] if found else None


def test_a_condition_is_transferred_or_combined_from_what_is_seen(additive):
    found = conditions(Groups(additive, 5))
    assert [c.subject for c in found] == ["B cells:p2", "p1+p2"]
    transfer, combination = found
    assert transfer.parts == (2,)
    assert transfer.sources == ((0, 2),)
    assert transfer.weights == {1: 1.0}
    assert combination.parts == (1, 2)
    assert combination.sources == ((0, 1, 2), (0, 2))
    assert combination.weights == pytest.approx({0: 1 / 3, 1: 1 / 3, 2: 1 / 3})
    seen = where_seen(combination)
    assert seen is not None
    assert seen.weights == {0: 0.5, 2: 0.5}
    assert where_seen(transfer) is None


def test_a_condition_of_which_test_cells_are_seen_is_no_held_out_one(additive):
    split = additive.split.copy()
    split[np.flatnonzero((additive.cells.perturbation == 2) & (additive.labels == 1))[0]] = TEST
    found = conditions(Groups(replace(additive, split=split), 5))
    assert [c.subject for c in found] == ["p1+p2"]


def test_weights_are_the_shares_of_held_out_cells_and_small_groups_do_not_count():
    cells = EVERYWHERE | {(3, 0): 30, (3, 1): 10, (3, 2): 4, (2, 1): 4}
    found = conditions(Groups(planted(cells, WITHHELD, effects_of()), 5))
    assert [c.subject for c in found] == ["p1+p2"]
    assert found[0].weights == {0: 0.75, 1: 0.25}


def test_a_combination_of_an_unseen_part_has_no_prediction(additive):
    split = additive.split.copy()
    split[additive.cells.perturbation == 1] = HELD_OUT
    assert [c.subject for c in conditions(Groups(replace(additive, split=split), 5))] == [
        "B cells:p2"
    ]


def test_cells_without_labels_are_one_group(additive):
    found = conditions(Groups(replace(additive, labels=np.full(len(additive.x), -1)), 5))
    assert [c.subject for c in found] == ["p1+p2"]
    assert found[0].weights == {0: 1.0}


def test_codes_that_are_log_expression_give_the_raw_difference(additive):
    applied = apply(additive)
    np.testing.assert_allclose(
        applied.arrays["vae"], applied.arrays["raw_difference"], rtol=1e-4, atol=1e-4
    )
    for subject in ("B cells:p2", "p1+p2"):
        for metric in ("r2", "spearman", "r2_top", "spearman_top", "delta_pearson"):
            ours, raw = (value(applied, subject, m, metric) for m in ("vae", "raw_difference"))
            assert ours is not None
            assert ours == pytest.approx(raw, abs=1e-4)


def test_a_planted_additive_effect_is_predicted(additive):
    applied = apply(additive)
    for subject in ("B cells:p2", "p1+p2"):
        for prefix in ("", "truth_"):
            for metric in ("r2", "r2_top", "delta_pearson"):
                score = value(applied, subject, "vae", prefix + metric)
                assert score == pytest.approx(1, abs=0.01), (subject, prefix + metric)


def test_predicting_the_control_has_scores_but_no_predicted_change(additive):
    applied = apply(additive)
    for prefix in ("", "truth_"):
        assert value(applied, "p1+p2", "control", f"{prefix}delta_pearson") is None
        assert value(applied, "p1+p2", "control", f"{prefix}r2") < 0.97
    assert value(applied, "p1+p2", "control", "r2_top") < 0.8


def test_a_collapsed_model_wins_no_change_from_the_noise_of_the_controls():
    shallow = planted(EVERYWHERE, WITHHELD, effects_of(), depth=300.0)
    applied = apply(shallow, Deaf())
    assert value(applied, "p1+p2", "vae", "r2") is not None
    assert value(applied, "p1+p2", "vae", "delta_pearson") is None


def test_held_out_cells_are_scored_against_and_never_used(additive):
    held = additive.split == HELD_OUT
    x = additive.x.copy()
    x[held] = np.random.default_rng(1).permuted(x[held], axis=1)
    first, second = apply(additive), apply(replace(additive, x=x))
    for name in ("vae", "raw_difference", "control"):
        np.testing.assert_array_equal(first.arrays[name], second.arrays[name])
    assert np.abs(first.arrays["true"] - second.arrays["true"]).max() > 0.5


def test_labels_that_are_unlike_in_number_do_not_pass_for_an_effect():
    # p1 is common among T cells and rare among B cells, whose expression is another.
    cells = EVERYWHERE | {(1, 0): 200, (0, 0): 10, (1, 1): 10, (0, 1): 200, (1, 2): 5, (0, 2): 5}
    effects = effects_of()
    dataset = planted(cells, WITHHELD, effects)
    measured = Measurements(dataset, 5)
    found = effect((1,), ((0, 1, 2),), lambda p, c: measured.train(p, c).logs)
    np.testing.assert_allclose(found[1:], effects[0, 1:], atol=0.05)
    logs = log_normalized(dataset.x, dataset.library(np.arange(len(dataset.x))))
    given = dataset.cells.perturbation
    pooled = logs[given == 1].mean(0) - logs[given == 0].mean(0)
    assert np.abs(pooled - effects[0])[1:].max() > 0.5


def test_top_genes_are_those_that_the_perturbation_moves(additive):
    measured = Measurements(additive, 5)
    transfer, combination = measured.conditions
    # Gene 0 takes up what the others gain or lose.
    assert set(measured.top_genes(transfer, 5)) == {0, 12, 13, 14, 15}
    assert set(measured.top_genes(combination, 9)) == {0, 5, 6, 7, 8, 12, 13, 14, 15}


def test_a_standardised_difference_ranks_a_small_sure_change_above_a_large_unsure_one(additive):
    measured = Measurements(additive, 5)
    transfer = measured.conditions[0]
    rows = measured.groups.held_out(2, 1), measured.groups.truth_controls(1)
    logs = [log_normalized(additive.x[r].astype(float), additive.library(r)) for r in rows]
    change = logs[0].mean(0) - logs[1].mean(0)
    size = np.abs(change) / np.sqrt((logs[0].var(0) + logs[1].var(0)) / 2)
    np.testing.assert_array_equal(measured.top_genes(transfer, 10), np.argsort(-size)[:10])


def test_r2_is_of_the_errors_and_not_of_the_correlation():
    true = np.array([0.0, 1.0, 2.0, 4.0])
    for predicted in (true, 2 * true + 1, np.zeros(4)):
        assert r2(predicted, true) == pytest.approx(r2_score(true, predicted))
    assert correlation(2 * true + 1, true) == pytest.approx(1)
    assert r2(2 * true + 1, true) < 0
    assert r2(true, np.ones(4)) is None


def test_rank_correlation_is_spearmans():
    a, b = np.random.default_rng(0).normal(size=(2, 20)) ** 3
    assert correlation(a, b, ranks=True) == pytest.approx(stats.spearmanr(a, b).statistic)
    assert correlation(a, np.ones(20), ranks=True) is None


class Synergy(Logs):
    """Decodes an interaction where both effects are in a code: their product, on one gene."""

    def profile(self, z: torch.Tensor) -> torch.Tensor:
        both = (z[:, 5] - Z5 > 0.5) & (z[:, 12] - Z12 > 0.5)
        z = z.clone()
        z[:, 20] += 1.5 * both
        return torch.expm1(z)


Z5 = Z12 = 0.0


def test_an_interaction_is_what_goes_beyond_the_sum(monkeypatch):
    effects = np.abs(effects_of())
    beyond = np.zeros(GENES)
    beyond[20] = 1.5
    dataset = planted(EVERYWHERE, WITHHELD | {(p, c) for p in range(4) for c in (1, 2)}, effects,
                      interaction=beyond)  # fmt: skip
    control = Measurements(dataset, 5).train(0, 0).logs
    monkeypatch.setitem(globals(), "Z5", control[5])
    monkeypatch.setitem(globals(), "Z12", control[12])
    synergy, logs = apply(dataset, Synergy()), apply(dataset)
    assert value(synergy, "p1+p2", "vae", "interaction_pearson") > 0.98
    assert value(logs, "p1+p2", "vae", "interaction_pearson") is None
    assert value(synergy, "p1+p2", "raw_difference", "interaction_pearson") is None
    # Beside it, the sum alone misses the gene.
    assert value(synergy, "p1+p2", "vae", "r2_top") > value(logs, "p1+p2", "vae", "r2_top") + 0.05


def test_noise_free_truth_is_what_dropout_leaves():
    dataset = planted(EVERYWHERE, WITHHELD, effects_of())
    lost = np.linspace(0, 0.9, GENES)
    x = np.random.default_rng(0).binomial(dataset.x.astype(int), 1 - lost).astype(np.float32)
    truth = dataset.cells.truth | {"dropout_probability": lost}
    thinned = replace(dataset, x=x, cells=replace(dataset.cells, truth=truth))
    assert value(apply(thinned), "p1+p2", "vae", "truth_r2") == pytest.approx(1, abs=0.01)
    ignorant = replace(dataset, x=x)
    assert value(apply(ignorant), "p1+p2", "vae", "truth_r2") < 0.9


def test_without_truth_only_measured_scores_are_given(additive):
    blind = replace(additive, cells=replace(additive.cells, truth={}))
    metrics = {row["metric"] for row in apply(blind).scores}
    assert metrics == {
        *("r2", "spearman", "r2_top", "spearman_top", "delta_pearson", "effect_p"),
        *("delta_pearson_null", "delta_pearson_null_95", "delta_pearson_p"),
    }


def test_proteins_are_no_genes(additive):
    x = np.hstack([additive.x, np.full((len(additive.x), 2), 7, np.float32)])
    cells = replace(additive.cells, features=(*additive.cells.features, "protein1", "protein2"))
    observed = replace(additive.observed, shape=(GENES + 2,), proteins=2)
    wide = replace(additive, x=x, cells=cells, observed=observed)

    class Wide(Logs):
        def encode(self, x: Any, context: Any = None, present: Any = None) -> Any:
            return super().encode(x[:, :GENES], context)

    applied = apply(wide, Wide())
    assert applied.arrays["genes"].tolist() == list(additive.cells.features)
    assert [row["value"] for row in applied.scores] == pytest.approx(
        [row["value"] for row in apply(additive).scores]
    )


def test_rows_of_a_sparse_matrix_give_the_same(additive):
    stored = replace(additive, x=CountMatrix.of(sparse.csr_matrix(additive.x)))
    assert apply(stored).scores == apply(additive).scores


def without_effect(seed: int) -> Dataset:
    return planted(EVERYWHERE, WITHHELD, np.zeros((2, GENES)), depth=300.0, seed=seed)


def test_controls_of_truth_and_prediction_are_disjoint_halves(additive):
    groups = Groups(additive, 5)
    for label in range(3):
        halves = groups.truth_controls(label), groups.train(0, label)
        assert [len(half) for half in halves] == [20, 20]
        every = np.flatnonzero((additive.cells.perturbation == 0) & (additive.labels == label))
        np.testing.assert_array_equal(np.sort(np.concatenate(halves)), every)
    again, other = Groups(additive, 5), Groups(additive, 5, seed=1)
    np.testing.assert_array_equal(groups.truth_controls(0), again.truth_controls(0))
    assert not np.array_equal(groups.truth_controls(0), other.truth_controls(0))


def test_one_control_alone_is_no_group():
    cells = EVERYWHERE | {(0, c): 1 for c in range(3)}
    assert conditions(Groups(planted(cells, WITHHELD, effects_of()), 1)) == []


def test_without_an_effect_no_score_of_a_change_is_good():
    found: dict[str, list[float]] = {"vae": [], "raw_difference": []}
    detected = []
    for seed in range(20):
        applied = Perturbation().apply(Logs(), without_effect(seed), SETTINGS, seed)
        for method, scores in found.items():
            scores += [value(applied, s, method, "delta_pearson") for s in ("p1+p2", "B cells:p2")]
        detected.append(value(applied, "p1+p2", "truth", "effect_p") <= 0.05)
    for method, scores in found.items():
        # 40 correlations over some 30 genes have a mean with standard error 0.03
        assert abs(np.mean(scores)) < 0.1, method
    assert sum(detected) <= 4  # 20 tests at 5 %: 1 expected, more than 4 in 3 of 1,000 cases


def test_an_effect_is_told_from_none_by_permutation(additive):
    applied = apply(additive)
    for subject in ("B cells:p2", "p1+p2"):
        assert value(applied, subject, "truth", "effect_p") == 0.005
        assert value(applied, subject, "vae", "delta_pearson_p") == 0.005
        assert abs(value(applied, subject, "vae", "delta_pearson_null")) < 0.2
        assert value(applied, subject, "vae", "delta_pearson_null_95") < 0.95
    assert value(apply(without_effect(0)), "p1+p2", "vae", "delta_pearson_p") > 0.05


def test_noise_is_what_dealt_cells_leave_of_a_change(additive):
    measured = Measurements(additive, 5)
    for index, condition in enumerate(measured.conditions):
        truth, control = measured.truth(condition)[""]
        null = measured.permuted(index)
        np.testing.assert_allclose(null.change, truth - control, rtol=1e-4, atol=1e-5)
        # As wide as the standard error of a difference of means, and without the effect.
        error = 0.0
        for label, weight in condition.weights.items():
            groups = measured.groups
            rows = groups.held_out(condition.perturbation, label), groups.truth_controls(label)
            logs = [log_normalized(additive.x[r].astype(float), additive.library(r)) for r in rows]
            error += weight**2 * sum(one.var(0) / len(one) for one in logs)
        assert null.noise.std(0) / np.sqrt(error) == pytest.approx(np.ones(GENES), abs=0.3)
        predicted = np.random.default_rng(0).normal(size=GENES)
        expected = [stats.pearsonr(predicted, row).statistic for row in (null.change, *null.noise)]
        np.testing.assert_allclose(null.correlations(predicted), expected, atol=1e-5)


def test_what_was_kept_of_one_dataset_is_not_used_for_another(additive):
    application = Perturbation()
    other = planted(EVERYWHERE, WITHHELD, -effects_of(), seed=5)
    for dataset in (additive, other, additive):
        again = application.apply(Logs(), dataset, SETTINGS, 0)
        assert again.scores == apply(dataset).scores


def test_it_says_what_data_lack(additive):
    application = Perturbation()
    assert application.missing(additive) is None
    assert application.missing(replace(additive, cells=None)) == "names no perturbations"
    seen = replace(additive, split=np.zeros_like(additive.split))
    assert "holds out no perturbation" in str(application.missing(seen))
