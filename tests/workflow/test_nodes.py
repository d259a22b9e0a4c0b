"""The promises hold where jobs run elsewhere and the Snakefile is parsed again (promise 5)."""

from __future__ import annotations

from pathlib import Path

import pytest

from workflow.place import TABLE, Call, Place, result_bytes
from workflow.test_plugins import EXAMPLES

# As a scheduler does: takes the job, gives an id back at once, runs it later in another process.
# It also edits the user's config, as a user may while jobs wait.
SUBMIT = """#!/bin/bash
if [ -n "$EDIT_WHILE_RUNNING" ]; then sed -i "$EDIT_WHILE_RUNNING" study.yaml; fi
setsid bash "$1" > "$1.log" 2>&1 < /dev/null &
echo $!
"""


def on_nodes(place: Place, *arguments: str) -> Call:
    submit = place.folder / "submit.sh"
    submit.write_text(SUBMIT, encoding="utf-8")
    submit.chmod(0o755)
    executor = ["--executor", "cluster-generic", "--cluster-generic-submit-cmd", str(submit)]
    timing = ["--jobs", "2", "--seconds-between-status-checks", "1", "--latency-wait", "10"]
    return place.call(*arguments, *executor, *timing)


@pytest.fixture
def small(fresh: Place) -> Place:
    fresh.config["grids"] = [{"likelihood": ["gaussian"], "beta": [0.5], "kl": [True, False]}]
    return fresh


def test_a_study_on_nodes_grows_loses_and_remakes_runs(small: Place, finished: Place) -> None:
    beta, kl_off, new = (
        f"digits/gaussian/z2/{arm}/seed0" for arm in ("beta0.5", "kl-off", "beta2")
    )
    call = on_nodes(small, TABLE, "results/tiny/figures/digits/all")
    assert call.jobs["train"] == 1
    assert "Submitted job" in call.text
    for run in (beta, kl_off):
        assert result_bytes(small.run_folder(run)) == result_bytes(finished.run_folder(run))
    assert list(small.study.glob("figures/**/*.png"))
    assert set(small.metrics().index) == {beta, kl_off}

    # The config is edited once the first job is submitted: jobs keep to the frozen one.
    before = small.held()
    small.config["grids"][0]["beta"] = [0.5, 2]
    small.env["EDIT_WHILE_RUNNING"] = "s/epochs: 2/epochs: 3/; s/nll_samples: 8/nll_samples: 12/"
    call = on_nodes(small, TABLE)
    assert "epochs: 3" in (small.folder / "study.yaml").read_text(encoding="utf-8")
    assert call.plan == "Study tiny: 3 runs wanted, 2 trained, 1 to train in 1 pack (1 new)."
    after = small.held()
    assert set(after) == {beta, kl_off, new}
    assert {run: after[run] for run in before} == before
    assert (small.record(new)["training"]["epochs"], small.record(new)["epochs"]) == (2, 2)
    small.env.clear()
    assert small.call("-n", TABLE).jobs == {}

    was = result_bytes(small.run_folder(beta))
    delete_run(small.run_folder(beta))
    call = on_nodes(small, "--until", "evaluate")
    assert (call.to_train, call.jobs["train"]) == (1, 1)
    assert result_bytes(small.run_folder(beta)) == was
    remade = small.held()
    assert {run: remade[run] for run in (kl_off, new)} == {run: after[run] for run in (kl_off, new)}


def test_jobs_on_nodes_load_plug_ins(small: Place) -> None:
    parts = [text for text in EXAMPLES if '"absolute"' in text or '"components"' in text]
    (small.folder / "my_parts.py").write_text("\n\n".join(parts), encoding="utf-8")
    small.config["plugins"] = ["my_parts.py"]
    small.config["grids"] = [{"likelihood": ["absolute"]}]
    small.config["external"] = {"own": {"model": "components", "deterministic": True}}
    call = on_nodes(small, TABLE)
    assert call.jobs["external"] == call.jobs["train"] == 1
    table = small.table("metrics").set_index("run")
    assert set(table["status"]) == {"ok"}
    assert table.loc[["digits/absolute/z2/beta1/seed0", "digits/own/z2"], "mse"].notna().all()


def delete_run(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
