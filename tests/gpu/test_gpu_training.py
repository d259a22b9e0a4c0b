"""Training on a GPU: the runs of the CPU, within what another order of sums makes of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from support import (
    COUNT_LIKELIHOODS,
    IMAGE_LIKELIHOODS,
    make_dataset,
    make_run,
    model_options,
    result_bytes,
    training_settings,
)
from vae_ablation.data.base import Dataset
from vae_ablation.study.run import Run
from vae_ablation.training.checkpoint import Checkpointer
from vae_ablation.training.pack import Hooks, TrainingResult, train_pack
from vae_ablation.training.precision import TENSOR_CORES
from vae_ablation.training.streams import CPU

pytestmark = pytest.mark.gpu

STEPS = 50
KINDS: list[dict[str, Any]] = [
    {"beta": 0.1},
    {"beta": 1.0},
    {"beta": 4.0},
    {"kl": False},
    {"posterior": "point"},
]


def eight(likelihood: str = "gaussian", **further: Any) -> list[Run]:
    return [
        make_run(likelihood, 2, **KINDS[number % 5], seed=number // 5, **further)
        for number in range(8)
    ]


def trained(
    runs: list[Run], dataset: Dataset, device: str, options: Any = None, **settings: Any
) -> list[TrainingResult]:
    """Runs after about fifty steps, in one pack, with the random numbers of the CPU."""
    batches = -(-len(dataset.rows("train")) // 50)
    wanted = {**training_settings(epochs=max(1, STEPS // batches), device=device), **settings}
    hooks = Hooks(drawn_on=lambda device: CPU)
    return train_pack(runs, dataset, options or model_options(), wanted, hooks=hooks)


def assert_close(some: list[TrainingResult], others: list[TrainingResult]) -> None:
    """Histories within a thousandth of their size."""
    for one, other in zip(some, others, strict=True):
        assert (one.run, one.status) == (other.run, other.status)
        scale = np.abs(other.history).max(0) + 1e-3
        worst = np.abs(one.history - other.history).max(0) / scale
        assert worst.max() < 1e-3, (one.run.path, worst)


@pytest.mark.parametrize("likelihood", IMAGE_LIKELIHOODS)
def test_every_likelihood_of_images_trains_as_on_the_cpu(
    card: str, few_digits: Dataset, likelihood: str
) -> None:
    dataset = few_digits
    if likelihood == "bernoulli":
        dataset = make_dataset(np.round(few_digits.x), levels=2, binary=True)
    runs = eight(likelihood)
    assert_close(trained(runs, dataset, card), trained(runs, dataset, "cpu"))


@pytest.mark.parametrize("likelihood", COUNT_LIKELIHOODS)
def test_every_likelihood_of_counts_trains_as_on_the_cpu(
    card: str, cells: Dataset, likelihood: str
) -> None:
    runs = eight(likelihood, condition="batch")
    assert_close(trained(runs, cells, card), trained(runs, cells, "cpu"))


@pytest.mark.parametrize(
    "further",
    [{"architecture": "conv"}, {"objective": "iwae", "importance_samples": 5},
     {"condition": "label"}],
    ids=["conv", "iwae", "label"],
)  # fmt: skip
def test_architectures_objectives_and_conditions_train_as_on_the_cpu(
    card: str, few_digits: Dataset, further: dict[str, Any]
) -> None:
    runs = [make_run("gaussian", 2, beta=beta, **further) for beta in (0.5, 1.0, 4.0)]
    assert_close(trained(runs, few_digits, card), trained(runs, few_digits, "cpu"))


def test_a_fresh_binarisation_in_every_epoch_is_that_of_the_cpu(
    card: str, few_digits: Dataset
) -> None:
    x = few_digits.x
    dataset = make_dataset(x, levels=2, binary=True, dynamic=True, fixed=np.round(x))
    runs = eight("bernoulli")
    assert_close(trained(runs, dataset, card), trained(runs, dataset, "cpu"))


def test_a_run_that_diverges_leaves_the_others_as_they_are(card: str, few_digits: Dataset) -> None:
    runs = eight()
    with_one = trained([*runs, make_run("gaussian", 2, beta=1e30)], few_digits, card)
    assert [one.status for one in with_one] == [*["ok"] * 8, "diverged"]
    assert_close(with_one[:8], trained(runs, few_digits, card))


class Killed(BaseException):
    """Ends training as a kill does."""


def test_training_resumes_from_a_checkpoint_to_the_same_bytes(
    card: str, few_digits: Dataset, tmp_path: Path
) -> None:
    runs, settings = eight(), training_settings(epochs=3, device=card)
    left = [7]

    def kill() -> None:
        left[0] -= 1
        if not left[0]:
            raise Killed

    def checkpointer() -> Checkpointer:
        return Checkpointer(tmp_path, {run.path: run.path for run in runs}, "code", 0.0)

    with pytest.raises(Killed):
        train_pack(
            runs, few_digits, model_options(), settings, checkpointer=checkpointer(),
            hooks=Hooks(before_step=kill),
        )  # fmt: skip
    resumed = checkpointer()
    second = train_pack(runs, few_digits, model_options(), settings, checkpointer=resumed)
    assert resumed.resumed == 1
    whole = train_pack(runs, few_digits, model_options(), settings)
    for one, other in zip(second, whole, strict=True):
        assert result_bytes(one) == result_bytes(other)


def test_a_pack_beyond_the_memory_of_the_card_is_halved_and_trains(
    card: str, few_digits: Dataset
) -> None:
    if card != "cuda":
        pytest.skip("only a GPU has a memory limit that a test can set")
    runs, tried = [make_run("gaussian", 2, seed=seed) for seed in range(16)], []
    options = model_options() | {"hidden": [1024, 1024]}
    settings = training_settings(epochs=1, device=card)
    alone = train_pack(runs[:1], few_digits, options, settings)
    per_run = torch.cuda.max_memory_allocated()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(6 * per_run / total)
    try:
        found = train_pack(runs, few_digits, options, settings, shrunk=tried.append)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert tried
    assert tried[0] == 8
    assert {one.status for one in found} == {"ok"}
    assert_close(found[:1], alone)


def test_the_cards_own_numbers_are_the_same_every_time_and_train_as_well_as_the_cpus(
    card: str, few_digits: Dataset
) -> None:
    runs, settings = eight(), training_settings(epochs=20, device=card)
    first = train_pack(runs, few_digits, model_options(), settings)
    again = train_pack(runs, few_digits, model_options(), settings)
    for one, other in zip(first, again, strict=True):
        assert result_bytes(one) == result_bytes(other)
    seeds = [make_run("gaussian", 2, seed=seed) for seed in range(8)]
    ends = {
        device: [
            float(one.history[-1, 3:5].sum())
            for one in train_pack(
                seeds, few_digits, model_options(), training_settings(epochs=20, device=device)
            )
        ]
        for device in (card, "cpu")
    }
    gap = np.mean(ends[card]) - np.mean(ends["cpu"])
    assert abs(gap) < 3 * math.hypot(*(np.std(each, ddof=1) for each in ends.values())) / 8**0.5


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_rounded_products_end_within_the_noise_of_seeds(
    card: str, few_digits: Dataset, precision: str
) -> None:
    if card == "cuda" and torch.cuda.get_device_capability() < TENSOR_CORES:
        pytest.skip("this GPU has no such products")
    runs = [make_run("gaussian", 2, seed=seed) for seed in range(8)]
    ends = [
        [float(one.history[-1, 3:5].sum()) for one in trained(
            runs, few_digits, card, epochs=20, precision=each)]
        for each in ("float32", precision)
    ]  # fmt: skip
    gap = np.mean(ends[1]) - np.mean(ends[0])
    assert abs(gap) < 3 * np.std(ends[0], ddof=1) / 8**0.5
