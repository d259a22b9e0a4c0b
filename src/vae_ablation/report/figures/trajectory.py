"""A latent path between two states: the path, genes along it, and its scores."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from seaborn import color_palette

from vae_ablation.report.figures import style
from vae_ablation.report.figures.latent import MAX_NAMED_CLASSES, scatter
from vae_ablation.report.figures.layout import TOP, Sheet, grey_handle, heading, left_out
from vae_ablation.report.figures.registry import figure
from vae_ablation.report.figures.results import Arrays, StudyResults
from vae_ablation.report.figures.selection import Selection, choose_arms, contrast_arms, first_runs
from vae_ablation.study.axes import ArmName, with_arms

MAX_ARMS = 6
METHODS = {
    "straight": ("straight path", "#0077bb", "o"),
    "density": ("density path", "#ee7733", "s"),
    "linear_expression": ("line between means", style.GREY, "^"),
}
"""Label, colour and marker of each method."""

_MAP = color_palette("mako", as_cmap=True)
_SIDE = 2.3
_ROW = 0.118
_NAMES = 1.15

Array = NDArray[np.float64]


@figure(scope="likelihood", category="Biology", per_latent_dim=True)
def trajectory(results: StudyResults, selection: Selection) -> Figure | None:
    """Genes along both paths of one run next to measured ones, and the scores of all arms."""
    rows = selection.ok_rows(results)
    runs = first_runs(rows)
    found = [
        (arm, arrays)
        for arm in contrast_arms(runs)
        if (arrays := results.applied(runs[arm], "trajectory")) is not None and "genes" in arrays
    ]
    if not found:
        return None
    arm, arrays = found[0]
    genes = len(arrays["genes"])
    top = TOP + 0.32
    second = top + _SIDE + 0.98
    start, end = arrays["ends"]
    title, where = heading("Trajectory", selection, rows)
    sheet = Sheet(
        style.FULL_WIDTH, second + genes * _ROW + 0.55,
        (f"{title}: {style.short(str(start), 36)} → {style.short(str(end), 36)}",
         f"{where}, {arm.label}"),
        _handles(arrays), left_out(selection.rows(results)),
    )  # fmt: skip
    if "plane_codes" in arrays:
        _draw_plane(sheet.axes(0.65, top, _SIDE, _SIDE), arrays, int(selection.latent_dim or 0))
    _draw_scores(sheet, top, scores(results, rows))
    _draw_genes(sheet, second, arrays)
    return sheet.figure


def scores(results: StudyResults, rows: pd.DataFrame) -> pd.DataFrame:
    """The trajectory's scores over seeds: arm, method, metric, mean, min and max."""
    table = results.applications
    mine = table[(table["application"] == "trajectory") & table["run"].isin(rows["run"])]
    values = mine.groupby(["arm", "method", "metric"])["value"]
    return with_arms(values.agg(["mean", "min", "max"]).reset_index(), results.arms)


def label_handles(names: NDArray[np.str_]) -> list[Artist]:
    """Legend of labels, in their order, if they are few enough."""
    if not 1 < len(names) <= MAX_NAMED_CLASSES:
        return []
    return [
        grey_handle(style.short(str(name), 34), linestyle="none", markersize=6, markeredgewidth=0,
                    marker=style.class_marker(rank), markerfacecolor=style.class_color(rank))
        for rank, name in enumerate(names)
    ]  # fmt: skip


def _handles(arrays: Arrays) -> list[Artist]:
    made: list[Artist] = [
        Line2D([], [], color=color, marker=marker, markersize=5, label=label)
        for label, color, marker in METHODS.values()
    ]
    hollow = grey_handle("hollow: nearest unrelated cells", marker="o", linestyle="none",
                         markerfacecolor="white", markersize=5)  # fmt: skip
    labels = label_handles(arrays["label_names"]) if "label_names" in arrays else []
    return [*made, hollow, *labels]


# --- the plane -----------------------------------------------------------------------------------


def _draw_plane(ax: Axes, arrays: Arrays, latent_dim: int) -> None:
    labels = arrays["plane_labels"]
    classes = sorted({int(label) for label in np.unique(labels)} - {-1})
    scatter(ax, arrays["plane_codes"], labels, classes, names=False)
    for method in ("straight", "density"):
        _, color, _ = METHODS[method]
        path = arrays[f"plane_{method}"]
        ax.plot(*path.T, color="white", linewidth=4, zorder=3)
        ax.plot(*path.T, color=color, linewidth=2, zorder=3.1)
    ends = arrays["plane_straight"][[0, -1]]
    ax.plot(*ends[:1].T, "o", color="black", markersize=6, zorder=4, markeredgecolor="white")
    ax.plot(*ends[1:].T, ">", color="black", markersize=7, zorder=4, markeredgecolor="white")
    names = ("z₁", "z₂") if latent_dim == 2 else ("1st component", "2nd component")
    ax.set(xlabel=f"{names[0]} (prior σ)", ylabel=f"{names[1]} (prior σ)")
    ax.set_title("codes of train cells by label, and paths", size=8.5)
    ax.set_aspect("equal", adjustable="datalim")


# --- scores --------------------------------------------------------------------------------------


def _draw_scores(sheet: Sheet, y: float, table: pd.DataFrame) -> None:
    """The errors and the rank correlation of each arm; without truth, the density along paths."""
    arms = choose_arms(table, MAX_ARMS)[:MAX_ARMS]
    if not arms:
        return
    known = (table["metric"] == "profile_error").any()
    panels = (
        {"profile_error": "RMSE of log expression", "pseudotime_spearman": "Spearman with truth"}
        if known
        else {"path_density": "log density along the path (nats)"}
    )
    left, gap = _SIDE + 1.7, 0.3
    width = (style.FULL_WIDTH - 0.2 - left - gap * (len(panels) - 1)) / len(panels)
    for i, (metric, title) in enumerate(panels.items()):
        ax = sheet.axes(left + i * (width + gap), y, width, _SIDE)
        _draw_metric(ax, table[table["metric"] == metric], arms, filled=True)
        if metric == "profile_error":
            _draw_metric(ax, table[table["metric"] == "unrelated_error"], arms, filled=False)
        labels = [style.short(arm.label, 15) for arm in arms]
        ax.set_yticks(range(len(arms)), labels if i == 0 else [])
        ax.set(ylim=(len(arms) - 0.4, -0.6), xlabel=title)
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.margins(x=0.08)


def _draw_metric(ax: Axes, table: pd.DataFrame, arms: list[ArmName], filled: bool) -> None:
    for i, (method, (_, color, marker)) in enumerate(METHODS.items()):
        mine = table[(table["method"] == method) & table["arm"].isin(arms)]
        places = [arms.index(arm) + 0.18 * (i - 1) for arm in mine["arm"]]
        ax.hlines(places, mine["min"], mine["max"], color=color, linewidth=1)
        ax.plot(
            mine["mean"], places, linestyle="none", marker=marker, markersize=5, color=color,
            markerfacecolor=color if filled else "white",
        )  # fmt: skip


# --- genes ---------------------------------------------------------------------------------------


def relative(blocks: list[Array]) -> list[Array]:
    """Profiles [steps, genes] as heat maps [genes, steps]: each gene from 0 to 1 over all blocks.

    A gene that never changes is 0.
    """
    every = np.concatenate(blocks)
    low, range_ = every.min(0), np.ptp(every, axis=0)
    return [((block - low) / np.where(range_ > 0, range_, 1)).T for block in blocks]


def _draw_genes(sheet: Sheet, y: float, arrays: Arrays) -> None:
    names = [name for name in ("straight", "density", "measured") if name in arrays]
    blocks = relative([arrays[name].astype(float) for name in names])
    left, gap = _NAMES, 0.12
    width = (style.FULL_WIDTH - left - 0.75 - gap * (len(names) - 1)) / len(names)
    height = len(arrays["genes"]) * _ROW
    titles = {"straight": "straight path", "density": "density path", "measured": "measured"}
    for i, (name, block) in enumerate(zip(names, blocks, strict=True)):
        ax = sheet.axes(left + i * (width + gap), y, width, height)
        ax.imshow(block, cmap=_MAP, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        ax.grid(False)
        ax.set_title(titles[name], size=9)
        labels = [style.short(str(gene), 16) for gene in arrays["genes"]]
        ax.set_yticks(range(len(labels)), labels if i == 0 else [], size=6.5)
        ax.tick_params(length=0)
        _ticks(ax, name, block.shape[1], arrays)
    scale = sheet.axes(style.FULL_WIDTH - 0.6, y, 0.12, min(height, 1.6))
    bar = sheet.figure.colorbar(ScalarMappable(Normalize(0, 1), _MAP), cax=scale, ticks=[0, 1])
    bar.set_label("expression, each\ngene from 0 to 1", size=7.5)


def _ticks(ax: Axes, name: str, steps: int, arrays: Arrays) -> None:
    if name == "measured":
        places = [f"{place:.2f}".replace("-", "−") for place in arrays["place"]]
        every = -(-steps // 5)
        ax.set_xticks(range(0, steps, every), places[::every])
        ax.set_xlabel("true position")
        return
    ax.set_xticks([0, (steps - 1) / 2, steps - 1], ["start", "half", "end"])
    first, _, last = ax.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
    ax.set_xlabel("share of the path")
