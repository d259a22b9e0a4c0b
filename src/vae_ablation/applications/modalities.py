"""Two modalities of the same cells: RNA from protein counts, and protein counts from RNA.

A product-of-experts posterior (Wu and Goodman, NeurIPS 2018) has one expert per modality, so that a
code can be inferred from either alone. The prediction is decoded from that code's mean. Every
method is given the cell's own library size, also where it predicts RNA: all likelihoods of counts
are conditional on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeCV
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from vae_ablation.applications.base import PERMUTATIONS, TRUTH, Application
from vae_ablation.applications.perturbation import expected_proportions
from vae_ablation.common.registry import register
from vae_ablation.data.base import Dataset
from vae_ablation.data.counts import log_normalized
from vae_ablation.models.streams import stream
from vae_ablation.store.applied import Applied, permutation_p
from vae_ablation.store.trained import TrainedRun

Array = NDArray[np.floating]
Rows = NDArray[np.int64]
Modality = Literal["RNA", "protein"]

PRESENT: dict[str, tuple[bool, bool]] = {
    "RNA": (True, False),
    "protein": (False, True),
    "both": (True, True),
}
"""Modalities that the encoder gets, (RNA, protein)."""

DIRECTIONS: tuple[tuple[str, Modality], ...] = (
    ("RNA", "protein"),
    ("protein", "RNA"),
    ("both", "protein"),
    ("both", "RNA"),
)
APART: tuple[tuple[Modality, Modality], ...] = (("RNA", "protein"), ("protein", "RNA"))
"""Directions that are predictions: the encoder is not shown what it predicts."""
NEIGHBOURS = 15
COMPONENTS = 20
ALPHAS = (1.0, 10.0, 100.0, 1e3, 1e4)
BLOCK = 512
MAX_TRAIN = 10_000
MAX_SHOWN = 500
NULL_CELLS = 2000
"""Test cells that are permuted, at most; evenly spaced."""
_FLAT = 1e-9


@dataclass(frozen=True)
class Sample:
    """Cells with both modalities; float64 rows in the order of `rows`.

    Attributes:
        rows: positions in the dataset.
        library: observed library size [n, 1].
        log: log1p counts of each modality.
        given: inputs of baselines of each: log-normalised RNA, log1p protein counts.
    """

    rows: Rows
    library: Array
    log: dict[str, Array]
    given: dict[str, Array]


def sample(dataset: Dataset, split: str, most: int) -> Sample:
    """At most `most` cells of a split, evenly spaced."""
    rows = dataset.rows(split)
    if len(rows) > most:
        rows = rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]
    counts = dataset.x[rows].astype(np.float64)
    rna, protein = np.split(counts, [dataset.observed.genes], axis=1)
    library = dataset.library(rows).astype(np.float64)[:, None]
    log = {"RNA": np.log1p(rna), "protein": np.log1p(protein)}
    given = {"RNA": log_normalized(rna, library), "protein": log["protein"]}
    return Sample(rows, library, log, given)


def noise_free(dataset: Dataset, of: Sample) -> dict[str, Array]:
    """log1p of the simulation's means of each modality, where it has them."""
    truth = dataset.cells.truth if dataset.cells is not None else {}
    found: dict[str, Array] = {}
    if "cell/protein_mean" in truth:
        found["protein"] = np.log1p(truth["cell/protein_mean"][of.rows].astype(np.float64))
    proportions = expected_proportions(dataset, of.rows)
    if proportions is not None:
        found["RNA"] = np.log1p(proportions * of.library)
    return found


def column_correlations(a: Array, b: Array, ranks: bool = False) -> Array:
    """Pearson's (or Spearman's) correlation of each column: [features], NaN where one is flat."""
    if ranks:
        a, b = stats.rankdata(a, axis=0), stats.rankdata(b, axis=0)
    a, b = a - a.mean(0), b - b.mean(0)
    size = np.sqrt(np.square(a).sum(0) * np.square(b).sum(0))
    found: Array = np.full(size.shape, np.nan)
    np.divide((a * b).sum(0), size, out=found, where=size > _FLAT)
    return found


def permuted_pearson(predicted: Array, target: Array, seed: int) -> Array | None:
    """Mean correlation over features, and the same with cells paired at random.

    Args:
        predicted: [n, features].
        target: [n, features].
        seed: of the permutations, which are the same for all methods.

    Returns:
        [1 + permutations], the first as measured on these cells; None where every feature is flat.
    """
    random = np.random.default_rng([seed, 19])
    kept = np.unique(np.linspace(0, len(target) - 1, min(len(target), NULL_CELLS)).astype(int))
    a, b = (values[kept] - values[kept].mean(0) for values in (predicted, target))
    size = np.sqrt(np.square(a).sum(0) * np.square(b).sum(0))
    varies = size > _FLAT
    if not varies.any():
        return None
    order = np.arange(len(kept))
    pairs = np.stack([order, *(random.permutation(order) for _ in range(PERMUTATIONS))])
    a, b = a[:, varies] / size[varies], b[:, varies]
    found = np.zeros(len(pairs))
    for start in range(0, len(kept), BLOCK):
        block = order[start : start + BLOCK]
        products = a @ b[block].T
        found += products[pairs[:, block], block - start].sum(1)
    return np.asarray(found / varies.sum())


def _mean(values: Array) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


@dataclass(frozen=True)
class Predicted:
    """Prediction of one modality by one method.

    Attributes:
        log: [n, features] on the scale of log1p counts.
        squared_error: mean squared error of the best log1p count it can name, over all entries.
    """

    log: Array
    squared_error: float


def _plain(log: Array, target: Array) -> Predicted:
    return Predicted(log, float(np.square(log - target).mean()))


class Baselines:
    """Predictions of one modality from the other without a VAE, for the cells of a test sample.

    Args:
        train: cells to learn from.
        test: cells to predict.
    """

    def __init__(self, train: Sample, test: Sample) -> None:
        self.train, self.test = train, test

    def predict(self, given: Modality, wanted: Modality) -> dict[str, Predicted]:
        """Each baseline's prediction, by its name."""
        found = {
            "mean": np.broadcast_to(self.train.log[wanted].mean(0), self.test.log[wanted].shape),
            "library": self._ridge(wanted, None),
            "ridge": self._ridge(wanted, given),
            "knn": self._neighbours(wanted, given),
        }
        return {name: _plain(log, self.test.log[wanted]) for name, log in found.items()}

    def _ridge(self, wanted: Modality, given: Modality | None) -> Array:
        """Ridge regression of log1p counts on log library and the given modality, standardised.

        The penalty is chosen among `ALPHAS` by leave-one-out error on train cells.
        """
        model = make_pipeline(StandardScaler(), RidgeCV(ALPHAS))
        model.fit(_inputs(self.train, given), self.train.log[wanted])
        found: Array = model.predict(_inputs(self.test, given)).reshape(len(self.test.rows), -1)
        return found

    def _neighbours(self, wanted: Modality, given: Modality) -> Array:
        """Mean over the 15 train cells nearest in the first components of the given modality."""
        train, test = self.train.given[given], self.test.given[given]
        components = min(COMPONENTS, *train.shape)
        pca = PCA(components, svd_solver="full" if min(train.shape) < 500 else "arpack",
                  random_state=0).fit(train)  # fmt: skip
        search = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(train))).fit(pca.transform(train))
        near = search.kneighbors(pca.transform(test), return_distance=False)
        return np.stack([self._average(wanted, i, near[i]) for i in range(len(near))])

    def _average(self, wanted: Modality, i: int, near: Rows) -> Array:
        """Mean log1p count of neighbours; RNA as if they had the cell's own library size."""
        log = self.train.log[wanted][near]
        if wanted == "RNA":
            log = np.log1p(np.expm1(log) * (self.test.library[i] / self.train.library[near]))
        average: Array = log.mean(0)
        return average


def _inputs(of: Sample, given: Modality | None) -> Array:
    library = np.log(of.library)
    return library if given is None else np.concatenate([of.given[given], library], axis=1)


def decode_from(
    model: TrainedRun, dataset: Dataset, of: Sample, given: str, draws: int, seed: int
) -> dict[str, Predicted]:
    """Predictions of a model with a product-of-experts posterior from the modality `given`.

    Args:
        model: the run.
        dataset: its dataset.
        of: cells to predict.
        given: RNA, protein or both; counts of what is not given are 0 in what the encoder gets.
        draws: from p(x | z), for the predictive mean of log1p counts: the logarithm of the
            decoder's mean is not the best guess of a logarithm. Its error is corrected for the
            finite number of draws, so 2 are needed at least.
        seed: of the draws.

    Returns:
        Prediction for each modality: log1p of decoder means (predictions are correlated without
        the noise of draws) and the squared error of the predictive mean.
    """
    generator = stream(seed, "modalities")
    genes = dataset.observed.genes
    means: list[Array] = []
    errors = {"RNA": 0.0, "protein": 0.0}
    for start in range(0, len(of.rows), BLOCK):
        rows = of.rows[start : start + BLOCK]
        x = dataset.x[rows]
        decoded = _decoded(model, dataset, rows, _shown(x, genes, given), given)
        means.append(decoded.mean.double().numpy())
        drawn = np.stack([np.log1p(decoded.sample(generator).numpy()) for _ in range(draws)])
        error = np.square(drawn.mean(0) - np.log1p(x)) - drawn.var(0, ddof=1) / draws
        errors["RNA"] += float(error[:, :genes].sum(dtype=np.float64))
        errors["protein"] += float(error[:, genes:].sum(dtype=np.float64))
    rna, protein = np.split(np.log1p(np.concatenate(means)), [genes], axis=1)
    return {
        "RNA": Predicted(rna, max(errors["RNA"], 0.0) / rna.size),
        "protein": Predicted(protein, max(errors["protein"], 0.0) / protein.size),
    }


def _shown(x: NDArray[np.float32], genes: int, given: str) -> NDArray[np.float32]:
    rna, protein = PRESENT[given]
    keep = np.where(np.arange(x.shape[1]) < genes, rna, protein)
    return x * keep.astype(np.float32)


def _decoded(
    model: TrainedRun, dataset: Dataset, rows: Rows, x: NDArray[np.float32], given: str
) -> Any:
    context = dataset.context(rows, model.run.condition)
    posterior = model.encode(x, context, present=PRESENT[given])
    return model.decode(posterior.mean, context)


@register
class Modalities(Application):
    """One modality from the other, for runs with a product-of-experts posterior."""

    name = "modalities"

    def __init__(self) -> None:
        self._last: _Kept | None = None

    def missing(self, dataset: Dataset) -> str | None:
        """Data without protein counts have nothing to predict."""
        return None if dataset.observed.proteins else "counts no proteins"

    def apply(
        self, model: TrainedRun, dataset: Dataset, settings: Mapping[str, Any], seed: int
    ) -> Applied:
        """Score predictions on test cells; a run without a product of experts has none.

        Rows of method "truth" have the permutation p of the best method's mean correlation, cells
        being paired at random (effect_p): whether one modality says anything of the other.

        Settings: cells (test cells at most), draws (from p(x | z), per cell, 2 at least).
        """
        applied = Applied()
        if model.run.architecture != "poe":
            return Applied(
                reason="needs architecture poe, as no other encodes one modality without the other"
            )
        kept = self._baselines(dataset, settings["cells"], seed)
        test, baselines = kept.test, kept.baselines
        truth = noise_free(dataset, test)
        found = {
            given: decode_from(model, dataset, test, given, settings["draws"], seed)
            for given in PRESENT
        }
        for given, wanted in DIRECTIONS:
            subject = f"{given} → {wanted}"
            methods = {"vae": found[given][wanted]} | baselines.get(subject, {})
            for method, predicted in methods.items():
                _score(applied, subject, method, predicted, test.log[wanted], truth.get(wanted))
            if subject in kept.nulls:
                own = permuted_pearson(found[given][wanted].log, test.log[wanted], seed)
                _add_nulls(applied, subject, {"vae": own} | kept.nulls[subject])
        methods = {"vae": found["RNA"]["protein"]} | baselines["RNA → protein"]
        _score_proteins(applied, dataset, methods, test.log["protein"])
        applied.arrays.update(_arrays(dataset, test, found["RNA"]["protein"]))
        return applied

    def _baselines(self, dataset: Dataset, cells: int, seed: int) -> _Kept:
        """Test cells and baselines, kept for the next run of the same dataset."""
        last = self._last
        if last is None or last.dataset is not dataset or (last.cells, last.seed) != (cells, seed):
            test = sample(dataset, "test", cells)
            baselines = Baselines(sample(dataset, "train", MAX_TRAIN), test)
            found = {
                f"{given} → {wanted}": baselines.predict(given, wanted) for given, wanted in APART
            }
            nulls = {
                f"{given} → {wanted}": {
                    method: permuted_pearson(predicted.log, test.log[wanted], seed)
                    for method, predicted in found[f"{given} → {wanted}"].items()
                }
                for given, wanted in APART
            }
            self._last = last = _Kept(dataset, cells, seed, test, found, nulls)
        return last


@dataclass(frozen=True)
class _Kept:
    """Parts that do not depend on the run: test cells, baselines, and their scores by chance."""

    dataset: Dataset
    cells: int
    seed: int
    test: Sample
    baselines: dict[str, dict[str, Predicted]]
    nulls: dict[str, dict[str, Array | None]]


def _add_nulls(applied: Applied, subject: str, nulls: Mapping[str, Array | None]) -> None:
    """Correlations by chance; effect_p is that of the best method."""
    known = {method: values for method, values in nulls.items() if values is not None}
    for method, values in known.items():
        applied.add_null(subject, method, "pearson", values)
    if known:
        best = np.max(list(known.values()), axis=0)
        applied.add(subject, TRUTH, "effect_p", permutation_p(best))


def _score(
    applied: Applied,
    subject: str,
    method: str,
    predicted: Predicted,
    target: Array,
    truth: Array | None,
) -> None:
    """Correlations across cells, mean over features; root mean squared error over all entries."""
    pearson = column_correlations(predicted.log, target)
    spearman = column_correlations(predicted.log, target, ranks=True)
    applied.add(subject, method, "pearson", _mean(pearson))
    applied.add(subject, method, "spearman", _mean(spearman))
    applied.add(subject, method, "rmse", float(np.sqrt(predicted.squared_error)))
    if truth is not None:
        applied.add(
            subject, method, "truth_pearson", _mean(column_correlations(predicted.log, truth))
        )


def _score_proteins(
    applied: Applied, dataset: Dataset, methods: dict[str, Predicted], target: Array
) -> None:
    """Correlations of every protein, from RNA."""
    for method, predicted in methods.items():
        pearson = column_correlations(predicted.log, target)
        spearman = column_correlations(predicted.log, target, ranks=True)
        for i, protein in enumerate(_protein_names(dataset)):
            applied.add(protein, method, "pearson", float(pearson[i]))
            applied.add(protein, method, "spearman", float(spearman[i]))


def _protein_names(dataset: Dataset) -> tuple[str, ...]:
    assert dataset.cells is not None
    return dataset.cells.features[dataset.observed.genes :]


def _arrays(dataset: Dataset, test: Sample, predicted: Predicted) -> dict[str, NDArray[Any]]:
    """Proteins of some test cells as measured and as predicted from RNA, log1p counts."""
    take = np.linspace(0, len(test.rows) - 1, min(len(test.rows), MAX_SHOWN)).astype(np.int64)
    return {
        "proteins": np.array(_protein_names(dataset)),
        "measured": test.log["protein"][take].astype(np.float32),
        "predicted": predicted.log[take].astype(np.float32),
        "labels": dataset.labels[test.rows[take]],
    }
