"""Pictures that stay on disk: members of a stored archive, mapped and read in blocks."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK_VALUES = 2**24
"""Numbers that are converted at once."""


def scaled(values: NDArray[Any], levels: int | None) -> NDArray[np.float32]:
    """Grey levels or intensities [n, ...] as intensities in [0, 1], [n, dims], in blocks.

    Args:
        values: levels from 0 to levels − 1, or intensities where levels is None.
        levels: number of grey levels.
    """
    flat = values.reshape(len(values), -1)
    intensities = np.empty(flat.shape, np.float32)
    scale = 1.0 if levels is None else 1.0 / (levels - 1)
    step = max(1, BLOCK_VALUES // max(1, flat.shape[1]))
    for start in range(0, len(flat), step):
        rows = slice(start, start + step)
        intensities[rows] = flat[rows].astype(np.float64) * scale
    return intensities


@dataclass(frozen=True)
class MappedPictures:
    """Pictures on disk as an array of intensities: rows are read where they are asked for.

    Attributes:
        values: mapped [n, ...] as stored.
        levels: number of grey levels; None where intensities are stored.
    """

    values: NDArray[Any]
    levels: int | None

    @property
    def shape(self) -> tuple[int, int]:
        """Examples and dimensions."""
        return len(self.values), int(np.prod(self.values.shape[1:]))

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.values)

    def __getitem__(self, rows: Any) -> NDArray[np.float32]:
        """Intensities of the examples at some positions, [len(rows), dims]."""
        return scaled(self.values[rows], self.levels)


def members(path: Path) -> dict[str, int]:
    """Bytes of each array of an .npz, by name."""
    with zipfile.ZipFile(path) as archive:
        return {info.filename.removesuffix(".npy"): info.file_size for info in archive.infolist()}


def map_member(path: Path, name: str) -> NDArray[Any]:
    """An array of an .npz that np.savez stored, mapped read-only.

    Raises:
        ValueError: it is compressed, in Fortran order, or not where the archive says.
    """
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(f"{name}.npy")
        if info.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{name} is compressed")
        start = info.header_offset
    with path.open("rb") as stream:
        stream.seek(start)
        header = stream.read(30)
        if header[:4] != b"PK\x03\x04":
            raise ValueError(f"{name} is not where the archive says")
        stream.seek(start + 30 + sum(struct.unpack("<HH", header[26:30])))
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0
        read = read if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(stream)
        if fortran or dtype.hasobject:
            raise ValueError(f"{name} cannot be mapped")
        return np.memmap(path, dtype, "r", stream.tell(), shape)


def check_member(path: Path, name: str) -> None:
    """Read an array of an .npz once, so that damage shows: a map does not look at the checksum.

    Raises:
        zipfile.BadZipFile: its bytes do not match their checksum.
    """
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as stream:
        while stream.read(2**24):
            pass


def row_blocks(values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Rows of an array, mapped or not, a block at a time."""
    step = max(1, BLOCK_VALUES // max(1, int(np.prod(values.shape[1:]))))
    for start in range(0, len(values), step):
        yield values[start : start + step]
