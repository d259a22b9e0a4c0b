"""Axes are objects: any setting can be one, and shows everywhere without code of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from faults.made import make_tables, run_study
from study_rows import product, row, written
from support import assert_one_sentence, make_run, resolved
from vae_ablation.common.errors import UserError
from vae_ablation.common.files import read_json
from vae_ablation.report.methods import methods_paragraph
from vae_ablation.study.axes import AXES, Axis, axis_of, axis_order, level_order, level_text
from vae_ablation.study.config import config_schema
from vae_ablation.study.plan import Study
from vae_ablation.study.run import Run
from vae_ablation.study.workflow import open_study
from vae_ablation.tables.collect import read_metrics
from vae_ablation.tables.contrasts import contrasts
from vae_ablation.tables.importance import importance


def runs_of(**sections: Any) -> list[Run]:
    return open_study(resolved(**sections)).runs


def test_parsing_axes_imports_no_torch() -> None:
    code = (
        "import sys, vae_ablation.study.axes; print({'torch', 'pandas', 'numpy'} & {*sys.modules})"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


# --- names ---------------------------------------------------------------------------------------


def test_every_key_of_model_and_training_can_stand_in_a_grid_but_two() -> None:
    known = config_schema()["properties"]
    grid = known["grids"]["items"]["properties"]
    keys = {f"{s}.{key}" for s in ("model", "training") for key in known[s]["properties"]}
    assert keys - set(grid) == {"training.device", "training.kl_warmup_epochs"}
    labels = [axis_of(name).label for name in (*AXES, *keys)]
    assert len(set(labels)) == len(labels)
    traces = [axis_of(name).trace for name in keys]
    assert len(set(traces)) == len(traces)


def test_settings_stand_in_the_path_where_they_differ_from_the_studys_own() -> None:
    grid = {"model.hidden": [[128], [512, 256], []], "training.learning_rate": [1e-3, 3e-3]}
    runs = runs_of(grids=[grid])
    assert {run.path.removeprefix("digits/gaussian/z2/") for run in runs} == {
        "beta1/seed0",
        "beta1-lr0.003/seed0",
        "beta1-hidden512x256/seed0",
        "beta1-hidden512x256-lr0.003/seed0",
        "beta1-hidden-linear/seed0",
        "beta1-hidden-linear-lr0.003/seed0",
    }
    # what shapes tensors has packs of its own; a learning rate has not
    assert len({run.pack_key for run in runs}) == 3
    own = {run.arm: run.model_settings({"hidden": [128]})["hidden"] for run in runs}
    assert own["beta1-hidden512x256-lr0.003"] == [512, 256]
    assert own["beta1-lr0.003"] == [128]


def test_the_studys_own_level_renames_nothing() -> None:
    plain = runs_of(grids=[{}], model={"hidden": [64]})
    named = runs_of(grids=[{"model.hidden": [[64]]}], model={"hidden": [64]})
    assert plain == named
    assert [run.path for run in named] == ["digits/gaussian/z2/beta1/seed0"]


def test_a_setting_that_a_run_does_not_read_is_no_level_of_it() -> None:
    grid = {"architecture": ["mlp", "conv"], "model.channels": [[16, 32], [8]]}
    assert {run.arm for run in runs_of(grids=[grid])} == {
        "beta1", "beta1-conv", "beta1-conv-channels8",
    }  # fmt: skip


def test_a_level_trains_a_run_as_the_same_setting_of_the_study_does() -> None:
    own = Study(resolved(grids=[{"training.epochs": [7]}]), Path(), Path())
    shared = Study(resolved(training={"epochs": 7}), Path(), Path())
    (run,), (plain,) = own.runs, shared.runs
    assert run.training_settings(own.config["training"]) == shared.config["training"]
    assert run.path == "digits/gaussian/z2/beta1-epochs7/seed0"
    assert plain.path == "digits/gaussian/z2/beta1/seed0"


def test_a_run_is_frozen_and_survives_json() -> None:
    run = make_run(**{"model.hidden": [8, 4], "training.gradient_clip": None})
    assert Run(**run.to_json()) == run
    assert hash(Run(**run.to_json())) == hash(run)
    assert run.arm == "beta1-hidden8x4-clip-none"
    with pytest.raises(AttributeError):
        run.beta = 2.0
    with pytest.raises(TypeError):
        Run(**make_run().to_json(), **{"evaluation.seed": 3})


@pytest.mark.parametrize(
    ("sections", "parts"),
    [
        ({"grids": [{"training.device": ["cpu"]}]}, ["grids[0].training.device"]),
        ({"grids": [{"model.hiden": [[8]]}]}, ["grids[0].model.hiden", "model.hidden"]),
        ({"grids": [{"model.hidden": [8]}]}, ["grids[0].model.hidden[0]", "8", "a list"]),
        ({"grids": [{"training.epochs": []}]}, ["grids[0].training.epochs", "at least 1"]),
        (
            {"grids": [{"training.learning_rate": [0.12345678]}]},
            ["grids[0].training.learning_rate[0]", "six significant digits"],
        ),
        (
            {"grids": [{"training.epochs": [3, 20], "kl_warmup_epochs": [5]}]},
            ["grids[0].kl_warmup_epochs[0] is 5", "grids[0].training.epochs has 3", "at most 3"],
        ),
        ({"grids": [{"train_examples": [1]}]}, ["grids[0].train_examples[0]", "at least 2"]),
        ({"statistics": {"reference": {"beta": 3}}}, ["statistics.reference.beta", "1"]),
        ({"statistics": {"reference": {"seed": 0}}}, ["statistics.reference.seed", "beta"]),
        ({"statistics": {"reference": {"colour": 0}}}, ["statistics.reference.colour"]),
    ],
)
def test_an_axis_that_is_wrong_is_one_sentence(sections: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        resolved(**sections)
    assert_one_sentence(caught.value, *parts)


# --- references ----------------------------------------------------------------------------------


def test_the_reference_is_the_wanted_level_else_the_default_the_nearest_or_the_first() -> None:
    assert axis_of("beta").reference([0.1, 0.5, 4.0]) == 0.5
    assert axis_of("beta").reference([0.1, 0.5, 4.0], wanted=4.0) == 4.0
    assert axis_of("latent_dim").reference([2, 16, 8]) == 16
    assert axis_of("architecture").reference(["poe", "mlp", "conv"]) == "mlp"
    assert axis_of("architecture").reference(["poe", "conv"]) == "conv"
    assert axis_of("training.learning_rate").reference([0.01, 0.001], wanted=0.01) == 0.01
    assert Axis("model.new", "new").reference(["b", "a"]) == "a"


def settings_table(folder: Path) -> pd.DataFrame:
    """Runs of two settings whose effects are known: the rate's is 5, that of the widths is 1."""
    rows = []
    for i, axes in enumerate(
        product(**{
            "model.hidden": [[8], [512, 256]],
            "training.learning_rate": [0.001, 0.01],
            "seed": [0, 1, 2],
        })
    ):  # fmt: skip
        value = 5 * (axes["training.learning_rate"] == 0.01) + (axes["model.hidden"] == [8])
        rows.append(row(metrics={"mse": 10 + value + 0.01 * (i % 5)}, **axes))
    return written(rows, folder)


def test_a_setting_has_contrasts_and_a_share_of_the_variance(tmp_path: Path) -> None:
    table = settings_table(tmp_path)
    wanted = {"training.learning_rate": 0.001, "model.hidden": "512x256"}
    found = contrasts(table, ["mse"], None, wanted)
    found = found.assign(gain=found["mean"] - found["reference_mean"])
    means = found[found["scope"] == "pooled"].groupby("question")["gain"].mean()
    assert set(means.index) == {"model.hidden", "training.learning_rate"}
    assert means["training.learning_rate"] == pytest.approx(5, abs=0.05)
    assert means["model.hidden"] == pytest.approx(1, abs=0.05)
    settings = found[
        (found["question"] == "training.learning_rate") & (found["scope"] == "setting")
    ]
    assert set(settings["reference_arm"]) == {
        "beta1-hidden8-lr0.001", "beta1-hidden512x256-lr0.001",
    }  # fmt: skip
    assert set(settings["model.hidden"]) == {"8", "512x256"}
    assert settings["training.learning_rate"].isna().all()
    spans = importance(table).set_index("term")["span"]
    assert spans["training.learning_rate"] == pytest.approx(1.477, abs=0.03)
    assert spans["model.hidden"] == pytest.approx(1.08, abs=0.03)


# --- everywhere ----------------------------------------------------------------------------------

PROOF: dict[str, Any] = {
    "study": "small",
    "datasets": {"digits": {"source": "sklearn-digits", "max_examples": 300}},
    "grids": [
        {
            "beta": [0.1],
            "model.hidden": [[16], [32], [64]],
            "training.learning_rate": [1.0e-5, 3.0e-3, 1.0e-2, 3.0e-2],
            "seed": [0, 1],
        }
    ],
    "model": {"hidden": [16]},
    "training": {"epochs": 6, "batch_size": 32, "learning_rate": 1.0e-2, "device": "cpu"},
    "evaluation": {"nll_samples": 4},
    "statistics": {"primary_metrics": ["mse", "elbo"]},
}


@pytest.fixture(scope="module")
def proof(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("proof")
    run_study(folder, PROOF)
    return make_tables(folder, PROOF)


def test_a_new_axis_is_in_tables_contrasts_and_importance(proof: Path) -> None:
    metrics = read_metrics(proof / "tables" / "metrics.csv")
    runs = metrics[metrics["model"] == "vae"]
    assert sorted(runs["training.learning_rate"].unique()) == [1e-5, 3e-3, 1e-2, 3e-2]
    assert sorted(runs["model.hidden"].astype(str).unique()) == ["16", "32", "64"]
    # one pack for each width, whatever the learning rates
    assert len(list((proof / "packs").iterdir())) == 3
    # a learning rate of 1e-5 has learned nothing after six epochs
    found = pd.read_csv(proof / "tables" / "contrasts.csv")
    slow = found[(found["question"] == "training.learning_rate") & (found["metric"] == "elbo")]
    slow = slow[slow["level"] == 1e-5]
    assert (slow["estimate"] < -1).all()
    assert set(slow["verdict"]) <= {"worse", "undecided"}
    assert set(slow["reference_arm"].dropna()) == {
        "beta0.1", "beta0.1-hidden32", "beta0.1-hidden64",
    }  # fmt: skip
    assert {"model.hidden"} <= set(found["question"])
    shares = pd.read_csv(proof / "tables" / "importance.csv")
    elbo = shares[(shares["metric"] == "elbo") & (shares["levels"] == "every")]
    assert elbo.set_index("term")["share"]["training.learning_rate"] > 0.6
    assert "1e-05" not in shares.loc[shares["levels"] == "regular", "rectangle"].iloc[0]
    summary = pd.read_csv(proof / "tables" / "summary.csv")
    assert {"training.learning_rate", "model.hidden"} <= set(summary.columns)


def test_a_new_axis_is_in_a_figure_a_finding_and_the_methods_paragraph(proof: Path) -> None:
    figures = {path.name for path in (proof / "figures").rglob("*.png")}
    assert {"effects.png", "latent_space.png"} <= figures
    findings = read_json(proof / "tables" / "findings.json")
    told = [one for one in findings if one["section"] == "training.learning_rate"]
    assert any("worse at learning rate 1e-05" in one["headline"] for one in told)
    overview = read_json(proof / "tables" / "overview.json")
    assert "learning rate: 1e-05, 0.003, 0.01, 0.03" in overview["varied"]
    text = methods_paragraph(proof)
    assert "learning rate in {1e-05, 0.003, 0.01, 0.03}" in text
    assert "hidden layers in {16, 32, 64}" in text


def test_levels_read_as_a_person_would_write_them() -> None:
    levels = [(512, 256), (), None, True, 0.003, 1e-05, "silu", 8]
    assert [level_text(level) for level in levels] == [
        "512x256", "linear", "none", "true", "0.003", "1e-05", "silu", "8",
    ]  # fmt: skip
    sizes = [np.int64(16), np.int64(2), np.float64(8)]  # as a table gives them
    assert sorted(sizes, key=level_order) == [2, 8, 16]
    assert axis_of("condition").described("batch") == "conditioned on batch"
    assert axis_of("condition").described("none") == "unconditional"
    assert axis_of("training.learning_rate").described(0.003) == "learning rate 0.003"
    assert sorted(["training.epochs", "beta", "model.zeta", "model.hidden"], key=axis_order) == [
        "beta", "model.hidden", "training.epochs", "model.zeta",
    ]  # fmt: skip


def test_the_whole_train_split_is_the_reference_also_before_its_size_is_known() -> None:
    axis = axis_of("train_examples")
    assert axis.reference([50, 150, 648]) == 648
    assert axis.reference([50, "all", 150]) == "all"
