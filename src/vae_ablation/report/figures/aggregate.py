"""All posteriors together against the prior: where the prior expects codes and none are."""

from __future__ import annotations

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Patch
from numpy.typing import NDArray
from seaborn import color_palette

from vae_ablation.report.figures import style
from vae_ablation.report.figures.layout import MIN_WIDTH, TOP, Sheet, grey_handle, heading, left_out
from vae_ablation.report.figures.registry import figure
from vae_ablation.report.figures.results import Arrays, StudyResults
from vae_ablation.report.figures.selection import Selection, choose_arms, first_runs

MAX_PANELS = 4
_LEVELS = np.arange(-9.0, 0.5)
_MAP = color_palette("mako_r", as_cmap=True).with_extremes(under="white")
_NORM = BoundaryNorm(_LEVELS, _MAP.N, extend="max")
_HOLE = style.KL_OFF_COLOR

HALF, MOST = np.sqrt(-2 * np.log([0.5, 0.05]))
"""Radii of the discs that hold 50 % and 95 % of N(0, I) in the plane: r² = −2 log(1 − share)."""


@figure(scope="likelihood", category="Latent space", per_latent_dim=True)
def aggregate_posterior(results: StudyResults, selection: Selection) -> Figure | None:
    """Density of all posteriors together, and where it leaves the prior empty; latent_dim 2."""
    if selection.latent_dim != 2:
        return None
    rows = selection.ok_rows(results)
    rows = rows[rows["arm"].map(lambda arm: arm.kind != "point").astype(bool)]
    runs = first_runs(rows)
    found = {
        arm: density
        for arm in choose_arms(rows, MAX_PANELS)[:MAX_PANELS]
        if (density := results.density(runs[arm])) is not None
    }
    if not found:
        return None
    title = heading("Aggregate posterior and prior", selection, rows)
    sheet, axes = _sheet(len(found), title, left_out(selection.rows(results)))
    rates = dict(zip(rows["run"], rows["hole_rate"], strict=True)) if "hole_rate" in rows else {}
    for ax, (arm, density) in zip(axes, found.items(), strict=True):
        draw_density(ax, density)
        rate = rates.get(runs[arm], np.nan)
        known = f"  (hole rate {rate:.2f})" if np.isfinite(rate) else ""
        ax.set_title(arm.label + known, pad=6)
        ax.spines["top"].set(visible=True, color=style.arm_color(arm), linewidth=3)
    return sheet.figure


def _sheet(n: int, title: tuple[str, str], note: str) -> tuple[Sheet, list[Axes]]:
    """At most two panels in a row, and the colour bar at the right of the first row."""
    side, left, gap = 2.75, 0.62, (0.72, 0.82)
    columns, rows = min(n, 2), -(-n // 2)
    right = left + columns * (side + gap[0]) - gap[0]
    top = TOP + 0.28
    bottom = top + rows * (side + gap[1]) - gap[1] + 0.5
    sheet = Sheet(max(right + 0.95, MIN_WIDTH), bottom, title, _handles(), note)
    axes = [
        sheet.axes(left + i % 2 * (side + gap[0]), top + i // 2 * (side + gap[1]), side, side)
        for i in range(n)
    ]
    for ax in axes:
        ax.set(xlabel="z₁ (prior σ)", ylabel="z₂ (prior σ)")
    scale = sheet.axes(right + 0.22, top, 0.12, side)
    bar = sheet.figure.colorbar(ScalarMappable(_NORM, _MAP), cax=scale, ticks=_LEVELS[1::2])
    bar.set_label("log q(z) (nats)", size=8.5)
    scale.tick_params(length=2)
    return sheet, axes


def _handles() -> list[Artist]:
    return [
        grey_handle("prior, 50 % and 95 %", linewidth=1.2, linestyle=(0, (4, 2))),
        Patch(facecolor="none", edgecolor=_HOLE, hatch="////", linewidth=0, label="hole"),
    ]


def draw_density(ax: Axes, density: Arrays) -> None:
    """Log density of the mixture of posteriors, circles of the prior, and hatching over holes."""
    limit = density["side"][-1]
    ax.imshow(
        density["log_q"].clip(_LEVELS[0] - 5), extent=(-limit, limit, -limit, limit),
        origin="lower", cmap=_MAP, norm=_NORM, interpolation="bilinear",
        interpolation_stage="data", zorder=0.5,
    )  # fmt: skip
    ax.grid(False)
    if "prior_log_p" in density:
        draw_regions(ax, density, 1, 3)
    else:
        for radius in (HALF, MOST):
            ax.add_patch(Circle((0, 0), radius, fill=False, edgecolor="#222222", linewidth=1.2,
                                linestyle=(0, (4, 2)), zorder=3))  # fmt: skip
    _hatch_holes(ax, density)
    ax.set(xlim=(-limit, limit), ylim=(-limit, limit))


def draw_regions(ax: Axes, density: Arrays, *places: int) -> None:
    """Outlines of regions of a prior other than N(0, I), by place in its levels."""
    side, levels = density["side"], density["prior_levels"]
    ax.contour(
        side, side, density["prior_log_p"], levels=sorted({float(levels[i]) for i in places}),
        colors="#222222", linewidths=1.2, linestyles=[(0, (4, 2))], zorder=3,
    )  # fmt: skip


def hole_field(density: Arrays) -> NDArray[np.float64]:
    """Positive where a point of the prior's 99.9 % lies in a hole, [y, x], from −1 to 1."""
    side = density["hole_side"]
    x, y = np.meshgrid(side, side)
    depth = density["hole_level"] - density["hole_log_q"].astype(np.float64)
    within = density.get("hole_prior", side[-1] ** 2 - x**2 - y**2)
    field: NDArray[np.float64] = np.minimum(depth, within).clip(-1, 1)
    return field


def _hatch_holes(ax: Axes, density: Arrays) -> None:
    side, field = density["hole_side"], hole_field(density)
    if (field > 0).any():
        holes = ax.contourf(
            side, side, field, levels=[0, 2], colors="none", hatches=["////"], zorder=2
        )
        holes.set(edgecolor=_HOLE, linewidth=0.8)
