"""The examples of docs/extending.md, copied into a folder outside the repository, make a study."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from vae_ablation import load_run
from vae_ablation.common.registry import ORIGINS
from vae_ablation.study import plugins
from workflow.place import REPOSITORY, TABLE, Place

GUIDE = (REPOSITORY / "docs" / "extending.md").read_text(encoding="utf-8")
SCRIPTS = re.findall(r"```py\n(.*?)```", GUIDE, re.DOTALL)
EXAMPLES = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
CONFIG = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)[-1])
PLAIN = "digits/gaussian/z2/beta1/seed0"
USERS = 20
"""Runs that use a part of the file; the others are the two of digits with the Gaussian."""


pytestmark = pytest.mark.usefixtures("forget_plugins")


CLI = "from vae_ablation.cli import main; assert not main"


def call_python(place: Place, code: str) -> None:
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=place.folder, env=place.environment(), capture_output=True, text=True
    )
    assert not done.returncode, done.stderr


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory, checkout: Path) -> Place:
    """The study at the end of the guide, shortened, with every page and figure."""
    place = Place(tmp_path_factory.mktemp("extended"), checkout)
    (place.folder / "my_parts.py").write_text("\n\n".join(EXAMPLES), encoding="utf-8")
    place.config |= {**CONFIG, "study": "tiny"}
    place.config["datasets"]["digits"]["max_examples"] = 150
    place.write_config()
    for code in (f"{CLI}(['split', 'study.yaml', 'digits'])", SCRIPTS[0]):
        call_python(place, code)
    place.call()
    return place


def test_every_example_is_short() -> None:
    assert len(EXAMPLES) == 12
    for text in EXAMPLES:
        last = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)][-1]
        first, end = last.body[1].lineno - 1, last.end_lineno  # what follows the docstring
        assert len([line for line in text.splitlines()[first:end] if line.strip()]) <= 15


def test_every_part_is_in_the_tables(extended: Place) -> None:
    metrics = extended.metrics()
    assert (metrics["status"] == "ok").all(), metrics["reason"].tolist()
    assert set(metrics["reason"]) == {""}
    assert pd.to_numeric(metrics["nll"]).notna().all()
    assert {"absolute", "heavy_tails"} <= set(metrics["likelihood"])
    assert set(metrics["prior"]) == {"standard_normal", "learned_scale"}
    assert set(metrics["posterior"]) == {"gaussian", "shared_scale"}
    assert "beta_tcvae" in set(metrics["objective"])
    assert "residual_net" in set(metrics["architecture"])
    assert "squares" in set(metrics["dataset"])
    assert pd.to_numeric(metrics["code_correlation"]).between(0, 1).all()
    assert set(pd.to_numeric(metrics["training.tc_weight"])) == {2.0, 5.0}


def test_an_application_and_a_question_have_scores_and_a_finding(extended: Place) -> None:
    scores = extended.table("applications")
    assert set(scores["application"]) == {"outliers"}
    assert set(scores["method"]) == {"vae", "chance"}
    assert scores["value"].between(0, 1).all()
    found = json.loads((extended.study / "tables" / "findings.json").read_text("utf-8"))
    headlines = {one["id"]: one["headline"] for one in found}
    assert headlines["digits/undecided"].endswith("comparisons of the ELBO are undecided")


def test_arms_made_elsewhere_stand_in_every_table(extended: Place) -> None:
    table = extended.table("metrics").set_index("run")
    rows = table[table["model"].isin({"nmf", "own_pca"})]
    assert set(rows.index) == {
        "digits/nmf/z2/seed0", "digits/nmf/z2/seed1", "digits/own_pca/z2"
    }  # fmt: skip
    assert (rows["status"] == "ok").all(), rows["reason"].tolist()
    assert rows["probe_accuracy"].between(0, 1).all()
    assert rows["code_correlation"].between(0, 1).all()
    assert rows["elbo"].isna().all()
    assert rows["mse"].notna().tolist() == [False, False, True]
    # the same plane as the control's, whose codes have another scale
    assert rows.loc["digits/own_pca/z2", "probe_accuracy"] == pytest.approx(
        table.loc["digits/pca/z2", "probe_accuracy"], abs=0.05
    )
    contrasts = extended.table("contrasts")
    own = contrasts[contrasts["question"] == "model"]
    assert set(own["level"]) == {"nmf", "own_pca"}
    assert set(own["reference_arm"]) == {"beta1"}
    assert set(own.loc[own["level"] == "nmf", "likelihood"].dropna()) == {"gaussian"}
    assert set(extended.table("summary")["model"]) >= {"nmf", "own_pca"}


def test_the_report_shows_arms_made_elsewhere(extended: Place) -> None:
    data = extended.report_data()
    models = {one["model"]: one["m"] for one in data["controls"]}
    assert {"nmf", "own_pca"} <= set(models)
    assert "mse" in models["own_pca"]
    assert "mse" not in models["nmf"]
    page = (extended.study / "report.html").read_text(encoding="utf-8")
    assert '<section id="model"' in page


def test_a_new_file_of_codes_evaluates_that_arm_alone(extended: Place) -> None:
    path = extended.folder / "nmf-seed1.npz"
    before = path.read_bytes()
    try:
        with np.load(path) as archive:
            np.savez(path, **{name: archive[name] + 1 for name in archive.files})
        call = extended.call("-n", TABLE)
        assert call.to_train == 0
        assert call.jobs == {"external": 1, "collect": 1}
    finally:
        path.write_bytes(before)


def test_every_part_is_compared(extended: Place) -> None:
    contrasts = pd.read_csv(extended.study / "tables" / "contrasts.csv")
    own = contrasts[contrasts["metric"] == "code_correlation"]
    axes = {"architecture", "objective", "prior", "training.tc_weight"}
    assert axes <= set(own["question"])
    assert own["primary"].all()


def test_every_part_is_in_the_report_and_the_figure_is_drawn(extended: Place) -> None:
    page = (extended.study / "report.html").read_text(encoding="utf-8")
    names = re.findall(r'^    name = "(.*)"', "\n".join(EXAMPLES), re.MULTILINE)
    assert len(names) == 12
    assert all(f"<code>{name}</code>" in page for name in [*names, "code_correlation"])
    drawn = extended.study / "figures" / "digits" / "absolute" / "all" / "elbo_by_arm.png"
    assert drawn.is_file()


def test_the_report_says_what_it_cannot_draw(extended: Place) -> None:
    page = (extended.study / "report.html").read_text(encoding="utf-8")
    for reason in (
        "the likelihood absolute",
        "the prior learned_scale, not the standard normal",
        "networks from outside the package",
    ):
        assert reason in page


def test_records_name_the_file_and_say_why_a_run_trained_alone(extended: Place) -> None:
    file = str((extended.folder / "my_parts.py").resolve())
    alone = extended.record("digits/gaussian/z2/beta1-residual-net/seed0")
    assert alone["plugins"] == [file]
    assert "Batch norm" in alone["alone"]
    assert not {"plugins", "alone"} & extended.record(PLAIN).keys()


def test_a_run_is_loaded_with_its_parts(extended: Place) -> None:
    plugins.use_plugins([])
    assert not ORIGINS
    loaded = load_run(extended.run_folder("digits/gaussian/z2/beta1-prior-learned-scale/seed0"))
    assert loaded.sample(3).shape == (3, 8, 8)
    assert loaded.prior.learned["log_scale"].shape == (2,)


def test_an_edit_trains_the_runs_that_use_the_file(extended: Place) -> None:
    file = extended.folder / "my_parts.py"
    before = file.read_text(encoding="utf-8")
    try:
        file.write_text(before.replace("with learned scales s.", "that learns."), encoding="utf-8")
        assert extended.call("-n", TABLE).to_train == 0
        file.write_text(before.replace("0.001 +", "0.002 +"), encoding="utf-8")
        assert extended.call("-n", TABLE).to_train == USERS
    finally:
        file.write_text(before, encoding="utf-8")
