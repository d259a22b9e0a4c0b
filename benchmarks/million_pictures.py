"""A million pictures of 32×32×3: prepared, opened and trained from disk, in bounded memory.

An .npz with random pictures is written in blocks. A fresh process prepares it; another opens what
was prepared with `packs.memory_gb` and trains one epoch of two runs on it. Each tells its time and
its peak memory: mapped pages, which the system may take back at any time, are part of it, so the
memory that is not mapped stands beside it.

    python benchmarks/million_pictures.py --pictures 1000000 --memory-gb 4
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from million_cells import own_mib, peak_mib
from reporting import markdown_table, provenance

SIDE, CHANNELS, CLASSES = 32, 3, 10
BLOCK = 10_000


def generate(path: Path, pictures: int) -> dict[str, float]:
    """Write an .npz of pictures with as many means as classes, a block at a time."""
    start = time.perf_counter()
    random = np.random.default_rng(0)
    means = random.integers(40, 216, (CLASSES, SIDE, SIDE, CHANNELS))
    labels = np.arange(pictures) % CLASSES
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        with archive.open("x.npy", "w", force_zip64=True) as stream:
            header = {
                "descr": "|u1",
                "fortran_order": False,
                "shape": (pictures, SIDE, SIDE, CHANNELS),
            }
            np.lib.format.write_array_header_1_0(stream, header)
            for first in range(0, pictures, BLOCK):
                chosen = means[labels[first : first + BLOCK]]
                noise = random.integers(-40, 41, chosen.shape, np.int16)
                stream.write((chosen + noise).astype(np.uint8).tobytes())
        with archive.open("y.npy", "w", force_zip64=True) as stream:
            np.lib.format.write_array(stream, labels)
    return {"seconds": time.perf_counter() - start, "gb": path.stat().st_size / 1e9}


def prepare(folder: Path) -> dict[str, float]:
    """Prepare the archive."""
    from vae_ablation.data.prepare import prepare_dataset
    from vae_ablation.study.config import resolve_config

    own = {"source": "npz", "path": str(folder / "own.npz")}
    config = resolve_config({"datasets": {"own": own}}, folder / "study.yaml")
    start = time.perf_counter()
    prepare_dataset(config["datasets"]["own"], folder / "data")
    return {"seconds": time.perf_counter() - start}


def train(folder: Path, memory_gb: float) -> dict[str, float]:
    """One epoch of two runs with convolutions."""
    from vae_ablation.data.mapped import MappedPictures
    from vae_ablation.data.prepare import load_dataset
    from vae_ablation.study.config import resolve_config
    from vae_ablation.study.run import canonical_run
    from vae_ablation.training.pack import train_pack

    start = time.perf_counter()
    dataset = load_dataset("own", folder / "data", memory_gb)
    opened = time.perf_counter()
    training = {"epochs": 1, "batch_size": 128, "device": "auto"}
    config = resolve_config({"training": training}, folder / "study.yaml")
    runs = [
        canonical_run("own", "gaussian", 16, 1.0, True, "gaussian", seed, architecture="conv")
        for seed in (0, 1)
    ]
    results = train_pack(runs, dataset, config["model"], config["training"])
    assert all(result.status == "ok" for result in results)
    return {
        "open_seconds": opened - start,
        "train_seconds": time.perf_counter() - opened,
        "mapped": float(isinstance(dataset.x, MappedPictures)),
    }


def in_a_process(step: str, folder: Path, *arguments: str) -> dict[str, float]:
    """A step in a process of its own, with its memory."""
    command = [sys.executable, __file__, "--step", step, "--folder", str(folder), *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(pictures: int, memory_gb: float) -> list[dict[str, Any]]:
    """Time and memory of every step."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        rows: list[dict[str, Any]] = [
            {"step": "generate", **generate(folder / "own.npz", pictures)}
        ]
        rows.append({"step": "prepare", **in_a_process("prepare", folder)})
        limit = ("--memory-gb", str(memory_gb))
        rows.append({"step": "train", **in_a_process("train", folder, *limit)})
    return rows


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=1_000_000)
    parser.add_argument("--memory-gb", type=float, default=4.0)
    parser.add_argument("--step", choices=["prepare", "train"])
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.step:
        steps = {"prepare": prepare, "train": lambda at: train(at, arguments.memory_gb)}
        found = steps[arguments.step](arguments.folder)
        print(json.dumps({**found, "peak_mib": peak_mib(), "own_mib": own_mib()}))
        return
    rows = measure(arguments.pictures, arguments.memory_gb)
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_cell(row.get(name)) for name in names] for row in rows]
    print(provenance(["torch", "numpy"]))
    print(markdown_table(names, cells))


def _cell(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else f"{value:.1f}"


if __name__ == "__main__":
    main()
