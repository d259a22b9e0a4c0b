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
    density_coverage,
    expost_codes,
    frechet_distance,
    precision_recall,
    quality_columns,
    sample_columns,
)
from vae_ablation.models.streams import stream
from vae_ablation.models.vae import VAE
from vae_ablation.training.stacked import StackedVAE

DRAWS = 3


def distance_columns(name: str, labelled: bool = True) -> set[str]:
    """Columns of a Fréchet distance of several draws; labels give several networks."""
    further = ("_spread", "_networks") if labelled else ()
    return {name, f"{name}_se", *(name + one for one in further)}


MANIFOLD_COLUMNS = {"sample_precision", "sample_recall"}
NEAR_COLUMNS = {*MANIFOLD_COLUMNS, "sample_density", "sample_coverage"}
PRIOR_COLUMNS = {*distance_columns("sample_fid"), *NEAR_COLUMNS}
EXPOST_COLUMNS = distance_columns("sample_fid_expost")
DATA_COLUMNS = {"sample_fid_floor", "feature_accuracy"}


def normals(n: int, dims: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, dims))


def spheres(n: int, clusters: list[int], seed: int) -> torch.Tensor:
    """Points of unit clusters that lie 50 apart, equally many of each."""
    rng = np.random.default_rng(seed)
    which = np.array(clusters)[np.arange(n) % len(clusters)]
    return torch.from_numpy(50 * np.eye(5)[which] + rng.normal(size=(n, 5)))


def columns_of(
    model: StackedVAE,
    dataset: Dataset,
    real: RealFeatures,
    seed: int = 0,
    evaluation: int = 0,
    draws: int = DRAWS,
) -> dict:
    means = encode(model, examples(torch.from_numpy(dataset.observe("train")))).mean
    run = make_run(seed=seed)
    (columns,) = sample_columns(model, [run], means, dataset, real, evaluation, draws)
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


def test_precision_and_recall_are_those_of_exact_neighbours() -> None:
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
    line = torch.arange(7.0, dtype=torch.float64)[:, None].square()
    balls = module.Balls.around(line)
    assert balls is not None
    assert balls.outer is not None
    assert balls.inner.tolist() == [9, 8, 5, 8, 12, 16, 27]
    assert balls.outer.tolist() == [25, 24, 21, 16, 16, 24, 35]
    five = module.Balls.around(line[:5])
    assert five is not None
    assert five.outer is None
    assert five.inner.tolist() == [9, 8, 5, 8, 15]
    assert module.Balls.around(line[:3]) is None


# --- density and coverage ------------------------------------------------------------------------


def test_density_and_coverage_are_those_of_exact_neighbours() -> None:
    a, b = normals(150), 1.0 + 0.8 * normals(130, seed=1)
    radii = NearestNeighbors(n_neighbors=6).fit(a).kneighbors(a)[0][:, 5]
    inside = np.linalg.norm(a[:, None] - b, axis=-1) <= radii[:, None]
    found = density_coverage(torch.from_numpy(a), torch.from_numpy(b))
    assert found == pytest.approx((inside.sum() / (5 * 130), inside.any(1).mean()))
    assert 0.1 < found[1] < 0.9


def test_real_data_have_the_published_expectations() -> None:
    """Density 1, coverage 1 − Π (n − i)/(2n − i) over i = 1 … k (Naeem et al. 2020, lemma 2)."""
    scores = [
        density_coverage(*(torch.from_numpy(normals(300, seed=10 * s + i)) for i in (1, 2)))
        for s in range(20)
    ]
    density, coverage = np.mean(scores, axis=0)
    truth = 1 - np.prod([(300 - i) / (600 - i) for i in range(1, 6)])
    assert density == pytest.approx(1, abs=0.06)
    assert coverage == pytest.approx(truth, abs=0.006)


def test_noise_covers_next_to_nothing_although_its_recall_is_high(
    digits: Dataset, real_digits: RealFeatures
) -> None:
    random = torch.Generator().manual_seed(0)
    noise = 3 * torch.randn(4, len(real_digits.rows), 64, generator=random)
    scores = quality_columns(real_digits.extractor(noise).transpose(1, 2), real_digits)
    assert scores["sample_coverage"] < 0.02
    assert scores["sample_density"] < 0.05
    assert scores["sample_recall"] > 0.9


def test_one_picture_for_all_codes_has_next_to_no_coverage_although_it_is_precise(
    digits: Dataset, real_digits: RealFeatures
) -> None:
    mean = torch.from_numpy(digits.intensities("train").mean(0))
    sets = mean + 0.003 * torch.randn(
        3, len(real_digits.rows), 64, generator=torch.Generator().manual_seed(1)
    )
    scores = quality_columns(real_digits.extractor(sets).transpose(1, 2), real_digits)
    real = quality_columns(torch.from_numpy(real_digits.train), real_digits)
    assert scores["sample_coverage"] < 0.1 < 0.9 < real["sample_coverage"]


def test_dropping_modes_lowers_coverage_and_crowding_raises_density() -> None:
    data = spheres(800, [0, 1, 2, 3], seed=0)
    whole = density_coverage(data, spheres(800, [0, 1, 2, 3], seed=1))
    partial = density_coverage(data, spheres(800, [0, 1], seed=1))
    assert whole[0] == pytest.approx(1, abs=0.1)
    assert partial[1] == pytest.approx(whole[1] / 2, abs=0.03)
    middle = density_coverage(data, data.new_zeros(800, 5) + 50 * torch.eye(5)[0].double())
    assert middle[0] > 1.5
    assert middle[1] < 0.15


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


# --- real data -----------------------------------------------------------------------------------


def test_the_floor_is_the_distance_to_as_many_train_examples(
    few_digits: Dataset, real: RealFeatures
) -> None:
    held_out = real.extractor(few_digits.intensities("test")).numpy()
    train = real.extractor(few_digits.intensities("train")).numpy()
    random = np.random.default_rng(17)
    draws = [
        np.mean([frechet_distance(held_out[:, k], train[rows][:, k]) for k in range(3)])
        for rows in (random.permutation(len(train))[: len(held_out)] for _ in range(100))
    ]
    assert real.held_out.shape == (3, 60, 16)
    np.testing.assert_allclose(real.held_out, held_out.swapaxes(0, 1), atol=1e-5)
    error = 4.5 * np.std(draws) / np.sqrt(module.FLOOR_DRAWS)
    assert real.floor == pytest.approx(np.mean(draws), abs=error)
    assert quality_columns(torch.from_numpy(real.train), real)["sample_fid"] == real.floor


def test_the_floor_falls_with_the_number_of_examples() -> None:
    floors = []
    for n in (50, 200, 800, 3200):
        x = 0.5 + 0.1 * normals(10 * n, 16, seed=n)
        dataset = make_dataset(x, shares=(0.8, 0.1))
        floors.append(RealFeatures.of(dataset, fit_features(dataset, 0), 0).floor)
    assert (np.diff(floors) < 0).all()
    # to first order 2f/n of the means and f(f + 1)/2n of the covariances, with f = 16 features
    assert floors[-1] == pytest.approx((2 * 16 + 16 * 17 / 2) / 3200, rel=0.15)


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
    assert RealFeatures.of(small, extractor, 0).held_out.shape[1] == 30
    monkeypatch.setattr(module, "EXAMPLES", 20)
    assert RealFeatures.of(few_digits, extractor, 0).held_out.shape[1] == 20


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

    def data(z: torch.Tensor) -> torch.Tensor:
        count = len(real_digits.rows)
        draws = z.shape[1] // count
        rows = [torch.randperm(len(train), generator=random)[:count] for _ in range(draws)]
        return train[torch.cat(rows)][None]

    replace_decoder(monkeypatch, data)
    model = stacked([VAE(digits.observed, "gaussian", 2, model_options(), 0)])
    columns = columns_of(model, digits, real_digits, draws=20)
    assert real_digits.floor is not None
    for name in ("sample_fid", "sample_fid_expost"):
        assert columns[name] == pytest.approx(real_digits.floor, rel=0.4)
    assert columns["sample_coverage"] > 0.95
    assert columns["sample_density"] == pytest.approx(1, abs=0.15)
    assert columns["sample_precision"] > 0.85
    assert columns["sample_recall"] > 0.85


def test_worse_pictures_are_farther(
    digits: Dataset, real_digits: RealFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = torch.from_numpy(digits.intensities("train"))
    model = stacked([VAE(digits.observed, "gaussian", 2, model_options(), 0)])
    noise = torch.randn(train.shape, generator=torch.Generator().manual_seed(0))
    distances = []
    for amount in (0.0, 0.1, 0.2, 0.5):
        pictures = (1 - amount) * train + amount * train.mean(0) + 0.3 * amount * noise
        replace_decoder(monkeypatch, lambda z, x=pictures: x[None, : z.shape[1]])
        distances.append(columns_of(model, digits, real_digits, draws=1)["sample_fid"])
    assert (np.diff(distances) > 0).all()
    assert distances[2] > 1.5 * distances[0]


# --- samples -------------------------------------------------------------------------------------


def test_columns_are_means_over_draws_and_networks_of_decoder_means(
    few_digits: Dataset, real: RealFeatures
) -> None:
    model = stacked([VAE(few_digits.observed, "gaussian", 2, model_options(), 5)])
    columns = columns_of(model, few_digits, real, seed=5, evaluation=7)
    z = torch.randn(DRAWS * 60, 2, generator=stream(5, "fid samples 7"))
    pictures = decode_mean(model, z[None], told_nothing(z))[0]
    sets = [real.extractor(one).transpose(0, 1) for one in pictures.split(60)]
    held_out = torch.from_numpy(real.held_out)
    each = np.array(
        [[frechet_distance(one[k].numpy(), real.held_out[k]) for k in range(3)] for one in sets]
    )
    assert set(columns) == PRIOR_COLUMNS | DATA_COLUMNS | EXPOST_COLUMNS
    assert columns["sample_fid"] == pytest.approx(each.mean(), rel=1e-5)
    assert columns["sample_fid_networks"] == pytest.approx(each.mean(0), rel=1e-5)
    assert columns["sample_fid_spread"] == pytest.approx(each.mean(0).std(ddof=1), rel=1e-4)
    error = each.mean(1).std(ddof=1) / np.sqrt(DRAWS)
    assert columns["sample_fid_se"] == pytest.approx(error, rel=1e-3)
    for names, score in (
        (("sample_precision", "sample_recall"), precision_recall),
        (("sample_density", "sample_coverage"), density_coverage),
    ):
        scores = [score(held_out[k], one[k]) for one in sets for k in range(3)]
        assert [columns[name] for name in names] == pytest.approx(np.mean(scores, 0), abs=1e-3)
    assert columns["sample_fid_floor"] == real.floor
    assert columns["feature_accuracy"] == real.extractor.accuracy


def test_more_draws_leave_less_noise_as_their_error_says(
    few_digits: Dataset, real: RealFeatures
) -> None:
    model = stacked([VAE(few_digits.observed, "gaussian", 2, model_options(), 0)])
    found = {
        draws: [columns_of(model, few_digits, real, evaluation=s, draws=draws) for s in range(24)]
        for draws in (2, 16)
    }
    noise = {draws: np.std([one["sample_fid"] for one in each]) for draws, each in found.items()}
    assert noise[16] < 0.6 * noise[2]
    said = np.mean([one["sample_fid_se"] for one in found[16]])
    assert noise[16] == pytest.approx(said, rel=0.5)


def test_the_seed_of_the_evaluation_reaches_every_draw(
    few_digits: Dataset, real: RealFeatures
) -> None:
    model = stacked([VAE(few_digits.observed, "gaussian", 2, model_options(), 0)])
    one, other = (columns_of(model, few_digits, real, evaluation=seed) for seed in (0, 1))
    for name in ("sample_fid", "sample_fid_expost"):
        assert one[name] != other[name]
        assert one[name] == pytest.approx(other[name], rel=0.5)


def test_a_single_draw_has_no_error(few_digits: Dataset, real: RealFeatures) -> None:
    model = stacked([VAE(few_digits.observed, "gaussian", 2, model_options(), 0)])
    columns = columns_of(model, few_digits, real, draws=1)
    assert {"sample_fid", "sample_fid_spread"} <= columns.keys()
    assert not {"sample_fid_se", "sample_fid_expost_se"} & columns.keys()


def test_neighbours_are_searched_among_some_of_many(
    few_digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "NEIGHBOUR_EXAMPLES", 20)
    real = RealFeatures.of(few_digits, fit_features(few_digits, 0), 0)
    assert real.balls is not None
    assert real.balls.centres.shape == (3, 20, 16)
    assert real.held_out.shape[1] == 60
    scores = quality_columns(torch.from_numpy(real.train), real)
    assert 0.85 < scores["sample_coverage"] <= 1


def test_a_pack_gives_what_its_runs_give_alone(
    few_digits: Dataset, real: RealFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = [VAE(few_digits.observed, "gaussian", 2, model_options(), seed) for seed in (0, 1)]
    alone = [columns_of(stacked([m]), few_digits, real, seed) for seed, m in enumerate(models)]
    monkeypatch.setattr(module, "_VALUES", 2 * 64 * 7)
    pack = stacked(models)
    means = encode(pack, examples(torch.from_numpy(few_digits.observe("train")))).mean
    together = sample_columns(
        pack, [make_run(seed=0), make_run(seed=1)], means, few_digits, real, 0, DRAWS
    )
    assert alone[0]["sample_fid"] != alone[1]["sample_fid"]
    for single, packed in zip(alone, together, strict=True):
        assert packed.keys() == single.keys()
        for name, value in single.items():
            assert packed[name] == pytest.approx(value, rel=1e-3), name


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
    (columns,) = sample_columns(stacked([model]), [make_run()], means, few_digits, real, 0, 2)
    assert set(columns) == DATA_COLUMNS


def test_codes_that_are_not_finite_cost_the_expost_column_alone(
    few_digits: Dataset, real: RealFeatures
) -> None:
    model = stacked([VAE(few_digits.observed, "gaussian", 2, model_options(), 0)])
    means = torch.full((1, 180, 2), float("inf"))
    (columns,) = sample_columns(model, [make_run()], means, few_digits, real, 0, 2)
    assert set(columns) == DATA_COLUMNS | PRIOR_COLUMNS


def test_too_few_examples_have_fewer_columns(few_digits: Dataset, real: RealFeatures) -> None:
    model = stacked([VAE(few_digits.observed, "gaussian", 2, model_options(), 0)])
    distances = distance_columns("sample_fid") | EXPOST_COLUMNS
    sizes = ((1, set()), (3, distances), (5, distances | MANIFOLD_COLUMNS))
    for held_out, names in sizes:
        few = make_dataset(few_digits.x, shares=(0.5, 0.5 - held_out / 300), shape=(8, 8))
        columns = columns_of(model, few, RealFeatures.of(few, real.extractor, 0))
        assert set(columns) - DATA_COLUMNS == names


def test_unlabelled_data_have_no_feature_accuracy(few_digits: Dataset) -> None:
    dataset = make_dataset(few_digits.x, shape=(8, 8))
    real = RealFeatures.of(dataset, fit_features(dataset, 0), 0)
    model = stacked([VAE(dataset.observed, "gaussian", 2, model_options(), 0)])
    columns = columns_of(model, dataset, real)
    distances = distance_columns("sample_fid", False) | distance_columns("sample_fid_expost", False)
    assert set(columns) == distances | NEAR_COLUMNS | {"sample_fid_floor"}


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
    (columns,) = sample_columns(model, [make_run()], means, dataset, real, 0, DRAWS)
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


def test_expost_codes_come_in_no_order() -> None:
    """Sets of samples that are parts of them hold every component."""
    codes = torch.from_numpy(40 * np.eye(3)[np.arange(300) % 3] + 0.1 * normals(300, 3)).float()
    drawn = expost_codes(codes, 300, seed=0)
    for part in drawn.split(60):
        assert len(part.argmax(1).unique()) == 3


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
