"""Every main metric as a table in colour: arms down, latent dimensions across."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from seaborn import color_palette

from vae_ablation.report.figures import style
from vae_ablation.report.figures.layout import MIN_WIDTH, TOP, Sheet, heading, left_out
from vae_ablation.report.figures.registry import figure
from vae_ablation.report.figures.results import StudyResults
from vae_ablation.report.figures.selection import Selection, choose_arms, choose_latent_dims
from vae_ablation.study.axes import ArmName
from vae_ablation.study.metrics import METRICS, Metric, described

MAX_ARMS = 10
MAX_DIMS = 5
MAX_METRICS = 20
_ARROWS = {"higher": " ↑", "lower": " ↓", None: ""}
_MAP = color_palette("cividis", as_cmap=True)
_CELL = 0.2
_GAP = 0.12
_BETWEEN = 0.54

Array = NDArray[np.float64]


@figure(scope="likelihood", category="Comparison")
def heatmaps(results: StudyResults, selection: Selection) -> Figure | None:
    """Means over seeds of every main metric: β, KL off and deterministic × latent dimension."""
    every, rows = selection.rows(results), selection.ok_rows(results)
    arms = choose_arms(every, MAX_ARMS)
    dims = choose_latent_dims(every["latent_dim"].dropna(), MAX_DIMS)
    metrics = shown_metrics(results.summary)
    grids = {metric: cell_means(results, selection, metric, arms, dims) for metric in metrics}
    shown = [metric for metric, grid in grids.items() if np.isfinite(grid).any()][:MAX_METRICS]
    if not shown:
        return None
    labels = [arm.label for arm in arms]
    controls = {metric: _control_rows(results, selection, rows, metric, dims) for metric in shown}
    marks = _marks(every, arms, dims)
    named = results.control_labels
    fig, axes = _panels(shown, len(dims), labels, controls, named, every, selection)
    for metric, (ax, models) in zip(shown, axes, strict=True):
        blank = np.full(len(dims), np.nan)
        below = [controls[metric].get(model, blank) for model in models]
        only = _bounds(rows, described(metric))
        bounds = {(arms.index(a), dims.index(d)) for a, d in only if a in arms and d in dims}
        _draw(ax, metric, grids[metric], marks, bounds, arms, below)
        ax.set_xticks(range(len(dims)), [str(dim) for dim in dims])
    return fig


def shown_metrics(summary: pd.DataFrame) -> list[str]:
    """Results in the order of their registration, then those that nobody registered.

    Those that follow from another metric are in the tables only.
    """
    found = sorted(set(summary["metric"].dropna()))
    shown = [m for m in found if described(m).role == "result" and not described(m).follows]
    known = [metric for metric in METRICS if metric in shown]
    return known + [metric for metric in shown if metric not in known]


def _panels(
    shown: list[str],
    dims: int,
    labels: list[str],
    controls: dict[str, dict[str, Array]],
    named: dict[str, str],
    every: pd.DataFrame,
    selection: Selection,
) -> tuple[Figure, list[tuple[Axes, list[str]]]]:
    """Axes of each metric and the controls below its arms: those that its row of panels has."""
    names = [*labels, *named.values()]
    left = 0.25 + 0.068 * max(map(len, names))
    # A number needs four tenths of an inch, so more dimensions leave room for fewer panels.
    columns = min(4 if dims <= 4 else 3, len(shown))
    width = min((style.FULL_WIDTH - left - 0.2 - _GAP * (columns - 1)) / columns, 2.4)
    lines = [shown[i : i + columns] for i in range(0, len(shown), columns)]
    models = [[m for m in named if any(m in controls[x] for x in line)]
              for line in lines]  # fmt: skip
    heights = [_CELL * (len(labels) + len(found)) for found in models]
    total = max(left + 0.2 + columns * width + (columns - 1) * _GAP, MIN_WIDTH)
    sheet = Sheet(
        total, TOP + sum(heights) + _BETWEEN * len(lines) + 0.05,
        heading("Metrics over the grid", selection, every), note=left_out(every),
    )  # fmt: skip
    axes: list[tuple[Axes, list[str]]] = []
    y = TOP + 0.26
    for line, found, height in zip(lines, models, heights, strict=True):
        ticks = labels + [named[model] for model in found]
        for column in range(len(line)):
            ax = sheet.axes(left + column * (width + _GAP), y, width, height)
            ax.set_yticks(range(len(ticks)), ticks if column == 0 else [])
            axes.append((ax, found))
        sheet.text(0.1, y + height + 0.12, "latent dimension", size=8, color=style.GREY)
        y += height + _BETWEEN
    return sheet.figure, axes


def cell_means(
    results: StudyResults, selection: Selection, metric: str, arms: list[ArmName], dims: list[int]
) -> Array:
    """Means over seeds [arms, dims] from the summary; NaN where a cell has none."""
    table = results.means(metric, str(selection.dataset), str(selection.likelihood))
    values = {
        (arm, int(dim)): float(mean)
        for arm, dim, mean in zip(table["arm"], table["latent_dim"], table["mean"], strict=True)
    }
    return np.array([[values.get((arm, dim), np.nan) for dim in dims] for arm in arms])


def _control_rows(
    results: StudyResults,
    selection: Selection,
    rows: pd.DataFrame,
    metric: str,
    dims: list[int],
) -> dict[str, Array]:
    """Values [dims] of each control that has this metric, of the same measure where it matters."""
    measure = None
    if described(metric).is_score:
        measure = str(rows["measure"].dropna().iloc[0]) if rows["measure"].notna().any() else ""
    found = {}
    for model in results.control_labels:
        values = [
            results.control(metric, model, str(selection.dataset), dim, measure) for dim in dims
        ]
        if any(value is not None for value in values):
            found[model] = np.array([np.nan if value is None else value for value in values])
    return found


def _marks(every: pd.DataFrame, arms: list[ArmName], dims: list[int]) -> list[list[str]]:
    """Text of a cell without a number: × (every run diverged or failed), – or nothing."""
    fine = every["status"] == "ok"
    signs = dict.fromkeys(_cells(every[~fine]), "×") | dict.fromkeys(_cells(every[fine]), "–")
    return [[signs.get((arm, dim), "") for dim in dims] for arm in arms]


def _bounds(rows: pd.DataFrame, metric: Metric) -> set[tuple[ArmName, int]]:
    """Arm and latent dimension of the cells in which some run's value is only a bound."""
    if metric.bound is None or metric.bound.flag not in rows:
        return set()
    return _cells(rows[rows[metric.bound.flag].astype(str).str.lower() == "true"])


def _cells(rows: pd.DataFrame) -> set[tuple[ArmName, int]]:
    return {(arm, int(dim)) for arm, dim in zip(rows["arm"], rows["latent_dim"], strict=True)}


def _draw(
    ax: Axes,
    metric: str,
    grid: Array,
    marks: list[list[str]],
    bounds: set[tuple[int, int]],
    arms: list[ArmName],
    controls: list[Array],
) -> None:
    known = described(metric)
    low, high = _color_limits(grid, arms)
    full = np.vstack([grid, *controls])
    ax.imshow(full, cmap=_MAP, vmin=low, vmax=high, aspect="auto", interpolation="nearest")
    ax.grid(False)
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    if controls:
        ax.axhline(len(arms) - 0.5, color="white", linewidth=3)
    for (i, j), value in np.ndenumerate(full):
        if not np.isfinite(value):
            mark = marks[i][j] if i < len(arms) else ""
            ax.text(j, i, mark, ha="center", va="center", size=8, color=style.GREY)
            continue
        sign = known.bound.sign if known.bound and (i, j) in bounds else ""
        text = f"{sign}{style.metric_value(metric, value)}"
        color = _ink((value - low) / (high - low))
        ax.text(j, i, text, ha="center", va="center", size=7.5, color=color)
    # The panels are narrow, and the caption says per what.
    ax.set_title(f"{known.measured_in}{_ARROWS[known.better]}", size=8, pad=4)


def _color_limits(grid: Array, arms: list[ArmName]) -> tuple[float, float]:
    """Range of the β arms, where there are any: KL off is so far away that it would hide them."""
    is_beta = [arm.kind == "beta" for arm in arms]
    inner = grid[is_beta]
    values = inner if np.isfinite(inner).any() else grid
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _ink(place: float) -> str:
    """Colour of text that can be read on this place of the colour map."""
    red, green, blue, _ = _MAP(float(np.clip(place, 0, 1)))
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.5 else "black"
