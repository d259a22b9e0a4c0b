"""Pictures of a run's decoder: reconstructions, samples, the manifold, paths between codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae_ablation.data.base import Dataset
from vae_ablation.data.examples import picture_bytes, shown_examples, spaced
from vae_ablation.evaluation.bounds import decode_mean
from vae_ablation.models.posteriors import POSTERIORS
from vae_ablation.models.priors import Prior
from vae_ablation.models.streams import stream
from vae_ablation.study.run import Run

if TYPE_CHECKING:
    from vae_ablation.training.stacked import StackedVAE

Pictures = dict[str, NDArray[np.generic]]

SAMPLES = 25
CLASS_SAMPLES = 10
MANIFOLD = 15
STEPS = 11
TRAVERSED = 8
CODE_RANGE = (0.005, 0.995)


def default_pairs(labels: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Two label pairs to interpolate between where the config names none."""
    known = [int(label) for label in np.unique(labels[labels >= 0])]
    if len(known) < 2:
        return []
    return [(known[0], known[1])] + ([(known[2], known[-1])] if len(known) > 3 else [])


def draw_pictures(
    model: StackedVAE,
    runs: Sequence[Run],
    dataset: Dataset,
    means: Tensor,
    pairs: Sequence[tuple[int, int]],
    rates: Tensor | None = None,
) -> list[Pictures]:
    """Pictures of every run of a pack; empty where the data are no images.

    Args:
        model: the pack.
        runs: its runs.
        dataset: the prepared dataset.
        means: posterior means of the test split, [runs, n, latent].
        pairs: pairs of label classes to interpolate between.
        rates: KL of each latent dimension, [runs, latent], nats per example: the order in which
            dimensions are walked. Without it, and for point posteriors, the variance of the means
            orders them.

    Returns:
        Per run, arrays as in pictures.npz: 8-bit images, [..., height, width], of colour
        [..., height, width, channels]. `traversals` is
        [dims, steps, height, width], its rows `traversal_dims` from the largest KL down; with
        `traversal_kl` in nats (absent for point posteriors) and `traversal_range` [dims, 2], the
        ends of each walk. Where the decoder is told the label, `class_samples` is [classes,
        CLASS_SAMPLES, height, width], and `class_names` their names where these are not their own
        numbers; there traversals, manifold and archetype are of the first
        example's class, and an interpolation is of the class of its first end.
    """
    shape = dataset.observed.shape
    if not dataset.observed.is_image:
        return [{} for _ in runs]
    labels = dataset.labels_of("test")
    index = shown_examples(labels)
    originals = picture_bytes(dataset.intensities("test", index), shape)
    priors = model.priors()
    walks = [
        _walk(run, priors[r].span, means[r], None if rates is None else rates[r])
        for r, run in enumerate(runs)
    ]
    told = torch.from_numpy(dataset.context(dataset.rows("test"), runs[0].condition))
    parts = {
        "reconstructions": (means[:, index], told[index]),
        "samples": (_prior_draws(priors, runs, means), _spread(told, SAMPLES)),
        "archetype": (torch.zeros_like(means[:, :1]), told[index[:1]]),
        "traversals": (_traversals(means[:, index[0]], walks), told[index[:1]]),
    }
    plane = _planes(priors, means) if runs[0].latent_dim == 2 else None
    if plane is not None:
        parts["manifold"] = plane, told[index[:1]]
    if runs[0].condition == "label":
        draws, classes = parts["samples"][0][:, :CLASS_SAMPLES], dataset.observed.classes
        parts["class_samples"] = _class_samples(draws, classes)
    ends = _ends(labels, pairs)
    if len(ends):
        parts["interpolations"] = _lines(means, ends), told[ends[:, 0]]
    drawn = {name: _drawn(model, z, context, shape) for name, (z, context) in parts.items()}
    drawn["archetype"] = drawn["archetype"][:, 0]
    average = picture_bytes(dataset.train_mean(), shape)
    common: Pictures = {"index": index, "originals": originals, "data_mean": average}
    if "class_samples" in drawn and dataset.class_names:
        common["class_names"] = np.array(dataset.class_names)
    if "manifold" in drawn:
        common["manifold_quantiles"] = _quantiles()
    if len(ends):
        common["interpolation_labels"] = _named(dataset, labels[ends])
    return [
        common | walks[r] | {name: images[r] for name, images in drawn.items()}
        for r in range(len(runs))
    ]


def _drawn(
    model: StackedVAE, z: Tensor, context: Tensor, shape: tuple[int, ...]
) -> NDArray[np.uint8]:
    """Pictures at z [runs, rows, ..., latent]; each row, or all of them, under one context."""
    rows = context.expand(z.shape[1], -1).repeat_interleave(z[0, 0, ..., 0].numel(), dim=0)
    means = decode_mean(model, z.flatten(1, -2), rows.to(z.device))
    return picture_bytes(means.cpu().numpy(), shape, z.shape[:-1])


def _spread(context: Tensor, count: int) -> Tensor:
    """Contexts of `count` examples, evenly spaced: the data's own shares of every condition."""
    return context[np.resize(spaced(len(context), count), count)]


def _class_samples(draws: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """The same draws of z for every class, [runs, classes, CLASS_SAMPLES, latent], and classes."""
    return draws[:, None].expand(-1, classes, -1, -1), torch.eye(classes)


def _prior_draws(priors: Sequence[Prior], runs: Sequence[Run], like: Tensor) -> Tensor:
    """Draws z ~ p(z), [runs, SAMPLES, latent], from the same stream for all arms of one seed."""
    draws = [
        prior.sample(stream(run.seed, "samples"), SAMPLES)
        for prior, run in zip(priors, runs, strict=True)
    ]
    return torch.stack(draws).to(like.device)


def _quantiles() -> NDArray[np.float64]:
    return (np.arange(MANIFOLD) + 0.5) / MANIFOLD


def _planes(priors: Sequence[Prior], like: Tensor) -> Tensor | None:
    """Prior quantiles in the plane, [runs, rows, columns, 2]: z₂ falls with rows, z₁ rises.

    None where a prior has no quantiles.
    """
    planes = []
    for prior in priors:
        quantiles = prior.quantile(_quantiles())
        if quantiles is None:
            return None
        first, second = torch.from_numpy(quantiles.astype(np.float32)).unbind(1)
        planes.append(torch.stack(torch.meshgrid(first, second.flip(0), indexing="xy"), dim=-1))
    return torch.stack(planes).to(like.device)


def _ends(labels: NDArray[np.int64], pairs: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """First test example of each label of each pair, [pairs, 2]."""
    rows = [[np.flatnonzero(labels == label) for label in pair] for pair in pairs]
    return np.array([[a[0], b[0]] for a, b in rows if len(a) and len(b)], np.int64).reshape(-1, 2)


def _named(dataset: Dataset, labels: NDArray[np.int64]) -> NDArray[np.generic]:
    """Labels by their names where they have some."""
    return np.array(dataset.class_names)[labels] if dataset.class_names else labels


def _lines(means: Tensor, ends: NDArray[np.int64]) -> Tensor:
    """Straight lines between codes, [runs, pairs, STEPS, latent]."""
    start, stop = (means[:, ends[:, side], None] for side in (0, 1))
    share = torch.linspace(0, 1, STEPS, device=means.device)[:, None]
    return start + share * (stop - start)


def _walk(run: Run, span: tuple[float, float], means: Tensor, rates: Tensor | None) -> Pictures:
    """Dimensions of a run's traversals, their order and their range: the prior's span.

    The prior fixes the scale of the codes only through the KL term: without it a walk covers the
    middle 99 % of the codes themselves.
    """
    codes = means.double().cpu().numpy()
    known = rates is not None and not POSTERIORS[run.posterior].deterministic
    weight = rates.double().cpu().numpy() if rates is not None and known else codes.var(0)
    dims = np.argsort(-weight, kind="stable")[:TRAVERSED]
    walk: Pictures = {"traversal_dims": dims}
    if known:
        walk["traversal_kl"] = weight[dims]
    if run.kl:
        walk["traversal_range"] = np.tile(span, (len(dims), 1))
    else:
        walk["traversal_range"] = np.quantile(codes[:, dims], CODE_RANGE, axis=0).T
    return walk


def _traversals(anchors: Tensor, walks: Sequence[Pictures]) -> Tensor:
    """Codes [runs, dims, STEPS, latent]: the anchor's [runs, latent] with one coordinate moved."""
    dims = torch.from_numpy(np.stack([walk["traversal_dims"] for walk in walks]))
    ends = np.array([walk["traversal_range"] for walk in walks], dtype=np.float64)
    values = torch.from_numpy(np.linspace(ends[..., 0], ends[..., 1], STEPS, axis=-1))
    z = anchors[:, None, None].repeat(1, dims.shape[1], STEPS, 1)
    place = dims[:, :, None, None].expand(*z.shape[:-1], 1)
    return z.scatter_(-1, place.to(z.device), values[..., None].to(z))
