"""Quality of samples in the features of a dataset: distance, density and coverage."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor

from vae_ablation.data.base import Dataset
from vae_ablation.data.examples import spaced
from vae_ablation.evaluation.bounds import decode_mean
from vae_ablation.evaluation.features import FeatureNetworks, outer_library
from vae_ablation.models.streams import stream
from vae_ablation.study.run import Run

if TYPE_CHECKING:
    from vae_ablation.training.stacked import StackedVAE

Features = NDArray[np.float64]
Columns = dict[str, float | list[float]]

EXAMPLES = 10_000
"""Most examples that samples are compared with, and as many samples in each draw."""

NEIGHBOUR_EXAMPLES = 2000
"""Most of them behind density, coverage, precision and recall, whose cost grows with the square."""

NEIGHBOURS = 5
"""k of the balls behind density and coverage (Naeem et al. 2020)."""

MANIFOLD_NEIGHBOURS = 3
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

_VALUES = 2**24


# --- distance ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Moments:
    """Mean and covariance S of features, with S^½; leading axes are sets.

    Attributes:
        mean: [..., features].
        root: the symmetric square root of S, singular or not, [..., features, features].
        trace: of S, [...].
    """

    mean: Features
    root: Features
    trace: Features

    @classmethod
    def of(cls, values: Features) -> Moments:
        """Moments of sets of at least two rows [..., n, features], all finite."""
        mean = values.mean(-2)
        centred = values - mean[..., None, :]
        covariance = np.swapaxes(centred, -1, -2) @ centred / (values.shape[-2] - 1)
        spectrum, vectors = np.linalg.eigh(covariance)
        scaled = vectors * np.sqrt(spectrum.clip(min=0))[..., None, :]
        root = scaled @ np.swapaxes(vectors, -1, -2)
        return cls(mean, root, np.trace(covariance, axis1=-2, axis2=-1))

    def distance(self, other: Moments) -> Features:
        """Fréchet distance of each set to each of another's, as their leading axes broadcast."""
        shared = np.linalg.norm(self.root @ other.root, "nuc", axis=(-2, -1))
        shift = np.square(self.mean - other.mean).sum(-1)
        distance: Features = np.maximum(0, shift + self.trace + other.trace - 2 * shared)
        return distance


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
    return float(Moments.of(a).distance(Moments.of(b)))


# --- neighbours ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Balls:
    """Balls around examples; leading axes are sets.

    Attributes:
        centres: [..., n, features].
        inner: distance to the MANIFOLD_NEIGHBOURS-th nearest other centre, [..., n].
        outer: to the NEIGHBOURS-th, [..., n]; None where there are no more than NEIGHBOURS centres.
    """

    centres: Tensor
    inner: Tensor
    outer: Tensor | None

    @classmethod
    def around(cls, centres: Tensor) -> Balls | None:
        """Balls around centres [..., n, features]; None where they are too few for any."""
        if centres.shape[-2] <= MANIFOLD_NEIGHBOURS:
            return None
        enough = centres.shape[-2] > NEIGHBOURS
        nearest = _nearest(centres, NEIGHBOURS if enough else MANIFOLD_NEIGHBOURS)
        outer = nearest[..., NEIGHBOURS] if enough else None
        return cls(centres, nearest[..., MANIFOLD_NEIGHBOURS], outer)

    def to(self, device: torch.device) -> Balls:
        """The same on a device."""
        outer = None if self.outer is None else self.outer.to(device)
        return Balls(self.centres.to(device), self.inner.to(device), outer)

    def scores(self, generated: Tensor) -> dict[str, Tensor]:
        """Precision, recall, density, coverage of examples [..., m, features]: [...] each.

        Returns:
            sample_density and sample_coverage, sample_precision and sample_recall; see
            `density_coverage` and `precision_recall`.
        """
        distances = _distances(self.centres, generated)
        scores = {}
        if self.outer is not None:
            inside = distances <= self.outer[..., None]
            scores["sample_density"] = _share(inside.flatten(-2)) * inside.shape[-2] / NEIGHBOURS
            scores["sample_coverage"] = _share(inside.any(-1))
        scores["sample_precision"] = _share((distances <= self.inner[..., None]).any(-2))
        radii = _nearest(generated, MANIFOLD_NEIGHBOURS)[..., None, :, MANIFOLD_NEIGHBOURS]
        scores["sample_recall"] = _share((distances <= radii).any(-1))
        return scores


def density_coverage(real: Tensor, generated: Tensor) -> tuple[float, float]:
    """Density and coverage of generated examples (Naeem et al. 2020).

    Around every real example lies a ball that reaches to its 5th nearest other. Density is the mean
    number of balls that a generated example lies in, over 5: 1 on average for real ones, more where
    samples crowd where data are dense. Coverage is the share of balls with a generated example in
    them, at most 1: near 1 − 2⁻⁵ for as many real ones, since a ball's own radius was chosen.

    Args:
        real: features, [n, features], n > 5.
        generated: features, [m, features], m > 3.
    """
    balls = Balls.around(real)
    assert balls is not None
    scores = balls.scores(generated)
    return scores["sample_density"].item(), scores["sample_coverage"].item()


def precision_recall(real: Tensor, generated: Tensor) -> tuple[float, float]:
    """Share of generated examples in the real manifold, and of real ones in the generated.

    A manifold is the union of balls around its examples, each as wide as the distance to the 3rd
    nearest other example (Kynkäänniemi et al. 2019). Collapse raises precision, noise raises
    recall: read them beside density and coverage.

    Args:
        real: features, [n, features], n > 3.
        generated: features, [m, features], m > 3.
    """
    balls = Balls.around(real)
    assert balls is not None
    scores = balls.scores(generated)
    return scores["sample_precision"].item(), scores["sample_recall"].item()


def _nearest(points: Tensor, count: int) -> Tensor:
    """Distances of each point to its nearest others, itself first: [..., n, count + 1]."""
    return _distances(points, points).topk(count + 1, largest=False).values


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """|a_i − b_j|, [..., n, m], exactly 0 where they are equal: not by way of a matrix product."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _share(hits: Tensor) -> Tensor:
    """Share of True in the last axis, float64."""
    return hits.double().mean(-1)


# --- real data -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class RealFeatures:
    """Held-out data as samples are compared with: the same for every run of a dataset.

    Attributes:
        extractor: the features.
        rows: positions of the held-out examples in the dataset, [n].
        held_out: [networks, n, features] of the test split; n is the lesser of the test split, the
            train split and EXAMPLES, evenly spaced where there are more.
        moments: of the same; None for n = 1.
        balls: around at most NEIGHBOUR_EXAMPLES of them, or None where there are too few.
        train: FLOOR_DRAWS draws of n train examples, [draws, networks, n, features].
        floor: Fréchet distance of the held-out data to the train draws, a mean over draws and
            networks: what samples as good as data reach, None for n = 1.
    """

    extractor: FeatureNetworks
    rows: NDArray[np.int64]
    held_out: Features
    moments: Moments | None
    balls: Balls | None
    train: Features
    floor: float | None

    @classmethod
    def of(cls, dataset: Dataset, extractor: FeatureNetworks, seed: int) -> RealFeatures:
        """Features of a dataset's test split, and of as many examples of its train split.

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
        pool = _data_features(dataset, train[spaced(len(train), FLOOR_POOL)], extractor).numpy()
        random = np.random.default_rng(seed)
        draws = [random.choice(pool.shape[1], count, replace=False) for _ in range(FLOOR_DRAWS)]
        moments = _moments(held_out.numpy())
        others = np.stack([pool[:, draw] for draw in draws])
        floors = distances_to(moments, others)
        return cls(
            extractor,
            rows,
            held_out.numpy(),
            moments,
            Balls.around(held_out[:, spaced(count, NEIGHBOUR_EXAMPLES)]),
            others,
            None if floors is None else float(floors.mean()),
        )


def _data_features(dataset: Dataset, rows: NDArray[np.int64], extractor: FeatureNetworks) -> Tensor:
    """Features of the examples at these positions, [networks, n, features]."""
    step = max(1, _VALUES // dataset.x.shape[1])
    parts = [
        extractor(dataset.x[part], outer_library(dataset, part))
        for part in np.split(rows, range(step, len(rows), step))
    ]
    return torch.cat(parts).movedim(1, 0)


def _moments(values: Features) -> Moments | None:
    """Moments of sets [..., n, features]; None for one row or where a value is not finite."""
    defined = values.shape[-2] > 1 and np.isfinite(values).all()
    return Moments.of(values) if defined else None


def distances_to(moments: Moments | None, values: Features) -> Features | None:
    """Fréchet distances of sets [..., n, features] to these moments; None where undefined."""
    own = _moments(values)
    return None if own is None or moments is None else own.distance(moments)


# --- samples -------------------------------------------------------------------------------------


@torch.no_grad()
def sample_columns(
    model: StackedVAE,
    runs: Sequence[Run],
    train_means: Tensor,
    dataset: Dataset,
    real: RealFeatures,
    seed: int,
    draws: int,
) -> list[Columns]:
    """Quality of every run's samples, against the held-out data.

    Args:
        model: the pack.
        runs: its runs; z ~ p(z) is the same for all arms of one latent_dim and seed.
        train_means: posterior means of the train split, [runs, n, latent].
        dataset: the prepared dataset; each sample has the context of one held-out example.
        real: `RealFeatures.of` the dataset.
        seed: of the evaluation, which all streams depend on.
        draws: sets of samples, as many in each as held-out examples.

    Returns:
        Per run, as far as they are defined: `quality_columns` of samples at z ~ p(z); those of
        the Fréchet distance with z from a mixture fitted to the codes instead, as
        sample_fid_expost; sample_fid_floor, what the distance of real examples is;
        feature_accuracy.
    """
    count = draws * len(real.rows)
    prior = torch.stack(
        [
            prior.sample(stream(run.seed, f"fid samples {seed}"), count)
            for prior, run in zip(model.priors(), runs, strict=True)
        ]
    )
    expost = torch.stack([expost_codes(codes, count, seed) for codes in train_means])
    context = torch.from_numpy(dataset.context(real.rows, runs[0].condition)).to(model.device)
    common: Columns = {"sample_fid_floor": real.floor} if real.floor is not None else {}
    if real.extractor.accuracy is not None:
        common["feature_accuracy"] = real.extractor.accuracy
    found = []
    for z, name, balls in ((prior, "sample_fid", real.balls), (expost, "sample_fid_expost", None)):
        generators = [stream(run.seed, f"sampled x {seed}") for run in runs]
        sets = _sample_features(model, z.to(model.device), context, real, generators)
        found.append(_quality(sets, real.moments, balls, name))
    return [{**own, **fitted, **common} for own, fitted in zip(*found, strict=True)]


def quality_columns(draws: Tensor, real: RealFeatures) -> Columns:
    """Quality of sets of samples of one origin, as far as it is defined.

    Args:
        draws: features of each set, [draws, networks, n, features].
        real: the held-out data.

    Returns:
        Means over draws and networks of sample_fid, sample_density, sample_coverage,
        sample_precision and sample_recall; sample_fid_se, the Monte-Carlo standard error of the
        mean over draws; sample_fid_spread, the standard deviation over networks;
        sample_fid_networks, the mean over draws of each network, a list.
    """
    (columns,) = _quality([draws[None]], real.moments, real.balls, "sample_fid")
    return columns


def _quality(
    groups: Iterable[Tensor], moments: Moments | None, balls: Balls | None, name: str
) -> list[Columns]:
    """`quality_columns` of every run from groups of its draws [runs, draws, networks, n, features].

    Args:
        groups: some draws of all runs each.
        moments: of the held-out data.
        balls: around them; None leaves density, coverage, precision and recall out.
        name: of the distance's column.
    """
    distances: list[list[Features | None]] = []
    scores: list[dict[str, list[Tensor]]] = []
    for group in groups:
        distances = distances or [[] for _ in group]
        scores = scores or [{} for _ in group]
        near = None if balls is None else balls.to(group.device)
        for place, sets in enumerate(group):
            distances[place].append(distances_to(moments, sets.cpu().numpy()))
            for column, values in _near(near, sets).items():
                scores[place].setdefault(column, []).append(values)
    return [
        {
            **_distance_columns(name, own),
            **{
                column: torch.cat(values).mean().item()
                for column, values in near_own.items()
                if len(values) == len(own)
            },
        }
        for own, near_own in zip(distances, scores, strict=True)
    ]


def _near(balls: Balls | None, sets: Tensor) -> dict[str, Tensor]:
    """Scores of sets [draws, networks, n, features] around held-out examples, draw by draw.

    None without balls, or where a value is not finite.
    """
    if balls is None or not sets.isfinite().all():
        return {}
    rows = torch.from_numpy(spaced(sets.shape[-2], NEIGHBOUR_EXAMPLES)).to(sets.device)
    each = [balls.scores(one[:, rows]) for one in sets]
    return {column: torch.stack([one[column] for one in each]) for column in each[0]}


def _distance_columns(name: str, groups: Sequence[Features | None]) -> Columns:
    """Mean, error and spread of distances [draws, networks] in groups; none where undefined."""
    known = [group for group in groups if group is not None]
    if len(known) < len(groups):
        return {}
    distances = np.concatenate(known)
    draws, networks = distances.shape
    columns: Columns = {name: float(distances.mean())}
    if draws > 1:
        error = distances.mean(1).std(ddof=1) / np.sqrt(draws)
        columns[f"{name}_se"] = float(error)
    if networks > 1:
        columns[f"{name}_spread"] = float(distances.mean(0).std(ddof=1))
        columns[f"{name}_networks"] = distances.mean(0).tolist()
    return columns


def _sample_features(
    model: StackedVAE,
    z: Tensor,
    context: Tensor,
    real: RealFeatures,
    generators: Sequence[torch.Generator],
) -> Iterator[Tensor]:
    """Features of samples at z, some draws at a time: [runs, draws, networks, n, features].

    Args:
        model: the pack.
        z: [runs, draws · n, latent].
        context: of one draw, [n, context].
        real: the held-out data.
        generators: a stream of each run.
    """
    count, size = len(context), real.held_out.shape[0] * real.held_out.shape[2]
    together = max(1, _VALUES // (len(model) * count * size))
    for codes in z.split(together * count, dim=1):
        told = context.repeat(codes.shape[1] // count, 1)
        features = _features(model, codes, told, real.extractor, generators)
        yield features.unflatten(1, (-1, count)).transpose(2, 3)


def _features(
    model: StackedVAE,
    z: Tensor,
    context: Tensor,
    extractor: FeatureNetworks,
    generators: Sequence[torch.Generator],
) -> Tensor:
    """Features of samples at z [runs, n, latent]: [runs, n, networks, features]."""
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
        count: number of draws, in random order.
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
    random = np.random.RandomState(seed)
    mixture = GaussianMixture(components, max_iter=MIXTURE_STEPS, random_state=random)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(standard)
    draws = random.permutation(mixture.sample(count)[0])  # they come component by component
    return torch.from_numpy((centre + scale * draws).astype(np.float32))
