"""Export of a dataset by split, for models that are trained elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_ablation.common.errors import UserError, unknown_name
from vae_ablation.common.files import write_atomic
from vae_ablation.common.registry import load_parts
from vae_ablation.data.base import SPLITS, Dataset
from vae_ablation.data.prepare import data_hash, load_dataset, prepare_dataset
from vae_ablation.evaluation.external_codes import example_ids
from vae_ablation.study.config import read_config


def export_split(
    config_path: Path, name: str | None, split_seed: int | None, data_folder: Path, out: Path
) -> list[str]:
    """Write a dataset as models see it, by split; prepare it first where it is not.

    Args:
        config_path: a config file.
        name: the dataset; None for the only one.
        split_seed: in place of the dataset's own.
        data_folder: results/.data.
        out: the .npz to write: x_train [n, dims] (float32; left out where they are too many to
            hold), y_train (labels, −1 for none), id_train (names of examples), and the same of
            validation and test.

    Returns:
        Sentences on what was written.

    Raises:
        UserError: the config or its data cannot be read, or there is no such dataset.
    """
    config = read_config(config_path)
    datasets = config["datasets"]
    if name is None:
        if len(datasets) > 1:
            there = ", ".join(datasets)
            raise UserError(f"{config_path}: has several datasets; allowed: one of {there}.")
        name = next(iter(datasets))
    if name not in datasets:
        raise unknown_name(f"{config_path}: the dataset", name, datasets)
    options = dict(datasets[name])
    if split_seed is not None:
        options["split_seed"] = split_seed
    load_parts()
    folder = data_folder / data_hash(options)
    if not (folder / "dataset.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        prepare_dataset(options, folder)
    dataset = load_dataset(name, folder, config["packs"]["memory_gb"])
    arrays = _arrays(dataset)
    write_atomic(out, lambda stream: np.savez(stream, allow_pickle=False, **arrays))
    sizes = ", ".join(f"{len(dataset.rows(split))} {split}" for split in SPLITS)
    there = "" if "x_train" in arrays else " without x, which is too large to hold"
    return [f"{out}: dataset {name}, {sizes} examples{there}."]


def _arrays(dataset: Dataset) -> dict[str, NDArray[Any]]:
    values, ids = dataset.x if dataset.fixed is None else dataset.fixed, example_ids(dataset)
    found: dict[str, NDArray[Any]] = {}
    for split in SPLITS:
        rows = dataset.rows(split)
        if isinstance(values, np.ndarray):
            found[f"x_{split}"] = values[rows]
        found |= {f"y_{split}": dataset.labels[rows], f"id_{split}": ids[rows]}
    return found
