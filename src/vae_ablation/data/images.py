"""Folders of the user's pictures: one subfolder per class, or a CSV that names their labels."""

from __future__ import annotations

import logging
import os
import struct
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from vae_ablation.common.errors import UserError, unknown_name
from vae_ablation.common.registry import register
from vae_ablation.data.base import SPLIT_OPTIONS, Observed, Options, RawData, Source
from vae_ablation.data.csv_files import label_column, read_csv
from vae_ablation.data.kinds import check_is_file, readable
from vae_ablation.data.labels import all_distinct, read_labels
from vae_ablation.data.splits import SPLIT_NAMES, columns_of_splits, split_columns

log = logging.getLogger(__name__)

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
_GREY = {"1", "L", "LA", "I;16", "I;16B", "I;16L", "I"}
_COLOUR = {"RGB", "RGBA", "P", "PA", "CMYK", "YCbCr", "HSV", "LAB"}
_SHOWN = 10
LARGE, FIRST_SIDE = 128, 64
"""Pixels of a side above which a first config makes pictures smaller, and those that it gets."""


@dataclass(frozen=True)
class Found:
    """The pictures of a folder, in order.

    Attributes:
        folder: the folder.
        files: paths relative to it.
        columns: labels, split and groups by option, [n] each.
        table: the CSV that they stand in, or None where subfolders are the labels.
    """

    folder: Path
    files: tuple[str, ...]
    columns: dict[str, NDArray[Any]]
    table: Path | None


@register
class Images(Source):
    """Pictures below `folder`: labels are the names of its subfolders, or stand in a CSV.

    Transparent pixels are black, 16-bit levels become 8-bit ones, and pictures are turned as their
    EXIF orientation says. Only the first frame of a moving picture is read.
    """

    name = "images"
    shared_options = frozenset({"test"}) | SPLIT_OPTIONS
    own_options = frozenset({"folder", "labels", "image_size", "fit", "mode"})

    def check_options(self, where: str, options: Options) -> None:
        """There must be a folder with pictures in it, and the CSV if one is named."""
        if not options["folder"]:
            raise UserError(f"{where}.folder is null; source images needs a folder of pictures.")
        with readable(f"{where}.folder", options["folder"]):
            if not Path(options["folder"]).is_dir():
                raise UserError(
                    f"{where}.folder is {options['folder']!r}; there is no such folder."
                )
        if options["labels"]:
            check_is_file(f"{where}.labels", options["labels"], "a CSV file")
        elif split_columns(options):
            key = next(iter(split_columns(options)))
            raise UserError(
                f"{where}.{key} names a column, and labels is null; allowed: labels with the path "
                "of a CSV file that has it."
            )

    def content(self, options: Options) -> list[Path]:
        """Every picture, and the CSV."""
        found = _find(options)
        table = [] if found.table is None else [found.table]
        return [*table, *(found.folder / name for name in found.files)]

    def layout(self, options: Options) -> list[str]:
        """Paths of the pictures: their folders are labels."""
        return list(_find(options).files)

    def known_labels(self, options: Options) -> tuple[str, ...] | None:
        """None where the pictures have labels, whose names are found in preparation."""
        return None if "label" in _find(options).columns else ()

    def describe(self, options: Options) -> Observed:
        """Size and mode from the headers of all files."""
        found = _find(options)
        size, channels, levels = _survey(found, options)
        labels, _ = _labels(found)
        labels = np.empty(0, np.int64) if labels is None else labels
        distinct = all_distinct(labels)
        return Observed(
            size if channels == 1 else (*size, channels),
            levels,
            binary=levels == 2,
            classes=0 if distinct else int(labels.max(initial=-1)) + 1,
            distinct_labels=distinct,
        )

    def suggested(self, options: Options) -> dict[str, Any]:
        """A size and a mode where pictures differ in them, and a smaller size of large ones."""
        sizes, modes = _headers(_find(options))
        chosen: dict[str, Any] = {}
        sides = sizes.most_common(1)[0][0]
        if len(sizes) > 1 or max(sides) > LARGE:
            scale = min(1.0, FIRST_SIDE / max(sides))
            chosen["image_size"] = [max(1, round(side * scale)) for side in sides]
        if {*modes} & _GREY and {*modes} & _COLOUR:
            chosen["mode"] = "rgb"
        return chosen

    def count(self, options: Options) -> int:
        """Pictures of the folder."""
        return len(_find(options).files)

    def load(self, options: Options) -> RawData:
        """Decode every picture once.

        Raises:
            UserError: naming every picture that cannot be read.
        """
        found = _find(options)
        size, channels, levels = _survey(found, options)
        x = decoded_pictures(found.folder, found.files, size, channels, options["fit"])
        x = x[..., 0] if channels == 1 else x
        _note_range(found.folder, x)
        labels, names = _labels(found)
        where = found.table or found.folder
        splits = {key: found.columns[key] for key in split_columns(options)}
        return RawData(
            x // 255 if levels == 2 else x,
            labels,
            levels,
            label_names=names,
            **columns_of_splits(splits, split_columns(options), where),
        )


_UNREADABLE = (
    *(OSError, ValueError, SyntaxError, TypeError, LookupError, EOFError, MemoryError),
    *(AttributeError, ArithmeticError, RuntimeError, Warning, struct.error, zlib.error),
    Image.DecompressionBombError,
)
"""Errors that Pillow raises for damaged files."""


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    text = text if len(text) <= 80 else f"{text[:77]}…"
    return text.replace(". ", ", ") or type(error).__name__


def _find(options: Options) -> Found:
    """The pictures that count, by name."""
    folder = Path(options["folder"])
    try:
        files = tuple(sorted(str(path.relative_to(folder)) for path in _below(folder)))
    except OSError as error:
        raise UserError(f"{folder}: cannot be listed ({_reason(error)}).") from None
    if not files:
        raise UserError(f"{folder}: holds no pictures; allowed: files {', '.join(ENDINGS)}.")
    if options["labels"]:
        return _by_table(folder, Path(options["labels"]), files, split_columns(options))
    classes = [Path(name).parts[0] if len(Path(name).parts) > 1 else "" for name in files]
    _check_classes(folder, {*classes} - {""})
    columns = {"label": np.array(classes)} if any(classes) else {}
    return Found(folder, files, columns, None)


def _check_classes(folder: Path, classes: Collection[str]) -> None:
    """Refuse subfolders that are splits, which would be read as classes."""
    if len(classes) > 1 and all(name.lower() in SPLIT_NAMES for name in classes):
        raise UserError(
            f"{folder}: the subfolders are {', '.join(sorted(classes))}, which are splits; "
            "allowed: a subfolder for each class, or labels: a CSV with columns file, label, split."
        )


def _below(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """Pictures below a folder, also behind links, but not in hidden folders."""
    real = folder.resolve()
    for path in folder.iterdir() if real not in above else ():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _below(path, above | {real})
        elif path.suffix.lower() in ENDINGS:
            yield path


def _by_table(folder: Path, path: Path, files: Sequence[str], splits: dict[str, str]) -> Found:
    """The pictures that a CSV lists: columns file, label and those of the splits."""
    table = read_csv(path)
    if "file" not in table:
        raise UserError(
            f"{path}: has no column file; it has {', '.join(map(str, table.columns))} (file names "
            "each picture, as a path from the folder)."
        )
    for key, name in splits.items():
        if name not in table:
            raise unknown_name(f"{path}: {key}", name, map(str, table.columns))
    unnamed = int((table["file"] == "").sum())
    if unnamed:
        raise UserError(f"{path}: {unnamed} rows name no file; allowed: a picture in each row.")
    names = table["file"].map(lambda name: _name_below(folder, name))
    twice = names[names.duplicated()]
    if len(twice):
        raise UserError(f"{path}: lists {_few(twice)} twice; allowed: each picture once.")
    absent = sorted({*names} - {*files})
    if absent:
        raise UserError(f"{path}: lists {_few(absent)}, which {folder} does not hold.")
    if len(names) < len(files):
        log.info("%s of %s pictures of %s are not in %s and are left out",
                 len(files) - len(names), len(files), folder, path)  # fmt: skip
    wanted = {**({"label": "label"} if "label" in table else {}), **splits}
    columns = {key: table[name].str.strip().to_numpy(str) for key, name in wanted.items()}
    columns |= {key: label_column(columns[key]) for key in {"label"} & columns.keys()}
    return Found(folder, tuple(names), columns, path)


def _name_below(folder: Path, name: str) -> str:
    """A picture's path from the folder, which a CSV may give in full or as Windows writes it."""
    known = name if (folder / name).exists() else name.replace("\\", "/")
    return os.path.relpath(folder / known, folder)


def _labels(found: Found) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """Class of each picture, and the names of classes."""
    if "label" not in found.columns:
        return None, ()
    return read_labels(found.columns["label"], f"{found.table or found.folder}: label")


# --- pictures ------------------------------------------------------------------------------------


def _headers(found: Found) -> tuple[Counter[tuple[int, int]], Counter[str]]:
    """Counts of sizes (height, width) and of modes.

    Raises:
        UserError: naming every picture that cannot be read.
    """
    sizes: Counter[tuple[int, int]] = Counter()
    modes: Counter[str] = Counter()
    wrong: dict[str, str] = {}
    for name in found.files:
        try:
            with Image.open(found.folder / name) as picture:
                width, height = _turned_size(picture)
                sizes[height, width] += 1
                modes[picture.mode] += 1
        except _UNREADABLE as error:
            wrong[name] = _reason(error)
    _refuse_unreadable(found.folder, len(found.files), wrong)
    return sizes, modes


def _survey(found: Found, options: Options) -> tuple[tuple[int, int], int, int]:
    """Height and width, channels and levels of all pictures, from their headers.

    Raises:
        UserError: files cannot be read, or their sizes or modes differ and the options do not say
            what to make of them.
    """
    sizes, modes = _headers(found)
    _check_modes(found, modes, options["mode"])
    channels = 1 if {"grey": True, "rgb": False}.get(options["mode"], {*modes} <= _GREY) else 3
    wanted = options["image_size"]
    if wanted is None and len(sizes) > 1:
        shown = [f"{count} of {h}×{w}" for (h, w), count in sizes.most_common()]
        raise UserError(
            f"{found.folder}: pictures have {len(sizes)} sizes ({_few(shown)}); allowed: one "
            "size, or image_size: [height, width], to which they are brought as fit says."
        )
    size = next(iter(sizes)) if wanted is None else (int(wanted[0]), int(wanted[1]))
    resized = {*sizes} != {size}
    return size, channels, 2 if {*modes} == {"1"} and channels == 1 and not resized else 256


def _turned_size(picture: Image.Image) -> tuple[int, int]:
    """Width and height once the picture is turned as its EXIF orientation says."""
    sideways = picture.getexif().get(0x0112) in {5, 6, 7, 8}
    return (picture.height, picture.width) if sideways else (picture.width, picture.height)


def _check_modes(found: Found, modes: Counter[str], wanted: str | None) -> None:
    unknown = sorted({*modes} - _GREY - _COLOUR)
    if unknown:
        raise UserError(
            f"{found.folder}: {modes[unknown[0]]} pictures have the mode {unknown[0]}; allowed: "
            "pictures of 8 or 16 bits, in grey or in colour."
        )
    if wanted is None and {*modes} & _GREY and {*modes} & _COLOUR:
        shown = [f"{count} {mode}" for mode, count in modes.most_common()]
        raise UserError(
            f"{found.folder}: pictures are in grey and in colour (modes: {_few(shown)}); "
            "allowed: one of both, or mode: grey, or mode: rgb."
        )


def decoded_pictures(
    folder: Path, files: Sequence[str], size: tuple[int, int], channels: int, fit: str
) -> NDArray[np.uint8]:
    """Pictures below a folder, [n, height, width, channels].

    Raises:
        UserError: naming every picture that cannot be read.
    """
    x = np.empty((len(files), *size, channels), np.uint8)
    wrong: dict[str, str] = {}
    for place, name in enumerate(files):
        try:
            x[place] = _decoded(folder / name, size, channels, fit)
        except _UNREADABLE as error:
            wrong[name] = _reason(error)
    _refuse_unreadable(folder, len(files), wrong)
    return x


def _refuse_unreadable(folder: Path, count: int, wrong: dict[str, str]) -> None:
    """Name every picture that cannot be read."""
    if wrong:
        shown = [f"{name} ({reason})" for name, reason in wrong.items()]
        raise UserError(
            f"{folder}: {len(wrong)} of {count} pictures cannot be read: "
            f"{', '.join(shown)}; allowed: whole files of 8 or 16 bits, so replace or remove "
            "these."
        )


def _decoded(path: Path, size: tuple[int, int], channels: int, fit: str) -> NDArray[np.uint8]:
    """A picture as [height, width, channels]."""
    with Image.open(path) as opened:
        opened.load()
        picture = _plain(ImageOps.exif_transpose(opened)).convert("L" if channels == 1 else "RGB")
    height, width = size
    if picture.size != (width, height):
        if fit == "crop":
            picture = ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)
        elif fit == "pad":
            picture = ImageOps.pad(picture, (width, height), Image.Resampling.LANCZOS)
        else:
            picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(picture, np.uint8).reshape(height, width, channels)


def _note_range(folder: Path, x: NDArray[np.uint8]) -> None:
    """Warn of pictures that leave half the range unused, as those of a camera of 12 bits do."""
    low, top = int(x.min()), int(x.max())
    if low == top:
        log.warning("%s: every pixel is %s, so there is nothing to learn", folder, top)
    elif top < 128:
        log.warning(
            "%s: the brightest pixel is %s of 255, so the pictures are dark; if their levels have "
            "10 to 14 bits in files of 16, multiply them to the whole range", folder, top,
        )  # fmt: skip


def _plain(picture: Image.Image) -> Image.Image:
    """A picture without transparency or 16-bit levels."""
    if picture.mode.startswith("I"):
        levels = np.asarray(picture).astype(np.int64)
        if levels.min() < 0 or levels.max() > 65535:
            raise ValueError(f"levels from {levels.min()} to {levels.max()}, beyond 16 bits")
        return Image.fromarray(np.round(levels / 257).astype(np.uint8))
    if picture.mode in {"LA", "PA", "RGBA"} or "transparency" in picture.info:
        clear = picture.convert("RGBA")
        black = Image.new("RGBA", clear.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, clear).convert("RGB")
    return picture


def _few(names: Iterable[str]) -> str:
    known = list(names)
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    return f"{', '.join(known[:_SHOWN])}{more}"
