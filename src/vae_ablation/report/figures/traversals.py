"""Decoded points of the latent space: traversals of one dimension, and the centre."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from seaborn import color_palette

from vae_ablation.data.examples import drawable
from vae_ablation.report.figures import style
from vae_ablation.report.figures.layout import (
    MIN_WIDTH,
    TOP,
    Sheet,
    heading,
    image_aspect,
    left_out,
    show_mosaic,
)
from vae_ablation.report.figures.registry import figure
from vae_ablation.report.figures.results import Arrays, StudyResults
from vae_ablation.report.figures.selection import (
    Selection,
    choose_arms,
    choose_latent_dims,
    contrast_arms,
    first_runs,
)
from vae_ablation.study.axes import ArmName

MAX_ARCHETYPES = 7
_LABELS = 1.25
_RANGES = 1.35
_HEAD = 0.62
_DIFFERENCE = color_palette("RdBu_r", as_cmap=True)


@figure(scope="likelihood", category="Latent space", per_latent_dim=True)
def traversals(results: StudyResults, selection: Selection) -> Figure | None:
    """Each latent dimension walked from one example's code, the largest KL first, KL on and off."""
    rows = selection.ok_rows(results)
    runs = first_runs(rows)
    found = {
        arm: pictures
        for arm in contrast_arms(runs)
        if (pictures := results.pictures(runs[arm])) is not None and "traversals" in pictures
    }
    if not found:
        return None
    images = [pictures["traversals"] for pictures in found.values()]
    steps = images[0].shape[1]
    cell = min((style.FULL_WIDTH - _LABELS - _RANGES) / steps, 0.5)
    row = cell * image_aspect(images[0])
    every = selection.rows(results)
    sheet = Sheet(
        max(_LABELS + _RANGES + steps * cell, MIN_WIDTH),
        TOP + sum(_HEAD + row * len(walks) for walks in images),
        heading("Latent traversals", selection, rows), note=left_out(every),
    )  # fmt: skip
    y = TOP + 0.05
    for arm, pictures in found.items():
        codes = results.codes(runs[arm])
        anchor = None if codes is None else codes["mean"][pictures["index"][0]]
        _draw_walks(sheet, y, arm, pictures, anchor, cell)
        y += _HEAD + row * len(pictures["traversals"])
    return sheet.figure


def _draw_walks(
    sheet: Sheet, y: float, arm: ArmName, pictures: Arrays, anchor: NDArray[Any] | None, cell: float
) -> None:
    """One arm's walks, a row per dimension: its KL at the left, its range at the right."""
    walks, ends = pictures["traversals"], pictures["traversal_range"]
    steps, row = walks.shape[1], cell * image_aspect(walks)
    top, right = y + _HEAD - 0.14, _LABELS + walks.shape[1] * cell
    sheet.text(_LABELS, y + 0.14, arm.label, size=9.5, weight="bold",
               color=style.arm_color(arm))  # fmt: skip
    for x, text in ((0.1, "code"), (0.58, "KL (nats)"), (right + 0.12, "from, to (prior σ)")):
        sheet.text(x, top - 0.13, text, size=7.5, color=style.GREY)
    ax = sheet.axes(_LABELS, top, steps * cell, row * len(walks))
    show_mosaic(ax, walks, style.arm_color(arm))
    for i, (dim, (low, high)) in enumerate(zip(pictures["traversal_dims"], ends, strict=True)):
        middle = top + (i + 0.5) * row
        sheet.text(0.1, middle, f"z{_subscript(int(dim) + 1)}")
        if "traversal_kl" in pictures:
            kl = style.number(pictures["traversal_kl"][i])
            sheet.text(_LABELS - 0.15, middle, kl, ha="right")
        sheet.text(right + 0.12, middle, f"{low:.3g} to {high:.3g}".replace("-", "−"), size=8)
    if anchor is not None:
        _mark(ax, anchor[pictures["traversal_dims"]], ends, steps)


def _mark(ax: Axes, anchor: NDArray[Any], ends: NDArray[Any], steps: int) -> None:
    """A tick at the lower edge of each row where the example itself lies on its walk, if it does.

    Args:
        ax: axes of the mosaic, in cells.
        anchor: the example's coordinates, [rows].
        ends: ends of the walks, [rows, 2].
        steps: cells in a row.
    """
    length = np.ptp(ends, axis=1)
    place = (anchor - ends[:, 0]) / np.where(length > 0, length, 1)
    x, y = 0.5 + place * (steps - 1), np.arange(len(ends)) + 0.93
    on = (place >= 0) & (place <= 1)
    ax.plot(
        x[on], y[on], linestyle="none", marker="^", markersize=5, color="#ffd500",
        markeredgecolor="#333333", markeredgewidth=0.6,
    )  # fmt: skip


def _subscript(number: int) -> str:
    return str(number).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


@figure(scope="likelihood", category="Reconstructions and samples")
def archetype(results: StudyResults, selection: Selection) -> Figure | None:
    """E[x | z = 0] of each arm next to the mean of the data, and their difference."""
    rows = selection.ok_rows(results)
    dims = choose_latent_dims(rows["latent_dim"].dropna())
    arms = choose_arms(rows, MAX_ARCHETYPES)
    found = {dim: _archetypes(results, rows[rows["latent_dim"] == dim], arms) for dim in dims}
    found = {dim: pictures for dim, pictures in found.items() if pictures}
    if not found:
        return None
    average = next(iter(next(iter(found.values())).values()))["data_mean"]
    arms = [arm for arm in arms if any(arm in pictures for pictures in found.values())]
    return _draw_archetypes(results, selection, found, arms, average)


def _archetypes(
    results: StudyResults, rows: pd.DataFrame, arms: list[ArmName]
) -> dict[ArmName, Arrays]:
    runs = first_runs(rows)
    return {
        arm: pictures
        for arm in arms
        if arm in runs
        and (pictures := results.pictures(runs[arm])) is not None
        and "archetype" in pictures
    }


def _draw_archetypes(
    results: StudyResults,
    selection: Selection,
    found: dict[int, dict[ArmName, Arrays]],
    arms: list[ArmName],
    average: NDArray[np.uint8],
) -> Figure:
    """A block for each latent dimension: the images, and below them the differences."""
    every = selection.rows(results)
    left = 1.0
    cell = min((style.FULL_WIDTH - left - 0.15) / (len(arms) + 1), 0.86)
    row = cell * image_aspect(average)
    top, block = TOP + 0.3, 2 * row + 0.38
    sheet = Sheet(
        max(left + (len(arms) + 1) * cell + 0.15, MIN_WIDTH), top + block * len(found) + 0.42,
        heading("Archetype and data mean", selection, every), note=left_out(every),
    )  # fmt: skip
    _name_columns(sheet, left, top, arms, cell)
    blocks = {dim: _stack(pictures, arms, average) for dim, pictures in found.items()}
    limit = max(float(np.nanmax(np.abs(differences(images)))) for images in blocks.values()) or 1.0
    for i, (dim, images) in enumerate(blocks.items()):
        y = top + i * block
        sheet.text(0.1, y + row / 2, f"latent\ndimension\n{dim}", size=8.5, linespacing=1.2)
        _draw_block(sheet, left, y, images, cell, limit)
    _difference_scale(sheet, left + cell, top + block * len(found) + 0.02, limit)
    return sheet.figure


def _name_columns(sheet: Sheet, left: float, top: float, arms: list[ArmName], cell: float) -> None:
    sheet.text(left + cell / 2, top - 0.16, "data mean", ha="center", size=8)
    for j, arm in enumerate(arms, start=1):
        label = style.short(arm.label, max(8, int(cell * 14)))
        sheet.text(left + (j + 0.5) * cell, top - 0.16, label, ha="center", size=8)
        sheet.bar(left + j * cell + 0.03, top - 0.07, cell - 0.06, 0.04, style.arm_color(arm))


def _stack(
    pictures: dict[ArmName, Arrays], arms: list[ArmName], average: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """Data mean and archetypes side by side, [1 + arms, H, W], 0 to 255; NaN without a run.

    Pictures in colour have a last axis of three channels.
    """
    first = drawable(average).astype(float)
    blank = np.full(first.shape, np.nan)
    rest = [drawable(pictures[arm]["archetype"]) if arm in pictures else blank for arm in arms]
    return np.stack([first, *rest]).astype(float)


def differences(images: NDArray[np.float64]) -> NDArray[np.float64]:
    """Archetypes minus the data mean, [arms, H, W], intensity from −1 to 1; the mean over channels.

    Args:
        images: the data mean, then the archetypes, [1 + arms, H, W], from 0 to 255.
    """
    found = _changes(images)
    return found.mean(-1) if found.ndim == 4 else found


def _changes(images: NDArray[np.float64]) -> NDArray[np.float64]:
    """The differences of each channel."""
    return (images[1:] - images[0]) / 255


def _draw_block(
    sheet: Sheet, x: float, y: float, images: NDArray[np.float64], cell: float, limit: float
) -> None:
    row = cell * images.shape[1] / images.shape[2]
    _draw_row(sheet.axes(x, y, cell * images.shape[0], row), images, "gray", (0, 255))
    found = differences(images)
    ax = sheet.axes(x + cell, y + row, cell * len(found), row)
    _draw_row(ax, found, _DIFFERENCE, (-limit, limit))
    sheet.text(x + 0.03, y + 1.5 * row, "difference", size=8, color=style.GREY)
    sheet.text(x + 0.03, y + 2 * row + 0.1, "its RMS", size=8, color=style.GREY)
    squares = np.square(_changes(images)).reshape(len(found), -1)
    for j, size in enumerate(np.sqrt(squares.mean(1)), start=1):
        text = style.number(float(size))
        sheet.text(x + (j + 0.5) * cell, y + 2 * row + 0.1, text, ha="center", size=8)


def _draw_row(
    ax: Axes, images: NDArray[np.float64], colors: Any, limits: tuple[float, float]
) -> None:
    """Images [n, H, W] in a row, white lines between them; nothing where they are NaN."""
    row = np.concatenate(list(images), axis=1)
    row = np.nan_to_num(row / 255, nan=1.0) if row.ndim == 3 else row
    ax.imshow(
        row, cmap=colors, vmin=limits[0], vmax=limits[1],
        aspect="auto", extent=(0, len(images), 1, 0),
    )  # fmt: skip
    for edge in range(len(images) + 1):
        ax.axvline(edge, color="white", linewidth=4)
    ax.axhline(1, color="white", linewidth=4)
    ax.axis("off")


def _difference_scale(sheet: Sheet, x: float, y: float, limit: float) -> None:
    ax = sheet.axes(x, y, 1.8, 0.1)
    ax.imshow(np.linspace(-1, 1, 64)[None], cmap=_DIFFERENCE, aspect="auto", extent=(-1, 1, 0, 1))
    end = style.number(limit)
    ax.set_xticks([-1, 0, 1], [f"−{end}", "0", f"+{end}"])
    ax.set_yticks([])
    ax.grid(False)
    ax.tick_params(length=2, labelsize=7.5, pad=1.5)
    sheet.text(x + 1.95, y + 0.05, "E[x | z = 0] − data mean (intensity)", size=8)
