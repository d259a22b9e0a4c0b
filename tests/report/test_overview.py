"""What the report's first page says."""

from __future__ import annotations

import pandas as pd
from docutils.core import publish_parts

from vae_ablation.common.files import read_json, write_json
from vae_ablation.report.overview import read_captions, read_overview, write_overview


def metrics(reason="because"):
    common = {"model": "vae", "dataset": "d", "likelihood": "gaussian", "latent_dim": 2}
    rows = [
        {"beta": 0.5, "kl": True, "status": "ok", "slope": 0.002, "seed": 0},
        {"beta": 0.5, "kl": True, "status": "ok", "slope": -0.2, "seed": 1},
        {"beta": 0.0, "kl": False, "status": "diverged", "reason": reason, "seed": 0},
    ]
    frame = pd.DataFrame([common | row | {"posterior": "gaussian"} for row in rows])
    frame = frame.assign(architecture="mlp", bound="elbo", importance_samples=1)
    frame["run"] = [f"d/gaussian/z2/a{i}/seed0" for i in range(len(frame))]
    return frame.assign(proper=[True, True, False], device="cpu", train_seconds=50.0)


def test_counts_are_those_of_the_table(tmp_path):
    control = pd.DataFrame([{"model": "raw", "run": "d/raw", "status": "ok", "proper": None}])
    write_overview(tmp_path, pd.concat([metrics(), control]))
    overview = read_json(tmp_path / "tables" / "overview.json")
    assert overview["runs"] == 3
    assert overview["status"] == {"ok": 2, "diverged": 1, "failed": 0}
    assert (overview["converged"], overview["slopes"]) == (1, 2)
    assert overview["train_time"] == "2 min"
    assert overview["varied"] == ["seed: 0, 1", "the KL term: on, off"]
    assert overview["improper"] == ["gaussian"]


def test_further_axes_are_named_where_they_vary(tmp_path):
    more = metrics().assign(architecture="conv", posterior="fixed", importance_samples=5)
    write_overview(tmp_path, pd.concat([metrics(), more]))
    varied = read_overview(tmp_path)["varied"]
    assert "architecture: conv, mlp" in varied
    assert "draws of z per training example: 1, 5" in varied
    assert "the KL term: on, off, off with a fixed posterior scale" in varied


def test_text_from_the_user_stays_text_in_the_report(tmp_path):
    write_overview(tmp_path, metrics("<script>`x` *y* |z| `a <javascript:b>`_\n\n.. raw:: html"))
    (row,) = read_overview(tmp_path)["not_ok"]
    html = publish_parts(f"- {row['reason']}", writer_name="html")["body"]
    assert "<script>" not in html
    assert "<a " not in html
    assert "<em>" not in html
    assert "|z|" in html


def test_there_is_no_overview_before_there_are_tables(tmp_path):
    assert read_overview(tmp_path) == {}


def test_captions_are_read_by_figure_name(tmp_path):
    (tmp_path / "one.rst").write_text("Eins")
    assert read_captions(tmp_path) == {"one": "Eins"}


def test_leading_findings_stand_on_the_first_page(tmp_path):
    write_overview(tmp_path, metrics())
    assert read_overview(tmp_path)["findings"] == []
    told = [{"headline": "h", "lead": "It fell."}]
    write_json(tmp_path / "tables" / "front_page.json", told)
    assert read_overview(tmp_path)["findings"] == told
