"""Snapshots of training: reconstructions of a few validation examples after chosen epochs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae_ablation.data.base import Dataset
from vae_ablation.data.examples import picture_bytes, shown_examples
from vae_ablation.data.loading import Examples
from vae_ablation.training.stacked import StackedVAE

FRAMES = 24
_ROWS = 16
"""Rows decoded at once; a multiple of 16, so that a pack changes no bit."""


def snapshot_epochs(epochs: int) -> list[int]:
    """Numbers of epochs after which a snapshot is taken: 0, then evenly on the log axis."""
    steps = np.geomspace(1, epochs, FRAMES - 1).round().astype(int)
    return [0, *sorted(set(steps.tolist()))]


class Snapshots:
    """Reconstructions of a pack while it trains; none where the data are not images.

    Args:
        dataset: the prepared dataset.
        epochs: of the training.
        runs: size of the pack.
        validation: examples of the validation split, where the pack trains.
    """

    def __init__(self, dataset: Dataset, epochs: int, runs: int, validation: Examples) -> None:
        self.shape = dataset.observed.shape
        self.frames: list[list[NDArray[np.uint8]]] = [[] for _ in range(runs)]
        self.epochs = snapshot_epochs(epochs) if dataset.observed.is_image else []
        if not self.epochs:
            return
        self.rows = shown_examples(dataset.labels_of("validation"))
        rows = torch.from_numpy(np.resize(self.rows, _ROWS)).to(validation.context.device)
        self.examples = validation.at(rows)
        self.originals = picture_bytes(dataset.intensities("validation", self.rows), self.shape)

    @torch.no_grad()
    def take(self, epoch: int, model: StackedVAE, active: list[int]) -> None:
        """Keep reconstructions of the active runs if `epoch` is one of the chosen epochs."""
        if epoch not in self.epochs:
            return
        shared = [part.expand(len(model), *part.shape) for part in self.examples]
        means: Tensor = model.map(lambda m, v, c: m.decoder(m.encoder(v, c).mean, c).mean, *shared)
        for index, mean in zip(active, means[:, : len(self.rows)].cpu().numpy(), strict=True):
            self.frames[index].append(picture_bytes(mean, self.shape))

    def of(self, index: int) -> dict[str, NDArray[Any]]:
        """8-bit pictures of one run.

        Returns:
            epochs [frames], images [frames, shown, height, width] and originals [shown, height,
            width].
        """
        frames = self.frames[index]
        if not frames:
            return {}
        return {
            "epochs": np.array(self.epochs[: len(frames)]),
            "images": np.stack(frames),
            "originals": self.originals,
        }
