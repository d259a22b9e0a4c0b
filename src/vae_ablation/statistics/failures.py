"""failures.csv: what did not end well, and why."""

from __future__ import annotations

import pandas as pd

COLUMNS = [
    *("run", "dataset", "likelihood", "latent_dim", "arm", "seed", "status", "reason", "epochs")
]
_ORDER = ["dataset", "likelihood", "latent_dim", "beta", "arm", "seed"]


def failures(metrics: pd.DataFrame) -> pd.DataFrame:
    """Every run that diverged or failed, with its reason, sorted by its axes.

    A run with status ok and a reason is one of which some columns could not be computed.

    Args:
        metrics: metrics.csv.
    """
    bad = metrics[(metrics["status"] != "ok") | metrics["reason"].fillna("").ne("")]
    return bad.sort_values(_ORDER).reindex(columns=COLUMNS).reset_index(drop=True)
