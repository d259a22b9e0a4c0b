"""Examples of a dataset on a device: all of them, or dense batch by batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae_ablation.data.base import Dataset
from vae_ablation.data.counts import CountMatrix
from vae_ablation.data.examples import spaced
from vae_ablation.data.mapped import MappedPictures

SAMPLED = 50_000_000
"""Most numbers (examples times dimensions) that `Examples.sample` holds."""


@dataclass(frozen=True)
class Examples:
    """x and context of some examples.

    Attributes:
        x: [n, dims] on the device, or counts or pictures on disk, too many to be dense at once.
        rows: positions of the examples among those of `x` where that is on disk.
        context: inputs of encoder and decoder beside x and z, [n, context], on the device.
    """

    x: Tensor | CountMatrix | MappedPictures
    rows: NDArray[np.int64]
    context: Tensor

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        split: str,
        condition: str,
        device: torch.device,
        intensities: bool = False,
    ) -> Examples:
        """A split's examples.

        Args:
            dataset: the prepared dataset.
            split: train, validation or test.
            condition: none, label or batch: what encoder and decoder are conditioned on.
            device: where batches are wanted.
            intensities: x before binarisation, and not as observed.
        """
        values = dataset.x if intensities or dataset.fixed is None else dataset.fixed
        return cls._at(dataset, values, dataset.rows(split), condition, device)

    @classmethod
    def all(cls, dataset: Dataset, condition: str, device: torch.device) -> Examples:
        """Every example, in the order of the dataset, those outside the splits too."""
        return cls._at(dataset, dataset.x, np.arange(len(dataset.split)), condition, device)

    @classmethod
    def _at(
        cls,
        dataset: Dataset,
        values: NDArray[np.float32] | CountMatrix | MappedPictures,
        rows: NDArray[np.int64],
        condition: str,
        device: torch.device,
    ) -> Examples:
        context = torch.from_numpy(dataset.context(rows, condition)).to(device)
        if not isinstance(values, np.ndarray):
            return cls(values, rows, context)
        return cls(torch.from_numpy(values[rows]).to(device), rows, context)

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.context)

    def at(self, places: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Values [..., dims] and context [..., context] of the examples at these positions."""
        context = self.context[places]
        if isinstance(self.x, Tensor):
            return self.x[places], context
        chosen = self.rows[places.cpu().numpy() if isinstance(places, Tensor) else places]
        dense = torch.from_numpy(self.x[chosen.ravel()])
        return dense.reshape(*chosen.shape, self.x.shape[1]).to(context.device), context

    def spaced(self, limit: int) -> Examples:
        """At most `limit` of them, evenly spaced."""
        return self.chosen(spaced(len(self), limit))

    def chosen(self, chosen: NDArray[np.int64]) -> Examples:
        """Those at these positions, in order."""
        if len(chosen) == len(self):
            return self
        places = torch.from_numpy(chosen).to(self.context.device)
        x = self.x[places] if isinstance(self.x, Tensor) else self.x
        return Examples(x, self.rows[chosen], self.context[places])

    def sample(self) -> Tensor:
        """All x on the CPU, [n, dims]; evenly subsampled where they are too many."""
        if isinstance(self.x, Tensor):
            return self.x.cpu()
        return torch.from_numpy(self.x[self.rows[spaced(len(self), SAMPLED // self.x.shape[1])]])
