"""Each job of a machine holds a device of its own."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vae_ablation.training.devices import device_lease, leased

HOLDER = """
import sys, time
from pathlib import Path
from vae_ablation.training.devices import leased

folder, seconds = Path(sys.argv[1]), float(sys.argv[2])
with leased(["gpu-a", "gpu-b"], folder / "locks") as position:
    started = time.time()
    print(position, flush=True)
    time.sleep(seconds)
    with (folder / "held.txt").open("a") as stream:
        stream.write(f"{position} {started} {time.time()}\\n")
"""


def holder(folder: Path, seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), str(seconds)], stdout=subprocess.PIPE, text=True
    )


def test_no_two_jobs_hold_one_device_and_none_idles_while_a_job_waits(tmp_path: Path) -> None:
    jobs = [holder(tmp_path, 0.6) for _ in range(5)]
    for job in jobs:
        assert job.wait(120) == 0
    held = sorted(
        (int(position), float(start), float(end))
        for position, start, end in map(str.split, (tmp_path / "held.txt").read_text().splitlines())
    )
    assert {position for position, _, _ in held} == {0, 1}
    for (one, _, end), (other, start, _) in itertools.pairwise(held):
        assert one != other or end <= start


def test_a_killed_job_gives_its_device_back(tmp_path: Path) -> None:
    jobs = [holder(tmp_path, 60), holder(tmp_path, 60)]
    held = [int(job.stdout.readline()) for job in jobs if job.stdout]
    assert sorted(held) == [0, 1]
    os.kill(jobs[0].pid, signal.SIGKILL)
    jobs[0].wait()
    with leased(["gpu-a", "gpu-b"], tmp_path / "locks") as position:
        assert position == held[0]
    jobs[1].kill()
    jobs[1].wait()


def test_a_device_is_given_back_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), leased(["only"], tmp_path):
        raise RuntimeError
    with leased(["only"], tmp_path) as position:
        assert position == 0


def test_the_cpu_is_shared_by_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with device_lease("cpu"), device_lease("cpu"):
        assert not list(tmp_path.iterdir())
