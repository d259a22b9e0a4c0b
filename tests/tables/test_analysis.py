"""Any table of runs: verdicts on planted effects, and bad tables end in a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from study_rows import product
from vae_ablation.cli import main
from vae_ablation.common.errors import UserError
from vae_ablation.study.metrics import Metric
from vae_ablation.tables.analysis import read_metric
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
