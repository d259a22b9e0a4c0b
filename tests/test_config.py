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
from vae_ablation.config import SCHEMA_PATH, read_config, resolve_config
from vae_ablation.errors import UserError
from vae_ablation.likelihoods import LIKELIHOODS
from vae_ablation.study import expand_runs
from vae_ablation.workflow_state import Workflow

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
     ["grids[0].condition[0]", "'donor'", "none, label, batch"]),
    ("unknown dispersion", grid(dispersion=["cell"]),
     ["grids[0].dispersion[0]", "'cell'", "gene, gene_cell"]),
    ("negative warm-up", grid(kl_warmup_epochs=[3, -1]),
     ["grids[0].kl_warmup_epochs[1]", "-1", "at least 0"]),
    ("no warm-up", grid(kl_warmup_epochs=[]), ["grids[0].kl_warmup_epochs", "[]"]),
    ("huge whole number", {"model": {"hidden": [2**53]}},
     ["model.hidden[0]", "9007199254740992", "whole numbers up to 9007199254740991"]),
    ("huge memory", {"packs": {"memory_gb": 1e300}}, ["packs.memory_gb", "at most 1000000"]),
    ("long dataset name", {"datasets": {"d" * 101: {}}}, ["datasets", "at most 100 letters"]),
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
    root = SCHEMA_PATH.parents[2]
    paths = [root / "config.yaml", *(root / "workflow" / "studies").glob("*.yaml")]
    for name in ("mixology_5cl.h5ad", "rnamix_celseq2.h5ad"):
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
