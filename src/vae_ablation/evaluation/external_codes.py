"""Codes from files of the user's: by split in an .npz, by example in an .h5ad or a .csv."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_ablation.common.errors import UserError, unknown_name
from vae_ablation.common.files import UNREADABLE_NPZ
from vae_ablation.data.base import SPLITS, Dataset
from vae_ablation.data.csv_files import read_csv
from vae_ablation.data.hdf5_files import check_ends

Codes = NDArray[np.floating]

ID = "id"
"""Column of a .csv that names the example of a row."""
NEEDED = ("train", "test")
"""Splits of which codes are needed."""


@dataclass(frozen=True)
class SplitCodes:
    """Codes of a dataset.

    Attributes:
        train: of the train split, [n, latent].
        test: of the test split, [m, latent].
    """

    train: Codes
    test: Codes


def read_codes(path: Path, key: str | None, dataset: Dataset) -> SplitCodes:
    """Codes of a file's examples, in the order of each split.

    Args:
        path: .npz with the arrays train and test (and, if the user likes, validation), each in the
            order of its split; .h5ad with codes in obsm, or .csv with a column id and a column for
            each dimension: both matched by `example_ids`.
        key: of obsm, for an .h5ad.
        dataset: the prepared dataset.

    Raises:
        UserError: the file cannot be read, or does not hold finite codes of every example.
    """
    if path.suffix == ".npz":
        arrays = _archive(path, dataset)
    else:
        arrays = _by_id(
            path, *(_obsm(path, key) if path.suffix == ".h5ad" else _csv(path)), dataset
        )
    for name, values in arrays.items():
        _check(path, name, values, len(dataset.rows(name)), dataset.name)
    widths = {name: values.shape[1] for name, values in arrays.items()}
    if len(set(widths.values())) > 1:
        there = ", ".join(f"{name} has {width}" for name, width in widths.items())
        raise UserError(f"{path}: {there} dimensions; allowed: as many in each split.")
    return SplitCodes(*(_as_float(arrays[name]) for name in NEEDED))


def example_ids(dataset: Dataset) -> NDArray[np.str_]:
    """Name of every example: of a cell as in its file, otherwise its position from 0, [n]."""
    names = None if dataset.cells is None else dataset.cells.obs.get("obs_names")
    return np.asarray(np.arange(len(dataset.split)) if names is None else names, dtype=str)


def _archive(path: Path, dataset: Dataset) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = list(archive.files)
            for name in names:
                if name not in SPLITS:
                    raise unknown_name(f"{path}: an array", name, SPLITS)
            arrays = {name: np.asarray(archive[name]) for name in names}
    except UNREADABLE_NPZ as error:
        if "allow_pickle" in str(error):
            raise UserError(
                f"{path}: holds Python objects, which are never unpickled; allowed: arrays of "
                "numbers."
            ) from None
        reason = " ".join(str(error).split()).split(". ")[0].rstrip(".") or type(error).__name__
        raise UserError(f"{path}: not readable as an .npz file ({reason}).") from None
    for name in NEEDED:
        if name not in arrays:
            there = ", ".join(sorted(arrays)) or "none"
            raise UserError(
                f"{path}: has no array {name!r} (there: {there}); allowed: train and test, [n, "
                f"latent] with the {len(dataset.rows('train'))} and {len(dataset.rows('test'))} "
                f"examples of dataset {dataset.name} in the order of their split."
            )
    return arrays


def _check(path: Path, name: str, values: NDArray[Any], count: int, dataset: str) -> None:
    """Refuse what is not codes [count, latent]."""
    if values.ndim != 2 or not values.shape[1]:
        raise UserError(
            f"{path}: {name} has the shape {values.shape}; allowed: [n, latent], a column for each "
            "dimension of the code."
        )
    if len(values) != count:
        raise UserError(
            f"{path}: {name} has {len(values)} rows; allowed: {count}, the examples in the {name} "
            f"split of dataset {dataset} (vae-ablation split writes them)."
        )
    if values.dtype.kind not in "iufb":
        raise UserError(f"{path}: {name} holds {values.dtype}; allowed: real numbers.")
    broken = ~np.isfinite(values.astype(np.float64)).all(1)
    if broken.any():
        raise UserError(
            f"{path}: {name} has a number that is not finite in row {int(broken.argmax())} "
            f"({int(broken.sum())} of {count} rows); allowed: finite numbers."
        )


def _as_float(values: NDArray[Any]) -> Codes:
    """Codes as they are where they are float32 or float64, else as float64."""
    return values if values.dtype in (np.float32, np.float64) else values.astype(np.float64)


# --- matched by name ------------------------------------------------------------------------------


def _by_id(
    path: Path, ids: NDArray[np.str_], values: NDArray[Any], dataset: Dataset
) -> dict[str, NDArray[Any]]:
    """Rows of codes by split, in the order of the dataset; further rows do not matter."""
    names, first = np.unique(ids, return_index=True)
    if len(names) < len(ids):
        twice = ids[np.setdiff1d(np.arange(len(ids)), first)[0]]
        raise UserError(f"{path}: has {str(twice)!r} twice; allowed: one row for each example.")
    wanted = example_ids(dataset)
    places = np.searchsorted(names, wanted).clip(max=max(len(names) - 1, 0))
    known = names[places] == wanted if len(names) else np.zeros(len(wanted), bool)
    found = {}
    for name in NEEDED:
        rows = dataset.rows(name)
        lost = rows[~known[rows]]
        if len(lost):
            raise UserError(
                f"{path}: has no row for {len(lost)} of the {len(rows)} examples in the {name} "
                f"split of dataset {dataset.name}, such as {str(wanted[lost[0]])!r}; the first are "
                f"{', '.join(repr(str(one)) for one in ids[:3]) or 'none'}."
            )
        found[name] = values[first[places[rows]]]
    return found


def _csv(path: Path) -> tuple[NDArray[np.str_], NDArray[Any]]:
    table = read_csv(path)
    if ID not in table:
        raise UserError(
            f"{path}: has no column {ID}; allowed: {ID}, and one for each dimension of the code."
        )
    columns = table.drop(columns=ID)
    try:
        values = columns.to_numpy(dtype=np.float64)
    except ValueError:
        text = next(cell for cell in columns.to_numpy(object).ravel() if not _is_number(cell))
        raise UserError(f"{path}: holds {str(text)!r} as a code; allowed: numbers.") from None
    return table[ID].to_numpy(dtype=str), values


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _obsm(path: Path, key: str | None) -> tuple[NDArray[np.str_], NDArray[Any]]:
    """Names of the cells of an .h5ad, and their codes."""
    check_ends(path)
    try:
        h5py, io = importlib.import_module("h5py"), importlib.import_module("anndata.io")
    except ImportError as error:
        raise UserError(f"{path}: needs the package {error.name}, which is absent.") from None
    try:
        with h5py.File(path) as file:
            obsm, obs = file.get("obsm"), file["obs"]
            known = [] if obsm is None else list(obsm)
            if key not in known:
                there = ", ".join(known) or "none"
                raise UserError(f"{path}: obsm has no {key!r}; allowed: {there}.")
            names = np.asarray(io.read_elem(obs[obs.attrs["_index"]]), dtype=str)
            values = io.read_elem(obsm[key])
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split()).rstrip(".")[:200]
        raise UserError(f"{path}: not readable as an h5ad file ({reason}).") from None
    dense = values.toarray() if hasattr(values, "toarray") else np.asarray(values)
    if dense.ndim != 2 or dense.dtype.kind not in "iufb":
        raise UserError(
            f"{path}: obsm[{key!r}] holds {dense.dtype} of shape {dense.shape}; allowed: real "
            "numbers [cells, latent]."
        )
    return names, dense
