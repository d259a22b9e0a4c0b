"""Builders that the tests share: resolved configs, runs, datasets and models from a few words."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vae_ablation.common.errors import UserError
from vae_ablation.data.base import TEST, TRAIN, VALIDATION, Dataset, Observed
from vae_ablation.data.loading import Examples
from vae_ablation.evaluation.features import FeatureNetworks, fit_features
from vae_ablation.models.likelihoods import LIKELIHOODS, Given
from vae_ablation.models.posteriors import Posterior
from vae_ablation.models.priors import StandardNormal
from vae_ablation.models.vae import VAE
from vae_ablation.study.config import Config, resolve_config
from vae_ablation.study.run import Run, canonical_run
from vae_ablation.training.pack import TrainingResult
from vae_ablation.training.stacked import StackedVAE

CPU = torch.device("cpu")
CONFIG = Path("config.yaml")
IMAGE_LIKELIHOODS = [name for name, one in LIKELIHOODS.items() if not one.counts]
COUNT_LIKELIHOODS = [name for name, one in LIKELIHOODS.items() if one.counts]


def resolved(**sections: Any) -> Config:
    """The default config with these sections changed."""
    return resolve_config(sections, CONFIG)


def model_options(**changes: Any) -> dict[str, Any]:
    return resolved(model={"hidden": [8], **changes})["model"]


def training_settings(**changes: Any) -> dict[str, Any]:
    settings = {"epochs": 3, "batch_size": 50, "device": "cpu", "learning_rate": 0.002, **changes}
    return resolved(training=settings)["training"]


def evaluation_settings(**changes: Any) -> dict[str, Any]:
    return resolved(evaluation={"nll_samples": 32, **changes})["evaluation"]


def dataset_options(**changes: Any) -> dict[str, Any]:
    """Options of one dataset; the digits unless said otherwise."""
    return resolved(datasets={"digits": changes})["datasets"]["digits"]


def cell_options(**changes: Any) -> dict[str, Any]:
    """Options of one dataset of few simulated cells with few genes."""
    few = {"source": "simulated-cells", "examples": 300, "genes": 30, "proteins": 5}
    return resolved(datasets={"cells": few | changes})["datasets"]["cells"]


def make_run(
    likelihood: str = "gaussian",
    latent_dim: int = 2,
    beta: float = 1.0,
    kl: bool = True,
    posterior: str = "gaussian",
    seed: int = 0,
    dataset: str = "digits",
    **further: Any,
) -> Run:
    return canonical_run(dataset, likelihood, latent_dim, beta, kl, posterior, seed, **further)


def make_dataset(
    x: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    levels: int | None = None,
    binary: bool = False,
    shape: tuple[int, ...] | None = None,
    dynamic: bool = False,
    fixed: np.ndarray | None = None,
    factors: np.ndarray | None = None,
    shares: tuple[float, float] = (0.6, 0.2),
) -> Dataset:
    """A dataset in memory: the first rows train, the next validate, the last test."""
    n = len(x)
    split = np.full(n, TEST, np.int8)
    ends = (round(shares[0] * n), round(sum(shares) * n))
    split[: ends[1]] = VALIDATION
    split[: ends[0]] = TRAIN
    columns = 0 if factors is None else factors.shape[1]
    return Dataset(
        name="made",
        x=x.astype(np.float32),
        fixed=fixed,
        split=split,
        labels=np.full(n, -1, np.int64) if labels is None else labels.astype(np.int64),
        observed=Observed(shape or x.shape[1:], levels, binary),
        dynamic=dynamic,
        checksum="made",
        factors=None if factors is None else factors.astype(np.int64),
        factor_names=tuple(f"factor_{i + 1}" for i in range(columns)),
    )


def told_nothing(x: torch.Tensor) -> torch.Tensor:
    """The context of images without a condition, which is empty: [..., 0]."""
    return x.new_empty(*x.shape[:-1], 0)


def examples(x: torch.Tensor) -> Examples:
    """Images in memory that no context comes with."""
    return Examples(x, np.arange(len(x)), told_nothing(x))


def given(
    observed: Observed, options: dict[str, Any], library: torch.Tensor | None = None
) -> Given:
    """What a likelihood stands on; its dispersion is per gene unless options say otherwise."""
    return Given(observed, {"dispersion": "gene", **options}, library)


def trained_model(result: TrainingResult, dataset: Dataset, options: dict[str, Any]) -> VAE:
    """The VAE of a training result."""
    run = result.run
    model = VAE.of(run, dataset.observed, options)
    model.load_state_dict(result.weights)
    return model


def features_of(dataset: Dataset) -> FeatureNetworks:
    """The features in which a dataset's samples are compared with it, seed 0."""
    return fit_features(dataset, 0)


def rate_per_dim(posterior: Posterior) -> torch.Tensor:
    """KL(q ‖ N(0, I)) per latent dimension, [..., latent], nats."""
    return StandardNormal.of(posterior.mean.shape[-1]).kl_per_dim(posterior)


def cpu_vae(observed: Observed, likelihood: str, architecture: str, **options: Any) -> VAE:
    """A VAE of two latent dimensions at its initial weights, seed 0."""
    settings = {**model_options(channels=[4, 6], **options), "dispersion": "gene"}
    return VAE(observed, likelihood, 2, settings, 0, architecture)


def stacked(models: list[VAE]) -> StackedVAE:
    return StackedVAE.stack(models, CPU)


def result_bytes(result: TrainingResult) -> dict[str, bytes]:
    """Everything of a training result that must be the same to the last bit."""
    weights = {name: value.numpy().tobytes() for name, value in result.weights.items()}
    rest = f"{result.run} {result.status} {result.reason} {result.epochs_kept}".encode()
    shots = {f"snapshot {name}": value.tobytes() for name, value in result.snapshots.items()}
    return weights | shots | {"history": result.history.tobytes(), "rest": rest}


def assert_one_sentence(error: UserError, *parts: str) -> None:
    """The error is one sentence on one line, and names every part."""
    text = str(error)
    assert text.endswith("."), text
    assert "\n" not in text, text
    assert not re.search(r"[.!?] [A-Z]", text), text
    for part in parts:
        assert part in text, f"{part!r} is not in {text!r}"


def idx(values: np.ndarray) -> bytes:
    """An IDX file of unsigned bytes."""
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + bytes(values)


def write_mnist(folder: Path, train: int = 30, test: int = 20, **replace: bytes) -> dict[str, Any]:
    """Files as of MNIST below `folder`, some with other content; options that find them."""
    rng = np.random.default_rng(0)
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for name, n in (("train", train), ("t10k", test)):
        pictures = rng.integers(0, 256, (n, 28, 28)).astype(np.uint8)
        labels = (np.arange(n) % 10).astype(np.uint8)
        (raw / f"{name}-images-idx3-ubyte").write_bytes(idx(pictures))
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(idx(labels))
    for name, content in replace.items():
        (raw / name.replace("_", "-")).write_bytes(content)
    return {"root": str(folder)}
