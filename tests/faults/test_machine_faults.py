"""Full disks, read-only folders, no HOME and no network, each under the real workflow."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from faults.made import copied, enlarge, read_only, small_disk
from vae_ablation.cli import main
from workflow.place import TABLE, TINY, Call, Place, copy_checkout

pytestmark = pytest.mark.workflow
OWN: dict[str, Any] = TINY | {
    "datasets": {"digits": {"source": "npz", "path": "digits.npz"}},
    "grids": [{"likelihood": ["gaussian"], "seed": [0, 1]}],
    "packs": {"max_runs": 1},
}


def write_data(folder: Path, first: int = 0) -> None:
    digits = load_digits()
    rows = slice(first, first + 120)
    images = (digits.images[rows] * 15).astype(np.uint8)
    np.savez(folder / "digits.npz", x=images, y=digits.target[rows])


def sentences(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("Error: ")]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_checkout(tmp_path_factory.mktemp("checkout"))


@pytest.fixture
def fresh(tmp_path: Path, checkout: Path) -> Place:
    """An empty folder, and a study of one run."""
    place = Place(tmp_path / "fresh", checkout)
    place.folder.mkdir()
    place.config["grids"] = [{"likelihood": ["gaussian"]}]
    return place


# --- no HOME, no network -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory, checkout: Path) -> Place:
    """A study made by workflow/run.sh where HOME is read-only and there is no network."""
    folder = copied(checkout, tmp_path_factory.mktemp("bare"))
    place = Place(folder, folder)
    place.config = OWN
    place.write_config()
    write_data(folder)
    home = tmp_path_factory.mktemp("home")
    with ExitStack() as stack:
        if os.geteuid() == 0:
            stack.enter_context(read_only(home))
        else:
            home.chmod(0o555)
        program = ["workflow/run.sh", str(Path(sys.executable).parent), "study.yaml", "2", "local"]
        done = subprocess.run(
            [*without_network(), *program],
            cwd=folder, env={**place.environment(), "HOME": str(home)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        assert list(home.iterdir()) == []
    return place


def without_network() -> list[str]:
    """The prefix of a command that then sees no network; nothing where that is not allowed."""
    prefix = ["unshare", "--net"]
    if os.geteuid() or not shutil.which("unshare"):
        return []
    return prefix if subprocess.run([*prefix, "true"], check=False).returncode == 0 else []


def test_without_home_and_network_a_study_runs_to_its_report(bare: Place) -> None:
    assert (bare.metrics()["status"] == "ok").all()
    assert (bare.study / "report.html").stat().st_size > 1e5
    assert list(bare.study.glob("figures/**/*.png"))


@pytest.fixture
def place(tmp_path: Path, bare: Place) -> Place:
    """A copy of that study, made by the same checkout, of which it holds a copy too."""
    place = Place(copied(bare.folder, tmp_path / "place"), bare.checkout)
    place.config = dict(OWN)
    return place


# --- pruning and joining, as Snakemake sees it ---------------------------------------------------


def test_after_pruning_there_is_nothing_to_do(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = next(place.study.glob("packs/*"))
    copied(pack, pack.with_name("digits-gaussian-z2-00000000"))
    copied(next(pack.glob("evaluation/*")), pack / "evaluation" / "00000000")
    (place.study / "packs" / ".leftover.tmp").mkdir()
    monkeypatch.chdir(place.folder)
    assert main(["prune", "tiny", "--yes"]) == 0
    assert len(list(place.study.glob("packs/*"))) == 2
    assert len(list(place.study.glob("packs/*/evaluation/*"))) == 2
    call = place.call("-n")
    assert call.plan == "Study tiny: 2 runs wanted, all trained."
    assert "Nothing to be done" in call.text


def test_joined_runs_are_neither_trained_nor_evaluated_again(
    place: Place, fresh: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_data(fresh.folder)
    fresh.config = dict(OWN)
    monkeypatch.chdir(fresh.folder)
    assert main(["join", str(place.study)]) == 0
    call = fresh.call("-n", TABLE)
    assert call.plan == "Study tiny: 2 runs wanted, all trained."
    assert call.jobs == {"collect": 1}


def test_copied_packs_and_runs_are_not_trained_again(place: Place, fresh: Place) -> None:
    write_data(fresh.folder)
    fresh.config = dict(OWN)
    for name in ("packs", "runs"):
        copied(place.study / name, fresh.study / name)
    call = fresh.call("-n", TABLE)
    assert call.plan == "Study tiny: 2 runs wanted, all trained."
    assert "train" not in call.jobs


# --- changed data and code -----------------------------------------------------------------------


def test_a_changed_data_file_is_named_and_every_run_of_it_trains_again(place: Place) -> None:
    write_data(place.folder, first=500)
    call = place.call("-n", TABLE)
    assert call.plan.endswith("2 to train in 2 packs (2 data of digits changed).")
    assert call.jobs["train"] == 2


def test_changed_training_code_is_told_with_what_can_be_done(place: Place) -> None:
    place.checkout = place.folder
    source = place.checkout / "src" / "vae_ablation" / "models" / "objectives.py"
    source.write_text(source.read_text(encoding="utf-8") + "\nEDITED = True\n", encoding="utf-8")
    call = place.call("-n", TABLE)
    assert call.to_train == 0
    (line,) = [line for line in call.text.splitlines() if line.startswith("Training code: ")]
    assert "2 of the trained runs were trained by other code" in line
    assert "keep" in line
    assert "retrain" in line


# --- disks ---------------------------------------------------------------------------------------


def test_a_disk_that_becomes_full_is_one_sentence_and_the_call_goes_on_after_room_is_made(
    fresh: Place,
) -> None:
    results = fresh.folder / "results"
    fresh.config["grids"] = [{"likelihood": ["gaussian"], "seed": list(range(8))}]
    fresh.config["model"] = {"hidden": [600]}
    with small_disk(results, "1500k"):
        call = fresh.call("--until", "train", status=1)
        (sentence,) = sentences(call.text)
        assert "no space is left on the disk" in sentence
        assert "results" in sentence
        assert "Traceback" not in call.text
        assert not [path for path in results.rglob("*.safetensors") if path.exists()]
        assert not list(results.rglob(".*tmp"))
        enlarge(results, "30m")
        again = fresh.call("--until", "train")
        assert again.plan.startswith("Study tiny: 8 runs wanted, 0 trained, 8 to train")
        assert len(fresh.held()) == 8


def test_a_disk_that_is_full_already_is_refused_before_anything_runs(fresh: Place) -> None:
    results = fresh.folder / "results"
    with small_disk(results, "600k"):
        (results / "filler").write_bytes(bytes(300_000))
        call = fresh.call(status=1)
    (sentence,) = sentences(call.text)
    assert "no space is left on the disk" in sentence
    assert "prune" in sentence
    assert "Traceback" not in call.text


@pytest.mark.parametrize(("name", "arguments"), [("results", []), (".", ["-n"])])
def test_a_read_only_folder_is_one_sentence(fresh: Place, name: str, arguments: list[str]) -> None:
    (fresh.folder / "results").mkdir()
    fresh.write_config()
    with read_only(fresh.folder / name):
        call = call_only(fresh, *arguments)
    assert call.status == 1
    (sentence,) = sentences(call.text)
    assert "cannot be written" in sentence
    assert (fresh.folder / name).resolve().name in sentence
    assert "Traceback" not in call.text


def call_only(place: Place, *arguments: str) -> Call:
    """Call Snakemake where not even the config can be written."""
    done = subprocess.run(
        place.command("--cores", "2", *arguments),
        cwd=place.folder, env=place.environment(), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=300, check=False,
    )  # fmt: skip
    return Call(done.returncode, done.stdout)


def test_a_plan_that_cannot_be_written_is_one_sentence_and_leaves_no_lock(fresh: Place) -> None:
    (fresh.study / "plan.json" / "in-the-way").mkdir(parents=True)
    call = fresh.call("--until", "prepare", status=1)
    (sentence,) = sentences(call.text)
    assert "plan.json" in sentence
    assert not list((fresh.folder / ".snakemake").glob("locks/*"))
