"""Looks at growing data: a verdict is that of the first look that reaches it, whatever follows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from study_rows import product, row
from vae_ablation.tables.contrasts import contrasts

LOOKS = [3, 5, 7]


def runs(seeds: dict[float, int], later: float = 0.0) -> pd.DataFrame:
    """Arms by β with so many seeds; β = 4 is far better at first, and by `later` after seed 2."""
    noise = np.random.default_rng(4).normal(0, 0.3, (2, 9, 20))
    rows = []
    for i, latent_dim in enumerate((2, 8)):
        for j, (beta, count) in enumerate(seeds.items()):
            for seed in range(count):
                shift = (10.0 if seed < 3 else later) if beta == 4.0 else 0.0
                value = noise[i, j, seed] + shift
                rows.append(
                    row(latent_dim=latent_dim, beta=beta, seed=seed, metrics={"elbo": value})
                )
    return pd.DataFrame(rows)


def found(table: pd.DataFrame, looks: list[int], **further: Any) -> pd.DataFrame:
    rows = contrasts(table, ["elbo"], None, looks=looks, **further)
    return rows[rows["question"] == "beta"].set_index(["scope", "level", "latent_dim"])


def pooled(table: pd.DataFrame, level: str) -> dict[str, Any]:
    row: dict[str, Any] = table.loc["pooled"].loc[level].iloc[0].to_dict()
    return row


def test_a_verdict_stays_when_seeds_for_another_question_turn_the_difference() -> None:
    """β = 4 gets seeds that say the opposite; it was decided at 3."""
    early = found(runs({0.5: 3, 1.0: 3, 4.0: 3}), LOOKS)
    late = found(runs({0.5: 7, 1.0: 7, 4.0: 7}, later=-90.0), LOOKS)
    plain = found(runs({0.5: 7, 1.0: 7, 4.0: 7}, later=-90.0), [])
    first, last = pooled(early, "4"), pooled(late, "4")
    assert (first["verdict"], first["look"], first["n"]) == ("better", 3, 3)
    assert pooled(plain, "4")["effect"] < 0
    numbers = ["verdict", "look", "n", "effect", "ci_low", "ci_high", "p", "p_adjusted"]
    assert {name: first[name] for name in numbers} == {name: last[name] for name in numbers}


def test_an_undecided_comparison_is_seen_at_its_last_look() -> None:
    table = found(runs({0.5: 6, 1.0: 6, 4.0: 6}), LOOKS)
    open_ = pooled(table, "0.5")
    assert (open_["verdict"], open_["look"], open_["n"]) == ("undecided", 5, 5)
    assert pooled(table, "4")["look"] == 3


def test_a_later_look_decides_what_an_earlier_one_could_not() -> None:
    table = runs({0.5: 7, 1.0: 7, 4.0: 7})
    here = table["beta"] == 0.5
    table.loc[here, "elbo"] += np.where(table.loc[here, "seed"] == 0, 0.0, 1.2)
    assert pooled(found(table[table["seed"] < 3], LOOKS), "0.5")["verdict"] == "undecided"
    last = pooled(found(table, LOOKS), "0.5")
    assert (last["verdict"], last["look"]) == ("better", last["n"])
    assert last["look"] > 3


def test_a_later_seed_that_is_only_a_bound_takes_no_verdict_back() -> None:
    """The arm is left out whole from then on; at the look of its verdict it was not loose."""
    table = runs({0.5: 7, 1.0: 7, 4.0: 7}).rename(columns={"elbo": "nll"})
    loose = table.assign(nll_loose=(table["seed"] == 4) & (table["beta"] == 4.0))
    both = [contrasts(one, ["nll"], None, looks=LOOKS)
            for one in (loose[loose["seed"] < 3], loose)]  # fmt: skip
    early, late = (
        one[(one["question"] == "beta") & (one["scope"] == "pooled") & (one["level"] == "4")]
        for one in both
    )
    assert list(late["verdict"]) == ["worse"]
    assert list(late["look"]) == [3]
    columns = ["effect", "ci_low", "df", "p_adjusted"]
    np.testing.assert_array_equal(early[columns].to_numpy(), late[columns].to_numpy())


def test_before_the_first_look_nothing_is_decided() -> None:
    table = found(runs({0.5: 2, 1.0: 2, 4.0: 2}), LOOKS)
    row = pooled(table, "4")
    assert (row["verdict"], row["n"]) == ("undecided", 2)
    assert pd.isna(row["look"])
    assert pooled(found(runs({0.5: 2, 1.0: 2, 4.0: 2}), [2, 4]), "4")["look"] == 2


def test_arms_of_unequal_seeds_are_seen_at_the_look_that_both_have_reached() -> None:
    table = found(runs({0.5: 3, 1.0: 7, 4.0: 5}), LOOKS)
    assert (pooled(table, "0.5")["look"], pooled(table, "0.5")["n"]) == (3, 3)


def test_each_look_has_its_share_of_alpha() -> None:
    table = runs({0.5: 3, 1.0: 3, 4.0: 3})
    one, four = (pooled(found(table, looks), "4") for looks in ([3], [3, 5, 7, 9]))
    assert four["ci_high"] - four["ci_low"] > one["ci_high"] - one["ci_low"]
    assert pooled(found(table, []), "4")["ci_low"] == one["ci_low"]


def test_a_split_stands_in_the_place_of_a_seed() -> None:
    rows = [
        row(**one, metrics={"elbo": 10.0 * (one["beta"] == 4) + one["split_seed"] * (-50.0 if
            one["split_seed"] > 2 and one["beta"] == 4 else 0.01) + 0.001 * one["seed"]})
        | {"split_seed": one["split_seed"]}
        for one in product(beta=[1.0, 4.0], split_seed=range(5), seed=range(2))
    ]  # fmt: skip
    noise = np.random.default_rng(1).normal(0, 0.1, len(rows))
    table = pd.DataFrame(rows)
    table["elbo"] += noise
    decided = pooled(found(table, LOOKS), "4")
    assert (decided["verdict"], decided["look"], decided["n"]) == ("better", 3, 3)
    assert found(table, [])["effect"].iloc[0] < 0


def test_an_answer_that_depends_on_an_axis_stays_so_and_its_open_levels_go_on() -> None:
    rng = np.random.default_rng(2)
    rows = []
    for one in product(likelihood=["gaussian", "continuous_bernoulli"], latent_dim=[2, 8, 16],
                       beta=[1.0, 4.0], seed=range(5)):  # fmt: skip
        sign = 1.0 if one["likelihood"] == "gaussian" else -1.0
        effect = sign * 15.0 if one["seed"] < 3 else 15.0
        value = (effect if one["beta"] == 4.0 else 0.0) + rng.normal(0, 0.1)
        rows.append(row(**one, metrics={"sample_fid": 30 + value, "elbo": value}))
    table = contrasts(pd.DataFrame(rows), ["sample_fid"], None, looks=LOOKS)
    rows_ = table[(table["question"] == "beta") & (table["metric"] == "sample_fid")]
    pooled_ = rows_[rows_["scope"] == "pooled"].iloc[0]
    assert (pooled_["verdict"], pooled_["depends_on"], pooled_["look"]) == (
        "depends", "likelihood", 3,
    )  # fmt: skip
    within = rows_[rows_["scope"].str.startswith("likelihood=")].set_index("scope")
    assert dict(within["verdict"]) == {
        "likelihood=gaussian": "worse", "likelihood=continuous_bernoulli": "better",
    }  # fmt: skip
    assert set(within["look"]) == {3}
