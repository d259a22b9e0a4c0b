"""What a study could have seen, which arm it selects, and counts of runs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from planted import contrast, found, nothing, only, runs

WORSE = contrast("beta", "16", "nll", (20.1, 18.0, 22.2), "worse", detectable=0.4)
RATE = contrast("beta", "16", "rate", (0.5, 0.4, 0.6), "lower")


def test_power_names_what_is_undecided_and_what_would_decide_it() -> None:
    rows = [
        WORSE,
        contrast("beta", "0.1", "nll", (0.2, -0.4, 0.8), "undecided", detectable=0.9,
                 seeds_needed=8.0),
        contrast("beta", "16", "sample_fid", (1.6, 1.5, 1.7), "worse",
                 detectable=math.log(1.25)),
        contrast("beta", "16", "probe_accuracy", (-0.3, -0.4, -0.2), "worse", detectable=0.08),
    ]  # fmt: skip
    finding = only(found(rows, topic="power"))
    assert str(finding.text) == (
        "Of 4 comparisons in primary metrics these are undecided, which does not mean equal: NLL "
        "at β = 0.1 against β = 1. The smallest difference that it would find in four of five "
        "repetitions is, over questions and levels, 0.400 to 0.900 nats in the NLL; a factor of "
        "1.25 in the sample Fréchet distance; 4 percentage points at most in the probe accuracy. "
        "With 8 seeds for every arm it would decide these comparisons in four of five repetitions, "
        "before adjustment for their number, where there is no difference or one as large as the "
        "margin."
    )
    assert finding.lead
    assert not finding.claims


def test_two_comparisons_of_arms_without_the_kl_term_are_told_apart() -> None:
    open_ = (0.2, -0.4, 0.8)
    rows = [
        WORSE,
        contrast("kl_off", "off", "nll", open_, "undecided"),
        contrast("least_beta", "off", "nll", open_, "undecided", reference="0.01"),
        contrast("latent_dim", "2", "nll", open_, "undecided", reference="16"),
    ]
    text = str(only(found(rows, topic="power")).text)
    assert (
        "NLL without the KL term against β = 1; NLL without the KL term against β = 0.01; "
        "NLL at latent dimension 2 against latent dimension 16."
    ) in text


def test_verdicts_say_at_which_look_they_were_reached() -> None:
    rows = [
        WORSE | {"look": 3},
        contrast("beta", "4", "nll", (9.1, 8.0, 9.2), "worse", look=5),
        contrast("beta", "0.1", "nll", (0.2, -0.4, 0.8), "undecided", look=7),
    ]
    text = str(only(found(rows, topic="power")).text)
    assert text.endswith(
        "As seeds were added in rounds, verdicts were reached at 3 and 5 and what is undecided was "
        "last looked at with 7 seeds."
    )


def test_a_study_in_which_all_is_decided_says_so() -> None:
    text = str(only(found([WORSE, RATE], topic="power")).text)
    assert text.startswith("All 2 comparisons in primary metrics are decided.")
    assert str(only(found([WORSE], topic="power")).text).startswith(
        "The only comparison in a primary metric is decided."
    )


def test_a_study_in_which_nothing_is_decided_says_so_without_a_list() -> None:
    open_ = {"verdict": "undecided", "p_adjusted": 0.9}
    text = str(only(found([WORSE | open_, RATE | open_], topic="power")).text)
    assert text.startswith(
        "None of the 2 comparisons in primary metrics is decided, which does not mean equal."
    )
    text = str(only(found([WORSE | open_], topic="power")).text)
    assert text.startswith(
        "The only comparison in a primary metric is undecided, which does not mean equal."
    )


def test_undecided_metrics_of_one_pair_of_levels_stand_together() -> None:
    open_ = {"verdict": "undecided", "p_adjusted": 0.9}
    other = contrast("beta", "16", "probe_accuracy", (-0.3, -0.4, -0.2), "worse")
    text = str(only(found([WORSE | open_, RATE | open_, other], topic="power")).text)
    assert "does not mean equal: NLL and rate at β = 16 against β = 1." in text


def elbos(lik: str, dim: int, beta: float, seed: int) -> dict[str, Any]:
    return {"validation_elbo": -90.0 - abs(beta - 1) - 16 / dim + seed / 10, "elbo": -91.0,
            "nll": -89.5, "nll_loose": beta == 1, "measure": "grey17/mass"}  # fmt: skip


def test_the_selected_arm_is_no_claim_and_shows_no_loose_bound() -> None:
    finding = only(found([WORSE], runs(elbos), "selected"))
    arm = "the Gaussian at β = 1 and latent dimension 16"
    assert f"{arm} (test split: ELBO −91 nats), mass over 17 grey levels" in str(finding.text)
    assert finding.verdict == ""
    assert not finding.lead


def test_no_arm_is_selected_where_nothing_differs() -> None:
    assert (
        found([WORSE | {"verdict": "undecided", "p_adjusted": 0.5}], runs(elbos), "selected") == []
    )


def test_failed_runs_are_counted_with_their_most_frequent_reason() -> None:
    metrics = runs(nothing)
    bad = (metrics["beta"] == 16) & (metrics["seed"] < 2)
    metrics.loc[bad, ["status", "reason"]] = ["diverged", "the loss is infinite."]
    finding = only(found(metrics=metrics, topic="failures"))
    assert str(finding.headline) == "4 of 24 runs diverged or failed"
    assert "4 diverged (the Gaussian, β = 16: the loss is infinite)" in str(finding.text)
    assert str(finding.text).endswith(
        "Means of these arms are over the other seeds only, so they are optimistic."
    )


def test_arms_without_a_run_that_ended_well_have_no_means() -> None:
    metrics = runs(nothing)
    gone = metrics["beta"] == 16
    metrics.loc[gone, ["status", "reason"]] = ["diverged", "the loss is infinite."]
    text = str(only(found(metrics=metrics, topic="failures")).text)
    assert text.endswith("These arms have no means.")
    metrics.loc[(metrics["beta"] == 1) & (metrics["seed"] == 0), "status"] = "diverged"
    text = str(only(found(metrics=metrics, topic="failures")).text)
    assert text.endswith(
        "Arms of which no run is left have no means; means of the others are over the other seeds "
        "only, so they are optimistic."
    )


def test_runs_that_ended_well_are_counted() -> None:
    assert str(only(found(topic="failures")).text) == "All 24 runs finished."


def test_drift_has_its_range_and_names_differences_below_it() -> None:
    metrics = runs(lambda lik, dim, beta, seed: {"drift": -0.5 + seed / 4})
    row = WORSE | {"below_drift": True}
    text = str(only(found([row], metrics, "convergence")).text)
    assert "changed by −0.500 to 0 nats per run" in text
    assert text.endswith("added to their own metric: NLL at β = 16 against β = 1.")


def test_runs_too_short_for_a_drift_have_no_sentence_on_it() -> None:
    assert found(metrics=runs(nothing).assign(drift=np.nan), topic="convergence") == []


def test_bounds_are_counted_with_their_reason() -> None:
    metrics = runs(lambda lik, dim, beta, seed: {"nll": 1.0, "nll_loose": beta == 16})
    finding = only(found(metrics=metrics, topic="bounds/nll_loose"))
    assert str(finding.headline) == "The NLL is only a bound in 6 of 24 runs"
    assert "In these runs the NLL is an upper bound" in str(finding.text)
