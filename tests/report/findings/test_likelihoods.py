"""Likelihoods on one scale: counts, and the mass of grey levels."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from planted import found, only, runs
from vae_ablation.report.findings.likelihoods import COUNTS
from vae_ablation.study.metrics import METRICS, Bound, Metric
from vae_ablation.tables.verdicts import rejected

WOBBLE = (-0.1, 0.0, 0.1)


def counts(**elbos: float) -> pd.DataFrame:
    """A β = 1 arm of each likelihood, its ELBO a little apart in each seed."""
    return runs(
        lambda lik, dim, beta, seed: {"elbo": elbos[lik] + WOBBLE[seed] * len(lik) / 10,
                                      "measure": COUNTS},
        (1.0,), tuple(elbos), (10,),
    )  # fmt: skip


def test_the_likelihood_with_the_highest_held_out_elbo_is_named_with_its_lead() -> None:
    finding = only(
        found(metrics=counts(negative_binomial=-650.0, poisson=-900.0,
                             zero_inflated_negative_binomial=-640.0), topic="likelihood/elbo")
    )  # fmt: skip
    assert str(finding.headline) == "The zero-inflated negative binomial fits the counts best"
    assert "the ELBO is −640.0 nats (−640.8 to −639.2)" in str(finding.text)
    assert "The negative binomial is worse by 10.0 nats" in str(finding.text)
    assert "the Poisson is worse by 260.0 nats" in str(finding.text)


def test_likelihoods_that_no_test_tells_apart_are_not_ranked() -> None:
    assert found(metrics=counts(negative_binomial=-650.0, poisson=-650.05)) != []
    assert not found(metrics=counts(negative_binomial=-650.0, poisson=-650.05),
                     topic="likelihood/elbo")  # fmt: skip


def test_a_density_ranks_with_no_mass() -> None:
    metrics = counts(negative_binomial=-650.0, log_normal_gaussian=10.0)
    density = metrics["likelihood"] == "log_normal_gaussian"
    metrics.loc[density, "measure"] = "counts/density given library"
    assert found(metrics=metrics, topic="likelihood/elbo") == []


def levels(lik: str, dim: int, beta: float, seed: int) -> dict[str, Any]:
    """The logistic is a mass; the Gaussian was trained as a density."""
    of_density = lik == "gaussian"
    value = 95.0 + seed if of_density else 87.0 + 1.1 * seed
    return {"nll_levels": value, "levels_measure": "grey17/mass-open", "levels_loose": False,
            "levels_of_density": of_density}  # fmt: skip


def test_image_likelihoods_are_compared_as_masses_of_grey_levels() -> None:
    metrics = runs(levels, likelihoods=("gaussian", "discretized_logistic"))
    finding = only(found(metrics=metrics, topic="likelihood/nll_levels"))
    assert str(finding.headline) == (
        "The discretised logistic gives the grey levels the highest likelihood"
    )
    assert "with the discretised logistic at latent dimension 16 and β = 1" in str(
        finding.text
    ).replace("With", "with")
    assert [str(one) for one in finding.caveats] == [
        "Trained as a density and scored as a mass: the Gaussian."
    ]
    assert "left out" not in str(finding.text)


def test_likelihoods_of_another_measure_are_said_to_be_left_out() -> None:
    metrics = runs(levels, likelihoods=("gaussian", "discretized_logistic", "my_own"))
    metrics.loc[metrics["likelihood"] == "my_own", "levels_measure"] = "grey17/mass-equal"
    finding = only(found(metrics=metrics, topic="likelihood/nll_levels"))
    assert str(finding.headline).endswith(" the highest likelihood of those compared")
    assert str(finding.text).endswith(" Without a comparable value and left out: the my_own.")


def test_a_loose_mass_is_not_ranked(monkeypatch: pytest.MonkeyPatch) -> None:
    bound = Bound("levels_loose", "upper", 0.03, "has few effective samples")
    metric = Metric("nll_levels", "NLL of grey levels", better="lower", bound=bound)
    monkeypatch.setitem(METRICS, "nll_levels", metric)
    metrics = runs(levels, likelihoods=("gaussian", "discretized_logistic"))
    metrics.loc[metrics["likelihood"] == "gaussian", "levels_loose"] = True
    assert found(metrics=metrics, topic="likelihood/nll_levels") == []


def test_holm_rejects_step_by_step() -> None:
    assert rejected({0: 0.01, 1: 0.04, 2: 0.02}) == {0, 1, 2}
    assert rejected({0: 0.02, 1: 0.04, 2: 0.02}) == set()
    assert rejected({}) == set()
