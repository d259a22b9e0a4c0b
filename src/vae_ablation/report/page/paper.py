"""The paper's table: the full model, and arms that change one axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vae_ablation.report.page.arms import Arms
    from vae_ablation.report.page.axes import PageAxis

MOST_METRICS = 7
MOST_COMPARED = 300
"""Arms of a table up to which all are compared with one another."""
_FIXED = ("dataset", "likelihood")
"""Axes of which the table is made for each level."""


def paper_tables(arms: Arms, metrics: Sequence[str]) -> dict[str, Any]:
    """Tables of arms by place: of each data set and likelihood the reference and what differs.

    Args:
        arms: the study's arms.
        metrics: columns.

    Returns:
        `metrics`, and `tables`: levels of the fixed axes, place of the reference arm, and rows of
        [label, place of the arm], a row for each arm that differs from it on one axis.
    """
    by_levels = {tuple(at): i for i, at in enumerate(arms.frame["at"])}
    fixed = [i for i, axis in enumerate(arms.axes) if axis.axis.name in _FIXED]
    settings = sorted({tuple(at[i] for i in fixed) for at in by_levels})
    tables = [_table(arms, by_levels, dict(zip(fixed, one, strict=True))) for one in settings]
    return {"metrics": list(metrics)[:MOST_METRICS], "tables": [one for one in tables if one]}


def _table(
    arms: Arms, by_levels: dict[tuple[int, ...], int], fixed: dict[int, int]
) -> dict[str, Any] | None:
    wanted = [fixed.get(i, axis.reference) for i, axis in enumerate(arms.axes)]
    own = [at for at in by_levels if all(at[i] == level for i, level in fixed.items())]
    full = _full(own, min(own, key=lambda at: (_distance(at, wanted), at)))
    rows = [
        [_difference(arms.axes, at, full), by_levels[at]]
        for at in sorted(own, key=lambda at: (_changed(at, full), at))
        if _distance(at, full) == 1
    ]
    return {"at": [fixed.get(i, -1) for i in range(len(arms.axes))], "full": by_levels[full],
            "rows": rows}  # fmt: skip


def _full(own: Sequence[tuple[int, ...]], usual: tuple[int, ...]) -> tuple[int, ...]:
    """The arm to which the others are compared: the one nearest to the reference levels.

    In a study of one change at a time around another arm that arm, beside which twice as many are.
    """
    if len(own) > MOST_COMPARED:
        return usual
    beside = {at: sum(_distance(at, other) == 1 for other in own) for at in own}
    hub = max(own, key=lambda at: beside[at])
    return hub if beside[hub] > 2 * beside[usual] else usual


def _distance(at: Sequence[int], other: Sequence[int]) -> int:
    """Number of axes on which two arms differ."""
    return sum(a != b for a, b in zip(at, other, strict=True))


def _changed(at: Sequence[int], full: Sequence[int]) -> int:
    return next((i for i, (a, b) in enumerate(zip(at, full, strict=True)) if a != b), -1)


def _difference(axes: Sequence[PageAxis], at: Sequence[int], full: Sequence[int]) -> str:
    changed = _changed(at, full)
    label = axes[changed].levels[at[changed]].label
    return "− KL term" if label == "KL off" else label
