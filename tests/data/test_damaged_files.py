"""Truncated files and flipped bits: every one is prepared or told, and then nothing is written."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from support import dataset_options, write_mnist
from vae_ablation.common.errors import UserError
from vae_ablation.data.prepare import data_hash, describe_observed, load_dataset, prepare_dataset

FUZZ = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


def npz_options(folder: Path) -> dict[str, Any]:
    random = np.random.default_rng(0)
    arrays = {
        "x": random.integers(0, 256, (40, 6, 5)).astype(np.uint8),
        "y": np.arange(40) % 4,
        "factors": np.arange(80).reshape(40, 2) % 5,
    }
    np.savez(folder / "own.npz", **arrays)
    return dataset_options(source="npz", path=str(folder / "own.npz"))


def idx_options(folder: Path) -> dict[str, Any]:
    return dataset_options(source="mnist", **write_mnist(folder, train=20, test=10))


def zipped_idx_options(folder: Path) -> dict[str, Any]:
    options = idx_options(folder)
    for path in sorted((folder / "MNIST" / "raw").iterdir()):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
        path.unlink()
    return options


def picture_options(folder: Path) -> dict[str, Any]:
    """Pictures of five formats in two classes, and a CSV with their splits."""
    random = np.random.default_rng(0)
    rows = ["file,label,part"]
    for kind in ("a", "b"):
        (folder / kind).mkdir()
        for place, ending in enumerate(("png", "jpg", "gif", "tif", "bmp") * 2):
            name = f"{kind}/{place}.{ending}"
            Image.fromarray(random.integers(0, 256, (6, 5)).astype(np.uint8)).save(folder / name)
            rows.append(f"{name},{kind},{('train', 'validation', 'test')[place % 3]}")
    (folder / "labels.csv").write_text("\n".join(rows))
    files = {"folder": str(folder), "labels": str(folder / "labels.csv")}
    return dataset_options(source="images", **files, mode="grey", split="part")


def table_options(folder: Path) -> dict[str, Any]:
    """A CSV of numbers, gaps, labels and groups."""
    random = np.random.default_rng(0)
    rows = [
        f"{a:.3f},{b:.1f},k{i % 3},g{i % 9}"
        for i, (a, b) in enumerate(random.normal(0, 9, (40, 2)))
    ]
    rows[3] = ",1.5,k0,g0"
    (folder / "own.csv").write_text("\n".join(["a,b,kind,group", *rows]))
    columns = {"label": "kind", "group": "group", "missing": "mask"}
    return dataset_options(source="table", path=str(folder / "own.csv"), **columns)


def table_npz_options(folder: Path) -> dict[str, Any]:
    """Numbers, labels and a split in an archive."""
    random = np.random.default_rng(0)
    parts = np.array(["train", "train", "validation", "test"] * 10)
    arrays = {"x": random.normal(size=(40, 3)), "y": np.arange(40) % 3, "part": parts}
    np.savez(folder / "own.npz", **arrays)
    return dataset_options(source="table", path=str(folder / "own.npz"), split="part")


def parquet_options(folder: Path) -> dict[str, Any]:
    """Numbers, a gap, labels and groups in a Parquet file."""
    options = table_options(folder)
    pd.read_csv(folder / "own.csv").to_parquet(folder / "own.parquet")
    (folder / "own.csv").unlink()
    return options | {"path": str(folder / "own.parquet")}


def table_h5ad_options(folder: Path) -> dict[str, Any]:
    """Real numbers with a column of donors and a split in an h5ad file."""
    random = np.random.default_rng(0)
    names = pd.Index([f"c{i}" for i in range(40)], dtype=object)
    obs = pd.DataFrame(
        {
            "kind": [f"k{i % 3}" for i in range(40)],
            "donor": [f"d{i % 8}" for i in range(40)],
            "part": np.array(["train", "train", "validation", "test"])[np.arange(40) % 4],
        },
        index=names,
        dtype=object,
    )
    var = pd.DataFrame(index=pd.Index(["a", "b", "c"], dtype=object))
    anndata.AnnData(random.normal(size=(40, 3)), obs=obs, var=var).write_h5ad(folder / "own.h5ad")
    columns = {"label": "kind", "group": "donor", "split": "part", "kind": "real"}
    return dataset_options(source="table", path=str(folder / "own.h5ad"), **columns)


def colour_options(folder: Path) -> dict[str, Any]:
    """Pictures in colour with a split of the user's, of which no donor is in two parts."""
    random = np.random.default_rng(0)
    arrays = {
        "x": random.integers(0, 256, (40, 6, 5, 3)).astype(np.uint8),
        "y": np.array(["cat", "dog"])[np.arange(40) % 2],
        "part": np.array(["train", "train", "validation", "test"])[np.arange(40) % 4],
        "donor": np.arange(40) % 8,
    }
    np.savez(folder / "own.npz", **arrays)
    columns = {"split": "part", "group": "donor"}
    return dataset_options(source="npz", path=str(folder / "own.npz"), **columns)


KINDS = {
    "table.parquet": parquet_options,
    "table.h5ad": table_h5ad_options,
    "colour": colour_options,
    "table.csv": table_options,
    "table.npz": table_npz_options,
    "pictures": picture_options,
    "npz": npz_options,
    "idx": idx_options,
    "idx.gz": zipped_idx_options,
}


def prepares_or_is_told(options: dict[str, Any], results: Path) -> bool:
    """Whether data are prepared; if not there is one sentence, and no file in the results."""
    target = results / "prepared"
    told = ""
    try:
        described = describe_observed(options)
        data_hash(options)
        prepare_dataset(options, target)
        dataset = load_dataset("damaged", target)
        assert dataset.observed.shape == described.shape
        assert np.isfinite(dataset.x[np.arange(len(dataset.split))]).all()
    except UserError as error:
        told = str(error)
    assert "\n" not in told
    assert (told == "") == (target / "dataset.json").exists()
    assert told == "" or not list(results.rglob("*.*"))
    return not told


@pytest.mark.parametrize("kind", KINDS)
def test_undamaged_files_are_prepared(kind: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert prepares_or_is_told(KINDS[kind](tmp_path / "data"), tmp_path / "results")


@settings(FUZZ, max_examples=30)
@given(draw=st.data())
def test_a_damaged_h5ad_table_is_prepared_or_told_in_one_sentence(
    draw: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Fewer of them, since one takes as long as ten of the others."""
    damaged(draw, tmp_path_factory.mktemp("damaged"), "table.h5ad")


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"table.h5ad"}))
@FUZZ
@given(draw=st.data())
def test_a_damaged_file_is_prepared_or_told_in_one_sentence(
    kind: str, draw: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    damaged(draw, tmp_path_factory.mktemp("damaged"), kind)


def damaged(draw: st.DataObject, folder: Path, kind: str) -> None:
    """Write files, damage one, and prepare them."""
    (folder / "data").mkdir()
    options = KINDS[kind](folder / "data")
    files = sorted(path for path in (folder / "data").rglob("*") if path.is_file())
    path = draw.draw(st.sampled_from(files))
    content = bytearray(path.read_bytes())
    if draw.draw(st.booleans()):
        del content[draw.draw(st.integers(0, len(content) - 1)) :]
    else:
        # headers are a small part of a file, and the part that matters
        places = st.integers(0, min(80, len(content) - 1)) | st.integers(0, len(content) - 1)
        for place in draw.draw(st.lists(places, min_size=1, max_size=8)):
            content[place] ^= 1 << draw.draw(st.integers(0, 7))
    path.write_bytes(content)
    prepares_or_is_told(options, folder / "results")


@FUZZ
@given(draw=st.data())
def test_a_damaged_file_that_is_mapped_is_prepared_or_told_in_one_sentence(
    draw: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As `npz`, with every array mapped and read a few rows at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vae_ablation.data.npz.MAPPED_BYTES", 0)
        patch.setattr("vae_ablation.data.mapped.BLOCK_VALUES", 100)
        damaged(draw, tmp_path_factory.mktemp("damaged"), "colour")


def test_a_label_that_no_digit_has_is_told(tmp_path: Path) -> None:
    options = idx_options(tmp_path)
    path = tmp_path / "MNIST" / "raw" / "train-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1] + b"\xca")
    with pytest.raises(UserError, match="holds the label 202; allowed: 0 to 9"):
        prepare_dataset(options, tmp_path / "results")
