"""Findings from tables with a planted truth: what is there is found, what is open is said so."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_ablation.report.findings import Finding, findings
from vae_ablation.report.findings import words as findings_words
from vae_ablation.report.findings.evidence import Estimate
from vae_ablation.tables.collect import mean_interval

Values = Callable[[str, int, str, int], dict[str, Any]]
"""Metrics of a run from its likelihood, latent dimension, arm and seed."""

COLUMNS = ["dataset", "likelihood", "latent_dim", "arm", "beta", "kl", "posterior", "model"]


def arm_axes(arm: str) -> dict[str, Any]:
    beta = float(arm.removeprefix("beta")) if arm.startswith("beta") else 0.0
    posterior = "point" if arm == "point" else "gaussian"
    return {"arm": arm, "beta": beta, "kl": beta > 0, "posterior": posterior}


def make_metrics(
    values: Values,
    arms: list[str],
    likelihoods: tuple[str, ...] = ("gaussian",),
    dims: tuple[int, ...] = (2, 16),
    seeds: int = 3,
    dataset: str = "d",
) -> pd.DataFrame:
    rows = [
        {"model": "vae", "dataset": dataset, "likelihood": likelihood, "latent_dim": dim,
         "seed": seed, "status": "ok", "reason": None, "measure": "grey/density", "proper": True,
         "limits": None, "epochs": 80, **arm_axes(arm), **values(likelihood, dim, arm, seed),
         "run": f"{dataset}/{likelihood}/z{dim}/{arm}/seed{seed}"}
        for likelihood in likelihoods for dim in dims for arm in arms for seed in range(seeds)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def make_summary(metrics: pd.DataFrame) -> pd.DataFrame:
    """summary.csv, written down once more without the code under test's tables."""
    skipped = {*COLUMNS, "seed", "epochs", "proper", "nll_loose", "mi_saturated"}
    names = [c for c in metrics.select_dtypes("number") if c not in skipped]
    rows = []
    for key, group in metrics[metrics["status"] == "ok"].groupby(COLUMNS, dropna=False):
        for name in names:
            n, mean, low, high = mean_interval(group[name])
            if n:
                rows.append(dict(zip(COLUMNS, key, strict=True))
                            | {"metric": name, "n": n, "mean": mean, "ci_low": low,
                               "ci_high": high})  # fmt: skip
    return pd.DataFrame(rows, columns=[*COLUMNS, "metric", "n", "mean", "ci_low", "ci_high"])


def contrast(
    kind: str, metric: str, difference: tuple[float, float | None, float | None], dim: int = 16,
    arm: str = "kl-off", reference: tuple[int, str] = (16, "beta1"), n: int = 3,
    likelihood: str = "gaussian", dataset: str = "d",
) -> dict[str, Any]:  # fmt: skip
    mean, low, high = difference
    return {
        "dataset": dataset, "likelihood": likelihood, "contrast": kind, "latent_dim": dim,
        "arm": arm, "reference_latent_dim": reference[0], "reference_arm": reference[1],
        "metric": metric, "primary": True, "n": n, "lost": 0, "mean_difference": mean,
        "ci_low": low, "ci_high": high, "p": 0.012345, "p_holm": 0.02469,
    }  # fmt: skip


def found(
    metrics: pd.DataFrame,
    contrasts: list[dict[str, Any]] | None = None,
    importance: list[dict[str, Any]] | None = None,
    kind: str | None = None,
) -> list[Finding]:
    result = findings(
        metrics,
        make_summary(metrics),
        None if contrasts is None else pd.DataFrame(contrasts),
        None if importance is None else pd.DataFrame(importance),
        {"evaluation": {"nll_samples": 256}, "statistics": {"primary_metrics": ["nll", "rate"]}},
    )
    assert_numbers_are_evidence(result)
    return [finding for finding in result if kind in (None, finding.kind)]


def only(result: list[Finding]) -> Finding:
    assert len(result) == 1, [finding.headline for finding in result]
    return result[0]


NUMBER = re.compile(r"(?<![\w.])−?\d+(?:\.\d+)?(?:e−?\d+)?(?![\w])")


def leaves(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [leaf for part in value.values() for leaf in leaves(part)]
    if isinstance(value, list):
        return [leaf for part in value for leaf in leaves(part)]
    if isinstance(value, str):
        # Arms and limits carry numbers in their names.
        return [float(text) for text in re.findall(r"\d+(?:\.\d+)?", value)]
    return [] if value is None or isinstance(value, bool) else [float(value)]


def assert_numbers_are_evidence(result: list[Finding]) -> None:
    """Every number of a sentence that is no count of rows is one of its evidence, rounded."""
    for finding in result:
        known = leaves(finding.evidence)
        assert all(math.isfinite(leaf) for leaf in known)
        known += [-leaf for leaf in known]
        known += range(len(finding.evidence.get("rows", [])) + 1)
        sentence = finding.sentence.replace("95 % interval", "interval")
        for text in NUMBER.findall(sentence):
            value = float(text.replace("−", "-"))
            mantissa, _, power = text.replace("−", "-").partition("e")
            digits = len(mantissa.partition(".")[2])
            unit = 10.0 ** (int(power or 0) - digits)
            near = any(abs(value - leaf) <= 0.5001 * unit for leaf in known)
            assert near, f"{text} of {finding.kind} is in no table: {sentence}"


def noise(seed: int) -> float:
    """A spread over seeds of mean 0."""
    return (-1.0, 0.0, 1.0, -0.5, 0.5)[seed]


BETAS = ["beta0.1", "beta1", "beta4", "beta16"]


def units(per_arm: dict[str, tuple[int, int, int]]) -> Values:
    return lambda lik, dim, arm, seed: {"active_units": per_arm[arm][seed]}


# --- collapse ---------------------------------------------------------------------------------


def test_collapse_is_found_at_the_planted_beta_with_its_bracket_and_units() -> None:
    table = {"beta0.1": (16, 16, 16), "beta1": (12, 13, 14), "beta4": (0, 0, 0),
             "beta16": (0, 0, 0)}  # fmt: skip
    finding = only(found(make_metrics(units(table), BETAS, dims=(16,)), kind="collapse"))
    assert finding.headline == "The posterior has collapsed at β = 4"
    assert "at β = 4 and above, but some are at β = 1, at latent dimension 16" in finding.sentence
    assert "Gaussian 13.0 (95 % interval 10.5 to 15.5, n = 3; units begin" in finding.sentence
    assert finding.conclusive
    assert (finding.figure, finding.likelihood) == ("collapse_map", "gaussian")


def test_no_collapse_in_the_range_studied_is_said() -> None:
    table = dict.fromkeys(BETAS, (3, 3, 2))
    finding = only(found(make_metrics(units(table), BETAS, dims=(16,)), kind="collapse"))
    assert finding.headline == "No collapse up to β = 16"
    assert "no arm collapses up to β = 16 at latent dimension 16" in finding.sentence


def test_units_that_come_back_at_a_larger_beta_are_no_collapse_before_it() -> None:
    table = {"beta0.1": (16,) * 3, "beta1": (0,) * 3, "beta4": (1,) * 3, "beta16": (0,) * 3}
    finding = only(found(make_metrics(units(table), BETAS, dims=(16,)), kind="collapse"))
    assert finding.headline == "The posterior has collapsed at β = 16"


def test_seeds_that_disagree_about_collapse_are_named_and_not_conclusive() -> None:
    table = {"beta0.1": (16,) * 3, "beta1": (9,) * 3, "beta4": (0, 2, 0), "beta16": (0,) * 3}
    finding = only(found(make_metrics(units(table), BETAS, dims=(16,)), kind="collapse"))
    assert not finding.conclusive
    assert "Seeds disagree" in finding.sentence
    assert "the Gaussian with β = 4 at latent dimension 16" in finding.sentence


def test_likelihoods_that_collapse_at_the_same_beta_share_a_finding() -> None:
    def values(lik: str, dim: int, arm: str, seed: int) -> dict[str, Any]:
        gone = {"a": 16, "b": 16, "c": 4}[lik]
        return {"active_units": 0 if arm_axes(arm)["beta"] >= gone else dim}

    result = found(make_metrics(values, BETAS, ("a", "b", "c")), kind="collapse")
    assert [finding.headline for finding in result] == [
        "A and b: the posterior has collapsed at β = 16",
        "C: the posterior has collapsed at β = 4",
    ]


def test_one_beta_that_has_collapsed_is_no_range() -> None:
    metrics = make_metrics(units({"beta1": (0, 0, 0)}), ["beta1"], dims=(2,))
    finding = only(found(metrics, kind="collapse"))
    assert "no unit is active in any seed at β = 1 (the smallest studied)" in finding.sentence


# --- best arm ---------------------------------------------------------------------------------


def scores(validation: dict[str, float], spread: float, test: dict[str, float]) -> Values:
    def values(lik: str, dim: int, arm: str, seed: int) -> dict[str, Any]:
        # Seeds share a large part, as paired runs do; `spread` is what the arms differ by.
        own = spread * noise(seed) * (1 if arm == "beta1" else -1)
        return {
            "validation_elbo": validation[arm] + 10 * noise(seed) + own,
            "elbo": test[arm] + noise(seed), "nll": -test[arm] - 5 + noise(seed),
            "nll_loose": arm == "beta1" and seed == 0,
        }  # fmt: skip

    return values


def test_the_best_arm_is_chosen_on_validation_and_reported_on_test() -> None:
    test = {"beta0.1": 99.0, "beta1": 50.0, "beta4": 40.0}
    values = scores({"beta0.1": 60.0, "beta1": 70.0, "beta4": 30.0}, 0.1, test)
    finding = only(found(make_metrics(values, list(test), dims=(8,)), kind="best_arm"))
    assert finding.headline == "Gaussian: β = 1 at latent dimension 8 has the best validation ELBO"
    assert "an NLL of at most −55.0 nats" in finding.sentence
    assert "a loose bound in 1 of 3 runs" in finding.sentence
    assert "an ELBO of 50.0 nats (95 % interval 47.5 to 52.5, n = 3)" in finding.sentence
    assert finding.conclusive
    assert "density over intensities" in finding.sentence
    assert "outside the grid" not in finding.sentence


def test_pairing_by_seed_separates_arms_whose_own_intervals_overlap() -> None:
    test = {"beta0.1": 0.0, "beta1": 0.0, "beta4": 0.0}
    values = scores({"beta0.1": 68.0, "beta1": 70.0, "beta4": 30.0}, 0.1, test)
    finding = only(found(make_metrics(values, list(test), dims=(8,)), kind="best_arm"))
    assert finding.conclusive


def test_an_arm_whose_paired_interval_includes_zero_is_within_noise() -> None:
    test = {"beta0.1": 0.0, "beta1": 0.0, "beta4": 0.0}
    values = scores({"beta0.1": 69.0, "beta1": 70.0, "beta4": 30.0}, 2.0, test)
    finding = only(found(make_metrics(values, list(test), dims=(8,)), kind="best_arm"))
    assert not finding.conclusive
    assert finding.headline.endswith("has the best validation ELBO; 1 other arm is within noise")
    assert "β = 0.1 at latent dimension 8, lower by 1.0 nats" in finding.sentence
    assert "β = 4" not in finding.sentence


def test_a_best_arm_at_the_end_of_the_grid_may_not_be_the_best() -> None:
    test = {"beta0.1": 0.0, "beta1": 0.0}
    values = scores({"beta0.1": 50.0, "beta1": 70.0}, 0.1, test)
    finding = only(found(make_metrics(values, list(test), dims=(8,)), kind="best_arm"))
    assert (
        "This is the largest β studied, so the optimum may lie outside the grid."
        in finding.sentence
    )


def test_one_seed_has_no_interval_and_decides_nothing() -> None:
    test = {"beta0.1": 0.0, "beta1": 0.0, "beta4": 0.0}
    values = scores({"beta0.1": 60.0, "beta1": 70.0, "beta4": 30.0}, 0.1, test)
    metrics = make_metrics(values, list(test), dims=(8,), seeds=1)
    finding = only(found(metrics, kind="best_arm"))
    assert "one seed, no interval" in finding.sentence
    assert "95 %" not in finding.sentence
    assert not finding.conclusive


def test_without_a_validation_elbo_no_arm_is_best() -> None:
    metrics = make_metrics(lambda *_: {"elbo": 1.0, "validation_objective": 3.0}, BETAS)
    assert found(metrics, kind="best_arm") == []


def test_a_cross_entropy_is_said_to_be_no_likelihood() -> None:
    test = {"beta0.1": 0.0, "beta1": 0.0}
    values = scores({"beta0.1": 50.0, "beta1": 70.0}, 0.1, test)
    metrics = make_metrics(values, list(test)).assign(proper=False)
    assert "a cross-entropy, not a likelihood" in only(found(metrics, kind="best_arm")).sentence


# --- KL off -----------------------------------------------------------------------------------


def holes(off: float, on: float) -> Values:
    return lambda lik, dim, arm, seed: {
        "hole_rate": (off if arm == "kl-off" else on) + 0.01 * noise(seed)
    }


def test_planted_holes_are_reported_with_values_difference_and_interval() -> None:
    metrics = make_metrics(holes(0.75, 0.05), ["kl-off", "beta1"], dims=(16,))
    rows = [contrast("kl_off", "hole_rate", (0.7, 0.6, 0.8))]
    finding = only(found(metrics, rows, kind="kl_off_holes"))
    assert finding.headline == "Without the KL term more of the prior lies in holes"
    assert "raises the hole rate: 0.700 (95 % interval 0.600 to 0.800, n = 3" in finding.sentence
    assert "0.750 compared with 0.0500" in finding.sentence
    assert finding.conclusive


def test_an_interval_that_includes_zero_leaves_holes_undecided() -> None:
    metrics = make_metrics(holes(0.06, 0.05), ["kl-off", "beta1"], dims=(16,))
    rows = [contrast("kl_off", "hole_rate", (0.01, -0.02, 0.04))]
    finding = only(found(metrics, rows, kind="kl_off_holes"))
    assert finding.headline.startswith("Inconclusive")
    assert "has no significant effect on the hole rate" in finding.sentence
    assert not finding.conclusive


def test_comparisons_are_counted_by_what_they_say() -> None:
    metrics = make_metrics(holes(0.5, 0.05), ["kl-off", "beta1"], dims=(2, 4, 8, 16))
    ends = {2: (0.45, 0.4, 0.5), 4: (0.45, 0.3, 0.6), 8: (0.1, -0.1, 0.3), 16: (-0.2, -0.3, -0.1)}
    rows = [
        contrast("kl_off", "hole_rate", difference, dim=dim, reference=(dim, "beta1"))
        for dim, difference in ends.items()
    ]
    finding = only(found(metrics, rows, kind="kl_off_holes"))
    assert (
        "raises the hole rate in 2 of 4 comparisons, lowers it in 1 and has no significant effect "
        "on it in 1" in finding.sentence
    )
    assert "but the opposite in 1" in finding.headline
    assert not finding.conclusive


def test_without_contrasts_there_is_no_finding_about_holes() -> None:
    metrics = make_metrics(holes(0.75, 0.05), ["kl-off", "beta1"])
    assert found(metrics, kind="kl_off_holes") == []


def test_the_scale_of_codes_comes_with_epochs_and_no_effect_size() -> None:
    def values(lik: str, dim: int, arm: str, seed: int) -> dict[str, Any]:
        return {"code_rms": (30.0 if arm == "kl-off" else 1.0) + 0.1 * noise(seed)}

    finding = only(found(make_metrics(values, ["kl-off", "beta1"]), kind="kl_off_codes"))
    assert finding.headline == "Without the KL term codes spread out"
    assert "here 80 epochs" in finding.sentence
    assert "not an effect size" in finding.sentence
    assert finding.conclusive


def test_codes_whose_paired_interval_includes_zero_do_not_spread() -> None:
    def values(lik: str, dim: int, arm: str, seed: int) -> dict[str, Any]:
        return {"code_rms": 1.1 + 0.3 * noise(seed) if arm == "kl-off" else 1.0}

    finding = only(found(make_metrics(values, ["kl-off", "beta1"]), kind="kl_off_codes"))
    assert finding.headline.startswith("Inconclusive")


def fids(off: float, expost: float, on: float) -> Values:
    def values(lik: str, dim: int, arm: str, seed: int) -> dict[str, Any]:
        jitter = 0.1 * noise(seed)
        if arm == "kl-off":
            return {"sample_fid": off + jitter, "sample_fid_expost": expost + 0.5 * jitter,
                    "sample_fid_floor": 2.0}  # fmt: skip
        return {"sample_fid": on - jitter, "sample_fid_expost": on, "sample_fid_floor": 2.0}

    return values


@pytest.mark.parametrize(
    ("expost", "verdict"),
    [(9.95, "the prior does not match the codes, and there is no evidence of a worse decoder"),
     (79.0, "the decoder itself produces worse samples")],
)  # fmt: skip
def test_samples_tell_the_prior_from_the_decoder(expost: float, verdict: str) -> None:
    metrics = make_metrics(fids(80.0, expost, 10.0), ["kl-off", "beta1"], dims=(16,))
    rows = [contrast("kl_off", "sample_fid", (70.0, 69.0, 71.0))]
    finding = only(found(metrics, rows, kind="kl_off_samples"))
    assert finding.headline == "Without the KL term samples are worse"
    assert verdict in finding.sentence
    assert f"{expost:.3g} compared with 80" in finding.sentence
    assert "The distance between held-out and training data is 2." in finding.sentence


def test_a_deterministic_arm_is_judged_metric_by_metric() -> None:
    def values(lik: str, dim: int, arm: str, seed: int) -> dict[str, Any]:
        return {"mse": 0.01 if arm == "point" else 0.02, "probe_accuracy": 0.9}

    metrics = make_metrics(values, ["point", "beta1"], dims=(16,))
    rows = [
        contrast("point", "mse", (-0.01, -0.012, -0.008), arm="point"),
        contrast("point", "probe_accuracy", (0.0, -0.01, 0.01), arm="point"),
    ]
    finding = only(found(metrics, rows, kind="point"))
    assert finding.headline == (
        "Deterministic compared with variational: MSE better and probe accuracy inconclusive"
    )


# --- latent dimension -------------------------------------------------------------------------


def latent(metric: str, gaps: dict[int, tuple[float, float, float]]) -> list[dict[str, Any]]:
    return [contrast("latent_dim", metric, gap, dim=dim, arm="beta1") for dim, gap in gaps.items()]


FLAT = make_metrics(lambda *_: {"active_units": 6, "elbo": 1.0}, ["beta1"], dims=(2, 8, 16))


def test_the_latent_dimension_that_stops_paying_is_the_first_without_a_gain_after_it() -> None:
    rows = latent("elbo", {2: (-8.0, -9.0, -7.0), 8: (-0.1, -0.4, 0.2)})
    finding = only(found(FLAT, rows, kind="latent_dim_score"))
    assert finding.headline == "ELBO: no significant gain beyond latent dimension 8"
    assert "improves by 0.100 nats (95 % interval −0.200 to 0.400, n = 3), not" in finding.sentence
    assert "from 2 to 16 the ELBO improves by 8.00 nats" in finding.sentence
    assert "Active units at latent dimension 16: Gaussian 6" in finding.sentence


def test_a_tight_nll_is_preferred_to_the_elbo() -> None:
    rows = latent("elbo", {2: (-8.0, -9.0, -7.0), 8: (-0.1, -0.4, 0.2)})
    rows += latent("nll", {2: (8.0, 7.0, 9.0), 8: (2.0, 1.0, 3.0)})
    finding = only(found(FLAT, rows, kind="latent_dim_score"))
    assert finding.headline == "NLL: gains up to latent dimension 16, the largest studied"


def test_an_nll_that_is_loose_somewhere_is_left_out_and_the_elbo_speaks() -> None:
    rows = latent("elbo", {2: (-8.0, -9.0, -7.0), 8: (-0.1, -0.4, 0.2)})
    rows += latent("nll", {2: (8.0, 7.0, 9.0)})
    assert "ELBO" in only(found(FLAT, rows, kind="latent_dim_score")).headline


def test_latent_dimensions_that_nothing_separates_are_inconclusive() -> None:
    rows = latent("mse", {2: (0.1, -0.2, 0.4), 8: (0.1, -0.4, 0.2)})
    finding = only(found(FLAT, rows, kind="latent_dim_mse"))
    assert finding.headline == "MSE: no latent dimension differs significantly from the largest"
    assert not finding.conclusive


def test_a_larger_code_that_is_worse_is_called_worse() -> None:
    rows = latent("mse", {2: (-0.1, -0.2, -0.05), 8: (-0.1, -0.2, -0.05)})
    assert (
        "so the largest latent dimension is worse"
        in only(found(FLAT, rows, kind="latent_dim_mse")).sentence
    )


# --- likelihoods ------------------------------------------------------------------------------


def on_curve(offset: dict[str, float], spread: float) -> Values:
    """An MSE that is a line in the rate: 1 − rate / 100, plus an offset for the likelihood."""

    def values(lik: str, dim: int, arm: str, seed: int) -> dict[str, Any]:
        rate = {"beta0.1": 40.0, "beta1": 20.0, "beta4": 5.0}[arm] * (2 if lik == "b" else 1)
        mse = 1 - rate / 100 + offset[lik] + spread * noise(seed) * (1 if lik == "a" else -1)
        return {"rate": rate, "mse": mse, "validation_elbo": -abs(rate - 20 * (1 + (lik == "b"))),
                "probe_accuracy": 0.5 + offset[lik] + spread * noise(seed)}  # fmt: skip

    return values


def test_at_matched_rate_the_lower_curve_wins_though_its_rates_differ() -> None:
    metrics = make_metrics(
        on_curve({"a": 0.0, "b": 0.1}, 0.001), ["beta0.1", "beta1", "beta4"], ("a", "b")
    )
    finding = only(found(metrics, kind="likelihoods_mse"))
    assert finding.headline == "A has the best reconstruction at matched rate"
    assert "matched rate of 30 nats" in finding.sentence
    assert "the lowest MSE, 0.7000 intensity² (95 % interval" in finding.sentence
    assert "b is worse by 0.100" in finding.sentence
    assert (finding.figure, finding.likelihood, finding.latent_dim) == (
        "likelihood_comparison", None, 16,
    )  # fmt: skip


def test_likelihoods_whose_difference_includes_zero_are_inconclusive() -> None:
    metrics = make_metrics(
        on_curve({"a": 0.0, "b": 0.01}, 0.05), ["beta0.1", "beta1", "beta4"], ("a", "b")
    )
    finding = only(found(metrics, kind="likelihoods_mse"))
    assert finding.headline == (
        "Inconclusive: which likelihood has the best reconstruction at matched rate"
    )
    assert "not significant" in finding.sentence


def test_the_probe_compares_each_likelihood_at_its_own_best_arm_with_its_rate() -> None:
    metrics = make_metrics(
        on_curve({"a": 0.0, "b": 0.1}, 0.001), ["beta0.1", "beta1", "beta4"], ("a", "b")
    )
    finding = only(found(metrics, kind="likelihoods_probe_accuracy"))
    assert "(a β = 1, rate 20 nats; b β = 1, rate 40 nats)" in finding.sentence
    assert finding.headline.startswith("B has the best accuracy")


def test_rates_that_never_meet_allow_no_comparison() -> None:
    def values(lik: str, dim: int, arm: str, seed: int) -> dict[str, Any]:
        return {"rate": arm_axes(arm)["beta"] + (1000 if lik == "b" else 0), "mse": 1.0}

    assert found(make_metrics(values, BETAS, ("a", "b")), kind="likelihoods_mse") == []


# --- the study --------------------------------------------------------------------------------


def share(term: str, value: float, metric: str = "rate", likelihood: str = "all") -> dict[str, Any]:
    return {"dataset": "d", "likelihood": likelihood, "metric": metric, "term": term,
            "share": value, "n": 54}  # fmt: skip


def test_the_strongest_axis_and_a_strong_interaction_are_named() -> None:
    rows = [share("beta", 0.7), share("latent_dim", 0.1), share("beta:latent_dim", 0.15),
            share("residual", 0.05)]  # fmt: skip
    finding = only(found(FLAT, importance=rows, kind="importance"))
    assert finding.headline == "β explains the most variance, in 1 of 1 decomposition"
    assert "rate: β 70 %, the interaction of β and the latent dimension 15 %" in finding.sentence


def test_a_decomposition_over_all_likelihoods_replaces_those_of_each() -> None:
    rows = [share("beta", 0.7), share("residual", 0.3),
            share("latent_dim", 0.9, likelihood="gaussian"),
            share("residual", 0.1, likelihood="gaussian")]  # fmt: skip
    finding = only(found(FLAT, importance=rows, kind="importance"))
    assert "gaussian" not in finding.sentence


def test_a_weak_interaction_and_a_metric_that_is_not_primary_stay_out() -> None:
    rows = [share("beta", 0.9), share("beta:latent_dim", 0.05), share("residual", 0.05),
            share("latent_dim", 1.0, metric="posterior_std"),
            share("residual", 0.0, metric="posterior_std")]  # fmt: skip
    sentence = only(found(FLAT, importance=rows, kind="importance")).sentence
    assert "interaction" not in sentence
    assert "posterior" not in sentence


def test_runs_that_diverged_are_counted_by_arm_with_their_reason() -> None:
    metrics = make_metrics(lambda *_: {"mse": 1.0}, ["beta1", "kl-off"], dims=(2,))
    bad = metrics["arm"] == "kl-off"
    metrics.loc[bad, ["status", "reason"]] = ["diverged", "loss was <b>inf</b>."]
    finding = only(found(metrics, kind="failures"))
    assert finding.headline == "3 of 6 runs diverged or failed"
    assert "The Gaussian with KL off: 3 diverged, loss was <b>inf</b>." in finding.sentence


def test_a_study_in_which_all_diverged_says_only_that() -> None:
    metrics = make_metrics(lambda *_: {"mse": np.nan, "slope": np.nan}, BETAS)
    metrics = metrics.assign(status="diverged", reason="not finite")
    assert [finding.kind for finding in found(metrics)] == ["failures"]


def test_a_study_without_failures_says_so_shortly() -> None:
    assert only(found(FLAT, kind="failures")).headline == "No run diverged or failed"


def test_runs_that_still_changed_are_counted() -> None:
    def values(lik: str, dim: int, arm: str, seed: int) -> dict[str, Any]:
        return {"slope": -0.2 if arm == "beta1" and seed else 0.001}

    finding = only(found(make_metrics(values, ["beta1", "beta4"], dims=(2,)), kind="convergence"))
    assert finding.headline == "2 of 6 runs had not converged"
    assert "the Gaussian, β = 1 (2 of 3)" in finding.sentence


def test_loose_bounds_are_counted_and_tight_ones_need_no_word() -> None:
    def values(lik: str, dim: int, arm: str, seed: int) -> dict[str, Any]:
        return {"nll": 1.0, "nll_loose": arm == "beta1"}

    loose = only(found(make_metrics(values, ["beta1", "beta4"], dims=(2,)), kind="loose_bounds"))
    assert loose.headline == "NLL is a loose bound in 3 of 6 runs"
    assert "the NLL from 256 importance samples has a mean bias above 0.03 nats" in loose.sentence
    assert "there it is only an upper bound" in loose.sentence
    tight = make_metrics(lambda *_: {"nll": 1.0, "nll_loose": False}, ["beta1"])
    assert found(tight, kind="loose_bounds") == []


def test_saturated_information_is_a_bound_too() -> None:
    def values(_: str, __: int, arm: str, ___: int) -> dict[str, Any]:
        flag = arm == "beta1"
        return {"mutual_information": 4.0, "marginal_kl": 1.0, "mi_saturated": flag}

    metrics = make_metrics(values, ["beta1", "beta4"], dims=(2,))
    finding = only(found(metrics, kind="loose_bounds"))
    assert finding.headline == "Mutual information is a loose bound in 3 of 6 runs"
    assert "there it is only a lower bound" in finding.sentence
    assert "In the same runs the marginal KL is an upper bound." in finding.sentence


def test_collapsed_arms_are_beside_the_best_samples_and_the_floor() -> None:
    def values(lik: str, dim: int, arm: str, seed: int) -> dict[str, Any]:
        fid = {"beta0.1": 20.0, "beta1": 10.0, "beta16": 60.0}[arm]
        return {"sample_fid": fid + 0.1 * noise(seed), "sample_fid_floor": 3.0,
                "active_units": 0 if arm == "beta16" else 8}  # fmt: skip

    finding = only(found(make_metrics(values, ["beta0.1", "beta1", "beta16"], dims=(8,)),
                         kind="samples"))  # fmt: skip
    assert finding.headline == "The Gaussian with β = 1 at latent dimension 8 has the best samples"
    assert "the distance between held-out and training data is 3" in finding.sentence
    assert "The smallest distance of a collapsed arm is 60.0" in finding.sentence


def test_measures_of_disentanglement_that_disagree_are_not_conclusive() -> None:
    def values(lik: str, dim: int, arm: str, seed: int) -> dict[str, Any]:
        good = arm == "beta4"
        return {"mig": 0.5 if good else 0.1, "sap": 0.1 if good else 0.5}

    metrics = make_metrics(values, ["beta1", "beta4"], dims=(8,))
    finding = only(found(metrics, kind="disentanglement"))
    assert finding.headline == "Measures of disentanglement disagree on the best arm"
    assert not finding.conclusive


# --- everything -------------------------------------------------------------------------------


def test_no_p_value_is_reported() -> None:
    metrics = make_metrics(holes(0.75, 0.05), ["kl-off", "beta1"], dims=(16,))
    rows = [contrast("kl_off", "hole_rate", (0.7, 0.6, 0.8))]
    for finding in found(metrics, rows):
        assert "0.0123" not in finding.sentence
        assert not re.search(r"\bp [=<]", finding.sentence)


def test_an_arm_of_a_further_axis_is_compared_with_its_own_kind() -> None:
    metrics = make_metrics(
        lambda lik, dim, arm, seed: {"active_units": 3}, ["beta1"], dims=(2,)
    )  # fmt: skip
    metrics = metrics.assign(architecture="mlp")
    other = metrics.assign(arm="beta1-conv", architecture="conv", active_units=0)
    result = found(pd.concat([metrics, other]), kind="collapse")
    assert [finding.headline for finding in result] == [
        "Gaussian: no collapse up to β = 1",
        "Gaussian (conv): the posterior has collapsed at β = 1",
    ]


def test_datasets_are_reported_one_after_the_other() -> None:
    both = pd.concat([FLAT, FLAT.assign(dataset="<script>alert(1)</script>")])
    kinds = [(finding.dataset, finding.kind) for finding in found(both)]
    assert kinds == [
        (dataset, kind)
        for dataset in ("<script>alert(1)</script>", "d")
        for kind in ("collapse", "failures")
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0123456, "0.0123"), (12.345, "12.3"), (1234.56, "1235"), (-3.0, "−3"), (0.0, "0"),
     (-0.0, "0"), (1.5e-7, "1.50e−7"), (2.5e9, "2.50e9"), (99.96, "100.0")],
)  # fmt: skip
def test_numbers_have_three_digits_or_more(value: float, text: str) -> None:
    assert findings_words.number(value) == text


def test_an_estimate_gives_interval_and_n_in_the_same_decimals() -> None:
    assert findings_words.estimate(Estimate(13.0, 8.7, 17.3, 3), " nats", "x") == (
        "13.0 nats (95 % interval 8.7 to 17.3, n = 3; x)"
    )
    assert findings_words.estimate(Estimate(4.0, 4.0, 4.0, 3)) == "4 (the same in all 3 seeds)"
    assert findings_words.estimate(Estimate(4.5, None, None, 1)) == "4.50 (one seed, no interval)"


any_number = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True, width=32), st.sampled_from([0.0, 1.0, -1.0])
)
METRICS = ["elbo", "validation_elbo", "nll", "rate", "mse", "active_units", "code_rms",
           "hole_rate", "sample_fid", "sample_fid_expost", "sample_fid_floor", "probe_accuracy",
           "mig", "slope"]  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_random_tables_never_fail_and_cite_only_finite_numbers(data: st.DataObject) -> None:
    arms = data.draw(st.lists(st.sampled_from([*BETAS, "kl-off", "point", "beta1-conv"]),
                              min_size=1, unique=True))  # fmt: skip
    names = data.draw(st.lists(st.sampled_from(METRICS), unique=True))
    draw = data.draw(st.randoms(use_true_random=False))
    pool = data.draw(st.lists(any_number, min_size=1, max_size=12))

    def values(lik: str, dim: int, arm: str, seed: int) -> dict[str, Any]:
        status = draw.choice(["ok", "ok", "ok", "diverged"])
        chosen = {name: draw.choice(pool) if status == "ok" else np.nan for name in names}
        return chosen | {"status": status, "nll_loose": draw.random() < 0.5}

    base = [arm for arm in arms if arm != "beta1-conv"] or ["beta1"]
    metrics = make_metrics(values, base, ("a", "b")[: draw.choice([1, 2])],
                           draw.choice([(2,), (2, 16)]), draw.choice([1, 2, 3, 5]))  # fmt: skip
    with np.errstate(all="ignore"):
        summary = make_summary(metrics)
    contrasts = pd.DataFrame([
        contrast(draw.choice(["kl_off", "latent_dim", "point"]), name,
                 tuple(draw.choice(pool) for _ in range(3)), dim=draw.choice([2, 16]),
                 arm=draw.choice(base), n=draw.choice([1, 3]), likelihood=draw.choice("ab"))
        for name in names
    ])  # fmt: skip
    importance = pd.DataFrame([share(term, draw.choice(pool), name)
                               for name in names for term in ("beta", "residual")])  # fmt: skip
    for tables in ((None, None), (contrasts, importance)):
        for finding in findings(metrics, summary, *tables, {}):
            assert finding.sentence.strip()
            assert not re.search(r"\b(nan|inf|None)\b", finding.sentence + finding.headline)
            assert all(math.isfinite(leaf) for leaf in leaves(asdict(finding)["evidence"]))


# --- what a finding needs ------------------------------------------------------------------------


def collapsing(likelihood: str, dim: int, arm: str, seed: int) -> dict[str, Any]:
    """Active units that end at β = 4, the same in every seed."""
    units = 0 if arm in ("beta4", "beta16") else dim
    return {"active_units": units, "elbo": -100.0 + noise(seed), "slope": 0.001, "epochs": 80}


def test_one_seed_is_not_conclusive_and_is_said() -> None:
    sure = only(found(make_metrics(collapsing, BETAS), kind="collapse"))
    assert sure.conclusive
    assert "not conclusive" not in sure.sentence
    open_ = only(found(make_metrics(collapsing, BETAS, seeds=1), kind="collapse"))
    assert not open_.conclusive
    assert "One seed each: no interval, so this is not conclusive." in open_.sentence


def test_one_arm_with_one_surviving_seed_is_named() -> None:
    metrics = make_metrics(collapsing, BETAS, dims=(2,))
    metrics.loc[(metrics["arm"] == "beta16") & (metrics["seed"] > 0), "status"] = "diverged"
    finding = only(found(metrics, kind="collapse"))
    assert not finding.conclusive
    assert "One seed in 1 arm:" in finding.sentence
    assert (finding.evidence["arms"], finding.evidence["arms with one seed"]) == (4, 1)


@pytest.mark.parametrize(
    ("changing", "conclusive"), [(0, True), (1, True), (11, True), (12, False), (24, False)]
)
def test_runs_that_still_change_are_said_and_decide_nothing_where_they_are_many(
    changing: int, conclusive: bool
) -> None:
    metrics = make_metrics(collapsing, BETAS)
    metrics.loc[metrics.index[:changing], "slope"] = -0.05
    finding = only(found(metrics, kind="collapse"))
    assert finding.conclusive is conclusive
    assert (
        f"{changing} of 24 runs behind this finding had not converged" in finding.sentence
    ) == bool(changing)
    assert ("so this is not conclusive" in finding.sentence) is not conclusive


def test_two_epochs_decide_nothing_with_any_number_of_seeds() -> None:
    metrics = make_metrics(collapsing, BETAS).assign(epochs=2, slope=math.nan)
    for frame in (metrics, metrics.drop(columns="slope")):
        finding = only(found(frame, kind="collapse"))
        assert not finding.conclusive
        assert "24 of 24 runs" in finding.sentence


def test_only_the_runs_that_a_finding_is_about_count() -> None:
    metrics = make_metrics(collapsing, BETAS, likelihoods=("gaussian", "bernoulli"))
    metrics.loc[metrics["likelihood"] == "bernoulli", "active_units"] = 2
    metrics.loc[metrics["likelihood"] == "bernoulli", "slope"] = -0.5
    gaussian, bernoulli = sorted(
        found(metrics, kind="collapse"), key=lambda one: "bernoulli" in one.headline.lower()
    )
    assert gaussian.conclusive
    assert "had not converged" not in gaussian.sentence
    assert not bernoulli.conclusive


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("epochs", [2, 80])
def test_the_rule_holds_for_every_kind_of_finding(seeds: int, epochs: int) -> None:
    """Whatever is found of one seed, or of two epochs, no claim is conclusive."""
    metrics = make_metrics(collapsing, [*BETAS, "kl-off"], ("gaussian", "bernoulli"), seeds=seeds)
    random = np.random.default_rng(0)
    for column in (
        "nll",
        "mse",
        "sample_fid",
        "probe_accuracy",
        "mig",
        "validation_elbo",
        "code_rms",
    ):
        metrics[column] = metrics["beta"] + 0.01 * random.normal(size=len(metrics))
    metrics = metrics.assign(epochs=epochs, slope=0.001 if epochs > 2 else math.nan)
    rows = [contrast("kl_off", m, (1.0, 0.9, 1.1), n=seeds) for m in ("hole_rate", "sample_fid")]
    claims = [one for one in found(metrics, rows) if one.kind not in ("failures", "convergence")]
    assert len(claims) > 4
    assert any(one.conclusive for one in claims) is (seeds > 1 and epochs > 2)


@pytest.mark.parametrize(
    ("measure", "text"),
    [("grey17/mass-open", "mass over 17 grey levels (outer cells open)"),
     ("grey17/mass-equal", "mass over 17 grey levels (equal cells)"),
     ("grey/density", "density over intensities"),
     ("binary/mass", "mass over binary pixels"), ("odd", "odd"), ("", ""),
     ("counts/mass given library", "mass over counts given library")],
)  # fmt: skip
def test_measures_are_plain_words(measure: str, text: str) -> None:
    assert findings_words.measure(measure) == text


def test_a_tally_without_any_significant_comparison_reads_as_a_negation() -> None:
    metrics = make_metrics(holes(0.06, 0.05), ["kl-off", "beta1"], dims=(2, 16))
    rows = [
        contrast("kl_off", "hole_rate", (0.01, -0.02, 0.04), dim=dim, reference=(dim, "beta1"))
        for dim in (2, 16)
    ]
    finding = only(found(metrics, rows, kind="kl_off_holes"))
    assert "no significant effect on the hole rate in any of 2 comparisons" in finding.sentence


def test_collapse_at_some_latent_dimensions_only_is_said() -> None:
    def values(lik: str, dim: int, arm: str, seed: int) -> dict[str, Any]:
        return {"active_units": 0 if dim == 16 and arm == "beta16" else 2}

    finding = only(found(make_metrics(values, BETAS, dims=(2, 16)), kind="collapse"))
    assert finding.headline == "The posterior collapses at β = 16 for some latent dimensions only"
