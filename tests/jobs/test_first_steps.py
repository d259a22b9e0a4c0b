"""`vae-ablation init` and `run`: a folder that runs, or one sentence and no folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from vae_ablation.cli import main
from vae_ablation.study.config import read_config


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive of 60 pictures with labels, in the working directory."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    path = tmp_path / "images.npz"
    np.savez(path, x=random.integers(0, 256, (60, 6, 6), np.uint8), y=np.arange(60) % 3)
    return path


def test_init_writes_a_config_that_finds_the_data_from_its_own_folder(images, capsys) -> None:
    assert main(["init", "deep/mine", "--npz", "images.npz"]) == 0
    config = read_config(Path("deep/mine/config.yaml"))
    assert config["study"] == "mine"
    assert Path(config["datasets"]["images"]["path"]) == images
    written = yaml.safe_load(Path("deep/mine/config.yaml").read_text())
    assert written["datasets"]["images"]["path"] == "../../images.npz"
    told = capsys.readouterr().out
    assert "60 pictures of 6 × 6, 256 levels, 3 classes" in told
    assert "Cost: 48 runs in 4 packs, about " in told
    assert told.splitlines()[-1] == "Next: vae-ablation run deep/mine/config.yaml"


def test_init_finds_data_from_a_folder_behind_a_link(images, tmp_path) -> None:
    """As $HOME/scratch is on a cluster; data may be a link, too, whose target has no ending."""
    Path("disk/deep").mkdir(parents=True)
    Path("scratch").symlink_to(tmp_path / "disk" / "deep")
    images.rename("blob")
    images.symlink_to("blob")
    assert main(["init", "scratch/mine", "--npz", "images.npz"]) == 0
    for folder in ("scratch", "disk/deep"):
        found = read_config(Path(folder, "mine", "config.yaml"))["datasets"]["images"]["path"]
        assert Path(found) == images


def test_init_measures_counts_conditioned_on_batches(tmp_path, monkeypatch, capsys) -> None:
    anndata = pytest.importorskip("anndata")
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    counts = random.poisson(2.0, (60, 12)).astype(np.float32)
    names = [pd.Index(list(map(str, range(size))), dtype=object) for size in counts.shape]
    columns = {"Cell_Type": ["a", "b", "c"] * 20, "donor": ["x", "y"] * 30, "sample": names[0]}
    obs = pd.DataFrame(columns, index=names[0], dtype=object)
    layers, var = {"counts": counts}, pd.DataFrame(index=names[1])
    anndata.AnnData(np.log1p(counts), obs, var, layers=layers).write_h5ad("cells.h5ad")
    assert main(["init", "mine", "--h5ad", "cells.h5ad"]) == 0
    chosen = yaml.safe_load(Path("mine/config.yaml").read_text())
    assert chosen["datasets"]["cells"] == {
        "source": "h5ad", "path": "../cells.h5ad", "layer": "counts", "label": "Cell_Type",
        "batch": "donor",
    }  # fmt: skip
    assert chosen["grids"][0]["condition"] == ["none", "batch"]
    assert "about" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("shift", "factor", "sentence"),
    [(0.5, 1, "X is not a matrix of counts"), (0, 0, "none of 60 cells has min_counts")],
)
def test_init_refuses_cells_without_counts(
    tmp_path, monkeypatch, capsys, shift, factor, sentence
) -> None:
    anndata = pytest.importorskip("anndata")
    monkeypatch.chdir(tmp_path)
    counts = np.random.default_rng(0).poisson(2.0, (60, 12)).astype(np.float32)
    names = [pd.Index(list(map(str, range(size))), dtype=object) for size in counts.shape]
    obs, var = (pd.DataFrame(index=index) for index in names)
    anndata.AnnData(counts * factor + shift, obs, var).write_h5ad("cells.h5ad")
    assert main(["init", "mine", "--h5ad", "cells.h5ad"]) == 1
    assert sentence in capsys.readouterr().err
    assert not Path("mine").exists()


def test_init_leaves_out_columns_without_values_and_names_of_rows(
    tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"{row},{row * row},\n" for row in range(30))
    Path("rows.csv").write_text(f",a,\n{rows}")
    assert main(["init", "mine", "--table", "rows.csv"]) == 0
    chosen = yaml.safe_load(Path("mine/config.yaml").read_text())["datasets"]["rows"]
    assert chosen["columns"] == ["a"]
    assert "30 rows of 1 real number." in capsys.readouterr().out


def test_init_brings_pictures_of_mixed_sizes_and_modes_together(
    tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for place in range(40):
        folder = Path("scans", "ab"[place % 2])
        folder.mkdir(parents=True, exist_ok=True)
        shape = (200, 100, 3) if place else (90, 60)
        pixels = random.integers(0, 256, shape, np.uint8)
        Image.fromarray(pixels).save(folder / f"{place}.png")
    assert main(["init", "mine", "--images", "scans"]) == 0
    chosen = yaml.safe_load(Path("mine/config.yaml").read_text())
    assert chosen["datasets"]["scans"] == {
        "source": "images", "folder": "../scans", "image_size": [64, 32], "mode": "rgb",
    }  # fmt: skip
    config = read_config(Path("mine/config.yaml"))
    assert Path(config["datasets"]["scans"]["folder"]) == tmp_path / "scans"
    assert "40 pictures of 64 × 32 × 3, 256 levels, 2 classes" in capsys.readouterr().out


def test_init_finds_labels_numbers_and_gaps_of_a_table(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    table = pd.DataFrame(random.normal(size=(60, 4)), columns=list("pqrs"))
    table.loc[3, "q"] = np.nan
    named = [f"patient {place}" for place in range(60)]
    table.assign(Diagnosis=["ill", "well"] * 30, name=named).to_csv("blood.csv", index=False)
    assert main(["init", "mine", "--table", "blood.csv"]) == 0
    chosen = yaml.safe_load(Path("mine/config.yaml").read_text())
    assert chosen["datasets"]["blood"] == {
        "source": "table", "path": "../blood.csv", "label": "Diagnosis",
        "columns": ["p", "q", "r", "s"], "missing": "mask",
    }  # fmt: skip
    assert chosen["grids"][0]["likelihood"] == ["gaussian", "student_t"]
    told = capsys.readouterr().out
    assert "60 rows of 4 real numbers, some of them missing, 2 classes" in told
    assert "Cost: 48 runs in 4 packs, about " in told


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["init", "mine", "--npz", "absent.npz"], "absent.npz: there is no such file."),
        (["init", "mine", "--npz", "."], ".: there is no such file."),
        (["init", "mine", "--h5ad", "images.npz"], "source npz reads"),
        (["init", "mine", "--images", "absent"], "absent: there is no such folder."),
        (["init", "mine", "--images", "images.npz"], "images.npz: there is no such folder."),
        (["init", "mine", "--images", "empty"], "empty: holds no pictures"),
        (["init", "mine", "--table", "absent.csv"], "absent.csv: there is no such file."),
        (["init", "mine", "--table", "notes.txt"], "allowed: a file .npz, .csv, .parquet, .h5ad."),
        (["init", "mine", "--table", "text.csv"], "allowed: numbers"),
        (["init", "a b", "--npz", "images.npz"], "cannot be called 'a b'"),
        (["init", "mine", "--npz", "broken.npz"], "broken.npz: not readable as an .npz"),
        (["init", "mine", "--table", "row.csv"], "row.csv: number of examples is 1; allowed: at"),
        (["run", "absent.yaml"], "absent.yaml: there is no such config file"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(images, capsys, arguments, sentence) -> None:
    Path("broken.npz").write_bytes(images.read_bytes()[:50])
    Path("empty").mkdir()
    Path("notes.txt").write_text("a\n1\n")
    Path("row.csv").write_text("a,b\n1,2\n")
    Path("text.csv").write_text("a,b\nx,y\nz,w\n")
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert sentence in error
    assert not Path("mine").exists()


@pytest.mark.parametrize("file", ["config.yaml", "Snakefile"])
def test_init_overwrites_nothing(images, capsys, file) -> None:
    Path("mine").mkdir()
    Path("mine", file).write_text("mine")
    assert main(["init", "mine", "--npz", "images.npz"]) == 1
    assert f"mine/{file}: is there already" in capsys.readouterr().err
    assert [path.name for path in Path("mine").iterdir()] == [file]
    assert Path("mine", file).read_text() == "mine"
