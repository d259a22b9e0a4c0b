"""Cells of the user's own: what is read, what is filtered, and each wrong file in one sentence."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse

from support import assert_one_sentence
from vae_ablation.data import h5ad as module
from vae_ablation.data.base import Observed, RawData
from vae_ablation.data.counts import CountBlocks, CountMatrix
from vae_ablation.data.h5ad import H5ad
from vae_ablation.errors import UserError

anndata = pytest.importorskip("anndata")
h5py = pytest.importorskip("h5py")

N, GENES = 50, 12
DEFAULTS: dict[str, Any] = {
    "source": "h5ad",
    "layer": None,
    "label": None,
    "batch": None,
    "n_top_genes": None,
    "min_cells": 1,
    "min_counts": 0,
    "obs": [],
    "protein": None,
    "perturbation": None,
}
PERTURBATION = {"key": "guide", "control": "ctrl", "separator": "+", "held_out": []}


def counts(n: int = N, genes: int = GENES, seed: int = 0) -> np.ndarray:
    """Poisson counts; no gene is found nowhere, no cell is empty."""
    rng = np.random.default_rng(seed)
    values = rng.poisson(rng.gamma(1, 1, genes), (n, genes))
    values[np.arange(genes), np.arange(genes)] += 1
    values[:, 0] += 1
    return values.astype(np.float32)


def table_of(n: int, prefix: str = "r", **columns: Any) -> pd.DataFrame:
    """A table whose names are stored as objects, as anndata always wrote them."""
    names = pd.Index([f"{prefix}{i}" for i in range(n)], dtype=object)
    return pd.DataFrame(columns, index=names)


def categories(n: int, *values: str | None, unused: str | None = None) -> pd.Categorical:
    """Values over and over, as categories of text that is stored as objects."""
    names = [value for value in (*values, unused) if value is not None]
    return pd.Categorical(np.resize(np.array(values, object), n), pd.Index(names, dtype=object))


def cells(x: Any = None, **parts: Any) -> Any:
    """An AnnData with counts, three labels, two plates and guides."""
    x = counts() if x is None else x
    n = x.shape[0]
    obs = table_of(
        n,
        kind=categories(n, "T", "B", "NK", unused="unused"),
        plate=np.resize([2, 10], n),
        guide=categories(n, "ctrl", "b+a", "a", "b", "a+ctrl"),
        depth=np.linspace(0, 1, n),
    )
    return anndata.AnnData(X=x, obs=obs, var=table_of(x.shape[1], "g"), **parts)


def save(path: Path, data: Any = None) -> Path:
    (cells() if data is None else data).write_h5ad(path)
    return path


check_ends = module._check_ends
"""The real one: most tests here do without it, since it starts another process."""


@pytest.fixture(autouse=True)
def _no_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_check_ends", lambda path: None)
    monkeypatch.setattr(module, "PROBE_SECONDS", 10)


def describe(options: dict[str, Any]) -> Observed:
    """As a plan does first."""
    check_ends(Path(options["path"]))
    return H5ad().describe(options)


def load(path: Path, **changes: Any) -> RawData:
    options = DEFAULTS | {"path": str(path)} | changes
    source = H5ad()
    source.check_options("config.yaml: datasets.mine", options)
    described = source.describe(options)
    raw = source.load(options)
    assert raw.cells is not None
    features = raw.x.shape[1]
    assert features <= described.dims
    assert features == len(raw.cells.features)
    assert described.counts
    assert described.proteins == raw.proteins
    assert len(raw.cells.label_names) <= described.classes
    assert len(raw.cells.batch_names) <= described.batches
    return raw


def dense(raw: RawData) -> np.ndarray:
    if isinstance(raw.x, CountBlocks):
        return sparse.vstack(list(raw.x.blocks())).toarray()
    return raw.x.toarray()


def refused(path: Path, *parts: str, **changes: Any) -> None:
    """The file or the options end in one sentence that names the file and `parts`."""
    with pytest.raises(UserError) as caught:
        load(path, **changes)
    assert_one_sentence(caught.value, path.name, *parts)


MEDIAN = int(np.median(counts().sum(1)))
"""A cut that half of the cells pass."""


# --- counts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["dense", "csr", "csc", "layer", "integers", "gzip"])
def test_counts_are_the_files_whatever_form_they_are_stored_in(tmp_path: Path, form: str) -> None:
    values, options = counts(), {}
    if form == "layer":
        data = cells(np.log1p(values), layers={"raw": sparse.csr_matrix(values)})
        options["layer"] = "raw"
    else:
        kinds = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix}
        stored = values.astype(np.int64) if form == "integers" else values
        data = cells(kinds.get(form, np.asarray)(stored))
    path = tmp_path / "c.h5ad"
    data.write_h5ad(path, compression="gzip" if form == "gzip" else None)
    raw = load(path, **options)
    assert sparse.issparse(raw.x)
    assert raw.x.dtype == np.float32
    np.testing.assert_array_equal(dense(raw), values)
    assert raw.cells is not None
    assert raw.cells.features == tuple(f"g{i}" for i in range(GENES))
    assert (raw.levels, raw.labels, raw.held_out, raw.proteins) == (None, None, None, 0)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_many_counts_come_in_blocks_that_are_the_same_counts(
    tmp_path: Path, form: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "c.h5ad", cells(form(counts())))
    options = {"min_counts": MEDIAN, "min_cells": 20, "label": "kind"}
    whole = load(path, **options)
    monkeypatch.setattr(module, "HELD_ENTRIES", 10)
    monkeypatch.setattr(module, "BLOCK_ENTRIES", 30)
    monkeypatch.setattr(module.row_blocks, "__defaults__", (30,))
    blocks = load(path, **options)
    assert isinstance(blocks.x, CountBlocks)
    assert len(list(blocks.x.blocks())) > 5
    assert 0 < blocks.x.shape[0] < N
    assert 0 < blocks.x.shape[1] < GENES
    np.testing.assert_array_equal(dense(blocks), dense(whole))
    stored = CountMatrix.write(tmp_path / "x", blocks.x.blocks(), blocks.x.shape[1])
    np.testing.assert_array_equal(stored[:], dense(whole))
    keep = np.arange(len(blocks.x)) % 4 == 1
    taken = blocks.take(keep)
    np.testing.assert_array_equal(dense(taken), dense(whole)[keep])


def test_cells_go_first_and_genes_are_counted_in_those_that_stay(tmp_path: Path) -> None:
    values = np.zeros((6, 4))
    values[:, 0] = [5, 5, 5, 1, 1, 0]  # found in all but one
    values[:3, 1] = 1  # found in three cells, all kept
    values[2:5, 2] = 1  # found in three cells, of which one is kept
    values[0, 3] = 9
    raw = load(save(tmp_path / "c.h5ad", cells(values)), min_counts=5, min_cells=3)
    assert raw.cells is not None
    assert raw.cells.features == ("g0", "g1")
    np.testing.assert_array_equal(dense(raw), values[:3, :2])
    assert raw.cells.obs["file_row"].tolist() == [0, 1, 2]
    assert raw.cells.obs["file_row"].dtype == np.int64
    assert raw.cells.obs["obs_names"].tolist() == ["r0", "r1", "r2"]


def test_variable_genes_are_scanpys(tmp_path: Path) -> None:
    scanpy = pytest.importorskip("scanpy")
    values = counts(300, 80)
    path = save(tmp_path / "c.h5ad", cells(sparse.csr_matrix(values)))
    raw = load(path, n_top_genes=25, min_cells=2, min_counts=1)
    expected = cells(values)
    scanpy.pp.filter_cells(expected, min_counts=1)
    scanpy.pp.filter_genes(expected, min_cells=2)
    chosen = _scanpy_genes(scanpy, expected, 25)
    assert raw.cells is not None
    assert raw.cells.features == chosen
    names = [f"g{i}" for i in range(80)]
    np.testing.assert_array_equal(dense(raw), values[:, [names.index(name) for name in chosen]])


def test_above_the_bound_evenly_spaced_cells_stand_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scanpy = pytest.importorskip("scanpy")
    values = counts(301, 80)
    path = save(tmp_path / "c.h5ad", cells(sparse.csr_matrix(values)))
    monkeypatch.setattr(module, "VARIABLE_CELLS", 101)
    raw = load(path, n_top_genes=25)
    assert raw.cells is not None
    assert raw.cells.features == _scanpy_genes(scanpy, cells(values[::3]), 25)
    assert raw.x.shape == (301, 25)


def _scanpy_genes(scanpy: Any, data: Any, wanted: int) -> tuple[str, ...]:
    scanpy.pp.normalize_total(data, target_sum=1e4)
    scanpy.pp.log1p(data)
    scanpy.pp.highly_variable_genes(data, n_top_genes=wanted, flavor="seurat")
    return tuple(data.var_names[data.var["highly_variable"]])


@pytest.mark.parametrize("wanted", [1, 3, 4])
def test_variable_genes_of_a_tiny_file_are_as_many_as_asked(tmp_path: Path, wanted: int) -> None:
    pytest.importorskip("scanpy")
    values = np.tile([1.0, 1.0, 2.0, 1.0], (5, 1))
    raw = load(save(tmp_path / "c.h5ad", cells(values)), n_top_genes=wanted)
    assert raw.x.shape == (5, wanted)


@pytest.mark.parametrize("values", [np.full((40, 6), 3.0), np.tile(np.arange(1.0, 7), (40, 1))])
def test_where_no_gene_varies_the_first_are_taken(tmp_path: Path, values: np.ndarray) -> None:
    pytest.importorskip("scanpy")
    raw = load(save(tmp_path / "c.h5ad", cells(values)), n_top_genes=2)
    np.testing.assert_array_equal(dense(raw), values[:, :2])


def test_a_single_cell_that_is_left_has_genes(tmp_path: Path) -> None:
    pytest.importorskip("scanpy")
    values = np.zeros((5, 6))
    values[3] = 5
    path = save(tmp_path / "c.h5ad", cells(values))
    assert load(path, n_top_genes=2, min_counts=1, min_cells=1).x.shape == (1, 2)


# --- what is known of cells ----------------------------------------------------------------------


def test_labels_are_numbered_in_the_order_of_their_names_without_unused_ones(
    tmp_path: Path,
) -> None:
    raw = load(save(tmp_path / "c.h5ad"), label="kind", batch="plate")
    assert raw.cells is not None
    assert raw.labels is not None
    assert raw.cells.label_names == ("B", "NK", "T")
    assert raw.labels[:3].tolist() == [2, 0, 1]
    assert raw.cells.batch_names == ("10", "2")  # categories of numbers are text
    assert raw.cells.batch is not None
    assert raw.cells.batch[:2].tolist() == [1, 0]
    assert raw.labels.dtype == raw.cells.batch.dtype == np.int64


@pytest.mark.parametrize("kind", ["category", "float", "nullable"])
def test_a_missing_label_is_minus_one(tmp_path: Path, kind: str) -> None:
    data = cells()
    values: Any = np.resize(np.array([1.0, 2.0, np.nan]), N)
    if kind == "nullable":
        values = pd.array(np.resize(np.array([1, 2, None], object), N), dtype="Int64")
    elif kind == "category":
        values = categories(N, "1", "2", None)
    data.obs["mine"] = values
    raw = load(save(tmp_path / "c.h5ad", data), label="mine")
    assert raw.labels is not None
    assert raw.cells is not None
    assert raw.labels[:4].tolist() == [0, 1, -1, 0]
    assert raw.cells.label_names == {"float": ("1.0", "2.0")}.get(kind, ("1", "2"))


def test_a_column_without_any_label_gives_none(tmp_path: Path) -> None:
    data = cells()
    data.obs["mine"] = np.full(N, np.nan)
    raw = load(save(tmp_path / "c.h5ad", data), label="mine")
    assert raw.labels is not None
    assert set(raw.labels) == {-1}


def test_kept_columns_are_numbers_or_text(tmp_path: Path) -> None:
    data = cells()
    data.obs["flag"] = np.arange(N) % 2 == 0
    data.obs["gap"] = pd.array([None, *range(1, N)], dtype="Int64")
    columns = ["depth", "kind", "flag", "gap", "plate"]
    raw = load(save(tmp_path / "c.h5ad", data), obs=columns, min_counts=MEDIAN)
    assert raw.cells is not None
    obs = raw.cells.obs
    rows = obs["file_row"]
    assert 0 < len(rows) < N
    assert list(obs) == ["obs_names", "file_row", *columns]
    np.testing.assert_array_equal(obs["depth"], np.linspace(0, 1, N)[rows])
    np.testing.assert_array_equal(obs["flag"], rows % 2 == 0)
    np.testing.assert_array_equal(obs["gap"], np.where(rows == 0, np.nan, rows))
    assert obs["kind"].tolist() == [("T", "B", "NK")[row % 3] for row in rows]
    assert [obs[name].dtype.kind for name in columns] == ["f", "U", "b", "f", "i"]


# --- perturbations -------------------------------------------------------------------------------


def test_perturbations_have_sorted_parts_and_the_control_first(tmp_path: Path) -> None:
    raw = load(save(tmp_path / "c.h5ad"), perturbation=PERTURBATION)
    assert raw.cells is not None
    assert raw.cells.perturbation is not None
    assert raw.cells.perturbation_names == ("ctrl", "a", "a+b", "b")
    # ctrl, b+a, a, b, a+ctrl
    assert raw.cells.perturbation[:5].tolist() == [0, 2, 1, 3, 1]
    assert raw.held_out is None


def test_held_out_perturbations_are_named_alone_or_under_a_label(tmp_path: Path) -> None:
    path = save(tmp_path / "c.h5ad")
    held = {**PERTURBATION, "held_out": ["b+a", "NK:b"]}
    raw = load(path, perturbation=held, label="kind")
    assert raw.held_out is not None
    assert raw.cells is not None
    row = np.arange(N)
    expected = (row % 5 == 1) | ((row % 5 == 3) & (row % 3 == 2))
    np.testing.assert_array_equal(raw.held_out, expected)


def test_another_separator_joins_combinations(tmp_path: Path) -> None:
    data = cells()
    data.obs["guide"] = categories(N, "x|y", "nt", "y|x")
    settings_ = {"key": "guide", "control": "nt", "separator": "|", "held_out": ["y|x"]}
    raw = load(save(tmp_path / "c.h5ad", data), perturbation=settings_)
    assert raw.cells is not None
    assert raw.held_out is not None
    assert raw.cells.perturbation_names == ("nt", "x+y")
    np.testing.assert_array_equal(raw.held_out, np.arange(N) % 3 != 1)


# --- proteins ------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["array", "table", "sparse"])
def test_protein_counts_stand_behind_the_genes(tmp_path: Path, form: str) -> None:
    proteins = counts(N, 3, seed=1)
    stored: Any = sparse.csr_matrix(proteins) if form == "sparse" else proteins
    data = cells()
    if form == "table":
        names = pd.Index(["CD3", "g1", "CD8"], dtype=object)
        stored = pd.DataFrame(proteins, index=data.obs_names, columns=names)
    data.obsm["adt"] = stored
    raw = load(save(tmp_path / "c.h5ad", data), protein="adt", min_cells=3, min_counts=MEDIAN)
    assert raw.proteins == 3
    assert raw.cells is not None
    names = ("CD3", "g1 (protein)", "CD8") if form == "table" else ("adt_1", "adt_2", "adt_3")
    assert raw.cells.features[-3:] == names
    rows = raw.cells.obs["file_row"]
    # the cut at min_counts is on RNA alone
    np.testing.assert_array_equal(rows, np.flatnonzero(counts().sum(1) >= MEDIAN))
    np.testing.assert_array_equal(dense(raw)[:, -3:], proteins[rows])


def test_proteins_must_be_counts_too(tmp_path: Path) -> None:
    data = cells(layers={"raw": counts()})
    values = counts(N, 3, seed=1)
    values[7, 1] = 0.5
    data.obsm["adt"] = values
    path = save(tmp_path / "c.h5ad", data)
    refused(path, "obsm/adt", "0.5", "r7", "adt_2", protein="adt")


# --- errors --------------------------------------------------------------------------------------


def test_a_path_that_is_null_or_absent_is_told_before_anything_runs(tmp_path: Path) -> None:
    for path, part in ((None, "null"), (str(tmp_path / "no.h5ad"), "no such file")):
        with pytest.raises(UserError) as caught:
            H5ad().check_options("config.yaml: datasets.mine", DEFAULTS | {"path": path})
        assert_one_sentence(caught.value, "config.yaml: datasets.mine.path", part)


@pytest.mark.parametrize("content", [b"", b"not HDF5", bytes(4000), b"\x89HDF\r\n\x1a\n"])
def test_a_file_that_is_no_h5ad_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c.h5ad"
    path.write_bytes(content)
    refused(path, "not readable")


def test_an_hdf5_file_of_something_else_is_told(tmp_path: Path) -> None:
    path = tmp_path / "c.h5ad"
    with h5py.File(path, "w") as file:
        file["X"] = counts()
    refused(path, "no table obs")


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"layer": "count"}, ["layers", "'count'", "layer", "did you mean 'counts'?"]),
        ({"label": "knd"}, ["obs", "'knd' (label)", "did you mean 'kind'?", "plate"]),
        ({"batch": "donor"}, ["obs", "'donor' (batch)", "there: "]),
        ({"obs": ["depth", "age"]}, ["obs", "'age' (obs[1])"]),
        ({"protein": "adt"}, ["obsm", "'adt' (protein)", "there: none"]),
        ({"perturbation": {**PERTURBATION, "key": "g"}}, ["'g' (perturbation.key)"]),
    ],
)
def test_names_that_are_not_in_the_file_are_told_with_what_is(
    tmp_path: Path, changes: dict[str, Any], parts: list[str]
) -> None:
    refused(save(tmp_path / "c.h5ad", cells(layers={"counts": counts()})), *parts, **changes)


def test_a_handful_of_many_names_is_listed(tmp_path: Path) -> None:
    data = cells()
    for i in range(9):
        data.obs[f"column{i}"] = i
    refused(save(tmp_path / "c.h5ad", data), "and 8 more", label="zzz")


def test_a_file_without_x_needs_a_layer(tmp_path: Path) -> None:
    data = cells(layers={"counts": counts()})
    data.X = None
    path = save(tmp_path / "c.h5ad", data)
    refused(path, "no X", "counts")
    np.testing.assert_array_equal(dense(load(path, layer="counts")), counts())


@pytest.mark.parametrize("value", [0.5, -1, np.nan, np.inf, -np.inf, 1e9])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_what_is_no_count_is_told_with_its_place_and_other_layers(
    tmp_path: Path, value: float, form: Any
) -> None:
    values = counts()
    values[[20, 33], [4, 5]] = value
    path = save(tmp_path / "c.h5ad", cells(form(values), layers={"umi": counts()}))
    shown = f"{value:g}"
    refused(path, " X ", "2 of", shown, "r20, g4", "whole numbers", "did you mean layer umi?")


def test_no_layer_is_proposed_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load(save(tmp_path / "c.h5ad", cells(np.log1p(counts()))))
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize("which", ["obs_names", "var_names"])
def test_names_that_occur_twice_are_told(tmp_path: Path, which: str) -> None:
    data = cells()
    names = getattr(data, which).to_numpy().copy()
    names[3] = names[1]
    setattr(data, which, pd.Index(names, dtype=object))
    refused(save(tmp_path / "c.h5ad", data), which, "more than once", names[1])


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"min_counts": 10**6}, ["none of 50 cells", "min_counts", "1000000"]),
        ({"min_cells": N + 1}, ["0 of 12 genes", "min_cells", "51"]),
        ({"n_top_genes": GENES + 1}, ["12 of 12 genes", "at least 13", "n_top_genes"]),
    ],
)
def test_a_filter_that_leaves_too_little_is_told(
    tmp_path: Path, changes: dict[str, Any], parts: list[str]
) -> None:
    refused(save(tmp_path / "c.h5ad"), *parts, **changes)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_a_file_without_cells_or_genes_is_told(tmp_path: Path, shape: tuple[int, int]) -> None:
    data = anndata.AnnData(
        X=np.zeros(shape, np.float32), obs=table_of(shape[0]), var=table_of(shape[1])
    )
    refused(save(tmp_path / "c.h5ad", data), "has no")


@pytest.mark.parametrize("option", ["batch", "perturbation"])
def test_every_cell_needs_a_batch_and_a_perturbation(tmp_path: Path, option: str) -> None:
    data = cells()
    data.obs["gaps"] = categories(N, "a", None, "ctrl")
    setting: Any = "gaps" if option == "batch" else {**PERTURBATION, "key": "gaps"}
    refused(save(tmp_path / "c.h5ad", data), "'gaps'", "17 missing", **{option: setting})


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"control": "control"}, ["no control 'control'", "there: "]),
        ({"held_out": ["c"]}, ["held_out", "'c'", "a+b"]),
        ({"held_out": ["T:c"]}, ["held_out", "'T:c'", "T:…"]),
        ({"held_out": ["X:a"]}, ["held_out", "'X:a'"]),
        ({"held_out": ["ctrl"]}, ["held_out", "'ctrl'", "not every control"]),
    ],
)
def test_perturbations_that_are_not_there_are_told(
    tmp_path: Path, changes: dict[str, Any], parts: list[str]
) -> None:
    path = save(tmp_path / "c.h5ad")
    refused(path, *parts, label="kind", perturbation={**PERTURBATION, **changes})


def test_a_column_with_a_name_of_our_own_cannot_be_kept(tmp_path: Path) -> None:
    data = cells()
    data.obs["file_row"] = 1
    refused(save(tmp_path / "c.h5ad", data), "'file_row'", obs=["file_row"])


def test_a_package_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "c.h5ad")

    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(module.importlib, "import_module", absent)
    with pytest.raises(UserError) as caught:
        H5ad().describe(DEFAULTS | {"path": str(path)})
    assert_one_sentence(caught.value, "h5py", "not installed")


# --- damaged files -------------------------------------------------------------------------------


def test_a_file_on_which_hdf5_never_ends_is_told(tmp_path: Path) -> None:
    """Eight flipped bits: the attribute with the names of obs then has no end."""
    path = tmp_path / "c.h5ad"
    path.write_bytes(gzip.decompress((Path(__file__).parent / "hanging.h5ad.gz").read_bytes()))
    with pytest.raises(UserError) as caught:
        describe(DEFAULTS | {"path": str(path)} | WHOLE)
    assert_one_sentence(caught.value, str(path), "not readable as an h5ad file")


def test_a_file_on_which_hdf5_crashes_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PROBE", "import os; os.kill(os.getpid(), 11)")
    with pytest.raises(UserError) as caught:
        describe(DEFAULTS | {"path": str(save(tmp_path / "c.h5ad"))})
    assert_one_sentence(caught.value, "c.h5ad", "HDF5 crashes on it")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = cells(sparse.csr_matrix(counts()))
    data.obsm["adt"] = counts(N, 2, seed=1)
    return save(tmp_path_factory.mktemp("sound") / "c.h5ad", data)


WHOLE = {
    "label": "kind",
    "batch": "plate",
    "obs": ["depth"],
    "protein": "adt",
    "perturbation": PERTURBATION,
}
FUZZ = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def loads_or_is_told(path: Path, content: bytes, read: Callable[..., object]) -> None:
    """A damaged file is read, or refused in one line: nothing else."""
    path.write_bytes(content)
    options = DEFAULTS | {"path": str(path)} | WHOLE
    told = ""
    try:
        read(options)
        H5ad().load(options)
    except UserError as error:
        told = str(error)
    assert "\n" not in told


@FUZZ
@given(share=st.floats(0, 1))
def test_a_truncated_file_is_told(tmp_path: Path, sound: Path, share: float) -> None:
    content = sound.read_bytes()
    loads_or_is_told(tmp_path / "c.h5ad", content[: int(share * len(content))], H5ad().describe)


@FUZZ
@given(data=st.data())
def test_a_file_with_flipped_bits_is_told_or_read(
    tmp_path: Path, sound: Path, data: st.DataObject
) -> None:
    content = bytearray(sound.read_bytes())
    bits = st.tuples(st.integers(0, len(content) - 1), st.integers(0, 7))
    for place, bit in data.draw(st.lists(bits, min_size=1, max_size=20)):
        content[place] ^= 1 << bit
    loads_or_is_told(tmp_path / "c.h5ad", bytes(content), describe)


# --- real files ----------------------------------------------------------------------------------


def real(name: str) -> Path:
    root = os.environ.get("VAE_ABLATION_DATA")
    if not root:
        pytest.skip(f"VAE_ABLATION_DATA is not set: it names the folder with {name}")
    return Path(root).resolve() / name


def test_five_cell_lines_on_three_plates_are_read_as_anndata_reads_them() -> None:
    path = real("mixology_5cl.h5ad")
    raw = load(path, label="cell_line", batch="plate", obs=["doublet"], min_cells=3, min_counts=1)
    expected = anndata.read_h5ad(path)
    assert raw.cells is not None
    assert raw.labels is not None
    assert raw.cells.batch is not None
    assert raw.x.shape == (909, len(raw.cells.features))
    assert (raw.x != expected[:, list(raw.cells.features)].X).nnz == 0
    found = np.array(raw.cells.label_names)[raw.labels]
    np.testing.assert_array_equal(found, expected.obs["cell_line"].astype(str))
    plates = np.array(raw.cells.batch_names)[raw.cells.batch]
    np.testing.assert_array_equal(plates, expected.obs["plate"].astype(str))
    np.testing.assert_array_equal(raw.cells.obs["doublet"], expected.obs["doublet"])
    np.testing.assert_array_equal(raw.cells.obs["obs_names"], expected.obs_names)


def test_variable_genes_of_five_cell_lines_are_scanpys() -> None:
    scanpy = pytest.importorskip("scanpy")
    path = real("mixology_5cl.h5ad")
    raw = load(path, n_top_genes=500, min_cells=3, min_counts=1)
    expected = scanpy.read_h5ad(path)
    scanpy.pp.filter_genes(expected, min_cells=3)
    assert raw.cells is not None
    assert raw.cells.features == _scanpy_genes(scanpy, expected, 500)


def test_the_mixtures_keep_their_proportions() -> None:
    columns = ["H2228_prop", "H1975_prop", "HCC827_prop", "mRNA_amount"]
    raw = load(real("rnamix_celseq2.h5ad"), label="mixture", obs=columns, min_counts=1)
    assert raw.cells is not None
    assert raw.x.shape[0] == 340
    assert len(raw.cells.label_names) == 7
    total = sum(raw.cells.obs[name] for name in columns[:3])
    np.testing.assert_allclose(total, 1, atol=0.011)
