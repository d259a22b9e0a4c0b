"""Columns of samples."""

from __future__ import annotations

from vae_ablation.evaluation.context import RunContext
from vae_ablation.evaluation.family import Columns, family


@family(
    "samples",
    "sample_fid", "sample_fid_se", "sample_fid_spread", "sample_fid_networks", "sample_fid_floor",
    "sample_fid_expost", "sample_fid_expost_se", "sample_fid_expost_spread",
    "sample_fid_expost_networks", "sample_coverage", "sample_density", "sample_precision",
    "sample_recall", "feature_accuracy",
)  # fmt: skip
def samples(context: RunContext) -> Columns:
    """Quality of samples in the features of the dataset; nothing where those are missing."""
    return dict(context.samples)
