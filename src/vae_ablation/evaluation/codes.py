"""Metrics of codes: pure functions, arrays in, number out; None where the value is undefined."""

from __future__ import annotations

import math
import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, silhouette_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

Codes = NDArray[np.floating]
Labels = NDArray[np.int64]

ACTIVE_VARIANCE = 0.01
ACTIVE_RATE = 0.01
"""Nats of KL to the prior above which a dimension counts as active."""
NEIGHBOURS = 15
SILHOUETTE_EXAMPLES = 5000


def active_units(means: Codes) -> int:
    """Dimensions whose posterior mean varies: Var_x(μ_d) > 0.01 (Burda et al. 2016).

    Args:
        means: posterior means, [n, latent].
    """
    return int((means.astype(np.float64).var(axis=0) > ACTIVE_VARIANCE).sum())


def root_mean_square(means: Codes) -> float:
    """Root mean square of all code entries; 1 or less under a matched prior."""
    return float(np.sqrt(np.square(means.astype(np.float64)).mean()))


def cluster_scores(means: Codes, labels: Labels, seed: int) -> dict[str, float]:
    """Silhouette of the labels, and agreement of seeded k-means (k classes) with them.

    Args:
        means: codes, [n, latent].
        labels: classes, [n]; unlabelled examples (−1) are left out.
        seed: of k-means and of the silhouette's subsample, see `silhouette_rows`.

    Returns:
        silhouette, ari (Hubert and Arabie 1985) and nmi; empty where fewer than two classes are
        present, each example has a class of its own, or the codes do not vary. The silhouette
        alone is absent where a subsample can hold no two examples of any class.
    """
    known = labels >= 0
    means, labels = means[known].astype(np.float64), labels[known]
    classes = len(np.unique(labels))
    if not 2 <= classes < len(labels) or not np.isfinite(means).all():
        return {}
    if not np.ptp(means, axis=0).any():
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = KMeans(n_clusters=classes, n_init=10, random_state=seed).fit_predict(means)
    rows = silhouette_rows(labels, seed)
    return {
        **(
            {}
            if rows is None
            else {"silhouette": float(silhouette_score(means[rows], labels[rows]))}
        ),
        "ari": float(adjusted_rand_score(labels, found)),
        "nmi": float(normalized_mutual_info_score(labels, found)),
    }


def silhouette_rows(labels: Labels, seed: int) -> NDArray[np.int64] | None:
    """Positions of the examples behind the silhouette: 5,000 drawn at random, or all of fewer.

    Where the draw holds a single class because the others are rare, every class has its share,
    one example at least.

    Args:
        labels: classes, [n]; two at least.
        seed: of the draw.

    Returns:
        None where each of the examples has a class of its own, which has no silhouette.
    """
    order = np.random.RandomState(seed).permutation(len(labels))  # the draw of scikit-learn
    rows = order[:SILHOUETTE_EXAMPLES]
    if len(np.unique(labels[rows])) < 2:
        parts = [order[labels[order] == label] for label in np.unique(labels)]
        shares = [math.ceil(SILHOUETTE_EXAMPLES * len(part) / len(labels)) for part in parts]
        rows = np.concatenate([part[:n] for part, n in zip(parts, shares, strict=True)])
    return rows if len(np.unique(labels[rows])) < len(rows) else None


def label_hits(
    train: Codes, train_labels: Labels, test: Codes, test_labels: Labels
) -> dict[str, NDArray[np.float32]]:
    """Whether held-out examples are classed right: by their 15 nearest neighbours on the codes as
    they are (knn_accuracy), and by a multinomial logistic probe on standardised codes
    (probe_accuracy); both fitted on train codes.

    Returns:
        1 or 0 for each test example, NaN for one without a label: [n] each; empty where fewer than
        two classes are present.
    """
    fit, score = train_labels >= 0, test_labels >= 0
    train, train_labels = train[fit].astype(np.float64), train_labels[fit]
    codes, labels = test[score].astype(np.float64), test_labels[score]
    if len(np.unique(train_labels)) < 2 or not len(codes):
        return {}
    if not (np.isfinite(train).all() and np.isfinite(codes).all()):
        return {}
    knn = KNeighborsClassifier(n_neighbors=min(NEIGHBOURS, len(train)))
    scaler = StandardScaler().fit(train)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe = LogisticRegression(max_iter=300).fit(scaler.transform(train), train_labels)
    found = {
        "knn_accuracy": knn.fit(train, train_labels).predict(codes),
        "probe_accuracy": probe.predict(scaler.transform(codes)),
    }
    return {name: _spread(named == labels, score) for name, named in found.items()}


def _spread(hits: NDArray[np.bool_], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Hits of the labelled examples, NaN between them for the others."""
    values = np.full(len(known), np.nan, np.float32)
    values[known] = hits
    return values


def drift(objective: NDArray[np.float64]) -> float | None:
    """Change of the validation objective over the last 10 % of epochs, nats.

    The change is that of a straight line fitted to those epochs (three at least): 0 has converged,
    negative still falls. It is not relative to the level, which for a density may be near 0.

    Args:
        objective: validation objective per epoch, nats.

    Returns:
        None where there are fewer than three epochs.
    """
    window = objective[-max(3, round(len(objective) / 10)) :]
    if len(window) < 3:
        return None
    line = np.polynomial.Polynomial.fit(np.arange(len(window)), window, 1).convert().coef
    return float(line[1] * (len(window) - 1)) if len(line) > 1 else 0.0
