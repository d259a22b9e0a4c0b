"""Paths through the latent space, and the cells at its points."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.sparse.csgraph import connected_components, dijkstra
from sklearn.neighbors import NearestNeighbors, kneighbors_graph

from vae_ablation.data.base import Cells, Dataset
from vae_ablation.data.counts import log_normalized
from vae_ablation.data.examples import spaced
from vae_ablation.models.vae import Posterior
from vae_ablation.store.trained import TrainedRun

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

MAX_CELLS = 5000
"""Cells of a split that stand for it."""

MAX_NODES = 2000
"""Codes through which a density-following path is sought."""

NEIGHBOURS = 15
POWER = 3
"""An edge of the graph costs its length to this power."""

_FINE = 400
_SMOOTHING = 0.04


def straight_path(start: Array, end: Array, steps: int) -> Array:
    """Points evenly spaced from `start` to `end`, both [latent]: [steps, latent]."""
    share = np.linspace(0, 1, steps)[:, None]
    path: Array = (1 - share) * start + share * end
    return path


def density_path(codes: Array, start: Array, end: Array, steps: int) -> Array:
    """A path from `start` to `end` that stays where codes are.

    The shortest path on the graph of nearest neighbours among the codes and both ends, where an
    edge costs its length to the power 3. Many short steps through a crowd are then cheaper than
    one long step over a gap: with ever more codes of density f the cost tends to the integral of
    f^(−2/latent) along the path (Hwang, Damelin and Hero 2016, "Shortest path through random
    points"). Where 15 neighbours leave the ends apart, their number doubles until the ends are
    joined, so a gap is crossed where it is narrow. The path is then smoothed by a Gaussian (4 % of
    its length; the ends stay) and cut into steps of equal length.

    Args:
        codes: of train cells, [n, latent]; at most 2,000 of them, evenly spaced, are used.
        start: [latent].
        end: [latent].
        steps: points of the path, 2 at least.

    Returns:
        [steps, latent].
    """
    kept = np.unique(codes[spaced(len(codes), MAX_NODES)], axis=0)
    if not len(kept) or np.array_equal(start, end):
        return straight_path(start, end, steps)
    nodes = np.concatenate([[start], kept, [end]])
    fine = resample(nodes[_route(nodes)], np.linspace(0, 1, _FINE))
    return resample(_smooth(fine), np.linspace(0, 1, steps))


def _route(nodes: Array) -> list[int]:
    """Positions of the nodes on the cheapest way from the first to the last."""
    neighbours = min(NEIGHBOURS, len(nodes) - 1)
    graph = kneighbors_graph(nodes, neighbours, mode="distance")
    while not _joined(graph):
        neighbours = min(2 * neighbours, len(nodes) - 1)
        graph = kneighbors_graph(nodes, neighbours, mode="distance")
    # An edge of cost 0 would not count as one.
    graph.data = np.maximum(graph.data / graph.data.max(), 1e-9) ** POWER
    _, before = dijkstra(graph, directed=False, indices=0, return_predecessors=True)
    route = [len(nodes) - 1]
    while route[-1]:
        route.append(int(before[route[-1]]))
    return route[::-1]


def _joined(graph: NDArray[np.float64]) -> bool:
    _, component = connected_components(graph, directed=False)
    return bool(component[0] == component[-1])


def _smooth(path: Array) -> Array:
    """Smoothed along its first axis; mirrored through its ends, which therefore stay."""
    width = round(_SMOOTHING * len(path))
    wide = np.pad(path, ((4 * width, 4 * width), (0, 0)), mode="reflect", reflect_type="odd")
    smooth: Array = gaussian_filter1d(wide, width, axis=0, truncate=4)[4 * width : -4 * width]
    smooth[0], smooth[-1] = path[0], path[-1]
    return smooth


def resample(path: Array, shares: Array) -> Array:
    """Points at shares of a path's length: [len(shares), latent].

    Args:
        path: [points, latent], straight between them.
        shares: from 0 (its start) to 1 (its end).
    """
    length = _lengths(path)
    at = np.clip(shares, 0, 1) * length[-1]
    return np.stack([np.interp(at, length, path[:, d]) for d in range(path.shape[1])], axis=1)


def _lengths(path: Array) -> Array:
    """Length of the path up to each of its points."""
    steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
    return np.concatenate([[0.0], np.cumsum(steps)])


def project(points: Array, path: Array) -> Array:
    """Share of the path's length at the place nearest to each point, [n], from 0 to 1.

    Args:
        points: [n, latent].
        path: [points of the path, latent].
    """
    length = _lengths(path)
    best = np.full(len(points), np.inf)
    position = np.zeros(len(points))
    for i, step in enumerate(np.diff(path, axis=0)):
        offset = points - path[i]
        squared = float(step @ step)
        along = np.clip(offset @ step / squared, 0, 1) if squared else np.zeros(len(points))
        distance = np.linalg.norm(offset - along[:, None] * step, axis=1)
        nearer = distance < best
        best[nearer] = distance[nearer]
        position[nearer] = length[i] + along[nearer] * np.sqrt(squared)
    return position / length[-1] if length[-1] else position


def log_density(codes: Array, points: Array) -> Array:
    """Log density of codes at points up to a constant, by the distance r to the 15th neighbour.

    −latent · log r, which lacks log(15 / n) and the unit ball's log volume: it compares points
    among the same codes.

    Args:
        codes: [n, latent].
        points: [m, latent].

    Returns:
        [m], nats; infinite where 15 codes coincide.
    """
    neighbours = min(NEIGHBOURS, len(codes))
    distance, _ = NearestNeighbors(n_neighbors=neighbours).fit(codes).kneighbors(points)
    with np.errstate(divide="ignore"):
        surprise: Array = -codes.shape[1] * np.log(distance[:, -1])
    return surprise


def spread_rows(dataset: Dataset, split: str, limit: int = MAX_CELLS) -> Rows:
    """Positions of at most `limit` cells of a split, each label by its share."""
    rows = dataset.rows(split)
    ordered = rows[np.argsort(dataset.labels[rows], kind="stable")]
    return ordered[spaced(len(rows), limit)]


def label_name(cells: Cells, label: int) -> str:
    """Name of a label, or its number where labels have no names."""
    return cells.label_names[label] if cells.label_names else str(label)


def encode_rows(model: TrainedRun, dataset: Dataset, rows: Rows) -> Posterior:
    """q(z | x) of cells: [len(rows), latent]."""
    return model.encode(dataset.x[rows], dataset.context(rows, model.run.condition))


def codes_of(model: TrainedRun, dataset: Dataset, rows: Rows) -> Array:
    """Posterior means of cells, [len(rows), latent]."""
    return np.asarray(encode_rows(model, dataset, rows).mean, np.float64)


def decode_context(model: TrainedRun, dataset: Dataset, count: int) -> NDArray[np.float32]:
    """Decoder inputs beside z for `count` cells that were not measured: [count, context].

    The median library size of train cells, and the commonest batch where the model is conditioned
    on batch. A model conditioned on label gets no label.
    """
    rows = spread_rows(dataset, "train")
    context = np.zeros((1, dataset.context(rows[:1], model.run.condition).shape[1]), np.float32)
    context[0, 0] = np.median(dataset.library(rows))
    if model.run.condition == "batch":
        batches = dataset.condition_values("batch")[dataset.rows("train")]
        context[0, 1 + np.bincount(batches[batches >= 0]).argmax()] = 1
    return np.repeat(context, count, axis=0)


def decoded_profiles(model: TrainedRun, dataset: Dataset, z: Array) -> Array:
    """Log-normalised mean expression of the RNA at codes [n, latent]: [n, genes]."""
    context = decode_context(model, dataset, len(z))
    decoded = model.decode(torch.as_tensor(z, dtype=torch.float32), context)
    mean = np.asarray(decoded.mean, np.float64)[:, : dataset.observed.genes]
    return log_normalized(mean, context[:, 0].astype(np.float64))


def mean_profile(dataset: Dataset, rows: Rows) -> Array:
    """Log-normalised mean expression of cells, [genes]: log of the mean of normalised counts.

    Not the mean of logarithms, which falls with the noise of single cells: a decoder's mean has
    none of that.
    """
    counts = dataset.rna(rows)
    shares = (counts / dataset.library(rows)[:, None]).mean(0, dtype=np.float64)
    return log_normalized(shares[None], np.ones(1))[0]


def log_expression(dataset: Dataset, rows: Rows) -> NDArray[np.float32]:
    """Log-normalised RNA of single cells, [len(rows), genes]."""
    return log_normalized(dataset.rna(rows), dataset.library(rows))
