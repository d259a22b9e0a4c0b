"""Latent paths against planted manifolds, planted order, closed forms and a linear decoder."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from vae_ablation.applications.paths import (
    density_path,
    log_density,
    mean_profile,
    project,
    resample,
    straight_path,
)
from vae_ablation.applications.trajectory import Trajectory, gene_order, true_bins
from vae_ablation.common.errors import UserError
from vae_ablation.data.base import TEST, TRAIN, VALIDATION, Cells, Dataset, Observed
from vae_ablation.data.counts import log_normalized
from vae_ablation.models.vae import Posterior
from vae_ablation.store.applied import Applied

SETTINGS = {
    "start": None, "end": None, "steps": 21, "truth": None, "states": None, "genes": 40,
}  # fmt: skip


def half_circle(n: int, noise: float = 0.03, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Planted positions in [0, 1] and points around the upper half of the unit circle."""
    rng = np.random.default_rng(seed)
    share = rng.uniform(0, 1, n)
    angle = np.pi * (1 - share)
    return share, np.stack([np.cos(angle), np.sin(angle)], 1) + noise * rng.normal(size=(n, 2))


class LogLinear:
    """The decoder's log-normalised mean is linear in z, and the encoder its pseudo-inverse."""

    def __init__(self, weights: np.ndarray, bias: np.ndarray, posterior: str = "gaussian") -> None:
        latent = len(weights)
        self.weights, self.bias = weights, bias
        self.run = SimpleNamespace(condition="none", posterior=posterior, latent_dim=latent)
        self.contexts: list[np.ndarray] = []

    def encode(self, x: Any, context: Any = None, present: Any = None) -> Posterior:
        expression = np.log1p(np.asarray(x) / np.asarray(context)[:, :1] * 1e4)
        z = torch.tensor((expression - self.bias) @ np.linalg.pinv(self.weights)).float()
        return Posterior(z, torch.full_like(z, -3))

    def decode(self, z: Any, context: Any = None) -> Any:
        self.contexts.append(np.asarray(context))
        logs = np.asarray(z, float) @ self.weights + self.bias
        return SimpleNamespace(mean=torch.tensor(np.expm1(logs) / 1e4 * context[:, :1]))


def cells_at(z: np.ndarray, genes: int = 30, seed: int = 0) -> tuple[np.ndarray, LogLinear]:
    """Counts of cells whose codes are z: exact, each of the library size 10,000, noise-free.

    The last gene makes up what the others leave of the library, so that the sum is the same.
    """
    rng = np.random.default_rng(seed)
    weights = rng.uniform(-0.4, 0.4, (z.shape[1], genes))
    bias = rng.uniform(2, 4, genes)
    weights[:, -1] = 0
    counts = np.expm1(z @ weights + bias)
    counts[:, -1] = 1e4 - counts[:, :-1].sum(1)
    assert (counts > 0).all()
    model = LogLinear(weights[:, :-1], bias[:-1])
    return counts.astype(np.float32), model


class Padded(LogLinear):
    """As LogLinear, but for the last gene, which the encoder does not see."""

    def __init__(self, inner: LogLinear) -> None:
        super().__init__(inner.weights, inner.bias)

    def encode(self, x: Any, context: Any = None, present: Any = None) -> Posterior:
        return super().encode(np.asarray(x)[:, :-1], context)

    def decode(self, z: Any, context: Any = None) -> Any:
        mean = super().decode(z, context).mean
        rest = torch.tensor(context[:, :1]) - mean.sum(1, keepdim=True)
        return SimpleNamespace(mean=torch.cat([mean, rest], dim=1))


def dataset_of(
    x: np.ndarray,
    labels: np.ndarray,
    names: tuple[str, ...] = (),
    obs: dict[str, np.ndarray] | None = None,
    truth: dict[str, np.ndarray] | None = None,
) -> Dataset:
    """Cells, of which every tenth validates and two in ten are tested."""
    split = np.full(len(x), TRAIN, np.int8)
    split[::10] = VALIDATION
    split[1::5] = TEST
    cells = Cells(
        tuple(f"g{i}" for i in range(x.shape[1])), names, obs=obs or {}, truth=truth or {}
    )
    observed = Observed((x.shape[1],), None, counts=True, classes=int(labels.max()) + 1)
    return Dataset(
        "made", x, None, split, labels.astype(np.int64), observed, False, "made", cells=cells
    )


def arc(n: int = 900, **settings: Any) -> tuple[Applied, Dataset]:
    """The application on cells around half a circle, in five states of equal length."""
    share, z = half_circle(n)
    x, inner = cells_at(z)
    names = ("first", "second", "third", "fourth", "last")
    labels = np.minimum((5 * share).astype(int), 4)
    data = dataset_of(x, labels, names, obs={"true": share, "word": np.full(n, "a")})
    wanted = SETTINGS | {"start": "first", "end": "last", "truth": "true"} | settings
    return Trajectory().apply(Padded(inner), data, wanted, 0), data


def score(applied: Applied, method: str, metric: str) -> float:
    (value,) = [
        row["value"] for row in applied.scores if (row["method"], row["metric"]) == (method, metric)
    ]
    return value


# --- paths ---------------------------------------------------------------------------------------


def test_the_density_path_follows_the_arc_and_the_straight_one_leaves_it():
    share, codes = half_circle(1500)
    start, end = codes[share < 0.1].mean(0), codes[share > 0.9].mean(0)
    bent, straight = (make(start, end) for make in (
        lambda a, b: density_path(codes, a, b, 41), lambda a, b: straight_path(a, b, 41)
    ))  # fmt: skip
    assert np.abs(np.linalg.norm(bent, axis=1) - 1).max() < 0.06
    assert np.linalg.norm(straight, axis=1).min() < 0.2
    for path in (bent, straight):
        np.testing.assert_allclose(path[[0, -1]], [start, end], atol=1e-12)
    # Equal steps: their lengths, chord by chord, are those of an arc in equal parts.
    steps = np.linalg.norm(np.diff(bent, axis=0), axis=1)
    assert steps.std() / steps.mean() < 0.01
    assert steps.sum() == pytest.approx(0.9 * np.pi, rel=0.05)
    assert log_density(codes, bent).mean() > log_density(codes, straight).mean() + 1


def test_a_gap_is_crossed_and_the_path_is_always_the_same():
    rng = np.random.default_rng(0)
    left, right = rng.normal([-8, 0], 0.3, (80, 2)), rng.normal([8, 0], 0.3, (80, 2))
    codes = np.concatenate([left, right])
    paths = [density_path(codes, left.mean(0), right.mean(0), 11) for _ in range(2)]
    np.testing.assert_array_equal(*paths)
    assert np.isfinite(paths[0]).all()
    np.testing.assert_allclose(paths[0][[0, -1]], [left.mean(0), right.mean(0)], atol=1e-12)


def test_codes_that_are_one_point_leave_a_path_of_that_point():
    path = density_path(np.ones((50, 3)), np.ones(3), np.ones(3), 5)
    np.testing.assert_array_equal(path, np.ones((5, 3)))
    np.testing.assert_array_equal(project(np.zeros((4, 3)), path), np.zeros(4))


def test_a_point_is_projected_to_the_nearest_place_of_a_path():
    corner = np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 1.0]])
    points = np.array([[1.0, 0.2], [3.4, 0.5], [-2.0, -1.0], [5.0, 9.0]])
    np.testing.assert_allclose(project(points, corner), [1 / 4, 3.5 / 4, 0, 1])
    np.testing.assert_allclose(resample(corner, np.array([0.25, 0.875, 1])),
                               [[1, 0], [3, 0.5], [3, 1]])  # fmt: skip


def test_the_density_of_neighbours_has_the_slope_of_the_true_one():
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(20_000, 2))
    points = np.array([[0.0, 0.0], [1.0, 0.0], [1.4, 1.4]])
    expected = -0.5 * np.square(points).sum(1)
    found = log_density(codes, points)
    np.testing.assert_allclose(found - found[0], expected - expected[0], atol=0.8)


# --- scores --------------------------------------------------------------------------------------


def test_a_planted_order_is_found_along_the_arc():
    applied, _ = arc()
    assert score(applied, "density", "pseudotime_spearman") > 0.98
    assert score(applied, "density", "pseudotime_spearman") > score(
        applied, "straight", "pseudotime_spearman"
    )
    assert {row["subject"] for row in applied.scores} == {"first → last"}


def test_a_planted_order_is_told_from_chance():
    applied, _ = arc()
    assert score(applied, "truth", "effect_p") < 1e-6
    for method in ("density", "straight", "linear_expression"):
        assert score(applied, method, "pseudotime_spearman_p") == 0.005
        assert abs(score(applied, method, "pseudotime_spearman_null")) < 0.03
        # A normal approximation: 1.645 / sqrt(n - 1) of 180 test cells.
        assert score(applied, method, "pseudotime_spearman_null_95") == pytest.approx(
            0.123, abs=0.04
        )


@pytest.mark.parametrize("shuffled", ["labels", "truth"])
def test_a_truth_that_does_not_tell_the_ends_apart_is_no_effect(shuffled):
    detected = 0
    for seed in range(20):
        random = np.random.default_rng(seed)
        share, z = half_circle(300)
        x, inner = cells_at(z)
        labels = np.minimum((5 * share).astype(int), 4)
        labels, share = (
            (random.permutation(labels), share)
            if shuffled == "labels"
            else (labels, random.permutation(share))
        )
        data = dataset_of(x, labels, tuple("abcde"), obs={"true": share})
        wanted = SETTINGS | {"start": "a", "end": "e", "truth": "true"}
        applied = Trajectory().apply(Padded(inner), data, wanted, 0)
        detected += score(applied, "truth", "effect_p") <= 0.05
    assert detected <= 4  # of 20 tests at 5 %


def test_profiles_on_the_arc_are_near_what_was_measured_there():
    applied, _ = arc()
    error, other = (
        score(applied, "density", name) for name in ("profile_error", "unrelated_error")
    )
    assert error < 0.5 * other
    assert score(applied, "density", "matched_bins") == 1
    for method in ("straight", "linear_expression"):
        assert score(applied, method, "profile_error") > 2 * error


def test_a_linear_decoder_makes_the_straight_path_the_linear_baseline():
    """Cells of a label are alike, so the mean of logarithms is the logarithm of the mean."""
    corners = np.array([[0.0, 0.0], [1.0, 0.5], [0.5, 1.0]])
    labels = np.arange(300) % 3
    x, _ = cells_at(corners[labels])
    true = np.array([0.0, 1.0, 0.4])[labels]
    data = dataset_of(x[:, :-1], labels, obs={"true": true})
    names = {"start": "0", "end": "1", "truth": "true"}
    # The codes are the logarithms themselves.
    model = LogLinear(np.eye(29), np.zeros(29))
    applied = Trajectory().apply(model, data, SETTINGS | names, 0)
    for metric in ("profile_error", "unrelated_error"):
        assert score(applied, "straight", metric) == pytest.approx(
            score(applied, "linear_expression", metric), rel=1e-4
        )
    ends = [mean_profile(data, np.flatnonzero(labels == label)) for label in (0, 1)]
    third = mean_profile(data, np.flatnonzero(labels == 2))
    between = np.sqrt(np.mean((0.6 * ends[0] + 0.4 * ends[1] - third) ** 2))
    # The ends themselves are met exactly; the cells between are off by a known error.
    assert score(applied, "straight", "profile_error") == pytest.approx(between / 3, rel=1e-4)


def test_the_decoder_is_told_the_median_library_and_the_commonest_batch():
    share, z = half_circle(300)
    x, inner = cells_at(z)
    model = Padded(inner)
    model.run.condition = "batch"
    labels = np.minimum((5 * share).astype(int), 4)
    data = dataset_of(x, labels)
    batch = (np.arange(300) % 3 > 0).astype(np.int64)
    data = replace(data, cells=replace(data.cells, batch=batch, batch_names=("a", "b")),
                   observed=replace(data.observed, batches=2))  # fmt: skip
    Trajectory().apply(model, data, SETTINGS, 0)
    expected = [float(np.median(x.sum(1))), 0, 1]
    for context in model.contexts:
        np.testing.assert_allclose(context, np.tile(expected, (len(context), 1)), rtol=1e-6)


def test_without_truth_only_the_density_is_scored():
    applied, _ = arc(truth=None)
    assert {row["metric"] for row in applied.scores} == {"path_density"}
    assert {"straight", "density", "genes"} <= set(applied.arrays)
    assert "measured" not in applied.arrays


# --- truth ---------------------------------------------------------------------------------------


def test_pseudotime_of_a_simulation_is_the_truth_on_its_own_path():
    share, z = half_circle(900)
    x, inner = cells_at(z)
    names = ("a", "b", "c", "aside")
    labels = np.minimum((4 * share).astype(int), 3)
    time = np.where(labels == 3, -1, share)
    truth = {
        "cell/pseudotime": time, "trajectory": np.array([["a", "b", "c"]]),
        "path_start": np.array(0), "path_end": np.array(2),
    }  # fmt: skip
    applied = Trajectory().apply(Padded(inner), dataset_of(x, labels, names, truth=truth),
                                 SETTINGS, 0)  # fmt: skip
    assert {row["subject"] for row in applied.scores} == {"a → c"}
    assert score(applied, "density", "pseudotime_spearman") > 0.98
    assert applied.arrays["members"].sum() == ((labels < 3) & (np.arange(900) % 5 == 1)).sum()


def test_states_say_which_cells_are_on_the_path():
    every, data = arc()
    some, _ = arc(states=["second"])
    test = data.rows("test")
    assert every.arrays["members"].sum() > some.arrays["members"].sum()
    assert some.arrays["members"].sum() == np.isin(data.labels[test], [0, 1, 4]).sum()


def test_a_column_that_falls_along_the_path_gives_the_same_scores():
    up, _ = arc()
    down, _ = arc(start="last", end="first")
    for metric in ("pseudotime_spearman", "profile_error"):
        assert score(down, "density", metric) == pytest.approx(
            score(up, "density", metric), abs=2e-3
        )


def test_few_true_values_are_a_bin_each_and_many_fall_into_ten():
    bins, apart = true_bins(np.array([1.0, 0.0, 0.16, 0.16, 1.0]))
    assert bins.tolist() == [2, 0, 1, 1, 2]
    assert apart == 1
    bins, apart = true_bins(np.random.default_rng(0).uniform(size=200))
    assert np.bincount(bins).tolist() == [20] * 10
    assert apart == 2


def test_the_farthest_labels_are_the_ends_where_none_is_named():
    applied, _ = arc(start=None, end=None, truth=None)
    assert applied.scores[0]["subject"] == "first → last"
    applied, _ = arc(start="third", end=None, truth=None)
    assert applied.scores[0]["subject"].startswith("third → ")


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"start": "nowhere"}, ("applications.trajectory.start", "'nowhere'", "first, second")),
        ({"end": "first"}, ("applications.trajectory", "'first'", "two different")),
        (
            {"truth": "absent"},
            ("applications.trajectory.truth", "'absent'", "is not there", "true"),
        ),
        ({"truth": "word"}, ("applications.trajectory.truth", "'word'", "holds text")),
        ({"states": ["x"]}, ("applications.trajectory.states", "'x'", "first")),
    ],
)
def test_what_is_not_there_is_named_in_one_sentence(settings, parts):
    with pytest.raises(UserError) as caught:
        arc(n=200, **settings)
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text
    for part in parts:
        assert part in text


def test_data_without_cells_or_labels_are_told_apart():
    share, z = half_circle(100)
    x, _ = cells_at(z)
    data = dataset_of(x, np.minimum((5 * share).astype(int), 4))
    assert Trajectory().missing(data) is None
    assert "no cells" in str(Trajectory().missing(replace(data, cells=None)))
    one = replace(data, labels=np.zeros(100, np.int64))
    assert "two labels" in str(Trajectory().missing(one))


# --- what is shown -------------------------------------------------------------------------------


def test_genes_stand_in_the_order_of_their_peaks():
    t = np.linspace(0, 1, 21)[:, None]
    centres = np.array([0.8, 0.2, 0.5])
    peaks = np.exp(-50 * (t - centres) ** 2)
    rising = 1 / (1 + np.exp(-30 * (t - np.array([0.7, 0.3]))))
    falling = 1 - rising
    order = gene_order(np.concatenate([peaks, rising, falling], axis=1))
    assert order.tolist() == [6, 5, 1, 2, 0, 4, 3]


def test_the_shown_genes_vary_most_and_carry_their_names():
    applied, data = arc(genes=7)
    arrays = applied.arrays
    assert len(arrays["genes"]) == 7
    assert set(arrays["genes"]) <= set(data.cells.features)
    assert arrays["straight"].shape == arrays["density"].shape == (21, 7)
    assert arrays["measured"].shape == (len(arrays["place"]), 7)
    for name, values in arrays.items():
        assert values.dtype.kind in "fiuU", name


# --- known biology -------------------------------------------------------------------------------


def test_log_normalised_means_do_not_depend_on_depth():
    """A profile is the log of the mean, which thinning leaves where it was."""
    rng = np.random.default_rng(0)
    rate = 20 + rng.gamma(1, 20, 50)
    deep, thin = rng.poisson(rate, (4000, 50)), rng.poisson(0.05 * rate, (4000, 50))
    found = [
        mean_profile(dataset_of(x.astype(np.float32), np.zeros(4000)), np.arange(4000))
        for x in (deep, thin)
    ]
    expected = log_normalized(rate[None], np.array([rate.sum()]))[0]
    for profile in found:
        np.testing.assert_allclose(profile, expected, atol=0.05)


def mixtures(genes: int = 500) -> Dataset:
    """The measured RNA mixtures, their most variable genes."""
    anndata = pytest.importorskip("anndata")
    folder = os.environ.get("VAE_ABLATION_DATA")
    if folder is None:
        pytest.skip("VAE_ABLATION_DATA names no folder with rnamix_celseq2.h5ad")
    table = anndata.read_h5ad(Path(folder) / "rnamix_celseq2.h5ad")
    x = np.asarray(table.X.todense(), np.float32)
    logs = np.log1p(x / x.sum(1, keepdims=True) * 1e4)
    mixture = table.obs["mixture"].astype("category")
    data = dataset_of(
        x[:, np.sort(np.argsort(-logs.var(0))[:genes])],
        mixture.cat.codes.to_numpy(),
        tuple(mixture.cat.categories),
        obs={name: table.obs[name].to_numpy() for name in ("H2228_prop", "H1975_prop")},
    )
    split = np.random.default_rng(0).permutation(np.resize([TRAIN, TRAIN, TEST], len(x)))
    return replace(data, split=split.astype(np.int8))


@pytest.mark.parametrize(
    ("end", "truth", "states"),
    [
        ("H2228=0.33 H1975=0.33 HCC827=0.33", "H2228_prop", None),
        ("H2228=0.00 H1975=1.00 HCC827=0.00", "H1975_prop", [
            "H2228=0.68 H1975=0.16 HCC827=0.16", "H2228=0.33 H1975=0.33 HCC827=0.33",
            "H2228=0.16 H1975=0.68 HCC827=0.16",
        ]),
    ],
)  # fmt: skip
def test_a_path_from_a_pure_line_passes_the_measured_mixtures(end, truth, states):
    """With principal components in place of a trained model: the measure itself is sound."""
    data = mixtures()
    rows = data.rows("train")
    logs = np.log1p(data.x[rows] / data.library(rows)[:, None] * 1e4)
    pca = PCA(5, random_state=0).fit(logs)
    settings = SETTINGS | {
        "start": "H2228=1.00 H1975=0.00 HCC827=0.00", "end": end, "truth": truth, "states": states,
    }  # fmt: skip
    applied = Trajectory().apply(LogLinear(pca.components_, pca.mean_), data, settings, 0)
    assert score(applied, "density", "pseudotime_spearman") > 0.85
    # The mean of logarithms is what this stand-in decodes to, so errors have a common part.
    error, other = (
        score(applied, "density", name) for name in ("profile_error", "unrelated_error")
    )
    assert error < other
