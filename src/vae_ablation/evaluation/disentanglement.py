"""Disentanglement of codes by known generative factors: pure functions.

All three scores look at posterior means alone, and none depends on the scale of a code: a unit
that hardly varies counts like any other, so read them beside `active_units`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from vae_ablation.data.examples import spaced
from vae_ablation.evaluation.codes import Codes

Factors = NDArray[np.integer]

BINS = 20
"""Equal-width bins of a code behind mig."""

MAX_EXAMPLES = 5000
"""Examples of each split that are used, evenly spaced over it."""

TREES = 10
LEAF_SHARE = 0.0025
"""Least share of the examples in a leaf of the trees behind dci_disentanglement.

Leaves of fewer examples split on codes that are noise; this share gave, on 600 to 5,000 planted
examples, scores nearest to those of boosted trees (Locatello et al. 2019), within 0.1.
"""


def disentanglement_columns(
    train_codes: Codes, train_factors: Factors, codes: Codes, factors: Factors, seed: int
) -> dict[str, float]:
    """mig, dci_disentanglement and sap; those that are undefined are left out.

    Factors that take a single value in either split are left out.

    Args:
        train_codes: posterior means of the train split, [m, latent].
        train_factors: values of the generative factors there, [m, factors].
        codes: posterior means of the held-out split, [n, latent].
        factors: values of the generative factors there, [n, factors].
        seed: of the trees.
    """
    train_codes, train_factors = _evenly(train_codes), _evenly(train_factors)
    codes, factors = _evenly(codes), _evenly(factors)
    if not (np.isfinite(train_codes).all() and np.isfinite(codes).all()):
        return {}
    # trees take values closer than 1e-7 for equal, whatever the scale
    scaler = StandardScaler().fit(train_codes.astype(np.float64))
    train_codes, codes = scaler.transform(train_codes), scaler.transform(codes)
    varying = (np.ptp(train_factors, axis=0) > 0) & (np.ptp(factors, axis=0) > 0)
    train_factors, factors = train_factors[:, varying], factors[:, varying]
    scores = {
        "mig": mig(codes, factors),
        "dci_disentanglement": dci_disentanglement(train_codes, train_factors, seed),
        "sap": sap(train_codes, train_factors, codes, factors, seed),
    }
    return {name: score for name, score in scores.items() if score is not None}


def _evenly(values: NDArray) -> NDArray:
    """At most MAX_EXAMPLES rows, evenly spaced."""
    return values[spaced(len(values), MAX_EXAMPLES)]


def mig(codes: Codes, factors: Factors) -> float | None:
    """Mutual information gap (Chen et al. 2018): mean over factors v of (I₁ − I₂) / H(v).

    I₁ and I₂ are the two largest mutual informations of v with one code, the plug-in estimate
    after each code is cut into 20 equal-width bins (Locatello et al. 2019). Codes that do not vary
    have no information: where none does, the gap is 0.

    Args:
        codes: [n, latent].
        factors: [n, factors], each with two values or more.

    Returns:
        At most 1; None where there are fewer than two codes or no factor.
    """
    if codes.shape[1] < 2 or not factors.shape[1]:
        return None
    binned = [_bins(code) for code in codes.T.astype(np.float64)]
    values = [np.unique(factor, return_inverse=True)[1] for factor in factors.T]
    information = np.array([[_mutual_information(b, v) for v in values] for b in binned])
    return float((_gap(information) / [_entropy(v) for v in values]).mean())


def _bins(code: NDArray[np.float64]) -> NDArray[np.int64]:
    """Equal-width bin of each value."""
    return np.digitize(code, np.linspace(code.min(), code.max(), BINS + 1)[1:-1])


def _mutual_information(a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    """I(a; b) of non-negative integers, plug-in, nats."""
    return _entropy(a) + _entropy(b) - _entropy(a * (b.max() + 1) + b)


def _entropy(values: NDArray[np.int64]) -> float:
    """Plug-in entropy of non-negative integers, nats."""
    share = np.bincount(values) / len(values)
    share = share[share > 0]
    return float(-(share * np.log(share)).sum())


def _gap(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Best minus second best code of each factor: [latent, factors] → [factors]."""
    ordered = np.sort(scores, axis=0)
    return ordered[-1] - ordered[-2]


def dci_disentanglement(codes: Codes, factors: Factors, seed: int) -> float | None:
    """Disentanglement of the importance matrix R (Eastwood and Williams 2018, D of DCI).

    Σ_i ρ_i (1 − H(P_i) / ln K), with P_i = R_i / Σ_k R_ik over the K factors and ρ_i code i's share
    of all importance. R holds the impurity importances of one ensemble of trees per factor. The
    paper takes a lasso, which takes factors for ordered and linear in the codes, or forests; the
    usual code takes boosted trees, which need minutes for a factor of many values. Extremely
    randomised trees that consider every code at every split need a second.

    Args:
        codes: [m, latent].
        factors: [m, factors], each with two values or more.
        seed: of the trees.

    Returns:
        From 0 (each code serves all factors alike) to 1 (each serves one); None where there are
        fewer than two factors, or nothing is important because the codes do not vary.
    """
    if factors.shape[1] < 2:
        return None
    importance = _importances(codes, factors, seed)
    if not importance.sum():
        return None
    weights = importance.sum(1)
    shares = importance[weights > 0] / weights[weights > 0, None]
    logs = np.log(shares, where=shares > 0, out=np.zeros_like(shares))
    scores = 1 + (shares * logs).sum(1) / np.log(factors.shape[1])
    return float(np.average(scores, weights=weights[weights > 0]))


def _importances(codes: Codes, factors: Factors, seed: int) -> NDArray[np.float64]:
    """Importance of each code for each factor, [latent, factors]; a column sums to 1, or to 0."""
    # in an order of their own, so that the trees' draws do not depend on the order of the codes
    ordered = codes[:, np.lexsort(codes)]
    forest = ExtraTreesClassifier(
        n_estimators=TREES, min_samples_leaf=LEAF_SHARE, max_features=None, random_state=seed
    )
    return np.stack([forest.fit(ordered, v).feature_importances_ for v in factors.T], axis=1)


def sap(
    train_codes: Codes, train_factors: Factors, codes: Codes, factors: Factors, seed: int
) -> float | None:
    """Separated attribute predictability (Kumar et al. 2018): mean gap of the best two codes.

    A code's score for a factor of k values is the balanced accuracy of k − 1 thresholds on it: of
    a tree of k leaves, grown on train codes with balanced classes and scored on held-out codes.
    This is the paper's score for discrete factors. The usual code fits a linear support vector
    machine in place of thresholds, which depends on the code's scale and cannot find a value that
    lies between others.

    Args:
        train_codes: [m, latent].
        train_factors: [m, factors], each with two values or more.
        codes: held-out, [n, latent].
        factors: held-out, [n, factors].
        seed: of the trees, which decides ties only.

    Returns:
        From 0, also where no code varies, to 1 − 1/k, as a second code at chance has 1/k; None
        where there are fewer than two codes or no factor.
    """
    if codes.shape[1] < 2 or not factors.shape[1]:
        return None
    scores = np.zeros((codes.shape[1], factors.shape[1]))
    for j, (fitted, truth) in enumerate(zip(train_factors.T, factors.T, strict=True)):
        tree = DecisionTreeClassifier(
            max_leaf_nodes=len(np.unique(fitted)), class_weight="balanced", random_state=seed
        )
        for i in range(codes.shape[1]):
            tree.fit(train_codes[:, [i]], fitted)
            scores[i, j] = _balanced_accuracy(truth, tree.predict(codes[:, [i]]))
    return float(_gap(scores).mean())


def _balanced_accuracy(truth: Factors, predicted: Factors) -> float:
    """Share found of each value that is there, mean over values."""
    return float(np.mean([(predicted[truth == value] == value).mean() for value in set(truth)]))
