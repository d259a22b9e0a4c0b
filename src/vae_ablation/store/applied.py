"""Results of an application of a trained model, as they are stored with its run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
            where there is something.
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
