"""Progress across the jobs of a study."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support import make_run
from vae_ablation.common.files import read_json, write_json
from vae_ablation.study.plan import Plan, Planned
from vae_ablation.study.progress import (
    PackProgress,
    duration,
    progress_line,
    start_progress,
    state_line,
)


def plan(new: int, held: int) -> Plan:
    return Plan(
        [
            Planned(make_run(seed=seed), "pack", "hash", "new" if seed < new else None)
            for seed in range(new + held)
        ]
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (99, "99 s"), (100, "2 min"), (3600, "60 min"), (9000, "2.5 h")],
)
def test_durations_are_told_in_the_unit_that_reads_best(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_only_runs_that_will_train_are_counted(tmp_path: Path) -> None:
    start_progress(tmp_path, plan(new=6, held=10))
    start = read_json(tmp_path / "start.json")
    assert progress_line(tmp_path, start["time"]).startswith("trained 0 of 6 runs")


def test_the_time_left_goes_on_at_the_pace_so_far(tmp_path: Path) -> None:
    start_progress(tmp_path, plan(new=8, held=0))
    write_json(tmp_path / "a.json", {"runs": 1.5})
    write_json(tmp_path / "b.json", {"runs": 0.5})
    started = read_json(tmp_path / "start.json")["time"]
    line = progress_line(tmp_path, started + 20)
    assert line == "trained 2 of 8 runs in 20 s, about 60 s left"


def test_nothing_done_gives_no_estimate(tmp_path: Path) -> None:
    start_progress(tmp_path, plan(new=8, held=0))
    assert "left" not in progress_line(tmp_path)


def test_a_new_call_forgets_the_last_one(tmp_path: Path) -> None:
    start_progress(tmp_path, plan(new=2, held=0))
    PackProgress(tmp_path, "old", 2)(1.0)
    start_progress(tmp_path, plan(new=3, held=0))
    started = read_json(tmp_path / "start.json")["time"]
    assert progress_line(tmp_path, started + 1).startswith("trained 0 of 3 runs")


def test_a_pack_notes_its_share_and_tells_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start_progress(tmp_path, plan(new=4, held=0))
    note = PackProgress(tmp_path, "pack", 4)
    note(0.5)
    note(1.0)
    assert read_json(tmp_path / "pack.json") == {"runs": 4.0}
    assert "trained 4 of 4 runs" in capsys.readouterr().err


def test_more_done_than_planned_is_never_told(tmp_path: Path) -> None:
    start_progress(tmp_path, plan(new=2, held=0))
    write_json(tmp_path / "a.json", {"runs": 5})
    assert progress_line(tmp_path).startswith("trained 2 of 2 runs")


def test_while_its_call_runs_the_minutes_are_counted(tmp_path: Path) -> None:
    start_progress(tmp_path, plan(new=4, held=0))
    assert "nothing runs" not in state_line(tmp_path)
    assert state_line(tmp_path) == progress_line(tmp_path)


def test_of_a_call_that_has_ended_the_minutes_end_with_its_last_sign_of_work(
    tmp_path: Path,
) -> None:
    start_progress(tmp_path, plan(new=4, held=0))
    began = read_json(tmp_path / "start.json")
    call = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    hour_ago = began["time"] - 3600
    write_json(tmp_path / "start.json", began | {"time": hour_ago, "pid": int(call.stdout)})
    write_json(tmp_path / "pack.json", {"runs": 1.0})
    for name, sign in (("start.json", hour_ago), ("pack.json", hour_ago + 20)):
        os.utime(tmp_path / name, (sign, sign))
    line = state_line(tmp_path)
    assert line.startswith("trained 1 of 4 runs in 20 s; nothing runs now")


def test_another_process_of_the_same_id_is_not_the_call(tmp_path: Path) -> None:
    start_progress(tmp_path, plan(new=4, held=0))
    began = read_json(tmp_path / "start.json")
    write_json(tmp_path / "start.json", began | {"process_began": began["process_began"] - 60})
    assert "nothing runs now" in state_line(tmp_path)


def test_of_a_call_on_another_machine_nothing_is_claimed(tmp_path: Path) -> None:
    start_progress(tmp_path, plan(new=4, held=0))
    began = read_json(tmp_path / "start.json")
    write_json(tmp_path / "start.json", began | {"host": "another", "pid": 1})
    assert "nothing runs" not in state_line(tmp_path)
