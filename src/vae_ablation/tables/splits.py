"""Random splits of the data as replicates of an arm: their name, their values, their overlap.

Where a dataset has several splits, these and not seeds replicate an arm: values are means over the
seeds of each split.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

TEST_SHARE = "test_share"
"""Column beside split_seed: the share of the examples that is drawn for a test split; 0 where the
test split is the data's own, and stays."""


def crossed_datasets(runs: pd.DataFrame) -> set[str]:
    """Datasets with runs on several splits: these, and not seeds, replicate an arm there."""
    if "split_seed" not in runs:
        return set()
    counts = runs.groupby("dataset")["split_seed"].nunique()
    return {str(name) for name, count in counts.items() if count > 1}


def replicate(runs: pd.DataFrame) -> str:
    """Name of what replicates the arms of a table of runs: `seed`, or `split` of the data."""
    return "split" if crossed_datasets(runs) else "seed"


def replicate_column(unit: str) -> str:
    """Column that tells replicates apart, by their name from `replicate`."""
    return "split_seed" if unit == "split" else "seed"


def independent(runs: pd.DataFrame, column: str) -> pd.Series:
    """Replicates of a column of some runs: by seed, or by split where there are several."""
    by = replicate(runs) if "dataset" in runs else "seed"
    return runs.groupby(replicate_column(by))[column].mean()


def overlap(runs: pd.DataFrame) -> float:
    """Variance that a mean over splits keeps however many there are: ρ / (1 − ρ) of that of one.

    Splits share examples, so that their values are correlated: by ρ, the share of the examples that
    is drawn for the test. The variance of a mean of n is σ²·(1/n + ρ/(1 − ρ)) with σ² the variance
    among them (Nadeau and Bengio 2003, section 5.2; there n₂/n₁, of test and train examples).

    Args:
        runs: of one dataset, with the columns split_seed and `TEST_SHARE`; without them, or with
            one split, there is no overlap.
    """
    if TEST_SHARE not in runs or "split_seed" not in runs or runs["split_seed"].nunique() < 2:
        return 0.0
    return float(overlap_of_shares(runs[TEST_SHARE].to_numpy(float)).max(initial=0.0))


def overlap_of_shares(shares: np.ndarray) -> np.ndarray:
    """ρ / (1 − ρ) of shares of test examples; 0 where a share is not known."""
    known = np.nan_to_num(np.asarray(shares, np.float64))
    return known / (1 - known)


_OVER_SEEDS = ("over seeds", "mean of its seeds", "paired by seed", "within each seed")
"""What texts say of replicates; other mentions of seeds are of the runs themselves."""


def worded(text: str, unit: str) -> str:
    """A text about means, intervals and pairs of seeds, in words for what replicates an arm.

    Args:
        text: written for seeds.
        unit: from `replicate`.
    """
    for phrase in _OVER_SEEDS if unit != "seed" else ():
        for said in (phrase, phrase.capitalize()):
            text = text.replace(said, said.replace("seed", unit))
    return text
