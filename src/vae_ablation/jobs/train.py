"""The rule train: train the runs of a pack and write their results."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from vae_ablation.common.errors import UserError
from vae_ablation.common.registry import ORIGINS, load_parts
from vae_ablation.data.base import Dataset
from vae_ablation.jobs.inputs import load_data
from vae_ablation.jobs.tracking import Tracking
from vae_ablation.store.trained import environment, peak_memory_mb, run_record, save_pack
from vae_ablation.study.plan import Study
from vae_ablation.study.plugins import model_parts
from vae_ablation.study.progress import PackProgress
from vae_ablation.study.run import Run
from vae_ablation.study.workflow import read_frozen
from vae_ablation.training.checkpoint import Checkpointer
from vae_ablation.training.devices import choose_device, device_lease
from vae_ablation.training.pack import Hooks, Stopwatch, TrainingResult, train_pack
from vae_ablation.training.precision import check_precision


def train_job(folder: Path, pack: str) -> None:
    """Train a pack and write packs/<pack>/train.

    Args:
        folder: results/<study>.
        pack: id of the pack in plan.json.
    """
    study, plan = read_frozen(folder)
    load_parts()
    planned = plan.packs[pack]
    runs = [item.run for item in planned]
    settings = runs[0].training_settings(study.config["training"])
    check_precision(settings["precision"], choose_device(settings["device"]))
    name = runs[0].dataset
    dataset = load_data(study, runs[0].data)
    # What a source describes is an upper bound: options that leave examples out may leave fewer.
    complaint = study.without_labels(runs[0], dataset.observed)
    if complaint:
        raise UserError(f"dataset {name}: {complaint}.")
    torch.set_num_threads(study.config["packs"]["threads"])
    hashes = {run.path: study.train_hash(run, dataset.checksum) for run in runs}
    minutes = study.config["packs"]["checkpoint_minutes"]
    checkpointer = Checkpointer(
        study.checkpoints, hashes, study.code_version, None if minutes is None else 60 * minutes
    )
    clock = Stopwatch()
    progress = PackProgress(folder / ".progress", pack, len(runs))
    tracking = Tracking(folder, study.config.get("tracking", {}))
    with device_lease(study.config["training"]["device"]), checkpointer.listening():
        results = train_pack(
            runs,
            dataset,
            study.config["model"],
            study.config["training"],
            progress,
            checkpointer,
            partial(study.note_limit, runs[0].pack_key),
            Hooks(recorded=tracking.recorded),
        )
    tracking.close()
    seconds = clock.seconds + checkpointer.spent
    common = {
        **_cost(results, seconds, runs[0].train_examples or len(dataset.rows("train")), study),
        "resumed": checkpointer.resumed,
        "pack": pack,
        **_origin(study, runs[0], dataset),
    }
    records = [_record(result, study, hashes, common) for result in results]
    save_pack(results, records, folder / "runs", folder / "packs" / pack / "train")
    checkpointer.discard()


def _record(
    result: TrainingResult, study: Study, hashes: Mapping[str, str], common: Mapping[str, Any]
) -> dict[str, Any]:
    """run.json of a run."""
    run = result.run
    return run_record(
        result,
        train_hash=hashes[run.path],
        **common,
        **_plugins_of(run),
        **({"alone": result.alone} if result.alone else {}),
        model=run.model_settings(study.config["model"]),
        training=run.training_settings(study.config["training"]),
    )


def _origin(study: Study, run: Run, dataset: Dataset) -> dict[str, Any]:
    """The data and the code behind the runs of a pack."""
    return {
        "data_hash": study.prepared[run.data].name,
        "data_checksum": dataset.checksum,
        "code_version": study.code_version,
        "versions": environment(),
        "observed": dataset.observed.to_json(),
        **({"label_names": list(dataset.class_names)} if dataset.class_names else {}),
        **_standard(dataset),
    }


def _plugins_of(run: Run) -> dict[str, list[str]]:
    """Files of the parts from outside the package that a run is made of, for its record."""
    files = {str(ORIGINS[part].path) for part in model_parts(run) if part in ORIGINS}
    return {"plugins": sorted(files)} if files else {}


def _standard(dataset: Dataset) -> dict[str, Any]:
    """The columns of a table and the statistics by which they were standardised."""
    if dataset.standard is None:
        return {}
    mean, scale = dataset.standard.tolist()
    return {"standard": {"features": list(dataset.features), "mean": mean, "scale": scale}}


def _cost(
    results: list[TrainingResult], seconds: float, examples: int, study: Study
) -> dict[str, Any]:
    device = choose_device(study.config["training"]["device"])
    seen = examples * sum(len(result.history) for result in results)
    return {
        "train_seconds": seconds / len(results),
        "examples_per_second": seen / seconds,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "peak_memory_mb": peak_memory_mb(device),
    }
