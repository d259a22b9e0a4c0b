"""Names that files from outside the package import from `vae_ablation.parts`. No torch."""

from __future__ import annotations

PUBLIC = {
    "register": "common.registry",
    "Likelihood": "models.likelihoods",
    "Given": "models.likelihoods",
    "Distribution": "models.distributions",
    "FromTorch": "models.from_torch",
    "Prior": "models.priors",
    "StandardNormal": "models.priors",
    "Posterior": "models.posteriors",
    "PosteriorKind": "models.posteriors",
    "Architecture": "models.architectures",
    "Mlp": "models.architectures",
    "Objective": "models.objectives",
    "Elbo": "models.objectives",
    "Batch": "models.objectives",
    "Source": "data.base",
    "RawData": "data.base",
    "Observed": "data.base",
    "Cells": "data.base",
    "Metric": "study.metrics",
    "MetricFamily": "evaluation.family",
    "ExternalModel": "models.external",
    "TrainData": "models.external",
    "Application": "applications.base",
    "Applied": "store.applied",
    "Figure": "report.figures.registry:FigurePart",
    "Question": "report.findings.finding",
    "Finding": "report.findings.finding",
    "say": "report.findings.quotes",
}
"""Public name → module below `vae_ablation`, with the name there where that is another one."""


def home(name: str) -> tuple[str, str]:
    """Module and name there of a public name.

    Raises:
        KeyError: it is not public.
    """
    module, _, attribute = PUBLIC[name].partition(":")
    return f"vae_ablation.{module}", attribute or name
