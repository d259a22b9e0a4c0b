"""Trackers: every epoch of every run once, nothing of them in a result, and no error that stops."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vae_ablation.jobs.tracking import Tracker, Tracking, epoch_values
from vae_ablation.study.config import resolve_config
from vae_ablation.study.run import Run, expand_runs
from vae_ablation.training.pack import Hooks, train_pack

ROW = np.array([10.0, 2.0, 11.0, 12.0, 3.0, 13.5])


def runs(**axes: list[Any]) -> list[Run]:
    config = resolve_config({"grids": [{"likelihood": ["gaussian"], **axes}]}, Path("c"))
    return expand_runs(config["grids"])


class Noted(Tracker):
    """Keeps what it is given; fails from the second epoch on where its setting says so."""

    package = "noted"

    def open(self, run: Run, fresh: bool) -> Any:
        return []

    def write(self, place: Any, values: Any, epoch: int) -> None:
        if self.setting == "fails" and epoch == 2:
            raise OSError("the network is gone")
        place.append((epoch, dict(values)))

    def finish(self, place: Any) -> None:
        place.append("finished")


class Absent(Noted):
    """Its package is not installed."""

    def open(self, run: Run, fresh: bool) -> Any:
        raise ModuleNotFoundError("No module named 'noted'")


def test_terms_are_named_by_split_and_the_elbo_has_its_sign() -> None:
    (run,) = runs()
    assert epoch_values(run, ROW) == {
        "distortion/train": 10.0, "rate/train": 2.0, "objective/train": 11.0, "elbo/train": -12.0,
        "distortion/validation": 12.0, "rate/validation": 3.0, "objective/validation": 13.5,
        "elbo/validation": -15.0,
    }  # fmt: skip


def test_terms_that_are_undefined_are_left_out() -> None:
    (run,) = runs(posterior=["point"])
    assert sorted(epoch_values(run, ROW)) == [
        "distortion/train", "distortion/validation", "objective/train", "objective/validation",
    ]  # fmt: skip


def test_a_tracker_that_fails_is_warned_of_once_and_the_others_go_on(tmp_path, caplog) -> None:
    kinds = {"good": Noted, "bad": Noted, "absent": Absent, "off": Noted}
    settings = {"good": "yes", "bad": "fails", "absent": True, "off": None}
    tracking = Tracking(tmp_path, settings, kinds)
    (good,) = [t for t in tracking._active.values() if t.setting == "yes"]
    (run,) = runs()
    with caplog.at_level(logging.WARNING):
        for epoch in (1, 2, 3):
            tracking.recorded(run, epoch, ROW)
        places = dict(good.opened)
        tracking.close()
    assert [epoch for epoch, _ in places[run.path][:3]] == [1, 2, 3]
    assert places[run.path][3] == "finished"
    absent, bad = [record.message for record in caplog.records]
    assert absent.startswith("Tracking by absent is off from here on (No module named 'noted'; ")
    assert absent.endswith("pip install noted installs it).")
    assert bad == "Tracking by bad is off from here on (the network is gone)."


def test_training_records_every_epoch_of_its_history_and_changes_no_byte(few_digits) -> None:
    config = resolve_config({"training": {"epochs": 3}}, Path("c"))
    two = runs(beta=[0.5, 2])
    recorded: dict[str, list[Any]] = {}

    def keep(run: Run, epochs: int, row: Any) -> None:
        recorded.setdefault(run.path, []).append((epochs, row.copy()))

    plain = train_pack(two, few_digits, config["model"], config["training"])
    hooks = Hooks(recorded=keep)
    watched = train_pack(two, few_digits, config["model"], config["training"], hooks=hooks)
    for one, other in zip(plain, watched, strict=True):
        assert [epoch for epoch, _ in recorded[one.run.path]] == [1, 2, 3]
        rows = np.stack([row for _, row in recorded[one.run.path]])
        np.testing.assert_array_equal(rows, one.history)
        np.testing.assert_array_equal(one.history, other.history)
        for name, weight in one.weights.items():
            assert weight.equal(other.weights[name])


def test_event_files_of_tensorboard_hold_the_history(tmp_path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (run,) = runs()
    for length in (3, 2):  # trained again: the files of the first training go
        tracking = Tracking(tmp_path, {"tensorboard": True})
        for epoch in range(1, length + 1):
            tracking.recorded(run, epoch, ROW * epoch)
        tracking.close()
    events = EventAccumulator(str(tmp_path / "tensorboard" / run.path))
    events.Reload()
    curve = events.Scalars("elbo/validation")
    assert [(event.step, event.value) for event in curve] == [(1, -15.0), (2, -30.0)]


def test_mlflow_holds_the_history_of_each_run(tmp_path, monkeypatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    (run,) = runs()
    tracking = Tracking(tmp_path / "study", {"mlflow": "mine"})
    for epoch in (1, 2):
        tracking.recorded(run, epoch, ROW * epoch)
    tracking.close()
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("mine")
    (kept,) = client.search_runs([experiment.experiment_id])
    assert kept.info.status == "FINISHED"
    assert kept.info.run_name == run.path
    curve = client.get_metric_history(kept.info.run_id, "elbo.validation")
    assert [(one.step, one.value) for one in curve] == [(1, -15.0), (2, -30.0)]


def test_weights_and_biases_takes_every_epoch_offline(tmp_path, monkeypatch, caplog) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    (run,) = runs()
    tracking = Tracking(tmp_path, {"wandb": "mine"})
    for epoch in (1, 2):
        tracking.recorded(run, epoch, ROW * epoch)
    tracking.close()
    assert not caplog.records
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
