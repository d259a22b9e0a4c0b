"""Families of metrics: functions of what an evaluation shares, registered with their columns.

To add a metric is to write a module of `evaluation/families` with a function under `@family`, and
to register what is said of its columns (`study.metrics.register`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Columns = dict[str, Any]
"""Columns of a run by name. An array [n] has a value for each test example: the column is its mean,
and examples.npz holds the array. What is undefined is absent, None or NaN."""


@dataclass(frozen=True)
class Family:
    """Columns that are computed together.

    Attributes:
        name: its name in the reason of a run for which it could not be computed.
        columns: every column that it may give.
        compute: from a `RunContext`, or a `CodeContext` where `codes` is true, to columns.
        codes: it asks for codes alone, not for a decoder, and so controls have its columns too.
        essential: a run without it counts as failed.
    """

    name: str
    columns: frozenset[str]
    compute: Callable[[Any], Columns]
    codes: bool = False
    essential: bool = False

    def __call__(self, context: Any) -> Columns:
        """Columns of one run or control.

        Raises:
            ValueError: a column was not declared.
        """
        columns = self.compute(context)
        if unknown := sorted(columns.keys() - self.columns):
            raise ValueError(f"family {self.name!r} gives {', '.join(unknown)}, not declared")
        return columns


FAMILIES: dict[str, Family] = {}
"""Every registered family by name."""


def family(
    name: str, *columns: str, codes: bool = False, essential: bool = False
) -> Callable[[Callable[[Any], Columns]], Callable[[Any], Columns]]:
    """Register the function below as a family; see `Family`.

    Raises:
        ValueError: another family has its name or gives one of its columns.
    """

    def register(compute: Callable[[Any], Columns]) -> Callable[[Any], Columns]:
        for other in FAMILIES.values():
            if shared := sorted(other.columns & set(columns)):
                raise ValueError(f"families {other.name!r} and {name!r} both give {shared[0]}")
        if name in FAMILIES:
            raise ValueError(f"there is a family {name!r} already")
        FAMILIES[name] = Family(name, frozenset(columns), compute, codes, essential)
        return compute

    return register


def means(columns: Mapping[str, Any]) -> Columns:
    """Columns with arrays replaced by their means, over the examples that have a value."""
    return {
        name: float(np.nanmean(value)) if isinstance(value, np.ndarray) else value
        for name, value in columns.items()
    }
