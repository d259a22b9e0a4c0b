"""Denoising scores of arms and baselines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from vae_ablation.report.figures import style
from vae_ablation.report.figures.layout import heading, left_out, panels
from vae_ablation.report.figures.registry import figure
from vae_ablation.report.figures.results import StudyResults
from vae_ablation.report.figures.selection import Selection, choose_arms
from vae_ablation.study.axes import ArmName, with_arms
from vae_ablation.tables.collect import mean_interval
from vae_ablation.tables.splits import independent, overlap

MAX_ARMS = 8
MAX_LIKELIHOODS = 6
PANELS = (
    ("zeroed", "median_absolute_error"),
    ("zeroed", "poisson_deviance"),
    ("zeroed", "spearman"),
    ("left_alone", "median_absolute_error"),
    ("left_alone", "poisson_deviance"),
    ("zeroed", "truth_spearman"),
    ("removed", "poisson_deviance"),
    ("all", "mean_absolute_error"),
    ("all", "spearman"),
    ("all", "truth_spearman"),
)
"""Subject and metric of each panel: zeroed data have the first six, thinned data the others."""

_SUBJECTS = {
    "zeroed": "counts that were zeroed",
    "left_alone": "counts left unchanged",
    "removed": "removed molecules",
    "all": "all clean counts",
}
_LABELS = {
    "median_absolute_error": "median |error| (log1p)",
    "mean_absolute_error": "mean |error| (log1p)",
    "poisson_deviance": "Poisson deviance (nats)",
    "spearman": "rank correlation",
    "truth_spearman": "rank correlation with truth",
}
_BASELINES: dict[str, tuple[str, Any]] = {
    "gene_mean": ("gene means", (0, (5, 2))),
    "log_pca": ("PCA of log counts", (0, (1, 1.5))),
    "observed": ("observed counts", (0, (4, 1.5, 1, 1.5))),
}
_BLACK = "#333333"


@figure(scope="dataset", category="Biology", per_latent_dim=True)
def denoising(results: StudyResults, selection: Selection) -> Figure | None:
    """Scores of every likelihood and arm on removed counts, and of the baselines."""
    table = denoising_rows(results, selection)
    scored = set(zip(table["subject"], table["metric"], strict=True))
    shown = [key for key in PANELS if key in scored]
    arms = choose_arms(table, MAX_ARMS)
    if not shown or not arms:
        return None
    names = sorted(set(table["likelihood"]))[:MAX_LIKELIHOODS]
    every = selection.rows(results)
    longest = max(len(_tick(arm)) for arm in arms)
    below = 0.5 if longest <= 6 else 0.15 + 0.042 * longest
    fig, axes = panels(
        len(shown), heading("Denoising", selection, every), columns=2 if len(shown) == 4 else 3,
        left=0.7, gap=(0.75, below + 0.35), bottom=below, aspect=0.8, head=0.2,
        legend=_handles(names, set(table["method"])), note=left_out(every),
    )  # fmt: skip
    for ax, (subject, metric) in zip(axes, shown, strict=True):
        found = table[(table["subject"] == subject) & (table["metric"] == metric)]
        _draw(ax, found[found["arm"].isin(arms)], names, arms)
        ax.set_title(_SUBJECTS[subject], size=9)
        ax.set_ylabel(_LABELS[metric])
        ax.set_xticks(range(len(arms)), [_tick(arm) for arm in arms])
        if longest > 6:
            ax.tick_params("x", rotation=40)
            for label in ax.get_xticklabels():
                label.set(ha="right", rotation_mode="anchor")
        else:
            ax.set_xlabel("β")
    return fig


def denoising_rows(results: StudyResults, selection: Selection) -> pd.DataFrame:
    """Rows of applications.csv for a denoising figure."""
    table = results.applications
    keep = (table["application"] == "denoising") & (table["dataset"] == selection.dataset)
    if selection.latent_dim is not None:
        keep &= table["latent_dim"] == selection.latent_dim
    return table[keep & table["value"].notna()]


def seed_means(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and 95 % Student-t interval over seeds, a row for each likelihood and arm.

    Returns:
        Columns likelihood, arm, mean, low, high; the interval is empty where there is one seed.
    """
    lines = []
    for (likelihood, arm), rows in table.groupby(["likelihood", "arm"], sort=True):
        _, mean, low, high = mean_interval(independent(rows, "value"), overlap=overlap(rows))
        lines.append((likelihood, arm, mean, low, high))
    found = pd.DataFrame(lines, columns=["likelihood", "arm", "mean", "low", "high"])
    arms = {str(arm): arm for arm in table["arm"]}
    return with_arms(found, arms)  # as keys of groups they became plain text


def limits(found: pd.DataFrame, lines: list[float]) -> tuple[float, float]:
    """Ends of a panel: every mean, and intervals and baselines that would not hide the means.

    With two seeds an interval extends twelve standard errors to each side, and a weak baseline may
    be off by far more than the differences between arms.
    """
    low, high = float(found["mean"].min()), float(found["mean"].max())
    span = max(high - low, 0.1 * max(abs(low), abs(high)), 1e-9)
    ends = found[["low", "high"]].to_numpy(float).ravel()
    ends = ends[np.isfinite(ends)].clip(low - span, high + span)
    near = [value for value in lines if low - 1.5 * span <= value <= high + 1.5 * span]
    values = np.concatenate([ends, near, [low, high]])
    margin = 0.07 * max(float(np.ptp(values)), 0.5 * span)
    return float(values.min()) - margin, float(values.max()) + margin


def _draw(ax: Axes, table: pd.DataFrame, names: list[str], arms: list[ArmName]) -> None:
    found = seed_means(table[table["method"] == "vae"])
    lines = table.groupby("method")["value"].mean()
    lines = lines[[name for name in _BASELINES if name in lines]]
    low, high = limits(found, lines.tolist())
    above, below, line = lines[lines > high], lines[lines < low], 0.1 * (high - low)
    low, high = low - line * len(below), high + line * len(above)
    for i, (name, (color, marker)) in enumerate(style.likelihood_styles(names).items()):
        shift = 0.09 * (i - (len(names) - 1) / 2)
        _draw_likelihood(ax, found[found["likelihood"] == name], arms, shift, color, marker)
    for method, value in lines.items():
        if method not in above and method not in below:
            ax.axhline(value, color=_BLACK, linestyle=_BASELINES[str(method)][1], linewidth=1.1)
    _write_outside(ax, above, "↑", 0.98)
    _write_outside(ax, below, "↓", 0.02)
    ax.set(ylim=(low, high), xlim=(-0.5, len(arms) - 0.5))
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.grid(visible=False, axis="x")


def _draw_likelihood(
    ax: Axes, found: pd.DataFrame, arms: list[ArmName], shift: float, color: str, marker: str
) -> None:
    """Points at the places of their arms; β arms without a variant are joined."""
    found = found.assign(x=[arms.index(arm) + shift for arm in found["arm"]]).sort_values("x")
    is_beta = [arm.kind == "beta" and not arm.variant for arm in found["arm"]]
    curve = found[is_beta]
    ax.plot(curve["x"], curve["mean"], color=color, linewidth=1.2)
    ax.vlines(found["x"], found["low"], found["high"], colors=color, linewidth=1.1)
    ax.plot(found["x"], found["mean"], linestyle="none", marker=marker, markersize=5, color=color,
            markeredgecolor="white", markeredgewidth=0.5)  # fmt: skip


def _write_outside(ax: Axes, lines: pd.Series[float], arrow: str, edge: float) -> None:
    """Name the baselines that lie beyond an edge of the panel, with their values."""
    texts = [
        f"{_BASELINES[str(method)][0]} {style.number(value)} {arrow}"
        for method, value in lines.items()
    ]
    ax.text(
        0.98, edge, "\n".join(texts), transform=ax.transAxes, ha="right", size=7.5, color=_BLACK,
        va="top" if edge > 0.5 else "bottom",
    )  # fmt: skip


def _tick(arm: ArmName) -> str:
    plain = arm.kind == "beta" and not arm.variant
    return f"{arm.beta:.4g}" if plain else style.short(arm.label, 18)


def _handles(names: list[str], methods: set[str]) -> list[Line2D]:
    handles = [
        Line2D([], [], color=color, marker=marker, markersize=5, label=style.plain(name))
        for name, (color, marker) in style.likelihood_styles(names).items()
    ]
    return handles + [
        Line2D([], [], color=_BLACK, linestyle=line, linewidth=1.1, label=label)
        for method, (label, line) in _BASELINES.items() if method in methods
    ]  # fmt: skip
