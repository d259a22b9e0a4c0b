"""Posterior predictive checks: cells that a model simulates, against those that were observed.

Everything is about RNA counts: zero fraction, mean and variance of each gene over cells, and the
zero fraction and total of each cell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import betainc, ndtr, pdtr
from scipy.stats import ks_2samp

from vae_ablation.applications.base import Application
from vae_ablation.applications.denoising import chosen_rows, gene_proportions, row_blocks
from vae_ablation.common.registry import register
from vae_ablation.data.base import Dataset
from vae_ablation.models.posteriors import POSTERIORS
from vae_ablation.models.streams import stream
from vae_ablation.store.applied import Applied
from vae_ablation.store.trained import TrainedRun

COVERAGE = 0.9
_LEAST_DISPERSION = 1e-6

Array = NDArray[np.float64]
Rows = NDArray[np.int64]


@register
class PredictiveChecks(Application):
    """Draw z from q(z given x) and x from p(x given z) for each test cell, at its own context."""

    name: ClassVar[str] = "predictive_checks"

    def missing(self, dataset: Dataset) -> str | None:
        """Zeros and overdispersion are questions about counts."""
        return None if dataset.observed.counts else "holds no counts"

    def apply(
        self, model: TrainedRun, dataset: Dataset, settings: Mapping[str, Any], seed: int
    ) -> Applied:
        """Check the model, and two baselines without any structure between genes.

        These are `gene_poisson` and `gene_negative_binomial`, in closed form.
        """
        rows = chosen_rows(dataset.rows("test"), settings["cells"], seed)
        seen = observed_cells(dataset, rows)
        found = {"vae": simulate(model, dataset, rows, settings["draws"], seed)}
        for name, genes in independent_genes(dataset).items():
            found[name] = genes.predict(dataset, rows, seed)
        applied = Applied(arrays=_arrays("observed", seen) | _cell_arrays("observed", seen))
        applied.arrays.update(_cell_arrays("vae", found["vae"]))
        for method, predicted in found.items():
            applied.arrays.update(_arrays(method, predicted))
            for metric, value in scores(predicted, seen).items():
                applied.add("all", method, metric, value)
        return applied


@dataclass(frozen=True)
class Genes:
    """Statistics of each gene over cells, [genes] each."""

    zero_fraction: Array
    mean: Array
    variance: Array

    @property
    def cv2(self) -> Array:
        """Squared coefficient of variation, variance / mean²; NaN for a gene without counts."""
        square = self.mean**2
        return np.divide(self.variance, square, out=np.full_like(square, np.nan), where=square > 0)


@dataclass(frozen=True)
class Checked:
    """Observed cells, or what was predicted of them.

    Attributes:
        genes: statistics of the genes.
        cell_zeros: genes of a cell without a molecule, [cells] or [draws · cells].
        cell_totals: molecules of a cell, likewise.
        spread: standard deviations of the last two where they are but expected values, or None.
        coverage: share of observed entries within the central 90 % of their predictive
            distribution; None for the observed cells.
    """

    genes: Genes
    cell_zeros: Array
    cell_totals: Array
    spread: tuple[Array, Array] | None = None
    coverage: float | None = None


class Tally:
    """Sums over cells, block by block; a row for each draw.

    Args:
        draws: how often each cell is drawn.
        genes: number of genes.
    """

    def __init__(self, draws: int, genes: int) -> None:
        self.zeros, self.sums, self.squares = np.zeros((3, draws, genes))
        self.cell_zeros: list[Array] = []
        self.cell_totals: list[Array] = []

    def add(self, draw: int, counts: Array) -> None:
        """Counts [cells, genes] of a further block of cells in one draw."""
        empty = counts == 0
        self.zeros[draw] += empty.sum(0)
        self.sums[draw] += counts.sum(0)
        self.squares[draw] += np.square(counts).sum(0)
        self.cell_zeros.append(empty.sum(1).astype(np.float64))
        self.cell_totals.append(counts.sum(1))

    def checked(self, coverage: float | None = None) -> Checked:
        """Statistics over the cells of a draw, averaged over the draws; all cells of all draws."""
        cell_zeros, cell_totals = np.concatenate(self.cell_zeros), np.concatenate(self.cell_totals)
        n = len(cell_zeros) / len(self.sums)
        means = self.sums / n
        variances = (self.squares / n - means**2).clip(0)
        genes = Genes((self.zeros / n).mean(0), means.mean(0), variances.mean(0))
        return Checked(genes, cell_zeros, cell_totals, coverage=coverage)


def observed_cells(dataset: Dataset, rows: Rows) -> Checked:
    """Statistics of the rows as observed."""
    tally = Tally(1, dataset.observed.genes)
    for block in row_blocks(rows, dataset.observed.dims):
        tally.add(0, _rna(dataset, block))
    return tally.checked()


def simulate(model: TrainedRun, dataset: Dataset, rows: Rows, draws: int, seed: int) -> Checked:
    """Predictions of the model for the rows, from `draws` simulations of each.

    For the coverage, the observed count takes its rank among the simulated ones, ties broken at
    random, and a random position within that rank: uniform on (0, 1) where the model is right,
    for any number of draws. With 19 draws, inside is from the lowest to the highest.
    """
    tally, inside = Tally(draws, dataset.observed.genes), []
    generator, ties = stream(seed, "predictive checks"), np.random.default_rng([seed, 12])
    for block in row_blocks(rows, dataset.observed.dims):
        seen = _rna(dataset, block)
        below, equal = np.zeros((2, *seen.shape))
        for draw, counts in enumerate(_draws(model, dataset, block, draws, generator)):
            tally.add(draw, counts)
            below += counts < seen
            equal += counts == seen
        inside.append(_central((below + ties.random(seen.shape) * (equal + 1)) / (draws + 1)))
    return tally.checked(float(np.concatenate(inside).mean()))


def _draws(
    model: TrainedRun, dataset: Dataset, rows: Rows, draws: int, generator: torch.Generator
) -> Iterator[Array]:
    """Simulated RNA counts of the rows, [rows, genes], again and again."""
    context = dataset.context(rows, model.run.condition)
    posterior = model.encode(dataset.x[rows], context)
    point = POSTERIORS[model.run.posterior].deterministic
    std = torch.zeros_like(posterior.std) if point else posterior.std
    for _ in range(draws):
        z = posterior.mean + std * torch.randn(std.shape, generator=generator)
        drawn = model.decode(z, context).sample(generator)[:, : dataset.observed.genes]
        # A density draws what is no count; it is held against counts, so the nearest one stands.
        yield drawn.double().round().clamp(min=0).cpu().numpy()


@dataclass(frozen=True)
class IndependentGenes:
    """Genes that know nothing of each other: mean μ = proportion × library, variance μ + φμ².

    Attributes:
        proportions: [genes].
        dispersion: φ, [genes]; 0 makes a Poisson, anything else a negative binomial.
    """

    proportions: Array
    dispersion: Array

    def predict(self, dataset: Dataset, rows: Rows, seed: int) -> Checked:
        """Predictions for the rows, in closed form."""
        random = np.random.default_rng([seed, 13])
        genes, cells, inside = [], [], []
        for block in row_blocks(rows, dataset.observed.dims):
            mean = dataset.library(block)[:, None] * self.proportions
            empty, variance = self.cdf(np.zeros_like(mean), mean), self.variance(mean)
            genes.append([part.sum(0) for part in (empty, mean, mean**2, variance)])
            spread = empty * (1 - empty)
            cells.append([part.sum(1) for part in (empty, mean, spread, variance)])
            counts = _rna(dataset, block)
            low, high = self.cdf(counts - 1, mean), self.cdf(counts, mean)
            inside.append(_central(low + random.random(low.shape) * (high - low)))
        zero, first, second, noise = np.sum(genes, axis=0) / len(rows)
        empties, totals, *variances = np.concatenate(cells, axis=1)
        return Checked(
            # Variance over cells: the mean of their variances and the variance of their means.
            Genes(zero, first, noise + (second - first**2).clip(0)), empties, totals,
            (np.sqrt(variances[0]), np.sqrt(variances[1])), float(np.concatenate(inside).mean()),
        )  # fmt: skip

    def variance(self, mean: Array) -> Array:
        """μ + φμ² for means [cells, genes]."""
        return mean + self.dispersion * mean**2

    def cdf(self, counts: Array, mean: Array) -> Array:
        """P(x ≤ counts), [cells, genes], for whole counts ≥ −1.

        Negative binomial with r = 1/φ: the regularised incomplete beta function of
        1/(1 + φμ) at r and counts + 1.
        """
        found = pdtr(counts.clip(0), mean)
        wide = self.dispersion > 0
        size = 1 / self.dispersion[wide]
        found[:, wide] = betainc(size, counts[:, wide].clip(0) + 1, size / (size + mean[:, wide]))
        return np.where(counts < 0, 0.0, found)


def independent_genes(dataset: Dataset) -> dict[str, IndependentGenes]:
    """Both baselines, fitted to the train split.

    The method of moments takes φ = Σ((x − μ)² − μ) / Σμ² over cells, per gene; 0 where a gene
    varies no more than a Poisson.
    """
    proportions = gene_proportions(dataset)
    excess, squares = np.zeros((2, len(proportions)))
    for block in row_blocks(dataset.rows("train"), dataset.observed.dims):
        mean = dataset.library(block)[:, None] * proportions
        excess += (np.square(_rna(dataset, block) - mean) - mean).sum(0)
        squares += np.square(mean).sum(0)
    dispersion = np.divide(excess, squares, out=np.zeros_like(excess), where=squares > 0)
    dispersion[dispersion < _LEAST_DISPERSION] = 0
    return {
        "gene_poisson": IndependentGenes(proportions, np.zeros_like(proportions)),
        "gene_negative_binomial": IndependentGenes(proportions, dispersion),
    }


def scores(predicted: Checked, seen: Checked) -> dict[str, float | None]:
    """Differences of predicted cells from observed ones.

    Errors of logarithms are over the genes that vary on both sides, since log 0 is undefined.
    """
    mine, theirs = predicted.genes, seen.genes
    zeros = theirs.zero_fraction - mine.zero_fraction
    spreads = predicted.spread or (None, None)
    return {
        "zero_fraction_error": float(np.abs(zeros).mean()),
        "zero_inflation": float(zeros.mean()),
        "log_mean_rmse": _log_rmse(mine.mean, theirs.mean),
        "log_variance_rmse": _log_rmse(mine.variance, theirs.variance),
        "log_cv2_rmse": _log_rmse(mine.cv2, theirs.cv2),
        "cell_zero_fraction_ks": ks_distance(predicted.cell_zeros, seen.cell_zeros, spreads[0]),
        "cell_total_ks": ks_distance(predicted.cell_totals, seen.cell_totals, spreads[1]),
        "coverage": predicted.coverage,
    }


def ks_distance(predicted: Array, seen: Array, spread: Array | None) -> float:
    """Kolmogorov–Smirnov distance of predicted numbers from observed whole ones, 0 to 1.

    Args:
        predicted: drawn numbers, or expected ones.
        seen: observed whole numbers.
        spread: standard deviation of each expected number, a sum over many independent genes: their
            mixture of normals, with the continuity correction, is what is compared. None for draws.
    """
    if spread is None:
        return float(ks_2samp(seen, predicted, method="asymp").statistic)
    # The observed distribution is flat between two observed numbers and the predicted one rises,
    # so that they are farthest apart at such a number or just below it.
    at = np.unique(np.concatenate([seen, seen - 1]))
    share = np.searchsorted(np.sort(seen), at, side="right") / len(seen)
    width = np.maximum(spread, 1e-9)
    expected = np.array([ndtr((number + 0.5 - predicted) / width).mean() for number in at])
    return float(np.abs(share - expected).max())


def _log_rmse(a: Array, b: Array) -> float | None:
    both = (a > 0) & (b > 0)
    if not both.any():
        return None
    return float(np.sqrt(np.mean(np.log(a[both] / b[both]) ** 2)))


def _central(place: Array) -> NDArray[np.bool_]:
    """Whether places in (0, 1) of a distribution are in its central 90 %."""
    return np.abs(place - 0.5) <= COVERAGE / 2


def _rna(dataset: Dataset, rows: Rows) -> Array:
    return dataset.rna(rows).astype(np.float64)


def _arrays(of: str, cells: Checked) -> dict[str, NDArray[Any]]:
    """Statistics of the genes, under names that begin with whose they are."""
    found = {
        "zero_fraction": cells.genes.zero_fraction,
        "mean": cells.genes.mean,
        "variance": cells.genes.variance,
    }
    return {f"{of}_{name}": values.astype(np.float32) for name, values in found.items()}


def _cell_arrays(of: str, cells: Checked) -> dict[str, NDArray[Any]]:
    """Quantiles of what cells differ in, at 101 even levels from 0 to 1."""
    levels = np.linspace(0, 1, 101)
    share = cells.cell_zeros / len(cells.genes.mean)
    found = {"cell_zero_fraction": share, "cell_total": cells.cell_totals}
    return {
        f"{of}_{name}": np.quantile(values, levels).astype(np.float32)
        for name, values in found.items()
    }
