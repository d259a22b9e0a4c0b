"""Findings about cells, from tables with a planted truth."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from planted import found, only, runs
from vae_ablation.report.findings.likelihoods import COUNTS

WOBBLE = (-0.01, 0.0, 0.01)


def metrics() -> pd.DataFrame:
    def values(lik: str, dim: int, beta: float, seed: int) -> dict[str, Any]:
        return {"validation_elbo": -650.0 - abs(beta - 1), "measure": COUNTS, "elbo": -650.0}

    return runs(values, (0.5, 1.0), ("negative_binomial",), (10,))


def scores(
    rows: dict[tuple[str, str, str, str], tuple[float, ...]], beta: float = 1.0
) -> pd.DataFrame:
    """applications.csv from (application, subject, method, metric) → a value for each seed."""
    return pd.DataFrame(
        [
            {"run": f"r{seed}", "dataset": "d", "likelihood": "negative_binomial",
             "latent_dim": 10, "arm": f"beta{beta:g}", "beta": beta, "kl": True,
             "posterior": "gaussian", "seed": seed, "application": key[0], "subject": key[1],
             "method": key[2], "metric": key[3], "value": value}
            for key, values in rows.items()
            for seed, value in enumerate(values)
        ]
    )  # fmt: skip


def perturbation(model: tuple[float, ...], p: float = 0.001, **more: float) -> pd.DataFrame:
    rows = {
        ("perturbation", "a+b", "vae", "delta_pearson"): model,
        ("perturbation", "a+b", "raw_difference", "delta_pearson"): (0.60, 0.61, 0.63),
        ("perturbation", "a+b", "control", "delta_pearson"): (0.1, 0.1, 0.12),
        ("perturbation", "a+b", "truth", "effect_p"): (p,) * 3,
    }
    for name, other in more.items():
        rows["perturbation", name, "truth", "effect_p"] = (other,) * 3
        rows["perturbation", name, "vae", "delta_pearson"] = (9.0,) * 3
        rows["perturbation", name, "raw_difference", "delta_pearson"] = (-9.0,) * 3
    return scores(rows)


@pytest.mark.parametrize(
    ("model", "verdict", "headline", "words"),
    [
        ((0.80, 0.83, 0.84), "better", "better than the best baseline", "better by 0.21 (0.19 to"),
        ((0.40, 0.43, 0.44), "worse", "worse than the best baseline", "worse by 0.19 (0.17 to"),
        (
            (0.55, 0.61, 0.69),
            "",
            "no difference from the best baseline",
            "which is not significant",
        ),
    ],
)
def test_an_application_is_held_against_its_best_baseline(
    model: tuple[float, ...], verdict: str, headline: str, words: str
) -> None:
    (finding,) = found(metrics=metrics(), applications=perturbation(model),
                       topic="applications/perturbation")  # fmt: skip
    assert headline in str(finding.headline)
    assert "that of raw difference, the best baseline" in str(finding.text)
    assert words in str(finding.text)
    assert finding.verdict == verdict
    assert "with the negative binomial at latent dimension 10 and β = 1" in str(finding.text)


def test_subjects_without_a_measurable_effect_are_left_out_by_name() -> None:
    table = perturbation((0.80, 0.83, 0.84), c=0.9)
    finding = only(found(metrics=metrics(), applications=table, topic="applications/perturbation"))
    assert str(finding.text).endswith("Without a measurable effect and left out: c.")
    assert "better by 0.21" in str(finding.text)


def test_a_truth_that_is_noise_has_no_finding() -> None:
    table = perturbation((0.80, 0.83, 0.84), p=0.4)
    assert not found(metrics=metrics(), applications=table, topic="applications/perturbation")


def test_lower_errors_are_better() -> None:
    table = scores({
        ("denoising", "zeroed", "vae", "mean_absolute_error"): (0.30, 0.31, 0.33),
        ("denoising", "zeroed", "gene_mean", "mean_absolute_error"): (0.50, 0.50, 0.52),
    })  # fmt: skip
    finding = only(found(metrics=metrics(), applications=table,
                         topic="applications/denoising/zeroed"))  # fmt: skip
    assert finding.verdict == "better"
    assert "The model is better by 0.193 (0.179 to 0.208)" in str(finding.text)


def test_the_arm_with_beta_nearest_to_one_answers() -> None:
    near = perturbation((0.80, 0.83, 0.84))
    far = near.assign(arm="beta0.5", beta=0.5, value=near["value"] / 2)
    finding = only(found(metrics=metrics(), applications=pd.concat([far, near]),
                         topic="applications/perturbation"))  # fmt: skip
    assert "and β = 1" in str(finding.text)
    assert "better by 0.21" in str(finding.text)


def test_one_path_is_named_beforehand_and_the_other_is_no_baseline() -> None:
    table = scores({
        ("trajectory", "a → b", "density", "pseudotime_spearman"): (0.7, 0.72, 0.73),
        ("trajectory", "a → b", "straight", "pseudotime_spearman"): (0.9, 0.91, 0.93),
        ("trajectory", "a → b", "linear_expression", "pseudotime_spearman"): (0.5, 0.52, 0.52),
        ("trajectory", "a → b", "truth", "effect_p"): (0.001,) * 3,
    })  # fmt: skip
    finding = only(found(metrics=metrics(), applications=table, topic="applications/trajectory"))
    assert "(density path)" in str(finding.text)
    assert "that of linear expression, the best baseline" in str(finding.text)


def test_holes_that_decode_to_far_profiles() -> None:
    def table(*ratios: float) -> pd.DataFrame:
        return scores({("forbidden_states", "all", "vae", "distance_ratio"): ratios})

    topic = "applications/forbidden_states"
    finding = only(found(metrics=metrics(), applications=table(1.5, 1.6, 1.7), topic=topic))
    assert "is 1.6 (1.4 to 1.8) times as far" in str(finding.text)
    assert str(finding.headline) == (
        "Holes in the latent space decode to profiles further from real cells"
    )
    assert not found(metrics=metrics(), applications=table(0.9, 1.0, 1.2), topic=topic)
