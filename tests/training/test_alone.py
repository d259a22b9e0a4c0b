"""Networks from outside the package: in packs where torch.func can batch them, else alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from support import (
    CPU,
    evaluation_settings,
    features_of,
    make_run,
    model_options,
    result_bytes,
    trained_model,
    training_settings,
)
from training.test_checkpoint import Steps, interrupted
from vae_ablation.data.base import Dataset, Observed
from vae_ablation.evaluation import evaluate_pack
from vae_ablation.models.architectures import ARCHITECTURES, Architecture
from vae_ablation.report.page.layers import UndrawableError, decoder_steps
from vae_ablation.training.alone import why_alone
from vae_ablation.training.pack import TrainingResult, train_pack


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else 2 * x


class Seeded(nn.Module):
    """Random features, other ones for every seed."""

    features: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("features", torch.randn(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.features


MIDDLES: dict[str, Any] = {
    "layer-norm": nn.LayerNorm,
    "batch-norm": nn.BatchNorm1d,
    "dropout": lambda width: nn.Dropout(0.2),
    "branching": lambda width: Branching(),
    "seeded": Seeded,
}


class Foreign(Architecture):
    """Linear, something, linear."""

    name = "foreign"

    def __init__(self, middle: Any) -> None:
        self.middle = middle

    def encoder(self, observed: Observed, condition: int, outputs: int, options: Any) -> nn.Module:
        return self.net(observed.dims + condition, outputs)

    def decoder(self, observed: Observed, inputs: int, outputs: int, options: Any) -> nn.Module:
        return self.net(inputs, outputs)

    def net(self, inputs: int, outputs: int) -> nn.Module:
        layers = [nn.Linear(inputs, 7), self.middle(7), nn.ReLU(), nn.Linear(7, outputs)]
        return nn.Sequential(*layers)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, middle in MIDDLES.items():
        monkeypatch.setitem(ARCHITECTURES, name, Foreign(middle))


def train(dataset: Dataset, name: str, *seeds: int, **settings: Any) -> list[TrainingResult]:
    runs = [make_run(architecture=name, seed=seed) for seed in seeds]
    return train_pack(runs, dataset, model_options(), training_settings(**settings))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("layer-norm", None),
        ("mlp", None),
        ("batch-norm", "cannot be batched by torch.func"),
        ("dropout", "cannot be batched by torch.func"),
        ("branching", "cannot be batched by torch.func"),
        ("seeded", "buffer that depends on the seed (encoder.network.module.1.features)"),
    ],
)
def test_whether_runs_share_a_pack_is_found_by_trying(
    name: str, words: str | None, few_digits: Dataset
) -> None:
    reason = why_alone(make_run(architecture=name), few_digits, model_options(), CPU)
    assert reason is None if words is None else words in str(reason)


def test_what_says_so_is_not_tried(few_digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Foreign, "packable", False)
    reason = why_alone(make_run(architecture="layer-norm"), few_digits, model_options(), CPU)
    assert reason == "architecture layer-norm says packable = False"


def test_in_a_pack_numbers_are_those_alone(few_digits: Dataset) -> None:
    together = train(few_digits, "layer-norm", 0, 1, 2)
    assert [one.alone for one in together] == ["", "", ""]
    for seed, one in enumerate(together):
        (alone,) = train(few_digits, "layer-norm", seed)
        np.testing.assert_allclose(one.history, alone.history, rtol=1e-4)
        for name, weight in one.weights.items():
            torch.testing.assert_close(weight, alone.weights[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["batch-norm", "dropout", "branching", "seeded"])
def test_runs_that_cannot_be_batched_are_those_alone_to_the_byte(
    name: str, few_digits: Dataset
) -> None:
    torch.manual_seed(7)
    together = train(few_digits, name, 0, 1)
    assert all(name in one.alone for one in together)
    torch.manual_seed(8)  # the global stream decides nothing
    for seed, one in enumerate(together):
        (alone,) = train(few_digits, name, seed)
        assert result_bytes(one) == result_bytes(alone)
    assert result_bytes(together[0]) != result_bytes(together[1])


def test_running_statistics_are_kept_and_evaluated(few_digits: Dataset) -> None:
    results = train(few_digits, "batch-norm", 0, 1)
    means = [one.weights["encoder.network.module.1.running_mean"] for one in results]
    assert not torch.allclose(means[0], torch.zeros(7))
    assert not torch.allclose(*means)
    models = [trained_model(one, few_digits, model_options()).eval() for one in results]
    found = evaluate_pack(
        [one.run for one in results], models, [one.history for one in results], few_digits,
        features_of(few_digits), evaluation_settings(), CPU,
    )  # fmt: skip
    x = torch.from_numpy(few_digits.observe("test"))
    for model, one in zip(models, found, strict=True):
        assert "reason" not in one.metrics
        with torch.no_grad():
            np.testing.assert_allclose(one.codes["mean"], model.encoder(x).mean, atol=1e-5)


def test_training_goes_on_from_a_checkpoint_to_the_same_bytes(
    tmp_path: Path, few_digits: Dataset
) -> None:
    runs = [make_run(architecture="batch-norm")]
    steps = Steps()
    expected = train_pack(runs, few_digits, model_options(), training_settings())
    found, pieces = interrupted(steps, tmp_path, runs, few_digits, 5)
    assert pieces > 1
    assert result_bytes(found[0]) == result_bytes(expected[0])


def test_the_report_says_what_it_cannot_draw(few_digits: Dataset) -> None:
    (result,) = train(few_digits, "layer-norm", 0, epochs=1)
    with pytest.raises(UndrawableError, match="networks from outside the package"):
        decoder_steps(trained_model(result, few_digits, model_options()).decoder)


def test_weights_are_counted_on_the_meta_device() -> None:
    observed = Observed((4, 4), 17)
    weights, floats = ARCHITECTURES["layer-norm"].size(observed, 3, 16, {})
    assert weights == (16 * 7 + 7 + 14 + 7 * 6 + 6) + (3 * 7 + 7 + 14 + 7 * 16 + 16)
    assert floats == (16 + 7 * 3 + 6) + 4 * (3 + 7 * 3 + 16)
    branching, _ = ARCHITECTURES["branching"].size(observed, 3, 16, {})
    assert branching == weights - 28
