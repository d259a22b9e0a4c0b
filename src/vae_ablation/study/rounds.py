"""Rounds of seeds: when results are looked at, and the runs that each look asked for. No torch.

The first round is the config's grids. What follows a round is a file in results/<study>/rounds,
named after the runs that it follows: planned once, from their tables (`tables.rounds`), and read
by every later call. Where it has no runs, nothing is left to decide.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vae_ablation.common.errors import UserError
from vae_ablation.common.files import read_json, stable_hash
from vae_ablation.study.axes import REPLICATES, Level
from vae_ablation.study.run import Run

if TYPE_CHECKING:
    from vae_ablation.study.plan import Study

FOLDER = "rounds"
"""Folder of the rounds below results/<study>."""


def arm_of(run: Run) -> tuple[tuple[str, Level], ...]:
    """Levels of a run that its replicates share."""
    return tuple((axis, level) for axis, level in run.items() if axis not in REPLICATES)


def crossed(runs: Iterable[Run]) -> set[str]:
    """Datasets with runs on several splits: splits, and not seeds, replicate an arm there."""
    splits: dict[str, set[int | None]] = defaultdict(set)
    for run in runs:
        splits[run.dataset].add(run.split_seed)
    return {name for name, known in splits.items() if len(known) > 1}


def check_first(where: str, runs: Sequence[Run], first: int) -> None:
    """Refuse grids in which an arm does not begin with so many seeds, or splits.

    Args:
        where: the config file, named in errors.
        runs: those of the grids.
        first: `seeds.first`.

    Raises:
        UserError: naming the arm and what it has.
    """
    split = crossed(runs)
    known: dict[Any, set[int | None]] = defaultdict(set)
    for run in runs:
        known[arm_of(run)].add(run.split_seed if run.dataset in split else run.seed)
    for run in runs:
        count = len(known[arm_of(run)])
        if count != first:
            what, key = ("split", "split_seed") if run.dataset in split else ("seed", "seed")
            raise UserError(
                f"{where}: grids give {run.dataset}/{run.arm} {count} {what}{'s'[: count != 1]}, "
                f"and seeds.first is {first}; allowed: {key} with {first} levels in every grid"
                f"{'' if key == 'split_seed' else ', or without seed'}."
            )


# --- rounds on disk ------------------------------------------------------------------------------


def round_path(folder: Path, runs: Iterable[Run], looks: Sequence[int]) -> Path:
    """File of the round that follows runs.

    Args:
        folder: results/<study>.
        runs: every wanted run so far.
        looks: numbers of seeds of all looks.
    """
    paths = sorted(run.path for run in runs)
    return folder / FOLDER / f"{stable_hash([paths, list(looks)], 16)}.json"


@dataclass(frozen=True)
class Further:
    """A round of seeds as its file tells it.

    Attributes:
        undecided: comparisons that it takes a look further, in words.
        exhausted: comparisons that were undecided at their last look.
        runs: its runs; none where nothing is left to decide.
    """

    undecided: Sequence[str]
    exhausted: Sequence[str]
    runs: Sequence[Run]

    def lines(self) -> list[str]:
        """Sentences on what is undecided."""
        lines = []
        if self.undecided:
            lines.append(f"Undecided at this look: {'; '.join(self.undecided)}.")
        if self.exhausted:
            lines.append(f"Undecided at the last look: {'; '.join(self.exhausted)}.")
        return lines or ["Every comparison of a primary metric is decided."]


def read_round(path: Path) -> Further:
    """A round that was planned.

    Raises:
        UserError: its file is damaged.
    """
    try:
        found = read_json(path)
        runs = [Run(**levels) for levels in found["runs"]]
        return Further(found["undecided"], found["undecided_at_the_last_look"], runs)
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{path}: damaged; delete it to plan this round again.") from None


def planned_rounds(folder: Path, first: Sequence[Run], looks: Sequence[int]) -> list[list[Run]]:
    """Runs of the rounds that were planned after the first, in order.

    Args:
        folder: results/<study>.
        first: runs of the grids.
        looks: numbers of seeds of all looks.

    Raises:
        UserError: a file is damaged.
    """
    known, found = set(first), []
    while (path := round_path(folder, known, looks)).is_file():
        further = list(read_round(path).runs)
        if known.issuperset(further):
            break
        known.update(further)
        found.append(further)
    return found


def rounds_line(study: Study) -> str:
    """A sentence on the looks of a study with seeds in rounds; empty without.

    Args:
        study: the study.
    """
    if not study.config["seeds"]:
        return ""
    looks = study.config["statistics"]["looks"]
    first = len(study.first_runs)
    return (
        f"Seeds in rounds: looks at {', '.join(map(str, looks[:-1]))} and {looks[-1]} seeds; "
        f"{first} runs at the first look, {len(study.runs)} wanted now, at most "
        f"{first // looks[0] * looks[-1]} if nothing is decided before."
    )
