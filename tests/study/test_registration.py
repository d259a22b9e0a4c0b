"""The pre-registration: what it states, and that it changes only with what is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from study_rows import row
from support import resolved
from vae_ablation.common.files import read_json
from vae_ablation.study.plan import Study
from vae_ablation.study.registration import register, registration
from vae_ablation.study.run import expand_runs
from vae_ablation.tables.contrasts import contrasts

GRID: dict[str, Any] = {
    "likelihood": ["gaussian", "continuous_bernoulli"], "latent_dim": [2, 8], "beta": [0.5, 1, 4],
    "kl": [True, False], "seed": [0, 1],
}  # fmt: skip


def study(folder: Path, grid: dict[str, Any] = GRID, **statistics: Any) -> Study:
    config = resolved(grids=[grid], statistics=statistics)
    return Study(config, folder / "results" / "tiny", folder / "results" / ".data")


def plan_of(one: Study) -> dict[str, Any]:
    return registration(one, one.runs)


def test_it_asks_what_the_table_answers(tmp_path: Path) -> None:
    one = study(tmp_path)
    asked = plan_of(one)["questions"]
    rows = [
        row(metrics={"elbo": float(i % 7), "nll": 1.0 * i},
            **{axis: run[axis] for axis in ("likelihood", "latent_dim", "beta", "kl", "seed")})
        for i, run in enumerate(expand_runs([one.config["grids"][0]]))
    ]  # fmt: skip
    table = contrasts(pd.DataFrame(rows), ["nll"], None)
    answers = table[(table["scope"] == "pooled") & (table["metric"] == "nll")]
    columns = ["question", "level", "reference", "settings"]
    assert [tuple(entry[name] for name in columns) for entry in asked] == [
        tuple(found) for found in answers[columns].itertuples(index=False)
    ]
    assert asked[0] == {
        "question": "kl_off", "dataset": "digits", "level": "off", "reference": "1",
        "at": {"posterior": "gaussian"}, "settings": 4,
    }  # fmt: skip
    assert asked[-1]["at"]["beta"] == "1"


def test_an_arm_made_elsewhere_is_registered(tmp_path: Path) -> None:
    one = study(tmp_path)
    own = {"own": {"path": "codes.npz", "levels": {"beta": 4}}}
    one.config["external"] = resolved(external=own, grids=[GRID])["external"]
    assert plan_of(one)["questions"][-1] == {
        "question": "model", "dataset": "digits", "level": "own", "reference": "vae",
        "at": {"beta": "4"},
    }  # fmt: skip


def test_margins_are_the_configs_or_said_to_come_from_the_evaluation(tmp_path: Path) -> None:
    wanted = {"primary_metrics": ["elbo", "mse", "nll"], "margins": {"elbo": 0.5}}
    margins = plan_of(study(tmp_path, **wanted))["margins"]
    assert margins == {
        "elbo": {"margin": 0.5, "kind": "difference", "from": "config"},
        "mse": {"margin": 1.05, "kind": "ratio", "from": "convention, or evaluation"},
        "nll": {"margin": None, "kind": "difference", "from": "evaluation"},
    }


def test_its_hash_changes_with_a_question_a_margin_or_a_seed_and_with_nothing_else(
    tmp_path: Path,
) -> None:
    first = plan_of(study(tmp_path))["hash"]
    assert plan_of(study(tmp_path / "elsewhere"))["hash"] == first
    for grid, statistics in (
        (GRID | {"beta": [0.5, 1]}, {}),
        (GRID | {"seed": [0, 1, 2]}, {}),
        (GRID, {"margins": {"nll": 0.5}}),
        (GRID, {"reference": {"latent_dim": 2}}),
        (GRID, {"primary_metrics": ["nll"]}),
        (GRID, {"looks": [2, 4]}),
    ):
        assert plan_of(study(tmp_path, grid, **statistics))["hash"] != first


def test_earlier_plans_stay_named(tmp_path: Path) -> None:
    one, two = study(tmp_path), study(tmp_path, margins={"nll": 0.5})
    path = one.folder / "tables" / "questions.json"
    for each in (one, one, two, one):
        register(each, each.runs)
    known = read_json(path)
    assert known["hash"] == plan_of(one)["hash"]
    assert known["earlier"] == [plan_of(two)["hash"]]
    path.write_text("no JSON")
    register(two, two.runs)
    assert read_json(path)["earlier"] == []
