"""Columns of a run's history on the validation split."""

from __future__ import annotations

from vae_ablation.evaluation.codes import drift
from vae_ablation.evaluation.context import RunContext
from vae_ablation.evaluation.family import Columns, family


@family("history", "drift", "epochs", "validation_objective", "validation_elbo")
def history(context: RunContext) -> Columns:
    """Drift and values of the validation split after the last epoch, at the run's β and at 1."""
    epochs = context.history
    columns: Columns = {
        "drift": drift(epochs[:, 5]),
        "epochs": len(epochs),
        "validation_objective": float(epochs[-1, 5]),
    }
    if not context.point:
        columns["validation_elbo"] = -float(epochs[-1, 3] + epochs[-1, 4])
    return columns
