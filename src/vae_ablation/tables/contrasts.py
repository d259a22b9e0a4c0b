"""contrasts.csv: differences between arms, pooled over settings, with verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from vae_ablation.study.axes import Level
from vae_ablation.study.metrics import described
from vae_ablation.study.questions import questions_of
from vae_ablation.tables.comparable import arm_axes, comparable_runs, result_metrics
from vae_ablation.tables.comparison import ORDER, compare
from vae_ablation.tables.elsewhere import external_contrasts, external_rows
from vae_ablation.tables.margins import Resolution, resolution_of
from vae_ablation.tables.replicates import Replicates

ALWAYS = ("dataset", "likelihood", "latent_dim")
"""Axes that have a column whether or not they vary."""
COLUMNS = ["question", "scope", *ALWAYS, *ORDER]
COLLAPSED_RATE = 0.1
"""Nats below which, in all its seeds, an arm carries no information."""


def contrasts(
    metrics: pd.DataFrame,
    primary: Sequence[str],
    folder: Path | None,
    references: Mapping[str, Level] | None = None,
    margins: Mapping[str, float] | None = None,
    looks: Sequence[int] = (),
) -> pd.DataFrame:
    """Every answer to `questions.questions_of`, in every metric in which its arms are comparable.

    Arms made elsewhere are compared with trained ones in rows of the question `model`.

    Pairs are runs of one seed, and of one split where a dataset has several: then differences are
    averaged over the seeds of each split, and n, intervals and p are over splits. A pair counts as
    lost where a run of it is not ok; one whose value is not defined or not comparable
    (`comparable_arms`) is merely not used. Where no pair can be used there is no row: failures.csv
    names the runs.

    Args:
        metrics: metrics.csv.
        primary: metrics that the config names as primary.
        folder: results/<study>, whose runs may have examples.npz; without it the margins lack the
            part of the test examples.
        references: as in `questions.questions_of`.
        margins: `statistics.margins` of the config.
        looks: as in `comparison.compare`.

    Raises:
        UserError: a file of examples is damaged.
    """
    replicates = study_replicates(metrics)
    axes = [axis for axis in arm_axes(metrics.columns) if axis != "arm"]
    questions = questions_of(axes, references or {}) if replicates.arms else []
    pairs = [pair for question in questions for pair in question.pairs(replicates.arms)]
    runs = metrics[metrics["model"] == "vae"]

    def resolution(seen: Replicates) -> Resolution:
        shown = runs if seen is replicates else runs[runs["run"].isin({*seen.runs.ravel()})]
        return resolution_of(seen, pairs, shown, margins or {}, folder)

    def at(look: int) -> Replicates:
        """Runs of a look, of which a later seed that is only a bound takes nothing away."""
        first = replicates.up_to(look)
        if first is replicates:
            return replicates
        there = metrics["run"].isin({*first.runs.ravel()} - {""})
        return study_replicates(metrics[there | (metrics["model"] != "vae")])

    table = compare(replicates, questions, primary, resolution, looks, at)
    varied = [axis for axis in axes if len({arm[axis] for arm in replicates.arms}) > 1]
    shown = list(dict.fromkeys([*ALWAYS, *varied]))
    if len(external_rows(metrics)):
        trained = comparable_arms(metrics)
        known = primary, references or {}, resolution(replicates), looks
        further = external_contrasts(metrics, trained, replicates.metrics, *known)
        table = pd.concat([table, further], ignore_index=True) if len(further) else table
    return table.reindex(columns=["question", "scope", *shown, *ORDER])


def study_replicates(metrics: pd.DataFrame) -> Replicates:
    """The comparable values of a study's runs, by arm and seed.

    Args:
        metrics: metrics.csv.
    """
    runs = comparable_arms(metrics)
    return Replicates(runs, arm_axes(runs.columns), [described(m) for m in result_metrics(metrics)])


def comparable_arms(metrics: pd.DataFrame) -> pd.DataFrame:
    """As `comparable.comparable_runs`, with whole arms left out.

    Also blank are: a metric in an arm of which one seed's value is only a bound, since the mean
    over the others would be one of lucky seeds; and metrics on the log scale in collapsed arms
    (rate below `COLLAPSED_RATE` in all seeds), where ratios are of noise.

    Args:
        metrics: metrics.csv.

    Returns:
        The columns of `comparable.comparable_runs`, and whether the arm is `collapsed`.
    """
    runs = comparable_runs(metrics)
    results = [name for name in result_metrics(metrics) if name in runs]
    arm = runs.groupby(arm_axes(runs.columns), sort=False, dropna=False).ngroup()
    for metric in map(described, results):
        if metric.bound and metric.bound.flag in runs:
            flagged = runs[metric.bound.flag].eq(True).fillna(False) & (runs["status"] == "ok")
            runs.loc[flagged.groupby(arm).transform("any"), metric.name] = np.nan
    rates = runs.get("rate", pd.Series(np.nan, runs.index))
    dead = rates.groupby(arm).transform("max") < COLLAPSED_RATE
    logs = [name for name in results if described(name).scale == "log"]
    runs.loc[dead, logs] = np.nan
    return runs.assign(collapsed=dead)
