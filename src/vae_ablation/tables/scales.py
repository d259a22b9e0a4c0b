"""Scales on which metrics are subtracted, and the way back to units that people read.

Logarithm for ratios, 2·arcsin√p for shares (whose variance then hardly depends on p), identity
for the rest.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def transformed(values: Array, scale: str) -> Array:
    """Values on a scale; NaN where it has no place for them (log of 0, a share outside 0–1)."""
    if scale == "log":
        return np.log(np.where(values > 0, values, np.nan))
    if scale == "arcsine":
        return 2 * np.arcsin(np.sqrt(np.where((values >= 0) & (values <= 1), values, np.nan)))
    return values


def effect(difference: Array, reference: Array, scale: str) -> Array:
    """A difference on a scale as people read it: difference, ratio or difference of shares.

    Args:
        difference: on the scale.
        reference: mean of the reference in natural units, where a difference of shares starts.
        scale: identity, log or arcsine.
    """
    if scale == "log":
        return np.exp(difference)
    if scale == "arcsine":
        start = transformed(reference, scale)
        angle = np.clip(start + difference, 0.0, np.pi)
        # sin² a − sin² b, which is exactly 0 where nothing differs
        return np.sin((angle + start) / 2) * np.sin((angle - start) / 2)
    return difference


def effects(difference: float, apart: Array, reference: Array, scale: str) -> float:
    """A difference that is pooled over settings as people read it.

    Of shares the mean of the settings' differences, each from its own reference by its own
    difference on the scale, so that it is the difference of the means.

    Args:
        difference: pooled, on the scale; or an end of its interval.
        apart: differences of the settings less the pooled one, [settings].
        reference: means of their references in natural units, [settings].
        scale: identity, log or arcsine.
    """
    if scale != "arcsine":
        return float(effect(np.array(difference), reference, scale))
    return float(effect(difference + apart, reference, scale).mean())


def margin_on(scale: str, margin: float, reference: Array) -> Array:
    """A margin in people's units (difference, ratio above 1, share) on a scale.

    Args:
        scale: identity, log or arcsine.
        margin: in people's units.
        reference: mean of the reference, round which a share's margin is taken.
    """
    if scale == "log":
        return np.full(reference.shape, np.log(margin))
    if scale == "arcsine":
        low, high = (np.clip(reference + side * margin / 2, 0.0, 1.0) for side in (-1, 1))
        width = np.maximum(high - low, np.finfo(float).tiny)
        return (transformed(high, scale) - transformed(low, scale)) * margin / width
    return np.full(reference.shape, margin)
