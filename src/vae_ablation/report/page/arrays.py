"""Arrays of the page: pictures, codes and decoders of arms, curves of runs, compressed in parts.

The page inflates a part when it is first shown, so that a large study opens at once.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vae_ablation.common.errors import UserError
from vae_ablation.common.isolation import Isolated
from vae_ablation.data.base import Dataset
from vae_ablation.data.examples import drawable, picture_bytes, pixels, spaced
from vae_ablation.models.priors import DEFAULT_PRIOR
from vae_ablation.report.figures.results import StudyResults
from vae_ablation.report.page.bundle import Bundle, Stored, rounded
from vae_ablation.report.page.decoders import (
    CODE_BITS,
    describe_decoder,
    dimension_order,
    probe_points,
)
from vae_ablation.store.trained import TrainedRun, load_run

log = logging.getLogger(__name__)

MAX_ARMS = 300
"""Arms of which the page shows pictures, codes and a decoder."""
MAX_CODES = 400
MAX_EXAMPLE_VALUES = 600_000
"""Pixels of all test examples together that the page shows beside codes."""
UMAP_BITS = 10
MAX_SAMPLES = 25
MAX_SNAPSHOTS = 12
SHOWN_PER_SNAPSHOT = 6
MAX_CURVES = 1500
"""Runs whose curves are held; of a larger study only the first run of each arm has one."""
CURVE_POINTS = 60
CURVE_BITS = 20
CURVES_PER_PART = 100
ROOM = 8_000_000
"""Bytes of base64 that all parts may take together; arms that matter less go without."""


@dataclass
class Parts:
    """Compressed parts of the page by name, and the room that is left.

    Attributes:
        texts: base64 by name.
        room: bytes that further parts may take.
        omitted: number of parts for which there was no room.
    """

    texts: dict[str, str] = field(default_factory=dict)
    room: int = ROOM
    omitted: int = 0

    def add(self, name: str, bundle: Bundle) -> bool:
        """Hold a part; whether there was room."""
        text = bundle.text()
        if len(text) > self.room:
            self.omitted += 1
            return False
        self.texts[name] = text
        self.room -= len(text)
        return True


@dataclass(frozen=True)
class Shown:
    """An arm of which the page shows one run.

    Attributes:
        arm: its place.
        run: path of the run.
    """

    arm: int
    run: str


def describe_arms(results: StudyResults, shown: Iterable[Shown], parts: Parts) -> dict[str, Any]:
    """Pictures, codes and decoder of arms by place (as text), the most important first.

    Args:
        results: the study.
        shown: arms in order of importance.
        parts: gets a part for each arm and one for its decoder.
    """
    safe = Isolated("report")
    described: dict[str, Any] = {}
    for one in islice(shown, MAX_ARMS):
        found = safe(one.run, partial(_describe, results, one, parts), None)
        if found:
            described[str(one.arm)] = found
    return described


def _describe(results: StudyResults, shown: Shown, parts: Parts) -> dict[str, Any] | None:
    bundle = Bundle()
    pictures = _pictures(results, shown.run, bundle)
    codes, points = _codes(results, shown.run, bundle)
    if not (pictures or codes) or not parts.add(f"arm{shown.arm}", bundle):
        return None
    snapshots = _snapshots(results, shown, parts)
    decoder = _decoder(results, shown, parts, points) if points is not None else {}
    return {"run": shown.run, **pictures, **codes, **snapshots, **decoder}


def _pictures(results: StudyResults, run: str, bundle: Bundle) -> dict[str, Any]:
    """Reconstructions and samples from the prior, where the data are images."""
    arrays = results.pictures(run)
    if not arrays or "reconstructions" not in arrays:
        return {}
    images = {name: arrays[name] for name in ("reconstructions", "samples") if name in arrays}
    images["samples"] = images.get("samples", arrays["reconstructions"][:0])[:MAX_SAMPLES]
    described: dict[str, Any] = {n: image_json(bundle, value) for n, value in images.items()}
    steps, labels = arrays.get("interpolations"), arrays.get("interpolation_labels")
    if steps is not None and labels is not None and len(steps):
        described["interpolations"] = {
            **image_json(bundle, steps, 2, True), "labels": labels.tolist(),
            "steps": steps.shape[1],
        }  # fmt: skip
    return described


def image_json(
    bundle: Bundle, images: NDArray[Any], leading: int = 1, coarse: bool = False
) -> dict[str, Any]:
    """Images as the page reads them.

    Args:
        bundle: gets the values.
        images: [..., H, W], grey or in colour (`examples.PIXEL`).
        leading: number of dimensions before H.
        coarse: whether 64 levels do, as of many small pictures; they take a quarter less.
    """
    count = int(np.prod(images.shape[:leading]))
    images = drawable(images)
    if coarse:
        images = images // 4 * 4 + images // 64
    height, width, *channels = images.shape[leading:]
    stored = bundle.add_bytes(np.ascontiguousarray(images))
    return {**stored, "count": count, "size": [height, width, channels[0] if channels else 1]}


def _codes(
    results: StudyResults, run: str, bundle: Bundle
) -> tuple[dict[str, Any], NDArray[np.float32] | None]:
    """Posterior means of test examples with the order of dimensions, and points to try."""
    arrays = results.codes(run)
    if arrays is None or not np.isfinite(arrays["mean"]).all():
        return {}, None
    mean = arrays["mean"]
    codes = rounded(mean[spaced(len(mean), MAX_CODES)], CODE_BITS)
    dimensions = dimension_order(results.rate_per_dim(run), mean)
    std = float(np.mean(arrays["std"])) if np.isfinite(arrays["std"]).all() else None
    described = {
        "codes": {**bundle.add(codes, CODE_BITS), "shape": list(codes.shape)},
        "dimensions": dimensions,
        "std": None if std is None else float(f"{std:.4g}"),
    }
    embedded = results.umap(run)
    if embedded is not None and len(embedded) == len(mean) and np.isfinite(embedded).all():
        near = embedded[spaced(len(mean), MAX_CODES)]
        described["umap"] = bundle.add(near - near.mean(axis=0), UMAP_BITS)
    plane = [int(one["index"]) for one in dimensions[:2]]
    return described, probe_points(codes, plane) if len(plane) == 2 else None


def _decoder(
    results: StudyResults, shown: Shown, parts: Parts, points: NDArray[np.float32]
) -> dict[str, Any]:
    """Layers of the decoder, in a part of their own, or the reason why there are none."""
    weights = Bundle()
    try:
        trained = load_run(results.study_dir / "runs" / shown.run)
    except UserError as error:
        log.warning("%s: no decoder: %s", shown.run, error)
        return {"undrawable": "the run's weights cannot be read"}
    if trained.run.prior != DEFAULT_PRIOR:
        reason = f"the prior {trained.run.prior}, not the standard normal"
        return {"undrawable": reason, "prior": trained.run.prior}
    context = _labels_at(trained, len(points))
    described = describe_decoder(trained, weights, points, context)
    if "steps" in described and not parts.add(f"decoder{shown.arm}", weights):
        return {"undrawable": "it is too large for this page"}
    return described if context is None else {**described, "conditions": context.shape[1]}


def _labels_at(trained: TrainedRun, count: int) -> torch.Tensor | None:
    """One-hot labels [count, classes] in turn, for a decoder of images conditioned on them."""
    observed = trained.model.decoder.observed
    if trained.run.condition != "label" or observed.counts:
        return None
    return torch.eye(observed.classes)[torch.arange(count) % observed.classes]


def _snapshots(results: StudyResults, shown: Shown, parts: Parts) -> dict[str, Any]:
    """Reconstructions over the epochs of training."""
    arrays = results.snapshots(shown.run)
    if not arrays or not len(arrays.get("epochs", ())):
        return {}
    at = _with_ends(len(arrays["epochs"]), MAX_SNAPSHOTS)
    images = arrays["images"][at][:, :SHOWN_PER_SNAPSHOT]
    bundle = Bundle()
    stored = image_json(bundle, images, 2, True)
    originals = image_json(bundle, arrays["originals"][:SHOWN_PER_SNAPSHOT])
    if not parts.add(f"snapshots{shown.arm}", bundle):
        return {}
    epochs = arrays["epochs"][at].tolist()
    return {"snapshots": {"epochs": epochs, "images": stored, "originals": originals}}


def _with_ends(count: int, limit: int) -> NDArray[np.int64]:
    """At most `limit` positions of `count`, the first and the last among them."""
    return np.unique(np.linspace(0, max(count - 1, 0), min(count, limit)).round().astype(np.int64))


def describe_originals(
    results: StudyResults, runs: Iterable[str], dataset: str, parts: Parts
) -> dict[str, Any] | None:
    """The test examples that reconstructions are of, from the first run that has them."""
    for run in runs:
        arrays = results.pictures(run)
        if arrays and "originals" in arrays:
            bundle = Bundle()
            stored = image_json(bundle, arrays["originals"])
            return stored if parts.add(f"originals-{dataset}", bundle) else None
    return None


def describe_examples(dataset: Dataset, parts: Parts) -> dict[str, Any]:
    """Test examples beside whose codes the reader points, as many as there is room for.

    Args:
        dataset: images.
        parts: gets a part.

    Returns:
        `examples`: their places among the codes shown, and images; nothing without room.
    """
    shown = spaced(len(dataset.rows("test")), MAX_CODES)
    at = spaced(len(shown), max(1, MAX_EXAMPLE_VALUES // dataset.observed.dims))
    shape = dataset.observed.shape
    images = picture_bytes(dataset.intensities("test", shown[at]), shape)
    bundle = Bundle()
    stored = image_json(bundle, pixels(images) if len(shape) > 2 else images)
    held = parts.add(f"examples-{dataset.name}", bundle)
    return {"examples": {**stored, "places": at.tolist()}} if held else {}


# --- curves -----------------------------------------------------------------------------------


def describe_curves(
    results: StudyResults, runs: Sequence[str], arms: Sequence[int], parts: Parts
) -> dict[str, Any]:
    """Curves of training by run (place as text): part, epochs, and columns of each split.

    Args:
        results: the study.
        runs: paths of the runs.
        arms: place of each run's arm.
        parts: gets a part for every hundred runs.
    """
    chosen = range(len(runs)) if len(runs) <= MAX_CURVES else _firsts(arms)
    described: dict[str, Any] = {}
    listed = list(chosen)
    for start in range(0, len(listed), CURVES_PER_PART):
        bundle, name = Bundle(), f"curves{start // CURVES_PER_PART}"
        found = {
            str(at): curve
            for at in listed[start : start + CURVES_PER_PART]
            if (curve := _curve(results.study_dir / "runs" / runs[at] / "history.csv", bundle))
        }
        if found and parts.add(name, bundle):
            described |= {at: {"part": name, **curve} for at, curve in found.items()}
    return described


def _firsts(arms: Sequence[int]) -> list[int]:
    seen: dict[int, int] = {}
    for at, arm in enumerate(arms):
        seen.setdefault(arm, at)
    return list(seen.values())


def _curve(path: Path, bundle: Bundle) -> dict[str, Any] | None:
    """history.csv of a run, up to the first epoch that is not finite, at most 60 epochs of it."""
    columns = _history(path)
    if not columns:
        return None
    curves: dict[str, dict[str, Stored]] = {}
    epochs: list[int] = []
    for split, values in columns.items():
        length = min(len(values["epoch"]), *(_finite(v) for n, v in values.items() if n != "epoch"))
        at = _with_ends(length, CURVE_POINTS)
        if split == "validation" or not epochs:
            epochs = [int(values["epoch"][i]) for i in at]
        curves[split] = {
            name: bundle.add(np.asarray(series)[at], CURVE_BITS)
            for name, series in values.items()
            if name != "epoch" and len(at)
        }
    return {"epochs": epochs, "splits": curves} if epochs else None


def _finite(values: Sequence[float]) -> int:
    """Number of values before the first that is not finite; all where none is finite."""
    bad = np.flatnonzero(~np.isfinite(values))
    return len(values) if not len(bad) else int(bad[0])


def _history(path: Path) -> dict[str, dict[str, list[float]]]:
    """Columns of history.csv by split, without those that are empty."""
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, ValueError, csv.Error):
        return {}
    columns: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        own = columns.setdefault(row.pop("split", "train"), {})
        for name, text in row.items():
            own.setdefault(name, []).append(float(text) if text else float("nan"))
    return {split: _some(values) for split, values in columns.items() if "epoch" in values}


def _some(values: dict[str, list[float]]) -> dict[str, list[float]]:
    return {name: series for name, series in values.items() if np.isfinite(series).any()}
