"""Datasets from which splitting, selection or their own shape leaves next to nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from support import make_dataset
from vae_ablation.data.base import HELD_OUT, Cells, Dataset, Observed


def images(
    n: int = 30,
    shape: tuple[int, ...] = (2, 2),
    labels: np.ndarray | None = None,
    *,
    constant: bool = False,
    factors: bool = False,
) -> Dataset:
    """Random intensities, or the same ones everywhere; two classes in turn unless said otherwise.

    With `factors` the first varies and the second does not.
    """
    rng = np.random.default_rng(n)
    x = rng.uniform(0, 1, (n, int(np.prod(shape))))
    known = np.stack([np.arange(n) % 2, np.zeros(n)], 1) if factors else None
    return make_dataset(
        np.full_like(x, 0.5) if constant else x,
        np.arange(n) % 2 if labels is None else labels,
        shape=shape,
        factors=known,
        shares=(0.6, 0.2) if n > 3 else (1 / 3, 1 / 3),
    )


def cells(
    n: int = 30,
    genes: int = 6,
    proteins: int = 0,
    labels: np.ndarray | None = None,
    batches: np.ndarray | None = None,
    *,
    constant: bool = False,
    zero: bool = False,
    held_out: int = 0,
) -> Dataset:
    """Counts with all that applications ask for: pseudotime, perturbations, corrupted counts."""
    rng = np.random.default_rng(n)
    clean = rng.poisson(5, (n, genes + proteins)).astype(np.float32)
    clean = np.full_like(clean, 0 if zero else 3) if constant or zero else clean
    x = clean if constant or zero else rng.binomial(clean.astype(int), 0.8).astype(np.float32)
    names = ("control", "p1")
    labels = np.arange(n) % 2 if labels is None else labels
    batches = np.arange(n) % 2 if batches is None else batches
    made = make_dataset(x, labels, shares=(0.6, 0.2) if n > 3 else (1 / 3, 1 / 3))
    split = made.split.copy()
    split[:held_out] = HELD_OUT
    classes = max(int(labels.max()) + 1, 0)
    return replace(
        made,
        split=split,
        observed=Observed(
            (genes + proteins,), None, counts=True, proteins=proteins, classes=classes,
            batches=int(batches.max()) + 1,
        ),
        clean=clean,
        corruption={"kind": "thin", "share": 0.2},
        cells=Cells(
            features=tuple(f"f{i}" for i in range(genes + proteins)),
            label_names=tuple("abc"[:classes]),
            batch=batches.astype(np.int64),
            batch_names=tuple(f"b{i}" for i in range(int(batches.max()) + 1)),
            perturbation=np.where(np.arange(n) < held_out, 1, np.arange(n) % 2),
            perturbation_names=names,
            truth={
                "cell/pseudotime": np.linspace(0, 1, n),
                "cell/proportions": np.full(x.shape, 1 / x.shape[1]),
            },
        ),
    )  # fmt: skip


def _labels(n: int, *positives: int) -> np.ndarray:
    """Class 0 but for the examples at these positions."""
    labels = np.zeros(n, np.int64)
    labels[list(positives)] = 1
    return labels


IMAGES: dict[str, Callable[[], Dataset]] = {
    "one example a split": lambda: images(3),
    "two examples a split": lambda: images(6),
    "three examples a split": lambda: images(9),
    "one dimension": lambda: images(shape=(1,)),
    "one pixel": lambda: images(shape=(1, 1)),
    "one row of pixels": lambda: images(shape=(1, 3)),
    "constant": lambda: images(constant=True),
    "one constant dimension": lambda: images(shape=(1,), constant=True),
    "one class": lambda: images(labels=np.zeros(30)),
    "no labels": lambda: images(labels=np.full(30, -1)),
    "one example of a class, in train": lambda: images(labels=_labels(30, 0)),
    "one example of a class, in test": lambda: images(labels=_labels(30, 29)),
    "a class of its own for each": lambda: images(labels=np.arange(30)),
    "labels in train only": lambda: images(labels=np.where(np.arange(30) < 18, 1, -1)),
    "one labelled example a split": lambda: images(labels=np.where(np.arange(30) % 20, -1, 1)),
    "factors, of which one varies": lambda: images(factors=True),
    "factors of one example a split": lambda: images(3, factors=True),
    "factors, constant data": lambda: images(factors=True, constant=True),
}

CELLS: dict[str, Callable[[], Dataset]] = {
    "three cells": lambda: cells(3),
    "two cells a split": lambda: cells(6),
    "three cells a split": lambda: cells(9),
    "one gene": lambda: cells(genes=1),
    "one gene, one cell a split": lambda: cells(3, genes=1),
    "one gene and one protein": lambda: cells(genes=1, proteins=1),
    "three cells with proteins": lambda: cells(3, proteins=1),
    "constant counts": lambda: cells(constant=True),
    "no counts at all": lambda: cells(zero=True, proteins=2),
    "one label": lambda: cells(labels=np.zeros(30, np.int64)),
    "no labels of cells": lambda: cells(labels=np.full(30, -1)),
    "one cell of a label": lambda: cells(labels=_labels(30, 0)),
    "a label absent from test": lambda: cells(labels=(np.arange(30) < 15).astype(np.int64)),
    "one batch": lambda: cells(batches=np.zeros(30, np.int64)),
    "one cell of a batch": lambda: cells(batches=_labels(30, 29)),
    "a batch of its own for each": lambda: cells(batches=np.arange(30)),
    "no batch known": lambda: cells(batches=np.full(30, -1)),
    "held-out perturbations": lambda: cells(held_out=6),
    "one held-out cell": lambda: cells(held_out=1),
    "held-out perturbations of one gene": lambda: cells(genes=1, held_out=6),
    "held-out perturbations of constant counts": lambda: cells(constant=True, held_out=6),
}
"""`cells` has two batches, two labels and a perturbation beside the control unless said else."""
