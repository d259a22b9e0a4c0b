"""Terms of the objective on the test split, nats per example, and the posterior's width."""

from __future__ import annotations

from vae_ablation.evaluation.context import RunContext
from vae_ablation.evaluation.family import Columns, family


@family(
    "terms", "distortion", "rate", "elbo", "test_objective", "rate_per_dim", "posterior_std",
    essential=True,
)  # fmt: skip
def terms(context: RunContext) -> Columns:
    """Distortion alone for a point posterior, which has no finite KL.

    test_objective is what training minimised, empty for iwae.
    """
    distortion, minimised = context.distortion, context.run.objective == "elbo"
    if context.point:
        return {
            "distortion": distortion,
            "test_objective": distortion.mean() if minimised else None,
        }
    each, rate = context.rate_per_dim, context.rate.cpu().numpy()
    rates = None if each is None else each.mean(0).cpu().numpy()
    mean = float(rate.mean() if rates is None else rates.sum())
    weighted = context.run.beta * mean if context.run.beta else 0.0
    return {
        "distortion": distortion,
        "rate": rate,
        "elbo": -(distortion + rate),
        "test_objective": distortion.mean() + weighted if minimised else None,
        "rate_per_dim": None if rates is None else rates.tolist(),
        "posterior_std": float(context.posterior.std.mean()),
    }


@family("generalization gap", "generalization_gap")
def generalization_gap(context: RunContext) -> Columns:
    """Distortion of the validation split minus that of the train split, after training."""
    return {"generalization_gap": context.generalization_gap}
