"""A working directory of the workflow: how the tests call Snakemake and read what it left."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

TABLE = "results/tiny/tables/metrics.csv"
TINY: dict[str, Any] = {
    "study": "tiny",
    "datasets": {"digits": {"source": "sklearn-digits", "max_examples": 120}},
    "grids": [
        {"likelihood": ["gaussian"], "beta": [0.5], "kl": [True, False], "seed": [0, 1]},
        {"likelihood": ["discretized_logistic"], "beta": [1]},
    ],
    "model": {"hidden": [8]},
    "training": {"epochs": 2, "batch_size": 32},
    "evaluation": {"nll_samples": 8},
}


REPOSITORY = Path(__file__).parents[2]
PARTS = ("Snakefile", "config.yaml", "workflow", "src", "docs")


def copy_checkout(folder: Path) -> Path:
    """Copy the workflow into a folder; an edit meanwhile cannot change what is tested there."""
    for part in PARTS:
        source = REPOSITORY / part
        if source.is_dir():
            # links stay: the package's workflow is the folder beside it
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(source, folder / part, symlinks=True, ignore=ignored)
        else:
            shutil.copy2(source, folder / part)
    return folder


@dataclass(frozen=True)
class Call:
    """What one call of Snakemake said."""

    status: int
    text: str

    @property
    def jobs(self) -> dict[str, int]:
        """Jobs by rule, as in the table that Snakemake prints before it starts."""
        if "Job stats:" not in self.text:
            return {}
        table = self.text.split("Job stats:")[1].split("total")[0]
        return {name: int(n) for name, n in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}

    @property
    def plan(self) -> str:
        """The line that tells how many runs are wanted and will train."""
        return re.findall(r"^Study \w+: .*$", self.text, re.MULTILINE)[0]

    @property
    def to_train(self) -> int:
        found = re.search(r"(\d+) to train", self.plan)
        return int(found[1]) if found else 0


@dataclass(frozen=True)
class Held:
    """The trained weights to which a run's link points."""

    pack: str
    digest: str
    changed_ns: int


class Place:
    """A working directory with study.yaml, where the workflow of a checkout is called."""

    def __init__(self, folder: Path, checkout: Path) -> None:
        self.folder, self.checkout = folder, checkout
        self.config = copy.deepcopy(TINY)
        self.config_name = "study.yaml"
        self.env: dict[str, str] = {}

    @property
    def study(self) -> Path:
        return self.folder / "results" / "tiny"

    def run_folder(self, run: str) -> Path:
        return self.study / "runs" / run

    def write_config(self) -> None:
        text = yaml.safe_dump(self.config, sort_keys=False)
        (self.folder / self.config_name).write_text(text, encoding="utf-8")

    def command(self, *arguments: str) -> list[str]:
        where = ["--snakefile", str(self.checkout / "Snakefile"), "--directory", str(self.folder)]
        config = ["--configfile", str(self.folder / self.config_name)]
        return [sys.executable, "-m", "snakemake", *where, *arguments, *config]

    def environment(self) -> dict[str, str]:
        source = str(self.checkout / "src")
        paths = os.pathsep.join(filter(None, [self.env.get("PYTHONPATH"), source]))
        return {**os.environ, **self.env, "PYTHONPATH": paths}

    def call(self, *arguments: str, status: int | None = 0) -> Call:
        """Write the config and call Snakemake; `status` None accepts any exit status."""
        self.write_config()
        done = subprocess.run(
            self.command("--cores", "2", *arguments),
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
        )
        assert status is None or done.returncode == status, done.stdout
        return Call(done.returncode, done.stdout)

    def held(self) -> dict[str, Held]:
        """Every run that has weights, wanted or not."""
        return {
            str(link.parent.relative_to(self.study / "runs")): held_weights(link)
            for link in sorted(self.study.glob("runs/**/model.safetensors"))
            if link.exists()
        }

    def record(self, run: str) -> dict[str, Any]:
        return json.loads((self.run_folder(run) / "run.json").read_text(encoding="utf-8"))

    def metrics(self) -> pd.DataFrame:
        """The rows of trained models in metrics.csv, by run."""
        table = pd.read_csv(self.folder / TABLE, dtype={"reason": str}, keep_default_na=False)
        return table[table["model"] == "vae"].set_index("run")

    def table(self, name: str) -> pd.DataFrame:
        """A table of the study with all of its rows."""
        return pd.read_csv(self.study / "tables" / f"{name}.csv", keep_default_na=False,
                           na_values=[""])  # fmt: skip

    def report_data(self) -> dict[str, Any]:
        """What the report holds in its element #data."""
        page = (self.study / "report.html").read_text(encoding="utf-8")
        found = re.search(r'<script[^>]*id="data"[^>]*>(.*?)</script>', page, re.DOTALL)
        assert found is not None
        return json.loads(found[1])

    def files(self) -> set[str]:
        """Everything below the folder but Snakemake's own records."""
        paths = (path.relative_to(self.folder) for path in self.folder.rglob("*"))
        return {str(path) for path in paths if path.parts[0] != ".snakemake"}


def held_weights(link: Path) -> Held:
    packs = link.resolve().parents
    pack = next(path for path in packs if path.parent.name == "packs").name
    digest = hashlib.sha256(link.read_bytes()).hexdigest()
    return Held(pack, digest, link.stat().st_mtime_ns)


def result_bytes(folder: Path) -> dict[str, bytes]:
    """The files of a run that hold its result."""
    names = (
        "model.safetensors",
        "history.csv",
        "snapshots.npz",
        "metrics.json",
        "codes.npz",
        "pictures.npz",
        "examples.npz",
        "density.npz",
    )
    return {name: (folder / name).read_bytes() for name in names}
