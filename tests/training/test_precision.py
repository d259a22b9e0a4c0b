"""Precision of matrix products: factors are rounded, states are not, and devices say no."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from faults.made import SMALL, planned
from support import make_run, model_options, training_settings
from vae_ablation.common.errors import UserError
from vae_ablation.data.base import Dataset
from vae_ablation.jobs.train import train_job
from vae_ablation.study.config import resolve_config
from vae_ablation.training.pack import Hooks, TrainingResult, train_pack
from vae_ablation.training.precision import check_precision, products, tensor_cores
from vae_ablation.training.traced import Function, Traced

CPU = torch.device("cpu")


def trained(
    dataset: Dataset, precision: str, architecture: str = "mlp", patience: int = 10**9
) -> tuple[list[TrainingResult], list[Traced]]:
    made: list[Traced] = []

    def trace(function: Function) -> Traced:
        made.append(Traced(function, patience=patience))
        return made[-1]

    runs = [make_run("gaussian", 2, seed=seed, architecture=architecture) for seed in (0, 1)]
    settings = training_settings(epochs=3) | {"precision": precision}
    return train_pack(runs, dataset, model_options(), settings, hooks=Hooks(trace=trace)), made


@pytest.mark.parametrize("architecture", ["mlp", "conv"])
def test_products_in_bfloat16_train_to_about_the_same_with_float32_weights(
    architecture: str, few_digits: Dataset
) -> None:
    exact, _ = trained(few_digits, "float32", architecture)
    rounded, _ = trained(few_digits, "bf16", architecture)
    for one, other in zip(rounded, exact, strict=True):
        assert one.status == "ok"
        assert {weight.dtype for weight in one.weights.values()} == {torch.float32}
        assert not np.array_equal(one.history, other.history)
        np.testing.assert_allclose(one.history[:, 3:5].sum(1), other.history[:, 3:5].sum(1),
                                   rtol=0.02)  # fmt: skip
        kept = [weight for weight in one.weights.values() if weight.numel() > 1]
        assert any((weight != weight.bfloat16().float()).any() for weight in kept)


def test_a_step_with_rounded_factors_is_traced_to_the_same_numbers(few_digits: Dataset) -> None:
    plain, _ = trained(few_digits, "bf16")
    replayed, made = trained(few_digits, "bf16", patience=0)
    assert made[0].traces
    assert made[0].function not in made[0].traces.values(), "a step was not traced"
    for one, other in zip(replayed, plain, strict=True):
        assert np.array_equal(one.history, other.history)


def test_only_the_factors_of_products_are_rounded() -> None:
    x = torch.full((1, 4), 1 + 2.0**-10)  # no bfloat16
    weight = torch.eye(4)
    with products("bf16", CPU):
        assert torch.equal((x @ weight).float(), torch.ones(1, 4))
        assert torch.equal(x * 1, x)
    for precision in ("float32", "tf32"):
        with products(precision, CPU):
            assert torch.equal(x @ weight, x)


def test_tf32_is_a_setting_of_torch_that_ends_with_training() -> None:
    before = torch.get_float32_matmul_precision()
    with tensor_cores("tf32"):
        assert torch.get_float32_matmul_precision() == "high"
    assert torch.get_float32_matmul_precision() == before
    with tensor_cores("float32"):
        assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_a_device_without_tensor_cores_refuses(precision: str) -> None:
    check_precision("float32", CPU)
    with pytest.raises(UserError, match=rf"training.precision is '{precision}'.* train on cpu; "
                       "allowed there: float32"):  # fmt: skip
        check_precision(precision, CPU)


@pytest.mark.parametrize(("capability", "fine"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_an_old_gpu_refuses_by_its_name(
    capability: tuple[int, int], fine: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    card = torch.device("cuda")
    if fine:
        check_precision("bf16", card)
        return
    with pytest.raises(UserError, match="train on Tesla T4; allowed there: float32"):
        check_precision("bf16", card)


@pytest.mark.parametrize(
    ("training", "grid", "key"),
    [
        ({"precision": "bf16", "device": "cpu"}, {}, r"training\.precision has 'bf16'"),
        ({"device": "mps"}, {"training.precision": ["float32", "tf32"]},
         r"grids\[0\]\.training\.precision has 'tf32'"),
    ],
)  # fmt: skip
def test_a_config_that_names_a_device_without_them_is_refused(
    training: dict[str, str], grid: dict[str, list[str]], key: str
) -> None:
    raw = SMALL | {"training": training, "grids": [{"likelihood": ["gaussian"], **grid}]}
    with pytest.raises(UserError, match=key) as error:
        resolve_config(raw, Path("config.yaml"))
    assert re.search(r"training\.device is '(cpu|mps)'; allowed with it: float32", str(error.value))


def test_precision_can_be_an_axis_and_its_default_renames_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    one = {"likelihood": ["gaussian"], "seed": [0]}
    raw = SMALL | {"training": {"epochs": 1, "device": "auto"}}
    study = planned(tmp_path, raw | {"grids": [one]}).study
    levels = {"training.precision": ["float32", "bf16"]}
    both = planned(tmp_path, raw | {"grids": [one | levels]}).study
    hashes = [both.train_hash(run, "data") for run in both.runs]
    assert study.train_hash(study.runs[0], "data") == hashes[0]
    assert hashes[0] != hashes[1]
    assert len({run.pack_key for run in both.runs}) == 2


def test_a_job_without_a_gpu_refuses_before_it_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    training = {"epochs": 1, "device": "auto", "precision": "tf32"}
    state = planned(tmp_path, SMALL | {"training": training})
    state.freeze()
    with pytest.raises(
        UserError, match=r"training\.precision is 'tf32', and the runs train on cpu"
    ):
        train_job(state.study.folder, next(iter(state.plan.packs)))
    assert not (state.study.folder / "packs").exists()
