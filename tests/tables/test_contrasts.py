"""contrasts.csv: which arms are set against which, in what, and what is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from study_rows import product, row, written
from vae_ablation.tables.bootstrap import bootstrap_intervals
from vae_ablation.tables.contrasts import COLUMNS, contrasts

Rows = list[dict[str, Any]]

BETAS = (0.25, 1.0, 8.0)
ARMS: Rows = [*({"beta": beta} for beta in BETAS), {"kl": False}, {"posterior": "point"}]


def values(seed: int, **changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    names = ("distortion", "rate", "elbo", "nll", "code_rms", "mse", "probe_accuracy")
    return {**{name: float(rng.normal()) for name in names}, "nll_loose": False, **changes}


def grid(seeds: int = 6, dims: tuple[int, ...] = (2, 8)) -> Rows:
    """Three β, KL off and point at two latent dimensions, with random values."""
    cells = [(arm, dim, seed) for arm in ARMS for dim in dims for seed in range(seeds)]
    return [
        row(metrics=values(i), latent_dim=dim, seed=seed, **arm)
        for i, (arm, dim, seed) in enumerate(cells)
    ]


def compare(rows: Rows, folder: Path | None = None) -> pd.DataFrame:
    return contrasts(pd.DataFrame(rows), ["nll", "rate"], folder)


def pairs(table: pd.DataFrame, contrast: str) -> set[tuple[Any, ...]]:
    columns = ["latent_dim", "arm", "reference_latent_dim", "reference_arm"]
    rows = table.loc[table["contrast"] == contrast, columns]
    return {tuple(row) for row in rows.itertuples(index=False)}


# --- which arms ----------------------------------------------------------------------------------


def test_every_arm_is_set_against_its_reference() -> None:
    table = compare(grid())
    dims = (2, 8)
    assert pairs(table, "kl_off") == {(d, "kl-off", d, "beta1") for d in dims}
    assert pairs(table, "beta") == {(d, f"beta{b}", d, "beta1") for d in dims for b in (0.25, 8)}
    assert pairs(table, "point") == {(d, "point", d, "beta1") for d in dims}
    arms = ("beta0.25", "beta1", "beta8", "kl-off", "point")
    assert pairs(table, "latent_dim") == {(2, arm, 8, arm) for arm in arms}
    assert set(table["contrast"]) == {"kl_off", "beta", "point", "latent_dim"}


def test_without_a_beta_of_one_the_nearest_on_the_log_axis_is_the_reference() -> None:
    arms: Rows = [{"beta": 0.3}, {"beta": 2.5}, {"beta": 4.0}, {"kl": False}]
    table = compare([row(metrics={"mse": i + s}, seed=s, **arm)
                     for i, arm in enumerate(arms) for s in (0, 1)])  # fmt: skip
    assert pairs(table, "beta") == {(2, "beta0.3", 2, "beta2.5"), (2, "beta4", 2, "beta2.5")}
    assert pairs(table, "kl_off") == {(2, "kl-off", 2, "beta2.5")}


def test_further_axes_are_equal_within_a_pair_and_have_contrasts_of_their_own() -> None:
    arms = [
        *product(beta=[1.0, 4.0], architecture=["mlp", "conv"]),
        *product(objective=["elbo", "iwae"], importance_samples=[1, 5]),
        {"beta": 4.0, "posterior": "fixed"},
        {"kl": False, "posterior": "fixed"},
        {"kl": False},
    ]
    table = compare([row(metrics={"mse": i + s}, seed=s, **arm)
                     for i, arm in enumerate(arms) for s in (0, 1)])  # fmt: skip
    assert pairs(table, "beta") == {(2, "beta4", 2, "beta1"), (2, "beta4-conv", 2, "beta1-conv")}
    assert pairs(table, "architecture") == {
        (2, "beta1-conv", 2, "beta1"), (2, "beta4-conv", 2, "beta4"),
    }  # fmt: skip
    assert pairs(table, "objective") == {(2, "beta1-iwae-k5", 2, "beta1-k5")}
    assert pairs(table, "posterior") == {
        (2, "beta4-fixed", 2, "beta4"), (2, "kl-off-fixed", 2, "kl-off"),
    }  # fmt: skip
    assert pairs(table, "kl_off") == {
        (2, "kl-off", 2, "beta1"), (2, "kl-off-fixed", 2, "beta4-fixed"),
    }  # fmt: skip


def test_data_sets_and_likelihoods_do_not_meet() -> None:
    places = product(dataset=["a", "b"], likelihood=["gaussian", "bernoulli"], beta=[1.0, 4.0])
    rows = [row(metrics={"mse": i, "elbo": 2.0 * i}, **place) for i, place in enumerate(places)]
    table = compare(rows)
    # Neighbours of the product differ in β alone.
    assert set(table.loc[table["metric"] == "mse", "mean_difference"]) == {1.0}
    # Cross-entropies are comparable among themselves.
    assert set(table.loc[table["metric"] == "elbo", "likelihood"]) == {"gaussian", "bernoulli"}
    assert len(table) == 8


def test_scores_of_two_measures_are_not_subtracted() -> None:
    rows = [row(metrics={"mse": b, "elbo": b}, beta=b) for b in (1.0, 4.0)]
    assert set(compare(rows)["metric"]) == {"mse", "elbo"}
    rows[1]["measure"] = "grey9/mass"
    assert set(compare(rows)["metric"]) == {"mse"}


# --- numbers -------------------------------------------------------------------------------------


def test_the_numbers_are_those_of_a_paired_test() -> None:
    rows = grid()
    table = compare(rows)
    chosen = table.query("contrast == 'beta' and latent_dim == 8 and metric == 'nll'")
    frame = pd.DataFrame(rows).query("latent_dim == 8").set_index(["arm", "seed"])["nll"]
    for found in chosen.itertuples():
        truth = stats.ttest_rel(frame[found.arm].sort_index(), frame["beta1"].sort_index())
        assert found.n == 6
        assert found.p == pytest.approx(truth.pvalue)
        interval = tuple(truth.confidence_interval())
        assert (found.ci_low, found.ci_high) == pytest.approx(interval)
        # d_z = t / √n, and J(5) = 1 − 3/19.
        assert found.effect == pytest.approx(truth.statistic / np.sqrt(6) * 16 / 19)
    # One family: two β at each of two latent dimensions.
    family = table.query("contrast == 'beta' and metric == 'nll'")
    assert len(family) == 4
    truth_holm = multipletests(family["p"], method="holm")[1]
    assert list(family["p_holm"]) == pytest.approx(list(truth_holm))


def test_four_seeds_have_no_p_and_five_have() -> None:
    assert compare(grid(4))[["p", "p_holm"]].isna().all(axis=None)
    assert compare(grid(5))[["p", "p_holm"]].notna().all(axis=None)


def test_one_seed_has_a_difference_and_nothing_else() -> None:
    table = compare(grid(1))
    assert table["mean_difference"].notna().all()
    assert (table["n"] == 1).all()
    assert table[["ci_low", "ci_high", "effect", "p", "p_holm"]].isna().all(axis=None)


def test_primary_metrics_are_marked() -> None:
    table = compare(grid())
    assert set(table.loc[table["primary"], "metric"]) == {"nll", "rate"}


def test_neither_the_order_of_the_rows_nor_the_way_through_the_file_matters(
    tmp_path: Path,
) -> None:
    rows = grid()
    truth = compare(rows)
    shuffled = pd.DataFrame(rows).sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(contrasts(shuffled, ["nll", "rate"], None), truth)
    read = contrasts(written(rows, tmp_path), ["nll", "rate"], None)
    pd.testing.assert_frame_equal(read, truth, check_dtype=False)


# --- what is left out ----------------------------------------------------------------------------


def metric_rows(table: pd.DataFrame, contrast: str, metric: str) -> pd.DataFrame:
    return table[(table["contrast"] == contrast) & (table["metric"] == metric)]


def test_pairs_lost_to_divergence_are_counted_and_not_used() -> None:
    rows = [row("diverged" if seed in (1, 2) and beta == 4 else "failed"
                if seed in (2, 3) and beta == 1 else "ok",
                {"mse": seed * beta}, beta=beta, seed=seed)
            for beta in (1.0, 4.0) for seed in range(6)]  # fmt: skip
    found = compare(rows).iloc[0]
    assert (found["n"], found["lost"]) == (3, 3)
    assert found["mean_difference"] == pytest.approx(3 * (0 + 4 + 5) / 3)


def test_a_value_left_in_a_diverged_row_is_not_used() -> None:
    rows = [row(metrics={"mse": beta}, beta=beta, seed=s) for beta in (1.0, 4.0) for s in (0, 1)]
    rows[0] |= {"status": "diverged", "mse": 1e9}
    found = compare(rows).iloc[0]
    assert (found["n"], found["lost"], found["mean_difference"]) == (1, 1, 3.0)


def test_a_seed_that_only_one_arm_has_is_neither_used_nor_lost() -> None:
    rows = [row(metrics={"mse": 1.0}, seed=s) for s in range(4)]
    rows += [row(metrics={"mse": 3.0}, beta=4.0, seed=s) for s in range(2)]
    found = compare(rows).iloc[0]
    assert (found["n"], found["lost"]) == (2, 0)


def test_an_arm_with_a_loose_bound_in_any_seed_is_left_out() -> None:
    rows = [row(metrics={"nll": beta + seed**2, "nll_levels": beta, "elbo": beta,
                         "nll_loose": seed == 0 and beta == 4.0, "levels_loose": False},
                beta=beta, seed=seed)
            for beta in (1.0, 2.0, 4.0) for seed in range(3)]  # fmt: skip
    table = compare(rows)
    table = table[table["contrast"] == "beta"]
    assert set(table.loc[table["arm"] == "beta2", "metric"]) == {"nll", "nll_levels", "elbo"}
    assert set(table.loc[table["arm"] == "beta4", "metric"]) == {"nll_levels", "elbo"}
    assert set(table["n"]) == {3}
    assert set(table["lost"]) == {0}


def test_saturated_information_is_left_out() -> None:
    rows = [row(metrics={"mutual_information": beta, "marginal_kl": beta, "hole_rate": beta,
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
    assert set(off["contrast"]) == {"kl_off", "latent_dim"}
    assert set(off["metric"]) == {"distortion", "nll", "mse", "probe_accuracy"}
    on = set(table.loc[table["contrast"] == "beta", "metric"])
    assert on - set(off["metric"]) == {"rate", "elbo", "code_rms"}


def test_only_results_have_contrasts() -> None:
    no_result = {"objective": 1.0, "validation_objective": 1.0, "validation_elbo": 1.0,
                 "nll_ess": 1.0, "nll_bias": 1.0, "slope": 1.0, "epochs": 3, "mi_ceiling": 1.0,
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
    assert list(table.columns) == COLUMNS
    assert table.empty


# --- the bootstrap -------------------------------------------------------------------------------


def write_examples(folder: Path, rows: Rows, n: int = 80) -> dict[str, dict[str, np.ndarray]]:
    """Values of each example for every ok run; the last tenth has no label."""
    rng = np.random.default_rng(0)
    found = {}
    for cells in (cells for cells in rows if cells["status"] == "ok"):
        label = (rng.random(n) < 0.7).astype(np.float32)
        label[-n // 10 :] = np.nan
        arrays = {"mse": rng.normal(size=n).astype(np.float32), "probe_accuracy": label}
        (folder / "runs" / cells["run"]).mkdir(parents=True)
        np.savez(folder / "runs" / cells["run"] / "examples.npz", **arrays)
        found[cells["run"]] = arrays
    return found


def test_the_bootstrap_is_of_the_difference_averaged_over_the_pairs_used(tmp_path: Path) -> None:
    rows = grid(3)
    rows[0] = row("diverged", latent_dim=2, seed=0, beta=0.25)
    examples = write_examples(tmp_path, rows)
    table = compare(rows, tmp_path)
    chosen = table.query("latent_dim == 2 and arm == 'beta0.25' and contrast == 'beta'")
    chosen = chosen.set_index("metric")
    for metric, n in (("mse", 80), ("probe_accuracy", 72)):
        place = "digits/gaussian/z2"
        paired = [examples[f"{place}/beta0.25/seed{s}"][metric]
                  - examples[f"{place}/beta1/seed{s}"][metric] for s in (1, 2)]  # fmt: skip
        _, low, high = bootstrap_intervals(np.mean(paired, axis=0)[:, None])
        assert chosen.loc[metric, "examples"] == n
        assert chosen.loc[metric, "boot_low"] == pytest.approx(low[0], rel=1e-4)
        assert chosen.loc[metric, "boot_high"] == pytest.approx(high[0], rel=1e-4)
    others = table[~table["metric"].isin(["mse", "probe_accuracy"])]
    assert others[["examples", "boot_low", "boot_high"]].isna().all(axis=None)


def test_without_examples_the_bootstrap_is_empty_and_the_rest_the_same(tmp_path: Path) -> None:
    rows = grid(3)
    examples = write_examples(tmp_path, rows)
    (tmp_path / "runs" / next(iter(examples)) / "examples.npz").unlink()
    table, without = compare(rows, tmp_path), compare(rows)
    boot = ["examples", "boot_low", "boot_high"]
    assert without[boot].isna().all(axis=None)
    pd.testing.assert_frame_equal(table.drop(columns=boot), without.drop(columns=boot))
    mse = table[table["metric"] == "mse"].set_index(["contrast", "latent_dim", "arm"])
    # The run without examples is β = 0.25, z2.
    touched = {("beta", 2, "beta0.25"), ("latent_dim", 2, "beta0.25")}
    assert set(mse.index[mse["boot_low"].isna()]) == touched
