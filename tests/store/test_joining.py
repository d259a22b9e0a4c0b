"""Joining: runs of another place are taken over whole and sound, and nothing held is touched."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faults.made import SMALL, STUDY, copied, nothing_is_to_do, plan, planned, run_study, tree
from vae_ablation.cli import main
from vae_ablation.common.errors import UserError
from vae_ablation.common.files import read_json, write_json
from vae_ablation.store.joining import read_pack
from vae_ablation.store.trained import load_run
from vae_ablation.study.plan import link_evaluations
from vae_ablation.tables.collect import collect

SEEDS = {seed: SMALL | {"grids": [SMALL["grids"][0] | {"seed": [seed]}]} for seed in (0, 1)}
BOTH = SMALL | {"grids": [SMALL["grids"][0] | {"seed": [0, 1]}]}


@pytest.fixture(scope="module")
def clusters(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """One study, split over two clusters by seed."""
    places = {seed: tmp_path_factory.mktemp(f"cluster{seed}") for seed in SEEDS}
    for seed, folder in places.items():
        run_study(folder, SEEDS[seed])
    return places


@pytest.fixture
def here(tmp_path: Path, clusters: dict[int, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the first cluster's folder, as working directory."""
    monkeypatch.chdir(copied(clusters[0], tmp_path / "here"))
    return tmp_path / "here"


@pytest.fixture
def there(tmp_path: Path, clusters: dict[int, Path]) -> Path:
    """A copy of the second cluster's results/small."""
    return copied(clusters[1], tmp_path / "there") / STUDY


def only_pack(study: Path) -> Path:
    (pack,) = study.glob("packs/*")
    return pack


# --- plain copying, which the stored hashes allow already ----------------------------------------


def test_packs_and_runs_that_are_simply_copied_are_held(here: Path, there: Path) -> None:
    """As by `rsync --archive there/packs there/runs here/`, for studies that share no run."""
    for name in ("packs", "runs"):
        copied(there / name, STUDY / name)
    assert plan(here, BOTH).to_train == []


def test_a_whole_study_that_is_simply_copied_needs_nothing(
    clusters: dict[int, Path], tmp_path: Path
) -> None:
    copied(clusters[1], tmp_path / "copy")
    assert nothing_is_to_do(tmp_path / "copy", SEEDS[1])


# --- joining -------------------------------------------------------------------------------------


def test_joined_runs_are_held_evaluated_and_stand_in_the_tables_once(
    here: Path, there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(STUDY)
    planned(here, BOTH)
    assert main(["join", str(there)]) == 0
    out = capsys.readouterr().out
    assert "2 of 2 runs" in out
    assert "2 runs joined, 0 packs left out. 0 wanted runs are still missing." in out
    assert nothing_is_to_do(here, BOTH)
    assert {name: content for name, content in tree(STUDY).items() if name in before} == before
    state = planned(here, BOTH)
    rows = collect(state.study, state.plan, [])
    assert sorted(rows["run"]) == sorted({item.run.path for item in state.plan.planned})
    for run in (STUDY / "runs").rglob("run.json"):
        load_run(run.parent)


def test_joining_twice_copies_nothing_again(
    here: Path, there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["join", str(there)])
    before = tree(STUDY)
    assert main(["join", str(there)]) == 0
    assert "0 runs joined, 0 packs left out" in capsys.readouterr().out
    assert tree(STUDY) == before


def test_a_study_that_was_never_run_here_is_taken_over_whole(
    there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    monkeypatch.chdir(fresh)
    assert main(["join", str(there)]) == 0
    assert nothing_is_to_do(fresh, SEEDS[1])
    assert plan(fresh, BOTH).to_train == [
        item for item in plan(fresh, BOTH).planned if item.run.seed == 0
    ]


def test_runs_that_no_config_wants_yet_are_joined_and_found_when_one_does(
    here: Path, there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["join", str(there)]) == 0
    assert "2 runs joined" in capsys.readouterr().out
    assert plan(here, SEEDS[0]).to_train == []
    assert plan(here, BOTH).to_train == []


def test_a_held_run_is_never_overwritten(here: Path, clusters: dict[int, Path]) -> None:
    before = tree(here)
    assert main(["join", str(clusters[0] / STUDY)]) == 0
    assert tree(here) == before


def test_of_a_pack_that_is_held_in_part_only_the_rest_is_linked(tmp_path: Path, here: Path) -> None:
    """The other place trained both seeds in one pack, which is copied whole."""
    other = tmp_path / "other"
    other.mkdir()
    run_study(other, BOTH)
    before = tree(STUDY / "runs")
    assert main(["join", str(other / STUDY)]) == 0
    after = tree(STUDY / "runs")
    assert {name: link for name, link in after.items() if name in before} == before
    assert {name.split("/")[-2] for name in after.keys() - before.keys()} == {"seed1"}
    assert nothing_is_to_do(here, BOTH)


def test_a_run_that_was_deleted_here_comes_back_under_another_packs_name(
    here: Path, clusters: dict[int, Path]
) -> None:
    (run,) = STUDY.glob("runs/**/kl-off/seed0")
    weights = (run / "model.safetensors").read_bytes()
    target = only_pack(STUDY) / "train" / run.relative_to(STUDY / "runs")
    shutil.rmtree(target)
    assert len(plan(here, SEEDS[0]).to_train) == 1
    assert main(["join", str(clusters[0] / STUDY)]) == 0
    assert nothing_is_to_do(here, SEEDS[0])
    assert (run / "model.safetensors").read_bytes() == weights
    names = sorted(path.name for path in STUDY.glob("packs/*"))
    assert names == [only_pack(clusters[0] / STUDY).name, f"{names[0]}-2"]
    assert read_json(run / "run.json")["pack"] == names[1]


def test_runs_of_other_settings_do_not_take_the_place_of_wanted_ones(
    here: Path, clusters: dict[int, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = SEEDS[0] | {"training": SMALL["training"] | {"learning_rate": 0.002}}
    assert len(plan(here, wanted).to_train) == 2
    assert main(["join", str(clusters[0] / STUDY)]) == 0
    assert (
        "0 runs joined, 0 packs left out. 2 wanted runs are still missing"
        in capsys.readouterr().out
    )
    other = tmp_path / "other"
    other.mkdir()
    run_study(other, wanted)
    assert main(["join", str(other / STUDY)]) == 0
    assert nothing_is_to_do(here, wanted)


def test_runs_are_compared_with_data_that_are_prepared_again(here: Path, there: Path) -> None:
    (described,) = (STUDY.parent / ".data").glob("*/dataset.json")
    old = {"code_version": "0ld0c0de0000", "checksum": "old"}
    write_json(described, read_json(described) | old)
    run_study(here, SEEDS[0] | {"on_code_change": "retrain"})
    again = BOTH | {"on_code_change": "retrain"}
    assert len(plan(here, again).to_train) == 2
    assert main(["join", str(there)]) == 0
    assert plan(here, again).to_train == []


def test_runs_are_wanted_before_their_data_are_prepared_here(
    there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    monkeypatch.chdir(fresh)
    planned(fresh, BOTH).freeze()
    assert main(["join", str(there)]) == 0
    assert [item.run.seed for item in plan(fresh, BOTH).to_train] == [0, 0]


def test_a_run_of_other_code_does_not_replace_another_where_both_would_be_trained_again(
    here: Path, clusters: dict[int, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for record in (STUDY / "packs").rglob("run.json"):
        write_json(record, read_json(record) | {"code_version": "0ld0c0de0000"})
    planned(here, SEEDS[0] | {"on_code_change": "retrain"})
    other = copied(STUDY, here.parent / "older")
    assert main(["join", str(other), "small"]) == 0
    assert "0 runs joined" in (said := capsys.readouterr().out)
    assert "2 of 2 runs have other settings, data or code than the study wants here" in said
    assert main(["join", str(clusters[0] / STUDY)]) == 0
    assert "2 runs joined" in capsys.readouterr().out
    assert plan(here, SEEDS[0] | {"on_code_change": "retrain"}).to_train == []


def test_a_run_that_failed_there_is_left_to_be_trained(
    here: Path, there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = next(there.glob("packs/*/train/**/run.json"))
    write_json(path, read_json(path) | {"status": "failed", "reason": "on purpose"})
    assert main(["join", str(there)]) == 0
    assert main(["join", str(there)]) == 0
    assert "1 runs joined" in capsys.readouterr().out
    assert len(plan(here, BOTH).to_train) == 1


def test_an_evaluation_under_an_older_setting_comes_with_its_pack(here: Path, there: Path) -> None:
    other = SEEDS[1] | {"evaluation": {"nll_samples": 8}}
    run_study(there.parents[1], other)
    assert main(["join", str(there)]) == 0
    assert len(list(STUDY.glob("packs/*/evaluation/*"))) == 3
    state = planned(here, BOTH)
    link_evaluations(state.study, state.plan)
    assert nothing_is_to_do(here, BOTH)


# --- damaged and foreign packs -------------------------------------------------------------------


def rewrite(record: Path, **changes: Any) -> None:
    write_json(record, read_json(record) | changes)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def rename_run(train: Path) -> None:
    run = next(train.rglob("seed1"))
    run.rename(run.with_name("seed9"))


def change_beta(train: Path) -> None:
    record = next(train.rglob("run.json"))
    rewrite(record, run=read_json(record)["run"] | {"beta": 0.25})


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "half a record": (lambda train: truncate(next(train.rglob("run.json"))), "run.json"),
    "an empty record": (lambda train: next(train.rglob("run.json")).write_text("{}"), "run.json"),
    "a list for a record": (lambda t: next(t.rglob("run.json")).write_text("[1]"), "run.json"),
    "another beta": (change_beta, "does not fit"),
    "another setting": (
        lambda train: rewrite(next(train.rglob("run.json")), training={"epochs": 7}),
        "does not fit",
    ),
    "other data": (
        lambda train: rewrite(next(train.rglob("run.json")), data_checksum="0" * 64),
        "does not fit",
    ),
    "half the weights": (lambda t: truncate(next(t.rglob("model.safetensors"))), "safetensors"),
    "no weights": (lambda train: next(train.rglob("model.safetensors")).unlink(), "safetensors"),
    "no history": (lambda train: next(train.rglob("history.csv")).unlink(), "history.csv"),
    "half a history": (
        lambda train: next(train.rglob("history.csv")).write_text("epoch,split\n"),
        "history.csv",
    ),
    "half a film": (lambda train: truncate(next(train.rglob("snapshots.npz"))), "snapshots.npz"),
    "a link out of it": (lambda train: (train / "out").symlink_to("/etc"), "links"),
    "a run moved": (rename_run, "its record is of"),
    "no run": (lambda train: shutil.rmtree(train), "no trained run"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_or_foreign_pack_is_named_and_left_out(
    name: str, here: Path, there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage, words = DAMAGES[name]
    damage(only_pack(there) / "train")
    before = tree(STUDY)
    assert main(["join", str(there)]) == 0
    told = capsys.readouterr().out
    sentences = [line for line in told.splitlines() if line.startswith("Left out: ")]
    assert len(sentences) == 1
    assert words in sentences[0]
    assert only_pack(there).name in sentences[0]
    assert "1 packs left out" in told
    assert tree(STUDY) == before
    assert len(plan(here, BOTH).to_train) == 2


@pytest.mark.parametrize("name", ["codes.npz", "metrics.json"])
def test_a_damaged_evaluation_is_named_and_made_again_here(
    name: str, here: Path, there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truncate(next((only_pack(there) / "evaluation").rglob(name)))
    assert main(["join", str(there)]) == 0
    assert "evaluation" in capsys.readouterr().out.split("Left out: ")[1]
    assert plan(here, BOTH).to_train == []
    assert not nothing_is_to_do(here, BOTH)
    run_study(here, BOTH)
    assert nothing_is_to_do(here, BOTH)


def test_a_sound_pack_is_joined_beside_a_damaged_one(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    run_study(other, BOTH | {"packs": {"max_runs": 1}})
    truncate(next((other / STUDY).glob("packs/*/train/**/beta0.5/seed1/model.safetensors")))
    assert main(["join", str(other / STUDY)]) == 0
    assert "1 runs joined, 1 packs left out. 0 wanted" in capsys.readouterr().out
    assert [item.run.path for item in plan(here, BOTH).to_train] == [
        "digits/gaussian/z2/beta0.5/seed1"
    ]


KEYS = ["run", "path", "status", "training", "model", "train_hash", "pack", "data_checksum"]
VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just([]) | st.just({})
)


@given(data=st.data())
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_record_is_read_or_told_in_one_sentence(
    data: st.DataObject, clusters: dict[int, Path], tmp_path: Path
) -> None:
    record = read_json(next((clusters[0] / STUDY).glob("packs/*/train/**/run.json")))
    target = data.draw(st.sampled_from([record, record["run"], record["training"]]))
    for key in data.draw(st.lists(st.sampled_from([*KEYS, *target]), min_size=1, max_size=3)):
        if data.draw(st.booleans()):
            target[key] = data.draw(VALUES)
        else:
            target.pop(key, None)
    path = tmp_path / "packs" / "p" / "train" / "digits/gaussian/z2/kl-off/seed0" / "run.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record), encoding="utf-8")
    told = ""
    try:
        read_pack(tmp_path / "packs" / "p")
    except UserError as error:
        told = str(error)
    assert "\n" not in told


# --- refusing ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("absent", "holds no packs"),
        ("..", "holds no packs"),
        ("results/small", "is the study's own folder"),
    ],
)
def test_a_folder_that_cannot_be_joined_is_one_sentence(
    source: str, words: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["join", source, "small"]) == 1
    error = capsys.readouterr().err
    assert words in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("name", ["../out", "/tmp/out", ".hidden", "a b"])
def test_a_study_name_that_climbs_out_is_refused(
    name: str, here: Path, there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(here.parent)
    assert main(["join", str(there), name]) == 1
    assert "not found" in capsys.readouterr().err
    assert tree(here.parent) == before


def test_it_refuses_while_snakemake_holds_its_lock(
    here: Path, there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / ".snakemake" / "locks").mkdir(parents=True)
    (here / ".snakemake" / "locks" / "0.input.lock").touch()
    before = tree(here)
    assert main(["join", str(there)]) == 1
    assert "snakemake is running here" in capsys.readouterr().err
    assert tree(here) == before


def test_the_record_of_a_joined_run_says_where_it_was_trained(here: Path, there: Path) -> None:
    path = next(there.glob("packs/*/train/**/run.json"))
    rewrite(path, device="another GPU", versions={"torch": "1.0"})
    main(["join", str(there)])
    record = json.loads((STUDY / "runs" / read_json(path)["path"] / "run.json").read_text())
    assert (record["device"], record["versions"]) == ("another GPU", {"torch": "1.0"})
