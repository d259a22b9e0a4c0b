"""Comparability of scores: METRICS.md, "Rules before formulas"."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from vae_ablation.study.axes import AXES, REPLICATES, axis_columns, replicate_columns
from vae_ablation.study.columns import FURTHER_AXES
from vae_ablation.study.metrics import Metric, described
from vae_ablation.tables.collect import averaged_columns

_FIRST = ("dataset", "likelihood", "latent_dim", "kl", "beta", "posterior")


def arm_axes(columns: Iterable[object]) -> list[str]:
    """Columns that identify an arm, in the order in which arms are sorted; `arm` is the last."""
    further = [name for name in axis_columns(columns) if name not in {*_FIRST, *REPLICATES}]
    return [*_FIRST, *further, "arm"]


def result_metrics(metrics: pd.DataFrame) -> list[str]:
    """Numeric columns that are a result of an arm, in the order of the table."""
    return [
        name
        for name in averaged_columns(metrics)
        if described(name).role == "result" and not pd.api.types.is_bool_dtype(metrics[name])
    ]


def comparable_runs(metrics: pd.DataFrame, bounds: bool = False) -> pd.DataFrame:
    """The trained runs, in order, with only those results that may enter a comparison.

    Blank (NaN) are: all results of runs that are not ok; those of every seed of an arm where one
    is only a bound (`Metric.bound`), since a mean over the others would be of selected seeds; and,
    where there is no KL term, those that have no optimum without it (`Metric.needs_kl`).
    Cross-entropies stay: they are comparable among themselves, and their
    measure keeps them from proper scores.

    Args:
        metrics: metrics.csv; it may lack metrics, and axes that do not vary.
        bounds: whether values that are only bounds stay where the truth can only be better.

    Returns:
        The columns of metrics.csv, sorted, with every axis that studies have.
    """
    runs = _with_axes(metrics[metrics["model"] == "vae"])
    results = result_metrics(metrics)
    runs[results] = runs[results].astype(np.float64)
    runs.loc[runs["status"] != "ok", results] = np.nan
    for metric in map(described, results):
        if metric.bound and not (bounds and _pessimistic(metric)):
            runs.loc[bounded_arms(runs, metric), metric.name] = np.nan
        if metric.needs_kl:
            runs.loc[~runs["kl"], metric.name] = np.nan
    by = [*arm_axes(runs.columns), *replicate_columns(runs.columns)]
    return runs.sort_values(by, ignore_index=True)


def bounded_arms(runs: pd.DataFrame, metric: Metric) -> pd.Series:
    """Whether a metric is only a bound in some ok run of the arm of each run."""
    if metric.bound is None:
        return pd.Series(False, index=runs.index)
    flagged = _flag(runs, metric.bound.flag) & runs["status"].eq("ok")
    arms = [runs[name] for name in arm_axes(runs.columns)]
    return flagged.groupby(arms, dropna=False).transform("any")


def _pessimistic(metric: Metric) -> bool:
    """Whether its truth is at least as good as a bound of it."""
    side = metric.bound.side if metric.bound else None
    return (side, metric.better) in {("upper", "lower"), ("lower", "higher")}


def _with_axes(rows: pd.DataFrame) -> pd.DataFrame:
    further = {name: rows.get(name, AXES[name].default) for name in FURTHER_AXES}
    types = dict.fromkeys(("latent_dim", "seed", "importance_samples", "kl_warmup_epochs"), int)
    return rows.assign(**further, kl=_flag(rows, "kl")).astype(types)


def _flag(rows: pd.DataFrame, name: str) -> pd.Series:
    """A column of True, False and nothing, as booleans; nothing is False."""
    known = rows.get(name, pd.Series(False, index=rows.index))
    return known.eq(True).fillna(False).astype(bool)
