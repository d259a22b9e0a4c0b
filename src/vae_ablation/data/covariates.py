"""Covariates: columns of the user's that encoder and decoder can be conditioned on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_ablation.common.errors import UserError
from vae_ablation.data.labels import MISSING_TEXT, label_text

MOST_CATEGORIES = 1000


def covariate_columns(options: Mapping[str, Any]) -> dict[str, str]:
    """Columns that a dataset's covariates are in, by the option that names them."""
    covariates = options.get("covariates") or {}
    return {
        f"covariates.{name}": name if one["column"] is None else one["column"]
        for name, one in covariates.items()
    }


@dataclass(frozen=True)
class Covariate:
    """One covariate as both networks see it.

    Attributes:
        values: [n, size] float32: one-hot categories, or one standardised number; 0 throughout
            where it is missing.
        categories: their names; empty where it is continuous.
    """

    values: NDArray[np.float32]
    categories: tuple[str, ...] = ()

    @classmethod
    def of(cls, kind: str, column: NDArray[Any], train: NDArray[np.bool_], where: str) -> Covariate:
        """A covariate from its column.

        Args:
            kind: categorical or continuous.
            column: [n] as in the file.
            train: [n] true in the train split, whose mean and spread standardise a number.
            where: name of the covariate for errors.
        """
        return (
            _categorical(column, where)
            if kind == "categorical"
            else _continuous(column, train, where)
        )


def _categorical(column: NDArray[Any], where: str) -> Covariate:
    texts = np.array([label_text(value) for value in column.tolist()])
    names = np.unique(texts[~np.isin(texts, MISSING_TEXT)])
    if not 2 <= len(names) <= MOST_CATEGORIES:
        raise UserError(
            f"{where} has {len(names)} categories; allowed: 2 to {MOST_CATEGORIES}, or kind: "
            "continuous."
        )
    return Covariate((texts[:, None] == names).astype(np.float32), tuple(names.tolist()))


def _continuous(column: NDArray[Any], train: NDArray[np.bool_], where: str) -> Covariate:
    numbers = np.array([_number(value, where) for value in column.tolist()])
    known = numbers[train & ~np.isnan(numbers)]
    if np.isinf(numbers).any() or not len(known) or known.std() == 0:
        wrong = "an infinite value" if np.isinf(numbers).any() else "no two numbers in train"
        raise UserError(f"{where} has {wrong}; allowed: finite numbers that differ.")
    standard = (numbers - known.mean()) / known.std()
    return Covariate(np.nan_to_num(standard, nan=0.0)[:, None].astype(np.float32))


def _number(value: Any, where: str) -> float:
    if value is None or (isinstance(value, str) and value.strip() in MISSING_TEXT):
        return float("nan")
    try:
        return float(value)
    except (TypeError, ValueError):
        raise UserError(
            f"{where} holds {str(value)[:40]!r}; allowed: numbers, or kind: categorical."
        ) from None
