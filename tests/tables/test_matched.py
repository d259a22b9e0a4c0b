"""matched.csv: errors at the same rate, between bounds that convexity alone gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from study_rows import row, written
from vae_ablation.tables.matched import COLUMNS, at_rate, matched

Rows = list[dict[str, Any]]
BETAS = (0.25, 0.5, 1.0, 2.0, 4.0)


def curve(rate: float, factor: float = 1.0) -> float:
    """A convex error that falls with the rate."""
    return factor * (0.01 + np.exp(-rate / 8))


def rows_of(
    factors: dict[str, float], betas: tuple[float, ...] = BETAS, noise: float = 0.002,
    seeds: int = 3, **rates: Any,
) -> Rows:  # fmt: skip
    rng = np.random.default_rng(0)
    rows = []
    for name, factor in factors.items():
        for beta in betas:
            for seed in range(seeds):
                rate = rates.get("rate", lambda beta: 10 / beta)(beta) * (1 + 0.01 * seed)
                mse = curve(rate, factor) * np.exp(noise * rng.normal())
                rows.append(row(metrics={"rate": rate, "mse": mse}, likelihood=name, beta=beta,
                                seed=seed))  # fmt: skip
    return rows


def only(rows: Rows) -> Any:
    table = matched(pd.DataFrame(rows))
    assert len(table) == 1
    return table.iloc[0]


@pytest.mark.parametrize("rate", [3.0, 5.0, 9.9, 17.0])
def test_bounds_hold_the_truth_of_every_convex_curve(rate: float) -> None:
    points = np.array([2.0, 4.0, 8.0, 16.0, 32.0])
    for shape in (lambda r: np.exp(-r / 8), lambda r: 1 / r, lambda r: 40 - r, lambda r: 3 / r**2):
        value, low, high = at_rate(points, shape(points), rate)
        truth = shape(np.array(rate))
        assert low - 1e-12 <= truth <= high + 1e-12
        assert low <= value <= high
    # A power is straight in logarithms, where a chord is a quarter too high.
    value, _, chord = at_rate(points, 1 / points, 5.65685)
    assert value == pytest.approx(1 / 5.65685, rel=1e-3)
    assert chord / value > 1.05


def test_a_clear_difference_is_said_and_its_ratio_is_the_truth() -> None:
    found = only(rows_of({"continuous_bernoulli": 1.5, "gaussian": 1.0}))
    assert (found["level"], found["reference"]) == ("continuous_bernoulli", "gaussian")
    assert found["verdict"] == "worse"
    assert found["ratio"] == pytest.approx(1.5, rel=0.02)
    assert found["bound_low"] <= found["ratio_low"] <= found["ratio_high"] <= found["bound_high"]
    assert found["rate"] == pytest.approx(10.1)


def test_a_wide_bracket_makes_no_winner_and_says_what_would_settle_it() -> None:
    """An advantage of 10 % of a curve with one point near the rate over one with none."""
    dense = rows_of({"continuous_bernoulli": 1.1}, noise=0.0)
    sparse = rows_of({"gaussian": 1.0}, (0.1, 0.8, 4.0), noise=0.0)
    found = only(dense + sparse)
    assert found["verdict"] == "undecided"
    assert found["reason"] == "add β = 1.8 for gaussian"


def test_the_same_curve_is_equivalent() -> None:
    betas = tuple(np.geomspace(0.25, 4, 17).round(4))
    found = only(rows_of({"continuous_bernoulli": 1.0, "gaussian": 1.0}, betas))
    assert found["verdict"] == "equivalent"
    assert found["reason"] == ""


def test_rates_that_never_meet_are_refused_with_what_would_settle_it() -> None:
    rows = rows_of({"gaussian": 1.0}) + rows_of(
        {"continuous_bernoulli": 1.0}, rate=lambda beta: 1000 / beta
    )
    found = only(rows)
    assert found["verdict"] == "refused"
    assert found["reason"] == (
        "rate not bracketed in every seed: add a β above 4 for continuous_bernoulli"
    )
    assert np.isnan(found["ratio"])


def test_a_collapsed_end_is_no_bracket() -> None:
    """β = 4 has no rate left, and β = 2 lies above the common rate."""
    rates = {0.25: 40.0, 0.5: 20.0, 1.0: 10.0, 2.0: 9.0, 4.0: 0.01}
    rows = rows_of({"gaussian": 1.0}, rate=rates.__getitem__)
    rows += rows_of({"continuous_bernoulli": 1.0}, rate=lambda beta: 5 / beta)
    found = only(rows)
    assert found["verdict"] == "refused"
    assert found["reason"].endswith("add a β above 2 for gaussian")


def test_one_seed_has_a_ratio_and_no_verdict() -> None:
    found = only(rows_of({"continuous_bernoulli": 1.5, "gaussian": 1.0}, seeds=1))
    assert found["ratio"] == pytest.approx(1.5, rel=0.02)
    assert found["verdict"] == "undecided"
    assert np.isnan(found["ratio_low"])


def test_nothing_to_match_gives_the_columns(tmp_path: Path) -> None:
    for rows in ([], [row("failed")], rows_of({"gaussian": 1.0})):
        table = matched(written(rows, tmp_path))
        assert list(table.columns) == COLUMNS
        assert table.empty
