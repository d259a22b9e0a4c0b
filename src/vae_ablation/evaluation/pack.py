"""Evaluate all runs of a pack on the held-out split."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae_ablation.common.isolation import Isolated, error_text, unforeseen
from vae_ablation.data.base import Dataset, Observed
from vae_ablation.data.examples import spaced
from vae_ablation.data.loading import Examples
from vae_ablation.evaluation.aggregate import aggregate_columns
from vae_ablation.evaluation.batches import batch_columns
from vae_ablation.evaluation.bounds import (
    NLL_LOOSE,
    NllEstimate,
    decode_mean,
    distortions,
    encode,
    example_blocks,
    importance_nll,
)
from vae_ablation.evaluation.codes import (
    active_units,
    cluster_scores,
    label_hits,
    root_mean_square,
    slope,
)
from vae_ablation.evaluation.disentanglement import disentanglement_columns
from vae_ablation.evaluation.features import FeatureExtractor, log_counts
from vae_ablation.evaluation.pictures import Pictures, default_pairs, draw_pictures
from vae_ablation.evaluation.samples import RealFeatures, sample_columns
from vae_ablation.models.likelihoods import LIKELIHOODS
from vae_ablation.models.streams import stream
from vae_ablation.models.vae import VAE, Posterior
from vae_ablation.study.run import Run
from vae_ablation.training.stacked import StackedVAE

log = logging.getLogger(__name__)

Metrics = dict[str, Any]

TRAIN_CODES = 60_000
"""Most train examples whose codes are compared with held-out ones, evenly spaced: all of MNIST."""

LOG_DRAWS = 16
"""Draws of x per example behind mse_log1p."""


@dataclass(frozen=True)
class Evaluated:
    """What evaluation gives for one run.

    Attributes:
        run: its spec.
        metrics: columns of metrics.csv that are defined for it, and rate_per_dim.
        codes: mean and std [n, latent] float32 of the test split's posterior, labels [n], and
            label_names, which labels are positions in, where these are not their own numbers.
        pictures: see `draw_pictures`.
        examples: what metrics are means of, float32 [n] over the test split: distortion, rate,
            elbo, nll, mse, mse_log1p, knn_accuracy, probe_accuracy, as far as they are defined;
            NaN for an example without a label.
    """

    run: Run
    metrics: Metrics
    codes: dict[str, NDArray[Any]]
    pictures: Pictures
    examples: dict[str, NDArray[np.float32]]


def measure_columns(likelihood: str, observed: Observed, options: Mapping[str, Any]) -> Metrics:
    """What a score may be compared with, and what bounds it.

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
    extractor: FeatureExtractor,
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
    size = 1 if device.type == "cpu" else len(runs)
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
        return _evaluate_together(runs, models, histories, *common)
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
    return Evaluated(run, _finite(metrics), {}, {}, {})


def _evaluate_together(
    runs: Sequence[Run],
    models: Sequence[VAE],
    histories: Sequence[NDArray[np.float64]],
    dataset: Dataset,
    real: RealFeatures | None,
    settings: Mapping[str, Any],
    device: torch.device,
) -> list[Evaluated]:
    model, seed = StackedVAE.stack(models, device), settings["seed"]
    part = Isolated(runs[0].path, active=len(runs) == 1)
    held_out = Examples.of(dataset, "test", runs[0].condition, device)
    fitted = Examples.of(dataset, "train", runs[0].condition, device).spaced(TRAIN_CODES)
    train_rows = dataset.rows("train")[spaced(len(dataset.rows("train")), TRAIN_CODES)]
    posterior, train = encode(model, held_out), encode(model, fitted)
    noise = [stream(run.seed, f"evaluation {seed}") for run in runs]
    points = [run.posterior == "point" for run in runs]
    distortion = distortions(model, posterior, held_out, noise, points)
    bounds = part(
        "nll",
        lambda: importance_nll(model, posterior, held_out, settings["nll_samples"], noise),
        None,
    )
    context = held_out.context
    errors = part("mse", lambda: _reconstruction_errors(model, posterior, dataset, context), None)
    log_errors = part(
        "mse_log1p", lambda: _log_errors(model, runs, posterior, dataset, context), None
    )
    empty: Metrics = {}
    nothing = [empty for _ in runs]
    aggregate = part(
        "aggregate posterior", lambda: aggregate_columns(posterior, train, noise), nothing
    )
    samples = nothing
    if real is not None:
        samples = part(
            "samples", lambda: sample_columns(model, runs, train.mean, dataset, real, seed), nothing
        )
    no_pictures: list[Pictures] = [{} for _ in runs]
    pictures = part(
        "pictures",
        lambda: _pictures(model, runs, dataset, posterior, settings["interpolations"]),
        no_pictures,
    )
    no_hits: dict[str, NDArray[np.float32]] = {}
    evaluated = []
    for index, run in enumerate(runs):
        codes = _codes(run, posterior, index, dataset)
        train_means = train.mean[index].cpu().numpy()
        examples = {
            **_term_examples(run, distortion[index], posterior, index),
            **({} if run.posterior == "point" or bounds is None else {"nll": bounds.nll[index]}),
            **({} if errors is None else {"mse": errors[index]}),
            **({} if log_errors is None else {"mse_log1p": log_errors[index]}),
            **part(
                "label accuracies", partial(_hits, train_means, train_rows, codes, dataset), no_hits
            ),
        }
        metrics = {
            **measure_columns(run.likelihood, dataset.observed, model.template.decoder.options),
            **{name: float(np.nanmean(values)) for name, values in examples.items()},
            **_objective_columns(run, distortion[index].mean(), posterior, index),
            **({} if bounds is None else _nll_columns(run, bounds.means(), index, dataset)),
            **part("history", partial(_history_columns, run, histories[index]), empty),
            **({} if run.posterior == "point" else aggregate[index]),
            **part("codes", partial(_code_columns, run, codes), empty),
            **part("clusters", partial(_cluster_columns, run, codes, seed), empty),
            **part("batches", partial(_batch_columns, codes["mean"], dataset, seed), empty),
            **part(
                "factors",
                partial(_factor_columns, train_means, codes["mean"], dataset, train_rows, seed),
                empty,
            ),
            **samples[index],
            **({"reason": part.reason} if part.reasons else {}),
        }
        examples = {name: values.astype(np.float32) for name, values in examples.items()}
        evaluated.append(Evaluated(run, _finite(metrics), codes, pictures[index], examples))
    return evaluated


def _pictures(
    model: StackedVAE,
    runs: Sequence[Run],
    dataset: Dataset,
    posterior: Posterior,
    interpolations: Sequence[Sequence[Any]],
) -> list[Pictures]:
    """Pictures of every run, interpolated between the given label pairs or those of the data."""
    test = dataset.labels_of("test")
    pairs = dataset.label_pairs(interpolations) if interpolations else default_pairs(test)
    return draw_pictures(
        model,
        runs,
        dataset,
        posterior.mean,
        pairs,
        _wide(posterior).rate_per_dim().mean(1),
    )


def _hits(
    train_means: NDArray[Any],
    train_rows: NDArray[np.int64],
    codes: Mapping[str, NDArray[Any]],
    dataset: Dataset,
) -> dict[str, NDArray[np.float32]]:
    """`label_hits` of one run's held-out codes."""
    fitted = dataset.labels[train_rows]
    return label_hits(train_means, fitted, codes["mean"], dataset.labels_of("test"))


def _finite(metrics: Metrics) -> Metrics:
    """Without undefined values: an undefined value is an absent one, never NaN."""
    return {
        name: value
        for name, value in metrics.items()
        if value is not None and not (isinstance(value, float) and not math.isfinite(value))
    }


def _codes(run: Run, posterior: Posterior, index: int, dataset: Dataset) -> dict[str, NDArray[Any]]:
    """Arrays of codes.npz; a point posterior has no width."""
    std = posterior.std[index].cpu().numpy()
    names = dataset.class_names
    return {
        **({"label_names": np.array(names)} if names else {}),
        "mean": posterior.mean[index].cpu().numpy(),
        "std": np.zeros_like(std) if run.posterior == "point" else std,
        "labels": dataset.labels_of("test"),
    }


@torch.no_grad()
def _reconstruction_errors(
    model: StackedVAE, posterior: Posterior, dataset: Dataset, context: Tensor
) -> NDArray[np.float64]:
    """(E[x given z = μ] − intensity)², mean over dimensions, of every example: [runs, n]."""
    target = torch.from_numpy(dataset.intensities("test")).to(posterior.mean.device)
    parts = []
    step = max(1, 2**24 // (len(model) * target.shape[1]))
    for start in range(0, len(target), step):
        rows = slice(start, start + step)
        error = decode_mean(model, posterior.mean[:, rows], context[rows]) - target[rows]
        parts.append(error.double().square().mean(-1).cpu().numpy())
    return np.concatenate(parts, axis=1)


@torch.no_grad()
def _log_errors(
    model: StackedVAE,
    runs: Sequence[Run],
    posterior: Posterior,
    dataset: Dataset,
    context: Tensor,
) -> NDArray[np.float64] | None:
    """Squared error of the mean of log1p(library-normalised x) under p(x given z = μ): [runs, n].

    The mean of log1p and not log1p of the mean, which favours likelihoods with little spread; over
    LOG_DRAWS draws. None where x are no counts.
    """
    if not dataset.observed.counts:
        return None
    genes = dataset.observed.genes
    library = context[:, :1] if dataset.observed.outside else None
    observed = torch.from_numpy(dataset.observe("test")).to(context.device)
    target = log_counts(observed, genes, library)
    found = []
    for place, run in enumerate(runs):
        generator = stream(run.seed, "predicted x")
        decoder, means = model.one(place).decoder, posterior.mean[place]
        parts = []
        for rows in example_blocks(len(target), LOG_DRAWS * target.shape[1]):
            predicted = decoder(means[rows], context[rows])
            given = None if library is None else library[rows]
            draws = [
                log_counts(predicted.sample(generator), genes, given) for _ in range(LOG_DRAWS)
            ]
            error = torch.stack(draws).mean(0) - target[rows]
            parts.append(error.double().square().mean(-1).cpu().numpy())
        found.append(np.concatenate(parts))
    return np.stack(found)


def _term_examples(
    run: Run, distortion: NDArray[np.float64], posterior: Posterior, index: int
) -> dict[str, NDArray[np.float64]]:
    """distortion, rate and elbo of every example; a point posterior has no finite KL."""
    if run.posterior == "point":
        return {"distortion": distortion}
    rate = _one(posterior, index).rate_per_dim().sum(-1).cpu().numpy()
    return {"distortion": distortion, "rate": rate, "elbo": -(distortion + rate)}


def _one(posterior: Posterior, index: int) -> Posterior:
    """One run's posterior in float64."""
    return _wide(Posterior(posterior.mean[index], posterior.log_std[index]))


def _wide(posterior: Posterior) -> Posterior:
    return Posterior(posterior.mean.double(), posterior.log_std.double())


def _objective_columns(run: Run, distortion: float, posterior: Posterior, index: int) -> Metrics:
    """What was minimised, in nats per example (empty for iwae), and the posterior's width."""
    if run.posterior == "point":
        return {"test_objective": distortion} if run.objective == "elbo" else {}
    one = _one(posterior, index)
    rates = one.rate_per_dim().mean(0).cpu().numpy()
    weighted = run.beta * float(rates.sum()) if run.beta else 0.0
    return {
        "test_objective": distortion + weighted if run.objective == "elbo" else None,
        "rate_per_dim": rates.tolist(),
        "posterior_std": float(one.std.mean()),
    }


def _nll_columns(run: Run, bounds: NllEstimate, index: int, dataset: Dataset) -> Metrics:
    if run.posterior == "point":
        return {}
    nll, gap = float(bounds.nll[index]), float(bounds.gap[index])
    columns = {
        "nll_ess": float(bounds.ess[index]),
        "nll_gap": gap,
        "nll_loose": gap > NLL_LOOSE,
    }
    grey = not dataset.observed.counts and dataset.fixed is None
    own_levels = LIKELIHOODS[run.likelihood].mass and grey
    if own_levels and LIKELIHOODS[run.likelihood].proper(dataset.observed):
        columns["bits_per_dim"] = nll / (dataset.observed.dims * math.log(2))
    return columns


def _history_columns(run: Run, history: NDArray[np.float64]) -> Metrics:
    """Slope and values of the validation split after the last epoch, at the run's β and at 1."""
    columns: Metrics = {
        "slope": slope(history[:, 5]),
        "epochs": len(history),
        "validation_objective": float(history[-1, 5]),
    }
    if run.posterior != "point":
        columns["validation_elbo"] = -float(history[-1, 3] + history[-1, 4])
    return columns


def _code_columns(run: Run, codes: Mapping[str, NDArray[Any]]) -> Metrics:
    """Columns of the posterior means; active units only where the prior fixes the codes' scale."""
    means = codes["mean"]
    columns: Metrics = {"code_rms": root_mean_square(means)}
    if run.kl:
        active = active_units(means)
        columns |= {"active_units": active, "collapsed_fraction": 1 - active / run.latent_dim}
    return columns


def _cluster_columns(run: Run, codes: Mapping[str, NDArray[Any]], seed: int) -> Metrics:
    """Clusters of the posterior means, unless the prior fixes their scale and no unit is active."""
    if run.kl and not active_units(codes["mean"]):
        return {}
    return cluster_scores(codes["mean"], codes["labels"], seed)


def _batch_columns(means: NDArray[Any], dataset: Dataset, seed: int) -> Metrics:
    """How well batches are mixed, only where there are some."""
    if dataset.cells is None or dataset.cells.batch is None:
        return {}
    batch = dataset.cells.batch[dataset.rows("test")]
    return batch_columns(means, dataset.labels_of("test"), batch, seed)


def _factor_columns(
    train_means: NDArray[Any],
    means: NDArray[Any],
    dataset: Dataset,
    train_rows: NDArray[np.int64],
    seed: int,
) -> Metrics:
    """Disentanglement, only where the data's generative factors are known."""
    factors = dataset.factors_of("test")
    if dataset.factors is None or factors is None:
        return {}
    return disentanglement_columns(train_means, dataset.factors[train_rows], means, factors, seed)
