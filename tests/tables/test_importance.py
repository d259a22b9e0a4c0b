"""importance.csv against planted effects, closed forms and SciPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from study_rows import product, row, written
from vae_ablation.tables.importance import COLUMNS, importance

Rows = list[dict[str, Any]]
BETA_EFFECT = {0.5: -3.0, 1.0: 1.0, 4.0: 2.0}
DIM_EFFECT = {2: -1.0, 8: 1.0}


def shares(table: pd.DataFrame, **where: Any) -> dict[str, float]:
    for column, value in where.items():
        table = table[table[column] == value]
    return dict(zip(table["term"], table["share"], strict=True))


def planted(noise: float = 0.0, interaction: float = 0.0, seeds: int = 3) -> Rows:
    """Mse = effect of β + effect of the dimension + their interaction + noise over seeds."""
    rows = []
    cells = product(beta=list(BETA_EFFECT), latent_dim=list(DIM_EFFECT), seed=range(seeds))
    for cell in cells:
        beta, dim = BETA_EFFECT[cell["beta"]], DIM_EFFECT[cell["latent_dim"]]
        own = noise * (cell["seed"] - (seeds - 1) / 2)
        rows.append(row(metrics={"mse": 10 + beta + dim + interaction * beta * dim + own}, **cell))
    return rows


def test_shares_are_those_of_the_planted_effects() -> None:
    # Sums of squares per cell: β (9 + 1 + 4)/3; dimension 1; product of both; seeds 2/3 · noise².
    noise, interaction = 1.5, 0.5
    parts = {
        "beta": 14 / 3,
        "latent_dim": 1.0,
        "beta:latent_dim": interaction**2 * 14 / 3,
        "residual": noise**2 * 2 / 3,
    }
    total = sum(parts.values())
    table = importance(pd.DataFrame(planted(noise, interaction)))
    found = table.set_index("term")
    assert list(found.index) == list(parts)
    assert list(found["df"]) == [2, 1, 2, 12]
    for term, part in parts.items():
        assert found.loc[term, "share"] == pytest.approx(part / total)
        assert found.loc[term, "sum_sq"] == pytest.approx(18 * part)
    for term, df in (("beta", 2), ("latent_dim", 1), ("beta:latent_dim", 2)):
        f = (18 * parts[term] / df) / (18 * parts["residual"] / 12)
        assert found.loc[term, "f"] == pytest.approx(f)
        assert found.loc[term, "p"] == pytest.approx(stats.f.sf(f, df, 12))
        partial = parts[term] / (parts[term] + parts["residual"])
        assert found.loc[term, "partial"] == pytest.approx(partial)
    assert found.loc["residual", ["partial", "f", "p"]].isna().all()
    assert set(found["n"]) == {18}
    assert set(found["likelihood"]) == {"gaussian"}


def test_additive_effects_without_noise_have_no_interaction_and_no_test() -> None:
    table = importance(pd.DataFrame(planted()))
    found = shares(table)
    assert found["beta:latent_dim"] == 0.0
    assert found["residual"] == 0.0
    assert found["beta"] + found["latent_dim"] == pytest.approx(1.0)
    assert table[["f", "p", "partial"]].isna().all(axis=None)


def test_one_axis_is_scipys_one_way_analysis() -> None:
    rng = np.random.default_rng(0)
    groups = {beta: rng.normal(effect, 2.0, 7) for beta, effect in BETA_EFFECT.items()}
    rows = [row(metrics={"mse": value}, beta=beta, seed=seed)
            for beta, values in groups.items() for seed, value in enumerate(values)]  # fmt: skip
    found = importance(pd.DataFrame(rows)).set_index("term")
    truth = stats.f_oneway(*groups.values())
    assert list(found.index) == ["beta", "residual"]
    assert found.loc["beta", "f"] == pytest.approx(truth.statistic)
    assert found.loc["beta", "p"] == pytest.approx(truth.pvalue)


def noisy(draw: int = 0, /, **axes: Any) -> Rows:
    rng = np.random.default_rng(draw)
    return [row(metrics={"mse": rng.normal(), "elbo": rng.normal(), "rate": rng.normal()}, **cell)
            for cell in product(**axes)]  # fmt: skip


THREE = {"beta": [0.5, 1.0, 4.0], "kl": [True], "latent_dim": [2, 4],
         "likelihood": ["gaussian", "bernoulli"], "seed": [0, 1, 2]}  # fmt: skip


@pytest.mark.parametrize("kind", [1, 2, 3])
@pytest.mark.parametrize("order", ["b, d, m", "m, d, b", "d, m, b"])
def test_no_type_of_sums_of_squares_and_no_order_of_terms_gives_others(
    kind: int, order: str
) -> None:
    rows = noisy(**THREE)
    found = importance(pd.DataFrame(rows)).query("likelihood == 'all' and metric == 'mse'")
    names = {"b": "beta", "d": "latent_dim", "m": "likelihood"}
    data = pd.DataFrame([{s: str(r[n]) for s, n in names.items()} | {"y": r["mse"]} for r in rows])
    model = ols(f"y ~ ({' + '.join(f'C({s}, Sum)' for s in order.split(', '))}) ** 2", data)
    truth = {}
    for term, sum_sq in anova_lm(model.fit(), typ=kind)["sum_sq"].items():
        symbols = [part[2] for part in str(term).split(":") if part.startswith("C(")]
        truth[frozenset(names[s] for s in symbols)] = sum_sq
    checked = found[found["term"] != "residual"]
    assert len(checked) == 6
    for item in checked.itertuples():
        assert item.sum_sq == pytest.approx(truth[frozenset(item.term.split(":"))])


def test_the_likelihood_is_a_factor_only_of_what_is_comparable_across_likelihoods() -> None:
    table = importance(pd.DataFrame(noisy(**THREE)))
    groups = set(zip(table["likelihood"], table["metric"], strict=True))
    assert groups == {
        ("all", "mse"), ("all", "rate"),
        *((likelihood, metric) for likelihood in ("gaussian", "bernoulli")
          for metric in ("mse", "elbo", "rate")),
    }  # fmt: skip
    assert set(shares(table, likelihood="all", metric="mse")) == {
        "beta", "latent_dim", "likelihood", "beta:latent_dim", "beta:likelihood",
        "latent_dim:likelihood", "residual",
    }  # fmt: skip
    sums = table.groupby(["likelihood", "metric"])["share"].sum()
    assert list(sums) == pytest.approx([1.0] * 8)


def test_kl_off_is_a_level_of_beta_except_where_it_has_no_optimum() -> None:
    rows = noisy(beta=[1.0, 4.0], seed=range(3)) + noisy(1, kl=[False], seed=range(3))
    table = importance(pd.DataFrame(rows)).set_index(["metric", "term"])
    assert (table.loc[("mse", "beta"), "df"], table.loc[("mse", "beta"), "n"]) == (2, 9)
    assert (table.loc[("rate", "beta"), "df"], table.loc[("rate", "beta"), "n"]) == (1, 6)


def test_other_posteriors_are_no_levels_of_beta() -> None:
    rows = noisy(beta=[1.0, 4.0], seed=range(3))
    more = noisy(1, posterior=["point"], seed=range(3))
    more += noisy(2, posterior=["fixed"], beta=[1.0, 4.0], seed=range(3))
    pd.testing.assert_frame_equal(
        importance(pd.DataFrame(rows + more)), importance(pd.DataFrame(rows))
    )


def test_architecture_and_objective_are_axes() -> None:
    rows = noisy(architecture=["mlp", "conv"], latent_dim=[2, 4], seed=[0, 1])
    assert list(shares(importance(pd.DataFrame(rows)), metric="mse")) == [
        "latent_dim", "architecture", "latent_dim:architecture", "residual",
    ]  # fmt: skip
    rows = noisy(objective=["elbo", "iwae"], importance_samples=[5, 50], seed=[0, 1])
    assert list(shares(importance(pd.DataFrame(rows)), metric="mse")) == [
        "objective", "importance_samples", "objective:importance_samples", "residual",
    ]  # fmt: skip


def test_what_is_missing_takes_out_the_level_that_lacks_most() -> None:
    rows = noisy(beta=[0.5, 1.0, 4.0], latent_dim=[2, 4], seed=range(4))
    # All of one β and one run of another: the β goes, then the seed (6 − 2 runs) of the run.
    broken = [
        {**cells, "status": "diverged", "mse": None}
        if cells["beta"] == 4.0
        or (cells["beta"], cells["latent_dim"], cells["seed"]) == (1.0, 4, 2)
        else cells
        for cells in rows
    ]
    kept = [cells for cells in rows if cells["beta"] != 4.0 and cells["seed"] != 2]
    found = importance(pd.DataFrame(broken)).query("metric == 'mse'").reset_index(drop=True)
    truth = importance(pd.DataFrame(kept)).query("metric == 'mse'").reset_index(drop=True)
    pd.testing.assert_frame_equal(found, truth)
    assert set(found["n"]) == {12}


def test_a_level_of_many_runs_goes_where_it_lacks_a_larger_share_than_others() -> None:
    rows = noisy(beta=[1.0, 4.0], latent_dim=[2, 4], seed=range(10))
    # β = 4 has 8 of 20 runs, each seed from 4 on 2 of 4.
    kept = [cells for cells in rows if cells["beta"] == 1.0 or cells["seed"] < 4]
    found = importance(pd.DataFrame(kept)).query("metric == 'mse'")
    assert list(found["term"]) == ["latent_dim", "residual"]
    assert set(found["n"]) == {20}


def test_a_loose_bound_is_as_a_missing_run() -> None:
    rows = [row(metrics={"nll": beta * seed, "nll_loose": beta == 0.5}, beta=beta, seed=seed)
            for beta in (0.5, 1.0, 4.0) for seed in (1, 2)]  # fmt: skip
    table = importance(pd.DataFrame(rows)).set_index("term")
    assert (table.loc["beta", "df"], table.loc["beta", "n"]) == (1, 4)


def test_a_study_beside_the_product_is_left_out() -> None:
    rows = noisy(beta=[0.5, 1.0, 4.0], latent_dim=[2, 4], seed=range(3))
    more = noisy(1, beta=[1.0], latent_dim=[16], seed=range(3))
    more += noisy(2, beta=[1.0], latent_dim=[2], seed=range(3, 9))
    more += noisy(3, beta=[1.0], architecture=["conv"], latent_dim=[2], seed=range(3))
    pd.testing.assert_frame_equal(
        importance(pd.DataFrame(rows + more)), importance(pd.DataFrame(rows))
    )


def test_with_one_seed_pairs_are_the_residual_and_one_axis_alone_has_none() -> None:
    rows = noisy(beta=[0.5, 1.0, 4.0], latent_dim=[2, 4], seed=[0])
    found = importance(pd.DataFrame(rows)).query("metric == 'mse'").set_index("term")
    assert list(found.index) == ["beta", "latent_dim", "residual"]
    assert found.loc["residual", "df"] == 2
    assert importance(pd.DataFrame(noisy(beta=[0.5, 1.0], seed=[0]))).empty


def test_a_metric_that_does_not_vary_and_an_empty_study_have_no_rows(tmp_path: Path) -> None:
    rows = [row(metrics={"mse": 0.1 + 0.2, "ari": 0.3 * b}, beta=b, seed=s)
            for b in (1.0, 4.0) for s in (0, 1)]  # fmt: skip
    assert set(importance(pd.DataFrame(rows))["metric"]) == {"ari"}
    for nothing in ([], [row("failed")], [row(metrics={"mse": 1.0})]):
        table = importance(written(nothing, tmp_path))
        assert list(table.columns) == COLUMNS
        assert table.empty


def test_importance_does_not_depend_on_the_order_of_the_rows_or_the_file(tmp_path: Path) -> None:
    rows = noisy(**THREE)
    truth = importance(pd.DataFrame(rows))
    shuffled = importance(pd.DataFrame(rows).sample(frac=1, random_state=1))
    pd.testing.assert_frame_equal(shuffled, truth)
    pd.testing.assert_frame_equal(importance(written(rows, tmp_path)), truth)
