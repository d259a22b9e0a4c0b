"""The report of a table of runs in a browser: every state, hostile names, 10,000 runs, axe."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from report.test_analysis import HOSTILE, analysed, table
from study_rows import product

pytestmark = pytest.mark.browser


def test_every_arm_can_be_shown(tmp_path: Path, page: Any) -> None:
    out = analysed(table(np.random.default_rng(5), effect=6.0), tmp_path)
    page.show(out / "report.html")
    assert page.every_state() == 9
    page.run("openRun(0)")
    page.settle()
    assert page.broken() == []
    assert "Training" not in page.run("return document.getElementById('drawer-body').innerText")
    assert page.run("return document.querySelectorAll('#axis1 .effects td').length") == 4
    said = page.run("return document.body.innerText")
    assert "fid" in said
    assert not {"Fid", "Elbo", "Lr", "Model"} & {*re.findall(r"\w+", said)}
    assert page.run("return document.querySelectorAll('figure svg').length") >= 6
    assert page.overflow() <= 0


def test_equal_values_say_so_in_place_of_an_interval(tmp_path: Path, page: Any) -> None:
    frame = table(np.random.default_rng(5), effect=6.0).assign(fid=2.0)
    page.show(analysed(frame, tmp_path) / "report.html")
    effects = page.run("return document.querySelector('#axis1 .effects').innerText")
    assert effects.count("equal in every seed") == 2
    page.run("openRun(0)")
    page.settle()
    assert page.broken() == []


def test_axe_finds_no_violation(tmp_path: Path, page: Any) -> None:
    out = analysed(table(np.random.default_rng(5), effect=6.0), tmp_path)
    page.show(out / "report.html")
    assert page.violations() == {"light": [], "dark": []}


def test_hostile_names_stay_text_in_a_browser(tmp_path: Path, page: Any) -> None:
    frame = table(np.random.default_rng(5), effect=6.0).rename(
        columns={"lr": "answer", "elbo": f"e{HOSTILE}"}
    )
    frame["model"] = frame["model"].replace({"a": HOSTILE, "b": "a b~'\"", "c": "none"})
    out = analysed(frame, tmp_path, "--axes", "answer,model", "--metrics", f"e{HOSTILE}:higher")
    page.show(out / "report.html")
    assert page.every_state() == 9
    assert page.broken() == []
    assert page.run("return document.images.length") == 0
    ids = page.run("return [...document.querySelectorAll('[id]')].map((one) => one.id)")
    assert len(ids) == len(set(ids))
    assert HOSTILE in page.run("return document.body.innerText")


def test_a_table_of_one_axis_and_one_seed_has_no_broken_place(tmp_path: Path, page: Any) -> None:
    frame = table(np.random.default_rng(5))[lambda t: (t["seed"] == 0) & (t["model"] == "a")]
    out = analysed(frame, tmp_path, "--axes", "lr", "--metrics", "elbo")
    page.show(out / "report.html")
    assert page.every_state() == 3
    assert page.broken() == []


def test_ten_thousand_runs_are_one_page(tmp_path: Path, page: Any) -> None:
    rng = np.random.default_rng(0)
    levels = {"lr": np.logspace(-4, -1, 10).round(6), "width": [16, 32, 64, 128, 256],
              "model": [*"abcd"], "optimizer": [*"vwxyz"], "seed": range(10)}  # fmt: skip
    frame = pd.DataFrame(product(**levels))
    frame["elbo"] = rng.normal(size=len(frame)) + 2 * (frame["model"] == "b")
    out = analysed(
        frame, tmp_path, "--axes", "lr,width,model,optimizer", "--metrics", "elbo:higher:0.5"
    )
    assert (out / "report.html").stat().st_size < 5e6
    page.show(out / "report.html")
    assert page.run("return [ARM_COUNT, data.runs.arm.length]") == [1000, 10_000]
    for axis, level in itertools.product((1, 4), (0, 3)):
        page.run("choose(nearest(arguments[0], arguments[1], state.at)); redraw(true)", axis, level)
    assert page.broken() == []
