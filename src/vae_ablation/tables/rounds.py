"""Rounds of seeds: the runs that undecided comparisons need to reach their next look. No torch."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from vae_ablation.common.errors import UserError
from vae_ablation.common.files import write_json
from vae_ablation.study.axes import AXES, as_setting, level_text
from vae_ablation.study.plan import Plan, Study
from vae_ablation.study.questions import Arm, questions_of
from vae_ablation.study.run import Run
from vae_ablation.study.workflow import read_frozen
from vae_ablation.tables.collect import crossed_datasets, read_metrics
from vae_ablation.tables.comparable import arm_axes
from vae_ablation.tables.replicates import split_seeds

_ALWAYS = ("dataset", "likelihood", "latent_dim")


@dataclass(frozen=True)
class Comparison:
    """A comparison of a primary metric: a row of contrasts.csv."""

    question: str
    level: str
    metric: str
    dataset: str
    scope: str = "pooled"

    def __str__(self) -> str:
        """`nll: kl_off at off`, in a few words."""
        within = "" if self.scope == "pooled" else f" within {self.scope}"
        return f"{self.metric}: {self.question} {level_text(self.level)}{within}"


@dataclass(frozen=True)
class Round:
    """Comparisons of primary metrics that are undecided, and runs that take them a look further.

    Attributes:
        undecided: comparisons that have a look to come.
        exhausted: comparisons that have had their last look.
        runs: further runs, of both arms of these comparisons in all their settings.
        look: replicates that the arm with the most of them will have; None without runs.
    """

    undecided: Sequence[Comparison]
    exhausted: Sequence[Comparison]
    runs: Sequence[Run]
    look: int | None = None


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
        contrasts: contrasts.csv, with the same looks.
        planned: the study's runs.
        looks: `statistics.looks`: numbers of replicates (seeds, or splits of a dataset that has
            several) at which results are looked at.
        references: `statistics.reference`.
    """
    rows = contrasts[(contrasts["scope"] != "setting") & (contrasts["family"] == "primary")]
    # seeds of arms made elsewhere are not this study's to add
    rows = rows[(rows["verdict"] == "undecided") & (rows["question"] != "model")]
    wanted: dict[Comparison, int] = {}
    exhausted = []
    for row in rows.to_dict("records"):
        names = ("question", "level", "metric", "dataset", "scope")
        one = Comparison(*(str(row[name]) for name in names))
        reached = 0 if pd.isna(row["look"]) else row["look"]
        look = min((look for look in looks if look > reached), default=None)
        if look is None:
            exhausted.append(one)
        else:
            wanted[one] = look
    arms = _arms(metrics)
    seeds = _replicates_wanted(sorted(set(arms.values())), wanted, references)
    runs = _further(arms, planned, seeds, metrics)
    if not runs:  # their arms have the seeds, and values that cannot be compared
        return Round([], [*exhausted, *wanted], [])
    return Round([*wanted], exhausted, runs, max(wanted.values()))


def _arms(metrics: pd.DataFrame) -> dict[str, Arm]:
    """The arm of each run by its path."""
    runs = metrics[metrics["model"] == "vae"]
    axes = [axis for axis in arm_axes(runs.columns) if axis in runs]
    levels = runs[axes].itertuples(index=False)
    arms = (Arm(dict(zip(axes, row, strict=True))) for row in levels)
    return dict(zip(runs["run"].astype(str), arms, strict=True))


def _replicates_wanted(
    arms: Sequence[Arm], wanted: Mapping[Comparison, int], references: Mapping[str, Any]
) -> dict[Arm, int]:
    """Replicates that each arm of the wanted comparisons should have."""
    found: dict[Arm, int] = {}
    axes = [axis for axis in arms[0] if axis != "arm"] if arms else []
    for question in questions_of(axes, references):
        pairs = question.pairs(arms)
        groups = {(str(dataset), str(level)): places
                  for (dataset, level), places in question.answering(pairs).items()}  # fmt: skip
        for one, look in wanted.items():
            places = (
                groups.get((one.dataset, one.level), ()) if one.question == question.name else ()
            )
            for pair in (pairs[i] for i in places):
                for arm in pair if _within(pair[0], one.scope) else ():
                    found[arm] = max(found.get(arm, 0), look)
    return found


def _within(arm: Arm, scope: str) -> bool:
    """Whether an arm is of a row with this scope: `pooled`, or `AXIS=level`."""
    axis, sign, level = scope.partition("=")
    return not sign or level_text(arm[axis]) == level


def _further(
    arm_of: Mapping[str, Arm],
    planned: Iterable[Run],
    wanted: Mapping[Arm, int],
    metrics: pd.DataFrame,
) -> list[Run]:
    """Runs with the next replicates, until each arm has as many as it should.

    New seeds follow the largest that an arm has, so that looks are at the first seeds in order; of
    datasets with several splits each new split is run with the seeds that the arm has.
    """
    known: dict[Arm, list[Run]] = defaultdict(list)
    for run in planned:
        if run.path in arm_of:
            known[arm_of[run.path]].append(run)
    crossed = crossed_datasets(metrics)
    splits = _splits(metrics)
    everywhere = [run for runs in known.values() for run in runs]
    found: set[Run] = set()
    for arm, count in wanted.items():
        runs, dataset = known[arm], str(arm["dataset"])
        levels = [run.to_json() for run in runs]
        beside = [run for run in everywhere if run.dataset == dataset]
        if dataset in crossed:
            used = {splits[run.path] for run in runs}
            new = _next(used, {splits[run.path] for run in beside}, count)
            seeds = {run.seed for run in runs}
            found |= {Run(**{**levels[0], "split_seed": split, "seed": seed})
                      for split in new for seed in seeds}  # fmt: skip
        else:
            new = _next({run.seed for run in runs}, {run.seed for run in beside}, count)
            found |= {Run(**{**levels[0], "seed": seed}) for seed in new}
    return sorted(found)


def _splits(metrics: pd.DataFrame) -> dict[str, int]:
    """Split seed of each run by its path."""
    if "split_seed" not in metrics:
        return {}
    runs = metrics[metrics["model"] == "vae"]
    return dict(zip(runs["run"].astype(str), map(int, split_seeds(runs)), strict=True))


def _next(used: Collection[int], others: Collection[int], count: int) -> list[int]:
    """Levels that lead an arm to so many, in order; first those that other arms have."""
    last = max(used, default=-1)
    later = sorted(level for level in others if level > last)
    fresh = itertools.count(max([last, *others]) + 1)
    return list(itertools.islice(itertools.chain(later, fresh), max(0, count - len(set(used)))))


def plan_round(folder: Path, target: Path) -> None:
    """Write the round of seeds that follows a study's tables; without runs where all is decided.

    Args:
        folder: results/<study>, with its frozen config and its tables.
        target: `Study.next_round`.
    """
    study, plan = read_frozen(folder)
    found = study_round(study, plan)
    write_json(target, {
        "look": found.look,
        "undecided": [str(one) for one in found.undecided],
        "undecided_at_the_last_look": [str(one) for one in found.exhausted],
        "runs": [study.own(run).to_json() for run in found.runs],
    })  # fmt: skip


def study_round(study: Study, plan: Plan) -> Round:
    """The round that follows a study's tables.

    Raises:
        UserError: there are no tables yet.
    """
    tables = [study.folder / "tables" / f"{name}.csv" for name in ("metrics", "contrasts")]
    if not all(path.is_file() for path in tables):
        raise UserError(f"{study.folder}: has no tables yet; run snakemake first.")
    contrasts = pd.read_csv(tables[1], dtype={"level": str, "question": str, "dataset": str})
    statistics = study.config["statistics"]
    runs = [item.run for item in plan.planned]
    return next_round(
        read_metrics(tables[0]), contrasts, runs, statistics["looks"], study.references
    )


def grid_lines(runs: Iterable[Run]) -> list[str]:
    """Lines of a config's `grids` that name these runs, one for each arm (and split)."""
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
