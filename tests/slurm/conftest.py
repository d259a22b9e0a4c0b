"""A Slurm of one node, started for the tests of this session and stopped after them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from slurm.cluster import Slurm

HERE = Path(__file__).parent
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "munged")
CONFIG = Path("/etc/slurm/slurm.conf")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == HERE:
            item.add_marker(pytest.mark.workflow)
        if item.path == HERE / "test_slurm.py":
            item.add_marker(pytest.mark.slurm)


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        pytest.skip(f"Slurm is not installed: there is no {', '.join(absent)}")
    if os.getuid() != 0:
        pytest.skip("the tests start a Slurm of their own, which only root can")
    if os.path.lexists(CONFIG):
        pytest.skip(f"this machine has a Slurm already: there is {CONFIG}")
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    folder.chmod(0o755)  # munged runs under a name of its own
    try:
        started = subprocess.run(
            [HERE / "start_slurm.sh", folder], capture_output=True, text=True, timeout=60
        )
        assert started.returncode == 0, started.stderr
        yield Slurm(folder)
    finally:
        subprocess.run([HERE / "stop_slurm.sh", folder], timeout=120, check=True)
