"""Effects of each axis, paired by seed."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from vae_ablation.report.figures import style
from vae_ablation.report.figures.drawing import Drawing
from vae_ablation.report.figures.layout import MIN_WIDTH, TOP, Sheet, grey_handle, heading, left_out
from vae_ablation.report.figures.registry import figure
from vae_ablation.report.figures.results import StudyResults
from vae_ablation.report.figures.selection import (
    Selection,
    choose_arms,
    choose_latent_dims,
    contrast_arms,
)
from vae_ablation.study.axes import ArmName
from vae_ablation.study.metrics import METRICS, described
from vae_ablation.tables.scales import effect
from vae_ablation.tables.splits import replicate

MAX_METRICS = 5
MAX_ARMS = 8
MAX_TICKS = 3
"""Marks at an axis of ratios."""
_NAMES = 1.75
_ROW = 0.19
_HEADING = 0.32
_GAP = 0.16
_BAND = "#e9edf2"

Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Row:
    """One contrast: its key in the table, its label, and inches from the top of the panel."""

    y: float
    key: tuple[str, str, int]
    label: str
    detail: str


@figure(scope="likelihood", category="Comparison")
def effects(results: StudyResults, selection: Selection) -> Drawing | None:
    """Differences between arms in each setting, with intervals: a panel per primary metric."""
    every = selection.rows(results)
    table = _primary(results.contrasts, selection)
    sections = _sections(table, every)
    if not sections:
        return None
    rows = [row for _, _, of in sections for row in of]
    table = table[[key in {row.key for row in rows} for key in _keys(table)]]
    known, unit = shown_metrics(table), replicate(every)
    metrics = known[:MAX_METRICS]
    bottom, names = rows[-1].y + _ROW, _room(rows)
    width = min((style.FULL_WIDTH - names - 0.2 + _GAP) / len(metrics) - _GAP, 2.2)
    titles = [_title(metric, width) for metric in metrics]
    top = TOP + 0.17 + 0.14 * max(title.count("\n") + 1 for title in titles)
    sheet = Sheet(
        max(names + 0.2 + len(metrics) * (width + _GAP) - _GAP, MIN_WIDTH), top + bottom + 0.34,
        heading(f"Effects, paired by {unit}", selection, every),
        legend=_effect_handles(table, unit),
        note=f"{_counts(table, unit)} {_without(results, known)} {left_out(every)}".strip(),
    )  # fmt: skip
    for y, title, of in sections:
        sheet.text(0.1, top + y, title, size=8.5, weight="bold")
        for row in of:
            sheet.text(0.2, top + row.y, row.label, size=8.5)
            sheet.text(names - 0.12, top + row.y, row.detail, size=8, ha="right", color=style.GREY)
    for i, metric in enumerate(metrics):
        ax = sheet.axes(names + i * (width + _GAP), top, width, bottom)
        _draw_effects(ax, table[table["metric"] == metric], rows, bottom)
        ax.set_title(titles[i], size=8.5, pad=5)
    return Drawing(sheet.figure, table[table["metric"].isin(metrics)])


def _room(rows: Sequence[_Row]) -> float:
    """Inches that the longest name of a row and what it is at take beside the panels."""
    return max(_NAMES, 0.45 + max(0.064 * len(row.label) + 0.06 * len(row.detail) for row in rows))


def _title(metric: str, width: float) -> str:
    """A metric with its unit in lines that fit above a panel of so many inches."""
    parts = style.metric_label(metric).replace(" (", "\n(").split("\n")
    return "\n".join(line for part in parts for line in textwrap.wrap(part, int(width * 14)))


def _primary(contrasts: pd.DataFrame, selection: Selection) -> pd.DataFrame:
    keep = (contrasts["dataset"] == selection.dataset) & contrasts["effect"].notna()
    keep &= (contrasts["likelihood"] == selection.likelihood) & (contrasts["scope"] == "setting")
    table = contrasts[keep & contrasts["primary"].astype(str).str.lower().eq("true")]
    across = table["question"] == "latent_dim"
    dims = table["latent_dim"].where(~across, table["level"])
    return table.assign(latent_dim=pd.to_numeric(dims))


def shown_metrics(table: pd.DataFrame) -> list[str]:
    """Results in the order of their registration, then those that nobody registered.

    Those that follow from another metric are in the tables only.
    """
    found = sorted(set(table["metric"].dropna()))
    shown = [m for m in found if described(m).role == "result" and not described(m).follows]
    known = [metric for metric in METRICS if metric in shown]
    return known + [metric for metric in shown if metric not in known]


def _without(results: StudyResults, shown: Sequence[str]) -> str:
    """Primary metrics without a contrast (loose bounds, saturated values), or without a panel."""
    primary = results.config.get("statistics", {}).get("primary_metrics", [])
    missing = [described(name).label for name in primary if name not in shown]
    further = [described(name).label for name in shown[MAX_METRICS:]]
    return " ".join([
        *([f"No comparable values: {', '.join(missing)}."] if missing else []),
        *([f"Not drawn for want of room: {', '.join(further)}."] if further else []),
    ])  # fmt: skip


def _keys(table: pd.DataFrame) -> list[tuple[str, ArmName, int]]:
    """Keys of contrasts within one likelihood: kind, arm and latent dimension."""
    return [
        (str(kind), arm, int(dim))
        for kind, arm, dim in zip(table["question"], table["arm"], table["latent_dim"], strict=True)
    ]


def _sections(table: pd.DataFrame, every: pd.DataFrame) -> list[tuple[float, str, list[_Row]]]:
    """Arms against the reference arm, KL off against the least β, dimensions against the largest.

    Returns:
        Place of the heading, heading and rows of each section; places in inches from the top.
    """
    dims = choose_latent_dims(every["latent_dim"].dropna())
    arms = choose_arms(every, MAX_ARMS)
    at_dim, least = (table["question"] == name for name in ("latent_dim", "least_beta"))
    usual = table[~at_dim & ~least]
    among = [
        (usual, arms, _against_arm(usual)),
        (table[least], arms, _against_arm(table[least])),
        (table[at_dim], contrast_arms(arms), _against_dim(table[at_dim])),
    ]
    found: list[tuple[float, str, list[_Row]]] = []
    y = 0.1
    for part, names, title in among:
        keys = {key for key in _keys(part) if key[1] in names and key[2] in dims}
        if keys:
            ordered = sorted(keys, key=lambda key: (key[1].order, key[2]))
            rows = _rows(ordered, y + 0.24)
            found.append((y, title, rows))
            y = rows[-1].y + _HEADING
    return found


def _rows(keys: list[tuple[str, ArmName, int]], y: float) -> list[_Row]:
    """Rows of one section; the arm is written where it changes, and a little room above it."""
    rows: list[_Row] = []
    for i, key in enumerate(keys):
        new = i == 0 or keys[i - 1][1] != key[1]
        y += (_ROW if i else 0.0) + (0.07 if new and i else 0.0)
        label = style.short(key[1].label, 26) if new else ""
        rows.append(_Row(y, key, label, f"latent {key[2]}"))
    return rows


def _against_arm(table: pd.DataFrame) -> str:
    names = sorted(set(table["reference_arm"].dropna()), key=lambda arm: arm.order)
    return f"against {names[0].label}" if len(names) == 1 else "against its reference"


def _against_dim(table: pd.DataFrame) -> str:
    dims = sorted({int(dim) for dim in table["reference"]})
    return f"against latent {dims[-1]}" if dims else ""


def _counts(table: pd.DataFrame, unit: str) -> str:
    """Numbers of pairs of seeds or splits, and of lost pairs."""
    low, high = int(table["n"].min()), int(table["n"].max())
    many = f"{low}" if low == high else f"{low} to {high}"
    lost = int(table.groupby(["question", "arm", "latent_dim"])["lost"].max().sum())
    return f"Pairs of {unit}s: {many}." + (f" Pairs lost to failed runs: {lost}." if lost else "")


def _effect_handles(table: pd.DataFrame, unit: str) -> list[Artist]:
    interval = f"difference or ratio (×), 95 % moderated t interval over {unit}s"
    handles: list[Artist] = [grey_handle(interval, marker="o", markersize=5)]
    if table["margin"].notna().any():
        handles.append(Patch(facecolor=_BAND, label="within the margin of equivalence"))
    return handles


def _draw_effects(ax: Axes, table: pd.DataFrame, rows: list[_Row], bottom: float) -> None:
    ratios = bool(table["scale"].eq("log").any())
    if ratios:
        ax.set_xscale("log")
    ax.axvline(float(ratios), color="#444444", linewidth=0.8, zorder=1)
    if band := margin_band(table):
        ax.axvspan(*band, color=_BAND, linewidth=0, zorder=0)
    places = {row.key: row.y for row in rows}
    y = np.array([places[key] for key in _keys(table)])
    arms = list(table["arm"])
    colors = [style.arm_color(arm) for arm in arms]
    ax.hlines(y, table["effect_low"], table["effect_high"], colors=colors, linewidth=1.8)
    for marker in sorted({style.arm_marker(arm) for arm in arms}):
        of = np.array([style.arm_marker(arm) == marker for arm in arms])
        ax.scatter(
            table["effect"][of], y[of], s=26, marker=marker, zorder=3, linewidths=0.5,
            c=[color for color, mine in zip(colors, of, strict=True) if mine], edgecolors="white",
        )  # fmt: skip
    ax.set_ylim(bottom, 0)
    ax.set_xlim(*effect_limits(table))
    ax.set_yticks([])
    mark_ratios(ax, ratios)
    ax.spines["left"].set_visible(False)


def mark_ratios(ax: Axes, ratios: bool) -> None:
    """Few marks; ratios by 1, 2 and 5, 1 and 3, or tens, with the sign of a product."""
    if not ratios:
        ax.xaxis.set_major_locator(MaxNLocator(3))
        return
    low, high = ax.get_xlim()
    tens = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    by = [
        [m * 10.0**ten for ten in tens for m in subs if low <= m * 10.0**ten <= high]
        for subs in ((1, 2, 5), (1, 3), (1,))
    ]
    few = next((found for found in by if len(found) <= MAX_TICKS), by[-1])
    every = max(1, -(-len(few) // MAX_TICKS))
    ax.xaxis.set_major_locator(FixedLocator(few[few.index(1) % every :: every]))
    ax.xaxis.set_major_formatter(lambda value, _: f"×{value:.2g}")
    ax.xaxis.set_minor_locator(NullLocator())


def margin_band(table: pd.DataFrame) -> tuple[float, float] | None:
    """Ends of the middle margin of a panel, as people read differences; None without one."""
    known = table.dropna(subset=["margin", "reference_mean"])
    if known.empty:
        return None
    scale = str(known["scale"].iloc[0])
    margin, reference = (float(known[name].median()) for name in ("margin", "reference_mean"))
    low, high = effect(np.array([-margin, margin]), np.full(2, reference), scale)
    return float(low), float(high)


def effect_limits(table: pd.DataFrame) -> tuple[float, float]:
    """Ends of a panel: every mean and no difference, and intervals as far as they leave them room.

    With two seeds an interval over seeds is twelve standard errors long to each side.
    """
    ratios = bool(table["scale"].eq("log").any())
    to, back = (np.log, np.exp) if ratios else (np.asarray, np.asarray)
    means = np.append(to(table["effect"].to_numpy(float)), 0.0)
    low, high = float(means.min()), float(means.max())
    span = (high - low) or 1.0
    with np.errstate(divide="ignore"):
        ends = to(table[["effect_low", "effect_high"]].to_numpy(float).ravel())
    ends = np.append(ends[np.isfinite(ends)].clip(low - span, high + span), [low, high])
    margin = 0.06 * float(np.ptp(ends) or 1.0)
    return float(back(ends.min() - margin)), float(back(ends.max() + margin))
