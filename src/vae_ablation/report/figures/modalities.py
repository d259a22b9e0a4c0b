"""RNA and protein of the same cells: one predicted from the other, against baselines."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from vae_ablation.report.figures import style
from vae_ablation.report.figures.layout import (
    TOP,
    Sheet,
    evenly,
    grey_handle,
    heading,
    left_out,
)
from vae_ablation.report.figures.perturbation import (
    BASELINE_COLORS,
    Bar,
    application_rows,
    draw_bars,
)
from vae_ablation.report.figures.perturbation import method_bars as bars_of
from vae_ablation.report.figures.registry import figure
from vae_ablation.report.figures.results import Arrays, StudyResults
from vae_ablation.report.figures.selection import Selection, arms_of, contrast_arms, first_runs
from vae_ablation.study.axes import ArmName

MAX_SCATTERS = 4
MAX_PROTEINS = 24
DIRECTIONS = ("RNA → protein", "protein → RNA", "both → protein", "both → RNA")
BASELINES = {"ridge": "ridge regression", "knn": "15 neighbours", "library": "library size alone"}
_ROW = 0.2
_MARKERS = {"knn": "d", "ridge": "|"}


def shown_arms(arms: Iterable[ArmName]) -> list[ArmName]:
    """KL on and off of objective mvae, which is for this, and the usual one beside them."""
    known = list(arms)
    apart = contrast_arms(arm for arm in known if arm.further.get("objective") == "mvae")
    usual = contrast_arms(arm for arm in known if arm.further.get("objective") != "mvae")
    return [*apart, *usual[:1]] if apart else usual


@figure(scope="likelihood", category="Biology", per_latent_dim=True)
def modalities(results: StudyResults, selection: Selection) -> Figure | None:
    """Proteins predicted from RNA, correlation of each, and of whole modalities, by method."""
    table = application_rows(results, selection, "modalities")
    every = selection.rows(results)
    rows = every[every["run"].isin(set(table["run"]))]
    arms = shown_arms(arms_of(rows))
    runs = first_runs(rows)
    shown = results.applied(runs[arms[0]], "modalities") if arms else None
    if shown is None:
        return None
    pearson = table[table["metric"] == "pearson"]
    proteins = protein_table(pearson, [str(name) for name in shown["proteins"]], arms)
    sections = {
        subject: bars_of(table[table["subject"] == subject], arms, BASELINES, "pearson")
        for subject in DIRECTIONS
        if (pearson["subject"] == subject).any()
    }
    side, top = 1.6, TOP + 0.4
    below = top + side + 0.85
    height = max(_ROW * len(proteins) + 0.3, _bars_height(sections) - 0.34)
    sheet = Sheet(
        style.FULL_WIDTH, below + height + 0.24,
        heading("Two modalities of the same cells", selection, every),
        legend=_handles(arms, proteins), note=left_out(every),
    )  # fmt: skip
    _draw_scatters(sheet, shown, proteins, arms[0], top, side)
    _draw_proteins(sheet.axes(1.05, below, 2.55, _ROW * len(proteins)), proteins, arms)
    _draw_directions(sheet, sections, below)
    return sheet.figure


def protein_table(pearson: pd.DataFrame, names: list[str], arms: list[ArmName]) -> pd.DataFrame:
    """Correlation of each protein with its prediction from RNA, best predicted protein first.

    Args:
        pearson: rows of applications.csv of this metric.
        names: of the proteins.
        arms: arms to show; the proteins are ordered by the first.

    Returns:
        Means over seeds: a row per protein, at most 24 evenly spaced by rank; columns are arms and
        baselines.
    """
    of = pearson[pearson["subject"].isin(names)]
    columns: dict[str, pd.Series[float]] = {
        arm: of[(of["method"] == "vae") & (of["arm"] == arm)].groupby("subject")["value"].mean()
        for arm in arms
    }
    columns |= {
        method: of[of["method"] == method].groupby("subject")["value"].mean()
        for method in _MARKERS
        if (of["method"] == method).any()
    }
    found = pd.DataFrame(columns).reindex(names)
    found = found.sort_values(arms[0], ascending=False, kind="stable")
    return found.iloc[evenly(len(found), MAX_PROTEINS)]


def _bars_height(sections: dict[str, list[Bar]]) -> float:
    return sum(_ROW * len(bars) + 0.34 for bars in sections.values())


def _handles(arms: list[ArmName], proteins: pd.DataFrame) -> list[Artist]:
    handles: list[Artist] = [
        Line2D([], [], linestyle="none", marker=style.arm_marker(arm), markersize=5,
               color=style.arm_color(arm), label=f"VAE, {arm.label}")
        for arm in arms
    ]  # fmt: skip
    handles += [
        Line2D([], [], linestyle="none", marker=marker, markersize=7, markeredgewidth=1.6,
               color=BASELINE_COLORS[method], label=BASELINES[method])
        for method, marker in _MARKERS.items()
        if method in proteins
    ]  # fmt: skip
    seed = {"linestyle": "none", "marker": "o", "markersize": 3, "markerfacecolor": "white"}
    chance = grey_handle("95th percentile of chance", linestyle="none", marker="|", markersize=7)
    return [*handles, grey_handle("seed", **seed), chance]


def _draw_scatters(
    sheet: Sheet, arrays: Arrays, proteins: pd.DataFrame, arm: ArmName, top: float, side: float
) -> None:
    """Measured against predicted counts of a few proteins, from the best to the worst predicted."""
    chosen = proteins.index[evenly(len(proteins), MAX_SCATTERS)]
    names = [str(name) for name in arrays["proteins"]]
    width = (style.FULL_WIDTH - 0.6) / MAX_SCATTERS
    for place, name in enumerate(chosen):
        ax = sheet.axes(0.6 + place * width, top, side, side)
        i = names.index(str(name))
        draw_protein(ax, arrays["measured"][:, i], arrays["predicted"][:, i], arm)
        ax.set_title(style.short(str(name), 24), size=8.5, pad=4)
        ax.set_ylabel(f"predicted, {arm.label}" if place == 0 else "")


def draw_protein(
    ax: Axes, measured: NDArray[np.floating], predicted: NDArray[np.floating], arm: ArmName
) -> None:
    """Cells of one protein, log1p counts both ways, with the diagonal."""
    both = np.concatenate([measured, predicted])
    margin = 0.05 * float(np.ptp(both) or 1.0)
    low, high = float(both.min()) - margin, float(both.max()) + margin
    ax.plot([low, high], [low, high], color="#444444", linewidth=0.8, zorder=1)
    ax.scatter(measured, predicted, s=6, color=style.arm_color(arm), alpha=0.45, linewidths=0,
               rasterized=True)  # fmt: skip
    ax.set(xlim=(low, high), ylim=(low, high), xlabel="measured (log1p)")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(4, integer=True))


def _draw_proteins(ax: Axes, proteins: pd.DataFrame, arms: list[ArmName]) -> None:
    """A row per protein, a marker per method."""
    y = np.arange(len(proteins))
    known = {str(arm): arm for arm in arms}
    for column in proteins:
        name = str(column)
        values = proteins[column].to_numpy(float)
        if name in _MARKERS:
            ax.plot(values, y, linestyle="none", marker=_MARKERS[name], markersize=7,
                    markeredgewidth=1.6, color=BASELINE_COLORS[name], zorder=2)  # fmt: skip
        else:
            marker, color = style.arm_marker(known[name]), style.arm_color(known[name])
            ax.plot(values, y, linestyle="none", marker=marker, markersize=5.5, color=color,
                    markeredgecolor="white", zorder=3)  # fmt: skip
    ax.set_yticks(y, [style.short(str(name), 14) for name in proteins.index])
    low = float(np.nanmin(np.append(proteins.to_numpy(float), 0.0)))
    ax.set(xlim=(1.05 * low - 0.02, 1.02), ylim=(len(y) - 0.5, -0.5))
    ax.set_xlabel("correlation across cells (r)")
    ax.set_title("each protein, from RNA", size=8.5, pad=4)


def _draw_directions(sheet: Sheet, sections: dict[str, list[Bar]], y: float) -> None:
    """A block of bars per direction at the right, methods named beside their bars."""
    left, names = 3.95, 1.45
    for subject, bars in sections.items():
        shown = [bar for bar in bars if len(bar.values)]
        sheet.text(left, y - 0.1, f"{subject}, mean r of its features", size=8.5)
        height = _ROW * len(shown)
        for row, bar in enumerate(shown):
            label = style.short(bar.label, 24)
            sheet.text(left, y + (row + 0.5) * _ROW, label, size=8, color=style.GREY)
        ax = sheet.axes(left + names, y, style.FULL_WIDTH - left - names - 0.2, height)
        draw_bars(ax, shown)
        ax.set_xticks([])
        y += height + 0.34
