"""Rounds of seeds: the runs that undecided comparisons need to reach their next look. No torch."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import yaml

from vae_ablation.study.axes import AXES, as_setting, level_text
from vae_ablation.study.questions import Arm, questions_of
from vae_ablation.study.run import Run
from vae_ablation.tables.comparable import arm_axes

_ALWAYS = ("dataset", "likelihood", "latent_dim")


@dataclass(frozen=True)
class Round:
    """Comparisons of primary metrics that are undecided, and runs that take them a look further.

    Attributes:
        undecided: question, level and metric of each comparison that has a look to come.
        exhausted: the same of those that have had their last look.
        runs: further runs, of both arms of these comparisons in all their settings.
    """

    undecided: Sequence[tuple[str, str, str]]
    exhausted: Sequence[tuple[str, str, str]]
    runs: Sequence[Run]


def next_round(
    metrics: pd.DataFrame,
    contrasts: pd.DataFrame,
    planned: Iterable[Run],
    looks: Sequence[int],
    references: Mapping[str, Any],
) -> Round:
    """The round that follows the tables of a study.

    Args:
        metrics: metrics.csv.
        contrasts: contrasts.csv.
        planned: the study's runs.
        looks: `statistics.looks`: numbers of seeds at which results are looked at.
        references: `statistics.reference`.
    """
    rows = contrasts[(contrasts["scope"] == "pooled") & (contrasts["family"] == "primary")]
    # seeds of arms made elsewhere are not this study's to add
    rows = rows[(rows["verdict"] == "undecided") & (rows["question"] != "model")]
    wanted: dict[tuple[str, str, str], int] = {}  # question, dataset, level → seeds
    undecided, exhausted = [], []
    for row in rows.to_dict("records"):
        named = str(row["question"]), str(row["level"]), str(row["metric"])
        look = min((look for look in looks if look > row["n"]), default=None)
        if look is None:
            exhausted.append(named)
            continue
        undecided.append(named)
        key = named[0], str(row["dataset"]), named[1]
        wanted[key] = max(wanted.get(key, 0), look)
    arm_of = _arms(metrics)
    seeds = _seeds_of_arms(sorted(set(arm_of.values())), wanted, references)
    return Round(undecided, exhausted, _further(arm_of, planned, seeds))


def _arms(metrics: pd.DataFrame) -> dict[str, Arm]:
    """The arm of each run by its path."""
    runs = metrics[metrics["model"] == "vae"]
    axes = [axis for axis in arm_axes(runs.columns) if axis in runs]
    levels = runs[axes].itertuples(index=False)
    arms = (Arm(dict(zip(axes, row, strict=True))) for row in levels)
    return dict(zip(runs["run"].astype(str), arms, strict=True))


def _seeds_of_arms(
    arms: Sequence[Arm], wanted: Mapping[tuple[str, str, str], int], references: Mapping[str, Any]
) -> dict[Arm, int]:
    """Seeds that each arm of the wanted comparisons should have."""
    seeds: dict[Arm, int] = {}
    for question in questions_of([axis for axis in arms[0] if axis != "arm"], references):
        pairs = question.pairs(arms)
        for (dataset, level), places in question.answering(pairs).items():
            look = wanted.get((question.name, str(dataset), str(level)), 0)
            for arm in itertools.chain.from_iterable(pairs[i] for i in places if look):
                seeds[arm] = max(seeds.get(arm, 0), look)
    return seeds


def _further(
    arm_of: Mapping[str, Arm], planned: Iterable[Run], seeds: Mapping[Arm, int]
) -> list[Run]:
    """Runs with the smallest unused seeds, until each arm has as many as it should."""
    known: dict[Arm, list[Run]] = defaultdict(list)
    for run in planned:
        if run.path in arm_of:
            known[arm_of[run.path]].append(run)
    found = []
    for arm, count in seeds.items():
        runs = known[arm]
        used = {run.seed for run in runs}
        free = (seed for seed in itertools.count() if seed not in used)
        found += [
            Run(**{**runs[0].to_json(), "seed": seed})
            for seed in itertools.islice(free, max(0, count - len(used)))
        ]
    return sorted(found)


def grid_lines(runs: Iterable[Run]) -> list[str]:
    """Lines of a config's `grids` that name these runs, one for each arm."""
    grids: dict[str, list[int]] = defaultdict(list)
    for run in runs:
        grids[_grid(run)].append(run.seed)
    return [f"  - {{{grid}, seed: {seeds}}}" for grid, seeds in grids.items()]


def _grid(run: Run) -> str:
    """The axes of a run but its seed, as one flow mapping without braces."""
    levels = {axis: run[axis] for axis in run if axis != "seed"}
    if not run.kl:
        del levels["beta"]  # without a KL term there is none
    if run.posterior == "point":
        del levels["kl"]
    shown = {
        axis: [as_setting(level)]
        for axis, level in levels.items()
        if axis in _ALWAYS or axis not in AXES or level != AXES[axis].default
    }
    text = yaml.safe_dump(shown, default_flow_style=True, sort_keys=False, width=10**6)
    return str(text).strip()[1:-1]


def comparison_text(comparison: tuple[str, str, str]) -> str:
    """`nll: kl_off at off`, a comparison in a few words."""
    question, level, metric = comparison
    return f"{metric}: {question} {level_text(level)}"
