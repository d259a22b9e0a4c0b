"""Jobs that die for good cost their own runs; tables and report are made over the rest."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from workflow.place import Place

KILLS_TRAINING_OF_Z3 = """
import os, signal, sys

if any(word.endswith("scripts/train.py") for word in sys.orig_argv) and "-z3-" in sys.orig_argv[-2]:
    os.kill(os.getpid(), signal.SIGKILL)
"""
LOST = "digits/gaussian/z3/beta0.5/seed0"
NEW = "digits/gaussian/z2/beta2/seed0"


def test_tables_and_report_over_the_rest_list_what_was_lost_first(place: Place) -> None:
    before = place.held()
    (place.folder / "kills").mkdir()
    (place.folder / "kills" / "sitecustomize.py").write_text(KILLS_TRAINING_OF_Z3, "utf-8")
    place.env["PYTHONPATH"] = str(place.folder / "kills")
    place.config["packs"] = {"fork": False}  # so that Python starts, and reads sitecustomize
    place.config["grids"] += [
        {"likelihood": ["gaussian"], "latent_dim": [3], "beta": [0.5]},
        {"likelihood": ["gaussian"], "beta": [2]},
    ]
    call = place.call("--keep-going", status=1)
    assert "allow_missing=true" in call.text
    assert set(place.metrics().index) == set(before)

    call = place.call("--config", "allow_missing=true", status=1)
    assert "train" not in call.jobs
    (missing,) = [line for line in call.text.splitlines() if line.startswith("Missing: ")]
    assert "training: its job did not end well" in missing
    table = place.metrics()
    assert table.loc[LOST, "status"] == "failed"
    assert "its job did not end well" in table.loc[LOST, "reason"]
    assert (table.loc[[*before, NEW], "status"] == "ok").all()
    overview = json.loads((place.study / "tables" / "overview.json").read_text("utf-8"))
    assert overview["status"] == {"ok": 6, "diverged": 0, "failed": 1}
    assert len(overview["not_ok"]) == 1
    assert LOST in (place.study / "tables" / "failures.csv").read_text("utf-8")
    page = (place.study / "report.html").read_text("utf-8")
    assert "1 of 7" in page
    assert "its job did not end well" in page
    place.call("--report", "results/tiny/snakemake-report.html")
    assert (place.study / "snakemake-report.html").stat().st_size > 1e6

    # What was lost is trained as soon as it can be, and nothing else is.
    place.env.clear()
    trained = place.held()
    call = place.call()
    assert call.plan == "Study tiny: 7 runs wanted, 6 trained, 1 to train in 1 pack (1 new)."
    assert (place.metrics()["status"] == "ok").all()
    after = place.held()
    assert {run: after[run] for run in trained} == trained


def test_a_dataset_that_cannot_be_prepared_costs_its_own_runs(place: Place) -> None:
    shutil.copytree(place.checkout, place.folder, dirs_exist_ok=True)
    place.config["datasets"]["broken"] = {"source": "npz", "path": "broken.npz"}
    (place.folder / "broken.npz").write_bytes(b"PK no archive")
    place.write_config()
    before = place.held()
    done = subprocess.run(
        ["workflow/run.sh", str(Path(sys.executable).parent), "study.yaml", "2", "local"],
        cwd=place.folder, env=place.environment(), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stdout
    (log,) = [path for path in place.folder.glob("results/.data/*/prepare.log")
              if "the job failed" in path.read_text("utf-8")]  # fmt: skip
    sentence = log.read_text("utf-8").partition("the job failed: ")[2].strip()
    assert "broken.npz: not readable as an .npz" in sentence
    table = place.metrics()
    lost = table[table["dataset"] == "broken"]
    assert set(lost["status"]) == {"failed"}
    assert all(sentence in reason and log.parent.name in reason for reason in lost["reason"])
    assert (table.loc[[*before], "status"] == "ok").all()
    assert sentence in (place.study / "tables" / "failures.csv").read_text("utf-8")
    assert any(line.startswith("Missing: ") and sentence in line for line in
               done.stdout.splitlines())  # fmt: skip
    assert (place.study / "report.html").stat().st_size > 1e5
    assert "Report: " in done.stdout
