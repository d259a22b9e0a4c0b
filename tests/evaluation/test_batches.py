"""Batch mixing against planted answers, scikit-learn called directly, and scib-metrics."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import silhouette_samples
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from vae_ablation.evaluation import batches as module
from vae_ablation.evaluation.batches import batch_columns, batch_silhouette, inverse_simpson

OURS = {"batch_knn_mixing", "batch_silhouette", "batch_knn_accuracy", "batch_knn_floor"}


@pytest.fixture(autouse=True)
def _without_scib(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "scib" not in request.node.name:
        monkeypatch.setattr(module, "find_spec", lambda name: None)


def cells(
    shift: float,
    apart: float = 20.0,
    n: int = 1200,
    shares: tuple[float, ...] = (0.5, 0.3, 0.2),
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Four labels `apart` from each other, batches moved by `shift`: codes, labels, batches."""
    rng = np.random.default_rng(seed)
    labels, batches = rng.integers(0, 4, n), rng.choice(len(shares), n, p=shares)
    codes = rng.normal(size=(n, 6))
    codes[np.arange(n), labels] += apart
    codes[:, 5] += shift * batches
    return codes.astype(np.float32), labels, batches


@pytest.mark.parametrize("apart", [0.0, 20.0], ids=["no labels", "labels apart"])
@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.5, 0.3, 0.2), (0.9, 0.1)])
def test_batches_that_codes_do_not_know_are_mixed(apart: float, shares: tuple[float, ...]) -> None:
    found = batch_columns(*cells(0, apart, shares=shares), seed=1)
    assert found.keys() == OURS
    assert found["batch_knn_mixing"] == pytest.approx(1, abs=0.05)
    assert found["batch_silhouette"] > 0.95
    assert found["batch_knn_floor"] == pytest.approx(shares[0], abs=0.04)
    assert found["batch_knn_accuracy"] <= found["batch_knn_floor"] + 0.03


def test_batches_that_lie_apart_are_not_mixed() -> None:
    found = batch_columns(*cells(200), seed=1)
    assert found["batch_knn_mixing"] == 0
    assert found["batch_silhouette"] < 0.05
    assert found["batch_knn_accuracy"] == 1


def test_mixing_falls_and_accuracy_rises_with_the_shift_of_the_batches() -> None:
    found = [batch_columns(*cells(shift), seed=1) for shift in (0, 1, 2, 4, 8)]
    mixing = [each["batch_knn_mixing"] for each in found]
    assert mixing == sorted(mixing, reverse=True)
    assert 0.2 < mixing[2] < 0.8
    accuracy = [each["batch_knn_accuracy"] for each in found]
    assert accuracy == sorted(accuracy)


def test_batches_that_hold_other_labels_are_mixed_where_each_label_is() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 400)
    batches = (rng.random(800) < np.where(labels, 0.8, 0.2)).astype(np.int64)
    codes = (rng.normal(size=(800, 4)) + 30 * labels[:, None]).astype(np.float32)
    found = batch_columns(codes, labels, batches, seed=0)
    assert found["batch_knn_mixing"] == pytest.approx(1, abs=0.06)
    assert found["batch_knn_floor"] == pytest.approx(0.8, abs=0.03)
    unlabelled = batch_columns(codes, np.full(800, -1), batches, seed=0)
    assert unlabelled["batch_knn_mixing"] < 0.75
    assert unlabelled["batch_knn_floor"] == pytest.approx(0.5, abs=0.03)


def test_inverse_simpson_counts_batches_in_equal_shares() -> None:
    found = inverse_simpson(np.array([[0, 0, 0, 0], [0, 1, 0, 1], [0, 1, 2, 3], [2, 2, 2, 3]]))
    assert found == pytest.approx([1, 2, 4, 16 / 10])


def test_expected_inverse_simpson_of_random_neighbours_is_the_binomials() -> None:
    """LISI₀ of two equal batches among 15 neighbours: Σ_j C(15, j) 2⁻¹⁵ / Σ p², in closed form."""
    from scipy.stats import binom

    j = np.arange(16)
    expected = (binom.pmf(j, 15, 0.5) / ((j / 15) ** 2 + (1 - j / 15) ** 2)).sum()
    codes, _, batches = cells(0, 0, n=4000, shares=(0.5, 0.5))
    near = module.NearestNeighbors(n_neighbors=15).fit(codes).kneighbors(return_distance=False)
    random = np.random.default_rng(3)
    shuffled = [random.permutation(batches)[near] for _ in range(5)]
    assert np.mean([inverse_simpson(each) for each in shuffled]) == pytest.approx(
        expected, abs=0.005
    )


def test_silhouette_is_scikit_learns_per_label() -> None:
    codes, labels, batches = cells(1.5)
    wide = codes.astype(np.float64)
    per_label = [
        (1 - np.abs(silhouette_samples(wide[labels == k], batches[labels == k]))).mean()
        for k in range(4)
    ]
    assert batch_columns(codes, labels, batches, 0)["batch_silhouette"] == pytest.approx(
        np.mean(per_label), abs=1e-12
    )


def test_silhouette_leaves_out_labels_of_one_batch_and_unlabelled_examples() -> None:
    codes, labels, batches = cells(1.5)
    wide = codes.astype(np.float64)
    only = np.where(labels == 3, 0, batches)
    some = np.where(labels == 2, -1, labels)
    kept = labels < 2
    expected = batch_silhouette(wide[kept], labels[kept], batches[kept])
    assert batch_silhouette(wide, some, only) == pytest.approx(expected, abs=1e-12)


def test_silhouette_without_labels_is_of_all_examples() -> None:
    codes, _, batches = cells(1.5, 0)
    wide = codes.astype(np.float64)
    expected = (1 - np.abs(silhouette_samples(wide, batches))).mean()
    assert batch_silhouette(wide, np.full(1200, -1), batches) == pytest.approx(expected, abs=1e-12)


def test_accuracy_is_that_of_leaving_one_out() -> None:
    codes, labels, batches = cells(1.0, n=150)
    named = cross_val_predict(
        KNeighborsClassifier(15), codes.astype(np.float64), batches, cv=LeaveOneOut()
    )
    found = batch_columns(codes, labels, batches, 0)
    assert found["batch_knn_accuracy"] == pytest.approx((named == batches).mean(), abs=1e-12)


def test_examples_without_a_batch_are_left_out_and_names_of_batches_do_not_matter() -> None:
    codes, labels, batches = cells(1.5)
    some = np.where(np.arange(1200) < 800, batches, -1)
    expected = batch_columns(codes[:800], labels[:800], batches[:800], 0)
    assert batch_columns(codes, labels, some, 0) == expected
    renamed = batch_columns(codes[:800], labels[:800], 10 * batches[:800] + 3, 0)
    assert renamed == expected


def test_a_subsample_of_many_examples_tells_the_same() -> None:
    large = batch_columns(*cells(2, n=5500), seed=0)
    assert large == batch_columns(*cells(2, n=5500), seed=0)
    small = batch_columns(*cells(2, n=5000), seed=0)
    for name, value in large.items():
        assert value == pytest.approx(small[name], abs=0.05)


def test_few_examples_have_a_silhouette_only() -> None:
    codes, _, batches = cells(0, n=15)
    assert batch_columns(codes, np.zeros(15, np.int64), batches, 0).keys() == {"batch_silhouette"}


@pytest.mark.parametrize(
    ("codes", "batches"),
    [
        (np.random.default_rng(0).normal(size=(40, 2)), np.zeros(40, np.int64)),
        (np.random.default_rng(0).normal(size=(40, 2)), np.full(40, -1)),
        (np.tile([[1.0, 2.0]], (40, 1)), np.arange(40) % 2),
        (np.full((40, 2), np.nan), np.arange(40) % 2),
    ],
    ids=["one batch", "no batches", "constant", "not finite"],
)
def test_undefined_columns_are_absent(codes: np.ndarray, batches: np.ndarray) -> None:
    assert batch_columns(codes, np.zeros(40, np.int64), batches, 0) == {}


# --- scib-metrics --------------------------------------------------------------------------------

SCIB = {"scib_ilisi", "scib_bras", "scib_graph_connectivity"}


def test_scib_batch_silhouette_is_ours() -> None:
    scib = pytest.importorskip("scib_metrics", reason="scib-metrics is not installed")
    codes, labels, batches = cells(1.5)
    theirs = scib.silhouette_batch(codes.astype(np.float64), labels, batches)
    assert batch_silhouette(codes.astype(np.float64), labels, batches) == pytest.approx(
        float(theirs), abs=1e-4
    )


def test_scib_columns_order_codes_as_ours_do() -> None:
    pytest.importorskip("scib_metrics", reason="scib-metrics is not installed")
    found = [batch_columns(*cells(shift, n=600), seed=0) for shift in (0, 2, 50)]
    for each in found:
        assert each.keys() == OURS | SCIB
    for name in ("batch_knn_mixing", "scib_ilisi", "scib_bras"):
        values = [each[name] for each in found]
        assert values == sorted(values, reverse=True), name
    assert found[0]["scib_ilisi"] > 0.6
    assert found[2]["scib_ilisi"] < 0.05
    assert found[0]["scib_graph_connectivity"] > 0.95
    assert found[2]["scib_graph_connectivity"] < 0.7


def test_scib_columns_of_labels_are_absent_without_labels() -> None:
    pytest.importorskip("scib_metrics", reason="scib-metrics is not installed")
    codes, _, batches = cells(0, n=100)
    found = batch_columns(codes, np.full(100, -1), batches, seed=0)
    assert found.keys() == OURS | {"scib_ilisi"}


LABELLINGS = {
    "the label is the batch": lambda n: np.arange(n) % 3,
    "labels within batches": lambda n: np.arange(n) % 9,
    "a label of its own": np.arange,
}


@pytest.mark.parametrize("labelling", LABELLINGS)
@pytest.mark.parametrize("apart", [0.0, 5.0])
@pytest.mark.parametrize("scib", [False, True], ids=["", "scib"])
def test_where_each_label_lies_in_one_batch_nothing_is_said(labelling, apart, scib, monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: scib or None)
    n = 300
    batches = np.arange(n) % 3
    codes = np.random.default_rng(0).normal(size=(n, 3)) + apart * batches[:, None]
    assert batch_columns(codes.astype(np.float32), LABELLINGS[labelling](n), batches, 0) == {}


def test_labels_of_one_batch_do_not_speak_for_the_others() -> None:
    """Label 0 lies in two batches, which are apart; the others mix and lie in one batch each."""
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 200)
    batches = np.where(labels == 0, np.arange(600) % 2, labels - 1)
    codes = random.normal(size=(600, 2))
    codes[labels == 0] += np.stack([np.full(200, 50.0), 50.0 * (np.arange(200) % 2)], 1)
    found = batch_columns(codes.astype(np.float32), labels, batches, 0)
    assert found["batch_knn_mixing"] == 0
    assert found["batch_knn_accuracy"] == 1
    assert found["batch_knn_floor"] == 0.5
