"""Denoising: predictions of removed counts, against the counts before removal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy
from scipy.stats import rankdata

from vae_ablation.applications.base import Application
from vae_ablation.common.registry import register
from vae_ablation.data.base import Dataset
from vae_ablation.data.counts import log_normalized
from vae_ablation.store.applied import Applied
from vae_ablation.store.trained import TrainedRun

TARGET = 1e4
"""Library size to which errors are scaled before the logarithm."""
LEAST_MEAN = 1e-4
"""Predicted means are raised to this many molecules: a deviance from 0 would be infinite."""
_BLOCK_VALUES = 2**22
_PCA_VALUES = 2**25

Array = NDArray[np.float64]
Rows = NDArray[np.int64]


@register
class Denoising(Application):
    """Counts were thinned or zeroed before training; score what is predicted in their place.

    With either kind a share s of the counts is gone, wherever they were: the mean of a corrupted
    count is 1 − s times that of the clean one. What has learned from corrupted counts predicts the
    former, and is divided by 1 − s to predict the latter.
    """

    name: ClassVar[str] = "denoising"

    def missing(self, dataset: Dataset) -> str | None:
        """Data that were not corrupted on purpose have no known clean counts."""
        if dataset.clean is None or dataset.corruption is None:
            return "was not corrupted before training (its option `corrupt` is off)"
        return None

    def apply(
        self, model: TrainedRun, dataset: Dataset, settings: Mapping[str, Any], seed: int
    ) -> Applied:
        """Score the model and the baselines on RNA counts of test cells.

        Subjects: of thinned data `all` entries, and what was `removed`; of zeroed data the positive
        counts that were `zeroed`, and as many that were `left_alone`. Baselines: `gene_mean`,
        `log_pca`, and `observed`, the corrupted counts themselves.
        """
        assert dataset.clean is not None
        assert dataset.corruption is not None
        kind, share = dataset.corruption["kind"], float(dataset.corruption["share"])
        rows = chosen_rows(dataset.rows("test"), settings["cells"], seed)
        clean, corrupted = (
            counts[rows][:, : dataset.observed.genes].astype(np.float64)
            for counts in (dataset.clean, dataset.x)
        )
        learned = _learned(model, dataset, rows, seed)
        predicted = {method: counts / (1 - share) for method, counts in learned.items()}
        # A thinned count has lost its share; a count that was not zeroed is still whole.
        predicted["observed"] = corrupted / (1 - share) if kind == "thin" else corrupted
        targets = (
            thinned_targets(clean, corrupted, share)
            if kind == "thin"
            else zeroed_targets(clean, corrupted, seed)
        )
        outside = 0 if dataset.outside is None else dataset.outside[rows]
        library, truth = np.maximum(clean.sum(1) + outside, 1), _noise_free(dataset, rows)
        applied = Applied()
        for method, counts in predicted.items():
            for subject, target in targets.items():
                for metric, value in denoising_scores(counts, target, library, truth).items():
                    applied.add(subject, method, metric, value)
        if applied.scores:
            return applied
        return Applied(reason=f"needs test cells with zeroed counts, and {_none_zeroed(clean)}")


def _none_zeroed(clean: Array) -> str:
    """Why no count of clean cells was zeroed."""
    positive = int((clean > 0).sum())
    return f"none of their {positive} positive counts was" if positive else "they have no counts"


@dataclass(frozen=True)
class Target:
    """Counts that predictions are scored against.

    Attributes:
        counts: [cells, genes].
        part: what part of the clean counts these are on average; predictions are scaled to it.
        entries: flat positions that are scored, or None for all.
        errors: whether errors are scored beside deviance and ranks. They favour the mean of the
            logarithm over the logarithm of the mean, the more so the fewer molecules there are.
    """

    counts: Array
    part: float = 1.0
    entries: NDArray[np.int64] | None = None
    errors: bool = True

    def of(self, values: Array) -> Array:
        """The values [cells, genes] at the places that are scored, flat."""
        return values.ravel() if self.entries is None else values.ravel()[self.entries]


def _learned(model: TrainedRun, dataset: Dataset, rows: Rows, seed: int) -> dict[str, Array]:
    """Corrupted counts as each method that has learned from them predicts them, [rows, genes]."""
    return {
        "vae": decoded_means(model, dataset, rows),
        "gene_mean": dataset.library(rows)[:, None] * gene_proportions(dataset),
        "log_pca": log_pca(dataset, rows, model.run.latent_dim, seed),
    }


def chosen_rows(rows: Rows, most: int, seed: int) -> Rows:
    """At most `most` of the rows, drawn without replacement, in their order."""
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng([seed, 11]).choice(rows, most, replace=False))


def row_blocks(rows: Rows, dims: int) -> Iterator[Rows]:
    """Consecutive parts of the rows, small enough that few arrays [part, dims] fit in memory."""
    size = max(1, _BLOCK_VALUES // dims)
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def gene_proportions(dataset: Dataset) -> Array:
    """Share of each gene in the RNA counts of the train split, [genes].

    All counts of a gene over all counts, those of genes outside the data included: with Poisson
    counts of mean proportion × library size, the maximum-likelihood proportions.
    """
    total = np.zeros(dataset.observed.genes)
    for block in row_blocks(dataset.rows("train"), dataset.observed.dims):
        total += dataset.rna(block).sum(0, dtype=np.float64)
    outside = 0 if dataset.outside is None else dataset.outside[dataset.rows("train")].sum()
    return total / max(total.sum() + outside, 1.0)


def decoded_means(model: TrainedRun, dataset: Dataset, rows: Rows) -> Array:
    """Mean RNA counts at the posterior mean of each row, [rows, genes], at its own library size."""
    genes, parts = dataset.observed.genes, []
    for block in row_blocks(rows, dataset.observed.dims):
        context = dataset.context(block, model.run.condition)
        posterior = model.encode(dataset.x[block], context)
        means = model.decode(posterior.mean, context).mean[:, :genes]
        parts.append(means.double().cpu().numpy().clip(0))
    return np.concatenate(parts)


def log_pca(dataset: Dataset, rows: Rows, components: int, seed: int) -> Array:
    """RNA counts of the rows rebuilt from principal components of log-normalised train counts.

    Args:
        dataset: the prepared dataset.
        rows: cells to rebuild.
        components: as many as the model has latent dimensions, where the data have them.
        seed: of the train cells that are used where there are too many, and of the solver.

    Returns:
        [rows, genes], not below 0, at the cells' own library size.
    """
    from sklearn.decomposition import PCA

    genes = dataset.observed.genes
    train = chosen_rows(dataset.rows("train"), max(2, _PCA_VALUES // genes), seed)
    known = log_normalized(dataset.rna(train), dataset.library(train), TARGET)
    pca = PCA(min(components, *known.shape), random_state=seed).fit(known)
    library = dataset.library(rows)
    seen = log_normalized(dataset.rna(rows), library, TARGET)
    rebuilt = pca.inverse_transform(pca.transform(seen)).astype(np.float64)
    return np.expm1(rebuilt).clip(0) * library[:, None] / TARGET


def thinned_targets(clean: Array, corrupted: Array, share: float) -> dict[str, Target]:
    """Every clean count, and the molecules that were removed.

    Clean counts hold what was observed, noise included: where less than half was removed, to repeat
    the observed counts comes closer to them than the true means do. Removed molecules are fairer:
    independent of the observed ones given the means where counts are Poisson (Batson, Royer and
    Webber 2019, molecular cross-validation).
    """
    return {"all": Target(clean), "removed": Target(clean - corrupted, share, errors=False)}


def zeroed_targets(clean: Array, corrupted: Array, seed: int) -> dict[str, Target]:
    """Positive counts that were zeroed, and as many that were left alone.

    The zeroed ones were drawn without regard to gene, cell and value, so that a plain draw from the
    others matches them in all three.
    """
    positive = clean.ravel() > 0
    gone = positive & (corrupted.ravel() == 0)
    zeroed, others = np.flatnonzero(gone), np.flatnonzero(positive & ~gone)
    alone = chosen_rows(others, len(zeroed), seed)
    return {"zeroed": Target(clean, 1.0, zeroed), "left_alone": Target(clean, 1.0, alone)}


def denoising_scores(
    predicted: Array, target: Target, library: Array, truth: Array | None = None
) -> dict[str, float | None]:
    """Scores of predictions of clean counts against the target.

    Both are scaled to 10,000 molecules by the library size of the clean cell, and compared as
    log1p. The Poisson deviance is of the counts as they are, in nats per entry.

    Args:
        predicted: [cells, genes] predicted clean counts.
        target: what is scored.
        library: library size of the clean cells, [cells].
        truth: proportions without noise, [cells, genes], or None where they are not known.
    """
    counts, mean = target.of(target.counts), target.of(predicted) * target.part
    if not counts.size:
        return {}
    guess = target.of(log_normalized(predicted, library, TARGET))
    wanted = target.of(log_normalized(target.counts / target.part, library, TARGET))
    return {
        **(_errors(guess, wanted) if target.errors else {}),
        "spearman": spearman(guess, wanted),
        "truth_spearman": None if truth is None else spearman(guess, target.of(truth)),
        "poisson_deviance": poisson_deviance(mean, counts),
    }


def _errors(guess: Array, wanted: Array) -> dict[str, float]:
    error = np.abs(guess - wanted)
    return {
        "median_absolute_error": float(np.median(error)),
        "mean_absolute_error": float(error.mean()),
        "rmse": float(np.sqrt(np.square(error).mean())),
    }


def spearman(a: NDArray[np.floating], b: NDArray[np.floating]) -> float | None:
    """Rank correlation, ties at their mean rank; None where one side has a single value."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def poisson_deviance(mean: Array, counts: Array) -> float:
    """Mean of 2·(x·log(x/μ) − x + μ), nats per entry; μ is raised to LEAST_MEAN."""
    mean = np.maximum(mean, LEAST_MEAN)
    return float(2 * np.mean(xlogy(counts, counts / mean) - counts + mean))


def _noise_free(dataset: Dataset, rows: Rows) -> Array | None:
    """The proportions that simulated cells were drawn with, [rows, genes], or None."""
    truth = None if dataset.cells is None else dataset.cells.truth.get("cell/proportions")
    return None if truth is None else np.asarray(truth[rows], dtype=np.float64)
