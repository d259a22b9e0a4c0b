"""Runs as arms by replicates by metrics, and their differences replicate by replicate."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vae_ablation.study.axes import replicate_columns
from vae_ablation.study.metrics import Metric
from vae_ablation.study.questions import APART, Arm, Pair
from vae_ablation.tables.scales import transformed
from vae_ablation.tables.splits import TEST_SHARE, overlap_of_shares

Array = NDArray[np.float64]
ROUNDED = 1 / 6
"""Variance of the difference of two rounded numbers."""


def over_splits(values: Array, splits: NDArray[np.int64]) -> Array:
    """Means over the seeds of each split of the data, NaN aside: [..., splits].

    With one split, the values themselves: then seeds are what replicates an arm.

    Args:
        values: [..., replicates].
        splits: split seed of each replicate, [replicates].
    """
    known = np.unique(splits)
    if len(known) < 2:
        return values
    return np.stack([known_mean(values[..., splits == split]) for split in known], axis=-1)


def split_seeds(runs: pd.DataFrame) -> NDArray[np.int64]:
    """Split seed of each run of a table; 0 where the split does not vary."""
    seeds = runs["split_seed"] if "split_seed" in runs else pd.Series(0, runs.index)
    return np.asarray(seeds, np.int64)


def known_mean(values: Array) -> Array:
    """Mean over the last axis of what is not NaN; NaN where all of it is."""
    known = ~np.isnan(values)
    count = known.sum(axis=-1)
    sums = np.where(known, values, 0.0).sum(axis=-1)
    return np.asarray(np.where(count > 0, sums / np.maximum(count, 1), np.nan))


class Replicates:
    """Runs of any tidy table as a block of arms, replicates and metrics.

    A replicate is a seed, or a split of the data and a seed where the table has `split_seed`.

    Attributes:
        splits: split seed of each replicate, [replicates]; 0 where the split does not vary.
        crossed: whether an arm's dataset has several splits, [arms]: then splits replicate it.
        first: the lowest split seed of an arm's dataset, [arms].
        overlap: of the splits of an arm's dataset, as from `splits.overlap`; 0 for seeds, [arms].
        ranks: place of each replicate in its arm's order, [arms, replicates].

    Args:
        runs: one row per run, with the axes, `seed`, `status` (ok or not) and `measure` (of scores;
            empty where none have one), perhaps `split_seed`; sorted by the axes.
        axes: columns that tell arms apart, the arm's name `arm` among them where there is one.
        metrics: columns to take.
    """

    def __init__(self, runs: pd.DataFrame, axes: Sequence[str], metrics: Sequence[Metric]) -> None:
        self.metrics = list(metrics)
        names = [metric.name for metric in metrics]
        known = runs[[*axes]].drop_duplicates()
        self.arms = [Arm(dict(zip(axes, row, strict=True))) for row in known.itertuples(False)]
        self.place = {arm: i for i, arm in enumerate(self.arms)}
        arm = runs.groupby([*axes], sort=False, dropna=False).ngroup().to_numpy()
        names_of = [name for name in replicate_columns(runs.columns) if name not in axes]
        seed = runs.groupby(names_of).ngroup().to_numpy()
        seeds = runs[names_of].drop_duplicates().sort_values(names_of)
        self.splits = split_seeds(seeds[names_of])
        shape = len(self.arms), len(seeds)
        self.values = np.full((*shape, len(names)), np.nan)
        self.values[arm, seed] = runs[names]
        self.scaled = np.full_like(self.values, np.nan)
        for column, metric in enumerate(metrics):
            self.scaled[..., column] = transformed(self.values[..., column], metric.scale)
        self.planned = np.zeros(shape, bool)
        self.planned[arm, seed] = True
        self.ok = np.zeros(shape, bool)
        self.ok[arm, seed] = runs["status"] == "ok"
        self.runs = np.full(shape, "", object)
        self.runs[arm, seed] = runs["run"]
        self.measures = np.full(len(self.arms), None, object)
        self.measures[arm] = runs["measure"]
        self.crossed, self.first = self._splits_of_datasets()
        shares = np.zeros(len(self.arms))
        if TEST_SHARE in runs:
            shares[arm] = runs[TEST_SHARE]
        self.overlap = np.where(self.crossed, overlap_of_shares(shares), 0.0)
        self.ranks = self._ranks()

    def _ranks(self) -> NDArray[np.int64]:
        """Place of each replicate in its arm's order, [arms, replicates]; -1 where there is none.

        That of a dataset with several splits is the place of its split.
        """
        found = np.where(self.planned, self.planned.cumsum(axis=1) - 1, -1)
        for arm in np.flatnonzero(self.crossed):
            known = np.unique(self.splits[self.planned[arm]])
            here = self.planned[arm]
            found[arm, here] = np.searchsorted(known, self.splits[here])
        return found

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Replicates that each arm was meant to have: seeds, or splits, [arms]."""
        return np.asarray(self.ranks.max(axis=1, initial=-1) + 1)

    def up_to(self, count: int) -> Replicates:
        """The first replicates of each arm alone, as they were at a look at the data.

        Args:
            count: seeds, or splits where a dataset has several.
        """
        if (self.counts <= count).all():
            return self
        kept = (self.ranks >= 0) & (self.ranks < count)
        found = copy.copy(self)
        found.values = np.where(kept[..., None], self.values, np.nan)
        found.scaled = np.where(kept[..., None], self.scaled, np.nan)
        found.planned, found.ok = self.planned & kept, self.ok & kept
        found.runs = np.where(kept, self.runs, "")
        found.ranks = np.where(kept, self.ranks, -1)
        found.__dict__.pop("counts", None)
        return found

    def _splits_of_datasets(self) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Whether each arm's dataset has several splits, and the lowest of them."""
        keys = [tuple(arm.get(axis) for axis in APART) for arm in self.arms]
        found: dict[tuple[object, ...], set[int]] = defaultdict(set)
        for key, planned in zip(keys, self.planned, strict=True):
            found[key] |= {*self.splits[planned].tolist()}
        splits = [found[key] for key in keys]
        return np.array([len(of) > 1 for of in splits], bool), np.array([*map(min, splits)], int)

    @cached_property
    def floor(self) -> Array:
        """Least variance of a difference of each metric, [metrics]."""
        return np.array([ROUNDED if one.type == "whole" else 0.0 for one in self.metrics])


@dataclass(frozen=True)
class Differences:
    """Arm minus reference, replicate by replicate, on the scales of the metrics.

    Attributes:
        replicates: the runs.
        pairs: arm and reference, at least one pair.
    """

    replicates: Replicates
    pairs: Sequence[Pair]

    @cached_property
    def ends(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Places of the arms and of the references among the replicates, [pairs] each."""
        place = self.replicates.place
        arms, references = zip(*((place[arm], place[ref]) for arm, ref in self.pairs), strict=True)
        return np.array(arms), np.array(references)

    @cached_property
    def values(self) -> Array:
        """[pairs, replicates, metrics]; NaN where a pair is not used."""
        arms, references = self.ends
        found = self.replicates.scaled[arms] - self.replicates.scaled[references]
        scores = np.array([metric.is_score for metric in self.replicates.metrics], bool)
        apart = self.replicates.measures[arms] != self.replicates.measures[references]
        found[np.ix_(apart, np.arange(found.shape[1]), scores)] = np.nan
        return found

    @cached_property
    def lost(self) -> NDArray[np.int64]:
        """Pairs of runs, both planned, of which one or both did not end well: [pairs]."""
        arms, references = self.ends
        planned, ok = self.replicates.planned, self.replicates.ok
        return np.asarray(
            (planned[arms] & planned[references] & ~(ok[arms] & ok[references])).sum(axis=1)
        )

    @cached_property
    def independent(self) -> Array:
        """Replicates of differences: [pairs, replicates, metrics], NaN where there is none.

        Differences themselves; of datasets with several splits their means over the seeds of each
        split, in the places of the first replicates.
        """
        return self._independent(self.values)

    def _independent(self, values: Array) -> Array:
        crossed = self.replicates.crossed[self.ends[0]]
        if not crossed.any():
            return values
        means = over_splits(values[crossed].swapaxes(1, 2), self.replicates.splits).swapaxes(1, 2)
        found = values.copy()
        found[crossed] = np.nan
        found[crossed, : means.shape[1]] = means
        return found

    def means(self) -> tuple[Array, Array]:
        """Means of arms and of references over the pairs used, natural units: [pairs, metrics]."""
        used = ~np.isnan(self.values)
        arm, reference = (
            known_mean(self._independent(np.where(used, self.replicates.values[places], np.nan))
                       .swapaxes(1, 2))
            for places in self.ends
        )  # fmt: skip
        return arm, reference

    @cached_property
    def overlap(self) -> Array:
        """Overlap of the splits of each pair, [pairs]; 0 where seeds replicate it."""
        return np.asarray(self.replicates.overlap[self.ends[0]])

    @cached_property
    def size(self) -> Array:
        """Size of the values that are subtracted, on their scales: [pairs, metrics]."""
        values = np.nan_to_num(np.abs(self.replicates.scaled)).max(axis=1, initial=0.0)
        arms, references = self.ends
        return np.asarray(np.maximum(values[arms], values[references]))
