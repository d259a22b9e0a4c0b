"""Tables: every run has its row, and only ok ones are averaged."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from support import assert_one_sentence, make_run, resolved
from vae_ablation.common.errors import UserError
from vae_ablation.common.files import write_json
from vae_ablation.study.plan import Plan, Planned, Study
from vae_ablation.study.run import Run
from vae_ablation.tables.collect import (
    APPLICATION_COLUMNS,
    collect,
    mean_interval,
    read_metrics,
    summarize,
    summarize_applications,
    write_csv,
)

CONTRACT = [
    "run", "model", "dataset", "likelihood", "latent_dim", "beta", "kl", "posterior", "seed",
    "status", "reason", "measure", "proper",
]  # fmt: skip
COST = {
    "train_seconds": 1.5, "examples_per_second": 10.0, "device": "cpu", "peak_memory_mb": 9.0,
    "code_version": "0123456789",
}  # fmt: skip
FULL = {
    "measure": "grey/density", "proper": True, "distortion": 10.0, "rate": 2.0, "elbo": -12.0,
    "test_objective": 12.0, "nll": 11.5, "nll_ess": 0.4, "nll_bias": 0.01, "nll_loose": False,
    "epochs": 5, "active_units": 2, "collapsed_fraction": 0.0, "mse": 0.1,
    "rate_per_dim": [1.0, 1.0],
}  # fmt: skip


def write_run(folder: Path, run: Run, status: str = "ok", **metrics: Any) -> None:
    base = FULL if status == "ok" else {"measure": "grey/density", "proper": True}
    reason = "" if status == "ok" else f"it {status}, so it did"
    write_json(
        folder / "runs" / run.path / "run.json",
        {"status": status, "reason": reason, "pack": "pack", **COST},
    )
    write_json(folder / "runs" / run.path / "metrics.json", base | metrics)


def plan_of(*runs: Run) -> Plan:
    return Plan([Planned(run, "pack", "hash", None) for run in runs])


SEEDS = [make_run(seed=seed) for seed in range(4)]


def study_at(folder: Path) -> Study:
    return Study(resolved(), folder, folder / ".data")


@pytest.fixture
def collected(tmp_path: Path) -> pd.DataFrame:
    """Four seeds of β = 1, of which one diverged and one failed, a KL-off run and controls."""
    off = make_run(kl=False)
    for seed, status in enumerate(("ok", "ok", "diverged", "failed")):
        write_run(tmp_path, SEEDS[seed], status, **({"nll": 11.5 + seed} if status == "ok" else {}))
    write_run(tmp_path, off, active_units=None)
    write_run(tmp_path, make_run(seed=99))
    controls = tmp_path / "controls.json"
    write_json(controls, [
        {"run": "digits/raw", "model": "raw", "dataset": "digits", "knn_accuracy": 0.9},
        {"run": "digits/pca/z2", "model": "pca", "dataset": "digits", "latent_dim": 2, "mse": 0.2},
    ])  # fmt: skip
    frame = collect(study_at(tmp_path), plan_of(*SEEDS, off), [controls])
    write_csv(frame, tmp_path / "metrics.csv")
    return read_metrics(tmp_path / "metrics.csv")


def test_the_first_columns_are_those_of_the_contract(collected: pd.DataFrame) -> None:
    assert list(collected.columns[: len(CONTRACT)]) == CONTRACT
    assert {"arm", "distortion", "nll", "bits_per_dim", "mse", *COST} <= set(collected.columns)
    assert "rate_per_dim" not in collected.columns


def test_every_wanted_run_and_control_has_one_row_and_no_other_has(
    collected: pd.DataFrame,
) -> None:
    assert list(collected["run"]) == [
        *(f"digits/gaussian/z2/beta1/seed{seed}" for seed in range(4)),
        "digits/gaussian/z2/kl-off/seed0",
        "digits/raw",
        "digits/pca/z2",
    ]


def test_a_run_that_is_not_ok_is_a_row_with_its_reason_and_empty_metrics(
    collected: pd.DataFrame,
) -> None:
    rows = collected.set_index("run")
    for seed, status in ((2, "diverged"), (3, "failed")):
        row = rows.loc[f"digits/gaussian/z2/beta1/seed{seed}"]
        assert (row["status"], row["reason"]) == (status, f"it {status}, so it did")
        assert row[["distortion", "nll", "mse", "active_units", "epochs"]].isna().all()
        assert row["train_seconds"] == 1.5


def test_undefined_values_are_empty_cells(collected: pd.DataFrame, tmp_path: Path) -> None:
    with (tmp_path / "metrics.csv").open(newline="") as stream:
        rows = {row["run"]: row for row in csv.DictReader(stream)}
    assert not {"nan", "NaN", "None", "<NA>", "inf"} & {
        v for row in rows.values() for v in row.values()
    }
    off = rows["digits/gaussian/z2/kl-off/seed0"]
    assert (off["active_units"], off["kl"], off["beta"]) == ("", "False", "0.0")
    assert rows["digits/gaussian/z2/beta1/seed0"]["active_units"] == "2"
    assert rows["digits/gaussian/z2/beta1/seed0"]["seed"] == "0"
    raw = rows["digits/raw"]
    assert all(
        raw[name] == "" for name in ("latent_dim", "beta", "kl", "likelihood", "seed", "nll")
    )
    assert raw["status"] == "ok"


def test_a_table_of_nothing_but_failures_is_written(tmp_path: Path) -> None:
    for run in SEEDS:
        write_run(tmp_path, run, "failed")
    frame = collect(study_at(tmp_path), plan_of(*SEEDS), [])
    write_csv(frame, tmp_path / "metrics.csv")
    back = read_metrics(tmp_path / "metrics.csv")
    assert list(back["status"]) == ["failed"] * 4
    assert summarize(back).empty
    last = ["metric", "n", "mean", "ci_low", "ci_high", "bound"]
    assert list(summarize(back).columns[-6:]) == last


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        collect(study_at(tmp_path), plan_of(SEEDS[0]), [])
    assert_one_sentence(caught.value, str(tmp_path / "runs" / SEEDS[0].path))


def test_a_column_that_a_later_metric_brings_is_kept(tmp_path: Path) -> None:
    write_run(tmp_path, SEEDS[0], sample_fid=3.5)
    frame = collect(study_at(tmp_path), plan_of(SEEDS[0]), [])
    assert frame.loc[0, "sample_fid"] == 3.5
    assert list(frame.columns[:13]) == CONTRACT


def test_reasons_survive_commas_quotes_and_lines(tmp_path: Path) -> None:
    frame = pd.DataFrame({"run": ["a"], "latent_dim": [1], "seed": [0], "reason": ['x, "y"\nz'],
                          "arm": ["beta1"]})  # fmt: skip
    write_csv(frame, tmp_path / "m.csv")
    assert read_metrics(tmp_path / "m.csv").loc[0, "reason"] == 'x, "y"\nz'


# --- summary -------------------------------------------------------------------------------------


def test_only_ok_runs_are_averaged(collected: pd.DataFrame) -> None:
    summary = summarize(collected).set_index(["arm", "metric"])
    row = summary.loc[("beta1", "nll")]
    assert row["n"] == 2
    assert row["mean"] == pytest.approx(12.0)
    low, high = stats.t.interval(0.95, 1, 12.0, stats.sem([11.5, 12.5]))
    assert (row["ci_low"], row["ci_high"]) == (pytest.approx(low), pytest.approx(high))


def test_the_interval_of_one_seed_is_empty(collected: pd.DataFrame) -> None:
    row = summarize(collected).set_index(["arm", "metric"]).loc[("kl-off", "nll")]
    assert row["n"] == 1
    assert np.isnan(row["ci_low"])
    assert np.isnan(row["ci_high"])


def test_a_mean_of_which_a_seed_is_only_a_bound_is_one_too(collected: pd.DataFrame) -> None:
    """Upper bounds of some seeds bound their mean from above; its interval would be of none."""
    here = (collected["arm"] == "beta1") & collected["nll"].eq(12.5)
    loose = collected.assign(nll_loose=collected["nll_loose"].where(~here, True))
    summary = summarize(loose).set_index(["arm", "metric"])
    row = summary.loc[("beta1", "nll")]
    assert (row["n"], row["mean"], row["bound"]) == (2, pytest.approx(12.0), "upper")
    assert np.isnan([row["ci_low"], row["ci_high"]]).all()
    other = summary.loc[("beta1", "elbo")]
    assert pd.isna(other["bound"])
    assert np.isfinite(other["ci_low"])
    assert summarize(collected)["bound"].isna().all()


def test_an_undefined_metric_has_no_row_and_flags_are_not_averaged(
    collected: pd.DataFrame,
) -> None:
    summary = summarize(collected)
    off = set(summary.loc[summary["arm"] == "kl-off", "metric"])
    assert "active_units" not in off
    assert "bits_per_dim" not in set(summary["metric"])
    assert not {"seed", "beta", "proper", "nll_loose", "device"} & set(summary["metric"])


def test_controls_are_summarised_beside_the_arms(collected: pd.DataFrame) -> None:
    summary = summarize(collected)
    raw = summary[summary["model"] == "raw"].set_index("metric")
    assert raw.loc["knn_accuracy", "mean"] == 0.9
    assert (summary.loc[summary["model"] == "pca", "latent_dim"] == 2).all()


FINITE = st.floats(-1e6, 1e6)


@given(st.lists(FINITE, min_size=2, max_size=12))
def test_the_interval_is_scipys(values: list[float]) -> None:
    n, mean, low, high = mean_interval(values)
    error = stats.sem(values)
    assert n == len(values)
    assert mean == pytest.approx(np.mean(values), abs=1e-6)
    if error > 1e-9:
        truth = stats.t.interval(0.95, n - 1, np.mean(values), error)
        assert (low, high) == (pytest.approx(truth[0], abs=1e-5), pytest.approx(truth[1], abs=1e-5))


def test_missing_values_are_not_counted() -> None:
    assert mean_interval([1.0, float("nan"), 3.0, None])[:2] == (2, 2.0)  # type: ignore[list-item]
    n, mean, low, high = mean_interval([])
    assert n == 0
    assert np.isnan([mean, low, high]).all()


def test_a_wider_level_gives_a_wider_interval() -> None:
    narrow, wide = (mean_interval([1.0, 2.0, 4.0], level) for level in (0.5, 0.99))
    assert wide[2] < narrow[2] < narrow[3] < wide[3]


def application_rows(values: dict[tuple[str, str, int], float]) -> pd.DataFrame:
    """Scores of one application by method, arm and seed."""
    rows = [
        {
            "run": f"cells/poisson/z2/{arm}/seed{seed}", "dataset": "cells",
            "likelihood": "poisson", "latent_dim": 2, "arm": arm, "seed": seed,
            "application": "denoising", "subject": "all", "method": method, "metric": "rmse",
            "value": value,
        }
        for (method, arm, seed), value in values.items()
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=APPLICATION_COLUMNS)


def test_scores_of_an_application_are_averaged_over_seeds_and_baselines_over_arms_too() -> None:
    found = summarize_applications(
        application_rows(
            {
                ("vae", "beta1", 0): 1.0, ("vae", "beta1", 1): 3.0, ("vae", "kl-off", 0): 7.0,
                ("gene_mean", "beta1", 0): 4.0, ("gene_mean", "kl-off", 0): 4.0,
                ("gene_mean", "beta1", 1): 6.0,
            }
        )
    ).set_index(["method", "arm"])  # fmt: skip
    assert found.loc[("vae", "beta1"), ["n", "mean"]].tolist() == [2, 2.0]
    assert found.loc[("vae", "kl-off"), ["n", "mean"]].tolist() == [1, 7.0]
    assert found.loc[("gene_mean", ""), ["n", "mean"]].tolist() == [2, 5.0]
    half = stats.t.ppf(0.975, 1) * np.sqrt(2) / np.sqrt(2)
    np.testing.assert_allclose(found.loc[("vae", "beta1"), "ci_high"], 2 + half)
    assert np.isnan(found.loc[("vae", "kl-off"), "ci_high"])


def test_no_scores_give_an_empty_table_with_its_columns() -> None:
    found = summarize_applications(application_rows({}))
    assert found.empty
    assert {"application", "method", "mean"} <= set(found.columns)
