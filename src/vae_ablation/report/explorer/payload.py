"""Contents of a page: examples, and the codes, decoder and metrics of each run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from vae_ablation.data.base import Dataset
from vae_ablation.data.examples import spaced
from vae_ablation.evaluation.features import log_counts, outer_library
from vae_ablation.models.priors import DEFAULT_PRIOR
from vae_ablation.report.explorer.arrays import Bundle, rounded
from vae_ablation.report.explorer.choice import Choice
from vae_ablation.report.explorer.layers import UndrawableError, decoder_steps, enough_bits
from vae_ablation.report.figures import style
from vae_ablation.report.figures.results import StudyResults
from vae_ablation.store.trained import TrainedRun, load_run
from vae_ablation.study.metrics import described

MAX_EXAMPLES = 400
MAX_VALUES = 1_000_000
"""Largest number of values in all originals together."""
CODE_BITS = 12
REACH = 4.0
"""Half the side of the plane that the page shows, in prior σ."""

SHOWN = ("rate", "active_units", "nll", "mse", "hole_rate", "probe_accuracy")
"""Metrics in the order in which the page shows them."""


def shown_rows(dataset: Dataset) -> NDArray[np.int64]:
    """Positions in the test split of the examples shown, evenly spaced: the same for all runs."""
    limit = max(1, min(MAX_EXAMPLES, MAX_VALUES // dataset.observed.dims))
    return spaced(len(dataset.rows("test")), limit)


def describe_examples(dataset: Dataset, rows: NDArray[np.int64]) -> dict[str, Any]:
    """Originals (8 bits of [0, top]), labels and classes with their colours."""
    x = dataset.intensities("test", rows)
    if dataset.observed.counts:
        library = outer_library(dataset, dataset.rows("test")[rows])
        x = log_counts(torch.from_numpy(x), dataset.observed.genes, library).numpy()
    labels = dataset.labels_of("test")
    classes = np.unique(labels[labels >= 0])
    top = max(1.0, float(x.max(initial=0.0)))
    bundle = Bundle()
    stored = bundle.add_bytes(np.round(255 * (x / top).clip(0, 1)).astype(np.uint8))
    ranks = [int(np.searchsorted(classes, label)) if label >= 0 else -1 for label in labels[rows]]
    return {
        "dataset": dataset.name,
        "shape": list(dataset.observed.shape),
        "top": top,
        "rows": rows.tolist(),
        "ranks": ranks,
        "classes": [
            {"name": dataset.label_name(label), "color": style.class_color(rank)}
            for rank, label in enumerate(classes.tolist())
        ],
        "unlabelled": style.class_color(-1),
        "originals": stored,
        "arrays": bundle.text(),
    }


def describe_run(
    results: StudyResults, choice: Choice, rows: NDArray[np.int64]
) -> dict[str, Any] | None:
    """One run as the page holds it; None where it has no codes.

    Args:
        results: the study.
        choice: the run.
        rows: positions of the shown examples in the test split.

    Raises:
        UserError: the run's weights cannot be read.
    """
    arrays = results.codes(choice.run)
    if arrays is None or not np.isfinite(arrays["mean"]).all():
        return None
    codes = rounded(arrays["mean"][rows], CODE_BITS)
    dimensions = dimension_order(results.rate_per_dim(choice.run), arrays["mean"])
    bundle = Bundle()
    described = {
        "likelihood": choice.likelihood,
        "latent_dim": choice.latent_dim,
        "arm": choice.arm,
        "label": choice.arm.label,
        "kind": choice.arm.kind,
        "color": style.arm_color(choice.arm),
        "run": choice.run,
        "dimensions": dimensions,
        "metrics": _metrics(results.metrics, choice.run),
        "codes": bundle.add(codes, CODE_BITS),
    }
    trained = load_run(results.study_dir / "runs" / choice.run)
    plane = [int(one["index"]) for one in dimensions[:2]]
    described |= describe_decoder(trained, bundle, probe_points(codes, plane))
    return described | {"arrays": bundle.text()}


def describe_decoder(
    trained: TrainedRun,
    bundle: Bundle,
    probes: NDArray[np.float32],
    context: torch.Tensor | None = None,
) -> dict[str, Any]:
    """Layers of a run's decoder (`steps`), or why it cannot be drawn (`undrawable`).

    Args:
        trained: the run.
        bundle: gets the weights.
        probes: points at which rounded weights are compared, [n, latent].
        context: the condition there, [n, context], where the page appends one to z.
    """
    if trained.run.prior != DEFAULT_PRIOR:
        return {"undrawable": f"the prior {trained.run.prior}, not the standard normal"}
    try:
        steps = decoder_steps(trained.model.decoder, context is not None)
    except UndrawableError as reason:
        return {"undrawable": str(reason)}
    bits = enough_bits(trained.model.decoder, probes, context)
    return {"steps": [step.store(bundle, bits) for step in steps]}


def dimension_order(
    rates: NDArray[np.float64] | None, means: NDArray[np.floating]
) -> list[dict[str, Any]]:
    """Dimensions by KL (nats), the largest first; without a KL by the variance of the means.

    In two dimensions the plane is the space, and they keep their order.
    """
    values = means.astype(np.float64).var(axis=0) if rates is None else rates
    order = np.argsort(-values, kind="stable") if len(values) > 2 else np.arange(len(values))
    what = "variance" if rates is None else "KL"
    return [
        {"index": int(index), "size": f"{what} {style.number(float(values[index]))}"}
        for index in order
    ]


def probe_points(codes: NDArray[np.float32], plane: Sequence[int]) -> NDArray[np.float32]:
    """Points for checking rounding: codes, the planes of the prior and the codes, [n, latent].

    The grids lie in the plane that is shown first, through the origin.
    """
    reach = [np.full(2, -REACH), np.full(2, REACH)]
    ends = [reach, [codes[:, list(plane)].min(axis=0), codes[:, list(plane)].max(axis=0)]]
    grids = [_grid(low, high, plane, codes.shape[1]) for low, high in ends]
    return np.concatenate([codes[:: max(1, len(codes) // 128)], *grids]).astype(np.float32)


def _grid(
    low: NDArray[np.floating], high: NDArray[np.floating], plane: Sequence[int], latent_dim: int
) -> NDArray[np.float32]:
    sides = [np.linspace(a, b, 11) for a, b in zip(low, high, strict=True)]
    points = np.zeros((121, latent_dim), np.float32)
    points[:, list(plane)] = np.stack(np.meshgrid(*sides), axis=-1).reshape(-1, 2)
    return points


def _metrics(table: pd.DataFrame, run: str) -> list[list[str]]:
    """Name and value with unit of each metric that the run has."""
    row = table[table["run"] == run].iloc[0]
    found = []
    for metric in map(described, SHOWN):
        if metric.name in row and not pd.isna(row[metric.name]):
            value = style.metric_value(metric.name, float(row[metric.name])) + metric.suffix
            loose = metric.bound is not None and row.get(metric.bound.flag) is True
            found.append([metric.label, f"{value} (loose bound)" if loose else value])
    return found
