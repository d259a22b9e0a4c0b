"""Held-out perturbations: predicted and observed expression, and scores of every method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from vae_ablation.report.figures import style
from vae_ablation.report.figures.layout import TOP, Sheet, grey_handle, heading, left_out
from vae_ablation.report.figures.registry import figure
from vae_ablation.report.figures.results import Arrays, StudyResults
from vae_ablation.report.figures.selection import Selection, arms_of, contrast_arms, first_runs
from vae_ablation.study.axes import ArmName
from vae_ablation.tables.collect import detected
from vae_ablation.tables.splits import independent, replicate, replicate_column

MAX_CONDITIONS = 2
MAX_NAMES = 5
METRICS = {
    "r2": "R², all genes",
    "r2_top": "R², top genes",
    "delta_pearson": "change, all genes (r)",
    "truth_delta_pearson": "change, without noise (r)",
}
BASELINES = {"raw_difference": "raw difference", "control": "no change"}
BASELINE_COLORS = {
    "raw_difference": "#0077bb",
    "control": style.GREY,
    "ridge": "#0077bb",
    "knn": "#33bbee",
    "library": "#ccbb44",
    "mean": style.GREY,
}
_ROW = 0.2
_LOWEST = -0.25


@dataclass(frozen=True)
class Bar:
    """One method on one metric.

    Attributes:
        label: name of the method for readers.
        color: of its bar.
        values: one for each seed, each the mean over subjects.
        chance: 95th percentile of permutations, mean over subjects and seeds; None without a test.
    """

    label: str
    color: str
    values: NDArray[np.float64]
    chance: float | None = None


def application_rows(results: StudyResults, selection: Selection, name: str) -> pd.DataFrame:
    """Rows of applications.csv of one application, of runs that ended well, for a selection."""
    table = results.applications
    runs = selection.ok_rows(results)["run"]
    return table[(table["application"] == name) & table["run"].isin(set(runs))]


def method_bars(
    table: pd.DataFrame, arms: Sequence[ArmName], baselines: dict[str, str], metric: str
) -> list[Bar]:
    """One bar for the VAE of each arm, then one for each baseline that has values.

    Args:
        table: rows of applications.csv; more than one subject is averaged over.
        arms: arms to show.
        baselines: names of the baselines by method. They are the same for every run of a dataset,
            so that a value is shown once.
        metric: which one.
    """
    nulls = table[table["metric"] == f"{metric}_null_95"]
    table = table[table["metric"] == metric]
    found = []
    for arm in arms:
        mine, chance = (t[(t["method"] == "vae") & (t["arm"] == arm)] for t in (table, nulls))
        values = independent(mine, "value").to_numpy(float)
        found.append(Bar(f"VAE, {arm.label}", style.arm_color(arm), values, _mean(chance)))
    for method, label in baselines.items():
        theirs, chance = (
            t[t["method"] == method].drop_duplicates("subject") for t in (table, nulls)
        )
        value = _mean(theirs)
        if value is not None:
            found.append(Bar(label, BASELINE_COLORS[method], np.array([value]), _mean(chance)))
    return found


def _mean(rows: pd.DataFrame) -> float | None:
    return float(rows["value"].mean()) if len(rows) else None


def draw_bars(ax: Axes, bars: Sequence[Bar]) -> None:
    """Horizontal bars of means from 0, with a dot for each seed where there is more than one.

    Bars are cut off at −0.25, with their value written. A short vertical line is the 95th
    percentile of permutations.
    """
    for row, bar in enumerate(bars):
        if not len(bar.values):
            ax.text(0.02, row, "undefined", size=7.5, va="center", color=style.GREY)
            continue
        mean = float(bar.values.mean())
        ax.barh(row, max(mean, _LOWEST), height=0.72, color=bar.color, alpha=0.85, linewidth=0)
        _write_mean(ax, row, mean, bar)
        if bar.chance is not None:
            ax.vlines(bar.chance, row - 0.42, row + 0.42, color="#222222", linewidth=1.3, zorder=3)
        if len(bar.values) > 1:
            seen = bar.values[bar.values >= _LOWEST]
            ax.plot(seen, np.full(len(seen), row), "o", markersize=2.6, color="#222222",
                    markerfacecolor="white", markeredgewidth=0.7)  # fmt: skip
    means = [float(bar.values.mean()) for bar in bars if len(bar.values)]
    low = max(min([0.0, *means]), _LOWEST)
    ax.axvline(0, color="#444444", linewidth=0.8)
    ax.set(xlim=(1.05 * low, 1.32), ylim=(len(bars) - 0.5, -0.5), yticks=[])
    ax.set_xticks([tick for tick in (0, 0.5, 1) if low <= tick])
    ax.spines["left"].set_visible(False)
    ax.grid(visible=False, axis="y")


def _write_mean(ax: Axes, row: int, mean: float, bar: Bar) -> None:
    right = max(mean, float(bar.values.max()), bar.chance or 0.0, 0.0)
    ax.text(right + 0.06, row, style.number(mean), size=7.5, va="center_baseline")


@figure(scope="likelihood", category="Biology", per_latent_dim=True)
def perturbation(results: StudyResults, selection: Selection) -> Figure | None:
    """Predicted against real expression of held-out conditions, and scores by method."""
    table = application_rows(results, selection, "perturbation")
    every = selection.rows(results)
    rows = every[every["run"].isin(set(table["run"]))]
    arms = contrast_arms(arms_of(rows))
    runs = first_runs(rows)
    shown = {arm: results.applied(runs[arm], "perturbation") for arm in arms}
    arrays = {arm: found for arm, found in shown.items() if found is not None}
    if not arrays:
        return None
    metrics = [metric for metric in METRICS if (table["metric"] == metric).any()]
    bars = {m: method_bars(table, arms, BASELINES, m) for m in metrics}
    labels = list(dict.fromkeys(bar.label for of in bars.values() for bar in of))
    conditions = _conditions(next(iter(arrays.values())))
    side = 1.52
    panels = [(arm, i) for i in conditions for arm in arrays]
    top, height = TOP + 0.5, _ROW * len(labels)
    below = top + side + 0.85
    sheet = Sheet(
        style.FULL_WIDTH, below + height + 0.34,
        heading("Unseen perturbations", selection, every), legend=_handles(),
        note=f"{_counts(table)} {left_out(every)}".strip(),
    )  # fmt: skip
    width = (style.FULL_WIDTH - 0.6) / 4
    for place, (arm, i) in enumerate(panels):
        ax = sheet.axes(0.6 + place * width, top, side, side)
        draw_condition(ax, arrays[arm], i, arm)
        ax.set_ylabel("predicted (log1p)" if place == 0 else "")
    _draw_scores(sheet, bars, labels, below, height)
    return sheet.figure


def _conditions(arrays: Arrays) -> list[int]:
    """The first transfer ("label:p") and the first combination, then the others; two at most."""
    transfers = [":" in str(name) for name in arrays["subjects"]]
    first = [transfers.index(kind) for kind in (True, False) if kind in transfers]
    return list(dict.fromkeys([*first, *range(len(transfers))]))[:MAX_CONDITIONS]


def _counts(table: pd.DataFrame) -> str:
    """Numbers of conditions and seeds, and of conditions with a measurable effect."""
    subjects = sorted(set(table["subject"].astype(str)))
    names = ", ".join(subjects[:6]) + (" and others" if len(subjects) > 6 else "")
    unit = replicate(table) if "dataset" in table else "seed"
    count = table[replicate_column(unit)].nunique()
    tests = table[table["metric"] == "effect_p"].groupby("subject")["value"].max()
    effects = f" With a measurable effect: {len(detected(tests))}." if len(tests) else ""
    text = f"Scores: mean over {len(subjects)} held-out conditions ({names}); {unit}s: {count}."
    return text + effects


def _handles() -> list[Artist]:
    return [
        grey_handle("gene", linestyle="none", marker="o", markersize=3),
        grey_handle("top gene, line from the controls", marker="o",
                    markersize=4.5, linewidth=0.9),
        grey_handle("seed", linestyle="none", marker="o", markersize=3, markerfacecolor="white"),
        grey_handle("95th percentile of chance", linestyle="none", marker="|", markersize=7),
    ]  # fmt: skip


def draw_condition(ax: Axes, arrays: Arrays, i: int, arm: ArmName) -> None:
    """Predicted against real mean expression of condition `i`; top genes with their way there.

    Args:
        ax: the axes.
        arrays: of the application.
        i: which of its subjects.
        arm: of the run; gives the colour.
    """
    true, predicted, control = (arrays[name][i] for name in ("true", "vae", "control"))
    top = arrays["top"][i]
    high = 1.06 * float(max(true.max(), predicted.max(), control[top].max()))
    ax.plot([0, high], [0, high], color="#444444", linewidth=0.8, zorder=1)
    ax.scatter(true, predicted, s=5, color="#b5b5b5", linewidths=0, zorder=1.5, rasterized=True)
    color = style.arm_color(arm)
    ax.vlines(true[top], control[top], predicted[top], color=color, linewidth=0.7, alpha=0.6)
    ax.scatter(true[top], predicted[top], s=13, color=color, edgecolors="white", linewidths=0.4,
               zorder=3)  # fmt: skip
    _name_genes(ax, arrays, i, high)
    ax.set(xlim=(0, high), ylim=(0, high), xlabel="observed (log1p)")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(4, integer=True))
    subject = style.short(str(arrays["subjects"][i]), 22)
    ax.set_title(f"{subject}\n{arm.label}", size=8.5, pad=4)


def _name_genes(ax: Axes, arrays: Arrays, i: int, high: float) -> None:
    """Names of the first top genes, beside their points where there is room for a line of text."""
    true, predicted = arrays["true"][i], arrays["vae"][i]
    taken: list[float] = []
    for gene in arrays["top"][i][:MAX_NAMES]:
        x, y = float(true[gene]), float(predicted[gene])
        if any(abs(y - other) < 0.07 * high for other in taken):
            continue
        taken.append(y)
        right = x < 0.6 * high
        ax.annotate(
            style.short(str(arrays["genes"][gene]), 12), (x, y), (4 if right else -4, 0),
            textcoords="offset points", size=6.5, va="center", ha="left" if right else "right",
            zorder=4,
        )  # fmt: skip


def _draw_scores(
    sheet: Sheet, bars: dict[str, list[Bar]], labels: list[str], y: float, height: float
) -> None:
    """A panel per metric beside each other; methods are named once, at the left."""
    names = 1.35
    width = (style.FULL_WIDTH - names - 0.2) / len(bars)
    for row, label in enumerate(labels):
        sheet.text(0.1, y + (row + 0.5) * _ROW, style.short(label, 22), size=8.5)
    for place, (metric, of) in enumerate(bars.items()):
        ax = sheet.axes(names + place * width, y, width - 0.15, height)
        empty = {label: Bar(label, style.PALE, np.empty(0)) for label in labels}
        draw_bars(ax, list((empty | {bar.label: bar for bar in of}).values()))
        ax.set_title(METRICS[metric], size=8.5, pad=4)
