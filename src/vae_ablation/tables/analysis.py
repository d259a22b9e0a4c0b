"""Comparison of any table of runs: axes, seeds and metrics from elsewhere, nothing trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from vae_ablation.common.errors import UserError, unknown_name
from vae_ablation.study.axes import Level, axis_of, level_cell, level_order, level_text
from vae_ablation.study.metrics import Metric, described
from vae_ablation.study.questions import Question, axis_questions
from vae_ablation.tables.collect import mean_interval, write_csv
from vae_ablation.tables.comparison import compare
from vae_ablation.tables.importance import ALL, COLUMNS, REGULAR, Rectangle
from vae_ablation.tables.margins import Resolution
from vae_ablation.tables.paper import ablation, write_paper
from vae_ablation.tables.replicates import Replicates

if TYPE_CHECKING:
    from vae_ablation.tables.foreign import RunTable

SETTING = "others at the reference"
"""The one setting of the paper's table."""
MOST_LEVELS = 200
"""Levels of an axis up to which each is compared."""
MOST_RELATED = 3


def read_metric(text: str) -> Metric:
    """A metric from `fid:lower:log:1.2`: name, better way, scale and margin, all but the name free.

    Raises:
        UserError: a part is none of these.
    """
    name, *rest = text.strip().split(":")
    found: dict[str, Any] = {}
    for part in rest:
        if part in ("higher", "lower"):
            found["better"] = part
        elif part in ("identity", "log", "arcsine"):
            found["scale"] = part
        elif _is_number(part) and float(part) > 0:
            found["margin"] = float(part)
        else:
            raise UserError(
                f"--metrics {text}: {part!r} is not a way, scale or margin; allowed: higher, "
                "lower, identity, log, arcsine, or a number above 0."
            )
    if found.get("scale") == "log" and found.get("margin", 2.0) <= 1:
        raise UserError(f"--metrics {text}: the margin is a ratio; allowed: a number above 1.")
    return Metric(name, name, **found)


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _runs(which: pd.Series) -> str:
    """Number of runs of which something holds: `1 run`, `2 runs`."""
    n = int(which.sum())
    return f"{n} run{'' if n == 1 else 's'}"


def read_references(texts: Sequence[str], table: RunTable) -> dict[str, Level]:
    """Reference levels by axis, from `lr=0.001` each, the levels as the table has them.

    Raises:
        UserError: one names no axis or no level of it.
    """
    places = {name: place for place, name in table.names.items() if place in table.axes}
    found = {}
    for text in texts:
        axis, sign, level = text.partition("=")
        if not sign:
            raise UserError(f"--reference {text}: allowed: AXIS=LEVEL, as lr=0.001.")
        if axis not in places:
            raise unknown_name("--reference", axis, list(places))
        found[places[axis]] = _level_of(axis, level, table.runs[places[axis]])
    return found


def _level_of(axis: str, level: str, levels: pd.Series) -> Level:
    known = {level_text(one): one for one in sorted(levels.unique(), key=level_order)}
    number = float(level) if _is_number(level) else level
    equal = [one for one in known.values() if one == number]
    if level not in known and not equal:
        raise UserError(f"--reference {axis}={level}: allowed: a level of it ({', '.join(known)}).")
    return level_cell(known.get(level, equal[0] if equal else level))


def read_primary(names: Sequence[str], table: RunTable) -> list[str]:
    """Primary metrics under our names; all where none is named.

    Raises:
        UserError: one is no metric of the table.
    """
    places = {given: place for place, given in table.names.items() if place in table.metrics}
    for name in names:
        if name not in places:
            raise unknown_name("--primary", name, list(places))
    return [places[name] for name in names or places]


@dataclass(frozen=True)
class Analysis:
    """Answers to a table of runs; names of axes and metrics are those of `RunTable`.

    Made within `RunTable.known`, as everything that reads it.

    Attributes:
        table: the runs.
        references: reference levels that the caller names, by axis.
        primary: metrics in which verdicts are adjusted together, after Holm; others are
            exploratory.

    Raises:
        UserError: no two arms can be compared.
    """

    table: RunTable
    references: Mapping[str, Level]
    primary: Sequence[str]

    @property
    def runs(self) -> pd.DataFrame:
        """A row per run."""
        return self.table.runs

    @property
    def axes(self) -> list[str]:
        """Columns of the axes but the dataset, in the caller's order."""
        return [*self.table.axes]

    @property
    def columns(self) -> list[str]:
        """Columns that tell arms apart, the dataset first."""
        return ["dataset", *self.axes]

    @property
    def metrics(self) -> list[Metric]:
        """The metrics in the caller's order."""
        return [*self.table.metrics.values()]

    @cached_property
    def replicates(self) -> Replicates:
        """The runs by arm and seed."""
        return Replicates(self.runs, self.columns, self.metrics)

    @cached_property
    def questions(self) -> list[Question]:
        """A question for each axis."""
        return axis_questions(self.axes, self.references)

    @cached_property
    def pairs(self) -> dict[str, int]:
        """Number of pairs of arms that differ in an axis alone, by axis."""
        return {one.axis: len(one.pairs(self.replicates.arms)) for one in self.questions}

    @cached_property
    def contrasts(self) -> pd.DataFrame:
        """Every answer."""
        return compare(self.replicates, self.questions, self.primary, Resolution())

    @cached_property
    def importance(self) -> pd.DataFrame:
        """Spans and shares of the axes on the rectangle of levels that all arms share."""
        rows = []
        for dataset, runs in self.runs.groupby("dataset", sort=False):
            grid = Rectangle.of(runs, self.axes)
            common = {"dataset": dataset, "likelihood": ALL, "levels": REGULAR}
            common |= {"rectangle": grid.text}
            rows += [
                common | {"metric": metric.name, "scale": metric.scale, "seeds": grid.shape[-1],
                          "n": len(grid.runs)} | row
                for metric in self.metrics if grid.factors
                for row in grid.explained(metric)
            ]  # fmt: skip
        return pd.DataFrame(rows, columns=COLUMNS)

    @cached_property
    def paper(self) -> pd.DataFrame:
        """The paper's table."""
        primary = [*self.primary]
        arms = self.runs.assign(likelihood=SETTING)[[*self.columns, "likelihood", "seed", *primary]]
        return ablation(self.contrasts.assign(likelihood=SETTING), arms, primary, self.references)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """Means and 95 % intervals of each arm over seeds, long."""
        rows = []
        for key, own in self.runs.groupby(self.columns, sort=False):
            levels = dict(zip(self.columns, key, strict=True))
            for metric in self.metrics:
                n, mean, low, high = mean_interval(own[metric.name])
                if n:
                    rows.append(levels | {"metric": metric.name, "n": n, "mean": mean,
                                          "ci_low": low, "ci_high": high})  # fmt: skip
        return pd.DataFrame(
            rows, columns=[*self.columns, "metric", "n", "mean", "ci_low", "ci_high"]
        )

    # --- what limits the answers ----------------------------------------------------------------

    @cached_property
    def warnings(self) -> list[str]:
        """Sentences on what limits the answers."""
        return [
            *self.table.notes,
            *self._seeds(),
            *self._values(),
            *self._axes(),
            *self._grid(),
            *self._beside(),
        ]

    def _name(self, axis: str) -> str:
        return axis_of(axis).label

    def _seeds(self) -> Iterator[str]:
        seeds = self.runs[self.runs["status"] == "ok"].groupby(self.columns)["seed"].nunique()
        if seeds.max() < 2:
            yield "Every arm has one seed: differences have no interval and no verdict."
        elif (seeds < 2).any():
            yield f"{int((seeds < 2).sum())} of {len(seeds)} arms have one seed and no interval."
        if seeds.max() >= 2 and seeds.max() > seeds.min():
            yield (f"Arms have {seeds.min()} to {seeds.max()} seeds; a difference is taken over "
                   "the seeds that both arms have.")  # fmt: skip
        used = self.replicates.planned.sum(axis=1)
        if seeds.max() >= 2 and not (self.replicates.planned.sum(axis=0) > 1).any() and len(used):
            yield ("No seed is in two arms, so nothing can be paired; seeds are to be numbered "
                   "alike in every arm (0, 1, 2, …).")  # fmt: skip

    def _values(self) -> Iterator[str]:
        fine = self.runs[self.runs["status"] == "ok"]
        for metric in self.metrics:
            values = fine[metric.name]
            if empty := int(values.isna().sum()):
                yield (f"{metric.label} is empty in {empty} of {len(fine)} runs, which do not "
                       "count.")  # fmt: skip
            known = values.dropna()
            if len(known) > 1 and known.max() == known.min():
                yield f"{metric.label} is {known.iloc[0]:g} in every run: it cannot differ."
            if metric.scale == "log" and (known <= 0).any():
                yield (f"{metric.label} is 0 or less in {_runs(known <= 0)}, which its log scale "
                       "leaves out.")  # fmt: skip
            if metric.scale == "arcsine" and ((known < 0) | (known > 1)).any():
                outside = _runs((known < 0) | (known > 1))
                yield (f"{metric.label} is not a share (0 to 1) in {outside}, which its scale "
                       "leaves out.")  # fmt: skip
            if metric.convention is None:
                yield (f"{metric.label} has no margin, so no difference can be called equivalent; "
                       f"give one, as {metric.label}:0.5.")  # fmt: skip

    def _axes(self) -> Iterator[str]:
        for axis, count in self.pairs.items():
            if self.runs[axis].nunique() < 2:
                yield f"{self._name(axis)} has one level: there is nothing to compare."
            elif not count:
                yield self._without_pairs(axis)

    def _without_pairs(self, axis: str) -> str:
        """Why no two arms differ in one axis alone."""
        name, others = self._name(axis), [one for one in self.axes if one != axis]
        tied = [self._name(one) for one in others if self._tied(axis, one)]
        if tied:
            return (f"{name} is confounded with {' and '.join(tied)}: no two arms differ in it "
                    "alone, so no difference can be said to come from it.")  # fmt: skip
        return (f"No two arms differ in {name} alone, as in a random search: it has no "
                "comparison; group its levels first.")  # fmt: skip

    def _tied(self, axis: str, other: str) -> bool:
        """Whether the level of another axis that varies says that of an axis."""
        if len(self.runs[other].unique()) < 2:
            return False
        both = self.runs[[axis, other]].drop_duplicates()
        return bool(both[other].is_unique)

    def _grid(self) -> Iterator[str]:
        there = len(self.replicates.arms)
        cells = prod(self.runs[name].nunique() for name in self.columns)
        if there < cells:
            yield (f"{there:,} of {cells:,} combinations of levels have runs: each comparison is "
                   "over the settings that have both of its arms, so levels may rest on different "
                   "settings.")  # fmt: skip

    def _beside(self) -> Iterator[str]:
        """Columns that are no axis and yet change with one."""
        for axis, names in self.table.related.items():
            more = f" and {len(names) - MOST_RELATED} more" if len(names) > MOST_RELATED else ""
            yield (f"With {self._name(axis)} also {', '.join(names[:MOST_RELATED])}{more} "
                   f"change{'s' if len(names) == 1 else ''}: what is said of the one may come "
                   "from the other.")  # fmt: skip

    def check(self) -> None:
        """Refusal of a table in which nothing can be compared.

        Raises:
            UserError: no two arms differ in one axis alone, or an axis has too many levels.
        """
        for axis in self.axes:
            if (levels := self.runs[axis].nunique()) > MOST_LEVELS:
                raise UserError(
                    f"{self.table.path}: {self._name(axis)} has {levels:,} levels; allowed: at "
                    f"most {MOST_LEVELS} (group the values of a random search first)."
                )
        if not any(self.pairs.values()):
            reasons = [*self._axes()] or ["there is one arm."]
            raise UserError(f"{self.table.path}: nothing can be compared. {' '.join(reasons)}")

    @property
    def verdicts(self) -> dict[str, int]:
        """Number of each verdict over settings."""
        pooled = self.contrasts[self.contrasts["scope"] != "setting"]
        return {str(name): int(n) for name, n in pooled["verdict"].value_counts().items()}

    # --- as the caller names things -------------------------------------------------------------

    def named(self, frame: pd.DataFrame) -> pd.DataFrame:
        """A table with the caller's names of axes and metrics, in its columns and cells."""
        names = self.table.names
        taken = {str(name) for name in frame if name not in names}

        def rename(name: str) -> str:
            given = names.get(name, name)
            return f"{given} (axis)" if name in names and given in taken else given

        cells = {
            name: frame[name].map(lambda cell: names.get(cell, cell))
            for name in ("question", "metric", "term", "depends_on")
            if name in frame
        }
        if "scope" in frame:
            cells["scope"] = frame["scope"].map(self._scope)
        return frame.assign(**cells).rename(columns=rename)

    def _scope(self, scope: str) -> str:
        axis, sign, level = scope.partition("=")
        return f"{self.table.names.get(axis, axis)}={level}" if sign else scope

    def write(self, out: Path) -> None:
        """Write contrasts.csv, importance.csv, summary.csv and ablation.csv, .md, .tex, .bib."""
        out.mkdir(parents=True, exist_ok=True)
        write_csv(self.named(self.contrasts), out / "contrasts.csv")
        write_csv(self.named(self.importance), out / "importance.csv")
        write_csv(self.named(self.summary), out / "summary.csv")
        of_name = {self.table.names[one.name]: one for one in self.metrics}
        write_paper(self.named(self.paper), out, lambda name: of_name.get(name, described(name)))
