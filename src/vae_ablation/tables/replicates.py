"""Runs as arms by seeds by metrics, and their differences seed by seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vae_ablation.study.axes import replicate_columns
from vae_ablation.study.metrics import described
from vae_ablation.tables.comparable import arm_axes
from vae_ablation.tables.designs import Arm, read_arms

Array = NDArray[np.float64]
Read = Callable[[str], Mapping[str, NDArray[np.float32]]]


class Replicates:
    """Runs as a block of arms, replicates (seeds, or split and seed) and metrics.

    Attributes:
        splits: split seed of each replicate; 0 where the split does not vary.

    Args:
        runs: comparable runs.
        metrics: columns to take.
    """

    def __init__(self, runs: pd.DataFrame, metrics: list[str]) -> None:
        self.metrics = metrics
        self.arms = read_arms(runs)
        self.place = {arm: i for i, arm in enumerate(self.arms)}
        arm = runs.groupby(arm_axes(runs.columns), sort=False).ngroup().to_numpy()
        replicate = runs[replicate_columns(runs.columns)].astype(int)
        seeds = replicate.drop_duplicates().sort_values(
            replicate_columns(runs.columns), ignore_index=True
        )
        self.splits = seeds.get("split_seed", pd.Series(0, seeds.index)).to_numpy(int)
        places = {tuple(row): i for i, row in enumerate(seeds.to_numpy().tolist())}
        seed = np.array([places[tuple(row)] for row in replicate.to_numpy().tolist()], int)
        shape = len(self.arms), len(seeds)
        self.values = np.full((*shape, len(metrics)), np.nan)
        self.values[arm, seed] = runs[metrics]
        self.planned = np.zeros(shape, bool)
        self.planned[arm, seed] = True
        self.ok = np.zeros(shape, bool)
        self.ok[arm, seed] = runs["status"] == "ok"
        self.runs = np.full(shape, "", object)
        self.runs[arm, seed] = runs["run"]
        measures = runs.groupby(arm_axes(runs.columns), sort=False)["measure"].first()
        self.measures = measures.to_numpy(object)


@dataclass(frozen=True)
class Differences:
    """Arm minus reference, seed by seed.

    Attributes:
        replicates: the runs.
        pairs: contrast, arm and reference, [pairs].
    """

    replicates: Replicates
    pairs: list[tuple[str, Arm, Arm]]

    @cached_property
    def ends(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Places of the arms and of the references among the replicates, [pairs] each."""
        place = self.replicates.place
        arms, references = zip(
            *((place[arm], place[ref]) for _, arm, ref in self.pairs), strict=True
        )
        return np.array(arms), np.array(references)

    @cached_property
    def values(self) -> Array:
        """[pairs, seeds, metrics]; NaN where a pair is not used."""
        arms, references = self.ends
        found = self.replicates.values[arms] - self.replicates.values[references]
        scores = np.array([described(name).is_score for name in self.replicates.metrics], bool)
        apart = self.replicates.measures[arms] != self.replicates.measures[references]
        found[np.ix_(apart, np.arange(found.shape[1]), scores)] = np.nan
        return found

    @cached_property
    def lost(self) -> NDArray[np.int64]:
        """Pairs of runs, both planned, of which one or both did not end well: [pairs]."""
        arms, references = self.ends
        planned, ok = self.replicates.planned, self.replicates.ok
        return (planned[arms] & planned[references] & ~(ok[arms] & ok[references])).sum(axis=1)

    def independent(self, values: Array) -> Array:
        """Differences [rows, replicates] averaged over the seeds of each split: [rows, splits].

        As they are where there is one split: then seeds are what replicates an arm.
        """
        splits = np.unique(self.replicates.splits)
        if len(splits) < 2:
            return values
        parts = [values[:, self.replicates.splits == split] for split in splits]
        counts = [(~np.isnan(part)).sum(1) for part in parts]
        means = [
            np.where(n > 0, np.nansum(part, axis=1) / np.maximum(n, 1), np.nan)
            for part, n in zip(parts, counts, strict=True)
        ]
        return np.stack(means, axis=1)

    @cached_property
    def cells(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Pair and metric of each row of the table."""
        pair, metric = np.nonzero(~np.isnan(self.values).all(axis=1))
        return pair, metric

    def of_examples(self, row: int, metric: str, read: Read) -> NDArray[np.float32] | None:
        """Difference of each test example, averaged over the pairs of one cell that are used.

        Args:
            row: place among the cells.
            metric: its metric.
            read: gives a run's examples.

        Returns:
            [n], or None where a run lacks them or the pairs are of several splits.
        """
        pair, column = (int(places[row]) for places in self.cells)
        used = ~np.isnan(self.values[pair, :, column])
        if len(np.unique(self.replicates.splits[used])) > 1:
            return None  # the test splits hold other examples
        sides = [[read(run) for run in self.replicates.runs[end[pair], used]] for end in self.ends]
        if any(metric not in examples for side in sides for examples in side):
            return None
        arm, reference = (
            np.mean([examples[metric] for examples in side], axis=0) for side in sides
        )
        return np.asarray(arm - reference)

    @cached_property
    def scale(self) -> Array:
        """Size of the values that are subtracted, [pairs, metrics]."""
        sizes = np.nanmax(np.abs(self.replicates.values), axis=1, initial=0.0)
        arms, references = self.ends
        return np.maximum(sizes[arms], sizes[references])
