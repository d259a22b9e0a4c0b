"""Numbers of the splits and names of conditions, which every module on data knows."""

from __future__ import annotations

TRAIN, VALIDATION, TEST, HELD_OUT = 0, 1, 2, 3
SPLITS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
"""Splits that every dataset has. HELD_OUT examples are in none of them: perturbations that no run
may see, and that no run's columns are about."""

SPLIT_OPTIONS = frozenset({"split", "group"})
"""Keys of a dataset's section that name a column (of an .npz an array) of the user's splits."""

SEPARATOR = "+"
"""Between the names of several conditions, as in `batch+age`."""


def parts_of(condition: str) -> list[str]:
    """Names in a condition: label, batch, covariates; empty for none."""
    return [] if condition == "none" else condition.split(SEPARATOR)
