"""Precision of the matrix products in training; weights, sums and likelihoods stay float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from vae_ablation.common.errors import UserError

TENSOR_CORES = (8, 0)
"""Compute capability from which a GPU has TF32 and bfloat16 products (Ampere)."""


def check_precision(precision: str, device: torch.device) -> None:
    """Refuse a precision that a device does not have.

    Args:
        precision: training.precision: float32, tf32 or bf16.
        device: where runs train.

    Raises:
        UserError: tf32 or bf16 without a GPU that has them.
    """
    if precision == "float32":
        return
    there = device.type
    if device.type == "cuda":
        if torch.cuda.get_device_capability(device) >= TENSOR_CORES:
            return
        there = torch.cuda.get_device_name(device)
    raise UserError(
        f"training.precision is {precision!r}, and the runs train on {there}; allowed there: "
        "float32 (tf32 and bf16 need an NVIDIA GPU of compute capability 8.0 or newer)."
    )


@contextmanager
def tensor_cores(precision: str) -> Iterator[None]:
    """A setting of torch under which float32 products may round their factors to TF32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def products(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """A context in which matrix products and convolutions round their factors to bfloat16.

    Other operations stay float32 (torch.autocast). Enter it where operations are recorded, and not
    around their replay.
    """
    if precision != "bf16":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)
