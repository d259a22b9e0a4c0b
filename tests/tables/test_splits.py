"""Random splits as replicates: their names in texts, and the overlap that intervals allow for."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.stats import t as student_t

from vae_ablation.study.metrics import described
from vae_ablation.study.questions import questions_of
from vae_ablation.tables.collect import mean_interval, summarize
from vae_ablation.tables.comparison import compare
from vae_ablation.tables.replicates import Replicates
from vae_ablation.tables.splits import independent, overlap, replicate, worded
from vae_ablation.tables.verdicts import seeds_needed

Array = NDArray[np.float64]
EXAMPLES, TEST, SPLITS = 150, 45, 5
SHARE = TEST / EXAMPLES


def runs_of(values: Array, share: float | None = SHARE, metric: str = "elbo") -> pd.DataFrame:
    """Runs of two arms: values [arms, splits, seeds] of a metric."""
    rows = [
        {
            "run": f"{arm}{split}{seed}", "dataset": "d", "likelihood": "gaussian",
            "latent_dim": 2, "beta": float(arm + 1), "kl": True, "posterior": "gaussian",
            "arm": f"beta{arm + 1}", "split_seed": split, "seed": seed, "status": "ok",
            "measure": "x", metric: values[arm, split, seed],
        }
        for arm in range(values.shape[0])
        for split in range(values.shape[1])
        for seed in range(values.shape[2])
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    return table if share is None else table.assign(test_share=share)


AXES = ["dataset", "likelihood", "latent_dim", "beta", "kl", "posterior", "arm"]


def pooled(runs: pd.DataFrame, metric: str = "elbo") -> dict[str, float]:
    replicates = Replicates(runs, AXES, [described(metric)])
    questions = [one for one in questions_of(AXES[:-1], {}) if one.name == "beta"]
    table = compare(replicates, questions, [metric])
    (row,) = table[table["scope"] == "pooled"].to_dict("records")
    return row


def drawn(random: np.random.Generator) -> Array:
    """Mean differences on random test splits of one data set, whose true mean is 0: [splits]."""
    each = random.normal(size=EXAMPLES)
    parts = [random.permutation(EXAMPLES)[:TEST] for _ in range(SPLITS)]
    return np.array([each[part].mean() for part in parts])


def test_intervals_over_splits_cover_the_mean_of_other_data() -> None:
    """Splits of one data set share examples; without the correction two intervals of five miss."""
    random, covered = np.random.default_rng(3), []
    for _ in range(1500):
        values = drawn(random)
        ends = [mean_interval(values, overlap=shared)[2:] for shared in (0.0, SHARE / (1 - SHARE))]
        covered.append([low <= 0 <= high for low, high in ends])
    naive, corrected = np.mean(covered, axis=0)
    slack = 3 * np.sqrt(0.05 * 0.95 / 1500)
    assert naive < 0.85
    assert 0.95 - slack <= corrected <= 0.98 + slack


def test_contrasts_have_the_variance_of_overlapping_splits() -> None:
    """1/n + ρ/(1 − ρ) of the variance among splits, on n − 1 degrees of freedom: by hand."""
    random = np.random.default_rng(0)
    values = random.normal(size=(2, SPLITS, 2)) + np.array([0.0, 2.0])[:, None, None]
    row = pooled(runs_of(values))
    means = (values[1] - values[0]).mean(-1)
    sign = np.sign(row["estimate"]) * np.sign(means.mean())
    assert row["estimate"] == pytest.approx(sign * means.mean())
    error = means.std(ddof=1) * np.sqrt(1 / SPLITS + SHARE / (1 - SHARE))
    assert row["se"] == pytest.approx(error)
    assert row["df"] == pytest.approx(SPLITS - 1)
    half = student_t.ppf(0.975, SPLITS - 1) * error
    assert row["ci_high"] - row["ci_low"] == pytest.approx(2 * half)
    for share in (None, 0.0):
        alone = pooled(runs_of(values, share))
        assert alone["se"] == pytest.approx(means.std(ddof=1) / np.sqrt(SPLITS))


def test_seeds_have_no_overlap() -> None:
    values = np.random.default_rng(0).normal(size=(2, 1, 4))
    assert pooled(runs_of(values))["se"] == pooled(runs_of(values, None))["se"]
    assert overlap(runs_of(values)) == 0


def test_more_splits_do_not_take_the_overlap_away() -> None:
    """The number planned has the error that the formula gives, and one fewer has too much."""
    n, df, margin, shared = np.array([5.0]), np.array([4.0]), np.array([2.0]), 0.25
    error = np.array([0.9])
    (planned,) = seeds_needed(error, df, n, margin, overlap=shared)
    spread = error / np.sqrt(1 / n + shared)

    def half(count: float) -> float:
        quantiles = student_t.isf(0.05, count - 1) + student_t.ppf(0.9, count - 1)
        return float(quantiles * spread[0] * np.sqrt(1 / count + shared))

    assert half(planned) <= margin[0] < half(planned - 1)
    assert np.isnan(seeds_needed(error, df, n, np.array([0.5]), overlap=shared)).all()
    assert not np.isnan(seeds_needed(error, df, n, np.array([0.5]))).any()


def test_the_summary_allows_for_the_overlap() -> None:
    values = np.random.default_rng(1).normal(size=(2, SPLITS, 2))
    table = summarize(runs_of(values).assign(model="vae"))
    (row,) = table[(table["arm"] == "beta1") & (table["metric"] == "elbo")].to_dict("records")
    means = values[0].mean(-1)
    error = means.std(ddof=1) * np.sqrt(1 / SPLITS + SHARE / (1 - SHARE))
    half = student_t.ppf(0.975, SPLITS - 1) * error
    assert row["ci_high"] - row["ci_low"] == pytest.approx(2 * half)
    assert "test_share" not in set(table["metric"])


@pytest.mark.parametrize("spread", [0, 1])
def test_equal_counts_in_every_split_are_no_certainty(spread: int) -> None:
    """Whole numbers have at least the variance of rounding, over splits as over seeds."""
    values = np.full((2, SPLITS, 2), 5.0)
    values[1] += 1
    values[1, 0] += spread
    row = pooled(runs_of(values, metric="active_units"), "active_units")
    least = np.sqrt(1 / 6 * (1 / SPLITS + SHARE / (1 - SHARE)))
    assert row["se"] >= least * (1 - 1e-9)
    assert spread or row["se"] == pytest.approx(least)
    assert row["ci_low"] < row["estimate"] < row["ci_high"]


def test_texts_name_what_replicates_an_arm() -> None:
    values = np.zeros((2, SPLITS, 2))
    assert replicate(runs_of(values)) == "split"
    assert replicate(runs_of(values[:, :1])) == "seed"
    assert replicate(runs_of(values).drop(columns="split_seed")) == "seed"
    text = "Mean over seeds, paired by seed. Run of seed 3. Over seeds."
    assert worded(text, "split") == "Mean over splits, paired by split. Run of seed 3. Over splits."
    assert worded(text, "seed") == text


def test_replicates_of_a_column_are_by_split_where_there_are_several() -> None:
    values = np.random.default_rng(2).normal(size=(1, 3, 2))
    assert independent(runs_of(values), "elbo").tolist() == pytest.approx(values[0].mean(-1))
    assert independent(runs_of(values[:, :1]), "elbo").tolist() == pytest.approx(values[0, 0])
