"""Seeds in rounds through Snakemake: one call a round, the script's call all of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from vae_ablation.common.files import read_json
from workflow.place import Place

ROUNDS: dict[str, Any] = {
    "grids": [{"likelihood": ["gaussian"], "beta": [0.1, 1], "model.hidden": [[8], [9]]}],
    "seeds": {"first": 3, "most": 5, "looks": 3},
    "statistics": {"primary_metrics": ["rate"]},
}


def contrasts(place: Place) -> pd.DataFrame:
    table = pd.read_csv(place.study / "tables" / "contrasts.csv", dtype={"level": str})
    rows = table[(table["scope"] == "pooled") & (table["metric"] == "rate")]
    return rows.set_index(["question", "level"])


def test_each_call_makes_a_round_and_the_script_makes_all(fresh: Place) -> None:
    fresh.config |= ROUNDS
    first = fresh.call()
    assert first.to_train == 12
    assert "looks at 3, 4 and 5 seeds; 12 runs at the first look" in first.text
    assert "Next round of seeds: " in first.text, contrasts(fresh)["verdict"]
    assert "of computing" in first.text.split("Next round of seeds: ")[1].splitlines()[0]
    held, plan = fresh.held(), read_json(fresh.study / "tables" / "questions.json")
    early = contrasts(fresh)
    listed = fresh.call("-n")
    further = listed.to_train
    assert 0 < further < 12
    assert listed.jobs["train"] >= 1
    assert fresh.held() == held

    script = str(fresh.checkout / "workflow" / "run.sh")
    done = subprocess.run(
        ["bash", script, str(Path(sys.executable).parent), fresh.config_name, "2", "local"],
        cwd=fresh.folder, env=fresh.environment(), text=True, timeout=900,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    now = fresh.held()
    assert held.items() <= now.items(), "no byte of an earlier round has changed"
    late = contrasts(fresh)
    decided = early.index[early["verdict"] != "undecided"]
    pd.testing.assert_frame_equal(late.loc[decided], early.loc[decided])
    open_ = late[late["verdict"] == "undecided"]
    assert set(open_["look"]) <= {5}
    again = fresh.call()
    assert again.to_train == 0
    assert "Nothing to be done" in again.text
    after = read_json(fresh.study / "tables" / "questions.json")
    assert (after["hash"], after["earlier"]) == (plan["hash"], [])
    assert not (fresh.study / ".next-round").exists()
