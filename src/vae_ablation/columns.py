"""Names of the columns of metrics.csv, in their order; docs/metrics.md says what each means."""

from collections.abc import Iterable

from vae_ablation.axes import AXES, axis_columns

_CORE = ["dataset", "likelihood", "latent_dim", "beta", "kl", "posterior", "seed"]
_OPTIONAL = ["train_examples"]
FURTHER_AXES = [name for name in AXES if name not in (*_CORE, *_OPTIONAL)]
"""Axes beside those that every reader looks for first."""

FIRST_COLUMNS = [
    *("run", "model", *_CORE),
    *("status", "reason", "measure", "proper", "limits", "arm", *FURTHER_AXES),
]
"""Columns of metrics.csv that come first; those of further axes that a study varies follow them."""

METRIC_COLUMNS = [
    "distortion",
    "rate",
    "elbo",
    "test_objective",
    "nll",
    "nll_ess",
    "nll_gap",
    "nll_loose",
    "bits_per_dim",
    "slope",
    "epochs",
    "validation_objective",
    "validation_elbo",
    "active_units",
    "collapsed_fraction",
    "mutual_information",
    "mi_ceiling",
    "mi_saturated",
    "marginal_kl",
    "hole_rate",
    "code_rms",
    "posterior_std",
    "silhouette",
    "ari",
    "nmi",
    "knn_accuracy",
    "probe_accuracy",
    "batch_knn_mixing",
    "batch_knn_accuracy",
    "batch_knn_floor",
    "batch_silhouette",
    "scib_ilisi",
    "scib_bras",
    "scib_graph_connectivity",
    "mig",
    "dci_disentanglement",
    "sap",
    "mse",
    "mse_log1p",
    "sample_fid",
    "sample_fid_floor",
    "sample_fid_expost",
    "sample_precision",
    "sample_recall",
    "feature_accuracy",
]
COST_COLUMNS = [
    "train_seconds",
    "examples_per_second",
    "device",
    "peak_memory_mb",
    "code_version",
]
_ARM_COLUMNS = [
    *("model", "dataset", "likelihood", "latent_dim", "arm", "beta", "kl", "posterior"),
    *FURTHER_AXES,
]


def arm_columns(columns: Iterable[object]) -> list[str]:
    """Columns that tell arms apart, in a table with these columns."""
    varied = [name for name in axis_columns(columns) if name not in {*_ARM_COLUMNS, "seed"}]
    return [*_ARM_COLUMNS, *varied]


FLAG_COLUMNS = {"nll_loose", "mi_saturated"}
"""Metric columns that are true or false."""

PRIMARY_METRICS = [name for name in METRIC_COLUMNS if name not in FLAG_COLUMNS]
"""What a config may name as a primary metric."""
