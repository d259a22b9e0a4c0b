"""Runs as arms by seeds by metrics, and their differences seed by seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vae_ablation.study.metrics import Metric
from vae_ablation.study.questions import Arm, Pair
from vae_ablation.tables.scales import transformed

Array = NDArray[np.float64]
ROUNDED = 1 / 6
"""Variance of the difference of two rounded numbers."""


class Replicates:
    """Runs of any tidy table as a block of arms, seeds and metrics.

    Args:
        runs: one row per run, with the axes, `seed`, `status` (ok or not) and `measure` (of scores;
            empty where none have one); sorted by the axes.
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
        seeds, seed = np.unique(runs["seed"], return_inverse=True)
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

    @cached_property
    def floor(self) -> Array:
        """Least variance of a difference of each metric, [metrics]."""
        return np.array([ROUNDED if one.type == "whole" else 0.0 for one in self.metrics])


@dataclass(frozen=True)
class Differences:
    """Arm minus reference, seed by seed, on the scales of the metrics.

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
        """[pairs, seeds, metrics]; NaN where a pair is not used."""
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

    def means(self) -> tuple[Array, Array]:
        """Means of arms and of references over the pairs used, natural units: [pairs, metrics]."""
        used = ~np.isnan(self.values)
        count = np.maximum(used.sum(axis=1), 1)
        arm, reference = (
            np.where(used, self.replicates.values[places], 0.0).sum(axis=1) / count
            for places in self.ends
        )
        return arm, reference

    @cached_property
    def size(self) -> Array:
        """Size of the values that are subtracted, on their scales: [pairs, metrics]."""
        values = np.nan_to_num(np.abs(self.replicates.scaled)).max(axis=1, initial=0.0)
        arms, references = self.ends
        return np.asarray(np.maximum(values[arms], values[references]))
