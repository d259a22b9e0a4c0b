"""Percentile bootstrap over the examples of the test split."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from vae_ablation.common.errors import UserError
from vae_ablation.study.metrics import described

RESAMPLES = 1000
_SEED = 0
_BLOCK = 2**22
"""Floats of one block of counts or of differences: 16 MiB."""


def read_examples(run_folder: Path) -> dict[str, NDArray[np.float32]]:
    """A run's values of each example, [n] per column; empty where the run has none.

    Raises:
        UserError: the file is damaged.
    """
    path = run_folder / "examples.npz"
    if not path.exists():
        return {}
    try:
        with path.open("rb") as stream, np.load(stream) as arrays:
            return {name: arrays[name] for name in arrays if described(name).per_example}
    except (OSError, ValueError, BadZipFile):
        raise UserError(f"{path}: damaged; delete it and run snakemake again.") from None


@lru_cache(maxsize=2)
def resample_counts(n: int) -> NDArray[np.uint8]:
    """Number of times that each resample draws each of n examples: a fixed multinomial matrix.

    The same for all comparisons of a dataset, so that they differ by their arms alone.

    Returns:
        [resamples, n], rows that sum to n. A count is Poisson(1) to a good approximation: it
        never nears the 255 that fit.
    """
    rng = np.random.default_rng(_SEED)
    counts = np.empty((RESAMPLES, n), np.uint8)
    for row in counts:
        row[:] = np.bincount(rng.integers(n, size=n), minlength=n)
    return counts


def bootstrap_intervals(
    values: NDArray[np.float32], level: float = 0.95
) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
    """Percentile bootstrap interval of each column's mean (Efron and Tibshirani 1993, ch. 13).

    Args:
        values: one row per example, [n, columns]; rows with a NaN (no label) are dropped.
        level: coverage.

    Returns:
        Number of examples, and the ends of the intervals, [columns] each; NaN without examples.
    """
    known = values[~np.isnan(values).any(axis=1)]
    n, columns = known.shape
    if not n:
        return 0, np.full(columns, np.nan), np.full(columns, np.nan)
    width = max(1, _BLOCK // n)
    blocks = [_resampled_means(known[:, i : i + width]) for i in range(0, columns, width)]
    tails = [0.5 - level / 2, 0.5 + level / 2]
    low, high = np.concatenate([np.quantile(block, tails, axis=0) for block in blocks], axis=1)
    return n, low, high


def _resampled_means(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Means of the columns of [n, columns] under each resample: [resamples, columns]."""
    n = len(values)
    counts = resample_counts(n)
    # Without the centre, float32 would lose the spread of differences that are nearly constant.
    centre = values.mean(axis=0, dtype=np.float64)
    deviations = (values - centre).astype(np.float32)
    step = max(1, _BLOCK // n)
    sums = [counts[i : i + step].astype(np.float32) @ deviations for i in range(0, RESAMPLES, step)]
    return centre + np.concatenate(sums) / n
