"""Shapes of what parts from outside the package give, tried on a few examples before training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from vae_ablation.common.registry import ORIGINS
from vae_ablation.data.base import Dataset
from vae_ablation.data.loading import Examples
from vae_ablation.models.objectives import OBJECTIVES, Batch
from vae_ablation.models.streams import seeded
from vae_ablation.models.vae import VAE
from vae_ablation.study.plugins import model_parts
from vae_ablation.study.run import Run

ROWS = 3

Shaped = tuple[str, str, str, Tensor, tuple[int, ...]]
"""Kind and name of a part, name of a value, the value, and the shape that it should have."""


def check_shapes(run: Run, dataset: Dataset, model_options: Mapping[str, Any]) -> None:
    """Refuse values of other shapes: they broadcast, and training would give wrong numbers.

    Raises:
        ValueError: a part from outside the package gives one.
    """
    if not any(part in ORIGINS for part in model_parts(run)):
        return
    with torch.no_grad(), seeded(0, "shapes"):
        for kind, name, what, value, wanted in _shaped(run, dataset, model_options):
            if (kind, name) in ORIGINS and tuple(value.shape) != wanted:
                raise ValueError(
                    f"{what} of the {kind} {name} has the shape {tuple(value.shape)} for {ROWS} "
                    f"examples; wanted: {wanted} ({ORIGINS[kind, name].label})"
                )


def _shaped(run: Run, dataset: Dataset, model_options: Mapping[str, Any]) -> Iterator[Shaped]:
    model = VAE.of(run, dataset.observed, model_options).eval()
    examples = Examples.of(dataset, "train", run.condition, torch.device("cpu"))
    x, context = examples.at(torch.arange(ROWS) % len(examples))
    noise = torch.zeros(ROWS, run.importance_samples, run.latent_dim)
    posterior = model.encoder(x, context)
    for what in ("mean", "log_std"):
        wanted = (ROWS, run.latent_dim)
        yield "posterior", run.posterior, what, getattr(posterior, what), wanted
    z = posterior.at(noise)
    yield "prior", run.prior, "log_prob", model.prior.log_prob(z), tuple(z.shape[:-1])
    found = model.decoder(z, context[:, None])
    draws = (ROWS, run.importance_samples)
    yield "likelihood", run.likelihood, "mean", found.mean, (*draws, dataset.observed.dims)
    yield "likelihood", run.likelihood, "log_prob", found.log_prob(x[:, None]), draws
    objective = OBJECTIVES[run.objective]
    epoch = torch.zeros(()) if objective.reads_epoch else None
    whole = Batch.whole(x, context, noise)
    batch = Batch(x, context, noise, whole.weight, whole.split_size, epoch)
    for name, term in objective.terms(model, batch).items():
        yield "objective", run.objective, f"the term {name}", term, (ROWS,)
