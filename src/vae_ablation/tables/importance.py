"""importance.csv: what each axis changes in a metric, and its share of the variance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product
from math import prod
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vae_ablation.study.axes import (
    axis_of,
    level_cell,
    level_order,
    level_text,
    replicate_columns,
)
from vae_ablation.study.metrics import Metric, described
from vae_ablation.tables.comparable import arm_axes, result_metrics
from vae_ablation.tables.contrasts import comparable_arms
from vae_ablation.tables.replicates import over_splits, split_seeds
from vae_ablation.tables.scales import transformed

Array = NDArray[np.float64]

COLUMNS = [
    *("dataset", "likelihood", "levels", "rectangle", "metric", "scale", "term"),
    *("span", "span_low", "span_high", "share", "share_low", "share_high", "main"),
    *("seeds", "n", "refused"),
]
_FIRST = ("beta", "latent_dim", "likelihood")
_NO_FACTORS = {*_FIRST, "dataset", "kl", "posterior", "arm"}
ALL = "all"
"""Cell of the likelihood where it is itself a factor."""
REGULAR, EVERY = "regular", "every"
"""Levels without KL off and collapsed ones, and with them."""
LEAST_LEVELS = 3
_RESAMPLES = 400


def factors_of(columns: Iterable[object]) -> list[str]:
    """Axes whose effects are asked for, in the order of the terms."""
    return [*_FIRST, *(name for name in arm_axes(columns) if name not in _NO_FACTORS)]


def importance(metrics: pd.DataFrame) -> pd.DataFrame:
    """Spans and shares of the axes in each metric, on a rectangle of levels.

    All metrics of a panel (dataset and likelihood) use the same rectangle, which stands in the
    table. There are two where it matters: `regular` leaves out KL off and levels at which arms
    are collapsed (of β, as a rule), `every` has them (KL off is β = 0). Arms with another posterior
    than the Gaussian are left out. Each likelihood has a panel of its own, and `all` has it as a
    factor, for metrics that are comparable across likelihoods.

    A metric that is undefined or not comparable in a cell of the rectangle is refused, for its
    cells would be others than those of its neighbours. Shares are refused of axes with two levels,
    over which the others are averaged, of a single axis, and with one seed.

    Args:
        metrics: metrics.csv.
    """
    runs = comparable_arms(metrics)
    runs = runs[(runs["posterior"] == "gaussian") & (runs["status"] == "ok")]
    rows = [
        {"dataset": dataset, "likelihood": likelihood, "levels": levels, **row}
        for dataset, likelihood, part in _parts(runs)
        for levels, chosen in _variants(part)
        for row in _panel(chosen, metrics, likelihood == ALL)
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


def _variants(runs: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Runs without KL off and levels at which arms are collapsed, then all where that is more."""
    regular = _without_collapse(runs[runs["kl"]])
    yield REGULAR, regular
    if len(regular) < len(runs):
        yield EVERY, runs


def _without_collapse(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs left when levels go, the one with the largest share of collapsed runs first."""
    names = factors_of(runs.columns)
    while runs["collapsed"].any():
        shares = {
            (name, level): rows["collapsed"].mean()
            for name in names if len(runs[name].unique()) > 1
            for level, rows in runs.groupby(name)
        }  # fmt: skip
        if not shares:
            return runs[~runs["collapsed"]]
        name, level = max(shares, key=lambda place: shares[place])
        runs = runs[runs[name] != level]
    return runs


def _panel(runs: pd.DataFrame, metrics: pd.DataFrame, across: bool) -> Iterator[dict[str, Any]]:
    """Rows of all metrics on one rectangle."""
    grid = Rectangle.of(runs, factors_of(runs.columns))
    if not grid.factors or (across and "likelihood" not in grid.factors):
        return
    for metric in map(described, result_metrics(metrics)):
        if not (across and metric.is_score) and metric.name in runs:
            common = {"rectangle": grid.text, "metric": metric.name, "scale": metric.scale,
                      "seeds": grid.shape[-1], "n": len(grid.runs)}  # fmt: skip
            yield from (common | row for row in grid.explained(metric))


@dataclass(frozen=True)
class Rectangle:
    """Runs of a full product of levels, seeds and splits of the data, where they vary.

    Over several splits a cell's values are means over the seeds of each split, and splits stand for
    seeds in all that follows.

    Attributes:
        runs: sorted by factors, split and seed.
        factors: axes with several levels.
    """

    runs: pd.DataFrame
    factors: list[str]

    @classmethod
    def of(cls, runs: pd.DataFrame, names: Sequence[str]) -> Rectangle:
        """The balanced part of some runs, whose axes have these names."""
        full = balanced(runs, names)
        factors = [name for name in names if len(full[name].unique()) > 1]
        by = [*factors, *replicate_columns(full.columns)]
        order = full.sort_values(by) if len(full) else full
        return cls(order, factors)

    @cached_property
    def levels(self) -> tuple[int, ...]:
        """Number of levels of each factor."""
        return tuple(self.runs[name].nunique(dropna=False) for name in self.factors)

    @cached_property
    def splits(self) -> NDArray[np.int64]:
        """Split seed of each run of a cell."""
        size = len(self.runs) // max(prod(self.levels), 1)
        return split_seeds(self.runs)[:size]

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Levels of each factor, then seeds, or splits where there are several."""
        several = len(np.unique(self.splits))
        return (*self.levels, several if several > 1 else len(self.splits))

    @property
    def text(self) -> str:
        """The levels in words: `β 0.01, 0.1, 1; latent dimension 2, 8`."""
        parts = []
        for name in self.factors:
            levels = sorted(map(level_cell, self.runs[name].unique()), key=level_order)
            parts.append(f"{axis_of(name).label} {', '.join(map(level_text, levels))}")
        return "; ".join(parts)

    def explained(self, metric: Metric) -> Iterator[dict[str, Any]]:
        """A row for each axis, or one that says why there is none."""
        raw = self.runs[metric.name].to_numpy(float)
        runs = transformed(raw, metric.scale).reshape(*self.levels, len(self.splits))
        # a cell with an undefined run is not defined, whatever its other seeds are
        broken = np.isnan(runs).any(axis=-1, keepdims=True)
        values = over_splits(np.where(broken, np.nan, runs), self.splits)
        missing = int(np.isnan(values).any(axis=-1).sum())
        cells = prod(self.shape[:-1])
        if missing == cells:
            return
        if missing:
            yield {"refused": f"undefined or not comparable in {missing} of {cells} cells"}
        elif np.ptp(values) <= 1e-12 * np.abs(values).max():
            yield {"refused": "it does not vary"}
        else:
            yield from self._rows(values, metric.scale)

    def _rows(self, values: Array, scale: str) -> Iterator[dict[str, Any]]:
        weights = seed_weights(self.shape[-1])
        spans = [span(values, axis, weights, scale) for axis in range(len(self.factors))]
        large = [axis for axis, size in enumerate(self.shape[:-1]) if size >= LEAST_LEVELS]
        small = tuple(axis for axis in range(len(self.factors)) if axis not in large)
        found = shapley(values.mean(axis=small), weights) if len(large) > 1 else None
        alone = "the only axis with three levels"
        for axis, name in enumerate(self.factors):
            row = {"term": name} | _ends("span", spans[axis])
            if axis in small:
                yield row | {"refused": "two levels"}
            elif self.shape[-1] < 2:
                yield row | {"refused": "one seed"}
            elif found is None:
                yield row | {"refused": alone}
            else:
                shares, mains = found
                of = shares[large.index(axis)]
                no_share = "" if np.isfinite(of[0]) else "no variance beyond that between seeds"
                main = mains[large.index(axis)]
                yield row | _ends("share", of) | {"main": main, "refused": no_share}


def _ends(name: str, draws: Array) -> dict[str, float]:
    """A value and its 95 % bootstrap interval; draws have the value itself first."""
    known = draws[1:][np.isfinite(draws[1:])]
    low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (np.nan, np.nan)
    return {name: draws[0], f"{name}_low": low, f"{name}_high": high}


def seed_weights(seeds: int) -> Array:
    """Weights of seeds in the mean itself, then in resamples of seeds: [seeds, 1 + resamples].

    All resamples where they are few, else a fixed choice.
    """
    if seeds < 2:
        return np.ones((seeds, 1))
    if seeds**seeds <= _RESAMPLES:
        draws = np.array(list(product(range(seeds), repeat=seeds)))
    else:
        draws = np.random.default_rng(0).integers(seeds, size=(_RESAMPLES, seeds))
    counts = (draws[:, :, None] == np.arange(seeds)).sum(axis=1)
    return np.concatenate([np.full((1, seeds), 1 / seeds), counts / seeds]).T


def span(values: Array, axis: int, weights: Array, scale: str) -> Array:
    """Largest minus smallest level mean of an axis in people's units; their ratio on the log scale.

    Args:
        values: [levels …, seeds], on the scale.
        axis: its place.
        weights: from `seed_weights`.
        scale: identity, log or arcsine.

    Returns:
        [1 + resamples].
    """
    others = tuple(i for i in range(values.ndim - 1) if i != axis)
    means = values.mean(axis=others) @ weights
    if scale == "arcsine":
        means = np.sin(means / 2) ** 2
    widths = means.max(axis=0) - means.min(axis=0)
    return np.asarray(np.exp(widths) if scale == "log" else widths)


def shapley(values: Array, weights: Array) -> tuple[Array, Array]:
    """Share of each axis in the variance of the cell means: main effect + ½ two-way + ⅓ three-way.

    A component is the mean square of a term's effects minus what noise adds, df · σ² / (n cells),
    at least 0, with σ² the variance within cells beside the seeds' own means. A resample of seeds
    adds noise once more, which is taken off as well.

    Args:
        values: [levels …, seeds].
        weights: from `seed_weights`.

    Returns:
        Shares, [axes, 1 + resamples], NaN where no component is above 0; shares of the main effects
        alone, [axes].
    """
    axes, seeds = values.ndim - 1, values.shape[-1]
    cells = prod(values.shape[:-1])
    means = values @ weights
    once = noise(values) / seeds
    doubled = np.where(np.arange(weights.shape[1]) > 0, 1 + (seeds - 1) / seeds, 1.0)
    parts: dict[tuple[int, ...], Array] = {}
    for term in _terms(axes):
        df = prod(values.shape[axis] - 1 for axis in term)
        square = (effects(means, term) ** 2).mean(axis=tuple(range(axes)))
        parts[term] = np.maximum(square - doubled * df * once / cells, 0.0)
    total = np.sum([*parts.values()], axis=0)
    total = np.where(total > 0, total, np.nan)
    shares = [
        sum(part / len(term) for term, part in parts.items() if axis in term) / total
        for axis in range(axes)
    ]
    return np.array(shares), np.array([parts[axis,][0] / total[0] for axis in range(axes)])


def _terms(axes: int) -> list[tuple[int, ...]]:
    return [term for size in range(1, axes + 1) for term in combinations(range(axes), size)]


def effects(means: Array, term: Sequence[int]) -> Array:
    """Effects of a main effect or interaction in a full product: [levels or 1 …, columns]."""
    others = tuple(i for i in range(means.ndim - 1) if i not in term)
    found = means.mean(axis=others, keepdims=True)
    for axis in term:
        found = found - found.mean(axis=axis, keepdims=True)
    return np.asarray(found)


def noise(values: Array) -> float:
    """Variance within cells of a product [levels …, seeds], the seeds' own means taken away."""
    flat = values.reshape(-1, values.shape[-1])
    cells, seeds = flat.shape
    if seeds < 2 or cells < 2:
        return 0.0
    rest = flat - flat.mean(axis=1, keepdims=True) - flat.mean(axis=0) + flat.mean()
    return float((rest**2).sum() / ((cells - 1) * (seeds - 1)))


def balanced(runs: pd.DataFrame, axes: Sequence[str]) -> pd.DataFrame:
    """The runs of a full product of levels, splits and seeds, found greedily.

    As long as a combination of levels and seed is missing, the level (or seed) goes of which the
    largest share is missing; of several, the one with the fewest runs, then the last.

    Args:
        runs: one row per run, with the axes and the columns of `replicate_columns`.
        axes: columns whose levels are crossed.
    """
    names = [*axes, *replicate_columns(runs.columns)]
    while len(runs):
        sizes = [runs[name].nunique(dropna=False) for name in names]
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
