"""Data that change between runs are noticed, named, and never mixed in the tables."""

from __future__ import annotations

import os
from contextlib import chdir
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

from faults.made import copied, nothing_is_to_do, plan, planned, run_study
from support import assert_one_sentence
from vae_ablation.common.errors import UserError
from vae_ablation.common.files import read_json
from vae_ablation.data.prepare import load_dataset, prepare_dataset
from vae_ablation.jobs.train import train_job
from vae_ablation.tables.collect import collect

IMAGES: dict[str, Any] = {
    "study": "small",
    "datasets": {
        "mine": {"source": "npz", "path": "mine.npz"},
        "digits": {"source": "sklearn-digits", "max_examples": 120},
    },
    "grids": [{"likelihood": ["gaussian"]}],
    "model": {"hidden": [8]},
    "training": {"epochs": 1, "device": "cpu"},
    "evaluation": {"nll_samples": 4},
}
CELLS: dict[str, Any] = IMAGES | {
    "datasets": {"cells": {"source": "h5ad", "path": "cells.h5ad", "min_cells": 0}},
    "grids": [{"likelihood": ["poisson"]}],
}


def write_images(folder: Path, first: int = 0) -> None:
    digits = load_digits()
    rows = slice(first, first + 100)
    np.savez(folder / "mine.npz", x=digits.images[rows].astype(np.uint8), y=digits.target[rows])


def write_cells(folder: Path, seed: int = 0) -> None:
    counts = np.random.default_rng(seed).poisson(2.0, (100, 12)).astype(np.float32)
    tables = (pd.DataFrame(index=names(prefix, n)) for prefix, n in (("c", 100), ("g", 12)))
    anndata.AnnData(counts, *tables).write_h5ad(folder / "cells.h5ad")


def names(prefix: str, n: int) -> pd.Index:
    """Text as objects: anndata does not write the type that pandas has for text."""
    return pd.Index([f"{prefix}{number}" for number in range(n)], dtype=object)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    write_images(folder)
    run_study(folder, IMAGES)
    return folder


@pytest.fixture
def images(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished study."""
    return copied(finished, tmp_path)


def reasons(folder: Path, raw: dict[str, Any]) -> set[tuple[str, str | None]]:
    return {(item.run.dataset, item.reason) for item in plan(folder, raw).planned}


def checksums(folder: Path, raw: dict[str, Any]) -> dict[str, set[str]]:
    """Checksums of the data that the runs of the tables were trained on, by dataset."""
    state = planned(folder, raw)
    with chdir(folder):
        rows = collect(state.study, state.plan, [])
        found: dict[str, set[str]] = {name: set() for name in state.study.datasets}
        for run, dataset in zip(rows["run"], rows["dataset"], strict=True):
            record = read_json(state.study.folder / "runs" / run / "run.json")
            found[dataset].add(record["data_checksum"])
    return found


def test_a_changed_npz_is_named_and_only_its_runs_train_again(images: Path) -> None:
    before = checksums(images, IMAGES)
    write_images(images, first=300)
    expected = {("mine", "data of mine changed"), ("digits", None)}
    assert reasons(images, IMAGES) == expected
    run_study(images, IMAGES)
    assert nothing_is_to_do(images, IMAGES)
    after = checksums(images, IMAGES)
    assert after["digits"] == before["digits"]
    assert len(after["mine"]) == 1
    assert after["mine"] != before["mine"]


def test_a_changed_h5ad_is_named(tmp_path: Path) -> None:
    write_cells(tmp_path)
    run_study(tmp_path, CELLS)
    write_cells(tmp_path, seed=1)
    assert reasons(tmp_path, CELLS) == {("cells", "data of cells changed")}


def test_data_that_change_back_find_their_runs_of_then(images: Path) -> None:
    was = (images / "mine.npz").read_bytes()
    write_images(images, first=300)
    (images / "mine.npz").write_bytes(was)
    assert nothing_is_to_do(images, IMAGES)


def test_changed_settings_and_changed_data_are_told_apart(images: Path) -> None:
    other = IMAGES | {"training": IMAGES["training"] | {"learning_rate": 0.002}}
    assert {reason for _, reason in reasons(images, other)} == {"settings changed"}
    write_images(images, first=300)
    assert reasons(images, other) == {
        ("digits", "settings changed"),
        ("mine", "settings and data of mine changed"),
    }


def test_a_file_that_is_touched_or_moved_changes_nothing(images: Path) -> None:
    os.utime(images / "mine.npz", (0, 0))
    assert nothing_is_to_do(images, IMAGES)
    (images / "elsewhere").mkdir()
    (images / "mine.npz").rename(images / "elsewhere" / "mine.npz")
    moved = {"mine": {"source": "npz", "path": "elsewhere/mine.npz"}}
    assert nothing_is_to_do(images, IMAGES | {"datasets": IMAGES["datasets"] | moved})


def test_data_that_change_while_jobs_wait_train_nothing_under_the_old_plan(images: Path) -> None:
    state = planned(images, IMAGES | {"grids": [{"likelihood": ["gaussian"], "seed": [5]}]})
    pack = next(item.pack for item in state.plan.to_train if item.run.dataset == "mine")
    with chdir(images):
        state.freeze()
        write_images(images, first=300)
        with pytest.raises(UserError) as caught:
            train_job(state.study.folder, pack)
        assert_one_sentence(caught.value, "results/.data", "run the same command again")
        assert not (state.study.folder / "packs" / pack / "train").exists()


def test_prepared_data_with_a_flipped_bit_are_told_and_not_used(images: Path) -> None:
    state = planned(images, IMAGES)
    with chdir(images):
        folder = state.study.prepared["mine"]
        arrays = folder / "arrays.npz"
        content = bytearray(arrays.read_bytes())
        for place in range(200, len(content), 997):
            damaged = bytearray(content)
            damaged[place] ^= 1
            arrays.write_bytes(damaged)
            try:
                assert load_dataset("mine", folder).checksum == state.study.checksums["mine"]
            except UserError as error:
                assert_one_sentence(error, str(folder))
        arrays.write_bytes(content[: len(content) // 2])
        with pytest.raises(UserError):
            load_dataset("mine", folder)


def test_data_that_are_damaged_are_prepared_again_once_deleted(images: Path) -> None:
    state = planned(images, IMAGES)
    with chdir(images):
        folder = state.study.prepared["mine"]
        before = load_dataset("mine", folder).checksum
        (folder / "arrays.npz").unlink()
        prepare_dataset(state.study.config["datasets"]["mine"], folder)
        assert load_dataset("mine", folder).checksum == before
    assert nothing_is_to_do(images, IMAGES)
