"""Studies of workflow/studies in a reduced form, on data that need no download."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from faults.made import make_tables, run_study
from vae_ablation.study.config import read_config
from vae_ablation.study.plan import Study

STUDIES = Path(__file__).parents[2] / "workflow" / "studies"
REDUCED: dict[str, dict[str, Any]] = {
    "cifar10": {
        "datasets": {"cifar10": {"source": "photographs", "size": 16, "max_examples": 150}},
        "model": {"hidden": [8], "channels": [4, 4], "blocks": 1},
        "evaluation": {"nll_samples": 4, "interpolations": [["china", "flower"]]},
        "grid": {"latent_dim": [2], "beta": [1], "seed": [0]},
    },
    "dsprites": {
        "datasets": {"dsprites": {"source": "sprites", "size": 16, "examples": 150}},
        "model": {"hidden": [8], "channels": [4, 4]},
        "evaluation": {"nll_samples": 4},
        "grid": {"latent_dim": [3], "beta": [1, 4], "seed": [0]},
    },
    "tables": {
        "datasets": {"wine": {"source": "wine"}},
        "model": {"hidden": [8]},
        "evaluation": {"nll_samples": 4},
        "grid": {"latent_dim": [2], "beta": [1], "seed": [0, 1], "split_seed": [0, 1]},
    },
    "learning_curve": {
        "datasets": {"digits": {"source": "sklearn-digits", "max_examples": 200}},
        "model": {"hidden": [8]},
        "evaluation": {"nll_samples": 4},
        "grid": {"train_examples": [20, 60, None], "seed": [0], "split_seed": [0, 1]},
    },
}


def reduced(name: str) -> dict[str, Any]:
    """A study with other data and small numbers; its axes stay what they are."""
    study = yaml.safe_load((STUDIES / f"{name}.yaml").read_text(encoding="utf-8"))
    changes = dict(REDUCED[name])
    grid = changes.pop("grid")
    assert {*grid} <= {*study["grids"][0]}
    training = study["training"] | {"epochs": 2, "kl_warmup_epochs": 0, "device": "cpu"}
    grids = [study["grids"][0] | grid]
    return {**study, **changes, "study": "small", "grids": grids, "training": training}


@pytest.mark.parametrize("name", REDUCED)
def test_a_reduced_study_runs_to_its_report(name: str, tmp_path: Path) -> None:
    study = reduced(name)
    plan = run_study(tmp_path, study)
    place = make_tables(tmp_path, study)
    metrics = pd.read_csv(place / "tables" / "metrics.csv")
    runs = metrics[metrics["model"] == "vae"]
    assert len(runs) == len(plan.planned)
    assert (metrics["status"] == "ok").all()
    for metric in study["statistics"]["primary_metrics"]:
        assert runs[metric].notna().any(), metric
    assert list((place / "figures").rglob("*.png"))


def test_learning_curves_fall_with_the_examples(tmp_path: Path) -> None:
    """Contrasts compare each size with the whole train split, over splits."""
    study = reduced("learning_curve")
    study["training"]["epochs"] = 40
    study["grids"][0] |= {"model.dropout": [0], "train_examples": [20, None]}
    run_study(tmp_path, study)
    place = make_tables(tmp_path, study)
    table = pd.read_csv(place / "tables" / "contrasts.csv")
    (row,) = table.query(
        "question == 'train_examples' and metric == 'mse' and scope == 'pooled'"
    ).to_dict("records")
    assert row["n"] == 2
    assert row["estimate"] > 0, "fewer examples, larger error"


def test_rules_take_every_pack_of_every_study(tmp_path: Path) -> None:
    """A level with a decimal point is in the name of its pack."""
    rules = (STUDIES.parent / "rules" / "common.smk").read_text("utf-8")
    (pattern,) = re.findall(r'pack="([^"]+)"', rules)
    study = {"study": "dots", "datasets": {"digits": {"source": "sklearn-digits"}}} | {
        "grids": [{"model.dropout": [0, 0.2], "likelihood": ["gaussian"], "seed": [0]}]
    }
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(study), encoding="utf-8")
    plan = Study(read_config(path), tmp_path / "dots", tmp_path / ".data").plan()
    packs = {item.pack for item in plan.planned}
    assert any("dropout0.2" in pack for pack in packs)
    assert all(re.fullmatch(pattern, pack) for pack in packs)
