"""Columns of reconstructions at the posterior mean."""

from __future__ import annotations

from vae_ablation.evaluation.context import RunContext
from vae_ablation.evaluation.family import Columns, family


@family("mse", "mse")
def mse(context: RunContext) -> Columns:
    """Squared error of the mean of p(x given z = μ), mean over dimensions."""
    return {"mse": context.squared_errors}


@family("mse_log1p", "mse_log1p")
def mse_log1p(context: RunContext) -> Columns:
    """The same of log-normalised counts, only where the data are counts."""
    return {"mse_log1p": context.log_errors} if context.dataset.observed.counts else {}
