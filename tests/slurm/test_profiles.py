"""The profiles for clusters: what they ask of Snakemake, and how the generic one submits."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from workflow.place import Place

REPOSITORY = Path(__file__).parents[2]
PROFILES = REPOSITORY / "workflow" / "profiles"

# As PBS does: qsub takes the job, gives an id back at once, and runs it later in another process;
# qstat tells what became of it.
QSUB = """#!/bin/bash
echo "$@" >> {pbs}/submitted
id=$(wc -l < {pbs}/submitted).server
(bash "${{@: -1}}" > {pbs}/$id.log 2>&1 < /dev/null; echo $? > {pbs}/$id.ended) > /dev/null 2>&1 &
echo $id
"""
QSTAT = """#!/bin/bash
id="${{@: -1}}"
if [ -f {pbs}/$id.forgotten ]; then echo "qstat: Unknown Job Id $id" >&2; exit 153; fi
if [ ! -f {pbs}/$id.ended ]; then echo "    job_state = R"; exit; fi
echo "    job_state = F"
echo "    Exit_status = $(cat {pbs}/$id.ended)"
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path, REPOSITORY)
    place.config["grids"] = [{"likelihood": ["gaussian"], "beta": [0.5], "kl": [True, False]}]
    return place


@pytest.fixture
def pbs(place: Place) -> Path:
    """A folder of what was submitted; its qsub and qstat come first in the place's PATH."""
    folder = place.folder / "pbs"
    folder.mkdir()
    for name, text in (("qsub", QSUB), ("qstat", QSTAT)):
        (folder / name).write_text(text.format(pbs=folder), encoding="utf-8")
        (folder / name).chmod(0o755)
    place.env["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return folder


def with_profile(name: str, *arguments: str) -> list[str]:
    return ["--workflow-profile", str(PROFILES / name), *arguments]


@pytest.mark.parametrize("name", ["local", "slurm", "generic"])
def test_a_profile_shows_the_whole_fan_out_and_writes_nothing(place: Place, name: str) -> None:
    call = place.call(*with_profile(name, "-n"))
    assert call.plan == "Study tiny: 2 runs wanted, 0 trained, 2 to train in 1 pack (2 new)."
    assert call.jobs["train"] == call.jobs["evaluate"] == call.jobs["collect"] == 1
    assert place.files() == {"study.yaml"}


@pytest.mark.parametrize("name", ["local", "slurm", "generic"])
def test_no_profile_names_a_report(name: str) -> None:
    profile = yaml.safe_load((PROFILES / name / "config.yaml").read_text(encoding="utf-8"))
    assert not [key for key in profile if "report" in key]
    assert profile["scheduler"] == "greedy"
    assert profile["keep-going"] is profile["rerun-incomplete"] is True


def test_the_generic_profile_submits_what_jobs_need_and_follows_them(
    place: Place, pbs: Path
) -> None:
    place.config["packs"] = {"memory_gb": 0.25, "max_runs": 2}
    quick = ("--seconds-between-status-checks", "1", "--latency-wait", "10")
    call = place.call(*with_profile("generic", "--until", "train", *quick))
    assert call.jobs == {"prepare": 1, "train": 1}
    [submitted] = (pbs / "submitted").read_text(encoding="utf-8").splitlines()
    asked = re.findall(r"-N (\S+) .* -l select=(\S+) -l walltime=(\S+) ", submitted)
    assert asked == [("train", "1:ncpus=1:mem=1756mb:ngpus=1", "0:60:0")]
    assert place.record("digits/gaussian/z2/kl-off/seed0")["status"] == "ok"


def test_the_state_of_a_pbs_job_is_told_apart(place: Place, pbs: Path) -> None:
    def state(job: str) -> str:
        done = subprocess.run(
            [PROFILES / "generic" / "status.sh", job],
            env=place.environment(), capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.strip()

    (pbs / "good.ended").write_text("0\n", encoding="utf-8")
    (pbs / "killed.ended").write_text("271\n", encoding="utf-8")
    (pbs / "old.forgotten").touch()
    jobs = ("running", "good", "killed", "old")
    assert [state(job) for job in jobs] == ["running", "success", "failed", "success"]
    (pbs / "qstat").unlink()
    assert state("good") == "running"
