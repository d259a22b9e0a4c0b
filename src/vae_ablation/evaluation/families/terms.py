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
    each = context.posterior.rate_per_dim()
    rate, rates = each.sum(-1).cpu().numpy(), each.mean(0).cpu().numpy()
    weighted = context.run.beta * float(rates.sum()) if context.run.beta else 0.0
    return {
        "distortion": distortion,
        "rate": rate,
        "elbo": -(distortion + rate),
        "test_objective": distortion.mean() + weighted if minimised else None,
        "rate_per_dim": rates.tolist(),
        "posterior_std": float(context.posterior.std.mean()),
    }
