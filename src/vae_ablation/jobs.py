"""What each rule of the workflow does: read the frozen study, call, write."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vae_ablation.data.prepare import load_dataset
from vae_ablation.files import read_json, write_json
from vae_ablation.progress import PackProgress
from vae_ablation.study import Run, Study
from vae_ablation.trained import (
    environment,
    load_run,
    peak_memory_mb,
    read_history,
    run_record,
    save_evaluation,
    save_pack,
)
from vae_ablation.training import Stopwatch, TrainingResult, choose_device, train_pack
from vae_ablation.workflow_state import read_frozen

if TYPE_CHECKING:
    from vae_ablation.evaluation import Evaluated

# Evaluation and controls are imported where they are called: they bring scikit-learn, which takes
# as long to import as torch and which training does not need.


def train_job(folder: Path, pack: str) -> None:
    """Train a pack and write packs/<pack>/train.

    Args:
        folder: results/<study>.
        pack: id of the pack in plan.json.
    """
    study, plan = read_frozen(folder)
    planned = plan.packs[pack]
    runs = [item.run for item in planned]
    name = runs[0].dataset
    dataset = load_dataset(name, study.prepared[name])
    torch.set_num_threads(study.config["packs"]["threads"])
    clock = Stopwatch()
    progress = PackProgress(folder / ".progress", pack, len(runs))
    results = train_pack(runs, dataset, study.config["model"], study.config["training"], progress)
    common = {
        **_cost(results, clock.seconds, len(dataset.rows("train")), study),
        "pack": pack,
        "data_hash": study.prepared[name].name,
        "data_checksum": dataset.checksum,
        "code_version": study.code_version,
        "versions": environment(),
        "model": study.config["model"],
        "training": study.config["training"],
        "observed": {
            "shape": list(dataset.observed.shape),
            "levels": dataset.observed.levels,
            "binary": dataset.observed.binary,
        },
    }
    records = [
        run_record(result, train_hash=study.train_hash(result.run, dataset.checksum), **common)
        for result in results
    ]
    save_pack(results, records, folder / "runs", folder / "packs" / pack / "train")


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


def evaluate_job(folder: Path, pack: str, target: Path) -> None:
    """Evaluate every run that a pack holds, wanted or not: packs/<pack>/evaluation/<hash>.

    Args:
        folder: results/<study>.
        pack: id of the pack.
        target: the folder to write.
    """
    from vae_ablation.evaluation import evaluate_pack
    from vae_ablation.features import load_features

    study, _ = read_frozen(folder)
    torch.set_num_threads(study.config["packs"]["threads"])
    held = sorted((folder / "packs" / pack / "train").rglob("run.json"))
    records = {path.parent: read_json(path) for path in held}
    evaluated: dict[str, Evaluated | Mapping[str, Any]] = {
        record["path"]: _bare_metrics(study, record)
        for record in records.values()
        if record["status"] != "ok"
    }
    fine = [path for path, record in records.items() if record["status"] == "ok"]
    if fine:
        loaded = [load_run(path) for path in fine]
        name = loaded[0].run.dataset
        results = evaluate_pack(
            [item.run for item in loaded],
            [item.model for item in loaded],
            [read_history(item.record, path) for item, path in zip(loaded, fine, strict=True)],
            load_dataset(name, study.prepared[name]),
            load_features(study.features_path(name)),
            study.config["evaluation"],
            choose_device(study.config["training"]["device"]),
        )
        evaluated |= {item.run.path: item for item in results}
    for path, record in records.items():
        write_json(path / "run.json", record | {"eval_hash": study.eval_hash})
    save_evaluation(evaluated, folder / "runs", target)


def _bare_metrics(study: Study, record: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics of a run that is not ok: what it was, and nothing measured."""
    from vae_ablation.evaluation.pack import measure_columns

    run = Run(**record["run"])
    return measure_columns(run.likelihood, study.observed[run.dataset], record["model"])


def features_job(folder: Path, name: str) -> None:
    """Fit the features of a dataset and write them to `Study.features_path`.

    Args:
        folder: results/<study>.
        name: the dataset.
    """
    from vae_ablation.features import fit_features

    study, _ = read_frozen(folder)
    torch.set_num_threads(study.config["packs"]["threads"])
    dataset = load_dataset(name, study.prepared[name])
    fit_features(dataset, study.config["evaluation"]["seed"]).save(study.features_path(name))


def controls_job(folder: Path, name: str, target: Path) -> None:
    """Write the control rows of a dataset.

    Args:
        folder: results/<study>.
        name: the dataset.
        target: the JSON file to write.
    """
    from vae_ablation.controls import control_rows

    study, _ = read_frozen(folder)
    torch.set_num_threads(study.config["packs"]["threads"])
    dataset = load_dataset(name, study.prepared[name])
    runs = [run for run in study.runs if run.dataset == name]
    seed = study.config["evaluation"]["seed"]
    write_json(target, control_rows(dataset, runs, study.config["model"], seed))
