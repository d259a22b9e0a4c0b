"""Rules of the workflow, a function each: read the frozen study, call, write."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vae_ablation.common.errors import UserError
from vae_ablation.common.files import read_json, write_json
from vae_ablation.common.registry import ORIGINS, load_parts
from vae_ablation.data.base import Dataset
from vae_ablation.data.prepare import load_dataset
from vae_ablation.jobs.tracking import Tracking
from vae_ablation.models.posteriors import POSTERIORS
from vae_ablation.store.trained import (
    TrainedRun,
    encode_all,
    environment,
    load_run,
    peak_memory_mb,
    read_history,
    run_record,
    save_applications,
    save_evaluation,
    save_pack,
)
from vae_ablation.study.axes import axis_of
from vae_ablation.study.plan import Study
from vae_ablation.study.plugins import model_parts
from vae_ablation.study.progress import PackProgress
from vae_ablation.study.run import Run
from vae_ablation.study.workflow import read_frozen
from vae_ablation.training.checkpoint import Checkpointer
from vae_ablation.training.devices import device_lease
from vae_ablation.training.pack import Hooks, Stopwatch, TrainingResult, choose_device, train_pack

if TYPE_CHECKING:
    from vae_ablation.evaluation import Evaluated

log = logging.getLogger(__name__)

# Evaluation and controls are imported where they are called: they bring scikit-learn, which takes
# as long to import as torch and which training does not need.


def _opened(folder: Path) -> Study:
    """The frozen study, with as many CPU threads as its jobs may have."""
    study, _ = read_frozen(folder)
    load_parts()
    torch.set_num_threads(study.config["packs"]["threads"])
    return study


def _loaded(study: Study, data: str) -> Dataset:
    """The prepared data of a key; pictures too many for packs.memory_gb stay on disk."""
    memory_gb = study.config["packs"]["memory_gb"]
    return load_dataset(study.data[data].dataset, study.prepared[data], memory_gb)


def _as_trained_on(run: Run, study: Study) -> Dataset:
    """The dataset of a run, with the train split that it was trained on."""
    whole = _loaded(study, run.data)
    return whole.with_train_examples(run.train_examples)


def _records(folder: Path, pack: str) -> dict[Path, dict[str, Any]]:
    """The record of every run that a pack holds, by the run's folder."""
    held = sorted((folder / "packs" / pack / "train").rglob("run.json"))
    return {path.parent: read_json(path) for path in held}


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
    name = runs[0].dataset
    dataset = _loaded(study, runs[0].data)
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
        "data_hash": study.prepared[runs[0].data].name,
        "data_checksum": dataset.checksum,
        "code_version": study.code_version,
        "versions": environment(),
        "observed": dataset.observed.to_json(),
        **({"label_names": list(dataset.class_names)} if dataset.class_names else {}),
        **_standard(dataset),
    }
    records = [
        run_record(
            result,
            train_hash=hashes[result.run.path],
            **common,
            **_plugins_of(result.run),
            **({"alone": result.alone} if result.alone else {}),
            model=result.run.model_settings(study.config["model"]),
            training=result.run.training_settings(study.config["training"]),
        )
        for result in results
    ]
    save_pack(results, records, folder / "runs", folder / "packs" / pack / "train")
    checkpointer.discard()


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


def evaluate_job(folder: Path, pack: str, target: Path) -> None:
    """Evaluate every run that a pack holds, wanted or not: packs/<pack>/evaluation/<hash>.

    Args:
        folder: results/<study>.
        pack: id of the pack.
        target: the folder to write.
    """
    from vae_ablation.evaluation import evaluate_pack
    from vae_ablation.evaluation.features import load_features

    study = _opened(folder)
    records = _records(folder, pack)
    evaluated: dict[str, Evaluated | Mapping[str, Any]] = {
        record["path"]: _bare_metrics(study, record)
        for record in records.values()
        if record["status"] != "ok"
    }
    fine = [path for path, record in records.items() if record["status"] == "ok"]
    write_cells = None
    if fine:
        loaded = [load_run(path) for path in fine]
        dataset = _as_trained_on(loaded[0].run, study)
        wanted = study.config["training"]["device"]
        with device_lease(wanted):
            results = evaluate_pack(
                [item.run for item in loaded],
                [item.model for item in loaded],
                [read_history(item.record, path) for item, path in zip(loaded, fine, strict=True)],
                dataset,
                load_features(study.features_path(loaded[0].run.data)),
                study.config["evaluation"],
                choose_device(wanted),
            )
        evaluated |= {item.run.path: item for item in results}
        if dataset.cells is not None and find_spec("anndata"):
            write_cells = partial(_write_cells, {one.run.path: one for one in loaded}, dataset)
    for path, record in records.items():
        write_json(path / "run.json", record | {"eval_hash": study.eval_hash})
    save_evaluation(evaluated, write_cells, folder / "runs", target)


def _write_cells(loaded: Mapping[str, TrainedRun], dataset: Dataset, path: str, file: Path) -> None:
    """codes.h5ad of a run: every cell that is left after filtering."""
    from vae_ablation.data.cells_file import write_codes

    run, record = loaded[path].run, loaded[path].record
    posterior = encode_all(loaded[path], dataset)
    std = posterior.std * (0 if POSTERIORS[run.posterior].deterministic else 1)
    assert dataset.cells is not None
    write_codes(
        file,
        dataset.cells,
        dataset.labels,
        dataset.split,
        posterior.mean.numpy(),
        std.numpy(),
        {"run": record["run"], **{key: record[key] for key in ("train_hash", "data_checksum")}},
    )


def apply_job(folder: Path, pack: str, target: Path) -> None:
    """Apply the models of a pack that ended well: packs/<pack>/applications/<hash>.

    Args:
        folder: results/<study>.
        pack: id of the pack.
        target: the folder to write.
    """
    from vae_ablation.applications import APPLICATIONS, Applied

    study = _opened(folder)
    held = _records(folder, pack).items()
    loaded = [load_run(path) for path, record in held if record["status"] == "ok"]
    applied = {}
    if loaded:
        name = loaded[0].run.dataset
        dataset = _as_trained_on(loaded[0].run, study)
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


def _bare_metrics(study: Study, record: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics of a run that is not ok: what it was, and nothing measured."""
    from vae_ablation.evaluation.pack import measure_columns

    run = Run(**record["run"])
    return measure_columns(run.likelihood, study.observed[run.data], record["model"])


def features_job(folder: Path, name: str) -> None:
    """Fit the features of a dataset and write them to `Study.features_path`.

    Args:
        folder: results/<study>.
        name: key of its prepared data.
    """
    from vae_ablation.evaluation.features import fit_features

    study = _opened(folder)
    dataset = _loaded(study, name)
    fit_features(dataset, study.config["evaluation"]["seed"]).save(study.features_path(name))


def controls_job(folder: Path, name: str, target: Path) -> None:
    """Write the control rows of a dataset.

    Args:
        folder: results/<study>.
        name: key of its prepared data.
        target: the JSON file to write.
    """
    from vae_ablation.evaluation.controls import control_rows
    from vae_ablation.evaluation.features import load_features

    study = _opened(folder)
    dataset = _loaded(study, name)
    runs = [run for run in study.runs if run.data == name]
    settings, extractor = study.config["evaluation"], load_features(study.features_path(name))
    common = settings["seed"], extractor, settings["sample_draws"]
    rows = control_rows(dataset, runs, study.config["model"], *common)
    write_json(target, _with_split(rows, runs[0].split_seed))


def external_job(folder: Path, name: str, arm: str, target: Path) -> None:
    """Write the rows of an arm made elsewhere.

    Args:
        folder: results/<study>.
        name: key of the prepared data.
        arm: name of the arm.
        target: the JSON file to write.
    """
    from vae_ablation.evaluation.external import external_rows
    from vae_ablation.evaluation.features import load_features

    study = _opened(folder)
    known = next(one for one in study.external if one.name == arm)
    settings, extractor = study.config["evaluation"], load_features(study.features_path(name))
    common = settings["seed"], extractor, settings["sample_draws"]
    rows = external_rows(known, study.split_of(name), _loaded(study, name), *common)
    write_json(target, _with_split(rows, study.data[name].split_seed))


def _with_split(rows: list[dict[str, Any]], split: int | None) -> list[dict[str, Any]]:
    """Rows of no run, named by the split of their data where it is not the dataset's own."""
    if split is None:
        return rows
    trace = axis_of("split_seed").traced(split)
    return [{**row, "run": f"{row['run']}/{trace}", "split_seed": split} for row in rows]
