"""Decoders and planes of the page: layers, the order of latent dimensions, rounding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vae_ablation.report.page.bundle import Bundle
from vae_ablation.report.page.layers import UndrawableError, decoder_steps, enough_bits
from vae_ablation.store.trained import TrainedRun

CODE_BITS = 12
REACH = 4.0
"""Half the side of the plane in which rounding is checked, in prior σ."""


def describe_decoder(
    trained: TrainedRun,
    bundle: Bundle,
    probes: NDArray[np.float32],
    context: torch.Tensor | None = None,
) -> dict[str, Any]:
    """Layers of a run's decoder (`steps`), or why it cannot be drawn (`undrawable`).

    Args:
        trained: the run.
        bundle: gets the weights.
        probes: points at which rounded weights are compared, [n, latent].
        context: the condition there, [n, context], where the page appends one to z.
    """
    try:
        steps = decoder_steps(trained.model.decoder, context is not None)
    except UndrawableError as reason:
        return {"undrawable": str(reason)}
    bits = enough_bits(trained.model.decoder, probes, context)
    return {"steps": [step.store(bundle, bits) for step in steps]}


def dimension_order(
    rates: NDArray[np.float64] | None, means: NDArray[np.floating]
) -> list[dict[str, Any]]:
    """Dimensions by KL (nats), the largest first; without a KL by the variance of the means.

    In two dimensions the plane is the space, and they keep their order.
    """
    values = means.astype(np.float64).var(axis=0) if rates is None else rates
    order = np.argsort(-values, kind="stable") if len(values) > 2 else np.arange(len(values))
    what = "variance" if rates is None else "KL"
    return [{"index": int(index), "size": f"{what} {float(values[index]):.3g}"} for index in order]


def probe_points(codes: NDArray[np.float32], plane: Sequence[int]) -> NDArray[np.float32]:
    """Points for checking rounding: codes, the planes of the prior and the codes, [n, latent].

    The grids lie in the plane that is shown first, through the origin.
    """
    reach = [np.full(2, -REACH), np.full(2, REACH)]
    ends = [reach, [codes[:, list(plane)].min(axis=0), codes[:, list(plane)].max(axis=0)]]
    grids = [_grid(low, high, plane, codes.shape[1]) for low, high in ends]
    return np.concatenate([codes[:: max(1, len(codes) // 128)], *grids]).astype(np.float32)


def _grid(
    low: NDArray[np.floating], high: NDArray[np.floating], plane: Sequence[int], latent_dim: int
) -> NDArray[np.float32]:
    sides = [np.linspace(a, b, 11) for a, b in zip(low, high, strict=True)]
    points = np.zeros((121, latent_dim), np.float32)
    points[:, list(plane)] = np.stack(np.meshgrid(*sides), axis=-1).reshape(-1, 2)
    return points
