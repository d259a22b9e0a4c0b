"""Control rows: what no trained VAE is needed for, in the same columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vae_ablation.common.isolation import Isolated
from vae_ablation.data.base import Dataset
from vae_ablation.data.examples import spaced
from vae_ablation.data.loading import Examples
from vae_ablation.evaluation.bounds import example_blocks
from vae_ablation.evaluation.codes import active_units
from vae_ablation.evaluation.context import CodeContext
from vae_ablation.evaluation.families import FAMILIES
from vae_ablation.evaluation.family import defined
from vae_ablation.evaluation.features import FITTED_VALUES, FeatureNetworks, seen
from vae_ablation.evaluation.pack import measure_columns
from vae_ablation.evaluation.samples import RealFeatures, quality_columns
from vae_ablation.models.streams import seeded
from vae_ablation.models.vae import Encoder
from vae_ablation.study.control_plan import ControlPlan
from vae_ablation.study.run import Run

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Spectrum:
    """Mean and covariance of data: what every principal component analysis of them begins with.

    Attributes:
        mean: [dims].
        values: eigenvalues of the population covariance, descending, [dims].
        vectors: its eigenvectors, [dims, dims], a column each.
    """

    mean: Array
    values: Array
    vectors: Array

    @classmethod
    def of(cls, x: NDArray[np.floating]) -> Spectrum:
        """The spectrum of x [n, dims], in float64."""
        wide = x.astype(np.float64)
        values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(wide, rowvar=False, bias=True)))
        return cls(wide.mean(0), values[::-1], vectors[:, ::-1])

    def sample(self, count: int, random: np.random.Generator) -> Array:
        """Draws from the Gaussian of this mean and full covariance, [count, dims]."""
        scaled = random.normal(size=(count, len(self.mean))) * np.sqrt(self.values.clip(min=0))
        return np.asarray(self.mean + scaled @ self.vectors.T)


@dataclass(frozen=True)
class ProbabilisticPCA:
    """p(x) = N(mean, WWᵀ + σ²I) at its maximum likelihood (Tipping and Bishop 1999).

    Attributes:
        mean: [dims].
        weights: W, [dims, latent].
        variance: σ².
    """

    mean: Array
    weights: Array
    variance: float

    @classmethod
    def fit(
        cls, x: NDArray[np.floating], latent_dim: int, variance: float | None
    ) -> ProbabilisticPCA:
        """Fit to x [n, dims]; σ² given, or None for its maximum-likelihood value."""
        return cls.of(Spectrum.of(x), latent_dim, variance)

    @classmethod
    def of(cls, data: Spectrum, latent_dim: int, variance: float | None) -> ProbabilisticPCA:
        """Fit to data of this spectrum; see `fit`."""
        if variance is None:
            rest = data.values[latent_dim:]
            variance = max(float(rest.mean()) if len(rest) else 0.0, 1e-6)
        scale = np.sqrt(np.maximum(data.values[:latent_dim] - variance, 0))
        return cls(data.mean, data.vectors[:, :latent_dim] * scale, variance)

    def codes(self, x: NDArray[np.floating]) -> Array:
        """Posterior means M⁻¹Wᵀ(x − mean), M = WᵀW + σ²I: [n, latent]."""
        inner = self.weights.T @ self.weights + self.variance * np.eye(self.weights.shape[1])
        centred = x.astype(np.float64) - self.mean
        return np.asarray(np.linalg.solve(inner, self.weights.T @ centred.T).T, dtype=np.float64)

    def decode(self, codes: Array) -> Array:
        """E[x given z], [n, dims]."""
        return np.asarray(self.mean + codes @ self.weights.T, dtype=np.float64)

    def sample(self, count: int, random: np.random.Generator, noise: bool) -> Array:
        """E[x given z] at z ~ N(0, I), [count, dims]; with `noise`, draws of x."""
        means = self.decode(random.normal(size=(count, self.weights.shape[1])))
        if not noise:
            return means
        return means + np.sqrt(self.variance) * random.normal(size=means.shape)

    def nll(self, x: NDArray[np.floating]) -> float:
        """−log N(x; mean, WWᵀ + σ²I), mean over x [n, dims]; nats per example."""
        dims = len(self.mean)
        covariance = self.weights @ self.weights.T + self.variance * np.eye(dims)
        factor = np.linalg.cholesky(covariance)
        white = np.linalg.solve(factor, (x.astype(np.float64) - self.mean).T)
        log_det = 2 * np.log(np.diag(factor)).sum()
        return float(0.5 * (np.square(white).sum(0).mean() + log_det + dims * np.log(2 * np.pi)))


@dataclass(frozen=True)
class LinearOptimum:
    """The optimum of a linear β-VAE with a Gaussian decoder of fixed σ, on its train data.

    It is probabilistic PCA with noise variance βσ² (Lucas et al. 2019): of the covariance's
    eigenvalues λ, those above βσ² are active, and with W = U(Λ − βσ²I)^½ the posterior is exact
    under that variance: mean (λ − βσ²)^½ λ⁻¹ uᵀ(x − m), variance βσ²/λ.

    Attributes:
        mean: m of the train rows, [dims].
        directions: eigenvectors u of the active dimensions, [dims, active].
        values: their eigenvalues λ, [active].
        noise: βσ².
        variance: σ².
    """

    mean: Array
    directions: Array
    values: Array
    noise: float
    variance: float

    @classmethod
    def fit(
        cls, x: NDArray[np.floating], latent_dim: int, beta: float, sigma: float
    ) -> LinearOptimum:
        """The optimum for train rows x [n, dims]."""
        return cls.of(Spectrum.of(x), latent_dim, beta, sigma)

    @classmethod
    def of(cls, data: Spectrum, latent_dim: int, beta: float, sigma: float) -> LinearOptimum:
        """The optimum for train rows of this spectrum."""
        noise = beta * sigma**2
        active = min(latent_dim, int((data.values > noise).sum()))
        directions, values = data.vectors[:, :active], data.values[:active]
        return cls(data.mean, directions, values, noise, sigma**2)

    def codes(self, x: NDArray[np.floating]) -> Array:
        """Posterior means of the active dimensions, [n, active]."""
        projected = (x.astype(np.float64) - self.mean) @ self.directions
        return np.asarray(projected * np.sqrt(self.values - self.noise) / self.values)

    def decode(self, codes: Array) -> Array:
        """E[x given z], [n, dims]."""
        return np.asarray(
            self.mean + (codes * np.sqrt(self.values - self.noise)) @ self.directions.T
        )

    def rate(self, x: NDArray[np.floating]) -> float:
        """Mean KL to the prior over x [n, dims], nats."""
        share = self.noise / self.values
        means = np.square(self.codes(x)).mean(0)
        return float(0.5 * (means + share - 1 - np.log(share)).sum())

    def distortion(self, x: NDArray[np.floating]) -> float:
        """Mean of E_q[−log p(x given z)] over x [n, dims], nats."""
        error = np.square(x - self.decode(self.codes(x))).sum(1).mean()
        spread = ((self.values - self.noise) * self.noise / self.values).sum()
        constant = 0.5 * len(self.mean) * np.log(2 * np.pi * self.variance)
        return float(0.5 * (error + spread) / self.variance + constant)


def control_rows(
    dataset: Dataset,
    runs: Sequence[Run],
    model: Mapping[str, Any],
    seed: int,
    extractor: FeatureNetworks | None = None,
    draws: int = 1,
) -> list[dict[str, Any]]:
    """Rows of metrics.csv for the raw data, PCA and untrained encoders of a dataset.

    Beside them two generators that bound the quality of samples: `real`, train examples themselves,
    and `full_gaussian`, draws from a Gaussian with the data's mean and covariance.

    A row in which an error arises that nobody foresaw is failed, with its reason; the others stay.

    Args:
        dataset: the prepared dataset.
        runs: the study's runs on it: their latent dimensions and seeds are controlled for.
        model: the config's model section.
        seed: of the evaluation.
        extractor: features of the dataset; None leaves out what samples are measured by.
        draws: sets of samples of each control, as many in each as held-out examples.
    """
    plan = ControlPlan.of(runs, model)
    train = cache(lambda: Spectrum.of(_data(dataset, "train")))
    samples = None if extractor is None else ControlSamples(dataset, extractor, seed, draws)
    rows = [_row(dataset, ("raw",), lambda: _raw_row(dataset, seed))]
    if samples is not None:
        rows.append(_row(dataset, ("real",), lambda: _real_row(dataset, samples)))
        compute = partial(_full_gaussian_row, dataset, train, samples)
        rows.append(_row(dataset, ("full_gaussian",), compute))
    for dim in plan.latent_dims:
        compute = partial(_pca_row, dataset, train, dim, plan.gaussian, model, seed, samples)
        rows.append(_row(dataset, ("pca", f"z{dim}"), compute, dim))
    for start in plan.starts:
        compute = partial(_untrained_row, dataset, *start, model, seed)
        dim, *further = start
        rows.append(_row(dataset, ("untrained", f"z{dim}", *map(str, further)), compute, dim))
    for dim, beta in plan.optima:
        compute = partial(_optimum_row, dataset, train, dim, beta, model, seed)
        rows.append(_row(dataset, ("optimum", f"z{dim}", f"beta{beta:g}"), compute, dim))
    return rows


def _row(
    dataset: Dataset,
    path: tuple[str, ...],
    compute: Callable[[], dict[str, Any]],
    latent_dim: int | None = None,
) -> dict[str, Any]:
    """A control row, or a failed one in its place.

    Args:
        dataset: the prepared dataset.
        path: the control's name, then what tells its rows apart.
        compute: gives the row.
        latent_dim: of the row, where it has one.
    """
    part = Isolated(f"controls of {dataset.name}")
    failed: dict[str, Any] = {
        "run": "/".join([dataset.name, *path]),
        "model": path[0],
        "dataset": dataset.name,
        **({} if latent_dim is None else {"latent_dim": latent_dim}),
        "status": "failed",
    }
    row = part("/".join(path), compute, failed)
    return row | {"reason": part.reason} if part.reasons else row


def _optimum_row(
    dataset: Dataset,
    data: Callable[[], Spectrum],
    latent_dim: int,
    beta: float,
    model: Mapping[str, Any],
    seed: int,
) -> dict[str, Any]:
    train, test = _data(dataset, "train"), _data(dataset, "test")
    best = LinearOptimum.of(data(), latent_dim, beta, model["gaussian_sigma"])
    codes, rate, distortion = best.codes(test), best.rate(test), best.distortion(test)
    active = active_units(codes)
    return {
        "run": f"{dataset.name}/optimum/z{latent_dim}/beta{beta:g}",
        "model": "optimum",
        "dataset": dataset.name,
        "likelihood": "gaussian",
        "latent_dim": latent_dim,
        "beta": beta,
        "kl": True,
        "arm": f"beta{beta:g}",
        "distortion": distortion,
        "rate": rate,
        "elbo": -(distortion + rate),
        "test_objective": distortion + beta * rate,
        "active_units": active,
        "collapsed_fraction": 1 - active / latent_dim,
        "mse": float(np.square(best.decode(codes) - dataset.intensities("test")).mean()),
        **measure_columns("gaussian", dataset.observed, model),
        **_code_columns(_context(dataset, best.codes(train), codes, seed), "codes"),
    }


def _data(dataset: Dataset, split: str) -> NDArray[np.float32]:
    """Inputs of codes that are not learned: x as observed, or as counts are compared.

    Of very many cells, and of the train split of pictures on disk, those that stand for all in
    `FITTED_VALUES` numbers.
    """
    if dataset.observed.counts:
        return seen(dataset, split, _most(dataset))
    count = len(dataset.rows(split))
    return dataset.observe(split, spaced(count, _most(dataset)) if split == "train" else _EVERY)


_EVERY = slice(None)


def _most(dataset: Dataset) -> int:
    """Examples that controls are fitted to."""
    if not dataset.observed.counts and isinstance(dataset.x, np.ndarray):
        return len(dataset.split)
    return max(1, FITTED_VALUES // dataset.observed.dims)


def _fitted_rows(dataset: Dataset) -> NDArray[np.int64]:
    """Positions of the train examples that `_data` gives."""
    rows = dataset.rows("train")
    return rows[spaced(len(rows), _most(dataset))]


def _context(
    dataset: Dataset,
    train: NDArray[np.floating],
    test: NDArray[np.floating],
    seed: int,
    **known: Any,
) -> CodeContext:
    """Context of codes of the examples that controls are fitted to, and of the test split."""
    return CodeContext(dataset, seed, test, train, _fitted_rows(dataset), **known)


def _code_columns(context: CodeContext, *left_out: str) -> dict[str, Any]:
    """Columns of every family that asks for codes alone, but for some; none where there is no code.

    An error that nobody foresaw costs the columns of its family, which `reason` names.

    Args:
        context: the control's codes.
        left_out: names of families that say nothing of this control.
    """
    if not context.codes.shape[1]:
        return {}
    part, none = Isolated(f"controls of {context.dataset.name}"), dict[str, Any]()
    columns: dict[str, Any] = {}
    for each in FAMILIES.values():
        if each.codes and each.name not in left_out:
            columns |= part(each.name, partial(each, context), none)
    return defined(columns) | ({"reason": part.reason} if part.reasons else {})


class ControlSamples:
    """Samples of controls, measured as those of runs are.

    Args:
        dataset: the prepared dataset.
        extractor: its features.
        seed: of the evaluation.
        draws: sets of samples, as many in each as held-out examples.
    """

    def __init__(self, dataset: Dataset, extractor: FeatureNetworks, seed: int, draws: int) -> None:
        self.real = cache(lambda: RealFeatures.of(dataset, extractor, seed))
        self.seed = seed
        self.draws = draws

    def columns(self, sample: Callable[[int, np.random.Generator], Array]) -> dict[str, Any]:
        """Columns of a generator: from a count and a stream to x as `_data` has it."""
        real = self.real()
        random, count = np.random.default_rng([self.seed, 1]), len(real.rows)
        sets = [torch.from_numpy(sample(count, random)).float() for _ in range(self.draws)]
        features = torch.stack([real.extractor.seen(one) for one in sets])
        return self._known(features.transpose(1, 2))

    def of_real_data(self) -> dict[str, Any]:
        """Columns of train examples: of the draws that the floor is a mean over."""
        return self._known(torch.from_numpy(self.real().train))

    def _known(self, sets: torch.Tensor) -> dict[str, Any]:
        """Columns of sets of features [draws, networks, n, features], with those of the data."""
        real = self.real()
        found = {**quality_columns(sets, real), "sample_fid_floor": real.floor}
        found["feature_accuracy"] = real.extractor.accuracy
        plain = {name: value for name, value in found.items() if not isinstance(value, list)}
        return {name: value for name, value in plain.items() if value is not None}


def _real_row(dataset: Dataset, samples: ControlSamples) -> dict[str, Any]:
    return {
        "run": f"{dataset.name}/real",
        "model": "real",
        "dataset": dataset.name,
        **samples.of_real_data(),
    }


def _full_gaussian_row(
    dataset: Dataset, data: Callable[[], Spectrum], samples: ControlSamples
) -> dict[str, Any]:
    return {
        "run": f"{dataset.name}/full_gaussian",
        "model": "full_gaussian",
        "dataset": dataset.name,
        **samples.columns(data().sample),
    }


def _raw_row(dataset: Dataset, seed: int) -> dict[str, Any]:
    train, test = _data(dataset, "train"), _data(dataset, "test")
    return {
        "run": f"{dataset.name}/raw",
        "model": "raw",
        "dataset": dataset.name,
        **_code_columns(_context(dataset, train, test, seed), "codes"),
    }


def _pca_row(
    dataset: Dataset,
    data: Callable[[], Spectrum],
    latent_dim: int,
    gaussian: bool,
    model: Mapping[str, Any],
    seed: int,
    samples: ControlSamples | None,
) -> dict[str, Any]:
    """PCA with the gaussian arms' own σ²; its nll only where those have one scalar scale."""
    scale = model["gaussian_scale"]
    fixed = gaussian and scale == "fixed"
    variance = model["gaussian_sigma"] ** 2 if fixed else None
    train, test = _data(dataset, "train"), _data(dataset, "test")
    pca = ProbabilisticPCA.of(data(), latent_dim, variance)
    codes = pca.codes(test)
    counts = dataset.observed.counts
    error = pca.decode(codes) - (test if counts else dataset.intensities("test"))
    row = {
        "run": f"{dataset.name}/pca/z{latent_dim}",
        "model": "pca",
        "dataset": dataset.name,
        "latent_dim": latent_dim,
        "mse_log1p" if counts else "mse": float(np.square(error).mean()),
        **_code_columns(
            _context(dataset, pca.codes(train), codes, seed, scaled=True, latent_dim=latent_dim)
        ),
        **({} if samples is None else samples.columns(partial(pca.sample, noise=counts))),
    }
    if gaussian and scale != "learned_per_dimension":
        row |= {"likelihood": "gaussian", "nll": pca.nll(test)}
        row |= measure_columns("gaussian", dataset.observed, model)
    return row


@torch.no_grad()
def _untrained_row(
    dataset: Dataset,
    latent_dim: int,
    architecture: str,
    condition: str,
    run_seed: int,
    model: Mapping[str, Any],
    seed: int,
) -> dict[str, Any]:
    """The encoder that the runs of this seed start from, whatever their likelihood."""
    with seeded(run_seed, "encoder weights"):
        encoder = Encoder(dataset.observed, latent_dim, model, architecture, condition=condition)
    encoder.eval()
    cpu = torch.device("cpu")
    fitted, held_out = (Examples.of(dataset, split, condition, cpu) for split in ("train", "test"))
    encoder.center_on(fitted.sample())
    train, test = (
        encode_mean(encoder, examples).numpy()
        for examples in (fitted.spaced(_most(dataset)), held_out)
    )
    further = [*([architecture] if architecture != "mlp" else [])]
    further += [f"given-{condition}"] if condition != "none" else []
    return {
        "run": f"{dataset.name}/{'-'.join(['untrained', *further])}/z{latent_dim}/seed{run_seed}",
        "model": "untrained",
        "dataset": dataset.name,
        "latent_dim": latent_dim,
        "architecture": architecture,
        "condition": condition,
        "seed": run_seed,
        **_code_columns(_context(dataset, train, test, seed)),
    }


def encode_mean(encoder: Encoder, examples: Examples) -> torch.Tensor:
    """Posterior means of examples in blocks: [n, latent]."""
    blocks = example_blocks(len(examples), 16 * examples.x.shape[1])
    return torch.cat([encoder(*examples.at(rows)).mean for rows in blocks])
