"""−log p(x), its quality, and the mass of grey levels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_ablation.evaluation.context import RunContext
from vae_ablation.evaluation.control_variate import extrapolated
from vae_ablation.evaluation.family import Columns, family
from vae_ablation.models.likelihoods import LIKELIHOODS


@family(
    "nll",
    "nll", "nll_ess", "nll_bias", "nll_se", "nll_loose", "nll_untrained", "inference_gap",
    "nll_levels", "bits_per_dim", "levels_measure", "levels_of_density", "levels_loose",
)  # fmt: skip
def nll(context: RunContext) -> Columns:
    """Every arm, also those that training did not fit to a prior; levels only of grey images."""
    found = context.bounds
    estimate = _extrapolated(context, found.nll)
    columns = {
        "nll": estimate.values,
        "nll_ess": float((found.ess / found.samples).mean()),
        "nll_bias": float(found.bias.mean()),
        "nll_se": math.hypot(estimate.error, math.sqrt(found.variance.mean() / len(found.nll))),
        "nll_loose": bool(found.loose),
        "nll_untrained": context.point or not context.run.kl,
    }
    if not context.point:
        minus_elbo = float((context.distortion + context.rate.cpu().numpy()).mean())
        columns["inference_gap"] = minus_elbo - float(np.nanmean(estimate.values))
    return columns | _levels(context)


def _levels(context: RunContext) -> Columns:
    """Nats and bits of the grey levels, and the convention in which they have a mass."""
    found = context.level_bounds
    if found is None:
        return {}
    observed = context.dataset.observed
    likelihood = LIKELIHOODS[context.run.likelihood]
    nats = _extrapolated(context, found.nll).values
    return {
        "nll_levels": nats,
        "bits_per_dim": float(np.nanmean(nats)) / (observed.dims * math.log(2)),
        "levels_measure": likelihood.level_measure(observed),
        "levels_of_density": not likelihood.mass,
        "levels_loose": bool(found.loose),
    }


def _extrapolated(context: RunContext, values: NDArray[np.float64]) -> Any:
    """To the whole split by the negative ELBO, or by the distortion where there is no rate."""
    known = context.distortion
    if not context.point:
        known = known + context.rate.cpu().numpy()
    return extrapolated(values, context.shared.nll_places, known)


@family("encoder gap", "encoder_gap")
def encoder_gap(context: RunContext) -> Columns:
    """Nothing for a point posterior, which has no ELBO."""
    return {} if context.point else {"encoder_gap": float(context.encoder_gap.mean())}


@family("decoder scale", "decoder_scale", "effective_beta")
def decoder_scale(context: RunContext) -> Columns:
    """Standard deviation of p(x | z), and the β that it implies beside one of 1.

    With ½·(squared error)/σ² + β·rate the optimum is that of β·σ² at σ = 1: a learned scale is a
    hidden β. A scale of every dimension stands for its root mean square.
    """
    scale = context.noise_scale
    if scale is None:
        return {}
    variance = float(scale.double().square().mean())
    columns: Columns = {"decoder_scale": math.sqrt(variance)}
    if context.run.kl:
        columns["effective_beta"] = context.run.beta * variance
    return columns
