"""importance.csv: shares of a metric's variance by axis and by pair of axes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations
from math import prod
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import f as f_distribution

from vae_ablation.study.axes import replicate_columns
from vae_ablation.study.metrics import described
from vae_ablation.tables.comparable import (
    arm_axes,
    comparable_runs,
    result_metrics,
)

COLUMNS = [
    *("dataset", "likelihood", "metric", "term", "df", "sum_sq", "share", "partial"),
    *("f", "p", "n"),
]
_FIRST = ("beta", "latent_dim", "likelihood")
_NO_FACTORS = {*_FIRST, "dataset", "kl", "posterior", "arm"}


def factors_of(columns: Iterable[object]) -> list[str]:
    """Axes whose effects are asked for, in the order of the terms."""
    return [*_FIRST, *(name for name in arm_axes(columns) if name not in _NO_FACTORS)]


ALL = "all"
"""What the table calls the likelihood where it is itself a factor."""

_ROUNDING = 1e-12


def importance(metrics: pd.DataFrame) -> pd.DataFrame:
    """Analysis of variance of each metric on the balanced part of the grid.

    Factors are the axes of `factors_of` with two levels or more; KL off is a level of `beta`: 0.
    Arms with another posterior than the Gaussian are left out: they have no β in its sense, and
    as a level of it would count as an effect of the KL term. Terms are the main effects and all
    pairs; the residual is the spread over seeds and what three axes or more do together. Where
    the pairs would leave no residual (one seed), they are part of it instead; where even the axes
    themselves leave none there are no rows, nor are there for a metric that does not vary.

    Each likelihood has rows of its own. Those of "all" have it as a factor: for the metrics that
    are comparable across likelihoods. A run whose value is undefined or not comparable
    (`comparable.comparable_runs`) is missing, so that its level or seed leaves by `balanced`;
    `n` says how many runs are left. As these are balanced, sums of squares do not depend on the
    order of the terms (types I, II and III agree).

    Args:
        metrics: metrics.csv.
    """
    runs = comparable_runs(metrics)
    runs = runs[runs["posterior"] == "gaussian"]
    rows = [
        {"dataset": dataset, "likelihood": likelihood, "metric": metric, **row}
        for dataset, likelihood, part in _parts(runs)
        for metric in result_metrics(metrics)
        if likelihood != ALL or not described(metric).is_score
        for row in _terms(part, metric, likelihood == ALL)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _parts(runs: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Dataset, likelihood (or all, where there are several) and their runs."""
    for dataset, rows in runs.groupby("dataset"):
        likelihoods = list(rows.groupby("likelihood"))
        if len(likelihoods) > 1:
            yield str(dataset), ALL, rows
        for likelihood, part in likelihoods:
            yield str(dataset), str(likelihood), part


def _terms(part: pd.DataFrame, metric: str, across: bool) -> list[dict[str, Any]]:
    """Rows of one analysis, empty where there is none.

    Args:
        part: runs of a dataset.
        metric: column to explain.
        across: whether the likelihood has to be a factor.
    """
    runs = balanced(part.dropna(subset=[metric]))
    factors = [name for name in factors_of(runs.columns) if _levels(runs, name) > 1]
    values = runs[metric].to_numpy()
    constant = not len(runs) or np.ptp(values) <= _ROUNDING * np.abs(values).max()
    terms = _affordable_terms(runs, factors)
    if constant or not terms or (across and "likelihood" not in factors):
        return []
    shares = variance_shares(runs[factors], values, terms)
    return [row | {"n": len(runs)} for row in shares]


def _levels(runs: pd.DataFrame, name: str) -> int:
    return len(runs[name].unique())


def balanced(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of a full product of levels and seeds, found greedily.

    As long as a combination of levels and seed is missing, the level (or seed) goes of which the
    largest share is missing; of several, the one with the fewest runs, then the last.

    Args:
        runs: one row per run, with the columns of `factors_of` and seed.
    """
    names = [*factors_of(runs.columns), *replicate_columns(runs.columns)]
    while len(runs):
        sizes = [_levels(runs, name) for name in names]
        if prod(sizes) == len(runs):
            break
        name, level = _emptiest_level(runs, names, prod(sizes))
        runs = runs[runs[name] != level]
    return runs


def _emptiest_level(runs: pd.DataFrame, names: list[str], cells: int) -> tuple[str, Any]:
    """Axis and level of which the smallest share of cells is filled."""
    found = []
    for name in names:
        counts = runs[name].value_counts().sort_index()
        size = cells // len(counts)
        if len(counts) > 1:
            found += [(count / size, count, name, level) for level, count in counts.items()]
    return min(reversed(found), key=lambda item: item[:2])[2:]


def _affordable_terms(runs: pd.DataFrame, factors: list[str]) -> list[tuple[str, ...]]:
    """Main effects and pairs, or main effects, or nothing: as much as leaves a residual."""
    mains: list[tuple[str, ...]] = [(name,) for name in factors]
    for terms in ([*mains, *combinations(factors, 2)], mains):
        used = sum(prod(_levels(runs, name) - 1 for name in term) for term in terms)
        if used < len(runs) - 1:
            return terms
    return []


def variance_shares(
    factors: pd.DataFrame, values: NDArray[np.float64], terms: list[tuple[str, ...]]
) -> list[dict[str, Any]]:
    """Sums of squares of the terms and of the residual.

    Args:
        factors: level of each run, one column per factor; balanced.
        values: what to explain, [runs]; not constant.
        terms: names of the factors of each term; they leave degrees of freedom to the residual.

    Returns:
        term, df, sum_sq, share (η² = SS / SS total), partial (SS / (SS + SS residual)), f and p of
        each term, then of "residual"; what is not defined is absent.
    """
    # Imported here: it takes a second, and no other step needs it.
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    # A formula takes no dots in names.
    plain = {str(name): f"axis{i}" for i, name in enumerate(factors)}
    data = factors.astype(str).rename(columns=plain).assign(value=values - values.mean())
    formula = "value ~ " + " + ".join(":".join(plain[name] for name in term) for term in terms)
    table = anova_lm(ols(formula, data).fit(), typ=1)
    total = float(np.square(data["value"]).sum())
    sums = np.where(table["sum_sq"] > _ROUNDING * total, table["sum_sq"], 0.0)
    # In the table's order, which puts main effects first.
    original = {":".join(plain[name] for name in term): ":".join(term) for term in terms}
    names = [*(original[name] for name in table.index[:-1]), "residual"]
    return [
        _row(name, round(df), float(sum_sq), total, float(sums[-1]), round(table["df"].iloc[-1]))
        for name, df, sum_sq in zip(names, table["df"], sums, strict=True)
    ]


def _row(
    term: str, df: int, sum_sq: float, total: float, residual: float, residual_df: int
) -> dict[str, Any]:
    row = {"term": term, "df": df, "sum_sq": sum_sq, "share": sum_sq / total}
    if term == "residual" or not residual:
        return row
    f = (sum_sq / df) / (residual / residual_df)
    tests = {"f": f, "p": float(f_distribution.sf(f, df, residual_df))}
    return row | {"partial": sum_sq / (sum_sq + residual)} | tests
