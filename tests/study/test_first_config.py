"""First configs of `vae-ablation init`: they hold by the schema, and say what each key means."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from vae_ablation.common.settings import schema
from vae_ablation.data.base import Observed
from vae_ablation.models.likelihoods import LIKELIHOODS
from vae_ablation.study.config import resolve_config
from vae_ablation.study.first_config import OPEN_SECTIONS, Look, first_config, first_likelihoods
from vae_ablation.study.run import expand_runs

GREY = Observed((8, 8), 17)
KINDS = {
    "grey": GREY,
    "binary": Observed((8, 8), 2, binary=True),
    "continuous": Observed((5,), None),
    "one column": Observed((1,), None),
    "counts": Observed((50,), None, counts=True, classes=3, batches=2),
    "proteins": Observed((50,), None, counts=True, proteins=10),
    "colour": Observed((8, 8, 3), 256, classes=2),
    "table": Observed((13,), None, real=True, classes=3),
    "gaps": Observed((1,), None, real=True, missing=True),
}


def look(observed: Observed, examples: int = 500) -> Look:
    return Look("mine", {"source": "sklearn-digits"}, observed, examples)


@pytest.mark.parametrize("kind", KINDS)
def test_the_config_of_every_kind_of_data_resolves_to_runs_that_fit_them(kind: str) -> None:
    observed = KINDS[kind]
    config = resolve_config(yaml.safe_load(first_config("s", look(observed))), Path("c"))
    runs = expand_runs(config["grids"])
    assert {run.beta for run in runs if run.kl} == {0.1, 1, 4}
    assert {run.kl for run in runs} == {True, False}
    assert len({run.seed for run in runs}) == 3
    for run in runs:
        assert run.latent_dim <= observed.dims
        assert LIKELIHOODS[run.likelihood].unsupported(observed) is None
        assert LIKELIHOODS[run.likelihood].proper(observed)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("grey", ["discretized_logistic", "gaussian"]),
        ("binary", ["bernoulli"]),
        ("continuous", ["gaussian", "continuous_bernoulli"]),
        ("counts", ["negative_binomial", "zero_inflated_negative_binomial"]),
        ("colour", ["discretized_logistic", "gaussian"]),
        ("table", ["gaussian", "student_t"]),
    ],
)
def test_likelihoods_are_those_of_the_kind(kind: str, expected: list[str]) -> None:
    assert first_likelihoods(KINDS[kind]) == expected


def test_batches_are_conditioned_on_and_not() -> None:
    grids = yaml.safe_load(first_config("s", look(KINDS["counts"])))["grids"]
    assert grids[0]["condition"] == ["none", "batch"]
    assert "condition" not in yaml.safe_load(first_config("s", look(GREY)))["grids"][0]


def test_every_key_that_is_not_set_stands_at_its_default_and_can_be_set() -> None:
    text = first_config("s", look(GREY))
    opened = []
    for line in text.splitlines():
        key = line.removeprefix("  # ").split(":")[0]
        rules = [schema()["properties"][name]["properties"] for name in OPEN_SECTIONS]
        known = any(key in rule for rule in rules) and line.startswith("  # ")
        written = known and yaml.safe_load(line[4:]) == {
            key: next(rule[key] for rule in rules if key in rule).get("default")
        }
        opened.append("  " + line[4:] if written else line)
    assert opened != text.splitlines()
    bare, full = (resolve_config(yaml.safe_load(t), Path("c")) for t in (text, "\n".join(opened)))
    assert bare == full
    for name in OPEN_SECTIONS:
        section = yaml.safe_load("\n".join(opened))[name]
        assert set(section) == set(schema()["properties"][name]["properties"])


def test_every_set_key_has_its_description_above_it() -> None:
    text = " ".join(first_config("s", look(GREY)).replace("#", " ").split())
    for name in OPEN_SECTIONS:
        for rule in schema()["properties"][name]["properties"].values():
            assert " ".join(str(rule["description"]).replace("#", " ").split()) in text


@pytest.mark.parametrize(("examples", "epochs"), [(3, 100), (10_000, 55), (10**6, 10)])
def test_epochs_follow_the_number_of_examples(examples: int, epochs: int) -> None:
    text = first_config("s", look(GREY, examples))
    assert yaml.safe_load(text)["training"]["epochs"] == epochs


def test_the_summary_names_what_was_seen() -> None:
    assert look(GREY, 1797).summary == "1,797 pictures of 8 × 8, 17 levels"
    assert look(KINDS["colour"]).summary == "500 pictures of 8 × 8 × 3, 256 levels, 2 classes"
    assert look(KINDS["table"]).summary == "500 rows of 13 real numbers, 3 classes"
    assert look(KINDS["gaps"]).summary == "500 rows of 1 real number, some of them missing"
    cells = dataclasses.replace(KINDS["counts"], proteins=10)
    assert look(cells).summary == (
        "500 cells with counts of 40 genes and 10 proteins, 3 classes, 2 batches"
    )
