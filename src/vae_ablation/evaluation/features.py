"""Features in which samples are compared with data: at most 16, fitted once per dataset."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from vae_ablation.common.errors import UserError
from vae_ablation.common.files import UNREADABLE_NPZ, write_atomic
from vae_ablation.data.base import Dataset
from vae_ablation.data.examples import spaced
from vae_ablation.models.streams import seeded, stream
from vae_ablation.training.optimizer import StackedAdam

KINDS = ("classifier", "pca")

NETWORKS = 3
"""Classifiers per dataset, from other initial weights and in another order of the examples.

The choice of one moves the Fréchet distance of a good model by 12 to 33 %: distances are means over
them, and their spread is the resolution of the comparison.
"""

FEATURES = 16
"""Most features: the bias of a Fréchet distance of n examples grows with features² / n."""

HIDDEN = 128
LEARNING_RATE = 3e-3
BATCH = 128
PATIENCE = 5
MAX_EPOCHS = 100

SHRINKAGE = 0.3
"""Weight of the mean squared feature in the classifier's loss.

Without it the features end near ±1, where they name the class and no longer see how well a digit
is drawn: MNIST blurred by a mean over 3×3 pixels is then 0.08 from sharp MNIST in Fréchet distance,
where it is 1.6 with it.
"""

FITTED_VALUES = 50_000_000
"""Most numbers (examples times dimensions) to fit on: all of MNIST."""

VISITED_VALUES = 400_000_000
"""Most numbers that training sees over all epochs: ten seconds on one core."""

# and what torch raises for weights of other shapes
_UNREADABLE = (*UNREADABLE_NPZ, IndexError)


@dataclass(frozen=True)
class FeatureExtractor:
    """A map from intensities, or log counts, to features with mean 0 over the train split.

    Counts of RNA are seen as log1p of library-normalised values, those of proteins as log1p.

    Attributes:
        kind: "classifier" (activations of its last hidden layer, each with variance 1) or "pca"
            (principal components over one common scale, for data without labels).
        network: from intensities to activations or components.
        centre: [features] float64 mean over the train split.
        scale: [features] float64 what a feature is divided by.
        accuracy: of the classifier on the labelled examples of the test split; None without one.
        genes: how many of the first dimensions count RNA; None where x are no counts.
    """

    kind: str
    network: nn.Sequential
    centre: Tensor
    scale: Tensor
    accuracy: float | None
    genes: int | None = None

    def seen(self, values: Tensor) -> Tensor:
        """Features [..., features] float64 of values [..., dims] as `seen` gives them."""
        broken = ~values.isfinite().all(-1, keepdim=True)
        activations = self.network.to(values.device)(values).double()
        standard = (activations - self.centre.to(values.device)) / self.scale.to(values.device)
        return standard.masked_fill(broken, float("nan"))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Stored form: arrays by name."""
        found: dict[str, NDArray[Any]] = {
            "kind": np.array(self.kind),
            "centre": self.centre.numpy(),
            "scale": self.scale.numpy(),
            **{name: leaf.cpu().numpy() for name, leaf in self.network.state_dict().items()},
        }
        if self.accuracy is not None:
            found["accuracy"] = np.array(self.accuracy)
        if self.genes is not None:
            found["genes"] = np.array(self.genes)
        return found


@dataclass(frozen=True)
class FeatureNetworks:
    """Feature extractors of one dataset: what is compared in features is compared in each of them.

    Attributes:
        extractors: of the same kind and the same number of features; NETWORKS classifiers, or the
            principal components alone, of which there is one set.
    """

    extractors: Sequence[FeatureExtractor]

    def __len__(self) -> int:
        return len(self.extractors)

    @property
    def accuracy(self) -> float | None:
        """Mean test accuracy of the classifiers; None without one."""
        known = [one.accuracy for one in self.extractors if one.accuracy is not None]
        return float(np.mean(known)) if known else None

    @torch.no_grad()
    def __call__(self, x: Tensor | NDArray[np.floating], library: Tensor | None = None) -> Tensor:
        """Intensities or counts [..., dims] → features [..., networks, features] float64.

        Counts of genes outside x are known from the library size alone: [..., 1], given where the
        data's includes them (see `log_counts`). An example with a value that is not finite has NaN
        features: tanh would hide it.
        """
        values = torch.as_tensor(x, dtype=torch.float32)
        genes = self.extractors[0].genes
        return self.seen(values if genes is None else log_counts(values, genes, library))

    @torch.no_grad()
    def seen(self, values: Tensor) -> Tensor:
        """The same of values [..., dims] as `seen` gives them: counts are log counts already."""
        return torch.stack([one.seen(values) for one in self.extractors], dim=-2)

    def save(self, path: Path) -> None:
        """Write an .npz, whole or not at all; the same extractors give the same bytes."""
        arrays: dict[str, Any] = {
            f"{number}/{name}": array
            for number, one in enumerate(self.extractors)
            for name, array in one.arrays().items()
        }
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        write_atomic(path, lambda stream_: stream_.write(buffer.getbuffer()))


def load_features(path: Path) -> FeatureNetworks:
    """Read what `FeatureNetworks.save` wrote.

    Raises:
        UserError: the file is absent or damaged, or holds something else.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            parts: dict[str, dict[str, NDArray[Any]]] = {"0": {}}
            for key in archive.files:
                number, _, name = key.partition("/")
                parts.setdefault(number, {})[name] = np.asarray(archive[key])
        extractors = [_from_arrays(arrays) for arrays in parts.values()]
        if len({one.centre.shape for one in extractors}) > 1:
            raise ValueError("its networks have other numbers of features")
        return FeatureNetworks(extractors)
    except _UNREADABLE as error:
        reason = " ".join(str(error).split()).split(". ")[0].rstrip(".") or type(error).__name__
        raise UserError(f"{path}: holds no feature extractor ({reason[:200]}).") from None


def _from_arrays(arrays: Mapping[str, NDArray[Any]]) -> FeatureExtractor:
    kind = str(arrays["kind"])
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}")
    weights = {name: torch.from_numpy(arrays[name]) for name in arrays if name[0].isdigit()}
    network = _network(kind, weights["0.weight"].shape[1], len(arrays["centre"]))
    network.load_state_dict(weights)
    return FeatureExtractor(
        kind,
        network,
        torch.from_numpy(arrays["centre"]),
        torch.from_numpy(arrays["scale"]),
        float(arrays["accuracy"]) if "accuracy" in arrays else None,
        int(arrays["genes"]) if "genes" in arrays else None,
    )


def log_counts(x: Tensor, genes: int, library: Tensor | None = None) -> Tensor:
    """Counts [..., dims] as they are compared: RNA library-normalised, and log1p of all.

    Args:
        x: [..., dims].
        genes: how many of the first dimensions count RNA.
        library: [..., 1] library size; None is the sum of the RNA counts, 1 at least.
    """
    rna = x[..., :genes]
    library = rna.sum(-1, keepdim=True).clamp_min(1) if library is None else library
    return torch.cat([(rna * 1e4 / library).log1p(), x[..., genes:].log1p()], dim=-1)


def outer_library(dataset: Dataset, rows: NDArray[np.int64]) -> Tensor | None:
    """[len(rows), 1] library size of cells where it counts genes outside x, else None."""
    return torch.from_numpy(dataset.library(rows)[:, None]) if dataset.observed.outside else None


def seen(dataset: Dataset, split: str, limit: int | None = None) -> NDArray[np.float32]:
    """Examples of a split as they are compared with one another: [n, dims].

    Intensities of images, `log_counts` of counts; at most `limit`, evenly spaced.
    """
    rows = dataset.rows(split)
    rows = rows if limit is None else rows[spaced(len(rows), limit)]
    x = dataset.x[rows]
    if not dataset.observed.counts:
        return x
    library = outer_library(dataset, rows)
    return log_counts(torch.from_numpy(x), dataset.observed.genes, library).numpy()


def _network(kind: str, dims: int, features: int) -> nn.Sequential:
    """Intensities → features. Tanh, since a ReLU that seldom fires has outliers as its feature."""
    if kind == "pca":
        return nn.Sequential(nn.Linear(dims, features))
    return nn.Sequential(nn.Linear(dims, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, features), nn.Tanh())


def fit_features(dataset: Dataset, seed: int, networks: int = NETWORKS) -> FeatureNetworks:
    """Fit the features of a dataset on the intensities of its train split.

    Small classifiers where there are labels of two classes at least, principal components
    elsewhere. Examples are thinned evenly where there are more than FITTED_VALUES numbers.

    Args:
        dataset: the prepared dataset.
        seed: of the classifiers' weights and shuffles, and of the components' solver.
        networks: number of classifiers.
    """
    labels = dataset.labels_of("train")
    kept = spaced(len(labels), max(1, FITTED_VALUES // dataset.observed.dims))
    x, labels = seen(dataset, "train", len(kept)), labels[kept]
    genes = dataset.observed.genes if dataset.observed.counts else None
    classes = np.unique(labels[labels >= 0])
    if len(classes) < 2:
        return FeatureNetworks([replace(_principal_components(x, seed), genes=genes)])
    validation = seen(dataset, "validation"), dataset.labels_of("validation")
    fit, held = _labelled(x, labels, classes), _labelled(*validation, classes)
    held = held if len(held[0]) else fit
    trained = [_train(fit, held, len(classes), seed, number) for number in range(networks)]
    return FeatureNetworks(
        [replace(_classifier(one, x, dataset, classes), genes=genes) for one in trained]
    )


def _classifier(
    network: nn.Sequential, x: NDArray[np.float32], dataset: Dataset, classes: NDArray[np.int64]
) -> FeatureExtractor:
    """The last hidden layer of a trained classifier, standardised over the train examples x."""
    activations = _activations(network[:-1], x).double()
    return FeatureExtractor(
        "classifier",
        network[:-1],
        activations.mean(0),
        _scale(activations),
        _accuracy(network, dataset, classes),
    )


def _labelled(
    x: NDArray[np.float32], labels: NDArray[np.int64], classes: NDArray[np.int64]
) -> tuple[Tensor, Tensor]:
    """Examples of these classes, [n, dims], and the position of each one's class, [n]."""
    known = np.isin(labels, classes)
    return torch.from_numpy(x[known]), torch.from_numpy(np.searchsorted(classes, labels[known]))


def _train(
    fit: tuple[Tensor, Tensor],
    held: tuple[Tensor, Tensor],
    classes: int,
    seed: int,
    number: int,
) -> nn.Sequential:
    """The classifier of this number at its lowest cross-entropy on held-out examples."""
    x, y = fit
    with seeded(seed, f"feature weights {number}"):
        network = _network("classifier", x.shape[1], FEATURES).append(nn.Linear(FEATURES, classes))
    lowest, kept, age = float("inf"), network.state_dict(), 0
    for _ in _epochs(network, x, y, stream(seed, f"feature batches {number}")):
        score = _held_out_loss(network, *held)
        age += 1
        if score < lowest:
            lowest, age = score, 0
            kept = {name: leaf.clone() for name, leaf in network.state_dict().items()}
        if age == PATIENCE:
            break
    network.load_state_dict(kept)
    return network.requires_grad_(False)


def _epochs(
    network: nn.Sequential, x: Tensor, y: Tensor, generator: torch.Generator
) -> Iterator[None]:
    """Train with Adam, stopping for a look after every epoch."""
    weights = list(network.parameters())
    optimizer = StackedAdam(weights, [LEARNING_RATE])
    for _ in range(max(1, min(MAX_EPOCHS, VISITED_VALUES // x.numel()))):
        for rows in torch.randperm(len(x), generator=generator).split(BATCH):
            features = network[:-1](x[rows])
            loss = cross_entropy(network[-1](features), y[rows])
            loss = loss + SHRINKAGE * features.square().mean()
            optimizer.step(torch.autograd.grad(loss, weights))
        yield


@torch.no_grad()
def _held_out_loss(network: nn.Sequential, x: Tensor, y: Tensor) -> float:
    return cross_entropy(_activations(network, x), y).item()


@torch.no_grad()
def _activations(network: nn.Sequential, x: Tensor | NDArray[np.float32]) -> Tensor:
    """network(x) in blocks, since the hidden layer is wider than what is kept."""
    return torch.cat([network(block) for block in torch.as_tensor(x).split(8192)])


def _scale(activations: Tensor) -> Tensor:
    """Standard deviation of every feature, 1 where it is constant: [features]."""
    scale = activations.std(0, correction=0)
    return scale.where(scale > 0, 1.0)


def _accuracy(network: nn.Sequential, dataset: Dataset, classes: NDArray[np.int64]) -> float | None:
    """Share of the labelled test examples that are classed right."""
    labels = dataset.labels_of("test")
    known = labels >= 0
    if not known.any():
        return None
    named = _activations(network, seen(dataset, "test")[known]).argmax(-1).numpy()
    return float((classes[named] == labels[known]).mean())


def _principal_components(x: NDArray[np.float32], seed: int) -> FeatureExtractor:
    """The first principal components, over one scale that makes their mean variance 1.

    Each over its own scale would give the last components, which are mostly noise, the weight of
    the first.
    """
    from sklearn.decomposition import PCA

    with np.errstate(invalid="ignore"):  # constant data have no variance to have a share of
        found = PCA(min(FEATURES, *x.shape), random_state=seed).fit(x)
    network = _network("pca", x.shape[1], len(found.components_)).requires_grad_(False)
    weight = torch.from_numpy(found.components_).float()
    network.load_state_dict({"0.weight": weight, "0.bias": torch.zeros(len(weight))})
    activations = _activations(network, x).double()
    common = activations.var(0, correction=0).mean().sqrt()
    scale = torch.full((len(weight),), common.item() or 1.0, dtype=torch.float64)
    return FeatureExtractor("pca", network, activations.mean(0), scale, None)
