"""Questions that a study asks: arms that differ in one axis, set against a reference. No torch."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vae_ablation.study.axes import (
    REPLICATES,
    Level,
    axis_of,
    axis_order,
    distance_to_one,
    is_setting,
    level_order,
    level_text,
)


class Arm(Mapping[str, Level]):
    """A combination of levels that seeds replicate: a frozen mapping of axis → level.

    Its axes are attributes too. `arm`, where there is one, is its name and no axis.
    """

    def __init__(self, levels: Mapping[str, Level]) -> None:
        self.__dict__.update(levels)

    def __getattr__(self, axis: str) -> Level:
        raise AttributeError(f"an arm of these runs has no axis {axis}")

    def __getitem__(self, axis: str) -> Level:
        return self.__dict__[axis]

    def __iter__(self) -> Any:
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

    @property
    def name(self) -> str:
        """The name for people; of arms without one, nothing."""
        return str(self.__dict__.get("arm", ""))


Pair = tuple[Arm, Arm]
"""An arm and its reference."""

ALPHA = 0.05
"""Level of tests; intervals cover 1 − α."""
POWER = 0.8
"""Chance to find a difference, for which seeds are planned."""

APART = ("dataset",)
"""Axes that no answer pools over: what is measured is another thing on each of their levels."""


@dataclass(frozen=True)
class Question:
    """A question to a grid: arms set against one reference each, at equal levels of other axes.

    Attributes:
        name: as tables call it.
        varies: axes in which an arm may differ from its reference.
        is_arm: whether an arm is compared with the reference.
        is_reference: whether an arm can be the reference.
        preference: sort key of references, of which the first is taken.
        axis: the axis whose levels name arms and references.
        label: name of the compared level where the axis does not tell it.
        references: levels of the axes that other questions hold, by axis.
    """

    name: str
    varies: frozenset[str]
    is_arm: Callable[[Arm], bool] = lambda arm: True
    is_reference: Callable[[Arm], bool] = lambda arm: True
    preference: Callable[[Arm], Any] = lambda arm: arm
    axis: str = ""
    label: str = ""
    references: Mapping[str, Level] = field(default_factory=dict)

    def pairs(self, arms: Iterable[Arm]) -> list[Pair]:
        """Arms with their references, in order."""
        groups: dict[tuple[Any, ...], list[Arm]] = defaultdict(list)
        for arm in arms:
            groups[self.setting(arm)].append(arm)
        return sorted(pair for members in groups.values() for pair in self._pairs_within(members))

    def setting(self, arm: Arm) -> tuple[Any, ...]:
        """Levels that an arm shares with its reference."""
        return tuple(arm[axis] for axis in arm if axis not in self.varies and axis != "arm")

    def _pairs_within(self, arms: list[Arm]) -> list[Pair]:
        references = [arm for arm in arms if self.is_reference(arm)]
        if not references:
            return []
        reference = min(references, key=self.preference)
        return [(arm, reference) for arm in arms if self.is_arm(arm) and arm != reference]

    def level(self, arm: Arm) -> str:
        """Level of a compared arm, as text."""
        return self.label or level_text(arm[self.axis])

    def reference_level(self, arm: Arm) -> str:
        """Level of a reference, as text."""
        return level_text(arm[self.axis])

    def answering(self, pairs: Sequence[Pair]) -> dict[tuple[Any, ...], list[int]]:
        """Pairs that the pooled answers rest on: a list for each level and level of `APART`.

        They are at the reference level of each axis that other questions hold (`Axis.held`),
        where there is a pair, and share the reference that most pairs of the level have.

        Returns:
            Places among the pairs, by the levels of `APART` and the compared level.
        """
        groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
        for i in self._at_references(pairs):
            arm = pairs[i][0]
            groups[*(arm.get(axis) for axis in APART), self.level(arm)].append(i)
        return {key: self._of_one_reference(pairs, group) for key, group in groups.items()}

    def _at_references(self, pairs: Sequence[Pair]) -> list[int]:
        kept = list(range(len(pairs)))
        for axis in self.held(pairs):
            levels = {pairs[i][1][axis] for i in kept}
            wanted = axis_of(axis).reference(levels, self.references.get(axis))
            kept = [i for i in kept if pairs[i][1][axis] == wanted]
        return kept

    def held(self, pairs: Sequence[Pair]) -> list[str]:
        """Axes of which pooled answers are at the reference level alone."""
        axes = pairs[0][0] if pairs else ()
        held = [axis for axis in axes if axis_of(axis).held and axis not in self.varies]
        # Without the KL term there is no β: whether there is one is settled first.
        return sorted(held, key=lambda axis: axis == "beta")

    def _of_one_reference(self, pairs: Sequence[Pair], group: list[int]) -> list[int]:
        levels = [self.reference_level(pairs[i][1]) for i in group]
        most, _ = Counter(levels).most_common(1)[0]
        return [i for i, level in zip(group, levels, strict=True) if level == most]


@dataclass(frozen=True)
class _AxisQuestion(Question):
    """Levels of one axis against its reference level, all other axes equal."""

    def _pairs_within(self, arms: list[Arm]) -> list[Pair]:
        known = {arm[self.axis]: arm for arm in arms if self.is_arm(arm)}
        if len(known) < 2:
            return []
        reference = axis_of(self.axis).reference(known, self.references.get(self.axis))
        return [(arm, known[reference]) for level, arm in known.items() if level != reference]


@dataclass(frozen=True)
class _LeastBeta(Question):
    """No KL term against the smallest β, where that is not the reference of `kl_off`.

    Attributes:
        usual: sort key of references of `kl_off`.
    """

    usual: Callable[[Arm], Any] = lambda arm: arm

    def _pairs_within(self, arms: list[Arm]) -> list[Pair]:
        references = [arm for arm in arms if self.is_reference(arm)]
        usual = {min(references, key=key)["beta"] for key in (self.usual, self.preference)
                 if references}  # fmt: skip
        return super()._pairs_within(arms) if len(usual) > 1 else []


def questions_of(axes: Collection[str], references: Mapping[str, Level]) -> list[Question]:
    """Every question of a study with these axes, in the order of the tables.

    Three questions vary more than one axis: `kl_off` (against the reference β), `least_beta` (no KL
    term against the smallest β) and `point`; each axis has one of its own, but the dataset and the
    likelihood, on whose levels scores are not comparable, and seeds.

    Args:
        axes: those that arms have.
        references: levels that the others are compared with, by axis, where they are not the
            axis's own choice.
    """

    def nearest(arm: Arm) -> Any:
        return arm["beta"] != references.get("beta"), distance_to_one(arm["beta"])

    own = [name for name in sorted(axes, key=_axis_rank) if name not in _NO_QUESTION]
    found = [_axis_question(name, references) for name in own]
    if {"kl", "beta"} <= {*axes}:
        off = Question(
            "kl_off", frozenset({"kl", "beta"}), _without_kl, _with_kl, nearest, "beta", "off",
            references,
        )  # fmt: skip
        least = _LeastBeta(
            "least_beta", frozenset({"kl", "beta"}), _without_kl, _with_kl,
            lambda arm: arm["beta"], "beta", "off", references, nearest,
        )  # fmt: skip
        found = [off, least, *found]
    if {"kl", "beta", "posterior"} <= {*axes}:
        point = Question(
            "point", frozenset({"posterior", "kl", "beta"}), _is_point, _variational, nearest,
            "beta", "point", references,
        )  # fmt: skip
        found.insert(1, point)
    return found


def axis_questions(axes: Collection[str], references: Mapping[str, Level]) -> list[Question]:
    """One question for each axis of a table of runs that no study of this package made."""
    return [_axis_question(name, references) for name in axes if name not in APART]


def _with_kl(arm: Arm) -> bool:
    return bool(arm["kl"])


def _without_kl(arm: Arm) -> bool:
    return not arm["kl"]


def _is_point(arm: Arm) -> bool:
    return arm.get("posterior") == "point"


def _variational(arm: Arm) -> bool:
    return bool(arm["kl"]) and arm["posterior"] == "gaussian"


_NO_QUESTION = {"dataset", "likelihood", "kl", *REPLICATES, "arm"}
_FIRST = ("beta", "latent_dim")
_LATE = ("kl_warmup_epochs", "importance_samples", "train_examples")


def _axis_rank(name: str) -> tuple[bool, int, int, tuple[int, int, str]]:
    first = _FIRST.index(name) if name in _FIRST else len(_FIRST)
    late = _LATE.index(name) if name in _LATE else -1
    return is_setting(name), first, late, axis_order(name)


def _axis_question(name: str, references: Mapping[str, Level]) -> Question:
    def counts(arm: Arm) -> bool:
        return name != "posterior" or not _is_point(arm)

    varies = frozenset({name})
    return _AxisQuestion(name, varies, counts, counts, axis=name, references=references)
