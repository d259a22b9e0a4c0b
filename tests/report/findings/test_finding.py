"""When a difference is claimed, which findings lead, and that every number has its table."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from planted import contrast, found, nothing, runs

WORSE = contrast("beta", "16", "nll", (20.1, 18.0, 22.2), "worse")


def claims(rows: list[dict[str, Any]], metrics: pd.DataFrame | None = None) -> list[str]:
    return [one.topic for one in found(rows, metrics) if one.claims]


def test_a_planted_difference_is_claimed() -> None:
    assert claims([WORSE]) == ["beta/nll"]


@pytest.mark.parametrize(
    "change",
    [
        {"n": 1},
        {"p_adjusted": 0.06},
        {"verdict": "undecided"},
        {"estimate": 0.0, "se": 0.0, "effect": 0.0},
    ],
)
def test_one_seed_a_large_p_or_identical_arms_claim_nothing(change: dict[str, Any]) -> None:
    assert claims([WORSE | change]) == []


def test_training_too_short_to_know_its_drift_claims_nothing() -> None:
    metrics = runs(nothing).assign(drift=np.nan, epochs=2)
    assert claims([WORSE], metrics) == []


def test_questions_share_one_error_rate() -> None:
    asked = [contrast(name, "x", "nll", (1.0, -1.0, 3.0), "undecided", "y")
             for name in ("architecture", "objective")]  # fmt: skip
    assert claims([WORSE | {"p_adjusted": 0.02}, *asked]) == []
    assert claims([WORSE | {"p_adjusted": 0.016}, *asked]) == ["beta/nll"]


def test_secondary_metrics_alone_open_no_question() -> None:
    row = contrast("beta", "16", "mse", (1.7, 1.6, 1.8), "worse", family="exploratory")
    assert claims([row]) == []
    same = contrast("beta", "16", "mse", (1.01, 0.99, 1.02), "equivalent", family="exploratory")
    assert not any(one.verdict for one in found([row, same]))


def test_at_most_ten_lead_and_the_last_is_what_could_be_seen() -> None:
    rows = [contrast(f"training.{name}", "x", "nll", (2.0, 1.0, 3.0), "worse", "y")
            for name in "abcdefghijklmnop"]  # fmt: skip
    leading = [one.topic for one in found(rows) if one.lead]
    assert len(leading) == 10
    assert leading[-1] == "power"


def test_nothing_leads_without_a_claim() -> None:
    assert not any(one.lead for one in found([WORSE | {"verdict": "undecided"}]))


def test_no_finding_counts_votes() -> None:
    rows = [WORSE, contrast("kl_off", "off", "sample_fid", (3.5, 3.1, 4.1), "worse")]
    for one in found(rows):
        assert not re.search(r"in \d+ of \d+ (comparisons|settings|decompositions)", str(one.text))


@pytest.mark.parametrize("seed", range(8))
def test_every_number_of_every_sentence_is_in_a_table(seed: int) -> None:
    """Tables of random sentinel values: `found` holds each number against its cell."""
    rng = np.random.default_rng(seed)
    metrics = runs(
        lambda lik, dim, beta, s: {
            "rate": rng.uniform(1, 99), "elbo": rng.normal(0, 99), "nll": rng.normal(0, 99),
            "active_units": 0.0 if beta == 16 else rng.integers(1, 9), "code_rms": rng.uniform(),
            "validation_elbo": rng.normal(0, 99), "posterior_std": rng.uniform(),
            "drift": rng.normal(), "nll_loose": bool(rng.integers(2)),
            "decoder_scale": rng.uniform(), "nll_levels": rng.uniform(50, 90),
            "levels_measure": "grey17/mass-open",
        },
        likelihoods=("gaussian", "bernoulli"),
    )  # fmt: skip
    verdicts = ["worse", "better", "higher", "equivalent", "depends", "undecided"]
    names = ["nll", "rate", "probe_accuracy", "sample_fid", "sample_fid_expost", "mse",
             "posterior_std", "probe_accuracy_sampled", "generalization_gap"]  # fmt: skip
    rows = []
    for question, levels, reference in (("kl_off", ["off"], "1"), ("beta", ["0.1", "16"], "1"),
                                        ("latent_dim", ["2"], "16")):  # fmt: skip
        for level in levels:
            for name in names:
                size = sorted(rng.uniform(0.05, 3, 3))
                effect = (size[1], size[0], size[2])
                verdict = verdicts[rng.integers(len(verdicts))]
                more: dict[str, Any] = {"margin": rng.uniform(), "detectable": rng.uniform(),
                        "seeds_needed": float(rng.integers(4, 40)), "lost": int(rng.integers(3)),
                        "reference_mean": rng.uniform(), "mean": rng.uniform(),
                        "n": int(rng.integers(2, 6)),
                        "settings": int(rng.integers(1, 9))}  # fmt: skip
                if verdict == "depends":
                    more |= {"depends_on": "likelihood", "heterogeneity_p": 1e-9}
                rows.append(contrast(question, level, name, effect, verdict, reference, **more))
                for lik in ("gaussian", "bernoulli"):
                    rows.append(contrast(question, level, name, effect, "worse", reference,
                                         f"likelihood={lik}", likelihood=lik))  # fmt: skip
    assert len(found(rows, metrics)) > 5
