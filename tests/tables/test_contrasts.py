"""contrasts.csv: which arms are set against which, what is said of them, and what is left out."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from study_rows import product, row, written
from vae_ablation.common.errors import UserError
from vae_ablation.tables.contrasts import COLUMNS, contrasts
from vae_ablation.tables.scales import transformed

Rows = list[dict[str, Any]]

BETAS = (0.25, 1.0, 8.0)
ARMS: Rows = [*({"beta": beta} for beta in BETAS), {"kl": False}, {"posterior": "point"}]


def values(seed: int, **changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    names = ("distortion", "rate", "elbo", "nll", "code_rms", "mse", "probe_accuracy")
    return {**{name: float(rng.uniform(0.2, 0.9)) for name in names}, "nll_loose": False, **changes}


def grid(seeds: int = 6, dims: tuple[int, ...] = (2, 8)) -> Rows:
    """Three β, KL off and point at two latent dimensions, with random values."""
    cells = [(arm, dim, seed) for arm in ARMS for dim in dims for seed in range(seeds)]
    return [
        row(metrics=values(i), latent_dim=dim, seed=seed, **arm)
        for i, (arm, dim, seed) in enumerate(cells)
    ]


def compare(rows: Rows, folder: Path | None = None, **options: Any) -> pd.DataFrame:
    return contrasts(pd.DataFrame(rows), ["nll", "rate"], folder, **options)


def settings(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["scope"] == "setting"]


def pooled(table: pd.DataFrame, question: str = "") -> pd.DataFrame:
    rows = table[table["scope"] == "pooled"]
    return rows[rows["question"] == question] if question else rows


def pairs(table: pd.DataFrame, question: str) -> set[tuple[Any, ...]]:
    """Level, reference and names of arms of every setting."""
    columns = ["level", "reference", "arm", "reference_arm"]
    rows = settings(table)
    rows = rows.loc[rows["question"] == question, columns]
    return {tuple(row) for row in rows.itertuples(index=False)}


# --- which arms ----------------------------------------------------------------------------------


def test_every_arm_is_set_against_its_reference() -> None:
    table = compare(grid())
    assert pairs(table, "kl_off") == {("off", "1", "kl-off", "beta1")}
    assert pairs(table, "least_beta") == {("off", "0.25", "kl-off", "beta0.25")}
    assert pairs(table, "beta") == {(f"{b:g}", "1", f"beta{b:g}", "beta1") for b in (0.25, 8)}
    assert pairs(table, "point") == {("point", "1", "point", "beta1")}
    arms = ("beta0.25", "beta1", "beta8", "kl-off", "point")
    assert pairs(table, "latent_dim") == {("2", "8", arm, arm) for arm in arms}
    questions = ["kl_off", "point", "least_beta", "beta", "latent_dim"]
    assert list(dict.fromkeys(table["question"])) == questions
    off = settings(table).query("question == 'kl_off' and metric == 'nll'")
    assert list(off["latent_dim"]) == [2, 8]
    dims = settings(table).query("question == 'latent_dim' and metric == 'nll'")
    assert dims["latent_dim"].isna().all()


@pytest.mark.parametrize("betas", [(1.0,), (1.0, 4.0)])
def test_a_smallest_beta_that_is_the_reference_is_asked_about_once(betas: tuple[float]) -> None:
    arms: Rows = [*({"beta": beta} for beta in betas), {"kl": False}]
    table = compare([row(metrics={"mse": i + s + 1}, seed=s, **arm)
                     for i, arm in enumerate(arms) for s in (0, 1)])  # fmt: skip
    assert pairs(table, "kl_off")
    assert not pairs(table, "least_beta")


def test_without_a_beta_of_one_the_nearest_on_the_log_axis_is_the_reference() -> None:
    arms: Rows = [{"beta": 0.3}, {"beta": 2.5}, {"beta": 4.0}, {"kl": False}]
    table = compare([row(metrics={"mse": i + s + 1}, seed=s, **arm)
                     for i, arm in enumerate(arms) for s in (0, 1)])  # fmt: skip
    assert {names[:2] for names in pairs(table, "beta")} == {("0.3", "2.5"), ("4", "2.5")}
    assert {names[:2] for names in pairs(table, "kl_off")} == {("off", "2.5")}
    rows = [row(metrics={"mse": 1.0 + i}, **arm) for i, arm in enumerate(arms)]
    table = compare(rows, references={"beta": 4.0})
    assert {names[:2] for names in pairs(table, "beta")} == {("0.3", "4"), ("2.5", "4")}


def test_further_axes_are_equal_within_a_pair_and_have_questions_of_their_own() -> None:
    arms = [
        *product(beta=[1.0, 4.0], architecture=["mlp", "conv"]),
        *product(objective=["elbo", "iwae"], importance_samples=[1, 5]),
        {"beta": 4.0, "posterior": "fixed"},
        {"kl": False, "posterior": "fixed"},
        {"kl": False},
    ]
    table = compare([row(metrics={"mse": i + s + 1}, seed=s, **arm)
                     for i, arm in enumerate(arms) for s in (0, 1)])  # fmt: skip
    names = {q: {p[2:] for p in pairs(table, q)} for q in set(table["question"])}
    assert names["beta"] == {("beta4", "beta1"), ("beta4-conv", "beta1-conv")}
    assert names["architecture"] == {("beta1-conv", "beta1"), ("beta4-conv", "beta4")}
    assert names["objective"] == {("beta1-iwae-k5", "beta1-k5")}
    assert names["posterior"] == {("beta4-fixed", "beta4"), ("kl-off-fixed", "kl-off")}
    assert names["kl_off"] == {("kl-off", "beta1"), ("kl-off-fixed", "beta4-fixed")}


def test_answers_hold_beta_and_the_kl_term_at_their_references_and_pool_over_the_rest() -> None:
    table = compare(grid())
    rows = pooled(table, "latent_dim")
    assert set(rows["beta"]) == {1.0}
    assert set(rows["kl"]) == {True}
    assert set(rows["settings"]) == {1}
    assert set(pooled(table, "kl_off")["settings"]) == {2}
    assert pooled(table)["latent_dim"].isna().all()


def test_data_sets_and_likelihoods_do_not_meet() -> None:
    places = product(dataset=["a", "b"], likelihood=["gaussian", "bernoulli"], beta=[1.0, 4.0])
    rows = [row(metrics={"elbo": 2.0 * i, "ari": i}, **place) for i, place in enumerate(places)]
    table = compare(rows)
    # Neighbours of the product differ in β alone.
    assert set(table.loc[table["metric"] == "ari", "estimate"]) == {1.0}
    # Cross-entropies are comparable among themselves.
    elbo = settings(table)[settings(table)["metric"] == "elbo"]
    assert set(elbo["likelihood"]) == {"gaussian", "bernoulli"}
    # Pooled over likelihoods, never over data sets.
    assert list(pooled(table).query("metric == 'elbo'")["dataset"]) == ["a", "b"]
    assert set(pooled(table)["settings"]) == {2}


def test_scores_of_two_measures_are_not_subtracted() -> None:
    rows = [row(metrics={"mse": b, "elbo": b}, beta=b) for b in (1.0, 4.0)]
    assert set(compare(rows)["metric"]) == {"mse", "elbo"}
    rows[1]["measure"] = "grey9/mass"
    assert set(compare(rows)["metric"]) == {"mse"}


# --- numbers -------------------------------------------------------------------------------------


def test_one_setting_alone_has_the_numbers_of_a_paired_test() -> None:
    rows = grid(dims=(8,))
    table = pooled(compare(rows), "beta").query("metric == 'nll'")
    frame = pd.DataFrame(rows).set_index(["arm", "seed"])["nll"]
    assert len(table) == 2
    for found in table.itertuples():
        truth = stats.ttest_rel(frame[found.arm].sort_index(), frame["beta1"].sort_index())
        assert (found.settings, found.n, found.df) == (1, 6, pytest.approx(5))
        assert found.p == pytest.approx(truth.pvalue)
        interval = tuple(truth.confidence_interval())
        assert (found.ci_low, found.ci_high) == pytest.approx(interval)
        assert found.mean - found.reference_mean == pytest.approx(found.estimate)


def test_metrics_are_subtracted_on_their_scales_and_told_in_peoples_units() -> None:
    def values(beta: float, seed: int) -> dict[str, float]:
        factor = 1.5 if beta == 4 else 1.0
        return {"mse": factor * (1 + seed), "probe_accuracy": 0.5 + 0.3 * (beta == 4),
                "elbo": -10 * factor}  # fmt: skip

    rows = [row(metrics=values(b, s), beta=b, seed=s) for b in (1.0, 4.0) for s in range(3)]
    table = settings(compare(rows)).set_index("metric")
    assert dict(table["scale"]) == {"mse": "log", "probe_accuracy": "arcsine", "elbo": "identity"}
    assert table.loc["mse", "estimate"] == pytest.approx(np.log(1.5))
    truth = 2 * (np.arcsin(np.sqrt(0.8)) - np.arcsin(np.sqrt(0.5)))
    assert table.loc["probe_accuracy", "estimate"] == pytest.approx(truth)
    assert table.loc["elbo", "estimate"] == pytest.approx(-5)
    assert dict(table["effect"]) == pytest.approx({"mse": 1.5, "probe_accuracy": 0.3, "elbo": -5})


def test_primary_metrics_are_one_family_of_each_question_and_the_others_another() -> None:
    table = pooled(compare(grid()))
    assert set(table.loc[table["primary"], "metric"]) == {"nll", "rate"}
    for question, of in table.groupby("question"):
        primary, rest = of[of["primary"]], of[~of["primary"]]
        sizes = {"kl_off": 1, "point": 1, "beta": 4, "latent_dim": 2, "least_beta": 1}
        assert len(primary) == sizes[question]
        holm = multipletests(primary["p"], method="holm")[1]
        np.testing.assert_allclose(primary["p_adjusted"], holm)
        hochberg = multipletests(rest["p"], method="fdr_bh")[1]
        np.testing.assert_allclose(rest["p_adjusted"], hochberg)
        assert set(primary["family"]) == {"primary"}
        assert set(rest["family"]) == {"exploratory"}
    single = settings(compare(grid()))
    assert single[["p", "p_adjusted", "p_equivalence"]].isna().all(axis=None)
    assert set(single["family"]) == {"setting"}


def test_one_seed_has_a_difference_and_no_verdict() -> None:
    table = compare(grid(1))
    assert table["estimate"].notna().all()
    assert set(table["n"]) == {1}
    empty = ["ci_low", "ci_high", "se", "p", "p_adjusted", "p_equivalence", "detectable",
             "heterogeneity_p", "seeds_needed"]  # fmt: skip
    assert table[empty].isna().all(axis=None)
    assert set(table["verdict"]) == {"undecided"}


def test_values_and_differences_without_spread_have_no_interval_and_no_verdict() -> None:
    rows = [row(metrics={"mse": 1.0 + s, "elbo": -b}, beta=b, seed=s)
            for b in (1.0, 4.0) for s in range(3)]  # fmt: skip
    table = pooled(compare(rows)).set_index("metric")
    assert set(table["verdict"]) == {"undecided"}
    assert table[["ci_low", "effect_low", "p", "p_equivalence"]].isna().all(axis=None)
    assert dict(table["estimate"]) == {"mse": 0, "elbo": -3}


@pytest.mark.parametrize("seeds", [3, 5, 9])
def test_equal_whole_numbers_are_judged_as_rounded_ones_and_show_no_interval(seeds: int) -> None:
    """By hand: a t test of the margin of half a unit on the variance of rounding, 1/6."""
    rows = [row(metrics={"active_units": 8, "probe_accuracy": 0.9}, beta=b, seed=s)
            for b in (1.0, 4.0) for s in range(seeds)]  # fmt: skip
    table = pooled(compare(rows)).set_index("metric")
    assert table[["ci_low", "ci_high", "effect_low", "effect_high"]].isna().all(axis=None)
    p = stats.t.sf(0.5 / np.sqrt(1 / 6 / seeds), seeds - 1)
    assert table.loc["active_units", "p_equivalence"] == pytest.approx(p)
    wanted = "equivalent" if p <= 0.05 else "undecided"
    assert dict(table["verdict"]) == {"active_units": wanted, "probe_accuracy": "undecided"}


def test_a_setting_without_spread_shows_none_of_its_neighbours() -> None:
    """Variances of settings are moderated, which would give an equal one the others' interval."""
    rng = np.random.default_rng(0)
    rows = [
        row(metrics={"probe_accuracy": 0.9 if z == 2 else rng.uniform(0.7, 0.8),
                     "active_units": 2 if z == 2 else z + rng.integers(3)},
            beta=b, latent_dim=z, seed=s)
        for z in (2, 4, 8, 16) for b in (1.0, 4.0) for s in range(3)
    ]  # fmt: skip
    single = settings(compare(rows))
    single = single[single["question"] == "beta"]
    assert single[single["latent_dim"] == 2]["ci_low"].isna().all()
    assert single[single["latent_dim"] > 2]["ci_low"].notna().all()
    assert pooled(compare(rows))["ci_low"].notna().all()


def test_equal_whole_numbers_keep_the_variance_of_rounding() -> None:
    rows = [row(metrics={"active_units": 3 + (b == 4) * 9}, beta=b, seed=s)
            for b in (1.0, 4.0) for s in range(3)]  # fmt: skip
    found = pooled(compare(rows)).iloc[0]
    assert found["se"] == pytest.approx(np.sqrt(1 / 6 / 3))
    assert found["verdict"] == "higher"


def test_neither_the_order_of_the_rows_nor_the_way_through_the_file_matters(
    tmp_path: Path,
) -> None:
    rows = grid()
    truth = compare(rows)
    shuffled = pd.DataFrame(rows).sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(contrasts(shuffled, ["nll", "rate"], None), truth)
    read = contrasts(written(rows, tmp_path), ["nll", "rate"], None)
    pd.testing.assert_frame_equal(read, truth, check_dtype=False)


def test_an_answer_that_depends_on_an_axis_is_given_for_each_of_its_levels() -> None:
    rng = np.random.default_rng(0)
    rows = [
        row(metrics={"nll": (beta == 4) * (3.0 if dim == 2 else -3.0) + 0.1 * rng.normal()},
            beta=beta, seed=seed, latent_dim=dim, likelihood=likelihood)
        for beta, dim, likelihood, seed in itertools.product(
            (1.0, 4.0), (2, 8), ("gaussian", "continuous_bernoulli"), range(4)
        )
    ]  # fmt: skip
    table = compare(rows)
    found = pooled(table, "beta").iloc[0]
    assert (found["verdict"], found["depends_on"]) == ("depends", "latent_dim")
    assert found["heterogeneity_p"] < 1e-6
    assert np.isnan(found["p_adjusted"])
    within = table[table["scope"].str.startswith("latent_dim=")]
    assert dict(zip(within["scope"], within["verdict"], strict=True)) == {
        "latent_dim=2": "worse", "latent_dim=8": "better",
    }  # fmt: skip
    assert list(within["latent_dim"]) == [2, 8]
    assert list(within["settings"]) == [2, 2]


# --- margins -------------------------------------------------------------------------------------


def pair_rows(values: Any) -> Rows:
    return [row(metrics=values(b, s), beta=b, seed=s) for b in (1.0, 4.0) for s in range(5)]


def test_the_config_sets_a_margin_in_peoples_units() -> None:
    rows = pair_rows(lambda b, s: {"elbo": s + 0.1 * b + 0.01 * s * b, "mse": 1 + 0.01 * s * b})
    table = pooled(compare(rows, margins={"elbo": 2.0, "mse": 1.5})).set_index("metric")
    assert table.loc["elbo", "margin"] == 2.0
    assert table.loc["mse", "margin"] == pytest.approx(np.log(1.5))
    assert set(table["margin_from"]) == {"config"}
    assert set(table["verdict"]) == {"equivalent"}
    tight = pooled(compare(rows, margins={"elbo": 0.01})).set_index("metric")
    assert tight.loc["elbo", "verdict"] == "better"


def test_conventions_are_ratios_and_points_and_nats_have_none() -> None:
    values = {"elbo": 1.0, "mse": 1.0, "rate": 9.0, "sample_fid": 2.0, "probe_accuracy": 0.5}
    rows = pair_rows(
        lambda b, s: {name: value * (1 + 0.01 * s * b) for name, value in values.items()}
    )
    table = pooled(compare(rows)).set_index("metric")
    assert np.isnan(table.loc["elbo", "margin"])
    assert table.loc["elbo", "seeds_needed"] is pd.NA
    ratios = np.exp(table.loc[["mse", "rate", "sample_fid"], "margin"].astype(float))
    assert list(ratios) == pytest.approx([1.05, 1.1, 1.2])
    assert table.loc["probe_accuracy", "margin"] == pytest.approx(0.02 * 2, rel=0.01)
    assert set(table["margin_from"].dropna()) == {"convention"}


def test_what_training_still_added_is_a_margin_and_said() -> None:
    rows = pair_rows(lambda b, s: {"elbo": -0.1 * b + 0.01 * s, "mse": 1.0 + s})
    for one in rows:
        one["drift"] = -0.5 if one["beta"] == 4 else 0.1
    table = pooled(compare(rows)).set_index("metric")
    assert (table.loc["elbo", "margin"], table.loc["elbo", "margin_from"]) == (0.5, "drift")
    assert table.loc["elbo", "below_drift"] is True
    assert table.loc["mse", "below_drift"] is None


def write_examples(folder: Path, rows: Rows, n: int = 150) -> dict[str, dict[str, np.ndarray]]:
    """Values of each example for every run; a tenth has no label."""
    rng = np.random.default_rng(0)
    found = {}
    for cells in rows:
        label = (rng.random(n) < 0.7).astype(np.float32)
        label[: n // 10] = np.nan
        arrays = {"mse": rng.gamma(2, size=n).astype(np.float32), "probe_accuracy": label,
                  "elbo": 3 * rng.normal(size=n).astype(np.float32)}  # fmt: skip
        (folder / "runs" / cells["run"]).mkdir(parents=True)
        np.savez(folder / "runs" / cells["run"] / "examples.npz", **arrays)
        found[cells["run"]] = arrays
    return found


def bootstrapped(arm: list[np.ndarray], reference: list[np.ndarray], scale: str) -> float:
    """Twice the standard deviation of 2,000 resampled paired differences, example by example."""
    rng = np.random.default_rng(1)
    draws = rng.integers(arm[0].shape[0], size=(2000, arm[0].shape[0]))
    means = [np.nanmean(values[draws], axis=1) for values in (*arm, *reference)]
    scaled = [transformed(value, scale) for value in means]
    half = len(arm)
    return float(2 * np.std(np.mean(scaled[:half], axis=0) - np.mean(scaled[half:], axis=0)))


def test_the_error_over_test_examples_is_that_of_a_bootstrap(tmp_path: Path) -> None:
    rows = pair_rows(lambda b, s: {"mse": 2 + 0.1 * s, "probe_accuracy": 0.7, "elbo": 0.1 * s * b})
    examples = write_examples(tmp_path, rows)
    table = pooled(compare(rows, tmp_path)).set_index("metric")
    place = "digits/gaussian/z2"
    for metric, scale in (("mse", "log"), ("probe_accuracy", "arcsine"), ("elbo", "identity")):
        arm, reference = ([examples[f"{place}/{name}/seed{s}"][metric] for s in range(5)]
                          for name in ("beta4", "beta1"))  # fmt: skip
        assert table.loc[metric, "margin_from"] == "examples"
        assert table.loc[metric, "margin"] == pytest.approx(
            bootstrapped(arm, reference, scale), rel=0.06
        )


def test_a_run_without_examples_leaves_the_other_parts(tmp_path: Path) -> None:
    rows = pair_rows(lambda b, s: {"mse": 2 + 0.1 * s * b, "elbo": 0.1 * s * b})
    examples = write_examples(tmp_path, rows)
    (tmp_path / "runs" / next(iter(examples)) / "examples.npz").unlink()
    table = pooled(compare(rows, tmp_path)).set_index("metric")
    assert table.loc["mse", "margin_from"] == "convention"
    assert np.isnan(table.loc["elbo", "margin"])
    (tmp_path / "runs" / rows[-1]["run"] / "examples.npz").write_bytes(b"no archive")
    with pytest.raises(UserError, match="damaged; delete it"):
        compare(rows, tmp_path)


def test_shares_of_unlike_settings_differ_by_the_mean_of_their_differences() -> None:
    start = {2: 0.6, 8: 0.95}

    def share(dim: int, seed: int, beta: float) -> float:
        angle = transformed(np.array(start[dim]), "arcsine") - 0.4 * (beta == 4)
        return float(np.sin(angle / 2) ** 2) + 1e-4 * seed

    cells = itertools.product(start, range(3), (1.0, 4.0))
    rows = [
        row(
            metrics={"probe_accuracy": share(*cell)}, latent_dim=cell[0], seed=cell[1], beta=cell[2]
        )
        for cell in cells
    ]
    found = pooled(compare(rows), "beta").iloc[0]
    truth = np.mean([share(dim, 1, 4) - share(dim, 1, 1) for dim in start])
    assert found["effect"] == pytest.approx(truth, abs=1e-4)
    assert found["mean"] - found["reference_mean"] == pytest.approx(truth, abs=1e-4)
    assert found["effect_low"] < truth < found["effect_high"] < 0


def test_shares_of_settings_that_differ_unlike_do_so_by_the_mean_of_their_differences() -> None:
    """0.9 → 0.1 and 0.5 → 0.4: lower by 0.45, though the mean angle from each would be more."""
    shares = {(2, 1.0): 0.9, (2, 4.0): 0.1, (8, 1.0): 0.5, (8, 4.0): 0.4}
    rows = [
        row(metrics={"probe_accuracy": share + 0.01 * (seed - 1)}, latent_dim=dim, beta=beta,
            seed=seed)
        for (dim, beta), share in shares.items() for seed in range(3)
    ]  # fmt: skip
    rows[0]["probe_accuracy"] += 0.003
    found = pooled(compare(rows), "beta").iloc[0]
    assert found["effect"] == pytest.approx(-0.45, abs=2e-3)
    assert found["mean"] - found["reference_mean"] == pytest.approx(found["effect"], abs=1e-3)
    assert found["effect_low"] < found["effect"] < found["effect_high"]


# --- what is left out ----------------------------------------------------------------------------


def test_pairs_lost_to_divergence_are_counted_and_not_used() -> None:
    rows = [row("diverged" if seed in (1, 2) and beta == 4 else "failed"
                if seed in (2, 3) and beta == 1 else "ok",
                {"ari": seed * beta}, beta=beta, seed=seed)
            for beta in (1.0, 4.0) for seed in range(6)]  # fmt: skip
    found = compare(rows).iloc[0]
    assert (found["n"], found["lost"]) == (3, 3)
    assert found["mean"] - found["reference_mean"] == pytest.approx(3 * (0 + 4 + 5) / 3)


def test_a_value_left_in_a_diverged_row_is_not_used() -> None:
    rows = [row(metrics={"ari": beta}, beta=beta, seed=s) for beta in (1.0, 4.0) for s in (0, 1)]
    rows[0] |= {"status": "diverged", "ari": 1e9}
    found = compare(rows).iloc[0]
    assert (found["n"], found["lost"], found["estimate"]) == (1, 1, 3.0)


def test_a_seed_that_only_one_arm_has_is_neither_used_nor_lost() -> None:
    rows = [row(metrics={"mse": 1.0}, seed=s) for s in range(4)]
    rows += [row(metrics={"mse": 3.0}, beta=4.0, seed=s) for s in range(2)]
    found = compare(rows).iloc[0]
    assert (found["n"], found["lost"]) == (2, 0)


def test_an_arm_with_one_loose_bound_is_left_out_whole() -> None:
    rows = [row(metrics={"nll": beta + seed**2, "nll_levels": beta, "elbo": beta,
                         "nll_loose": seed == 0 and beta == 4.0,
                         "levels_loose": False}, beta=beta, seed=seed)
            for beta in (0.5, 1.0, 4.0) for seed in range(3)]  # fmt: skip
    table = pooled(compare(rows))
    assert set(table.loc[table["level"] == "0.5", "metric"]) == {"nll", "nll_levels", "elbo"}
    assert set(table.loc[table["level"] == "4", "metric"]) == {"nll_levels", "elbo"}
    assert set(table["lost"]) == {0}


def test_collapsed_arms_have_no_ratios() -> None:
    rates = {1.0: 9.0, 4.0: 0.2, 16.0: 0.09}
    rows = [row(metrics={"rate": rate if seed else 0.01, "mse": 1.0 + seed, "elbo": beta},
                beta=beta, seed=seed)
            for beta, rate in rates.items() for seed in range(3)]  # fmt: skip
    table = pooled(compare(rows))
    assert set(table.loc[table["level"] == "4", "metric"]) == {"rate", "mse", "elbo"}
    assert set(table.loc[table["level"] == "16", "metric"]) == {"elbo"}


def test_saturated_information_is_left_out() -> None:
    rows = [row(metrics={"mutual_information": beta, "marginal_kl": beta, "hole_rate": beta / 9,
                         "mi_ceiling": 5.0, "mi_saturated": beta == 4.0}, beta=beta)
            for beta in (0.5, 1.0, 4.0)]  # fmt: skip
    table = compare(rows)
    assert set(table.loc[table["arm"] == "beta0.5", "metric"]) == {
        "mutual_information", "marginal_kl", "hole_rate",
    }  # fmt: skip
    assert set(table.loc[table["arm"] == "beta4", "metric"]) == {"hole_rate"}


def test_columns_without_an_optimum_have_no_contrast_where_the_kl_is_off() -> None:
    table = compare(grid())
    off = table[table["arm"] == "kl-off"]
    assert set(off["question"]) == {"kl_off", "latent_dim", "least_beta"}
    assert set(off["metric"]) == {"distortion", "nll", "mse", "probe_accuracy"}
    on = set(table.loc[table["question"] == "beta", "metric"])
    assert on - set(off["metric"]) == {"rate", "elbo", "code_rms"}


def test_only_results_have_contrasts() -> None:
    no_result = {"objective": 1.0, "validation_objective": 1.0, "validation_elbo": 1.0,
                 "nll_ess": 1.0, "nll_bias": 1.0, "drift": 1.0, "epochs": 3, "mi_ceiling": 1.0,
                 "sample_fid_floor": 1.0, "feature_accuracy": 1.0, "train_seconds": 1.0,
                 "examples_per_second": 1.0, "peak_memory_mb": 1.0, "device": "cpu"}  # fmt: skip
    rows = [row(metrics={"mse": 1.0, "a_new_metric": 2.0} | no_result, beta=b) for b in (1.0, 4.0)]
    assert set(compare(rows)["metric"]) == {"mse", "a_new_metric"}


@pytest.mark.parametrize(
    "rows",
    [
        [row(metrics={"mse": 1.0})],
        [row("failed"), row("failed", beta=4.0)],
        [row(), row(beta=4.0)],
        [],
    ],
    ids=["one arm", "all failed", "no metric", "controls only"],
)
def test_nothing_to_compare_gives_the_columns_and_no_row(rows: Rows, tmp_path: Path) -> None:
    table = contrasts(written(rows, tmp_path), [], tmp_path)
    assert [name for name in table if name != "beta"] == COLUMNS
    assert table.empty
