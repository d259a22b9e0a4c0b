"""Splits of the user's own, and splits in which no group is on two sides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support import assert_one_sentence, dataset_options
from vae_ablation.common.errors import UserError
from vae_ablation.data.base import HELD_OUT, SPLITS, TEST, TRAIN, VALIDATION
from vae_ablation.data.prepare import data_hash, load_dataset, prepare_dataset
from vae_ablation.data.splits import drawn_split, grouped_share


def archive(folder: Path, n: int = 60, **arrays: Any) -> str:
    random = np.random.default_rng(0)
    path = folder / "own.npz"
    np.savez(path, x=random.integers(0, 256, (n, 4, 4)).astype(np.uint8), **arrays)
    return str(path)


def prepared(folder: Path, **options: Any) -> Any:
    options = dataset_options(source="npz", **options)
    prepare_dataset(options, folder / "data")
    return load_dataset("own", folder / "data")


def test_the_split_is_the_users(tmp_path: Path) -> None:
    words = np.array(["train"] * 30 + ["val"] * 10 + ["Test"] * 15 + [""] * 5)
    dataset = prepared(tmp_path, path=archive(tmp_path, part=words), split="part")
    expected = [TRAIN] * 30 + [VALIDATION] * 10 + [TEST] * 15 + [HELD_OUT] * 5
    assert dataset.split.tolist() == expected


def test_what_the_users_split_lacks_is_drawn_from_train(tmp_path: Path) -> None:
    words = np.array(["train"] * 40 + ["test"] * 20)
    dataset = prepared(tmp_path, path=archive(tmp_path, part=words), split="part")
    assert (dataset.split[40:] == TEST).all()
    assert (dataset.split[:40] == VALIDATION).sum() == 4
    assert not (dataset.split[:40] == TEST).any()


def test_no_group_is_in_two_splits_of_a_prepared_file(tmp_path: Path) -> None:
    donors = np.array([f"donor {i % 9}" for i in range(60)])
    path = archive(tmp_path, donor=donors, y=np.arange(60) % 2)
    dataset = prepared(tmp_path, path=path, group="donor")
    sides = [set(donors[dataset.rows(name)]) for name in SPLITS]
    assert all(sides)
    assert sum(map(len, sides)) == len(set(donors))


@settings(max_examples=200, deadline=None)
@given(
    data=st.data(),
    count=st.integers(3, 12),
    classes=st.integers(1, 4),
    seed=st.integers(0, 2**16),
)
def test_a_group_never_leaks(data: st.DataObject, count: int, classes: int, seed: int) -> None:
    """Whatever the sizes of groups, the labels, the shares and the cap."""
    sizes = data.draw(st.lists(st.integers(1, 30), min_size=count, max_size=count))
    random = np.random.default_rng(seed)
    groups = random.permutation(np.repeat(np.arange(count), sizes))
    labels = random.integers(-1, classes, len(groups))
    shares = {
        "test": data.draw(st.floats(0.01, 0.5)),
        "validation": data.draw(st.floats(0.01, 0.5)),
    }
    streams = {name: np.random.default_rng([seed, i]) for i, name in enumerate(shares)}
    most = data.draw(st.integers(1, 200))
    split = drawn_split(labels, groups, np.zeros(len(groups), np.int8), shares, streams, most)
    sides = [set(groups[split == code].tolist()) for code in SPLITS.values()]
    assert all(sides)
    assert sum(map(len, sides)) == len(set.union(*sides))
    assert max((split == TEST).sum(), (split == VALIDATION).sum()) <= most
    assert not set(groups[split == HELD_OUT].tolist()) & sides[0], "surplus never trains"


def test_groups_are_stratified_where_it_can_be() -> None:
    """Forty groups of one label each, two labels: a fifth of both, within one group."""
    groups = np.repeat(np.arange(40), 5)
    labels = (groups < 20).astype(np.int64)
    for seed in range(20):
        chosen = grouped_share(groups, labels, 40, np.random.default_rng(seed), 38)
        assert [int(chosen[labels == k].sum()) for k in (0, 1)] == [20, 20]


def test_group_splits_differ_by_seed() -> None:
    groups = np.repeat(np.arange(30), 4)
    drawn = {
        tuple(grouped_share(groups, groups * 0, 24, np.random.default_rng(seed), 28).tolist())
        for seed in range(5)
    }
    assert len(drawn) == 5


@pytest.mark.parametrize(
    ("arrays", "options", "parts"),
    [
        ({}, {"split": "part"}, ["split is 'part'", "allowed: x"]),
        ({"part": np.arange(60)}, {"split": "part"}, ["part (split) is of type int64"]),
        ({"part": np.array(["train"] * 59 + ["tset"])}, {"split": "part"}, ["'tset'", "(or val)"]),
        ({"part": np.array(["test"] * 60)}, {"split": "part"}, ["no example into train"]),
        ({"part": np.array(["train"] * 5)}, {"split": "part"}, ["shape (5,)", "[60]"]),
        ({"part": np.full((60, 2), "train")}, {"split": "part"}, ["shape (60, 2)", "[60]"]),
        ({"who": np.array(["a"] * 30 + ["b"] * 30)}, {"group": "who"}, ["2 groups", "at least 3"]),
        ({"who": np.array(["a"] * 60)}, {"group": "who"}, ["1 group from", "at least 3"]),
        ({"who": np.array([""] + ["b"] * 59)}, {"group": "who"}, ["1 missing values", "example 0"]),
        ({"who": np.arange(60.0) * np.nan}, {"group": "who"}, ["60 missing values"]),
        ({"who": np.full(60, b"\xff")}, {"group": "who"}, ["not UTF-8"]),
        ({"who": np.arange(60) * 1j}, {"group": "who"}, ["complex128"]),
        (
            {"part": np.array(["train", "test", "val"] * 20), "who": np.arange(60) // 2},
            {"split": "part", "group": "who"},
            ["30 groups are in more than one split", "group null"],
        ),
    ],
)  # fmt: skip
def test_wrong_columns_end_in_one_sentence(
    arrays: dict[str, Any], options: dict[str, Any], parts: list[str], tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        prepared(tmp_path, path=archive(tmp_path, **arrays), **options)
    assert_one_sentence(caught.value, *parts)
    assert not (tmp_path / "data").exists()


def test_a_file_without_these_options_keeps_its_hash(tmp_path: Path) -> None:
    options = dataset_options(source="npz", path=archive(tmp_path, part=np.array(["train"] * 60)))
    without = {key: value for key, value in options.items() if key not in ("split", "group")}
    assert data_hash(options) == data_hash(without)
    assert data_hash(options) != data_hash(options | {"split": "part"})


def h5ad_options(folder: Path, obs: dict[str, Any], **options: Any) -> dict[str, Any]:
    anndata = pytest.importorskip("anndata")
    counts = np.random.default_rng(0).poisson(3, (60, 12)).astype(np.float32)
    names = pd.Index([f"cell {i}" for i in range(60)], dtype=object)
    plain = {k: pd.Series(list(v), index=names, dtype=object) for k, v in obs.items()}
    table = pd.DataFrame(plain, index=names)
    genes = pd.DataFrame(index=pd.Index([f"gene {i}" for i in range(12)], dtype=object))
    anndata.AnnData(counts, obs=table, var=genes).write_h5ad(folder / "own.h5ad")
    return dataset_options(source="h5ad", path=str(folder / "own.h5ad"), **options)


def test_cells_are_split_by_columns_of_obs(tmp_path: Path) -> None:
    donors = [f"d{i % 6}" for i in range(60)]
    parts = ["test" if i % 6 == 5 else "train" for i in range(60)]
    options = h5ad_options(tmp_path, {"donor": donors, "part": parts}, split="part", group="donor")
    info = prepare_dataset(options, tmp_path / "data")
    dataset = load_dataset("own", tmp_path / "data")
    sides = [set(np.asarray(donors)[dataset.rows(name)]) for name in SPLITS]
    assert sides[2] == {"d5"}
    assert sides[0].isdisjoint(sides[1])
    assert info["groups"] == {"train": 4, "validation": 1, "test": 1}


def test_a_donor_column_with_gaps_is_one_sentence(tmp_path: Path) -> None:
    options = h5ad_options(tmp_path, {"donor": ["a", None] * 30}, group="donor")
    with pytest.raises(UserError) as caught:
        prepare_dataset(options, tmp_path / "data")
    assert_one_sentence(caught.value, "the obs column 'donor' (group)", "30 missing values")


def test_a_column_that_obs_lacks_is_one_sentence(tmp_path: Path) -> None:
    options = h5ad_options(tmp_path, {"donor": ["a", "b"] * 30}, group="doner")
    with pytest.raises(UserError) as caught:
        prepare_dataset(options, tmp_path / "data")
    assert_one_sentence(caught.value, "no column 'doner' (group)", "did you mean 'donor'")
