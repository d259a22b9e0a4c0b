"""Jobs that die for good cost their own runs; tables and report are made over the rest."""

from __future__ import annotations

import json

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
    place.call("--report", "results/tiny/report.html")
    assert (place.study / "report.html").stat().st_size > 1e6

    # What was lost is trained as soon as it can be, and nothing else is.
    place.env.clear()
    trained = place.held()
    call = place.call()
    assert call.plan == "Study tiny: 7 runs wanted, 6 trained, 1 to train in 1 pack (1 new)."
    assert (place.metrics()["status"] == "ok").all()
    after = place.held()
    assert {run: after[run] for run in trained} == trained
