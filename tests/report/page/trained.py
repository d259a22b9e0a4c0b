"""A small study that is really trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from support import rate_per_dim, resolved
from vae_ablation.common.files import write_json
from vae_ablation.data.prepare import load_dataset, prepare_dataset
from vae_ablation.jobs.train import train_job
from vae_ablation.store.trained import load_run
from vae_ablation.study.plan import Study
from vae_ablation.study.progress import start_progress
from vae_ablation.study.run import Run
from vae_ablation.study.workflow import Workflow
from vae_ablation.tables.collect import collect, write_csv

TRAINING = {"epochs": 15, "batch_size": 32, "device": "cpu", "learning_rate": 0.01}


def encode(study: Study, run: Run) -> None:
    """Write of a run's evaluation what the report reads: codes, and a few metrics."""
    dataset = load_dataset(run.dataset, study.prepared[run.dataset])
    folder = study.run_folder(run)
    context = dataset.context(dataset.rows("test"), run.condition)
    posterior = load_run(folder).encode(dataset.observe("test"), context)
    labels = dataset.labels_of("test")
    np.savez(
        folder / "codes.npz",
        mean=posterior.mean.numpy(),
        std=posterior.std.numpy(),
        labels=labels,
    )
    rates = rate_per_dim(posterior).mean(dim=0)
    metrics: dict[str, Any] = {"mse": 0.05, "active_units": None}
    if run.posterior != "point":
        metrics |= {"rate": float(rates.sum()), "rate_per_dim": rates.tolist(), "active_units": 2}
    write_json(folder / "metrics.json", metrics)


def train_study(folder: Path, **sections: Any) -> Path:
    """Train a study of a few small runs; its folder results/<study>."""
    defaults = {
        "study": "tiny",
        "datasets": {"digits": {"source": "sklearn-digits", "max_examples": 250}},
        "model": {"hidden": [24], "activation": "silu", "channels": [6, 4]},
        "training": TRAINING,
    }
    config = resolved(**{**defaults, **sections})
    study = Study(config, folder / "results" / "tiny", folder / "results" / ".data")
    for name, target in study.prepared.items():
        prepare_dataset(config["datasets"][name], target)
    workflow = Workflow(study, study.plan(), "study.yaml")
    workflow.freeze()
    start_progress(study.folder / ".progress", workflow.plan)
    for pack in workflow.plan.packs:
        train_job(study.folder, pack)
    for run in study.runs:
        encode(study, run)
    metrics = collect(study, workflow.plan, [])
    write_csv(metrics, study.folder / "tables" / "metrics.csv")
    return study.folder
