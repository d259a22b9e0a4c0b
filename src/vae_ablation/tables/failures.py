"""failures.csv: runs and other results that failed, and why."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from vae_ablation.study.missing import Missing

COLUMNS = [
    *("run", "dataset", "likelihood", "latent_dim", "arm", "seed", "status", "reason", "epochs")
]
_ORDER = ["dataset", "likelihood", "latent_dim", "beta", "arm", "seed"]


def failures(metrics: pd.DataFrame, missing: Iterable[Missing] = ()) -> pd.DataFrame:
    """Every run that diverged or failed, with its reason, sorted by its axes.

    Some columns of a run with status ok and a reason could not be computed. Missing applications
    of runs with status ok follow, a row per run, and missing controls, a row per dataset.

    Args:
        metrics: metrics.csv.
        missing: results that are missing.
    """
    reasons = metrics["reason"] if "reason" in metrics else pd.Series("", metrics.index)
    wrong = (metrics["status"] != "ok") | reasons.fillna("").ne("")
    bad = metrics[wrong].sort_values(_ORDER)
    lacking = [_lacking(metrics, one) for one in missing if not one.essential]
    return pd.concat([bad, *lacking]).reindex(columns=COLUMNS).reset_index(drop=True)


def _lacking(metrics: pd.DataFrame, missing: Missing) -> pd.DataFrame:
    """Rows of the runs that lack something that they are ok without."""
    state = {"status": "failed", "reason": missing.reason}
    if not missing.runs:
        return pd.DataFrame([{"dataset": missing.dataset, **state}])
    runs = metrics[metrics["run"].isin(missing.runs) & (metrics["status"] == "ok")]
    return runs.sort_values(_ORDER).assign(**state)
