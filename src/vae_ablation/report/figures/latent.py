"""The latent space as a plane: codes of held-out examples, and the prior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from vae_ablation.report.figures import style
from vae_ablation.report.figures.aggregate import draw_regions
from vae_ablation.report.figures.drawing import Drawing
from vae_ablation.report.figures.layout import (
    TOP,
    Sheet,
    evenly,
    grey_handle,
    heading,
    image_aspect,
    left_out,
    panels,
    show_mosaic,
    square,
)
from vae_ablation.report.figures.registry import figure
from vae_ablation.report.figures.results import Arrays, StudyResults
from vae_ablation.report.figures.selection import (
    Selection,
    choose_arms,
    contrast_arms,
    first_runs,
    umap_runs,
)
from vae_ablation.study.axes import ArmName
from vae_ablation.study.metrics import described

MAX_PANELS = 6
MAX_POINTS = 3000
MAX_NAMED_CLASSES = 20
_ZOOM_ABOVE = 2.5
NUMBERS = (
    "code_rms", "posterior_std", "rate", "distortion", "elbo", "nll", "mse", "knn_accuracy",
    "sample_fid", "epochs",
)  # fmt: skip

Array = NDArray[Any]


@figure(scope="likelihood", category="Latent space", per_latent_dim=True)
def latent_space(results: StudyResults, selection: Selection) -> Drawing | None:
    """Codes coloured by label: the plane itself at latent_dim 2, UMAP above it."""
    if selection.latent_dim == 2:
        return _planes(results, selection)
    return _embeddings(results, selection)


def _planes(results: StudyResults, selection: Selection) -> Drawing | None:
    rows = selection.ok_rows(results)
    runs = first_runs(rows)
    found = {
        arm: codes
        for arm in choose_arms(rows, MAX_PANELS)
        if (codes := results.codes(runs[arm])) is not None
    }
    if not found:
        return None
    classes = _classes(found.values())
    fig, axes = panels(
        len(found), heading("Latent space", selection, rows), gap=(0.5, 0.8),
        legend=[*_class_handles(classes, _class_names(found.values())), *_prior_handles()],
        note=left_out(selection.rows(results)),
    )  # fmt: skip
    for i, (ax, (arm, codes)) in enumerate(zip(axes, found.items(), strict=True)):
        scatter(ax, codes["mean"], codes["labels"], classes, called=_class_names([codes]))
        draw_prior(ax, arm, results.density(runs[arm]))
        limit = plane_limit([codes["mean"]])
        ax.set(xlim=(-limit, limit), ylim=(-limit, limit))
        _plane_axes(ax, first=i % 3 == 0)
        _arm_title(ax, arm, rows, runs[arm])
    return Drawing(fig, _code_rows({arm: (c["mean"], c["labels"]) for arm, c in found.items()}))


def _embeddings(results: StudyResults, selection: Selection) -> Drawing | None:
    rows = selection.ok_rows(results)
    found: dict[ArmName, tuple[str, Array, dict[str, Array]]] = {}
    runs = first_runs(rows[rows["run"].isin(umap_runs(rows))])
    for arm in contrast_arms(runs):
        run = runs[arm]
        embedding, codes = results.umap(run), results.codes(run)
        if embedding is not None and codes is not None:
            found[arm] = (run, embedding, codes)
    if not found:
        return None
    every = [codes for _, _, codes in found.values()]
    classes = _classes(every)
    fig, axes = panels(
        len(found), heading("Latent space by UMAP", selection, rows), columns=2, left=0.45,
        gap=(0.35, 0.6), bottom=0.4, legend=_class_handles(classes, _class_names(every)),
        note=left_out(selection.rows(results)),
    )  # fmt: skip
    for ax, (arm, (run, embedding, codes)) in zip(axes, found.items(), strict=True):
        scatter(ax, embedding, codes["labels"], classes, called=_class_names([codes]))
        ax.set(xticks=[], yticks=[], xlabel="UMAP 1 (no unit)")
        _arm_title(ax, arm, rows, run)
    axes[0].set_ylabel("UMAP 2 (no unit)")
    points = {arm: (embedding, codes["labels"]) for arm, (_, embedding, codes) in found.items()}
    return Drawing(fig, _code_rows(points))


def _code_rows(points: dict[ArmName, tuple[Array, Array]]) -> pd.DataFrame:
    """Coordinates and labels of every example of the test split that is drawn, by arm."""
    tables = []
    for arm, (values, labels) in points.items():
        take = evenly(len(values), MAX_POINTS)
        x, y = values[take, 0], values[take, 1]
        tables.append(
            pd.DataFrame({"arm": arm, "example": take, "x": x, "y": y, "label": labels[take]})
        )
    return pd.concat(tables)


def _arm_title(ax: Axes, arm: ArmName, rows: pd.DataFrame, run: str) -> None:
    ax.set_title(arm.label, pad=6)
    ax.spines["top"].set(visible=True, color=style.arm_color(arm), linewidth=3)
    if "knn_accuracy" in rows:
        accuracy = rows.loc[rows["run"] == run, "knn_accuracy"].iloc[0]
        if not pd.isna(accuracy):
            _corner(ax, f"15-NN {accuracy:.2f}")


def _corner(ax: Axes, text: str) -> None:
    ax.text(
        0.98, 0.02, text, transform=ax.transAxes, ha="right", va="bottom", size=8,
        path_effects=[withStroke(linewidth=2.5, foreground="white")], zorder=5,
    )  # fmt: skip


def _class_names(codes: Any) -> Sequence[str]:
    """Names of the label classes, empty where they are bare numbers."""
    return next((list(arrays["label_names"]) for arrays in codes if "label_names" in arrays), [])


def _classes(codes: Any) -> list[int]:
    """Labels that occur, ascending, without -1 (no label)."""
    return sorted({int(label) for part in codes for label in np.unique(part["labels"])} - {-1})


def scatter(
    ax: Axes,
    points: Array,
    labels: Array,
    classes: Sequence[int],
    names: bool = True,
    called: Sequence[str] = (),
) -> None:
    """Draw points [n, 2] coloured by label [n]; with `names`, write each class near its median.

    `called` holds names of classes, as in `_class_handles`. At most MAX_POINTS evenly spaced rows
    are drawn; the order stays, so no class covers another.
    """
    take = evenly(len(points), MAX_POINTS)
    xy, shown = points[take, :2], labels[take]
    ranks = np.array([_rank(label, classes) for label in shown])
    size = float(np.clip(6000 / max(len(xy), 1), 4, 16))
    for marker in dict.fromkeys(style.class_marker(int(rank)) for rank in np.unique(ranks)):
        of = np.array([style.class_marker(int(rank)) == marker for rank in ranks])
        colors = [style.class_color(int(rank)) for rank in ranks[of]]
        ax.scatter(
            xy[of, 0], xy[of, 1], s=size, c=colors, marker=marker, linewidths=0, alpha=0.75,
            rasterized=True,
        )  # fmt: skip
    if names and 1 < len(classes) <= MAX_NAMED_CLASSES:
        _name_classes(ax, points, labels, _marks(classes, called))


def _rank(label: Any, classes: Sequence[int]) -> int:
    return int(np.searchsorted(classes, label)) if label in classes else -1


def _name_classes(ax: Axes, points: Array, labels: Array, marks: dict[int, str]) -> None:
    for label, mark in marks.items():
        mine = points[labels == label, :2]
        if len(mine):
            # The median of a class in two parts lies where no point is: take the nearest one.
            x, y = mine[np.abs(mine - np.median(mine, axis=0)).sum(1).argmin()]
            ax.text(
                x, y, mark, ha="center", va="center", size=9, weight="bold", zorder=4,
                path_effects=[withStroke(linewidth=2.5, foreground="white")], clip_on=True,
            )  # fmt: skip


_SHORT_NAME = 3
"""Characters of a name that is written into a plane."""


def _marks(classes: Sequence[int], names: Sequence[str]) -> dict[int, str]:
    """Texts that stand for the classes in a plane: short names or numbers, else their positions.

    A number as a name is always written out: beside it a position would be taken for a label.
    """
    called = {label: str(names[label]) if len(names) else str(label) for label in classes}
    plain = all(len(name) <= _SHORT_NAME or _is_number(name) for name in called.values())
    return called if plain else {label: str(label) for label in classes}


def _is_number(name: str) -> bool:
    return name.lstrip("-").replace(".", "", 1).isdigit()


def _class_handles(classes: Sequence[int], names: Sequence[str] = ()) -> list[Artist]:
    """Legend of the classes: what stands for each in the plane, and its name beside a position."""
    if not 1 < len(classes) <= MAX_NAMED_CLASSES:
        return []
    marks = _marks(classes, names)
    return [
        Line2D(
            [], [], linestyle="none", marker=style.class_marker(rank), markersize=6,
            color=style.class_color(rank), markeredgewidth=0,
            label=(
                f"label {marks[label]}"
                if not len(names) or marks[label] == names[label]
                else f"{marks[label]} {names[label]}"
            ),
        )
        for rank, label in enumerate(classes)
    ]  # fmt: skip


def _prior_handles() -> list[Artist]:
    return [grey_handle("prior, 1σ and 2σ", linewidth=1.2, linestyle=(0, (4, 2)))]


def draw_prior(ax: Axes, arm: ArmName, density: Arrays | None = None) -> None:
    """One and two standard deviations of the prior in a latent plane.

    Of N(0, I) these are circles, of another prior the regions that hold as much of it; they come
    with the run's density, without which nothing is drawn.
    """
    if "prior" in arm.further:
        if density is not None and "prior_log_p" in density:
            draw_regions(ax, density, 0, 2)
        return
    for radius in (1, 2):
        ax.add_patch(
            Circle(
                (0, 0), radius, fill=False, edgecolor="#222222", linewidth=1.2,
                linestyle=(0, (4, 2)), zorder=3,
            )
        )  # fmt: skip


def plane_limit(means: Sequence[Array]) -> float:
    """Half-width of a square that holds every code [n, 2] and the two-sigma circle."""
    finite = [np.abs(mean[np.isfinite(mean)]).max(initial=0) for mean in means]
    return float(max(2.3, 1.06 * max(finite, default=0)))


def _plane_axes(ax: Axes, first: bool) -> None:
    ax.set_aspect("equal")
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.set_xlabel("z₁ (prior σ)")
    if first:
        ax.set_ylabel("z₂ (prior σ)")


@figure(scope="likelihood", category="KL on against KL off", per_latent_dim=True)
def kl_on_off(results: StudyResults, selection: Selection) -> Drawing | None:
    """KL on (β nearest 1) beside KL off: codes on common axes, samples of both, the numbers."""
    if selection.latent_dim != 2:
        return None
    rows = selection.ok_rows(results)
    runs = first_runs(rows)
    arms = contrast_arms(runs)
    codes = {arm: found for arm in arms if (found := results.codes(runs[arm])) is not None}
    if len(codes) < 2:
        return None
    pictures = {arm: results.pictures(runs[arm]) for arm in codes}
    note = left_out(selection.rows(results))
    figure = _draw_contrast(selection, rows, codes, pictures, note)
    return Drawing(figure, _code_rows({arm: (c["mean"], c["labels"]) for arm, c in codes.items()}))


def _draw_contrast(
    selection: Selection,
    rows: pd.DataFrame,
    codes: dict[ArmName, Arrays],
    pictures: dict[ArmName, Arrays | None],
    note: str,
) -> Figure:
    classes = _classes(codes.values())
    side, left, gap, table = 2.36, 0.62, 0.45, 1.98
    top = TOP + 0.3
    shown = {arm: square(found["samples"]) for arm, found in pictures.items() if found is not None}
    aspect = image_aspect(next(iter(shown.values()))) if shown else 0.0
    below = top + side + 0.8
    height = below + side * aspect + 0.12 if shown else below - 0.3
    sheet = Sheet(
        style.FULL_WIDTH, height, heading("KL on against KL off", selection, rows),
        legend=[*_class_handles(classes, _class_names(codes.values())), *_prior_handles()],
        note=note,
    )  # fmt: skip
    limit = plane_limit([found["mean"] for found in codes.values()])
    for i, (arm, found) in enumerate(codes.items()):
        x = left + i * (side + gap)
        _plane_panel(sheet.axes(x, top, side, side), arm, found, classes, limit, i == 0)
        if arm in shown:
            ax = sheet.axes(x, below, side, side * aspect)
            show_mosaic(ax, shown[arm], style.arm_color(arm))
            ax.set_title(f"samples from the prior, {arm.label}", size=9)
    _numbers(sheet, rows, list(codes), style.FULL_WIDTH - table, top - 0.12, height)
    return sheet.figure


def _plane_panel(
    ax: Axes, arm: ArmName, codes: Arrays, classes: Sequence[int], limit: float, first: bool
) -> None:
    label = arm.label
    shrunk = limit > _ZOOM_ABOVE * plane_limit([codes["mean"]])
    # On axes that shrink the codes to a spot, the names of the classes would hide it.
    _plane(ax, arm, codes, classes, limit, names=not shrunk)
    _plane_axes(ax, first)
    if shrunk:
        _zoom(ax, arm, codes, classes)
    ax.set_title(f"KL on, {label}" if first else label, pad=6)
    ax.spines["top"].set(visible=True, color=style.arm_color(arm), linewidth=3)


def _plane(
    ax: Axes, arm: ArmName, codes: Arrays, classes: Sequence[int], limit: float, names: bool = True
) -> None:
    scatter(ax, codes["mean"], codes["labels"], classes, names, _class_names([codes]))
    _posterior_widths(ax, codes)
    draw_prior(ax, arm)
    ax.set(xlim=(-limit, limit), ylim=(-limit, limit))


def _posterior_widths(ax: Axes, codes: Arrays) -> None:
    """One standard deviation of each posterior around its mean, as a pale ellipse."""
    take = evenly(len(codes["mean"]), MAX_POINTS)
    widths = 2 * codes["std"][take]
    ellipses = EllipseCollection(
        widths[:, 0], widths[:, 1], np.zeros(len(take)), units="xy", offsets=codes["mean"][take],
        offset_transform=ax.transData, facecolor=style.GREY, alpha=0.3, linewidth=0, zorder=0.5,
        rasterized=True,
    )  # fmt: skip
    ax.add_collection(ellipses)


def _zoom(ax: Axes, arm: ArmName, codes: Arrays, classes: Sequence[int]) -> None:
    """Show codes that the common axes have shrunk to a spot once more, enlarged, in a corner."""
    limit = plane_limit([codes["mean"]])
    inset = ax.inset_axes((0.53, 0.03, 0.44, 0.44))
    _plane(inset, arm, codes, classes, limit)
    inset.set(xticks=[], yticks=[], facecolor="white")
    inset.set_title(f"enlarged: ±{limit:.1f} σ", size=8, pad=2)
    for spine in inset.spines.values():
        spine.set(visible=True, color=style.GREY, linewidth=0.8)


def _numbers(
    sheet: Sheet, rows: pd.DataFrame, arms: list[ArmName], x: float, y: float, lowest: float
) -> None:
    """Mean over seeds of both arms, their range below it in small print, as many as fit."""
    columns = [x + 0.83, x + 1.86]
    for arm, at in zip(arms, columns, strict=True):
        sheet.text(at, y, arm.label, ha="right", weight="bold", color=style.arm_color(arm))
    for metric in NUMBERS:
        cells = [_over_seeds(rows, arm, metric) for arm in arms]
        if all(cell is None for cell in cells) or y + 0.6 > lowest:
            continue
        sheet.text(x, y + 0.24, described(metric).measured_in, size=8, color=style.GREY)
        for cell, at in zip(cells, columns, strict=True):
            mean, spread = cell or ("–", "")
            sheet.text(at, y + 0.40, mean, ha="right", size=9.5)
            sheet.text(at, y + 0.55, spread, ha="right", size=7, color=style.GREY)
        y += 0.53


def _over_seeds(rows: pd.DataFrame, arm: ArmName, metric: str) -> tuple[str, str] | None:
    if metric not in rows:
        return None
    values = rows.loc[rows["arm"] == arm, metric].dropna()
    if values.empty:
        return None
    low, high = style.number(values.min()), style.number(values.max())
    return style.number(values.mean()), f"{low} to {high}" if low != high else ""
