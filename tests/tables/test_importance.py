"""importance.csv against planted effects and their closed forms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from study_rows import product, row, written
from vae_ablation.tables.importance import (
    COLUMNS,
    effects,
    importance,
    noise,
    seed_weights,
    shapley,
)

Rows = list[dict[str, Any]]
BETA = {0.5: -3.0, 1.0: 1.0, 4.0: 2.0}
DIM = {2: -1.0, 8: 0.0, 16: 1.0}


def planted(spread: float = 0.0, interaction: float = 0.0, seeds: int = 3, **more: Any) -> Rows:
    """An ELBO of the effects of β and the dimension, of their product, and noise over seeds."""
    rng = np.random.default_rng(0)
    rows = []
    for cell in product(beta=list(BETA), latent_dim=list(DIM), seed=range(seeds)):
        beta, dim = BETA[cell["beta"]], DIM[cell["latent_dim"]]
        value = 10 + beta + dim + interaction * beta * dim + spread * rng.normal()
        rows.append(row(metrics={"elbo": value, "rate": 5.0, **more}, **cell))
    return rows


def table_of(rows: Rows, metric: str = "elbo", **where: Any) -> pd.DataFrame:
    table = importance(pd.DataFrame(rows))
    table = table[(table["metric"] == metric) & (table["levels"] == where.pop("levels", "regular"))]
    for column, value in where.items():
        table = table[table[column] == value]
    return table.set_index("term")


def test_spans_and_shares_are_those_of_the_planted_effects() -> None:
    table = table_of(planted())
    assert dict(table["span"]) == pytest.approx({"beta": 5.0, "latent_dim": 2.0})
    # Mean squares of the effects: (9 + 1 + 4)/3 and (1 + 0 + 1)/3.
    assert dict(table["share"]) == pytest.approx({"beta": 14 / 16, "latent_dim": 2 / 16})
    assert set(table["rectangle"]) == {"β 0.5, 1, 4; latent dimension 2, 8, 16"}
    assert (set(table["seeds"]), set(table["n"])) == ({3}, {27})


def test_an_interaction_is_shared_by_its_axes() -> None:
    table = table_of(planted(interaction=0.5))
    # Of the product: ¼ · 14/3 · 2/3, half to each.
    parts = np.array([14 / 3, 2 / 3, 0.25 * 14 / 3 * 2 / 3])
    wanted = {"beta": parts[0] + parts[2] / 2, "latent_dim": parts[1] + parts[2] / 2}
    assert dict(table["share"]) == pytest.approx({k: v / parts.sum() for k, v in wanted.items()})
    assert table.loc["beta", "main"] == pytest.approx(parts[0] / parts.sum())
    assert table["share"].sum() == pytest.approx(1)


def test_noise_is_taken_off_and_intervals_hold_the_truth() -> None:
    table = table_of(planted(spread=1.0, seeds=5))
    assert table.loc["beta", "share_low"] < 14 / 16 < table.loc["beta", "share_high"]
    assert table.loc["latent_dim", "span_low"] < 2 < table.loc["latent_dim", "span_high"]
    rng = np.random.default_rng(1)
    biased = [shapley(rng.normal(size=(3, 3, 4)) + np.arange(3)[:, None, None],
                      seed_weights(4)[:, :1])[0][1, 0] for _ in range(300)]  # fmt: skip
    # Without it the second axis would have (2 + 4/2) · 1/4 / 9 of about 0.67 + 8/36: 12 %.
    assert np.mean(biased) < 0.06


def test_components_are_those_of_an_analysis_of_variance() -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(size=(3, 4, 2, 5))
    places = np.indices(values.shape).reshape(4, -1)
    frame = pd.DataFrame({name: places[i].astype(str) for i, name in enumerate("abcs")})
    frame["y"] = values.ravel()
    table = anova_lm(ols("y ~ a * b * c + s", frame).fit())
    assert noise(values) == pytest.approx(table.loc["Residual", "mean_sq"])
    means = values.mean(axis=-1, keepdims=True)
    for term, axes in (("a", (0,)), ("a:b", (0, 1)), ("a:b:c", (0, 1, 2))):
        squares = (effects(means, axes) ** 2).mean() * values.size
        assert squares == pytest.approx(table.loc[term, "sum_sq"])


def test_ratios_span_as_ratios_and_shares_as_points() -> None:
    rows = [
        row(metrics={"mse": beta * 2.0**seed, "probe_accuracy": 0.2 * dim, "rate": 5.0},
            beta=beta, latent_dim=dim, seed=seed)
        for beta in (0.5, 1.0, 4.0) for dim in (1, 2, 4) for seed in range(2)
    ]  # fmt: skip
    assert table_of(rows, "mse").loc["beta", "span"] == pytest.approx(8)
    assert table_of(rows, "probe_accuracy").loc["latent_dim", "span"] == pytest.approx(0.6)


def with_collapse() -> Rows:
    """Also KL off, and β = 16 at which the arms of one dimension collapse."""
    rows = planted(probe_accuracy=0.9)
    for cell in product(latent_dim=list(DIM), seed=range(3)):
        rate = 0.01 if cell["latent_dim"] == 2 else 3.0
        dead = {"elbo": 0.0, "rate": rate, "probe_accuracy": 0.1}
        rows.append(row(metrics=dead, beta=16.0, **cell))
        rows.append(
            row(metrics={"elbo": 0.0, "rate": 9.0, "probe_accuracy": 0.9}, kl=False, **cell)
        )
    for i, one in enumerate(rows):
        one["probe_accuracy"] += 0.001 * (i % 5) + 0.01 * np.log2(one["latent_dim"])
    return rows


def test_collapsed_levels_and_kl_off_are_in_a_rectangle_of_their_own() -> None:
    regular = table_of(with_collapse(), "probe_accuracy")
    assert set(regular["rectangle"]) == {"β 0.5, 1, 4; latent dimension 2, 8, 16"}
    every = table_of(with_collapse(), "probe_accuracy", levels="every")
    assert set(every["rectangle"]) == {"β 0, 0.5, 1, 4, 16; latent dimension 2, 8, 16"}
    assert regular.loc["latent_dim", "share"] > 0.9
    assert every.loc["beta", "share"] > 0.9


def test_a_metric_undefined_in_a_cell_is_refused_and_the_rectangle_stays() -> None:
    every = table_of(with_collapse(), "rate", levels="every")
    # No optimum without the KL term, no ratio of a collapsed arm.
    assert list(every["refused"]) == ["undefined or not comparable in 4 of 15 cells"]
    assert every[["span", "share"]].isna().all(axis=None)
    assert set(every["n"]) == {45}


def test_two_levels_have_a_span_and_no_share_and_are_averaged_over() -> None:
    rows = [one | {"architecture": name, "elbo": one["elbo"] + 7 * (name == "conv")}
            for one in planted() for name in ("mlp", "conv")]  # fmt: skip
    table = table_of(rows)
    assert table.loc["architecture", "refused"] == "two levels"
    assert table.loc["architecture", "span"] == pytest.approx(7)
    assert np.isnan(table.loc["architecture", "share"])
    assert table.loc["beta", "share"] == pytest.approx(14 / 16)


def test_one_axis_and_one_seed_have_spans_alone() -> None:
    one = [cells for cells in planted(0.1) if cells["latent_dim"] == 2]
    assert list(table_of(one)["refused"]) == ["the only axis with three levels"]
    single = table_of([cells for cells in planted() if cells["seed"] == 0])
    assert set(single["refused"]) == {"one seed"}
    assert single[["share", "span_low"]].isna().all(axis=None)
    assert single.loc["beta", "span"] == pytest.approx(5)


def test_the_likelihood_is_an_axis_of_what_likelihoods_share() -> None:
    names = ("gaussian", "continuous_bernoulli", "bernoulli")
    rows = [row(metrics={"elbo": i + cell["beta"], "rate": cell["beta"] * (1 + i), "ari": i / 9},
                likelihood=name, **cell)
            for i, name in enumerate(names)
            for cell in product(beta=[0.5, 1.0, 4.0], seed=range(2))]  # fmt: skip
    table = importance(pd.DataFrame(rows))
    assert set(table.loc[table["likelihood"] == "all", "metric"]) == {"rate", "ari"}
    assert set(table.loc[table["metric"] == "elbo", "likelihood"]) == {*names}
    shared = table[(table["likelihood"] == "all") & (table["metric"] == "rate")]
    assert set(shared["term"]) == {"beta", "likelihood"}


def test_a_study_beside_the_product_is_left_out() -> None:
    rows = planted(0.1)
    more = [row(metrics={"elbo": 99.0, "rate": 5.0}, beta=1.0, latent_dim=32, seed=s)
            for s in range(3)]  # fmt: skip
    more += [row("diverged", beta=8.0, latent_dim=d, seed=s) for d in DIM for s in range(3)]
    truth = importance(pd.DataFrame(rows))
    pd.testing.assert_frame_equal(importance(pd.DataFrame(rows + more)), truth)


def test_neither_the_order_of_the_rows_nor_the_file_matters_and_nothing_gives_nothing(
    tmp_path: Path,
) -> None:
    truth = importance(pd.DataFrame(planted(0.3)))
    shuffled = importance(pd.DataFrame(planted(0.3)).sample(frac=1, random_state=1))
    pd.testing.assert_frame_equal(shuffled, truth)
    pd.testing.assert_frame_equal(importance(written(planted(0.3), tmp_path)), truth)
    for nothing in ([], [row("failed")], [row(metrics={"mse": 1.0})]):
        table = importance(written(nothing, tmp_path))
        assert list(table.columns) == COLUMNS
        assert table.empty
