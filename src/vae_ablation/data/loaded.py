"""Data that a source from outside the package loads, held against what it describes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import sparse

from vae_ablation.data.base import Observed, RawData, Source


def complaints(source: Source, described: Any, raw: Any) -> Iterator[str]:
    """Sentences, without a full stop, on what nothing could be trained on."""
    if not isinstance(described, Observed):
        yield f"describe gives {type(described).__name__}; allowed: Observed(shape, levels)"
        return
    if not isinstance(raw, RawData):
        yield f"load gives {type(raw).__name__}; allowed: RawData(x, labels, levels)"
        return
    if type(raw.x).__module__.startswith("vae_ablation."):  # data on disk, of a source within
        return
    if not (isinstance(raw.x, np.ndarray) or sparse.issparse(raw.x)):
        yield f"x is {type(raw.x).__name__}; allowed: a NumPy array, or counts as a CSR matrix"
        return
    loaded = tuple(raw.x.shape[1:])
    if (described.shape, described.levels) != (loaded, raw.levels):
        yield (
            f"it describes {described.shape} with {described.levels} levels, and loads {loaded} "
            f"with {raw.levels}"
        )
    yield from _kind(source, described, raw)
    yield from _values(described, raw)
    yield from _labels(raw)


def _kind(source: Source, described: Observed, raw: RawData) -> Iterator[str]:
    """Complaints where class, description and data disagree on counts or on tables."""
    said = source.counts, described.counts, raw.cells is not None
    if len({*said}) > 1:
        yield (
            f"counts is {said[0]} in the class and {said[1]} in Observed, and cells are "
            f"{'there' if said[2] else 'None'}; allowed: counts = True, Observed(…, counts=True) "
            "and RawData(…, cells=Cells(features)), or none of them"
        )
    elif described.counts and raw.cells is not None and len(raw.cells.features) != raw.x.shape[-1]:
        yield f"cells name {len(raw.cells.features)} features; allowed: {raw.x.shape[-1]}, as x has"
    said = source.real, described.real, bool(raw.features)
    if len({*said}) > 1:
        yield (
            f"real is {said[0]} in the class and {said[1]} in Observed, and features are "
            f"{'there' if said[2] else 'empty'}; allowed: real = True, Observed(…, real=True) and "
            "RawData(…, features=names), or none of them"
        )
    if len(described.shape) not in (1, 2, 3):
        yield (
            f"an example has the shape {described.shape}; allowed: (dims,), (height, width) or "
            "(height, width, channels)"
        )


def _values(described: Observed, raw: RawData) -> Iterator[str]:
    """Complaints about values of another type or range than the description says."""
    values = raw.x.data if sparse.issparse(raw.x) else raw.x
    if values.dtype.kind not in "fiub":
        yield f"x holds {values.dtype}; allowed: numbers"
    elif values.size and not described.real:
        whole = described.counts or raw.levels is not None
        most = np.inf if described.counts else (raw.levels or 2) - 1
        low, high = values.min(), values.max()
        if not (low >= 0 and high <= most):
            yield f"x lies in {low:g} to {high:g}; allowed: 0 to {most:g}"
        elif whole and values.dtype.kind == "f" and (values != np.floor(values)).any():
            yield f"x holds {values[values != np.floor(values)][0]:g}; allowed: whole numbers"


def _labels(raw: RawData) -> Iterator[str]:
    """Complaints about labels that are not whole numbers, one for each example."""
    if raw.labels is None:
        return
    labels, count = raw.labels, raw.x.shape[0]
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu":
        kind = getattr(labels, "dtype", type(labels).__name__)
        yield f"labels are {kind}; allowed: an array of whole numbers from 0, −1 for none"
    elif labels.shape != (count,):
        yield f"labels have the shape {labels.shape}; allowed: ({count},), one for each example"
