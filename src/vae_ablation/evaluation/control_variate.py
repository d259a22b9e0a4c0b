"""A mean over a split of what was measured on some of its examples, by a control variate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Extrapolated:
    """Values of some examples of a split, shifted so that their mean stands for all.

    Attributes:
        values: [n]; NaN where nothing was measured.
        error: standard error of the mean for the examples left out; 0 where there are none.
    """

    values: Array
    error: float


def extrapolated(values: Array, places: NDArray[np.int64], known: Array) -> Extrapolated:
    """The regression estimator (Cochran 1977, chapter 7): all are moved by b·(K̄ − k̄).

    K̄ and k̄ are the means of `known` over the split and over `places`, and b is the slope of
    values on known.

    Args:
        values: of the examples at `places`, [m].
        places: their positions in the split, [m].
        known: what is known of every example, [n].
    """
    everywhere = np.full(len(known), np.nan)
    everywhere[places] = values
    if len(places) == len(known):
        return Extrapolated(everywhere, 0.0)
    here = known[places]
    spread = float(np.square(here - here.mean()).sum())
    slope = 0.0
    if np.isfinite(spread) and spread > 0:
        slope = float(((here - here.mean()) * (values - values.mean())).sum()) / spread
    everywhere += slope * (known.mean() - here.mean()) if slope else 0.0
    rest = values - values.mean() - slope * (here - here.mean())
    freedom = max(1, len(places) - 2)
    left_out = 1 - len(places) / len(known)
    error = math.sqrt(float(np.square(rest).sum()) / freedom * left_out / len(places))
    return Extrapolated(everywhere, error)
