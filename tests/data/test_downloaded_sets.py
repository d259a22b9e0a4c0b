"""Further sets through torchvision and dSprites, from files in their formats that a test writes."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.io import savemat

from support import assert_one_sentence, dataset_options, idx
from vae_ablation.common.errors import UserError
from vae_ablation.data import SOURCES
from vae_ablation.data.base import TEST, TRAIN, VALIDATION, Dataset
from vae_ablation.data.prepare import describe_observed, load_dataset, prepare_dataset


def noise(*shape: int, high: int = 256) -> np.ndarray:
    """The same bytes in every call."""
    return np.random.default_rng(0).integers(0, high, shape).astype(np.uint8)


def cifar(root: Path) -> dict[str, Any]:
    folder = root / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for number, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        records = noise(4, 3073)
        records[:, 0] = (np.arange(4) + number) % 10
        (folder / f"{name}.bin").write_bytes(records.tobytes())
    return {"source": "cifar10", "root": str(root)}


def svhn(root: Path) -> dict[str, Any]:
    for part, n in (("train", 12), ("test", 5)):
        x = noise(32, 32, 3, n)
        savemat(root / f"{part}_32x32.mat", {"X": x, "y": (np.arange(n) % 10 + 1)[:, None]})
    return {"source": "svhn", "root": str(root)}


def emnist(root: Path) -> dict[str, Any]:
    folder = root / "EMNIST" / "raw"
    folder.mkdir(parents=True)
    for part, n in (("train", 12), ("test", 5)):
        x = noise(n, 28, 28)
        (folder / f"emnist-letters-{part}-images-idx3-ubyte").write_bytes(idx(x))
        labels = (np.arange(n) % 3 + 1).astype(np.uint8)
        (folder / f"emnist-letters-{part}-labels-idx1-ubyte").write_bytes(idx(labels))
    return {"source": "emnist", "root": str(root), "variant": "letters"}


def omniglot(root: Path) -> dict[str, Any]:
    for part, alphabets in (("background", "AB"), ("evaluation", "C")):
        for alphabet in alphabets:
            for i in range(6):
                folder = root / "omniglot-py" / f"images_{part}" / alphabet / f"character{i % 2}"
                folder.mkdir(parents=True, exist_ok=True)
                ink = Image.fromarray(noise(105, 105, high=2).astype(bool))
                ink.save(folder / f"{i}.png")
    return {"source": "omniglot", "root": str(root), "image_size": [28, 28]}


def celeba(root: Path) -> dict[str, Any]:
    pictures = root / "celeba" / "img_align_celeba"
    pictures.mkdir(parents=True)
    names = [f"{i:06}.jpg" for i in range(1, 13)]
    for name in names:
        Image.fromarray(noise(218, 178, 3)).save(pictures / name)
    parts = "\n".join(f"{name} {(0, 0, 0, 1, 2)[i % 5]}" for i, name in enumerate(names))
    (root / "celeba" / "list_eval_partition.txt").write_text(parts + "\n")
    rows = "\n".join(f"{name}  1 {-1 if i % 2 else 1}" for i, name in enumerate(names))
    (root / "celeba" / "list_attr_celeba.txt").write_text(f"12\nYoung Smiling \n{rows}\n")
    return {"source": "celeba", "root": str(root), "image_size": [16, 16], "label": "Smiling"}


def dsprites(root: Path) -> dict[str, Any]:
    """Every picture is its own row's number in binary; its factors too."""
    n = 5000
    imgs = np.zeros((n, 64, 64), np.uint8)
    imgs[:, 0, :13] = (np.arange(n)[:, None] >> np.arange(13)) & 1
    classes = np.stack([np.zeros(n), *np.unravel_index(np.arange(n), (3, 6, 8, 6, 6))], 1)
    path = root / "dsprites.npz"
    metadata = np.array(b"not a pickle")
    np.savez_compressed(
        path, metadata=metadata, imgs=imgs, latents_classes=classes.astype(np.int64)
    )
    return {"source": "dsprites", "path": str(path), "examples": 40}


SETS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "cifar10": cifar,
    "svhn": svhn,
    "emnist": emnist,
    "omniglot": omniglot,
    "celeba": celeba,
    "dsprites": dsprites,
}


def prepared(name: str, folder: Path) -> Dataset:
    (folder / "root").mkdir()
    options = dataset_options(**SETS[name](folder / "root"))
    described = describe_observed(options)
    prepare_dataset(options, folder / "data")
    dataset = load_dataset(name, folder / "data")
    assert dataset.observed.shape == described.shape
    assert dataset.observed.levels == described.levels
    return dataset


def test_cifar_has_planes_of_colour_and_its_own_test_split(tmp_path: Path) -> None:
    dataset = prepared("cifar10", tmp_path)
    assert dataset.observed.shape == (32, 32, 3)
    assert (dataset.split == TEST).tolist() == [False] * 20 + [True] * 4
    record = np.fromfile(tmp_path / "root" / "cifar-10-batches-bin" / "data_batch_1.bin", np.uint8)[
        :3073
    ]
    picture = np.round(dataset.x[0].reshape(32, 32, 3) * 255)
    for channel in range(3):
        plane = record[1 + 1024 * channel : 1 + 1024 * (channel + 1)].reshape(32, 32)
        assert (picture[..., channel] == plane).all()
    assert dataset.label_name(int(dataset.labels[0])) == "airplane"


def test_the_label_10_of_svhn_is_the_digit_0(tmp_path: Path) -> None:
    dataset = prepared("svhn", tmp_path)
    assert dataset.labels[:12].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2]
    assert (dataset.split[12:] == TEST).all()


def test_emnist_is_turned_upright_and_letters_are_named(tmp_path: Path) -> None:
    dataset = prepared("emnist", tmp_path)
    path = tmp_path / "root/EMNIST/raw/emnist-letters-train-images-idx3-ubyte"
    stored = np.frombuffer(path.read_bytes()[16:], np.uint8).reshape(-1, 28, 28)
    assert (np.round(dataset.x[3].reshape(28, 28) * 255) == stored[3].T).all()
    assert dataset.class_names == ("a", "b", "c")


def test_omniglot_tests_on_other_alphabets(tmp_path: Path) -> None:
    dataset = prepared("omniglot", tmp_path)
    assert {dataset.label_name(k) for k in np.unique(dataset.labels_of("test"))} == {"C"}
    assert dataset.observed.shape == (28, 28)


def test_celeba_has_its_three_splits_and_an_attribute(tmp_path: Path) -> None:
    dataset = prepared("celeba", tmp_path)
    expected = [(TRAIN, TRAIN, TRAIN, VALIDATION, TEST)[i % 5] for i in range(12)]
    assert dataset.split.tolist() == expected
    assert dataset.class_names == ("not Smiling", "Smiling")
    assert dataset.labels.tolist() == [1, 0] * 6


def test_dsprites_are_drawn_from_the_file_with_their_factors(tmp_path: Path) -> None:
    dataset = prepared("dsprites", tmp_path)
    numbers = (dataset.x[:, :13] @ (1 << np.arange(13))).astype(int)
    assert len({*numbers}) == 40
    assert numbers.max() > 4096, "a block and the next"
    expected = np.stack(np.unravel_index(numbers, (3, 6, 8, 6, 6)), 1)
    assert (dataset.factors == expected).all()
    assert dataset.factor_names == ("shape", "scale", "orientation", "x", "y")
    assert dataset.observed.binary


@pytest.mark.parametrize("name", [name for name in SETS if name != "dsprites"])
def test_a_root_without_the_files_is_one_sentence(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        dataset_options(source=name, root=str(tmp_path))
    assert_one_sentence(caught.value, "root is", "has no", "as torchvision unpacks it")


@pytest.mark.parametrize("name", [name for name in SETS if name != "dsprites"])
def test_a_failed_download_is_one_sentence(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(root: Path, options: Any) -> None:
        (root / "half").write_text("a part")
        raise OSError("no route. To the host")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(SOURCES[name], "download", fails)
    with pytest.raises(UserError) as caught:
        SOURCES[name].load(dataset_options(source=name))
    assert "could not be downloaded (no route" in str(caught.value)
    assert not list(tmp_path.rglob("half"))


@pytest.mark.parametrize("name", SETS)
@settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(draw=st.data())
def test_a_damaged_file_is_prepared_or_told_in_one_sentence(
    name: str, draw: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "root").mkdir()
    options = dataset_options(**SETS[name](folder / "root"))
    files = sorted(path for path in (folder / "root").rglob("*") if path.is_file())
    path = draw.draw(st.sampled_from(files))
    content = bytearray(path.read_bytes())
    if draw.draw(st.booleans()):
        del content[draw.draw(st.integers(0, len(content) - 1)) :]
    else:
        places = st.integers(0, min(400, len(content) - 1)) | st.integers(0, len(content) - 1)
        for place in draw.draw(st.lists(places, min_size=1, max_size=8)):
            content[place] ^= 1 << draw.draw(st.integers(0, 7))
    path.write_bytes(content)
    told = ""
    try:
        prepare_dataset(options, folder / "data")
    except UserError as error:
        told = str(error)
    assert "\n" not in told
    assert (told == "") == (folder / "data" / "dataset.json").exists()


def test_a_file_of_another_kind_is_not_dsprites(tmp_path: Path) -> None:
    path = tmp_path / "own.npz"
    for content in ("empty", "zip", "npz"):
        if content == "empty":
            path.write_bytes(b"")
        elif content == "zip":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("a", "b")
        else:
            np.savez(path, imgs=np.zeros((4, 64, 64), np.uint8), latents_classes=np.zeros((4, 2)))
        with pytest.raises(UserError) as caught:
            SOURCES["dsprites"].load(dataset_options(source="dsprites", path=str(path)))
        assert_one_sentence(caught.value, str(path), "not readable as the file of dSprites")
