"""Columns of codes and of the labels in them."""

from __future__ import annotations

import numpy as np

from vae_ablation.evaluation.codes import (
    ACTIVE_RATE,
    active_units,
    cluster_scores,
    label_hits,
    root_mean_square,
)
from vae_ablation.evaluation.context import CodeContext, RunContext
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


@family("active units by KL", "active_units_kl")
def active_units_kl(context: RunContext) -> Columns:
    """Dimensions with a KL to the prior; only where the KL is trained and has a closed form."""
    rates = context.rate_per_dim
    if context.point or not context.run.kl or rates is None:
        return {}
    return {"active_units_kl": int((rates.mean(0) > ACTIVE_RATE).sum())}


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


@family("label accuracies of samples", "knn_accuracy_sampled", "probe_accuracy_sampled")
def sampled_label_accuracies(context: RunContext) -> Columns:
    """The same of codes z ~ q(z given x): without what only the means tell, far below σ.

    Fitted on a draw of each train code, and scored on several of each held-out one; the share of
    these that is named right is the value of the example. Nothing for a point posterior.
    """
    if context.point:
        return {}
    train, drawn = context.sampled_codes
    labels = np.tile(context.labels, len(drawn))
    hits = label_hits(train, context.train_labels, drawn.reshape(len(labels), -1), labels)
    shape = len(drawn), len(context.labels)
    return {f"{name}_sampled": values.reshape(shape).mean(0) for name, values in hits.items()}
