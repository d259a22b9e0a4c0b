"""Columns of batches: whether codes mix them."""

from __future__ import annotations

from vae_ablation.evaluation.batches import batch_columns
from vae_ablation.evaluation.context import CodeContext
from vae_ablation.evaluation.family import Columns, family


@family(
    "batches",
    "batch_knn_mixing", "batch_knn_accuracy", "batch_knn_floor", "batch_silhouette",
    "scib_ilisi", "scib_bras", "scib_graph_connectivity",
    codes=True,
)  # fmt: skip
def batches(context: CodeContext) -> Columns:
    """Batch mixing, only where there are batches."""
    if context.batches is None:
        return {}
    return dict(batch_columns(context.codes, context.labels, context.batches, context.seed))
