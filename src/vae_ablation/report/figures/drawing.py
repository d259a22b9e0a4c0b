"""A figure with the data that it shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

COLUMNS = ["panel", "x_label", "y_label", "mark", "series", "x", "y"]


@dataclass(frozen=True)
class Drawing:
    """A figure with the data that it shows, which are written beside it as CSV.

    Attributes:
        figure: what is drawn.
        data: one row per mark.
    """

    figure: Figure
    data: pd.DataFrame

    @classmethod
    def of(cls, drawn: Figure | Drawing) -> Drawing:
        """A drawing as it is; a bare figure with the values that are read off its panels."""
        return drawn if isinstance(drawn, Drawing) else cls(drawn, drawn_values(drawn))


def drawn_values(figure: Figure) -> pd.DataFrame:
    """Lines, points and bars of a figure, a row for each position, by panel and legend entry."""
    rows = [
        (_plain(ax.get_title()), _plain(ax.get_xlabel()), _plain(ax.get_ylabel()), *mark, x, y)
        for ax in figure.axes
        for mark, values in _marks(ax)
        for x, y in values
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _marks(ax: Axes) -> Iterator[tuple[tuple[str, str], Iterable[Any]]]:
    """Kind and legend entry of each mark, and its positions (of bars their ends); names stay."""
    for line in ax.lines:
        x, y = (np.atleast_1d(np.asarray(part)) for part in line.get_data(orig=True))
        yield ("line", _label(line)), zip(x, y, strict=False)
    for points in ax.collections:
        if isinstance(points, PathCollection):
            yield ("points", _label(points)), np.asarray(points.get_offsets())
    for bar in ax.patches:
        if isinstance(bar, Rectangle):
            end = (bar.get_x() + bar.get_width(), bar.get_y() + bar.get_height())
            yield ("bar", _label(bar)), [end]


def _label(artist: Any) -> str:
    """Legend entry of a mark; matplotlib's own names begin with an underscore."""
    text = str(artist.get_label())
    return "" if text.startswith("_") else _plain(text)


def _plain(text: str) -> str:
    return " ".join(text.split())
