"""How many test examples are behind a metric, where they are not the whole split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from study_rows import row, written
from support import resolved
from vae_ablation.tables.examples import parts_of_test


@pytest.mark.parametrize(
    ("whole", "wanted", "found"),
    [
        (359, 1000, {"encoder_gap": 64}),
        (3000, 1000, {"nll": 1000, "encoder_gap": 64, "sample_coverage": 2000}),
        (50, 40, {"nll": 40, "encoder_gap": 40}),
        (50, 1000, {}),
    ],
)
def test_a_part_of_the_test_split_is_the_least_of_all_limits(
    whole: int, wanted: int, found: dict[str, int], tmp_path: Path
) -> None:
    values = {"nll": 1.0, "encoder_gap": 0.5, "mse": 0.1, "sample_coverage": 0.4}
    rows = [row("failed"), row(metrics=values, seed=1)]
    run = tmp_path / "runs" / rows[1]["run"]
    run.mkdir(parents=True)
    np.savez(run / "examples.npz", distortion=np.zeros(whole, np.float32))
    config = resolved(evaluation={"nll_examples": wanted})
    table = parts_of_test(written(rows, tmp_path), config, tmp_path)
    assert dict(zip(table["metric"], table["examples"], strict=True)) == found
    assert set(table["test"]) <= {whole}


def test_without_values_of_examples_nothing_is_said(tmp_path: Path) -> None:
    rows = [row(metrics={"nll": 1.0})]
    assert parts_of_test(written(rows, tmp_path), resolved(), tmp_path).empty
