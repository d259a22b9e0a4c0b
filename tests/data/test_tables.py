"""Tables of real numbers: files, embedded ones, missing values, and a study to its report."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from faults.made import SMALL, make_tables, run_study
from support import assert_one_sentence, cpu_vae, dataset_options
from vae_ablation import load_run
from vae_ablation.common.errors import UserError
from vae_ablation.data.base import TRAIN, Dataset
from vae_ablation.data.prepare import data_hash, describe_observed, load_dataset, prepare_dataset


def prepared(tmp: Path, **options: Any) -> Dataset:
    options = dataset_options(**options)
    described = describe_observed(options)
    prepare_dataset(options, tmp / "data")
    dataset = load_dataset("own", tmp / "data")
    assert dataset.observed == described
    return dataset


def frame(n: int = 60) -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "a": random.normal(10, 3, n),
            "b": random.exponential(1000, n),
            "kind": ["x" if i % 3 else "y" for i in range(n)],
            "donor": [f"d{i % 8}" for i in range(n)],
        }
    )


def gaps(table: pd.DataFrame) -> pd.DataFrame:
    table = table.copy()
    table.loc[::4, "a"] = np.nan
    table.loc[1::6, "b"] = np.nan
    return table


def written(tmp: Path, table: pd.DataFrame, ending: str) -> str:
    path = tmp / f"own.{ending}"
    if ending == "csv":
        table.to_csv(path, index=False)
    elif ending == "npz":
        columns = {name: table[name].to_numpy(str) for name in ("kind", "donor")}
        np.savez(path, x=table[["a", "b"]].to_numpy(), features=np.array(["a", "b"]), **columns)
    elif ending == "parquet":
        table.to_parquet(path)
    else:
        anndata = pytest.importorskip("anndata")
        names = pd.Index([f"c{i}" for i in range(len(table))], dtype=object)
        obs = table[["kind", "donor"]].astype(object).set_index(names)
        var = pd.DataFrame(index=pd.Index(["a", "b"], dtype=object))
        anndata.AnnData(table[["a", "b"]].to_numpy(), obs=obs, var=var).write_h5ad(path)
    return str(path)


FILE = {"source": "table", "label": "kind", "group": "donor"}


@pytest.mark.parametrize("ending", ["csv", "npz", "parquet", "h5ad"])
def test_files_of_each_kind_are_standardised_by_the_train_split(
    ending: str, tmp_path: Path
) -> None:
    table = gaps(frame())
    path = written(tmp_path, table, ending)
    kind = {"kind": "real"} if ending == "h5ad" else {}
    dataset = prepared(tmp_path, path=path, missing="mask", **FILE, **kind)
    values = table[["a", "b"]].to_numpy()
    train = values[dataset.split == TRAIN]
    mean, scale = np.nanmean(train, 0), np.nanstd(train, 0)
    expected = np.where(np.isnan(values), 0, (values - mean) / scale)
    np.testing.assert_allclose(dataset.x, expected, atol=1e-5)
    np.testing.assert_allclose(dataset.standard, [mean, scale])
    assert dataset.features == ("a", "b")
    assert (dataset.present == ~np.isnan(values)).all()
    assert dataset.class_names == ("x", "y")
    sides = [set(table["donor"][dataset.rows(name)]) for name in ("train", "validation", "test")]
    assert sum(map(len, sides)) == 8


def test_the_context_says_which_numbers_are_there(tmp_path: Path) -> None:
    path = written(tmp_path, gaps(frame()), "csv")
    dataset = prepared(tmp_path, path=path, missing="mask", **FILE)
    context = dataset.context(np.arange(5), "label")
    assert (context[:, :2] == dataset.present[:5]).all()
    assert context.shape == (5, 4)


def test_the_elbo_does_not_depend_on_what_stands_in_a_gap(tmp_path: Path) -> None:
    """p(x given z) of the observed numbers alone, whatever the decoder says of the others."""
    path = written(tmp_path, gaps(frame()), "csv")
    dataset = prepared(tmp_path, path=path, missing="mask", **FILE)
    vae = cpu_vae(dataset.observed, "student_t", "mlp")
    context = torch.from_numpy(dataset.context(np.arange(20)))
    z, x = torch.randn(20, 2), torch.from_numpy(dataset.x[:20])
    other = torch.where(torch.from_numpy(dataset.present[:20]) > 0, x, 7.0)
    distribution = vae.decoder(z, context)
    torch.testing.assert_close(distribution.log_prob(x), distribution.log_prob(other))
    whole = vae.decoder(z).log_prob(x)
    complete = torch.from_numpy(dataset.present[:20]).all(1)
    torch.testing.assert_close(distribution.log_prob(x)[complete], whole[complete])
    assert (distribution.log_prob(x)[~complete] != whole[~complete]).all()


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [("wine", (178, 13), 3), ("breast-cancer", (569, 30), 2), ("diabetes", (442, 10), 0)],
)
def test_embedded_tables(name: str, shape: tuple[int, int], classes: int, tmp_path: Path) -> None:
    dataset = prepared(tmp_path, source=name)
    assert dataset.x.shape == shape
    assert dataset.observed.classes == classes
    train = dataset.x[dataset.split == TRAIN].astype(float)
    np.testing.assert_allclose(train.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(train.std(0), 1, atol=1e-5)
    assert dataset.present is None


def test_a_column_that_does_not_vary_is_0(tmp_path: Path) -> None:
    table = frame().assign(c=5.0)
    dataset = prepared(tmp_path, path=written(tmp_path, table, "csv"), **FILE)
    assert not dataset.x[:, 2].any()


def test_a_list_of_thousands_of_columns_is_cut_short(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", x=np.zeros((20, 3000)))
    options = dataset_options(source="table", path=str(tmp_path / "own.npz"), columns=["y"])
    with pytest.raises(UserError) as caught:
        prepare_dataset(options, tmp_path / "data")
    assert_one_sentence(caught.value, "columns[0] is 'y'", "allowed: x1, x10, ", "and 2900 more.")


def test_a_covariate_names_its_file(tmp_path: Path) -> None:
    chosen = {"covariates": {"kind": {"kind": "continuous", "column": None}}}
    path = written(tmp_path, frame(), "csv")
    options = dataset_options(source="table", path=path, columns=["a"], **chosen)
    with pytest.raises(UserError) as caught:
        prepare_dataset(options, tmp_path / "data")
    assert_one_sentence(caught.value, "own.csv: covariate kind holds 'y'", "categorical")


def test_columns_of_any_size_are_standardised(tmp_path: Path) -> None:
    table = frame().assign(b=lambda rows: rows["a"] * 1e-15)
    dataset = prepared(tmp_path, path=written(tmp_path, table, "csv"), **FILE)
    np.testing.assert_allclose(dataset.x[:, 1], dataset.x[:, 0], atol=1e-5)


def test_a_first_column_without_a_name_holds_names_of_rows(tmp_path: Path) -> None:
    frame().to_csv(tmp_path / "own.csv")
    path = str(tmp_path / "own.csv")
    assert prepared(tmp_path, path=path, **FILE).features == ("a", "b")
    named = prepared(tmp_path, path=path, columns=["Unnamed: 0", "a"], **FILE)
    assert named.features == ("Unnamed: 0", "a")


def test_spaces_after_commas_are_no_part_of_names_and_labels(tmp_path: Path) -> None:
    spaces = ("", " ")
    rows = "".join(f"{i}, {i * i}, k{i % 2}{spaces[i % 3 > 0]}, d{i % 5} \n" for i in range(30))
    path = text(tmp_path, f"a, b, kind , donor\n{rows} 1, 2, k0, d0\n")
    options = dataset_options(source="table", path=path, label="kind", group="donor")
    info = prepare_dataset(options, tmp_path / "data")
    assert info["features"] == ["a", "b"]
    assert info["label_names"] == ["k0", "k1"]
    assert sum(info["groups"].values()) == 5


@pytest.mark.parametrize("ending", ["", ".0"])
def test_whole_labels_of_a_csv_are_those_of_other_files(ending: str, tmp_path: Path) -> None:
    """−1 and a gap are no label, and 5 comes before 10."""
    labels = ["-1", "", "5", "10"]
    rows = "".join(f"{i},{label and label + ending}\n" for i in range(12) for label in labels)
    dataset = prepared(tmp_path, source="table", path=text(tmp_path, f"a,y\n{rows}"), label="y")
    assert dataset.class_names == ("5", "10")
    assert dataset.labels[:4].tolist() == [-1, -1, 0, 1]


@pytest.mark.parametrize("ending", ["parquet", "h5ad"])
def test_labels_of_each_type_may_be_missing(ending: str, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    anndata = pytest.importorskip("anndata")
    kinds = {
        "truth": pd.array([True, None, False, True] * 10, dtype="boolean"),
        "whole": pd.array([5, None, -1, 10] * 10, dtype="Int64"),
        "category": pd.Categorical([5, None, -1, 10] * 10),
    }
    path, names = tmp_path / f"own.{ending}", [f"c{i}" for i in range(40)]
    x = np.arange(80.0).reshape(40, 2)
    index = pd.Index(names, dtype=object)
    if ending == "h5ad":
        obs, var = pd.DataFrame(kinds, index=index), pd.DataFrame(index=index[:2])
        anndata.AnnData(x, obs=obs, var=var).write_h5ad(path)
    else:
        pd.DataFrame(x, columns=["a", "b"]).assign(**kinds).to_parquet(path)
    columns = {"columns": names[:2], "kind": "real"} if ending == "h5ad" else {"columns": ["a"]}
    for label, classes, first in (
        ("truth", ("False", "True"), [1, -1, 0, 1]),
        ("whole", ("5", "10"), [0, -1, -1, 1]),
        ("category", ("5", "10"), [0, -1, -1, 1]),
    ):
        dataset = prepared(tmp_path, source="table", path=str(path), label=label, **columns)
        assert dataset.class_names == classes
        assert dataset.labels[:4].tolist() == first


def test_an_archive_of_bytes_and_other_arrays_is_read(tmp_path: Path) -> None:
    """Text as bytes is text, and an array of objects that nothing names does not matter."""
    arrays = {"y": np.array([b"u", b"v"] * 10), "sex": np.array([b"f", b"m"] * 10)}
    x = np.arange(40, dtype=">f8").reshape(20, 2)
    features = np.array([b"a", b"b"])
    np.savez(tmp_path / "own.npz", x=x, features=features, note=np.array([None]), **arrays)
    chosen = {"covariates": {"sex": {"kind": "categorical", "column": None}}}
    options = dataset_options(source="table", path=str(tmp_path / "own.npz"), **chosen)
    info = prepare_dataset(options, tmp_path / "data")
    assert info["features"] == ["a", "b"]
    assert info["label_names"] == ["u", "v"]
    assert info["categories"] == {"sex": ["f", "m"]}


def text(tmp: Path, content: str | bytes, name: str = "own.csv") -> str:
    (tmp / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return str(tmp / name)


ROWS = "".join(f"{i},{i * i},k{i % 2}\n" for i in range(30))
WRONG: dict[str, tuple[str | bytes, dict[str, Any], list[str]]] = {
    "gap": (f"a,b,c\n,1,k0\n{ROWS}", {"label": "c"}, ["1 values are missing", "missing: mask"]),
    "infinite": (f"a,b,c\ninf,1,k0\n{ROWS}", {"label": "c"}, ["column a", "inf", "row 0"]),
    "huge": (f"a,b,c\n1e35,1,k0\n{ROWS}", {"label": "c"}, ["column a", "above 1e+30"]),
    "text": (f"a,b,c\n{ROWS}", {}, ["c holds text such as 'k0'", "columns"]),
    "no such label": (f"a,b,c\n{ROWS}", {"label": "d"}, ["label is 'd'", "allowed: a, b, c"]),
    "no such column": (f"a,b,c\n{ROWS}", {"columns": ["x"]}, ["columns[0] is 'x'"]),
    "empty": ("", {}, ["not readable as a CSV"]),
    "header": ("a,b\n", {}, ["has no rows"]),
    "bytes": (b"\xff\xfe\x00,\x81", {}, ["not readable as a CSV"]),
    "twice": (f"a,a,c\n{ROWS}", {"label": "c"}, ["column 'a' twice"]),
    "no numbers": ("c\n" + "k0\nk1\n" * 9, {"label": "c"}, ["0 columns of numbers"]),
    "empty column": ("a,b\n" + "1,\n" * 20, {"missing": "mask"}, ["b has no value at all"]),
    "empty row": ("a,b\n" + "1,2\n" * 20 + ",\n", {"missing": "mask"}, ["row 20", "no value"]),
    "missing label": (f"a,b,c\n{ROWS}", {"label": "c", "missing": "drop"}, ["missing is 'drop'"]),
    "binarised": (f"a,b,c\n{ROWS}", {"label": "c", "binarize": "static"}, ["tables", "none"]),
    "long row": (f"a,b\n{ROWS}", {}, ["Length of header is 2, and line 2 has 3"]),
    "semicolons": ("a;b\n" + "1,5;2,5\n" * 20, {}, ["separated by ';'", "commas"]),
    "tabs": ("a\tb\n" + "1\t2\n" * 20, {}, ["separated by '\\t'"]),
    "Latin-1": ("é,b\n1,2\n".encode("latin-1"), {}, ["not in UTF-8"]),
    "UTF-16": ("a,b\n1,2\n".encode("utf-16"), {}, ["not in UTF-8"]),
    "gzip": (gzip.compress(b"a,b\n1,2\n"), {}, ["compressed with gzip"]),
    "web page": ("<!DOCTYPE html>\n<p>Not found, sorry</p>\n", {}, ["a web page"]),
    "underscores": (f"a,b,c\n1_2,1,k0\n{ROWS}", {"label": "c"}, ["a holds text such as '1_2'"]),
    "negative": ("a,b\n" + "1,-1\n2,1\n" * 20, {"label": "b"}, ["own.csv: b (label)", "−1 and 1"]),
    "few": ("a,b\n1,2\n3,4\n", {}, ["every split needs at least one example"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_tables_end_in_one_sentence(name: str, tmp_path: Path) -> None:
    content, options, parts = WRONG[name]
    known = {"source": "table", "path": text(tmp_path, content), **options}
    with pytest.raises(UserError) as caught:
        prepare_dataset(dataset_options(**known), tmp_path / "data")
    assert_one_sentence(caught.value, *parts)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("name", "content", "options", "parts"),
    [
        ("own.xlsx", b"PK", {}, [".npz, .csv, .parquet, .h5ad"]),
        ("own.h5ad", b"x", {}, ["kind is null", "source h5ad for counts"]),
        ("own.h5ad", b"x", {"kind": "real"}, ["not readable as an h5ad file"]),
        ("own.h5ad", b"\x89HDF\r\n\x1a\n", {"kind": "real"}, ["not readable as an h5ad file"]),
        ("own.parquet", b"x", {}, ["not readable as a Parquet table"]),
        ("own.parquet", b"PAR1 PAR1", {}, ["Parquet"]),
        ("own.npz", b"x", {}, ["not readable as an .npz"]),
    ],
)
def test_files_of_other_kinds_end_in_one_sentence(
    name: str, content: bytes, options: dict[str, Any], parts: list[str], tmp_path: Path
) -> None:
    known = {"source": "table", "path": text(tmp_path, content, name), **options}
    with pytest.raises(UserError) as caught:
        prepare_dataset(dataset_options(**known), tmp_path / "data")
    assert_one_sentence(caught.value, *parts)


@pytest.mark.parametrize(
    ("arrays", "parts"),
    [
        ({"x": np.zeros(20)}, ["shape (20,)", "[n, dims]"]),
        ({"y": np.zeros(20)}, ["array x: none"]),
        ({"x": np.full((20, 2), "a")}, ["x is of type <U1"]),
        ({"x": np.zeros((20, 2)), "y": np.zeros(3)}, ["y (label) has shape (3,)", "[20]"]),
        ({"x": np.zeros((20, 2)), "features": np.zeros(3)}, ["features has shape (3,)", "[2]"]),
        ({"x": np.zeros((0, 2))}, ["0 rows and 2 columns"]),
        ({"x": np.array([[None]] * 20)}, ["not readable as an .npz", "x holds Python objects"]),
        ({"x": np.zeros((20, 2)), "y": np.full(20, 0.5)}, ["own.npz: y (label) holds 0.5"]),
    ],
)
def test_wrong_arrays_end_in_one_sentence(
    arrays: dict[str, Any], parts: list[str], tmp_path: Path
) -> None:
    np.savez(tmp_path / "own.npz", **arrays)
    options = dataset_options(source="table", path=str(tmp_path / "own.npz"))
    with pytest.raises(UserError) as caught:
        prepare_dataset(options, tmp_path / "data")
    assert_one_sentence(caught.value, *parts)


def test_the_hash_follows_the_options_that_are_read(tmp_path: Path) -> None:
    options = dataset_options(path=written(tmp_path, frame(), "csv"), **FILE)
    assert data_hash(options) != data_hash(options | {"missing": "mask"})
    assert data_hash(options) == data_hash(options | {"folder": "elsewhere"})


STUDY: dict[str, Any] = SMALL | {
    "datasets": {
        "own": {**FILE, "path": "own.csv", "missing": "mask"},
        "wine": {"source": "wine"},
    },
    "grids": [{"likelihood": ["gaussian", "student_t"], "latent_dim": [1], "kl": [True, False]}],
}


def test_a_csv_with_missing_values_runs_to_its_report(tmp_path: Path) -> None:
    written(tmp_path, gaps(frame()), "csv")
    run_study(tmp_path, STUDY)
    study = make_tables(tmp_path, STUDY)
    metrics = pd.read_csv(study / "tables" / "metrics.csv")
    runs = metrics[metrics["model"] == "vae"]
    assert set(runs["measure"]) == {"standardised/density"}
    assert runs["nll"].notna().all()
    assert runs["mse"].between(0, 10).all()
    assert (metrics["status"] == "ok").all()
    assert list((study / "figures").rglob("*.png"))
    trained = load_run(next(path for path in (study / "runs" / "own").rglob("seed0")))
    standard = trained.record["standard"]
    assert standard["features"] == ["a", "b"]
    drawn = trained.sample(200, draw=True)
    centre = np.array(standard["mean"])
    assert (abs(drawn.mean(0).numpy() - centre) < 3 * np.array(standard["scale"])).all()
