"""Sample quality: closed forms, planted sets, generators that are perfect, partial or broken."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from sklearn.neighbors import NearestNeighbors

from support import examples, make_dataset, make_run, model_options, stacked, told_nothing
from vae_ablation.data.base import Dataset
from vae_ablation.evaluation import samples as module
from vae_ablation.evaluation.bounds import decode_mean, encode
from vae_ablation.evaluation.features import fit_features
from vae_ablation.evaluation.samples import (
    RealFeatures,
    expost_codes,
    frechet_distance,
    precision_recall,
    real_floor,
    sample_columns,
)
from vae_ablation.models.streams import stream
from vae_ablation.models.vae import VAE
from vae_ablation.training.stacked import StackedVAE

PRIOR_COLUMNS = {"sample_fid", "sample_precision", "sample_recall"}
DATA_COLUMNS = {"sample_fid_floor", "feature_accuracy"}


def normals(n: int, dims: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, dims))


def spheres(n: int, clusters: list[int], seed: int) -> torch.Tensor:
    """Points of unit clusters that lie 50 apart, equally many of each."""
    rng = np.random.default_rng(seed)
    which = np.array(clusters)[np.arange(n) % len(clusters)]
    return torch.from_numpy(50 * np.eye(5)[which] + rng.normal(size=(n, 5)))


def columns_of(model: StackedVAE, dataset: Dataset, real: RealFeatures, seed: int = 0) -> dict:
    means = encode(model, examples(torch.from_numpy(dataset.observe("train")))).mean
    (columns,) = sample_columns(model, [make_run(seed=seed)], means, dataset, real, 0)
    return columns


@pytest.fixture(scope="module")
def real(few_digits: Dataset) -> RealFeatures:
    return RealFeatures.of(few_digits, fit_features(few_digits, 0), seed=0)


@pytest.fixture(scope="module")
def real_digits(digits: Dataset) -> RealFeatures:
    return RealFeatures.of(digits, fit_features(digits, 0), seed=0)


def test_identical_sets_have_distance_zero_also_where_features_are_constant_or_collinear() -> None:
    a = normals(50)
    assert frechet_distance(a, a[::-1]) == pytest.approx(0, abs=1e-9)
    a[:, 1], a[:, 2] = 3.0, 2 * a[:, 0]
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("n", [7, 40])
def test_frechet_distance_is_the_published_formula(n: int) -> None:
    a, b = normals(n, seed=1) @ normals(4, seed=2), 0.5 + normals(60, seed=3) @ normals(4, seed=4)
    s_a, s_b = np.cov(a.T), np.cov(b.T)
    truth = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(s_a + s_b - 2 * sqrtm(s_a @ s_b).real)
    assert frechet_distance(a, b) == pytest.approx(truth, rel=1e-6)


def test_frechet_distance_of_known_gaussians_is_their_closed_form() -> None:
    scale_a, scale_b, shift = np.array([1, 2, 0.5, 3]), np.array([2, 2, 1, 0.1]), np.arange(4) / 4
    a, b = normals(100_000, seed=1) * scale_a, shift + normals(100_000, seed=2) * scale_b
    turn = np.linalg.qr(normals(4, seed=3))[0]
    truth = np.square(scale_a - scale_b).sum() + np.square(shift).sum()
    assert frechet_distance(a @ turn, b @ turn) == pytest.approx(truth, rel=0.02)


def test_singular_covariances_have_their_closed_form() -> None:
    t = normals(30)[:, :1]
    a, b = t * [1.0, 0, 0], t * [0, 3.0, 0]
    variance, mean = t.var(ddof=1), t.mean()
    assert frechet_distance(a, b) == pytest.approx(10 * variance + 10 * mean**2, rel=1e-9)
    assert frechet_distance(a, 2 * a) == pytest.approx(variance + mean**2, rel=1e-6)
    one = normals(30)[:, :1]
    assert frechet_distance(one, one + 2) == pytest.approx(4, rel=1e-9)


def test_frechet_distance_is_undefined_for_one_row_or_values_that_are_not_finite() -> None:
    a = normals(5)
    assert frechet_distance(a[:1], a) is None
    a[2, 1] = np.nan
    assert frechet_distance(normals(5), a) is None


def test_identical_sets_cover_each_other_and_far_ones_do_not() -> None:
    a = torch.from_numpy(normals(200))
    assert precision_recall(a, a.flip(0)) == (1, 1)
    assert precision_recall(a, a + 100) == (0, 0)


@pytest.mark.parametrize("pairs", [2**21, 1000])
def test_precision_and_recall_are_those_of_exact_neighbours(
    pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAIRS", pairs)
    a, b = normals(150), 1.0 + 0.8 * normals(130, seed=1)

    def covered(points: np.ndarray, centres: np.ndarray) -> float:
        distances, _ = NearestNeighbors(n_neighbors=4).fit(centres).kneighbors(centres)
        gaps = np.linalg.norm(points[:, None] - centres, axis=-1)
        return (gaps <= distances[:, 3]).any(1).mean()

    found = precision_recall(torch.from_numpy(a), torch.from_numpy(b))
    assert found == pytest.approx((covered(b, a), covered(a, b)))
    assert 0.1 < found[0] < 0.99
    assert 0.1 < found[1] < 0.99


def test_radii_reach_to_the_kth_other_example() -> None:
    line = torch.arange(5.0, dtype=torch.float64)[:, None].square()
    assert module.Manifold.of(line, 1).radii.tolist() == [1, 1, 3, 5, 7]
    assert module.Manifold.of(line, 3).radii.tolist() == [9, 8, 5, 8, 15]


def test_dropping_modes_lowers_recall_and_not_precision() -> None:
    data = spheres(800, [0, 1, 2, 3], seed=0)
    whole = precision_recall(data, spheres(800, [0, 1, 2, 3], seed=1))
    partial = precision_recall(data, spheres(800, [0, 1], seed=1))
    assert min(whole) > 0.85
    assert partial[0] == pytest.approx(whole[0], abs=0.05)
    assert partial[1] == pytest.approx(whole[1] / 2, abs=0.05)


def test_junk_lowers_precision_and_not_recall() -> None:
    data = spheres(800, [0, 1], seed=0)
    fine = spheres(800, [0, 1], seed=1)
    whole = precision_recall(data, fine)
    junk = -1000 + 10 * torch.from_numpy(normals(800, 5, seed=3))
    littered = precision_recall(data, torch.cat([fine, junk]))
    assert littered == pytest.approx((whole[0] / 2, whole[1]), abs=1e-9)


def test_a_single_picture_for_all_codes_has_no_recall() -> None:
    data = torch.from_numpy(normals(200))
    precision, recall = precision_recall(data, data.mean(0, keepdim=True).expand(200, -1))
    assert (precision, recall) == (1, 0)


def test_the_floor_is_the_distance_to_as_many_train_examples(
    few_digits: Dataset, real: RealFeatures
) -> None:
    held_out = real.extractor(few_digits.intensities("test")).numpy()
    train = real.extractor(few_digits.intensities("train")).numpy()
    random = np.random.default_rng(17)
    draws = [
        frechet_distance(held_out, train[random.permutation(len(train))[: len(held_out)]])
        for _ in range(200)
    ]
    assert len(real.held_out) == len(held_out) == 60
    np.testing.assert_allclose(real.held_out, held_out, atol=1e-5)
    error = 4.5 * np.std(draws) / np.sqrt(module.FLOOR_DRAWS)
    assert real.floor == pytest.approx(np.mean(draws), abs=error)


def test_the_floor_of_a_pool_as_small_as_the_held_out_set_is_one_distance() -> None:
    a, b = normals(80), normals(80, seed=1)
    assert real_floor(a, b, seed=0) == pytest.approx(frechet_distance(a, b), rel=1e-9)
    assert real_floor(a[:1], b, seed=0) is None


def test_the_floor_falls_with_the_number_of_examples() -> None:
    pool = normals(20_000, 16)
    floors = [real_floor(normals(n, 16, seed=n), pool, seed=0) for n in (50, 200, 800, 3200)]
    assert (np.diff(floors) < 0).all()
    # to first order 2f/n of the means and f(f + 1)/2n of the covariances, with f = 16 features
    assert floors[-1] == pytest.approx((2 * 16 + 16 * 17 / 2) / 3200, rel=0.1)


def test_the_floor_does_not_know_the_order_of_the_examples() -> None:
    rng = np.random.default_rng(0)
    labels = np.sort(rng.integers(0, 5, 400))
    x = (rng.random((5, 8))[labels] + 0.05 * rng.normal(size=(400, 8))).clip(0, 1)
    mixed = rng.permutation(400)
    split = np.r_[np.zeros(200), np.ones(100), np.full(100, 2)].astype(np.int8)
    rng.shuffle(split)
    floors = []
    for order in (np.arange(400), mixed):
        dataset = make_dataset(x[order])
        dataset.split[:] = split[order]
        floors.append(RealFeatures.of(dataset, fit_features(dataset, 0), 0).floor)
    assert floors[0] == pytest.approx(floors[1], rel=0.3)


def test_sets_are_as_large_as_the_smaller_split_and_the_limit_allow(
    few_digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor = fit_features(few_digits, 0)
    small = make_dataset(few_digits.x, shares=(0.1, 0.1))
    assert len(RealFeatures.of(small, extractor, 0).held_out) == 30
    monkeypatch.setattr(module, "EXAMPLES", 20)
    assert len(RealFeatures.of(few_digits, extractor, 0).held_out) == 20


def replace_decoder(
    monkeypatch: pytest.MonkeyPatch, decode: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    """Let this give the pictures of every run."""
    monkeypatch.setattr(module, "decode_mean", lambda model, z, context: decode(z))


def test_a_generator_that_returns_data_reaches_the_floor(
    digits: Dataset, real_digits: RealFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = torch.from_numpy(digits.intensities("train"))
    random = torch.Generator().manual_seed(0)
    replace_decoder(
        monkeypatch,
        lambda z: train[torch.randperm(len(train), generator=random)[: z.shape[1]]][None],
    )
    model = stacked([VAE(digits.observed, "gaussian", 2, model_options(), 0)])
    columns = columns_of(model, digits, real_digits)
    assert real_digits.floor is not None
    for name in ("sample_fid", "sample_fid_expost"):
        assert columns[name] == pytest.approx(real_digits.floor, rel=0.4)
    assert columns["sample_precision"] > 0.85
    assert columns["sample_recall"] > 0.85


def test_worse_pictures_are_farther(
    digits: Dataset, real_digits: RealFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = torch.from_numpy(digits.intensities("train"))
    model = stacked([VAE(digits.observed, "gaussian", 2, model_options(), 0)])
    noise = torch.randn(train.shape, generator=torch.Generator().manual_seed(0))
    distances = []
    for amount in (0.0, 0.2, 0.5, 1.0):
        pictures = (1 - amount) * train + amount * train.mean(0) + 0.3 * amount * noise
        replace_decoder(monkeypatch, lambda z, x=pictures: x[None, : z.shape[1]])
        distances.append(columns_of(model, digits, real_digits)["sample_fid"])
    assert (np.diff(distances) > 0).all()
    assert distances[1] > 1.5 * distances[0]


def test_columns_are_of_decoder_means_at_codes_of_the_prior(
    few_digits: Dataset, real: RealFeatures
) -> None:
    model = stacked([VAE(few_digits.observed, "gaussian", 2, model_options(), 5)])
    columns = columns_of(model, few_digits, real, seed=5)
    z = torch.randn(60, 2, generator=stream(5, "fid samples"))
    pictures = decode_mean(model, z[None], told_nothing(z))[0]
    features = real.extractor(pictures)
    assert set(columns) == PRIOR_COLUMNS | DATA_COLUMNS | {"sample_fid_expost"}
    assert columns["sample_fid"] == frechet_distance(features.numpy(), real.held_out)
    scores = precision_recall(torch.from_numpy(real.held_out), features)
    assert (columns["sample_precision"], columns["sample_recall"]) == scores
    assert columns["sample_fid_floor"] == real.floor
    assert columns["feature_accuracy"] == real.extractor.accuracy


def test_a_pack_gives_what_its_runs_give_alone(
    few_digits: Dataset, real: RealFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = [VAE(few_digits.observed, "gaussian", 2, model_options(), seed) for seed in (0, 1)]
    alone = [columns_of(stacked([m]), few_digits, real, seed) for seed, m in enumerate(models)]
    monkeypatch.setattr(module, "_VALUES", 2 * 64 * 7)
    pack = stacked(models)
    means = encode(pack, examples(torch.from_numpy(few_digits.observe("train")))).mean
    together = sample_columns(
        pack, [make_run(seed=0), make_run(seed=1)], means, few_digits, real, 0
    )
    assert alone[0]["sample_fid"] != alone[1]["sample_fid"]
    for single, packed in zip(alone, together, strict=True):
        assert packed == pytest.approx(single, rel=1e-4)


def test_everything_is_the_same_twice(few_digits: Dataset, real: RealFeatures) -> None:
    model = stacked([VAE(few_digits.observed, "gaussian", 2, model_options(), 0)])
    first = columns_of(model, few_digits, real)
    np.random.default_rng().normal()
    torch.randn(3)
    again = RealFeatures.of(few_digits, real.extractor, seed=0)
    assert columns_of(model, few_digits, again) == first


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_decoder_that_explodes_leaves_only_the_columns_of_the_data(
    few_digits: Dataset, real: RealFeatures, value: float
) -> None:
    model = VAE(few_digits.observed, "gaussian", 2, model_options(), 0)
    with torch.no_grad():
        model.decoder.network[-1].bias[3] = value
    means = torch.from_numpy(normals(180, 2)).float()[None]
    (columns,) = sample_columns(stacked([model]), [make_run()], means, few_digits, real, 0)
    assert set(columns) == DATA_COLUMNS


def test_codes_that_are_not_finite_cost_the_expost_column_alone(
    few_digits: Dataset, real: RealFeatures
) -> None:
    model = stacked([VAE(few_digits.observed, "gaussian", 2, model_options(), 0)])
    means = torch.full((1, 180, 2), float("inf"))
    (columns,) = sample_columns(model, [make_run()], means, few_digits, real, 0)
    assert set(columns) == DATA_COLUMNS | PRIOR_COLUMNS


def test_too_few_examples_have_fewer_columns(few_digits: Dataset, real: RealFeatures) -> None:
    model = stacked([VAE(few_digits.observed, "gaussian", 2, model_options(), 0)])
    for held_out, names in ((1, set()), (3, {"sample_fid", "sample_fid_expost"})):
        few = make_dataset(few_digits.x, shares=(0.5, 0.5 - held_out / 300), shape=(8, 8))
        columns = columns_of(model, few, RealFeatures.of(few, real.extractor, 0))
        assert set(columns) - DATA_COLUMNS == names


def test_unlabelled_data_have_no_feature_accuracy(few_digits: Dataset) -> None:
    dataset = make_dataset(few_digits.x, shape=(8, 8))
    real = RealFeatures.of(dataset, fit_features(dataset, 0), 0)
    model = stacked([VAE(dataset.observed, "gaussian", 2, model_options(), 0)])
    columns = columns_of(model, dataset, real)
    assert set(columns) == PRIOR_COLUMNS | {"sample_fid_floor", "sample_fid_expost"}


def test_a_mixture_of_the_codes_finds_what_the_prior_misses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Codes far from the prior, of a decoder that is right there and nowhere else."""
    rng = np.random.default_rng(0)
    centres = 0.15 + 0.7 * rng.random((4, 2))
    x = centres[np.arange(1000) % 4] + 0.02 * rng.normal(size=(1000, 2))
    dataset = make_dataset(x.clip(0, 1))
    real = RealFeatures.of(dataset, fit_features(dataset, 0), 0)
    replace_decoder(monkeypatch, lambda z: (z - 300) / 50)
    model = stacked([VAE(dataset.observed, "gaussian", 2, model_options(), 0)])
    means = torch.from_numpy(300 + 50 * dataset.intensities("train"))[None]
    (columns,) = sample_columns(model, [make_run()], means, dataset, real, 0)
    assert real.floor is not None
    assert columns["sample_fid_expost"] < 3 * real.floor
    assert columns["sample_fid"] > 100 * real.floor
    assert columns["sample_precision"] == 0


def test_expost_codes_have_the_moments_and_the_clusters_of_the_codes() -> None:
    rng = np.random.default_rng(0)
    centres = 4 * rng.normal(size=(5, 3))
    codes = centres[np.arange(2000) % 5] + 0.1 * rng.normal(size=(2000, 3))
    drawn = expost_codes(torch.from_numpy(codes).float(), 4000, seed=0).numpy()
    assert drawn.shape == (4000, 3)
    assert drawn.dtype == np.float32
    np.testing.assert_allclose(drawn.mean(0), codes.mean(0), atol=0.25)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(codes.T), atol=0.05 * codes.var())
    nearest = np.linalg.norm(drawn[:, None] - centres, axis=-1).min(1)
    assert np.quantile(nearest, 0.99) < 0.5


@pytest.mark.parametrize("scale", [0.01, 1000.0])
def test_expost_codes_follow_the_scale_of_the_codes(scale: float) -> None:
    codes = torch.from_numpy(normals(300, 3)).float()
    plain = expost_codes(codes, 50, seed=0)
    np.testing.assert_allclose(expost_codes(scale * codes, 50, 0), scale * plain, rtol=1e-3)


def test_degenerate_codes_are_drawn_as_they_are() -> None:
    codes = torch.tensor([0.5, -2.0]).expand(40, 2)
    np.testing.assert_array_equal(expost_codes(codes, 30, 0), codes[:30])
    two = torch.tensor([[0.0, 7.0], [1.0, 7.0]]).repeat(20, 1)
    drawn = expost_codes(two, 100, 0).numpy()
    assert (drawn[:, 1] == 7).all()
    assert np.minimum(abs(drawn[:, 0]), abs(drawn[:, 0] - 1)).max() < 0.01
    assert drawn[:, 0].mean() == pytest.approx(0.5, abs=0.2)
    assert expost_codes(torch.randn(1, 8), 5, 0).isfinite().all()
    assert expost_codes(torch.full((9, 2), torch.nan), 5, 0).isnan().all()
