"""The user's own images in a NumPy archive."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_ablation.data.base import Observed, Options, RawData, Source
from vae_ablation.errors import UserError
from vae_ablation.files import UNREADABLE_NPZ

_ARRAYS = {"x", "y", "factors"}


class Npz(Source):
    """x, [n, height, width] or [n, dims], 8-bit or in [0, 1]; optional labels y and factors."""

    name = "npz"
    shared_options = frozenset({"path", "test"})

    def check_options(self, where: str, options: Options) -> None:
        """There must be a path, and a file at it."""
        if not options["path"]:
            raise UserError(f"{where}.path is null; source npz needs the path of an .npz file.")
        if not Path(options["path"]).is_file():
            raise UserError(f"{where}.path is {options['path']!r}; there is no such file.")

    def content(self, options: Options) -> list[Path]:
        """The archive."""
        return [Path(options["path"])]

    def known_labels(self, options: Options) -> list[int] | None:
        """Integers of the array y from 0; the others are looked at in preparation."""
        arrays = _read(Path(options["path"]), {"y"})
        if "y" not in arrays:
            return []
        y = arrays["y"]
        return [int(label) for label in np.unique(y[y >= 0])] if y.dtype.kind in "iu" else None

    def describe(self, options: Options) -> Observed:
        """Shape and levels from the array x."""
        raw = self.load(options)
        return Observed(raw.x.shape[1:], raw.levels, binary=raw.levels == 2)

    def load(self, options: Options) -> RawData:
        """Read and check x, y and factors."""
        path = Path(options["path"])
        arrays = _read(path)
        if "x" not in arrays:
            raise UserError(f"{path}: has no array x; it holds {', '.join(arrays) or 'nothing'}.")
        x, levels = _check_images(arrays["x"], path)
        factors = _check_factors(arrays.get("factors"), len(x), path)
        return RawData(
            x,
            _check_labels(arrays.get("y"), len(x), path),
            levels,
            factors=factors,
            factor_names=() if factors is None else _numbered(factors.shape[1]),
        )


def _read(path: Path, wanted: Collection[str] = _ARRAYS) -> dict[str, NDArray[Any]]:
    """The wanted arrays (x, y and factors); the others by name only."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {
                name: _array(archive, name) if name in wanted else np.empty(0)
                for name in archive.files
            }
    except UNREADABLE_NPZ as error:
        reason = " ".join(str(error).split()).split(". ")[0].rstrip(".") or type(error).__name__
        raise UserError(f"{path}: not readable as an .npz of plain arrays ({reason}).") from None


def _array(archive: Any, name: str) -> NDArray[Any]:
    """A member of the archive; NumPy gives the bare bytes of one that is no array."""
    found = archive[name]
    if not isinstance(found, np.ndarray):
        raise ValueError(f"{name} is no array")
    return found


def _check_images(x: NDArray[Any], path: Path) -> tuple[NDArray[Any], int | None]:
    """Images as 8-bit levels or float32 intensities, and their number of levels."""
    if x.ndim not in {2, 3} or 0 in x.shape:
        raise UserError(
            f"{path}: x has shape {x.shape}; allowed: [n, height, width] or [n, dims], not empty."
        )
    if x.dtype == np.bool_:
        return x.astype(np.uint8), 2
    if x.dtype.kind in "iu":
        return _check_levels(x, path)
    if x.dtype.kind != "f":
        raise UserError(f"{path}: x is of type {x.dtype}; allowed: 8-bit integers or floats.")
    if np.isnan(x).any():
        raise UserError(f"{path}: x holds {int(np.isnan(x).sum())} NaN; allowed: values in [0, 1].")
    if x.min() < 0 or x.max() > 1:
        raise UserError(
            f"{path}: x ranges from {x.min():g} to {x.max():g}; allowed: [0, 1], or 8-bit integers."
        )
    return _float_levels(x)


def _check_levels(x: NDArray[Any], path: Path) -> tuple[NDArray[np.uint8], int]:
    if x.min() < 0 or x.max() > 255:
        raise UserError(
            f"{path}: x ranges from {x.min()} to {x.max()}; integers must lie in 0 to 255."
        )
    return x.astype(np.uint8), 2 if x.max() <= 1 else 256


def _float_levels(x: NDArray[Any]) -> tuple[NDArray[Any], int | None]:
    """8-bit images stored as k / 255 keep their 256 levels; binary ones their two."""
    if np.isin(x, (0, 1)).all():
        return x.astype(np.uint8), 2
    scaled = x * 255.0
    if np.allclose(scaled, np.round(scaled), atol=1e-3):
        return np.round(scaled).astype(np.uint8), 256
    return x.astype(np.float32), None


def _check_labels(y: NDArray[Any] | None, n: int, path: Path) -> NDArray[np.int64] | None:
    if y is None:
        return None
    if y.shape != (n,):
        raise UserError(f"{path}: y has shape {y.shape} where x has {n} examples; allowed: [{n}].")
    if y.dtype.kind not in "iu" or y.min() < 0:
        raise UserError(f"{path}: y is of type {y.dtype}; allowed: integers from 0.")
    return y.astype(np.int64)


def _check_factors(factors: NDArray[Any] | None, n: int, path: Path) -> NDArray[np.int64] | None:
    if factors is None:
        return None
    if factors.ndim != 2 or len(factors) != n or factors.shape[1] == 0:
        raise UserError(
            f"{path}: factors has shape {factors.shape} where x has {n} examples; "
            f"allowed: [{n}, factors]."
        )
    if factors.dtype.kind not in "iu":
        raise UserError(f"{path}: factors is of type {factors.dtype}; allowed: integers from 0.")
    if factors.min() < 0:
        raise UserError(f"{path}: factors holds {factors.min()}; allowed: integers from 0.")
    return factors.astype(np.int64)


def _numbered(count: int) -> tuple[str, ...]:
    """Names of factors that the archive does not name."""
    return tuple(f"factor_{number}" for number in range(1, count + 1))
