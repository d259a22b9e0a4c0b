"""The context of an example: what stands beside x and z, and its parts."""

from __future__ import annotations

import torch
from torch import Tensor

from vae_ablation.data.base import Observed

DEFAULT_LIBRARY = 10_000.0
"""Default library size: of cells without one of their own."""


def split_context(
    observed: Observed, context: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    """Library size [..., 1] (None where x are no counts) and condition (None without one).

    Args:
        observed: the observed variable.
        context: as from `Dataset.context`, [..., context].
    """
    if observed.missing and context is not None:
        return None, context[..., observed.dims :]
    if not observed.counts:
        return None, context
    if context is None:
        return torch.full((1,), DEFAULT_LIBRARY), None
    return context[..., :1], context[..., 1:]
