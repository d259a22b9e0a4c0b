"""Batch mixing of codes: pure functions, arrays in, numbers out; undefined columns are absent.

A code that mixes batches may have lost everything else too: read these beside label conservation
(silhouette, ari, knn_accuracy of the labels; Luecken et al. 2022).
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import silhouette_samples
from sklearn.neighbors import NearestNeighbors

from vae_ablation.evaluation.codes import NEIGHBOURS, Codes, Labels

EXAMPLES = 5000
SHUFFLES = 20
SCIB_NEIGHBOURS = 90
"""As scib-metrics has it for iLISI, the cell itself counted; connectivity takes NEIGHBOURS."""


def batch_columns(means: Codes, labels: Labels, batches: Labels, seed: int) -> dict[str, float]:
    """Mixing of batches in codes; the scib_ columns only where scib-metrics is installed.

    Args:
        means: held-out codes, [n, latent].
        labels: classes, [n]; −1 for none. What a label decides is not held against the codes.
        batches: batch of each example, [n]; those of −1 are left out.
        seed: of the shuffles, and of the subsample where there are more than 5,000 examples.

    Returns:
        batch_knn_mixing, batch_silhouette, batch_knn_accuracy and batch_knn_floor; scib_ilisi,
        scib_bras and scib_graph_connectivity. Empty where fewer than two batches are present, the
        codes do not vary, or each label lies in one batch, as when the label names the batch or
        each example has its own: then mixing across batches cannot be told from mixing of labels.
    """
    random = np.random.default_rng([seed, 0])
    rows = np.flatnonzero(batches >= 0)
    if len(rows) > EXAMPLES:
        rows = np.sort(random.choice(rows, EXAMPLES, replace=False))
    codes, labels, batches = means[rows].astype(np.float64), labels[rows], batches[rows]
    if len(np.unique(batches)) < 2 or not np.isfinite(codes).all() or not np.ptp(codes, 0).any():
        return {}
    if not comparable(labels, batches).any():
        return {}
    found = {
        **neighbour_columns(codes, labels, batches, random),
        "batch_silhouette": batch_silhouette(codes, labels, batches),
        **(scib_columns(codes, labels, batches) if find_spec("scib_metrics") else {}),
    }
    return {name: value for name, value in found.items() if value is not None}


def comparable(labels: Labels, batches: Labels) -> NDArray[np.bool_]:
    """[n] whether the example's label lies in several batches; −1 counts as one more label.

    Of the others nothing can be said: their batch follows from their label.
    """
    found = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = labels == label
        found[rows] = len(np.unique(batches[rows])) > 1
    return found


# --- neighbours ----------------------------------------------------------------------------------


def neighbour_columns(
    codes: Codes, labels: Labels, batches: Labels, random: np.random.Generator
) -> dict[str, float | None]:
    """Columns of the 15 nearest other examples; empty where there are no more than 15 examples.

    Means are over the examples whose label lies in several batches; neighbours are any.

    batch_knn_accuracy is the share of examples whose batch the majority of their neighbours names
    (leave-one-out 15-NN); batch_knn_floor that of naming the commonest batch of the own label.
    """
    if len(codes) <= NEIGHBOURS:
        return {}
    near = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(codes).kneighbors(return_distance=False)
    _, batches = np.unique(batches, return_inverse=True)
    named = _batch_counts(batches[near]).argmax(1)
    scored = comparable(labels, batches)
    if not scored.any():
        return {}
    return {
        "batch_knn_mixing": knn_mixing(near, labels, batches, random),
        "batch_knn_accuracy": float((named == batches)[scored].mean()),
        "batch_knn_floor": _floor(labels[scored], batches[scored]),
    }


def knn_mixing(
    near: NDArray[np.integer], labels: Labels, batches: Labels, random: np.random.Generator
) -> float | None:
    """Local inverse Simpson index of the batches (LISI; Korsunsky et al. 2019), normalised.

    LISI_i = 1 / Σ_b p_ib², p_ib the share of batch b among the k neighbours of i, all of one
    weight. The column is (LISI − 1) / (LISI₀ − 1), LISI averaged over the examples whose label lies
    in several batches and LISI₀ the same after the batches were shuffled within each label (mean of
    20 shuffles). Shuffling takes away what k draws add and what is due to batches of unequal size
    or other labels: 0 means that all neighbours are of one batch, and 1, up to chance, that the
    codes tell nothing of the batch beyond what the label tells.

    Args:
        near: positions of the neighbours of each example, itself left out, [n, k].
        labels: [n]; −1 counts as one more label.
        batches: [n], counted from 0.
        random: of the shuffles.

    Returns:
        None where no label lies in several batches, or shuffled neighbours are of one batch too.
    """
    scored = comparable(labels, batches)
    if not scored.any():
        return None
    near = near[scored]
    shuffled = [_shuffle_within(labels, batches, random) for _ in range(SHUFFLES)]
    best = float(np.mean([inverse_simpson(each[near]).mean() for each in shuffled]))
    return float((inverse_simpson(batches[near]).mean() - 1) / (best - 1)) if best > 1 else None


def inverse_simpson(batches: Labels) -> NDArray[np.float64]:
    """1 / Σ_b p_b² of each row of batches [n, k]: 1 for a single batch, B for B in equal shares."""
    shares = _batch_counts(batches) / batches.shape[1]
    return np.asarray(1 / np.square(shares).sum(1))


def _batch_counts(batches: Labels) -> NDArray[np.int64]:
    """Counts of each batch in each row of batches [n, k]: [n, batches]."""
    return np.stack([(batches == batch).sum(1) for batch in range(batches.max() + 1)], axis=1)


def _shuffle_within(labels: Labels, batches: Labels, random: np.random.Generator) -> Labels:
    """Batches in random order within each label, [n]."""
    mixed = batches.copy()
    for label in np.unique(labels):
        mixed[labels == label] = random.permutation(batches[labels == label])
    return mixed


def _floor(labels: Labels, batches: Labels) -> float:
    """Share of examples that are of the commonest batch of their label."""
    largest = [np.bincount(batches[labels == label]).max() for label in np.unique(labels)]
    return float(sum(largest) / len(batches))


# --- silhouette ----------------------------------------------------------------------------------


def batch_silhouette(codes: Codes, labels: Labels, batches: Labels) -> float | None:
    """Batch ASW (Luecken et al. 2022): 1 − |silhouette of the batches| within each label.

    Averaged over a label's examples, then over the labels. 1 where batches overlap, about 0 where
    each is a cluster of its own. Batches that lie apart pairwise go unnoticed, since only the
    nearest other one counts (Rautenstrauch and Ohler 2025): read batch_knn_mixing beside it.

    Returns:
        None where no label has examples of two batches.
    """
    widths = [
        np.abs(silhouette_samples(codes[rows], batches[rows])).mean()
        for rows in _groups(labels, batches)
    ]
    return float(1 - np.mean(widths)) if widths else None


def _groups(labels: Labels, batches: Labels) -> Iterator[NDArray[np.bool_]]:
    """The examples of each label that has several batches; all of them where none has a label."""
    known = labels[labels >= 0] if (labels >= 0).any() else labels
    for label in np.unique(known):
        rows = labels == label
        if 2 <= len(np.unique(batches[rows])) < rows.sum():
            yield rows


# --- scib-metrics --------------------------------------------------------------------------------


def scib_columns(codes: Codes, labels: Labels, batches: Labels) -> dict[str, float | None]:
    """The columns that scib-metrics computes, 1 the best; those of the labels need labels.

    scib_ilisi: scaled median LISI of 90 neighbours (Korsunsky et al. 2019, Luecken et al. 2022);
    scib_bras: batch-removal-adapted silhouette on cosine distances (Rautenstrauch and Ohler 2025);
    scib_graph_connectivity: largest connected share of each label in the 15-neighbour graph.
    Empty where there are no more than 15 examples.
    """
    if len(codes) <= NEIGHBOURS:
        return {}
    import scib_metrics
    from scib_metrics.nearest_neighbors import NeighborsResults

    size = min(SCIB_NEIGHBOURS, len(codes))
    distances, indices = NearestNeighbors(n_neighbors=size).fit(codes).kneighbors(codes)
    near = NeighborsResults(indices=indices, distances=distances)
    found = {"scib_ilisi": float(scib_metrics.ilisi_knn(near, batches))}
    known = labels >= 0
    if next(_groups(labels[known], batches[known]), None) is not None:
        bras = scib_metrics.bras(codes[known], labels[known], batches[known])
        found["scib_bras"] = float(bras)
    if known.all():
        closest = near.subset_neighbors(NEIGHBOURS)
        found["scib_graph_connectivity"] = float(scib_metrics.graph_connectivity(closest, labels))
    return {name: value if np.isfinite(value) else None for name, value in found.items()}
