"""contrasts.csv: differences between two arms, paired by seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vae_ablation.study.axes import Level
from vae_ablation.study.metrics import described
from vae_ablation.tables.bootstrap import (
    bootstrap_intervals,
    read_examples,
)
from vae_ablation.tables.comparable import comparable_runs, result_metrics
from vae_ablation.tables.designs import Arm, paired_arms
from vae_ablation.tables.paired import holm, paired_statistics
from vae_ablation.tables.replicates import Differences, Replicates

COLUMNS = [
    *("dataset", "likelihood", "contrast", "latent_dim", "arm"),
    *("reference_latent_dim", "reference_arm", "metric", "primary", "n", "lost"),
    *("mean_difference", "ci_low", "ci_high", "effect", "p", "p_holm"),
    *("examples", "boot_low", "boot_high"),
]
_FAMILY = ["dataset", "likelihood", "contrast", "metric"]


def contrasts(
    metrics: pd.DataFrame,
    primary: Sequence[str],
    folder: Path | None,
    references: Mapping[str, Level] | None = None,
) -> pd.DataFrame:
    """Every contrast of `designs.contrasts_of`, in every metric in which its arms are comparable.

    Pairs are runs of one seed, and of one split where splits vary: then differences are averaged
    over the seeds of each split, and n, interval and p are over splits. A pair counts as lost where
    a run of it is not ok; one whose value is not defined or not comparable
    (`comparable.comparable_runs`) is merely not used. Where no pair can be used there is no row:
    failures.csv names the runs. Intervals are Student-t over seeds, the effect is
    `paired.hedges_effect`, p is of the two-sided paired t test (n ≥ 5 only), adjusted after Holm
    within one data set, likelihood, contrast and metric. Where all differences are equal, effect
    and p are not defined. The bootstrap is over test examples, of the difference averaged over the
    pairs used: seeds are held fixed in it, examples in the other interval. Over several splits,
    whose test examples differ, there is none.

    Args:
        metrics: metrics.csv.
        primary: metrics that the config names as primary.
        folder: results/<study>, whose runs may have examples.npz; without it no bootstrap.
        references: as in `designs.contrasts_of`.

    Raises:
        UserError: a file of examples is damaged.
    """
    replicates = Replicates(comparable_runs(metrics), result_metrics(metrics))
    pairs = paired_arms(replicates.arms, references)
    if not pairs:
        return pd.DataFrame(columns=COLUMNS)
    differences = Differences(replicates, pairs)
    table = _rows(differences)
    table = table.join(_bootstrap(differences, table, folder))
    table["primary"] = table["metric"].isin(primary)
    table["p_holm"] = table.groupby(_FAMILY)["p"].transform(holm)
    return table[COLUMNS]


def _rows(differences: Differences) -> pd.DataFrame:
    """One row for each pair and metric that has a difference, without the bootstrap."""
    pair, metric = differences.cells
    names = pd.DataFrame([_names(*differences.pairs[i]) for i in pair], columns=COLUMNS[:7])
    used = differences.independent(differences.values[pair, :, metric])
    scale = differences.scale[pair, metric]
    return names.assign(
        metric=np.array(differences.replicates.metrics, object)[metric],
        lost=differences.lost[pair],
        **paired_statistics(used, scale),
    )


def _names(contrast: str, arm: Arm, reference: Arm) -> dict[str, Any]:
    return {
        "dataset": arm.dataset,
        "likelihood": arm.likelihood,
        "contrast": contrast,
        "latent_dim": arm.latent_dim,
        "arm": arm.arm,
        "reference_latent_dim": reference.latent_dim,
        "reference_arm": reference.arm,
    }


def _bootstrap(differences: Differences, table: pd.DataFrame, folder: Path | None) -> pd.DataFrame:
    """Columns examples, boot_low and boot_high for the rows of a table of differences."""
    found = [pd.DataFrame(columns=["examples", "boot_low", "boot_high"], dtype=np.float64)]
    if folder is not None:
        per_example = table[
            table["metric"].map(lambda name: described(name).per_example).astype(bool)
        ]
        # Contrasts stay within these two axes: the examples of no more runs are held at a time.
        for _, group in per_example.groupby(["dataset", "likelihood"], sort=False):
            found += _group_intervals(differences, group, folder / "runs")
    return pd.concat(found).reindex(table.index).astype({"examples": "Int64"})


def _group_intervals(
    differences: Differences, rows: pd.DataFrame, runs: Path
) -> Iterator[pd.DataFrame]:
    """Bootstrap intervals of some rows of a table of differences, a frame for each metric."""
    read = cache(lambda run: read_examples(runs / run))
    for metric, cells in rows.groupby("metric", sort=False):
        values = {row: differences.of_examples(row, str(metric), read) for row in cells.index}
        known = {row: column for row, column in values.items() if column is not None}
        if known:
            n, low, high = bootstrap_intervals(np.stack(list(known.values()), axis=1))
            ends = {"examples": n or np.nan, "boot_low": low, "boot_high": high}
            yield pd.DataFrame(ends, index=list(known))
