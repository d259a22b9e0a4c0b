"""Pictures on disk: the same values and the same training, to the last bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from support import CPU, dataset_options, make_run, model_options, result_bytes, training_settings
from vae_ablation.common.errors import UserError
from vae_ablation.data.base import Dataset
from vae_ablation.data.loading import Examples
from vae_ablation.data.mapped import MappedPictures, map_member, scaled
from vae_ablation.data.prepare import load_dataset, prepare_dataset
from vae_ablation.training.pack import train_pack

TINY = 1e-9


def both(folder: Path, **options: Any) -> tuple[Dataset, Dataset]:
    prepare_dataset(dataset_options(**options), folder)
    return load_dataset("own", folder), load_dataset("own", folder, TINY)


def npz(folder: Path, x: np.ndarray) -> dict[str, Any]:
    np.savez(folder / "own.npz", x=x, y=np.arange(len(x)) % 3)
    return {"source": "npz", "path": str(folder / "own.npz")}


@pytest.mark.parametrize("kind", ["levels", "intensities", "binary", "colour"])
@pytest.mark.parametrize("binarize", ["none", "static", "dynamic"])
def test_mapped_pictures_are_those_in_memory(kind: str, binarize: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    x = {
        "levels": random.integers(0, 256, (50, 5, 4)).astype(np.uint8),
        "intensities": random.random((50, 5, 4)),
        "binary": random.integers(0, 2, (50, 20)),
        "colour": random.integers(0, 256, (50, 3, 4, 3)).astype(np.uint8),
    }[kind]
    held, mapped = both(tmp_path / "data", **npz(tmp_path, x), binarize=binarize)
    assert isinstance(mapped.x, MappedPictures)
    assert mapped.checksum == held.checksum
    assert mapped.x.shape == held.x.shape
    for split in ("train", "validation", "test"):
        assert (mapped.observe(split) == held.observe(split)).all()
        assert (mapped.intensities(split) == held.intensities(split)).all()
        one, other = (Examples.of(d, split, "none", CPU) for d in (held, mapped))
        places = torch.tensor([[0, 1], [1, 0]])
        assert torch.equal(one.at(places)[0], other.at(places)[0])
        assert torch.equal(one.at(slice(0, 3))[0], other.at(slice(0, 3))[0])
        assert torch.equal(one.spaced(3).at(slice(None))[0], other.spaced(3).at(slice(None))[0])
    np.testing.assert_allclose(mapped.train_mean(), held.train_mean(), rtol=1e-12)


@pytest.mark.parametrize("architecture", ["mlp", "conv"])
def test_training_from_disk_gives_the_same_bytes(architecture: str, tmp_path: Path) -> None:
    options = {"source": "photographs", "size": 8, "max_examples": 200}
    held, mapped = both(tmp_path, **options)
    runs = [make_run(seed=seed, architecture=architecture) for seed in range(2)]
    settings = training_settings(epochs=2)
    results = [
        train_pack(runs, dataset, model_options(channels=[4]), settings)
        for dataset in (held, mapped)
    ]
    for one, other in zip(*results, strict=True):
        assert one.status == "ok"
        assert result_bytes(one) == result_bytes(other)


def test_what_fits_in_memory_is_held(tmp_path: Path) -> None:
    x = np.zeros((40, 4, 4), np.uint8)
    x[::2] = 200
    prepare_dataset(dataset_options(**npz(tmp_path, x)), tmp_path / "data")
    assert isinstance(load_dataset("own", tmp_path / "data", 1.0).x, np.ndarray)
    exact = 40 * 16 * 4 / 2**30
    assert isinstance(load_dataset("own", tmp_path / "data", exact).x, np.ndarray)
    smaller = load_dataset("own", tmp_path / "data", exact * 0.99)
    assert isinstance(smaller.x, MappedPictures)


def test_damage_on_disk_is_told(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (40, 4, 4)).astype(np.uint8)
    prepare_dataset(dataset_options(**npz(tmp_path, x)), tmp_path / "data")
    path = tmp_path / "data" / "arrays.npz"
    content = bytearray(path.read_bytes())
    content[content.index(x[:1].tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="do not match their checksum"):
        load_dataset("own", tmp_path / "data", TINY)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError):
        load_dataset("own", tmp_path / "data", TINY)


def test_a_member_is_mapped_where_it_lies(tmp_path: Path) -> None:
    arrays = {"a": np.arange(7), "long_name": np.arange(24.0).reshape(2, 3, 4)}
    np.savez(tmp_path / "own.npz", **arrays)
    for name, values in arrays.items():
        found = map_member(tmp_path / "own.npz", name)
        assert isinstance(found, np.memmap)
        assert (found == values).all()
        assert not found.flags.writeable
    np.savez_compressed(tmp_path / "small.npz", **arrays)
    with pytest.raises(ValueError, match="compressed"):
        map_member(tmp_path / "small.npz", "a")
    np.savez(tmp_path / "turned.npz", a=np.asfortranarray(np.ones((3, 4))))
    with pytest.raises(ValueError, match="cannot be mapped"):
        map_member(tmp_path / "turned.npz", "a")


def test_scaling_in_blocks_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vae_ablation.data.mapped.BLOCK_VALUES", 30)
    x = np.random.default_rng(0).integers(0, 17, (11, 4, 3))
    whole = (x.reshape(11, -1).astype(np.float64) * (1 / 16)).astype(np.float32)
    assert scaled(x, 17).tobytes() == whole.tobytes()


@pytest.mark.parametrize(
    "kind", ["levels", "wide", "intensities", "levels as floats", "two", "two as floats"]
)
def test_a_large_file_is_read_in_blocks_to_the_same_data(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mapped, a few rows at a time, as where it is read whole; compressed, it is read whole."""
    random = np.random.default_rng(0)
    levels = random.integers(0, 256, (50, 5, 4))
    x = {
        "levels": levels.astype(np.uint8),
        "wide": levels,
        "intensities": random.random((50, 5, 4)),
        "levels as floats": levels / 255,
        "two": (levels > 99).astype(np.uint8) * 255,
        "two as floats": (levels > 99).astype(np.float32),
    }[kind]
    options = dataset_options(**npz(tmp_path, x), binarize="static")
    whole = prepare_dataset(options, tmp_path / "whole")
    monkeypatch.setattr("vae_ablation.data.npz.MAPPED_BYTES", 100)
    monkeypatch.setattr("vae_ablation.data.mapped.BLOCK_VALUES", 60)
    assert prepare_dataset(options, tmp_path / "blocks") == whole
    assert load_dataset("own", tmp_path / "blocks").checksum == whole["checksum"]
    np.savez_compressed(tmp_path / "own.npz", x=x, y=np.arange(50) % 3)
    assert prepare_dataset(options, tmp_path / "compressed") == whole


def test_damage_in_a_large_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vae_ablation.data.npz.MAPPED_BYTES", 100)
    monkeypatch.setattr("vae_ablation.data.mapped.BLOCK_VALUES", 60)
    x = np.random.default_rng(0).random((50, 5, 4))
    options = dataset_options(**npz(tmp_path, x))
    path = tmp_path / "own.npz"
    content = bytearray(path.read_bytes())
    content[content.index(x[20:21].tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="not readable as an"):
        prepare_dataset(options, tmp_path / "data")
    x[31, 2, 2] = np.nan
    with pytest.raises(UserError, match="holds 1 NaN, the first in example 31 "):
        prepare_dataset(dataset_options(**npz(tmp_path, x)), tmp_path / "data")


def test_controls_of_pictures_on_disk_are_about_the_same_examples(tmp_path: Path) -> None:
    """With fewer pictures than they are fitted to, controls are those of pictures in memory."""
    from vae_ablation.evaluation.controls import _data, _fitted_rows

    held, mapped = both(tmp_path, source="photographs", size=8, max_examples=200)
    for split in ("train", "test"):
        assert (_data(held, split) == _data(mapped, split)).all()
    assert len(_data(mapped, "train")) == len(_fitted_rows(mapped))
    assert len(_data(mapped, "test")) == len(mapped.rows("test"))
