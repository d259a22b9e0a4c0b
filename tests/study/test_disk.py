"""The estimate of what a study takes on the disk."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from vae_ablation.common.files import write_json
from vae_ablation.study.config import resolve_config
from vae_ablation.study.disk import FIGURE_BYTES, RUN_BYTES, disk_bytes, disk_line, size_text
from vae_ablation.study.plan import Study


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def make_study(folder: Path, seeds: int, sizes: dict[str, int] | None = None) -> Study:
    raw = {
        "grids": [{"likelihood": ["gaussian"], "latent_dim": [2], "seed": list(range(seeds))}],
        "model": {"hidden": [32]},
    }
    study = Study(resolve_config(raw, folder / "config.yaml"), folder / "default", folder / ".data")
    if sizes:
        facts = {
            "sizes": sizes, "shape": [8, 8], "levels": 17, "binary": False, "checksum": "c",
        }  # fmt: skip
        write_json(study.prepared["digits"] / "dataset.json", facts)
    return study


def test_the_estimate_counts_weights_checkpoints_and_codes(tmp_path: Path) -> None:
    study = make_study(tmp_path, 3, {"train": 1000, "validation": 100, "test": 300})
    encoder = 64 * 32 + 32 + 32 * 4 + 4
    decoder = 2 * 32 + 32 + 32 * 64 + 64
    found = disk_bytes(study, study.plan()) - FIGURE_BYTES
    codes = 300 * (2 * 2 + 2)
    assert found == pytest.approx(3 * (RUN_BYTES + 4 * (7 * (encoder + decoder) + codes)), rel=0.05)


def test_a_study_with_nothing_to_train_takes_nothing(tmp_path: Path) -> None:
    study = make_study(tmp_path, 1)
    plan = study.plan()
    assert disk_bytes(study, plan) > 0
    done = type(plan)([type(item)(item.run, item.pack, "h", None) for item in plan.planned])
    assert disk_bytes(study, done) == 0


@pytest.mark.parametrize(
    ("free", "told"),
    [(10**12, "Disk: about 20.2 MB of results to come, 1 TB free."), (10**6, "Warning: the disk")],
)
def test_too_small_a_disk_is_told_before_it_is_full(
    free: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**13, 0, free))
    study = make_study(tmp_path, 1)
    line = disk_line(study, study.plan())
    assert line.startswith(told)
    assert ("vae-ablation prune" in line) == (free == 10**6)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1234, "1.23 kB"), (5.6e9, "5.6 GB"), (2e15, "2e+03 TB")],
)
def test_sizes_read_well(count: float, text: str) -> None:
    assert size_text(count) == text
