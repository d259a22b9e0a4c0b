"""Rows of contrasts.csv as columns of the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from vae_ablation.report.page.axes import PageAxis
from vae_ablation.report.page.values import short, table

MOST_CONTRASTS = 20_000
"""Rows of contrasts.csv that the page holds; pooled and primary ones first."""
_CONTRASTS = (
    "question", "scope", "level", "reference", "arm", "reference_arm", "metric", "primary",
    "scale", "n", "settings", "lost", "reference_mean", "mean", "estimate", "ci_low", "ci_high",
    "effect", "effect_low", "effect_high", "margin", "margin_from", "verdict", "depends_on", "p",
    "p_adjusted", "family", "detectable", "seeds_needed", "below_drift",
)  # fmt: skip


def contrast_columns(rows: pd.DataFrame, axes: Sequence[PageAxis]) -> dict[str, Any]:
    """Rows of contrasts.csv by column, the most important first where there are too many."""
    levels = [axis.axis.name for axis in axes if axis.axis.name in rows]
    names = list(dict.fromkeys([*_CONTRASTS[:4], *levels, *_CONTRASTS[4:]]))
    rows = rows[[name for name in names if name in rows]]
    whole = len(rows)
    if whole > MOST_CONTRASTS:
        pooled = rows["scope"].astype(str) != "setting"
        primary = rows["primary"].astype(str) == "True"
        order = (2 * pooled + primary).sort_values(ascending=False, kind="stable").index
        rows = rows.loc[order[:MOST_CONTRASTS]]
    texts = {
        name: rows[name].map(_cell_text) for name in ("level", "reference", *levels) if name in rows
    }
    return {"count": len(rows), "whole": whole, "columns": table(rows.assign(**texts))}


def _cell_text(value: Any) -> Any:
    """A level as text: `8`, not `8.0`; missing ones stay missing."""
    if value is None or (not isinstance(value, str) and pd.isna(value)):
        return None
    number = short(value) if isinstance(value, float) else value
    return str(number)
