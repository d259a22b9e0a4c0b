"""Prepared data: split, thinned and binarised as the options say, and written only when changed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from support import assert_one_sentence, dataset_options, write_mnist
from vae_ablation.data.base import Dataset
from vae_ablation.data.prepare import (
    data_hash,
    describe_observed,
    load_dataset,
    prepare_dataset,
    split_examples,
    stratified_share,
)
from vae_ablation.errors import UserError


def prepare(folder: Path, **options: Any) -> Dataset:
    prepare_dataset(dataset_options(**options), folder)
    return load_dataset("digits", folder)


def own(folder: Path, **arrays: Any) -> dict[str, Any]:
    np.savez(folder / "own.npz", **arrays)
    return {"source": "npz", "path": str(folder / "own.npz")}


def state(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


# --- the split -----------------------------------------------------------------------------------


def test_the_splits_share_no_example_and_leave_none_out(digits: Dataset) -> None:
    rows = np.concatenate([digits.rows(split) for split in ("train", "validation", "test")])
    np.testing.assert_array_equal(np.sort(rows), np.arange(1797))


def test_the_splits_have_the_exact_sizes(digits: Dataset) -> None:
    test = round(0.2 * 1797)
    validation = round(0.1 * (1797 - test))
    assert len(digits.rows("test")) == test
    assert len(digits.rows("validation")) == validation


def test_every_class_gives_its_share_to_within_one_example(digits: Dataset) -> None:
    total = np.bincount(load_digits().target)
    for split in ("train", "validation", "test"):
        share = len(digits.rows(split)) / 1797
        counts = np.bincount(digits.labels_of(split), minlength=10)
        assert (np.abs(counts - total * share) <= 1.2).all()


def test_pixels_and_labels_stay_together(digits: Dataset) -> None:
    bunch = load_digits()
    rows = digits.rows("test")
    np.testing.assert_allclose(digits.observe("test"), bunch.data[rows] / 16)
    np.testing.assert_array_equal(digits.labels_of("test"), bunch.target[rows])


def test_the_split_is_that_of_its_seed(tmp_path: Path, digits: Dataset) -> None:
    again = prepare(tmp_path / "a")
    other = prepare(tmp_path / "b", split_seed=1)
    np.testing.assert_array_equal(again.split, digits.split)
    assert (other.split != digits.split).any()


@given(st.lists(st.integers(0, 4), min_size=1, max_size=80), st.floats(0, 1), st.integers(0, 2**31))
def test_a_stratified_share_has_exactly_the_count_and_rounds_each_class(
    labels: list[int], share: float, seed: int
) -> None:
    strata = np.array(labels)
    count = round(share * len(labels))
    chosen = stratified_share(strata, count, np.random.default_rng(seed))
    assert chosen.sum() == count
    for value in set(labels):
        exact = (strata == value).sum() * count / len(labels)
        assert math.floor(exact) <= chosen[strata == value].sum() <= math.ceil(exact)


@given(st.integers(4, 200), st.sampled_from([1e-6, 0.1, 0.5]), st.sampled_from([1e-6, 0.2, 0.5]))
def test_every_split_has_an_example_where_there_are_four(
    n: int, validation: float, test: float
) -> None:
    options = dataset_options(validation=validation, test=test)
    split = split_examples(np.arange(n) % 3, None, options)
    assert set(split) == {0, 1, 2}


def test_too_few_examples_are_one_sentence(tmp_path: Path) -> None:
    options = dataset_options(**own(tmp_path, x=np.zeros((2, 4), np.uint8)))
    with pytest.raises(UserError) as caught:
        prepare_dataset(options, tmp_path / "out")
    assert_one_sentence(caught.value, "2 examples", "every split")


def test_max_examples_is_exact_stratified_and_seeded(tmp_path: Path) -> None:
    few = prepare(tmp_path / "a", max_examples=100)
    assert len(few.x) == 100
    total = np.bincount(load_digits().target) * 100 / 1797
    assert (np.abs(np.bincount(few.labels) - total) < 1).all()
    other = prepare(tmp_path / "b", max_examples=100, split_seed=3)
    assert not np.array_equal(few.x, other.x)
    everything = prepare(tmp_path / "c", max_examples=10**6)
    assert len(everything.x) == 1797


def test_max_examples_keeps_the_official_test_splits_share(tmp_path: Path) -> None:
    options = write_mnist(tmp_path, train=200, test=100)
    few = prepare(tmp_path / "out", source="mnist", max_examples=60, **options)
    assert len(few.x) == 60
    assert len(few.rows("test")) == 20


def test_data_without_labels_are_split_too(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (50, 4)).astype(np.uint8)
    dataset = prepare(tmp_path / "out", **own(tmp_path, x=x))
    assert not dataset.has_labels
    assert len(dataset.rows("test")) == 10
    assert (dataset.labels == -1).all()


# --- binarisation --------------------------------------------------------------------------------


def test_grey_levels_stay_where_nothing_binarises(digits: Dataset) -> None:
    assert digits.fixed is None
    assert not digits.dynamic
    assert (digits.observed.levels, digits.observed.binary) == (17, False)
    assert set(np.unique(digits.x * 16)) == set(range(17))


def test_threshold_cuts_at_half_intensity(tmp_path: Path) -> None:
    dataset = prepare(tmp_path, binarize="threshold")
    np.testing.assert_array_equal(dataset.observe("test"), dataset.intensities("test") >= 0.5)
    assert (dataset.observed.levels, dataset.observed.binary) == (2, True)
    assert set(np.unique(dataset.intensities("test") * 16)) == set(range(17))


@pytest.mark.parametrize("mode", ["static", "dynamic"])
def test_a_fixed_draw_is_the_same_everywhere_and_follows_the_intensities(
    mode: str, tmp_path: Path
) -> None:
    dataset = prepare(tmp_path / "a", binarize=mode)
    again = prepare(tmp_path / "b", binarize=mode)
    other = prepare(tmp_path / "c", binarize=mode, split_seed=1)
    assert dataset.dynamic == (mode == "dynamic")
    for split in ("train", "validation", "test"):
        np.testing.assert_array_equal(dataset.observe(split), again.observe(split))
        assert set(np.unique(dataset.observe(split))) == {0, 1}
    assert dataset.fixed is not None
    assert other.fixed is not None
    assert (dataset.fixed != other.fixed).any()
    for level in range(17):
        drawn = dataset.fixed[dataset.x == np.float32(level / 16)]
        p = level / 16
        assert abs(drawn.mean() - p) <= 4 * math.sqrt(p * (1 - p) / len(drawn)) + 1e-12


def test_static_and_dynamic_hold_out_the_same_draw(tmp_path: Path) -> None:
    static = prepare(tmp_path / "a", binarize="static")
    dynamic = prepare(tmp_path / "b", binarize="dynamic")
    np.testing.assert_array_equal(static.observe("test"), dynamic.observe("test"))


def test_what_is_described_is_what_is_prepared(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((40, 2, 3))
    cases: list[dict[str, Any]] = [
        {},
        {"binarize": "dynamic"},
        own(tmp_path, x=x) | {"binarize": "static"},
        own(tmp_path, x=x),
    ]
    for index, options in enumerate(cases):
        dataset = prepare(tmp_path / str(index), **options)
        assert dataset.observed == describe_observed(dataset_options(**options))


# --- written only when changed -------------------------------------------------------------------


def test_preparing_twice_writes_nothing(tmp_path: Path) -> None:
    prepare(tmp_path, binarize="dynamic")
    before = state(tmp_path)
    prepare(tmp_path, binarize="dynamic")
    assert state(tmp_path) == before


def test_a_lost_file_is_made_again_with_the_same_bytes(tmp_path: Path) -> None:
    prepare(tmp_path)
    content = (tmp_path / "arrays.npz").read_bytes()
    (tmp_path / "arrays.npz").unlink()
    prepare(tmp_path)
    assert (tmp_path / "arrays.npz").read_bytes() == content


def test_one_changed_pixel_changes_checksum_and_identity(tmp_path: Path) -> None:
    x = np.zeros((20, 4), np.uint8)
    x[0, 0] = 9
    options = dataset_options(**own(tmp_path, x=x))
    before = (prepare_dataset(options, tmp_path / "a")["checksum"], data_hash(options))
    x[7, 3] = 1
    own(tmp_path, x=x)
    after = (prepare_dataset(options, tmp_path / "a")["checksum"], data_hash(options))
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_the_checksum_covers_labels_and_split(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (40, 4)).astype(np.uint8)
    checksums = set()
    for index, changes in enumerate([{"y": np.arange(40) % 2}, {"y": (np.arange(40) + 1) % 2}, {}]):
        checksums.add(prepare(tmp_path / str(index), **own(tmp_path, x=x, **changes)).checksum)
    checksums.add(prepare(tmp_path / "seed", split_seed=1, **own(tmp_path, x=x)).checksum)
    assert len(checksums) == 4


def test_the_identity_does_not_depend_on_where_a_file_lies(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (40, 4)).astype(np.uint8)
    (tmp_path / "elsewhere").mkdir()
    one = dataset_options(**own(tmp_path, x=x))
    other = dataset_options(**own(tmp_path / "elsewhere", x=x))
    assert data_hash(one) == data_hash(other)
    assert data_hash(one) != data_hash(one | {"split_seed": 1})


# --- generative factors --------------------------------------------------------------------------


def test_factors_stay_with_their_examples(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    factors = rng.integers(0, 256, (200, 2))
    x = np.column_stack([factors[:, 0], factors[:, 1], rng.integers(0, 256, 200)]).astype(np.uint8)
    options = own(tmp_path, x=x, y=factors[:, 0] % 3, factors=factors)
    for changes in ({}, {"max_examples": 90}, {"max_examples": 90, "split_seed": 2}):
        dataset = prepare(tmp_path / "out", **options, **changes)
        assert dataset.factor_names == ("factor_1", "factor_2")
        for split in ("train", "validation", "test"):
            found = dataset.factors_of(split)
            assert found is not None
            np.testing.assert_array_equal(found, np.round(dataset.intensities(split)[:, :2] * 255))
            np.testing.assert_array_equal(dataset.labels_of(split), found[:, 0] % 3)


def test_the_checksum_covers_factors(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (40, 4)).astype(np.uint8)
    factors = np.arange(80).reshape(40, 2)
    checksums = {
        prepare(tmp_path / str(index), **own(tmp_path, x=x, **arrays)).checksum
        for index, arrays in enumerate([{}, {"factors": factors}, {"factors": factors + 1}])
    }
    assert len(checksums) == 3


def test_data_without_factors_are_what_they_were_before_there_were_factors(
    tmp_path: Path, digits: Dataset
) -> None:
    assert digits.factors_of("test") is None
    assert digits.factor_names == ()
    assert data_hash(dataset_options()) == "5ef41a504805"
    assert digits.checksum == "8d0de751701f1f387f4a2b0ae5506815f12af73ef79ad1a9b7ef762a42ba091d"
    thinned = prepare(tmp_path, max_examples=500, split_seed=3)
    assert thinned.checksum == "96cf27d5b09680e674fdf038ec436c1347093a042815535b0bd702c4d237d564"
    assert "factor_names" not in json.loads((tmp_path / "dataset.json").read_text())
    with np.load(tmp_path / "arrays.npz") as archive:
        assert sorted(archive.files) == ["labels", "split", "x"]


def test_options_of_another_source_leave_the_identity_alone() -> None:
    changes = {"size": 16, "examples": 50}
    assert data_hash(dataset_options(**changes)) == data_hash(dataset_options())
    sprites = {
        data_hash(dataset_options(source="sprites", **one))
        for one in ({}, {"size": 16}, {"examples": 50}, {"split_seed": 1})
    }
    assert len(sprites) == 4


# --- reading back --------------------------------------------------------------------------------


def test_damaged_or_absent_prepared_data_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load_dataset("digits", tmp_path / "none")
    assert_one_sentence(caught.value, str(tmp_path / "none"))
    prepare(tmp_path / "a", max_examples=50)
    info = json.loads((tmp_path / "a" / "dataset.json").read_text())
    (tmp_path / "a" / "dataset.json").write_text(json.dumps(info | {"checksum": "0"}))
    with pytest.raises(UserError) as caught:
        load_dataset("digits", tmp_path / "a")
    assert_one_sentence(caught.value, "checksum")
    (tmp_path / "a" / "arrays.npz").write_bytes(b"PK")
    with pytest.raises(UserError) as caught:
        load_dataset("digits", tmp_path / "a")
    assert "\n" not in str(caught.value)


@pytest.mark.mnist
def test_mnist_is_prepared_with_its_own_test_split(mnist: Dataset) -> None:
    assert {split: len(mnist.rows(split)) for split in ("train", "validation", "test")} == {
        "train": 59_999,
        "validation": 1,
        "test": 10_000,
    }
    assert mnist.observed.shape == (28, 28)
    assert mnist.observed.levels == 256
    # the mean that everyone normalises MNIST with
    train = np.vstack([mnist.intensities("train"), mnist.intensities("validation")])
    assert float(train.mean(dtype=np.float64)) == pytest.approx(0.1307, abs=5e-5)
    assert float(train.std(dtype=np.float64)) == pytest.approx(0.3081, abs=5e-5)
