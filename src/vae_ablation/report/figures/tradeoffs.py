"""Trade-offs: rate and distortion, and other metrics over the rate."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from vae_ablation.report.figures import style
from vae_ablation.report.figures.layout import (
    NOT_A_LIKELIHOOD,
    grey_handle,
    heading,
    is_improper,
    left_out,
    panels,
    plain_log,
)
from vae_ablation.report.figures.registry import figure
from vae_ablation.report.figures.results import StudyResults
from vae_ablation.report.figures.selection import Selection, choose_arms, choose_latent_dims
from vae_ablation.study.axes import ArmName
from vae_ablation.study.metrics import described

MAX_ARMS = 12
MAX_LIKELIHOODS = 6
SHARED_METRICS = (
    "mse_log1p", "mse", "knn_accuracy", "probe_accuracy", "ari", "sample_fid", "active_units",
    "silhouette", "nmi", "code_rms",
)  # fmt: skip
MAX_SHARED = 6
_DIM_LINES = ((0, (1, 1.2)), (0, (4, 1.5)), "-")
_DIM_MARKERS = ("s", "^", "o")


def points(
    results: StudyResults, metric: str, dataset: str, likelihood: str, latent_dim: int
) -> pd.DataFrame:
    """Means and intervals of `metric` against the rate, one row per arm in the order of β.

    Returns:
        Columns arm, x, x_low, x_high (rate, nats per example; empty for point arms), y, y_low,
        y_high; the intervals are empty where there is one seed.
    """
    parts = []
    for axis, name in (("x", "rate"), ("y", metric)):
        table = results.means(name, dataset, likelihood)
        table = table[table["latent_dim"] == latent_dim]
        table = table[["arm", "mean", "ci_low", "ci_high"]]
        table.columns = pd.Index(["arm", axis, f"{axis}_low", f"{axis}_high"])
        parts.append(table)
    both = parts[1].merge(parts[0], on="arm", how="left")
    arms = both["arm"].tolist()
    order = sorted(range(len(arms)), key=lambda row: arms[row].order)
    return both.iloc[order].reset_index(drop=True)


def _error(found: pd.DataFrame, axis: str) -> NDArray[np.float64]:
    """Lengths [2, arms] of the bars below and above the mean; 0 where there is no interval."""
    low = (found[axis] - found[f"{axis}_low"]).clip(lower=0)
    high = (found[f"{axis}_high"] - found[axis]).clip(lower=0)
    if axis == "x":
        low = low.clip(upper=found["x"])
    lengths: NDArray[np.float64] = np.nan_to_num(np.array([low, high], dtype=float))
    return lengths


def _bars(ax: Axes, found: pd.DataFrame, colors: list[str]) -> None:
    x_error, y_error = _error(found, "x"), _error(found, "y")
    x, y = found["x"].to_numpy(float), found["y"].to_numpy(float)
    ax.hlines(y, x - x_error[0], x + x_error[1], colors=colors, linewidth=1)
    ax.vlines(x, y - y_error[0], y + y_error[1], colors=colors, linewidth=1)


@figure(scope="dataset", category="Comparison")
def rate_distortion(results: StudyResults, selection: Selection) -> Figure | None:
    """The rate–distortion plane over β: a panel per likelihood, a curve per latent dimension."""
    rows = selection.ok_rows(results)
    dims = choose_latent_dims(rows["latent_dim"].dropna())
    arms = choose_arms(rows, MAX_ARMS)
    found = {
        likelihood: {dim: plane_points(results, selection, likelihood, dim, arms) for dim in dims}
        for likelihood in sorted(set(rows["likelihood"].dropna()))[:MAX_LIKELIHOODS]
    }
    found = {name: curves for name, curves in found.items() if any(map(len, curves.values()))}
    if not found:
        return None
    used = {arm for curves in found.values() for table in curves.values() for arm in table["arm"]}
    fig, axes = panels(
        len(found), heading("Rate and distortion", selection, rows), left=0.75,
        gap=(0.6, 0.9), aspect=1.05, head=0.46,
        legend=_plane_legend([arm for arm in arms if arm in used], dims),
        note=left_out(selection.rows(results)),
    )  # fmt: skip
    high = max(float(t["x"].max()) for curves in found.values() for t in curves.values() if len(t))
    for ax, (likelihood, curves) in zip(axes, found.items(), strict=True):
        _draw_plane(ax, curves, high)
        ax.set_title(_plane_title(rows[rows["likelihood"] == likelihood], likelihood), size=9)
    axes[0].set_ylabel(style.metric_label("distortion"))
    return fig


def plane_points(
    results: StudyResults, selection: Selection, likelihood: str, dim: int, arms: list[ArmName]
) -> pd.DataFrame:
    """Points of one curve of the rate–distortion plane, those with both coordinates only."""
    table = points(results, "distortion", str(selection.dataset), likelihood, dim)
    return table[table["x"].notna() & table["arm"].isin(arms)]


def _plane_title(rows: pd.DataFrame, likelihood: str) -> str:
    measures = sorted(set(rows["measure"].dropna().astype(str)))
    second = NOT_A_LIKELIHOOD if is_improper(rows) else ", ".join(measures)
    return f"{style.plain(likelihood)}\n{style.short(second, 34)}"


def _plane_legend(arms: list[ArmName], dims: list[int]) -> list[Line2D]:
    # Bars of colour: the marker says the latent dimension, so an arm must not show one here.
    handles = [
        Line2D(
            [],
            [],
            color=style.arm_color(arm),
            linewidth=5,
            solid_capstyle="butt",
            label=arm.label,
        )
        for arm in arms
    ]
    if len(dims) > 1:
        handles += [
            grey_handle(f"latent dimension {dim}", linestyle=line, marker=marker, markersize=5)
            for dim, line, marker in zip(dims, _DIM_LINES, _DIM_MARKERS, strict=False)
        ]
    return handles


def _draw_plane(ax: Axes, curves: dict[int, pd.DataFrame], high: float) -> None:
    for (_, table), line, marker in zip(curves.items(), _DIM_LINES, _DIM_MARKERS, strict=False):
        is_beta = np.array([arm.kind == "beta" for arm in table["arm"]], dtype=bool)
        curve = table[is_beta]
        ax.plot(curve["x"], curve["y"], color="#8a8a8a", linestyle=line, linewidth=1.2, zorder=1)
        colors = [style.arm_color(arm) for arm in table["arm"]]
        _bars(ax, table, colors)
        ax.scatter(
            table["x"], table["y"], s=34, marker=marker, c=colors, edgecolors="white",
            linewidths=0.5, zorder=2,
        )  # fmt: skip
    _rate_axis(ax, high)


def _rate_axis(ax: Axes, high: float) -> None:
    if high > 100:
        plain_log(ax, "x", 1, high)
        ax.set_xlim(-0.15, high * 2)
    else:
        ax.set_xlim(-0.03 * high, 1.06 * high)
    ax.set_xlabel(style.metric_label("rate"))


@figure(scope="dataset", category="Comparison", per_latent_dim=True)
def likelihood_comparison(results: StudyResults, selection: Selection) -> Figure | None:
    """Likelihoods on the columns that they share, against the rate; controls as lines."""
    rows = selection.ok_rows(results)
    names = sorted(set(rows["likelihood"].dropna()))[:MAX_LIKELIHOODS]
    dataset, dim = str(selection.dataset), int(selection.latent_dim or 0)
    found: dict[str, dict[str, pd.DataFrame]] = {}
    for metric in _shared_metrics(results):
        tables = {name: points(results, metric, dataset, name, dim) for name in names}
        if metric == "mse" and "mse_log1p" in found:  # squared counts: all of it a few genes
            continue
        if sum(len(table) > 0 for table in tables.values()) > 1 and len(found) < MAX_SHARED:
            found[metric] = tables
    if not found:
        return None
    controls = {metric: _controls(results, metric, dataset, dim) for metric in found}
    labels = results.control_labels
    drawn = {m: labels[m] for m in labels if any(m in lines for lines in controls.values())}
    fig, axes = panels(
        len(found), heading("Likelihoods compared", selection, rows), left=0.7,
        gap=(0.7, 0.6), aspect=0.95, head=0.1, legend=_comparison_legend(names, found, drawn),
        note=left_out(selection.rows(results)),
    )  # fmt: skip
    rates = [table["x"].max() for tables in found.values() for table in tables.values()]
    high = float(np.nanmax([1.0, *rates]))
    for ax, (metric, tables) in zip(axes, found.items(), strict=True):
        _draw_comparison(ax, metric, tables, controls[metric], high)
    return fig


def _shared_metrics(results: StudyResults) -> list[str]:
    """Metrics to show, as far as there is room: primary metrics of the config first."""
    primary = results.config.get("statistics", {}).get("primary_metrics", [])
    further = [m for m in primary if m not in (*SHARED_METRICS, "rate")]
    return [m for m in [*further, *SHARED_METRICS] if not described(m).is_score]


def _controls(results: StudyResults, metric: str, dataset: str, dim: int) -> dict[str, float]:
    values = {
        model: results.control(metric, model, dataset, dim) for model in results.control_labels
    }
    return {model: value for model, value in values.items() if value is not None}


def _draw_comparison(
    ax: Axes,
    metric: str,
    tables: dict[str, pd.DataFrame],
    controls: dict[str, float],
    high: float,
) -> None:
    for name, (color, marker) in style.likelihood_styles(tables).items():
        _draw_likelihood(ax, tables[name], color, marker)
    for model, value in controls.items():
        ax.axhline(value, color="#333333", linestyle=style.control_line(model), linewidth=1.1)
    ax.set_ylabel(style.metric_label(metric))
    if described(metric).type == "whole":
        ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    _rate_axis(ax, high)


def _draw_likelihood(ax: Axes, table: pd.DataFrame, color: str, marker: str) -> None:
    at_rate = table[table["x"].notna()]
    is_beta = np.array([arm.kind == "beta" for arm in at_rate["arm"]], dtype=bool)
    curve, off = at_rate[is_beta], at_rate[~is_beta]
    ax.plot(curve["x"], curve["y"], color=color, marker=marker, markersize=4.5, linewidth=1.3)
    ax.plot(
        off["x"], off["y"], linestyle="none", marker=marker, markersize=6, color=color,
        markerfacecolor="white", markeredgewidth=1.4,
    )  # fmt: skip
    _bars(ax, at_rate, [color] * len(at_rate))
    # A deterministic arm has no finite rate: it stands outside the rate axis, at its right end.
    point = table[table["x"].isna()]
    ax.plot(
        np.ones(len(point)), point["y"], transform=ax.get_yaxis_transform(), linestyle="none",
        marker="<", markersize=7, color=color, clip_on=False,
    )  # fmt: skip


def _comparison_legend(
    names: list[str], found: dict[str, dict[str, pd.DataFrame]], controls: dict[str, str]
) -> list[Line2D]:
    handles = [
        Line2D([], [], color=color, marker=marker, markersize=5, label=style.plain(name))
        for name, (color, marker) in style.likelihood_styles(names).items()
    ]
    arms = {arm for tables in found.values() for table in tables.values() for arm in table["arm"]}
    kinds = {arm.kind for arm in arms}
    if "kl-off" in kinds:
        handles.append(grey_handle("KL off", linestyle="none", marker="o", markerfacecolor="white"))
    if "point" in kinds:
        handles.append(grey_handle("deterministic (no rate)", linestyle="none", marker="<"))
    handles += [
        Line2D([], [], color="#333333", linestyle=style.control_line(model), linewidth=1.1,
               label=label)
        for model, label in controls.items()
    ]  # fmt: skip
    return handles
