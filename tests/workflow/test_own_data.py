"""Data of a user's own, each by a config of ten lines: Snakemake runs them to the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from vae_ablation.common.files import read_json
from workflow.place import Place

RANDOM = np.random.default_rng(7)
PARTS = np.array(["train", "train", "train", "validation", "test"])

OWN = {
    "colour": "source: npz, path: colour.npz",
    "folder": "source: images, folder: pictures, mode: rgb, image_size: [8, 8], fit: stretch",
    "blood": "source: table, path: blood.csv, label: diagnosis, group: patient, missing: mask",
    "cells": "source: h5ad, path: cells.h5ad, label: cell_type, batch: donor, split: part",
}
"""Sections of datasets, as their users write them."""


def write_colour(folder: Path) -> None:
    x = RANDOM.integers(0, 256, (60, 8, 8, 3)).astype(np.uint8)
    np.savez(folder / "colour.npz", x=x, y=np.array(["cat", "dog"])[np.arange(60) % 2])


def write_pictures(folder: Path) -> None:
    """PNG files of four modes, two of them with transparency, in two subfolders."""
    for kind in ("cat", "dog"):
        (folder / "pictures" / kind).mkdir(parents=True)
        for place in range(24):
            mode = ("L", "RGB", "RGBA", "P")[place % 4]
            colours = RANDOM.integers(0, 256, (9, 10, 3)).astype(np.uint8)
            picture = Image.fromarray(colours).convert(mode)
            picture.save(folder / "pictures" / kind / f"{place}.png")


def write_blood(folder: Path) -> None:
    """Four measurements of 20 patients on five days, a tenth of them missing."""
    values = RANDOM.normal(50, 20, (100, 4))
    values[RANDOM.random(values.shape) < 0.1] = np.nan
    table = pd.DataFrame(values, columns=["iron", "zinc", "age", "crp"])
    table["diagnosis"] = np.array(["ill", "well", "unclear"])[np.arange(100) % 3]
    table["patient"] = [f"p{place // 5}" for place in range(100)]
    table.to_csv(folder / "blood.csv", index=False)


def write_cells(folder: Path) -> None:
    """Counts of cells of ten donors, whose parts the user has chosen by donor."""
    donors = np.arange(100) % 10
    names = pd.Index([f"cell{place}" for place in range(100)], dtype=object)
    columns = {
        "donor": [f"d{donor}" for donor in donors],
        "cell_type": np.array(["T", "B"])[np.arange(100) // 50],
        "part": PARTS[donors % 5],
    }
    obs = pd.DataFrame(columns, index=names, dtype=object)
    var = pd.DataFrame(index=pd.Index([f"gene{place}" for place in range(12)], dtype=object))
    counts = RANDOM.poisson(4, (100, 12)).astype(np.float32)
    anndata.AnnData(counts, obs=obs, var=var).write_h5ad(folder / "cells.h5ad")


def config_of(name: str) -> str:
    """The config of a dataset as a user writes it."""
    likelihood = "poisson" if name == "cells" else "gaussian"
    return f"""study: mine
datasets:
  {name}: {{{OWN[name]}}}
grids:
  - {{dataset: [{name}], likelihood: [{likelihood}], latent_dim: [2], beta: [1], seed: [0, 1]}}
model: {{hidden: [8]}}
training: {{epochs: 2, batch_size: 32, device: cpu}}
evaluation: {{nll_samples: 4}}
"""


def config_of_all() -> dict[str, Any]:
    """The four configs as one study."""
    each = [yaml.safe_load(config_of(name)) for name in OWN]
    datasets = {name: options for one in each for name, options in one["datasets"].items()}
    return each[0] | {"datasets": datasets, "grids": [one["grids"][0] for one in each]}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, checkout: Path) -> Place:
    place = Place(tmp_path_factory.mktemp("own"), checkout)
    for write in (write_colour, write_pictures, write_blood, write_cells):
        write(place.folder)
    place.config = config_of_all()
    place.call()
    return place


@pytest.mark.parametrize("name", OWN)
def test_the_config_of_a_users_data_has_ten_lines_at_most(name: str) -> None:
    assert len(config_of(name).splitlines()) <= 10


def test_data_of_ones_own_run_to_the_report(own: Place) -> None:
    study = own.folder / "results" / "mine"
    metrics = pd.read_csv(study / "tables" / "metrics.csv")
    runs = metrics[metrics["model"] == "vae"]
    assert sorted(runs["dataset"]) == sorted([*OWN] * 2)
    assert (metrics["status"] == "ok").all()
    for name, rows in runs.groupby("dataset"):
        for column in ("elbo", "rate", "mse_log1p" if name == "cells" else "mse", "nll"):
            assert np.isfinite(rows[column]).all(), (name, column)
    report = (study / "report.html").read_text(encoding="utf-8")
    for name in OWN:
        assert name in report


def prepared(own: Place, source: str) -> tuple[dict[str, Any], Any]:
    for path in (own.folder / "results" / ".data").glob("*/dataset.json"):
        info = read_json(path)
        if info["source"] == source:
            return info, np.load(path.with_name("arrays.npz"))
    raise AssertionError(source)


def test_pictures_are_what_the_files_show(own: Place) -> None:
    info, arrays = prepared(own, "npz")
    assert info["shape"] == [8, 8, 3]
    with np.load(own.folder / "colour.npz") as given:
        assert (arrays["x"] == given["x"]).all()
    info, arrays = prepared(own, "images")
    assert info["shape"] == [8, 8, 3]
    assert info["label_names"] == ["cat", "dog"]
    assert np.bincount(arrays["labels"]).tolist() == [24, 24]


def test_no_patient_is_in_two_parts_and_gaps_stay_gaps(own: Place) -> None:
    _, arrays = prepared(own, "table")
    table = pd.read_csv(own.folder / "blood.csv")
    parts = pd.Series(arrays["split"]).groupby(table["patient"]).nunique()
    assert (parts == 1).all()
    values = table[["iron", "zinc", "age", "crp"]].to_numpy()
    assert (arrays["present"] == ~np.isnan(values)).all()
    train = values[arrays["split"] == 0]
    expected = (values - np.nanmean(train, 0)) / np.nanstd(train, 0)
    known = ~np.isnan(values)
    np.testing.assert_allclose(arrays["x"][known], expected[known], rtol=1e-5)


def test_the_split_is_the_users(own: Place) -> None:
    _, arrays = prepared(own, "h5ad")
    codes = {"train": 0, "validation": 1, "test": 2}
    wanted = [codes[part] for part in PARTS[(np.arange(100) % 10) % 5]]
    assert arrays["split"].tolist() == wanted
