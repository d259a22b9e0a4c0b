"""Texts of `--config key=value`, read as the type that the key's rule allows."""

from __future__ import annotations

from typing import Any

import pytest

from vae_ablation.config import with_overrides


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
    assert with_overrides({}, [entry]) == wanted


def test_mappings_are_merged_and_all_else_is_replaced() -> None:
    raw = {"training": {"epochs": "3", "batch_size": 8}, "model": {"hidden": [8]}, "adopt": "true"}
    entries = ["training={epochs: 3}", "model={hidden: [4, 4]}", "adopt=true"]
    merged = {"training": {"epochs": 3, "batch_size": 8}, "model": {"hidden": [4, 4]}}
    assert with_overrides(raw, entries) == merged | {"adopt": True}
    assert raw["training"]["epochs"] == "3"
