"""What is missing is told by the sentence of the job that failed. Folders are made by hand."""

from __future__ import annotations

from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from faults.made import planned
from vae_ablation.common.files import read_json, write_json
from vae_ablation.common.job_logs import failure_sentence
from vae_ablation.data.prepare import prepare_dataset
from vae_ablation.report.overview import write_overview
from vae_ablation.study.missing import (
    NOTE,
    Missing,
    missing_results,
    note_failures,
    noted_failures,
)
from vae_ablation.study.workflow import Workflow
from vae_ablation.tables.collect import collect, collect_applications, summarize_applications
from vae_ablation.tables.failures import failures

FEW = {"source": "simulated-cells", "examples": 150, "genes": 30, "proteins": 0}
STUDY: dict[str, Any] = {
    "study": "small",
    "datasets": {"cells": FEW, "others": FEW | {"examples": 160}},
    "grids": [{"likelihood": ["poisson"], "seed": [0, 1]}],
    "applications": {"predictive_checks": {}},
    "packs": {"max_runs": 1},
    "allow_missing": True,
}
SENTENCE = "cells.h5ad: counts are expected; X holds 0.5."


@pytest.fixture
def state(tmp_path: Path) -> Workflow:
    """A study of which everything is there, as far as the folders tell."""
    state = planned(tmp_path, STUDY)
    with chdir(tmp_path):
        study = state.study
        for name in study.datasets:
            prepare_dataset(study.config["datasets"][name], study.prepared[name])
            for path in (study.features_path(name), state.controls_path(name)):
                path.parent.mkdir(parents=True)
                path.touch()
        for pack in state.plan.packs:
            for folder in (study.evaluation_folder(pack), study.applications_folder(pack)):
                folder.mkdir(parents=True)
            (study.folder / "packs" / pack / "train").mkdir()
    return state


@pytest.fixture(autouse=True)
def _working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def fail(log: Path, sentence: str = SENTENCE) -> None:
    """Write what a job that ends with this sentence logs."""
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(f"2026-01-01 began\n2026-01-01 the job failed: {sentence}\n", encoding="utf-8")


def lose(state: Workflow, kind: str) -> Path:
    """Take one result away; where the log of its job lies."""
    study, logs = state.study, state.study.folder / "logs"
    pack = next(pack for pack in state.plan.packs if pack.startswith("cells"))
    evaluation, applied = study.evaluation_folder(pack), study.applications_folder(pack)
    features, controls = study.features_path("cells"), state.controls_path("cells")
    if kind in {"preparation", "features"}:
        for one in state.plan.packs:
            if one.startswith("cells"):
                study.evaluation_folder(one).rmdir()
    if kind == "preparation":
        (study.prepared["cells"] / "dataset.json").unlink()
        return study.prepared["cells"] / "prepare.log"
    if kind == "features":
        features.unlink()
        return logs / "features" / f"cells-{features.stem}.log"
    if kind == "training":
        (study.folder / "packs" / pack / "train").rmdir()
        evaluation.rmdir()
        return logs / "train" / f"{pack}.log"
    if kind == "evaluation":
        evaluation.rmdir()
        return logs / "evaluate" / f"{pack}-{evaluation.name}.log"
    if kind == "controls":
        controls.unlink()
        return logs / "controls" / f"cells-{controls.stem}.log"
    applied.rmdir()
    return logs / "apply" / f"{pack}-{applied.name}.log"


KINDS = {"preparation": 2, "features": 2, "training": 1, "evaluation": 1, "controls": 0,
         "applications": 1}  # fmt: skip


def found(state: Workflow) -> list[Missing]:
    return missing_results(state.study, state.plan)


def test_of_a_whole_study_nothing_is_missing(state: Workflow) -> None:
    assert found(state) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_failed_job_is_named_by_its_sentence_and_its_log(state: Workflow, kind: str) -> None:
    log = lose(state, kind)
    fail(log)
    (one,) = found(state)
    assert one.job.startswith(kind)
    assert one.dataset == "cells"
    assert len(one.runs) == KINDS[kind]
    assert one.reason.endswith(f"failed (see {log}): {SENTENCE}")
    assert one.essential == (kind not in {"controls", "applications"})


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_that_was_killed_left_no_sentence(state: Workflow, kind: str) -> None:
    log = lose(state, kind)
    (one,) = found(state)
    assert "its job did not end well" in one.reason
    assert str(log) in one.reason


def test_every_row_of_a_lost_dataset_has_the_sentence_of_its_preparation(state: Workflow) -> None:
    fail(lose(state, "preparation"))
    lost = [item for item in state.plan.planned if item.run.dataset == "cells"]
    plan = type(state.plan)(lost)
    rows = collect(state.study, plan, [], found(state))
    assert rows["status"].tolist() == ["failed", "failed"]
    assert all(reason.endswith(SENTENCE) for reason in rows["reason"])


def test_the_note_of_a_failed_call_outlives_its_plan(state: Workflow) -> None:
    """The next call plans other packs, whose logs do not exist."""
    fail(lose(state, "training"))
    note_failures(state.study, state.plan)
    (before,) = found(state)
    renamed = [
        type(item)(item.run, f"{item.pack}-again", item.train_hash, item.reason)
        if item.run.path in before.runs
        else item
        for item in state.plan.planned
    ]
    plan = type(state.plan)(renamed)
    assert missing_results(state.study, plan) == [before]
    assert noted_failures(state.study, plan) == [before]
    assert len(read_json(state.study.folder / NOTE)) == 1


def test_what_was_noted_and_is_there_now_is_not_missing(state: Workflow) -> None:
    pack = next(iter(state.plan.packs))
    folder = state.study.evaluation_folder(pack)
    folder.rmdir()
    note_failures(state.study, state.plan)
    folder.mkdir()
    assert noted_failures(state.study, state.plan) == []
    (state.study.folder / NOTE).write_text("{", encoding="utf-8")
    assert noted_failures(state.study, state.plan) == []


def test_failed_applications_stand_in_the_failures_of_runs_that_are_ok(state: Workflow) -> None:
    fail(lose(state, "applications"))
    fail(lose(state, "controls"))
    runs = [vars(item.run) | {"run": item.run.path, "arm": item.run.arm, "status": "ok"}
            for item in state.plan.planned]  # fmt: skip
    table = failures(pd.DataFrame(runs), found(state))
    assert table["status"].tolist() == ["failed", "failed"]
    assert table["run"].notna().tolist() == [True, False]
    assert table["dataset"].tolist() == ["cells", "cells"]
    assert all(reason.endswith(SENTENCE) for reason in table["reason"])


def test_rows_of_an_arm_made_elsewhere_are_missed(tmp_path: Path) -> None:
    np.savez(tmp_path / "codes.npz", train=np.zeros((3, 2)), test=np.zeros((3, 2)))
    external = {"own": {"path": str(tmp_path / "codes.npz"), "dataset": "cells"}}
    state = planned(tmp_path, STUDY | {"external": external})
    prepare_dataset(state.study.config["datasets"]["cells"], state.study.prepared["cells"])
    (path,) = (state.external_path(*one) for one in state.external_data)
    fail(state.study.folder / "logs" / "external" / "cells" / f"own-{path.stem}.log")
    (one,) = (each for each in found(state) if each.job.startswith("external"))
    assert one.job == "external arm own on dataset cells"
    assert not one.essential
    assert one.reason.endswith(SENTENCE)
    assert state.external == []
    path.parent.mkdir(parents=True)
    path.touch()
    assert not [each for each in found(state) if each.job.startswith("external")]
    assert state.external == [path]


def test_the_front_page_names_what_is_missing(state: Workflow) -> None:
    fail(lose(state, "applications"), "x < 0_ holds *nothing*.")
    columns = {"model": "vae", "drift": 0.0, "train_seconds": 1.0, "device": "cpu", "proper": True}
    runs = [vars(item.run) | {"run": item.run.path, "status": "ok", "reason": "", **columns}
            for item in state.plan.planned]  # fmt: skip
    write_overview(state.study.folder, pd.DataFrame(runs), found(state))
    (line,) = read_json(state.study.folder / "tables" / "overview.json")["missing"]
    assert r"x \< 0_ holds \*nothing\*" in line


def test_without_any_application_the_table_has_its_columns_and_no_row(state: Workflow) -> None:
    for pack in state.plan.packs:
        state.study.applications_folder(pack).rmdir()
    collected = collect_applications(state.study, state.plan)
    assert len(collected) == 0
    assert len(summarize_applications(collected)) == 0


def test_a_dataset_that_cannot_be_read_is_left_out_only_where_the_call_goes_on(
    tmp_path: Path,
) -> None:
    from vae_ablation.common.errors import UserError

    (tmp_path / "broken.npz").write_bytes(b"no archive")
    raw = {
        "study": "small",
        "datasets": {"digits": {}, "broken": {"source": "npz", "path": "broken.npz"}},
        "grids": [{"likelihood": ["gaussian"], "dataset": ["digits", "broken"]}],
    }
    config = tmp_path / "study.yaml"
    with pytest.raises(UserError, match=r"broken\.npz"):
        Workflow.planned(raw, config)
    state = Workflow.planned(raw, config, lenient=True)
    assert {item.run.dataset for item in state.plan.to_train} == {"digits", "broken"}
    assert list(state.study.unreadable) == ["broken"]
    raw["grids"] = [{"likelihood": ["gaussian"], "dataset": ["broken"]}]
    with pytest.raises(UserError, match=r"broken\.npz"):
        Workflow.planned(raw, config, lenient=True)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", None),
        ("2026 began\n", None),
        ("2026 the job failed: one.\n", "one."),
        ("2026 the job failed: one.\nTraceback\n2026 the job failed: two.\n", "two."),
        ("2026 the job failed: a: the job failed: b.\n", "a: the job failed: b."),
    ],
)
def test_the_sentence_of_a_log_is_its_last(tmp_path: Path, text: str, sentence: str | None) -> None:
    (tmp_path / "a.log").write_text(text, encoding="utf-8")
    assert failure_sentence(tmp_path / "a.log") == sentence
    assert failure_sentence(tmp_path / "absent.log") is None


def test_notes_are_plain_json(state: Workflow) -> None:
    lose(state, "features")
    note_failures(state.study, state.plan)
    write_json(state.study.folder / NOTE, read_json(state.study.folder / NOTE))
    assert noted_failures(state.study, state.plan) == found(state)
