"""Scores by seed with their Student-t interval, and paired differences, as quotes of a table.

Where a table has several splits of the data, these take the place of seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student_t

from vae_ablation.report.findings import words
from vae_ablation.report.findings.evidence import matching
from vae_ablation.report.findings.quotes import How, Phrase, Quote, say
from vae_ablation.tables.collect import mean_interval
from vae_ablation.tables.splits import overlap


@dataclass(frozen=True)
class Score:
    """A mean over seeds, of a column or of its difference from other rows, paired by seed.

    Attributes:
        table: name of the table.
        column: the column.
        where: cells of the rows; several of one seed are averaged.
        against: cells of the rows that are subtracted; None for no difference.
        values: by seed, or by split.
        overlap: of splits, as from `splits.overlap`.
        unit: what replicates: seed or split.
    """

    table: str
    column: str
    where: Mapping[str, Any]
    against: Mapping[str, Any] | None
    values: pd.Series
    overlap: float = 0.0
    unit: str = "seed"

    @property
    def interval(self) -> tuple[int, float, float, float]:
        """n, mean and the ends of the 95 % interval, NaN for one seed."""
        return mean_interval(self.values, overlap=self.overlap)

    @property
    def p(self) -> float:
        """P of the two-sided t test against 0; 1 where there is no spread."""
        n = len(self.values)
        if n < 2 or not np.ptp(self.values) > 0:
            return 1.0
        error = float(self.values.std(ddof=1)) * (1 / n + self.overlap) ** 0.5
        return float(2 * student_t.sf(abs(float(self.values.mean())) / error, n - 1))

    def phrase(self, times: float = 1.0, unit: str = "") -> Phrase:
        """`12.3 nats (11.0 to 13.6)`."""
        n, mean, low, high = self.interval
        low, high = (low, high) if times > 0 else (high, low)
        ends = (None, None) if n < 2 else (low * times, high * times)
        places = words.interval_decimals(mean * times, *ends)

        def quote(value: float, how: How) -> Quote:
            text = words.fixed(value * times, places)
            return Quote(text, value, self.table, self.column, self.where, how, times,
                         against=self.against)  # fmt: skip

        head = say("{mean}{unit}", mean=quote(mean, "mean"), unit=unit)
        if n < 2:
            return head
        if low == high:
            return say("{head} (the same in every {unit})", head=head, unit=self.unit)
        ends_of: tuple[How, How] = ("low", "high") if times > 0 else ("high", "low")
        return say("{head} ({low} to {high})", head=head, low=quote(low, ends_of[0]),
                   high=quote(high, ends_of[1]))  # fmt: skip


def score(
    name: str,
    table: pd.DataFrame,
    column: str,
    where: Mapping[str, Any],
    against: Mapping[str, Any] | None = None,
) -> Score | None:
    """A score of some rows of a table; None without a value.

    Args:
        name: of the table, as quotes call it.
        table: its rows, with a column seed.
        column: what to average.
        where: cells of the rows.
        against: cells of the rows to subtract, seed by seed.
    """
    values = by_seed(table, column, where)
    if against is not None:
        values = (values - by_seed(table, column, against)).dropna()
    if not len(values):
        return None
    rows = matching(table, where)
    several = "split_seed" in rows and len(rows["split_seed"].unique()) > 1
    unit = "split" if several else "seed"
    return Score(name, column, where, against, values, overlap(rows), unit)


def by_seed(table: pd.DataFrame, column: str, where: Mapping[str, Any]) -> pd.Series:
    """Means of a column by seed, or by split where there are several, over the rows of cells."""
    rows = matching(table, where)
    if column not in rows:
        return pd.Series(dtype=float)
    values = pd.to_numeric(rows[column], errors="coerce").astype(float)
    if "split_seed" in rows and len(rows["split_seed"].unique()) > 1:
        means = values.groupby([rows["split_seed"], rows["seed"]]).mean().dropna()
        return means.groupby(level="split_seed").mean()
    return values.groupby(rows["seed"]).mean().dropna()
