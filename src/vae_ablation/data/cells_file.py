"""codes.h5ad: codes of every cell, with the columns of the user's file."""

from __future__ import annotations

import importlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vae_ablation.common.files import write_atomic
from vae_ablation.data.base import HELD_OUT, SPLITS, Cells

_SPLIT_NAMES = {code: name for name, code in SPLITS.items()} | {HELD_OUT: "held_out"}


def write_codes(
    path: Path,
    cells: Cells,
    labels: NDArray[np.int64],
    split: NDArray[np.int8],
    mean: NDArray[np.float32],
    std: NDArray[np.float32],
    spec: Mapping[str, Any],
) -> None:
    """Write an h5ad without counts, atomically; the same arguments give the same bytes.

    Its cells are in the order of the user's file. obs has label, batch, perturbation and split as
    categories, as far as they are known, and the columns that the user keeps; a column of the user
    that bears one of these names becomes "file_<name>", and so does one whose name an h5ad cannot
    hold, with "_" for each "/". obsm["X_vae"] and obsm["X_vae_std"] are
    posterior mean and standard deviation, uns["vae_ablation"] is the specification.

    Args:
        path: where to; its parents are made.
        cells: of n cells.
        labels: [n] class of each cell, −1 where there is none.
        split: [n] TRAIN, VALIDATION, TEST or HELD_OUT.
        mean: [n, latent] posterior means.
        std: [n, latent] posterior standard deviations.
        spec: nested mappings and lists of text, numbers, booleans and None.

    Raises:
        ImportError: anndata is not installed.
    """
    anndata = importlib.import_module("anndata")
    table = anndata.AnnData(
        obs=_table(cells, labels, split),
        var=pd.DataFrame(index=_text_index([])),
        obsm={"X_vae": np.asarray(mean, np.float32), "X_vae_std": np.asarray(std, np.float32)},
        uns={"vae_ablation": _storable(spec)},
    )
    order = np.argsort(cells.obs.get("file_row", np.arange(len(labels))), kind="stable")
    content = _bytes(table[order].copy())
    write_atomic(path, lambda stream: stream.write(content))


def _bytes(table: Any) -> memoryview:
    """Content of an h5ad file of it, made in memory, so that no reader sees a part of it."""
    h5py = importlib.import_module("h5py")
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        importlib.import_module("anndata.io").write_elem(file, "/", table)
    return buffer.getbuffer()


def _table(cells: Cells, labels: NDArray[np.int64], split: NDArray[np.int8]) -> pd.DataFrame:
    """obs: one row per cell."""
    columns: dict[str, Any] = {}
    if (labels >= 0).any():
        columns["label"] = _categories(labels, cells.label_names)
    if cells.batch is not None:
        columns["batch"] = _categories(cells.batch, cells.batch_names)
    if cells.perturbation is not None:
        columns["perturbation"] = _categories(cells.perturbation, cells.perturbation_names)
    columns["split"] = _column(np.array([_SPLIT_NAMES[code] for code in split.tolist()]))
    for name, values in cells.obs.items():
        if name != "obs_names":
            columns[_free_name(name, [*columns, *cells.obs])] = _column(values)
    names = cells.obs.get("obs_names", _numbered(len(labels)))
    return pd.DataFrame(columns, index=_text_index(names.tolist()))


def _free_name(name: str, taken: list[str]) -> str:
    """The name of a column of the user, changed where it is taken or an h5ad cannot hold it.

    Args:
        name: as in the user's file.
        taken: names of columns that are there, and of all that the user keeps, this one once.
    """
    if _is_key(name) and name != "_index" and taken.count(name) == 1:
        return name
    changed = "file_" + name.replace("/", "_")
    while changed in taken:
        changed += "_"
    return changed


def _text_index(names: list[str]) -> pd.Index:
    """Text as objects: anndata does not write the type that pandas has for text."""
    return pd.Index(names, dtype=object)


def _numbered(n: int) -> NDArray[np.str_]:
    """Names of cells that have none."""
    return np.array([f"cell{number:06d}" for number in range(1, n + 1)], dtype=str)


def _categories(codes: NDArray[np.int64], names: tuple[str, ...]) -> pd.Categorical:
    """Codes by their names; a class without a name is called by its number; −1 is missing."""
    further = range(len(names), int(codes.max(initial=-1)) + 1)
    return pd.Categorical.from_codes(codes, _text_index([*names, *map(str, further)]))


def _column(values: NDArray[Any]) -> Any:
    """A column as it is; text becomes categories."""
    if values.dtype.kind not in "OU":
        return values
    names, codes = np.unique(values.astype(str), return_inverse=True)
    return _categories(codes, tuple(names.tolist()))


def _storable(value: Any) -> Any:
    """A value as anndata can nest it: values that an h5ad cannot hold become JSON text."""
    if isinstance(value, Mapping) and value and all(_is_key(key) for key in value):
        return {key: _storable(entry) for key, entry in value.items()}
    if isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, list | tuple) and value:
        kinds = {type(entry) for entry in value}
        if kinds in ({str}, {int}, {float}, {bool}):
            return np.array(value, dtype=object if kinds == {str} else None)
    return json.dumps(value, sort_keys=True)


def _is_key(key: Any) -> bool:
    """Whether HDF5 takes it as the name of a member."""
    return isinstance(key, str) and key not in {"", ".", ".."} and "/" not in key
