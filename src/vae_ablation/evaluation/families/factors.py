"""Columns of known generative factors."""

from __future__ import annotations

from vae_ablation.evaluation.context import RunContext
from vae_ablation.evaluation.disentanglement import disentanglement_columns
from vae_ablation.evaluation.family import Columns, family


@family("factors", "mig", "dci_disentanglement", "sap")
def factors(context: RunContext) -> Columns:
    """Disentanglement, only where the data's factors are known."""
    train, test = context.train_factors, context.factors
    if train is None or test is None:
        return {}
    return dict(
        disentanglement_columns(context.train_codes, train, context.codes, test, context.seed)
    )
