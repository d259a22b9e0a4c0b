"""Training that is killed, at whatever moment and however often, ends in the same bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from vae_ablation.data.prepare import prepare_dataset
from vae_ablation.study.workflow import Workflow

HERE = Path(__file__).parent
KILLS = int(os.environ.get("VAE_ABLATION_KILLS", "20"))
RESULT = ("model.safetensors", "history.csv", "snapshots.npz")


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workflow:
    """The default study, its data prepared, with a checkpoint ten times a second."""
    raw = yaml.safe_load((HERE.parents[1] / "config.yaml").read_text(encoding="utf-8"))
    raw["packs"] = {**raw["packs"], "checkpoint_minutes": 0.1 / 60}
    monkeypatch.chdir(tmp_path)
    state = Workflow.planned(raw, tmp_path / "config.yaml")
    state.freeze()
    for name, folder in state.study.prepared.items():
        prepare_dataset(state.study.config["datasets"][name], folder)
    (state.study.folder / ".progress").mkdir()
    (state.study.folder / ".progress" / "start.json").write_text('{"time": 0, "runs": 1}')
    return state


def run_pack(study: Workflow, pack: str, kills: int, seconds: float) -> list[int]:
    script = [sys.executable, str(HERE / "kill_training.py"), str(study.study.folder.resolve())]
    done = subprocess.run(
        [*script, pack, str(kills), str(seconds), str(kills)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=1500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [int(word) for word in done.stdout.split()]


def result_bytes(study: Workflow, pack: str) -> dict[str, bytes]:
    return {
        f"{item.run.path}/{name}": (study.study.run_folder(item.run) / name).read_bytes()
        for item in study.plan.packs[pack]
        for name in RESULT
    }


def test_the_default_studys_smallest_pack_survives_kills_at_random_moments(study: Workflow) -> None:
    pack = min(study.plan.packs, key=lambda name: (len(study.plan.packs[name]), name))
    record = study.study.run_folder(study.plan.packs[pack][0].run) / "run.json"
    assert run_pack(study, pack, 0, 0.0) == [0, 0, 0]
    never_stopped = result_bytes(study, pack)
    facts = json.loads(record.read_text(encoding="utf-8"))
    assert facts["resumed"] == 0
    seconds = facts["train_seconds"] * len(study.plan.packs[pack])

    killed, _, status = run_pack(study, pack, KILLS, seconds / 6)
    assert (killed, status) == (KILLS, 0)
    assert json.loads(record.read_text(encoding="utf-8"))["resumed"] == 1
    assert result_bytes(study, pack) == never_stopped
    assert not list((study.study.folder / "checkpoints").iterdir())
