"""A traced step gives the bits of the step itself, by fewer calls."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from support import (
    COUNT_LIKELIHOODS,
    IMAGE_LIKELIHOODS,
    make_run,
    model_options,
    result_bytes,
    training_settings,
)
from vae_ablation.data.base import Dataset
from vae_ablation.study.run import Run
from vae_ablation.training.pack import Hooks, train_pack
from vae_ablation.training.simplify import is_view, name_of
from vae_ablation.training.traced import Traced


def traced_after(calls: int) -> tuple[list[Traced], Hooks]:
    """Hooks that trace the step after so many calls, and the traced steps that they make."""
    made: list[Traced] = []

    def make(function: Any) -> Traced:
        made.append(Traced(function, calls))
        return made[-1]

    return made, Hooks(trace=make)


def both_ways(
    runs: list[Run], dataset: Dataset, options: dict[str, Any] | None = None, **settings: Any
) -> None:
    """Train with every step traced and with none; nothing may differ."""
    options, chosen = options or model_options(), training_settings(**settings)
    made, hooks = traced_after(0)
    fast = train_pack(runs, dataset, options, chosen, hooks=hooks)
    assert made[0].traces
    assert made[0].function not in made[0].traces.values(), "a step was not traced"
    made, hooks = traced_after(10**9)
    slow = train_pack(runs, dataset, options, chosen, hooks=hooks)
    assert not made[0].traces
    assert {result.status for result in fast} == {"ok"}
    assert [result_bytes(one) for one in fast] == [result_bytes(one) for one in slow]


ARMS: list[dict[str, Any]] = [
    *({"likelihood": likelihood} for likelihood in IMAGE_LIKELIHOODS),
    {"likelihood": "gaussian", "architecture": "conv"},
    {"likelihood": "gaussian", "objective": "iwae", "importance_samples": 3},
    {"likelihood": "gaussian", "condition": "label"},
]


@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: "-".join(map(str, arm.values())))
def test_a_traced_step_changes_no_bit(arm: dict[str, Any], few_digits: Dataset) -> None:
    runs = [make_run(**arm, beta=1.0), make_run(**arm, beta=1.0, seed=1)]
    both_ways(runs, few_digits, batch_size=60)


@pytest.mark.parametrize("likelihood", COUNT_LIKELIHOODS)
def test_a_traced_step_changes_no_bit_of_counts(likelihood: str, cells: Dataset) -> None:
    both_ways([make_run(likelihood), make_run(likelihood, seed=1)], cells)


def test_a_traced_step_changes_no_bit_with_a_centre_and_runs_that_stop_early(
    few_digits: Dataset,
) -> None:
    runs = [make_run(seed=seed) for seed in range(4)]
    settings = {"epochs": 12, "early_stopping_patience": 2, "learning_rate": 0.02}
    both_ways(runs, few_digits, model_options(center=True), **settings)


@pytest.mark.parametrize("likelihood", ["gaussian", "discretized_logistic"])
def test_a_traced_step_changes_no_bit_where_numbers_are_not_finite(
    likelihood: str, few_digits: Dataset
) -> None:
    runs = [make_run(likelihood, beta=beta) for beta in (1.0, 1e300)]
    both = []
    for calls in (0, 10**9):
        _, hooks = traced_after(calls)
        settings = training_settings(learning_rate=0.01)
        both.append(train_pack(runs, few_digits, model_options(), settings, hooks=hooks))
    assert [result.status for result in both[0]] == ["ok", "diverged"]
    fast, slow = ([result_bytes(result) for result in results] for results in both)
    assert fast == slow


@pytest.mark.parametrize("looks", ["at a number", "at a tensor of its own"])
def test_what_cannot_be_traced_runs_as_it_is_and_says_so(
    looks: str, caplog: pytest.LogCaptureFixture
) -> None:
    def function(x: torch.Tensor) -> tuple[torch.Tensor]:
        if looks == "at a number":
            return (x * 2 if float(x.sum()) > 0 else x * 3,)
        return (x + torch.from_numpy(x.detach().numpy() * 2),)

    traced = Traced(function, patience=0)
    for x in (torch.ones(3), -torch.ones(3), torch.arange(3.0)):
        assert torch.equal(traced(x)[0], function(x)[0])
    assert list(traced.traces.values()) == [function]
    assert "runs as it is" in caplog.text


def test_tracing_waits_until_shapes_come_again() -> None:
    calls = []

    def doubled(x: torch.Tensor) -> tuple[torch.Tensor]:
        calls.append(x.shape)
        return (2 * x.view(x.shape),)

    traced = Traced(doubled, patience=2)
    x = torch.arange(4.0)
    for _ in range(5):
        assert torch.equal(traced(x)[0], 2 * x)
    assert len(calls) == 4, "twice as it is, twice while it is traced and compared"
    assert torch.equal(traced(torch.ones(6))[0], torch.full((6,), 2.0))
    assert len(calls) == 5
    (graph,) = traced.traces.values()
    assert "view" not in str(graph.graph)  # type: ignore[attr-defined]


# --- what a step costs, in counts that no busy machine changes ------------------------------------

KERNELS = {
    "gaussian": 86,
    "bernoulli": 80,
    "discretized_logistic": 141,
    "continuous_bernoulli": 116,
    "poisson": 301,
    "negative_binomial": 424,
    "zero_inflated_negative_binomial": 472,
}
"""Counted when written, and a twentieth more, since torch splits operations as it likes; the counts
are of two modalities."""


def step_of(likelihood: str, dataset: Dataset, seeds: int) -> tuple[list[str], int]:
    """Names of the kernels that a traced step calls, and the bytes that it allocates."""
    made, hooks = traced_after(0)
    runs = [make_run(likelihood, latent_dim=16, seed=seed) for seed in range(seeds)]
    train_pack(runs, dataset, model_options(hidden=[32]), training_settings(epochs=1), hooks=hooks)
    graph: Any = next(iter(made[0].traces.values()))
    called = [
        node
        for node in graph.graph.nodes
        if "bytes" in node.meta and node.op.startswith("call") and not is_view(node)
    ]
    fresh = [node for node in called if not name_of(node).endswith("_")]
    return [name_of(node) for node in called], sum(node.meta["bytes"] for node in fresh)


@pytest.mark.parametrize("likelihood", list(KERNELS))
def test_a_step_calls_no_more_kernels_than_it_did(
    likelihood: str, few_digits: Dataset, cells: Dataset
) -> None:
    dataset = cells if likelihood in COUNT_LIKELIHOODS else few_digits
    kernels, _ = step_of(likelihood, dataset, 1)
    assert len(kernels) <= KERNELS[likelihood], f"{len(kernels)} kernels"
    products = [name for name in kernels if name.startswith("bmm")]
    assert len(products) == 11, "4 layers, forth and back, none for the gradient by the data"
    assert not any(name.startswith("clone") for name in kernels), "a gradient is transposed"


def test_a_step_of_more_runs_calls_as_many_kernels_and_allocates_in_proportion(
    few_digits: Dataset,
) -> None:
    one, alone = step_of("gaussian", few_digits, 1)
    four, together = step_of("gaussian", few_digits, 4)
    assert one == four
    assert together <= 4 * alone
