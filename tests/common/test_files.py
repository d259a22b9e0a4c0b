"""File helpers: whole files or nothing, stable JSON, content hashes."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae_ablation.common.files import (
    file_digest,
    read_json,
    replace_link,
    stable_hash,
    write_atomic,
    write_json,
    write_text,
)


def test_a_write_that_fails_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def half(stream: BinaryIO) -> None:
        stream.write(b"ne")
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write_atomic(path, half)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_makes_parents_and_keeps_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.txt"
    old = os.umask(0o027)
    try:
        write_text(path, "ü")
    finally:
        os.umask(old)
    assert path.read_bytes() == "ü".encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(JSON)
def test_json_comes_back_as_it_went(
    tmp_path_factory: pytest.TempPathFactory, value: object
) -> None:
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json(path, value)
    assert read_json(path) == value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1, float("-inf")]])
def test_json_refuses_what_it_has_no_name_for(value: object, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", value)
    assert not list(tmp_path.iterdir())


@given(st.dictionaries(st.text(), JSON, min_size=2, max_size=4))
def test_a_hash_does_not_depend_on_the_order_of_keys(value: dict[str, object]) -> None:
    assert stable_hash(dict(reversed(value.items()))) == stable_hash(value)


def test_hashes_differ_where_values_differ() -> None:
    values = [1, 1.5, "1", True, None, [], {}, [1], {"a": 1}, {"a": 2}, {"b": 1}]
    assert len({stable_hash(value) for value in values}) == len(values)
    assert len(stable_hash("x", 8)) == 8


def test_a_file_digest_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc" * 10**5)
    assert file_digest(tmp_path / "a") == hashlib.sha256(b"abc" * 10**5).hexdigest()


def test_a_link_is_relative_and_replaces_what_was_there(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_text(tmp_path / "packs" / name, name)
    link = tmp_path / "runs" / "a" / "b.txt"
    replace_link(link, tmp_path / "packs" / "one")
    replace_link(link, tmp_path / "packs" / "two")
    assert link.read_text() == "two"
    assert link.readlink() == Path("../../packs/two")
    assert [path.name for path in link.parent.iterdir()] == ["b.txt"]
