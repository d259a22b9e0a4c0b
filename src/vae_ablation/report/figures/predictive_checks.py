"""Simulated and observed cells: posterior predictive checks of count likelihoods."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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
    MIN_WIDTH,
    TOP,
    Sheet,
    grey_handle,
    heading,
    left_out,
    log_ticks,
)
from vae_ablation.report.figures.registry import figure
from vae_ablation.report.figures.results import Arrays, StudyResults
from vae_ablation.report.figures.selection import Selection, first_runs, nearest_to_one
from vae_ablation.study.axes import ArmName

MAX_LIKELIHOODS = 5
_LEFT = 0.85
_GAP = 0.14
_BETWEEN = 0.68
_OBSERVED = "#8a8a8a"
_POISSON = (0, (4, 1.5))
_FEW_GENES = 400
"""Up to here points are drawn large, and as shapes; above they are small, and an image in PDFs."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Column:
    """A run that stands for its likelihood."""

    likelihood: str
    arm: ArmName
    color: str
    arrays: Arrays
    scores: dict[str, float]

    def of(self, whose: str, name: str) -> Array:
        """An array of the observed cells or of the model's."""
        return self.arrays[f"{whose}_{name}"].astype(np.float64)

    def cv2(self, whose: str) -> Array:
        """Variance / mean² of each gene; NaN without counts."""
        mean, variance = self.of(whose, "mean"), self.of(whose, "variance")
        return np.divide(variance, mean**2, out=np.full_like(mean, np.nan), where=mean > 0)


@figure(scope="dataset", category="Biology", per_latent_dim=True)
def predictive_checks(results: StudyResults, selection: Selection) -> Figure | None:
    """Zero fractions, variance and CV² of genes, zeros of cells: a column for each likelihood."""
    columns = checked_runs(results, selection)
    if not columns:
        return None
    every = selection.rows(results)
    free = style.FULL_WIDTH - _LEFT - 0.2 - (len(columns) - 1) * _GAP
    width = min(free / len(columns), 2.3)
    total = max(_LEFT + 0.2 + len(columns) * (width + _GAP) - _GAP, MIN_WIDTH)
    top = TOP + 0.82
    sheet = Sheet(
        total, top + 4 * width + 3 * _BETWEEN + 0.46,
        heading("Simulated and observed cells", selection, every),
        legend=_handles(columns), note=left_out(every),
    )  # fmt: skip
    for i, column in enumerate(columns):
        x = _LEFT + i * (width + _GAP)
        _write_head(sheet, x, width, column)
    for row, draw in enumerate((_draw_zeros, _draw_variance, _draw_cv2, _draw_cells)):
        y = top + row * (width + _BETWEEN)
        axes = [
            sheet.axes(_LEFT + i * (width + _GAP), y, width, width) for i in range(len(columns))
        ]
        for ax, column in zip(axes, columns, strict=True):
            draw(ax, column)
        _share(axes)
    return sheet.figure


def checked_runs(results: StudyResults, selection: Selection) -> list[_Column]:
    """The lowest seed of each likelihood's arm with β nearest to 1, where it was checked."""
    rows = selection.ok_rows(results)
    columns = []
    for name in sorted(set(rows["likelihood"].dropna())):
        firsts = first_runs(rows[rows["likelihood"] == name])
        betas = [arm for arm in firsts if arm.kind == "beta"]
        arm = nearest_to_one(betas) if betas else min(firsts, key=lambda arm: arm.order)
        arrays = results.applied(firsts[arm], "predictive_checks")
        if arrays is not None:
            color = style.likelihood_styles(set(rows["likelihood"].dropna()))[name][0]
            columns.append(_Column(name, arm, color, arrays, _scores(results, firsts[arm])))
    return columns[:MAX_LIKELIHOODS]


def _scores(results: StudyResults, run: str) -> dict[str, float]:
    table: pd.DataFrame = results.applications
    keep = (table["run"] == run) & (table["application"] == "predictive_checks")
    mine = table[keep & (table["method"] == "vae")]
    return dict(zip(mine["metric"].astype(str), mine["value"].astype(float), strict=True))


def _write_head(sheet: Sheet, x: float, width: float, column: _Column) -> None:
    """Likelihood, arm and coverage above the column."""
    lines = textwrap.wrap(style.plain(column.likelihood), int(width * 13))[:2]
    for i, line in enumerate(lines):
        y = TOP + 0.2 + 0.15 * (i + 2 - len(lines))
        sheet.text(x, y, line, size=9, weight="bold", color=column.color)
    coverage = column.scores.get("coverage")
    parts = [column.arm.label]
    parts += [] if coverage is None else [f"{100 * coverage:.0f} % inside 90 %"]
    sheet.text(x, TOP + 0.52, ", ".join(parts), size=8, color=style.GREY)


def _draw_zeros(ax: Axes, column: _Column) -> None:
    ax.plot([0, 1], [0, 1], color="#444444", linewidth=0.8, zorder=1)
    observed = column.of("observed", "zero_fraction")
    _points(ax, observed, column.of("vae", "zero_fraction"), column.color)
    ax.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    ax.set_xlabel("observed zeros")
    ax.set_ylabel("simulated zeros of a gene (0–1)")
    inflation = column.scores.get("zero_inflation")
    if inflation is not None:
        _write(ax, f"missing zeros {style.number(inflation)}")


def _draw_variance(ax: Axes, column: _Column) -> None:
    for whose, color in (("observed", _OBSERVED), ("vae", column.color)):
        _points(ax, column.of(whose, "mean"), column.of(whose, "variance"), color)
    _poisson_line(ax, column, lambda mean: mean)
    ax.set_ylabel("variance of a gene (counts²)")
    _write_error(ax, column, "variance", "log_variance_rmse")


def _draw_cv2(ax: Axes, column: _Column) -> None:
    for whose, color in (("observed", _OBSERVED), ("vae", column.color)):
        _points(ax, column.of(whose, "mean"), column.cv2(whose), color)
    _poisson_line(ax, column, lambda mean: 1 / mean)
    ax.set_ylabel("CV² of a gene")
    _write_error(ax, column, "CV²", "log_cv2_rmse")


def _draw_cells(ax: Axes, column: _Column) -> None:
    for whose, color, width in (("observed", _OBSERVED, 2.6), ("vae", column.color, 1.4)):
        quantiles = column.of(whose, "cell_zero_fraction")
        ax.plot(quantiles, np.linspace(0, 1, len(quantiles)), color=color, linewidth=width)
    ax.set_xlabel("zeros of a cell (0–1)")
    ax.set_ylabel("share of cells below")
    ax.xaxis.set_major_locator(MaxNLocator(4))
    distance = column.scores.get("cell_zero_fraction_ks")
    if distance is not None:
        _write(ax, f"KS distance {style.number(distance)}")


def _points(ax: Axes, x: Array, y: Array, color: str) -> None:
    few = len(x) <= _FEW_GENES
    ax.scatter(
        x, y, s=9 if few else 3, color=color, alpha=0.6 if few else 0.35, linewidths=0,
        rasterized=not few, zorder=2,
    )  # fmt: skip


def _poisson_line(ax: Axes, column: _Column, of: Callable[[Array], Array]) -> None:
    """Expectation for a Poisson with one rate, over the observed means; logarithmic axes."""
    mean = column.of("observed", "mean")
    ends = np.array([mean[mean > 0].min(), mean.max()])
    ax.plot(ends, of(ends), color="#444444", linestyle=_POISSON, linewidth=1, zorder=3)
    ax.set(xscale="log", yscale="log")
    for axis in (ax.xaxis, ax.yaxis):
        log_ticks(axis)
    ax.set_xlabel("mean (counts)")


def _share(axes: list[Axes]) -> None:
    """Equal limits along a row; what stands left of the first panel holds for all."""
    for which in ("x", "y"):
        ends = [getattr(ax, f"get_{which}lim")() for ax in axes]
        low, high = min(end[0] for end in ends), max(end[1] for end in ends)
        for ax in axes:
            getattr(ax, f"set_{which}lim")(low, high)
    for ax in axes[1:]:
        ax.set_ylabel("")
        ax.tick_params("y", labelleft=False)


def _write_error(ax: Axes, column: _Column, of: str, metric: str) -> None:
    value = column.scores.get(metric)
    if value is not None:
        _write(ax, f"RMSE of ln {of} {style.number(value)}")


def _write(ax: Axes, text: str) -> None:
    """A score above the panel's right end, where no point can hide it."""
    ax.text(1, 1.02, text, transform=ax.transAxes, ha="right", va="bottom", size=7.5)


def _handles(columns: list[_Column]) -> list[Artist]:
    alone = len(columns) == 1
    dots: dict[str, Any] = {"marker": "o", "markersize": 5, "linestyle": "none"}
    simulated = Line2D(
        [], [], color=columns[0].color if alone else "black", **dots,
        label="simulated" if alone else "simulated (colour: likelihood)",
    )  # fmt: skip
    return [
        Line2D([], [], color=_OBSERVED, label="observed", **dots),
        simulated,
        grey_handle("Poisson with one rate", linestyle=_POISSON, linewidth=1),
    ]
