"""Posterior collapse: active units over β and latent dimension."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray
from seaborn import color_palette, heatmap

from vae_ablation.report.figures import style
from vae_ablation.report.figures.drawing import Drawing
from vae_ablation.report.figures.layout import MIN_WIDTH, TOP, Sheet, heading, left_out
from vae_ablation.report.figures.registry import figure
from vae_ablation.report.figures.results import StudyResults
from vae_ablation.report.figures.selection import (
    Selection,
    arms_of,
    choose_arms,
    choose_latent_dims,
)
from vae_ablation.study.axes import ArmName

MAX_BETAS = 9
MAX_DIMS = 8
MAX_VARIANTS = 4
_MAP = color_palette("cividis", as_cmap=True)
_LEFT = 0.75
_CELL = (1.15, 0.42)

Array = NDArray[np.float64]


@figure(scope="likelihood", category="Latent space")
def collapse_map(results: StudyResults, selection: Selection) -> Drawing | None:
    """Active units, and their share of all, over β and latent dimension; KL off has none."""
    every = selection.rows(results)
    dims = choose_latent_dims(every["latent_dim"].dropna(), MAX_DIMS)
    maps = {}
    for variant, arms in _variants(every).items():
        counts = cell_means(results, selection, "active_units", arms, dims).T
        if np.isfinite(counts).any():
            maps[variant] = (arms, counts)
    if not maps:
        return None
    most = max(len(arms) for arms, _ in maps.values())
    width = min(_CELL[0], (style.FULL_WIDTH - _LEFT - 0.95) / most)
    block = _CELL[1] * len(dims) + 0.78
    sheet = Sheet(
        max(_LEFT + width * most + 0.95, MIN_WIDTH), TOP + block * len(maps),
        heading("Collapse map", selection, every), note=left_out(every),
    )  # fmt: skip
    for i, (variant, (arms, counts)) in enumerate(maps.items()):
        size = (width * len(arms), _CELL[1] * len(dims))
        y = TOP + 0.24 + i * block
        ax = sheet.axes(_LEFT, y, *size)
        bar = sheet.axes(_LEFT + size[0] + 0.2, y, 0.12, size[1])
        _draw_map(ax, bar, counts, dims, _lost(every, arms, dims))
        betas = [f"{arm.beta:.4g}" for arm in arms]
        ax.set_xticks(np.arange(len(arms)) + 0.5, betas)
        ax.set_yticks(np.arange(len(dims)) + 0.5, [str(dim) for dim in dims])
        ax.set(xlabel="β", ylabel="latent dimension" if len(dims) > 2 else "latent\ndimension")
        room = int((_LEFT + size[0]) * 13)  # of letters, up to the bar's own title
        margin = (0.1 - _LEFT) / size[0]
        ax.set_title(style.short(variant, room), size=9, pad=4, ha="left", x=margin)
    rows = [
        (arm, dim, count)
        for arms, counts in maps.values()
        for dim, of in zip(dims, counts, strict=True)
        for arm, count in zip(arms, of, strict=True)
    ]
    return Drawing(sheet.figure, pd.DataFrame(rows, columns=["arm", "latent_dim", "active_units"]))


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


def _variants(every: pd.DataFrame) -> dict[str, list[ArmName]]:
    """β arms from small to large, by the levels of further axes."""
    betas = [arm for arm in arms_of(every) if arm.kind == "beta"]
    names = sorted({arm.variant_label for arm in betas})
    arms = {
        name: [arm for arm in betas if arm.variant_label == name] for name in names[:MAX_VARIANTS]
    }
    return {name: choose_arms(every[every["arm"].isin(of)], MAX_BETAS) for name, of in arms.items()}


def _lost(every: pd.DataFrame, arms: list[ArmName], dims: list[int]) -> NDArray[np.bool_]:
    """Cells [dims, arms] that were wanted and of which no run ended well."""
    wanted, fine = (
        {(int(dim), arm) for dim, arm in zip(rows["latent_dim"], rows["arm"], strict=True)}
        for rows in (every, every[every["status"] == "ok"])
    )
    return np.array([[(dim, arm) in wanted - fine for arm in arms] for dim in dims])


def _draw_map(ax: Axes, bar: Axes, counts: Array, dims: list[int], lost: NDArray[np.bool_]) -> None:
    """Share of active units in colour, with count and share in words; × where nothing is left."""
    share = counts / np.array(dims)[:, None]
    names = [
        [f"{style.count(n)} of {dim}\n{100 * n / dim:.0f} %" if np.isfinite(n) else "" for n in row]
        for dim, row in zip(dims, counts, strict=True)
    ]
    heatmap(
        share, vmin=0, vmax=1, cmap=_MAP, annot=np.array(names), fmt="", linewidths=1.5, ax=ax,
        cbar_ax=bar, annot_kws={"size": 8},
        cbar_kws={"ticks": [0, 0.5, 1], "format": PercentFormatter(1, 0, " %")},
    )  # fmt: skip
    for row, column in zip(*np.nonzero(lost & ~np.isfinite(share)), strict=True):
        ax.text(column + 0.5, row + 0.5, "×", ha="center", va="center", color=style.GREY)
    ax.invert_yaxis()
    ax.grid(False)
    ax.tick_params(length=0, rotation=0)
    bar.tick_params(length=0)
    bar.set_title("active", size=8, pad=4)
