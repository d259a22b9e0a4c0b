"""Removing the KL term, the bend of the trade-off, and collapse, from tables with planted truth."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from planted import contrast, found, only, runs

WORSE = contrast("beta", "16", "nll", (20.1, 18.0, 22.2), "worse")
SAMPLES = contrast("kl_off", "off", "sample_fid", (3.52, 3.07, 4.06), "worse")


def expost(effect: tuple[float, float, float], verdict: str) -> dict[str, Any]:
    return contrast("kl_off", "off", "sample_fid_expost", effect, verdict, family="exploratory")


def scales(lik: str, dim: int, beta: float, seed: int) -> dict[str, Any]:
    off = beta == 0
    return {"rate": (60.0 if off else 8.0) + seed + dim, "code_rms": 10.0 if off else 1.0,
            "elbo": (-90.0 if off else -20.0) + seed * (2 if off else 1)}  # fmt: skip


STD = contrast("kl_off", "off", "posterior_std", (0.0131, 0.0121, 0.0142), "lower",
               family="exploratory")  # fmt: skip


def test_posteriors_shrink_and_the_rate_rises_in_every_setting() -> None:
    arms = {"arm": "kl-off", "reference_arm": "beta1", "likelihood": "gaussian"}
    settings = [
        contrast("kl_off", "off", "posterior_std", (0.01, 0.009, 0.011), "lower", scope="setting",
                 latent_dim=dim, **arms)
        for dim in (2, 16)
    ]  # fmt: skip
    finding = only(found([SAMPLES, STD, *settings], runs(scales), "kl_off/posterior_std"))
    text = str(finding.text)
    assert "is 1.31 % as large (1.21 % to 1.42 %), compared with β = 1" in text
    assert "The rate rises by 52.0 nats (the same in every seed)" in text
    assert "the ELBO falls by 69 nats (67 to 71)" in text
    assert "(here up to 80 epochs)" in text
    assert "in prior standard deviations, is then 10 with the Gaussian" in text


def test_a_marginal_kl_that_is_only_a_bound_is_left_out() -> None:
    metrics = runs(lambda *run: {**scales(*run), "marginal_kl": 9.0, "mi_saturated": True})
    assert "marginal KL" not in str(only(found([SAMPLES, STD], metrics, STD_TOPIC)).text)


STD_TOPIC = "kl_off/posterior_std"


def test_samples_are_worse_but_not_in_every_setting() -> None:
    settings = [
        contrast("kl_off", "off", "sample_fid", (size, 0.9 * size, 1.1 * size), verdict,
                 scope="setting", latent_dim=dim, likelihood="gaussian")
        for dim, size, verdict in ((2, 1.05, "undecided"), (16, 7.0, "worse"))
    ]  # fmt: skip
    pooled = SAMPLES | {"heterogeneity_p": 1e-4}
    finding = only(found([pooled, *settings], topic="kl_off/sample_fid"))
    assert str(finding.headline) == (
        "Without the KL term samples from the prior are worse on average"
    )
    assert str(finding.text).endswith(
        ", with factors from 1.05 to 7.0 in single settings. In single settings, by their own "
        "intervals, the sample Fréchet distance is undecided at latent dimension 2."
    )
    alike = only(found([SAMPLES, *settings], topic="kl_off/sample_fid"))
    assert str(alike.headline) == "Without the KL term samples from the prior are worse"
    assert "single settings" not in str(alike.text)


def test_samples_that_are_not_worse_in_every_setting_are_worse_on_average() -> None:
    same = contrast("kl_off", "off", "sample_fid", (0.9, 0.8, 1.1), "undecided", scope="setting",
                    latent_dim=2, likelihood="gaussian")  # fmt: skip
    worse = contrast("kl_off", "off", "sample_fid", (3.0, 2.0, 4.0), "worse", scope="setting",
                     latent_dim=16, likelihood="gaussian")  # fmt: skip
    rows = [SAMPLES | {"heterogeneity_p": 0.001}, same, worse]
    assert str(only(found(rows, topic="kl_off/sample_fid")).headline) == (
        "Without the KL term samples from the prior are worse on average"
    )


def test_ex_post_is_set_against_ex_post() -> None:
    finding = only(found([SAMPLES, expost((0.91, 0.77, 1.07), "undecided")],
                         topic="kl_off/sample_fid_expost"))  # fmt: skip
    assert str(finding.headline) == (
        "The prior rather than the decoder accounts for the worse samples"
    )
    assert "is 0.91 (0.77 to 1.07) times that at β = 1" in str(finding.text)


@pytest.mark.parametrize(
    ("effect", "verdict", "headline"),
    [
        ((2.9, 2.0, 4.2), "worse", "Without the KL term the decoder itself generates worse"),
        ((1.9, 0.9, 3.5), "undecided", ""),
    ],
)
def test_the_prior_is_at_fault_only_where_the_intervals_tell_them_apart(
    effect: tuple[float, float, float], verdict: str, headline: str
) -> None:
    result = found([SAMPLES, expost(effect, verdict)], topic="kl_off/sample_fid_expost")
    assert [str(one.headline)[: len(headline)] for one in result] == [headline] * bool(headline)


def test_what_little_beta_shares_with_no_kl_term() -> None:
    rows = [
        WORSE,
        contrast("least_beta", "off", "sample_fid", (1.2, 1.1, 1.3), "worse", "0.01"),
        contrast("least_beta", "off", "mse", (1.01, 0.99, 1.03), "equivalent", "0.01",
                 family="exploratory", margin=0.05),
    ]  # fmt: skip
    finding = only(found(rows, topic="least_beta/mse"))
    assert str(finding.headline) == "β = 0.01 is equivalent to no KL term in the MSE"
    assert "the sample Fréchet distance is 1.20 times as large (1.10 to 1.30)" in str(finding.text)


def test_the_trade_off_bends_where_gains_start_to_cost_samples() -> None:
    rows = [
        contrast("beta", "0.1", "mse", (0.81, 0.79, 0.82), "better"),
        contrast("beta", "0.5", "mse", (0.89, 0.87, 0.92), "better"),
        contrast("beta", "0.1", "sample_fid", (2.0, 1.8, 2.2), "worse"),
        contrast("beta", "0.5", "sample_fid", (1.05, 1.0, 1.1), "equivalent", margin=0.1823),
    ]
    metrics = runs(lambda *run: {"mse": 0.1, "rate": 3.0})
    finding = only(found(rows, metrics, "beta/trade_off"))
    assert str(finding.headline) == (
        "The trade-off of reconstruction and samples bends between β = 0.1 and 0.5"
    )
    rows[3] |= {"verdict": "undecided"}
    assert found(rows, metrics, "beta/trade_off") == []


def units(lik: str, dim: int, beta: float, seed: int) -> dict[str, Any]:
    return {"active_units": {0.1: 9, 1.0: 5 + seed, 16.0: 0}.get(beta), "rate": 1.0}


def test_collapse_names_the_levels_at_which_no_unit_is_active() -> None:
    finding = only(found([WORSE], runs(units), "collapse"))
    assert str(finding.headline) == "Every model has collapsed at β = 16"
    assert str(finding.text) == (
        "No unit is active in any of the 6 runs at β = 16. At β = 1 the number of active units of "
        "a run is 5 to 7 at latent dimension 2 and 5 to 7 at 16."
    )


def test_one_active_unit_in_one_seed_is_no_collapse() -> None:
    def values(lik: str, dim: int, beta: float, seed: int) -> dict[str, Any]:
        return {"active_units": int(seed == 2) if beta == 16 else 3, "rate": 1.0}

    assert found([WORSE], runs(values), "collapse") == []


def test_collapse_is_claimed_only_where_beta_has_an_effect() -> None:
    row = WORSE | {"p_adjusted": 0.2, "verdict": "undecided"}
    assert found([row], runs(units), "collapse") == []
    assert found([], runs(units), "collapse") == []


def test_tables_without_contrasts_have_no_claims() -> None:
    metrics: pd.DataFrame = runs(units)
    assert not any(one.claims for one in found([], metrics))


def learned(lik: str, dim: int, beta: float, seed: int) -> dict[str, Any]:
    return {"decoder_scale": 0.1 + 0.01 * beta if lik == "gaussian" else 0.3}


def test_a_learned_scale_that_moves_with_beta_is_told_and_claims_nothing() -> None:
    metrics = runs(learned, likelihoods=("gaussian", "discretized_logistic"))
    finding = only(found([WORSE], metrics, "beta/decoder_scale"))
    assert (
        "ranges with the Gaussian from 0.101 at latent dimension 2 and β = 0.1 to 0.260 at "
        "latent dimension 2 and β = 16" in str(finding.text)
    )
    assert "logistic" not in str(finding.text)
    assert finding.verdict == ""


def test_a_scale_that_stays_is_not_told() -> None:
    metrics = runs(learned, likelihoods=("discretized_logistic",))
    assert found([WORSE], metrics, "beta/decoder_scale") == []
