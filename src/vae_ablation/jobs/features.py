"""The rule features: fit the features in which samples are compared with the data."""

from __future__ import annotations

from pathlib import Path

from vae_ablation.evaluation.features import fit_features
from vae_ablation.jobs.inputs import load_data, open_study


def features_job(folder: Path, name: str) -> None:
    """Fit the features of a dataset and write them to `Study.features_path`.

    Args:
        folder: results/<study>.
        name: key of its prepared data.
    """
    study = open_study(folder)
    dataset = load_data(study, name)
    fit_features(dataset, study.config["evaluation"]["seed"]).save(study.features_path(name))
