"""Columns of codes and of the labels in them."""

from __future__ import annotations

from vae_ablation.evaluation.codes import (
    active_units,
    cluster_scores,
    label_hits,
    root_mean_square,
)
from vae_ablation.evaluation.context import CodeContext
from vae_ablation.evaluation.family import Columns, family


@family("codes", "code_rms", "active_units", "collapsed_fraction", codes=True)
def codes(context: CodeContext) -> Columns:
    """Size of the codes; active units only where something fixes their scale."""
    columns: Columns = {"code_rms": root_mean_square(context.codes)}
    if context.scaled:
        active = active_units(context.codes)
        share = 1 - active / context.latent_dim
        columns |= {"active_units": active, "collapsed_fraction": share}
    return columns


@family("clusters", "silhouette", "ari", "nmi", codes=True)
def clusters(context: CodeContext) -> Columns:
    """Labels against clusters of the codes, unless a prior left no unit active."""
    if context.collapsed:
        return {}
    return dict(cluster_scores(context.codes, context.labels, context.seed))


@family("label accuracies", "knn_accuracy", "probe_accuracy", codes=True)
def label_accuracies(context: CodeContext) -> Columns:
    """Whether labels of held-out codes are named right by classifiers fitted on train codes."""
    return dict(
        label_hits(context.train_codes, context.train_labels, context.codes, context.labels)
    )
