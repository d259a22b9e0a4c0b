"""Columns of the aggregate posterior."""

from __future__ import annotations

from vae_ablation.evaluation.context import RunContext
from vae_ablation.evaluation.family import Columns, family


@family(
    "aggregate posterior",
    "mutual_information", "mi_ceiling", "mi_saturated", "marginal_kl",
    "total_correlation", "dimension_kl", "active_units_mi", "hole_rate",
)  # fmt: skip
def aggregate(context: RunContext) -> Columns:
    """Nothing for a point posterior, whose mixture has no density."""
    return {} if context.point else context.aggregate.columns
