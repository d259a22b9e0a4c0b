"""Without private names of torch the same is trained, by public ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from support import make_dataset, make_run, model_options, training_settings
from vae_ablation.common.torch_private import adam_, elementwise_adam_, standard_gamma
from vae_ablation.training.pack import UNWATCHED, Hooks, TrainingResult, train_pack
from vae_ablation.training.traced import Function, Traced


def test_elementwise_adam_follows_the_fused_kernel() -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(3, 40, 5, generator=generator)
    ours, theirs = ([start.clone(), *torch.zeros(2, *start.shape)] for _ in range(2))
    for number in range(1, 20):
        gradient = torch.randn(start.shape, generator=generator)
        step = torch.tensor(float(number))
        for update_, state in ((elementwise_adam_, ours), (adam_, theirs)):
            weight, mean, square = ([tensor] for tensor in state)
            update_(weight, [gradient], mean, square, step, 0.01)
        assert torch.equal(ours[1], theirs[1])
        assert torch.equal(ours[2], theirs[2])
        torch.testing.assert_close(ours[0], theirs[0], rtol=1e-6, atol=1e-6)


def test_draws_without_torchs_kernel_have_the_same_distribution(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shape = torch.full((4000,), 0.7, dtype=torch.float64)

    def draw() -> torch.Tensor:
        return standard_gamma(shape, torch.Generator().manual_seed(5))

    usual = draw()
    monkeypatch.delattr(torch, "_standard_gamma")
    drawn = draw()
    assert drawn.dtype == shape.dtype
    assert torch.equal(drawn, draw())
    for sample in (usual, drawn):
        assert stats.kstest(sample.numpy(), stats.gamma(0.7).cdf).pvalue > 1e-3


def tiny_pack(hooks: Hooks) -> list[TrainingResult]:
    dataset = make_dataset(np.random.default_rng(0).random((120, 9)))
    runs = [make_run(seed=seed) for seed in range(2)]
    settings = training_settings(epochs=4, batch_size=24)
    return train_pack(runs, dataset, model_options(), settings, hooks=hooks)


def traced_at_once() -> tuple[list[Traced], Hooks]:
    made: list[Traced] = []

    def trace(function: Function) -> Traced:
        made.append(Traced(function, patience=0))
        return made[-1]

    return made, Hooks(trace=trace)


def test_without_the_fused_kernel_weights_agree_to_rounding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usual = tiny_pack(UNWATCHED)
    monkeypatch.delattr(torch, "_fused_adam_")
    made, hooks = traced_at_once()
    others = tiny_pack(hooks)
    assert made[0].function not in made[0].traces.values(), "a step was not traced"
    for one, other in zip(usual, others, strict=True):
        assert other.status == "ok"
        for name, weight in one.weights.items():
            torch.testing.assert_close(other.weights[name], weight, rtol=1e-4, atol=1e-5)


WITHOUT_A_MODE = """
import importlib, logging, sys
import torch.utils._python_dispatch as dispatch
from common.test_torch_private import tiny_pack, traced_at_once
from support import result_bytes
from vae_ablation.common import torch_private
from vae_ablation.training import traced
from vae_ablation.training.pack import Hooks

logging.basicConfig(level=logging.WARNING, format="%(message)s")
made, hooks = traced_at_once()
usual = tiny_pack(hooks)
assert made[0].function not in made[0].traces.values()
assert not {"sympy", "torch._dynamo"} & sys.modules.keys(), "a compiler was imported"

del dispatch.TorchDispatchMode
importlib.reload(torch_private)
importlib.reload(traced)
other = tiny_pack(Hooks(trace=lambda function: traced.Traced(function, patience=0)))
assert [result_bytes(one) for one in usual] == [result_bytes(one) for one in other]
"""


def test_steps_are_traced_without_a_compiler_and_run_as_they_are_without_a_dispatch_mode() -> None:
    folders = [os.environ.get("PYTHONPATH", ""), str(Path(__file__).parents[1])]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_A_MODE], capture_output=True, text=True, timeout=300,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("a step cannot be traced and runs as it is") == 1
