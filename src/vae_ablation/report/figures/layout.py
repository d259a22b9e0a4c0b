"""Placing panels in inches, once: no layout engine has to draw a figure twice to fit it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from numpy.typing import NDArray

from vae_ablation.data.examples import drawable
from vae_ablation.report.figures import style
from vae_ablation.report.figures.selection import Selection, arms_of
from vae_ablation.study.axes import ArmName

TOP = 0.52
"""Inches kept for the figure's title and the line below it."""
MIN_WIDTH = 6.0
"""Inches; narrower figures have no room for their title."""
NOT_A_LIKELIHOOD = "cross-entropy, not a likelihood"
_EDGE = 0.1
_LINE = 0.17


class Sheet:
    """A figure whose parts are placed in inches from its top left corner.

    Args:
        width: inches.
        height: inches of everything between the title and the legend, title included.
        title: the title and the line below it, at the top left.
        legend: handles of one legend below the panels.
        note: small print at the bottom, wrapped to the width.
    """

    def __init__(
        self,
        width: float,
        height: float,
        title: tuple[str, str],
        legend: Sequence[Artist] = (),
        note: str = "",
    ) -> None:
        columns = _legend_columns(legend, width)
        legend_height = 0.2 * -(-len(legend) // columns) + 0.08 if legend else 0.0
        lines = textwrap.wrap(note, int(width * 16.5))
        note_height = _LINE * len(lines) + 0.06 if lines else 0.0
        self.width = width
        self.height = height + legend_height + note_height
        self.figure = Figure(figsize=(self.width, self.height))
        self.text(_EDGE, 0.18, title[0], size=10.5, weight="bold")
        self.text(_EDGE, 0.38, style.short(title[1], int(width * 14)), color=style.GREY)
        if legend:
            y = (note_height + 0.02) / self.height
            # matplotlib fills a legend column by column; readers go row by row.
            by_row = [handle for i in range(columns) for handle in legend[i::columns]]
            self.figure.legend(
                handles=by_row, loc="lower left", bbox_to_anchor=(0.0, y), ncols=columns,
                borderaxespad=0.2, columnspacing=1.4, handletextpad=0.5, labelspacing=0.3,
            )  # fmt: skip
        for i, line in enumerate(lines):
            y_line = self.height - note_height + (i + 0.5) * _LINE
            self.text(_EDGE, y_line, line, size=8, color=style.GREY)

    def text(self, x: float, y: float, text: str, **options: Any) -> None:
        """Write text at x, y inches from the top left, vertically centred."""
        options = {"va": "center", "ha": "left"} | options
        self.figure.text(x / self.width, 1 - y / self.height, text, **options)

    def bar(self, x: float, y: float, width: float, height: float, color: str) -> None:
        """Filled rectangle whose top left corner is at x, y; all in inches."""
        corner = (x / self.width, 1 - (y + height) / self.height)
        size = (width / self.width, height / self.height)
        self.figure.add_artist(Rectangle(corner, *size, color=color, linewidth=0))

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Axes whose top left corner is at x, y; all in inches."""
        bottom = 1 - (y + height) / self.height
        return self.figure.add_axes(
            (x / self.width, bottom, width / self.width, height / self.height)
        )


def _legend_columns(legend: Sequence[Artist], width: float) -> int:
    longest = max((len(str(handle.get_label())) for handle in legend), default=1)
    return max(1, int((width - 0.2) / (0.55 + 0.068 * longest)))


def panels(
    n: int,
    title: tuple[str, str],
    *,
    columns: int = 3,
    aspect: float = 1.0,
    largest: float = 3.6,
    left: float = 0.7,
    gap: tuple[float, float] = (0.6, 0.6),
    bottom: float = 0.5,
    head: float = 0.28,
    legend: Sequence[Artist] = (),
    note: str = "",
) -> tuple[Figure, list[Axes]]:
    """A figure with `n` equal panels, row by row.

    Args:
        n: number of panels, at least 1.
        title: the figure's title.
        columns: panels in a row at most.
        aspect: height of a panel over its width.
        largest: width of a panel at most, inches.
        left: inches left of the first column.
        gap: inches between columns, and between rows.
        bottom: inches below the last row.
        head: inches between the figure's title and the first row.
        legend: handles of the common legend.
        note: small print.
    """
    columns = min(n, columns)
    rows = -(-n // columns)
    free = style.FULL_WIDTH - left - 0.2 - (columns - 1) * gap[0]
    width = min(free / columns, largest)
    total = max(left + 0.2 + columns * width + (columns - 1) * gap[0], MIN_WIDTH)
    top = TOP + head
    height = top + rows * width * aspect + (rows - 1) * gap[1] + bottom
    sheet = Sheet(total, height, title, legend, note)
    corners = [
        (left + (i % columns) * (width + gap[0]), top + (i // columns) * (width * aspect + gap[1]))
        for i in range(n)
    ]
    return sheet.figure, [sheet.axes(x, y, width, width * aspect) for x, y in corners]


def heading(what: str, selection: Selection, rows: pd.DataFrame) -> tuple[str, str]:
    """Title of a figure: what it shows; then dataset, likelihood and latent dimension.

    Args:
        what: subject of the figure.
        selection: its dataset, likelihood and latent dimension.
        rows: its rows of metrics.csv; an improper likelihood among them is named as such.
    """
    mark = f" ({NOT_A_LIKELIHOOD})" if is_improper(rows) else ""
    parts = [
        style.short(selection.dataset, 40) if selection.dataset else "",
        style.plain(selection.likelihood) + mark if selection.likelihood else "",
        f"latent dimension {selection.latent_dim}" if selection.latent_dim else "",
    ]
    return what, ", ".join(part for part in parts if part)


def is_improper(rows: pd.DataFrame) -> bool:
    """Whether scores among these rows are a cross-entropy, not a likelihood."""
    return bool(rows["proper"].astype(str).str.lower().eq("false").any())


def left_out(rows: pd.DataFrame) -> str:
    """Sentence on runs that diverged or failed, by arm with the first reason; or nothing.

    Args:
        rows: rows of metrics.csv, diverged ones included.
    """
    bad = rows[rows["status"] != "ok"]
    if bad.empty:
        return ""
    parts = [_bad_arm(arm, rows) for arm in arms_of(bad)]
    shown = parts[:4] + ([f"{len(parts) - 4} more arms"] if len(parts) > 4 else [])
    return f"Excluded: {'; '.join(shown)}."


def _bad_arm(arm: ArmName, rows: pd.DataFrame) -> str:
    mine = rows[rows["arm"] == arm]
    bad = mine[mine["status"] != "ok"]
    reason = bad["reason"].dropna()
    why = f" ({style.short(str(reason.iloc[0]), 60)})" if len(reason) else ""
    kinds = " or ".join(sorted(set(bad["status"].astype(str))))
    return f"{arm.label}, {len(bad)} of {len(mine)} runs {kinds}{why}"


def grey_handle(label: str, **options: Any) -> Line2D:
    """Legend entry that explains a line style or a marker, whatever its colour."""
    return Line2D([], [], color=style.GREY, label=label, **options)


def plain_log(ax: Axes, which: Literal["x", "y"], linear_below: float, high: float) -> None:
    """Logarithmic above `linear_below`, linear from there to 0, with plain tick labels.

    Args:
        ax: the axes.
        which: its axis to change.
        linear_below: where the logarithm begins, same unit as the axis.
        high: largest value shown, for the choice of ticks.
    """
    axis = ax.xaxis if which == "x" else ax.yaxis
    (ax.set_xscale if which == "x" else ax.set_yscale)(
        "symlog", linthresh=linear_below, linscale=0.5
    )
    first, last = int(np.log10(linear_below)), int(np.ceil(np.log10(max(high, linear_below * 10))))
    step = -(-(last - first + 1) // 6)
    axis.set_ticks([0.0, *(10.0**power for power in range(first, last + 1, step))])
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def log_ticks(axis: Axis) -> None:
    """Plain labels at a few powers of ten: matplotlib's own need mathematical text."""
    axis.set_major_locator(LogLocator(numticks=5))
    axis.set_major_formatter(FuncFormatter(lambda value, _: style.power(value)))
    axis.set_minor_locator(NullLocator())


_RULE = 217


def mosaic(images: NDArray[np.uint8], lines: bool = True) -> NDArray[np.uint8]:
    """One picture of a grid of images, with thin pale lines between them.

    Small images are enlarged by a whole factor first, so that the lines stay thin.

    Args:
        images: [rows, columns, H, W], 0 black to 255 white, or in colour (`examples.PIXEL`).
        lines: leave them out where the images are to read as one surface.

    Returns:
        [height, width] of the mosaic.
    """
    rows, columns, height, width = images.shape
    if not lines:
        return images.transpose(0, 2, 1, 3).reshape(rows * height, columns * width)
    factor = max(1, -(-24 // max(height, width)))
    large = images.repeat(factor, axis=2).repeat(factor, axis=3)
    line = max(1, round(0.05 * factor * max(height, width)))
    padding = ((0, 0), (0, 0), (0, line), (0, line))
    padded = np.full([a + sum(b) for a, b in zip(large.shape, padding, strict=True)], _RULE,
                     large.dtype)  # fmt: skip
    padded[:, :, :-line, :-line] = large
    grid = padded.transpose(0, 2, 1, 3).reshape(
        rows * (factor * height + line), columns * (factor * width + line)
    )
    return grid[:-line, :-line]


def show_mosaic(
    ax: Axes, images: NDArray[np.uint8], color: str | None = None, lines: bool = True
) -> None:
    """Draw a grid of images [rows, columns, H, W] into axes, framed in an arm's colour."""
    picture = mosaic(images, lines)
    ax.imshow(
        drawable(picture), cmap="gray", vmin=0, vmax=255, interpolation="auto", aspect="auto",
        extent=(0, images.shape[1], images.shape[0], 0),
    )  # fmt: skip
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set(visible=color is not None, color=color or "none", linewidth=2)


def square(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images [n, H, W] as a grid [s, s, H, W], s² the largest square number not above n."""
    side = int(np.sqrt(len(images)))
    return images[: side * side].reshape(side, side, *images.shape[1:])


def image_aspect(images: NDArray[np.uint8]) -> float:
    """Height over width of one image, from an array [..., H, W]."""
    return float(images.shape[-2] / images.shape[-1])


def evenly(count: int, limit: int) -> NDArray[np.int64]:
    """At most `limit` of the positions 0 to count − 1, evenly spaced, both ends among them."""
    return np.linspace(0, count - 1, min(count, limit)).round().astype(np.int64)
