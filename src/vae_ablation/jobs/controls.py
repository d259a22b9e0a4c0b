"""The rule controls: scores of models that were not trained, as rows beside the runs."""

from __future__ import annotations

from pathlib import Path

from vae_ablation.common.files import write_json
from vae_ablation.evaluation.controls import control_rows
from vae_ablation.evaluation.features import load_features
from vae_ablation.jobs.inputs import load_data, open_study, with_split


def controls_job(folder: Path, name: str, target: Path) -> None:
    """Write the control rows of a dataset.

    Args:
        folder: results/<study>.
        name: key of its prepared data.
        target: the JSON file to write.
    """
    study = open_study(folder)
    dataset = load_data(study, name)
    runs = [run for run in study.runs if run.data == name]
    settings, extractor = study.config["evaluation"], load_features(study.features_path(name))
    common = settings["seed"], extractor, settings["sample_draws"]
    rows = control_rows(dataset, runs, study.config["model"], *common)
    write_json(target, with_split(rows, runs[0].split_seed))
