"""The config: defaults filled in, and every mistake told in one sentence before anything runs."""

from __future__ import annotations

import copy
import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from support import assert_one_sentence
from vae_ablation.common.errors import UserError
from vae_ablation.data import SOURCES
from vae_ablation.data.prepare import prepare_dataset
from vae_ablation.models.likelihoods import LIKELIHOODS
from vae_ablation.study.config import SCHEMA_PATH, config_schema, read_config, resolve_config
from vae_ablation.study.run import expand_runs
from vae_ablation.study.workflow import Workflow

FILE = Path("study.yaml")


def error_of(raw: Any, folder: Path | None = None) -> UserError:
    with pytest.raises(UserError) as caught:
        resolve_config(raw, (folder or Path()) / FILE)
    return caught.value


def grid(**axes: Any) -> dict[str, Any]:
    return {"grids": [axes]}


# --- mistakes ------------------------------------------------------------------------------------

MISTAKES: list[tuple[str, Any, list[str]]] = [
    ("unknown key", {"trainig": {}}, ["trainig", "did you mean training?", "datasets"]),
    ("unknown inner key", {"training": {"epoch": 3}}, ["training.epoch", "epochs"]),
    ("unknown axis", grid(betta=[1]), ["grids[0].betta", "did you mean beta?", "seed"]),
    ("unknown option", {"datasets": {"d": {"sorce": "npz"}}}, ["datasets.d.sorce", "source"]),
    ("unknown likelihood", grid(likelihood=["gausian"]),
     ["grids[0].likelihood[0]", "'gausian'", "did you mean gaussian?", "bernoulli"]),
    ("unknown dataset", grid(dataset=["digit"]),
     ["grids[0].dataset[0]", "'digit'", "did you mean digits?", "digits"]),
    ("unknown source", {"datasets": {"d": {"source": "mnst"}}},
     ["datasets.d.source", "'mnst'", "did you mean mnist?", "npz"]),
    ("negative beta", grid(beta=[1, -0.5]), ["grids[0].beta[1]", "-0.5", "at least 0"]),
    ("NaN beta", grid(beta=[math.nan]), ["grids[0].beta[0]", "nan", "a finite number"]),
    ("infinite beta", grid(beta=[math.inf]), ["grids[0].beta[0]", "inf", "a finite number"]),
    ("text beta", grid(beta=["1e-3"]),
     ["grids[0].beta[0]", "'1e-3'", "a number", "YAML reads 1e-3 as text", "write 0.001"]),
    ("word beta", grid(beta=["small"]), ["grids[0].beta[0]", "'small'", "a number"]),
    ("long beta", grid(beta=[0.12345678]), ["grids[0].beta[0]", "0.12345678", "six significant"]),
    ("truth for beta", grid(beta=[True]), ["grids[0].beta[0]", "True", "a number"]),
    ("zero latent_dim", grid(latent_dim=[0]), ["grids[0].latent_dim[0]", "0", "at least 1"]),
    ("fractional latent_dim", grid(latent_dim=[2.5]),
     ["grids[0].latent_dim[0]", "2.5", "a whole number"]),
    ("empty axis", grid(seed=[]), ["grids[0].seed", "[]", "at least 1 value"]),
    ("empty dataset axis", grid(dataset=[]), ["grids[0].dataset", "[]", "at least 1 value"]),
    ("no list", grid(beta=1), ["grids[0].beta", "1", "a list"]),
    ("no grids", {"grids": []}, ["grids", "[]", "at least 1 value"]),
    ("no datasets", {"datasets": {}}, ["datasets", "{}", "at least one key"]),
    ("negative seed", grid(seed=[-1]), ["grids[0].seed[0]", "-1", "at least 0"]),
    ("unknown posterior", grid(posterior=["delta"]), ["posterior[0]", "'delta'", "point"]),
    ("unknown architecture", grid(architecture=["cnn"]), ["architecture[0]", "'cnn'", "mlp, conv"]),
    ("unknown objective", grid(objective=["vae"]), ["objective[0]", "'vae'", "elbo, iwae"]),
    ("no draws", grid(importance_samples=[0]), ["importance_samples[0]", "0", "at least 1"]),
    ("iwae at another beta", grid(objective=["elbo", "iwae"], beta=[0.5, 1]),
     ["grids[0].objective has iwae", "beta is [0.5, 1]", "beta [1]"]),
    ("iwae without KL", grid(objective=["iwae"], kl=[True, False]),
     ["grids[0].objective has iwae", "kl is [True, False]", "kl [true]"]),
    ("no channels", {"model": {"channels": []}}, ["model.channels", "[]", "at least 1 value"]),
    ("flat posterior", {"model": {"posterior_sigma": 0}}, ["posterior_sigma", "0", "greater than"]),
    ("unknown schedule", {"training": {"learning_rate_schedule": "step"}},
     ["learning_rate_schedule", "'step'", "cosine"]),
    ("unknown metric", {"statistics": {"primary_metrics": ["nll", "fid"]}},
     ["statistics.primary_metrics[1]", "'fid'", "sample_fid"]),
    ("no metric", {"statistics": {"primary_metrics": []}}, ["primary_metrics", "[]", "at least 1"]),
    ("unknown device", {"training": {"device": "gpu"}}, ["training.device", "'gpu'", "cuda"]),
    ("zero epochs", {"training": {"epochs": 0}}, ["training.epochs", "0", "at least 1"]),
    ("text rate", {"training": {"learning_rate": "1e-3"}}, ["learning_rate", "'1e-3'", "0.001"]),
    ("odd nll_samples", {"evaluation": {"nll_samples": 7}}, ["nll_samples", "7", "multiple of 4"]),
    ("pack of none", {"packs": {"max_runs": 0}}, ["packs.max_runs", "0", "auto or a whole number"]),
    ("share too large", {"datasets": {"d": {"test": 0.9}}}, ["datasets.d.test", "0.9", "at most"]),
    ("dataset name", {"datasets": {"a/b": {}}}, ["datasets", "'a/b'", "letters"]),
    ("no mapping", ["study"], ["the config", "['study']", "a mapping"]),
    ("null section", {"training": None}, ["training", "None", "a mapping"]),
    ("binarised counts",
     {"datasets": {"c": {"source": "simulated-cells", "binarize": "static"}}},
     ["datasets.c.binarize is static", "counts", "simulated-cells", "allowed", "none"]),
    ("corrupted images", {"datasets": {"d": {"corrupt": {"kind": "thin", "share": 0.2}}}},
     ["datasets.d.corrupt", "thin", "images", "sklearn-digits", "allowed", "null"]),
    ("unknown corruption",
     {"datasets": {"c": {"source": "simulated-cells", "corrupt": {"kind": "blur"}}}},
     ["datasets.c.corrupt.kind", "'blur'", "thin, zero"]),
    ("all counts corrupted",
     {"datasets": {"c": {"source": "simulated-cells", "corrupt": {"share": 1}}}},
     ["datasets.c.corrupt.share", "1", "a number greater than 0"]),
    ("unknown condition", grid(condition=["donor"]),
     ["grids[0].condition[0]", "'donor'", "allowed: batch, label, none"]),
    ("unknown dispersion", grid(dispersion=["cell"]),
     ["grids[0].dispersion[0]", "'cell'", "gene, gene_cell"]),
    ("negative warm-up", grid(kl_warmup_epochs=[3, -1]),
     ["grids[0].kl_warmup_epochs[1]", "-1", "at least 0"]),
    ("no warm-up", grid(kl_warmup_epochs=[]), ["grids[0].kl_warmup_epochs", "[]"]),
    ("huge whole number", {"model": {"hidden": [2**53]}},
     ["model.hidden[0]", "9007199254740992", "whole numbers up to 9007199254740991"]),
    ("huge memory", {"packs": {"memory_gb": 1e300}}, ["packs.memory_gb", "at most 1000000"]),
    ("long dataset name", {"datasets": {"d" * 101: {}}}, ["datasets", "at most 100 letters"]),
    ("another number of runs", {"packs": {"max_runs": "many"}},
     ["packs.max_runs", "'many'", "auto or a whole number at least 1"]),
    ("text for a whole number", {"training": {"epochs": "1e3"}},
     ["training.epochs", "YAML reads 1e3 as text", "write 1000)"]),
    ("text for a small number", {"training": {"learning_rate": "1e-5"}}, ["write 1.0e-05)"]),
    ("whole number in quotes", {"packs": {"max_runs": "4"}}, ["write 4 without quotes"]),
    ("truth in quotes", {"allow_missing": "true"},
     ["allow_missing is 'true'", "true or false", "write true without quotes"]),
    ("null in quotes", {"training": {"gradient_clip": "null"}},
     ["a number greater than 0, or null", "write null without quotes"]),
    ("mapping in quotes", {"training": "{epochs: 3}"}, ["write {epochs: 3} without quotes"]),
    ("wrong mapping in quotes", {"training": "{epochs: 3, epochs: 4}"}, ["a mapping of keys."]),
    ("unknown tag in quotes", {"training": {"epochs": "!x 3"}}, ["training.epochs is '!x 3'"]),
    ("list in quotes", {"model": {"hidden": "[8]"}}, ["write [8] without quotes"]),
    ("no list of names", grid(likelihood="gaussian"), ["of at least 1 value (write [gaussian])"]),
    ("pair of three", {"evaluation": {"interpolations": [[1, 2, 3]]}}, ["a list of 2 different"]),
    ("pair of one", {"evaluation": {"interpolations": [[3, 3.0]]}}, ["a list of 2 different"]),
    ("number for text", {"study": 7}, ["study is 7", "text", "YAML reads the number 7", "quotes"]),
    ("number for a name", {"datasets": {7: {}}}, ["datasets has the name 7", "quotes"]),
    ("no separator", {"datasets": {"d": {"perturbation": {"separator": ""}}}},
     ["separator", "text that is not empty"]),
    ("huge whole float", {"training": {"epochs": 1e20}},
     ["training.epochs is 100000000000000000000", "whole numbers up to"]),
    ("warm-up after training", {"training": {"epochs": 5, "kl_warmup_epochs": 6}},
     ["training.kl_warmup_epochs is 6", "training.epochs is 5", "at most 5"]),
    ("warm-up after the shortest training, beside runs without",
     {"training": {"kl_warmup_epochs": 6},
      **grid(**{"kl": [False, True], "training.epochs": [5, 9]})},
     ["training.kl_warmup_epochs is 6", "grids[0].training.epochs has 5", "at most 5"]),
    ("truth for a reference", {"statistics": {"reference": {"beta": True}}},
     ["statistics.reference.beta is True", "a level of a grid (1)"]),
    ("a number for a reference of truth values", {"statistics": {"reference": {"kl": 1}}},
     ["statistics.reference.kl is 1", "a level of a grid (True)"]),
    ("warm-up of a grid after training",
     {"training": {"epochs": 5}, **grid(kl_warmup_epochs=[0, 6])},
     ["grids[0].kl_warmup_epochs[1] is 6", "at most 5"]),
    ("npz without a path", {"datasets": {"d": {"source": "npz"}}},
     ["datasets.d.path", "null", "needs the path of an .npz file"]),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "parts"), [m[1:] for m in MISTAKES], ids=[m[0] for m in MISTAKES])
def test_a_mistake_is_one_sentence_naming_file_key_found_and_allowed(
    raw: Any, parts: list[str]
) -> None:
    error = error_of(raw)
    assert_one_sentence(error, str(FILE), *parts)
    assert "allowed" in str(error) or "needs" in str(error)


@pytest.mark.parametrize(
    "name",
    ["../x", "a/b", "", ".", "..", ".hidden", "a b", "a\n", "é", "-x", "a\\b", "a\x00", "a" * 101],
)
def test_a_study_name_that_is_no_plain_folder_name_is_refused(name: str) -> None:
    assert_one_sentence(error_of({"study": name}), str(FILE), "study", "plain folder name")


@pytest.mark.parametrize("name", ["default", "a", "2026-11_run.v2", "A..b"])
def test_a_plain_folder_name_is_accepted(name: str) -> None:
    assert resolve_config({"study": name}, FILE)["study"] == name


def test_an_absent_path_is_told_as_the_absolute_one_that_was_looked_for(tmp_path: Path) -> None:
    raw = {"datasets": {"own": {"source": "npz", "path": "no/such.npz"}}}
    wanted = str(tmp_path / "no" / "such.npz")
    assert_one_sentence(error_of(raw, tmp_path), "datasets.own.path", wanted, "no such file")


@pytest.mark.parametrize("source", ["npz", "table", "h5ad", "images"])
def test_a_path_that_the_machine_refuses_is_one_sentence(source: str, tmp_path: Path) -> None:
    key, long = ("folder" if source == "images" else "path"), "a" * 300
    raw = {"datasets": {"own": {"source": source, key: long}}}
    error = error_of(raw, tmp_path)
    assert_one_sentence(error, f"datasets.own.{key} is", "cannot be read (File name too long)")


@pytest.mark.parametrize("bad", ["a\x00b", "~no-such-user-here/x.npz", "."])
def test_a_path_that_cannot_be_one_is_refused(bad: str, tmp_path: Path) -> None:
    raw = {"datasets": {"own": {"source": "npz", "path": bad}}}
    assert_one_sentence(error_of(raw, tmp_path), "datasets.own.path")


def test_paths_are_relative_to_the_config_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", x=np.zeros((20, 4), np.uint8))
    raw = {"datasets": {"own": {"source": "npz", "path": "own.npz"}}}
    resolved = resolve_config(raw, tmp_path / FILE)
    assert resolved["datasets"]["own"]["path"] == str(tmp_path / "own.npz")


CELLS = {"source": "simulated-cells", "examples": 300, "genes": 30}


@pytest.mark.parametrize(
    ("dataset", "axes", "parts"),
    [
        (CELLS, {"likelihood": ["gaussian"]}, ["gaussian", "counts", "allowed", "poisson"]),
        ({}, {"likelihood": ["poisson"]}, ["poisson", "needs counts", "images"]),
        (
            CELLS,
            {"likelihood": ["poisson"], "objective": ["mvae"]},
            ["objective mvae", "architecture poe", "mlp"],
        ),
        (
            CELLS | {"proteins": 0},
            {"likelihood": ["poisson"], "architecture": ["poe"]},
            ["architecture poe", "proteins"],
        ),
        (
            CELLS,
            {"likelihood": ["poisson"], "architecture": ["poe"], "posterior": ["fixed"]},
            ["poe", "fixed"],
        ),
        ({}, {"architecture": ["poe"]}, ["architecture poe", "proteins"]),
        ({}, {"condition": ["batch"]}, ["condition batch", "images"]),
        (
            CELLS | {"batches": 1},
            {"likelihood": ["poisson"], "condition": ["batch"]},
            ["condition batch", "two batches", "1"],
        ),
        (
            CELLS,
            {"likelihood": ["poisson"], "architecture": ["conv"]},
            ["architecture conv", "images"],
        ),
    ],
)
def test_axes_that_do_not_fit_the_data_are_one_sentence(
    dataset: dict[str, Any],
    axes: dict[str, Any],
    parts: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        Workflow.planned({"datasets": {"own": dataset}, "grids": [axes]}, tmp_path / FILE)
    assert_one_sentence(caught.value, str(tmp_path / FILE), "own", *parts)


def test_a_grid_takes_the_warm_up_of_training_where_it_says_none() -> None:
    raw = {
        "training": {"kl_warmup_epochs": 7},
        "grids": [{}, {"kl_warmup_epochs": [0, 3]}, {"kl_warmup_epochs": None}],
    }
    grids = resolve_config(raw, FILE)["grids"]
    assert [one["kl_warmup_epochs"] for one in grids] == [[7], [0, 3], [7]]
    assert [run.kl_warmup_epochs for run in expand_runs(grids[:1]) if run.kl] == [7]


def test_a_likelihood_that_does_not_fit_the_data_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "own.npz", x=np.random.default_rng(0).random((20, 4)))
    raw = {
        "datasets": {"own": {"source": "npz", "path": "own.npz"}},
        "grids": [{"likelihood": ["discretized_logistic"]}],
    }
    with pytest.raises(UserError) as caught:
        Workflow.planned(raw, tmp_path / FILE)
    assert_one_sentence(
        caught.value, str(tmp_path / FILE), "own", "discretized_logistic", "grey levels"
    )


@pytest.mark.parametrize(
    ("options", "key", "taken"),
    [
        ({"path": "x.npz"}, "path", "max_examples"),
        ({"source": "mnist", "path": "x"}, "path", "root"),
        ({"source": "mnist", "test": 0.3}, "test", "validation"),
        ({"source": "npz", "genes": 50}, "genes", "path"),
        ({"layer": "counts"}, "layer", "binarize"),
        ({"size": 32}, "size", "binarize"),
        ({"source": "sprites", "root": "x"}, "root", "size"),
        ({"source": "simulated-cells", "label": "kind"}, "label", "max_held_out"),
        ({"source": "h5ad", "examples": 50}, "examples", "n_top_genes"),
        ({"max_held_out": 50}, "max_held_out", "split_seed"),
        ({"perturbation": {}}, "perturbation", "test"),
    ],
)
def test_an_option_that_the_source_does_not_read_is_refused(
    options: dict[str, Any], key: str, taken: str
) -> None:
    source = options.get("source", "sklearn-digits")
    error = error_of({"datasets": {"d": options}})
    assert f"datasets.d.{key} is {options[key]!r}" in str(error)  # as written, no default filled in
    assert_one_sentence(error, f"datasets.d.{key} is ", f"source {source} does not read", taken)


def test_corruption_of_images_is_shown_as_it_was_written() -> None:
    error = error_of({"datasets": {"d": {"source": "npz", "path": "a.npz", "corrupt": {}}}})
    assert_one_sentence(error, "datasets.d.corrupt is {}; allowed for images (source npz): null")


def test_each_option_of_a_dataset_is_read_by_some_source() -> None:
    rules = SCHEMA["properties"]["datasets"]["additionalProperties"]["properties"]
    assert set().union(*(source.options for source in SOURCES.values())) == set(rules)


@pytest.mark.parametrize(
    "axes",
    [
        {"kl": [False]},
        {"beta": [0]},
        {"posterior": ["point"]},
        {"objective": ["iwae"], "importance_samples": [5]},
        {"kl": [False], "kl_warmup_epochs": [0, 6]},
    ],
)
def test_a_warm_up_that_no_run_reads_may_be_of_any_length(axes: dict[str, Any]) -> None:
    raw = {"training": {"epochs": 5, "kl_warmup_epochs": 9}, "grids": [axes]}
    runs = expand_runs(resolve_config(raw, FILE)["grids"])
    assert {run.kl_warmup_epochs for run in runs} == {0}


def test_a_beta_that_no_run_has_may_be_of_any_length() -> None:
    runs = expand_runs(resolve_config(grid(kl=[False], beta=[0.12345678]), FILE)["grids"])
    assert [run.beta for run in runs] == [0]


def numeric_keys(rule: Any, key: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every key, list item included, that takes a number and no truth value."""
    options = rule.get("oneOf", [rule])
    types = {name for one in options for name in np.atleast_1d(one.get("type", [])).tolist()}
    if types & {"integer", "number"} and "boolean" not in types:
        yield key
    if "items" in rule:
        yield from numeric_keys(rule["items"], (*key, 0))
    for name, inner in rule.get("properties", {}).items():
        yield from numeric_keys(inner, (*key, name))
    further = rule.get("additionalProperties")
    if isinstance(further, dict) and "$ref" not in further:
        yield from numeric_keys(further, (*key, "d"))


def holding(key: tuple[Any, ...], value: Any) -> Any:
    """A config of this one key; lists have the two items that image_size needs."""
    for part in reversed(key):
        value = [value] * (1 + ("image_size" in key)) if part == 0 else {part: value}
    return value


@pytest.mark.parametrize(
    "key", list(numeric_keys(config_schema())), ids=lambda key: ".".join(map(str, key))
)
def test_a_truth_value_is_no_number(key: tuple[Any, ...]) -> None:
    place = ".".join(map(str, key)).replace(".0", "[0]")
    for value in (True, False):
        assert_one_sentence(error_of(holding(key, value)), f"{place} is {value}; allowed: ")


# --- labels --------------------------------------------------------------------------------------

SPRITES = {"source": "sprites", "size": 16, "examples": 100}


def planned(
    folder: Path, datasets: dict[str, Any], pairs: list[list[Any]], **axes: Any
) -> Workflow:
    """A study on digits, sprites and archives with labels of several kinds, and without."""
    x = np.random.default_rng(0).integers(0, 256, (40, 8, 8)).astype(np.uint8)
    np.savez(folder / "two.npz", x=x, y=np.arange(40) % 2 * 7 + 5)
    np.savez(folder / "one.npz", x=x, y=np.zeros(40, int))
    np.savez(folder / "none.npz", x=x)
    np.savez(folder / "own.npz", x=x, y=np.array([-1] * 10 + list(range(30))))
    np.savez(folder / "text.npz", x=x, y=np.array(["cat", "dog"] * 20))
    np.savez(folder / "bool.npz", x=x, y=np.arange(40) % 2 == 1)
    np.savez(folder / "flat.npz", x=x.reshape(40, 64), y=np.arange(40) % 3)
    raw = {"datasets": datasets, "grids": [axes], "evaluation": {"interpolations": pairs}}
    return Workflow.planned(raw, folder / FILE)


def archive(name: str) -> dict[str, Any]:
    return {"source": "npz", "path": f"{name}.npz"}


@pytest.mark.parametrize(
    ("datasets", "pairs", "found", "there"),
    [
        ({"d": {}}, [[3, 8], [3, 12]], "interpolations[1] is [3, 12]", "dataset d: 0 to 9"),
        ({"d": {}, "s": SPRITES}, [[3, 12]], "[3, 12]", "dataset d: 0 to 9; dataset s: 0 to 2"),
        ({"m": {"source": "mnist"}}, [[0, 10]], "[0, 10]", "dataset m: 0 to 9"),
        ({"n": archive("two")}, [[0, 1]], "[0, 1]", "dataset n: 5, 12"),
        ({"n": archive("none")}, [[0, 1]], "[0, 1]", "dataset n: none"),
        ({"n": archive("own")}, [[0, 1]], "[0, 1]", "dataset n: none"),
        ({"n": archive("text")}, [["cat", "dgo"]], "['cat', 'dgo']", "dataset n: cat, dog"),
        ({"d": {}}, [[True, 2]], "[True, 2]", "dataset d: 0 to 9"),
        ({"n": archive("bool")}, [[0, 1]], "[0, 1]", "dataset n: False, True"),
        ({"d": {}}, [[1, "1"]], "[1, '1']", "two different labels"),
    ],
)
def test_a_pair_of_labels_that_no_dataset_has_is_refused(
    datasets: dict[str, Any],
    pairs: list[list[Any]],
    found: str,
    there: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        planned(tmp_path, datasets, pairs)
    assert_one_sentence(caught.value, str(tmp_path / FILE), found, there, "allowed")


@pytest.mark.parametrize(
    ("datasets", "pair"),
    [
        ({"d": {}}, [3, "8"]),
        ({"n": archive("text")}, ["cat", "dog"]),
        ({"n": archive("bool")}, [True, False]),
    ],
)
def test_a_pair_of_labels_is_named_as_the_file_has_them(
    datasets: dict[str, Any], pair: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert planned(tmp_path, datasets, [pair]).study.notes() == []


def test_a_pair_that_is_not_drawn_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert planned(tmp_path, {"n": archive("two")}, [[5, 12]]).study.notes() == []
    assert planned(tmp_path, {"d": {}, "s": SPRITES}, [[3, 8], [0, 2]]).study.notes() == [
        "Interpolation [3, 8] is not drawn for dataset s, whose labels are 0 to 2."
    ]
    flat = {"n": archive("flat")}
    assert (
        "no dataset of this study holds pictures"
        in planned(tmp_path, flat, [[0, 1]]).study.notes()[0]
    )


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("none", "none.npz has none"),
        ("one", "one.npz has one class"),
        ("own", "each labelled example of {}/own.npz has a label of its own"),
    ],
)
def test_a_condition_on_labels_needs_labels(
    name: str, there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        planned(tmp_path, {"n": archive(name)}, [], condition=["none", "label"])
    wrong = "dataset n: condition label needs labels"
    assert_one_sentence(caught.value, str(tmp_path / FILE), wrong, there.format(tmp_path))
    assert planned(tmp_path, {"n": archive("two")}, [], condition=["label"]).plan.to_train


@pytest.mark.parametrize(
    ("labels", "there"),
    [
        ([f"cell {i}" for i in range(40)], "has a label of its own"),
        (["", "nan"] * 5 + [f"cell {i}" for i in range(30)], "has a label of its own"),
        ([-1] * 10 + [7] * 30, "c.h5ad has one class"),
        (["a"] * 40, "c.h5ad has one class"),
        ([""] * 40, "c.h5ad has none"),
        (None, "c.h5ad has none without the option label"),
    ],
)
def test_a_condition_on_labels_of_cells_needs_labels_too(
    labels: Any, there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    counts = np.random.default_rng(0).poisson(3, (40, 8)).astype(np.float32)
    kinds = np.array([0, 1] * 20 if labels is None else labels)
    if kinds.dtype.kind == "U":  # categories as anndata always wrote them
        kinds = pd.Categorical(kinds.astype(object), pd.Index(sorted(set(kinds)), dtype=object))
    names = [
        pd.Index([f"{kind}{i}" for i in range(n)], dtype=object)
        for kind, n in (("c", 40), ("g", 8))
    ]
    obs, var = pd.DataFrame({"kind": kinds}, index=names[0]), pd.DataFrame(index=names[1])
    anndata.AnnData(counts, obs, var).write_h5ad(tmp_path / "c.h5ad")
    options = {"source": "h5ad", "path": "c.h5ad", "label": None if labels is None else "kind"}
    axes = {"likelihood": ["poisson"], "condition": ["label"]}
    with pytest.raises(UserError) as caught:
        planned(tmp_path, {"c": options}, [], **axes)
    assert_one_sentence(caught.value, str(tmp_path / FILE), str(tmp_path / "c.h5ad"), there)
    # the same is said of prepared data
    monkeypatch.chdir(tmp_path)
    described = planned(tmp_path, {"c": options}, [], likelihood=["poisson"]).study
    prepare_dataset(described.config["datasets"]["c"], described.prepared["c"])
    with pytest.raises(UserError) as again:
        planned(tmp_path, {"c": options}, [], **axes)
    assert str(again.value) == str(caught.value)


# --- one form for each value ---------------------------------------------------------------------

FLOATS: dict[str, Any] = {
    "datasets": {"d": {"max_examples": 100.0, "split_seed": 0.0}},
    "grids": [{"latent_dim": [2.0], "beta": [1, -0.0], "seed": [1.0], "importance_samples": [5.0],
               "kl_warmup_epochs": [3.0]}],
    "model": {"hidden": [8.0, 4], "channels": [4.0], "gaussian_sigma": 1, "logit_clamp": 15},
    "training": {"epochs": 10.0, "batch_size": 32.0, "early_stopping_patience": 5.0,
                 "gradient_clip": 1, "kl_warmup_epochs": 0.0},
    "evaluation": {"nll_samples": 8.0, "seed": -0.0, "interpolations": [[3.0, 8]]},
    "applications": {"denoising": {"cells": 10.0}},
    "packs": {"max_runs": 4.0, "threads": 2.0, "memory_gb": 4, "checkpoint_minutes": 10},
}  # fmt: skip


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from leaves(item)
    else:
        yield value


def turned(value: Any) -> Any:
    """The same config, each number of the other type."""
    if isinstance(value, dict):
        return {key: turned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [turned(item) for item in value]
    return int(value) if isinstance(value, float) else float(value)


def test_whole_floats_are_integers_and_other_numbers_floats() -> None:
    resolved = resolve_config(FLOATS, FILE)
    assert yaml.safe_dump(resolved) == yaml.safe_dump(resolve_config(turned(FLOATS), FILE))
    assert repr(resolved["training"]["epochs"]) == "10"
    assert repr(resolved["grids"][0]["beta"]) == "[1.0, 0.0]"
    assert repr(resolved["model"]["hidden"]) == "[8, 4]"
    assert repr(resolved["packs"]["memory_gb"]) == "4.0"
    assert "-0.0" not in {repr(leaf) for leaf in leaves(resolved)}


# --- what YAML loses or changes ------------------------------------------------------------------

LOST = [
    ("study: 007", "study is 007 in line 1, which YAML reads as the number 7", "('007')"),
    ("study: no", "study is no in line 1, which YAML reads as false", "('no')"),
    ("study: 2026-11-28", "which YAML reads as the date 2026-11-28", "quotes"),
    ("study: ~", "study is ~ in line 1, which YAML reads as null", "quotes"),
    ("study: 0x10", "the number 16", "('0x10')"),
    ("study: 1_000", "the number 1000", "('1_000')"),
    ("datasets:\n  no: {}", "datasets has the name no in line 2", "('no')"),
    ("datasets: {010: {}}", "datasets has the name 010", "the number 8"),
    ("datasets: {1.0: {}}", "the name 1.0", "allowed: at most 100 letters"),
    ("datasets: {null: {}}", "datasets has the name null", "('null')"),
    ("datasets: {2020-01-01: {}}", "the name 2020-01-01", "the date"),
    ("datasets: {=: {}}", "YAML reads as something else than text", "at most 100 letters"),
    ("grids: [{dataset: [007]}]", "grids[0].dataset[0] is 007", "('007')"),
    ("datasets: {d: {source: h5ad, label: 007}}", "datasets.d.label is 007", "('007')"),
    ("datasets: {d: {source: h5ad, obs: [a, off]}}", "datasets.d.obs[1] is off", "false"),
    ("datasets: {d: {path: 2026}}", "datasets.d.path is 2026", "('2026')"),
    ("applications: {trajectory: {states: [1]}}", "trajectory.states[0] is 1", "('1')"),
    ("training: {epochs: 010}", "training.epochs is 010 in line 1, which YAML reads as 8", "zeros"),
    ("training: {epochs: 1:30}", "which YAML reads as 90", "colons"),
    ("evaluation: {interpolations: [[010, 3]]}", "interpolations[0][0] is 010", "8"),
    ("grids: [{}]\nstudy: a\ngrids: [{}]", "the key grids occurs twice", "line 1 and in line 3"),
    ("grids:\n- beta: [1]\n  beta: [2]", "the key grids[0].beta occurs twice", "line 2 and"),
    ("training:\n  epochs: 3\n  'epochs': 4", "training.epochs occurs twice", "line 3"),
    ("datasets:\n  '1': {}\n  1: {}", "the key datasets.1 occurs twice", "line 2 and in line 3"),
    ("datasets:\n  'True': {}\n  yes: {}", "as True in line 2 and as yes in line 3", "once"),
    ("model: &m {hidden: [8], hidden: [4]}", "the key model.hidden occurs twice", "line 1"),
    ('{"study": "a",\n\t"study": "b"}', "the key study occurs twice", "line 1 and in line 2"),
    ('{"training": {"epochs": 1,\n"epochs": 2}}', "training.epochs occurs twice", "line 2"),
]


@pytest.mark.parametrize(("content", "found", "more"), LOST, ids=[case[0] for case in LOST])
def test_what_yaml_would_lose_or_change_is_one_sentence(
    content: str, found: str, more: str, tmp_path: Path
) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read_config(path)
    assert_one_sentence(caught.value, str(path), found, more, "allowed")
    raw = yaml.safe_load(content.replace("\t", " "))
    with pytest.raises(UserError):  # the same where Snakemake has read the file
        Workflow.planned(raw, path, [path])


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("datasets: {'007': {}, 'no': {}}", ["007", "no"]),
        ("datasets: {1e5: {}, n: {}, 2026-11: {}}", ["1e5", "n", "2026-11"]),
        ('{"datasets": {"007": {}}}', ["007"]),
        ("datasets: {a: &a {test: 0.3}, b: {<<: *a, validation: 0.2}}", ["a", "b"]),
        ("datasets: {a: &a {test: 0.3}, b: {<<: [*a, {test: 0.2}], test: 0.1}}", ["a", "b"]),
        ("datasets: {a: &a {}, b: *a}", ["a", "b"]),
    ],
)
def test_names_stay_as_written_and_anchors_are_no_second_key(
    content: str, names: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(content, encoding="utf-8")
    assert list(read_config(path)["datasets"]) == names
    assert read_config(path)["grids"][0]["dataset"] == names


def test_numbers_of_a_json_file_are_json_s(tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    path.write_text('{\n\t"training": {"epochs": 1e2, "learning_rate": 1e-3}}', encoding="utf-8")
    training = read_config(path)["training"]
    assert (training["epochs"], training["learning_rate"]) == (100, 0.001)


# --- files that are no config --------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"study: [", b"a: b: c", b"\xff\xfe\x00", b"study: 2026-99-99", b"&a [*a]", b"? [1]\n: 2",
        b"grids: &a [*a]", b"text", b"%", b"\t- x", b"!!python/object:os.system {}",
    ],
)  # fmt: skip
def test_a_file_that_is_no_config_is_one_sentence(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_config(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_an_absent_file_and_a_folder_are_one_sentence(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(UserError) as caught:
            read_config(path)
        assert_one_sentence(caught.value, str(path))


def test_an_empty_file_is_the_default_study(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("")
    assert read_config(path) == resolve_config({}, path)


# --- the schema ----------------------------------------------------------------------------------


def keys_of(schema: dict[str, Any], place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, rule in schema.get("properties", {}).items():
        yield f"{place}{name}", rule
        for inner in (rule, rule.get("items"), rule.get("additionalProperties")):
            if isinstance(inner, dict):
                yield from keys_of(inner, f"{place}{name}.")


SCHEMA = yaml.safe_load(SCHEMA_PATH.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("key", "rule"), list(keys_of(SCHEMA)), ids=[k for k, _ in keys_of(SCHEMA)]
)
def test_every_key_has_a_description_and_a_default_that_is_allowed(
    key: str, rule: dict[str, Any]
) -> None:
    assert len(rule["description"]) > 10, key
    Draft202012Validator(rule).validate(rule["default"])


def test_every_mapping_of_the_schema_is_closed() -> None:
    mappings = [SCHEMA, *(rule for _, rule in keys_of(SCHEMA))]
    for rule in mappings:
        if "properties" in rule:
            assert rule["additionalProperties"] is False
    Draft202012Validator.check_schema(SCHEMA)


def test_the_schemas_text_names_every_likelihood_and_source() -> None:
    from vae_ablation.data import SOURCES

    rules = dict(keys_of(SCHEMA))
    assert all(name in rules["grids.likelihood"]["description"] for name in LIKELIHOODS)
    assert all(name in rules["datasets.source"]["description"] for name in SOURCES)


def test_resolving_fills_every_key_and_is_idempotent() -> None:
    config = resolve_config({"datasets": {"d": {}}, "grids": [{}]}, FILE)

    def check(rule: dict[str, Any], value: Any) -> None:
        assert set(value) == set(rule["properties"])

    check(SCHEMA, config)
    properties = SCHEMA["properties"]
    for section in ("model", "training", "evaluation", "packs"):
        check(properties[section], config[section])
    check(properties["grids"]["items"], config["grids"][0])
    check(properties["datasets"]["additionalProperties"], config["datasets"]["d"])
    assert resolve_config(copy.deepcopy(config), FILE) == config


def test_resolving_leaves_the_users_mapping_as_it_was() -> None:
    raw = {"grids": [{"beta": [1, 2]}]}
    kept = copy.deepcopy(raw)
    resolve_config(raw, FILE)
    assert raw == kept


def test_the_studies_that_come_with_the_project_resolve(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    paths = [root / "config.yaml", *(root / "workflow" / "studies").glob("*.yaml")]
    dsprites = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
    for name in ("mixology_5cl.h5ad", "rnamix_celseq2.h5ad", dsprites):
        (tmp_path / name).touch()  # their user puts them beside the study's file
    for path in paths:
        read_config(Path(shutil.copy(path, tmp_path)))
    assert len(paths) > 2


# --- fuzz ----------------------------------------------------------------------------------------

BASES: list[dict[str, Any]] = [
    {
        "study": "fuzz",
        "datasets": {"digits": {"source": "sklearn-digits", "validation": 0.1}},
        "grids": [{"dataset": ["digits"], "likelihood": ["gaussian"], "latent_dim": [2],
                   "beta": [1.0], "kl": [True], "posterior": ["gaussian"], "seed": [0]}],
        "model": {"hidden": [8], "scale_floor": 0.01},
        "training": {"epochs": 1, "learning_rate": 0.001, "gradient_clip": None},
        "evaluation": {"nll_samples": 8, "interpolations": [[3, 8]]},
        "packs": {"max_runs": "auto", "checkpoint_minutes": 5},
    },
    {
        "datasets": {
            "cells": {"source": "simulated-cells", "examples": 300, "genes": 30, "proteins": 4,
                      "batches": 2, "dropout": 0.1, "perturbations": 2,
                      "corrupt": {"kind": "thin", "share": 0.2}, "max_held_out": 50},
        },
        "grids": [{"likelihood": ["poisson"], "condition": ["none", "batch"], "seed": [0],
                   "architecture": ["poe"], "objective": ["mvae"], "kl_warmup_epochs": [0, 3]},
                  {"likelihood": ["negative_binomial"], "dispersion": ["gene_cell"]}],
        "model": {"hidden": [16]},
        "applications": {"denoising": {"cells": 10}, "modalities": {}, "forbidden_states": {},
                         "trajectory": {"start": "stem", "states": ["early"],
                                        "datasets": {"cells": {"end": "branch A"}}},
                         "perturbation": {"min_cells": 3}},
        "statistics": {"primary_metrics": ["nll"]},
    },
    {
        "study": "fuzz",
        "datasets": {
            "own": {"source": "h5ad", "path": "cells.h5ad", "label": "kind", "batch": "plate",
                    "n_top_genes": 5, "min_cells": 1, "obs": ["plate"], "layer": None,
                    "perturbation": {"key": "drug", "control": "c", "held_out": ["d"]}},
            "images": {"source": "npz", "path": "images.npz", "binarize": "static"},
        },
        "grids": [{"dataset": ["own"], "likelihood": ["poisson"], "condition": ["label"]},
                  {"dataset": ["images"], "likelihood": ["bernoulli"], "architecture": ["conv"]}],
        "model": {"channels": [4, 8]},
        "adopt": True, "on_code_change": "keep", "retry_failed": False, "allow_missing": False,
    },
]  # fmt: skip
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**400),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["1e-3", "auto", "nan", "mnist", "npz", "\x00", "~", "~x/y", "gaussian", -1]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=6) | st.integers() | st.none(), inner, max_size=3)
    ),
    max_leaves=5,
)


def places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if not isinstance(value, (dict, list)):
        return [place]
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    return [place, *(p for key, item in inner for p in places(item, (*place, key)))]


KNOWN = [
    "path", "root", "source", "binarize", "max_runs", "kl", "typo", "condition", "corrupt", "share",
    "perturbation", "held_out", "label", "batch", "layer", "applications", "denoising", "states",
    "n_top_genes", "architecture", "hidden", "epochs", "seed", "memory_gb", "checkpoint_minutes",
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    config = copy.deepcopy(draw(st.sampled_from(BASES)))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(places(config)))
        if not place:
            return draw(VALUES)
        parent: Any = config
        for key in place[:-1]:
            parent = parent[key]
        change = draw(st.sampled_from(["replace", "delete", "add", "swap"]))
        if change == "replace":
            parent[place[-1]] = draw(VALUES)
        elif change == "delete":
            del parent[place[-1]]
        elif change == "swap":
            other = draw(st.sampled_from(BASES))
            found = [one for one in places(other) if one and one[-1] == place[-1]]
            parent[place[-1]] = copy.deepcopy(at(other, draw(st.sampled_from(found or [()]))))
        elif isinstance(parent, dict):
            parent[draw(st.text(max_size=8) | st.sampled_from(KNOWN))] = draw(VALUES)
        else:
            parent.append(draw(VALUES))
        if not config:
            break
    return config


def at(value: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        value = value[key]
    return value


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with the files that the base configs name."""
    folder = tmp_path_factory.mktemp("fuzz")
    random = np.random.default_rng(0)
    np.savez(folder / "images.npz", x=random.integers(0, 2, (30, 8, 8)), y=np.arange(30) % 3)
    obs = {name: categories(names) for name, names in OBS.items()}
    table = pd.DataFrame(obs, index=pd.Index([f"c{i}" for i in range(30)], dtype=object))
    genes = pd.DataFrame(index=pd.Index([f"g{i}" for i in range(10)], dtype=object))
    counts = random.poisson(2.0, (30, 10)).astype(np.float32)
    anndata.AnnData(counts, table, genes).write_h5ad(folder / "cells.h5ad")
    return folder


OBS = {"kind": ["a", "b", "e"], "plate": ["p", "q"], "drug": ["c", "d"]}


def categories(names: list[str]) -> pd.Categorical:
    codes = np.arange(30) % len(names)
    return pd.Categorical.from_codes(codes, pd.Index(names, dtype=object))


def test_the_base_configs_of_the_fuzz_are_sound(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data)
    for raw in BASES:
        assert Workflow.planned(copy.deepcopy(raw), FILE).plan.to_train


@given(raw=mutated())
@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_config_is_planned_or_is_one_users_error_and_nothing_is_written(
    raw: Any, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data)
    told = "."
    try:
        state = Workflow.planned(raw, FILE)
        Draft202012Validator(SCHEMA).validate(state.study.config)
        assert state.plan.to_train
        assert re.fullmatch(r"results/[A-Za-z0-9][A-Za-z0-9._-]*", str(state.study.folder))
    except UserError as error:
        told = str(error)
    assert "\n" not in told
    assert told.endswith(".")
    assert sorted(path.name for path in data.iterdir()) == ["cells.h5ad", "images.npz"]


@given(st.text(max_size=60) | st.binary(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_file_resolves_or_is_one_users_error(
    tmp_path_factory: pytest.TempPathFactory, content: str | bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    complaint = ""
    try:
        read_config(path)
    except UserError as error:
        complaint = str(error)
    assert "\n" not in complaint
