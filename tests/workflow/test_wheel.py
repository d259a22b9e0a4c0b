"""The package works from a wheel: a study runs where there is no checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml

from workflow.place import REPOSITORY, TINY, copy_checkout

METADATA = ("pyproject.toml", "README.md", "LICENSE")


def run(arguments: list[str], folder: Path, **env: str) -> str:
    """What a Python program prints; it ends well."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder, env={**os.environ, **env}, text=True, timeout=300, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel that was built from a checkout which is gone."""
    folder = tmp_path_factory.mktemp("built")
    checkout = copy_checkout(tmp_path_factory.mktemp("source"))
    for name in METADATA:
        shutil.copy(REPOSITORY / name, checkout)
    build = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder), "."]
    run(["-m", "pip", "wheel", *build], checkout)
    shutil.rmtree(checkout)
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_holds_every_file_of_the_workflow(wheel: Path) -> None:
    folder = REPOSITORY / "workflow"
    files = {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        start = "vae_ablation/workflow/"
        held = {name.removeprefix(start) for name in archive.namelist() if name.startswith(start)}
        assert held == set(files)
        for name, path in files.items():
            assert archive.read(start + name) == path.read_bytes(), name
            executable = archive.getinfo(start + name).external_attr >> 16 & 0o100
            assert bool(executable) == os.access(path, os.X_OK), name


def test_a_study_runs_from_an_installed_wheel(wheel: Path, tmp_path: Path) -> None:
    installed, folder = tmp_path / "installed", tmp_path / "work"
    install = ["--no-deps", "--no-index", "--quiet", "--target", str(installed), str(wheel)]
    run(["-m", "pip", "install", *install], tmp_path)
    folder.mkdir()
    config = TINY | {"grids": [{"likelihood": ["gaussian"], "beta": [0.5], "kl": [True, False]}]}
    (folder / "study.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    package = installed / "vae_ablation"
    call = ["-m", "snakemake", "--snakefile", str(package / "workflow" / "Snakefile")]
    call += ["--configfile", "study.yaml", "--cores", "2"]
    tables = folder / "results" / "tiny" / "tables"
    told = run(
        [*call, *(f"results/tiny/tables/{name}.csv" for name in ("summary", "contrasts"))],
        folder,
        PYTHONPATH=str(installed),
    )
    assert "Study tiny: 2 runs wanted, 0 trained, 2 to train" in told
    # the environment, whose Python runs here, may lie in the checkout
    assert not any(f"{REPOSITORY}/{part}/" in told for part in ("src", "workflow"))
    for name in ("metrics.csv", "summary.csv", "contrasts.csv"):
        assert (tables / name).stat().st_size, name
    (record, _) = sorted(folder.glob("results/tiny/runs/**/run.json"))
    assert json.loads(record.read_text(encoding="utf-8"))["status"] == "ok"


def test_init_and_run_lead_from_a_file_to_a_report_with_nothing_but_the_wheel(
    wheel: Path, tmp_path: Path
) -> None:
    installed, folder = tmp_path / "installed", tmp_path / "work"
    install = ["--no-deps", "--no-index", "--quiet", "--target", str(installed), str(wheel)]
    run(["-m", "pip", "install", *install], tmp_path)
    folder.mkdir()
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (80, 6, 6), np.uint8)
    np.savez(folder / "mine.npz", x=pictures, y=np.arange(80) % 4)
    program = ["-c", "import sys; from vae_ablation.cli import main; sys.exit(main())"]
    env = {"PYTHONPATH": str(installed)}
    told = run([*program, "init", "first", "--npz", "mine.npz"], folder, **env)
    assert "Data: 80 pictures of 6 × 6, 256 levels, 4 classes." in told
    config = folder / "first" / "config.yaml"
    text = config.read_text(encoding="utf-8").replace("seed: [0, 1, 2]", "seed: [0]")
    text = text.replace("epochs: 100", "epochs: 2").replace("latent_dim: [2, 8]", "latent_dim: [2]")
    config.write_text(text, encoding="utf-8")
    told = run([*program, "run", "first/config.yaml"], folder, **env)
    report = folder / "first" / "results" / "first" / "report.html"
    assert told.splitlines()[-1] == f"Report: {report}"
    assert report.stat().st_size > 100_000
    assert {path.name for path in folder.iterdir()} == {"first", "mine.npz"}
    again = run(["-m", "snakemake", "--cores", "2", "-n"], folder / "first", **env)
    assert "8 runs wanted, all trained" in again
