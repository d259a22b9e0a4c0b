"""pareto.csv against the definition, and what is never ranked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from study_rows import row
from vae_ablation.tables.pareto import COLUMNS, dominated, pareto

COORDINATE = st.integers(-4, 4) | st.floats(-10, 10)


def beats(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return a[0] <= b[0] and a[1] <= b[1] and a != b


@given(st.lists(st.tuples(COORDINATE, COORDINATE), min_size=1, max_size=25))
def test_dominated_is_what_the_definition_says(points: list[tuple[float, float]]) -> None:
    truth = [any(beats(other, point) for other in points) for point in points]
    x, y = np.array(points, dtype=float).T
    assert list(dominated(x, y)) == truth


def front(rows: list[dict[str, Any]], name: str) -> list[str]:
    table = pareto(pd.DataFrame(rows))
    return list(table.loc[table["front"] == name, "arm"])


def arm(beta: float, rate: float, distortion: float, **axes: Any) -> dict[str, Any]:
    return row(metrics={"rate": rate, "distortion": distortion}, beta=beta, **axes)


def scored(beta: float, nll: float, accuracy: float, loose: bool = False, **axes: Any) -> Any:
    metrics = {"nll": nll, "probe_accuracy": accuracy, "nll_loose": loose}
    return row(metrics=metrics, beta=beta, **axes)


def test_arms_stand_for_their_means_over_ok_seeds() -> None:
    rows = [
        arm(1, 1.0, 5.0, seed=0), arm(1, 3.0, 7.0, seed=1),
        arm(2, 2.5, 5.0, seed=0),
        arm(4, 2.1, 6.1, seed=0),
        row("diverged", beta=4, seed=1),
    ]  # fmt: skip
    table = pareto(pd.DataFrame(rows))
    assert list(table["arm"]) == ["beta1", "beta2"]
    first = table.iloc[0]
    assert (first["n"], first["x"], first["y"]) == (2, 2.0, 6.0)
    assert (first["x_metric"], first["y_metric"]) == ("rate", "distortion")
    assert first["measure"] == "grey/density"


def test_accuracy_is_better_the_higher() -> None:
    rows = [scored(1, 10.0, 0.9), scored(2, 9.0, 0.8), scored(4, 11.0, 0.85)]
    assert front(rows, "nll_probe_accuracy") == ["beta2", "beta1"]


def test_likelihoods_of_one_measure_share_a_front_and_measures_do_not() -> None:
    rows = [
        arm(1, 2.0, 5.0, likelihood="gaussian"),
        arm(1, 1.0, 4.0, likelihood="continuous_bernoulli"),
        arm(1, 0.1, 0.1, likelihood="bernoulli"),
        arm(1, 3.0, 9.0, likelihood="discretized_logistic"),
        arm(1, 3.0, 9.0, likelihood="gaussian", dataset="other"),
    ]
    table = pareto(pd.DataFrame(rows))
    assert set(zip(table["dataset"], table["likelihood"], strict=True)) == {
        ("digits", "continuous_bernoulli"), ("digits", "bernoulli"),
        ("digits", "discretized_logistic"), ("other", "gaussian"),
    }  # fmt: skip


def test_arms_with_a_loose_bound_are_left_out() -> None:
    rows = [scored(1, 1.0, 0.9, seed=0), scored(1, 1.0, 0.9, True, seed=1), scored(4, 5.0, 0.5)]
    # the first seed alone would win, and the mean with its bound beats the other arm already
    assert front(rows, "nll_probe_accuracy") == []


def test_an_arm_that_a_loose_bound_does_not_beat_stays() -> None:
    rows = [scored(1, 4.0, 0.5, True), scored(2, 5.0, 0.9), scored(4, 5.0, 0.4)]
    assert front(rows, "nll_probe_accuracy") == ["beta2"]


def test_without_a_kl_term_there_is_no_place_on_the_rate_axis() -> None:
    off = row(metrics={"rate": 90.0, "distortion": 1.0, "nll": 1.0, "probe_accuracy": 1.0,
                       "nll_loose": False}, kl=False)  # fmt: skip
    table = pareto(pd.DataFrame([arm(1, 2.0, 5.0), off]))
    assert list(zip(table["front"], table["arm"], strict=True)) == [
        ("nll_probe_accuracy", "kl-off"), ("rate_distortion", "beta1"),
    ]  # fmt: skip


@pytest.mark.parametrize("rows", [[row("failed")], [row(metrics={"rate": 1.0})]])
def test_no_arm_gives_the_columns_and_no_row(rows: list[dict[str, Any]]) -> None:
    table = pareto(pd.DataFrame(rows))
    assert list(table.columns) == COLUMNS
    assert table.empty


def test_the_front_does_not_depend_on_the_order_of_the_rows() -> None:
    rng = np.random.default_rng(0)
    rows = [arm(b, *rng.normal(size=2), seed=s) for b in range(1, 30) for s in range(3)]
    frame = pd.DataFrame(rows)
    pd.testing.assert_frame_equal(pareto(frame.sample(frac=1, random_state=0)), pareto(frame))
