"""Rows of metrics.csv made from axes and values."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pandas as pd

from vae_ablation.study.axes import level_cell
from vae_ablation.study.run import canonical_run
from vae_ablation.tables.collect import FIRST_COLUMNS, read_metrics, run_columns, write_csv

MEASURES = {"discretized_logistic": "grey17/mass-open", "bernoulli": "grey/cross-entropy"}
AXES: dict[str, Any] = {
    "dataset": "digits",
    "likelihood": "gaussian",
    "latent_dim": 2,
    "beta": 1.0,
    "kl": True,
    "posterior": "gaussian",
    "seed": 0,
    "architecture": "mlp",
    "objective": "elbo",
    "importance_samples": 1,
}


def row(status: str = "ok", metrics: dict[str, Any] | None = None, **axes: Any) -> dict[str, Any]:
    """One run; it has its metrics only where it is ok."""
    run = canonical_run(**{**AXES, **axes})
    settings = {name: level_cell(level) for name, level in run.own.items()}
    return {
        **run_columns(run),
        **settings,
        "status": status,
        "reason": "" if status == "ok" else f"it {status}",
        "measure": MEASURES.get(run.likelihood, "grey/density"),
        "proper": run.likelihood != "bernoulli",
        **((metrics or {}) if status == "ok" else {}),
    }


def product(**axes: Any) -> list[dict[str, Any]]:
    """All combinations of the values of axes."""
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def written(rows: list[dict[str, Any]], folder: Path) -> pd.DataFrame:
    """The rows after a way through metrics.csv, beside a control as every study has."""
    control = {"run": "digits/raw", "model": "raw", "dataset": "digits", "status": "ok"}
    frame = pd.DataFrame([*rows, control | {"knn_accuracy": 0.9}])
    further = [name for name in frame.columns if name not in FIRST_COLUMNS]
    write_csv(frame.reindex(columns=[*FIRST_COLUMNS, *further]), folder / "metrics.csv")
    return read_metrics(folder / "metrics.csv")
