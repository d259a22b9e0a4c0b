"""Profiles of test cells, which the page shows in place of pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from vae_ablation.data.base import Dataset
from vae_ablation.data.examples import shown_examples, spaced
from vae_ablation.report.page.values import shorts

MOST_CELLS = 6
MOST_FEATURES = 24
MOST_NAMES = 5000
"""Features of which the page holds names."""


def describe_profiles(dataset: Dataset, limit: int) -> dict[str, Any]:
    """Names of features, and log counts of a few test cells over the features that vary most.

    Args:
        dataset: cells.
        limit: test cells that the page shows; those of profiles are among them.

    Returns:
        `features`, and `profile`: `cells` (places among the cells shown), `features` (places), and
        `values` [cells, features], natural logarithms as the decoder of the page gives them.
    """
    from vae_ablation.evaluation.features import log_counts, outer_library  # slow to import

    shown = spaced(len(dataset.rows("test")), limit)
    x = torch.from_numpy(dataset.intensities("test", shown))
    library = outer_library(dataset, dataset.rows("test")[shown])
    logs = log_counts(x, dataset.observed.genes, library).numpy()
    cells = np.sort(shown_examples(dataset.labels_of("test")[shown])[:MOST_CELLS])
    features = np.sort(np.argsort(-logs.var(axis=0), kind="stable")[:MOST_FEATURES])
    names = dataset.cells.features if dataset.cells else ()
    return {
        "features": [str(name) for name in names[:MOST_NAMES]],
        "profile": {
            "cells": cells.tolist(),
            "features": features.tolist(),
            "values": [shorts(row) for row in logs[np.ix_(cells, features)]],
        },
    }
