"""What was trained survives a killed workflow."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from workflow.place import TABLE, Place


def kill_when(
    place: Place,
    happened: Callable[[], object],
    arguments: Sequence[str] = ("--rerun-incomplete", TABLE),
) -> None:
    """Start the workflow; once something happened kill it with its jobs, as a power cut does."""
    place.write_config()
    with (place.folder / "killed.log").open("w") as log:
        process = subprocess.Popen(
            place.command("--cores", "2", *arguments),
            cwd=place.folder, env=place.environment(), stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
        try:
            until = time.monotonic() + 200
            while not happened():
                assert process.poll() is None, (place.folder / "killed.log").read_text()
                assert time.monotonic() < until
                time.sleep(0.05)
        finally:
            kill_tree(process.pid)
            process.wait()


def kill_tree(pid: int) -> None:
    """Kill a process and what it started, parents first."""
    listed = subprocess.run(
        ["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
    ).stdout.split()
    parents = dict(zip(map(int, listed[::2]), map(int, listed[1::2]), strict=True))
    doomed = [pid]
    for one in doomed:
        doomed += [child for child, parent in parents.items() if parent == one]
    for one in doomed:
        try:
            os.kill(one, signal.SIGKILL)
        except ProcessLookupError:
            continue


@pytest.fixture
def growing(place: Place) -> Place:
    """The finished study with one more β and half its evaluation still to do."""
    place.config["grids"][0]["beta"] = [0.5, 2]
    return place


def test_killed_while_it_evaluates_nothing_trains_again(growing: Place) -> None:
    logs = growing.study / "logs" / "evaluate"
    old = set(logs.iterdir())
    kill_when(growing, lambda: set(logs.iterdir()) - old)
    trained = growing.held()
    assert len(trained) == 7
    growing.call("--unlock")
    call = growing.call("--rerun-incomplete", TABLE)
    assert call.plan == "Study tiny: 7 runs wanted, all trained."
    assert call.jobs == {"evaluate": 1, "collect": 1}
    assert growing.held() == trained
    assert (growing.metrics()["status"] == "ok").all()


def test_killed_while_it_trains_only_what_trained_is_trained_again(growing: Place) -> None:
    before = growing.held()
    logs = growing.study / "logs" / "train"
    old = set(logs.iterdir())
    kill_when(growing, lambda: set(logs.iterdir()) - old)
    assert growing.held() == before
    growing.call("--unlock")
    call = growing.call("-n", "--rerun-incomplete", TABLE)
    assert call.plan.endswith("2 to train in 1 pack (2 new).")
    assert call.jobs["train"] == 1


def results_of(place: Place) -> dict[str, bytes]:
    """Tables and figures but what they cost, by their path."""
    return {
        str(path.relative_to(place.study)): path.read_bytes()
        for part in ("tables", "figures", "umap")
        for path in sorted((place.study / part).rglob("*"))
        if path.is_file() and path.stem != "costs"
    }


def new_log(place: Place, pattern: str) -> Callable[[], list[Path]]:
    """Tells the logs of a rule that were written from now on."""
    since = time.time()
    folder = place.study / "logs"
    return lambda: [path for path in folder.glob(pattern) if path.stat().st_mtime > since]


@pytest.mark.chaos
@pytest.mark.parametrize("phase", ["collect.log", "figures/*.log"])
def test_killed_while_it_collects_or_draws_the_next_call_leaves_the_same_files(
    phase: str, place: Place
) -> None:
    whole = results_of(place)
    assert len([name for name in whole if name.endswith(".png")]) > 10
    for part in ("tables", "figures", "umap"):
        shutil.rmtree(place.study / part)
    kill_when(place, new_log(place, phase), ["--rerun-incomplete"])
    assert results_of(place) != whole
    place.call("--unlock")
    call = place.call("--rerun-incomplete")
    assert call.plan == "Study tiny: 5 runs wanted, all trained."
    assert not {"train", "evaluate"} & set(call.jobs)
    again = results_of(place)
    assert set(again) == set(whole)
    assert [name for name in whole if again[name] != whole[name]] == []


def test_killed_while_it_reports_the_report_before_stays(place: Place) -> None:
    shutil.copytree(place.checkout, place.folder, dirs_exist_ok=True)
    make = ["workflow/run.sh", str(Path(sys.executable).parent), "study.yaml", "2", "local"]
    place.write_config()
    report = place.study / "report.html"
    log = place.study / "report.log"
    subprocess.run(make, cwd=place.folder, env=place.environment(), check=True, timeout=900)
    before = report.read_bytes()
    (place.study / "tables" / "overview.json").touch()
    log.unlink()
    process = subprocess.Popen(
        make, cwd=place.folder, env=place.environment(), start_new_session=True
    )
    while not (log.exists() and log.stat().st_size):
        assert process.poll() is None
        time.sleep(0.05)
    kill_tree(process.pid)
    process.wait()
    assert report.read_bytes() == before
    subprocess.run(make, cwd=place.folder, env=place.environment(), check=True, timeout=900)
    assert report.stat().st_size > 1e6
    assert [path.name for path in place.study.glob("*.html")] == ["report.html"]


def test_stopped_between_training_and_evaluation_nothing_trains_again(fresh: Place) -> None:
    fresh.config["grids"] = [{"likelihood": ["gaussian"]}]
    first = fresh.call("--until", "train")
    assert "run the same command once more" not in first.text  # it did all that it was asked for
    trained = fresh.held()
    call = fresh.call("-n", TABLE)
    assert call.plan == "Study tiny: 1 runs wanted, all trained."
    assert call.jobs == {"controls": 1, "features": 1, "evaluate": 1, "collect": 1}
    assert fresh.held() == trained


def test_killed_as_a_training_job_ended_nothing_trains_again(place: Place) -> None:
    """The output is there, whole, but Snakemake has not yet taken note of it."""
    packs = sorted(place.study.glob("packs/*/train"))
    for output in packs:
        name = base64.b64encode(str(output.relative_to(place.folder)).encode()).decode()
        (place.folder / ".snakemake" / "incomplete" / name).touch()
    call = place.call("-n", "--rerun-incomplete", TABLE)
    assert "Nothing to be done" in call.text
