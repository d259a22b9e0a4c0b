"""Checkpoints: what goes on from one ends in the same bytes, and a damaged one is never used."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from support import make_dataset, make_run, model_options, result_bytes, training_settings
from vae_ablation.data.base import Dataset
from vae_ablation.study.run import Run
from vae_ablation.training import pack as training
from vae_ablation.training.checkpoint import Checkpointer, PackState, RunState, Stopped
from vae_ablation.training.pack import Hooks, TrainingResult, train_pack
from vae_ablation.training.streams import BLOCKS

VERSION = "code"


def keep(
    folder: Path, runs: list[Run], seconds: float | None = None, **changes: Any
) -> Checkpointer:
    hashes = {run.path: f"hash of {run.path}" for run in runs} | changes.pop("hashes", {})
    return Checkpointer(folder, hashes, changes.pop("code_version", VERSION), seconds)


def some_runs(count: int = 5, likelihood: str = "gaussian") -> list[Run]:
    kinds: list[dict[str, Any]] = [
        {"beta": 0.5},
        {"beta": 4.0},
        {"kl": False},
        {"posterior": "point"},
    ]
    return [
        make_run(likelihood, 2, **kinds[number % 4], seed=number // 4) for number in range(count)
    ]


class Steps:
    """Kills training, as it were, after a number of steps."""

    class Killed(BaseException):
        pass

    def __init__(self) -> None:
        self.left = 10**9
        self.hooks = Hooks(before_step=self.count)

    def count(self) -> None:
        if self.left == 0:
            raise Steps.Killed
        self.left -= 1


@pytest.fixture
def steps() -> Steps:
    return Steps()


def interrupted(
    steps: Steps, folder: Path, runs: list[Run], dataset: Dataset, every: int, **settings: Any
) -> tuple[list[TrainingResult], int]:
    """Train to the end in pieces of `every` steps, each killed after a checkpoint at every step."""
    for pieces in range(1, 200):
        steps.left = every
        checkpointer = keep(folder, runs, 0.0)
        try:
            found = train_pack(
                runs,
                dataset,
                model_options(),
                training_settings(**settings),
                checkpointer=checkpointer,
                hooks=steps.hooks,
            )
        except Steps.Killed:
            continue
        checkpointer.discard()
        return found, pieces
    raise AssertionError("training does not come to an end")


def plainly(runs: list[Run], dataset: Dataset, **settings: Any) -> list[TrainingResult]:
    return train_pack(runs, dataset, model_options(), training_settings(**settings))


def assert_equal(some: list[TrainingResult], others: list[TrainingResult]) -> None:
    assert [one.run for one in some] == [one.run for one in others]
    for one, other in zip(some, others, strict=True):
        assert result_bytes(one) == result_bytes(other), one.run.path
        assert (one.status, one.reason) == (other.status, other.reason)
        assert one.epochs_kept == other.epochs_kept


@pytest.mark.parametrize("every", [1, 3, 7])
def test_a_pack_killed_again_and_again_ends_in_the_same_bytes(
    every: int, steps: Steps, tmp_path: Path, few_digits: Dataset
) -> None:
    runs = some_runs()
    whole = plainly(runs, few_digits, epochs=3)
    pieces, calls = interrupted(steps, tmp_path, runs, few_digits, every, epochs=3)
    assert calls > 2
    assert_equal(pieces, whole)
    assert list(tmp_path.iterdir()) == []


def test_noise_in_several_blocks_and_a_fresh_binarisation_go_on_where_they_were(
    steps: Steps, tmp_path: Path, few_digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BLOCKS, "cpu", 200)
    x = few_digits.x
    dataset = make_dataset(x, levels=2, binary=True, dynamic=True, fixed=np.round(x))
    runs = some_runs(3, "bernoulli")
    whole = plainly(runs, dataset, epochs=2)
    assert_equal(interrupted(steps, tmp_path, runs, dataset, 2, epochs=2)[0], whole)


def test_early_stopping_and_divergence_are_remembered(
    steps: Steps, tmp_path: Path, few_digits: Dataset
) -> None:
    settings: dict[str, Any] = {"epochs": 25, "early_stopping_patience": 2, "learning_rate": 0.02}
    runs = [*some_runs(6), make_run("gaussian", 2, beta=1e30)]
    whole = plainly(runs, few_digits, **settings)
    assert {one.status for one in whole} == {"ok", "diverged"}
    assert len({len(one.history) for one in whole}) > 2
    assert_equal(interrupted(steps, tmp_path, runs, few_digits, 11, **settings)[0], whole)


def test_some_of_the_runs_go_on_in_a_pack_of_their_own(
    steps: Steps, tmp_path: Path, few_digits: Dataset
) -> None:
    runs = some_runs()
    steps.left = 9
    with pytest.raises(Steps.Killed):
        train_pack(
            runs,
            few_digits,
            model_options(),
            training_settings(),
            checkpointer=keep(tmp_path, runs, 0.0),
            hooks=steps.hooks,
        )
    steps.left = 10**9
    part = [runs[3], runs[1]]
    checkpointer = keep(tmp_path, part)
    found = train_pack(
        part,
        few_digits,
        model_options(),
        training_settings(),
        checkpointer=checkpointer,
        hooks=steps.hooks,
    )
    assert checkpointer.resumed == 1
    assert checkpointer.spent > 0
    whole = {one.run.path: one for one in plainly(runs, few_digits)}
    assert_equal(found, [whole[run.path] for run in part])


def saved(folder: Path, runs: list[Run], dataset: Dataset, steps: Steps) -> list[Path]:
    """Checkpoints of a training that was killed."""
    steps.left = 12
    with pytest.raises(Steps.Killed):
        train_pack(
            runs,
            dataset,
            model_options(),
            training_settings(),
            checkpointer=keep(folder, runs, 0.0),
            hooks=steps.hooks,
        )
    steps.left = 10**9
    return sorted(folder.glob("*/*.checkpoint"))


def test_two_checkpoints_are_kept(steps: Steps, tmp_path: Path, few_digits: Dataset) -> None:
    paths = saved(tmp_path, some_runs(2), few_digits, steps)
    assert [path.name for path in paths] == ["00000010.checkpoint", "00000011.checkpoint"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "pickle", "gone"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(
    damage: str,
    steps: Steps,
    tmp_path: Path,
    few_digits: Dataset,
    caplog: pytest.LogCaptureFixture,
) -> None:
    runs = some_runs(3)
    last = saved(tmp_path, runs, few_digits, steps)[-1]
    data = last.read_bytes()
    middle = len(data) // 2
    damaged = {
        "cut": data[:middle],
        "flipped": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
        "empty": b"",
        "pickle": b"\x80\x04cos\nsystem\n(S'touch hacked'\ntR.",
    }
    if damage == "gone":
        last.unlink()
    else:
        last.write_bytes(damaged[damage])
    checkpointer = keep(tmp_path, runs)
    state = checkpointer.load([run.path for run in runs], "cpu")
    assert state is not None
    assert (str(last) in caplog.text) == (damage != "gone")
    found = train_pack(
        runs,
        few_digits,
        model_options(),
        training_settings(),
        checkpointer=checkpointer,
        hooks=steps.hooks,
    )
    assert_equal(found, plainly(runs, few_digits))


def test_where_every_checkpoint_is_damaged_training_starts_anew(
    steps: Steps, tmp_path: Path, few_digits: Dataset
) -> None:
    runs = some_runs(2)
    for path in saved(tmp_path, runs, few_digits, steps):
        path.write_bytes(path.read_bytes()[:-1])
    checkpointer = keep(tmp_path, runs)
    found = train_pack(
        runs,
        few_digits,
        model_options(),
        training_settings(),
        checkpointer=checkpointer,
        hooks=steps.hooks,
    )
    assert checkpointer.resumed == 0
    assert_equal(found, plainly(runs, few_digits))


@pytest.mark.parametrize(
    "change", [{"hashes": {}}, {"code_version": "newer"}, {"members": "[broken"}]
)
def test_other_settings_and_other_code_take_up_no_checkpoint(
    change: dict[str, Any], steps: Steps, tmp_path: Path, few_digits: Dataset
) -> None:
    runs = some_runs(2)
    path = saved(tmp_path, runs, few_digits, steps)[0]
    if "members" in change:
        (path.parent / "members.json").write_text(change.pop("members"))
    if "hashes" in change:
        change["hashes"] = {runs[0].path: "another"}
    assert keep(tmp_path, runs, **change).load([run.path for run in runs], "cpu") is None


def test_a_device_that_draws_other_numbers_takes_up_no_checkpoint(
    steps: Steps, tmp_path: Path, few_digits: Dataset
) -> None:
    runs = some_runs(2)
    saved(tmp_path, runs, few_digits, steps)
    checkpointer, paths = keep(tmp_path, runs), [run.path for run in runs]
    assert checkpointer.load(paths, "cuda") is None
    assert (checkpointer.resumed, checkpointer.spent) == (0, 0.0)
    assert checkpointer.load(paths, "cpu") is not None


def test_a_state_survives_its_bytes() -> None:
    tensors = {
        "flat": torch.tensor([1.5, float("nan")]),
        "noise": torch.arange(4, dtype=torch.uint8),
        "rows": torch.empty(0, 6, dtype=torch.float64),
    }
    runs = {"d/g": RunState({"best": [float("inf"), 0]}, tensors)}
    state = PackState((2, 1, 64), 17.0, 3.25, "cuda", runs)
    again = PackState.from_bytes(state.to_bytes())
    assert (again.place, again.steps, again.seconds) == ((2, 1, 64), 17.0, 3.25)
    assert again.drawn_on == "cuda"
    assert again.runs["d/g"].metadata == {"best": [float("inf"), 0]}
    for name, tensor in tensors.items():
        torch.testing.assert_close(again.runs["d/g"].tensors[name], tensor, equal_nan=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_stop_writes_a_checkpoint_and_ends_with_its_status(
    number: int, tmp_path: Path, few_digits: Dataset
) -> None:
    runs = some_runs(3)
    checkpointer = keep(tmp_path, runs)

    def stop_midway(share: float) -> None:
        if share == 0.5:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with checkpointer.listening(), pytest.raises(Stopped) as stopped:
        train_pack(
            runs,
            few_digits,
            model_options(),
            training_settings(epochs=4),
            stop_midway,
            checkpointer,
        )
    assert stopped.value.code == 128 + number
    assert signal.getsignal(number) is before
    again = keep(tmp_path, runs)
    found = train_pack(
        runs, few_digits, model_options(), training_settings(epochs=4), checkpointer=again
    )
    assert again.resumed == 1
    assert_equal(found, plainly(runs, few_digits, epochs=4))


def test_a_warning_of_the_time_limit_writes_a_checkpoint_and_goes_on(
    tmp_path: Path, few_digits: Dataset
) -> None:
    runs = some_runs(2)
    checkpointer = keep(tmp_path, runs)

    def warn(share: float) -> None:
        if share == 0.5:
            os.kill(os.getpid(), signal.SIGUSR1)

    with checkpointer.listening():
        found = train_pack(
            runs, few_digits, model_options(), training_settings(epochs=4), warn, checkpointer
        )
    assert len(list(tmp_path.glob("*/*.checkpoint"))) == 1
    assert_equal(found, plainly(runs, few_digits, epochs=4))


def test_checkpoints_are_due_by_the_clock(tmp_path: Path) -> None:
    runs = some_runs(1)
    assert not keep(tmp_path, runs, None).due
    assert not keep(tmp_path, runs, 60.0).due
    checkpointer = keep(tmp_path, runs, 0.01)
    time.sleep(0.02)
    assert checkpointer.due


def test_a_full_disk_costs_a_checkpoint_and_not_the_training(
    tmp_path: Path, few_digits: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    runs = some_runs(2)
    blocked = tmp_path / "a file, and no folder"
    blocked.touch()
    found = train_pack(
        runs,
        few_digits,
        model_options(),
        training_settings(epochs=1),
        checkpointer=keep(blocked, runs, 0.0),
    )
    assert "no checkpoint was written" in caplog.text
    assert_equal(found, plainly(runs, few_digits, epochs=1))


def test_a_pack_too_large_for_memory_is_halved_and_its_size_told(
    tmp_path: Path, few_digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = some_runs(7)
    whole = plainly(runs, few_digits)
    make = training.StackedVAE.stack

    def small(models: list[Any], device: torch.device) -> Any:
        if len(models) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return make(models, device)

    monkeypatch.setattr(training.StackedVAE, "stack", small)
    told: list[int] = []
    checkpointer = keep(tmp_path, runs)
    found = train_pack(
        runs,
        few_digits,
        model_options(),
        training_settings(),
        checkpointer=checkpointer,
        shrunk=told.append,
    )
    assert told == [3, 2]
    assert_equal(found, whole)
    checkpointer.discard()
    assert list(tmp_path.iterdir()) == []


def test_halves_that_are_trained_are_not_trained_again(
    steps: Steps, tmp_path: Path, few_digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = some_runs(4)
    whole = plainly(runs, few_digits)
    make = training.StackedVAE.stack

    def small(models: list[Any], device: torch.device) -> Any:
        if len(models) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return make(models, device)

    monkeypatch.setattr(training.StackedVAE, "stack", small)
    settings = training_settings()
    batches = -(-len(few_digits.rows("train")) // settings["batch_size"])
    steps.left = batches * settings["epochs"] + 1
    with pytest.raises(Steps.Killed):
        train_pack(
            runs,
            few_digits,
            model_options(),
            settings,
            checkpointer=keep(tmp_path, runs),
            hooks=steps.hooks,
        )
    steps.left = batches * settings["epochs"]
    found = train_pack(
        runs,
        few_digits,
        model_options(),
        settings,
        checkpointer=keep(tmp_path, runs),
        hooks=steps.hooks,
    )
    assert steps.left == 0
    assert_equal(found, whole)
