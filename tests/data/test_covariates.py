"""Covariates in `condition`: from columns to both networks, to a study's tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from faults.made import SMALL, make_tables, run_study
from support import assert_one_sentence, dataset_options, make_run, model_options, resolved
from vae_ablation.common.errors import UserError
from vae_ablation.data.base import TRAIN, Dataset
from vae_ablation.data.prepare import load_dataset, prepare_dataset
from vae_ablation.models.vae import VAE

COVARIATES = {"age": {"kind": "continuous"}, "sex": {"column": "Sex (f/m)"}}


def frame(n: int = 60) -> pd.DataFrame:
    random = np.random.default_rng(0)
    sex = np.array(["f", "m", ""])[np.arange(n) % 3]
    age = np.where(np.arange(n) % 10 == 0, np.nan, random.normal(50, 20, n))
    numbers = {f"v{i}": random.normal(size=n) for i in range(4)}
    return pd.DataFrame({**numbers, "Sex (f/m)": sex, "age": age, "kind": ["a", "b"] * (n // 2)})


def prepared(tmp: Path, table: pd.DataFrame, **options: Any) -> Dataset:
    table.to_csv(tmp / "own.csv", index=False)
    known = {"source": "table", "path": str(tmp / "own.csv"), "label": "kind"}
    prepare_dataset(dataset_options(**{**known, "covariates": COVARIATES, **options}), tmp / "data")
    return load_dataset("own", tmp / "data")


def test_numbers_are_standardised_and_categories_one_hot(tmp_path: Path) -> None:
    table = frame()
    dataset = prepared(tmp_path, table)
    assert dataset.observed.shape == (4,), "covariates are no data"
    train, age = dataset.split == TRAIN, table["age"].to_numpy()
    expected = (age - np.nanmean(age[train])) / np.nanstd(age[train])
    expected = np.where(np.isnan(age), 0, expected)
    context = dataset.context(np.arange(60), "label+age+sex")
    assert context.shape == (60, 5) == (60, dataset.observed.condition_size("label+age+sex"))
    np.testing.assert_allclose(context[:, 2], expected, atol=1e-5)
    sex = table["Sex (f/m)"].to_numpy()
    assert (context[:, 3] == (sex == "f")).all()
    assert (context[:, 4] == (sex == "m")).all()
    assert not dataset.context(np.arange(60)).size


def test_both_networks_see_the_covariates(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, frame())
    run = make_run(condition="age+sex")
    model = VAE.of(run, dataset.observed, model_options())
    x = torch.from_numpy(dataset.x[:5])
    context = torch.from_numpy(dataset.context(np.arange(1, 6), run.condition))
    other = context.clone()
    other[:, 0] += 1
    assert (model.encoder(x, context).mean != model.encoder(x, other).mean).any(1).all()
    z = torch.zeros(5, 2)
    assert (model.decoder(z, context).mean != model.decoder(z, other).mean).any(1).all()


def test_cells_have_covariates(tmp_path: Path) -> None:
    anndata = pytest.importorskip("anndata")
    table = frame()
    names = pd.Index([f"c{i}" for i in range(60)], dtype=object)
    columns = {k: pd.Series(list(table[k]), index=names) for k in ("Sex (f/m)", "age")}
    obs = pd.DataFrame(columns, index=names).astype({"Sex (f/m)": object})
    obs["sex"] = obs.pop("Sex (f/m)")
    genes = pd.DataFrame(index=pd.Index([f"g{i}" for i in range(9)], dtype=object))
    counts = np.random.default_rng(0).poisson(4, (60, 9)).astype(np.float32)
    anndata.AnnData(counts, obs=obs, var=genes).write_h5ad(tmp_path / "own.h5ad")
    options = {"source": "h5ad", "path": str(tmp_path / "own.h5ad")}
    covariates = {"age": {"kind": "continuous"}, "sex": {}}
    prepare_dataset(dataset_options(**options, covariates=covariates), tmp_path / "data")
    dataset = load_dataset("own", tmp_path / "data")
    context = dataset.context(np.arange(60), "age+sex")
    assert context.shape == (60, 4), "library, age, two sexes"
    assert (context[:, 2] == (table["Sex (f/m)"] == "f")).all()


def test_the_order_of_parts_names_the_same_run() -> None:
    datasets = {"own": {"source": "wine"}}
    with pytest.raises(UserError) as caught:
        resolved(datasets=datasets, grids=[{"condition": ["label+age"]}])
    assert_one_sentence(caught.value, "condition[0] for dataset own is 'age'", "batch, label, none")
    table = {"source": "h5ad", "path": str(Path(__file__)), "covariates": COVARIATES}
    grids = [{"condition": ["sex+age+batch", "batch+sex+age"]}]
    config = resolved(datasets={"own": table}, grids=grids)
    assert config["grids"][0]["condition"] == ["batch+age+sex", "batch+age+sex"]
    assert str(make_run(condition="batch+age").arm) == "beta1-given-batch-and-age"
    assert make_run(condition="batch+age").arm.label == "β = 1, conditioned on batch and age"


@pytest.mark.parametrize(
    ("changes", "covariates", "parts"),
    [
        ({}, {"height": {}}, ["covariates.height is 'height'", "allowed: Sex (f/m), age"]),
        ({}, {"kind": {"kind": "continuous"}}, ["covariate kind holds 'a'", "categorical"]),
        ({"age": 3.0}, {"age": {"kind": "continuous"}}, ["covariate age", "differ"]),
        ({"age": np.inf}, {"age": {"kind": "continuous"}}, ["covariate age", "infinite"]),
        ({"age": ""}, {"age": {}}, ["covariate age has 0 categories"]),
        ({"age": "one"}, {"age": {}}, ["covariate age has 1 categories"]),
        ({}, {"age": {"kind": "real"}}, ["covariates.age.kind is 'real'"]),
        ({}, {"a/b": {}}, ["a/b", "letters, digits"]),
    ],
)
def test_wrong_covariates_end_in_one_sentence(
    changes: dict[str, Any], covariates: dict[str, Any], parts: list[str], tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        prepared(tmp_path, frame().assign(**changes), label=None, columns=["v0", "v1"],
                 covariates=covariates)  # fmt: skip
    assert_one_sentence(caught.value, *parts)
    assert not (tmp_path / "data").exists()


STUDY: dict[str, Any] = SMALL | {
    "datasets": {
        "own": {"source": "table", "path": "own.csv", "label": "kind", "covariates": COVARIATES}
    },
    "grids": [{"likelihood": ["gaussian"], "condition": ["none", "label+age", "age"]}],
}


def test_a_study_conditioned_on_covariates_runs_to_its_report(tmp_path: Path) -> None:
    frame().to_csv(tmp_path / "own.csv", index=False)
    run_study(tmp_path, STUDY)
    study = make_tables(tmp_path, STUDY)
    metrics = pd.read_csv(study / "tables" / "metrics.csv")
    runs = metrics[metrics["model"] == "vae"]
    assert sorted(runs["condition"]) == ["age", "label+age", "none"]
    assert (metrics["status"] == "ok").all()
