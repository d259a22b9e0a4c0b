"""Looks: the numbers of seeds at which the results of a study are looked at. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vae_ablation.common.errors import UserError


def even_looks(first: int, most: int, count: int) -> list[int]:
    """So many numbers of seeds from first to most, at equal distances, rounded down.

    Args:
        first: seeds at the first look.
        most: seeds at the last one, more than first.
        count: number of looks, from 2 to most − first + 1.
    """
    return [first + place * (most - first) // (count - 1) for place in range(count)]


def check_looks(where: str, seeds: Mapping[str, Any], looks: Sequence[int]) -> list[int]:
    """Numbers of seeds of each look, in order.

    Args:
        where: the config file, named in errors.
        seeds: the config's section `seeds`.
        looks: `statistics.looks`, which `seeds` stands for; empty, or the same.

    Raises:
        UserError: they contradict one another.
    """
    first, most, wanted = seeds["first"], seeds["most"], seeds["looks"]
    if most <= first:
        raise UserError(
            f"{where}: seeds.most is {most}, and seeds.first {first}; allowed: more than first."
        )
    if isinstance(wanted, int):
        if wanted > most - first + 1:
            raise UserError(
                f"{where}: seeds.looks is {wanted}; allowed: at most {most - first + 1} looks from "
                f"{first} to {most} seeds."
            )
        wanted = even_looks(first, most, wanted)
    if [wanted[0], wanted[-1]] != [first, most] or list(wanted) != sorted(wanted):
        raise UserError(
            f"{where}: seeds.looks is {wanted}; allowed: increasing numbers of seeds from first "
            f"({first}) to most ({most}), or the number of looks."
        )
    if looks and sorted(looks) != wanted:
        raise UserError(
            f"{where}: statistics.looks is {list(looks)}, and seeds.looks {wanted}; allowed: one "
            "of the two."
        )
    return list(wanted)
