"""What was trained survives a killed workflow; an interrupted one ends at once."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from vae_ablation.cli import main
from vae_ablation.jobs.interruption import LINE
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


def test_killed_while_it_reports_the_next_call_makes_the_whole_report(place: Place) -> None:
    shutil.copytree(place.checkout, place.folder, dirs_exist_ok=True)
    make = ["workflow/run.sh", str(Path(sys.executable).parent), "study.yaml", "2", "local"]
    place.write_config()
    report = place.study / "report.html"
    log = place.study / "logs" / "report.log"
    subprocess.run(make, cwd=place.folder, env=place.environment(), check=True, timeout=900)
    before = report.read_bytes()
    findings = place.study / "tables" / "findings.json"
    findings.write_bytes(findings.read_bytes() + b"\n")  # Snakemake compares small files
    log.unlink()
    process = subprocess.Popen(
        make, cwd=place.folder, env=place.environment(), start_new_session=True
    )
    while not log.exists():
        assert process.poll() is None
        time.sleep(0.05)
    kill_tree(process.pid)
    process.wait()
    assert not report.exists() or report.read_bytes() == before
    unlock = ["snakemake", "--unlock", "--configfile", "study.yaml"]
    subprocess.run(
        [sys.executable, "-m", *unlock], cwd=place.folder, env=place.environment(), check=True
    )
    subprocess.run(make, cwd=place.folder, env=place.environment(), check=True, timeout=900)
    assert report.stat().st_size > 1e5
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


# --- interrupted, and not killed -----------------------------------------------------------------


class Started:
    """A call of a study that trains for long, in a session of its own as a terminal's."""

    def __init__(self, place: Place, command: Sequence[str]) -> None:
        place.config["training"] = {"epochs": 20_000, "batch_size": 32}
        place.write_config()
        self.place, self.output = place, place.folder / "output.log"
        with self.output.open("w") as output:
            self.process = psutil.Popen(
                command, cwd=place.folder, env=place.environment(), stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip
        self.family: set[psutil.Process] = set()

    def wait_for(self, happened: Callable[[], object]) -> None:
        until = time.monotonic() + 120
        while not happened():
            assert self.process.poll() is None, self.output.read_text()
            assert time.monotonic() < until
            time.sleep(0.05)

    def interrupt(self, send: Callable[[int], object]) -> str:
        """Send the signal; what was said from then on. No process is left after 5 seconds."""
        self.family |= {self.process, *self.process.children(recursive=True)}
        before = len(self.output.read_text())
        began = time.monotonic()
        send(self.process.pid)
        self.process.wait(30)
        while self.running() and time.monotonic() < began + 5:
            time.sleep(0.05)
        assert time.monotonic() - began < 5
        assert self.running() == []
        return self.output.read_text()[before:]

    def running(self) -> list[psutil.Process]:
        return [one for one in self.family if one.is_running() and one.status() != "zombie"]


def is_training(place: Place) -> bool:
    return any(path.name != "start.json" for path in place.study.glob(".progress/*.json"))


def is_compiling(place: Place) -> bool:
    """The server that compiles UMAP has begun to, as its memory tells."""
    for child in psutil.process_iter(["cmdline"]):
        words = child.info["cmdline"] or []
        if words[-1:] == ["results/tiny"] and words[-2].endswith("/embed"):
            with suppress(psutil.Error):
                if child.cwd() == str(place.folder):
                    return any("llvmlite" in one.path for one in child.memory_maps())
    return False


def is_asking_for_the_name(place: Place) -> bool:
    """run.sh has begun, and Snakemake has not."""
    for child in psutil.process_iter(["cmdline"]):
        if "study-name" in (child.info["cmdline"] or []):
            with suppress(psutil.Error):
                if child.cwd() == str(place.folder):
                    return True
    return False


RUN_SH = ["workflow/run.sh", str(Path(sys.executable).parent), "study.yaml", "2", "local"]


@pytest.mark.skipif(sys.platform != "linux", reason="forks are used on Linux only")
@pytest.mark.parametrize(
    ("command", "moment", "number", "group", "status"),
    [
        (RUN_SH, is_training, signal.SIGINT, True, 130),
        (RUN_SH, lambda place: (place.study / "plan.json").exists(), signal.SIGTERM, False, 143),
        (RUN_SH, is_asking_for_the_name, signal.SIGINT, True, 130),
        (None, is_compiling, signal.SIGHUP, True, 130),
        (None, is_training, signal.SIGINT, False, 130),
    ],
    ids=["run.sh trains", "run.sh begins", "run.sh starts", "snakemake compiles", "snakemake"],
)
def test_an_interruption_ends_everything_at_once_with_one_line(
    command: list[str] | None,
    moment: Callable[[Place], object],
    number: int,
    group: bool,
    status: int,
    fresh: Place,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(fresh.checkout, fresh.folder, dirs_exist_ok=True)
    fresh.config["grids"][0]["latent_dim"] = [4]  # which UMAP will show
    started = Started(fresh, command or fresh.command("--cores", "2"))
    started.wait_for(lambda: moment(fresh))
    said = started.interrupt(lambda pid: (os.killpg if group else os.kill)(pid, number))
    assert started.process.returncode == status
    lines = [line for line in said.splitlines() if line and not line.startswith("trained ")]
    assert lines[-1] == LINE
    assert said.count("Interrupted") == 1
    for word in ("Traceback", "Error", "KeyboardInterrupt", "allow_missing"):
        assert word not in said
    assert not (fresh.study / ".failed").exists()
    assert not list(fresh.study.glob("packs/*/train"))
    assert not list((fresh.folder / ".snakemake").glob("locks/*"))
    if (fresh.study / "plan.json").exists():
        monkeypatch.chdir(fresh.folder)
        main(["status", "tiny"])
        assert "nothing runs now" in capsys.readouterr().out
    if moment is is_training:
        assert list(fresh.study.glob("checkpoints/*/*.checkpoint"))
        assert fresh.call("-n").to_train  # nothing is locked or incomplete
