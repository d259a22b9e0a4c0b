"""h5ad files of the user's own cells, as anndata and scanpy write them.

Counts are read a block of rows at a time, twice or three times: once to check them and to find the
cells and genes that stay, once on a subset for highly variable genes, once for what stays. So
memory goes with the counts that are kept, and not even with those where they are many: then `load`
gives CountBlocks. A layer stored by column (CSC) is read as a whole, each time.
"""

from __future__ import annotations

import difflib
import importlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from vae_ablation.common.errors import UserError
from vae_ablation.common.registry import register
from vae_ablation.data.base import (
    COVARIATE_OPTIONS,
    SPLIT_OPTIONS,
    Cells,
    Observed,
    Options,
    RawData,
    Source,
)
from vae_ablation.data.counts import (
    BLOCK_ENTRIES,
    CountBlocks,
    block_sums,
    canonical,
    log_normalized,
    row_blocks,
)
from vae_ablation.data.covariates import covariate_columns
from vae_ablation.data.hdf5_files import check_ends
from vae_ablation.data.kinds import check_is_file, hdf5_kind
from vae_ablation.data.labels import MISSING_TEXT, all_distinct, missing_numbers, numbers_of
from vae_ablation.data.splits import columns_of_splits, split_columns

log = logging.getLogger(__name__)

Names = NDArray[np.str_]

HELD_ENTRIES = 20_000_000
"""Nonzero entries up to which `load` gives a CSR matrix in memory."""
VARIABLE_CELLS = 50_000
"""Cells that highly variable genes are found on, at most."""
ROUNDING = 1e-5
"""Log-normalised counts nearer than this are equal but for float32."""
LARGEST_COUNT = 1 << 24
"""Whole numbers up to here are exact in float32."""

RAW = "raw"
"""Name of a layer that, where the file has none so named, is its raw/X."""
FEATURE_TYPES = "feature_types"
"""The column of var that tells genes from antibodies; as the option `protein` it splits them."""
_GENE, _ANTIBODY = "Gene Expression", "Antibody Capture"
_NO_GENES = (
    _ANTIBODY,
    "Antigen Capture",
    "CRISPR Guide Capture",
    "Multiplexing Capture",
    "Custom",
    "Peaks",
)
"""Kinds of features but genes that 10x's Cell Ranger writes."""

_HANDFUL = 5
_MOST_NAMES = 1000
_UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    RuntimeError,
    ArithmeticError,
    AssertionError,
    MemoryError,
    EOFError,
)
"""Errors that h5py and anndata raise for damaged files."""


@register
class H5ad(Source):
    """Counts of RNA, and of proteins if asked for, with labels, batches and perturbations."""

    name = "h5ad"
    counts = True
    shared_options = frozenset({"path", "test"}) | SPLIT_OPTIONS | COVARIATE_OPTIONS
    own_options = frozenset(
        {
            "layer",
            "label",
            "batch",
            "library",
            "n_top_genes",
            "min_cells",
            "min_counts",
            "obs",
            "protein",
            "perturbation",
        }
    )

    def check_options(self, where: str, options: Options) -> None:
        """There must be a path, and a file at it."""
        if not options["path"]:
            raise UserError(f"{where}.path is null; source h5ad needs the path of an .h5ad file.")
        check_is_file(f"{where}.path", options["path"], "an .h5ad file")

    def content(self, options: Options) -> list[Path]:
        """The file."""
        return [Path(options["path"])]

    def known_labels(self, options: Options) -> tuple[str, ...] | None:
        """None without an option that names them."""
        return () if options["label"] is None else None

    def describe(self, options: Options) -> Observed:
        """Metadata from the file's headers and categories; no count is read.

        The shape is exact where n_top_genes is set, else a bound: min_cells may leave fewer genes.
        So it is with classes and batches, of which min_counts may leave fewer.
        """
        path = Path(options["path"])
        check_ends(path)
        with _opened(path) as file:
            _check_keys(file, path, options)
            layout = _read_layout(file, path, options)
            genes, proteins = len(layout.genes), len(layout.proteins)
            labels = _codes(file, path, options, "label")
            batches = _codes(file, path, options, "batch")
            _check_perturbation(file, path, layout, options)
        genes = min(options["n_top_genes"] or genes, genes)
        distinct = all_distinct(labels)
        return Observed(
            (genes + proteins,),
            levels=None,
            counts=True,
            proteins=proteins,
            classes=0 if distinct else len(np.unique(labels[labels >= 0])),
            batches=len(np.unique(batches[batches >= 0])),
            distinct_labels=distinct,
        )

    def label_names(self, options: Options) -> tuple[str, ...]:
        """Categories of the column; min_counts may leave fewer."""
        path = Path(options["path"])
        if options["label"] is None:
            return ()
        with _opened(path) as file:
            _check_keys(file, path, options)
            names, _ = _categories(_column(file["obs"], options["label"]))
        return tuple(names.tolist())

    def suggested(self, options: Options) -> dict[str, Any]:
        """The layer that holds counts, columns named as labels and batches are, 2,000 genes."""
        path = Path(options["path"])
        check_ends(path)
        with _opened(path) as file:
            height = len(_index(file["obs"]))
            layers: list[str | None] = [None] if "X" in file else []
            layers += [*([RAW] if "raw/X" in file else []), *_keys(file, "layers")]
            holding = [one for one in layers if _holds_counts(file, one, height)]
            if not holding:
                self.load(options)  # which says what X holds
            layer = holding[0] if holding else None
            chosen: dict[str, Any] = {} if layer is None else {"layer": layer}
            for option, usual in _USUAL_COLUMNS.items():
                if column := _usual_column(file, usual, height):
                    chosen[option] = column
            if len(_index(_var(file, layer))) > MANY_GENES:
                chosen["n_top_genes"] = TOP_GENES
        return chosen

    def count(self, options: Options) -> int:
        """Cells of the file; min_counts may leave fewer."""
        with _opened(Path(options["path"])) as file:
            return len(_index(file["obs"]))

    def load(self, options: Options) -> RawData:
        """Read, check and filter.

        Cells with fewer than min_counts counts go first; then genes found in fewer than min_cells
        of the others; then all but the n_top_genes most variable genes.

        Returns:
            x is a float32 CSR matrix, or CountBlocks above HELD_ENTRIES nonzero entries.
        """
        path = Path(options["path"])
        table = _read_table(path, options)
        rows, totals, genes, entries = _filter(table, options)
        columns = [table.layout.genes[genes], table.layout.proteins]
        reader = table.reader(genes)
        x: Any = CountBlocks(reader, rows, sum(map(len, columns)))
        if entries + len(rows) * len(table.layout.proteins) <= HELD_ENTRIES:
            x = sparse.vstack(list(x.blocks()), format="csr")
        labels, cells, held_out = _describe_cells(table, rows, options)
        features = _features(*columns)
        return RawData(
            x,
            labels,
            levels=None,
            proteins=len(table.layout.proteins),
            cells=Cells(features=features, **cells),
            held_out=held_out,
            outside=_outside(x, len(genes), totals) if options["library"] == "all" else None,
            covariates={
                key.partition(".")[2]: _plain(table.columns[key])[rows]
                for key in covariate_columns(options)
            },
            **_splits(table, rows, options),
        )


def _outside(x: Any, genes: int, totals: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """[n] RNA counts of cells beyond the first `genes` columns of x; None where there are none."""
    blocks = x.blocks() if isinstance(x, CountBlocks) else [x]
    outside = totals - np.concatenate([block_sums(block, 0, genes) for block in blocks])
    return outside if outside.any() else None


MANY_GENES, TOP_GENES = 3000, 2000
"""Genes above which a first config keeps the most variable ones, and how many of them."""

_USUAL_COLUMNS = {
    "label": ("cell_type", "celltype", "cell_line", "label", "annotation", "cluster", "leiden"),
    "batch": ("batch", "donor", "donor_id", "patient", "plate", "sample"),
}
"""Names that columns of obs usually have, the most telling first."""


def _usual_column(file: Any, usual: Sequence[str], cells: int) -> str | None:
    """The first column of a usual name that groups cells: two groups or more, of five or more."""
    known = {name.lower(): name for name in _column_names(file["obs"])}
    for name in usual:
        if name in known:
            groups = len(_categories(_column(file["obs"], known[name]))[0])
            if 2 <= groups <= cells / 5:
                return known[name]
    return None


# --- the file ------------------------------------------------------------------------------------


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The open file; errors of h5py and anndata on a damaged one become one sentence."""
    h5py = _needed("h5py", "source h5ad")
    _needed("anndata", "source h5ad")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (*_UNREADABLE, _unknown_encoding()) as error:
        reason = " ".join(str(error).split()).split(". ")[0].rstrip(".") or type(error).__name__
        raise UserError(f"{path}: not readable as an h5ad file ({reason}).") from None


def _unknown_encoding() -> type[Exception]:
    """Error of anndata for an element of unknown kind; it has no public name."""
    return importlib.import_module("anndata._io.specs.registry").IORegistryError


def _needed(package: str, what: str) -> Any:
    """A package that only some studies need."""
    try:
        return importlib.import_module(package)
    except ImportError:
        raise UserError(
            f"{what} needs the package {package}, which is not installed; allowed: install it."
        ) from None


def _read(element: Any) -> Any:
    """An element of the file, as anndata reads it.

    Raises:
        UserError: the installed anndata does not know this kind of element.
    """
    try:
        return _needed("anndata.io", "source h5ad").read_elem(element)
    except _unknown_encoding():
        kind, version = (element.attrs.get(f"encoding-{what}", "?") for what in ("type", "version"))
        raise UserError(
            f"{element.file.filename}: {element.name.lstrip('/')} is stored as {kind} {version}, "
            "which the installed anndata does not read; allowed: encodings that it reads, so "
            "update anndata or store it in another way."
        ) from None


def _index(table: Any) -> Names:
    """Names of the rows of obs or var."""
    return np.asarray(_read(table[table.attrs["_index"]]), dtype=str)


def _column(table: Any, key: str) -> Any:
    """One column of a table; files of anndata 0.7 keep categories apart from it."""
    return _read(table)[key] if "__categories" in table else _read(table[key])


def _column_names(table: Any) -> list[str]:
    return [str(name) for name in table.attrs["column-order"]]


def _codes(file: Any, path: Path, options: Options, option: str) -> NDArray[np.int64]:
    """Category of each cell in the obs column that an option names, −1 where it has none.

    Returns:
        [n], or [0] without the option.

    Raises:
        UserError: the column cannot be what the option says.
    """
    if options[option] is None:
        return np.empty(0, np.int64)
    column = _column(file["obs"], options[option])
    return _checked_column(path, option, options[option], column)[1]


def _checked_column(
    path: Path, option: str, name: str, values: Any
) -> tuple[Names, NDArray[np.int64]]:
    """Categories of an obs column, and the category of each cell; −1 where it has none.

    Raises:
        UserError: numbers are not whole, labels are negative, or each cell has a batch of its own.
    """
    where = f"{path}: the obs column {name!r} ({option})"
    if np.ndim(values) != 1:
        raise UserError(f"{where} has shape {np.shape(values)}; allowed: one value for each cell.")
    names, codes = _categories(values)
    if option == "label":
        numbers = numbers_of(values)
        none = np.isin(codes, np.flatnonzero(np.isin(names, MISSING_TEXT)))
        if numbers is not None:
            none |= missing_numbers(numbers, where)
        codes = np.where(none, -1, codes)
    if option != "label" and all_distinct(codes):
        raise UserError(
            f"{where} gives each of {len(codes)} cells a value of its own; allowed: values that "
            "cells share."
        )
    return names, codes


def _wanted(options: Options) -> dict[str, str]:
    """Columns of obs that the options name, by the option that does."""
    columns = {key: options[key] for key in ("label", "batch") if options[key] is not None}
    columns |= split_columns(options) | covariate_columns(options)
    if options["perturbation"] is not None:
        columns["perturbation.key"] = options["perturbation"]["key"]
    return columns | {f"obs[{i}]": name for i, name in enumerate(options["obs"])}


def _check_keys(file: Any, path: Path, options: Options) -> None:
    """Refuse options that name an element which the file does not have."""
    kind = hdf5_kind(file, _names(file))
    if kind:
        raise UserError(f"{path}: not an h5ad file (it is {kind}).")
    for part in ("obs", "var"):
        if part not in file or "_index" not in file[part].attrs:
            raise UserError(
                f"{path}: has no table {part} as anndata writes it since version 0.7; allowed: "
                "an h5ad file (read one from an older version and write it again)."
            )
    _check_key(options["layer"], [*_keys(file, "layers"), *_raw(file)], f"{path}: layers", "layer")
    split = [FEATURE_TYPES] if _has_feature_types(_var(file, options["layer"])) else []
    _check_key(options["protein"], [*_keys(file, "obsm"), *split], f"{path}: obsm", "protein")
    if options["layer"] is None and "X" not in file:
        layers = [*_keys(file, "layers"), *_raw(file)]
        raise UserError(
            f"{path}: has no X; its layers are {_few(layers)}{_proposed(file, layers)}."
        )
    columns = _column_names(file["obs"])
    for option, name in _wanted(options).items():
        if name not in columns:
            raise _absent(f"{path}: obs has no column {name!r} ({option})", name, columns)
        if name in {"obs_names", "file_row"} and option.startswith("obs["):
            raise UserError(f"{path}: the obs column {name!r} ({option}) is a reserved name.")


def _check_key(name: str | None, known: list[str], where: str, option: str) -> None:
    if name is not None and name not in known:
        raise _absent(f"{where} has no {name!r} ({option})", name, known)


def _keys(file: Any, group: str) -> list[str]:
    """Names in a group of the file."""
    return _names(file[group]) if group in file else []


def _names(group: Any) -> list[str]:
    """Names in a group; in a damaged file there is no end of them."""
    return list(islice(group, _MOST_NAMES))


def _raw(file: Any) -> list[str]:
    """The name by which `layer` reads raw/X, if that exists and no layer has this name."""
    raw = file.get(RAW)
    there = hasattr(raw, "keys") and "X" in raw and "var" in raw and "_index" in raw["var"].attrs
    return [RAW] if there and RAW not in _keys(file, "layers") else []


def _var(file: Any, layer: str | None) -> Any:
    """The table of the genes of a layer."""
    return file["raw/var"] if layer in _raw(file) else file["var"]


def _has_feature_types(var: Any) -> bool:
    return FEATURE_TYPES in var.attrs.get("column-order", ())


def _absent(what: str, name: str, known: Sequence[str]) -> UserError:
    """An error for a name that is absent, with the nearest of those that exist."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return UserError(f"{what}{hint}; there: {_few(known)}.")


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(map(str, names[:_HANDFUL])) or "none"
    more = len(names) - _HANDFUL
    return f"{shown} and {more} more" if more > 0 else shown


# --- counts in the file --------------------------------------------------------------------------


@dataclass(frozen=True)
class _Dense:
    """A matrix stored in full."""

    values: Any

    @property
    def shape(self) -> tuple[int, int]:
        rows, columns = self.values.shape
        return rows, columns

    def bounds(self) -> Iterator[tuple[int, int]]:
        """First and last (exclusive) row of blocks that are read at a time."""
        step = max(1, BLOCK_ENTRIES // max(1, self.shape[1]))
        return (
            (start, min(start + step, self.shape[0])) for start in range(0, self.shape[0], step)
        )

    def rows(self, start: int, stop: int) -> sparse.csr_matrix:
        return sparse.csr_matrix(_computable(self.values[start:stop]))


@dataclass(frozen=True)
class _Sparse:
    """A matrix stored by row: arrays in the file, or in memory where they had to be turned."""

    data: Any
    indices: Any
    indptr: NDArray[np.int64]
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        sizes = np.diff(self.indptr)
        if self.indptr.shape != (self.shape[0] + 1,) or self.indptr[0] != 0 or (sizes < 0).any():
            raise ValueError("the row pointers of a sparse matrix are wrong")
        if not self.data.shape == self.indices.shape == (self.indptr[-1],):
            raise ValueError("the arrays of a sparse matrix do not fit together")

    def bounds(self) -> Iterator[tuple[int, int]]:
        """First and last (exclusive) row of blocks that are read at a time."""
        return row_blocks(self.indptr)

    def rows(self, start: int, stop: int) -> sparse.csr_matrix:
        part = slice(self.indptr[start], self.indptr[stop])
        arrays = (
            _computable(self.data[part]),
            self.indices[part],
            self.indptr[start : stop + 1] - self.indptr[start],
        )
        block = sparse.csr_matrix(arrays, shape=(stop - start, self.shape[1]))
        block.check_format(full_check=True)
        return block


def _stored(file: Any, where: str) -> _Dense | _Sparse:
    """A matrix of the file, dense, sparse or a table, of which rows can be read.

    Raises:
        UserError: it is not a matrix of numbers.
    """
    element, place = file[where], f"{file.filename}: {where}"
    if hasattr(element, "shape"):
        if len(element.shape) != 2:
            raise UserError(f"{place} has shape {element.shape}; allowed: [cells, features].")
        _check_numeric(element, place)
        return _Dense(element)
    encoding = element.attrs.get("encoding-type", "")
    if encoding in {"csr_matrix", "csc_matrix"}:
        _check_numeric(element["data"], place)
        rows, columns = map(int, element.attrs["shape"])
        shape = rows, columns
        if encoding == "csr_matrix":
            indptr = element["indptr"][:].astype(np.int64)
            return _Sparse(element["data"], element["indices"], indptr, shape)
        parts = (_computable(element["data"][:]), element["indices"][:], element["indptr"][:])
        by_column = sparse.csc_matrix(parts, shape=shape)
        by_column.check_format(full_check=True)
        return _in_memory(by_column)
    values = _read(element)
    if encoding == "dataframe":
        values = _numeric_table(values, place)
    return _in_memory(values)


def _in_memory(values: Any) -> _Sparse:
    held = sparse.csr_matrix(values)
    return _Sparse(held.data, held.indices, held.indptr.astype(np.int64), held.shape)


def _computable(values: NDArray[Any]) -> NDArray[Any]:
    """Values of a type that SciPy computes with: not half precision, nor a foreign byte order."""
    native = values.dtype.newbyteorder("=")
    return values.astype(np.float32 if native == np.float16 else native, copy=False)


def _check_numeric(values: Any, place: str) -> None:
    """Refuse a stored array of anything but numbers."""
    if values.dtype.kind in "biuf":
        return
    first = f", the first is {_plainly(values[(0,) * values.ndim])}" if values.size else ""
    raise UserError(f"{place} holds values of type {values.dtype}{first}; allowed: numbers.")


def _plainly(value: Any) -> str:
    """A value as Python writes it, without NumPy's type around it."""
    return repr(value.item() if isinstance(value, np.generic) else value)


def _numeric_table(table: pd.DataFrame, place: str) -> NDArray[np.float64]:
    """A table of numbers of any type, nullable ones too, where no value is missing."""
    columns = [
        _numeric_column(table.iloc[:, position], f"{place}: column {name!r}")
        for position, name in enumerate(table.columns)
    ]
    return np.column_stack(columns) if columns else np.empty((len(table), 0))


def _numeric_column(column: pd.Series[Any], place: str) -> NDArray[np.float64]:
    bool_or_number = pd.api.types.is_bool_dtype(column) or pd.api.types.is_numeric_dtype(column)
    if not bool_or_number or isinstance(column.dtype, pd.CategoricalDtype):
        first = (
            f", the first is {_plainly(column.iloc[0])} (cell {column.index[0]})"
            if len(column)
            else ""
        )
        raise UserError(f"{place} holds {column.dtype}{first}; allowed: numbers.")
    missing = column.isna().to_numpy(bool)
    if missing.any():
        raise UserError(
            f"{place} has {int(missing.sum())} missing values, the first in cell "
            f"{column.index[missing][0]}; allowed: a number for every cell."
        )
    return column.to_numpy(np.float64)


@dataclass(frozen=True)
class _Reader:
    """Reads rows of one or more matrices side by side, in blocks.

    Attributes:
        path: the file.
        parts: where each matrix is in the file, and which of its columns are wanted.
        height: rows that each must have.
    """

    path: Path
    parts: tuple[tuple[str, NDArray[np.int64]], ...]
    height: int

    def __call__(self, rows: NDArray[np.int64], exact: bool = False) -> Iterator[sparse.csr_matrix]:
        """Blocks with the rows at these positions, which increase: as float32, or as stored."""
        with _opened(self.path) as file:
            matrices = [
                (self._matrix(file, where, columns), columns) for where, columns in self.parts
            ]
            for start, stop in matrices[0][0].bounds():
                chosen = rows[np.searchsorted(rows, start) : np.searchsorted(rows, stop)]
                if len(chosen):
                    blocks = [_take(matrix, chosen, columns, exact) for matrix, columns in matrices]
                    yield sparse.hstack(blocks, format="csr") if len(blocks) > 1 else blocks[0]

    def _matrix(self, file: Any, where: str, columns: NDArray[np.int64]) -> _Dense | _Sparse:
        matrix = _stored(file, where)
        if matrix.shape[0] != self.height or columns.max(initial=-1) >= matrix.shape[1]:
            raise UserError(
                f"{self.path}: {where} has shape {matrix.shape}, which does not fit the "
                f"{self.height} cells of obs and the names of its columns; allowed: one row for "
                "each cell, one column for each name."
            )
        return matrix


def _take(
    matrix: _Dense | _Sparse, rows: NDArray[np.int64], columns: NDArray[np.int64], exact: bool
) -> sparse.csr_matrix:
    """Some rows and columns; only rows between the first and the last are read."""
    stored = matrix.rows(int(rows[0]), int(rows[-1]) + 1)
    block = canonical(stored if exact else stored.astype(np.float32))
    if len(rows) < block.shape[0]:
        block = block[rows - rows[0]]
    whole = len(columns) == block.shape[1]
    return block if whole else block[:, columns]


# --- the tables ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Layout:
    """Places of genes and proteins in a file.

    Attributes:
        layer: where RNA counts are: X, layers/<name> or raw/X.
        gene_columns: columns of that matrix that are genes.
        genes: their names.
        protein: where protein counts are, or None; the layer itself where they stand among genes.
        protein_columns: columns of that matrix that are proteins.
        proteins: their names.
    """

    layer: str
    gene_columns: NDArray[np.int64]
    genes: Names
    protein: str | None
    protein_columns: NDArray[np.int64]
    proteins: Names


def _read_layout(file: Any, path: Path, options: Options) -> _Layout:
    layer, protein = options["layer"], options["protein"]
    from_raw = layer in _raw(file)
    where = "X" if layer is None else "raw/X" if from_raw else f"layers/{layer}"
    var = _var(file, layer)
    names = _index(var)
    types = _feature_types(var)
    _check_names(path, "var_names", names)
    if protein == FEATURE_TYPES and protein not in _keys(file, "obsm"):
        return _split_layout(path, where, names, types)
    if types is not None:
        _warn_of_features(path, where, names, types)
    proteins = _protein_names(file, protein)
    element = None if protein is None else f"obsm/{protein}"
    columns = np.arange(len(names)), np.arange(len(proteins))
    return _Layout(where, columns[0], names, element, columns[1], proteins)


def _feature_types(var: Any) -> Names | None:
    if not _has_feature_types(var):
        return None
    return np.asarray(pd.Series(_column(var, FEATURE_TYPES)).astype(object), dtype=str)


def _split_layout(path: Path, where: str, names: Names, types: Names | None) -> _Layout:
    """Genes and antibodies of one matrix, split by var.feature_types; others are left out."""
    kinds = [] if types is None else np.unique(types).tolist()
    if types is None or not {_GENE, _ANTIBODY} <= set(kinds):
        raise UserError(
            f"{path}: protein is {FEATURE_TYPES}, and var.{FEATURE_TYPES} of {where} holds "
            f"{_few(kinds)}; allowed: a file in which it holds {_GENE} and {_ANTIBODY} (or the key "
            "of obsm that holds the proteins; without proteins, null)."
        )
    left = (types != _GENE) & (types != _ANTIBODY)
    if left.any():
        log.warning("%s: left out, by var.%s: %s", path, FEATURE_TYPES, _few(names[left].tolist()))
    genes, antibodies = np.flatnonzero(types == _GENE), np.flatnonzero(types == _ANTIBODY)
    return _Layout(where, genes, names[genes], where, antibodies, names[antibodies])


def _warn_of_features(path: Path, where: str, names: Names, types: Names) -> None:
    """Warn of features among the genes that are not genes."""
    others = types != _GENE
    if others.all():  # without the name that 10x has for genes, those that it has for others count
        others = np.isin(types, _NO_GENES)
    if not others.any():
        return
    kinds = ", ".join(np.unique(types[others]).tolist())
    if others.all():
        way = "give the RNA counts of these cells as genes, and these, if proteins, in obsm"
    elif (types == _ANTIBODY).any() and (types == _GENE).any():
        way = f"protein: {FEATURE_TYPES} reads the antibodies as proteins"
    else:
        way = "remove them from the file, or move them to obsm"
    log.warning(
        "%s: %s of %s features in %s are not genes by var.%s (%s: %s) but are read as genes; %s",
        path, int(others.sum()), len(names), where, FEATURE_TYPES, kinds,
        _few(names[others].tolist()), way,
    )  # fmt: skip


@dataclass(frozen=True)
class _Table:
    """Content of a file beside counts.

    Attributes:
        path: the file.
        layout: where genes and proteins are.
        layers: names that `layer` takes, but the one that is read; None is X.
        cells: [n] names of cells.
        columns: columns of obs by the option that names them.
    """

    path: Path
    layout: _Layout
    layers: tuple[str | None, ...]
    cells: Names
    columns: dict[str, Any]

    def reader(self, genes: NDArray[np.int64], proteins: bool = True) -> _Reader:
        """Reads some genes, and the proteins."""
        parts = [(self.layout.layer, self.layout.gene_columns[genes])]
        if proteins and self.layout.protein is not None:
            parts.append((self.layout.protein, self.layout.protein_columns))
        return _Reader(self.path, tuple(parts), len(self.cells))


def _read_table(path: Path, options: Options) -> _Table:
    """Names and columns, checked."""
    with _opened(path) as file:
        _check_keys(file, path, options)
        others = [None] if "X" in file else []
        table = _Table(
            path=path,
            layout=_read_layout(file, path, options),
            layers=tuple(
                name
                for name in (*others, *_keys(file, "layers"), *_raw(file))
                if name != options["layer"]
            ),
            cells=_index(file["obs"]),
            columns={
                option: _column(file["obs"], name) for option, name in _wanted(options).items()
            },
        )
        if any(len(column) != len(table.cells) for column in table.columns.values()):
            raise ValueError("a column of obs is not as long as the index")
    _check_names(path, "obs_names", table.cells)
    return table


def _check_names(path: Path, what: str, names: Names) -> None:
    if not len(names):
        raise UserError(f"{path}: has no {what}; allowed: at least one cell and one gene.")
    repeated = pd.Index(names).duplicated()
    if repeated.any():
        twice = list(dict.fromkeys(names[repeated].tolist()))
        raise UserError(
            f"{path}: {int(repeated.sum())} {what} occur more than once ({_few(twice)}); "
            f"allowed: each name once (anndata's {what}_make_unique makes them so)."
        )


def _protein_names(file: Any, key: str | None) -> Names:
    """Columns of the protein table, or numbers where it is a bare matrix."""
    if key is None:
        return np.empty(0, dtype=str)
    element = file["obsm"][key]
    if hasattr(element, "attrs") and "column-order" in element.attrs:
        return np.asarray(_column_names(element), dtype=str)
    columns = element.shape[1] if hasattr(element, "shape") else element.attrs["shape"][1]
    return np.array([f"{key}_{number}" for number in range(1, int(columns) + 1)], dtype=str)


def _features(genes: Names, proteins: Names) -> tuple[str, ...]:
    """Names of columns; a protein with the name of a gene gets another one."""
    known = set(genes.tolist())
    named = (f"{name} (protein)" if name in known else name for name in proteins.tolist())
    return (*genes.tolist(), *named)


# --- which cells and genes stay ------------------------------------------------------------------


def _filter(
    table: _Table, options: Options
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], int]:
    """Cells and genes that stay.

    Returns:
        Positions of the cells, their RNA counts over all genes of the file, positions of the genes,
        and how many of their entries are not 0.
    """
    rows, totals, occurrences = _survey(table, options["min_counts"])
    if not len(rows):
        raise UserError(
            f"{table.path}: none of {len(table.cells)} cells has min_counts "
            f"({options['min_counts']}) counts; allowed: a number that leaves some."
        )
    genes = np.flatnonzero(occurrences >= options["min_cells"])
    wanted = options["n_top_genes"]
    if not len(genes) or (wanted or 0) > len(genes):
        raise UserError(
            f"{table.path}: {len(genes)} of {len(table.layout.genes)} genes occur in min_cells "
            f"({options['min_cells']}) of {len(rows)} cells; allowed: at least {wanted or 1}"
            f"{' (n_top_genes)' if wanted else ''}."
        )
    if wanted is not None and wanted < len(genes):
        genes = genes[_most_variable(table, rows, genes, wanted)]
    return rows, totals, genes, int(occurrences[genes].sum())


def _survey(
    table: _Table, min_counts: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Check every count.

    Returns:
        Positions of cells with at least `min_counts` counts of RNA, these counts, and [genes] the
        number of these cells in which each gene occurs.
    """
    genes = len(table.layout.genes)
    occurrences = np.zeros(genes, np.int64)
    kept, totals, start = [], [], 0
    for stored in table.reader(np.arange(genes))(np.arange(len(table.cells)), exact=True):
        _check_counts(stored, table, start)
        block = canonical(stored.astype(np.float32))
        sums = block_sums(block, 0, genes)
        enough = sums >= min_counts
        totals.append(sums[enough])
        kept.append(start + np.flatnonzero(enough))
        counted = np.repeat(enough, np.diff(block.indptr)) & (block.indices < genes)
        occurrences += np.bincount(block.indices[counted], minlength=genes)
        start += block.shape[0]
    return np.concatenate(kept), np.concatenate(totals), occurrences


def _not_counts(values: NDArray[Any]) -> NDArray[np.bool_]:
    """True for values that are not whole numbers from 0 to LARGEST_COUNT, in single precision."""
    with np.errstate(invalid="ignore", over="ignore"):
        single = values.astype(np.float32)
        return ~((values >= 0) & (values <= LARGEST_COUNT) & (single == np.floor(single)))


def _check_counts(block: sparse.csr_matrix, table: _Table, start: int) -> None:
    """Refuse entries of a block that are not counts; its first row is the file's row `start`."""
    values = block.data
    wrong = _not_counts(values)
    if not wrong.any():
        return
    first = int(np.argmax(wrong))
    row = int(np.searchsorted(block.indptr, first, side="right")) - 1
    column, genes = int(block.indices[first]), table.layout.genes
    is_gene = column < len(genes)
    name = genes[column] if is_gene else table.layout.proteins[column - len(genes)]
    elsewhere = _other_layers(table) if is_gene else ""
    raise UserError(
        f"{table.path}: {table.layout.layer if is_gene else table.layout.protein} is not a matrix "
        f"of counts, {int(wrong.sum())} of {len(values)} nonzero values in the cells "
        f"{start + 1} to {start + block.shape[0]} are wrong, the first is {_shown(values[first])} "
        f"(cell {table.cells[start + row]}, {name}); allowed: whole numbers from 0 to "
        f"{LARGEST_COUNT} (raw counts){elsewhere or _nature(block)}."
    )


def _shown(value: Any) -> str:
    """A value that is not a count, in digits enough that it does not read as one."""
    short = f"{value:g}"
    return short if _not_counts(np.array([float(short)]))[0] else str(float(value))


_SAME = 1e-2
"""Relative distance within which ratios are taken for whole numbers."""


def _nature(block: sparse.csr_matrix) -> str:
    """The likely origin of values that are not counts, and the remedy."""
    values = block.data.astype(np.float64)
    if not np.isfinite(values).all() or (values == np.round(values)).all():
        return ""
    if (values < 0).any():
        return "; negative values point to scaling or regressing out"
    if (np.abs(values - np.round(values)) > _SAME).mean() <= 0.5:
        return (
            "; values near or between whole numbers point to correction for ambient RNA, and round "
            "to counts: store np.rint of them, or the counts before correction"
        )
    if _are_multiples(block, np.expm1(values)):
        return "; these look log-transformed (log1p)"
    if _are_multiples(block, values):
        return "; these look like counts that were scaled (normalised to a common total, say)"
    return (
        "; values between whole numbers point to normalisation, or to correction for ambient RNA, "
        "whose values round to counts: store np.rint of them, or the counts before correction"
    )


def _are_multiples(block: sparse.csr_matrix, values: NDArray[np.float64]) -> bool:
    """Whether values are whole multiples of their cell's smallest, as scaled counts mostly are."""
    filled = np.diff(block.indptr) > 0
    smallest = np.minimum.reduceat(values, block.indptr[:-1][filled])
    ratio = values / np.repeat(smallest, np.diff(block.indptr)[filled])
    whole = np.abs(ratio - np.round(ratio)) <= _SAME
    larger = ratio > 1 + _SAME
    return bool(larger.any() and whole[larger].mean() > 0.9)


def _other_layers(table: _Table) -> str:
    """Other places in the file that hold counts, by their names as `layer`."""
    with _opened(table.path) as file:
        return _proposed(file, table.layers)


def _proposed(file: Any, layers: Sequence[str | None]) -> str:
    """Those of `layers` that hold counts, as a question; empty where none does."""
    height = len(_index(file["obs"]))
    holding = [layer for layer in layers if _holds_counts(file, layer, height)]
    if not holding:
        return ""
    names = ["null (X)" if name is None else name for name in holding]
    place = " (raw/X holds counts)" if RAW in holding and _raw(file) else ""
    return f"; did you mean layer {_few(names)}?{place}"


def _holds_counts(file: Any, layer: str | None, height: int) -> bool:
    """Whether the first block of a matrix of `height` rows holds counts and nothing else."""
    where = "X" if layer is None else "raw/X" if layer in _raw(file) else f"layers/{layer}"
    try:
        matrix = _stored(file, where)
        start, stop = next(matrix.bounds())
        values = canonical(matrix.rows(start, stop)).data
    except (UserError, *_UNREADABLE, _unknown_encoding(), StopIteration):
        return False
    return bool(matrix.shape[0] == height and values.size and not _not_counts(values).any())


def _most_variable(
    table: _Table, rows: NDArray[np.int64], genes: NDArray[np.int64], wanted: int
) -> NDArray[np.int64]:
    """Highly variable ones of `genes`, by scanpy's flavour "seurat" (Satija et al. 2015).

    Counts are brought to 10,000 per cell and log1p is taken. Above VARIABLE_CELLS cells, evenly
    spaced ones stand for all. Of equal genes the first in the file are taken, and so where no gene
    varies.
    """
    scanpy = _needed("scanpy", "n_top_genes")
    if len(rows) > VARIABLE_CELLS:
        rows = rows[np.linspace(0, len(rows) - 1, VARIABLE_CELLS).round().astype(np.int64)]
    counts = sparse.vstack(list(table.reader(genes, proteins=False)(rows)), format="csr")
    library = np.repeat(np.asarray(counts.sum(1)).ravel(), np.diff(counts.indptr))
    counts.data = log_normalized(counts.data[:, None], library).ravel()
    if len(rows) < 2 or (counts.max(0) - counts.min(0)).max() <= ROUNDING:
        return np.arange(wanted)  # scanpy ends in an error where no gene varies
    cells = _needed("anndata", "source h5ad").AnnData(counts)
    found = scanpy.pp.highly_variable_genes(
        cells, n_top_genes=wanted, flavor="seurat", inplace=False
    )
    dispersion = found["dispersions_norm"].to_numpy(float)
    order = np.argsort(-np.nan_to_num(dispersion, nan=-np.inf), kind="stable")
    return np.sort(order[:wanted])


# --- what is known of cells ----------------------------------------------------------------------


def _categories(values: Any) -> tuple[Names, NDArray[np.int64]]:
    """Categories of a column as text, sorted, and [n] the category of each cell; −1 if missing."""
    column = pd.Categorical(values)
    if not len(column.categories):
        return np.empty(0, dtype=str), np.full(len(column), -1, np.int64)
    texts = np.array([str(category) for category in column.categories], dtype=str)
    names, merged = np.unique(texts, return_inverse=True)
    return names, np.where(column.codes < 0, -1, merged[column.codes]).astype(np.int64)


def _classes(
    table: _Table, option: str, rows: NDArray[np.int64], name: str
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Names of the categories that occur in `rows`, and the category of each; −1 if missing."""
    names, codes = _checked_column(table.path, option, name, table.columns[option])
    present, renumbered = np.unique(codes[rows], return_inverse=True)
    missing = int((present < 0).any())
    return tuple(names[present[missing:]].tolist()), renumbered.astype(np.int64) - missing


def _complete(
    table: _Table, option: str, rows: NDArray[np.int64], name: str
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """As `_classes`, of a column where no value may be missing."""
    names, codes = _classes(table, option, rows, name)
    if (codes < 0).any():
        raise UserError(
            f"{table.path}: the obs column {name!r} ({option}) has {int((codes < 0).sum())} "
            "missing values; allowed: a value for every cell."
        )
    return names, codes


def _describe_cells(
    table: _Table, rows: NDArray[np.int64], options: Options
) -> tuple[NDArray[np.int64] | None, dict[str, Any], NDArray[np.bool_] | None]:
    """Labels, the fields of Cells but its features, and which cells are held out."""
    fields: dict[str, Any] = {"obs": _kept_columns(table, rows, options["obs"])}
    labels = held_out = None
    if options["label"] is not None:
        fields["label_names"], labels = _classes(table, "label", rows, options["label"])
    if options["batch"] is not None:
        fields["batch_names"], fields["batch"] = _complete(table, "batch", rows, options["batch"])
    settings = options["perturbation"]
    if settings is not None:
        names, codes = _perturbations(table, rows, settings)
        fields["perturbation_names"], fields["perturbation"] = names, codes
        known = _Perturbed(
            table.path, names, codes, fields.get("label_names", ()), labels, settings
        )
        held_out = known.held_out()
    return labels, fields, held_out


def _splits(table: _Table, rows: NDArray[np.int64], options: Options) -> dict[str, Any]:
    """The user's split and groups of the cells that stay."""
    names = split_columns(options)
    columns = {key: _plain(table.columns[key])[rows] for key in names}
    shown = {key: f"the obs column {name!r}" for key, name in names.items()}
    return columns_of_splits(columns, shown, table.path)


def _kept_columns(
    table: _Table, rows: NDArray[np.int64], names: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """Names and positions in the file, then the columns that the user keeps."""
    kept = {"obs_names": table.cells[rows], "file_row": rows}
    for i, name in enumerate(names):
        kept[name] = _plain(table.columns[f"obs[{i}]"])[rows]
    return kept


def _plain(values: Any) -> NDArray[Any]:
    """Numbers as they are (missing: NaN), all else as text (missing: empty)."""
    column = pd.Series(values)
    if pd.api.types.is_bool_dtype(column) or pd.api.types.is_numeric_dtype(column):
        if column.isna().any():
            return column.to_numpy(float, na_value=np.nan)
        plain: Any = getattr(column.dtype, "numpy_dtype", column.dtype)
        return column.to_numpy(plain)
    return np.where(column.isna(), "", column.astype(object).map(str)).astype(str)


def _perturbations(
    table: _Table, rows: NDArray[np.int64], settings: Mapping[str, Any]
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Names of perturbations, the control first, and the perturbation of each cell."""
    found, codes = _complete(table, "perturbation.key", rows, settings["key"])
    canonical_names = [_canonical_name(name, settings) for name in found]
    control = settings["control"]
    if control not in canonical_names:
        what = f"{table.path}: the obs column {settings['key']!r} has no control {control!r}"
        raise _absent(what, str(control), found)
    names = (control, *sorted(set(canonical_names) - {control}))
    position = {name: i for i, name in enumerate(names)}
    return names, np.array([position[name] for name in canonical_names], np.int64)[codes]


def _canonical_name(name: str, settings: Mapping[str, Any]) -> str:
    """The parts of a combination, sorted and joined by "+"; the control is not a part of one."""
    if name == settings["control"]:
        return name
    parts = {part.strip() for part in name.split(settings["separator"])}
    return "+".join(sorted(parts - {settings["control"], ""})) or settings["control"]


def _check_perturbation(file: Any, path: Path, layout: _Layout, options: Options) -> None:
    """Refuse a control and held-out conditions that no cell of the file has."""
    settings = options["perturbation"]
    if settings is None:
        return
    columns = {
        option: _column(file["obs"], name)
        for option, name in _wanted(options).items()
        if option in {"label", "perturbation.key"}
    }
    table = _Table(path, layout, (), np.empty(0, str), columns)
    key = settings["key"]
    _, all_codes = _checked_column(path, "perturbation.key", key, columns["perturbation.key"])
    rows = np.flatnonzero(all_codes >= 0)  # cells without one may be filtered out
    names, codes = _perturbations(table, rows, settings)
    label_names, labels = (
        ((), None) if options["label"] is None else _classes(table, "label", rows, options["label"])
    )
    _Perturbed(path, names, codes, label_names, labels, settings).held_out()


@dataclass(frozen=True)
class _Perturbed:
    """Perturbations and labels, by which held-out cells are named."""

    path: Path
    names: tuple[str, ...]
    codes: NDArray[np.int64]
    label_names: tuple[str, ...]
    labels: NDArray[np.int64] | None
    settings: Mapping[str, Any]

    def held_out(self) -> NDArray[np.bool_] | None:
        """[n] true for cells that held_out names; None where it names none."""
        if not self.settings["held_out"]:
            return None
        return np.any([self._cells(name) for name in self.settings["held_out"]], axis=0)

    def _cells(self, name: str) -> NDArray[np.bool_]:
        """Cells of a perturbation, or of a perturbation under one label ("label:perturbation")."""
        code = self._code(name)
        if code is not None:
            return self._checked(self.codes == code, name)
        label, _, perturbation = name.partition(":")
        code = self._code(perturbation)
        if self.labels is None or label not in self.label_names or code is None:
            known = [*self.names[1:], *(f"{label}:…" for label in self.label_names)]
            raise _absent(f"{self.path}: perturbation.held_out names {name!r}", name, known)
        return self._checked(
            (self.labels == self.label_names.index(label)) & (self.codes == code), name
        )

    def _code(self, name: str) -> int | None:
        written = _canonical_name(name, self.settings)
        return self.names.index(written) if name and written in self.names else None

    def _checked(self, cells: NDArray[np.bool_], name: str) -> NDArray[np.bool_]:
        if not cells.any() or not (self.codes[~cells] == 0).any():
            raise UserError(
                f"{self.path}: perturbation.held_out names {name!r}, which has {int(cells.sum())} "
                "cells; allowed: perturbations with cells, and not every control."
            )
        return cells
