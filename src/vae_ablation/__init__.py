"""Ablation studies of variational autoencoders: from one config to tables, figures and a report."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

# MKL otherwise chooses its kernels by how a run's weights lie in memory, and a run's bits would
# depend on its place in a pack. It reads this before its first matrix product.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
# On AVX-512, oneDNN chooses the kernel of a convolution by the number of runs beside it.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")

__version__ = "0.2.0"

if TYPE_CHECKING:
    from vae_ablation.store.trained import TrainedRun as TrainedRun
    from vae_ablation.store.trained import load_run as load_run

__all__ = ["TrainedRun", "__version__", "load_run"]


def __getattr__(name: str) -> Any:
    """Load `load_run` and `TrainedRun` on first use, so that the workflow parses without torch."""
    if name in {"TrainedRun", "load_run"}:
        from vae_ablation.store import trained

        return getattr(trained, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
