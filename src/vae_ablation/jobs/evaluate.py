"""The rule evaluate: measure every trained run of a pack."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vae_ablation.common.files import write_json
from vae_ablation.data.base import Dataset
from vae_ablation.data.cells_file import write_codes
from vae_ablation.evaluation import Evaluated, evaluate_pack
from vae_ablation.evaluation.features import load_features
from vae_ablation.evaluation.pack import measure_columns
from vae_ablation.jobs.inputs import load_trained_on, open_study, pack_records
from vae_ablation.models.posteriors import POSTERIORS
from vae_ablation.store.trained import (
    TrainedRun,
    encode_all,
    load_run,
    read_history,
    save_evaluation,
)
from vae_ablation.study.plan import Study
from vae_ablation.study.run import Run
from vae_ablation.training.devices import choose_device, device_lease


def evaluate_job(folder: Path, pack: str, target: Path) -> None:
    """Evaluate every run that a pack holds, wanted or not: packs/<pack>/evaluation/<hash>.

    Args:
        folder: results/<study>.
        pack: id of the pack.
        target: the folder to write.
    """
    study = open_study(folder)
    records = pack_records(folder, pack)
    evaluated: dict[str, Evaluated | Mapping[str, Any]] = {
        record["path"]: _bare_metrics(study, record)
        for record in records.values()
        if record["status"] != "ok"
    }
    fine = [path for path, record in records.items() if record["status"] == "ok"]
    write_cells = None
    if fine:
        loaded = [load_run(path) for path in fine]
        dataset = load_trained_on(loaded[0].run, study)
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


def _bare_metrics(study: Study, record: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics of a run that is not ok: what it was, and nothing measured."""
    run = Run(**record["run"])
    return measure_columns(run.likelihood, study.observed[run.data], record["model"])
