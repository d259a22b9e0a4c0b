"""Trials: seconds that one epoch of training takes on this machine, measured on invented data."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_ablation.data.base import SPLITS, Cells, Dataset, Observed
from vae_ablation.study.run import Run
from vae_ablation.training.pack import Hooks, train_pack

EXAMPLES = 512
EPOCHS = 4
"""The first epochs trace the step; the last one is timed."""


def seconds_per_example(
    runs: Sequence[Run], observed: Observed, config: Mapping[str, Any]
) -> float:
    """Seconds of training per run and train example in a pack of these runs; NaN where it failed.

    Args:
        runs: runs with one pack key.
        observed: shape and kind of their data.
        config: the resolved config.
    """
    starts: list[float] = []
    settings = {**config["training"], "epochs": EPOCHS, "kl_warmup_epochs": 0}
    hooks = Hooks(before_epoch=lambda _, epoch: starts.append(time.perf_counter()))
    train_pack(runs, _invented(observed), config["model"], settings, hooks=hooks)
    if len(starts) < EPOCHS:
        return math.nan
    return (time.perf_counter() - starts[-1]) / (len(runs) * EXAMPLES)


def _invented(observed: Observed) -> Dataset:
    """Noise of the shape and kind of some data: EXAMPLES to train on, and a few held out."""
    random = np.random.default_rng(0)
    count = EXAMPLES + 16
    split = np.full(count, SPLITS["train"], np.int8)
    split[EXAMPLES:] = [SPLITS["validation"], SPLITS["test"]] * 8
    values = _noise(random, (count, observed.dims), observed)
    labels = random.integers(0, max(observed.classes, 1), count)
    cells = None
    if observed.counts:
        batch = random.integers(0, max(observed.batches, 1), count)
        cells = Cells(tuple(map(str, range(observed.dims))), batch=batch)
    return Dataset(
        *("trial", values, None, split, labels, observed, False, "trial"),
        cells=cells,
        present=np.ones_like(values) if observed.missing else None,
        covariates={
            name: np.zeros((count, size), np.float32) for name, size in observed.covariates
        },
    )


def _noise(
    random: np.random.Generator, shape: tuple[int, int], observed: Observed
) -> NDArray[np.float32]:
    if observed.counts:
        return random.poisson(1.0, shape).astype(np.float32)
    if observed.real:
        return random.standard_normal(shape, np.float32)
    if observed.levels:
        levels = random.integers(0, observed.levels, shape)
        return (levels / (observed.levels - 1)).astype(np.float32)
    return random.random(shape, np.float32)
