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

from support import assert_one_sentence, resolved
from vae_ablation.applications.denoising import gene_proportions
from vae_ablation.common.errors import UserError
from vae_ablation.data import h5ad as module
from vae_ablation.data import hdf5_files as probe
from vae_ablation.data.base import Observed, RawData
from vae_ablation.data.counts import CountBlocks, CountMatrix
from vae_ablation.data.h5ad import H5ad
from vae_ablation.data.prepare import load_dataset, prepare_dataset
from vae_ablation.evaluation.features import seen

anndata = pytest.importorskip("anndata")
h5py = pytest.importorskip("h5py")

N, GENES = 50, 12
DEFAULTS: dict[str, Any] = {
    "source": "h5ad",
    "layer": None,
    "label": None,
    "batch": None,
    "library": "all",
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
    names = dict.fromkeys(value for value in (*values, unused) if value is not None)
    return pd.Categorical(
        np.resize(np.array(values, object), n), pd.Index(list(names), dtype=object)
    )


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


check_ends = probe.check_ends
"""The real one: most tests here do without it, since it starts another process."""


@pytest.fixture(autouse=True)
def _no_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "check_ends", lambda path: None)
    monkeypatch.setattr(probe, "PROBE_SECONDS", 10)


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


@pytest.mark.parametrize("held", [10**9, 1], ids=["in memory", "in blocks"])
def test_the_library_of_a_cell_is_the_files_total_or_that_of_the_genes_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    monkeypatch.setattr(module, "HELD_ENTRIES", held)
    x = counts()
    x[:, 3] = 0
    x[:2, 3] = 5  # found in two cells: min_cells leaves it out
    path = save(tmp_path / "a.h5ad", cells(x, obsm={"adt": np.full((N, 2), 9)}))
    for changes in ({"n_top_genes": 4}, {"min_cells": 3}, {"n_top_genes": 4, "protein": "adt"}):
        raw = load(path, **changes, min_counts=5)
        kept = x[x.sum(1) >= 5]
        rna = dense(raw)[:, : raw.x.shape[1] - raw.proteins].sum(1)
        assert raw.outside is not None
        np.testing.assert_array_equal(rna + raw.outside, kept.sum(1))
        assert load(path, **changes, library="kept").outside is None
    assert load(path).outside is None  # nothing is left out


def test_the_library_follows_cells_through_preparation(tmp_path: Path) -> None:
    x = counts(200)
    path = save(tmp_path / "a.h5ad", cells(x))
    total, stored = x.sum(1), {}
    for library in ("all", "kept"):
        given = {"source": "h5ad", "path": str(path), "label": "kind", "min_cells": 1}
        given |= {"n_top_genes": 4, "library": library, "max_examples": 120}
        given |= {"corrupt": {"kind": "thin", "share": 0.3}}
        options = resolved(datasets={"cells": given})["datasets"]["cells"]
        prepare_dataset(options, tmp_path / library)
        data = load_dataset("cells", tmp_path / library)
        rows = np.arange(len(data.x))
        stored[library] = data
        lost = (data.clean - data.x).sum(1)
        wanted = total[data.cells.obs["file_row"]] - lost if library == "all" else data.x.sum(1)
        np.testing.assert_array_equal(data.library(rows), np.maximum(wanted, 1))
        np.testing.assert_array_equal(data.context(rows)[:, 0], data.library(rows))
        assert data.observed.outside is (library == "all")
        assert Observed.from_json(data.observed.to_json()) == data.observed
    np.testing.assert_array_equal(stored["all"].x, stored["kept"].x)
    assert stored["all"].checksum != stored["kept"].checksum
    # Each gene's share of all counts, whatever of them is in the data.
    data = stored["all"]
    train = data.rows("train")
    expected = data.x[train].sum(0) / data.library(train).sum()
    np.testing.assert_allclose(gene_proportions(data), expected, rtol=1e-6)
    kept = gene_proportions(stored["kept"])
    np.testing.assert_allclose(kept, expected / expected.sum(), rtol=1e-6)
    np.testing.assert_allclose(
        seen(data, "test"),
        np.log1p(1e4 * data.observe("test") / data.library(data.rows("test"))[:, None]),
        rtol=1e-5,
    )


def test_data_of_which_nothing_is_left_out_are_the_same_with_either_library(tmp_path: Path) -> None:
    path, checksums = save(tmp_path / "a.h5ad"), set()
    for library in ("all", "kept"):
        given = {"source": "h5ad", "path": str(path), "min_cells": 1, "library": library}
        options = resolved(datasets={"cells": given})["datasets"]["cells"]
        checksums.add(prepare_dataset(options, tmp_path / library)["checksum"])
    assert len(checksums) == 1


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


@pytest.mark.parametrize("kind", ["category", "float", "nullable", "text"])
def test_a_missing_label_is_minus_one(tmp_path: Path, kind: str) -> None:
    data = cells()
    values: Any = np.resize(np.array([1.0, 2.0, np.nan]), N)
    if kind == "nullable":
        values = pd.array(np.resize(np.array([1, 2, None], object), N), dtype="Int64")
    elif kind == "category":
        values = categories(N, "1", "2", None)
    elif kind == "text":
        values = categories(N, "1", "2", "nan")
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
    refused(path, "no X", "its layers are counts; did you mean layer counts?")
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
    options = {"label": "kind", "perturbation": {**PERTURBATION, **changes}}
    refused(path, *parts, **options)
    with pytest.raises(UserError) as caught:  # before anything runs
        describe(DEFAULTS | {"path": str(path)} | options)
    assert_one_sentence(caught.value, path.name, *parts)


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


# --- files as the field has them -----------------------------------------------------------------


def normalised() -> np.ndarray:
    values = counts()
    return np.log1p(values / values.sum(1, keepdims=True) * 1e4)


def with_raw(x: np.ndarray, **parts: Any) -> Any:
    """Counts of all genes in raw, and x of the first ones, as scanpy leaves them."""
    data = cells(x, **parts)
    data.raw = cells(counts(seed=3))
    return data


def test_counts_in_raw_are_read_with_its_names(tmp_path: Path) -> None:
    path = save(tmp_path / "c.h5ad", with_raw(normalised()[:, :5]))
    raw = load(path, layer="raw")
    assert raw.cells is not None
    assert raw.cells.features == tuple(f"g{i}" for i in range(GENES))
    np.testing.assert_array_equal(dense(raw), counts(seed=3))
    few = load(path, layer="raw", n_top_genes=3)
    assert few.x.shape == (N, 3)


def test_a_layer_called_raw_goes_before_the_raw_of_the_file(tmp_path: Path) -> None:
    path = save(tmp_path / "c.h5ad", with_raw(normalised(), layers={"raw": counts()}))
    np.testing.assert_array_equal(dense(load(path, layer="raw")), counts())


def test_a_refusal_says_where_counts_are_and_proposes_nothing_else(tmp_path: Path) -> None:
    log = {"log": normalised()}
    path = save(tmp_path / "c.h5ad", with_raw(normalised(), layers=log))
    refused(path, "X is not a matrix", "did you mean layer raw? (raw/X holds counts)")
    refused(path, "layers/log is not a matrix", "layer raw?", layer="log")
    both = save(tmp_path / "d.h5ad", with_raw(normalised(), layers=log | {"umi": counts()}))
    refused(both, "did you mean layer umi, raw?")
    x = save(tmp_path / "e.h5ad", cells(layers=log))
    refused(x, "did you mean layer null (X)?", layer="log")
    refused(path, "layers has no 'rwa' (layer)", "did you mean 'raw'?", layer="rwa")
    none = with_raw(normalised())
    none.X = None
    refused(save(tmp_path / "f.h5ad", none), "has no X", "did you mean layer raw?")


RANDOM = np.random.default_rng(0)
NATURES = {
    "log1p": (normalised(), "log-transformed"),
    "per cell": (np.expm1(normalised()), "normalised to a common total"),
    "by one factor": (counts() * 0.93, "counts that were scaled"),
    "scaled": (counts() - 1.3, "scaling"),
    "ambient": (counts() * RANDOM.uniform(0.8, 1, (N, GENES)), "round to counts"),
    "0.9999": (counts() * 0.9999, "round to counts"),
    "1.5": (counts() + 0.5 * (np.arange(N * GENES).reshape(N, GENES) == 7), "round to counts"),
}


@pytest.mark.parametrize("name", NATURES)
def test_a_refusal_says_what_the_values_look_like(name: str, tmp_path: Path) -> None:
    values, part = NATURES[name]
    refused(save(tmp_path / "c.h5ad", cells(values)), "X is not a matrix of counts", part)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint32])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_a_count_over_the_limit_reads_as_one(tmp_path: Path, dtype: Any, form: Any) -> None:
    values = counts().astype(dtype)
    over = module.LARGEST_COUNT + (2 if dtype == np.float32 else 1)
    values[20, 4] = over
    path = save(tmp_path / "c.h5ad", cells(form(values)))
    refused(path, f"1 of {np.count_nonzero(values)}", f"the first is {over}.0 (cell r20, g4)")
    values[20, 4] = module.LARGEST_COUNT
    raw = load(save(tmp_path / "c.h5ad", cells(form(values))))
    assert dense(raw).max() == module.LARGEST_COUNT


@pytest.mark.parametrize("kind", [np.float16, ">f8", ">i4"])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_half_precision_and_each_byte_order_are_read(tmp_path: Path, form: Any, kind: Any) -> None:
    path = save(tmp_path / "c.h5ad", cells(form(counts())))
    with h5py.File(path, "r+") as file:
        where = "X" if form is np.asarray else "X/data"
        values, attributes = file[where][:].astype(kind), dict(file[where].attrs)
        del file[where]
        file[where] = values
        file[where].attrs.update(attributes)
    np.testing.assert_array_equal(dense(load(path)), counts())


def proteins(**columns: Any) -> Any:
    data = cells()
    data.obsm["p"] = pd.DataFrame(columns, index=data.obs_names)
    return data


def test_nullable_columns_are_read_where_they_are_whole(tmp_path: Path) -> None:
    values = np.arange(N) % 4
    data = proteins(
        CD3=pd.array(values, dtype="Int64"),
        CD4=pd.array(values > 1, dtype="boolean"),
        CD8=values.astype(np.uint8),
    )
    data.obs["whole"] = pd.array(values, dtype="Int64")
    data.obs["flag"] = pd.array(values > 1, dtype="boolean")
    data.obs["QC/pct"] = values / 4
    raw = load(save(tmp_path / "c.h5ad", data), protein="p", obs=["whole", "flag", "QC/pct"])
    np.testing.assert_array_equal(dense(raw)[:, -3:], np.column_stack([values, values > 1, values]))
    assert raw.cells is not None
    for name, expected in (("whole", values), ("flag", values > 1), ("QC/pct", values / 4)):
        assert raw.cells.obs[name].dtype == expected.dtype
        np.testing.assert_array_equal(raw.cells.obs[name], expected)


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        (pd.array([1, 2, None] + [0] * (N - 3), dtype="Int64"), ["1 missing", "cell r2"]),
        (np.where(np.arange(N) == 7, np.nan, 1), ["1 missing", "cell r7"]),
        (pd.Categorical(np.resize([3, 4], N)), ["category", "the first is 3 (cell r0)"]),
        (categories(N, "a", None), ["category", "'a'"]),
    ],
)
def test_protein_columns_that_are_no_counts_are_told(
    tmp_path: Path, values: Any, parts: list[str]
) -> None:
    path = save(tmp_path / "c.h5ad", proteins(CD4=np.ones(N), CD3=values))
    refused(path, "obsm/p: column 'CD3'", *parts, protein="p")


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (np.arange(N), ["X has shape (50,)", "[cells, features]"]),
        (counts()[:5], ["X has shape (5, 12)", "50 cells"]),
        (np.full((N, GENES), b"a"), ["X holds values of type", "b'a'"]),
    ],
)
def test_a_matrix_that_does_not_fit_is_told(tmp_path: Path, content: Any, parts: list[str]) -> None:
    path = save(tmp_path / "c.h5ad")
    with h5py.File(path, "r+") as file:
        del file["X"]
        file["X"] = content
    refused(path, *parts)


def test_an_element_that_anndata_does_not_know_is_named(tmp_path: Path) -> None:
    path = save(tmp_path / "c.h5ad")
    with h5py.File(path, "r+") as file:
        file["obs/kind"].attrs["encoding-type"] = "a-new-kind"
    refused(path, "obs/kind is stored as a-new-kind", label="kind")


TYPES = ["Gene Expression"] * (GENES - 3) + ["Antibody Capture"] * 2 + ["Peaks"]


def test_antibodies_among_the_genes_are_named_and_split_off(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = cells()
    data.var["feature_types"] = categories(GENES, *TYPES)
    path = save(tmp_path / "c.h5ad", data)
    raw = load(path)
    assert (raw.x.shape, raw.proteins) == ((N, GENES), 0)
    assert "3 of 12 features in X are not genes" in caplog.text
    assert "g9, g10, g11" in caplog.text
    assert "protein: feature_types" in caplog.text
    cut = int(np.median(counts()[:, :9].sum(1)))
    split = load(path, protein="feature_types", min_counts=cut, n_top_genes=4)
    assert split.proteins == 2
    assert split.cells is not None
    assert split.cells.features[-2:] == ("g9", "g10")
    rows = split.cells.obs["file_row"]
    # the cut at min_counts is on genes alone
    np.testing.assert_array_equal(rows, np.flatnonzero(counts()[:, :9].sum(1) >= cut))
    names = [int(name.removeprefix("g")) for name in split.cells.features]
    np.testing.assert_array_equal(dense(split), counts()[rows][:, names])
    data.var["feature_types"] = categories(GENES, "Gene Expression")
    refused(save(path, data), "holds Gene Expression; allowed", protein="feature_types")
    data.var["feature_types"] = categories(GENES, "Gene Expression", "CRISPR Guide Capture")
    refused(save(path, data), "allowed", "without proteins, null", protein="feature_types")


@pytest.mark.parametrize(
    ("types", "note"),
    [
        (
            ["Antibody Capture"],
            "12 of 12 features in X are not genes by var.feature_types (Antibody",
        ),
        (["Peaks"], "give the RNA counts of these cells as genes"),
        (["Antibody Capture", "Peaks"], "(Antibody Capture, Peaks: g0, g1, g2, g3, g4 and 7 more)"),
        (["gene", "Peaks"], "6 of 12 features in X are not genes"),
        (["gene"], ""),
        (["Gene Expression"], ""),
    ],
)
def test_features_of_which_none_is_a_gene_are_named(
    types: list[str], note: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = cells()
    data.var["feature_types"] = categories(GENES, *types)
    assert load(save(tmp_path / "c.h5ad", data)).x.shape == (N, GENES)
    assert (note in caplog.text) if note else (caplog.text == "")
    assert "protein: feature_types" not in caplog.text  # which needs genes beside antibodies


@pytest.mark.parametrize(
    ("members", "part"),
    [
        (["matrix/barcodes", "matrix/data", "matrix/indptr"], "scanpy.read_10x_h5"),
        (["GRCh38/barcodes", "GRCh38/data", "GRCh38/indptr"], "scanpy.read_10x_h5"),
        (["mod/rna", "obs", "var"], "mudata.read"),
        (["matrix", "row_attrs", "col_attrs"], "read_loom"),
        (["assays/RNA", "meta.data"], "SeuratDisk"),
    ],
)
def test_other_hdf5_files_are_named_with_what_reads_them(
    tmp_path: Path, members: list[str], part: str
) -> None:
    path = tmp_path / "c.h5ad"
    with h5py.File(path, "w") as file:
        for member in members:
            file.create_group(member)
    refused(path, "not an h5ad file", part)


@pytest.mark.parametrize(
    ("content", "part"),
    [(b"<html>", "web page"), (b"cell,g1\nc1,2\n", "CSV"), (b"PK\x05\x06" + bytes(18), "ZIP")],
)
def test_files_of_other_kinds_are_named(tmp_path: Path, content: bytes, part: str) -> None:
    path = tmp_path / "c.h5ad"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        describe(DEFAULTS | {"path": str(path)})
    assert_one_sentence(caught.value, "c.h5ad: not readable as an h5ad file", part)


@pytest.mark.parametrize("kind", ["numbers", "categories", "missing", "nullable"])
def test_minus_one_among_numbers_is_no_label(tmp_path: Path, kind: str) -> None:
    data = cells()
    values = np.arange(N) % 3 - 1
    gaps = pd.array([None if i % 6 == 0 else value for i, value in enumerate(values)], "Int64")
    data.obs["cluster"] = {
        "numbers": values,
        "categories": pd.Categorical(values),
        "missing": pd.Categorical.from_codes(np.where(gaps.isna(), -1, values + 1), [-1, 0, 1]),
        "nullable": gaps,
    }[kind]
    raw = load(save(tmp_path / "c.h5ad", data), label="cluster")
    assert raw.cells is not None
    assert raw.labels is not None
    assert raw.labels[:3].tolist() == [-1, 0, 1]
    assert raw.cells.label_names == ("0", "1")


@pytest.mark.parametrize(
    ("values", "part"),
    [
        (np.linspace(0, 1, N), "holds 0.0"),
        (np.arange(N) % 3 - 2, "holds -2"),
        (np.resize([-1, 1], N), "−1 and 1 alone"),
    ],
)
def test_numbers_that_are_no_labels_are_told(tmp_path: Path, values: Any, part: str) -> None:
    data = cells()
    data.obs["mine"] = values
    refused(save(tmp_path / "c.h5ad", data), "'mine' (label)", part, label="mine")


@pytest.mark.parametrize("option", ["batch", "perturbation"])
def test_a_batch_or_perturbation_for_each_cell_is_told(tmp_path: Path, option: str) -> None:
    data = cells()
    data.obs["id"] = categories(N, *(f"cell {i}" for i in range(N)))
    setting: Any = "id" if option == "batch" else {**PERTURBATION, "key": "id", "control": "cell 0"}
    refused(save(tmp_path / "c.h5ad", data), "each of 50 cells", "share", **{option: setting})


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
    monkeypatch.setattr(probe, "_PROBE", "import os; os.kill(os.getpid(), 11)")
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
