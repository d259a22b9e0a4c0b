"""An edit makes again what it touches and nothing else: read from dry runs on edited checkouts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workflow.place import Place

SOURCE = "src/vae_ablation"
SCHEMA = "workflow/schemas/config.schema.yaml"
AFTER_TABLES = {
    "contrasts": 1, "embed": 1, "summarize": 1, "figures": 3, "findings": 1,
    "costs": 1, "report": 1, "all": 1,
}  # fmt: skip
EVALUATION = {"evaluate": 2, "collect": 1, **AFTER_TABLES}
CONTROLS = {"controls": 1, "collect": 1, **AFTER_TABLES}
AFTER_EVALUATION = {"controls": 1, **EVALUATION}
LAST = {"costs": 1, "report": 1, "all": 1}
NEW_KEY = "{0}new_key:\n{0}  description: New.\n{0}  type: number\n{0}  default: 1\n"


def edit(checkout: Path, name: str, old: str, new: str) -> None:
    path = checkout / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def planned(place: Place) -> dict[str, int]:
    """Jobs of a dry run, in which nothing trains."""
    call = place.call("-n")
    assert call.plan.endswith("5 runs wanted, all trained.")
    return call.jobs


@pytest.mark.parametrize(
    ("name", "old", "new", "jobs"),
    [
        ("models/distributions.py", "return ", "return 0 + ", AFTER_EVALUATION),
        ("evaluation/aggregate.py", "HOLE_SHARE = ", "HOLE_SHARE = 0.1 * ", AFTER_EVALUATION),
        ("report/findings/words.py", "return ", "return '' + ", {"findings": 1}),
        (
            "jobs/controls.py",
            "rows = ",
            "rows = [] + ",
            {"controls": 1, "collect": 1, **AFTER_TABLES},
        ),
        ("workflow/scripts/evaluate.py", "job(log)", "job(str(log))", EVALUATION),
        ("workflow/scripts/findings.py", "job(log)", "job(str(log))", {"findings": 1}),
        ("report/page/page.css", "{", "{ ", {"report": 1, "all": 1}),
    ],
)
def test_an_edited_line_makes_its_stage_again_and_what_follows_and_trains_nothing(
    place: Place, own_checkout: Path, name: str, old: str, new: str, jobs: dict[str, int]
) -> None:
    edit(own_checkout, f"{SOURCE}/{name}", old, new)
    assert planned(place) == jobs | ({} if "all" in jobs else LAST)


def test_words_keys_at_their_default_and_spellings_make_nothing_again(
    place: Place, own_checkout: Path
) -> None:
    for name in (
        "models/distributions.py",
        "training/pack.py",
        "jobs/inputs.py",
        "workflow/scripts/train.py",
        "workflow/scripts/evaluate.py",
        "workflow/scripts/report.py",
        "evaluation/codes.py",
        "report/figures/draw.py",
    ):
        edit(own_checkout, f"{SOURCE}/{name}", '"""', '"""Other words. ')
        edit(own_checkout, f"{SOURCE}/{name}", "import ", "import  ")
    edit(own_checkout, f"{SOURCE}/data/h5ad.py", "return ", "return None or ")
    edit(own_checkout, "workflow/report/figures/effects.rst", "", "Reworded. ")
    for key, indent in (("size", 8), ("channels", 6), ("epochs", 6), ("nll_samples", 6)):
        line = f"\n{' ' * indent}{key}:\n"
        edit(own_checkout, SCHEMA, line, f"\n{NEW_KEY.format(' ' * indent)}{line[1:]}")
    place.config["model"] |= {"gaussian_sigma": 3, "channels": [2], "scale_floor": 1.0e-2}
    place.config["training"]["gradient_clip"] = None
    place.config["evaluation"]["seed"] = 0
    assert planned(place) == {}


def linear(config: dict[str, Any]) -> None:
    config["model"] |= {"hidden": [], "gaussian_scale": "fixed", "gaussian_sigma": 1}
    config["grids"] = [{"likelihood": ["gaussian"], "beta": [0.5], "seed": [0]}]


def another_beta(config: dict[str, Any]) -> None:
    config["grids"][0]["beta"] = [0.5, 2]


def spelled_otherwise(config: dict[str, Any]) -> None:
    config["model"]["gaussian_sigma"] = 1.0


def test_another_beta_brings_its_optimum_and_another_spelling_brings_nothing(fresh: Place) -> None:
    rows = "results/tiny/tables/metrics.csv"

    def changed(change: Callable[[dict[str, Any]], None], *arguments: str) -> dict[str, int]:
        change(fresh.config)
        return fresh.call(*arguments, rows).jobs

    changed(linear)
    assert changed(spelled_otherwise, "-n") == {}
    assert changed(another_beta, "-n") == {"controls": 1, "train": 1, "evaluate": 1, "collect": 1}
