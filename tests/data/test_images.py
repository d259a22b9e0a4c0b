"""Folders of pictures: labels by subfolder or CSV, mixed sizes and modes, damaged files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from faults.made import SMALL, make_tables, run_study
from support import assert_one_sentence, dataset_options
from vae_ablation.common.errors import UserError
from vae_ablation.data.base import TEST, TRAIN
from vae_ablation.data.prepare import data_hash, describe_observed, load_dataset, prepare_dataset

RANDOM = np.random.default_rng(0)


def save(path: Path, mode: str = "RGB", size: tuple[int, int] = (6, 5), **options: Any) -> None:
    """A picture of noise, height 5 and width 6 unless said otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = RANDOM.integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    Image.fromarray(noise).convert(mode).save(path, **options)


def folder_of(tmp: Path, mode: str = "RGB", n: int = 12) -> Path:
    for i in range(n):
        save(tmp / "pictures" / ("cat" if i % 2 else "dog") / f"{i:02}.png", mode)
    return tmp / "pictures"


def prepared(tmp: Path, folder: Path, **options: Any) -> Any:
    options = dataset_options(source="images", folder=str(folder), **options)
    described = describe_observed(options)
    prepare_dataset(options, tmp / "data")
    dataset = load_dataset("own", tmp / "data")
    assert dataset.observed.shape == described.shape
    assert dataset.observed.levels == described.levels
    return dataset


def test_subfolders_are_labels_and_pixels_are_those_of_the_files(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    dataset = prepared(tmp_path, folder)
    assert dataset.observed.shape == (5, 6, 3)
    assert dataset.class_names == ("cat", "dog")
    files = sorted(folder.rglob("*.png"))
    for place, path in enumerate(files):
        pixels = np.asarray(Image.open(path), float) / 255
        np.testing.assert_allclose(dataset.x[place], pixels.ravel(), atol=1e-6)
        assert dataset.class_names[dataset.labels[place]] == path.parent.name


def test_a_csv_holds_labels_splits_and_groups(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))[::-1]
    rows = [
        f"{name},{'x' if i < 6 else 'y'},{'test' if i < 4 else 'train'},p{i // 2}"
        for i, name in enumerate(names[:10])
    ]
    (tmp_path / "own.csv").write_text("\n".join(["file,label,part,patient", *rows]))
    options = {"labels": str(tmp_path / "own.csv"), "split": "part", "group": "patient"}
    dataset = prepared(tmp_path, folder, **options)
    assert len(dataset.x) == 10
    assert (dataset.split[:4] == TEST).all()
    assert (dataset.split[4:] != TEST).all()
    assert (dataset.split[4:] == TRAIN).sum() == 4, "a patient of two pictures validates"
    assert dataset.labels.tolist() == [0] * 6 + [1] * 4


def test_links_to_classes_are_followed_and_hidden_folders_are_not(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    save(folder / ".ipynb_checkpoints" / "00-checkpoint.png")
    save(folder / "cat" / ".thumbnails" / "00.png")
    (folder / "cat" / "again").symlink_to(folder / "cat")
    (tmp_path / "linked").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "linked" / name).symlink_to(folder / name)
    for one in (folder, tmp_path / "linked"):
        dataset = prepared(tmp_path, one)
        assert dataset.class_names == ("cat", "dog")
        assert len(dataset.x) == 12


@pytest.mark.parametrize("form", ["{folder}/{name}", "./{name}", r"{windows}", "dog/../{name}"])
def test_a_csv_names_pictures_by_any_path(form: str, tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    names = [str(path.relative_to(folder)) for path in folder.rglob("*.png")]
    shown = [form.format(folder=folder, name=n, windows=n.replace("/", "\\")) for n in names]
    rows = "".join(f"{name}, {place % 3 - 1}\n" for place, name in enumerate(shown))
    (tmp_path / "l.csv").write_text(f"file, label\n{rows}")
    dataset = prepared(tmp_path, folder, labels=str(tmp_path / "l.csv"))
    assert dataset.labels.tolist() == [-1, 0, 1] * 4


def test_dark_pictures_are_noted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Levels of 12 bits in a file of 16."""
    (tmp_path / "dark").mkdir()
    for name in range(12):
        levels = np.linspace(0, 4095, 30).reshape(5, 6).astype(np.uint16)
        Image.fromarray(levels).save(tmp_path / "dark" / f"{name}.png")
    prepared(tmp_path, tmp_path / "dark")
    assert "the brightest pixel is 16 of 255" in caplog.text


def test_pictures_side_by_side_have_no_labels(tmp_path: Path) -> None:
    for i in range(12):
        save(tmp_path / "flat" / f"{i}.png", "L")
    dataset = prepared(tmp_path, tmp_path / "flat")
    assert dataset.observed.shape == (5, 6)
    assert not dataset.has_labels


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_each_mode_is_read(mode: str, tmp_path: Path) -> None:
    ending = "tif" if mode == "CMYK" else "png"
    for i in range(10):
        path = tmp_path / "own" / f"{i}.{ending}"
        if mode == "I;16":
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.full((5, 6), 257 * i, np.uint16)).save(path)
        else:
            save(path, mode)
    dataset = prepared(tmp_path, tmp_path / "own")
    assert dataset.observed.channels == (1 if mode in ("1", "L", "LA", "I;16") else 3)
    assert dataset.observed.levels == (2 if mode == "1" else 256)
    if mode == "I;16":
        np.testing.assert_allclose(dataset.x[:, 0] * 255, np.arange(10), atol=1e-4)


def test_transparent_pixels_are_black(tmp_path: Path) -> None:
    for i in range(10):
        clear = np.full((4, 4, 4), 200, np.uint8)
        clear[:2, :, 3] = 0
        clear[2:, :, 3] = 255
        (tmp_path / "own").mkdir(exist_ok=True)
        Image.fromarray(clear).save(tmp_path / "own" / f"{i}.png")
    dataset = prepared(tmp_path, tmp_path / "own")
    pixels = dataset.x[0].reshape(4, 4, 3)
    assert not pixels[:2].any()
    np.testing.assert_allclose(pixels[2:], 200 / 255, atol=1e-6)


def test_pictures_are_turned_as_their_orientation_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for i in range(10):
        save(tmp_path / "own" / f"{i}.jpg", size=(16, 8), exif=exif)
    assert prepared(tmp_path, tmp_path / "own").observed.shape == (16, 8, 3)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_mixed_sizes_are_brought_to_one(fit: str, tmp_path: Path) -> None:
    white = np.full((8, 16), 255, np.uint8)
    white[:, 4:12] = 100
    for i in range(10):
        save(tmp_path / "own" / f"{i}.png", "L", size=(5 + i, 9))
    Image.fromarray(white).save(tmp_path / "own" / "wide.png")
    dataset = prepared(tmp_path, tmp_path / "own", image_size=[8, 8], fit=fit)
    assert dataset.observed.shape == (8, 8)
    wide = np.round(dataset.x[-1].reshape(8, 8) * 255)
    if fit == "crop":
        assert (wide == 100).all(), "the middle of the picture"
    elif fit == "pad":
        assert not wide[:2].any()
        assert not wide[6:].any()
        assert (wide[3:5, 0] > 200).all()
    else:
        assert (wide[:, 0] > 200).all()
        assert (abs(wide[:, 3:5] - 100) < 5).all()


def text(name: str, content: str) -> Callable[[Path], None]:
    return lambda tmp: (tmp / name).write_text(content) and None


def mixed_sizes(tmp: Path) -> None:
    save(tmp / "pictures" / "cat" / "large.png", size=(9, 9))


def mixed_modes(tmp: Path) -> None:
    save(tmp / "pictures" / "cat" / "grey.png", "L")


def float_mode(tmp: Path) -> None:
    Image.fromarray(np.zeros((5, 6), np.float32)).save(tmp / "pictures" / "cat" / "f.tif")


def splits(tmp: Path) -> None:
    (tmp / "pictures" / "cat").rename(tmp / "pictures" / "train")
    (tmp / "pictures" / "dog").rename(tmp / "pictures" / "Test")


def too_deep(tmp: Path) -> None:
    Image.fromarray(np.full((5, 6), 70000, np.int32)).save(tmp / "pictures" / "cat" / "deep.tif")


def two_truncated(tmp: Path) -> None:
    for name in ("dog/00.png", "cat/05.png"):
        path = tmp / "pictures" / name
        path.write_bytes(path.read_bytes()[:60])
    (tmp / "pictures" / "cat" / "none.jpg").write_bytes(b"")


FIRST = "dog/00.png,a"
WRONG: dict[str, tuple[Callable[[Path], None], dict[str, Any], list[str]]] = {
    "sizes": (mixed_sizes, {}, ["2 sizes", "12 of 5×6", "1 of 9×9", "image_size"]),
    "modes": (mixed_modes, {}, ["12 RGB, 1 L", "mode: grey, or mode: rgb"]),
    "floats": (float_mode, {}, ["1 pictures have the mode F", "8 or 16 bits"]),
    "splits": (splits, {}, ["subfolders are Test, train, which are splits", "labels"]),
    "32 bits": (too_deep, {"mode": "grey"}, ["deep.tif (levels from 70000 to 70000, beyond 16"]),
    "link to nothing": (
        lambda tmp: (tmp / "pictures" / "cat" / "gone.png").symlink_to("nowhere.png"),
        {}, ["1 of 13", "gone.png", "No such file"],
    ),
    "no name": (text("l.csv", f"file,label\n{FIRST}\n,b\n"), {"labels": "l.csv"}, ["1 rows name"]),
    "truncated": (two_truncated, {}, ["3 of 13", "00.png (", "05.png (", "none.jpg ("]),
    "no column": (text("l.csv", "name,label\na,b\n"), {"labels": "l.csv"}, ["no column file"]),
    "absent": (text("l.csv", "file\nx.png\n"), {"labels": "l.csv"}, ["x.png", "does not hold"]),
    "twice": (
        text("l.csv", f"file,label\n{FIRST}\n{FIRST}\n"), {"labels": "l.csv"}, ["twice"],
    ),
    "two columns": (
        text("l.csv", f"file,file\n{FIRST}\n"), {"labels": "l.csv"}, ["column 'file' twice"],
    ),
    "empty CSV": (text("l.csv", ""), {"labels": "l.csv"}, ["not readable as a CSV"]),
    "no rows": (text("l.csv", "file,label\n"), {"labels": "l.csv"}, ["has no rows"]),
    "bytes": (
        lambda tmp: (tmp / "l.csv").write_bytes(b"\x80\x81,\xff") and None,
        {"labels": "l.csv"}, ["not readable as a CSV"],
    ),
    "no split": (
        text("l.csv", f"file,label\n{FIRST}\n"), {"labels": "l.csv", "split": "part"},
        ["split is 'part'", "allowed: file, label"],
    ),
    "no CSV": (lambda tmp: None, {"labels": "absent.csv"}, ["labels is", "no such file"]),
    "split without CSV": (lambda tmp: None, {"split": "part"}, ["split names a column"]),
    "no folder": (lambda tmp: None, {"folder": "absent"}, ["no such folder"]),
    "null": (lambda tmp: None, {"folder": None}, ["folder is null"]),
    "a file": (text("l.csv", ""), {"folder": "l.csv"}, ["no such folder"]),
    "no pictures": (lambda tmp: (tmp / "e").mkdir(), {"folder": "e"}, ["holds no pictures"]),
    "too small": (lambda tmp: None, {"image_size": [0, 4]}, ["image_size[0] is 0"]),
    "one side": (lambda tmp: None, {"image_size": [4]}, ["image_size is [4]"]),
    "unknown fit": (lambda tmp: None, {"fit": "cut"}, ["fit is 'cut'", "crop, pad, stretch"]),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_folders_end_in_one_sentence(name: str, tmp_path: Path) -> None:
    change, options, parts = WRONG[name]
    folder_of(tmp_path)
    change(tmp_path)
    known = {"folder": "pictures"} | options
    for key in ("folder", "labels"):
        if known.get(key):
            known[key] = str(tmp_path / known[key])
    with pytest.raises(UserError) as caught:
        prepare_dataset(dataset_options(source="images", **known), tmp_path / "data")
    assert_one_sentence(caught.value, *parts)
    assert not (tmp_path / "data").exists()


def test_a_picture_that_changes_its_class_changes_the_data(tmp_path: Path) -> None:
    options = dataset_options(source="images", folder=str(folder_of(tmp_path)))
    before = data_hash(options)
    picture = tmp_path / "pictures" / "dog" / "00.png"
    assert data_hash(options) == before
    picture.rename(tmp_path / "pictures" / "cat" / "00.png")
    assert data_hash(options) != before


def test_a_folder_of_mixed_modes_runs_to_its_report(tmp_path: Path) -> None:
    for i in range(60):
        save(tmp_path / "mine" / "ab"[i % 2] / f"{i}.png", ["L", "RGB", "RGBA"][i % 3], (8, 8))
    mine = {"source": "images", "folder": "mine", "mode": "rgb", "image_size": [8, 8]}
    study = SMALL | {
        "datasets": {"mine": mine},
        "grids": [{"likelihood": ["gaussian"], "architecture": ["conv"]}],
    }
    run_study(tmp_path, study)
    tables = make_tables(tmp_path, study)
    assert list((tables / "figures" / "mine").rglob("latent_space.png"))
