"""Each writer on a disk that becomes full: no half file, what was there stays, one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from scipy import sparse

from faults.made import enlarge, small_disk
from support import dataset_options, make_run
from vae_ablation.common.files import read_json, write_json
from vae_ablation.data.base import Cells
from vae_ablation.data.cells_file import write_codes
from vae_ablation.data.counts import CountMatrix
from vae_ablation.data.prepare import load_dataset, prepare_dataset
from vae_ablation.evaluation.pack import Evaluated
from vae_ablation.jobs.scripting import machine_fault
from vae_ablation.report.figures import draw
from vae_ablation.store.trained import save_evaluation, save_pack
from vae_ablation.study.progress import PackProgress
from vae_ablation.tables.collect import write_csv
from vae_ablation.training.pack import TrainingResult

RUN = make_run()
BIG = 200_000
"""Numbers that take more than the disk has."""
NOISE = np.random.default_rng(0)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 400 kB, of which most is taken."""
    with small_disk(tmp_path / "disk", "400k"):
        (tmp_path / "disk" / "filler").write_bytes(bytes(250_000))
        yield tmp_path / "disk"


def train(folder: Path) -> Path:
    target = folder / "packs" / "p" / "train"
    result = TrainingResult(RUN, weights={"w": torch.rand(BIG)}, history=np.zeros((1, 6)))
    save_pack([result], [{"pack": "p"}], folder / "runs", target)
    return target


def film(folder: Path) -> Path:
    target = folder / "packs" / "p" / "train"
    result = TrainingResult(RUN, snapshots={"frames": NOISE.random(BIG)}, history=np.zeros((1, 6)))
    save_pack([result], [{"pack": "p"}], folder / "runs", target)
    return target


def evaluate(folder: Path) -> Path:
    target = folder / "packs" / "p" / "evaluation" / "0a1b2c3d"
    item = Evaluated(RUN, {"mse": 1.0}, {"mean": NOISE.random(BIG)}, {}, {}, {})
    save_evaluation({RUN.path: item}, None, folder / "runs", target)
    return target


def table(folder: Path) -> Path:
    write_csv(pd.DataFrame({"value": NOISE.random(BIG)}), folder / "metrics.csv")
    return folder / "metrics.csv"


def record(folder: Path) -> Path:
    write_json(folder / "overview.json", NOISE.random(BIG).tolist())
    return folder / "overview.json"


def counts(folder: Path) -> Path:
    blocks = [sparse.csr_matrix(NOISE.integers(1, 200, (1000, 100))) for _ in range(5)]
    CountMatrix.write(folder / "counts", blocks, 100)
    return folder / "counts" / "data.npy"


def cells(folder: Path) -> Path:
    n = 2000
    codes = NOISE.random((n, 50)).astype(np.float32)
    labels, split = np.zeros(n, np.int64), np.zeros(n, np.int8)
    write_codes(folder / "codes.h5ad", Cells(features=("g",)), labels, split, codes, codes, {})
    return folder / "codes.h5ad"


def prepared(folder: Path) -> Path:
    archive = folder.parent / "own.npz"
    np.savez(archive, x=NOISE.random((400, 300)))
    prepare_dataset(dataset_options(source="npz", path=str(archive)), folder / "0123456789ab")
    return folder / "0123456789ab" / "dataset.json"


WRITERS: dict[str, Callable[[Path], Path]] = {
    "weights": train, "film": film, "evaluation": evaluate, "table": table, "record": record,
    "sparse counts": counts, "codes of cells": cells, "prepared data": prepared,
}  # fmt: skip


def left(disk: Path) -> set[str]:
    """Files on the disk; links that lead nowhere are none."""
    return {str(path.relative_to(disk)) for path in disk.rglob("*") if path.is_file()} - {"filler"}


@pytest.mark.parametrize("name", WRITERS)
def test_a_writer_leaves_nothing_half_and_ends_well_after_room_is_made(
    name: str, disk: Path
) -> None:
    with pytest.raises(Exception) as caught:
        WRITERS[name](disk)
    told = machine_fault(caught.value, disk)
    assert told is not None, repr(caught.value)
    assert "no space is left on the disk" in told
    assert str(disk) in told
    assert left(disk) == set()
    enlarge(disk, "20m")
    assert WRITERS[name](disk).exists()
    assert not [path for path in left(disk) if "/." in f"/{path}"]


@pytest.mark.parametrize("name", ["table", "record", "codes of cells"])
def test_the_file_that_was_there_stays_as_it_was(name: str, disk: Path) -> None:
    enlarge(disk, "20m")
    path = WRITERS[name](disk)
    before = path.read_bytes()
    enlarge(disk, f"{(250_000 + len(before)) // 1000 + 150}k")
    with pytest.raises(OSError, match="No space left"):
        WRITERS[name](disk)
    assert path.read_bytes() == before
    assert {str(path.relative_to(disk))} == left(disk)


def test_figures_that_do_not_fit_leave_the_old_ones(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = disk / "figures" / "digits"
    out.mkdir(parents=True)
    (out / "old.png").write_bytes(b"old")

    def draw_large(results: object, dataset: str, likelihood: str, folder: Path) -> list[Path]:
        figure = Figure(figsize=(8, 8))
        figure.subplots().imshow(NOISE.random((1000, 1000)))
        figure.savefig(folder / "a.png", dpi=200)
        return [folder / "a.png"]

    monkeypatch.setattr(draw, "StudyResults", lambda folder: None)
    monkeypatch.setattr(draw, "_draw_all", draw_large)
    with pytest.raises(OSError, match="No space left"):
        draw.draw_figures(disk, "digits", "all", out)
    assert left(disk) == {"figures/digits/old.png"}
    enlarge(disk, "20m")
    draw.draw_figures(disk, "digits", "all", out)
    assert left(disk) == {"figures/digits/a.png"}


def test_prepared_data_are_whole_after_room_is_made(disk: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        prepared(disk)
    enlarge(disk, "20m")
    folder = prepared(disk).parent
    assert load_dataset("own", folder).x.shape == (400, 300)


def test_progress_that_cannot_be_told_is_no_fault_of_the_training(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_json(disk / ".progress" / "start.json", {"time": 0, "runs": 2})
    (disk / "more").write_bytes(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize))
    PackProgress(disk / ".progress", "p", 2)(1.0)
    assert sorted(path.name for path in (disk / ".progress").iterdir()) == ["start.json"]
    PackProgress(disk / "absent" / "folder", "p", 2)(1.0)
    (disk / "more").unlink()
    (disk / ".progress" / "start.json").write_text("", encoding="utf-8")
    PackProgress(disk / ".progress", "p", 2)(1.0)
    assert read_json(disk / ".progress" / "p.json") == {"runs": 2.0}


JOB = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from faults.test_full_disk import WRITERS
from vae_ablation.jobs.scripting import job
with job(sys.argv[2] + "/results/small/logs/a.log"):
    WRITERS[sys.argv[1]](Path(sys.argv[2]))
"""


@pytest.mark.parametrize("name", ["weights", "sparse counts", "codes of cells"])
def test_a_job_ends_in_one_sentence_even_where_its_log_lies_on_the_full_disk(
    name: str, disk: Path
) -> None:
    tests = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", JOB.format(tests=tests), name, str(disk)],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "no space is left on the disk" in done.stderr
    assert left(disk) == {"results/small/logs/a.log"}
