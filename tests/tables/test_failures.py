"""failures.csv: every run that is not ok, once, with its reason."""

from __future__ import annotations

from pathlib import Path

from study_rows import row, written
from vae_ablation.tables.failures import COLUMNS, failures


def test_every_run_that_is_not_ok_is_listed_with_its_reason_in_order(tmp_path: Path) -> None:
    rows = [
        row("failed", seed=1, beta=16.0),
        row("diverged", seed=0, beta=16.0),
        row(metrics={"mse": 1.0}, seed=2, beta=16.0),
        row("diverged", beta=4.0) | {"epochs": 7},
        row("diverged", kl=False),
        row("failed", latent_dim=8, kl=False),
    ]
    table = failures(written(rows, tmp_path))
    assert list(table.columns) == COLUMNS
    assert list(zip(table["latent_dim"], table["arm"], table["seed"], strict=True)) == [
        (2, "kl-off", 0), (2, "beta4", 0), (2, "beta16", 0), (2, "beta16", 1), (8, "kl-off", 0),
    ]  # fmt: skip
    assert list(table["status"]) == ["diverged", "diverged", "diverged", "failed", "failed"]
    assert list(table["reason"]) == [f"it {status}" for status in table["status"]]
    assert table.loc[1, "epochs"] == 7
    assert table["epochs"].isna().sum() == 4


def test_without_failures_there_are_the_columns_and_no_row(tmp_path: Path) -> None:
    table = failures(written([row(metrics={"mse": 1.0})], tmp_path))
    assert list(table.columns) == COLUMNS
    assert table.empty
