"""Inputs of the jobs: the frozen study, prepared data, and the records of trained runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vae_ablation.common.files import read_json
from vae_ablation.common.registry import load_parts
from vae_ablation.data.base import Dataset
from vae_ablation.data.prepare import load_dataset
from vae_ablation.study.axes import axis_of
from vae_ablation.study.plan import Study
from vae_ablation.study.workflow import read_frozen

if TYPE_CHECKING:
    from vae_ablation.study.run import Run


def open_study(folder: Path) -> Study:
    """The frozen study, with as many CPU threads as its jobs may have."""
    study, _ = read_frozen(folder)
    load_parts()
    torch.set_num_threads(study.config["packs"]["threads"])
    return study


def load_data(study: Study, data: str) -> Dataset:
    """The prepared data of a key; pictures too many for packs.memory_gb stay on disk."""
    memory_gb = study.config["packs"]["memory_gb"]
    return load_dataset(study.data[data].dataset, study.prepared[data], memory_gb)


def load_trained_on(run: Run, study: Study) -> Dataset:
    """The dataset of a run, with the train split that it was trained on."""
    whole = load_data(study, run.data)
    return whole.with_train_examples(run.train_examples)


def with_split(rows: list[dict[str, Any]], split: int | None) -> list[dict[str, Any]]:
    """Rows of no run, named by the split of their data where it is not the dataset's own."""
    if split is None:
        return rows
    trace = axis_of("split_seed").traced(split)
    return [{**row, "run": f"{row['run']}/{trace}", "split_seed": split} for row in rows]


def pack_records(folder: Path, pack: str) -> dict[Path, dict[str, Any]]:
    """The record of every run that a pack holds, by the run's folder."""
    held = sorted((folder / "packs" / pack / "train").rglob("run.json"))
    return {path.parent: read_json(path) for path in held}
