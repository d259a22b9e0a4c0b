"""Names for files of own parts: `from vae_ablation.parts import Likelihood, register`.

Each name is imported when it is first asked for, so that a file brings no more than it needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vae_ablation.common.public import PUBLIC, home

if TYPE_CHECKING:
    from vae_ablation.applications.base import Application as Application
    from vae_ablation.common.registry import register as register
    from vae_ablation.data.base import Cells as Cells
    from vae_ablation.data.base import Observed as Observed
    from vae_ablation.data.base import RawData as RawData
    from vae_ablation.data.base import Source as Source
    from vae_ablation.evaluation.family import MetricFamily as MetricFamily
    from vae_ablation.models.architectures import Architecture as Architecture
    from vae_ablation.models.architectures import Mlp as Mlp
    from vae_ablation.models.distributions import Distribution as Distribution
    from vae_ablation.models.external import ExternalModel as ExternalModel
    from vae_ablation.models.external import TrainData as TrainData
    from vae_ablation.models.from_torch import FromTorch as FromTorch
    from vae_ablation.models.likelihoods import Given as Given
    from vae_ablation.models.likelihoods import Likelihood as Likelihood
    from vae_ablation.models.objectives import Batch as Batch
    from vae_ablation.models.objectives import Elbo as Elbo
    from vae_ablation.models.objectives import Objective as Objective
    from vae_ablation.models.posteriors import Posterior as Posterior
    from vae_ablation.models.posteriors import PosteriorKind as PosteriorKind
    from vae_ablation.models.priors import Prior as Prior
    from vae_ablation.models.priors import StandardNormal as StandardNormal
    from vae_ablation.report.findings.finding import Finding as Finding
    from vae_ablation.report.findings.finding import Question as Question
    from vae_ablation.report.findings.quotes import say as say
    from vae_ablation.store.applied import Applied as Applied
    from vae_ablation.study.metrics import Metric as Metric

__all__ = [*PUBLIC]


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name in PUBLIC:
        module, attribute = home(name)
        return getattr(import_module(module), attribute)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
