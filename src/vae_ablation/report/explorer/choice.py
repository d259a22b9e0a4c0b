"""Runs of a page, the most important first in case not all fit."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, zip_longest

import pandas as pd

from vae_ablation.report.figures.results import StudyResults
from vae_ablation.report.figures.selection import (
    Selection,
    choose_arms,
    choose_latent_dims,
    contrast_arms,
    first_runs,
    first_split,
)
from vae_ablation.study.axes import ArmName

MAX_ARMS = 8


@dataclass(frozen=True)
class Choice:
    """One run of a page.

    Attributes:
        likelihood, latent_dim, arm: its axes.
        run: its path below runs/.
    """

    likelihood: str
    latent_dim: int
    arm: ArmName
    run: str

    @property
    def order(self) -> tuple[str, int, tuple[int, float, str]]:
        """Sort key for the page's switches."""
        return self.likelihood, self.latent_dim, self.arm.order


def choose_runs(results: StudyResults, dataset: str) -> list[Choice]:
    """Runs of a dataset worth exploring, by importance; likelihoods take turns, two arms each.

    At two dimensions up to eight arms of each likelihood (the lowest seed that ended well), KL on
    and off first; above, those two arms at a few latent dimensions.
    """
    rows = Selection(dataset=dataset).ok_rows(results)
    rows = first_split(rows[rows["latent_dim"] >= 2])
    turns = [_turns(str(name), part) for name, part in rows.groupby("likelihood", sort=True)]
    return list(chain(*chain(*zip_longest(*turns, fillvalue=()))))


def _turns(likelihood: str, rows: pd.DataFrame) -> list[list[Choice]]:
    chosen: list[Choice] = []
    for latent_dim in choose_latent_dims(rows["latent_dim"]):
        part = rows[rows["latent_dim"] == latent_dim]
        firsts = first_runs(part)
        arms = contrast_arms(firsts) or choose_arms(part, 1)
        if latent_dim == 2:
            arms = list(dict.fromkeys([*arms, *choose_arms(part, MAX_ARMS)]))
        chosen += [Choice(likelihood, latent_dim, arm, firsts[arm]) for arm in arms]
    return [chosen[i : i + 2] for i in range(0, len(chosen), 2)]
