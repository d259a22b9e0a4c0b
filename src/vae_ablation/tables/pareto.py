"""pareto.csv: the arms that no other arm beats on two columns at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vae_ablation.study.metrics import described
from vae_ablation.tables.comparable import arm_axes, bounded_arms, comparable_runs

COLUMNS = [
    *("dataset", "measure", "front", "likelihood", "latent_dim", "arm", "n"),
    *("x_metric", "x", "y_metric", "y"),
]


@dataclass(frozen=True)
class Front:
    """A pair of columns, each better in the way of its metric.

    Attributes:
        name: as the table calls it.
        x: first column.
        y: second column.
    """

    name: str
    x: str
    y: str


FRONTS = (
    Front("rate_distortion", "rate", "distortion"),
    Front("nll_probe_accuracy", "nll", "probe_accuracy"),
)


def pareto(metrics: pd.DataFrame) -> pd.DataFrame:
    """The undominated arms of each front, among all arms of one dataset and measure.

    An arm stands for its mean over its ok seeds (`n`), all of which must have both columns. An arm
    of which any seed has only a bound is not listed; where the truth can only be better than the
    bound, it dominates others by it. Arms without a KL term are left out of the rate–distortion
    front: their rate is what training happened to reach when it stopped, so it is no place in that
    plane. A front holds arms of one measure only, so that no cross-entropy is ranked against a
    proper score.

    Args:
        metrics: metrics.csv.
    """
    runs = comparable_runs(metrics, bounds=True)
    runs = runs[runs["status"] == "ok"]
    found = [_undominated(runs, front) for front in FRONTS if {front.x, front.y} <= {*runs}]
    table = pd.concat(found) if found else pd.DataFrame(columns=COLUMNS)
    return table.sort_values(["dataset", "measure", "front", "x", "y"], ignore_index=True)


def _undominated(runs: pd.DataFrame, front: Front) -> pd.DataFrame:
    keys = list(dict.fromkeys(["dataset", "measure", *arm_axes(runs.columns)]))
    defined = runs[[front.x, front.y]].notna().all(axis=1)
    whole = defined.groupby([runs[key] for key in keys]).transform("all")
    loose = bounded_arms(runs, described(front.x)) | bounded_arms(runs, described(front.y))
    arms = (
        runs[whole]
        .assign(loose=loose)
        .groupby(keys, as_index=False)
        .agg(n=("run", "size"), x=(front.x, "mean"), y=(front.y, "mean"), loose=("loose", "first"))
    )
    beaten, axes = np.zeros(len(arms), bool), (("x", front.x), ("y", front.y))
    for places in arms.groupby(["dataset", "measure"]).indices.values():
        rivals = arms.iloc[places]
        costs = (_cost(name) * rivals[axis].to_numpy() for axis, name in axes)
        beaten[places] = dominated(*costs)
    named = {"front": front.name, "x_metric": front.x, "y_metric": front.y}
    return arms[~beaten & ~arms["loose"].to_numpy(bool)].assign(**named)[COLUMNS]


def _cost(metric: str) -> int:
    """1 where lower is better, -1 where higher is; a metric without a better way (rate) is paid."""
    return -described(metric).sign or 1


def dominated(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether another point is at least as low in both coordinates and lower in one.

    Args:
        x: first coordinates, [n].
        y: second coordinates, [n].

    Returns:
        [n]; equal points do not dominate each other.
    """
    as_good = (x[:, None] <= x) & (y[:, None] <= y)
    better = (x[:, None] < x) | (y[:, None] < y)
    return np.asarray((as_good & better).any(axis=0))
