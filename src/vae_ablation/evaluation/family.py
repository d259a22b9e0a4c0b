"""Families of metrics: functions of what an evaluation shares, registered with their columns.

To add a metric is to write a module of `evaluation/families` with a function under `@family`, and
to register what is said of its columns (`study.metrics.register`); from outside the package, a
registered `MetricFamily`, which says both.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from vae_ablation.common.registry import PartError, Registry
from vae_ablation.study.metrics import Metric

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
        """Columns of one run or control, numbers as Python's own.

        Raises:
            ValueError: it gives no mapping, a column that was not declared, or a value that none
                can have.
        """
        columns = self.compute(context)
        if not isinstance(columns, Mapping):
            raise ValueError(
                f"compute gives {type(columns).__name__}; allowed: a mapping of columns"
            )
        if unknown := sorted(columns.keys() - self.columns):
            raise ValueError(f"family {self.name!r} gives {', '.join(unknown)}, not declared")
        return {name: _cell(name, value) for name, value in columns.items()}


def _made(cls: type[MetricFamily]) -> Family:
    """The entry of a class; it names its columns by their metrics."""
    columns = frozenset(metric.name for metric in cls.metrics)
    return _checked(Family(cls.name, columns, cls().compute, cls.codes, cls.essential))


FAMILIES: Registry[Family] = Registry("metric family", _made)
"""Every registered family by name."""


class MetricFamily(ABC):
    """Metrics that are computed together: a family as a class, with what is said of its columns.

    Attributes:
        name: its name in the reason of a run for which it could not be computed.
        metrics: the columns that it may give; outside the package, written out in the class.
        codes: it asks for codes alone, not for a decoder, and so controls have its columns too.
        essential: a run without it counts as failed.
    """

    registry: ClassVar[Registry[Family]] = FAMILIES
    name: ClassVar[str]
    metrics: ClassVar[Sequence[Metric]] = ()
    codes: ClassVar[bool] = False
    essential: ClassVar[bool] = False

    @abstractmethod
    def compute(self, context: Any) -> Columns:
        """Columns of a run from its `RunContext`, or from a `CodeContext` where codes is true."""


def family(
    name: str, *columns: str, codes: bool = False, essential: bool = False
) -> Callable[[Callable[[Any], Columns]], Callable[[Any], Columns]]:
    """Register the function below as a family; see `Family`.

    Raises:
        PartError: another family has its name or gives one of its columns.
    """

    def register(compute: Callable[[Any], Columns]) -> Callable[[Any], Columns]:
        made = Family(name, frozenset(columns), compute, codes, essential)
        FAMILIES.put(name, _checked(made), compute.__module__)
        return compute

    return register


def _checked(made: Family) -> Family:
    """A family whose columns no other one gives."""
    for other in FAMILIES.values():
        shared = sorted(other.columns & made.columns)
        if shared and other.name != made.name:
            raise PartError(f"families {other.name!r} and {made.name!r} both give {shared[0]}")
    return made


def _cell(name: str, value: Any) -> Any:
    """A value of a column as it can be stored."""
    if isinstance(value, np.generic):
        value = value.item()
    vector = isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "fiub"
    few = isinstance(value, list) and all(isinstance(one, (int, float)) for one in value)
    if value is None or isinstance(value, (int, float, str)) or vector or few:
        return value
    shape = f" of shape {tuple(value.shape)} and {value.dtype}" if hasattr(value, "dtype") else ""
    raise ValueError(
        f"{name} is {type(value).__name__}{shape}; allowed: a number, or an array [n] of numbers"
    )


def means(columns: Mapping[str, Any]) -> Columns:
    """Columns with arrays replaced by their means, over the examples that have a value."""
    return {name: _mean(value) for name, value in columns.items()}


def _mean(value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    return None if np.isnan(value).all() else float(np.nanmean(value))


def defined(columns: Mapping[str, Any]) -> Columns:
    """The same without undefined values: they are absent, never NaN."""
    return {
        name: value
        for name, value in means(columns).items()
        if value is not None and not (isinstance(value, float) and not math.isfinite(value))
    }
