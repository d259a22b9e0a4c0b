"""Counts of many cells: sparse and memory-mapped where dense they would not fit into memory."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

BLOCK_ENTRIES = 1 << 22
"""Nonzero entries that are worked on at a time."""
_GATHER_ROWS = 4096
_DIGEST_ENTRIES = 1 << 20
_PARTS = ("data", "indices", "indptr", "shape")


def log_normalized(x: Any, library: Any, target: float = 1e4) -> Any:
    """log(1 + x · target / library): counts per `target` molecules of a cell, on a log scale.

    Args:
        x: [..., n, dims] counts, a NumPy array or a torch tensor; the result is of the same kind.
        library: [n] or [n, 1] library size of each cell, of the same kind.
        target: library size that every cell is brought to.
    """
    scaled = x * target / library.reshape(-1, 1)
    return np.log1p(scaled) if isinstance(scaled, np.ndarray) else scaled.log1p()


# --- rows of counts ------------------------------------------------------------------------------


@dataclass(frozen=True)
class CountBlocks:
    """Counts that are read a block of rows at a time, each time that they are asked for.

    Attributes:
        read: given positions of rows, increasing, yields their counts in order as CSR blocks.
        rows: positions that are selected, increasing.
        columns: number of columns.
    """

    read: Callable[[NDArray[np.int64]], Iterator[sparse.csr_matrix]]
    rows: NDArray[np.int64]
    columns: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.rows), self.columns

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, keep: Any) -> CountBlocks:
        """The rows of a mask, a slice or increasing positions; nothing is read.

        Raises:
            ValueError: the positions do not increase.
        """
        rows = self.rows[keep]
        if (np.diff(rows) <= 0).any():
            raise ValueError("rows of counts that are read in blocks must be taken in their order")
        return CountBlocks(self.read, rows, self.columns)

    def blocks(self) -> Iterator[sparse.csr_matrix]:
        """Blocks of rows, in order."""
        return self.read(self.rows)


@dataclass(frozen=True)
class CountMatrix:
    """Counts of many cells in CSR form, of which only the rows that are asked for become dense.

    Attributes:
        data: [nonzeros] counts, of the smallest unsigned type that holds them.
        indices: [nonzeros] column of each count, int32, increasing within a row.
        indptr: [rows + 1] where each row begins, int64.
        columns: number of columns.
    """

    data: NDArray[Any]
    indices: NDArray[np.int32]
    indptr: NDArray[np.int64]
    columns: int

    @classmethod
    def of(cls, counts: Any) -> CountMatrix:
        """A scipy CSR matrix (or array) of whole numbers from 0, in memory."""
        block = canonical(counts)
        data = block.data.astype(_unsigned(block.data))
        return cls(
            data, block.indices.astype(np.int32), block.indptr.astype(np.int64), block.shape[1]
        )

    @classmethod
    def write(cls, folder: Path, blocks: Iterable[Any], columns: int) -> CountMatrix:
        """Store blocks of CSR rows, one after the other, and open what was stored.

        No more than one block is in memory. Files appear when all are whole; who has the old ones
        open keeps them.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".counts.") as temporary:
            place = Path(temporary)
            _write_parts(place, blocks, columns)
            for part in _PARTS:
                os.replace(place / f"{part}.npy", folder / f"{part}.npy")
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> CountMatrix:
        """Map the files of a folder that `save` or `write` filled.

        Raises:
            OSError: a file is absent or not readable.
            ValueError: a file is not an array, or the arrays do not fit together.
        """
        data, indices, indptr, shape = (_map(folder / f"{part}.npy") for part in _PARTS)
        if shape.shape != (2,) or indptr.shape != (shape[0] + 1,):
            raise ValueError(f"{folder}: shape.npy does not fit indptr.npy")
        if not data.shape == indices.shape == (indptr[-1],):
            raise ValueError(f"{folder}: data.npy and indices.npy do not fit indptr.npy")
        return cls(data, indices, indptr, int(shape[1]))

    def save(self, folder: Path) -> None:
        """Write data.npy, indices.npy, indptr.npy and shape.npy."""
        CountMatrix.write(folder, self.blocks(), self.columns)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self), self.columns

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def __getitem__(self, rows: Any) -> NDArray[np.float32]:
        """[len(rows), columns] dense counts of an integer array, a mask or a slice of rows."""
        positions = _positions(rows, len(self))
        dense = np.zeros((len(positions), self.columns), np.float32)
        for start in range(0, len(positions), _GATHER_ROWS):
            self._fill(dense[start : start + _GATHER_ROWS], positions[start : start + _GATHER_ROWS])
        return dense

    def _fill(self, dense: NDArray[np.float32], rows: NDArray[np.int64]) -> None:
        """Write the counts of `rows` into zeros."""
        starts = self.indptr[rows]
        lengths = self.indptr[rows + 1] - starts
        shifts = starts - (np.cumsum(lengths) - lengths)
        entries = np.arange(lengths.sum()) + np.repeat(shifts, lengths)
        begins = np.repeat(np.arange(len(rows)) * self.columns, lengths)
        dense.reshape(-1)[begins + self.indices[entries]] = self.data[entries]

    def blocks(self) -> Iterator[sparse.csr_matrix]:
        """Blocks of rows, in order."""
        for start, stop in row_blocks(self.indptr):
            ends = self.indptr[start : stop + 1]
            part = slice(ends[0], ends[-1])
            yield sparse.csr_matrix(
                (self.data[part], self.indices[part], ends - ends[0]),
                shape=(stop - start, self.columns),
            )

    def row_sums(self, columns: slice = slice(None)) -> NDArray[np.int64]:
        """[rows] sum of each row over a range of columns."""
        first, last, _ = columns.indices(self.columns)
        sums = [block_sums(block, first, last) for block in self.blocks()]
        return np.concatenate([np.empty(0, np.int64), *sums])

    def digest(self) -> str:
        """SHA-256 of shape and entries, read piece by piece: equal for equal counts."""
        digest = hashlib.sha256(f"{self.shape}{self.data.dtype}".encode())
        for values in (self.indptr, self.indices, self.data):
            for start in range(0, len(values), _DIGEST_ENTRIES):
                digest.update(np.ascontiguousarray(values[start : start + _DIGEST_ENTRIES]).data)
        return digest.hexdigest()


def row_blocks(
    indptr: NDArray[np.int64], entries: int = BLOCK_ENTRIES
) -> Iterator[tuple[int, int]]:
    """First and last (exclusive) row of consecutive blocks with at most `entries` nonzeros.

    A row that holds more is a block of its own.
    """
    start, rows = 0, len(indptr) - 1
    while start < rows:
        stop = int(np.searchsorted(indptr, indptr[start] + entries, side="right")) - 1
        stop = min(max(stop, start + 1), start + entries, rows)
        yield start, stop
        start = stop


def _positions(rows: Any, n: int) -> NDArray[np.int64]:
    """Row numbers from 0 that a slice, a mask or an integer array selects."""
    if isinstance(rows, slice):
        return np.arange(*rows.indices(n))
    chosen = np.asarray(rows)
    if chosen.dtype == np.bool_:
        if len(chosen) != n:
            raise IndexError(f"a mask of {len(chosen)} values for {n} rows")
        return np.flatnonzero(chosen)
    positions = np.where(chosen < 0, chosen + n, chosen).astype(np.int64)
    if len(positions) and not 0 <= positions.min() <= positions.max() < n:
        raise IndexError(f"rows {chosen.min()} to {chosen.max()} are asked of {n}")
    return positions


def block_sums(block: sparse.csr_matrix, first: int, last: int) -> NDArray[np.int64]:
    """[rows] sum of each row of a CSR matrix of whole numbers over columns first to last − 1."""
    inside = (block.indices >= first) & (block.indices < last)
    rows = np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
    # sums of whole numbers are exact in float64 up to 2^53
    weights = np.where(inside, block.data, 0)
    return np.bincount(rows, weights, minlength=block.shape[0]).astype(np.int64)


# --- files ---------------------------------------------------------------------------------------


class _GrowingArray:
    """A one-dimensional .npy file that is written piece by piece; its type widens where needed."""

    def __init__(self, path: Path, dtype: Any) -> None:
        self.path = path
        self.dtype = np.dtype(dtype)
        self.length = 0
        self._begin()

    def append(self, values: NDArray[Any]) -> None:
        """Write values behind those that are there."""
        if self.dtype.kind == "u" and not np.can_cast(_unsigned(values), self.dtype):
            self._widen(_unsigned(values))
        self._stream.write(np.ascontiguousarray(values.astype(self.dtype)).data)
        self.length += len(values)

    def close(self) -> None:
        """Write the header again, now with the length, which NumPy leaves room for."""
        self._stream.seek(0)
        self._write_header()
        self._stream.close()

    def _begin(self) -> None:
        self._stream = self.path.open("wb")
        self._write_header()

    def _write_header(self) -> None:
        described = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.length,)}
        np.lib.format.write_array_header_1_0(self._stream, described)

    def _widen(self, dtype: np.dtype[Any]) -> None:
        """Copy what is there into a file of a wider type."""
        self.close()
        narrow = self.path.with_suffix(".narrow")
        self.path.replace(narrow)
        written = _map(narrow)
        self.dtype, self.length = dtype, 0
        self._begin()
        for start in range(0, len(written), BLOCK_ENTRIES):
            self.append(written[start : start + BLOCK_ENTRIES])
        narrow.unlink()


def _write_parts(place: Path, blocks: Iterable[Any], columns: int) -> None:
    data = _GrowingArray(place / "data.npy", np.uint8)
    indices = _GrowingArray(place / "indices.npy", np.int32)
    lengths = [np.zeros(1, np.int64)]
    for given in blocks:
        block = canonical(given)
        data.append(block.data)
        indices.append(block.indices)
        lengths.append(np.diff(block.indptr).astype(np.int64))
    data.close()
    indices.close()
    indptr = np.cumsum(np.concatenate(lengths))
    np.save(place / "indptr.npy", indptr)
    np.save(place / "shape.npy", np.array([len(indptr) - 1, columns], np.int64))


def canonical(counts: Any) -> sparse.csr_matrix:
    """CSR with increasing columns in each row, none twice, and no stored 0.

    The caller's matrix is left as it is.
    """
    block = sparse.csr_matrix(counts)
    if block.has_canonical_format and (block.data != 0).all():
        return block
    block = block.copy()
    block.sum_duplicates()
    block.eliminate_zeros()
    return block


def _unsigned(values: NDArray[Any]) -> np.dtype[Any]:
    """The smallest unsigned integer type that holds values from 0."""
    return np.min_scalar_type(int(values.max(initial=0)))


def _map(path: Path) -> NDArray[Any]:
    """An array that stays in its file; an empty one, which cannot be mapped, is read."""
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except ValueError:
        array = np.load(path, allow_pickle=False)
        if array.size:
            raise
        return array


# --- counts that are taken away ------------------------------------------------------------------


def thin(counts: Any, share: float, rng: np.random.Generator) -> Any:
    """Take every molecule away with probability `share`: what stays is binomial.

    Draws are made for positive entries only, row by row, so that a dense array, a CSR matrix and
    its blocks one after the other lose the same molecules.

    Args:
        counts: [n, dims] whole numbers from 0: an array or a CSR matrix; it is left as it is.
        share: probability from 0 to 1.
        rng: where the draws come from.

    Returns:
        Counts of the same kind and type.
    """
    return _change(counts, lambda values: values - rng.binomial(values.astype(np.int64), share))


def zero(counts: Any, share: float, rng: np.random.Generator) -> tuple[Any, Any]:
    """Set every entry to 0 with probability `share`; what was 0 stays so.

    Args:
        counts: [n, dims] whole numbers from 0: an array or a CSR matrix; it is left as it is.
        share: probability from 0 to 1.
        rng: where the draws come from, for positive entries only, as in `thin`.

    Returns:
        Counts of the same kind and type, and the positive entries that were set to 0: a boolean
        array or CSR matrix of the same shape.
    """
    kept = _change(counts, lambda values: values * (rng.random(len(values)) >= share))
    if sparse.issparse(counts):
        return kept, (sparse.csr_matrix(counts) != kept).tocsr()
    return kept, counts != kept


def _change(counts: Any, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Any:
    """Replace the positive entries, given in the order of rows and then of columns."""
    if sparse.issparse(counts):
        changed = canonical(counts).copy()
        changed.data = change(changed.data).astype(counts.dtype)
        changed.eliminate_zeros()
        return changed
    positive = counts > 0
    changed = counts.copy()
    changed[positive] = change(counts[positive]).astype(counts.dtype)
    return changed
