"""The split of the data as an axis: crossed with the seed, and without a trace at its default."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.stats import t as student_t

from faults.made import SMALL, make_tables, planned, run_study
from support import assert_one_sentence, make_run, resolved
from vae_ablation.common.errors import UserError
from vae_ablation.common.files import read_json
from vae_ablation.report.page.build import write_report
from vae_ablation.study.run import expand_runs
from vae_ablation.tables.collect import spreads

GRID = {"likelihood": ["gaussian"], "beta": [0.5, 2], "seed": [0, 1]}
STUDY: dict[str, Any] = SMALL | {"grids": [GRID | {"split_seed": [0, 1, 2]}]}


def test_the_datasets_own_split_leaves_no_trace(tmp_path: Path) -> None:
    plain = planned(tmp_path, SMALL | {"grids": [GRID]})
    split = planned(tmp_path, STUDY)
    before = {item.run.path: item.train_hash for item in plain.plan.planned}
    after = {item.run.path: item.train_hash for item in split.plan.planned}
    assert before.items() <= after.items()
    assert len(after) == 3 * len(before)
    assert "digits/gaussian/z2/beta0.5/split1-seed0" in after
    assert {str(item.run.arm) for item in split.plan.planned} == {"beta0.5", "beta2"}
    assert plain.study.prepared["digits"] == split.study.prepared["digits"]


def test_runs_of_other_splits_share_no_pack() -> None:
    config = resolved(grids=[{"split_seed": [None, 3, 0]}])
    runs = expand_runs(config["grids"], config)
    assert [run.split_seed for run in runs] == [None, 3], "0 is the dataset's own"
    assert len({run.pack_key for run in runs}) == 2
    assert [run.data for run in runs] == ["digits", "digits.split3"]
    assert make_run(split_seed=3).order > make_run().order


def test_a_split_of_the_users_is_not_drawn_again(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", x=np.eye(20))
    own = {"source": "npz", "path": str(tmp_path / "own.npz"), "split": "part"}
    with pytest.raises(UserError) as caught:
        resolved(datasets={"own": own}, grids=[{"split_seed": [0, 1]}])
    assert_one_sentence(caught.value, "grids[0].split_seed is [0, 1]", "split: part")


def test_spreads_are_those_of_a_one_way_layout_of_random_effects() -> None:
    """Against many draws whose variances are known, and against statsmodels' layout by hand."""
    random = np.random.default_rng(0)
    splits, seeds = 400, 3
    effect = random.normal(0, 2, splits)
    values = effect[:, None] + random.normal(0, 0.5, (splits, seeds))
    runs = pd.DataFrame({"split_seed": np.repeat(np.arange(splits), seeds), "nll": values.ravel()})
    found = spreads(runs, "nll")
    assert found["sd_seeds"] == pytest.approx(values.var(1, ddof=1).mean() ** 0.5)
    assert found["sd_seeds"] == pytest.approx(0.5, rel=0.1)
    assert found["sd_splits"] == pytest.approx(2, rel=0.1)
    between = values.mean(1).var(ddof=1) - values.var(1, ddof=1).mean() / seeds
    assert found["sd_splits"] == pytest.approx(between**0.5)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("splits")
    run_study(folder, STUDY)
    return make_tables(folder, STUDY)


def test_tables_pair_by_split_and_seed(tables: Path) -> None:
    metrics = pd.read_csv(tables / "tables" / "metrics.csv")
    runs = metrics[metrics["model"] == "vae"]
    assert sorted(runs["split_seed"].unique()) == [0, 1, 2]
    controls = metrics[metrics["model"] != "vae"]
    assert controls["run"].is_unique
    assert sorted(controls["split_seed"].unique()) == [0, 1, 2]
    wide = runs.pivot_table(index=["split_seed", "seed"], columns="arm", values="mse")
    means = np.log(wide["beta2"] / wide["beta0.5"]).groupby("split_seed").mean()
    contrasts = pd.read_csv(tables / "tables" / "contrasts.csv")
    (row,) = contrasts.query(
        "question == 'beta' and metric == 'mse' and scope == 'pooled'"
    ).to_dict("records")
    sign = 1 if row["arm"] == "beta2" else -1
    assert row["n"] == 3, "splits, and not pairs of seeds"
    assert row["estimate"] == pytest.approx(sign * means.mean())
    sizes = read_json(next((tables.parent / ".data").glob("*/dataset.json")))["sizes"]
    share = sizes["test"] / sum(sizes.values())
    assert runs["test_share"].tolist() == pytest.approx([share] * len(runs))
    half = student_t.ppf(0.975, 2) * means.std(ddof=1) * (1 / 3 + share / (1 - share)) ** 0.5
    assert row["ci_high"] - row["ci_low"] == pytest.approx(2 * half)
    arms = wide.groupby("split_seed").mean().mean()
    assert row["mean"] == pytest.approx(arms[row["arm"]])


def test_margins_come_from_the_examples_of_one_split(tables: Path) -> None:
    """Test examples of other splits are others: their errors say nothing of a paired difference."""
    contrasts = pd.read_csv(tables / "tables" / "contrasts.csv")
    (row,) = contrasts.query(
        "question == 'beta' and metric == 'distortion' and scope == 'pooled'"
    ).to_dict("records")
    assert row["margin_from"] == "examples"
    folders = tables / "runs" / "digits" / "gaussian" / "z2"
    parts = [
        np.mean([_values(folders / arm / f"seed{seed}") for seed in (0, 1)], axis=0)
        for arm in ("beta2", "beta0.5")
    ]
    difference = parts[0] - parts[1]
    assert row["margin"] == pytest.approx(2 * difference.std() / len(difference) ** 0.5, rel=1e-4)


def _values(run: Path) -> NDArray[np.float64]:
    with np.load(run / "examples.npz") as arrays:
        return np.asarray(arrays["distortion"], np.float64)


def test_the_summary_has_both_spreads(tables: Path) -> None:
    summary = pd.read_csv(tables / "tables" / "summary.csv")
    (row,) = summary.query("metric == 'mse' and arm == 'beta2'").to_dict("records")
    assert row["n"] == 3
    assert row["sd_seeds"] > 0
    assert row["sd_splits"] >= 0


def test_texts_say_splits_and_not_seeds(tables: Path) -> None:
    """Where splits replicate arms, nothing that a reader sees says that seeds do."""
    write_report(tables, tables / "report.html")
    pages = ("ablation.md", "ablation.tex")
    texts = {name: (tables / "tables" / name).read_text(encoding="utf-8") for name in pages}
    texts["report.html"] = (tables / "report.html").read_text(encoding="utf-8")
    for name, text in texts.items():
        prose = re.sub(r"<(script|style).*?</\1>", "", text, flags=re.DOTALL)
        for phrase in ("over seeds", "paired by seed", "mean of its seeds", "3 seeds"):
            assert phrase not in prose.lower(), (name, phrase)
    assert "on 3 splits of the data" in texts["ablation.md"]
    assert "nadeau2003inference" in texts["ablation.tex"]
    assert "over splits" in texts["report.html"]
    findings = json.loads((tables / "tables" / "findings.json").read_text(encoding="utf-8"))
    assert "over seeds" not in json.dumps(findings)


def test_report_and_figures_are_there(tables: Path) -> None:
    page = (tables / "report.html").read_text(encoding="utf-8")
    (data,) = re.findall(r'id="data">(.*)</script>', page)
    shown = {arm["run"] for arm in json.loads(data)["shown"].values()}
    assert "digits/gaussian/z2/beta2/seed0" in shown
    assert not {run for run in shown if "split" in run}, "codes of one split's examples"
    assert list((tables / "figures" / "digits").rglob("*.png"))
