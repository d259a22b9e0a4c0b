"""Axes of a study as the page switches between them: the levels that runs have, in order.

β, the KL term and a point posterior are one axis here, since they are one scale of strength:
deterministic, KL off, then β from small to large.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from vae_ablation.report.page.values import short
from vae_ablation.study.axes import (
    REPLICATES,
    ArmName,
    Axis,
    as_level,
    axis_columns,
    axis_of,
    level_order,
    level_text,
)

STRENGTH = "beta"
_MERGED = {"kl", *REPLICATES}


@dataclass(frozen=True)
class Level:
    """One level of an axis.

    Attributes:
        id: text that tells it from the others, as in tables and addresses: `0.5`, `kl-off`.
        short: text of a switch.
        label: name in a sentence: `β = 0.5`, `latent dimension 8`.
        value: the number that it is, if it is one.
    """

    id: str
    short: str
    label: str
    value: float | int | None = None


@dataclass(frozen=True)
class PageAxis:
    """An axis with the levels that runs of the study have.

    Attributes:
        axis: its definition.
        levels: in order, at least one.
        reference: place of the reference level.
    """

    axis: Axis
    levels: tuple[Level, ...]
    reference: int

    @property
    def varied(self) -> bool:
        """Whether it has more than one level."""
        return len(self.levels) > 1

    def place(self, level: str) -> int:
        """Place of a level."""
        return next(i for i, one in enumerate(self.levels) if one.id == level)

    def to_json(self) -> dict[str, Any]:
        """Plain form, for the page."""
        return {
            "name": self.axis.name,
            "label": self.axis.label,
            "symbol": self.axis.symbol or self.axis.label,
            "ordered": self.axis.ordered,
            "scale": self.axis.scale,
            "varied": self.varied,
            "reference": self.reference,
            "levels": [vars(level) for level in self.levels],
        }


def page_axes(
    runs: pd.DataFrame, wanted: Mapping[str, Any], likelihood: Callable[[str], str]
) -> list[PageAxis]:
    """Axes of the trained runs, data set first.

    Args:
        runs: rows of trained models of metrics.csv, with `ArmName` arms.
        wanted: reference levels that the config names.
        likelihood: proper name of a likelihood.
    """
    names = [name for name in axis_columns(runs.columns) if name not in _MERGED]
    axes = [axis_of(name) for name in names]
    named = [replace(a, words=likelihood) if a.name == "likelihood" else a for a in axes]
    return [_page_axis(axis, runs, wanted.get(axis.name)) for axis in named]


def level_ids(axis: Axis, runs: pd.DataFrame) -> list[str]:
    """The level of each run on an axis, as its id."""
    if axis.name == STRENGTH:
        return [_strength_id(arm) for arm in runs["arm"]]
    cells = runs[axis.name]
    if axis.name == "posterior":
        cells = cells.replace("point", axis.default)
    texts = {cell: level_text(_level(cell)) for cell in cells.unique()}
    return [texts.get(cell, "none") for cell in cells]


def _strength_id(arm: ArmName) -> str:
    return level_text(arm.beta) if arm.kind == "beta" else arm.kind


def _level(cell: Any) -> Any:
    """The value that a cell shows: whole numbers are integers, missing ones None."""
    if isinstance(cell, float):
        return None if pd.isna(cell) else int(cell) if cell.is_integer() else cell
    return cell.item() if hasattr(cell, "item") else cell


def _page_axis(axis: Axis, runs: pd.DataFrame, wanted: Any) -> PageAxis:
    found = dict.fromkeys(level_ids(axis, runs))
    levels = sorted((_described(axis, level) for level in found), key=_order)
    return PageAxis(axis, tuple(levels), _reference(axis, levels, wanted))


def _number(text: str) -> float | int | None:
    try:
        return short(float(text))
    except ValueError:
        return None


_WITHOUT_KL = {"point": ("det.", "deterministic"), "kl-off": ("off", "KL off")}


def _described(axis: Axis, level: str) -> Level:
    value = _number(level)
    if axis.name == STRENGTH:
        brief, label = _WITHOUT_KL.get(level, (level, f"β = {level}"))
        return Level(level, brief, label, value)
    if axis.name == "likelihood":
        return Level(level, axis.described(level), axis.described(level))
    if axis.name == "dataset":
        return Level(level, level, level)
    label = axis.described(level if value is None else value).replace("_", " ")
    return Level(level, level.replace("_", " "), label, value)


def _order(level: Level) -> tuple[Any, ...]:
    if level.id in _WITHOUT_KL:
        return (-1, list(_WITHOUT_KL).index(level.id))
    return level_order(level.id if level.value is None else level.value)


def _reference(axis: Axis, levels: list[Level], wanted: Any) -> int:
    """Place of the reference level: the config's, else the axis's own choice; KL off at last."""
    ids = [level.id for level in levels]
    if wanted is not None and (text := level_text(as_level(wanted))) in ids:
        return ids.index(text)
    known = [level for level in levels if level.id not in _WITHOUT_KL]
    if not known:
        return len(levels) - 1
    values = {level.id if level.value is None else level.value: level for level in known}
    return levels.index(values[axis.reference(values)])
