"""Statistics of paired differences: interval, effect, p and its adjustment."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t as student_t

MIN_N_FOR_P = 5
MIN_N_FOR_EFFECT = 3
_ROUNDING = 1e-12
"""Differences whose spread is below this share of the values do not differ but by rounding."""

Array = NDArray[np.float64]


def paired_statistics(differences: Array, scale: Array) -> dict[str, Array]:
    """Mean, 95 % Student-t interval, effect and p of each row of paired differences.

    Args:
        differences: [rows, seeds], NaN where there is no pair; one pair at least in each row.
        scale: size of the values that were subtracted, [rows].

    Returns:
        n, mean_difference, ci_low, ci_high, effect, p: [rows] each, NaN where not defined.
    """
    n = (~np.isnan(differences)).sum(axis=1)
    mean = np.nanmean(differences, axis=1)
    squares = np.nansum((differences - mean[:, None]) ** 2, axis=1)
    spread = np.sqrt(squares / np.where(n > 1, n - 1, np.nan))
    spread[spread <= _ROUNDING * scale] = 0.0
    error = spread / np.sqrt(n)
    half = student_t.ppf(0.975, n - 1) * error
    varying = np.where(spread > 0, spread, np.nan)
    p = 2 * student_t.sf(np.abs(mean) * np.sqrt(n) / varying, n - 1)
    return {
        "n": n,
        "mean_difference": mean,
        "ci_low": mean - half,
        "ci_high": mean + half,
        "effect": hedges_effect(mean, varying, n),
        "p": np.where(n >= MIN_N_FOR_P, p, np.nan),
    }


def hedges_effect(mean: Array, spread: Array, n: NDArray[np.int64]) -> Array:
    """Corrected standardised mean difference of pairs, g_z = J(n − 1) · mean / spread.

    In units of the standard deviation of the differences (Cohen's d_z; Lakens 2013), times the
    small-sample correction J(m) = 1 − 3 / (4m − 1) of Hedges (1981). J(1) = 0: two pairs know
    nothing of the size of an effect, which is therefore not defined below three.

    Args:
        mean: means of the differences.
        spread: their standard deviations, with n − 1.
        n: number of pairs.
    """
    defined = np.where(n >= MIN_N_FOR_EFFECT, n, np.nan)
    return (1 - 3 / (4 * (defined - 1) - 1)) * mean / spread


def holm(p: pd.Series) -> pd.Series:
    """p-values of one family adjusted by Holm's step-down method (1979); NaN are not of it."""
    ordered = p.dropna().sort_values()
    factors = np.arange(len(ordered), 0, -1)
    return (ordered * factors).cummax().clip(upper=1.0).reindex(p.index)
