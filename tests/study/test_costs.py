"""What a study cost: sums by stage, and what further runs would take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support import resolved
from vae_ablation.common.files import read_json, write_json
from vae_ablation.jobs.scripting import job
from vae_ablation.study.costs import (
    CostNote,
    cost_sentences,
    read_costs,
    seconds_per_run,
    stage_costs,
    time_line,
)
from vae_ablation.study.plan import Plan, Planned, Study


def make_study(folder: Path, seeds: int) -> Study:
    grid: dict[str, Any] = {
        "likelihood": ["gaussian"],
        "latent_dim": [2, 8],
        "beta": [0.5, 1],
        "kl": [True],
        "seed": list(range(seeds)),
    }
    return Study(resolved(grids=[grid]), folder / "default", folder / ".data")


def done(plan: Plan) -> Plan:
    """The plan as it stands once everything is trained."""
    return Plan([Planned(item.run, item.pack, "h", None) for item in plan.planned])


def note(study: Study, name: str, seconds: float) -> None:
    cost = {"seconds": seconds, "cpu_seconds": 2 * seconds, "peak_memory_mb": 100 + seconds}
    write_json(study.folder / "costs" / f"{name}.json", cost)


@pytest.fixture
def measured(tmp_path: Path) -> tuple[Study, Plan]:
    """Two packs of four runs: 4 + 8 seconds for latent dimension 2, 20 + 8 for 8."""
    study = make_study(tmp_path, 2)
    plan = done(study.plan())
    for pack, items in plan.packs.items():
        wide = items[0].run.latent_dim == 8
        note(study, f"train/{pack}", 20 if wide else 4)
        note(study, f"evaluate/{pack}-{study.eval_hash}", 8)
        note(study, f"evaluate/{pack}-older", 1000)
    note(study, "train/superseded-pack", 1000)
    note(study, "collect", 5)
    return study, plan


def test_stages_sum_what_made_the_present_results(measured: tuple[Study, Plan]) -> None:
    rows = stage_costs(read_costs(*measured))
    assert [(row["stage"], row["jobs"], row["seconds"]) for row in rows] == [
        ("train", 2, 24), ("evaluate", 2, 16), ("collect", 1, 5),
    ]  # fmt: skip
    assert rows[0]["cpu_seconds"] == 48
    assert (rows[0]["longest_seconds"], rows[0]["peak_memory_mb"]) == (20, 120)
    assert sum(row["share"] for row in rows) == pytest.approx(1, abs=1e-3)


def test_one_more_seed_costs_what_a_seed_has_cost(measured: tuple[Study, Plan]) -> None:
    study, plan = measured
    each = seconds_per_run(study, plan, read_costs(study, plan))
    assert {key[-2:]: value for key, value in each.items()} == {"z2": 3, "z8": 7, "": 5}
    told = cost_sentences(study, plan, read_costs(study, plan))
    assert "took 45 s in all, 53 % of it in the stage train" in told
    assert "each of the 4 arms would take about 20 s" in told


def test_a_dry_run_tells_the_time_by_what_was_measured(
    measured: tuple[Study, Plan], tmp_path: Path
) -> None:
    study, plan = measured
    more = make_study(tmp_path, 5).plan()
    held = {item.run.path: item for item in plan.planned}
    grown = Plan([held.get(item.run.path, item) for item in more.planned])
    assert len(grown.to_train) == 12
    line = time_line(study, grown)
    assert line == (
        "Time: about 60 s of computing to come for 12 runs, judged by 8 runs of this study."
    )
    assert time_line(study, plan) is None
    assert time_line(make_study(tmp_path / "new", 1), more) is None


def test_damaged_notes_are_left_out(measured: tuple[Study, Plan]) -> None:
    study, plan = measured
    (study.folder / "costs" / "collect.json").write_text("{")
    (study.folder / "costs" / "figures.json").write_text('{"seconds": 1}')
    assert {cost.stage for cost in read_costs(study, plan)} == {"train", "evaluate"}


def test_a_job_notes_what_it_took(tmp_path: Path) -> None:
    with job(str(tmp_path / "s" / "logs" / "embed.log")):
        sum(range(10**6))
    cost = read_json(tmp_path / "s" / "costs" / "embed.json")
    assert 0 < cost["seconds"] < 60
    assert cost["cpu_seconds"] > 0
    assert cost["peak_memory_mb"] > 20
    CostNote().write(tmp_path / "elsewhere.log")
    assert not (tmp_path / "costs").exists()
