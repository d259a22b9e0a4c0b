"""A million pictures of 32×32×3: prepared, opened and trained from disk, in bounded memory.

An .npz with random pictures is written in blocks. A fresh process prepares it; another opens what
was prepared with `packs.memory_gb`, trains two runs for part of an epoch, and evaluates them with
all metrics. Each tells its time and its peak memory: mapped pages, which the system may take back
at any time, are part of it, so the largest memory that was not mapped stands beside it.

    python benchmarks/million_pictures.py --pictures 1000000 --memory-gb 4
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
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


class Peak:
    """The largest memory that is not mapped from files, looked at every 50 ms in a thread."""

    def __init__(self) -> None:
        self.mib = 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            self.mib = max(self.mib, own_mib())
            time.sleep(0.05)


PEAK = Peak()


def prepare(folder: Path) -> None:
    """Prepare the archive."""
    from vae_ablation.data.prepare import prepare_dataset
    from vae_ablation.study.config import resolve_config

    held_out = {"test": 0.002, "validation": 0.002}
    own = {"source": "npz", "path": str(folder / "own.npz"), **held_out}
    config = resolve_config({"datasets": {"own": own}}, folder / "study.yaml")
    start = time.perf_counter()
    prepare_dataset(config["datasets"]["own"], folder / "data")
    tell("prepare", seconds=time.perf_counter() - start)


def train(folder: Path, memory_gb: float, examples: int) -> None:
    """Two runs with convolutions: part of an epoch, drawn from the whole file, and evaluation."""
    import torch

    from vae_ablation.data.mapped import MappedPictures
    from vae_ablation.data.prepare import load_dataset
    from vae_ablation.evaluation.features import fit_features
    from vae_ablation.evaluation.pack import evaluate_pack
    from vae_ablation.models.vae import VAE
    from vae_ablation.study.config import resolve_config
    from vae_ablation.study.run import canonical_run
    from vae_ablation.training.pack import train_pack

    start = time.perf_counter()
    dataset = load_dataset("own", folder / "data", memory_gb)
    opened = time.perf_counter()
    mapped = float(isinstance(dataset.x, MappedPictures))
    tell("open", seconds=opened - start, mapped=mapped)
    training = {"epochs": 1, "batch_size": 128, "device": "auto"}
    evaluation = {"nll_samples": 16, "nll_examples": 100, "sample_draws": 1}
    model = {"channels": [16, 32], "hidden": [128]}
    config = resolve_config(
        {"training": training, "model": model, "evaluation": evaluation}, folder / "study.yaml"
    )
    part = min(examples, len(dataset.rows("train")))
    runs = [
        canonical_run(
            *("own", "gaussian", 16, 1.0, True, "gaussian", seed),
            architecture="conv",
            train_examples=part,
        )
        for seed in (0, 1)
    ]
    results = train_pack(runs, dataset, config["model"], config["training"])
    assert all(result.status == "ok" for result in results), [one.reason for one in results]
    trained = time.perf_counter()
    tell("train", seconds=trained - opened, examples=part)
    models = [VAE.of(run, dataset.observed, config["model"]) for run in runs]
    for one, result in zip(models, results, strict=True):
        one.load_state_dict(result.weights)
    extractor = fit_features(dataset, 0)
    histories = [result.history for result in results]
    settings = config["evaluation"]
    evaluated = evaluate_pack(
        runs, models, histories, dataset, extractor, settings, torch.device("cpu")
    )
    assert all("reason" not in one.metrics or not one.metrics["reason"] for one in evaluated)
    tell("evaluate", seconds=time.perf_counter() - trained)


def in_a_process(step: str, folder: Path, *arguments: str) -> Iterator[dict[str, Any]]:
    """What a step in a process of its own tells of its parts, as they end."""
    command = [sys.executable, __file__, "--step", step, "--folder", str(folder), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                yield json.loads(line)
                print(line, end="", file=sys.stderr, flush=True)
    assert process.returncode == 0, command


def tell(step: str, **found: float) -> None:
    """Print a row, with the memory so far."""
    row = {"step": step, **found, "peak_mib": peak_mib(), "own_peak_mib": PEAK.mib}
    print(json.dumps(row), flush=True)


def measure(pictures: int, memory_gb: float, examples: int) -> list[dict[str, Any]]:
    """Time and memory of every step."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        rows: list[dict[str, Any]] = [
            {"step": "generate", **generate(folder / "own.npz", pictures)}
        ]
        rows += in_a_process("prepare", folder)
        limit = ("--memory-gb", str(memory_gb))
        limit += ("--examples", str(examples))
        rows += in_a_process("train", folder, *limit)
    return rows


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=1_000_000)
    parser.add_argument("--memory-gb", type=float, default=4.0)
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--step", choices=["prepare", "train"])
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.step:
        common = arguments.memory_gb, arguments.examples
        steps = {"prepare": prepare, "train": lambda at: train(at, *common)}
        steps[arguments.step](arguments.folder)
        return
    rows = measure(arguments.pictures, arguments.memory_gb, arguments.examples)
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_cell(row.get(name)) for name in names] for row in rows]
    print(provenance(["torch", "numpy"]))
    print(markdown_table(names, cells))


def _cell(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else f"{value:.1f}"


if __name__ == "__main__":
    main()
