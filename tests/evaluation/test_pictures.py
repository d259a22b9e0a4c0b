"""Pictures of a run: which examples, which codes, in which order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from support import examples, make_run, model_options, stacked
from vae_ablation.data.base import Dataset
from vae_ablation.evaluation.bounds import encode
from vae_ablation.evaluation.pictures import (
    Pictures,
    default_pairs,
    draw_pictures,
    shown_examples,
)
from vae_ablation.models.streams import stream
from vae_ablation.models.vae import VAE
from vae_ablation.study.run import Run


def test_one_example_of_each_class_is_shown_first() -> None:
    labels = np.array([3, 3, 1, 3, 0, 1, 2, 2, 2, 2, 2, 2, 2])
    assert shown_examples(labels).tolist() == [4, 2, 6, 0, 1, 3, 5, 7, 8, 9]
    assert shown_examples(np.full(4, -1)).tolist() == [0, 1, 2, 3]
    assert shown_examples(np.full(40, -1)).tolist() == list(range(10))
    assert len(shown_examples(np.arange(25))) == 10


def test_default_pairs_are_of_labels_that_are_there() -> None:
    assert default_pairs(np.full(5, -1)) == []
    assert default_pairs(np.array([4, 4])) == []
    assert default_pairs(np.array([4, 7, 4])) == [(4, 7)]
    pairs = default_pairs(np.arange(10))
    assert len(pairs) == 2
    assert all(a != b for a, b in pairs)


@pytest.fixture(scope="module")
def drawn(few_digits: Dataset) -> tuple[list[VAE], list[Pictures], torch.Tensor]:
    runs = [make_run(beta=1.0), make_run(beta=4.0), make_run(seed=1)]
    models = [VAE(few_digits.observed, "gaussian", 2, model_options(), r.seed) for r in runs]
    with torch.no_grad():
        models[1].decoder.network[0].weight.mul_(3)
    pack = stacked(models)
    means = encode(pack, examples(torch.from_numpy(few_digits.observe("test")))).mean
    pairs = [(3, 8), (4, 9), (3, 77)]
    return models, draw_pictures(pack, runs, few_digits, means, pairs), means


def picture(model: VAE, z: np.ndarray) -> np.ndarray:
    """round(255·E[x given z]), an image per code."""
    with torch.no_grad():
        mean = model.decoder(torch.tensor(z, dtype=torch.float32)).mean.numpy()
    return (255 * mean.clip(0, 1)).reshape(*z.shape[:-1], 8, 8)


def assert_pictures(found: np.ndarray, truth: np.ndarray) -> None:
    assert found.dtype == np.uint8
    assert np.abs(found.astype(float) - truth).max() <= 0.51


def test_originals_are_the_examples_before_binarisation(
    drawn: tuple[list[VAE], list[Pictures], torch.Tensor], few_digits: Dataset
) -> None:
    for pictures in drawn[1]:
        rows = pictures["index"]
        np.testing.assert_array_equal(rows, shown_examples(few_digits.labels_of("test")))
        truth = 255 * few_digits.intensities("test")[rows].reshape(-1, 8, 8)
        assert_pictures(pictures["originals"], truth)


def test_reconstructions_are_means_at_the_posterior_mean(
    drawn: tuple[list[VAE], list[Pictures], torch.Tensor],
) -> None:
    models, all_pictures, means = drawn
    for run, pictures in enumerate(all_pictures):
        truth = picture(models[run], means[run, pictures["index"]].numpy())
        assert_pictures(pictures["reconstructions"], truth)


def test_samples_share_their_codes_among_the_arms_of_a_seed(
    drawn: tuple[list[VAE], list[Pictures], torch.Tensor],
) -> None:
    models, pictures, _ = drawn
    for run, seed in enumerate((0, 0, 1)):
        z = torch.randn(25, 2, generator=stream(seed, "samples")).numpy()
        assert_pictures(pictures[run]["samples"], picture(models[run], z))


def test_the_manifold_runs_over_prior_quantiles_high_to_low_and_left_to_right(
    drawn: tuple[list[VAE], list[Pictures], torch.Tensor],
) -> None:
    models, all_pictures, _ = drawn
    quantiles = all_pictures[0]["manifold_quantiles"]
    assert quantiles.shape == (15,)
    assert ((quantiles > 0) & (quantiles < 1)).all()
    np.testing.assert_allclose(quantiles + quantiles[::-1], 1)
    z = stats.norm.ppf(quantiles)
    grid = np.array([[(first, second) for first in z] for second in z[::-1]])
    assert_pictures(all_pictures[1]["manifold"], picture(models[1], grid))


def test_interpolations_are_straight_lines_between_the_first_of_each_label(
    drawn: tuple[list[VAE], list[Pictures], torch.Tensor], few_digits: Dataset
) -> None:
    models, all_pictures, means = drawn
    pictures = all_pictures[0]
    labels = few_digits.labels_of("test")
    assert pictures["interpolation_labels"].tolist() == [[3, 8], [4, 9]]
    for line, (a, b) in zip(pictures["interpolations"], [(3, 8), (4, 9)], strict=True):
        ends = [means[0, np.flatnonzero(labels == label)[0]].numpy() for label in (a, b)]
        z = np.linspace(ends[0], ends[1], 11)
        assert_pictures(line, picture(models[0], z))


def test_the_archetype_is_the_centre_of_the_prior_and_the_mean_is_of_the_train_split(
    drawn: tuple[list[VAE], list[Pictures], torch.Tensor], few_digits: Dataset
) -> None:
    models, all_pictures, _ = drawn
    train = few_digits.intensities("train").astype(float)
    for model, pictures in zip(models, all_pictures, strict=True):
        assert_pictures(pictures["archetype"], picture(model, np.zeros(2)))
        assert_pictures(pictures["data_mean"], 255 * train.mean(0).reshape(8, 8))


def walked(
    few_digits: Dataset, run: Run, latent_dim: int, rates: list[float] | None
) -> tuple[VAE, Pictures, np.ndarray]:
    """One model's pictures and the posterior means that they begin from.

    The example shown first is not the first of the split.
    """
    labels = few_digits.labels_of("test")
    other = few_digits.labels.copy()
    other[few_digits.rows("test")] = np.where(np.arange(len(labels)) == 5, 0, labels + 1)
    few_digits = replace(few_digits, labels=other)
    model = VAE(few_digits.observed, "gaussian", latent_dim, model_options(), run.seed)
    pack = stacked([model])
    means = encode(pack, examples(torch.from_numpy(few_digits.observe("test")))).mean
    kl = None if rates is None else torch.tensor([rates])
    (pictures,) = draw_pictures(pack, [run], few_digits, means, [], kl)
    return model, pictures, means[0].numpy()


def test_traversals_walk_the_dimensions_from_the_largest_kl_down(few_digits: Dataset) -> None:
    run = make_run(latent_dim=3)
    model, pictures, means = walked(few_digits, run, 3, [0.5, 2.0, 0.125])
    assert pictures["index"][0] == 5
    assert pictures["traversal_dims"].tolist() == [1, 0, 2]
    assert pictures["traversal_kl"].tolist() == [2.0, 0.5, 0.125]
    assert pictures["traversal_range"].tolist() == [[-3, 3]] * 3
    z = np.tile(means[pictures["index"][0]], (3, 11, 1))
    for row, dim in enumerate((1, 0, 2)):
        z[row, :, dim] = np.linspace(-3, 3, 11)
    assert_pictures(pictures["traversals"], picture(model, z))


def test_without_a_kl_term_a_walk_covers_the_codes(few_digits: Dataset) -> None:
    run = make_run(latent_dim=3, kl=False, beta=0.0)
    model, pictures, means = walked(few_digits, run, 3, [1.0, 2.0, 3.0])
    ends = np.percentile(means, [0.5, 99.5], axis=0)
    np.testing.assert_allclose(pictures["traversal_range"], ends[:, ::-1].T, rtol=1e-5)
    z = np.tile(means[pictures["index"][0]], (11, 1))
    z[:, 2] = np.linspace(*ends[:, 2], 11)
    assert_pictures(pictures["traversals"][0], picture(model, z))


def test_a_point_posterior_has_no_kl_and_is_ordered_by_the_variance_of_its_codes(
    few_digits: Dataset,
) -> None:
    run = make_run(latent_dim=12, kl=False, beta=0.0, posterior="point")
    _, pictures, means = walked(few_digits, run, 12, [float(d) for d in range(12)])
    assert "traversal_kl" not in pictures
    spread = means.astype(float).var(0)
    assert pictures["traversal_dims"].tolist() == np.argsort(-spread)[:8].tolist()
    assert pictures["traversals"].shape == (8, 11, 8, 8)


def test_only_latent_dimension_2_has_a_manifold(few_digits: Dataset) -> None:
    model = VAE(few_digits.observed, "gaussian", 3, model_options(), 0)
    pack = stacked([model])
    means = encode(pack, examples(torch.from_numpy(few_digits.observe("test")))).mean
    (pictures,) = draw_pictures(pack, [make_run(latent_dim=3)], few_digits, means, [])
    assert not {"manifold", "manifold_quantiles", "interpolations"} & set(pictures)
    assert pictures["samples"].shape == (25, 8, 8)


def test_a_decoder_that_explodes_still_gives_pictures(few_digits: Dataset) -> None:
    model = VAE(few_digits.observed, "gaussian", 2, model_options(), 0)
    with torch.no_grad():
        model.decoder.network[-1].bias[:8] = torch.tensor(
            [1e30, -1e30, float("nan"), 0, 1, 2, 3, 4]
        )
    pack = stacked([model])
    means = encode(pack, examples(torch.from_numpy(few_digits.observe("test")))).mean
    (pictures,) = draw_pictures(pack, [make_run()], few_digits, means, [])
    row = pictures["samples"][0, 0]
    assert row[0] == 255
    assert row[1] == row[2] == 0
