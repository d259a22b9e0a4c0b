"""Forbidden states: decoded samples of the prior where the aggregate posterior has low density."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from vae_ablation.applications.base import Application
from vae_ablation.applications.paths import (
    Array,
    Rows,
    codes_of,
    decoded_profiles,
    encode_rows,
    label_name,
    log_expression,
    spread_rows,
)
from vae_ablation.common.registry import register
from vae_ablation.data.base import Dataset
from vae_ablation.data.examples import spaced
from vae_ablation.evaluation.aggregate import HOLE_SHARE, log_density, log_density_on, prior_on
from vae_ablation.models.posteriors import POSTERIORS
from vae_ablation.models.priors import Prior
from vae_ablation.models.streams import stream
from vae_ablation.models.vae import Posterior
from vae_ablation.store.applied import Applied
from vae_ablation.store.trained import TrainedRun

MAX_POSTERIORS = 20_000
"""Train posteriors whose mixture is the aggregate."""

COMPONENTS = 30
"""Principal components of log-normalised expression in which distances are taken."""

NEIGHBOURHOOD = 15
"""Real cells whose mean is one real profile."""

MAX_PROFILES = 2000
MAP_LIMIT = 3.5
"""The map shows the plane up to here on either side, in standard deviations of the prior."""

MAP_SIDE = 90
SHOWN_GENES = 12
SHOWN_PAIRS = 6
_PAIR_GENES = 200
SHOWN_CODES = 1500

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class PriorDraws:
    """Draws of the prior, and the density of the aggregate posterior at them.

    Attributes:
        z: draws, [samples, latent].
        log_q: log density of the mixture of train posteriors at them, [samples], nats.
        threshold: 1st percentile of that density at draws from held-out posteriors.
    """

    z: Array
    log_q: Array
    threshold: float

    @property
    def hole(self) -> Mask:
        """Draws in a hole, [samples]."""
        return self.log_q < self.threshold


class RealProfiles:
    """Mean expression of neighbourhoods of real cells, and distances of other profiles to it.

    A single cell is mostly noise and a decoder's mean is none, so each would be far from the other
    wherever it lies. The mean of the 15 nearest cells can be compared with either.

    Args:
        expression: log-normalised expression of train cells, [n, genes].

    Attributes:
        profiles: log of the mean of each neighbourhood's normalised counts, [at most 2,000, genes].
    """

    def __init__(self, expression: NDArray[np.float32]) -> None:
        components = min(COMPONENTS, len(expression) - 1, expression.shape[1])
        self._pca = PCA(components, svd_solver="randomized", random_state=0).fit(expression)
        self.profiles = self.neighbourhoods(expression)
        self._tree = NearestNeighbors(n_neighbors=1).fit(self._pca.transform(self.profiles))

    def neighbourhoods(self, expression: NDArray[np.float32]) -> NDArray[np.float32]:
        """Profiles of at most 2,000 of the cells, each of itself and those nearest to it."""
        places = self._pca.transform(expression)
        count = min(NEIGHBOURHOOD, len(expression))
        tree = NearestNeighbors(n_neighbors=count).fit(places)
        _, near = tree.kneighbors(places[spaced(len(places), MAX_PROFILES)])
        counts = np.expm1(expression)
        return np.log1p(np.array([counts[cells].mean(0) for cells in near]))

    def distance(self, profiles: NDArray[np.floating]) -> Array:
        """Distance of profiles [n, genes] to the nearest real one in the components, [n]."""
        found, _ = self._tree.kneighbors(self._pca.transform(profiles))
        return found[:, 0].astype(np.float64)


@register
class ForbiddenStates(Application):
    """Holes of the aggregate posterior: distances of decoded profiles to the nearest real cells."""

    name = "forbidden_states"

    def missing(self, dataset: Dataset) -> str | None:
        """It needs cells."""
        return "holds no cells" if dataset.cells is None else None

    def apply(
        self, model: TrainedRun, dataset: Dataset, settings: Mapping[str, Any], seed: int
    ) -> Applied:
        """Draw from the prior, decode, and compare; a point posterior has no density to compare.

        Scores, subject "all": hole_rate (METRICS.md, at `samples` draws); hole_distance and
        inside_distance, mean distance to the nearest real profile of what codes in and outside
        holes decode to; distance_ratio of both; hole_auroc, how often that of a hole is the
        farther one. Method "held_out" has the inside_distance of neighbourhoods of test cells.
        """
        assert dataset.cells is not None
        if POSTERIORS[model.run.posterior].deterministic:
            return Applied(reason="needs posteriors with a density, and a point has none")
        if len(dataset.rows("train")) < 2:
            return Applied(reason="needs at least two train cells, and there is one")
        generator = stream(seed, "forbidden states")
        train = encode_rows(model, dataset, spread_rows(dataset, "train", MAX_POSTERIORS))
        test = spread_rows(dataset, "test", settings["samples"])
        held = encode_rows(model, dataset, test)
        draws = draw_prior(train, held, settings["samples"], generator, model.prior)
        rows = spread_rows(dataset, "train")
        real = RealProfiles(log_expression(dataset, rows))
        decoded = decoded_profiles(model, dataset, draws.z)
        distance = real.distance(decoded)
        held_out = real.distance(real.neighbourhoods(log_expression(dataset, test)))
        applied = Applied(arrays=_distances(distance, draws.hole, held_out))
        _score(applied, distance, draws.hole, held_out)
        names = np.array(dataset.cells.features, np.str_)
        applied.arrays.update(_violations(decoded, draws.hole, real.profiles, names))
        if model.run.latent_dim == 2:
            applied.arrays.update(_map(train, draws.threshold, model.prior))
            applied.arrays.update(_codes(model, dataset, rows))
        return applied


# --- holes ---------------------------------------------------------------------------------------


def draw_prior(
    train: Posterior,
    held_out: Posterior,
    samples: int,
    generator: torch.Generator,
    prior: Prior | None = None,
) -> PriorDraws:
    """Draws of z ~ p(z), and where holes begin.

    Args:
        train: posteriors of train cells, [n, latent].
        held_out: posteriors of held-out cells, [m, latent].
        samples: draws of the prior; as many come from the held-out posteriors, or m if that is
            more.
        generator: stream of the draws.
        prior: N(0, I) unless given.
    """
    latent = train.mean.shape[-1]
    z = torch.randn(samples, latent, generator=generator, dtype=torch.float64)
    if prior is not None:
        z = prior.at(z, generator).detach().double()
    each = math.ceil(samples / len(held_out.mean))
    shape = (len(held_out.mean), each, latent)
    noise = torch.randn(shape, generator=generator, dtype=torch.float64)
    codes = Posterior(held_out.mean.double(), held_out.log_std.double()).at(noise)
    at_prior = log_density(train, z)
    at_codes = log_density(train, codes.flatten(0, 1))
    return PriorDraws(z.numpy(), at_prior, float(np.quantile(at_codes, HOLE_SHARE)))


def _distances(distance: Array, hole: Mask, held_out: Array) -> dict[str, NDArray[Any]]:
    return {
        "distance_inside": distance[~hole].astype(np.float32),
        "distance_holes": distance[hole].astype(np.float32),
        "distance_held_out": held_out.astype(np.float32),
    }


def _score(applied: Applied, distance: Array, hole: Mask, held_out: Array) -> None:
    applied.add("all", "vae", "hole_rate", float(hole.mean()))
    applied.add("all", "held_out", "inside_distance", float(held_out.mean()))
    if hole.any():
        applied.add("all", "vae", "hole_distance", float(distance[hole].mean()))
    if not hole.all():
        applied.add("all", "vae", "inside_distance", float(distance[~hole].mean()))
    if hole.any() and not hole.all():
        ratio = distance[hole].mean() / max(distance[~hole].mean(), 1e-12)
        applied.add("all", "vae", "distance_ratio", float(ratio))
        applied.add("all", "vae", "hole_auroc", float(roc_auc_score(hole, distance)))


# --- differences from real cells -----------------------------------------------------------------


def _violations(
    decoded: Array, hole: Mask, real: NDArray[np.float32], names: NDArray[np.str_]
) -> dict[str, NDArray[Any]]:
    """Genes, and pairs of genes, in which profiles decoded from holes differ from all real ones."""
    if not hole.any():
        return {}
    off = misfit(decoded[hole], real)
    usual = np.zeros_like(off) if hole.all() else misfit(decoded[~hole], real)
    genes = np.argsort(usual - off, kind="stable")[:SHOWN_GENES]
    pairs, share = forbidden_pairs(decoded[hole], real)
    found = {
        "genes": names[genes],
        "gene_holes": off[genes].astype(np.float32),
        "pairs": names[pairs],
        "pair_holes": share.astype(np.float32),
    }
    return found if hole.all() else found | {"gene_inside": usual[genes].astype(np.float32)}


def misfit(profiles: Array, real: NDArray[np.float32]) -> Array:
    """Root mean square difference of each gene from the nearest real profile, [genes].

    Args:
        profiles: log-normalised mean expression, [n, genes].
        real: the same of real cells, [m, genes].
    """
    _, near = NearestNeighbors(n_neighbors=1).fit(real).kneighbors(profiles)
    found: Array = np.sqrt(np.square(profiles - real[near[:, 0]]).mean(0))
    return found


def forbidden_pairs(profiles: Array, real: NDArray[np.float32]) -> tuple[NDArray[np.int64], Array]:
    """Pairs of genes that are high together in profiles, and in no real one.

    High is above the middle between a gene's 5th and 95th percentile over real profiles; only the
    200 genes for which these are farthest apart are looked at. The pairs share no gene: the
    commonest comes first, the next one is the commonest without its genes, and so on.

    Args:
        profiles: log-normalised mean expression, [n, genes].
        real: the same of real cells, [m, genes].

    Returns:
        Genes [pairs, 2], at most six pairs, and the share of profiles in which both are high.
    """
    low, high = np.quantile(real, [0.05, 0.95], axis=0)
    genes = np.argsort(low - high, kind="stable")[:_PAIR_GENES]
    middle = (low + high)[genes] / 2
    found, known = ((values[:, genes] > middle).astype(float) for values in (profiles, real))
    share = np.triu(found.T @ found / len(found), 1)
    share[known.T @ known > 0] = 0
    pairs: list[tuple[int, int]] = []
    shares: list[float] = []
    while len(pairs) < SHOWN_PAIRS and share.max() > 0:
        first, second = np.unravel_index(share.argmax(), share.shape)
        pairs.append((int(genes[first]), int(genes[second])))
        shares.append(float(share[first, second]))
        for gene in (first, second):
            share[gene], share[:, gene] = 0, 0
    return np.array(pairs, np.int64).reshape(-1, 2), np.array(shares)


# --- the map -------------------------------------------------------------------------------------


def _map(train: Posterior, threshold: float, prior: Prior) -> dict[str, NDArray[Any]]:
    """Log density of the aggregate on a grid of the plane, [y, x], and where holes begin.

    Of another prior than N(0, I) also map_prior [y, x], positive within 95 % of it.
    """
    limit, own = MAP_LIMIT, {}
    if not prior.standard:
        (level,), draws = prior.regions([0.95])
        limit = max(limit, 1.2 * float(np.quantile(np.abs(draws), 0.99)))
    side = torch.linspace(-limit, limit, MAP_SIDE, dtype=torch.float64)
    if not prior.standard:
        own = {"map_prior": (prior_on(side, prior) - level).astype(np.float32)}
    return own | {
        "map": log_density_on(side, train).astype(np.float32),
        "map_side": side.numpy(),
        "threshold": np.array(threshold),
    }


def _codes(model: TrainedRun, dataset: Dataset, rows: Rows) -> dict[str, NDArray[Any]]:
    """Codes of some train cells, their labels and the labels' names."""
    assert dataset.cells is not None
    kept = rows[spaced(len(rows), SHOWN_CODES)]
    labels = dataset.labels[kept]
    names = [label_name(dataset.cells, int(label)) for label in np.unique(labels[labels >= 0])]
    return {
        "codes": codes_of(model, dataset, kept).astype(np.float32),
        "labels": labels,
        "label_names": np.array(names, np.str_),
    }
