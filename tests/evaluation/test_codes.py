"""Metrics of codes against scikit-learn called directly, planted truths and known curves."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, silhouette_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from vae_ablation.evaluation.codes import (
    active_units,
    cluster_scores,
    drift,
    label_hits,
    root_mean_square,
)
from vae_ablation.evaluation.families import FAMILIES
from vae_ablation.evaluation.family import means


def label_accuracies(*arguments: np.ndarray) -> dict[str, float]:
    """Means over the labelled examples."""
    return means(label_hits(*arguments))


def blobs(distance: float, n: int = 300, classes: int = 4, seed: int = 0) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    centres = rng.normal(size=(classes, 3)) * distance
    return (centres[labels] + rng.normal(size=(n, 3))).astype(np.float32), labels


def test_active_units_counts_variances_above_a_hundredth() -> None:
    signs = np.where(np.arange(1000) % 2, 1.0, -1.0)
    scales = np.sqrt([0.0, 0.0099, 0.0101, 0.5, 4.0])
    means = signs[:, None] * scales + 100.0
    assert active_units(means) == 3
    assert active_units(np.zeros((5, 7))) == 0


def test_root_mean_square_is_over_all_entries() -> None:
    assert root_mean_square(np.array([[3.0, 0.0], [0.0, 4.0]])) == pytest.approx(2.5)


@pytest.mark.parametrize("distance", [0.5, 2.0])
def test_cluster_scores_are_scikit_learns(distance: float) -> None:
    codes, labels = blobs(distance)
    wide = codes.astype(np.float64)
    found = KMeans(4, n_init=10, random_state=5).fit_predict(wide)
    scores = cluster_scores(codes, labels, seed=5)
    assert scores["silhouette"] == pytest.approx(silhouette_score(wide, labels), abs=1e-9)
    assert scores["ari"] == pytest.approx(adjusted_rand_score(labels, found), abs=1e-12)
    assert scores["nmi"] == pytest.approx(normalized_mutual_info_score(labels, found), abs=1e-12)


def test_planted_clusters_are_found() -> None:
    codes, labels = blobs(60.0)
    scores = cluster_scores(codes, labels, seed=0)
    assert scores["ari"] == 1
    assert scores["nmi"] == pytest.approx(1)
    assert scores["silhouette"] > 0.9


def test_labels_that_mean_nothing_score_nothing() -> None:
    codes, _ = blobs(2.0, n=2000)
    labels = np.random.default_rng(1).integers(0, 4, 2000)
    scores = cluster_scores(codes, labels, seed=0)
    assert abs(scores["ari"]) < 0.02
    assert scores["silhouette"] < 0.02


def test_unlabelled_examples_are_left_out() -> None:
    codes, labels = blobs(3.0)
    some = np.where(np.arange(300) < 200, labels, -1)
    assert cluster_scores(codes, some, 0) == cluster_scores(codes[:200], labels[:200], 0)


@pytest.mark.parametrize(
    ("codes", "labels"),
    [
        (np.ones((10, 2)), np.arange(10) % 2),
        (np.random.default_rng(0).normal(size=(10, 2)), np.zeros(10, int)),
        (np.random.default_rng(0).normal(size=(10, 2)), np.full(10, -1)),
        (np.random.default_rng(0).normal(size=(10, 2)), np.arange(10)),
        (np.full((10, 2), np.nan), np.arange(10) % 2),
    ],
    ids=["constant", "one class", "no labels", "all differ", "not finite"],
)
def test_undefined_cluster_scores_are_empty(codes: np.ndarray, labels: np.ndarray) -> None:
    assert cluster_scores(codes, labels, 0) == {}


def test_accuracies_are_scikit_learns() -> None:
    train, train_labels = blobs(1.0, seed=0)
    test, test_labels = blobs(1.0, n=120, seed=0)
    test = test[::-1] + np.random.default_rng(9).normal(size=test.shape).astype(np.float32) * 0.3
    test_labels = test_labels[::-1]
    found = label_accuracies(train, train_labels, test, test_labels)
    wide = train.astype(np.float64)
    knn = KNeighborsClassifier(15).fit(wide, train_labels)
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
    probe.fit(wide, train_labels)
    assert found["knn_accuracy"] == pytest.approx(knn.score(test, test_labels))
    assert found["probe_accuracy"] == pytest.approx(probe.score(test, test_labels), abs=0.01)
    assert 0.3 < found["knn_accuracy"] < 1


def test_separable_codes_are_read_perfectly_and_noise_at_chance() -> None:
    codes, labels = blobs(60.0)
    found = label_accuracies(codes, labels, codes, labels)
    assert found == {"knn_accuracy": 1.0, "probe_accuracy": 1.0}
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(4000, 3))
    chance = label_accuracies(
        noise[:2000], np.arange(2000) % 4, noise[2000:], rng.permutation(2000) % 4
    )
    for accuracy in chance.values():
        assert abs(accuracy - 0.25) < 4.5 * math.sqrt(0.25 * 0.75 / 2000)


def test_accuracies_without_two_classes_are_empty() -> None:
    codes, labels = blobs(1.0)
    assert label_accuracies(codes, np.zeros(300, int), codes, labels) == {}
    assert label_accuracies(codes, labels, codes, np.full(300, -1)) == {}
    assert label_accuracies(np.full((300, 3), np.inf), labels, codes, labels) == {}


def test_drift_of_a_line_is_its_change_over_the_last_tenth() -> None:
    line = -0.5 * np.arange(100.0)
    assert drift(line) == pytest.approx(-0.5 * 9)
    for level in (-1e4, 0.0, 1e4):
        assert drift(line + level) == pytest.approx(-0.5 * 9)


def test_drift_is_zero_where_nothing_changes_and_blind_to_what_came_before() -> None:
    flat = np.r_[np.linspace(1000, 7, 90), np.full(10, 7.0)]
    assert drift(flat) == pytest.approx(0, abs=1e-12)
    assert drift(np.zeros(50)) == 0


def test_drift_of_noise_around_a_constant_is_that_of_a_least_squares_line() -> None:
    noise = 100 + np.random.default_rng(0).normal(size=200)
    found = drift(noise)
    assert found == pytest.approx(stats.linregress(np.arange(20), noise[-20:]).slope * 19)
    # standard error of a line's rise over n points of unit noise, √(12 / n)
    assert abs(found) < 4.5 * np.sqrt(12 / 20)


def test_drift_is_undefined_for_fewer_than_three_epochs() -> None:
    assert drift(np.array([2.0, 1.0])) is None
    assert drift(np.array([3.0, 2.0, 1.0])) == pytest.approx(-2.0)


def test_an_example_has_the_share_of_its_draws_that_are_named_right() -> None:
    codes, labels = blobs(60.0)
    elsewhere = codes[np.roll(np.arange(len(codes)), 1)]
    wrong = (np.roll(labels, 1) != labels).astype(float)
    drawn = SimpleNamespace(
        point=False,
        sampled_codes=(codes, np.stack([codes, codes, codes, elsewhere])),
        train_labels=labels,
        labels=labels,
    )
    found = FAMILIES["label accuracies of samples"](drawn)
    for name in ("knn_accuracy_sampled", "probe_accuracy_sampled"):
        np.testing.assert_allclose(found[name], 1 - wrong / 4)
    assert FAMILIES["label accuracies of samples"](SimpleNamespace(point=True)) == {}
