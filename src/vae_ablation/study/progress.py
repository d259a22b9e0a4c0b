"""Progress of training across all jobs of a study."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from vae_ablation.common.files import read_json, write_json
from vae_ablation.study.plan import Plan

EVERY_SECONDS = 5.0
_ENOUGH = 0.03
"""Share of the runs below which no time left is estimated."""


def start_progress(folder: Path, plan: Plan) -> None:
    """Forget the last call's progress and note when this one began.

    Args:
        folder: results/<study>/.progress.
        plan: the plan whose missing runs will train.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.json"):
        old.unlink()
    own = psutil.Process()
    began = {"time": time.time(), "runs": len(plan.to_train)}
    process = {"host": platform.node(), "pid": own.pid, "process_began": own.create_time()}
    write_json(folder / "start.json", began | process)


class PackProgress:
    """Progress of a pack, noted for the study's other jobs; prints the study's in one line."""

    def __init__(self, folder: Path, pack: str, runs: int) -> None:
        self.folder, self.pack, self.runs = folder, pack, runs
        self.noted = self.printed = 0.0

    def __call__(self, share: float) -> None:
        """Note that `share` of this pack's work is done; errors of the disk are ignored."""
        now = time.monotonic()
        if now - self.noted < 1 and share < 1:
            return
        self.noted = now
        # a full disk, a terminal that was closed, a folder that another call is just emptying
        with suppress(OSError, ValueError, KeyError):
            write_json(self.folder / f"{self.pack}.json", {"runs": share * self.runs})
            if now - self.printed >= EVERY_SECONDS or share >= 1:
                self.printed = now
                print(progress_line(self.folder), file=sys.stderr, flush=True)


def progress_line(folder: Path, now: float | None = None) -> str:
    """One line: runs trained of those to train, and the time left at the pace so far.

    Args:
        folder: results/<study>/.progress.
        now: seconds since the epoch; the present where it is None.
    """
    start, done = _read_progress(folder)
    elapsed = (time.time() if now is None else now) - start["time"]
    enough = done >= _ENOUGH * start["runs"] and done > 0
    left = elapsed * (start["runs"] - done) / done if enough else None
    estimate = "" if left is None else f", about {duration(left)} left"
    return f"trained {done:.0f} of {start['runs']} runs in {duration(elapsed)}{estimate}"


def state_line(folder: Path) -> str:
    """`progress_line` of a call that runs; of one that has ended, the runs that it trained.

    Args:
        folder: results/<study>/.progress.
    """
    start, done = _read_progress(folder)
    if not _ended(start):
        return progress_line(folder)
    last = max(path.stat().st_mtime for path in folder.glob("*.json"))
    worked = duration(max(last - start["time"], 0))
    return (
        f"trained {done:.0f} of {start['runs']} runs in {worked}; nothing runs now: "
        "run the same command again to resume"
    )


def _read_progress(folder: Path) -> tuple[dict[str, Any], float]:
    """The call's note of its start, and the number of runs trained since."""
    start = read_json(folder / "start.json")
    packs = [path for path in folder.glob("*.json") if path.name != "start.json"]
    return start, min(sum(read_json(path)["runs"] for path in packs), start["runs"])


def _ended(start: Mapping[str, Any]) -> bool:
    """Whether the call that noted its start has ended; False on another machine than its own."""
    if start.get("host") != platform.node():
        return False
    try:
        process = psutil.Process(start["pid"])
        same = abs(process.create_time() - start["process_began"]) < 1
        return not same or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False


def duration(seconds: float) -> str:
    """Seconds in the unit that reads best: `42 s`, `3 min`, `2.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
