"""Examples that represent a split, and pictures of them as bytes. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHOWN = 10
"""Examples that figures show."""


def spaced(count: int, limit: int) -> NDArray[np.int64]:
    """At most `limit` of the positions 0 to count − 1, evenly spaced."""
    size = min(count, limit)
    return np.arange(size) * count // size


def stratified(labels: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """At most `limit` positions, in order, with the labels in proportion; the same every time.

    Args:
        labels: of all examples, [n]; where all are −1 the positions are evenly spaced.
        limit: of the positions.
    """
    order = np.argsort(labels, kind="stable")
    return np.sort(order[spaced(len(labels), limit)])


def shown_examples(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions in a split to show: one of each class first, then the next ones, SHOWN in all."""
    _, first = np.unique(labels, return_index=True)
    rest = np.setdiff1d(np.arange(len(labels)), first[labels[first] >= 0])
    return np.concatenate([first[labels[first] >= 0], rest])[:SHOWN]


PIXEL = np.dtype([("red", "u1"), ("green", "u1"), ("blue", "u1")])
"""A pixel in colour as one value: then all pictures have the axes [..., height, width]."""


def as_rgb(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pictures [..., height, width, channels] as red, green and blue: [..., height, width, 3].

    One channel is grey, two are red and green, and of more the first three are shown.
    """
    channels = pictures.shape[-1]
    if channels == 1:
        return pictures.repeat(3, axis=-1)
    missing = np.zeros((*pictures.shape[:-1], max(0, 3 - channels)), np.uint8)
    return np.concatenate([pictures[..., :3], missing], axis=-1)


def pixels(pictures: NDArray[np.uint8]) -> NDArray[Any]:
    """Pictures [..., height, width, channels] as [..., height, width] of PIXEL."""
    return np.ascontiguousarray(as_rgb(pictures)).view(PIXEL)[..., 0]


def drawable(pictures: NDArray[Any]) -> NDArray[np.uint8]:
    """Pictures for imshow: PIXEL becomes [..., height, width, 3], grey ones stay as they are."""
    if pictures.dtype != PIXEL:
        return pictures
    return np.ascontiguousarray(pictures)[..., None].view(np.uint8)


def picture_bytes(
    values: NDArray[np.floating], shape: tuple[int, ...], leading: Sequence[int] | None = None
) -> NDArray[np.uint8]:
    """Intensities [..., dims] as 8-bit pictures [..., *shape]; what is not in [0, 1] is cut.

    Args:
        values: intensities; NaN is black.
        shape: of one picture.
        leading: axes before it; those of `values` where left out.
    """
    clean = np.nan_to_num(values, nan=0.0).clip(0, 1)
    lead = values.shape[:-1] if leading is None else tuple(leading)
    return np.round(255 * clean).astype(np.uint8).reshape(*lead, *shape)
