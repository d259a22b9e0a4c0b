"""Pruning: what no config wants is listed, asked about and deleted; what is wanted stays."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from faults.made import SMALL, STUDY, copied, nothing_is_to_do, plan, planned, run_study, tree
from support import assert_one_sentence
from vae_ablation.cli import main
from vae_ablation.common.errors import UserError
from vae_ablation.common.files import read_json, write_json
from vae_ablation.store.prune import find_leftovers, prune

ONLY_GAUSSIAN = SMALL | {"grids": SMALL["grids"][:1]}
OTHER_EVALUATION = SMALL | {"evaluation": {"nll_samples": 8}}
OTHER_TRAINING = SMALL | {"training": SMALL["training"] | {"learning_rate": 0.002}}
LOGISTIC = "runs/digits/discretized_logistic/z2/beta1/seed0"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    run_study(folder)
    return folder


@pytest.fixture
def place(tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished study, as working directory."""
    monkeypatch.chdir(copied(finished, tmp_path))
    return tmp_path


def found(*patterns: str) -> set[str]:
    """Names of what matches below results/."""
    return {
        str(path.relative_to("results")) for one in patterns for path in Path("results").glob(one)
    }


def leftovers() -> set[str]:
    return {str(path.relative_to("results")) for path in find_leftovers(STUDY).paths}


def freeze(place: Path, raw: dict[str, Any]) -> None:
    """What a call of Snakemake does first."""
    planned(place, raw).freeze()


# --- what is left over ---------------------------------------------------------------------------


def test_of_a_finished_study_nothing_is_left_over(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(place)
    assert main(["prune", "small"]) == 0
    assert "nothing to delete" in capsys.readouterr().out
    assert tree(place) == before


def test_a_pack_without_a_wanted_run_goes_with_the_links_to_it(place: Path) -> None:
    (pack,) = found("small/packs/digits-discretized_logistic-*")
    freeze(place, ONLY_GAUSSIAN)
    assert leftovers() - found("small/controls/**/*.json") == {pack}
    prune(STUDY, yes=True)
    assert not (Path("results") / pack).exists()
    assert not (STUDY / "runs/digits/discretized_logistic").exists()
    # Control rows depend on the likelihoods too, and a later call makes them.
    assert plan(place, ONLY_GAUSSIAN).to_train == []


def test_a_pack_with_one_wanted_run_stays_whole_and_so_do_the_links_to_it(place: Path) -> None:
    fewer = SMALL | {"grids": [SMALL["grids"][0] | {"seed": [1]}, SMALL["grids"][1]]}
    freeze(place, fewer)
    runs = tree(STUDY / "runs")
    packs = tree(STUDY / "packs")
    prune(STUDY, yes=True)
    assert tree(STUDY / "packs") == packs
    assert tree(STUDY / "runs") == runs
    assert plan(place).to_train == []  # put back, the seed is not trained again


def test_former_evaluations_go_and_the_present_one_is_linked(place: Path) -> None:
    former = found("small/packs/*/evaluation/*")
    run_study(place, OTHER_EVALUATION)
    present = found("small/packs/*/evaluation/*") - former
    assert leftovers() >= former
    prune(STUDY, yes=True)
    assert found("small/packs/*/evaluation/*") == present
    assert nothing_is_to_do(place, OTHER_EVALUATION)


def test_links_that_lead_to_a_former_evaluation_are_turned_before_it_goes(place: Path) -> None:
    """Killed after the setting came back and before the tables were made."""
    run_study(place, OTHER_EVALUATION)
    freeze(place, SMALL)
    prune(STUDY, yes=True)
    assert len(found("small/packs/*/evaluation/*")) == 2
    assert nothing_is_to_do(place)


def test_packs_of_former_training_settings_go(place: Path) -> None:
    former = found("small/packs/*")
    run_study(place, OTHER_TRAINING)
    assert leftovers() & found("small/packs/*") == former
    prune(STUDY, yes=True)
    assert found("small/packs/*") & former == set()
    assert nothing_is_to_do(place, OTHER_TRAINING)


def test_what_the_config_file_wants_now_stays_though_it_is_not_frozen(place: Path) -> None:
    freeze(place, ONLY_GAUSSIAN)
    plan(place, SMALL)  # study.yaml says more again, and no call has frozen it
    assert leftovers() == set()


def test_runs_that_are_to_be_made_again_keep_what_they_have_until_then(place: Path) -> None:
    """Training code changed, a run failed, a link is missing: the tables still show the old one."""
    for path in STUDY.glob("packs/*/train/**/run.json"):
        write_json(path, read_json(path) | {"code_version": "another"})
    failed = (STUDY / LOGISTIC / "run.json").resolve()
    write_json(failed, read_json(failed) | {"status": "failed", "reason": "on purpose"})
    (STUDY / LOGISTIC / "codes.npz").unlink()
    raw = SMALL | {"on_code_change": "retrain"}
    assert len(plan(place, raw).to_train) == 5
    freeze(place, raw)
    assert leftovers() == set()


def test_folders_of_runs_that_lead_nowhere_go_but_not_what_the_user_put_there(place: Path) -> None:
    (pack,) = STUDY.glob("packs/digits-discretized_logistic-*")
    shutil.rmtree(pack)
    notes = STUDY / LOGISTIC / "notes.txt"
    notes.write_text("mine", encoding="utf-8")
    prune(STUDY, yes=True)
    assert [path.name for path in (STUDY / LOGISTIC).iterdir()] == ["notes.txt"]


def test_features_controls_and_figures_that_are_not_current_go(place: Path) -> None:
    former = found("small/features/*/*", "small/controls/*/*")
    kept = ("figures/digits/gaussian", "figures/digits/all", "tables/findings.html")
    gone = ("figures/digits/bernoulli", "figures/mnist/all", "explorer", "tables/arms.html")
    for name in (*kept, *gone):
        path = STUDY / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert leftovers() == {f"small/{name}" for name in gone}
    freeze(place, SMALL | {"evaluation": {"seed": 7, "nll_samples": 4}})
    assert leftovers() >= former


def test_checkpoints_stay_where_a_missing_run_can_go_on_from_them(place: Path) -> None:
    more = SMALL | {"grids": [*SMALL["grids"], {"seed": [7]}]}
    freeze(place, more)
    (missing,) = plan(place, more).to_train
    held = plan(place, more).planned[0]
    version = planned(place, more).study.code_version
    members = {
        "goes-on": {missing.run.path: missing.train_hash},
        "one-of-two": {missing.run.path: missing.train_hash, "another": "run"},
        "other-settings": {missing.run.path: "another hash"},
        "trained": {held.run.path: held.train_hash},
    }
    for name, runs in members.items():
        entry = {"runs": runs, "code_version": version}
        write_json(STUDY / "checkpoints" / name / "members.json", entry)
    (STUDY / "checkpoints" / "damaged").mkdir()
    (STUDY / "checkpoints" / "damaged" / "members.json").write_text("{", encoding="utf-8")
    stale = {f"small/checkpoints/{name}" for name in ("other-settings", "trained", "damaged")}
    assert leftovers() - found("small/controls/*/*") == stale


def test_what_killed_jobs_left_goes_and_other_hidden_files_stay(place: Path) -> None:
    (pack,) = STUDY.glob("packs/digits-gaussian-*")
    (data,) = Path("results/.data").iterdir()
    gone = [
        pack / ".train.tmp" / "run.json",
        pack / "evaluation" / ".0a1b2c3d.tmp" / "metrics.json",
        STUDY / "tables" / ".metrics.csv.ab12_xyz",
        STUDY / "figures" / "digits" / ".gaussian.123.new" / "z2" / "a.png",
        STUDY / "runs" / "digits" / ".codes.npz.link",
        data / ".counts.abcd1234" / "data.npy",
        Path("results/.data/.0123456789ab.tmp/arrays.npz"),
    ]
    kept = [STUDY / ".mine", STUDY / "tables" / ".notes", pack / "train" / ".snakemake_timestamp"]
    for path in (*gone, *kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    prune(STUDY, yes=True)
    assert [path for path in gone if path.exists()] == []
    assert [path for path in kept if not path.exists()] == []
    assert nothing_is_to_do(place)


# --- prepared data -------------------------------------------------------------------------------


def test_prepared_data_go_if_no_study_beside_it_wants_them(place: Path) -> None:
    (data,) = Path("results/.data").iterdir()
    stale = Path("results/.data/0123456789ab")
    for folder in (stale, Path("results/.data/downloads")):
        folder.mkdir()
        (folder / "dataset.json").touch()
    other = SMALL | {"study": "other", "datasets": {"numbers": SMALL["datasets"]["digits"]}}
    (place / "other.yaml").write_text(yaml.safe_dump(other), encoding="utf-8")
    freeze(place, other)
    freeze(place, SMALL | {"datasets": {"digits": {"max_examples": 130}}})
    assert leftovers() & found(".data/*") == {".data/0123456789ab"}
    shutil.rmtree("results/other")
    assert leftovers() & found(".data/*") == {".data/0123456789ab", f".data/{data.name}"}


def test_data_are_left_alone_where_another_study_cannot_be_read(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("results/.data/0123456789ab").mkdir()
    Path("results/broken").mkdir()
    Path("results/broken/config.yaml").write_text("study: [", encoding="utf-8")
    prune(STUDY, yes=True)
    out = capsys.readouterr().out
    assert "results/.data is kept" in out
    assert "broken" in out
    assert Path("results/.data/0123456789ab").exists()


# --- asking --------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def shrunk(place: Path) -> Path:
    freeze(place, ONLY_GAUSSIAN)
    return place


def test_it_lists_sizes_and_deletes_once_the_name_is_typed(
    shrunk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("small\n"))
    assert main(["prune", "small"]) == 0
    out = capsys.readouterr().out
    assert "results/small/packs/digits-discretized_logistic-z2-" in out
    assert " kB" in out
    assert "links  of 1 runs" in out
    assert "free again" in out
    assert found("small/packs/digits-discretized*") == set()


@pytest.mark.parametrize("answer", ["yes\n", "\n", "", "default\n"])
def test_another_answer_deletes_nothing(
    shrunk: Path,
    answer: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    before = tree(shrunk)
    assert main(["prune", "small"]) == 1
    assert "nothing was deleted" in capsys.readouterr().err
    assert tree(shrunk) == before


def test_without_a_terminal_it_wants_yes(
    shrunk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("small\n"))
    before = tree(shrunk)
    assert main(["prune", "small"]) == 1
    assert "--yes" in capsys.readouterr().err
    assert tree(shrunk) == before
    assert main(["prune", "small", "--yes"]) == 0
    assert tree(shrunk) != before


def test_what_changed_while_it_waited_is_not_deleted(
    shrunk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(question: str) -> str:
        plan(shrunk, SMALL)  # the user edits the config meanwhile
        return "small"

    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("builtins.input", answer)
    with pytest.raises(UserError, match="has changed meanwhile") as caught:
        prune(STUDY)
    assert_one_sentence(caught.value, "nothing was deleted")
    assert nothing_is_to_do(shrunk)


# --- refusing ------------------------------------------------------------------------------------


def test_it_refuses_while_snakemake_holds_its_lock(
    shrunk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    locks = shrunk / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").touch()
    before = tree(shrunk)
    assert main(["prune", "small", "--yes"]) == 1
    error = capsys.readouterr().err
    assert "snakemake is running here" in error
    assert "--unlock" in error
    assert tree(shrunk) == before


def test_a_wrong_config_file_is_one_sentence_and_deletes_nothing(
    shrunk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (shrunk / "study.yaml").write_text("study: small\ngrid: []\n", encoding="utf-8")
    before = tree(shrunk)
    assert main(["prune", "small", "--yes"]) == 1
    assert "study.yaml" in capsys.readouterr().err
    assert tree(shrunk) == before


def test_a_study_of_that_name_must_be_there(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prune", "../elsewhere", "--yes"]) == 1
    assert "not found" in capsys.readouterr().err


def test_from_elsewhere_the_folder_is_named(
    shrunk: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert main(["prune", str(shrunk / "results" / "small"), "--yes"]) == 0
    assert not list((shrunk / STUDY).glob("packs/digits-discretized*"))
    assert json.loads((shrunk / STUDY / "plan.json").read_text(encoding="utf-8"))["runs"]
