"""Columns of metrics.csv that identify the run of a row; those of `metrics` follow them."""

from collections.abc import Iterable

from vae_ablation.study.axes import AXES, REPLICATES, axis_columns

_CORE = ["dataset", "likelihood", "latent_dim", "beta", "kl", "posterior", "seed"]
_OPTIONAL = ["train_examples", "prior", "split_seed"]
FURTHER_AXES = [name for name in AXES if name not in (*_CORE, *_OPTIONAL)]
"""Axes beside those that every reader looks for first."""

FIRST_COLUMNS = [
    *("run", "model", *_CORE),
    *("status", "reason", "measure", "proper", "limits", "arm", *FURTHER_AXES),
]
"""Columns of metrics.csv that come first; those of further axes that a study varies follow them."""

_ARM_COLUMNS = [
    *("model", "dataset", "likelihood", "latent_dim", "arm", "beta", "kl", "posterior"),
    *FURTHER_AXES,
]


def arm_columns(columns: Iterable[object]) -> list[str]:
    """Columns that identify an arm, in a table with these columns."""
    varied = [name for name in axis_columns(columns) if name not in {*_ARM_COLUMNS, *REPLICATES}]
    return [*_ARM_COLUMNS, *varied]
