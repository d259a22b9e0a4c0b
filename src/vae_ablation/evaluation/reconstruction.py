"""Errors of reconstructions at the posterior mean, of every example."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae_ablation.data.base import Dataset
from vae_ablation.evaluation.bounds import decode_mean, example_blocks
from vae_ablation.evaluation.features import log_counts
from vae_ablation.models.streams import stream
from vae_ablation.study.run import Run

if TYPE_CHECKING:
    from vae_ablation.training.stacked import StackedVAE

LOG_DRAWS = 16
"""Draws of x per example behind mse_log1p."""


@torch.no_grad()
def squared_errors(
    model: StackedVAE, means: Tensor, dataset: Dataset, context: Tensor
) -> NDArray[np.float64]:
    """(E[x given z = μ] − intensity)², mean over dimensions, of every example: [runs, n].

    Missing numbers are left out.

    Args:
        model: the pack.
        means: μ of the test split, [runs, n, latent].
        dataset: the prepared dataset.
        context: what the decoder is told beside z, [n, context].
    """
    places, parts = dataset.rows("test"), []
    step = max(1, 2**24 // (len(model) * dataset.observed.dims))
    for start in range(0, len(places), step):
        rows = slice(start, start + step)
        target = torch.from_numpy(dataset.intensities("test", rows)).to(means.device)
        error = decode_mean(model, means[:, rows], context[rows]) - target
        squares = error.double().square()
        if dataset.present is not None:
            there = torch.from_numpy(dataset.present[places[rows]]).to(target)
            squares = squares * there / there.mean(-1, keepdim=True)
        parts.append(squares.mean(-1).cpu().numpy())
    return np.concatenate(parts, axis=1)


@torch.no_grad()
def log_errors(
    model: StackedVAE,
    runs: Sequence[Run],
    means: Tensor,
    dataset: Dataset,
    context: Tensor,
    seed: int,
) -> NDArray[np.float64]:
    """Squared error of the mean of log1p(library-normalised x) under p(x given z = μ): [runs, n].

    The mean of log1p and not log1p of the mean, which favours likelihoods with little spread; over
    LOG_DRAWS draws. Of counts alone; arguments as in `squared_errors`, and the evaluation's seed.
    """
    genes = dataset.observed.genes
    library = context[:, :1] if dataset.observed.outside else None
    observed = torch.from_numpy(dataset.observe("test")).to(context.device)
    target = log_counts(observed, genes, library)
    found = []
    for place, run in enumerate(runs):
        generator = stream(run.seed, f"predicted x {seed}")
        decoder = model.one(place).decoder
        parts = []
        for rows in example_blocks(len(target), LOG_DRAWS * target.shape[1]):
            predicted = decoder(means[place][rows], context[rows])
            given = None if library is None else library[rows]
            draws = [
                log_counts(predicted.sample(generator), genes, given) for _ in range(LOG_DRAWS)
            ]
            error = torch.stack(draws).mean(0) - target[rows]
            parts.append(error.double().square().mean(-1).cpu().numpy())
        found.append(np.concatenate(parts))
    return np.stack(found)
