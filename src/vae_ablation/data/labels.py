"""Labels as files hold them, brought to classes 0 … C − 1 and their names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vae_ablation.common.errors import UserError

ALLOWED = (
    "whole numbers from 0, true and false, or text; −1, NaN or empty text for an example without a "
    "label"
)
MISSING_TEXT = ("", "nan", "NaN", "<NA>")
"""Texts for a missing value; the others are what NumPy and pandas make of one."""


def read_labels(values: NDArray[Any], where: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Classes of labels, numbered from 0 in the order of their values, and their names.

    Args:
        values: [n] whole numbers of any type, floats that are whole, booleans or text; −1, NaN and
            empty text are no label.
        where: file and array to name in errors.

    Returns:
        [n] class of each example, −1 where it has none, and the name of each class as in the file.

    Raises:
        UserError: the values are of another kind.
    """
    if values.dtype.kind not in "biufUS":
        raise UserError(f"{where} is of type {values.dtype}; allowed: {ALLOWED}.")
    if values.dtype.kind in "US":
        values = decoded(values, where)
        missing = np.isin(values, MISSING_TEXT)
    else:
        missing = missing_numbers(values, where)
    found, codes = np.unique(values[~missing], return_inverse=True)
    labels = np.full(len(values), -1, np.int64)
    labels[~missing] = codes
    return labels, tuple(label_text(value) for value in found.tolist())


def label_text(value: Any) -> str:
    """The name of a label: its text, and of a whole float that of the whole number."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def decoded(values: NDArray[Any], where: str) -> NDArray[Any]:
    """Text of an array of bytes; other arrays as they are.

    Raises:
        UserError: the bytes are not UTF-8.
    """
    if values.dtype.kind != "S":
        return values
    try:
        return np.char.decode(values, "utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{where} holds bytes that are not UTF-8; allowed: text.") from None


def numbers_of(values: Any) -> NDArray[Any] | None:
    """A column of numbers, missing ones as NaN; None where it holds something else."""
    column = pd.Series(values)
    kind = column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else column
    if pd.api.types.is_bool_dtype(kind) or not pd.api.types.is_numeric_dtype(kind):
        return None
    missing = column.isna().any()
    return column.astype(float if missing else kind.dtype).to_numpy(float if missing else None)


def missing_numbers(values: NDArray[Any], where: str) -> NDArray[np.bool_]:
    """[n] true where a number stands for no label: −1 or NaN.

    Raises:
        UserError: a value is negative (but −1), not whole or infinite, or −1 and 1 are the only
            ones, so that −1 looks like a class.
    """
    if values.dtype.kind in "bu":
        return np.zeros(len(values), bool)
    missing = np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), bool)
    rest = values[~missing]
    wrong = ~np.isfinite(rest) | (rest != np.floor(rest)) | (rest < -1)
    if wrong.any():
        raise UserError(f"{where} holds {rest[wrong][0]}; allowed: {ALLOWED}.")
    if set(np.unique(rest).tolist()) == {-1, 1}:
        raise UserError(
            f"{where} holds −1 and 1 alone, and −1 stands for an example without a label; allowed "
            "for two classes: 0 and 1."
        )
    return missing | (values == -1)


def present_classes(
    labels: NDArray[np.int64], names: tuple[str, ...]
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Labels and names of the classes that occur, numbered from 0 without gaps.

    Args:
        labels: [n] class of each example, −1 where it has none.
        names: name of each class; empty where classes are called by their numbers.
    """
    classes = np.unique(labels[labels >= 0])
    kept = tuple(names[code] if names else str(code) for code in classes.tolist())
    renumbered = np.where(labels < 0, -1, np.searchsorted(classes, labels)).astype(np.int64)
    return renumbered, kept


def bare(names: tuple[str, ...]) -> bool:
    """Whether classes are called by their own numbers, which need not be stored."""
    return names == tuple(map(str, range(len(names))))


def all_distinct(labels: NDArray[np.int64]) -> bool:
    """Whether each of two labelled examples or more has a class of its own."""
    known = labels[labels >= 0]
    return len(known) > 1 and len(np.unique(known)) == len(known)
