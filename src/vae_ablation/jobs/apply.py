"""The rule apply: use the trained models of a pack for what the config's applications ask."""

from __future__ import annotations

import logging
from pathlib import Path

from vae_ablation.applications import APPLICATIONS, Applied
from vae_ablation.jobs.inputs import load_trained_on, open_study, pack_records
from vae_ablation.store.trained import load_run, save_applications

log = logging.getLogger(__name__)


def apply_job(folder: Path, pack: str, target: Path) -> None:
    """Apply the models of a pack that ended well: packs/<pack>/applications/<hash>.

    Args:
        folder: results/<study>.
        pack: id of the pack.
        target: the folder to write.
    """
    study = open_study(folder)
    held = pack_records(folder, pack).items()
    loaded = [load_run(path) for path, record in held if record["status"] == "ok"]
    applied = {}
    if loaded:
        name = loaded[0].run.dataset
        dataset = load_trained_on(loaded[0].run, study)
        settings = study.application_settings(dataset.name)
        chosen = {name: APPLICATIONS[name] for name in settings}
        reasons = {
            name: application.missing(dataset) or application.absent(dataset, settings[name])
            for name, application in chosen.items()
        }
        for name, reason in reasons.items():
            if reason:
                log.info("%s: dataset %s %s", name, dataset.name, reason)
        for one in loaded:
            applied[one.run.path] = {
                name: Applied(reason=f"the dataset {reasons[name]}")
                if reasons[name]
                else application.attempt(
                    one,
                    dataset,
                    settings[name],
                    study.config["evaluation"]["seed"],
                )
                for name, application in chosen.items()
            }
    save_applications(applied, folder / "runs", target)
