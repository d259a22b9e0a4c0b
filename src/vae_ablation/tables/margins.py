"""Margins: differences that the evaluation cannot resolve, however many seeds there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vae_ablation.study.metrics import Metric
from vae_ablation.study.questions import APART, Arm
from vae_ablation.tables.examples import read_examples
from vae_ablation.tables.replicates import Replicates
from vae_ablation.tables.scales import margin_on

Array = NDArray[np.float64]
Key = tuple[Any, ...]
"""The levels of `questions.APART`."""


def apart(arm: Arm) -> Key:
    """Levels of the axes that no answer pools over."""
    return tuple(arm.get(axis) for axis in APART)


@dataclass(frozen=True)
class Resolution:
    """Parts of the margins, on the metrics' scales.

    Attributes:
        wanted: margins that the config names, in people's units: a difference, a ratio above 1, or
            points of a share.
        examples: twice the error that the sample of test examples leaves in a paired difference:
            median over contrasts, [metrics] by dataset.
        features: spread over refitted feature networks, [metrics] by dataset.
        drift: absolute change of each arm over the last tenth of training, [arms, metrics].
    """

    wanted: Mapping[str, float] = field(default_factory=dict)
    examples: Mapping[Key, Array] = field(default_factory=dict)
    features: Mapping[Key, Array] = field(default_factory=dict)
    drift: Array | None = None


def margins(
    rows: pd.DataFrame, keys: Sequence[Key], metrics: Sequence[Metric], resolution: Resolution
) -> pd.DataFrame:
    """Margin of each row, and where it comes from: the largest of its parts, or the config.

    Args:
        rows: with metric (place among the metrics), reference_mean and drift.
        keys: dataset of each row.
        metrics: the metrics.
        resolution: the parts.

    Returns:
        margin (on the scale) and margin_from, empty where no part is known.
    """
    places = rows["metric"].to_numpy()
    nothing = np.full(len(metrics), np.nan)
    parts = {
        name: np.array([by_key.get(key, nothing)[m] for key, m in zip(keys, places, strict=True)])
        for name, by_key in (("examples", resolution.examples), ("features", resolution.features))
    }
    parts["drift"] = rows["drift"].to_numpy()
    reference = rows["reference_mean"].to_numpy()
    parts["convention"] = _agreed(places, reference, metrics, lambda metric: metric.convention)
    table = np.stack([*parts.values()]) if len(rows) else np.zeros((len(parts), 0))
    largest = np.nan_to_num(table, nan=-1.0).argmax(axis=0)
    margin = table[largest, np.arange(len(rows))]
    source = np.array([*parts], object)[largest]
    source[~(margin > 0)] = None
    own = _agreed(places, reference, metrics, lambda metric: resolution.wanted.get(metric.name))
    source[~np.isnan(own)] = "config"
    margin = np.where(np.isnan(own), np.where(margin > 0, margin, np.nan), own)
    return pd.DataFrame({"margin": margin, "margin_from": source}, index=rows.index)


def _agreed(
    places: NDArray[np.int64],
    reference: Array,
    metrics: Sequence[Metric],
    own: Callable[[Metric], float | None],
) -> Array:
    """Margins in people's units, if any, on the scale of each row."""
    found = np.full(len(places), np.nan)
    for i, metric in enumerate(metrics):
        margin, here = own(metric), places == i
        if margin is not None:
            found[here] = margin_on(metric.scale, margin, reference[here])
    return found


def resolution_of(
    replicates: Replicates,
    pairs: Iterable[tuple[Arm, Arm]],
    runs: pd.DataFrame,
    wanted: Mapping[str, float],
    folder: Path | None,
) -> Resolution:
    """Resolution of a study's evaluation, from its files and columns.

    Args:
        replicates: the runs.
        pairs: every contrast.
        runs: the rows of metrics.csv behind them.
        wanted: `statistics.margins` of the config.
        folder: results/<study>, whose runs may have examples.npz; None without.
    """
    examples = _examples(replicates, sorted(set(pairs)), folder) if folder else {}
    return Resolution(wanted, examples, _features(replicates, runs), _drift(replicates, runs))


def _examples(
    replicates: Replicates, pairs: Sequence[tuple[Arm, Arm]], folder: Path
) -> dict[Key, Array]:
    """Median over contrasts of twice the bootstrap error over test examples, [metrics]."""
    found: dict[Key, Array] = {}
    ends = [(apart(arm), replicates.place[arm], replicates.place[ref]) for arm, ref in pairs]
    for key in dict.fromkeys(end[0] for end in ends):
        of = np.array([end[1:] for end in ends if end[0] == key])
        row = np.full(len(replicates.metrics), np.nan)
        for column, metric in enumerate(replicates.metrics):
            if metric.per_example:
                arms = {int(arm) for arm in of.ravel()}
                parts = {arm: _influence(replicates, arm, metric, folder) for arm in arms}
                errors = [_example_error(parts[arm], parts[ref]) for arm, ref in of]
                known = [error for error in errors if error is not None]
                row[column] = 2 * np.median(known) if known else np.nan
        found[key] = row
    return found


def _influence(
    replicates: Replicates, arm: int, metric: Metric, folder: Path
) -> NDArray[np.float64] | None:
    """Influence of each test example on an arm's mean on the scale, averaged over seeds: [n].

    The standard deviation of a mean of these is the bootstrap's error in the limit of many
    resamples (the infinitesimal jackknife; Efron and Tibshirani 1993, chapter 21). Test examples
    are those of one split: of several, the one with the lowest split seed.
    """
    fine = replicates.ok[arm] & ~np.isnan(
        replicates.values[arm, :, replicates.metrics.index(metric)]
    )
    fine &= replicates.splits == replicates.first[arm]
    parts = []
    for run in replicates.runs[arm, fine]:
        values = read_examples(folder / "runs" / run, metric.name)
        if values is None:
            return None
        mean = np.nanmean(values, dtype=np.float64)
        slope = {"log": 1 / mean if mean else np.nan, "identity": 1.0}.get(metric.scale)
        if slope is None:
            slope = 1 / np.sqrt(mean * (1 - mean)) if 0 < mean < 1 else np.nan
        parts.append(slope * (values - mean))
    return np.mean(parts, axis=0) if parts else None


def _example_error(one: Array | None, other: Array | None) -> float | None:
    """Standard error over test examples of a paired difference; None where it is not known."""
    if one is None or other is None or one.shape != other.shape:
        return None
    difference = one - other
    known = difference[~np.isnan(difference)]
    return float(known.std() / np.sqrt(len(known))) if len(known) > 1 else None


def _features(replicates: Replicates, runs: pd.DataFrame) -> dict[Key, Array]:
    """Median over runs of the relative spread over feature networks, [metrics] by dataset."""
    columns = [name for name in APART if name in runs]
    spreads = {
        metric.name: (runs[metric.spread] / (runs[metric.name] if metric.scale == "log" else 1))
        for metric in replicates.metrics
        if metric.spread in runs and metric.name in runs
    }
    if not spreads or not columns:
        return {}
    table = pd.DataFrame(spreads).groupby([runs[name] for name in columns]).median()
    names = [metric.name for metric in replicates.metrics]
    return {
        key if isinstance(key, tuple) else (key,): row.reindex(names).to_numpy(float)
        for key, row in table.iterrows()
    }


def _drift(replicates: Replicates, runs: pd.DataFrame) -> Array | None:
    """Nats that each arm's objective still changed by, for the metrics that are scores in nats."""
    if "drift" not in runs:
        return None
    scores = [one.is_score and one.unit == "nats" for one in replicates.metrics]
    drift = runs.assign(drift=pd.to_numeric(runs["drift"]).abs()).groupby("run")["drift"].first()
    by_seed = pd.DataFrame(replicates.runs).apply(lambda column: column.map(drift))
    mean = by_seed.mean(axis=1).to_numpy(float)
    return np.where(np.array(scores), mean[:, None], np.nan)
