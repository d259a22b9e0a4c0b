"""Splits: the user's own, drawn by example, or drawn by group so that no group is in two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_ablation.common.errors import UserError
from vae_ablation.data.codes import HELD_OUT, SPLIT_OPTIONS, SPLITS, TRAIN, VALIDATION
from vae_ablation.data.labels import MISSING_TEXT, decoded, label_text

SPLIT_NAMES = {**SPLITS, "val": VALIDATION, "valid": VALIDATION}
_ALLOWED = "train, validation (or val) and test, and an empty value for an example in no split"
_SHOWN = 5


def read_split(values: NDArray[Any], where: str) -> NDArray[np.int8]:
    """The split of each example as the user has it, [n]; HELD_OUT where the value is missing.

    Args:
        values: [n] text, whatever its case.
        where: file and column to name in errors.

    Raises:
        UserError: a value names no split, or none is train.
    """
    texts = np.array([str(value).strip() for value in _as_text(values, where)])
    known = {
        text: HELD_OUT if text in MISSING_TEXT else SPLIT_NAMES.get(text.lower())
        for text in np.unique(texts).tolist()
    }
    unknown = [text for text, code in known.items() if code is None]
    if unknown:
        raise UserError(f"{where} (split) holds {_few(unknown)}; allowed: {_ALLOWED}.")
    split = np.array([known[text] for text in texts.tolist()], np.int8)
    if not (split == TRAIN).any():
        there = [name for name, code in SPLITS.items() if (split == code).any()]
        raise UserError(
            f"{where} (split) puts no example into train (it has {', '.join(there) or 'none'}); "
            f"allowed: {_ALLOWED}."
        )
    return split


def read_groups(values: NDArray[Any], where: str) -> NDArray[np.int64]:
    """The group of each example, [n], numbered from 0.

    Args:
        values: [n] text or whole numbers.
        where: file and column to name in errors.

    Raises:
        UserError: an example has no group.
    """
    texts = np.array([label_text(value) for value in _as_text(values, where, "group")])
    missing = np.isin(texts, MISSING_TEXT)
    if missing.any():
        raise UserError(
            f"{where} (group) has {int(missing.sum())} missing values, the first in example "
            f"{int(missing.argmax())} (counted from 0); allowed: a group for every example."
        )
    return np.unique(texts, return_inverse=True)[1].astype(np.int64)


def split_columns(options: Mapping[str, Any]) -> dict[str, str]:
    """Names of the columns that the options split and group name, by option."""
    return {key: options[key] for key in sorted(SPLIT_OPTIONS) if options.get(key) is not None}


def columns_of_splits(
    columns: Mapping[str, NDArray[Any]], names: Mapping[str, str], path: Path
) -> dict[str, Any]:
    """Fields `split` and `groups` of RawData from columns of the user's file.

    Args:
        columns: values of the columns that the options split and group name, by option.
        names: name of each column, by option.
        path: of the file.
    """
    arrays: dict[str, Any] = {}
    if "split" in columns:
        arrays["split"] = read_split(columns["split"], f"{path}: {names['split']}")
    if "group" in columns:
        arrays["groups"] = read_groups(columns["group"], f"{path}: {names['group']}")
    return arrays


def _as_text(values: NDArray[Any], where: str, option: str = "split") -> list[Any]:
    """Values of a column, decoded.

    Raises:
        UserError: they are not one text or whole number for each example.
    """
    if values.ndim != 1:
        raise UserError(
            f"{where} ({option}) has shape {values.shape}; allowed: one value for each example."
        )
    kinds = "SUO" if option == "split" else "SUOiufb"
    if values.dtype.kind not in kinds:
        wanted = _ALLOWED if option == "split" else "text or whole numbers"
        raise UserError(f"{where} ({option}) is of type {values.dtype}; allowed: {wanted}.")
    listed: list[Any] = decoded(values, f"{where} ({option})").tolist()
    return ["" if value is None else value for value in listed]


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown


def stratified_share(
    strata: NDArray[np.int64], count: int, random: np.random.Generator
) -> NDArray[np.bool_]:
    """[n] true for `count` examples drawn so that every stratum gives its share.

    Shares are rounded by largest remainder, so that exactly `count` are drawn.
    """
    values, sizes = np.unique(strata, return_counts=True)
    quota = sizes * count / len(strata)
    taken = np.floor(quota).astype(int)
    order = np.argsort(-(quota - taken), kind="stable")
    taken[order[: count - taken.sum()]] += 1
    chosen = np.zeros(len(strata), dtype=bool)
    for value, size in zip(values, taken, strict=True):
        chosen[random.permutation(np.flatnonzero(strata == value))[:size]] = True
    return chosen


def grouped_share(
    groups: NDArray[np.int64],
    strata: NDArray[np.int64],
    count: int,
    random: np.random.Generator,
    most: int,
) -> NDArray[np.bool_]:
    """[n] true for the examples of whole groups, about `count`, stratified where it can be.

    Groups are drawn in random order; one is taken where it brings the number of examples of each
    stratum nearer to its share (least squares), until none does. One is always taken.

    Args:
        groups: [n] group of each example.
        strata: [n] label of each example.
        count: wanted number of examples.
        random: the stream from which the order is drawn.
        most: largest number of groups that may be taken.
    """
    names, group = np.unique(groups, return_inverse=True)
    kinds, stratum = np.unique(strata, return_inverse=True)
    table = np.zeros((len(names), len(kinds)))
    np.add.at(table, (group, stratum), 1)
    wanted = table.sum(0) * count / len(groups)
    order = random.permutation(len(names))
    taken = np.zeros(len(names), bool)
    while taken.sum() < most:
        gap = wanted - table[taken].sum(0)
        # a label's share weighs as its own spread, so that rare labels count too
        gains = ((gap**2 - (gap - table) ** 2) / np.maximum(wanted, 1)).sum(1)
        free = [one for one in order if not taken[one]]
        better = next((one for one in free if gains[one] > 0), None)
        if better is None and taken.any():
            break
        taken[max(free, key=lambda one: gains[one]) if better is None else better] = True
    return taken[group]


def drawn_split(
    labels: NDArray[np.int64],
    groups: NDArray[np.int64] | None,
    given: NDArray[np.int8],
    shares: dict[str, float],
    streams: dict[str, np.random.Generator],
    most: int,
) -> NDArray[np.int8]:
    """A split in which those of `shares` are drawn from the examples that `given` has in train.

    Args:
        labels: [n] the strata.
        groups: [n] group of each example, or None; no group is in two splits.
        given: [n] the split before; TRAIN where it is to be drawn.
        shares: share of each split that is drawn, in this order, each of what is left.
        streams: random stream of each split.
        most: largest number of examples in each split that is drawn; of groups, those above it are
            in no split.
    """
    split = given.copy()
    for place, (name, share) in enumerate(shares.items()):
        rest = np.flatnonzero(split == TRAIN)
        count = min(most, max(1, round(share * len(rest))))
        if groups is None:
            chosen = stratified_share(labels[rest], count, streams[name])
        else:
            spare = len(np.unique(groups[rest])) - (len(shares) - place)
            chosen = grouped_share(groups[rest], labels[rest], count, streams[name], spare)
        rows = rest[chosen]
        split[rows] = SPLITS[name]
        if len(rows) > most:
            kept = stratified_share(labels[rows], most, streams[name])
            split[rows[~kept]] = HELD_OUT
    return split


def check_groups(
    groups: NDArray[np.int64], split: NDArray[np.int8], drawn: Sequence[str], what: str
) -> None:
    """Refuse a split of the user's in which a group is in two, and too few groups to draw one.

    Args:
        groups: [n] group of each example.
        split: [n] split as given, before any is drawn.
        drawn: splits that are to be drawn from train.
        what: dataset and option to name.
    """
    count = len(np.unique(groups[split == TRAIN]))
    if count < len(drawn) + 1:
        raise UserError(
            f"{what} has {count} group{'s' if count != 1 else ''} from which train and "
            f"{' and '.join(drawn)} are to be drawn; allowed: at least {len(drawn) + 1}, since no "
            "group is in two splits."
        )
    pairs = np.unique(np.stack([groups, split])[:, split != HELD_OUT], axis=1)
    number = int((np.unique(pairs[0], return_counts=True)[1] > 1).sum())
    if number:
        raise UserError(
            f"{what} and split contradict each other: {number} "
            f"group{' is' if number == 1 else 's are'} in more than one split; allowed: a split "
            "in which each group is in one, or group null."
        )
