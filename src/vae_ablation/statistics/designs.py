"""Which arm is set against which: contrasts as differences in one axis, all others equal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import log10
from typing import Any

import pandas as pd

from vae_ablation.statistics.comparable import AXES


@dataclass(frozen=True, order=True)
class Arm:
    """What seeds are replicates of; the fields are `comparable.AXES`."""

    dataset: str
    likelihood: str
    latent_dim: int
    kl: bool
    beta: float
    posterior: str
    architecture: str
    objective: str
    importance_samples: int
    condition: str
    kl_warmup_epochs: int
    dispersion: str
    arm: str

    @property
    def distance_to_one(self) -> tuple[float, float]:
        """How far β is from 1 on the log axis; of two as far, the smaller is the nearer."""
        return abs(log10(self.beta)), self.beta


def read_arms(runs: pd.DataFrame) -> list[Arm]:
    """The arms of `comparable.comparable_runs`, in order."""
    return [Arm(*row) for row in runs[[*AXES]].drop_duplicates().itertuples(index=False)]


@dataclass(frozen=True)
class Contrast:
    """A question to a grid: arms against one reference each.

    Attributes:
        name: as the table calls it.
        varies: axes in which an arm may differ from its reference; all others are equal.
        is_arm: which arms are set against the reference.
        is_reference: which arms can be it.
        preference: the lowest one is.
    """

    name: str
    varies: frozenset[str]
    is_arm: Callable[[Arm], bool]
    is_reference: Callable[[Arm], bool]
    preference: Callable[[Arm], Any] = lambda arm: arm

    def pairs(self, arms: Iterable[Arm]) -> list[tuple[Arm, Arm]]:
        """Arms with their references."""
        groups: dict[tuple[Any, ...], list[Arm]] = defaultdict(list)
        for arm in arms:
            groups[self._held_equal(arm)].append(arm)
        return [pair for members in groups.values() for pair in self._pairs_within(members)]

    def _held_equal(self, arm: Arm) -> tuple[Any, ...]:
        return tuple(getattr(arm, axis) for axis in AXES[:-1] if axis not in self.varies)

    def _pairs_within(self, arms: list[Arm]) -> list[tuple[Arm, Arm]]:
        references = [arm for arm in arms if self.is_reference(arm)]
        if not references:
            return []
        reference = min(references, key=self.preference)
        return [(arm, reference) for arm in arms if self.is_arm(arm) and arm != reference]


def _levels(axis: str, level: str, reference: str) -> Contrast:
    """One value of an axis against another, all other axes equal."""
    return Contrast(
        axis,
        frozenset({axis}),
        lambda arm: getattr(arm, axis) == level,
        lambda arm: getattr(arm, axis) == reference,
    )


def _variational(arm: Arm) -> bool:
    return arm.kl and arm.posterior == "gaussian"


CONTRASTS = (
    Contrast(
        "kl_off",
        frozenset({"kl", "beta"}),
        lambda arm: not arm.kl,
        lambda arm: arm.kl,
        lambda arm: arm.distance_to_one,
    ),
    Contrast(
        "beta",
        frozenset({"beta"}),
        lambda arm: arm.kl,
        lambda arm: arm.kl,
        lambda arm: arm.distance_to_one,
    ),
    Contrast(
        "latent_dim",
        frozenset({"latent_dim"}),
        lambda arm: True,
        lambda arm: True,
        lambda arm: -arm.latent_dim,
    ),
    Contrast(
        "point",
        frozenset({"posterior", "kl", "beta"}),
        lambda arm: arm.posterior == "point",
        _variational,
        lambda arm: arm.distance_to_one,
    ),
    _levels("posterior", "fixed", "gaussian"),
    _levels("architecture", "conv", "mlp"),
    _levels("architecture", "poe", "mlp"),
    _levels("objective", "iwae", "elbo"),
    _levels("objective", "mvae", "elbo"),
    _levels("condition", "label", "none"),
    _levels("condition", "batch", "none"),
    _levels("dispersion", "gene_cell", "gene"),
    Contrast(
        "kl_warmup_epochs",
        frozenset({"kl_warmup_epochs"}),
        lambda arm: arm.kl_warmup_epochs > 0,
        lambda arm: arm.kl,
        lambda arm: arm.kl_warmup_epochs,
    ),
)
"""Every contrast, in the order of the table."""


def paired_arms(arms: Iterable[Arm]) -> list[tuple[str, Arm, Arm]]:
    """Contrast, arm and reference of all contrasts, by data set, likelihood, contrast and arm."""
    known = list(arms)
    rank = {contrast.name: i for i, contrast in enumerate(CONTRASTS)}
    found = [(c.name, arm, reference) for c in CONTRASTS for arm, reference in c.pairs(known)]
    return sorted(
        found, key=lambda item: (item[1].dataset, item[1].likelihood, rank[item[0]], item[1])
    )
