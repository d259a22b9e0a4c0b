"""Rounds of seeds: arms of undecided comparisons and no others, as grids of just these runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from study_rows import AXES, product, row, written
from vae_ablation.study.config import resolve_config
from vae_ablation.study.run import Run, canonical_run, expand_runs
from vae_ablation.tables.contrasts import contrasts
from vae_ablation.tables.rounds import Round, grid_lines, next_round

LOOKS = [3, 5, 7]


def round_of(tmp_path: Path, looks: list[int] = LOOKS, seeds: int = 3) -> Round:
    """β = 4 is far worse than β = 1; β = 0.5 and the latent dimension are lost in the noise."""
    noise = np.random.default_rng(3)
    settings = product(latent_dim=[2, 8], beta=[0.5, 1.0, 4.0], seed=range(seeds))
    settings += [one | {"kl": False} for one in product(latent_dim=[2, 8], seed=range(seeds))]
    rows = []
    for one in settings:
        worse = 100.0 if one.get("beta") == 4.0 or "kl" in one else 0.0
        rows.append(row(metrics={"nll": worse + noise.normal(0, 3)}, **one))
    metrics = written(rows, tmp_path)
    runs = [canonical_run(**{**AXES, **one}) for one in settings]
    contrasts(metrics, ["nll"], None, looks=looks).to_csv(tmp_path / "contrasts.csv", index=False)
    table = pd.read_csv(tmp_path / "contrasts.csv", dtype={"level": str})
    return next_round(metrics, table, runs, looks, {})


def arms(runs: Any) -> set[tuple[int, str]]:
    return {(run.latent_dim, str(run.arm)) for run in runs}


def test_undecided_comparisons_get_seeds_in_both_arms_of_every_setting(tmp_path: Path) -> None:
    found = round_of(tmp_path)
    assert {(one.question, one.level) for one in found.undecided} == {
        ("beta", "0.5"), ("latent_dim", "2"),
    }  # fmt: skip
    assert found.exhausted == []
    assert arms(found.runs) == {(dim, arm) for dim in (2, 8) for arm in ("beta0.5", "beta1")}
    assert {run.seed for run in found.runs} == {3, 4}
    assert len(found.runs) == len(set(found.runs)) == 8


def test_at_the_last_look_no_seed_is_added(tmp_path: Path) -> None:
    found = round_of(tmp_path, looks=[3])
    assert (list(found.runs), list(found.undecided)) == ([], [])
    assert {str(one) for one in found.exhausted} == {
        "nll: beta 0.5", "nll: latent_dim 2",
    }  # fmt: skip


def test_a_later_round_goes_on_to_the_next_look_with_seeds_that_are_free(tmp_path: Path) -> None:
    found = round_of(tmp_path, looks=[3, 4, 9], seeds=4)
    assert {run.seed for run in found.runs} == {4, 5, 6, 7, 8}


def test_the_grids_name_these_runs_and_no_others(tmp_path: Path) -> None:
    own = {"dataset": "digits", "latent_dim": 8, "posterior": "gaussian"}
    runs: list[Run] = [
        *round_of(tmp_path).runs,
        canonical_run(**own, likelihood="gaussian", beta=0.0, kl=False, seed=3),
        canonical_run(**own | {"posterior": "point"}, likelihood="gaussian", beta=0.0, kl=False,
                      seed=3),
        canonical_run(**own, likelihood="gaussian", beta=1.0, kl=True, seed=3,
                      **{"model.hidden": (64, 32), "training.learning_rate": 0.01}),
        canonical_run(**own, likelihood="gaussian", beta=1.0, kl=True, seed=5, architecture="conv",
                      objective="iwae", importance_samples=5),
    ]  # fmt: skip
    grids = yaml.safe_load("\n".join(["grids:", *grid_lines(runs)]))
    config = resolve_config(grids, Path("c"))
    assert set(expand_runs(config["grids"], config)) == set(runs)
