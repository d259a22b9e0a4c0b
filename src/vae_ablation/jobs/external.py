"""The rule external: scores of an arm made elsewhere, as rows beside the runs."""

from __future__ import annotations

from pathlib import Path

from vae_ablation.common.files import write_json
from vae_ablation.evaluation.external import external_rows
from vae_ablation.evaluation.features import load_features
from vae_ablation.jobs.inputs import load_data, open_study, with_split


def external_job(folder: Path, name: str, arm: str, target: Path) -> None:
    """Write the rows of an arm made elsewhere.

    Args:
        folder: results/<study>.
        name: key of the prepared data.
        arm: name of the arm.
        target: the JSON file to write.
    """
    study = open_study(folder)
    known = next(one for one in study.external if one.name == arm)
    settings, extractor = study.config["evaluation"], load_features(study.features_path(name))
    common = settings["seed"], extractor, settings["sample_draws"]
    rows = external_rows(known, study.split_of(name), load_data(study, name), *common)
    write_json(target, with_split(rows, study.data[name].split_seed))
