"""Trade-offs: rate and distortion, and metrics over β."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from vae_ablation.report.figures import style
from vae_ablation.report.figures.drawing import Drawing
from vae_ablation.report.figures.layout import (
    NOT_A_LIKELIHOOD,
    grey_handle,
    heading,
    is_improper,
    left_out,
    log_ticks,
    panels,
    plain_log,
)
from vae_ablation.report.figures.registry import figure
from vae_ablation.report.figures.results import StudyResults
from vae_ablation.report.figures.selection import Selection, choose_arms, choose_latent_dims
from vae_ablation.study.axes import ArmName

MAX_ARMS = 12
MAX_LIKELIHOODS = 6
DOSED = ("rate", "distortion", "mse", "active_units", "sample_fid", "probe_accuracy")
MAX_SHARED = 6
_DIM_LINES = ((0, (1, 1.2)), (0, (4, 1.5)), "-")
_DIM_MARKERS = ("s", "^", "o")
_DIM_COLORS = ("#88bbdd", "#3f7fb5", "#0b3c68")


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
def rate_distortion(results: StudyResults, selection: Selection) -> Drawing | None:
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
    tables = [
        table.assign(likelihood=name, latent_dim=dim)
        for name, curves in found.items()
        for dim, table in curves.items()
    ]
    return Drawing(fig, pd.concat(tables).rename(columns=_renamed))


def _renamed(name: str) -> str:
    """A column of `points` by what the plane shows: `x_low` is the lower end of the rate."""
    axis, _, end = name.partition("_")
    known = {"x": "rate", "y": "distortion"}.get(axis)
    return name if known is None else f"{known}_{end}" if end else known


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


@figure(scope="likelihood", category="Comparison")
def dose_response(results: StudyResults, selection: Selection) -> Drawing | None:
    """Primary metrics over β: a panel per metric, a line per latent dimension; KL off beside."""
    rows = selection.ok_rows(results)
    dims = choose_latent_dims(rows["latent_dim"].dropna())
    arms = [arm for arm in choose_arms(rows, MAX_ARMS) if not arm.variant]
    found = {metric: _doses(results, selection, metric, arms) for metric in _dosed(results)}
    found = {metric: table for metric, table in found.items() if len(table)}
    if sum(arm.kind == "beta" for arm in arms) < 2 or not found:
        return None
    fig, axes = panels(
        len(found), heading("Dose–response", selection, rows), gap=(0.7, 0.7), aspect=0.8,
        bottom=0.55, head=0.1, legend=_dose_legend(arms, dims),
        note=left_out(selection.rows(results)),
    )  # fmt: skip
    for ax, (metric, table) in zip(axes, found.items(), strict=True):
        _draw_doses(ax, table, arms, dims)
        ax.set_ylabel(style.metric_label(metric))
    shown = [table[table["latent_dim"].isin(dims)].assign(metric=m) for m, table in found.items()]
    return Drawing(fig, pd.concat(shown))


def _dosed(results: StudyResults) -> list[str]:
    """Metrics to show: the primary ones of the config, or a few that every study has."""
    primary = results.config.get("statistics", {}).get("primary_metrics", [])
    return list(primary or DOSED)[:MAX_SHARED]


def _doses(
    results: StudyResults, selection: Selection, metric: str, arms: list[ArmName]
) -> pd.DataFrame:
    """Means and intervals of a metric by arm and latent dimension."""
    table = results.means(metric, str(selection.dataset), str(selection.likelihood))
    return table[table["arm"].isin(arms) & table["mean"].notna()]


def _dose_legend(arms: list[ArmName], dims: list[int]) -> list[Line2D]:
    styles = zip(dims, _DIM_COLORS, _DIM_LINES, _DIM_MARKERS, strict=False)
    handles = [
        grey_handle(f"latent dimension {dim}", linestyle=line, marker=marker, markersize=5)
        for dim, _, line, marker in styles
    ]
    for handle, color in zip(handles, _DIM_COLORS, strict=False):
        handle.set_color(color)
    further = [arm for arm in arms if arm.kind != "beta"]
    if further:
        text = " and ".join(arm.label for arm in further)
        handles.append(grey_handle(text, linestyle="none", marker="o", markerfacecolor="white"))
    return handles


def _draw_doses(ax: Axes, table: pd.DataFrame, arms: list[ArmName], dims: list[int]) -> None:
    """Arms in order across, evenly spaced; arms that are no β are hollow and not joined."""
    place = {arm: i for i, arm in enumerate(arms)}
    for i, (dim, line, marker) in enumerate(zip(dims, _DIM_LINES, _DIM_MARKERS, strict=False)):
        own = table[table["latent_dim"] == dim]
        own = own.assign(x=[place[arm] + 0.12 * (i - 1) for arm in own["arm"]]).sort_values("x")
        is_beta = np.array([arm.kind == "beta" for arm in own["arm"]], dtype=bool)
        curve, color = own[is_beta], _DIM_COLORS[i]
        ax.plot(curve["x"], curve["mean"], color=color, linestyle=line, linewidth=1.3)
        ax.vlines(own["x"], own["ci_low"], own["ci_high"], colors=color, linewidth=1)
        for part, face in ((curve, color), (own[~is_beta], "white")):
            ax.plot(part["x"], part["mean"], linestyle="none", marker=marker, markersize=5,
                    color=color, markerfacecolor=face)  # fmt: skip
    values = table["mean"].to_numpy(float)
    if (values > 0).all() and values.max() / values.min() > 30:
        ax.set_yscale("log")
        log_ticks(ax.yaxis)
    labels = [f"{arm.beta:.3g}" if arm.kind == "beta" else arm.label for arm in arms]
    ax.set_xticks(range(len(arms)), [style.short(label, 8).replace(" ", "\n") for label in labels])
    ax.set(xlim=(-0.5, len(arms) - 0.5), xlabel="β")
    ax.grid(visible=False, axis="x")
