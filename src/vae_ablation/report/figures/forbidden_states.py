"""Holes of the aggregate posterior of cells, and the profiles that they decode to."""

from __future__ import annotations

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Patch
from seaborn import color_palette

from vae_ablation.report.figures import style
from vae_ablation.report.figures.latent import scatter
from vae_ablation.report.figures.layout import TOP, Sheet, grey_handle, heading, left_out
from vae_ablation.report.figures.registry import figure
from vae_ablation.report.figures.results import Arrays, StudyResults
from vae_ablation.report.figures.selection import Selection, contrast_arms, first_runs
from vae_ablation.report.figures.trajectory import label_handles
from vae_ablation.study.axes import ArmName

HOLE = style.KL_OFF_COLOR
INSIDE = "#0077bb"
KINDS = {
    "distance_held_out": ("held-out cells", style.GREY),
    "distance_inside": ("prior, outside holes", INSIDE),
    "distance_holes": ("prior, in holes", HOLE),
}
"""Label and colour of each distribution of distances."""

BINS = 40
MOST = float(np.sqrt(-2 * np.log(0.05)))
"""Radius of the disc that holds 95 % of N(0, I) in the plane."""

_LEVELS = np.arange(-9.0, 0.5)
_MAP = color_palette("mako_r", as_cmap=True).with_extremes(under="white")
_NORM = BoundaryNorm(_LEVELS, _MAP.N, extend="max")
_PANEL = 2.25
_BLOCK = _PANEL + 0.95


@figure(scope="likelihood", category="Biology", per_latent_dim=True)
def forbidden_states(results: StudyResults, selection: Selection) -> Figure | None:
    """Distances of decoded prior draws from real cells, in and outside holes; their map in 2D."""
    rows = selection.ok_rows(results)
    runs = first_runs(rows)
    found = {
        arm: arrays
        for arm in contrast_arms(runs)
        if (arrays := results.applied(runs[arm], "forbidden_states")) is not None
        and "distance_inside" in arrays
    }
    if not found:
        return None
    plane = any("map" in arrays for arrays in found.values())
    named = [arrays["label_names"] for arrays in found.values() if "label_names" in arrays]
    legend = _handles(plane) + (label_handles(named[0]) if named else [])
    sheet = Sheet(
        style.FULL_WIDTH, TOP + 0.15 + _BLOCK * len(found),
        heading("Forbidden states", selection, rows), legend,
        left_out(selection.rows(results)),
    )  # fmt: skip
    limits = distance_limits(list(found.values()))
    for i, (arm, arrays) in enumerate(found.items()):
        _draw_block(sheet, TOP + 0.15 + i * _BLOCK, arm, arrays, plane, limits)
    return sheet.figure


def _handles(plane: bool) -> list[Artist]:
    made: list[Artist] = [
        Patch(facecolor=color, alpha=0.55, label=label) for label, color in KINDS.values()
    ]
    if plane:
        made += [
            grey_handle("95 % of the prior", linewidth=1.2, linestyle=(0, (4, 2))),
            Patch(facecolor="none", edgecolor=HOLE, hatch="////", linewidth=0, label="hole"),
        ]
    return made


def _draw_block(
    sheet: Sheet, y: float, arm: ArmName, arrays: Arrays, plane: bool, limits: tuple[float, float]
) -> None:
    holes, inside = len(arrays["distance_holes"]), len(arrays["distance_inside"])
    share = f"{100 * holes / (holes + inside):.0f} % of the prior's draws fall into holes"
    sheet.text(0.1, y + 0.06, f"{arm.label}: {share}", size=9.5, weight="bold",
               color=style.arm_color(arm))  # fmt: skip
    top, left = y + 0.32, 0.55
    if plane:
        if "map" in arrays:
            draw_map(sheet.axes(left, top, _PANEL, _PANEL), arrays)
            _scale(sheet, left + _PANEL + 0.08, top)
        left += _PANEL + 0.95
    right = 1.85
    width = style.FULL_WIDTH - left - right - (1.35 if not plane else 1.2)
    draw_distances(sheet.axes(left, top, width, _PANEL), arrays, limits)
    if "genes" in arrays:
        _draw_genes(sheet.axes(style.FULL_WIDTH - right + 0.1, top, right - 0.25, 1.12), arrays)
        _write_pairs(sheet, style.FULL_WIDTH - right - 0.8, top + 1.55, arrays)


def draw_map(ax: Axes, arrays: Arrays) -> None:
    """Log density of the aggregate posterior, codes by label, and hatching where holes are."""
    side = arrays["map_side"]
    limit = float(side[-1])
    ax.imshow(
        arrays["map"], extent=(-limit, limit, -limit, limit), origin="lower", cmap=_MAP,
        norm=_NORM, interpolation="nearest", zorder=0.5,
    )  # fmt: skip
    ax.grid(False)
    labels = arrays["labels"]
    classes = sorted({int(label) for label in np.unique(labels)} - {-1})
    scatter(ax, arrays["codes"], labels, classes, names=False)
    depth = arrays["threshold"] - arrays["map"]
    # Only the region with 95 % of the prior counts.
    x, y = np.meshgrid(side, side)
    within = arrays["map_prior"] if "map_prior" in arrays else MOST**2 - x**2 - y**2
    depth = np.minimum(depth, within).clip(-1, 1)
    if (depth > 0).any():
        holes = ax.contourf(
            side, side, depth, levels=[0, 2], colors="none", hatches=["////"], zorder=2
        )
        holes.set(edgecolor=HOLE, linewidth=0.8)
    if "map_prior" in arrays:
        ax.contour(side, side, within, levels=[0], colors="#222222", linewidths=1.2,
                   linestyles=[(0, (4, 2))], zorder=3)  # fmt: skip
    else:
        ax.add_patch(Circle((0, 0), MOST, fill=False, edgecolor="#222222", linewidth=1.2,
                            linestyle=(0, (4, 2)), zorder=3))  # fmt: skip
    ax.set(xlim=(-limit, limit), ylim=(-limit, limit))
    ax.set(xlabel="z₁ (prior σ)", ylabel="z₂ (prior σ)")


def _scale(sheet: Sheet, x: float, y: float) -> None:
    ax = sheet.axes(x, y, 0.09, _PANEL)
    bar = sheet.figure.colorbar(ScalarMappable(_NORM, _MAP), cax=ax, ticks=_LEVELS[1::2])
    bar.set_label("log q(z) (nats)", size=7.5, labelpad=1)
    ax.tick_params(length=2, labelsize=7)


def distance_limits(found: list[Arrays]) -> tuple[float, float]:
    """Common range of the distances of several runs, without the farthest half percent."""
    every = np.concatenate([arrays[kind] for arrays in found for kind in KINDS])
    return 0.0, float(np.quantile(every, 0.995)) * 1.05 or 1.0


def draw_distances(ax: Axes, arrays: Arrays, limits: tuple[float, float]) -> None:
    """A histogram of each kind, of the same area, and a line at its mean."""
    for kind, (_, color) in KINDS.items():
        values = arrays[kind]
        if not len(values):
            continue
        ax.hist(values, BINS, range=limits, density=True, histtype="stepfilled", color=color,
                alpha=0.4)  # fmt: skip
        ax.axvline(values.mean(), color=color, linewidth=1.8)
    ax.set(xlim=limits, yticks=[], xlabel="distance to nearest real profile")
    ax.set_ylabel("share of profiles")
    ax.grid(False)


def _draw_genes(ax: Axes, arrays: Arrays) -> None:
    """The genes that fit worst in holes, and how they fit elsewhere."""
    shown = slice(0, 6)
    names = [style.short(str(name), 16) for name in arrays["genes"][shown]]
    place = np.arange(len(names))
    ax.barh(place - 0.2, arrays["gene_holes"][shown], 0.4, color=HOLE)
    if "gene_inside" in arrays:
        ax.barh(place + 0.2, arrays["gene_inside"][shown], 0.4, color=INSIDE)
    ax.set_yticks(place, names, size=6.5)
    ax.set(ylim=(len(names) - 0.4, -0.6))
    ax.tick_params(axis="both", length=0, labelsize=6.5, pad=1.5)
    ax.set_title("distance to nearest real profile", size=7.5, pad=2)


def _write_pairs(sheet: Sheet, x: float, y: float, arrays: Arrays) -> None:
    """Pairs of genes that are high together in holes and in no real profile."""
    if not len(arrays["pairs"]):
        return
    sheet.text(x, y, "pairs high in no real profile; share in holes:", size=7.5)
    for i, (pair, share) in enumerate(zip(arrays["pairs"][:5], arrays["pair_holes"], strict=False)):
        names = " + ".join(style.short(str(name), 16) for name in pair)
        at = y + 0.155 * (i + 1)
        sheet.text(x, at, names, size=6.5)
        sheet.text(style.FULL_WIDTH - 0.12, at, f"{100 * share:.0f} %", size=6.5, ha="right")
