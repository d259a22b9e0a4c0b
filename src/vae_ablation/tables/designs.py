"""Designs of contrasts: pairs of arms that differ in one axis, all others equal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from vae_ablation.study.axes import (
    REPLICATES,
    Level,
    axis_of,
    axis_order,
    distance_to_one,
    is_setting,
    level_order,
)
from vae_ablation.tables.comparable import arm_axes


class Arm(Mapping[str, Level]):
    """A combination of levels that seeds replicate: a frozen mapping of axis → level.

    Its axes are those of `comparable.arm_axes`, and attributes too; `arm` is its name.
    """

    dataset: str
    likelihood: str
    latent_dim: int
    kl: bool
    beta: float
    posterior: str
    arm: str

    def __init__(self, levels: Mapping[str, Level]) -> None:
        self.__dict__.update(levels)

    def __getitem__(self, axis: str) -> Level:
        return self.__dict__[axis]

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__)

    def __len__(self) -> int:
        return len(self.__dict__)

    def __hash__(self) -> int:
        return hash(tuple(self.__dict__.values()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Arm) and self.__dict__ == other.__dict__

    def __lt__(self, other: Arm) -> bool:
        return self._order < other._order

    @property
    def _order(self) -> list[tuple[int, Any]]:
        return [level_order(level) for level in self.__dict__.values()]


def read_arms(runs: pd.DataFrame) -> list[Arm]:
    """The arms of `comparable.comparable_runs`, in order."""
    axes = arm_axes(runs.columns)
    known = runs[axes].drop_duplicates()
    return [Arm(dict(zip(axes, row, strict=True))) for row in known.itertuples(index=False)]


@dataclass(frozen=True)
class Contrast:
    """A question to a grid: arms against one reference each.

    Attributes:
        name: as the table calls it.
        varies: axes in which an arm may differ from its reference; all others are equal.
        is_arm: whether an arm is compared with the reference.
        is_reference: whether an arm can be the reference.
        preference: sort key of references, of which the first is taken.
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
        return tuple(arm[axis] for axis in arm if axis not in self.varies and axis != "arm")

    def _pairs_within(self, arms: list[Arm]) -> list[tuple[Arm, Arm]]:
        references = [arm for arm in arms if self.is_reference(arm)]
        if not references:
            return []
        reference = min(references, key=self.preference)
        return [(arm, reference) for arm in arms if self.is_arm(arm) and arm != reference]


def contrasts_of(axes: Iterable[str], references: Mapping[str, Level]) -> list[Contrast]:
    """Every contrast of a study with these axes, in the order of the table.

    Three contrasts vary more than one axis; each further axis has one of its own.

    Args:
        axes: those that arms have.
        references: levels that the others are compared with, by axis, where they are not the
            axis's own choice.
    """

    def nearest(arm: Arm) -> Any:
        return arm.beta != references.get("beta"), distance_to_one(arm.beta)

    further = [name for name in sorted(axes, key=_axis_rank) if name not in _NO_CONTRAST]
    return [
        Contrast("kl_off", frozenset({"kl", "beta"}), lambda arm: not arm.kl, _with_kl, nearest),
        _axis_contrast("beta", references),
        _axis_contrast("latent_dim", references),
        Contrast("point", frozenset({"posterior", "kl", "beta"}), _is_point, _variational, nearest),
        *(_axis_contrast(name, references) for name in further),
    ]


def _with_kl(arm: Arm) -> bool:
    return arm.kl


def _is_point(arm: Arm) -> bool:
    return arm.posterior == "point"


def _variational(arm: Arm) -> bool:
    return arm.kl and arm.posterior == "gaussian"


_NO_CONTRAST = {"dataset", "likelihood", "latent_dim", "kl", "beta", *REPLICATES, "arm"}
"""Axes that have no contrast of their own: scores of different likelihoods are not comparable."""

_LATE = ("kl_warmup_epochs", "importance_samples", "train_examples")


def _axis_rank(name: str) -> tuple[bool, int, tuple[int, int, str]]:
    late = _LATE.index(name) if name in _LATE else -1
    return is_setting(name), late, axis_order(name)


@dataclass(frozen=True)
class _AxisContrast(Contrast):
    """Levels of one axis against its reference level, all other axes equal."""

    wanted: Level = None

    def _pairs_within(self, arms: list[Arm]) -> list[tuple[Arm, Arm]]:
        known = {arm[self.name]: arm for arm in arms if self.is_arm(arm)}
        if len(known) < 2:
            return []
        reference = axis_of(self.name).reference(known, self.wanted)
        return [(arm, known[reference]) for level, arm in known.items() if level != reference]


def _axis_contrast(name: str, references: Mapping[str, Level]) -> Contrast:
    def counts(arm: Arm) -> bool:
        return name == "latent_dim" or not (_is_point(arm) and name == "posterior")

    return _AxisContrast(name, frozenset({name}), counts, counts, wanted=references.get(name))


def paired_arms(
    arms: Iterable[Arm], references: Mapping[str, Level] | None = None
) -> list[tuple[str, Arm, Arm]]:
    """Contrast, arm and reference of all contrasts, by data set, likelihood, contrast and arm."""
    known = list(arms)
    contrasts = contrasts_of({axis for arm in known for axis in arm}, references or {})
    rank = {contrast.name: i for i, contrast in enumerate(contrasts)}
    pairs = [(c.name, arm, reference) for c in contrasts for arm, reference in c.pairs(known)]
    return sorted(
        pairs, key=lambda item: (item[1].dataset, item[1].likelihood, rank[item[0]], item[1])
    )
