"""Arms made elsewhere against trained ones: by seed, at the levels named, by likelihood."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from study_rows import product, row, written
from vae_ablation.tables.contrasts import comparable_arms, contrasts
from vae_ablation.tables.paper import ablation, markdown

SEEDS = range(5)
RANDOM = np.random.default_rng(0)
VALUES = {
    (likelihood, beta, seed): 0.5 + 0.1 * beta + 0.02 * float(RANDOM.normal())
    for likelihood in ("gaussian", "laplace")
    for beta in (1.0, 4.0)
    for seed in SEEDS
}
OWN = {seed: 0.9 + 0.02 * float(RANDOM.normal()) for seed in SEEDS}


def trained(likelihoods: tuple[str, ...] = ("gaussian", "laplace")) -> list[dict[str, Any]]:
    return [
        row(metrics={"ari": VALUES[axes["likelihood"], axes["beta"], axes["seed"]], "drift": 0.1},
            **axes)
        for axes in product(likelihood=likelihoods, beta=(1.0, 4.0), seed=SEEDS)
    ]  # fmt: skip


def external(name: str, seed: int | None, value: float, **cells: Any) -> dict[str, Any]:
    known = {"run": f"digits/{name}/{seed}", "model": name, "dataset": "digits", "latent_dim": 2}
    seeds = {} if seed is None else {"seed": seed}
    return {**known, "status": "ok", "reason": "", **seeds, **cells, "ari": value}


def asked(rows: list[dict[str, Any]], folder: Path, **named: Any) -> pd.DataFrame:
    table = contrasts(written(rows, folder), ["ari"], None, {}, **named)
    return table[table["question"] == "model"]


def test_one_setting_is_the_paired_t_interval(tmp_path: Path) -> None:
    rows = [*trained(("gaussian",)), *(external("own", seed, OWN[seed]) for seed in SEEDS)]
    table = asked(rows, tmp_path)
    (found,) = table[table["scope"] == "pooled"].to_dict("records")
    differences = [OWN[seed] - VALUES["gaussian", 1.0, seed] for seed in SEEDS]
    mean, half = np.mean(differences), stats.t.ppf(0.975, 4) * stats.sem(differences)
    assert found["estimate"] == pytest.approx(mean)
    assert (found["ci_low"], found["ci_high"]) == pytest.approx((mean - half, mean + half))
    assert (found["level"], found["reference"]) == ("own", "vae")
    assert (found["arm"], found["reference_arm"]) == ("own", "beta1")
    assert (found["n"], found["settings"], found["verdict"]) == (5, 1, "better")


def test_a_deterministic_arm_stands_beside_every_seed(tmp_path: Path) -> None:
    table = asked([*trained(("gaussian",)), external("own", None, 0.9)], tmp_path)
    (found,) = table[table["scope"] == "pooled"].to_dict("records")
    base = [VALUES["gaussian", 1.0, seed] for seed in SEEDS]
    assert found["n"] == 5
    assert found["se"] == pytest.approx(stats.sem(base))
    assert found["estimate"] == pytest.approx(0.9 - np.mean(base))


def test_each_likelihood_is_a_setting_unless_one_is_named(tmp_path: Path) -> None:
    free = asked([*trained(), *(external("own", s, OWN[s]) for s in SEEDS)], tmp_path)
    settings = free[free["scope"] == "setting"]
    assert settings["likelihood"].tolist() == ["gaussian", "laplace"]
    cells = {"likelihood": "laplace", "beta": 4.0}
    named = asked([*trained(), *(external("own", s, OWN[s], **cells) for s in SEEDS)], tmp_path)
    (found,) = named[named["scope"] == "pooled"].to_dict("records")
    assert (found["likelihood"], found["reference_arm"]) == ("laplace", "beta4")
    base = np.mean([VALUES["laplace", 4.0, seed] for seed in SEEDS])
    assert found["reference_mean"] == pytest.approx(base)


def test_two_arms_at_other_levels_have_references_of_their_own(tmp_path: Path) -> None:
    rows = trained(("gaussian",))
    rows += [external("one", seed, OWN[seed]) for seed in SEEDS]
    rows += [external("two", seed, OWN[seed], beta=4.0) for seed in SEEDS]
    table = asked(rows, tmp_path)
    pooled = table[table["scope"] == "pooled"].set_index("level")
    assert pooled["reference_arm"].to_dict() == {"one": "beta1", "two": "beta4"}
    adjusted = pooled["p_adjusted"].to_numpy(float)
    assert (adjusted >= pooled["p"].to_numpy(float)).all()  # of one family


def test_an_arm_that_failed_or_has_another_dimension_has_no_verdict(tmp_path: Path) -> None:
    failed = {**external("own", 0, float("nan")), "status": "failed", "reason": "it broke"}
    assert not len(asked([*trained(), failed], tmp_path))
    other = {**external("own", 0, 0.9), "latent_dim": 7}
    assert not len(asked([*trained(), other], tmp_path))


def test_seeds_that_no_trained_run_has_are_not_paired(tmp_path: Path) -> None:
    rows = [*trained(("gaussian",)), *(external("own", seed, 0.9) for seed in (3, 4, 5))]
    table = asked(rows, tmp_path)
    assert table["n"].tolist() == [2, 2]


def test_other_questions_and_the_importance_are_as_without_it(tmp_path: Path) -> None:
    plain = contrasts(written(trained(), tmp_path), ["ari"], None, {})
    rows = [*trained(), *(external("own", seed, OWN[seed]) for seed in SEEDS)]
    beside = contrasts(written(rows, tmp_path), ["ari"], None, {})
    others = beside[beside["question"] != "model"].reset_index(drop=True)
    pd.testing.assert_frame_equal(others, plain, check_dtype=False)


def test_the_papers_table_names_it(tmp_path: Path) -> None:
    metrics = written([*trained(), external("own", None, 0.9)], tmp_path)
    found = contrasts(metrics, ["ari"], None, {})
    text = markdown(ablation(found, comparable_arms(metrics), ["ari"]))
    assert "| own instead of the VAE | 0.9" in text
