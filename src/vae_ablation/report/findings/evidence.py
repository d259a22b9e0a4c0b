"""Tables of one dataset: estimates, paired differences, contrasts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from typing import Any

import numpy as np
import pandas as pd

from vae_ablation.report.figures.selection import nearest_to_one
from vae_ablation.report.overview import CONVERGED_SLOPE
from vae_ablation.study.axes import ArmName, arm_names, replicate_columns, with_arms
from vae_ablation.tables.collect import mean_interval

Row = dict[str, Any]

SLOPE_EPOCHS = 3
"""Fewest epochs with a slope; convergence of shorter runs is unknown."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its 95 % Student-t interval.

    Attributes:
        mean: finite.
        low: lower end of the interval, None where n is 1.
        high: upper end, None where n is 1.
        n: seeds.
    """

    mean: float
    low: float | None
    high: float | None
    n: int

    @property
    def sign(self) -> int:
        """1 or -1 where the interval lies on one side of 0, and 0 where it says nothing."""
        if self.low is None or self.high is None:
            return 0
        return int(self.low > 0) - int(self.high < 0)

    @property
    def negative(self) -> Estimate:
        """The same quantity counted the other way."""
        low = None if self.high is None else -self.high
        return Estimate(-self.mean, low, None if self.low is None else -self.low, self.n)

    def row(self, name: str) -> Row:
        """Columns `name`, ci_low, ci_high and n of a row of evidence."""
        return {name: self.mean, "ci_low": self.low, "ci_high": self.high, "n": self.n}

    def ends(self, name: str) -> Row:
        """As `row`, with the name before every column: for rows of several estimates."""
        return {name: self.mean, f"{name} low": self.low, f"{name} high": self.high}


def estimate_of(mean: Any, low: Any, high: Any, n: Any) -> Estimate | None:
    """An estimate from the cells of a table; None where the mean is undefined."""
    if not _is_finite(mean) or not _is_finite(n):
        return None
    if n < 2 or not _is_finite(low) or not _is_finite(high):
        return Estimate(float(mean), None, None, int(n))
    return Estimate(float(mean), float(low), float(high), int(n))


def over_seeds(values: Iterable[float]) -> Estimate | None:
    """Mean and interval of replicates; None where there are none."""
    n, mean, low, high = mean_interval(values)
    return estimate_of(mean, low, high, n)


def _is_finite(value: Any) -> bool:
    return not pd.isna(value) and isfinite(value)


@dataclass(frozen=True)
class Cell:
    """An arm of one likelihood and latent dimension: its replicates are seeds."""

    likelihood: str
    latent_dim: int
    arm: ArmName

    @property
    def setting(self) -> tuple[str, str]:
        """Likelihood and variant (architecture, objective …), within which β and the KL vary."""
        return self.likelihood, self.arm.variant_label

    @property
    def row(self) -> Row:
        """Columns that name the cell in a row of evidence."""
        return {"likelihood": self.likelihood, "latent_dim": self.latent_dim, "arm": self.arm}


@dataclass(frozen=True)
class Weakness:
    """Weaknesses of the runs behind a finding.

    Attributes:
        arms: number of arms.
        single: arms with one seed, which have no interval.
        runs: successful runs of all arms.
        moving: runs that had not converged, or were too short to assess it.
    """

    arms: int
    single: int
    runs: int
    moving: int

    @property
    def decides(self) -> bool:
        """Whether a finding may be conclusive: several seeds each, and most runs converged."""
        return not self.single and 2 * self.moving < max(self.runs, 1)


class Evidence:
    """The tables, read for one dataset.

    Args:
        dataset: its name.
        metrics: metrics.csv.
        summary: summary.csv.
        contrasts: contrasts.csv, or None.
        importance: importance.csv, or None.
        config: the resolved config.
        applications: applications.csv, or None.
    """

    def __init__(
        self,
        dataset: str,
        metrics: pd.DataFrame,
        summary: pd.DataFrame,
        contrasts: pd.DataFrame | None,
        importance: pd.DataFrame | None,
        config: dict[str, Any],
        applications: pd.DataFrame | None = None,
    ) -> None:
        self.dataset = dataset
        rows = metrics[metrics["dataset"] == dataset]
        runs = rows[rows["model"] == "vae"]
        self._arms = arm_names(runs)
        self.runs = with_arms(runs, self._arms)
        self.controls = rows[rows["model"] != "vae"]
        self.ok = self.runs[self.runs["status"] == "ok"]
        self.importance = _of(importance, dataset)
        self.contrasts = _of(contrasts, dataset)
        self.applications = _of(applications, dataset)
        self.config = config
        self._summary = summary[(summary["dataset"] == dataset) & (summary["model"] == "vae")]

    def cell(self, likelihood: Any, latent_dim: Any, arm: Any) -> Cell:
        """A cell from the columns of a table."""
        return Cell(str(likelihood), int(latent_dim), self._arms[str(arm)])

    def _cell(self, row: Any) -> Cell:
        return self.cell(*row[:3])

    @cached_property
    def cells(self) -> list[Cell]:
        """Every arm with a run that ended well, by likelihood, latent dimension and β."""
        keys = {self._cell(row) for row in self.ok[["likelihood", "latent_dim", "arm"]].values}
        return sorted(keys, key=lambda c: (c.likelihood, c.latent_dim, c.arm.order))

    @cached_property
    def settings(self) -> dict[tuple[str, str], list[Cell]]:
        """Cells by likelihood and variant."""
        found: dict[tuple[str, str], list[Cell]] = {}
        for cell in self.cells:
            found.setdefault(cell.setting, []).append(cell)
        return found

    @property
    def error_metric(self) -> str:
        """The reported reconstruction error: for counts, on the log scale."""
        counts = "mse_log1p" in self.ok and self.ok["mse_log1p"].notna().any()
        return "mse_log1p" if counts else "mse"

    def estimate(self, cell: Cell, metric: str) -> Estimate | None:
        """Mean and interval of a metric, as in summary.csv."""
        return self._estimates.get((cell, metric))

    @cached_property
    def _estimates(self) -> dict[tuple[Cell, str], Estimate]:
        columns = ["likelihood", "latent_dim", "arm", "metric", "mean", "ci_low", "ci_high", "n"]
        found = {
            (self._cell(row), str(row[3])): estimate_of(*row[4:])
            for row in self._summary[columns].values
        }
        return {key: value for key, value in found.items() if value is not None}

    def by_seed(self, cell: Cell, metric: str) -> pd.Series:
        """Finite values of a metric in the runs that ended well, indexed by seed.

        Where the split of the data varies: means over seeds, indexed by split.
        """
        rows = self._runs_of.get(cell)
        if rows is None or metric not in rows:
            return pd.Series(dtype=float)
        values = pd.to_numeric(rows[metric], errors="coerce").astype(float)
        finite = values[values.map(isfinite)]
        return finite.groupby(level=0).mean() if finite.index.nlevels > 1 else finite

    def count(self, cell: Cell, flag: str) -> int:
        """Runs of a cell that ended well and in which a column is True."""
        rows = self._runs_of.get(cell)
        return 0 if rows is None or flag not in rows else int(rows[flag].eq(True).sum())

    @cached_property
    def _runs_of(self) -> dict[Cell, pd.DataFrame]:
        replicate = replicate_columns(self.ok.columns)
        keys = ["likelihood", "latent_dim", "arm", *replicate]
        groups = self.ok.drop_duplicates(keys).set_index(replicate)
        grouped = groups.groupby(["likelihood", "latent_dim", "arm"], sort=False)
        return {self._cell(key): rows for key, rows in grouped}

    def cells_of(self, rows: Sequence[Row]) -> list[Cell]:
        """The cells that rows of a finding's evidence name, references with them.

        A row that leaves an axis out names every cell there; without rows that is all cells.
        """
        named = [row | {"arm": row["reference"]} for row in rows if row.get("reference")]
        return [c for c in self.cells if not rows or any(_names(r, c) for r in [*rows, *named])]

    def weakness(self, cells: Sequence[Cell]) -> Weakness:
        """Weaknesses of the runs of some cells."""
        runs = [self._runs_of[cell] for cell in cells]
        moving = [_still_changing(rows) for rows in runs]
        return Weakness(
            arms=len(cells),
            single=sum(len(rows) < 2 for rows in runs),
            runs=sum(map(len, runs)),
            moving=sum(map(int, (flags.sum() for flags in moving))),
        )

    def difference(self, cell: Cell, other: Cell, metric: str) -> Estimate | None:
        """`metric` of `cell` minus that of `other`, paired by seed."""
        return paired(self.by_seed(cell, metric), self.by_seed(other, metric))

    def contrast(self, kind: str, cell: Cell, metric: str) -> tuple[Cell, Estimate] | None:
        """The reference of a contrast and the difference to it, as in contrasts.csv."""
        return self._contrasts.get((kind, cell, metric))

    @cached_property
    def _contrasts(self) -> dict[tuple[str, Cell, str], tuple[Cell, Estimate]]:
        columns = ["contrast", "metric", "likelihood", "latent_dim", "arm", "reference_latent_dim"]
        columns += ["reference_arm", "mean_difference", "ci_low", "ci_high", "n"]
        found: dict[tuple[str, Cell, str], tuple[Cell, Estimate]] = {}
        for row in self.contrasts.reindex(columns=columns).values:
            difference = estimate_of(*row[7:])
            if difference is not None and {str(row[4]), str(row[6])} <= self._arms.keys():
                reference = self._cell((row[2], row[5], row[6]))
                found[str(row[0]), self._cell(row[2:5]), str(row[1])] = (reference, difference)
        return found

    @property
    def primary(self) -> pd.DataFrame:
        """Rows of contrasts.csv in the metrics that the config names as primary."""
        if "primary" not in self.contrasts:
            return self.contrasts.head(0)
        return self.contrasts[self.contrasts["primary"].astype(str) == "True"]

    def has_effects(self, likelihood: str) -> bool:
        """Whether a primary metric has a contrast under a likelihood."""
        rows = self.primary
        return "likelihood" in rows and bool((rows["likelihood"] == likelihood).any())

    def control(
        self, model: str, metric: str, latent_dim: int, likelihood: str = ""
    ) -> float | None:
        """Mean of a control's metric at a latent dimension, or None.

        Args:
            model: pca, raw or untrained.
            metric: column of metrics.csv.
            latent_dim: its latent dimension; the raw data have none and fit every one.
            likelihood: if given, only rows scored under it count.
        """
        rows = self.controls[self.controls["model"] == model]
        rows = rows[rows["latent_dim"].isna() | (rows["latent_dim"] == latent_dim)]
        if likelihood:
            rows = rows[rows["likelihood"] == likelihood]
        found = over_seeds(rows[metric]) if metric in rows else None
        return None if found is None else found.mean

    def column(self, likelihood: str, name: str) -> str:
        """The values of a text column under one likelihood, e.g. its measure."""
        values = self.runs.loc[self.runs["likelihood"] == likelihood, name].dropna()
        return ", ".join(sorted({str(value) for value in values}))


def paired(one: pd.Series, other: pd.Series) -> Estimate | None:
    """Mean and interval of the difference of two series over the seeds that both have."""
    both = one.index.intersection(other.index)
    return over_seeds(one[both] - other[both])


def reference_arm(cells: Iterable[Cell]) -> ArmName | None:
    """The β arm nearest to 1 on the log axis; None without one."""
    arms = sorted(
        {cell.arm for cell in cells if cell.arm.kind == "beta"}, key=lambda arm: arm.order
    )
    return nearest_to_one(arms) if arms else None


def dims_of(cells: Iterable[Cell]) -> list[int]:
    """Latent dimensions, ascending."""
    return sorted({cell.latent_dim for cell in cells})


def _names(row: Row, cell: Cell) -> bool:
    """Whether a row of evidence is about a cell; arms may stand there as readers see them."""
    own: dict[str, set[Any]] = {
        "likelihood": {cell.likelihood, "all"},
        "latent_dim": {cell.latent_dim},
        "arm": {cell.arm, cell.arm.label},
    }
    return all(row[axis] in values for axis, values in own.items() if row.get(axis))


def _still_changing(rows: pd.DataFrame) -> pd.Series:
    """Runs whose validation objective still moved, or that are too short to have a slope."""
    slopes, epochs = (
        pd.to_numeric(rows[name], errors="coerce")
        if name in rows
        else pd.Series(np.nan, rows.index)
        for name in ("slope", "epochs")
    )
    return (slopes.abs() >= CONVERGED_SLOPE) | (slopes.isna() & (epochs < SLOPE_EPOCHS))


def _of(table: pd.DataFrame | None, dataset: str) -> pd.DataFrame:
    if table is None or "dataset" not in table:
        return pd.DataFrame()
    return table[table["dataset"] == dataset]
