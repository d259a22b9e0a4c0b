"""Any table of runs: verdicts on planted effects, and bad tables end in a sentence."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from study_rows import product, row
from vae_ablation.cli import main
from vae_ablation.common.errors import UserError
from vae_ablation.study.metrics import Metric
from vae_ablation.tables.analysis import read_metric
from vae_ablation.tables.collect import read_metrics, write_csv
from vae_ablation.tables.contrasts import contrasts
from vae_ablation.tables.foreign import read_runs

CALL = ["--axes", "lr,model", "--metrics", "elbo:higher:0.5,fid:lower:log,mse:lower"]


def runs(seeds: int = 3) -> pd.DataFrame:
    """A learning rate that lowers the ELBO by 4, and a model that halves the distance."""
    rng = np.random.default_rng(0)
    rows = product(lr=[0.001, 0.01, 0.1], model=["a", "b", "c"], trial=range(seeds))
    return pd.DataFrame(
        one
        | {
            "elbo": -90 - 4 * (one["lr"] == 0.1) + 0.1 * rng.normal(),
            "fid": (0.5 if one["model"] == "b" else 1.0) * np.exp(0.02 * rng.normal()),
            "mse": 0.1,
        }
        for one in rows
    )


def write(table: pd.DataFrame, folder: Path) -> Path:
    path = folder / "sweep.csv"
    table.to_csv(path, index=False)
    return path


def analysed(table: pd.DataFrame, folder: Path, *more: str) -> pd.DataFrame:
    path = write(table, folder)
    assert main(["analyse", str(path), *CALL, "--seed", "trial", *more]) == 0
    return pd.read_csv(folder / "sweep-analysis" / "contrasts.csv")


def test_planted_effects_are_found_and_the_rest_is_equal(tmp_path: Path) -> None:
    table = analysed(runs(), tmp_path)
    pooled = table[table["scope"] == "pooled"]
    told = {(row.question, str(row.level), row.metric): row.verdict for row in pooled.itertuples()}
    assert told["lr", "0.1", "elbo"] == "worse"
    assert told["lr", "0.01", "elbo"] == "equivalent"
    assert told["model", "b", "fid"] == "better"
    assert told["model", "c", "fid"] == "equivalent"
    assert set(pooled["settings"]) == {3}
    half = pooled[(pooled["level"] == "b") & (pooled["metric"] == "fid")]["effect"].iloc[0]
    assert half == pytest.approx(0.5, rel=0.05)
    shares = pd.read_csv(tmp_path / "sweep-analysis" / "importance.csv")
    elbo = shares[shares["metric"] == "elbo"].set_index("term")["share"]
    assert elbo["lr"] > 0.95
    text = (tmp_path / "sweep-analysis" / "ablation.md").read_text()
    assert "| change | elbo ↑ | fid ↓ | mse ↓ |" in text
    assert "lr 0.001 → 0.1" in text


def test_the_caller_names_the_reference(tmp_path: Path) -> None:
    table = analysed(runs(), tmp_path, "--reference", "lr=0.01,model=c")
    assert set(table.loc[table["question"] == "lr", "reference"].astype(str)) == {"0.01"}
    assert set(table.loc[table["question"] == "model", "reference"]) == {"c"}


def test_one_seed_is_warned_of_and_ends_without_a_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = analysed(runs(1), tmp_path)
    assert set(table["verdict"]) == {"undecided"}
    assert "Every arm has one seed" in capsys.readouterr().out


def test_empty_cells_of_a_metric_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = runs()
    table.loc[[0, 5], "elbo"] = [np.nan, np.inf]
    analysed(table, tmp_path)
    assert "elbo is empty in 2 of 27 runs" in capsys.readouterr().out


def broken(table: pd.DataFrame, column: str, value: Any) -> pd.DataFrame:
    changed = table.astype({column: object})
    changed.loc[3, column] = value
    return changed


@pytest.mark.parametrize(
    ("table", "parts"),
    [
        (runs().drop(columns="lr"), ["'lr'", "not known"]),
        (runs().rename(columns={"fid": "distance"}), ["'fid'", "allowed"]),
        (broken(runs(), "model", None), ["row 5", "no model"]),
        (broken(runs(), "elbo", "oops"), ["row 5", "'oops'", "numbers"]),
        (pd.concat([runs(), runs().head(1)]), ["row 29", "repeats"]),
        (runs().head(0), ["no row"]),
    ],
    ids=["no axis", "no metric", "no level", "text", "twice", "empty"],
)
def test_bad_tables_end_in_a_sentence(
    table: pd.DataFrame, parts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(table, tmp_path)
    assert main(["analyse", str(path), *CALL, "--seed", "trial"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    for part in parts:
        assert part in error


@pytest.mark.parametrize("reference", ["lr", "lr=7", "color=1"])
def test_a_reference_that_is_no_level_is_refused(reference: str, tmp_path: Path) -> None:
    path = write(runs(), tmp_path)
    assert main(["analyse", str(path), *CALL, "--seed", "trial", "--reference", reference]) == 1


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    with pytest.raises(UserError, match=r"x\.csv: cannot be read"):
        read_runs(path, ["lr"], "seed", [])
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"x\.csv"):
        read_runs(path, ["lr"], "seed", [])


def test_metrics_are_read_from_their_parts() -> None:
    assert read_metric("fid:lower:log:1.2") == Metric(
        "fid", "fid", better="lower", scale="log", margin=1.2
    )
    assert read_metric("acc:arcsine").scale == "arcsine"
    with pytest.raises(UserError, match="'down' is not a way"):
        read_metric("fid:down")


def test_columns_of_the_caller_may_have_names_of_ours(tmp_path: Path) -> None:
    table = runs().rename(columns={"lr": "level", "model": "metric", "fid": "n", "elbo": "rate"})
    path = write(table, tmp_path)
    call = ["--axes", "level,metric", "--metrics", "rate:higher,n:lower:log", "--seed", "trial"]
    assert main(["analyse", str(path), *call]) == 0
    found = pd.read_csv(tmp_path / "sweep-analysis" / "contrasts.csv")
    assert {"level (axis)", "metric (axis)"} <= {*found.columns}
    assert set(found["question"]) == {"level", "metric"}
    assert set(found["metric"]) == {"rate", "n"}


def test_only_primary_metrics_are_one_family(tmp_path: Path) -> None:
    table = analysed(runs(), tmp_path, "--primary", "fid")
    families = table[table["scope"] == "pooled"].groupby("metric")["family"].first()
    assert dict(families) == {"elbo": "exploratory", "fid": "primary", "mse": "exploratory"}
    assert main(["analyse", str(tmp_path / "sweep.csv"), *CALL, "--seed", "trial",
                 "--primary", "nll"]) == 1  # fmt: skip


def confounded() -> pd.DataFrame:
    rows = product(lr=[0.1, 0.2], trial=range(3))
    return pd.DataFrame(one | {"model": f"m{one['lr']}", "elbo": i, "fid": 1, "mse": 1}
                        for i, one in enumerate(rows))  # fmt: skip


def scattered(runs: int = 20) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    drawn = {
        name: rng.uniform(size=runs).round(9) for name in ("lr", "model", "elbo", "fid", "mse")
    }
    return pd.DataFrame(drawn).assign(trial=0)


def half() -> pd.DataFrame:
    """Every two arms differ in two of three axes."""
    rows = [(0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0)]
    return pd.DataFrame(
        {"lr": a, "model": b, "width": c, "trial": t, "elbo": a + t, "fid": 1, "mse": 1}
        for a, b, c in rows for t in range(2)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (confounded(), "lr is confounded with model"),
        (scattered(), "lr is confounded with model"),
        (scattered(300), "lr has 300 levels; allowed: at most 200"),
        (half(), "No two arms differ in width alone"),
        (runs()[lambda t: (t["lr"] == 0.1) & (t["model"] == "a")], "lr has one level"),
    ],
    ids=["confounded", "random search", "long search", "half of a factorial", "one arm"],
)
def test_a_table_in_which_nothing_can_be_compared_ends_in_a_sentence(
    table: pd.DataFrame, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(table, tmp_path)
    axes = "lr,model,width" if "width" in table else "lr,model"
    assert main(["analyse", str(path), "--axes", axes, *CALL[2:], "--seed", "trial"]) == 1
    error = capsys.readouterr().err
    assert "nothing can be compared" in error or "allowed" in error
    assert words in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.iloc[:-3], "8 of 9 combinations of levels have runs"),
        (lambda t: t.iloc[:-1], "Arms have 2 to 3 seeds"),
        (lambda t: t.assign(mse=[0.0, *[0.1] * 26]), "mse is empty"),
        (lambda t: t.assign(fid=[-1.0, *[0.1] * 26]), "fid is 0 or less in 1 run,"),
        (lambda t: t.assign(trial=range(len(t))), "No seed is in two arms"),
        (lambda t: t.assign(width=t["lr"] * 2), "With lr also width changes"),
        (lambda t: t[t["model"] == "a"], "model has one level"),
        (lambda t: t, "mse is 0.1 in every run"),
        (lambda t: t, "mse has no margin"),
    ],
)
def test_what_limits_the_answers_is_said_and_stands_in_the_report(
    change: Any, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = change(runs())
    if words == "mse is empty":
        table["mse"] = table["mse"].replace(0.0, np.nan)
    analysed(table, tmp_path)
    assert f"Warning: {words}" in capsys.readouterr().out
    for name in ("report.html", "findings.md"):
        text = (tmp_path / "sweep-analysis" / name).read_text(encoding="utf-8")
        assert words in text.replace("\\", "")


def test_metrics_of_a_study_give_the_studys_contrasts(tmp_path: Path) -> None:
    """Estimates, errors and intervals of metrics.csv are those of its contrasts.csv."""
    rng = np.random.default_rng(3)
    rows = [
        row(
            seed=seed, likelihood=likelihood, latent_dim=d, beta=beta,
            kl=beta > 0, metrics={"elbo": 20 * d**0.2 - beta + noise + rng.normal(),
                                  "mse": np.exp(rng.normal() / 9) * (1 + beta),
                                  "rate": 0.01 if beta == 4 else 5 + rng.normal()},
        )
        for noise, seed in zip(rng.normal(size=3), range(3), strict=True)
        for likelihood, d, beta in itertools.product(
            ["gaussian", "discretized_logistic"], [2, 8], [0.0, 0.5, 1.0, 4.0]
        )
    ]  # fmt: skip
    metrics = pd.DataFrame(rows)
    path = tmp_path / "metrics.csv"
    write_csv(metrics, path)
    wanted = contrasts(read_metrics(path), ["elbo", "mse", "rate"], None)
    call = ["--axes", "likelihood,latent_dim,beta,kl", "--metrics", "elbo,mse,rate"]
    assert main(["analyse", str(path), *call]) == 0
    found = pd.read_csv(tmp_path / "metrics-analysis" / "contrasts.csv", dtype={"level": str})
    keys = ["question", "scope", "level", "metric"]
    both = wanted[wanted["scope"] == "pooled"].merge(
        found[found["scope"] == "pooled"], on=keys, suffixes=("", "_found")
    )
    assert set(both["question"]) == {"beta", "latent_dim"}
    assert len(both) == len(wanted[(wanted["scope"] == "pooled")
                                   & wanted["question"].isin(["beta", "latent_dim"])])  # fmt: skip
    for name in ("estimate", "se", "df", "ci_low", "ci_high", "p_adjusted", "settings", "n"):
        np.testing.assert_allclose(both[name].astype(float), both[f"{name}_found"].astype(float))
    assert both["verdict"].tolist() == both["verdict_found"].tolist()
