"""Kinds of files that are given in place of another, known by their first bytes."""

from __future__ import annotations

import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vae_ablation.common.errors import UserError

HDF5 = "an HDF5 file, and source h5ad reads those of anndata"
NPZ = "an .npz archive, which source npz reads"
ZIP = "a ZIP archive"

_HEAD = 1024
_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
_BINARY = (
    (b"\x89HDF\r\n\x1a\n", HDF5),
    (b"\x93NUMPY", "a bare .npy array; np.savez(path, x=np.load(file)) makes an .npz of it"),
    (b"\x1f\x8b", "compressed with gzip; unpack it first"),
    (b"BZh", "compressed with bzip2; unpack it first"),
    (b"\xfd7zXZ\x00", "compressed with xz; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd; unpack it first"),
    (b"PAR1", "a Parquet table; pandas.read_parquet reads it"),
    (b"ARROW1", "an Arrow table; pandas.read_feather reads it"),
    (b"MATLAB 5.0 MAT-file", "a MATLAB file; scipy.io.loadmat reads it"),
    (b"MATLAB 7.3 MAT-file", "a MATLAB 7.3 file; h5py reads it"),
    (b"\x89PNG\r\n\x1a\n", "a single PNG picture; np.savez takes an array of many"),
    (b"\xff\xd8\xff", "a single JPEG picture; np.savez takes an array of many"),
    (b"II*\x00", "a TIFF picture; np.savez takes its array"),
    (b"MM\x00*", "a TIFF picture; np.savez takes its array"),
)
_PICKLE_PROTOCOLS = (b"\2", b"\3", b"\4", b"\5")
_TEXT = (
    ("<!doctype html", "a web page (HTML), as a download that failed leaves; download it again"),
    ("<html", "a web page (HTML), as a download that failed leaves; download it again"),
    ("<?xml", "an XML page, as a download that failed leaves; download it again"),
    ("version https://git-lfs", "a pointer of git-lfs; git lfs pull fetches the file itself"),
    ("%%matrixmarket", "a Matrix Market file; scanpy.read_mtx reads it"),
    ("{", "JSON text"),
)


def kind_of(path: Path) -> str | None:
    """The kind of a file or folder and what reads it, in words; None where it is not known."""
    if path.is_dir():
        return _kind_of_folder(path)
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
    if not head:
        return "empty"
    if head.startswith(_ZIP_MAGIC):
        return _kind_of_zip(path)
    for magic, words in _BINARY:
        if head.startswith(magic):
            return words
    if head[0] == 0x80 and head[1:2] in _PICKLE_PROTOCOLS:
        return "a Python pickle, which could run anything and is never loaded; save plain arrays"
    return _kind_of_text(head)


def _kind_of_folder(path: Path) -> str:
    names = {child.name for child in path.iterdir()}
    if names & {".zgroup", ".zattrs", ".zarray", "zarr.json"} or path.suffix == ".zarr":
        return "a Zarr store; anndata.read_zarr(path).write_h5ad(file) makes an .h5ad of it"
    if any(name.startswith("matrix.mtx") for name in names):
        return "a folder of 10x Genomics; scanpy.read_10x_mtx(path).write_h5ad(file) makes an .h5ad"
    return "a folder"


def _kind_of_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return ZIP  # a damaged one: its reader says how
    if any(name.endswith("data.pkl") for name in names):
        return "a pickle of torch.save, which could run anything and is never loaded"
    if any(name.endswith((".zgroup", ".zarray", "zarr.json")) for name in names):
        return "a zipped Zarr store; anndata.read_zarr reads it"
    if any(name.startswith("xl/") for name in names):
        return "an Excel workbook; pandas.read_excel reads it"
    if names and all(name.endswith(".npy") for name in names):
        return NPZ
    return ZIP


def _kind_of_text(head: bytes) -> str | None:
    try:
        text = head.decode("utf-8-sig").lstrip()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4 or not error.start:
            return None
        text = head[: error.start].decode("utf-8-sig").lstrip()
    if not text or not all(letter.isprintable() or letter.isspace() for letter in text):
        return None
    for start, words in _TEXT:
        if text.lower().startswith(start):
            return words
    first = text.splitlines()[0]
    for separator, words in ((",", "a CSV table"), ("\t", "a table with tabs"), (";", "a table")):
        if separator in first:
            return f"{words} of text; pandas.read_csv reads it"
    return "plain text"


def hdf5_kind(file: Any, names: Collection[str]) -> str | None:
    """The kind of an open HDF5 file that is not of anndata, by the names of its members."""
    if "mod" in names:
        return "an .h5mu file of muon; mudata.read(path).mod['rna'].write_h5ad(file) makes an .h5ad"
    if {"row_attrs", "col_attrs"} <= set(names):
        return "a loom file; anndata.io.read_loom(path).write_h5ad(file) makes an .h5ad of it"
    if any(_is_10x(file.get(name)) for name in names):
        return "a 10x Genomics .h5; scanpy.read_10x_h5(path).write_h5ad(file) makes an .h5ad of it"
    if "assays" in names:
        return "an .h5seurat file; SeuratDisk::Convert(file, dest = 'h5ad') makes an .h5ad of it"
    return None


def _is_10x(member: Any) -> bool:
    """Whether a member is the matrix of Cell Ranger 3 (`matrix`) or 2 (named by the genome)."""
    parts = ("barcodes", "data", "indptr")
    return hasattr(member, "keys") and all(part in member for part in parts)


@contextmanager
def readable(where: str, found: str) -> Iterator[None]:
    """Errors of the machine at a path that the config names become one sentence.

    Args:
        where: file and key of the config to name.
        found: the path.
    """
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{where} is {found!r}, which cannot be read ({error.strerror}); allowed: a path that "
            "this user can read."
        ) from None


def check_is_file(where: str, found: str, wanted: str) -> None:
    """Refuse a path at which no file is that can be read.

    Args:
        where: file and key of the config to name.
        found: the path.
        wanted: kind of file that is needed, with its article, such as "an .npz file".
    """
    path = Path(found)
    with readable(where, found):
        if path.is_dir():
            raise UserError(f"{where} is {found!r}, which is {kind_of(path)}; allowed: {wanted}.")
        if not path.is_file():
            raise UserError(f"{where} is {found!r}; there is no such file.")
        path.open("rb").close()
