"""Applications of trained models: their interface, and their results."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from vae_ablation.common.errors import UserError
from vae_ablation.common.isolation import error_text, unforeseen
from vae_ablation.data.base import Dataset
from vae_ablation.store.trained import TrainedRun

log = logging.getLogger(__name__)

TRUTH = "truth"
"""Method of rows about the truth itself: effect_p, the p of there being anything to predict."""
PERMUTATIONS = 199
"""Permutations behind a p, whose smallest value is 1 / 200."""


def permutation_p(values: NDArray[np.floating]) -> float:
    """One-sided p of the first value among all, the permuted ones behind it.

    Values are compared with a tolerance, since sums of the same numbers in another order differ in
    their last digits.
    """
    return float((values >= values[0] - 1e-5 * np.abs(values[0])).mean())


@dataclass(frozen=True)
class Applied:
    """Results of one application to one run.

    Attributes:
        scores: rows of applications.csv without the run's axes: subject (what the row is about),
            method ("vae", or the name of a baseline), metric and value.
        arrays: what figures show, by name.
        reason: why there is nothing to score, in words that follow the application's name; empty
            where there is something, and where nothing was to be expected of the run.
    """

    scores: list[dict[str, Any]] = field(default_factory=list)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    reason: str = ""

    def add(self, subject: str, method: str, metric: str, value: float | None) -> None:
        """One more score; an undefined value leaves no row."""
        if value is not None and np.isfinite(value):
            row = {"subject": subject, "method": method, "metric": metric, "value": float(value)}
            self.scores.append(row)

    def add_null(
        self, subject: str, method: str, metric: str, values: NDArray[np.floating]
    ) -> None:
        """A score's mean and 95th percentile under permutation, and its p.

        Args:
            subject: as in `add`.
            method: as in `add`.
            metric: as in `add`; the rows are <metric>_null, <metric>_null_95 and <metric>_p.
            values: the score, and behind it the permuted ones, [1 + permutations].
        """
        self.add(subject, method, f"{metric}_null", float(values[1:].mean()))
        self.add(subject, method, f"{metric}_null_95", float(np.quantile(values[1:], 0.95)))
        self.add(subject, method, f"{metric}_p", permutation_p(values))


class Application(ABC):
    """One thing that a trained model is for. A subclass in a module of this package is found.

    Attributes:
        name: the key of its block in the config's applications section.
    """

    name: ClassVar[str]

    @abstractmethod
    def missing(self, dataset: Dataset) -> str | None:
        """Reason why it cannot be applied to these data, to follow the data's name, or None."""

    def absent(self, dataset: Dataset, settings: Mapping[str, Any]) -> str | None:
        """The same of data that lack what the settings name."""
        return None

    @abstractmethod
    def apply(
        self, model: TrainedRun, dataset: Dataset, settings: Mapping[str, Any], seed: int
    ) -> Applied:
        """Apply a trained model.

        Args:
            model: the run.
            dataset: the prepared dataset that it was trained on.
            settings: the application's block of the config.
            seed: of the evaluation.
        """

    def attempt(
        self, model: TrainedRun, dataset: Dataset, settings: Mapping[str, Any], seed: int
    ) -> Applied:
        """`apply`, whose errors are the reason why there is nothing to score.

        So they take no other application and no other run along. Faults of the machine are raised,
        since another attempt may succeed.
        """
        try:
            applied = self.apply(model, dataset, settings, seed)
        except Exception as error:
            if not isinstance(error, UserError) and not unforeseen(error):
                raise
            log.exception("%s of %s ended in an error", self.name, model.run.path)
            return Applied(reason=f"ended in an error ({error_text(error).rstrip('.')})")
        if applied.reason:
            log.info("%s of %s: %s", self.name, model.run.path, applied.reason)
        return applied
