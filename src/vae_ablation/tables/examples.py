"""Values of each test example, as evaluation keeps them beside a run, and how many there are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vae_ablation.common.errors import UserError
from vae_ablation.study.metrics import described


def read_examples(run_folder: Path, metric: str) -> NDArray[np.float32] | None:
    """A run's values of one metric for each test example, [n]; None where it has none.

    Raises:
        UserError: the file is damaged.
    """
    path = run_folder / "examples.npz"
    if not path.exists():
        return None
    try:
        with path.open("rb") as stream, np.load(stream) as arrays:
            return np.asarray(arrays[metric]) if metric in arrays else None
    except (OSError, ValueError, BadZipFile):
        raise UserError(f"{path}: damaged; delete it and run snakemake again.") from None


def parts_of_test(metrics: pd.DataFrame, config: Mapping[str, Any], folder: Path) -> pd.DataFrame:
    """Metrics that rest on a part of the test split: examples behind them, and those of the split.

    Args:
        metrics: metrics.csv.
        config: the resolved config.
        folder: results/<study>, whose runs have examples.npz; data sets without one are absent.

    Raises:
        UserError: a file of examples is damaged.
    """
    trained = metrics[(metrics["model"] == "vae") & (metrics["status"] == "ok")]
    rows = []
    for dataset, runs in trained.groupby("dataset"):
        each = read_examples(folder / "runs" / str(runs["run"].iloc[0]), "distortion")
        whole = 0 if each is None else len(each)
        for name in runs.columns[runs.notna().any()]:
            few = min((whole, *(_limit(one, config) for one in described(name).most)))
            if few < whole:
                rows.append({"dataset": dataset, "metric": name, "examples": few, "test": whole})
    return pd.DataFrame(rows, columns=["dataset", "metric", "examples", "test"])


def _limit(limit: int | str, config: Mapping[str, Any]) -> int:
    """A limit on examples: itself, or the value of a config key."""
    if isinstance(limit, int):
        return limit
    section, _, key = limit.partition(".")
    return int(config[section][key])
