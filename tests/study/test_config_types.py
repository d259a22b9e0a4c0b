"""Texts of `--config key=value`, read as the type that the key's rule allows."""

from __future__ import annotations

from typing import Any

import pytest
from snakemake.cli import parse_config

from support import assert_one_sentence
from vae_ablation.common.errors import UserError
from vae_ablation.study.config import with_overrides


@pytest.mark.parametrize(
    ("entry", "wanted"),
    [
        ("allow_missing=true", {"allow_missing": True}),
        ("allow_missing=True", {"allow_missing": True}),
        ("allow_missing=FALSE", {"allow_missing": False}),
        ("adopt=yes", {"adopt": True}),
        ("retry_failed='no'", {"retry_failed": False}),
        ("study=007", {"study": "007"}),
        ("study=1e5", {"study": "1e5"}),
        ("study='true'", {"study": "true"}),
        ("study=a: b", {"study": "a: b"}),
        ("on_code_change=keep", {"on_code_change": "keep"}),
        ("training={epochs: 3}", {"training": {"epochs": 3}}),
        ("training={'epochs': '3', 'learning_rate': 1e-3}",
         {"training": {"epochs": 3, "learning_rate": 0.001}}),
        ('training={"gradient_clip": null}', {"training": {"gradient_clip": None}}),
        ("training={'gradient_clip': None}", {"training": {"gradient_clip": None}}),
        ("packs={max_runs: auto, fork: false}", {"packs": {"max_runs": "auto", "fork": False}}),
        ("packs={max_runs: 4}", {"packs": {"max_runs": 4}}),
        ("model={hidden: [8, 16]}", {"model": {"hidden": [8, 16]}}),
        ("grids=[{beta: [1, 0.5], kl: [true, false], likelihood: [gaussian]}]",
         {"grids": [{"beta": [1, 0.5], "kl": [True, False], "likelihood": ["gaussian"]}]}),
        ("datasets={no: {label: 007, layer: null, path: 'null'}}",
         {"datasets": {"no": {"label": "007", "layer": None, "path": "null"}}}),
        # what has no reading stays as it is, to be refused
        ("allow_missing=1", {"allow_missing": "1"}),
        ("allow_missing=maybe", {"allow_missing": "maybe"}),
        ("training=fast", {"training": "fast"}),
        ("training={epochs: 3", {"training": "{epochs: 3"}),
        ("training={epochs: many}", {"training": {"epochs": "many"}}),
        ("trainning={epochs: 3}", {"trainning": "{epochs: 3}"}),
    ],
)  # fmt: skip
def test_a_text_has_the_type_of_its_key(entry: str, wanted: dict[str, Any]) -> None:
    given = parse_config([entry])
    assert with_overrides(given, [entry], given) == wanted


def test_mappings_are_merged_and_all_else_is_replaced() -> None:
    raw: dict[str, Any] = {
        "training": {"epochs": "3", "batch_size": 8},
        "model": {"hidden": ["4", "4"]},
    }
    raw["adopt"] = "true"
    entries = ["training={epochs: 3}", "model={hidden: [4, 4]}", "adopt=true"]
    merged = {"training": {"epochs": 3, "batch_size": 8}, "model": {"hidden": [4, 4]}}
    assert with_overrides(raw, entries, parse_config(entries)) == merged | {"adopt": True}
    assert raw["training"]["epochs"] == "3"


def test_a_key_that_stands_twice_in_a_mapping_is_refused() -> None:
    entries = ["training={epochs: 3, epochs: 4}"]
    given = parse_config(entries)
    with pytest.raises(UserError) as caught:
        with_overrides(given, entries, given)
    assert_one_sentence(caught.value, "--config training: the key epochs occurs twice")


def test_what_another_workflow_was_given_is_not_for_the_config_of_a_module() -> None:
    entries = ["adopt=true", "vae={training: {epochs: 3}}"]
    assert with_overrides({"study": "own"}, entries, parse_config(entries)) == {"study": "own"}
