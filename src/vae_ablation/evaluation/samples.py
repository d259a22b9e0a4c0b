"""Quality of samples in the features of a dataset: distance, precision, recall."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor

from vae_ablation.data.base import Dataset
from vae_ablation.data.examples import spaced
from vae_ablation.evaluation.bounds import decode_mean
from vae_ablation.evaluation.features import FeatureExtractor, outer_library
from vae_ablation.models.streams import stream
from vae_ablation.study.run import Run
from vae_ablation.training.stacked import StackedVAE

Features = NDArray[np.float64]

EXAMPLES = 10_000
"""Most examples that samples are compared with, and as many samples."""

NEIGHBOURS = 3
"""k of the manifolds behind precision and recall (Kynkäänniemi et al. 2019)."""

FLOOR_DRAWS = 20
"""Draws of real examples that the floor is a mean over."""

FLOOR_POOL = 50_000
"""Most train examples that those draws are taken from."""

COMPONENTS = 10
"""Gaussians of the ex-post density of the codes (Ghosh et al. 2020)."""

MIXTURE_CODES = 5000
"""Most train codes that the mixture is fitted to."""

MIXTURE_STEPS = 50
"""Most steps of expectation-maximisation."""

_PAIRS = 2**21
_VALUES = 2**24


def frechet_distance(a: Features, b: Features) -> float | None:
    """|m_a − m_b|² + Tr(S_a + S_b − 2(S_a S_b)^½), means m, covariances S (Heusel et al. 2017).

    The trace of (S_a S_b)^½ is the sum of the singular values of S_a^½ S_b^½, so that neither
    covariance needs an inverse. Nothing is added to them; what rounding takes below 0 is 0.

    Args:
        a: features, [n, features].
        b: features, [m, features].

    Returns:
        None where there are fewer than two rows or a value is not finite.
    """
    if min(len(a), len(b)) < 2 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return None
    covariances = [np.atleast_2d(np.cov(values, rowvar=False)) for values in (a, b)]
    roots = [_square_root(covariance) for covariance in covariances]
    shared = np.linalg.norm(roots[0] @ roots[1], "nuc")
    spread = sum(np.trace(covariance) for covariance in covariances) - 2 * shared
    return max(0.0, float(np.square(a.mean(0) - b.mean(0)).sum() + spread))


def _square_root(covariance: Features) -> Features:
    """The symmetric square root of a covariance, singular or not."""
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T


def precision_recall(
    real: Tensor, generated: Tensor, neighbours: int = NEIGHBOURS
) -> tuple[float, float]:
    """Share of generated examples in the real manifold, and of real ones in the generated.

    A manifold is the union of balls around its examples, each as wide as the distance to the k-th
    nearest other example (Kynkäänniemi et al. 2019).

    Args:
        real: features, [n, features].
        generated: features, [m, features].
        neighbours: k, less than n and m.

    Returns:
        Precision and recall.
    """
    return _precision_recall(Manifold.of(real, neighbours), Manifold.of(generated, neighbours))


@dataclass(frozen=True)
class Manifold:
    """Balls around examples.

    Attributes:
        centres: [n, features].
        radii: [n].
    """

    centres: Tensor
    radii: Tensor

    @classmethod
    def of(cls, centres: Tensor, neighbours: int = NEIGHBOURS) -> Manifold:
        """Balls that reach to the k-th nearest other centre."""
        nearest = [
            _distances(block, centres).topk(neighbours + 1, largest=False).values[:, -1]
            for block in _blocks(centres, len(centres))
        ]
        return cls(centres, torch.cat(nearest))

    def to(self, device: torch.device) -> Manifold:
        """The same on a device."""
        return Manifold(self.centres.to(device), self.radii.to(device))

    def covers(self, points: Tensor) -> Tensor:
        """[n] whether each of the points, [n, features], lies in a ball."""
        inside = [
            (_distances(block, self.centres) <= self.radii).any(1)
            for block in _blocks(points, len(self.centres))
        ]
        return torch.cat(inside)


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """|a_i − b_j|, [n, m], exactly 0 where they are equal: not by way of a matrix product."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _blocks(points: Tensor, others: int) -> Sequence[Tensor]:
    """Rows of points, so many at a time that their distances to the others fit."""
    return points.split(max(1, _PAIRS // others))


def _precision_recall(real: Manifold, generated: Manifold) -> tuple[float, float]:
    precision = real.covers(generated.centres).double().mean().item()
    recall = generated.covers(real.centres).double().mean().item()
    return precision, recall


@dataclass(frozen=True)
class RealFeatures:
    """Held-out data as samples are compared with: the same for every run of a dataset.

    Attributes:
        extractor: the features.
        rows: positions of the held-out examples in the dataset, [n].
        held_out: [n, features] of the test split; n is the lesser of the test split, the train
            split and EXAMPLES, evenly spaced where there are more.
        manifold: the same features with their radii, or None where n is no more than NEIGHBOURS.
        floor: Fréchet distance of the held-out data to n examples of the train split, the mean
            over FLOOR_DRAWS draws of them: what samples as good as data reach, None for n = 1.
    """

    extractor: FeatureExtractor
    rows: NDArray[np.int64]
    held_out: Features
    manifold: Manifold | None
    floor: float | None

    @classmethod
    def of(cls, dataset: Dataset, extractor: FeatureExtractor, seed: int) -> RealFeatures:
        """Features of a dataset's test split and their distance to others of the train split.

        The others are drawn without order, as samples are: evenly spaced ones would have each
        class's exact share where examples are sorted by class.

        Args:
            dataset: the prepared dataset.
            extractor: fitted on its train split.
            seed: of the draws.
        """
        test, train = dataset.rows("test"), dataset.rows("train")
        count = min(len(test), len(train), EXAMPLES)
        rows = test[spaced(len(test), count)]
        held_out = _data_features(dataset, rows, extractor)
        pool = _data_features(dataset, train[spaced(len(train), FLOOR_POOL)], extractor)
        return cls(
            extractor,
            rows,
            held_out.numpy(),
            Manifold.of(held_out) if count > NEIGHBOURS else None,
            real_floor(held_out.numpy(), pool.numpy(), seed),
        )


def _data_features(
    dataset: Dataset, rows: NDArray[np.int64], extractor: FeatureExtractor
) -> Tensor:
    """Features of the examples at these positions, [n, features]."""
    step = max(1, _VALUES // dataset.x.shape[1])
    return torch.cat(
        [
            extractor(dataset.x[part], outer_library(dataset, part))
            for part in np.split(rows, range(step, len(rows), step))
        ]
    )


def real_floor(held_out: Features, pool: Features, seed: int) -> float | None:
    """Mean Fréchet distance of real examples to as many others, drawn from a pool.

    Args:
        held_out: [n, features].
        pool: [m, features], m ≥ n.
        seed: of the draws, each of n different examples.
    """
    random = np.random.default_rng(seed)
    distances = [
        frechet_distance(held_out, pool[random.choice(len(pool), len(held_out), replace=False)])
        for _ in range(FLOOR_DRAWS)
    ]
    known = [distance for distance in distances if distance is not None]
    return float(np.mean(known)) if known else None


@torch.no_grad()
def sample_columns(
    model: StackedVAE,
    runs: Sequence[Run],
    train_means: Tensor,
    dataset: Dataset,
    real: RealFeatures,
    seed: int,
) -> list[dict[str, float]]:
    """Quality of every run's samples, against the held-out data.

    Args:
        model: the pack.
        runs: its runs; z ~ p(z) is the same for all arms of one latent_dim and seed.
        train_means: posterior means of the train split, [runs, n, latent].
        dataset: the prepared dataset; each sample has the context of one held-out example.
        real: `RealFeatures.of` the dataset.
        seed: of the mixtures fitted to the codes.

    Returns:
        Per run, as far as they are defined: sample_fid, sample_precision and sample_recall of
        samples at z ~ p(z); sample_fid_expost, with z from a mixture fitted to the codes instead;
        sample_fid_floor, what the distance of real examples is; feature_accuracy.
    """
    count = len(real.held_out)
    device = model.device
    prior = torch.stack(
        [
            prior.sample(stream(run.seed, "fid samples"), count)
            for prior, run in zip(model.priors(), runs, strict=True)
        ]
    )
    expost = torch.stack([expost_codes(codes, count, seed) for codes in train_means])
    context = torch.from_numpy(dataset.context(real.rows, runs[0].condition)).to(device)
    draws = [[stream(run.seed, "sampled x") for run in runs] for _ in range(2)]
    from_prior = _sample_features(model, prior.to(device), context, real.extractor, draws[0])
    from_expost = _sample_features(model, expost.to(device), context, real.extractor, draws[1])
    manifold = real.manifold and real.manifold.to(device)
    return [
        _columns(features, fitted, real, manifold)
        for features, fitted in zip(from_prior, from_expost, strict=True)
    ]


def _columns(
    features: Tensor, fitted: Tensor, real: RealFeatures, manifold: Manifold | None
) -> dict[str, float]:
    """The defined columns of one run from features at z ~ p(z) and at ex-post z, [n, features]."""
    columns: dict[str, float | None] = {
        "sample_fid": frechet_distance(features.cpu().numpy(), real.held_out),
        "sample_fid_floor": real.floor,
        "sample_fid_expost": frechet_distance(fitted.cpu().numpy(), real.held_out),
        "feature_accuracy": real.extractor.accuracy,
    }
    if manifold is not None and features.isfinite().all():
        scores = _precision_recall(manifold, Manifold.of(features))
        columns["sample_precision"], columns["sample_recall"] = scores
    return {name: value for name, value in columns.items() if value is not None}


def _sample_features(
    model: StackedVAE,
    z: Tensor,
    context: Tensor,
    extractor: FeatureExtractor,
    generators: Sequence[torch.Generator],
) -> Tensor:
    """Features of samples at z [runs, n, latent] and context [n, context]: [runs, n, features]."""
    step = max(1, _VALUES // (len(model) * model.template.decoder.observed.dims))
    blocks = zip(z.split(step, dim=1), context.split(step), strict=True)
    observed = model.template.decoder.observed
    sampled = _drawn if observed.counts or observed.real else _pictured
    outside = model.template.decoder.observed.outside
    return torch.cat(
        [
            extractor(sampled(model, codes, told, generators), told[:, :1] if outside else None)
            for codes, told in blocks
        ],
        dim=1,
    )


def _pictured(
    model: StackedVAE, z: Tensor, context: Tensor, generators: Sequence[torch.Generator]
) -> Tensor:
    """E[x given z], the picture without the likelihood's noise: [runs, n, dims]."""
    return decode_mean(model, z, context)


def _drawn(
    model: StackedVAE, z: Tensor, context: Tensor, generators: Sequence[torch.Generator]
) -> Tensor:
    """Draws from p(x given z), which is what cells or rows look like: [runs, n, dims]."""
    return torch.stack(
        [
            model.one(place).decoder(codes, context).sample(generator)
            for place, (codes, generator) in enumerate(zip(z, generators, strict=True))
        ]
    )


def expost_codes(means: Tensor, count: int, seed: int) -> Tensor:
    """Draws from a Gaussian mixture fitted to codes (Ghosh et al. 2020): [count, latent].

    At most MIXTURE_CODES codes, evenly spaced, are fitted; the mixture has COMPONENTS components,
    or one for each different code. It is fitted to codes of unit variance in every dimension,
    since without the KL term their scale is free; a dimension that does not vary stays constant.

    Args:
        means: posterior means of the train split, [n, latent].
        count: number of draws.
        seed: of fit and draws.

    Returns:
        NaN where the codes are not finite.
    """
    codes = means.cpu().numpy().astype(np.float64)[spaced(len(means), MIXTURE_CODES)]
    if not np.isfinite(codes).all():
        return means.new_full((count, means.shape[1]), float("nan"), device="cpu")
    centre, scale = codes.mean(0), codes.std(0)
    standard = (codes - centre) / np.where(scale > 0, scale, 1)
    components = min(COMPONENTS, len(np.unique(standard, axis=0)))
    if components == 1:
        return torch.from_numpy(centre.astype(np.float32)).expand(count, -1)
    mixture = GaussianMixture(components, max_iter=MIXTURE_STEPS, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(standard)
    draws, _ = mixture.sample(count)
    return torch.from_numpy((centre + scale * draws).astype(np.float32))
