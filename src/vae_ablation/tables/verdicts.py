"""Verdicts on differences: equivalent, better or worse, undecided; families of tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control
from scipy.stats import t as student_t

from vae_ablation.study.questions import ALPHA, POWER

Array = NDArray[np.float64]
Key = TypeVar("Key")
Names = NDArray[np.object_]

MOST_SEEDS = 1000
"""Seeds beyond which no number is planned."""


def interval(estimate: Array, error: Array, df: Array, alpha: float = ALPHA) -> tuple[Array, Array]:
    """Ends of the 1 − α Student-t intervals; NaN where there is no error, or no spread at all.

    Differences that are all equal, 0 or not, have neither interval nor p: their spread is not
    known.
    """
    half = student_t.isf(alpha / 2, _df(df)) * _known(error)
    return estimate - half, estimate + half


def two_sided(estimate: Array, error: Array, df: Array) -> Array:
    """P of no difference."""
    return np.asarray(2 * student_t.sf(np.abs(estimate) / _known(error), _df(df)))


def equivalence(estimate: Array, error: Array, df: Array, margin: Array) -> Array:
    """P of a difference beyond ± margin: two one-sided tests (Schuirmann 1987)."""
    return np.asarray(student_t.sf((margin - np.abs(estimate)) / _known(error), _df(df)))


def _known(error: Array) -> Array:
    return np.where(error > 0, error, np.nan)


def _df(df: Array) -> Array:
    return np.where(df > 0, df, np.nan)


def detectable(error: Array, df: Array, alpha: float = ALPHA, power: float = POWER) -> Array:
    """Smallest difference that a test at α finds with this power: (t₁₋α/₂ + t_power) · SE."""
    df = _df(df)
    return np.where(
        error > 0, (student_t.isf(alpha / 2, df) + student_t.ppf(power, df)) * error, np.nan
    )


def seeds_needed(
    error: Array,
    df: Array,
    n: Array,
    margin: Array,
    alpha: float = ALPHA,
    overlap: Array | float = 0.0,
) -> Array:
    """Seeds with which a difference of the margin's size, or none, would be told with 80 % power.

    Planned from the margin, never from the observed difference. Error and degrees of freedom are
    taken to change with n as those of means do. Equivalence asks for t₁₋α + t₀.₉ standard errors,
    which is the larger. What overlapping splits share, no number of them takes away.

    Returns:
        More than n; NaN where there is no error or no margin, or above `MOST_SEEDS`.
    """
    fit = (error > 0) & (margin > 0) & (n > 1)
    n, df = np.where(fit, n, 2.0), np.where(fit, df, 1.0)
    wanted = np.divide(margin, error, out=np.full(len(n), np.inf), where=fit)
    wanted = wanted * np.sqrt(1 / n + overlap)

    def enough(seeds: Array) -> NDArray[np.bool_]:
        later = df * (seeds - 1) / (n - 1)
        half = student_t.isf(alpha, later) + student_t.ppf((1 + POWER) / 2, later)
        return np.asarray(half * np.sqrt(1 / seeds + overlap) <= wanted)

    low, high = n, np.full(len(n), MOST_SEEDS + 1.0)  # too few, enough
    while (high - low > 1).any():
        middle = np.where(high - low > 1, (low + high) // 2, high)
        fits = enough(middle)
        low, high = np.where(fits, low, np.minimum(middle, high - 1)), np.where(fits, middle, high)
    return np.where(fit & (high <= MOST_SEEDS), high, np.nan)


def holm(p: Array) -> Array:
    """p-values of one family adjusted by Holm's step-down method (1979); NaN are not of it."""
    # That of statsmodels collects garbage on every call, which costs 0.1 s in a full process.
    return _adjusted(p, _step_down)


def rejected(tests: Mapping[Key, float]) -> set[Key]:
    """Keys of the p-values of one family that Holm's method rejects at `ALPHA`."""
    adjusted = holm(np.array([*tests.values()], float))
    return {key for key, p in zip(tests, adjusted, strict=True) if p <= ALPHA}


def _step_down(p: Array) -> Array:
    order = np.argsort(p)
    adjusted = np.empty(len(p))
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def benjamini_hochberg(p: Array) -> Array:
    """p-values adjusted for the false discovery rate (Benjamini and Hochberg 1995)."""
    return _adjusted(p, false_discovery_control)


def _adjusted(p: Array, method: Callable[[Array], Array]) -> Array:
    found = np.full(len(p), np.nan)
    known = ~np.isnan(p)
    if known.any():
        found[known] = method(p[known])
    return found


def verdicts(
    estimate: Array, p: Array, p_equivalence: Array, sign: NDArray[np.int64], alpha: float = ALPHA
) -> Names:
    """Equivalent, better, worse, higher, lower or undecided.

    Equivalence comes first: a difference that is certainly not 0 and certainly within what the
    evaluation can resolve is none.

    Args:
        estimate: differences, arm minus reference.
        p: of no difference, adjusted.
        p_equivalence: of a difference beyond the margin, adjusted.
        sign: 1 where higher is better, -1 where lower is, 0 where neither is.
        alpha: level.
    """
    way = np.sign(np.nan_to_num(estimate)).astype(int) * np.where(sign, sign, 1)
    words = {(True, True): "better", (True, False): "worse"}
    words |= {(False, True): "higher", (False, False): "lower"}
    told = [words[bool(s), bool(w > 0)] for s, w in zip(sign, way, strict=True)]
    found = np.where(p <= alpha, np.array(told, object), "undecided")
    return np.where(p_equivalence <= alpha, "equivalent", found).astype(object)
