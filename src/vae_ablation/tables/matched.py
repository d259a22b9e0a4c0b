"""matched.csv: reconstruction errors of two levels of an axis at the same rate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.stats import t as student_t

from vae_ablation.study.axes import Level, axis_of, replicate_columns
from vae_ablation.study.metrics import described
from vae_ablation.tables.comparable import arm_axes
from vae_ablation.tables.contrasts import comparable_arms
from vae_ablation.tables.replicates import over_splits, split_seeds
from vae_ablation.tables.splits import overlap
from vae_ablation.tables.verdicts import ALPHA

Array = NDArray[np.float64]

AXIS = "likelihood"
"""Axis whose levels are compared at matched rate: β weighs against another scale on each."""
METRICS = ("mse", "mse_log1p")
"""Metrics that fall with the rate along a convex curve; others are never interpolated."""
COLUMNS = [
    *("dataset", "axis", "level", "reference", "latent_dim", "metric", "rate", "n"),
    *("mean", "reference_mean", "ratio", "ratio_low", "ratio_high", "bound_low", "bound_high"),
    *("verdict", "reason"),
]


@dataclass(frozen=True)
class Curve:
    """Rate and error of one model over β: [β, replicates] each.

    Attributes:
        betas: ascending.
        rates: nats; NaN where an arm is collapsed or a run is missing.
        errors: a metric that falls with the rate.
    """

    betas: Array
    rates: Array
    errors: Array

    @classmethod
    def of(cls, runs: pd.DataFrame, metric: str, replicates: Sequence[int]) -> Curve:
        """Curve of runs that differ in β, seed and split alone."""
        rates, errors = (
            runs.pivot_table(index="beta", columns="replicate", values=name, dropna=False)
            for name in ("rate", metric)
        )
        rates, errors = (one.reindex(columns=[*replicates]) for one in (rates, errors))
        return cls(rates.index.to_numpy(float), rates.to_numpy(float), errors.to_numpy(float))

    def refused(self, rate: float, name: str) -> str:
        """Why there is no value at a rate, and what would settle it; empty where there is one."""
        known = ~np.isnan(self.rates) & ~np.isnan(self.errors)
        if not known.any(axis=0).all():
            return f"{name} has a seed without a regular arm"
        for beta, wanted, way in (
            (self.betas[known.any(axis=1)].min(), self.rates >= rate, "below"),
            (self.betas[known.any(axis=1)].max(), self.rates <= rate, "above"),
        ):
            if not (wanted & known).any(axis=0).all():
                return f"rate not bracketed in every seed: add a β {way} {beta:g} for {name}"
        return ""

    def between(self, rate: float) -> float:
        """The β that would halve the bracket of a rate: geometric mean of its ends."""
        known = ~np.isnan(self.rates)
        counts = known.sum(axis=1)
        mean = np.where(known, self.rates, 0.0).sum(axis=1) / np.where(counts > 0, counts, np.nan)
        ends = self.betas[mean >= rate].max(initial=0.0), self.betas[mean <= rate].min()
        return float(f"{np.sqrt(np.prod(ends)):.2g}") if ends[0] else float(ends[1])

    def at(self, rate: float) -> Array:
        """Error at a bracketed rate: by PCHIP, its lower and upper bound, [3, replicates]."""
        return np.array([
            at_rate(rates[known], errors[known], rate)
            for rates, errors in zip(self.rates.T, self.errors.T, strict=True)
            for known in [~np.isnan(rates) & ~np.isnan(errors)]
        ]).T  # fmt: skip


def at_rate(rates: Array, errors: Array, rate: float) -> tuple[float, float, float]:
    """A falling convex curve at a rate between two of its points.

    The value is PCHIP's in logarithms. Bounds need no form of the curve but its convexity: it lies
    below the chord of the bracket, and above the neighbouring chords extended and the lower end.

    Args:
        rates: of the points, [points]; positive, two different ones at least.
        errors: positive.
        rate: within the rates.

    Returns:
        Value, lower bound and upper bound.
    """
    x, first = np.unique(rates, return_index=True)
    y = errors[first]
    right = int(np.clip(np.searchsorted(x, rate), 1, len(x) - 1))
    upper = float(np.interp(rate, x, y))
    beside = [(right - 2, right - 1), (right, right + 1)]
    chords = [
        y[i] + (rate - x[i]) * (y[j] - y[i]) / (x[j] - x[i])
        for i, j in beside if i >= 0 and j < len(x)
    ]  # fmt: skip
    lower = min(max([*chords, float(y[right])]), upper)
    value = float(np.exp(PchipInterpolator(np.log(x), np.log(y))(np.log(rate))))
    return float(np.clip(value, lower, upper)), float(lower), upper


def matched(metrics: pd.DataFrame, references: Mapping[str, Level] | None = None) -> pd.DataFrame:
    """Every pair of levels of `AXIS` at the same rate, all other axes but β equal.

    The rate is the geometric mean of both at the reference β. Ratios are of errors, level over
    reference. A level is better (or worse) only if the bounds of both curves, with the intervals
    over seeds, do not meet; equivalent if they hold no ratio beyond the metric's margin. Where the
    rate is not bracketed in every seed by arms that are not collapsed there is no ratio, but the
    reason. Over several splits of the data logarithms are averaged over the seeds of each, and n
    and intervals are over splits.

    Args:
        metrics: metrics.csv.
        references: as in `questions.questions_of`.
    """
    runs = comparable_arms(metrics)
    fine = runs[runs["kl"] & (runs["posterior"] == "gaussian") & (runs["status"] == "ok")]
    fine = fine.assign(replicate=fine.groupby(replicate_columns(fine.columns)).ngroup())
    rows = [
        row
        for metric in METRICS
        if metric in fine and fine[metric].notna().any() and "rate" in fine
        for row in _rows(fine, metric, (references or {}).get("beta"))
    ]
    further = list(dict.fromkeys(name for row in rows for name in row if name not in COLUMNS))
    return pd.DataFrame(rows, columns=[*COLUMNS[:5], *further, *COLUMNS[5:]])


def _rows(runs: pd.DataFrame, metric: str, wanted: Level) -> Iterator[dict[str, Any]]:
    axes = [a for a in arm_axes(runs.columns) if a not in ("arm", "kl", "posterior", "beta", AXIS)]
    varied = [axis for axis in axes if len(runs[axis].unique()) > 1]
    shown = list(dict.fromkeys(["dataset", "latent_dim", *varied]))
    for key, group in runs.groupby(shown, sort=True, dropna=False):
        levels = sorted(group[AXIS].unique())
        for level, reference in combinations(levels, 2):
            pair = [group[group[AXIS] == name] for name in (level, reference)]
            row = dict(zip(shown, key, strict=True)) | {"axis": AXIS, "metric": metric}
            yield row | {"level": level, "reference": reference} | _compared(pair, metric, wanted)


def _compared(pair: Sequence[pd.DataFrame], metric: str, wanted: Level) -> dict[str, Any]:
    """Ratio of both errors at their common rate, with bounds and a verdict."""
    common = sorted(set(pair[0]["replicate"]) & set(pair[1]["replicate"]))
    rates = [_reference_rate(runs, wanted) for runs in pair]
    if not common or not np.isfinite(rates).all():
        return {"verdict": "refused", "reason": "no common seed, or no rate at the reference β"}
    rate = float(np.sqrt(np.prod(rates)))
    curves = [Curve.of(runs, metric, common) for runs in pair]
    names = [str(runs[AXIS].iloc[0]) for runs in pair]
    known = pair[0].drop_duplicates("replicate").set_index("replicate").reindex(common)
    splits = split_seeds(known)
    row = {"rate": rate, "n": over_splits(np.zeros(len(common)), splits).size}
    for curve, name in zip(curves, names, strict=True):
        if reason := curve.refused(rate, name):
            return row | {"verdict": "refused", "reason": reason}
    one, other = (curve.at(rate) for curve in curves)
    logs, others = (over_splits(np.log(found), splits) for found in (one, other))
    shared = overlap(known)
    ratio = _interval(logs[0] - others[0], shared)
    low = _interval(logs[1] - others[2], shared)[1]
    high = _interval(logs[2] - others[1], shared)[2]
    verdict = _verdict(low, high, metric)
    widths = [float(np.mean(found[2] - found[1])) for found in (logs, others)]
    loose = int(np.argmax(widths))
    # The bounds allow more than the seeds do: points are missing, not runs.
    sparse = sum(widths) > ratio[2] - ratio[1] or row["n"] < 2
    more = "splits" if row["n"] < len(common) else "seeds"
    beta = f"β = {curves[loose].between(rate):g} for {names[loose]}"
    hint = f"add {beta if sparse else more}"
    ends = dict(zip(("ratio", "ratio_low", "ratio_high"), np.exp(ratio), strict=True))
    return row | ends | {
        "mean": float(over_splits(one[0], splits).mean()),
        "reference_mean": float(over_splits(other[0], splits).mean()),
        "bound_low": np.exp(low), "bound_high": np.exp(high),
        "verdict": verdict, "reason": hint if verdict == "undecided" else "",
    }  # fmt: skip


def _reference_rate(runs: pd.DataFrame, wanted: Level) -> float:
    """Mean rate at the reference β of a curve."""
    beta = axis_of("beta").reference(sorted(runs["beta"].unique()), wanted)
    return float(runs.loc[runs["beta"] == beta, "rate"].mean())


def _interval(values: Array, shared: float) -> tuple[float, float, float]:
    """Mean and ends of its Student-t interval; NaN ends with one value.

    Args:
        values: by replicate.
        shared: overlap of splits, as from `splits.overlap`.
    """
    n, mean = len(values), float(values.mean())
    if n < 2:
        return mean, float("nan"), float("nan")
    half = float(student_t.isf(ALPHA / 2, n - 1) * values.std(ddof=1) * np.sqrt(1 / n + shared))
    return mean, mean - half, mean + half


def _verdict(low: float, high: float, metric: str) -> str:
    margin = np.log(described(metric).convention or 1.0)
    if -margin < low and high < margin:
        return "equivalent"
    return "better" if high < 0 else "worse" if low > 0 else "undecided"
