"""Data sources: what they give, and each wrong file told in one sentence before any training."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from support import assert_one_sentence, dataset_options, idx, write_mnist
from vae_ablation.common.errors import UserError
from vae_ablation.data import SOURCES
from vae_ablation.data.base import Source
from vae_ablation.data.npz import Npz
from vae_ablation.data.torchvision_sets import MNIST, read_idx


def error_of(path: Path) -> UserError:
    with pytest.raises(UserError) as caught:
        Npz().load({"path": str(path)})
    return caught.value


def save(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def images(n: int = 20) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 4, 3)).astype(np.uint8)


# --- the registry and the digits -----------------------------------------------------------------


def test_every_source_is_found_by_its_name() -> None:
    images = {"sklearn-digits", "mnist", "fashion-mnist", "kmnist", "npz", "sprites"}
    images |= {"photographs", "images", "cifar10", "svhn", "emnist", "omniglot", "celeba"}
    images |= {"dsprites"}
    counts = {"simulated-cells", "h5ad"}
    tables = {"table", "wine", "breast-cancer", "diabetes"}
    assert {name for name, source in SOURCES.items() if source.real} == tables
    assert {n for n, one in SOURCES.items() if not (one.counts or one.real)} == images
    assert {name for name, source in SOURCES.items() if source.counts} == counts
    assert all(isinstance(source, Source) for source in SOURCES.values())


def test_the_digits_are_scikit_learns_with_17_levels() -> None:
    source = SOURCES["sklearn-digits"]
    raw, described = source.load(dataset_options()), source.describe(dataset_options())
    bunch = load_digits()
    np.testing.assert_array_equal(raw.x, bunch.images)
    np.testing.assert_array_equal(raw.labels, bunch.target)
    assert raw.x.shape == (1797, 8, 8)
    assert raw.levels == described.levels == len(np.unique(bunch.images)) == 17
    assert described.shape == (8, 8)


# --- npz: what is accepted -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "levels", "expected"),
    [
        (np.array([[0, 255], [7, 8]], np.uint8), 256, [[0, 255], [7, 8]]),
        (np.array([[0, 255], [7, 8]], np.int64), 256, [[0, 255], [7, 8]]),
        (np.array([[0, 1], [1, 1]], np.uint8), 2, [[0, 1], [1, 1]]),
        (np.array([[False, True], [True, True]]), 2, [[0, 1], [1, 1]]),
        (np.array([[0.0, 1.0], [1.0, 1.0]]), 2, [[0, 1], [1, 1]]),
        (np.array([[0, 255], [7, 8]]) / 255, 256, [[0, 255], [7, 8]]),
        ((np.array([[0, 255], [7, 8]]) / 255).astype(np.float32), 256, [[0, 255], [7, 8]]),
        (np.array([[0.1234, 0.9], [0.33333, 0.5]]), None, [[0.1234, 0.9], [0.33333, 0.5]]),
    ],
)
def test_an_npz_keeps_its_grey_levels(
    x: np.ndarray, levels: int | None, expected: list[Any], tmp_path: Path
) -> None:
    options = {"path": str(save(tmp_path / "own.npz", x=x))}
    raw, described = Npz().load(options), Npz().describe(options)
    assert raw.levels == described.levels == levels
    assert described.binary == (levels == 2)
    np.testing.assert_allclose(raw.x, expected, rtol=1e-6)
    assert raw.labels is None


def test_labels_are_read_and_other_arrays_are_left_alone(tmp_path: Path) -> None:
    path = save(tmp_path / "own.npz", x=images(), y=np.arange(20, dtype=np.uint8), extra=np.ones(3))
    raw = Npz().load({"path": str(path)})
    assert raw.labels is not None
    assert raw.labels.dtype == np.int64
    np.testing.assert_array_equal(raw.labels, np.arange(20))
    described = Npz().describe({"path": str(path)})
    assert (described.classes, described.distinct_labels) == (0, True)


LABELS = {
    "gaps": (np.array([5, 95, 15, 5]), [0, 2, 1, 0], ("5", "15", "95")),
    "from 7 to 9007": (np.array([7, 9007, 7, 7]), [0, 1, 0, 0], ("7", "9007")),
    "minus one for none": (np.array([-1, 0, 3, 0], np.int8), [-1, 0, 1, 0], ("0", "3")),
    "beyond int64": (
        np.array([2**63, 2**63 + 1, 2**63, 0], np.uint64),
        [1, 2, 1, 0],
        ("0", "9223372036854775808", "9223372036854775809"),
    ),
    "truth": (np.array([True, False, True, True]), [1, 0, 1, 1], ("False", "True")),
    "whole floats": (np.array([5.0, 15, np.nan, -1]), [0, 1, -1, -1], ("5", "15")),
    "text": (np.array(["b", "", "a", "nan"]), [1, -1, 0, -1], ("a", "b")),
    "bytes": (np.array([b"b", b"\xc3\xa4", b"b", b"b"]), [0, 1, 0, 0], ("b", "ä")),
    "none at all": (np.full(4, -1), [-1, -1, -1, -1], ()),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_of_any_kind_are_classes_from_0_with_their_names(name: str, tmp_path: Path) -> None:
    values, expected, names = LABELS[name]
    raw = Npz().load({"path": str(save(tmp_path / "own.npz", x=images(4), y=values))})
    assert raw.labels is not None
    assert raw.labels.dtype == np.int64
    assert raw.labels.tolist() == expected
    assert raw.label_names == names


TWO_VALUES = np.array([[0, 1], [1, 1]])


@pytest.mark.parametrize(
    "x",
    [
        TWO_VALUES.astype(np.uint8),
        TWO_VALUES.astype(np.uint8) * 255,
        TWO_VALUES * 255,
        TWO_VALUES.astype(bool),
        TWO_VALUES.astype(np.float64),
        TWO_VALUES.astype(np.float32),
        TWO_VALUES * (1 + 1e-8),
        TWO_VALUES - 1e-9,
    ],
)
def test_the_same_picture_of_two_values_is_the_same_in_every_type(
    x: np.ndarray, tmp_path: Path
) -> None:
    raw = Npz().load({"path": str(save(tmp_path / "own.npz", x=x))})
    assert raw.levels == 2
    assert raw.x.dtype == np.uint8
    np.testing.assert_array_equal(raw.x, TWO_VALUES)


@pytest.mark.parametrize("top", [1 + 1e-7, np.float32(1) + np.float32(1.2e-7), np.float16(1.001)])
def test_values_that_rounding_moved_out_of_the_unit_interval_are_clipped_with_a_note(
    top: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    x = np.array([[0.1234, 0.9], [top, 0.5]], np.asarray(top).dtype)
    x[0, 1] = -1e-9
    with caplog.at_level("INFO"):
        raw = Npz().load({"path": str(save(tmp_path / "own.npz", x=x))})
    assert (raw.x.min(), raw.x.max()) == (0, 1)
    assert (raw.levels, raw.x.dtype) == (None, np.float32)
    assert "left [0, 1] by rounding" in caplog.text
    assert "clipped" in caplog.text


@pytest.mark.parametrize(
    ("x", "note"),
    [
        (np.arange(16, dtype=np.uint8), "256 levels, of which 15 is the largest"),
        (np.arange(17, dtype=np.int64), "if they have 17 levels, from 0 to 16"),
        (np.arange(101, dtype=np.uint8), "of which 100 is the largest"),
        (np.arange(16) / 255, "of which 15 is the largest"),
        (np.array([0.0, 0.1234, 0.3]), "the largest value of x is 0.3"),
    ],
)
def test_dark_pictures_are_read_with_a_warning_that_names_the_remedy(
    x: np.ndarray, note: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Npz().load({"path": str(save(tmp_path / "own.npz", x=x[None]))})
    assert note in caplog.text
    caplog.clear()
    raw = Npz().load({"path": str(save(tmp_path / "own.npz", x=x[None] / x.max()))})
    assert caplog.text == ""
    assert raw.x.min() == 0
    assert raw.x.max() == (1 if raw.levels is None else raw.levels - 1)


@pytest.mark.parametrize(
    ("x", "written", "formula"),
    [
        (np.arange(16.0), "x / 15", lambda x: x / 15),
        (np.arange(101.0), "x / 100", lambda x: x / 100),
        (np.linspace(-0.5, 0.5, 7), "x + 0.5", lambda x: x + 0.5),
        (np.linspace(-1, 1, 7), "(x + 1) / 2", lambda x: (x + 1) / 2),
        (
            np.linspace(-0.2, 0.9, 7),
            "(x − x.min()) / (x.max() − x.min())",
            lambda x: (x - x.min()) / (x.max() - x.min()),
        ),
        (np.arange(-128.0, 128), "(x + 128) / 255", lambda x: (x + 128) / 255),
        (np.linspace(0, 255, 700), "x / 255", lambda x: x / 255),
        (np.arange(4096.0), "x / 4095", lambda x: x / 4095),
    ],
)
def test_the_formula_of_a_hint_brings_data_onto_the_whole_unit_interval(
    x: np.ndarray, written: str, formula: Any, tmp_path: Path
) -> None:
    hint = str(error_of(save(tmp_path / "own.npz", x=x[None])))
    assert f"({written} brings it to [0, 1])" in hint
    scaled = formula(x)
    assert (scaled.min(), scaled.max()) == (0, 1)
    Npz().load({"path": str(save(tmp_path / "own.npz", x=scaled[None]))})


def test_constant_pictures_are_read_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Npz().load({"path": str(save(tmp_path / "own.npz", x=np.full((5, 4), 0.3)))})
    assert "every value of x is 0.3" in caplog.text


def test_factors_are_read_and_numbered(tmp_path: Path) -> None:
    factors = np.arange(60, dtype=np.uint16).reshape(20, 3)
    raw = Npz().load({"path": str(save(tmp_path / "own.npz", x=images(), factors=factors))})
    assert raw.factors is not None
    assert raw.factors.dtype == np.int64
    np.testing.assert_array_equal(raw.factors, factors)
    assert raw.factor_names == ("factor_1", "factor_2", "factor_3")
    without = Npz().load({"path": str(save(tmp_path / "other.npz", x=images()))})
    assert (without.factors, without.factor_names) == (None, ())


def test_a_compressed_archive_is_read_as_a_plain_one(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "own.npz", x=images())
    np.testing.assert_array_equal(Npz().load({"path": str(tmp_path / "own.npz")}).x, images())


# --- npz: what is refused ------------------------------------------------------------------------

WRONG = {
    "no x": ({"images": images()}, ["no array x", "images"]),
    "nothing": ({}, ["no array x", "nothing"]),
    "NaN": ({"x": np.array([[0.5, np.nan]])}, ["x holds 1 NaN", "example 0", "[0, 1]"]),
    "above one": ({"x": np.array([[0.5, 1.5]])}, ["0.5 to 1.5", "[0, 1]"]),
    "a little above one": ({"x": np.array([[0.5, 1.001]])}, ["0.5 to 1.001", "[0, 1]"]),
    "tiny": ({"x": np.array([[0.0, 9e-7]])}, ["0 to 9e-07", "scaled down twice", "x / x.max()"]),
    "divided twice": ({"x": np.array([[0, 1 / 255]])}, ["0.00392157", "scaled down twice"]),
    "from -1": ({"x": np.array([[-1.0, 0.5, 1]])}, ["-1 to 1", "(x + 1) / 2"]),
    "standardised": ({"x": np.array([[-1.8, 2.9]])}, ["-1.8 to 2.9", "standardised"]),
    "8 bits as floats": ({"x": np.array([[0.0, 255]])}, ["0 to 255", "8-bit", "x / 255"]),
    "0 to 255": ({"x": np.array([[0.5, 254.5]])}, ["0.5 to 254.5", "x / 255"]),
    "a little above 255": ({"x": np.array([[0.5, 256]])}, ["10-bit", "x / 1023"]),
    "16 levels as floats": ({"x": np.arange(16.0)[None]}, ["16 levels", "(x / 15 brings it to"]),
    "17 levels as floats": ({"x": np.arange(17.0)[None]}, ["17 levels", "(x / 16 brings it to"]),
    "percentages": ({"x": np.arange(101.0)[None]}, ["percentages", "(x / 100 brings it to"]),
    "parts of 100": ({"x": np.array([[0.25, 99.5]])}, ["percentages", "(x / 100 brings it to"]),
    "0 to 7.3": ({"x": np.array([[0.0, 7.3]])}, ["0 to 7.3 (x / x.max() brings it to [0, 1])"]),
    "around 0": ({"x": np.array([[-0.5, 0.1, 0.5]])}, ["from −0.5 to 0.5", "(x + 0.5 brings it"]),
    "off centre": ({"x": np.array([[-0.2, 0.9]])}, ["((x − x.min()) / (x.max() − x.min()) brings"]),
    "from -255": ({"x": np.array([[-255.0, 0]])}, ["((x − x.min()) / (x.max() − x.min()) brings"]),
    "8 bits less 128": ({"x": np.array([[-128.0, 127]])}, ["8-bit", "((x + 128) / 255 brings"]),
    "16 bits as floats": ({"x": np.array([[0.0, 60000]])}, ["0 to 60000", "x / 65535"]),
    "12 bits": ({"x": np.array([[0, 4000]], np.uint16)}, ["0 to 4000", "12-bit", "x / 4095"]),
    "with a sign": ({"x": np.array([[-128, 127]], np.int8)}, ["-128 to 127", "x.view('uint8')"]),
    "two signs": ({"x": np.array([[-1, 1]])}, ["-1 to 1", "(x + 1) // 2"]),
    "infinite": ({"x": np.array([[0.5, np.inf]])}, ["inf", "[0, 1]"]),
    "negative": ({"x": np.array([[0.5, -0.1]])}, ["-0.1 to 0.5", "[0, 1]"]),
    "16 bit": ({"x": np.array([[0, 256]])}, ["0 to 256", "0 to 255"]),
    "negative integer": ({"x": np.array([[0, -1]])}, ["-1 to 0", "0 to 255"]),
    "text": ({"x": np.array([["a", "b"]])}, ["type <U1", "8-bit integers or floats"]),
    "complex": ({"x": np.array([[1j]])}, ["type complex128"]),
    "objects": ({"x": np.array([[None, 1]], dtype=object)}, ["plain arrays"]),
    "object labels": (
        {"x": images(), "y": np.array([None] * 20)},
        ["plain arrays", "y holds Python objects", "astype(str)"],
    ),
    "one axis": ({"x": np.zeros(5)}, ["shape (5,)", "[n, height, width], ", "or [n, dims]"]),
    "many channels": ({"x": np.zeros((2, 2, 2, 17))}, ["shape (2, 2, 2, 17)", "at most 16"]),
    "colours first": ({"x": np.zeros((2, 3, 8, 8))}, ["shape (2, 3, 8, 8)", "moveaxis(x, 1, -1)"]),
    "no channels": ({"x": np.zeros((2, 3, 8, 0))}, ["shape (2, 3, 8, 0)", "not empty"]),
    "volumes": ({"x": np.zeros((2, 3, 8, 8, 3))}, ["shape (2, 3, 8, 8, 3)", "channels]"]),
    "unnamed": ({"arr_0": images()}, ["no array x", "arr_0", "np.savez(path, x=images)"]),
    "empty": ({"x": np.zeros((0, 4))}, ["shape (0, 4)", "not empty"]),
    "no width": ({"x": np.zeros((4, 0))}, ["shape (4, 0)", "not empty"]),
    "scalar": ({"x": np.float64(0.5)}, ["shape ()"]),
    "labels too short": ({"x": images(), "y": np.zeros(19, int)}, ["y has shape (19,)", "[20]"]),
    "labels in two axes": ({"x": images(), "y": np.zeros((20, 1), int)}, ["(20, 1)", "y.ravel()"]),
    "labels between whole ones": ({"x": images(), "y": np.full(20, 0.5)}, ["y holds 0.5"]),
    "infinite labels": ({"x": images(), "y": np.full(20, np.inf)}, ["y holds inf"]),
    "labels below -1": ({"x": images(), "y": np.arange(20) - 2}, ["y holds -2", "from 0", "−1"]),
    "labels -1 and 1": ({"x": images(), "y": np.resize([-1, 1], 20)}, ["−1 and 1 alone"]),
    "complex labels": ({"x": images(), "y": np.full(20, 1j)}, ["type complex128", "text"]),
    "dates": ({"x": images(), "y": np.full(20, "2020", "M8[D]")}, ["datetime64[D]", "text"]),
    "bytes": ({"x": images(), "y": np.full(20, b"\xff")}, ["not UTF-8"]),
    "one-hot labels": ({"x": images(), "y": np.eye(20)}, ["(20, 20)", "y.argmax(1)", "one-hot"]),
}  # fmt: skip


WRONG_FACTORS = {
    "too short": (np.zeros((19, 2), int), ["shape (19, 2)", "20 examples", "[20, factors]"]),
    "in one axis": (np.zeros(20, int), ["shape (20,)"]),
    "a single one": (np.int64(3), ["shape ()"]),
    "none": (np.zeros((20, 0), int), ["shape (20, 0)"]),
    "NaN": (np.full((20, 2), np.nan), ["type float64", "integers from 0"]),
    "text": (np.full((20, 2), "a"), ["type <U1", "integers from 0"]),
    "negative": (np.full((20, 2), -3), ["factors holds -3", "integers from 0"]),
    "objects": (np.full((20, 2), None), ["plain arrays"]),
}


@pytest.mark.parametrize("name", WRONG_FACTORS)
def test_wrong_factors_are_one_sentence(name: str, tmp_path: Path) -> None:
    factors, parts = WRONG_FACTORS[name]
    path = save(tmp_path / "own.npz", x=images(), factors=factors)
    assert_one_sentence(error_of(path), str(path), *parts)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_archive_is_one_sentence(name: str, tmp_path: Path) -> None:
    arrays, parts = WRONG[name]
    path = save(tmp_path / "own.npz", **arrays)
    assert_one_sentence(error_of(path), str(path), *parts)


class _Boom:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("pickle-was-run"),))


def test_a_pickle_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    array = np.empty(1, dtype=object)
    array[0] = _Boom()
    for path in (save(tmp_path / "a.npz", x=array), tmp_path / "b.npz"):
        if path.name == "b.npz":
            path.write_bytes(pickle.dumps(_Boom()))
        error_of(path)
    assert not (tmp_path / "pickle-was-run").exists()


def torch_pickle() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", b"")
    return buffer.getvalue()


KINDS = {
    "npy": (b"\x93NUMPY\x01\x00", ["bare .npy", "np.savez"]),
    "pickle": (pickle.dumps({"x": 1}), ["pickle", "never loaded"]),
    "torch": (torch_pickle(), ["torch.save", "never loaded"]),
    "CSV": (b"a,b\n1,2\n", ["CSV", "pandas.read_csv"]),
    "tabs": ("ä\tb\n".encode() * 500, ["tabs", "pandas.read_csv"]),
    "HTML": (b"\n<!DOCTYPE html><html>", ["web page", "download"]),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\noid", ["git lfs pull"]),
    "gzip": (gzip.compress(b"x"), ["gzip", "unpack"]),
    "HDF5": (b"\x89HDF\r\n\x1a\n", ["HDF5", "h5ad"]),
    "MATLAB": (b"MATLAB 5.0 MAT-file, Platform", ["scipy.io.loadmat"]),
    "PNG": (b"\x89PNG\r\n\x1a\n", ["PNG"]),
    "empty": (b"", ["empty"]),
    "zeros": (bytes(100), ["not a ZIP archive"]),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_file_of_another_kind_is_named_with_what_reads_it(name: str, tmp_path: Path) -> None:
    content, parts = KINDS[name]
    path = tmp_path / "own.npz"
    path.write_bytes(content)
    assert_one_sentence(error_of(path), str(path), "not readable as an .npz", *parts)


def test_a_folder_is_named_for_what_it_is(tmp_path: Path) -> None:
    (tmp_path / ".zgroup").write_text("{}")
    for source in ("npz", "h5ad"):
        with pytest.raises(UserError) as caught:
            SOURCES[source].check_options("config.yaml: datasets.a", {"path": str(tmp_path)})
        assert_one_sentence(caught.value, str(tmp_path), "Zarr store", "write_h5ad")


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04", b"PK\x05\x06" + b"\0" * 18])
def test_a_file_that_is_no_archive_is_one_sentence(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "own.npz"
    path.write_bytes(content)
    assert_one_sentence(error_of(path), str(path))


def test_a_plain_npy_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "own.npy", images())
    assert_one_sentence(error_of(tmp_path / "own.npy"), "own.npy")


@pytest.mark.parametrize("member", ["x", "x.npy"])
def test_a_member_that_is_no_array_is_one_sentence(member: str, tmp_path: Path) -> None:
    path = tmp_path / "own.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, b"these bytes are no array")
    assert_one_sentence(error_of(path), str(path))


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (9999999999999, 9999999), }",
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 2), }",
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (2.5, 2), }",
        b"{'descr': 'zz', 'fortran_order': False, 'shape': (2, 2), }",
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (2, 2), ",
        b"__import__('os').system('true')",
        b"(((((",
        b"'''",
        b"\xff\xfe",
    ],
)
def test_a_damaged_array_header_is_one_sentence(header: bytes, tmp_path: Path) -> None:
    path = tmp_path / "own.npz"
    with zipfile.ZipFile(path, "w") as archive:
        body = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + b"\0" * 32
        archive.writestr("x.npy", body)
    error = error_of(path)
    assert str(path) in str(error)
    assert "\n" not in str(error)


def _archive(compressed: bool) -> bytes:
    buffer = io.BytesIO()
    save_as = np.savez_compressed if compressed else np.savez
    save_as(buffer, x=images(12), y=np.arange(12))
    return buffer.getvalue()


ARCHIVES = {True: _archive(True), False: _archive(False)}


@given(st.booleans(), st.lists(st.tuples(st.floats(0, 0.999999), st.integers(0, 7)), min_size=1))
@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_flipped_bits_give_the_data_or_one_sentence(
    tmp_path: Path, compressed: bool, flips: list[tuple[float, int]]
) -> None:
    content = bytearray(ARCHIVES[compressed])
    for place, bit in flips:
        content[int(place * len(content))] ^= 1 << bit
    path = tmp_path / "own.npz"
    path.write_bytes(content)
    try:
        x, complaint = Npz().load({"path": str(path)}).x, ""
    except UserError as error:
        x, complaint = images(12), str(error)
    assert "\n" not in complaint
    np.testing.assert_array_equal(x, images(12))


@given(st.integers(0, len(ARCHIVES[True]) - 1))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_truncated_archive_is_one_sentence(tmp_path: Path, length: int) -> None:
    path = tmp_path / "own.npz"
    path.write_bytes(ARCHIVES[True][:length])
    assert "\n" not in str(error_of(path))


# --- MNIST's files -------------------------------------------------------------------------------


def test_an_idx_file_is_read_plain_and_gzipped(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    (tmp_path / "a").write_bytes(idx(values))
    (tmp_path / "a.gz").write_bytes(gzip.compress(idx(values)))
    for name in ("a", "a.gz"):
        np.testing.assert_array_equal(read_idx(tmp_path / name), values)


GOOD = idx(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("a", b"", "not an IDX file"),
        ("a", b"\0\0", "not an IDX file"),
        ("a", b"PK\3\4 and so on", "not an IDX file"),
        ("a", b"\0\0\x0d\3" + GOOD[4:], "not an IDX file of unsigned bytes"),
        ("a", GOOD[:9], "truncated inside its header"),
        ("a", GOOD[:-1], "truncated"),
        ("a", GOOD + b"\0", "damaged"),
        ("a", b"\0\0\x08\3" + b"\xff" * 12 + b"\0" * 5, "truncated"),
        ("a.gz", GOOD, "not readable"),
        ("a.gz", gzip.compress(GOOD, mtime=0)[:-9], "not readable"),
        (
            "a.gz",
            gzip.compress(GOOD, mtime=0)[:15] + b"\xff\xff" + gzip.compress(GOOD, mtime=0)[17:],
            "not readable",
        ),
    ],
)
def test_a_damaged_idx_file_is_one_sentence(
    name: str, content: bytes, part: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_idx(tmp_path / name)
    assert_one_sentence(caught.value, str(tmp_path / name), part)


def test_mnist_keeps_its_own_test_split(tmp_path: Path) -> None:
    raw = MNIST().load(write_mnist(tmp_path))
    assert raw.x.shape == (50, 28, 28)
    assert raw.official_test is not None
    assert raw.official_test.tolist() == [False] * 30 + [True] * 20


@pytest.mark.parametrize(
    ("file", "content", "part"),
    [
        ("train_labels-idx1-ubyte", idx(np.zeros(29, np.uint8)), "29 labels for 30 images"),
        ("t10k_labels-idx1-ubyte", idx(np.zeros((20, 1), np.uint8)), "labels"),
        ("t10k_images-idx3-ubyte", idx(np.zeros((20, 27, 28), np.uint8)), "(27, 28)"),
        ("train_images-idx3-ubyte", idx(np.zeros(30, np.uint8)), "expected (28, 28)"),
        ("train_images-idx3-ubyte", idx(np.zeros((30, 28, 28), np.uint8))[:-5], "truncated"),
    ],
)
def test_wrong_mnist_files_are_one_sentence(
    file: str, content: bytes, part: str, tmp_path: Path
) -> None:
    options = write_mnist(tmp_path, **{file: content})
    with pytest.raises(UserError) as caught:
        MNIST().load(options)
    assert_one_sentence(caught.value, str(tmp_path), part)


def test_a_download_that_fails_is_one_sentence_that_says_where_to_put_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision import datasets

    def offline(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz:\nTried these mirrors")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "MNIST", offline)
    with pytest.raises(UserError) as caught:
        MNIST().load({"root": None})
    text = str(caught.value)
    assert str(Path("MNIST") / "raw") in text
    assert "root:" in text
    assert "\n" not in text


def refused_root(root: Path, *parts: str) -> None:
    """Refused when the config is read and when data are, without a folder made or a download."""
    before = sorted(root.parent.rglob("*"))
    for use in (
        lambda: MNIST().check_options("c.yaml: datasets.a", {"root": str(root)}),
        lambda: MNIST().load({"root": str(root)}),
    ):
        with pytest.raises(UserError) as caught:
            use()
        assert_one_sentence(caught.value, str(root / "MNIST" / "raw"), *parts)
    assert sorted(root.parent.rglob("*")) == before


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: MNIST, folder: Path) -> None:
        raise AssertionError("a download was tried")

    monkeypatch.setattr(MNIST, "_download", refuse)


KINDS_OF_FILES = ("images-idx3", "labels-idx1")
FOUR = [f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in KINDS_OF_FILES]


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", FOUR)
def test_the_missing_one_of_four_files_is_named(name: str, tmp_path: Path) -> None:
    write_mnist(tmp_path / "data")
    (tmp_path / "data" / "MNIST" / "raw" / name).unlink()
    refused_root(tmp_path / "data", f"has no {name} (", "all four files")


@pytest.mark.usefixtures("offline")
def test_a_root_one_level_off_is_told_where_the_files_are(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_mnist(root)
    for off in (root / "MNIST", root / "MNIST" / "raw", tmp_path):
        refused_root(off, f"root: {root} has them")
    loose = tmp_path / "loose"
    (root / "MNIST" / "raw").rename(loose)
    refused_root(loose, f"{loose} has them; move them")
    refused_root(tmp_path / "none", "has no train-images-idx3-ubyte, train-labels-idx1-ubyte")


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("dotted", [False, True])
def test_gzipped_and_dotted_names_are_found(dotted: bool, tmp_path: Path) -> None:
    options = write_mnist(tmp_path)
    expected = MNIST().load(options)
    for path in sorted((tmp_path / "MNIST" / "raw").iterdir()):
        name = path.name.replace("-idx", ".idx") if dotted else path.name
        path.with_name(f"{name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    np.testing.assert_array_equal(MNIST().load(options).x, expected.x)


def test_files_that_are_there_touch_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: MNIST, folder: Path) -> None:
        raise AssertionError("a download was tried")

    monkeypatch.setattr(MNIST, "_download", refuse)
    MNIST().load(write_mnist(tmp_path))


@pytest.mark.mnist
def test_the_real_mnist_is_torchvisions(mnist_root: Path) -> None:
    from torchvision import datasets

    raw = MNIST().load({"root": str(mnist_root)})
    assert raw.x.shape == (70_000, 28, 28)
    for part, train in ((slice(0, 60_000), True), (slice(60_000, None), False)):
        theirs = datasets.MNIST(mnist_root, train=train, download=False)
        np.testing.assert_array_equal(raw.x[part], theirs.data.numpy())
        assert raw.labels is not None
        np.testing.assert_array_equal(raw.labels[part], theirs.targets.numpy())
