"""What the tests do with a Slurm: its commands, its node, and what it tells of jobs."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

SECONDS = 300


class Slurm:
    """A running cluster of one node whose slurm.conf is in a folder."""

    def __init__(self, folder: Path) -> None:
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf")}
        self.node_log = folder / "log" / "slurmd.log"

    def __call__(self, *command: str) -> str:
        """What one of its commands prints."""
        return subprocess.run(
            command, env=os.environ | self.environment,
            capture_output=True, text=True, check=True, timeout=60,
        ).stdout  # fmt: skip

    def node(self, state: str) -> None:
        """Set the node down, draining or back to work (resume)."""
        name = self("sinfo", "-h", "-N", "-p", "main", "-o", "%N").strip()
        self("scontrol", "update", f"nodename={name}", f"state={state}", "reason=test")

    def jobs(self, folder: Path, pack: str) -> list[dict[str, str]]:
        """Jobs that were sent from a folder to train a pack, the first one first."""
        shown = self("scontrol", "--oneliner", "show", "job").splitlines()
        jobs = [dict(word.partition("=")[::2] for word in line.split()) for line in shown]
        found = [
            job
            for job in jobs
            if job.get("WorkDir") == str(folder)
            and job["Comment"].startswith(f"rule_train_wildcards_{pack}")
        ]
        return sorted(found, key=lambda job: int(job["JobId"]))

    def has_left(self, job: dict[str, str]) -> bool:
        """Whether no process of a job is on the node, though it may be queued again."""
        log = self.node_log.read_text(encoding="utf-8")
        return all(f"[{job['JobId']}.{step}] done with job" in log for step in ("0", "batch"))

    def clear(self) -> None:
        """Cancel every job, and have the node work whatever was done to it."""
        self("scancel", "--user", "root")
        wait_until(lambda: not self("squeue", "-h"), "no job is left")
        if self("sinfo", "-h", "-p", "main", "-o", "%T").strip() != "idle":
            self.node("resume")

    def change(self, job: dict[str, str], setting: str) -> None:
        """Change a setting of a job, as an administrator does."""
        self("scontrol", "update", f"jobid={job['JobId']}", setting)


def wait_until(happened: Callable[[], object], what: str) -> None:
    """Wait for something that must happen."""
    until = time.monotonic() + SECONDS
    while not happened():
        assert time.monotonic() < until, f"{SECONDS} s have passed, and not yet: {what}"
        time.sleep(0.1)
