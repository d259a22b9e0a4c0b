"""codes.h5ad opens in scanpy, keeps the user's order and names, and appears whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vae_ablation.data.base import HELD_OUT, TEST, TRAIN, VALIDATION, Cells
from vae_ablation.data.cells_file import write_codes

anndata = pytest.importorskip("anndata")

SPEC = {
    "likelihood": "negative_binomial",
    "beta": 4.0,
    "kl": True,
    "latent_dim": 3,
    "model": {"hidden": [128, 64], "activation": "relu", "dropout": None},
    "grids": [{"seed": 0}],
    "datasets": {"a/b": 1},
    "nothing": {},
}


def cells_of(n: int, **obs: np.ndarray) -> Cells:
    return Cells(
        features=("g1", "g2"),
        label_names=("T", "B"),
        batch=np.arange(n) % 3,
        batch_names=("p1", "p2", "p3"),
        perturbation=np.arange(n) % 2,
        perturbation_names=("ctrl", "a+b"),
        obs=obs,
    )


def written(path: Path, n: int = 40, **obs: np.ndarray) -> Any:
    """A file of n cells, read again; the latent mean of the i-th given cell is i."""
    labels = np.arange(n) % 2
    labels[0] = -1
    split = np.resize(np.array([TRAIN, VALIDATION, TEST, HELD_OUT], np.int8), n)
    mean = np.repeat(np.arange(n, dtype=np.float32)[:, None], 3, axis=1)
    write_codes(path, cells_of(n, **obs), labels, split, mean, mean + 1, SPEC)
    return anndata.read_h5ad(path)


def test_names_and_codes_come_back_as_text(tmp_path: Path) -> None:
    read = written(tmp_path / "codes.h5ad")
    assert read.obs_names[:2].tolist() == ["cell000001", "cell000002"]
    assert read.obs["label"].isna().tolist() == [True] + [False] * 39
    assert read.obs["label"].tolist()[1:3] == ["B", "T"]
    assert read.obs["batch"].tolist()[:3] == ["p1", "p2", "p3"]
    assert read.obs["perturbation"].tolist()[:2] == ["ctrl", "a+b"]
    assert read.obs["split"].tolist()[:4] == ["train", "validation", "test", "held_out"]
    assert read.X is None
    assert read.obsm["X_vae"].dtype == read.obsm["X_vae_std"].dtype == np.float32
    np.testing.assert_array_equal(read.obsm["X_vae"][:, 0], np.arange(40))
    np.testing.assert_array_equal(read.obsm["X_vae_std"], read.obsm["X_vae"] + 1)


def test_cells_stand_in_the_order_of_the_users_file(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).permutation(100)[:40]
    names = np.array([f"AAC-{row}" for row in rows])
    read = written(tmp_path / "codes.h5ad", file_row=rows, obs_names=names)
    assert read.obs["file_row"].tolist() == sorted(rows.tolist())
    assert read.obs_names.tolist() == [f"AAC-{row}" for row in sorted(rows)]
    np.testing.assert_array_equal(rows[read.obsm["X_vae"][:, 0].astype(int)], np.sort(rows))


def test_columns_that_the_user_keeps_are_there_whatever_their_type_and_name(tmp_path: Path) -> None:
    numbers = np.linspace(0, 1, 40)
    text = np.array(["β", ""] * 20)
    read = written(tmp_path / "c.h5ad", share=numbers, donor=text, label=text, flag=numbers > 0.5)
    np.testing.assert_array_equal(read.obs["share"], numbers)
    np.testing.assert_array_equal(read.obs["flag"], numbers > 0.5)
    assert read.obs["donor"].tolist() == read.obs["file_label"].tolist() == text.tolist()
    assert read.obs["label"].tolist()[1] == "B"


def test_the_specification_is_nested_and_json_where_an_h5ad_cannot_nest(tmp_path: Path) -> None:
    spec = written(tmp_path / "codes.h5ad").uns["vae_ablation"]
    assert (spec["likelihood"], spec["beta"], spec["latent_dim"]) == ("negative_binomial", 4.0, 3)
    assert bool(spec["kl"]) is True
    assert spec["model"]["hidden"].tolist() == [128, 64]
    assert spec["model"]["dropout"] == "null"
    assert (spec["grids"], spec["datasets"]) == ('[{"seed": 0}]', '{"a/b": 1}')
    assert spec["nothing"] == "{}"


def test_bare_numbers_stand_for_labels_without_names_and_no_column_for_none(tmp_path: Path) -> None:
    path = tmp_path / "codes.h5ad"
    split, codes = np.zeros(4, np.int8), np.zeros((4, 2), np.float32)
    write_codes(path, Cells(("g",)), np.array([0, 2, -1, 2]), split, codes, codes, {})
    obs = anndata.read_h5ad(path).obs
    assert obs["label"].astype(object).tolist()[:2] == ["0", "2"]
    write_codes(path, Cells(("g",)), np.full(4, -1), split, codes, codes, {})
    assert anndata.read_h5ad(path).obs.columns.tolist() == ["split"]


def test_the_same_cells_give_the_same_bytes_and_no_temporary_file_stays(tmp_path: Path) -> None:
    written(tmp_path / "a.h5ad")
    written(tmp_path / "b.h5ad")
    assert (tmp_path / "a.h5ad").read_bytes() == (tmp_path / "b.h5ad").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5ad", "b.h5ad"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "codes.h5ad"
    written(path)
    before = path.read_bytes()
    short = np.zeros((3, 2), np.float32)
    with pytest.raises(ValueError):
        write_codes(path, cells_of(40), np.zeros(40, int), np.zeros(40, np.int8), short, short, {})
    assert path.read_bytes() == before


def test_scanpy_finds_the_two_groups_of_the_codes_and_lays_them_out(tmp_path: Path) -> None:
    scanpy = pytest.importorskip("scanpy")
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1], 40)
    mean = rng.normal(size=(80, 3)) + 20 * group[:, None]
    path = tmp_path / "codes.h5ad"
    split = np.zeros(80, np.int8)
    write_codes(path, cells_of(80), group, split, mean, np.ones((80, 3)), SPEC)
    read = scanpy.read_h5ad(path)
    scanpy.pp.neighbors(read, n_neighbors=10, use_rep="X_vae", random_state=0)
    scanpy.tl.umap(read, random_state=0)
    between = read.obsp["connectivities"].toarray()[group == 0][:, group == 1]
    assert between.max() == 0
    layout = read.obsm["X_umap"]
    assert layout.shape == (80, 2)
    assert np.isfinite(layout).all()


def test_columns_whose_names_an_h5ad_cannot_hold_are_renamed(tmp_path: Path) -> None:
    numbers = np.arange(40.0)
    columns = {"QC/pct": numbers, "file_QC_pct": -numbers, "a/b": 2 * numbers, "a_b": 3 * numbers}
    odd = {".": 4 * numbers, "_index": 5 * numbers}
    read = written(tmp_path / "c.h5ad", **columns, **odd)
    assert not [name for name in read.obs.columns if "/" in name]
    found = {name: read.obs[name].iloc[1] for name in read.obs.columns[4:]}
    assert found == {
        "file_QC_pct_": 1,
        "file_QC_pct": -1,
        "file_a_b": 2,
        "a_b": 3,
        "file_.": 4,
        "file__index": 5,
    }
