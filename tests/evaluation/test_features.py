"""The feature extractor: what it is fitted on, what it gives, and what becomes of its file."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from support import assert_one_sentence, make_dataset
from vae_ablation.common.errors import UserError
from vae_ablation.data.base import Dataset
from vae_ablation.evaluation import features as module
from vae_ablation.evaluation.features import (
    FeatureNetworks,
    fit_features,
    load_features,
    log_counts,
    spaced,
)


@pytest.fixture(scope="module")
def fitted(digits: Dataset) -> FeatureNetworks:
    return fit_features(digits, seed=0)


def clouds(n: int = 90, dims: int = 5, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Intensities in well separated clouds, and which cloud each is of."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % classes
    x = rng.random((classes, dims))[labels] + 0.02 * rng.normal(size=(n, dims))
    return x.clip(0, 1).astype(np.float32), labels


def saved(extractor: FeatureNetworks, folder: Path) -> bytes:
    extractor.save(folder / "features.npz")
    return (folder / "features.npz").read_bytes()


def test_the_classifier_reads_held_out_digits(fitted: FeatureNetworks) -> None:
    assert len(fitted) == 3
    for one in fitted.extractors:
        assert one.kind == "classifier"
        assert one.accuracy is not None
        assert 0.9 < one.accuracy < 1
    assert fitted.accuracy == pytest.approx(np.mean([one.accuracy for one in fitted.extractors]))


def test_classifiers_differ_in_their_start_and_agree_on_what_is_far(
    fitted: FeatureNetworks, digits: Dataset
) -> None:
    features = fitted(digits.intensities("test"))
    first, second = (features[:, k] - features[:, k].mean(0) for k in (0, 1))
    # in no feature is one network the other, up to its sign
    correlation = (first.T @ second) / (first.norm(dim=0)[:, None] * second.norm(dim=0))
    assert correlation.abs().max() < 0.98
    between = [torch.pdist(part) for part in (first, second)]
    assert np.corrcoef(*between)[0, 1] > 0.6


def test_accuracy_is_what_a_linear_readout_of_the_features_reaches(
    fitted: FeatureNetworks, digits: Dataset
) -> None:
    train, test = (fitted(digits.intensities(split)).numpy() for split in ("train", "test"))
    for number, one in enumerate(fitted.extractors):
        readout = LogisticRegression(max_iter=1000)
        readout.fit(train[:, number], digits.labels_of("train"))
        score = readout.score(test[:, number], digits.labels_of("test"))
        assert one.accuracy == pytest.approx(score, abs=0.02)


def test_accuracy_counts_the_test_split_and_takes_no_part_in_the_fit(few_digits: Dataset) -> None:
    fitted = fit_features(few_digits, seed=0)
    test = few_digits.rows("test")
    labels, x = few_digits.labels.copy(), few_digits.x.copy()
    labels[test] = (labels[test] + 1) % 10
    wrong = fit_features(replace(few_digits, labels=labels), seed=0)
    assert wrong.accuracy is not None
    assert wrong.accuracy < 0.1
    x[test] = 0
    blind = fit_features(replace(few_digits, x=x), seed=0)
    assert blind.accuracy is not None
    assert blind.accuracy < 0.25
    for other in (wrong, blind):
        assert torch.equal(other(few_digits.x), fitted(few_digits.x))


def test_features_are_sixteen_standardised_on_the_train_split(
    fitted: FeatureNetworks, digits: Dataset
) -> None:
    train = fitted(digits.intensities("train"))
    assert train.shape == (len(digits.rows("train")), 3, 16)
    assert train.dtype == torch.float64
    np.testing.assert_allclose(train.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(train.std(0, correction=0), 1, atol=1e-6)


def test_a_feature_that_is_constant_is_zero_and_divided_by_one() -> None:
    activations = torch.stack([torch.full((10,), 3.0), torch.arange(10.0)], dim=1)
    scale = module._scale(activations.double())
    np.testing.assert_allclose(scale, [1, np.arange(10).std()])


def test_no_feature_is_all_outliers(fitted: FeatureNetworks, digits: Dataset) -> None:
    held_out = fitted(digits.intensities("test"))
    assert held_out.abs().max() < 8
    assert (held_out.std(0) - 1).abs().max() < 0.5


def test_features_keep_leading_axes_and_precision_of_the_input(
    fitted: FeatureNetworks, digits: Dataset
) -> None:
    x = torch.from_numpy(digits.x[:24])
    flat = fitted(x)
    np.testing.assert_allclose(fitted(x.reshape(2, 3, 4, 64)).reshape(24, 3, 16), flat, atol=1e-5)
    np.testing.assert_allclose(fitted(x.double().numpy()), flat, atol=1e-5)


def test_an_example_that_is_not_finite_has_no_features_and_spoils_no_other(
    fitted: FeatureNetworks, digits: Dataset
) -> None:
    x = torch.from_numpy(digits.x[:4].copy())
    whole = fitted(x)
    x[1, 3], x[2, 5] = float("inf"), float("nan")
    found = fitted(x)
    assert found[1:3].isnan().all()
    np.testing.assert_allclose(found[[0, 3]], whole[[0, 3]], atol=1e-5)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    few_digits: Dataset, tmp_path: Path
) -> None:
    first = saved(fit_features(few_digits, seed=3), tmp_path)
    torch.randn(5)
    assert saved(fit_features(few_digits, seed=3), tmp_path) == first
    assert saved(fit_features(few_digits, seed=4), tmp_path) != first


def test_features_are_of_intensities_and_not_of_a_binarisation(
    few_digits: Dataset, tmp_path: Path
) -> None:
    binary = replace(few_digits, fixed=(few_digits.x >= 0.5).astype(np.float32))
    assert saved(fit_features(binary, 0), tmp_path) == saved(fit_features(few_digits, 0), tmp_path)


@pytest.mark.parametrize("labels", [None, np.zeros(300)], ids=["no labels", "one class"])
def test_without_two_classes_the_features_are_principal_components(
    few_digits: Dataset, labels: np.ndarray | None
) -> None:
    dataset = make_dataset(few_digits.x, labels)
    found = fit_features(dataset, seed=0)
    assert [one.kind for one in found.extractors] == ["pca"]
    assert found.accuracy is None
    train = dataset.intensities("train").astype(np.float64)
    _, _, axes = np.linalg.svd(train - train.mean(0), full_matrices=False)
    scores = (dataset.x.astype(np.float64) - train.mean(0)) @ axes[:16].T
    scores /= np.sqrt(((train - train.mean(0)) @ axes[:16].T).var(0).mean())
    features = found(dataset.x)[:, 0].numpy()
    signs = np.sign((features * scores).sum(0))
    np.testing.assert_allclose(features, scores * signs, atol=1e-3)


def test_principal_components_have_mean_variance_one_and_keep_their_order(
    few_digits: Dataset,
) -> None:
    dataset = make_dataset(few_digits.x)
    variance = fit_features(dataset, 0)(dataset.intensities("train"))[:, 0].var(0, correction=0)
    assert variance.mean().item() == pytest.approx(1, abs=1e-9)
    assert (variance.diff() < 0).all()
    assert variance[0] > 5 * variance[-1]


def test_few_dimensions_few_examples_and_constant_data_have_as_many_components() -> None:
    rng = np.random.default_rng(0)
    for x, width in ((rng.random((30, 3)), 3), (rng.random((10, 40)), 6), (np.ones((30, 4)), 4)):
        features = fit_features(make_dataset(x), 0)(x.astype(np.float32))
        assert features.shape == (len(x), 1, width)
        assert features.isfinite().all()


def test_any_class_numbers_will_do_and_unlabelled_examples_are_left_out() -> None:
    x, clouded = clouds()
    labels = np.array([7, 42, 1000])[clouded]
    assert fit_features(make_dataset(x, labels), 0).accuracy == 1
    some = np.where(np.arange(90) % 4, labels, -1)
    assert fit_features(make_dataset(x, some), 0).accuracy == 1


def test_a_class_that_training_never_saw_counts_as_wrong() -> None:
    x, labels = clouds()
    labels[-9:] = 99
    assert fit_features(make_dataset(x, labels), 0).accuracy == pytest.approx(0.5)


def test_labels_missing_in_a_held_out_split_are_no_obstacle() -> None:
    x, labels = clouds()
    labels[54:] = -1
    found = fit_features(make_dataset(x, labels), 0)
    assert {one.kind for one in found.extractors} == {"classifier"}
    assert found.accuracy is None


def test_training_sees_no_more_numbers_than_its_budget(
    few_digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = []
    train = module._train

    def spy(fit: tuple, *rest: object) -> object:
        shown.append(len(fit[0]))
        return train(fit, *rest)

    monkeypatch.setattr(module, "_train", spy)
    monkeypatch.setattr(module, "FITTED_VALUES", 50 * 64)
    fit_features(few_digits, 0)
    assert shown == [50] * 3


def test_spaced_positions_are_even_and_all_where_they_fit() -> None:
    assert spaced(5, 9).tolist() == [0, 1, 2, 3, 4]
    assert spaced(10, 5).tolist() == [0, 2, 4, 6, 8]
    assert set(np.diff(spaced(1000, 300))) == {3, 4}


@pytest.mark.parametrize("labelled", [True, False])
def test_a_saved_extractor_is_the_same_when_loaded(labelled: bool, tmp_path: Path) -> None:
    x, labels = clouds()
    made = fit_features(make_dataset(x, labels if labelled else None), 0)
    first = saved(made, tmp_path)
    loaded = load_features(tmp_path / "features.npz")
    kinds = [[(one.kind, one.accuracy) for one in each.extractors] for each in (loaded, made)]
    assert kinds[0] == kinds[1]
    assert len(kinds[0]) == (3 if labelled else 1)
    assert torch.equal(loaded(x), made(x))
    assert saved(loaded, tmp_path) == first


def archive(**arrays: object) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"no archive",
        archive(x=np.zeros(3)),
        archive(kind="other", centre=np.zeros(2), scale=np.ones(2)),
        archive(kind="pca", centre=np.zeros(2), **{"0.weight": np.zeros((3, 4), np.float32)}),
        archive(kind=np.array([{}], dtype=object)),
        archive(
            **{
                f"{number}/{name}": value
                for number, width in enumerate((2, 3))
                for name, value in {
                    "kind": "pca",
                    "centre": np.zeros(width),
                    "scale": np.ones(width),
                    "0.weight": np.zeros((width, 4), np.float32),
                    "0.bias": np.zeros(width, np.float32),
                }.items()
            }
        ),
    ],
    ids=["absent", "empty", "text", "else", "kind", "shape", "pickled", "unlike"],
)
def test_a_damaged_file_is_named_in_one_sentence(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "features.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_features(path)
    assert_one_sentence(caught.value, str(path))


def test_a_file_cut_short_or_with_a_wrong_byte_is_refused(tmp_path: Path) -> None:
    x, labels = clouds()
    whole = saved(fit_features(make_dataset(x, labels), 0), tmp_path)
    flipped = bytearray(whole)
    flipped[whole.index(b"2.weight.npy") + 500] ^= 1
    for content in (whole[:-1], whole[: len(whole) // 2], bytes(flipped)):
        (tmp_path / "features.npz").write_bytes(content)
        with pytest.raises(UserError) as caught:
            load_features(tmp_path / "features.npz")
        assert_one_sentence(caught.value, "features.npz")


def test_counts_of_several_runs_at_once_are_seen_as_each_alone() -> None:
    x = torch.tensor(np.random.default_rng(0).poisson(5, (3, 7, 6)), dtype=torch.float32)
    library = torch.full((7, 1), 100.0)
    for given in (None, library):
        together = log_counts(x, 4, given)
        for i in range(3):
            torch.testing.assert_close(together[i], log_counts(x[i], 4, given))
    expected = torch.log1p(torch.cat([x[..., :4] * 100, x[..., 4:]], -1))
    torch.testing.assert_close(log_counts(x, 4, library), expected)
