"""A study on a real Slurm: as on one machine, and whatever happens to its jobs, node and master.

All in one file, so that one worker of pytest-xdist has the cluster to itself.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slurm.cluster import SECONDS, Slurm, wait_until
from workflow.place import TABLE, Call, Place
from workflow.test_plugins import EXAMPLES

REPOSITORY = Path(__file__).parents[2]
PROFILE = REPOSITORY / "workflow" / "profiles" / "slurm"
QUICK = ("--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "10")
PAIR, ONE = "digits-gaussian", "digits-discretized_logistic"
BETA, KL_OFF, LOGISTIC = RUNS = (
    "digits/gaussian/z2/beta0.5/seed0",
    "digits/gaussian/z2/kl-off/seed0",
    "digits/discretized_logistic/z2/beta1/seed0",
)
GRIDS = {
    PAIR: {"likelihood": ["gaussian"], "beta": [0.5], "kl": [True, False]},
    ONE: {"likelihood": ["discretized_logistic"], "beta": [1]},
}
EPOCHS = 300
TRAINED = ("model.safetensors", "history.csv", "snapshots.npz")

# Each training job notes itself in `begun`. Its epochs take a second more while there is a file
# `slow`; it fails while a file `fail` holds the beginning of its pack's name. The master asks after
# its jobs every second, where it would wait longer and longer.
HOOKS = """
import os, sys, time

if any(word.endswith("scripts/train.py") for word in sys.orig_argv):
    pack = sys.orig_argv[-2]
    with open("begun", "a") as begun:
        print(pack, os.environ["CUDA_VISIBLE_DEVICES"], file=begun)

    from vae_ablation.jobs import inputs
    from vae_ablation.training import pack as training

    step_size = training.step_size

    def slowly(settings, epoch):
        until = time.monotonic() + 1
        while os.path.exists("slow") and time.monotonic() < until:
            time.sleep(0.1)
        return step_size(settings, epoch)

    def broken(*arguments):
        raise RuntimeError("broken on purpose")

    training.step_size = slowly
    if os.path.exists("fail") and pack.startswith(open("fail").read()):
        inputs.load_dataset = broken
elif "--workflow-profile" in sys.orig_argv:
    from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

    every_second = property(lambda self: 1, lambda self, seconds: None)
    RemoteExecutor.next_seconds_between_status_checks = every_second
"""


class Master:
    """A call of Snakemake that goes on while the test does something to it."""

    def __init__(self, place: Place, *arguments: str) -> None:
        self.log = place.folder / "master.log"
        place.write_config()
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                place.command("--workflow-profile", str(PROFILE), *QUICK, *arguments),
                cwd=place.folder, env=place.environment(), stdout=log, stderr=log,
            )  # fmt: skip

    @property
    def text(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def until(self, happened: Callable[[], object], what: str) -> None:
        """Wait for something that must happen before this call ends."""
        wait_until(lambda: happened() or self.process.poll() is not None, what)
        assert self.process.poll() is None, self.text

    def kill(self) -> None:
        """As kill -9 does."""
        self.process.kill()
        self.process.wait()

    def ends(self, status: int) -> Call:
        assert self.process.wait(SECONDS) == status, self.text
        return Call(status, self.text)


Start = Callable[..., Master]


def on_slurm(place: Place, *arguments: str, status: int = 0) -> Call:
    return place.call("--workflow-profile", str(PROFILE), *QUICK, *arguments, status=status)


def new_place(folder: Path, *packs: str) -> Place:
    place = Place(folder, REPOSITORY)
    place.config["grids"] = [GRIDS[pack] for pack in packs]
    place.config["training"] = {"epochs": EPOCHS, "batch_size": 32}
    place.config["packs"] = {"max_runs": 2, "memory_gb": 0.2}
    return place


@pytest.fixture(scope="module")
def on_one_machine(slurm: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The study, trained here and not by Slurm."""
    place = new_place(tmp_path_factory.mktemp("on_one_machine"), PAIR, ONE)
    place.call("--until", "train")
    return place


@pytest.fixture
def place(slurm: Slurm, tmp_path: Path) -> Iterator[Place]:
    """A place with the hooks, from which no job is left in the end."""
    place = new_place(tmp_path, PAIR, ONE)
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks" / "sitecustomize.py").write_text(HOOKS, encoding="utf-8")
    place.env = {**slurm.environment, "PYTHONPATH": str(tmp_path / "hooks")}
    yield place
    slurm.clear()


@pytest.fixture
def start(place: Place) -> Iterator[Start]:
    """Starts a master in the place; none is left in the end."""
    masters: list[Master] = []

    def start_one(*arguments: str) -> Master:
        masters.append(Master(place, *arguments))
        return masters[-1]

    yield start_one
    for master in masters:
        master.kill()


@pytest.fixture
def pair(place: Place, on_one_machine: Place) -> Place:
    """A place whose study is one pack of two runs, which train slowly; its data are prepared."""
    place.config["grids"] = [GRIDS[PAIR]]
    data = Path("results", ".data")
    shutil.copytree(on_one_machine.folder / data, place.folder / data)
    (place.folder / "slow").touch()
    return place


def begun(place: Place) -> list[list[str]]:
    """Pack and device of every training job so far."""
    path = place.folder / "begun"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [line.split() for line in text.splitlines()]


def progressing(place: Place) -> int:
    """Packs that are past their first epoch."""
    return len(list(place.study.glob(".progress/digits-*.json")))


def with_the_users_lines(folder: Path) -> Path:
    """The profile with partition, constraint and walltime given; accounts need a database."""
    lines = (PROFILE / "config.yaml").read_text(encoding="utf-8")
    for line in ("slurm_partition:", "constraint:", "runtime: 240"):
        assert f"# {line}" in lines
        lines = lines.replace(f"# {line}", line)
    folder.mkdir()
    (folder / "config.yaml").write_text(lines, encoding="utf-8")
    return folder


def assert_trained_to_the_same_bytes(place: Place, other: Place, *runs: str) -> None:
    assert set(place.held()) == set(runs)
    for run in runs:
        for name in TRAINED:
            ours, theirs = (one.run_folder(run) / name for one in (place, other))
            assert ours.read_bytes() == theirs.read_bytes(), (run, name)


def test_a_whole_study_ends_as_on_one_machine_though_its_config_is_edited_meanwhile(
    slurm: Slurm, place: Place, start: Start, on_one_machine: Place
) -> None:
    [part] = [text for text in EXAMPLES if "CodeCorrelation" in text]
    (place.folder / "my_parts.py").write_text(part, encoding="utf-8")
    place.config["plugins"] = ["my_parts.py"]
    slurm.node("drain")
    master = start(TABLE)
    master.until(lambda: slurm.jobs(place.folder, ""), "jobs wait for the node")
    place.config["training"] = {"epochs": 3, "batch_size": 32}
    place.config["evaluation"] = {"nll_samples": 12}
    place.write_config()
    slurm.node("resume")
    call = master.ends(0)
    sent = {"features": 1, "controls": 1, "train": 2, "evaluate": 2}
    assert call.jobs == {"prepare": 1, **sent, "collect": 1}
    assert call.text.count("has been submitted with SLURM jobid") == sum(sent.values())
    assert set(place.metrics().index) == set(RUNS)
    assert (place.metrics()["status"] == "ok").all()
    correlation = place.metrics()["code_correlation"].astype(float)
    assert correlation.between(0, 1).all(), "nodes load the user's parts"
    assert [place.record(run)["epochs"] for run in RUNS] == [EPOCHS] * 3
    assert_trained_to_the_same_bytes(place, on_one_machine, *RUNS)


@pytest.mark.chaos
def test_a_job_that_fails_is_tried_again_with_more_and_then_reported(
    slurm: Slurm, place: Place, on_one_machine: Place
) -> None:
    (place.folder / "fail").write_text(ONE, encoding="utf-8")
    call = on_slurm(place, "--until", "train", "--retries", "1", status=1)
    assert [pack.rpartition("-z2-")[0] for pack, _ in sorted(begun(place))] == [ONE, ONE, PAIR]
    tries = slurm.jobs(place.folder, ONE)
    assert [job["JobState"] for job in tries] == ["FAILED", "FAILED"]
    assert [job["MinMemoryNode"] for job in tries] == ["1602M", "3204M"]
    assert [job["TimeLimit"] for job in tries] == ["00:30:00", "01:00:00"]
    assert "Error in rule train" in call.text
    assert "broken on purpose" in call.text
    assert_trained_to_the_same_bytes(place, on_one_machine, BETA, KL_OFF)

    (place.folder / "fail").unlink()
    call = on_slurm(place, "--until", "train")
    assert call.jobs == {"train": 1}
    assert_trained_to_the_same_bytes(place, on_one_machine, *RUNS)


def test_after_scancel_in_mid_training_another_call_goes_on_from_there(
    slurm: Slurm, pair: Place, start: Start, on_one_machine: Place
) -> None:
    profile = with_the_users_lines(pair.folder / "profile")
    master = start("--until", "train", "--retries", "0", "--workflow-profile", str(profile))
    master.until(lambda: progressing(pair), "the pack trains")
    [job] = slurm.jobs(pair.folder, PAIR)
    asked = [job[name] for name in ("Partition", "Features", "TimeLimit")]
    assert asked == ["gpu", "a100", "04:00:00"]
    slurm("scancel", job["JobId"])
    assert "CANCELLED" in master.ends(1).text
    assert pair.held() == {}
    (pair.folder / "slow").unlink()
    call = on_slurm(pair, "--until", "train")
    assert call.jobs == {"train": 1}
    assert pair.record(BETA)["resumed"] == 1
    assert_trained_to_the_same_bytes(pair, on_one_machine, BETA, KL_OFF)


@pytest.mark.chaos
def test_a_node_that_goes_down_and_comes_back_costs_no_call_and_no_epoch(
    slurm: Slurm, pair: Place, start: Start, on_one_machine: Place
) -> None:
    master = start("--until", "train", "--retries", "0")
    master.until(lambda: progressing(pair), "the pack trains")
    slurm.node("down")
    [job] = slurm.jobs(pair.folder, PAIR)
    assert job["JobState"] == "PENDING"
    master.until(lambda: slurm.has_left(job), "the job has left the node")
    (pair.folder / "slow").unlink()
    slurm.node("resume")
    slurm.change(job, "StartTime=now")  # Slurm waits two minutes before it starts a job again
    master.ends(0)
    [job] = slurm.jobs(pair.folder, PAIR)
    assert (job["JobState"], job["Restarts"]) == ("COMPLETED", "1")
    assert pair.record(BETA)["resumed"] == 1
    assert_trained_to_the_same_bytes(pair, on_one_machine, BETA, KL_OFF)


@pytest.mark.chaos
def test_training_that_meets_its_time_limit_goes_on_in_the_next_attempt(
    slurm: Slurm, place: Place, start: Start, on_one_machine: Place
) -> None:
    """One pack is warned ahead of its limit, the other one is stopped at it without a warning."""
    (place.folder / "slow").touch()
    master = start("--until", "train", "--retries", "1")
    master.until(lambda: progressing(place) == 2, "both packs train")
    assert len({device for _, device in begun(place)}) == 2
    for pack, seconds in ((ONE, 100), (PAIR, 1)):
        [job] = slurm.jobs(place.folder, pack)
        assert job["TresPerJob"] == "gres:gpu:1"
        slurm.change(job, time.strftime("EndTime=%FT%T", time.localtime(time.time() + seconds)))
    master.until(lambda: len(begun(place)) == 4, "both are tried again")
    (place.folder / "slow").unlink()
    master.ends(0)
    for pack, first in ((ONE, "FAILED"), (PAIR, "TIMEOUT")):
        jobs = slurm.jobs(place.folder, pack)
        assert [job["JobState"] for job in jobs] == [first, "COMPLETED"]
    assert [place.record(run)["resumed"] for run in RUNS] == [1, 1, 1]
    assert_trained_to_the_same_bytes(place, on_one_machine, *RUNS)


def test_a_second_master_is_refused_and_a_killed_one_can_be_started_again_while_its_job_runs(
    slurm: Slurm, pair: Place, start: Start, on_one_machine: Place
) -> None:
    first = start("--until", "train")
    first.until(lambda: progressing(pair), "the pack trains")
    frozen = (pair.study / "plan.json").read_bytes()
    refused = on_slurm(pair, "--until", "train", status=1)
    assert "cannot be locked" in refused.text
    assert "Traceback" not in refused.text
    assert (pair.study / "plan.json").read_bytes() == frozen
    assert first.process.poll() is None

    first.kill()
    pair.call("--unlock")
    second = start("--until", "train")
    second.until(lambda: len(begun(pair)) == 2, "the old and the new job train")
    assert [job["JobState"] for job in slurm.jobs(pair.folder, PAIR)] == ["RUNNING", "RUNNING"]
    (pair.folder / "slow").unlink()
    second.ends(0)
    wait_until(lambda: not slurm("squeue", "-h"), "the old job has ended too")
    assert_trained_to_the_same_bytes(pair, on_one_machine, BETA, KL_OFF)
    assert pair.call("-n").plan == "Study tiny: 2 runs wanted, all trained."


@pytest.mark.chaos
def test_a_job_that_waits_since_its_master_was_killed_meddles_with_nothing(
    slurm: Slurm, pair: Place, start: Start, on_one_machine: Place
) -> None:
    (pair.folder / "slow").unlink()
    slurm.node("drain")
    first = start("--until", "train")
    first.until(lambda: slurm.jobs(pair.folder, PAIR), "the first job waits for the node")
    first.kill()
    pair.call("--unlock")
    second = start("--until", "train")
    second.until(lambda: len(slurm.jobs(pair.folder, PAIR)) == 2, "the second one waits too")
    slurm.node("resume")
    second.ends(0)
    wait_until(lambda: not slurm("squeue", "-h"), "both have ended")
    states = [job["JobState"] for job in slurm.jobs(pair.folder, PAIR)]
    assert (states, len(begun(pair))) == (["FAILED", "COMPLETED"], 1)
    assert_trained_to_the_same_bytes(pair, on_one_machine, BETA, KL_OFF)
