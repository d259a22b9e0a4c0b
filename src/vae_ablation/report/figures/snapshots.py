"""Reconstructions of the same examples over the epochs of training."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from vae_ablation.report.figures import style
from vae_ablation.report.figures.layout import (
    TOP,
    Sheet,
    evenly,
    heading,
    image_aspect,
    left_out,
    show_mosaic,
)
from vae_ablation.report.figures.registry import figure
from vae_ablation.report.figures.results import Arrays, StudyResults
from vae_ablation.report.figures.selection import Selection, contrast_arms, first_runs
from vae_ablation.study.axes import ArmName

MAX_EPOCHS = 8
MAX_IMAGES = 10
_LABELS = 0.9
_VALUES = 1.15

Images = NDArray[np.uint8]


@figure(scope="likelihood", category="Training", per_latent_dim=True)
def training_snapshots(results: StudyResults, selection: Selection) -> Figure | None:
    """Reconstructions by epoch, a block for KL on and one for KL off, the originals below."""
    rows = selection.ok_rows(results)
    runs = first_runs(rows)
    snapshots = {
        arm: arrays
        for arm in contrast_arms(runs)
        if (arrays := results.snapshots(runs[arm])) is not None and len(arrays["epochs"])
    }
    if not snapshots:
        return None
    taken = np.unique(np.concatenate([arrays["epochs"] for arrays in snapshots.values()]))
    epochs = taken[evenly(len(taken), MAX_EPOCHS)].tolist()
    originals = next(iter(snapshots.values()))["originals"][:MAX_IMAGES]
    cell = min((style.FULL_WIDTH - _LABELS - _VALUES) / len(originals), 0.55)
    block = cell * image_aspect(originals) * (len(epochs) + 1) + 0.62
    sheet = Sheet(
        style.FULL_WIDTH, TOP + block * len(snapshots) + 0.02,
        heading("Reconstructions by epoch", selection, rows),
        note=left_out(selection.rows(results)),
    )  # fmt: skip
    for i, (arm, arrays) in enumerate(snapshots.items()):
        errors = [distortion_after(results, runs[arm], epoch) for epoch in epochs]
        _draw_block(sheet, TOP + 0.5 + i * block, arm, arrays, epochs, errors, cell)
    return sheet.figure


def images_after(snapshots: Arrays, epoch: int) -> Images:
    """The last snapshot up to an epoch, [k, H, W]: a run that stopped early keeps its last one."""
    last = int(np.searchsorted(snapshots["epochs"], epoch, side="right")) - 1
    images: Images = snapshots["images"][max(last, 0)][:MAX_IMAGES]
    return images


def distortion_after(results: StudyResults, run: str, epoch: int) -> float:
    """Distortion of the validation split after an epoch (nats); NaN where it is not known."""
    history = results.history(run)
    if history is None:
        return nan
    rows = history[(history["split"] == "validation") & (history["epoch"] <= epoch)]
    values = rows.sort_values("epoch")["distortion"].dropna()
    return float(values.iloc[-1]) if len(values) else nan


def _draw_block(
    sheet: Sheet,
    y: float,
    arm: ArmName,
    snapshots: Arrays,
    epochs: Sequence[int],
    distortions: Sequence[float],
    cell: float,
) -> None:
    """One arm: a row per epoch with its distortion at the right, then the originals."""
    originals = snapshots["originals"][:MAX_IMAGES]
    images = np.stack([*(images_after(snapshots, epoch) for epoch in epochs), originals])
    right, row = _LABELS + cell * len(originals), cell * image_aspect(originals)
    color = style.arm_color(arm)
    sheet.text(_LABELS, y - 0.14, arm.label, weight="bold", color=color)
    sheet.text(right + 0.1, y - 0.2, "distortion\n(nats)", size=7.5, color=style.GREY)
    show_mosaic(sheet.axes(_LABELS, y, right - _LABELS, row * len(images)), images, color)
    for i, (epoch, distortion) in enumerate(zip(epochs, distortions, strict=True)):
        sheet.text(0.1, y + (i + 0.5) * row, f"epoch {epoch}")
        sheet.text(right + 0.1, y + (i + 0.5) * row, style.number(distortion), size=8)
    sheet.text(0.1, y + (len(epochs) + 0.5) * row, "originals")
