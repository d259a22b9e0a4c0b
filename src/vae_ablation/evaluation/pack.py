"""Evaluate all runs of a pack on the held-out split."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vae_ablation.common.isolation import Isolated, error_text, unforeseen
from vae_ablation.data.base import Dataset, Observed
from vae_ablation.evaluation.context import EvaluationContext, RunContext
from vae_ablation.evaluation.families import FAMILIES
from vae_ablation.evaluation.family import defined
from vae_ablation.evaluation.features import FeatureNetworks
from vae_ablation.evaluation.pictures import Pictures
from vae_ablation.evaluation.samples import RealFeatures
from vae_ablation.models.likelihoods import LIKELIHOODS
from vae_ablation.models.vae import VAE
from vae_ablation.study.run import Run

log = logging.getLogger(__name__)

Metrics = dict[str, Any]


@dataclass(frozen=True)
class Evaluated:
    """Result of the evaluation of one run.

    Attributes:
        run: its spec.
        metrics: columns of metrics.csv that are defined for it, and rate_per_dim.
        codes: mean and std [n, latent] float32 of the test split's posterior, labels [n], and
            label_names, which labels are positions in, where these are not their own numbers.
        pictures: see `draw_pictures`.
        examples: what metrics are means of, float32 [n] over the test split; NaN for an example
            without a value, as one without a label may be.
        density: see `density_in_plane`; empty where the codes are no plane.
    """

    run: Run
    metrics: Metrics
    codes: dict[str, NDArray[Any]]
    pictures: Pictures
    examples: dict[str, NDArray[np.float32]]
    density: dict[str, NDArray[Any]]


def measure_columns(likelihood: str, observed: Observed, options: Mapping[str, Any]) -> Metrics:
    """Columns on what a score may be compared with, and what bounds it.

    Args:
        likelihood: name of the likelihood.
        observed: the observed variable.
        options: the config's model section.

    Returns:
        measure (observed variable and base measure), proper (a likelihood at all), and limits: the
        settings without which the score would have no upper bound.
    """
    chosen = LIKELIHOODS[likelihood]
    limits = ", ".join(f"{name}={options[name]:g}" for name in chosen.active_limits(options))
    return {
        "measure": chosen.measure(observed),
        "proper": chosen.proper(observed),
        "limits": limits or None,
    }


def evaluate_pack(
    runs: Sequence[Run],
    models: Sequence[VAE],
    histories: Sequence[NDArray[np.float64]],
    dataset: Dataset,
    extractor: FeatureNetworks,
    settings: Mapping[str, Any],
    device: torch.device,
) -> list[Evaluated]:
    """Every metric of every run.

    On an accelerator the Monte-Carlo parts run for the whole pack at once. On a CPU, where blocks
    of one run fill the caches already, runs follow one another: the last elements of a vectorised
    kernel round differently, and so no run's numbers depend on its pack.

    An error that nobody foresaw costs the columns that it hit of that run alone: they are absent,
    metrics["reason"] names them and the error, and the log holds the traceback. Where nothing of a
    run can be evaluated, metrics["status"] is "failed".

    Args:
        runs: runs of one pack, all with status ok.
        models: their trained models.
        histories: as in `TrainingResult.history` up to the kept weights, one per run.
        dataset: the prepared dataset.
        extractor: features of the dataset, in which samples are compared with it.
        settings: the config's evaluation section.
        device: where to compute; mps, which has no float64, falls back to the CPU.
    """
    if device.type == "mps":
        device = torch.device("cpu")
    # networks from outside the package have buffers of each run, and may not be batched
    size = len(runs) if device.type != "cpu" and models[0].padded else 1
    shared = Isolated(dataset.name)
    real = shared("features", lambda: RealFeatures.of(dataset, extractor, settings["seed"]), None)
    common = dataset, real, settings, device
    found = [
        evaluated
        for start in range(0, len(runs), size)
        for evaluated in _evaluate_group(
            runs[start : start + size],
            models[start : start + size],
            histories[start : start + size],
            *common,
        )
    ]
    for one in found if shared.reasons else ():
        one.metrics["reason"] = "; ".join(filter(None, [shared.reason, one.metrics.get("reason")]))
    return found


def _evaluate_group(
    runs: Sequence[Run],
    models: Sequence[VAE],
    histories: Sequence[NDArray[np.float64]],
    dataset: Dataset,
    real: RealFeatures | None,
    settings: Mapping[str, Any],
    device: torch.device,
) -> list[Evaluated]:
    """Runs evaluated together, or one by one where one of them ends in an unforeseen error."""
    common = dataset, real, settings, device
    try:
        return _evaluate_together(EvaluationContext(runs, models, histories, *common))
    except Exception as error:
        if not unforeseen(error):
            raise
        if len(runs) == 1:
            log.exception("%s could not be evaluated", runs[0].path)
            return [_not_evaluated(runs[0], models[0], dataset, error)]
        log.warning("a pack is evaluated run by run after %s", error_text(error))
        return [
            one
            for run, model, history in zip(runs, models, histories, strict=True)
            for one in _evaluate_group([run], [model], [history], *common)
        ]


def _not_evaluated(run: Run, model: VAE, dataset: Dataset, error: Exception) -> Evaluated:
    """A run of which nothing could be measured: what it was, and why."""
    metrics = {
        **measure_columns(run.likelihood, dataset.observed, model.decoder.options),
        "status": "failed",
        "reason": f"could not be evaluated ({error_text(error)})",
    }
    return Evaluated(run, defined(metrics), {}, {}, {}, {})


def _evaluate_together(context: EvaluationContext) -> list[Evaluated]:
    """Every run of a context; a part that fails is left out where the run is alone in it."""
    part = Isolated(context.runs[0].path, active=len(context.runs) == 1)
    return [_evaluate(context.of(place), part) for place in range(len(context.runs))]


def _evaluate(context: RunContext, part: Isolated) -> Evaluated:
    """One run: the columns of every family, and what is stored beside them."""
    run, options = context.run, context.shared.model.template.decoder.options
    columns = measure_columns(run.likelihood, context.dataset.observed, options)
    none: Metrics = {}
    for each in sorted(FAMILIES.values(), key=lambda one: not one.essential):
        compute = partial(each, context)
        columns |= compute() if each.essential else part(each.name, compute, none)
    nothing: dict[str, NDArray[Any]] = {}
    pictures = part("pictures", lambda: context.pictures, nothing)
    density = part("density", lambda: context.density, nothing)
    metrics = defined(columns) | ({"reason": part.reason} if part.reasons else {})
    examples = {
        name: values.astype(np.float32)
        for name, values in columns.items()
        if isinstance(values, np.ndarray)
    }
    return Evaluated(run, metrics, context.stored_codes, pictures, examples, density)
