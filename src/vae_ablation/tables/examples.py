"""Values of each test example, as evaluation keeps them beside a run."""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from vae_ablation.common.errors import UserError


def read_examples(run_folder: Path, metric: str) -> NDArray[np.float32] | None:
    """A run's values of one metric for each test example, [n]; None where it has none.

    Raises:
        UserError: the file is damaged.
    """
    path = run_folder / "examples.npz"
    if not path.exists():
        return None
    try:
        with path.open("rb") as stream, np.load(stream) as arrays:
            return np.asarray(arrays[metric]) if metric in arrays else None
    except (OSError, ValueError, BadZipFile):
        raise UserError(f"{path}: damaged; delete it and run snakemake again.") from None
