"""Findings about cells, from tables with a planted truth."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from vae_ablation.report.findings import Finding, findings
from vae_ablation.report.findings.cells import COUNTS
from vae_ablation.study.run import canonical_run
from vae_ablation.tables.collect import APPLICATION_COLUMNS, run_columns, summarize

SEEDS = (0, 1, 2)
WOBBLE = {0: -0.1, 1: 0.0, 2: 0.1}


def axes(likelihood: str, seed: int) -> dict[str, Any]:
    """Columns of a β = 1 arm."""
    return run_columns(canonical_run("cells", likelihood, 10, 1.0, True, "gaussian", seed))


def run_rows(elbos: dict[str, float], measure: str = COUNTS) -> pd.DataFrame:
    """A β = 1 arm of each likelihood, its ELBO a little apart in each seed."""
    return pd.DataFrame(
        [
            {**axes(likelihood, seed), "status": "ok", "reason": None,
             "measure": measure, "proper": True, "elbo": elbo + WOBBLE[seed], "epochs": 5}
            for likelihood, elbo in elbos.items()
            for seed in SEEDS
        ]
    )  # fmt: skip


def scores(rows: dict[tuple[str, str, str, str], tuple[float, ...]]) -> pd.DataFrame:
    """applications.csv from (application, subject, method, metric) → a value for each seed."""
    return pd.DataFrame(
        [
            {**axes("negative_binomial", seed), "application": key[0],
             "subject": key[1], "method": key[2], "metric": key[3], "value": value}
            for key, values in rows.items()
            for seed, value in zip(SEEDS, values, strict=True)
        ],
        columns=APPLICATION_COLUMNS,
    )  # fmt: skip


def effect(application: str, **tests: float) -> pd.DataFrame:
    """Rows that say with which p a subject's truth is noise."""
    return scores({(application, name, "truth", "effect_p"): (p,) * 3 for name, p in tests.items()})


def findings_of(
    metrics: pd.DataFrame, applications: pd.DataFrame | None, kind: str
) -> list[Finding]:
    found = findings(metrics, summarize(metrics), None, None, {}, applications)
    return [finding for finding in found if finding.kind == kind]


NB = {"negative_binomial": -650.0}


def test_the_likelihood_with_the_highest_held_out_elbo_is_named_with_its_lead() -> None:
    metrics = run_rows({**NB, "poisson": -900.0, "zero_inflated_negative_binomial": -640.0})
    (finding,) = findings_of(metrics, None, "counts")
    assert finding.conclusive
    assert finding.headline == "The zero-inflated negative binomial fits the counts best"
    assert "the negative binomial is worse by 10 nats" in finding.sentence
    assert "the Poisson is worse by 260 nats" in finding.sentence


def test_likelihoods_without_a_significant_difference_are_not_ranked() -> None:
    metrics = run_rows({**NB, "poisson": -650.01})
    metrics.loc[metrics["likelihood"] == "poisson", "elbo"] = [-650.3, -649.8, -650.0]
    (finding,) = findings_of(metrics, None, "counts")
    assert not finding.conclusive
    assert "do not differ significantly" in finding.headline
    assert "The first difference is not significant." in finding.sentence


def test_a_density_ranks_with_no_mass() -> None:
    metrics = run_rows({**NB, "poisson": -900.0})
    density = run_rows({"log_normal_gaussian": 10.0}, "counts/density given library")
    (finding,) = findings_of(pd.concat([metrics, density]), None, "counts")
    assert "log-normal" not in finding.headline + finding.sentence


def test_one_likelihood_alone_is_compared_with_nothing() -> None:
    assert findings_of(run_rows(NB), None, "counts") == []


@pytest.mark.parametrize(
    ("model", "headline", "word"),
    [
        ((0.80, 0.82, 0.84), "predicts unseen perturbations better", "better by 0.2"),
        ((0.40, 0.42, 0.44), "no better than adding expression differences", "worse by 0.2"),
    ],
)
def test_an_application_is_held_against_its_best_baseline(
    model: tuple[float, ...], headline: str, word: str
) -> None:
    applications = scores(
        {
            ("perturbation", "p1+p2", "vae", "delta_pearson"): model,
            ("perturbation", "p1+p2", "raw_difference", "delta_pearson"): (0.60, 0.62, 0.64),
            ("perturbation", "p1+p2", "control", "delta_pearson"): (0.1, 0.1, 0.1),
        }
    )
    applications = pd.concat([applications, effect("perturbation", **{"p1+p2": 0.005})])
    (finding,) = findings_of(run_rows(NB), applications, "perturbation")
    assert headline in finding.headline
    assert "for raw difference, the best baseline" in finding.sentence
    assert word in finding.sentence
    assert finding.conclusive


NO_EFFECT = {
    "perturbation": ("a+b", "vae", "raw_difference", "delta_pearson"),
    "trajectory": ("a → b", "density", "linear_expression", "pseudotime_spearman"),
    "modalities": ("RNA → protein", "vae", "ridge", "pearson"),
}


@pytest.mark.parametrize("application", NO_EFFECT)
@pytest.mark.parametrize("p", [0.06, 0.5, None])
def test_without_a_significant_true_effect_there_is_no_finding(
    application: str, p: float | None
) -> None:
    subject, own, rival, metric = NO_EFFECT[application]
    applications = scores(
        {
            (application, subject, own, metric): (0.1, 0.11, 0.12),
            (application, subject, rival, metric): (0.8, 0.81, 0.82),
        }
    )
    sure = pd.concat([applications, effect(application, **{subject: 0.005})])
    assert findings_of(run_rows(NB), sure, application)[0].conclusive
    tested = [] if p is None else [effect(application, **{subject: p})]
    assert findings_of(run_rows(NB), pd.concat([applications, *tested]), application) == []


@pytest.mark.parametrize(
    ("limits", "conclusive"), [((0.9, 0.9), False), ((0.9, 0.5), True), ((0.05, 0.9), True)]
)
@pytest.mark.parametrize("application", NO_EFFECT)
def test_where_no_method_is_above_chance_the_finding_says_so(
    application: str, limits: tuple[float, float], conclusive: bool
) -> None:
    subject, own, rival, metric = NO_EFFECT[application]
    applications = scores(
        {
            (application, subject, own, metric): (0.1, 0.11, 0.12),
            (application, subject, rival, metric): (0.8, 0.81, 0.82),
            (application, subject, own, f"{metric}_null_95"): (limits[0],) * 3,
            (application, subject, rival, f"{metric}_null_95"): (limits[1],) * 3,
        }
    )
    applications = pd.concat([applications, effect(application, **{subject: 0.005})])
    (finding,) = findings_of(run_rows(NB), applications, application)
    assert finding.conclusive == conclusive
    said = "Neither is above what chance reaches in 5 % of permutations (0.900 and 0.900)."
    assert (said in finding.sentence) != conclusive


def test_conditions_without_a_measurable_effect_do_not_count() -> None:
    applications = scores(
        {
            ("perturbation", "p1+p2", "vae", "delta_pearson"): (0.8, 0.82, 0.84),
            ("perturbation", "p1+p2", "raw_difference", "delta_pearson"): (0.6, 0.62, 0.64),
            ("perturbation", "p1+p3", "vae", "delta_pearson"): (-0.9, -0.9, -0.9),
            ("perturbation", "p1+p3", "raw_difference", "delta_pearson"): (0.9, 0.9, 0.9),
        }
    )
    tests = effect("perturbation", **{"p1+p2": 0.005, "p1+p3": 0.3})
    (finding,) = findings_of(run_rows(NB), pd.concat([applications, tests]), "perturbation")
    assert "is 0.82" in finding.sentence
    assert "Of 2 held-out conditions, 1 showed no measurable effect and was excluded." in (
        finding.sentence
    )


def test_of_many_conditions_one_in_twenty_does_not_pass_for_an_effect() -> None:
    names = [f"p{i}" for i in range(20)]
    rows = {("perturbation", n, m, "delta_pearson"): (0.5, 0.5, 0.6)
            for n in names for m in ("vae", "raw_difference")}  # fmt: skip
    chance = effect("perturbation", **dict.fromkeys(names, 0.5) | {"p3": 0.04})
    assert findings_of(run_rows(NB), pd.concat([scores(rows), chance]), "perturbation") == []


def test_an_error_is_better_where_it_is_smaller() -> None:
    applications = scores(
        {
            ("denoising", "zeroed", "vae", "mean_absolute_error"): (0.5, 0.51, 0.52),
            ("denoising", "zeroed", "log_pca", "mean_absolute_error"): (0.7, 0.71, 0.72),
            ("denoising", "left_alone", "log_pca", "mean_absolute_error"): (0.1, 0.1, 0.1),
        }
    )
    (finding,) = findings_of(run_rows(NB), applications, "denoising")
    assert finding.headline == "Denoising recovers zeroed counts better than any baseline"
    assert "compared with 0.71" in finding.sentence


def test_of_two_latent_paths_the_better_one_is_reported() -> None:
    keys: dict[str, Any] = {"straight": (0.5, 0.5, 0.6), "density": (0.9, 0.91, 0.92)}
    applications = scores(
        {("trajectory", "a → b", name, "pseudotime_spearman"): v for name, v in keys.items()}
        | {("trajectory", "a → b", "linear_expression", "pseudotime_spearman"): (0.7, 0.7, 0.71)}
    )
    applications = pd.concat([applications, effect("trajectory", **{"a → b": 0.001})])
    (finding,) = findings_of(run_rows(NB), applications, "trajectory")
    assert "(density path)" in finding.sentence
    assert finding.conclusive


def test_holes_are_forbidden_where_their_profiles_are_farther_from_cells() -> None:
    applications = scores(
        {
            ("forbidden_states", "all", "vae", "distance_ratio"): (1.4, 1.45, 1.5),
            ("forbidden_states", "all", "vae", "hole_rate"): (0.3, 0.31, 0.32),
        }
    )
    (finding,) = findings_of(run_rows(NB), applications, "forbidden_states")
    assert "profiles far from any real cell" in finding.headline
    assert "1.45" in finding.sentence


def test_without_applications_there_is_no_finding_about_them() -> None:
    kinds = {finding.kind for finding in findings(run_rows(NB), summarize(run_rows(NB)),
                                                  None, None, {})}  # fmt: skip
    assert kinds.isdisjoint({"perturbation", "denoising", "trajectory", "forbidden_states"})


def test_one_seed_cannot_test_a_difference_of_likelihoods() -> None:
    metrics = run_rows({**NB, "poisson": -900.0})
    (finding,) = findings_of(metrics[metrics["seed"] == 0], None, "counts")
    assert not finding.conclusive
    assert "With one seed, these differences cannot be tested." in finding.sentence
