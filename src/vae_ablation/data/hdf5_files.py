"""HDF5 files that a reader in this process would never leave."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from vae_ablation.common.errors import UserError
from vae_ablation.data.kinds import HDF5, kind_of

PROBE_SECONDS = 60
"""Time that another process has to look through a file, beside a second for 10 MB."""

_PROBE = """
import sys
import h5py

def look(name, item):
    try:
        dict(item.attrs)
        if isinstance(item, h5py.Dataset):
            if item.nbytes <= 1e8:
                item[()]
            elif item.chunks:
                item.id.get_chunk_info(item.id.get_num_chunks() - 1)
    except Exception:
        pass

with h5py.File(sys.argv[1]) as file:
    look("", file)
    file.visititems(look)
"""
"""Reads everything but large arrays; errors are left to the next reader of the file."""


def check_ends(path: Path) -> None:
    """Refuse a damaged file on which HDF5 never comes to an end, or crashes.

    Nothing in this process could catch that. A file of another kind is refused at once.
    """
    with suppress(OSError):  # a file that cannot be opened is reported when it is opened
        kind = kind_of(path)
        if kind not in (None, HDF5):
            raise UserError(f"{path}: not readable as an h5ad file (it is {kind}).")
    limit = PROBE_SECONDS + path.stat().st_size / 1e7
    probe = [sys.executable, "-c", _PROBE, str(path)]
    try:
        status = subprocess.run(probe, timeout=limit, capture_output=True, check=False).returncode
    except subprocess.TimeoutExpired:
        raise UserError(
            f"{path}: not readable as an h5ad file (it is damaged, or its disk is too slow: "
            f"reading did not end within {limit:.0f} s)."
        ) from None
    if status < 0:
        raise UserError(f"{path}: not readable as an h5ad file (HDF5 crashes on it).")
