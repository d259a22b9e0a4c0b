"""Examples that are too many to be dense at once are those that are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from support import CPU, make_dataset
from vae_ablation.data import loading
from vae_ablation.data.base import HELD_OUT, Dataset
from vae_ablation.data.counts import CountMatrix
from vae_ablation.data.loading import Examples


@pytest.fixture(scope="module")
def sparse_cells(cells: Dataset) -> Dataset:
    """The same cells, their counts as a CountMatrix."""
    assert isinstance(cells.x, np.ndarray)
    return replace(cells, x=CountMatrix.of(csr_matrix(cells.x.astype(np.int64))))


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize("condition", ["none", "label", "batch"])
def test_dense_and_sparse_counts_give_the_same_batches(
    split: str, condition: str, cells: Dataset, sparse_cells: Dataset
) -> None:
    dense, sparse = (Examples.of(one, split, condition, CPU) for one in (cells, sparse_cells))
    rows = cells.rows(split)
    assert len(dense) == len(sparse) == len(rows)
    assert isinstance(sparse.x, CountMatrix)
    places = [
        slice(None),
        slice(3, 11),
        torch.tensor([5, 0, 5, 2]),
        torch.tensor([[1, 2, 3], [3, 0, 0]]),
        torch.empty(0, dtype=torch.int64),
    ]
    for place in places:
        x, context = sparse.at(place)
        ours, theirs = dense.at(place)
        assert torch.equal(x, ours)
        assert torch.equal(context, theirs)
        assert x.dtype == context.dtype == torch.float32
        chosen = rows[place.numpy() if isinstance(place, torch.Tensor) else place]
        np.testing.assert_array_equal(x, cells.x[chosen])
        assert context.shape == (*chosen.shape, 1 + cells.observed.condition_size(condition))


@pytest.mark.parametrize("limit", [1, 7, 100, 10**6])
def test_fewer_examples_are_evenly_spaced_ones_in_both_forms(
    limit: int, cells: Dataset, sparse_cells: Dataset
) -> None:
    dense, sparse = (
        Examples.of(one, "train", "batch", CPU).spaced(limit) for one in (cells, sparse_cells)
    )
    count = min(limit, len(cells.rows("train")))
    assert len(dense) == len(sparse) == count
    for ours, theirs in zip(dense.at(slice(None)), sparse.at(slice(None)), strict=True):
        assert torch.equal(ours, theirs)
    again = sparse.at(torch.tensor([count - 1]))
    assert torch.equal(again[0], dense.at(slice(count - 1, count))[0])
    np.testing.assert_array_equal(dense.at(slice(None))[0], cells.x[dense.rows])
    if count > 1:
        gaps = np.diff(np.searchsorted(cells.rows("train"), dense.rows))
        assert gaps.max() - gaps.min() <= 1


def test_a_sample_is_everything_where_that_is_not_too_much(
    cells: Dataset, sparse_cells: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = torch.from_numpy(cells.observe("train"))
    for one in (cells, sparse_cells):
        assert torch.equal(Examples.of(one, "train", "none", CPU).sample(), whole)
    monkeypatch.setattr(loading, "SAMPLED", 20 * cells.observed.dims)
    thinned = Examples.of(sparse_cells, "train", "none", CPU).sample()
    assert thinned.shape == (20, cells.observed.dims)
    rows = {row.numpy().tobytes() for row in whole}
    assert all(row.numpy().tobytes() in rows for row in thinned)


def test_all_examples_come_in_the_order_of_the_dataset_held_out_ones_too(
    cells: Dataset, sparse_cells: Dataset
) -> None:
    assert (cells.split == HELD_OUT).any()
    for one in (cells, sparse_cells):
        found = Examples.all(one, "label", CPU)
        x, context = found.at(slice(None))
        np.testing.assert_array_equal(x, cells.x)
        np.testing.assert_array_equal(context, cells.context(np.arange(len(cells.x)), "label"))


def test_images_are_as_observed_or_before_binarisation(few_digits: Dataset) -> None:
    fixed = (few_digits.x > 0.4).astype(np.float32)
    dataset = make_dataset(few_digits.x, levels=2, binary=True, fixed=fixed)
    rows = dataset.rows("train")
    observed = Examples.of(dataset, "train", "none", CPU)
    np.testing.assert_array_equal(observed.x, fixed[rows])
    np.testing.assert_array_equal(
        Examples.of(dataset, "train", "none", CPU, intensities=True).x, few_digits.x[rows]
    )
    assert observed.context.shape == (len(rows), 0)


def test_the_library_is_the_sum_of_rna_and_at_least_one(cells: Dataset) -> None:
    x = np.array([[3, 4, 100], [0, 0, 50], [1, 0, 0], [2, 2, 9], [5, 0, 1]], np.float32)
    observed = replace(cells.observed, shape=(3,), proteins=1)
    few = replace(make_dataset(x), observed=observed)
    sparse = replace(few, x=CountMatrix.of(csr_matrix(x.astype(np.int64))))
    for dataset in (few, sparse):
        library = dataset.context(np.array([4, 0, 1]))
        np.testing.assert_array_equal(library, [[5], [7], [1]])
