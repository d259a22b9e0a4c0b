"""Training code that changes between runs: the plan, the tables and the report say so."""

from __future__ import annotations

from contextlib import chdir
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from docutils.core import publish_parts
from jinja2 import Template

from faults.made import SMALL, STUDY, copied, nothing_is_to_do, plan, planned, run_study
from support import assert_one_sentence
from vae_ablation.common.errors import UserError
from vae_ablation.common.files import read_json, write_json
from vae_ablation.report.overview import read_overview, write_overview
from vae_ablation.store.prune import find_leftovers
from vae_ablation.tables.collect import collect, read_metrics, write_csv

FRONT_PAGE = Path(__file__).parents[2] / "workflow" / "report" / "workflow.rst"
TWO = SMALL | {"grids": [{"likelihood": ["gaussian"], "seed": [0, 1]}]}
SEED1 = "results/small/runs/digits/gaussian/z2/beta1/seed1/run.json"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    run_study(folder, TWO)
    return folder


@pytest.fixture
def place(finished: Path, tmp_path: Path) -> Path:
    """A copy of a study of two runs, one of which other training code trained."""
    copied(finished, tmp_path)
    path = (tmp_path / SEED1).resolve()
    write_json(path, read_json(path) | {"code_version": "0ld0c0de0000"})
    return tmp_path


def front_page(folder: Path) -> str:
    """The report's first page, as Snakemake fills it in and docutils renders it."""
    state = planned(folder, TWO)
    with chdir(folder):
        study = state.study.folder
        write_csv(collect(state.study, state.plan, []), study / "tables" / "metrics.csv")
        write_overview(study, read_metrics(study / "tables" / "metrics.csv"))
        overview = read_overview(study)
    template = Template(
        FRONT_PAGE.read_text(encoding="utf-8"), trim_blocks=True, lstrip_blocks=True
    )
    text = template.render(snakemake=SimpleNamespace(config={"overview": overview}), files=[])
    text += "\n.. _findings.html: x\n"
    return " ".join(publish_parts(text, writer="html")["body"].split())


def test_the_plan_counts_such_runs_and_says_what_can_be_done(place: Path, finished: Path) -> None:
    assert plan(finished, TWO).code_line() == ""
    line = plan(place, TWO).code_line()
    assert "1 of the trained runs" in line
    assert "on_code_change: keep accepts them, retrain trains them again" in line
    assert nothing_is_to_do(place, TWO)


def test_retrain_trains_them_alone_and_error_refuses_them(place: Path) -> None:
    (item,) = plan(place, TWO | {"on_code_change": "retrain"}).to_train
    assert (item.run.seed, item.reason) == (1, "training code changed")
    with pytest.raises(UserError) as caught:
        plan(place, TWO | {"on_code_change": "error"})
    assert_one_sentence(caught.value, "seed1", "on_code_change", "keep or retrain")


def aged(folder: Path) -> Path:
    """The description of the prepared digits, which other code has made."""
    (path,) = (folder / "results/.data").glob("*/dataset.json")
    write_json(path, read_json(path) | {"code_version": "0ld0c0de0000"})
    return path


def notes(folder: Path) -> list[str]:
    study = planned(folder, TWO).study
    with chdir(folder):
        return study.notes()


def test_data_that_other_code_prepared_are_kept_and_named(place: Path, finished: Path) -> None:
    assert notes(finished) == []
    aged(place)
    (note,) = notes(place)
    assert "Dataset digits was prepared by other code" in note
    assert "on_code_change: keep accepts it, retrain prepares it again" in note
    assert nothing_is_to_do(place, TWO)


def test_error_refuses_data_that_other_code_prepared(place: Path) -> None:
    aged(place)
    with pytest.raises(UserError) as caught:
        plan(place, TWO | {"on_code_change": "error"})
    assert_one_sentence(caught.value, "dataset digits", "on_code_change", "keep or retrain")


def test_other_code_is_seen_in_splits_of_the_data_too(tmp_path: Path) -> None:
    splits = SMALL | {"grids": [{"likelihood": ["gaussian"], "split_seed": [1, 2]}]}
    run_study(tmp_path, splits)
    described = sorted((tmp_path / "results/.data").glob("*/dataset.json"))
    for path in described:
        write_json(path, read_json(path) | {"code_version": "0ld0c0de0000"})
    with pytest.raises(UserError) as caught:
        plan(tmp_path, splits | {"on_code_change": "error"})
    assert_one_sentence(caught.value, "dataset digits")
    again = planned(tmp_path, splits | {"on_code_change": "retrain"}).study.prepared
    assert not {path.parent.name for path in described} & {path.name for path in again.values()}


def test_retrain_prepares_data_again_and_trains_where_they_differ(finished: Path, tmp_path) -> None:
    copied(finished, tmp_path)
    old, again = aged(tmp_path), TWO | {"on_code_change": "retrain"}
    assert plan(tmp_path, again).to_train == []
    folder = tmp_path / planned(tmp_path, again).study.prepared["digits"]
    assert folder != old.parent
    run_study(tmp_path, again)
    described = read_json(folder / "dataset.json")
    assert described["checksum"] == read_json(old)["checksum"]
    assert described["code_version"] != "0ld0c0de0000"
    assert plan(tmp_path, again).to_train == []
    write_json(folder / "dataset.json", described | {"checksum": "other"})
    reasons = [item.reason for item in plan(tmp_path, again).to_train]
    assert reasons == ["data of digits changed"] * 2
    assert plan(tmp_path, TWO).to_train == []


def test_prune_keeps_old_and_new_data_as_the_config_says(finished: Path, tmp_path: Path) -> None:
    copied(finished, tmp_path)
    old, again = aged(tmp_path), TWO | {"on_code_change": "retrain"}
    with chdir(tmp_path):
        assert old.parent.relative_to(tmp_path) not in find_leftovers(STUDY).paths
    run_study(tmp_path, again)
    with chdir(tmp_path):
        assert old.parent.relative_to(tmp_path) in find_leftovers(STUDY).paths


def test_every_row_of_the_table_names_its_code(place: Path) -> None:
    front_page(place)
    rows = read_metrics(place / "results/small/tables/metrics.csv").set_index("seed")
    assert rows.loc[1, "code_version"] == "0ld0c0de0000"
    assert rows.loc[0, "code_version"] != "0ld0c0de0000"


def test_the_report_says_that_versions_stand_side_by_side(place: Path, finished: Path) -> None:
    words = ("2 versions of the training code", "1 by 0ld0c0de0000", "on_code_change", "keep")
    assert [word for word in words if word not in front_page(place)] == []
    assert "versions of the training code" not in front_page(finished)


def test_a_version_that_looks_like_a_number_stays_text(place: Path) -> None:
    for version in ("123456789012", "12345678e012", "000000000000"):
        path = (place / SEED1).resolve()
        record: dict[str, Any] = read_json(path)
        write_json(path, record | {"code_version": version})
        assert f"1 by {version}" in front_page(place)
