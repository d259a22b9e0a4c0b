"""Tables of real numbers: the user's files, and three that come with scikit-learn."""

from __future__ import annotations

import importlib
import logging
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from vae_ablation.common.errors import UserError, unknown_name
from vae_ablation.common.registry import register
from vae_ablation.data.base import (
    COVARIATE_OPTIONS,
    SPLIT_OPTIONS,
    Observed,
    Options,
    RawData,
    Source,
)
from vae_ablation.data.covariates import covariate_columns
from vae_ablation.data.csv_files import label_column, read_csv
from vae_ablation.data.hdf5_files import check_ends
from vae_ablation.data.kinds import HDF5, check_is_file, kind_of
from vae_ablation.data.labels import MISSING_TEXT, all_distinct, decoded, numbers_of, read_labels
from vae_ablation.data.npz import read_arrays
from vae_ablation.data.splits import columns_of_splits, split_columns

log = logging.getLogger(__name__)

ENDINGS = (".npz", ".csv", ".parquet", ".h5ad")
_SHOWN = 5
ROW_NAMES = "Unnamed: 0"
"""Name that pandas gives to a first column without one, where row names are saved."""
_TEXTS = {*MISSING_TEXT, "NA", "N/A", "null", "NULL", "None", "?"}
"""Cells of a CSV that stand for a missing number."""


@dataclass(frozen=True)
class Table:
    """A table as read.

    Attributes:
        x: [n, dims] numbers; NaN where one is missing.
        features: name of each column of x.
        columns: the label, split and group of each row, by option.
    """

    x: NDArray[np.float64]
    features: tuple[str, ...]
    columns: dict[str, NDArray[Any]]


class RealTable(Source):
    """Rows of real numbers, standardised by the train split's means and standard deviations."""

    real = True
    shared_options = frozenset({"test"})
    own_options = frozenset({"missing"})

    @abstractmethod
    def read(self, options: Options) -> Table:
        """The table of a dataset."""

    def describe(self, options: Options) -> Observed:
        """Shape, classes and whether numbers are missing."""
        table = self._checked(options)
        labels, _ = self._labels(table, options)
        labels = np.empty(0, np.int64) if labels is None else labels
        distinct = all_distinct(labels)
        return Observed(
            (table.x.shape[1],),
            None,
            classes=0 if distinct else int(labels.max(initial=-1)) + 1,
            distinct_labels=distinct,
            real=True,
            missing=bool(np.isnan(table.x).any()),
        )

    def count(self, options: Options) -> int:
        """Rows of the table."""
        return len(self.read(options).x)

    def known_labels(self, options: Options) -> tuple[str, ...] | None:
        """None where there are labels, whose names are found in preparation."""
        return None if "label" in self.read(options).columns else ()

    def load(self, options: Options) -> RawData:
        """Read and check the table."""
        table = self._checked(options)
        labels, names = self._labels(table, options)
        raw = RawData(table.x, labels, None, label_names=names, features=table.features)
        covariates = {
            key.partition(".")[2]: table.columns[key] for key in covariate_columns(options)
        }
        raw = replace(raw, covariates=covariates)
        splits = split_columns(options)
        columns = {key: table.columns[key] for key in splits}
        return replace(raw, **columns_of_splits(columns, splits, Path(self._where(options))))

    def _where(self, options: Options) -> str:
        return str(options.get("path") or self.name)

    def _labels(
        self, table: Table, options: Options
    ) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
        if "label" not in table.columns:
            return None, ()
        name = options.get("label") or "y"
        return read_labels(table.columns["label"], f"{self._where(options)}: {name} (label)")

    def _checked(self, options: Options) -> Table:
        """The table, with finite numbers and no missing ones that the options refuse."""
        table, where = self.read(options), self._where(options)
        if 0 in table.x.shape:
            raise UserError(
                f"{where}: has {table.x.shape[0]} rows and {table.x.shape[1]} columns of numbers; "
                "allowed: one of each at least."
            )
        if np.isinf(table.x).any():
            row, column = np.argwhere(np.isinf(table.x))[0].tolist()
            raise UserError(
                f"{where}: column {table.features[column]} holds an infinite value (inf) in row "
                f"{row} (counted from 0); allowed: finite numbers."
            )
        if np.abs(np.nan_to_num(table.x)).max() > _LARGEST:
            column = int(np.nanargmax(np.nanmax(np.abs(table.x), axis=0)))
            raise UserError(
                f"{where}: column {table.features[column]} holds numbers above {_LARGEST:g}; "
                "allowed: numbers of a size that 32 bits hold (take logarithms, say)."
            )
        gaps = np.isnan(table.x)
        if gaps.all(0).any():
            names = _named(table.features, np.all(gaps, axis=0))
            raise UserError(
                f"{where}: {_few(names)} {'have' if len(names) > 1 else 'has'} no value at all; "
                "allowed: columns with values, so leave these out (columns)."
            )
        if gaps.all(1).any():
            raise UserError(
                f"{where}: row {int(gaps.all(1).argmax())} (counted from 0) has no value at all; "
                "allowed: rows with values, so leave these out."
            )
        if gaps.any() and options["missing"] == "refuse":
            names = _named(table.features, np.any(gaps, axis=0))
            raise UserError(
                f"{where}: {int(gaps.sum())} values are missing (columns {_few(names)}); allowed: "
                "no missing values, or missing: mask, which leaves them out of the likelihood."
            )
        return table


_LARGEST = 1e30


@register
class TableFile(RealTable):
    """A .npz (x, y, features), .csv, .parquet or .h5ad file (with kind: real)."""

    name = "table"
    shared_options = frozenset({"test", "path"}) | SPLIT_OPTIONS | COVARIATE_OPTIONS
    own_options = RealTable.own_options | {"label", "columns", "kind"}

    def check_options(self, where: str, options: Options) -> None:
        """There must be a file of a known kind."""
        if not options["path"]:
            raise UserError(f"{where}.path is null; source table needs the path of a file.")
        wanted = f"a file {', '.join(ENDINGS)}"
        check_is_file(f"{where}.path", options["path"], wanted)
        columns = options["columns"] or []
        twice = next((name for name in columns if columns.count(name) > 1), None)
        if twice is not None:
            raise UserError(f"{where}.columns names {twice!r} twice; allowed: each column once.")
        ending = Path(options["path"]).suffix.lower()
        if ending not in ENDINGS:
            raise UserError(f"{where}.path is {options['path']!r}; allowed: {wanted}.")
        if ending == ".h5ad" and options["kind"] != "real":
            raise UserError(
                f"{where}.kind is null for an .h5ad file; allowed: real, or source h5ad for counts."
            )

    def content(self, options: Options) -> list[Path]:
        """The file."""
        return [Path(options["path"])]

    def suggested(self, options: Options) -> dict[str, Any]:
        """A column named as labels are, the columns of numbers, a mask where some are missing."""
        path = Path(options["path"])
        ending = path.suffix.lower()
        chosen: dict[str, Any] = {"kind": "real"} if ending == ".h5ad" else {}
        self.check_options(f"{path}: table", options | chosen)
        if ending in _FRAMES:
            chosen |= _usual_columns(_FRAMES[ending](path))
        table = self.read(options | chosen)
        return chosen | ({"missing": "mask"} if np.isnan(table.x).any() else {})

    def read(self, options: Options) -> Table:
        """Read the file by its ending."""
        path = Path(options["path"])
        return _READERS[path.suffix.lower()](path, options)


def _wanted(options: Options) -> dict[str, str]:
    """Columns that the options name beside those of numbers, by option."""
    label = {} if options["label"] is None else {"label": options["label"]}
    return {**label, **split_columns(options), **covariate_columns(options)}


def _read_npz(path: Path, options: Options) -> Table:
    wanted = _wanted(options)
    label = {"label": options["label"] or "y"}
    arrays = read_arrays(path, {"x", "features", *(label | wanted).values()})
    if "x" not in arrays or arrays["x"].ndim != 2:
        described = f"shape {arrays['x'].shape}" if "x" in arrays else "none"
        raise UserError(f"{path}: array x: {described}; allowed: x of shape [n, dims].")
    x = arrays["x"]
    if x.dtype.kind not in "biuf":
        raise UserError(f"{path}: x is of type {x.dtype}; allowed: numbers.")
    if "y" in arrays:
        wanted = label | wanted
    for key, name in wanted.items():
        if name not in arrays:
            raise unknown_name(f"{path}: {key}", name, arrays)
        if arrays[name].shape != (len(x),):
            raise UserError(
                f"{path}: {name} ({key}) has shape {arrays[name].shape}; allowed: [{len(x)}]."
            )
    numbered = np.array([f"x{i + 1}" for i in range(x.shape[1])])
    names = decoded(arrays.get("features", numbered), f"{path}: features")
    if names.shape != (x.shape[1],):
        raise UserError(f"{path}: features has shape {names.shape}; allowed: [{x.shape[1]}].")
    columns = {
        key: decoded(arrays[name], f"{path}: {name} ({key})") for key, name in wanted.items()
    }
    return _chosen(path, Table(x.astype(float), tuple(map(str, names)), columns), options)


def _read_csv(path: Path, options: Options) -> Table:
    table = _of_frame(path, read_csv(path), options)
    labels = {key: label_column(table.columns[key]) for key in {"label"} & table.columns.keys()}
    return replace(table, columns=table.columns | labels)


def _read_parquet(path: Path, options: Options) -> Table:
    return _of_frame(path, _parquet(path), options)


def _parquet(path: Path) -> pd.DataFrame:
    kind = kind_of(path)
    if not (kind or "").startswith("a Parquet"):
        raise UserError(f"{path}: not readable as a Parquet table (it is {kind or 'unknown'}).")
    try:
        return pd.read_parquet(path)
    except ImportError:
        raise UserError(
            f"{path}: Parquet needs the package pyarrow, which is not installed; allowed: install "
            "it (pip install 'vae-ablation[parquet]'), or write a .csv."
        ) from None
    except Exception as error:
        raise UserError(f"{path}: not readable as a Parquet table ({_reason(error)}).") from None


_FRAMES: dict[str, Callable[[Path], pd.DataFrame]] = {".csv": read_csv, ".parquet": _parquet}
"""Readers of files with named columns, by ending."""

_USUAL_LABELS = ("label", "class", "target", "diagnosis", "species", "type", "category", "outcome")
"""Names that columns of labels usually have, the most telling first."""


def _usual_columns(frame: pd.DataFrame) -> dict[str, Any]:
    """The column of a usual name that groups rows: two groups or more, of five or more.

    Where other columns hold text or nothing, the columns of numbers too.
    """
    frame = frame.rename(columns=str)
    known = {str(name).lower(): str(name) for name in frame}
    usual = [known[name] for name in _USUAL_LABELS if name in known]
    label = next((name for name in usual if 2 <= frame[name].nunique() <= len(frame) / 5), None)
    chosen: dict[str, Any] = {} if label is None else {"label": label}
    others = [name for name in frame if name not in {label, ROW_NAMES}]
    numbers = [name for name in others if _holds_numbers(frame[name])]
    return chosen | ({"columns": numbers} if numbers and len(numbers) < len(others) else {})


def _holds_numbers(column: pd.Series[Any]) -> bool:
    numbers = _numbers(column)
    return numbers is not None and not np.isnan(numbers).all()


def _of_frame(path: Path, frame: pd.DataFrame, options: Options) -> Table:
    """A frame whose columns are numbers, but for the rows' names and those that options name."""
    frame = frame.rename(columns=str)
    wanted = _wanted(options)
    for key, name in wanted.items():
        if name not in frame:
            raise unknown_name(f"{path}: {key}", name, frame.columns)
    others = [str(name) for name in frame if name not in wanted.values()]
    if options["columns"] is None and ROW_NAMES in others:
        log.info("%s: the first column has no name, so it is taken for names of rows", path)
        others.remove(ROW_NAMES)
    names = options["columns"] or others
    for place, name in enumerate(names):
        if name not in frame:
            raise unknown_name(f"{path}: columns[{place}]", name, frame.columns)
    read = {name: _numbers(frame[name]) for name in names}
    wrong = [name for name, values in read.items() if values is None]
    numbers = [values for values in read.values() if values is not None]
    if wrong:
        example = next(value for value in frame[wrong[0]] if _as_number(value) is None)
        raise UserError(
            f"{path}: {_few(wrong)} {'hold' if len(wrong) > 1 else 'holds'} "
            f"{'text' if isinstance(example, str) else 'values'} such as {str(example)[:40]!r}; "
            "allowed: numbers, so name the columns to take (columns), or one of them as label, "
            "split or group."
        )
    x = np.stack(numbers, axis=1) if numbers else np.empty((len(frame), 0))
    return Table(x.astype(float), tuple(names), {k: _plain(frame[v]) for k, v in wanted.items()})


def _numbers(column: pd.Series[Any]) -> NDArray[np.float64] | None:
    """A column as numbers, NaN where one is missing; None where it holds something else."""
    values = [_as_number(value) for value in column]
    return None if any(value is None for value in values) else np.array(values, float)


def _as_number(value: Any) -> float | None:
    if value is None or value is pd.NA or (isinstance(value, str) and value.strip() in _TEXTS):
        return float("nan")
    if isinstance(value, str) and "_" in value:  # Python reads 1_2 as 12
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _plain(column: pd.Series[Any]) -> NDArray[Any]:
    """A column of labels or splits: numbers stay numbers, else text without spaces around."""
    numbers = numbers_of(column)
    if numbers is not None:
        return numbers
    if pd.api.types.is_bool_dtype(column) and not column.isna().any():
        return column.to_numpy(bool)
    texts = np.where(column.isna(), "", column.astype(object).map(str).str.strip()).astype(str)
    return np.where(np.isin(texts, list(_TEXTS)), "", texts)


def _read_h5ad(path: Path, options: Options) -> Table:
    kind = kind_of(path)
    if kind != HDF5:
        raise UserError(f"{path}: not readable as an h5ad file (it is {kind or 'not HDF5'}).")
    try:
        anndata = importlib.import_module("anndata")
    except ImportError:
        raise UserError(
            f"{path}: .h5ad files need the package anndata, which is not installed; allowed: "
            "install it, or write a .csv."
        ) from None
    check_ends(path)
    try:
        data = anndata.read_h5ad(path)
        x = data.X.toarray() if sparse.issparse(data.X) else np.asarray(data.X, float)
        features = tuple(map(str, data.var_names))
        obs = data.obs
    except Exception as error:
        raise UserError(f"{path}: not readable as an h5ad file ({_reason(error)}).") from None
    if x.ndim != 2:
        raise UserError(f"{path}: X has shape {x.shape}; allowed: [cells, features].")
    wanted = _wanted(options)
    for key, name in wanted.items():
        if name not in obs:
            raise unknown_name(f"{path}: the column of obs of {key}", name, map(str, obs.columns))
    columns = {key: _plain(obs[name]) for key, name in wanted.items()}
    return _chosen(path, Table(x.astype(float), features, columns), options)


def _chosen(path: Path, table: Table, options: Options) -> Table:
    """The columns that the options name; all where they name none."""
    if not options["columns"]:
        return table
    for place, name in enumerate(options["columns"]):
        if name not in table.features:
            raise unknown_name(f"{path}: columns[{place}]", name, table.features)
    places = [table.features.index(name) for name in options["columns"]]
    return replace(table, x=table.x[:, places], features=tuple(options["columns"]))


_READERS: dict[str, Callable[[Path, Options], Table]] = {
    ".npz": _read_npz,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
    ".h5ad": _read_h5ad,
}


def _embedded(loader: str) -> Table:
    """A table that comes with scikit-learn: features, and the classes where the target is one."""
    bunch = getattr(importlib.import_module("sklearn.datasets"), loader)()
    target = np.asarray(bunch.target)
    names = getattr(bunch, "target_names", None)
    columns = {} if names is None else {"label": np.asarray(names, str)[target.astype(int)]}
    return Table(np.asarray(bunch.data, float), tuple(map(str, bunch.feature_names)), columns)


@register
class Wine(RealTable):
    """178 wines of three cultivars, 13 measurements (Aeberhard et al. 1992)."""

    name = "wine"

    def read(self, options: Options) -> Table:
        """From the installed scikit-learn."""
        return _embedded("load_wine")


@register
class BreastCancer(RealTable):
    """569 tumours, 30 measurements of cell nuclei (Street, Wolberg and Mangasarian 1993)."""

    name = "breast-cancer"

    def read(self, options: Options) -> Table:
        """From the installed scikit-learn."""
        return _embedded("load_breast_cancer")


@register
class Diabetes(RealTable):
    """442 patients, ten measurements, no classes (Efron et al. 2004)."""

    name = "diabetes"

    def read(self, options: Options) -> Table:
        """From the installed scikit-learn."""
        return _embedded("load_diabetes")


@dataclass(frozen=True)
class Standard:
    """Means and standard deviations of a table's columns over the train split.

    Attributes:
        mean: [dims].
        scale: [dims]; 1 where a column does not vary.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def of(cls, x: NDArray[np.float64], features: Sequence[str], train: NDArray[Any]) -> Standard:
        """The statistics of the train rows of x [n, dims], missing numbers (NaN) left out.

        Raises:
            UserError: a column has no number in the train split.
        """
        rows = x[train]
        empty = np.isnan(rows).all(0)
        if empty.any():
            names = _named(features, empty)
            raise UserError(
                f"columns {_few(names)} of the table have no value in the train split; "
                "allowed: columns with values there, so leave these out (columns)."
            )
        mean, spread = np.nanmean(rows, axis=0), np.nanstd(rows, axis=0)
        constant = spread <= 1e-12 * np.abs(mean)
        if constant.any():
            names = _named(features, constant)
            log.warning("columns that do not vary in the train split: %s", _few(names))
        return cls(mean, np.where(constant, 1.0, spread))

    def apply(self, x: NDArray[np.float64]) -> NDArray[np.float32]:
        """Standardised x [n, dims]; 0, the mean, where a number is missing."""
        return np.nan_to_num((x - self.mean) / self.scale, nan=0.0).astype(np.float32)


def _named(features: Sequence[str], chosen: Any) -> list[str]:
    """Names of the columns where `chosen`, [dims], is true."""
    return [features[place] for place in np.flatnonzero(chosen).tolist()]


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split()).split(". ")[0].rstrip(".")
    return text[:200] or type(error).__name__
