"""Whether a redesign changed a result: runs four studies, keeps what they gave, compares it later.

Before:  .venv/bin/python benchmarks/same_results.py record /tmp/before
After:   .venv/bin/python benchmarks/same_results.py compare /tmp/before

The default study whole, and cells.yaml, sprites.yaml and oracle_ppca.yaml reduced. Weights,
histories and codes have to be the same bytes; every value of metrics.csv that differs is printed
with its column, and columns that came or went. oracle_ppca needs MNIST (VAE_ABLATION_DATA) and is
left out, saying so, where it is absent.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

REPOSITORY = Path(__file__).parents[1]
SAME_BYTES = ("model.safetensors", "history.csv", "codes.npz")
NOT_COMPARED = {"train_seconds", "examples_per_second", "peak_memory_mb", "device"}


def default_study() -> dict[str, Any]:
    return yaml.safe_load((REPOSITORY / "config.yaml").read_text(encoding="utf-8"))


def study_file(name: str) -> dict[str, Any]:
    path = REPOSITORY / "workflow" / "studies" / f"{name}.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def reduced_cells() -> dict[str, Any]:
    config = study_file("cells")
    for options in config["datasets"].values():
        options |= {"examples": 500, "genes": 60}
    for grid in config["grids"]:
        grid["seed"] = [0, 1]
        if "kl_warmup_epochs" in grid:
            grid["kl_warmup_epochs"] = [4]
    config["training"]["epochs"] = 6
    return config


def reduced_sprites() -> dict[str, Any]:
    config = study_file("sprites")
    config["datasets"]["sprites"]["examples"] = 800
    config["grids"][0] |= {"beta": [1, 4], "seed": [0, 1]}
    config["training"]["epochs"] = 4
    return config


def reduced_oracle(data: str) -> dict[str, Any]:
    config = study_file("oracle_ppca")
    config["datasets"]["mnist"] |= {"root": data, "max_examples": 3000, "validation": 0.1}
    config["training"] |= {"epochs": 6, "batch_size": 200}
    return config


def studies() -> dict[str, dict[str, Any]]:
    """Configs by name."""
    wanted = {
        "default": default_study(),
        "cells": reduced_cells(),
        "sprites": reduced_sprites(),
    }
    data = os.environ.get("VAE_ABLATION_DATA")
    if data:
        wanted["oracle_ppca"] = reduced_oracle(data)
    else:
        print("oracle_ppca is left out: VAE_ABLATION_DATA names no folder with MNIST")
    return wanted


def run_study(config: dict[str, Any], folder: Path) -> Path:
    """The study run in a folder, from this checkout; its results folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")]
    command += ["--directory", str(folder), "--configfile", str(path), "--cores", "all", "--quiet"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    subprocess.run(command, env=environment, check=True)
    return folder / "results" / config["study"]


def keep(results: Path, folder: Path) -> None:
    """Digests of the files of every run, and the tables."""
    rows = []
    for record in sorted(results.glob("runs/**/run.json")):
        for name in SAME_BYTES:
            file = record.parent / name
            if file.exists():
                digest = hashlib.sha256(file.read_bytes()).hexdigest()
                rows.append((str(file.relative_to(results / "runs")), digest))
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows, columns=["file", "sha256"]).to_csv(folder / "digests.csv", index=False)
    shutil.copytree(results / "tables", folder / "tables", dirs_exist_ok=True)


def differing_files(before: Path, after: Path) -> list[str]:
    """Files of runs whose bytes differ, or that only one side has."""
    one, two = (
        pd.read_csv(folder / "digests.csv").set_index("file")["sha256"]
        for folder in (before, after)
    )
    return sorted(set(one.items()) ^ set(two.items()))


def differing_values(before: Path, after: Path) -> list[str]:
    """One line for each column of metrics.csv whose values differ, came or went."""
    one, two = (
        pd.read_csv(folder / "tables" / "metrics.csv", dtype=str).set_index("run")
        for folder in (before, after)
    )
    lines = [f"row only before: {run}" for run in one.index.difference(two.index)]
    lines += [f"row only after: {run}" for run in two.index.difference(one.index)]
    lines += [f"column only before: {name}" for name in one.columns.difference(two.columns)]
    lines += [f"column only after: {name}" for name in two.columns.difference(one.columns)]
    rows = one.index.intersection(two.index)
    for name in one.columns.intersection(two.columns):
        if name in NOT_COMPARED:
            continue
        left, right = one.loc[rows, name].fillna(""), two.loc[rows, name].fillna("")
        differ = left != right
        if differ.any():
            run = differ.idxmax()
            change = f"{left[run]!r} before, {right[run]!r} after in {run}"
            lines.append(f"{name}: {int(differ.sum())} of {len(rows)} rows; {change}")
    return lines


def compare(before: Path, after: Path) -> bool:
    """Print what differs between two kept studies; whether nothing does."""
    files, values = differing_files(before, after), differing_values(before, after)
    count = len(np.unique([name for name, _ in files]))
    print(f"{after.name}: {count} files of runs differ, {len(values)} differences in metrics.csv")
    for name in sorted({name for name, _ in files})[:10]:
        print(f"  {name}")
    for line in values:
        print(f"  {line}")
    return not files and not values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["record", "compare"])
    parser.add_argument("folder", type=Path, help="where the results of before lie")
    parser.add_argument("--studies", nargs="*", help="only these (default: all)")
    arguments = parser.parse_args()
    same = True
    with tempfile.TemporaryDirectory() as scratch:
        for name, config in studies().items():
            if arguments.studies and name not in arguments.studies:
                continue
            results = run_study(config, Path(scratch) / name)
            if arguments.what == "record":
                keep(results, arguments.folder / name)
            else:
                keep(results, Path(scratch) / "after" / name)
                same &= compare(arguments.folder / name, Path(scratch) / "after" / name)
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
