"""Every metric of METRICS.md for whole packs."""

from vae_ablation.evaluation.pack import Evaluated, evaluate_pack

__all__ = ["Evaluated", "evaluate_pack"]
