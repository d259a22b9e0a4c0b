"""Commands of the workflow's scripts."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from vae_ablation.common.workflow_files import PACKAGE, WORKFLOW
from vae_ablation.jobs.commands import script_command

SCRIPTS = sorted(path.stem for path in (WORKFLOW / "scripts").glob("*.py"))


def words(command: str) -> list[str]:
    """The words after the trap, which keeps the terminal's signals from the job."""
    trap, _, rest = command.partition("; ")
    assert trap == "trap '' INT HUP"
    return shlex.split(rest)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_job_starts_as_a_fork_of_its_script_on_its_study(name: str) -> None:
    python, flag, client, script, study = words(script_command(name, Path("results/a b")))
    assert (python, flag, study) == (sys.executable, "-S", "results/a b")
    assert Path(client).is_file()
    assert Path(script) == WORKFLOW / "scripts" / f"{name}.py"


def test_without_a_server_the_script_starts_by_itself() -> None:
    found = words(script_command("prepare", Path("results/s"), forked=False))
    assert found == [sys.executable, str(WORKFLOW / "scripts" / "prepare.py"), "results/s"]


def test_in_an_environment_of_its_own_a_job_has_its_python_and_this_package() -> None:
    start = words(script_command("train", Path("results/s"), conda=True))[:3]
    assert start == ["env", f"PYTHONPATH={PACKAGE.parent}", "python"]
