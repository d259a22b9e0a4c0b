"""The examples of docs/extending.md, copied into a folder outside the repository, make a study."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml

from vae_ablation import load_run
from vae_ablation.common.registry import ORIGINS
from vae_ablation.study import plugins
from workflow.place import REPOSITORY, TABLE, Place

GUIDE = (REPOSITORY / "docs" / "extending.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
CONFIG = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)[-1])
PLAIN = "digits/gaussian/z2/beta1/seed0"
USERS = 18
"""Runs that use a part of the file; the others are the two of digits with the Gaussian."""


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    plugins.use_plugins([])


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory, checkout: Path) -> Place:
    """The study at the end of the guide, shortened, with every page and figure."""
    place = Place(tmp_path_factory.mktemp("extended"), checkout)
    (place.folder / "my_parts.py").write_text("\n\n".join(EXAMPLES), encoding="utf-8")
    place.config |= {**CONFIG, "study": "tiny"}
    place.config["datasets"]["digits"]["max_examples"] = 150
    place.call()
    return place


def test_every_example_is_short() -> None:
    assert len(EXAMPLES) == 8
    for text in EXAMPLES:
        last = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)][-1]
        assert len([line for line in ast.unparse(last).splitlines() if line.strip()]) <= 22


def test_every_part_is_in_the_tables(extended: Place) -> None:
    metrics = extended.metrics()
    assert (metrics["status"] == "ok").all(), metrics["reason"].tolist()
    assert {"absolute", "heavy_tails"} <= set(metrics["likelihood"])
    assert set(metrics["prior"]) == {"standard_normal", "learned_scale"}
    assert "beta_tcvae" in set(metrics["objective"])
    assert "residual_net" in set(metrics["architecture"])
    assert "squares" in set(metrics["dataset"])
    assert pd.to_numeric(metrics["code_correlation"]).between(0, 1).all()
    assert set(pd.to_numeric(metrics["training.tc_weight"])) == {2.0, 5.0}


def test_every_part_is_compared(extended: Place) -> None:
    contrasts = pd.read_csv(extended.study / "tables" / "contrasts.csv")
    own = contrasts[contrasts["metric"] == "code_correlation"]
    axes = {"architecture", "objective", "prior", "training.tc_weight"}
    assert axes <= set(own["question"])
    assert own["primary"].all()


def test_every_part_is_in_the_report_and_the_figure_is_drawn(extended: Place) -> None:
    page = (extended.study / "report.html").read_text(encoding="utf-8")
    names = re.findall(r'^    name = "(.*)"', "\n".join(EXAMPLES), re.MULTILINE)
    assert len(names) == 8
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
