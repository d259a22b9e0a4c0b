"""Evaluation on a GPU: the numbers of the CPU, within what another order of sums makes of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from support import (
    COUNT_LIKELIHOODS,
    evaluation_settings,
    features_of,
    make_run,
    model_options,
    trained_model,
    training_settings,
)
from vae_ablation.data.base import Dataset
from vae_ablation.evaluation import evaluate_pack
from vae_ablation.training.pack import train_pack

pytestmark = pytest.mark.gpu

NATS = ("elbo", "rate", "distortion", "nll")
KINDS: list[dict[str, Any]] = [{"beta": 1.0}, {"beta": 0.1}, {"kl": False}, {"posterior": "point"}]


def assert_alike(dataset: Dataset, likelihood: str, device: str) -> None:
    """Metrics of a pack of every kind of run, evaluated on the device and on the CPU."""
    runs = [make_run(likelihood, 2, **kind) for kind in KINDS]
    results = train_pack(runs, dataset, model_options(), training_settings(epochs=6))
    found = [
        evaluate_pack(
            runs,
            [trained_model(result, dataset, model_options()) for result in results],
            [result.history for result in results],
            dataset,
            features_of(dataset),
            evaluation_settings(),
            torch.device(place),
        )
        for place in (device, "cpu")
    ]
    for one, other in zip(*found, strict=True):
        assert one.metrics.keys() == other.metrics.keys()
        assert "reason" not in one.metrics
        for name in {*NATS, "mse", "active_units"} & one.metrics.keys():
            # draws are those of the CPU; the NLL follows its weights to other places
            close = 0.02 if name == "nll" else 1e-4
            assert one.metrics[name] == pytest.approx(other.metrics[name], rel=close), name


@pytest.mark.parametrize("likelihood", ["gaussian", "discretized_logistic"])
def test_pictures_are_measured_as_on_the_cpu(
    card: str, few_digits: Dataset, likelihood: str
) -> None:
    assert_alike(few_digits, likelihood, card)


@pytest.mark.parametrize("likelihood", COUNT_LIKELIHOODS)
def test_counts_are_measured_as_on_the_cpu(card: str, cells: Dataset, likelihood: str) -> None:
    assert_alike(cells, likelihood, card)
