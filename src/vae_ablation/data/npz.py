"""The user's own images in a NumPy archive."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_ablation.common.errors import UserError, unknown_name
from vae_ablation.common.files import UNREADABLE_NPZ
from vae_ablation.common.registry import register
from vae_ablation.data.base import SPLIT_OPTIONS, Observed, Options, RawData, Source
from vae_ablation.data.kinds import NPZ, ZIP, check_is_file, kind_of
from vae_ablation.data.labels import all_distinct, read_labels
from vae_ablation.data.mapped import check_member, map_member, members, row_blocks
from vae_ablation.data.splits import columns_of_splits, split_columns

log = logging.getLogger(__name__)

_ARRAYS = {"x", "y", "factors"}

_DEPTHS = (10, 12, 14, 16)
"""Bits of a level in cameras and scanners, beyond eight."""

MOST_CHANNELS = 16
MAPPED_BYTES = 2**28
"""Arrays larger than this stay in the file, and are read in blocks."""
ROUNDING = 1e-5
"""Distance from [0, 1] that is taken for rounding, and clipped: less than a level of 16 bits."""


@register
class Npz(Source):
    """x, [n, height, width], [n, height, width, channels] or [n, dims]; labels y and factors."""

    name = "npz"
    shared_options = frozenset({"path", "test"}) | SPLIT_OPTIONS
    version = 2

    def check_options(self, where: str, options: Options) -> None:
        """There must be a path, and a file at it."""
        if not options["path"]:
            raise UserError(f"{where}.path is null; source npz needs the path of an .npz file.")
        check_is_file(f"{where}.path", options["path"], "an .npz file")

    def content(self, options: Options) -> list[Path]:
        """The archive."""
        return [Path(options["path"])]

    def known_labels(self, options: Options) -> tuple[str, ...]:
        """Labels of the array y; none where each example has one of its own."""
        path = Path(options["path"])
        y = read_arrays(path, {"y"}).get("y")
        labels, names = (None, ()) if y is None else read_labels(y, f"{path}: y")
        return () if labels is None or all_distinct(labels) else names

    def describe(self, options: Options) -> Observed:
        """Shape and levels from the array x, classes from y."""
        raw = self.load(options)
        labels = np.empty(0, np.int64) if raw.labels is None else raw.labels
        distinct = all_distinct(labels)
        return Observed(
            raw.x.shape[1:],
            raw.levels,
            binary=raw.levels == 2,
            classes=0 if distinct else int(labels.max(initial=-1)) + 1,
            distinct_labels=distinct,
        )

    def load(self, options: Options) -> RawData:
        """Read and check x, y and factors."""
        path = Path(options["path"])
        columns = split_columns(options)
        arrays = read_arrays(path, {*_ARRAYS, *columns.values()})
        if "x" not in arrays:
            raise UserError(
                f"{path}: has no array x; it holds {', '.join(arrays) or 'nothing'} "
                "(np.savez(path, x=images) names an array x)."
            )
        x, levels = _check_images(arrays["x"], path)
        labels, names = _check_labels(arrays.get("y"), len(x), path)
        factors = _check_factors(arrays.get("factors"), len(x), path)
        return RawData(
            x,
            labels,
            levels,
            label_names=names,
            factors=factors,
            factor_names=() if factors is None else _numbered(factors.shape[1]),
            **_splits(arrays, columns, len(x), path),
        )


def _splits(
    arrays: Mapping[str, NDArray[Any]], columns: Mapping[str, str], n: int, path: Path
) -> dict[str, Any]:
    """The user's split and groups, where the options name their arrays."""
    for key, name in columns.items():
        if name not in arrays:
            raise unknown_name(f"{path}: {key}", name, arrays)
        if arrays[name].shape != (n,):
            raise UserError(
                f"{path}: {name} ({key}) has shape {arrays[name].shape} where x has {n} examples; "
                f"allowed: [{n}]."
            )
    return columns_of_splits({key: arrays[name] for key, name in columns.items()}, columns, path)


def read_arrays(path: Path, wanted: Collection[str]) -> dict[str, NDArray[Any]]:
    """Arrays of an archive: the wanted ones, and the others by name only.

    Raises:
        UserError: it cannot be read, or a wanted array holds objects.
    """
    try:
        kind = kind_of(path)
        if kind not in (NPZ, ZIP):
            raise ValueError(f"it is {kind or 'not a ZIP archive'}")
        with np.load(path, allow_pickle=False) as archive:
            return {
                name: _member(archive, name, path) if name in wanted else np.empty(0)
                for name in archive.files
            }
    except UNREADABLE_NPZ as error:
        reason = " ".join(str(error).split()).split(". ")[0].rstrip(".") or type(error).__name__
        raise UserError(f"{path}: not readable as an .npz of plain arrays ({reason}).") from None


def _member(archive: Any, name: str, path: Path) -> NDArray[Any]:
    """A member of the archive: read, or mapped where it is large and lies there as it is."""
    if members(path).get(name, 0) > MAPPED_BYTES:
        try:
            found = map_member(path, name)
        except ValueError:  # compressed, say
            return _array(archive, name)
        check_member(path, name)
        return found
    return _array(archive, name)


def _array(archive: Any, name: str) -> NDArray[Any]:
    """A member of the archive; NumPy gives the bare bytes of one that is not an array."""
    try:
        array = archive[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise ValueError(
            f"{name} holds Python objects, which only a pickle can store; save {name} as numbers, "
            "or text by astype(str)"
        ) from None
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{name} is not an array")
    return array


def _check_images(x: NDArray[Any], path: Path) -> tuple[NDArray[Any], int | None]:
    """Images as 8-bit levels or float32 intensities, and their number of levels."""
    if x.ndim not in {2, 3, 4} or 0 in x.shape or _channel_hint(x.shape):
        raise UserError(
            f"{path}: x has shape {x.shape}; allowed: [n, height, width], [n, height, width, "
            f"channels] with at most {MOST_CHANNELS} channels, or [n, dims], not empty"
            f"{_channel_hint(x.shape)}."
        )
    if x.ndim == 4 and x.shape[3] == 1:
        x = x[..., 0]
    if x.dtype.kind not in "biuf":
        raise UserError(f"{path}: x is of type {x.dtype}; allowed: 8-bit integers or floats.")
    if x.min() == x.max():
        log.warning("%s: every value of x is %s, so there is nothing to learn", path, x.min())
    if x.dtype == np.bool_:
        return x.astype(np.uint8), 2
    whole = x.dtype.kind in "iu"
    found, levels = _check_levels(x, path) if whole else _float_levels(_check_floats(x, path))
    _note_darkness(found, levels, path)
    return found, levels


def _note_darkness(x: NDArray[Any], levels: int | None, path: Path) -> None:
    """Warn of pictures that leave half the range unused, as on another scale they would."""
    top = x.max()
    if levels == 256 and x.min() < top < 128:
        log.warning(
            "%s: x is read as 256 levels, of which %s is the largest, so the pictures are dark; if "
            "they have %s levels, from 0 to %s, save x / x.max() instead",
            path, top, int(top) + 1, top,
        )  # fmt: skip
    elif levels is None and x.min() < top < 0.5:
        log.warning(
            "%s: the largest value of x is %.3g, so the pictures are dark; if their scale ends "
            "there, save x / x.max() instead", path, top,
        )  # fmt: skip


def _channel_hint(shape: tuple[int, ...]) -> str:
    """Advice for pictures with an axis of colours."""
    if len(shape) != 4 or 0 in shape:
        return ""
    first, last = shape[1], shape[3]
    if last > MOST_CHANNELS or (first in (1, 3) and last not in (1, 2, 3, 4)):
        return " (np.moveaxis(x, 1, -1) makes it of [n, channels, height, width])"
    return ""


def _check_levels(x: NDArray[Any], path: Path) -> tuple[NDArray[np.uint8], int]:
    low, high = int(x.min()), int(x.max())
    if low < 0 or high > 255:
        raise UserError(
            f"{path}: x ranges from {low} to {high}; integers must lie in 0 to 255"
            f"{_integer_hint(low, high)}."
        )
    return _two_or_256(x.astype(np.uint8, copy=False))


def _integer_hint(low: int, high: int) -> str:
    """The likely scale of integers outside 0 to 255, and the remedy."""
    if (low, high) == (-1, 1):
        return ", and these look like the two values −1 and 1 ((x + 1) // 2 brings them to 0 and 1)"
    if low >= -128 and low < 0 and high <= 127:
        return ", and these look like 8-bit levels read with a sign (x.view('uint8') mends int8)"
    for bits in _DEPTHS:
        if low >= 0 and high < 2**bits:
            top = 2**bits - 1
            return f", and these look like {bits}-bit levels (x / {top} brings them to [0, 1])"
    return " (divide by the largest value that the instrument can give, to floats in [0, 1])"


def _two_or_256(levels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], int]:
    """Pictures of two values as 0 and 1, whether white is 1 or 255; others with 256 levels."""
    if levels.max() <= 1:
        return levels, 2
    # np.isin takes eight bytes a value
    if any(((part != 0) & (part != 255)).any() for part in row_blocks(levels)):
        return levels, 256
    return levels // 255, 2


def _check_floats(x: NDArray[Any], path: Path) -> NDArray[Any]:
    """Intensities in [0, 1]; what rounding has moved out of it is clipped."""
    for what, is_wrong in (("NaN", np.isnan), ("infinite values (inf)", np.isinf)):
        wrong = np.concatenate(
            [is_wrong(part).reshape(len(part), -1).sum(1) for part in row_blocks(x)]
        )
        if wrong.any():
            raise UserError(
                f"{path}: x holds {int(wrong.sum())} {what}, the first in example "
                f"{int((wrong > 0).argmax())} (counted from 0); allowed: values in "
                "[0, 1], so leave these examples out or fill the values in."
            )
    low, high = float(x.min()), float(x.max())
    slack = max(ROUNDING, 2 * float(np.finfo(x.dtype).eps))
    if low < -slack or high > 1 + slack:
        raise UserError(
            f"{path}: x ranges from {low:g} to {high:g}{_float_hint(x, low, high, slack)}; "
            "allowed: [0, 1], or 8-bit integers."
        )
    if low < high <= 1.001 / 255:
        raise UserError(
            f"{path}: x ranges from {low:g} to {high:g}, which looks like intensities that were "
            "scaled down twice, and would be black as 8-bit levels; allowed: [0, 1] as a whole "
            "(x / x.max() brings it there), or 8-bit integers."
        )
    outside = sum(int(((part < 0) | (part > 1)).sum()) for part in row_blocks(x))
    if not outside:
        return x
    log.info(
        "%s: %s of %s values of x left [0, 1] by rounding (%r to %r) and were clipped",
        path, outside, x.size, low, high,
    )  # fmt: skip
    return x.clip(0, 1)


def _float_hint(x: NDArray[Any], low: float, high: float, slack: float) -> str:
    """The likely scale of floats outside [0, 1], and a formula that brings it there."""
    whole = bool((x == np.floor(x)).all())
    looks, formula = (
        _shifted_scale(low, high, whole) if low < -slack else _scale_from_0(high, whole)
    )
    return f"{looks and f', which looks like {looks}'} ({formula} brings it to [0, 1])"


def _shifted_scale(low: float, high: float, whole: bool) -> tuple[str, str]:
    """Likely scale of floats of which some are negative, and the formula."""
    if whole and low >= -128 and low < -64 and high <= 127:
        return "8-bit levels less 128", "(x + 128) / 255"
    for half, formula in ((1, "(x + 1) / 2"), (0.5, "x + 0.5")):
        if all(abs(end / half - 1) <= 0.05 for end in (-low, high)):
            return f"a scale from −{half} to {half}", formula
    if not whole and low < -1 and high > 1 and max(-low, high) < 20:
        return "standardised values", "undoing it, x · standard deviation + mean,"
    return "", "(x − x.min()) / (x.max() − x.min())"


def _scale_from_0(high: float, whole: bool) -> tuple[str, str]:
    """Likely scale of floats of which none is negative, and the formula."""
    top = round(high)
    if top == 100 if whole else 95 < high <= 100:
        return "percentages", "x / 100"
    if whole and top < 128:
        return f"{top + 1} levels stored as floats", f"x / {top}"
    if 127 < high <= 255 * (1 + ROUNDING):
        return "8-bit levels stored as floats" if whole else "a scale from 0 to 255", "x / 255"
    if 255 < high <= 65535:
        bits = next(bits for bits in _DEPTHS if high < 2**bits)
        return f"{bits}-bit levels", f"x / {2**bits - 1}"
    return "", "x / x.max()"


def _float_levels(x: NDArray[Any]) -> tuple[NDArray[Any], int | None]:
    """8-bit images stored as k / 255 keep their 256 levels; binary ones their two."""
    if all(((part == 0) | (part == 1)).all() for part in row_blocks(x)):
        return x.astype(np.uint8), 2
    if all(np.allclose(part * 255.0, np.round(part * 255.0), atol=1e-3) for part in row_blocks(x)):
        levels = [np.round(part * 255.0).astype(np.uint8) for part in row_blocks(x)]
        return _two_or_256(np.concatenate(levels))
    return x.astype(np.float32, copy=False), None


def _check_labels(
    y: NDArray[Any] | None, n: int, path: Path
) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """Class of each example and the classes' names; None where there are no labels."""
    if y is None:
        return None, ()
    if y.shape != (n,):
        raise UserError(
            f"{path}: y has shape {y.shape} where x has {n} examples; allowed: [{n}]"
            f"{_shape_hint(y, n)}."
        )
    return read_labels(y, f"{path}: y")


def _shape_hint(y: NDArray[Any], n: int) -> str:
    """Advice for labels in two axes."""
    if y.shape == (n, 1):
        return " (y.ravel())"
    one_hot = y.ndim == 2 and len(y) == n and y.dtype.kind in "biuf" and (y.sum(1) == 1).all()
    return " (y.argmax(1), as this looks one-hot)" if one_hot else ""


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
