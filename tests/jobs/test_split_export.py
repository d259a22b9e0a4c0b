"""A dataset by split, for models made elsewhere; and cells whose codes come back by name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import sparse

from support import features_of
from vae_ablation.cli import main
from vae_ablation.common.errors import UserError
from vae_ablation.data.base import Dataset
from vae_ablation.data.prepare import load_dataset
from vae_ablation.evaluation.external import external_rows
from vae_ablation.evaluation.external_codes import read_codes
from vae_ablation.study.external import ExternalArm

GUIDE = Path(__file__).parents[2] / "docs" / "extending.md"
SCRIPTS = re.findall(r"```py\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
N = 120


def cells_file() -> anndata.AnnData:
    random = np.random.default_rng(0)
    kinds = random.integers(0, 3, N)
    rates = random.gamma(1.0, 1.0, (3, 30))[kinds] * random.gamma(5.0, 1.0, (N, 1))
    counts = sparse.csr_matrix(random.poisson(rates).astype(np.float32))
    # text as objects: anndata does not write the type that pandas has for text
    obs = pd.DataFrame(
        {
            "cell_type": np.array([f"type {kind}" for kind in kinds], dtype=object),
            "plate": random.choice(np.array(["a", "b"], dtype=object), N),
        },
        index=pd.Index([f"cell-{number}" for number in random.permutation(N)], dtype=object),
        dtype=object,
    )
    genes = pd.DataFrame(index=pd.Index([f"g{i}" for i in range(30)], dtype=object))
    return anndata.AnnData(X=counts, obs=obs, var=genes)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    cells_file().write_h5ad(tmp_path / "cells.h5ad")
    blood = {"source": "h5ad", "path": "cells.h5ad", "label": "cell_type", "batch": "plate"}
    config = {
        "datasets": {"blood": blood, "digits": {"source": "sklearn-digits", "max_examples": 100}},
        "grids": [{"dataset": ["blood"], "likelihood": ["poisson"]}, {"dataset": ["digits"]}],
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return tmp_path


def exported(folder: Path, name: str, *further: str) -> tuple[dict[str, Any], Dataset]:
    assert not main(["split", "study.yaml", name, *further])
    with np.load(folder / "split.npz") as archive:
        arrays = {key: archive[key] for key in archive.files}
    (prepared,) = (folder / "results" / ".data").iterdir()
    return arrays, load_dataset(name, prepared)


def test_pictures_are_written_as_models_see_them(folder: Path) -> None:
    arrays, digits = exported(folder, "digits")
    for split in ("train", "validation", "test"):
        np.testing.assert_array_equal(arrays[f"x_{split}"], digits.observe(split))
        np.testing.assert_array_equal(arrays[f"y_{split}"], digits.labels_of(split))
        np.testing.assert_array_equal(arrays[f"id_{split}"], digits.rows(split).astype(str))


def test_another_split_is_written_for_another_seed(folder: Path) -> None:
    first, _ = exported(folder, "digits")
    assert not main(["split", "study.yaml", "digits", "--split-seed", "1"])
    with np.load(folder / "split.npz") as archive:
        assert set(archive["id_test"]) != set(first["id_test"])


def test_cells_have_their_names(folder: Path) -> None:
    arrays, _ = exported(folder, "blood")
    cells = cells_file()
    np.testing.assert_array_equal(
        arrays["x_test"], cells[arrays["id_test"], :].X.toarray()[:, : arrays["x_test"].shape[1]]
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["study.yaml"], "has several datasets; allowed: one of blood, digits."),
        (["study.yaml", "blod"], "the dataset is 'blod', which is not known"),
        (["no.yaml"], "no.yaml: no config file can be read here"),
    ],
)
def test_a_wrong_call_ends_in_a_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    assert main(["split", *arguments]) == 1
    assert sentence in capsys.readouterr().err


def test_codes_in_obsm_are_matched_by_cell_name(folder: Path) -> None:
    arrays, blood = exported(folder, "blood")
    cells = cells_file()
    codes = np.random.default_rng(0).normal(size=(N, 4))
    cells.obsm["X_own"] = codes
    cells[np.random.default_rng(1).permutation(N)].copy().write_h5ad(folder / "own.h5ad")
    found = read_codes(folder / "own.h5ad", "X_own", blood)
    by_name = dict(zip(cells.obs_names, codes, strict=True))
    np.testing.assert_array_equal(found.test, [by_name[name] for name in arrays["id_test"]])
    np.testing.assert_array_equal(found.train, [by_name[name] for name in arrays["id_train"]])


def changed(cells: anndata.AnnData, what: str) -> anndata.AnnData:
    cells.obsm["X_own"] = np.ones((N, 2))
    if what == "names":
        cells.obs_names = pd.Index([f"{name}-1" for name in cells.obs_names], dtype=object)
    if what == "few":
        return cells[:50].copy()
    if what == "nan":
        cells.obsm["X_own"][:] = np.nan
    if what == "table":
        text = pd.DataFrame({"a": ["x"] * N}, index=cells.obs_names, dtype=object)
        cells.obsm["X_own"] = text
    return cells


@pytest.mark.parametrize(
    ("what", "key", "sentence"),
    [
        ("", "X_scvi", r"own.h5ad: obsm has no 'X_scvi'; allowed: X_own\."),
        ("names", "X_own", r"has no row for 86 of the 86 examples in the train split .*-1'\."),
        ("few", "X_own", r"has no row for \d+ of the 86 examples in the train split"),
        ("nan", "X_own", r"train has a number that is not finite in row 0 \(86 of 86 rows\)"),
        ("table", "X_own", r"obsm\['X_own'\] holds object of shape \(120, 1\); allowed"),
    ],
)
def test_a_wrong_h5ad_is_refused_in_a_sentence(
    folder: Path, what: str, key: str, sentence: str
) -> None:
    _, blood = exported(folder, "blood")
    changed(cells_file(), what).write_h5ad(folder / "own.h5ad")
    with pytest.raises(UserError, match=sentence):
        read_codes(folder / "own.h5ad", key, blood)


def test_an_h5ad_that_is_none_is_refused(folder: Path) -> None:
    _, blood = exported(folder, "blood")
    (folder / "own.h5ad").write_bytes(b"no")
    with pytest.raises(UserError, match=r"own.h5ad: not readable as an h5ad file"):
        read_codes(folder / "own.h5ad", "X_own", blood)


def test_a_model_of_scvi_tools_is_an_arm(folder: Path) -> None:
    """The script of docs/extending.md as it stands, but for its length."""
    pytest.importorskip("scvi", reason="scvi-tools is an extra: pip install -e '.[bench]'")
    _, blood = exported(folder, "blood")
    script = SCRIPTS[1].replace("range(3)", "range(1)").replace("max_epochs=100", "max_epochs=2")
    exec(script, {})
    arm = ExternalArm("scvi", "blood", str(folder / "scvi-seed0.csv"), seeds=(0,))
    (row,) = external_rows(arm, 0, blood, 0, features_of(blood), 1)
    assert row["latent_dim"] == 10
    assert {"probe_accuracy", "nmi", "silhouette", "batch_knn_mixing"} <= set(row)
    assert not {"mse", "elbo", "sample_fid"} & set(row)
