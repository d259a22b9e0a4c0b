"""Statistics of pairs against SciPy, statsmodels and formulas written out."""

from __future__ import annotations

from math import gamma, sqrt

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from vae_ablation.tables.paired import hedges_effect, holm, paired_statistics

VALUES = st.lists(st.floats(-100, 100, width=32), min_size=5, max_size=9)


@given(VALUES, st.integers(0, 2**32 - 1))
def test_mean_interval_and_p_are_those_of_scipys_paired_t_test(arm: list[float], seed: int) -> None:
    reference = np.random.default_rng(seed).normal(size=len(arm))
    differences = np.array(arm) - reference
    assume(differences.std() > 1e-3)
    found = paired_statistics(differences[None], np.array([100.0]))
    truth = stats.ttest_rel(arm, reference)
    interval = truth.confidence_interval(0.95)
    assert found["mean_difference"][0] == pytest.approx(np.mean(arm) - np.mean(reference))
    assert found["p"][0] == pytest.approx(truth.pvalue)
    assert (found["ci_low"][0], found["ci_high"][0]) == pytest.approx(tuple(interval))


def test_the_effect_is_the_formula_by_hand() -> None:
    found = paired_statistics(np.array([[1.0, 2.0, 6.0]]), np.array([6.0]))
    # Mean 3, squares 4 + 1 + 9 over 2: variance 7; J(2) = 1 − 3/7.
    assert found["effect"][0] == pytest.approx(3 / sqrt(7) * (1 - 3 / 7))


@pytest.mark.parametrize("n", [3, 5, 10, 30])
def test_the_correction_is_close_to_the_exact_one(n: int) -> None:
    m = n - 1
    exact = gamma(m / 2) / (sqrt(m / 2) * gamma((m - 1) / 2))
    one = np.ones(1)
    assert hedges_effect(one, one, np.array([n]))[0] == pytest.approx(exact, abs=0.008)


def test_below_five_pairs_there_is_no_p_below_three_no_effect_and_below_two_no_interval() -> None:
    rows = np.full((5, 5), np.nan)
    for i in range(5):
        rows[i, : i + 1] = np.arange(i + 1) ** 2 + 1
    found = paired_statistics(rows, np.ones(5))
    assert list(found["n"]) == [1, 2, 3, 4, 5]
    assert list(np.isnan(found["p"])) == [True, True, True, True, False]
    assert list(np.isnan(found["effect"])) == [True, True, False, False, False]
    assert list(np.isnan(found["ci_low"])) == [True, False, False, False, False]
    assert not np.isnan(found["mean_difference"]).any()


def test_differences_that_are_equal_but_for_rounding_have_neither_effect_nor_p() -> None:
    arm = np.array([0.95, 0.85, 0.75, 0.65, 0.35])
    differences = arm - (arm - 0.05)
    assert differences.std() > 0
    found = paired_statistics(differences[None], np.array([0.95]))
    assert np.isnan(found["effect"][0])
    assert np.isnan(found["p"][0])
    assert found["ci_low"][0] == found["ci_high"][0] == pytest.approx(0.05)


def test_a_missing_pair_is_as_one_that_is_not_there() -> None:
    whole = paired_statistics(np.array([[1.0, 4.0, 2.0, 7.0, 3.0]]), np.ones(1))
    gappy = paired_statistics(np.array([[1.0, 4.0, np.nan, 2.0, 7.0, 3.0]]), np.ones(1))
    assert {k: v[0] for k, v in gappy.items()} == pytest.approx({k: v[0] for k, v in whole.items()})


@pytest.mark.parametrize("n", [1, 2, 5, 12])
def test_holm_is_that_of_statsmodels(n: int) -> None:
    p = np.random.default_rng(n).beta(0.3, 2.0, n).round(2)  # Rounded, so that some are equal.
    truth = multipletests(p, method="holm")[1]
    assert list(holm(pd.Series(p))) == pytest.approx(list(truth))


def test_holm_by_hand_and_an_undefined_p_is_not_of_the_family() -> None:
    found = holm(pd.Series([0.04, np.nan, 0.01, 0.03], index=[7, 5, 3, 1]))
    assert list(found.index) == [7, 5, 3, 1]
    assert list(found.dropna()) == pytest.approx([0.06, 0.03, 0.06])
    assert np.isnan(found[5])
