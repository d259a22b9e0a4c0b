"""Differences on a scale, and as people read them."""

from __future__ import annotations

import numpy as np

from vae_ablation.tables.scales import effect, transformed


def test_a_share_that_does_not_differ_has_an_effect_of_0() -> None:
    shares = np.linspace(0, 1, 997)
    assert not effect(np.zeros(997), shares, "arcsine").any()


def test_the_effect_of_a_difference_of_shares_is_that_of_the_shares() -> None:
    random = np.random.default_rng(0)
    first, second = random.random((2, 500))
    difference = transformed(first, "arcsine") - transformed(second, "arcsine")
    np.testing.assert_allclose(effect(difference, second, "arcsine"), first - second, atol=1e-14)
