"""Importance-weighted bounds on −log p(x)."""

from __future__ import annotations

import math

from vae_ablation.evaluation.bounds import NLL_LOOSE
from vae_ablation.evaluation.context import RunContext
from vae_ablation.evaluation.family import Columns, family
from vae_ablation.models.likelihoods import LIKELIHOODS


@family("nll", "nll", "nll_ess", "nll_gap", "nll_loose", "bits_per_dim")
def nll(context: RunContext) -> Columns:
    """Nothing for a point posterior; bits_per_dim only for masses on the data's own levels."""
    if context.point:
        return {}
    bounds = context.bounds
    gap = float(bounds.gap.mean())
    columns = {
        "nll": bounds.nll,
        "nll_ess": float(bounds.ess.mean()),
        "nll_gap": gap,
        "nll_loose": gap > NLL_LOOSE,
    }
    if _on_own_levels(context):
        dims = context.dataset.observed.dims
        columns["bits_per_dim"] = float(bounds.nll.mean()) / (dims * math.log(2))
    return columns


def _on_own_levels(context: RunContext) -> bool:
    """Whether the likelihood is a mass on grey levels that the data have of their own."""
    dataset, likelihood = context.dataset, LIKELIHOODS[context.run.likelihood]
    grey = not dataset.observed.counts and dataset.fixed is None
    return likelihood.mass and grey and likelihood.proper(dataset.observed)
