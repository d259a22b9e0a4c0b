"""Arms made elsewhere against trained ones: the question `model` of contrasts.csv."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from vae_ablation.study.axes import (
    REPLICATES,
    Level,
    axis_columns,
    axis_of,
    level_text,
    replicate_columns,
)
from vae_ablation.study.external import CONTROLS
from vae_ablation.study.metrics import Metric
from vae_ablation.study.questions import Arm, Question
from vae_ablation.tables.comparison import compare
from vae_ablation.tables.margins import Resolution, resolution_of
from vae_ablation.tables.replicates import Replicates

QUESTION = "model"
TRAINED = "vae"
_AXES = ["dataset", "likelihood", "latent_dim", QUESTION, "arm"]
_FREE = {"dataset", "likelihood", "latent_dim", "arm"}
_KL_FIRST = ("kl", "posterior", "beta")


def external_rows(metrics: pd.DataFrame) -> pd.DataFrame:
    """Rows of metrics.csv of arms made elsewhere."""
    return metrics[~metrics["model"].isin(CONTROLS)]


def external_contrasts(
    metrics: pd.DataFrame,
    trained: pd.DataFrame,
    results: Sequence[Metric],
    primary: Sequence[str],
    references: Mapping[str, Level],
    resolution: Resolution,
    looks: Sequence[int],
) -> pd.DataFrame:
    """Each arm made elsewhere against the trained arm that it stands beside, paired by seed.

    That arm has the same dataset and latent dimension, the levels that the arm's cells name, and
    the reference level of each other axis; there is one for each likelihood, a setting each. An
    arm without a seed is deterministic: its one row is paired with every seed.

    Args:
        metrics: metrics.csv.
        trained: its comparable trained runs (`contrasts.comparable_arms`).
        results: metrics that are compared.
        primary: as in `comparison.compare`.
        references: as in `questions.questions_of`.
        resolution: of the trained arms' own contrasts.
        looks: as in `comparison.compare`.
    """
    groups = external_rows(metrics).groupby(["dataset", QUESTION], sort=True)
    tables, questions = [], []
    for (_, name), rows in groups:
        pairs = list(_beside(rows, trained, references))
        tables += [one for pair in pairs for one in pair]
        known = {_key(base) for _, base in pairs}
        questions.append(_question(str(name), known))
    runs = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    if runs.empty:
        return pd.DataFrame()
    by = replicate_columns(runs.columns)
    kept = [*_AXES, *by, "run", "status", "measure"]
    names = [metric.name for metric in results]
    runs = runs.reindex(columns=[*kept, *names]).drop_duplicates([*_AXES, *by])
    runs[names] = runs[names].astype(float)
    runs = runs.sort_values(_AXES, ignore_index=True)
    replicates = Replicates(runs, _AXES, results)

    def shared(seen: Replicates) -> Resolution:
        own = resolution_of(seen, (), trained, resolution.wanted, None)
        return replace(own, examples=resolution.examples, features=resolution.features)

    return compare(replicates, questions, primary, shared, looks)


def _key(runs: pd.DataFrame) -> tuple[Any, ...]:
    first = runs.iloc[0]
    return tuple(first[axis] for axis in _AXES)


def _question(name: str, known: set[tuple[Any, ...]]) -> Question:
    """The question whether an arm differs from the trained ones that it stands beside."""

    def is_arm(arm: Arm) -> bool:
        return bool(arm[QUESTION] == name)

    def is_reference(arm: Arm) -> bool:
        return tuple(arm[axis] for axis in _AXES) in known

    return Question(QUESTION, frozenset({QUESTION}), is_arm, is_reference, axis=QUESTION)


def _beside(
    rows: pd.DataFrame, trained: pd.DataFrame, references: Mapping[str, Level]
) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Rows of an arm in each setting, with the trained runs that they are compared with."""
    axes = axis_columns(trained.columns)
    same = trained[trained["dataset"] == rows["dataset"].iloc[0]]
    named = {
        axis: rows[axis].iloc[0]
        for axis in axis_columns(rows.columns)
        if axis not in {"dataset", "latent_dim", *REPLICATES} and pd.notna(rows[axis].iloc[0])
    }
    for axis, level in named.items():
        same = same[same[axis].map(level_text) == level_text(level)]
    for (likelihood, dim), runs in same.groupby(["likelihood", "latent_dim"], sort=True):
        own = rows[rows["latent_dim"] == dim]
        if len(own):
            base = _at_references(runs, axes, references).assign(model=TRAINED)
            yield (
                _spread(own, base).assign(likelihood=likelihood, arm=str(own[QUESTION].iloc[0])),
                base,
            )


def _at_references(
    runs: pd.DataFrame, axes: Sequence[str], references: Mapping[str, Level]
) -> pd.DataFrame:
    """The runs of one arm: that at the reference level of each axis."""
    held = set(axes) - {*_FREE, *REPLICATES}
    for axis in sorted(held, key=lambda name: (name not in _KL_FIRST, name)):
        wanted = axis_of(axis).reference(runs[axis].unique().tolist(), references.get(axis))
        runs = runs[runs[axis] == wanted]
    return runs


def _spread(rows: pd.DataFrame, base: pd.DataFrame) -> pd.DataFrame:
    """Rows with a seed as they are; one without stands beside every run that it is compared with.

    Where the data have several splits, beside those of its own.
    """
    if rows["seed"].notna().all():
        return rows
    by = replicate_columns(base.columns)
    places = base[by].drop_duplicates()
    if "split_seed" in by:
        return rows.drop(columns="seed").merge(places, on="split_seed")
    return rows.drop(columns=[name for name in by if name in rows]).merge(places, how="cross")
