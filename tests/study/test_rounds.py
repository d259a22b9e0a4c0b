"""Seeds in rounds: what a config may ask for, and the chain of rounds on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from study_rows import row
from support import assert_one_sentence, resolved
from vae_ablation.common.errors import UserError
from vae_ablation.study.looks import even_looks
from vae_ablation.study.plan import Study
from vae_ablation.study.registration import registration
from vae_ablation.study.rounds import read_round, rounds_line
from vae_ablation.study.run import Run
from vae_ablation.study.workflow import Workflow, open_study, read_frozen
from vae_ablation.tables.collect import write_csv
from vae_ablation.tables.contrasts import contrasts
from vae_ablation.tables.rounds import plan_round

GRID: dict[str, Any] = {"likelihood": ["gaussian"], "latent_dim": [2, 8], "beta": [0.5, 1, 4]}
SEEDS: dict[str, Any] = {"first": 3, "most": 7, "looks": [3, 5, 7]}


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        (4, [3, 5, 7, 10]),
        (3, [3, 6, 10]),
        (2, [3, 10]),
        (8, [*range(3, 11)]),
        ([3, 4, 10], [3, 4, 10]),
    ],
)
def test_looks_are_a_number_of_them_or_their_seeds(looks: Any, expected: list[int]) -> None:
    config = resolved(seeds={"first": 3, "most": 10, "looks": looks})
    assert config["statistics"]["looks"] == expected
    assert config["grids"][0]["seed"] == [0, 1, 2]


def test_every_number_of_looks_gives_that_many_from_first_to_most() -> None:
    for most in range(3, 30):
        for count in range(2, most):
            looks = even_looks(2, most, count)
            assert len({*looks}) == count
            assert [looks[0], looks[-1]] == [2, most]


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        ({"first": 5, "most": 3}, "seeds.most is 3, and seeds.first 5"),
        ({"first": 3, "most": 3}, "allowed: more than first"),
        ({"first": 0}, "seeds.first is 0; allowed: a whole number at least 2"),
        ({"first": 1}, "seeds.first is 1"),
        ({"first": "three"}, "seeds.first is 'three'; allowed: a whole number"),
        ({"first": True}, "seeds.first is True"),
        ({"most": float("nan")}, "allowed: a finite number"),
        ({"looks": 1}, "seeds.looks is 1; allowed: a whole number at least 2"),
        ({"looks": 9}, "seeds.looks is 9; allowed: at most 8 looks"),
        ({"looks": [3]}, "seeds.looks is [3]"),
        ({"looks": [3, 3, 10]}, "seeds.looks is [3, 3, 10]"),
        ({"looks": [3, 7, 5, 10]}, "increasing numbers of seeds from first (3) to most (10)"),
        ({"looks": [4, 10]}, "from first (3) to most (10)"),
        ({"looks": []}, "seeds.looks is []"),
        ({"firsts": 3}, "seeds.firsts is not known"),
        (3, "seeds is 3; allowed: a mapping"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(seeds: Any, words: str) -> None:
    with pytest.raises(UserError) as caught:
        resolved(seeds=seeds)
    assert_one_sentence(caught.value, words)


def test_looks_are_said_in_one_place() -> None:
    with pytest.raises(UserError) as caught:
        resolved(seeds=SEEDS, statistics={"looks": [3, 4]})
    assert_one_sentence(caught.value, "statistics.looks is [3, 4], and seeds.looks [3, 5, 7]")
    same = resolved(seeds=SEEDS, statistics={"looks": [3, 5, 7]})
    assert same["statistics"]["looks"] == [3, 5, 7]


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ({"seed": [0, 1]}, "2 seeds, and seeds.first is 3; allowed: seed with 3 levels"),
        ({"split_seed": [0, 1]}, "2 splits, and seeds.first is 3; allowed: split_seed with 3"),
    ],
)
def test_every_arm_begins_with_the_seeds_of_the_first_look(
    tmp_path: Path, grid: dict[str, Any], words: str
) -> None:
    study = at(tmp_path, GRID | grid)
    with pytest.raises(UserError) as caught:
        study.check_fit("c.yaml")
    assert_one_sentence(caught.value, words)


def at(folder: Path, grid: dict[str, Any] = GRID, seeds: Any = SEEDS) -> Study:
    config = resolved(
        study="tiny", grids=[grid], seeds=seeds,
        statistics={"primary_metrics": ["mse"], "margins": {"mse": 1.05}},
    )  # fmt: skip
    return open_study(config, folder / "results")


def measured(study: Study, runs: list[Run], spread: float = 0.5) -> pd.DataFrame:
    """Tables as a call would leave them: β = 4 is far worse, β = 0.5 is lost in noise."""
    rows = []
    for run in runs:
        rng = np.random.default_rng(
            [run.seed, run.split_seed or 0, run.latent_dim, round(run.beta * 10)]
        )
        level = 5.0 if run.beta == 4 else 1.0
        metrics = {"mse": level * float(np.exp(rng.normal(0, spread if run.beta < 4 else 0.01)))}
        one = row(metrics=metrics, **run.to_json())
        rows.append(one | ({} if run.split_seed is None else {"split_seed": run.split_seed}))
    table = pd.DataFrame(rows)
    if "split_seed" in table:
        table["split_seed"] = table["split_seed"].fillna(0).astype(int)
    statistics = study.config["statistics"]
    (study.folder / "tables").mkdir(parents=True, exist_ok=True)
    write_csv(table, study.folder / "tables" / "metrics.csv")
    found = contrasts(
        table, ["mse"], None, study.references, statistics["margins"], statistics["looks"]
    )
    write_csv(found, study.folder / "tables" / "contrasts.csv")
    return found


def call(study: Study, spread: float = 0.5) -> tuple[pd.DataFrame, list[Run]]:
    """What a call of the workflow does, without training: tables, then the next round."""
    Workflow(study, study.plan(), "c.yaml").freeze()
    found = measured(study, study.runs, spread)
    assert study.next_round is not None
    plan_round(study.folder, study.next_round)
    return found, list(read_round(study.next_round).runs)


def test_rounds_go_on_until_the_last_look_and_then_plan_nothing(tmp_path: Path) -> None:
    first = at(tmp_path)
    hashes = {item.run.path: item.train_hash for item in first.plan().planned}
    registered = registration(first, first.first_runs)["hash"]
    found, further = call(first)
    assert {(run.beta, run.seed) for run in further} == {(b, s) for b in (0.5, 1) for s in (3, 4)}
    decided = found[(found["level"] == "4") & (found["scope"] == "pooled")]
    assert list(decided["verdict"]) == ["worse"]

    second = at(tmp_path)
    assert set(second.runs) == {*first.runs, *further}
    assert second.first_runs == first.runs
    after = {item.run.path: item.train_hash for item in second.plan().planned}
    assert hashes.items() <= after.items(), "runs of the first round stay what they are"
    assert registration(second, second.first_runs)["hash"] == registered
    again, more = call(second)
    assert {run.seed for run in more} == {5, 6}
    kept = again[(again["level"] == "4") & (again["scope"] == "pooled")]
    pd.testing.assert_frame_equal(
        kept.reset_index(drop=True), decided.reset_index(drop=True), check_dtype=False
    )

    third = at(tmp_path)
    last, none = call(third)
    assert none == []
    open_ = (last["scope"] == "pooled") & (last["verdict"] == "undecided")
    assert set(last.loc[open_, "look"]) == {7}
    assert third.next_round is not None
    assert read_round(third.next_round).exhausted
    fourth = at(tmp_path)
    assert fourth.runs == third.runs
    assert fourth.next_round == third.next_round


def test_a_study_with_nothing_to_decide_plans_nothing(tmp_path: Path) -> None:
    study = at(tmp_path)
    found, further = call(study, spread=0.001)
    pooled = found[found["scope"] == "pooled"]
    assert set(pooled["verdict"]) <= {"worse", "equivalent"}
    assert further == []
    assert read_round(study.next_round or Path()).lines() == [
        "Every comparison of a primary metric is decided."
    ]


def test_splits_are_added_where_splits_replicate(tmp_path: Path) -> None:
    """A further seed on the same three splits would decide nothing."""
    grid = GRID | {"latent_dim": [2], "seed": [0, 1], "split_seed": [0, 1, 2]}
    found, further = call(at(tmp_path, grid))
    assert set(found.loc[found["scope"] == "pooled", "n"]) == {3}
    assert {(run.split_seed, run.seed) for run in further} == {
        (split, seed) for split in (3, 4) for seed in (0, 1)
    }
    again, _ = call(at(tmp_path, grid))
    open_ = again[(again["scope"] == "pooled") & (again["level"] == "0.5")]
    assert list(open_["n"]) == [5]


def test_jobs_see_the_runs_of_their_own_call(tmp_path: Path) -> None:
    """The next round is planned while other jobs of the call still read the study."""
    study = at(tmp_path)
    call(study)
    frozen, plan = read_frozen(study.folder)
    assert frozen.runs == study.runs == [item.run for item in plan.planned]


def test_a_changed_config_begins_with_the_first_round_again(tmp_path: Path) -> None:
    call(at(tmp_path))
    assert len(at(tmp_path).runs) > len(at(tmp_path, GRID | {"beta": [0.5, 1]}).runs)
    other = at(tmp_path, seeds=SEEDS | {"looks": [3, 4, 7]})
    assert other.runs == other.first_runs
    assert at(tmp_path, GRID | {"seed": [0, 1, 2]}, seeds=None).added == ()


def test_a_damaged_round_is_named(tmp_path: Path) -> None:
    study = at(tmp_path)
    call(study)
    assert study.next_round is not None
    study.next_round.write_text("{}")
    with pytest.raises(UserError) as caught:
        at(tmp_path)
    assert_one_sentence(caught.value, "damaged; delete it to plan this round again")


def test_the_price_of_all_looks_is_said_beforehand(tmp_path: Path) -> None:
    line = rounds_line(at(tmp_path))
    assert "looks at 3, 5 and 7 seeds; 18 runs at the first look" in line
    assert "at most 42" in line
    assert rounds_line(at(tmp_path, GRID | {"seed": [0]}, seeds=None)) == ""
