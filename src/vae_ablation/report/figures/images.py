"""Pictures that runs have made of held-out examples, of the prior and of paths between codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from vae_ablation.report.figures import style
from vae_ablation.report.figures.layout import (
    TOP,
    Sheet,
    heading,
    image_aspect,
    left_out,
    panels,
    show_mosaic,
)
from vae_ablation.report.figures.registry import figure
from vae_ablation.report.figures.results import Arrays, StudyResults
from vae_ablation.report.figures.selection import Selection, choose_arms, first_runs
from vae_ablation.study.axes import ArmName

MAX_ROWS = 8
MAX_PANELS = 8
MAX_MANIFOLDS = 6
MAX_PAIRS = 3
MAX_PATHS = 5
MAX_CLASS_PANELS = 4
_LABEL_WIDTH = 1.15
_NUMBER_WIDTH = 0.75

Strip = tuple[str, NDArray[Any], str | None]
"""Label, images [columns, H, W] and colour of one row of images."""


def _pictures(
    results: StudyResults, selection: Selection, key: str, cap: int
) -> dict[ArmName, tuple[str, Arrays]]:
    """Run and pictures of each chosen arm's lowest seed that has an array of this name."""
    rows = selection.ok_rows(results)
    found: dict[ArmName, tuple[str, Arrays]] = {}
    runs = first_runs(rows)
    for arm in choose_arms(rows, cap):
        arrays = results.pictures(runs[arm])
        if arrays is not None and arrays.get(key, np.zeros(0)).size:
            found[arm] = (runs[arm], arrays)
    return found


def _value(rows: pd.DataFrame, run: str, metric: str) -> str:
    if metric not in rows:
        return ""
    value = rows.loc[rows["run"] == run, metric].iloc[0]
    return "" if pd.isna(value) else style.number(float(value))


@figure(scope="likelihood", category="Reconstructions and samples", per_latent_dim=True)
def reconstructions(results: StudyResults, selection: Selection) -> Figure | None:
    """Held-out originals in the top row, below them E[x | z = posterior mean], a row per arm."""
    found = _pictures(results, selection, "reconstructions", MAX_ROWS)
    if not found:
        return None
    rows = selection.ok_rows(results)
    originals = next(iter(found.values()))[1]["originals"]
    strips: list[Strip] = [("originals", originals, None)]
    strips += [_arm_strip(arm, arrays["reconstructions"]) for arm, (_, arrays) in found.items()]
    cell = min((style.FULL_WIDTH - _LABEL_WIDTH - _NUMBER_WIDTH) / len(originals), 0.75)
    width = _LABEL_WIDTH + _NUMBER_WIDTH + cell * len(originals)
    step = cell * image_aspect(originals)
    top = TOP + 0.22
    sheet = Sheet(
        width, top + step * len(strips) + 0.1, heading("Reconstructions", selection, rows),
        note=left_out(selection.rows(results)),
    )  # fmt: skip
    _draw_strips(sheet, top, strips, cell)
    sheet.text(width - 0.62, top - 0.1, "MSE", size=8.5, color=style.GREY)
    for i, (run, _) in enumerate(found.values(), start=1):
        sheet.text(width - 0.62, top + (i + 0.5) * step, _value(rows, run, "mse"), size=9)
    return sheet.figure


def _arm_strip(arm: ArmName, images: NDArray[Any]) -> Strip:
    return arm.label, images, style.arm_color(arm)


def _draw_strips(sheet: Sheet, y: float, strips: list[Strip], cell: float) -> None:
    """Rows of images from y inches down, each with its label and a bar in the arm's colour."""
    images = np.stack([images for _, images, _ in strips])
    step = cell * image_aspect(images)
    ax = sheet.axes(_LABEL_WIDTH, y, cell * images.shape[1], step * len(strips))
    show_mosaic(ax, images)
    for i, (label, _, color) in enumerate(strips):
        sheet.text(0.1, y + (i + 0.5) * step, style.short(label, 16))
        if color is not None:
            sheet.bar(_LABEL_WIDTH - 0.1, y + i * step + 0.03, 0.06, step - 0.06, color)


@figure(scope="likelihood", category="Reconstructions and samples", per_latent_dim=True)
def samples(results: StudyResults, selection: Selection) -> Figure | None:
    """Decoder means at draws from the prior, the same draws in every panel, a panel per arm."""
    found = _pictures(results, selection, "samples", MAX_PANELS)
    if not found:
        return None
    rows = selection.ok_rows(results)
    first = next(iter(found.values()))[1]["samples"]
    fig, axes = panels(
        len(found), heading("Samples from the prior", selection, rows), columns=4, left=0.15,
        aspect=image_aspect(first), gap=(0.2, 0.45), bottom=0.15, largest=2.4,
        note=left_out(selection.rows(results)),
    )  # fmt: skip
    for ax, (arm, (run, arrays)) in zip(axes, found.items(), strict=True):
        rate = _value(rows, run, "rate")
        show_mosaic(ax, square(arrays["samples"]), style.arm_color(arm))
        ax.set_title(arm.label + (f"  (rate {rate})" if rate else ""), size=9)
    return fig


def square(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images [n, H, W] as a grid [s, s, H, W], s² the largest square number not above n."""
    side = int(np.sqrt(len(images)))
    return images[: side * side].reshape(side, side, *images.shape[1:])


@figure(scope="likelihood", category="Latent space", per_latent_dim=True)
def manifold(results: StudyResults, selection: Selection) -> Figure | None:
    """The latent plane on a grid of quantiles of the prior, decoded; latent_dim 2 only."""
    if selection.latent_dim != 2:
        return None
    found = _pictures(results, selection, "manifold", MAX_MANIFOLDS)
    if not found:
        return None
    every = selection.rows(results)
    first = next(iter(found.values()))[1]["manifold"]
    fig, axes = panels(
        len(found), heading("Decoded latent plane", selection, every), left=0.6, gap=(0.2, 0.4),
        bottom=0.45, aspect=image_aspect(first), note=left_out(every),
    )  # fmt: skip
    for i, (ax, (arm, (_, arrays))) in enumerate(zip(axes, found.items(), strict=True)):
        show_mosaic(ax, arrays["manifold"], style.arm_color(arm), lines=False)
        ax.set_title(arm.label)
        _quantile_ticks(ax, arrays["manifold_quantiles"], left=i % 3 == 0, below=i + 3 >= len(axes))
    return fig


def _quantile_ticks(ax: Axes, quantiles: NDArray[Any], left: bool, below: bool) -> None:
    """Name three quantiles on the outer sides; the top row is the highest second coordinate."""
    m = len(quantiles)
    shown = sorted({0, m // 2, m - 1})
    names = [f"{quantiles[i]:.2g}" for i in shown]
    if below:
        ax.set_xticks([i + 0.5 for i in shown], names)
        ax.set_xlabel("prior quantile of z₁", size=8.5)
    if left:
        ax.set_yticks([m - i - 0.5 for i in shown], names)
        ax.set_ylabel("prior quantile of z₂", size=8.5)
    ax.tick_params(length=2)


@figure(scope="likelihood", category="Reconstructions and samples", per_latent_dim=True)
def interpolations(results: StudyResults, selection: Selection) -> Figure | None:
    """Straight lines between the codes of two examples of two labels, decoded, a row per arm."""
    found = _pictures(results, selection, "interpolations", MAX_PATHS)
    if not found:
        return None
    every = selection.rows(results)
    first = next(iter(found.values()))[1]
    pairs = first["interpolation_labels"][:MAX_PAIRS]
    steps = first["interpolations"].shape[1]
    cell = min((style.FULL_WIDTH - _LABEL_WIDTH - 0.15) / steps, 0.62)
    block = cell * image_aspect(first["interpolations"]) * len(found) + 0.36
    sheet = Sheet(
        _LABEL_WIDTH + 0.15 + cell * steps, TOP + block * len(pairs) + 0.05,
        heading("Interpolations", selection, every), note=left_out(every),
    )  # fmt: skip
    for p, (a, b) in enumerate(pairs):
        y = TOP + block * p
        strips = [
            _arm_strip(arm, arrays["interpolations"][p]) for arm, (_, arrays) in found.items()
        ]
        ends = (style.short(str(label), 24) for label in (a, b))
        sheet.text(_LABEL_WIDTH, y + 0.15, "from label {} to label {}".format(*ends), size=9.5)
        _draw_strips(sheet, y + 0.28, strips, cell)
    return sheet.figure


@figure(scope="likelihood", category="Reconstructions and samples", per_latent_dim=True)
def class_samples(results: StudyResults, selection: Selection) -> Figure | None:
    """Decoder means at draws from the prior, a row per conditioning label."""
    found = _pictures(results, selection, "class_samples", MAX_CLASS_PANELS)
    if not found:
        return None
    rows = selection.ok_rows(results)
    arrays = next(iter(found.values()))[1]
    first = arrays["class_samples"]
    classes, columns = first.shape[:2]
    names = [style.short(str(name), 12) for name in arrays.get("class_names", range(classes))]
    fig, axes = panels(
        len(found), heading("Samples by class", selection, rows), columns=2,
        left=0.48 + 0.07 * max(map(len, names)),
        aspect=image_aspect(first[0]) * classes / columns, gap=(0.45, 0.45), bottom=0.3,
        note=left_out(selection.rows(results)),
    )  # fmt: skip
    for ax, (arm, (_, arrays)) in zip(axes, found.items(), strict=True):
        show_mosaic(ax, arrays["class_samples"], style.arm_color(arm))
        ax.set_title(arm.label, size=9)
        ax.set_yticks([i + 0.5 for i in range(classes)], names)
        ax.set_ylabel("conditioning label", size=8.5)
        ax.tick_params(length=0)
    return fig
