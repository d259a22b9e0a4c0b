"""Counts that never become dense as a whole, and counts that are taken away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse, stats

from vae_ablation.data import counts as module
from vae_ablation.data.counts import (
    CountBlocks,
    CountMatrix,
    log_normalized,
    row_blocks,
    thin,
    zero,
)


def dense_counts(rows: int = 60, columns: int = 17, largest: int = 9, seed: int = 0) -> np.ndarray:
    """Three in four entries are 0; rows 3 and the last hold nothing."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, largest + 1, (rows, columns)) * (rng.random((rows, columns)) < 0.25)
    counts[[3, -1]] = 0
    counts[0, 0] = largest
    return counts


def pieces(dense: np.ndarray, rows: int = 7) -> Iterator[sparse.csr_matrix]:
    for start in range(0, len(dense), rows):
        yield sparse.csr_matrix(dense[start : start + rows])


@pytest.fixture(params=["memory", "file"])
def matrix(request: pytest.FixtureRequest, tmp_path: Path) -> CountMatrix:
    """`dense_counts` as a CountMatrix."""
    if request.param == "memory":
        return CountMatrix.of(sparse.csr_matrix(dense_counts()))
    return CountMatrix.write(tmp_path / "x", pieces(dense_counts()), 17)


# --- log-normalised values -----------------------------------------------------------------------


def test_log_normalized_is_log1p_of_counts_per_ten_thousand() -> None:
    x = dense_counts().astype(float) + 1
    library = x.sum(1)
    expected = np.log(1 + x * 10_000 / library[:, None])
    np.testing.assert_allclose(log_normalized(x, library), expected, rtol=1e-12)
    np.testing.assert_allclose(log_normalized(x, library[:, None]), expected, rtol=1e-12)
    brought = np.expm1(log_normalized(x, library, target=50.0)).sum(1)
    np.testing.assert_allclose(brought, 50.0, rtol=1e-12)


def test_log_normalized_of_tensors_is_that_of_arrays_also_with_leading_axes() -> None:
    x = dense_counts().astype(np.float64) + 1
    library = x.sum(1)
    stacked = torch.from_numpy(np.stack([x, 2 * x]))
    found = log_normalized(stacked, torch.from_numpy(library))
    assert isinstance(found, torch.Tensor)
    np.testing.assert_allclose(found[0], log_normalized(x, library))
    np.testing.assert_allclose(found[1], log_normalized(2 * x, library))


# --- a matrix of counts --------------------------------------------------------------------------


def test_rows_are_those_of_the_dense_array_however_they_are_asked_for(matrix: CountMatrix) -> None:
    dense = dense_counts()
    mask = np.arange(60) % 3 == 0
    positions = np.array([5, 5, 59, 0, -1, 3, 12])
    for rows in (positions, positions.tolist(), mask, slice(4, 30), slice(None), slice(50, 2, -3)):
        found = matrix[rows]
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, dense[rows])
    assert matrix[np.array([], dtype=int)].shape == (0, 17)
    assert (matrix.shape, len(matrix)) == ((60, 17), 60)


def test_many_rows_are_gathered_in_parts(
    matrix: CountMatrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_GATHER_ROWS", 11)
    rows = np.random.default_rng(0).integers(0, 60, 200)
    np.testing.assert_array_equal(matrix[rows], dense_counts()[rows])


@pytest.mark.parametrize("rows", [np.array([60]), np.array([-61]), np.ones(59, bool)])
def test_rows_that_are_not_there_are_refused(matrix: CountMatrix, rows: np.ndarray) -> None:
    with pytest.raises(IndexError):
        matrix[rows]


def test_row_sums_over_a_range_of_columns(
    matrix: CountMatrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK_ENTRIES", 10)
    for columns in (slice(None), slice(0, 5), slice(5, None), slice(-3, None)):
        np.testing.assert_array_equal(matrix.row_sums(columns), dense_counts()[:, columns].sum(1))


def test_blocks_put_together_are_the_matrix(matrix: CountMatrix) -> None:
    together = sparse.vstack(list(matrix.blocks()))
    np.testing.assert_array_equal(together.toarray(), dense_counts())


@pytest.mark.parametrize(
    ("largest", "dtype"), [(1, np.uint8), (255, np.uint8), (256, np.uint16), (70_000, np.uint32)]
)
def test_counts_are_kept_in_the_smallest_type_that_holds_them(
    tmp_path: Path, largest: int, dtype: type
) -> None:
    dense = dense_counts(largest=largest)[::-1]  # the largest count comes last
    stored = CountMatrix.write(tmp_path, pieces(dense, 10), 17)
    assert stored.data.dtype == CountMatrix.of(sparse.csr_matrix(dense)).data.dtype == dtype
    assert stored.indices.dtype == np.int32
    assert stored.indptr.dtype == np.int64
    np.testing.assert_array_equal(stored[:], dense)


def test_files_are_plain_arrays_that_are_mapped_not_read(tmp_path: Path) -> None:
    CountMatrix.of(sparse.csr_matrix(dense_counts())).save(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"data.npy", "indices.npy", "indptr.npy", "shape.npy"}
    opened = CountMatrix.open(tmp_path)
    assert isinstance(opened.data.base, np.memmap)
    data, indices, indptr, shape = (
        np.load(tmp_path / f"{part}.npy") for part in ("data", "indices", "indptr", "shape")
    )
    expected = sparse.csr_matrix((data, indices, indptr), shape=tuple(shape))
    np.testing.assert_array_equal(expected.toarray(), dense_counts())


def test_the_digest_depends_on_counts_and_shape_not_on_where_they_are(tmp_path: Path) -> None:
    dense = dense_counts()
    digest = CountMatrix.of(sparse.csr_matrix(dense)).digest()
    assert CountMatrix.write(tmp_path / "a", pieces(dense, 3), 17).digest() == digest
    assert CountMatrix.write(tmp_path / "b", pieces(dense, 40), 17).digest() == digest
    for change in ((0, 0, 8), (3, 4, 1)):
        other = dense.copy()
        other[change[0], change[1]] = change[2]
        assert CountMatrix.of(sparse.csr_matrix(other)).digest() != digest
    wider = np.pad(dense, ((0, 0), (0, 1)))
    assert CountMatrix.of(sparse.csr_matrix(wider)).digest() != digest


def test_the_digest_reads_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = CountMatrix.of(sparse.csr_matrix(dense_counts()))
    whole = matrix.digest()
    monkeypatch.setattr(module, "_DIGEST_ENTRIES", 7)
    assert matrix.digest() == whole


def test_entries_stored_twice_or_as_zero_or_in_any_order_are_the_counts_they_stand_for() -> None:
    data, indices = np.array([2, 1, 3, 0, 4]), np.array([4, 0, 4, 2, 1])
    given = sparse.csr_matrix((data, indices, np.array([0, 4, 5])), shape=(2, 5))
    matrix = CountMatrix.of(given)
    np.testing.assert_array_equal(matrix[:], [[1, 0, 0, 0, 5], [0, 4, 0, 0, 0]])
    assert given.nnz == 5  # the caller's matrix is as it was
    np.testing.assert_array_equal(matrix.indices, [0, 4, 1])


def test_a_matrix_of_zeros_and_one_without_rows_can_be_stored(tmp_path: Path) -> None:
    zeros = CountMatrix.write(tmp_path / "a", [sparse.csr_matrix((3, 4), dtype=np.uint8)], 4)
    np.testing.assert_array_equal(zeros[:], np.zeros((3, 4)))
    np.testing.assert_array_equal(zeros.row_sums(), [0, 0, 0])
    empty = CountMatrix.write(tmp_path / "b", [], 4)
    assert (empty.shape, empty.row_sums().shape, empty[:].shape) == ((0, 4), (0,), (0, 4))


def test_what_is_open_stays_as_it_is_when_the_folder_is_written_again(tmp_path: Path) -> None:
    first = CountMatrix.write(tmp_path, pieces(dense_counts()), 17)
    CountMatrix.write(tmp_path, pieces(dense_counts(seed=1)), 17)
    np.testing.assert_array_equal(first[:], dense_counts())
    np.testing.assert_array_equal(CountMatrix.open(tmp_path)[:], dense_counts(seed=1))


def test_a_write_that_breaks_off_leaves_nothing_new(tmp_path: Path) -> None:
    def broken() -> Iterator[sparse.csr_matrix]:
        yield sparse.csr_matrix(dense_counts())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        CountMatrix.write(tmp_path, broken(), 17)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("part", ["data", "indices", "indptr", "shape"])
def test_folders_with_files_missing_cut_or_of_another_matrix_do_not_open(
    tmp_path: Path, part: str
) -> None:
    path = tmp_path / f"{part}.npy"
    CountMatrix.write(tmp_path, pieces(dense_counts()), 17)
    content = path.read_bytes()
    for damaged in (content[:-1], content[:20], b""):
        path.write_bytes(damaged)
        with pytest.raises((OSError, ValueError, EOFError)):
            CountMatrix.open(tmp_path)
    np.save(path, np.load(path.with_name("indices.npy"))[:-2] if part != "indices" else [1])
    with pytest.raises(ValueError):
        CountMatrix.open(tmp_path)
    path.unlink()
    with pytest.raises(OSError):
        CountMatrix.open(tmp_path)


@given(st.lists(st.integers(0, 9), max_size=30), st.integers(1, 12))
def test_blocks_of_rows_hold_no_more_than_they_may_and_cover_all(
    lengths: list[int], entries: int
) -> None:
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    blocks = list(row_blocks(indptr, entries))
    covered = [row for start, stop in blocks for row in range(start, stop)]
    assert covered == list(range(len(lengths)))
    for start, stop in blocks:
        assert stop - start == 1 or indptr[stop] - indptr[start] <= entries
        assert stop - start <= entries


# --- counts that are read in blocks --------------------------------------------------------------


def test_count_blocks_select_rows_without_reading() -> None:
    dense, asked = dense_counts(), []

    def read(rows: np.ndarray) -> Iterator[sparse.csr_matrix]:
        asked.append(rows)
        yield from pieces(dense[rows])

    blocks = CountBlocks(read, np.arange(60), 17)
    chosen = blocks[np.arange(60) % 2 == 0][np.array([1, 4, 9])][1:]
    assert (chosen.shape, len(chosen), asked) == ((2, 17), 2, [])
    together = sparse.vstack(list(chosen.blocks())).toarray()
    np.testing.assert_array_equal(together, dense[[8, 18]])
    with pytest.raises(ValueError, match="order"):
        blocks[np.array([3, 1])]


# --- counts that are taken away ------------------------------------------------------------------


def test_thinned_counts_are_binomial() -> None:
    counts = np.full((4000, 1), 12)
    kept = thin(counts, 0.3, np.random.default_rng(0)).ravel()
    observed = np.bincount(kept, minlength=13)
    expected = stats.binom(12, 0.7).pmf(np.arange(13)) * 4000
    pooled = [np.append(values[5:], values[:5].sum()) for values in (observed, expected)]
    assert stats.chisquare(*pooled).pvalue > 0.001


def test_entries_are_zeroed_at_the_asked_rate_whatever_their_size() -> None:
    counts = np.tile([1, 1000, 0], (4000, 1))
    kept, zeroed = zero(counts, 0.2, np.random.default_rng(0))
    np.testing.assert_array_equal(zeroed, (counts > 0) & (kept == 0))
    np.testing.assert_array_equal(kept[~zeroed], counts[~zeroed])
    for column in (0, 1):
        assert stats.binomtest(int(zeroed[:, column].sum()), 4000, 0.2).pvalue > 0.001
    assert not zeroed[:, 2].any()


def test_nothing_is_taken_at_share_0_and_everything_at_share_1() -> None:
    counts = dense_counts()
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(thin(counts, 0, rng), counts)
    np.testing.assert_array_equal(zero(counts, 0, rng)[0], counts)
    assert not thin(counts, 1, rng).any()
    kept, zeroed = zero(counts, 1, rng)
    assert not kept.any()
    np.testing.assert_array_equal(zeroed, counts > 0)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
def test_dense_sparse_and_blocks_lose_the_same_molecules(dtype: type) -> None:
    dense = dense_counts().astype(dtype)
    before = dense.copy()

    def stream() -> np.random.Generator:
        return np.random.default_rng([7, 1])

    thinned = thin(dense, 0.4, stream())
    assert thinned.dtype == dtype
    in_sparse = thin(sparse.csr_matrix(dense), 0.4, stream())
    assert in_sparse.dtype == dtype
    np.testing.assert_array_equal(in_sparse.toarray(), thinned)
    rng = stream()
    blocks = [thin(block, 0.4, rng) for block in pieces(dense)]
    np.testing.assert_array_equal(sparse.vstack(blocks).toarray(), thinned)

    kept, zeroed = zero(dense, 0.4, stream())
    sparse_kept, sparse_zeroed = zero(sparse.csr_matrix(dense), 0.4, stream())
    np.testing.assert_array_equal(sparse_kept.toarray(), kept)
    np.testing.assert_array_equal(sparse_zeroed.toarray(), zeroed)
    assert sparse_zeroed.dtype == zeroed.dtype == np.bool_
    np.testing.assert_array_equal(dense, before)
