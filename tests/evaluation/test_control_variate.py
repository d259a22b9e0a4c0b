"""The regression estimator against means of whole splits."""

from __future__ import annotations

import numpy as np
import pytest

from vae_ablation.data.examples import stratified
from vae_ablation.evaluation.control_variate import extrapolated


def test_all_examples_are_left_as_they_are() -> None:
    values = np.random.default_rng(0).normal(size=30)
    found = extrapolated(values, np.arange(30), values + 1)
    np.testing.assert_array_equal(found.values, values)
    assert found.error == 0


def test_the_mean_is_that_of_all_where_a_line_explains_the_values() -> None:
    known = np.random.default_rng(1).gamma(2.0, size=500)
    values, places = 3 - 0.7 * known, np.arange(0, 500, 11)
    found = extrapolated(values[places], places, known)
    assert np.nanmean(found.values) == pytest.approx(values.mean(), abs=1e-12)
    assert found.error == pytest.approx(0, abs=1e-12)
    assert np.isnan(found.values).sum() == 500 - len(places)


def test_the_standard_error_is_that_of_repeated_samples() -> None:
    rng = np.random.default_rng(2)
    known = rng.normal(size=2000)
    values = known + 0.3 * rng.normal(size=2000)
    errors, told = [], []
    for _ in range(300):
        places = np.sort(rng.choice(2000, 100, replace=False))
        found = extrapolated(values[places], places, known)
        errors.append(np.nanmean(found.values) - values.mean())
        told.append(found.error)
    assert np.std(errors) == pytest.approx(np.mean(told), rel=0.15)
    assert np.mean(told) == pytest.approx(0.3 / 10 * np.sqrt(0.95), rel=0.05)


@pytest.mark.parametrize("known", [np.ones(40), np.full(40, np.inf)])
def test_a_control_that_says_nothing_leaves_the_plain_mean(known: np.ndarray) -> None:
    places, values = np.arange(0, 40, 4), np.arange(10.0)
    assert np.nanmean(extrapolated(values, places, known).values) == 4.5


def test_a_stratified_choice_has_the_labels_in_proportion_and_is_always_the_same() -> None:
    labels = np.random.default_rng(3).choice(4, 1000, p=[0.1, 0.2, 0.3, 0.4])
    chosen = stratified(labels, 100)
    assert len(chosen) == 100
    assert (np.diff(chosen) > 0).all()
    share = np.bincount(labels[chosen]) / 100
    np.testing.assert_allclose(share, np.bincount(labels) / 1000, atol=0.011)
    np.testing.assert_array_equal(chosen, stratified(labels, 100))
    np.testing.assert_array_equal(stratified(labels[:50], 100), np.arange(50))
