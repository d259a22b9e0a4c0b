"""Whether runs can share a pack: networks from outside the package are tried before they train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from vae_ablation.data.base import Dataset
from vae_ablation.data.loading import Examples
from vae_ablation.models.architectures import ARCHITECTURES
from vae_ablation.models.objectives import OBJECTIVES, Batch, Objective
from vae_ablation.models.streams import seeded
from vae_ablation.models.vae import VAE
from vae_ablation.study.run import Run
from vae_ablation.training.stacked import BoundVAE, StackedVAE

TOLERANCE = 1e-4
"""Largest difference of a gradient in a pack from the same one alone, relative to the largest."""
ROWS = 16


def why_alone(
    run: Run, dataset: Dataset, model_options: Mapping[str, Any], device: torch.device
) -> str | None:
    """Reason why runs like this must train alone; None where they can share a pack.

    Two models of other seeds take the gradient of one small batch together and apart.

    Args:
        run: one of them.
        dataset: the prepared dataset.
        model_options: the config's model section.
        device: where they train.
    """
    architecture = ARCHITECTURES[run.architecture]
    if architecture.padded:
        return None
    if not architecture.packable:
        return f"architecture {run.architecture} says packable = False"
    models = [_model(run, seed, dataset, model_options, device) for seed in (0, 1)]
    reason = _differing_buffers(models) or _tried(run, models, dataset, device)
    return f"architecture {run.architecture} {reason}" if reason else None


def _model(
    run: Run, seed: int, dataset: Dataset, options: Mapping[str, Any], device: torch.device
) -> VAE:
    other = Run(**{**run, "seed": seed})
    return VAE.of(other, dataset.observed, options).to(device).train()


def _differing_buffers(models: Sequence[VAE]) -> str | None:
    """Buffers that the seed decides: a pack has one of each for all its runs."""
    for (name, one), (_, other) in zip(*(model.named_buffers() for model in models), strict=True):
        if not torch.equal(one, other):
            return f"has a buffer that depends on the seed ({name})"
    return None


def _tried(run: Run, models: Sequence[VAE], dataset: Dataset, device: torch.device) -> str | None:
    examples = Examples.of(dataset, "train", run.condition, device)
    x, context = examples.at(torch.arange(ROWS, device=device) % len(examples))
    noise = torch.zeros(ROWS, run.importance_samples, run.latent_dim, device=device)
    pack, objective = StackedVAE.stack(models, device), OBJECTIVES[run.objective]
    before = {name: value.clone() for name, value in pack.template.named_buffers()}
    try:
        with seeded(0, "trial"):
            together = gradients(objective, pack, x, context, noise)
    except Exception as error:
        return f"cannot be batched by torch.func ({in_short(error)})"
    if any(not torch.equal(value, before[name]) for name, value in pack.template.named_buffers()):
        return "changes its buffers as it trains (running statistics)"
    for place in range(2):
        alone = gradients(objective, pack.select([place]), x, context, noise)
        if _differ([leaf[place] for leaf in together], [leaf[0] for leaf in alone]):
            return "gives other gradients in a pack than alone"
    return None


def gradients(
    objective: Objective, model: StackedVAE, x: Tensor, context: Tensor, noise: Tensor
) -> list[Tensor]:
    """Gradient of the mean loss by each leaf, [runs, ...], of the same batch for every run."""
    leaves = [leaf.detach().requires_grad_() for leaf in model.leaves]
    runs = len(model)

    def loss(one: BoundVAE, x: Tensor, context: Tensor, noise: Tensor) -> Tensor:
        whole = Batch.whole(x, context, noise)
        epoch = torch.zeros((), device=x.device) if objective.reads_epoch else None
        batch = Batch(x, context, noise, whole.weight, whole.split_size, epoch)
        mean: Tensor = objective.loss(objective.terms(one, batch), dict(objective.numbers)).mean()
        return mean

    stacked = [part.expand(runs, *part.shape) for part in (x, context, noise)]
    total = StackedVAE(model.template, leaves).map(loss, *stacked).sum()
    gradients = torch.autograd.grad(total, leaves, allow_unused=True)
    return [
        torch.zeros_like(leaf) if one is None else one
        for leaf, one in zip(leaves, gradients, strict=True)
    ]


def _differ(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    largest = max(float(leaf.abs().max()) for leaf in other if leaf.numel())
    gaps = (float((a - b).abs().max()) for a, b in zip(one, other, strict=True) if a.numel())
    return not max(gaps) <= TOLERANCE * max(largest, 1e-12)


def in_short(error: Exception) -> str:
    """The first sentence of an error."""
    words = " ".join(str(error).split()).split(". ")[0]
    return f"{type(error).__name__}: {words[:160]}".rstrip(".")
