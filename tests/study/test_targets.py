"""Files and resources that the rules ask for."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from faults.made import SMALL, planned
from vae_ablation.study.targets import BASE_MB, FULL_PACK_MINUTES, Targets
from vae_ablation.study.workflow import Workflow

STUDY = Path("results/small")


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workflow:
    monkeypatch.chdir(tmp_path)
    return planned(tmp_path, SMALL)


def asked(**wildcards: str) -> Any:
    return SimpleNamespace(**wildcards)


def pack(state: Workflow) -> str:
    return next(iter(state.plan.packs))


def test_everything_is_every_table_and_figure(state: Workflow) -> None:
    targets = Targets(state)
    everything = set(targets.everything)
    tables = ("metrics", "summary", "contrasts", "importance", "matched", "ablation", "pareto",
              "failures", "examples")  # fmt: skip
    assert everything == {
        *(STUDY / "tables" / f"{name}.csv" for name in tables),
        *(STUDY / "tables" / f"ablation.{name}" for name in ("md", "tex", "bib")),
        *(STUDY / "tables" / f"findings.{suffix}" for suffix in ("html", "json")),
        STUDY / "tables" / "front_page.json",
        *(STUDY / "tables" / f"costs.{suffix}" for suffix in ("csv", "txt")),
        STUDY / "report.html",
        *(STUDY / "figures/digits" / name for name in ("all", "gaussian", "discretized_logistic")),
    }
    assert len(targets.everything) == len(everything)


def test_applications_are_asked_for_where_the_config_has_some(tmp_path: Path) -> None:
    cells = {"source": "simulated-cells", "examples": 150, "genes": 30, "proteins": 0}
    grids = [{"likelihood": ["poisson"]}]
    raw = SMALL | {"datasets": {"cells": cells}, "grids": grids}
    assert Targets(planned(tmp_path, raw)).applications == []
    targets = Targets(planned(tmp_path, raw | {"applications": {"predictive_checks": {}}}))
    assert [path.name for path in targets.applications] == ["applications.csv"]
    assert set(targets.applications) <= set(targets.everything)


def test_the_data_of_a_pack_are_those_of_its_dataset(state: Workflow) -> None:
    targets = Targets(state)
    files = targets.prepared(asked(dataset="digits"))
    assert targets.prepared(asked(pack=pack(state))) == files
    assert [path.name for path in files] == ["arrays.npz", "dataset.json"]
    for wildcards in (asked(pack=pack(state)), asked(dataset="digits")):
        assert targets.features(wildcards) == state.study.features_path("digits")


def test_only_figures_of_one_likelihood_wait_for_the_embedding(state: Workflow) -> None:
    targets = Targets(state)
    assert targets.embedding(asked(likelihood="all")) == []
    assert targets.embedding(asked(likelihood="gaussian")) == [STUDY / "umap" / "index.json"]


def test_a_small_pack_asks_for_half_of_a_full_one_and_each_attempt_for_more(
    state: Workflow,
) -> None:
    targets, one = Targets(state), asked(pack=pack(state))
    half = BASE_MB + 1024 * state.study.config["packs"]["memory_gb"] // 2
    assert [targets.pack_memory(one, attempt) for attempt in (1, 2)] == [half, 2 * half]
    minutes = FULL_PACK_MINUTES // 2
    assert [targets.pack_minutes(one, attempt) for attempt in (1, 3)] == [minutes, 3 * minutes]


def test_a_full_pack_asks_for_all(tmp_path: Path) -> None:
    state = planned(tmp_path, SMALL | {"packs": {"max_runs": 1}})
    targets, one = Targets(state), asked(pack=pack(state))
    assert targets.pack_minutes(one, 1) == FULL_PACK_MINUTES
    memory = BASE_MB + 1024 * state.study.config["packs"]["memory_gb"]
    assert targets.pack_memory(one, 1) == memory


def test_a_pack_whose_data_cannot_be_read_asks_for_all(state: Workflow) -> None:
    targets, one = Targets(state), asked(pack=pack(state))
    state.study.unreadable["digits"] = "digits: not readable."
    assert targets.pack_minutes(one, 1) == FULL_PACK_MINUTES


def test_heavy_packs_come_first_among_the_jobs_of_a_rule(tmp_path: Path) -> None:
    grids = [{"likelihood": ["gaussian"], "latent_dim": [2, 16, 8], "seed": [0, 1]}]
    state = planned(tmp_path, SMALL | {"grids": grids})
    targets = Targets(state)
    latent = {name: items[0].run.latent_dim for name, items in state.plan.packs.items()}
    assert {latent[name]: targets.heaviest_first(asked(pack=name)) for name in latent} == {
        2: 2 / 16, 8: 8 / 16, 16: 1.0,
    }  # fmt: skip
    assert targets.heaviest_first(asked(pack="of-another-study")) == 0
    state.study.observed.clear()
    assert Targets(state).heaviest_first(asked(pack=next(iter(latent)))) > 0


def test_training_may_write_the_packs_that_miss_runs(state: Workflow) -> None:
    packs = sorted(state.plan.packs)
    assert Targets(state).trainable.split("|") == packs
    for item in state.plan.planned:
        object.__setattr__(item, "reason", None)
    assert not re.fullmatch(Targets(state).trainable, packs[0])
    assert Targets(state, drawn=True).trainable.split("|") == packs


def test_tables_are_made_again_when_what_is_missing_changes(
    tmp_path: Path, state: Workflow
) -> None:
    assert Targets(state).missing == []
    assert Targets(state).wanted_hash == state.wanted_hash
    lenient = planned(tmp_path, SMALL | {"allow_missing": True})
    assert Targets(lenient).missing
    assert Targets(lenient).wanted_hash != lenient.wanted_hash
    log = lenient.study.prepared["digits"] / "prepare.log"
    log.parent.mkdir(parents=True)
    before = Targets(lenient).wanted_hash
    (lenient.study.prepared["digits"] / "arrays.npz").touch()
    (lenient.study.prepared["digits"] / "dataset.json").touch()
    assert Targets(lenient).wanted_hash != before
