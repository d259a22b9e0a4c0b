"""Prepared data: split, thinned and binarised as the options say, and written only when changed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.datasets import load_digits

from support import assert_one_sentence, cell_options, dataset_options, write_mnist
from vae_ablation.common.errors import UserError
from vae_ablation.common.registry import load_parts
from vae_ablation.data import SOURCES
from vae_ablation.data import prepare as module
from vae_ablation.data.base import HELD_OUT, Cells, Dataset, RawData
from vae_ablation.data.counts import CountBlocks, CountMatrix
from vae_ablation.data.prepare import (
    data_hash,
    describe_observed,
    load_dataset,
    prepare_dataset,
    split_examples,
)
from vae_ablation.data.splits import stratified_share
from vae_ablation.study.config import resolve_config


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


# --- labels --------------------------------------------------------------------------------------


def pictures(n: int = 60) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 4)).astype(np.uint8)


def test_labels_with_gaps_become_classes_that_keep_their_names_and_split(tmp_path: Path) -> None:
    y = np.arange(60) % 10
    plain = prepare(tmp_path / "a", **own(tmp_path, x=pictures(), y=y))
    gaps = prepare(tmp_path / "b", **own(tmp_path, x=pictures(), y=10 * y + 5))
    assert gaps.observed.classes == 10
    assert gaps.label_names == tuple(str(10 * label + 5) for label in range(10))
    assert gaps.label_name(9) == "95"
    assert (plain.label_names, plain.label_name(9)) == ((), "9")
    assert gaps.checksum == plain.checksum
    assert gaps.label_pairs([[5, 95], ["15", 5.0], [0, 5]]) == [(0, 9), (1, 0)]
    assert plain.label_pairs([[0, 9], [5, 95]]) == [(0, 9)]
    context = gaps.context(gaps.rows("train"), "label")
    assert context.shape[1] == 10
    assert (context.sum(1) == 1).all()


def test_classes_from_0_store_nothing_that_was_not_stored_before(tmp_path: Path) -> None:
    prepare(tmp_path / "a", max_examples=200)
    assert "label_names" not in json.loads((tmp_path / "a" / "dataset.json").read_text())
    prepare(tmp_path / "b", **own(tmp_path, x=pictures(), y=np.arange(60) % 3))
    assert "label_names" not in json.loads((tmp_path / "b" / "dataset.json").read_text())


def test_a_class_that_no_example_is_left_of_is_no_class(tmp_path: Path) -> None:
    y = np.where(np.arange(60) == 7, 1, 2 * (np.arange(60) % 2))
    dataset = prepare(tmp_path / "a", **own(tmp_path, x=pictures(), y=y), max_examples=20)
    assert dataset.observed.classes == 2
    assert dataset.label_names == ("0", "2")


def test_labels_of_which_each_example_has_its_own_are_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for place, y in enumerate([np.arange(60), np.array([f"id{i}" for i in range(60)])]):
        dataset = prepare(tmp_path / str(place), **own(tmp_path, x=pictures(), y=y))
        assert not dataset.has_labels
        assert dataset.observed.classes == 0
    assert "each of the 60 labelled examples has a label of its own" in caplog.text


def test_a_class_that_is_absent_from_training_is_noted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    y = np.where(np.arange(60) < 2, np.array([30, 40] * 30), 20)
    found = []
    for seed in range(20):
        caplog.clear()
        options = own(tmp_path, x=pictures(), y=y)
        dataset = prepare(tmp_path / "a", **options, split_seed=seed, test=0.5, validation=0.5)
        absent = {"20", "30", "40"} - {dataset.label_name(c) for c in dataset.labels_of("train")}
        assert all(name in caplog.text for name in absent)
        assert ("have no example in the train split" in caplog.text) == bool(absent)
        assert dataset.observed.classes == 3
        found.append(absent)
    assert any(found)


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
        # how many classes there are is known once the labels are read
        described = describe_observed(dataset_options(**options))
        assert dataset.observed == replace(described, classes=dataset.observed.classes)
        assert dataset.observed.classes == (10 if index < 2 else 0)


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
    assert data_hash(dataset_options() | changes) == data_hash(dataset_options())
    sprites = {
        data_hash(dataset_options(source="sprites", **one))
        for one in ({}, {"size": 16}, {"examples": 50}, {"split_seed": 1})
    }
    assert len(sprites) == 4


def test_options_count_by_value_and_only_where_the_source_reads_them() -> None:
    share = {"corrupt": {"kind": "zero", "share": 0.1}}
    same = [
        (dataset_options(), dataset_options(max_examples=None)),
        (dataset_options(source="mnist"), dataset_options(source="mnist") | {"test": 0.4}),
        (cell_options(**share), cell_options(corrupt={})),
        (cell_options(dropout=0), cell_options(dropout=0.0)),
        (dataset_options() | {"max_examples": 50.0}, dataset_options(max_examples=50)),
    ]
    for one, other in same:
        assert data_hash(one) == data_hash(other)
    assert data_hash(dataset_options(test=0.4)) != data_hash(dataset_options())
    assert data_hash(cell_options(**share)) != data_hash(cell_options())


# --- counts --------------------------------------------------------------------------------------


def prepare_cells(folder: Path, **options: Any) -> Dataset:
    prepare_dataset(cell_options(**options), folder)
    return load_dataset("cells", folder)


def dense_counts(n: int = 240, dims: int = 12) -> np.ndarray:
    """Two in three entries are 0; one is large."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(4, (n, dims)) * (rng.random((n, dims)) < 0.35)
    counts[7, 3] = 70_000
    return counts


def as_csr(counts: np.ndarray) -> sparse.csr_matrix:
    return sparse.csr_matrix(counts)


def as_blocks(counts: np.ndarray) -> CountBlocks:
    """Counts that come 50 rows at a time."""

    def read(rows: np.ndarray) -> Iterator[sparse.csr_matrix]:
        for start in range(0, len(rows), 50):
            yield sparse.csr_matrix(counts[rows[start : start + 50]])

    return CountBlocks(read, np.arange(len(counts)), counts.shape[1])


FORMS = {"array": np.asarray, "csr": as_csr, "blocks": as_blocks}


@pytest.fixture
def given_counts(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the simulated cells' source give these counts, in one form or another."""

    def give(form: str, counts: np.ndarray, **further: Any) -> None:
        n = len(counts)
        cells = Cells(
            tuple(f"g{i}" for i in range(counts.shape[1])),
            ("a", "b", "c"),
            batch=np.arange(n) % 2,
            batch_names=("x", "y"),
            obs={"depth": np.arange(n), "donor": np.array([f"d{i % 5}" for i in range(n)])},
            truth={"cell/pseudotime": np.arange(n) / n, "loadings": np.ones((2, 3))},
        )
        raw = RawData(FORMS[form](counts), np.arange(n) % 3, None, proteins=2, cells=cells)
        raw = replace(raw, **further)
        monkeypatch.setattr(type(SOURCES["simulated-cells"]), "load", lambda self, options: raw)

    return give


def assert_same_cells(one: Dataset, other: Dataset) -> None:
    everything = np.arange(len(one.split))
    np.testing.assert_array_equal(one.x[everything], other.x[everything])
    np.testing.assert_array_equal(one.split, other.split)
    np.testing.assert_array_equal(one.labels, other.labels)
    for condition in ("none", "label", "batch"):
        np.testing.assert_array_equal(
            one.context(everything, condition), other.context(everything, condition)
        )
    assert one.observed == other.observed
    assert (one.clean is None) == (other.clean is None)
    if one.clean is not None and other.clean is not None:
        np.testing.assert_array_equal(one.clean[everything], other.clean[everything])
    assert one.cells is not None
    assert other.cells is not None
    assert (one.cells.features, one.cells.batch_names) == (
        other.cells.features, other.cells.batch_names,
    )  # fmt: skip
    for kind in ("obs", "truth"):
        ours, theirs = getattr(one.cells, kind), getattr(other.cells, kind)
        assert set(ours) == set(theirs)
        assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("corrupt", [None, {"kind": "thin", "share": 0.3}, {"kind": "zero"}])
@pytest.mark.parametrize("thinned", [None, 100])
def test_counts_are_the_same_dataset_in_whatever_form_they_come_and_are_kept(
    corrupt: dict[str, Any] | None,
    thinned: int | None,
    given_counts: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = {"corrupt": corrupt, "max_examples": thinned}
    found = {}
    for limit in (2**30, 0):
        monkeypatch.setattr(module, "DENSE_BYTES", limit)
        for form in FORMS:
            given_counts(form, dense_counts())
            dataset = prepare_cells(tmp_path / f"{form}{limit}", **options)
            assert isinstance(dataset.x, np.ndarray if limit else CountMatrix)
            found[form, limit] = dataset
    first = found["array", 2**30]
    assert len(first.split) == (thinned or 240)
    for dataset in found.values():
        assert_same_cells(first, dataset)
    assert len({dataset.checksum for dataset in found.values()}) == 2  # as they are kept


def test_prepared_counts_are_the_counts_with_all_that_is_known_of_their_cells(
    given_counts: Any, tmp_path: Path
) -> None:
    counts = dense_counts()
    given_counts("array", counts)
    dataset = prepare_cells(tmp_path, max_examples=90)
    assert dataset.cells is not None
    rows = dataset.cells.obs["depth"]
    assert len(rows) == 90
    np.testing.assert_array_equal(dataset.x, counts[rows])
    np.testing.assert_array_equal(dataset.labels, rows % 3)
    np.testing.assert_array_equal(dataset.cells.batch, rows % 2)
    np.testing.assert_array_equal(dataset.cells.truth["cell/pseudotime"], rows / 240)
    np.testing.assert_array_equal(dataset.cells.truth["loadings"], np.ones((2, 3)))
    assert dataset.cells.obs["donor"].tolist() == [f"d{i % 5}" for i in rows]
    seen = dataset.observed
    assert (seen.shape, seen.counts, seen.proteins, seen.genes) == ((12,), True, 2, 10)
    assert (seen.classes, seen.batches, seen.levels, seen.binary) == (3, 2, None, False)
    assert dataset.clean is None
    assert dataset.corruption is None


@pytest.mark.parametrize("kind", ["thin", "zero"])
def test_corrupted_counts_have_lost_some_and_their_clean_form_is_kept(
    kind: str, given_counts: Any, tmp_path: Path
) -> None:
    counts = dense_counts(n=2000)
    counts[7, 3] = 3
    given_counts("csr", counts)
    dataset = prepare_cells(tmp_path, corrupt={"kind": kind, "share": 0.25})
    assert dataset.corruption == {"kind": kind, "share": 0.25}
    np.testing.assert_array_equal(dataset.clean, counts)
    x = np.asarray(dataset.x)
    assert (x <= counts).all()
    if kind == "thin":
        lost, of = (counts - x).sum(), counts.sum()
        assert ((x > 0) & (x < counts)).any()
    else:
        lost, of = ((x == 0) & (counts > 0)).sum(), (counts > 0).sum()
        assert ((x == 0) | (x == counts)).all()
    assert abs(lost / of - 0.25) < 4 * math.sqrt(0.25 * 0.75 / of)
    # the library is that of the counts which are seen
    np.testing.assert_array_equal(dataset.library(np.arange(2000)), np.maximum(x[:, :10].sum(1), 1))


def test_the_split_does_not_depend_on_corruption(given_counts: Any, tmp_path: Path) -> None:
    given_counts("array", dense_counts())
    whole = prepare_cells(tmp_path / "a")
    corrupted = prepare_cells(tmp_path / "b", corrupt={"kind": "zero", "share": 0.5})
    np.testing.assert_array_equal(whole.split, corrupted.split)
    other = prepare_cells(tmp_path / "c", corrupt={"kind": "zero", "share": 0.5}, split_seed=1)
    assert (np.asarray(other.x) != np.asarray(corrupted.x)).any()


def test_cells_that_are_held_out_are_in_no_split(given_counts: Any, tmp_path: Path) -> None:
    held_out = np.arange(240) % 7 == 0
    given_counts("blocks", dense_counts(), held_out=held_out)
    dataset = prepare_cells(tmp_path)
    np.testing.assert_array_equal(dataset.split == HELD_OUT, held_out)
    rows = np.concatenate([dataset.rows(split) for split in ("train", "validation", "test")])
    np.testing.assert_array_equal(np.sort(rows), np.flatnonzero(~held_out))
    seen = (~held_out).sum()
    assert len(dataset.rows("test")) == round(0.2 * seen)
    assert len(dataset.rows("validation")) == round(0.1 * (seen - round(0.2 * seen)))
    few = prepare_cells(tmp_path / "few", max_examples=70)
    assert few.cells is not None
    np.testing.assert_array_equal(few.split == HELD_OUT, few.cells.obs["depth"] % 7 == 0)


@pytest.mark.parametrize(("most", "test", "validation"), [(10, 10, 10), (20, 20, 20), (30, 30, 21)])
def test_held_out_splits_of_counts_have_a_largest_size(
    most: int, test: int, validation: int, given_counts: Any, tmp_path: Path
) -> None:
    given_counts("array", dense_counts())
    dataset = prepare_cells(tmp_path, max_held_out=most)
    assert len(dataset.rows("test")) == test
    assert len(dataset.rows("validation")) == validation
    assert len(dataset.rows("train")) == 240 - test - validation
    for split in ("test", "validation"):
        shares = np.bincount(dataset.labels_of(split), minlength=3)
        assert shares.max() - shares.min() <= 1


@pytest.mark.parametrize("limit", [2**30, 0])
def test_counts_that_do_not_match_their_checksum_are_refused(
    limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DENSE_BYTES", limit)
    prepare_cells(tmp_path)
    info = json.loads((tmp_path / "dataset.json").read_text())
    (tmp_path / "dataset.json").write_text(json.dumps(info | {"checksum": "0"}))
    with pytest.raises(UserError) as caught:
        load_dataset("cells", tmp_path)
    assert_one_sentence(caught.value, str(tmp_path), "checksum", "delete the folder")


def test_one_changed_count_on_disk_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DENSE_BYTES", 0)
    prepare_cells(tmp_path, corrupt={"kind": "thin"})
    for name in ("x", "clean"):
        path = tmp_path / name / "data.npy"
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(UserError) as caught:
            load_dataset("cells", tmp_path)
        assert_one_sentence(caught.value, "checksum")
        path.write_bytes(whole)
        load_dataset("cells", tmp_path)
    (tmp_path / "clean" / "indptr.npy").unlink()
    with pytest.raises(UserError) as caught:
        load_dataset("cells", tmp_path)
    assert_one_sentence(caught.value, str(tmp_path))


@pytest.mark.parametrize("limit", [2**30, 0])
def test_preparing_counts_twice_gives_the_same_checksum(
    limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DENSE_BYTES", limit)
    first = prepare_cells(tmp_path / "a", corrupt={"kind": "zero"})
    again = prepare_cells(tmp_path / "a", corrupt={"kind": "zero"})
    elsewhere = prepare_cells(tmp_path / "b", corrupt={"kind": "zero"})
    other = prepare_cells(tmp_path / "c", corrupt={"kind": "thin"})
    assert first.checksum == again.checksum == elsewhere.checksum != other.checksum
    assert_same_cells(first, elsewhere)


def test_options_of_counts_leave_the_identity_of_images_alone() -> None:
    assert data_hash(dataset_options() | {"max_held_out": 50}) == data_hash(dataset_options())
    few = {"examples": 300, "genes": 30, "proteins": 5}
    changes: list[dict[str, Any]] = [
        {}, {"max_held_out": 50}, {"corrupt": {"kind": "thin"}}, {"corrupt": {"kind": "zero"}},
        {"corrupt": {"kind": "zero", "share": 0.2}}, {"genes": 31}, {"dropout": 0.0},
    ]  # fmt: skip
    hashes = {data_hash(cell_options(**few | change)) for change in changes}
    assert len(hashes) == len(changes)


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


@pytest.mark.usefixtures("forget_plugins")
def test_data_of_a_source_from_outside_that_it_does_not_describe_are_one_sentence(
    tmp_path: Path,
) -> None:
    file = tmp_path / "my_parts.py"
    file.write_text(
        "import numpy as np\nfrom vae_ablation.parts import *\n\n\n@register\nclass Odd(Source):\n"
        '    """Odd."""\n\n    name = "odd"\n\n    def describe(self, options):\n'
        "        return Observed((4, 4), None)\n\n    def load(self, options):\n"
        "        return RawData(np.full((30, 4, 4), 3.0), None, None)\n",
        "utf-8",
    )
    raw = {"plugins": [str(file)], "datasets": {"a": {"source": "odd"}}}
    options = resolve_config(raw, tmp_path / "study.yaml")["datasets"]["a"]
    load_parts()
    with pytest.raises(UserError, match="allowed: 0 to 1") as caught:
        prepare_dataset(options, tmp_path / "data")
    assert_one_sentence(caught.value, "my_parts.py", "source odd", "x lies in 3 to 3")
    assert not (tmp_path / "data").exists()
