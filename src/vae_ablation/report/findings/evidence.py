"""Tables of one dataset, and the verdicts of contrasts.csv that a finding may state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import isfinite
from numbers import Real
from typing import Any

import pandas as pd

from vae_ablation.report.findings.quotes import How, Quote, Scale
from vae_ablation.report.findings.words import number
from vae_ablation.study.axes import axis_columns, level_order
from vae_ablation.study.metrics import Metric, described
from vae_ablation.tables.splits import replicate
from vae_ablation.tables.verdicts import ALPHA, rejected

DECIDED = ("better", "worse", "higher", "lower", "equivalent", "depends")
DIFFERENT = ("better", "worse", "higher", "lower", "depends")
"""Verdicts by which a level and its reference differ."""


@dataclass(frozen=True)
class Row:
    """A row of contrasts.csv: the effect of one level of a question on one metric.

    Attributes:
        cells: the row, without its empty cells.
        axes: columns that name levels, in order.
        verdict: as in the table, or `undecided` where a finding may not state it (`Evidence`).
        replicates: what n counts: `seeds`, or `splits` of the data.
    """

    cells: Mapping[str, Any]
    axes: tuple[str, ...]
    verdict: str
    replicates: str = "seeds"

    @property
    def question(self) -> str:
        """Name of the question: `kl_off`, `point` or an axis."""
        return str(self.cells["question"])

    @property
    def level(self) -> str:
        """Level that is compared."""
        return _tidy(self.cells["level"])

    @property
    def reference(self) -> str:
        """Level that it is compared with."""
        return _tidy(self.cells.get("reference", ""))

    @property
    def metric(self) -> Metric:
        """The metric compared."""
        return described(str(self.cells["metric"]))

    @property
    def scale(self) -> str:
        """Scale of its differences: identity, log or arcsine."""
        return str(self.cells.get("scale", "identity"))

    @property
    def scope(self) -> str:
        """`pooled`, `setting`, or `AXIS=level`."""
        return str(self.cells["scope"])

    @property
    def differs(self) -> bool:
        """Whether the verdict is a difference."""
        return self.verdict in DIFFERENT

    @property
    def bounded(self) -> bool:
        """True where its difference has an interval."""
        return self.number("ci_low") is not None

    @property
    def below_drift(self) -> bool:
        """Whether it is smaller than what the last tenth of training still added."""
        return str(self.cells.get("below_drift", "")) == "True"

    @property
    def key(self) -> tuple[int, Any]:
        """Sort key by level."""
        return level_key(self.level)

    def number(self, column: str) -> float | None:
        """A finite number of the row; None where the cell is empty."""
        value = self.cells.get(column)
        return float(value) if isinstance(value, Real) and isfinite(value) else None

    def quote(self, column: str, text: str, times: float = 1.0, scale: Scale = "identity") -> Quote:
        """A cell of the row as a sentence shows it."""
        value = self.cells[column]
        return Quote(text, value, "contrasts", column, self.where, times=times, scale=scale)

    def where_text(self, axis: str) -> str:
        """Level of an axis as text; empty where the row pools over it."""
        return _tidy(self.cells[axis]) if axis in self.cells else ""

    @property
    def where(self) -> dict[str, Any]:
        """Cells that name the row in contrasts.csv; None where the cell is empty."""
        names = ["question", "scope", *self.axes, "level", "reference", "metric"]
        return {name: self.cells.get(name) for name in names}

    @property
    def shown(self) -> dict[str, Any]:
        """Cells that the page shows as evidence."""
        return {name: self.cells.get(name) for name in (*_SHOWN[:2], *self.axes, *_SHOWN[2:])
                if name in self.cells}  # fmt: skip


_SHOWN = (
    *("question", "scope", "level", "reference", "metric", "settings", "n", "reference_mean"),
    *("mean", "effect", "effect_low", "effect_high", "verdict", "depends_on", "margin", "scale"),
    *("look", "p_adjusted", "p_equivalence", "family", "detectable", "seeds_needed"),
)


class Evidence:
    """The tables, read for one dataset.

    A verdict of contrasts.csv may be stated where it rests on at least two seeds; where its
    adjusted p is at most 0.05; where all its runs trained long enough for their drift to be known;
    where arm and reference are not identical; and, if it is a difference or about a secondary
    metric, where its question is open: the smallest adjusted p of a question's primary metrics,
    adjusted over the study's questions (Holm), is at most 0.05. So a study without any effect
    states a difference in at most 5 of 100 cases, however many questions it asks.

    Args:
        dataset: its name.
        tables: metrics, summary and, where there are, contrasts, importance, matched and
            applications, by name.
        config: the resolved config.
    """

    def __init__(
        self, dataset: str, tables: Mapping[str, pd.DataFrame | None], config: dict[str, Any]
    ) -> None:
        self.dataset = dataset
        self.config = config
        self._tables = tables
        rows = self.table("metrics")
        self.runs = rows[rows["model"] == "vae"]
        self.controls = rows[rows["model"] != "vae"]
        self.ok = self.runs[self.runs["status"] == "ok"]

    def table(self, name: str) -> pd.DataFrame:
        """Rows of a table about this dataset; empty where there is no such table."""
        table = self._tables.get(name)
        if table is None or "dataset" not in table:
            return pd.DataFrame()
        return table[table["dataset"].astype(str) == self.dataset]

    @cached_property
    def axes(self) -> tuple[str, ...]:
        """Axes with columns in contrasts.csv."""
        return tuple(axis_columns(self.table("contrasts").columns))

    @cached_property
    def rows(self) -> list[Row]:
        """Rows of contrasts.csv with verdicts that may be stated."""
        return [replace(row, verdict=self._stated(row)) for row in self._all_rows]

    @cached_property
    def _all_rows(self) -> list[Row]:
        records = self.table("contrasts").to_dict("records")
        known = ({str(n): v for n, v in one.items() if not pd.isna(v)} for one in records)
        return [
            Row(one, self.axes, str(one.get("verdict", "undecided")), self.replicates)
            for one in known
        ]

    @cached_property
    def replicates(self) -> str:
        """Replicates of an arm: `seeds`, or `splits` of the data where there are several."""
        return f"{replicate(self.runs)}s"

    def pooled(self, question: str, metric: str = "", primary: bool = False) -> list[Row]:
        """Pooled rows of a question in order of levels, of one metric or the primary ones."""
        rows = [row for row in self.rows if row.question == question and row.scope == "pooled"]
        if metric:
            rows = [row for row in rows if row.metric.name == metric]
        if primary:
            rows = [row for row in rows if row.cells.get("family") == "primary"]
        return sorted(rows, key=lambda row: row.key)

    def within(self, row: Row) -> list[Row]:
        """Rows of the levels of the axis on which a verdict depends, in order."""
        axis = str(row.cells.get("depends_on", ""))
        wanted = {name: row.where[name] for name in ("question", "level", "metric")}
        found = [
            one
            for one in self.rows
            if one.scope.startswith(f"{axis}=")
            and all(one.where[name] == value for name, value in wanted.items())
        ]
        return sorted(found, key=lambda one: level_order(one.cells.get(axis)))

    def settings(self, row: Row) -> list[Row]:
        """Rows of the single settings of a pooled row, at the levels that it holds."""
        wanted = {name: value for name, value in row.where.items()
                  if name != "scope" and value is not None}  # fmt: skip
        return [one for one in self._settings.get(_comparison(row), ())
                if all(one.cells.get(name) == value for name, value in wanted.items())]  # fmt: skip

    @cached_property
    def _settings(self) -> dict[tuple[Any, ...], list[Row]]:
        """Rows of single settings by what they compare."""
        found: dict[tuple[Any, ...], list[Row]] = {}
        for one in self.rows:
            if one.scope == "setting":
                found.setdefault(_comparison(one), []).append(one)
        return found

    def varying(self, settings: Sequence[Row]) -> list[str]:
        """Axes in whose levels some settings differ."""
        return [axis for axis in self.axes if len({one.where_text(axis) for one in settings}) > 1]

    @property
    def questions(self) -> list[str]:
        """Questions of contrasts.csv in its order."""
        return list(dict.fromkeys(row.question for row in self._all_rows))

    def decidable(self, question: str) -> bool:
        """Whether a difference may be stated: an open question, and training long enough."""
        return self._drift_known and question in self._open

    def _stated(self, row: Row) -> str:
        verdict, p = row.verdict, row.number("p_adjusted")
        if verdict not in DECIDED or (row.number("n") or 0) < 2 or not self._drift_known:
            return "undecided"
        if (row.question, row.level) in self._identical:
            return "undecided"
        if verdict == "equivalent":
            p = row.number("p_equivalence")
        if verdict != "depends" and p is not None and p > ALPHA:
            return "undecided"
        asked = verdict != "equivalent" or row.cells.get("family") == "exploratory"
        closed = asked and row.question not in self._open
        return "undecided" if closed else verdict

    @cached_property
    def _open(self) -> set[str]:
        """Questions with an effect, by Holm over the questions of the study.

        Where results are looked at several times, each p counts as often.
        """
        looks = max(1, len(self.setting("statistics.looks") or ()))
        return rejected({one: min(looks * self._family_p(one), 1.0) for one in self.questions})

    @cached_property
    def _identical(self) -> set[tuple[str, str]]:
        """Questions and levels whose arms do not differ from the reference in any metric."""
        pooled = [row for row in self._all_rows if row.scope == "pooled"]
        differing = {(row.question, row.level) for row in pooled if row.number("estimate")}
        return {(row.question, row.level) for row in pooled} - differing

    def _family_p(self, question: str) -> float:
        """The smallest adjusted p of a question's primary metrics, at most 1.

        Of a verdict that depends on an axis, the p of the heterogeneity, adjusted by Bonferroni,
        counts as well.
        """
        rows = [row for row in self._all_rows if row.question == question]
        family = [row for row in rows if row.cells.get("family") == "primary"]
        found = [p for row in family if (p := row.number("p_adjusted")) is not None]
        uneven = [
            2 * len(family) * p
            for row in family
            if row.verdict == "depends" and (p := row.number("heterogeneity_p")) is not None
        ]
        return min([*found, *uneven, 1.0])

    @cached_property
    def _drift_known(self) -> bool:
        """Whether the runs trained long enough to say by how much they were still changing.

        Of runs from elsewhere nothing is known of training: they count as they are.
        """
        return bool(self.config.get("elsewhere")) or len(self.numbers("drift")) > 0

    @cached_property
    def error_metric(self) -> str:
        """The reported reconstruction error: for counts, on the log scale."""
        counts = "mse_log1p" in self.ok and self.ok["mse_log1p"].notna().any()
        return "mse_log1p" if counts else "mse"

    def numbers(self, column: str, rows: pd.DataFrame | None = None) -> pd.Series:
        """Finite values of a column of metrics.csv in the runs that ended well."""
        rows = self.ok if rows is None else rows
        if column not in rows:
            return pd.Series(dtype=float)
        values = pd.to_numeric(rows[column], errors="coerce").astype(float)
        return values[values.map(isfinite)]

    def runs_with(self, flag: str = "") -> Quote | None:
        """Number of runs that ended well, all or with a flag; None for none."""
        rows = (
            self.ok
            if not flag
            else self.ok[self.ok[flag].astype(str) == "True"]
            if flag in self.ok
            else self.ok.head(0)
        )
        where: dict[str, Any] = {"dataset": self.dataset, "model": "vae", "status": "ok"}
        where |= {flag: True} if flag else {}
        return Quote(f"{len(rows)}", len(rows), "metrics", "", where, "rows") if len(rows) else None

    def quoted(
        self, table: str, column: str, where: Mapping[str, Any], how: How = "cell"
    ) -> Quote | None:
        """A cell, or the smallest or largest of a column; None where there is no such number."""
        where = {"dataset": self.dataset, **where}
        values = self.numbers(column, matching(self.table(table), where))
        if values.empty or (how == "cell" and len(values) > 1):
            return None
        value = float(values.min() if how == "min" else values.max())
        return Quote(number(value), value, table, column, where, how)

    def setting(self, key: str) -> Any:
        """A value of the config by its dotted key; None without one."""
        section, _, name = key.partition(".")
        return self.config.get(section, {}).get(name)


def _comparison(row: Row) -> tuple[Any, ...]:
    return tuple(row.cells.get(name) for name in ("question", "metric", "level"))


def is_bound(runs: pd.DataFrame, metric: Metric) -> bool:
    """Whether a metric is only a bound in one of some runs."""
    flag = metric.bound.flag if metric.bound else ""
    return flag in runs and bool((runs[flag].astype(str) == "True").any())


def matching(table: pd.DataFrame, where: Mapping[str, Any]) -> pd.DataFrame:
    """Rows whose cells are these; None means an empty cell, numbers are compared as numbers."""
    keep = pd.Series(True, index=table.index)
    for name, wanted in where.items():
        cells = table[name] if name in table else pd.Series(None, index=table.index, dtype=object)
        keep &= cells.isna() if wanted is None else _equal(cells, wanted)
    return table[keep]


def _equal(cells: pd.Series, wanted: Any) -> pd.Series:
    if isinstance(wanted, list):
        return cells.isin(wanted)
    if pd.api.types.is_numeric_dtype(cells) and isinstance(wanted, Real):
        return cells.eq(float(wanted)).fillna(False).astype(bool)
    return cells.map({cell: _same(cell, wanted) for cell in cells.unique()}).astype(bool)


def _same(value: Any, wanted: Any) -> bool:
    if pd.isna(value):
        return False
    return bool(value == wanted) or _tidy(value) == _tidy(wanted)


def level_key(text: str) -> tuple[int, Any]:
    """Sort key of a level from its text."""
    return level_order(_number_or_text(text))


def _number_or_text(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def _tidy(value: Any) -> str:
    """A level as text; whole numbers without a decimal point."""
    number = _number_or_text(str(value))
    return f"{number:g}" if isinstance(number, float) and isfinite(number) else str(value)


def first(items: Iterable[Row]) -> Row | None:
    """The first of some rows; None without any."""
    return next(iter(items), None)
