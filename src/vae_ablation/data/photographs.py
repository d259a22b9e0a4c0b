"""Patches of the two photographs that come with scikit-learn: natural images in colour."""

from __future__ import annotations

import numpy as np

from vae_ablation.common.registry import register
from vae_ablation.data.base import Observed, Options, RawData, Source

HEIGHT, WIDTH = 427, 640
NAMES = ("china", "flower")


@register
class Photographs(Source):
    """Square patches of a temple and a flower, 8-bit red, green and blue; no two overlap.

    The label is the photograph. A photograph of 427 × 640 pixels gives 520 patches of 16 × 16 in
    each half of its area; patches of one photograph are not independent, so that likelihoods on the
    test split flatter a model. Meant for tests and demonstrations without a download.
    """

    name = "photographs"
    own_options = frozenset({"size"})

    def known_labels(self, options: Options) -> tuple[str, ...]:
        """The photographs."""
        return NAMES

    def label_names(self, options: Options) -> tuple[str, ...]:
        """The names that scikit-learn gives them."""
        return NAMES

    def describe(self, options: Options) -> Observed:
        """Square, three channels, 256 grey levels in each."""
        return Observed((options["size"], options["size"], 3), levels=256, classes=len(NAMES))

    def load(self, options: Options) -> RawData:
        """Read the installed files; nothing is downloaded."""
        from sklearn.datasets import load_sample_images

        side = options["size"]
        rows, columns = HEIGHT // side, WIDTH // side
        patches = [
            picture[: rows * side, : columns * side]
            .reshape(rows, side, columns, side, 3)
            .swapaxes(1, 2)
            .reshape(-1, side, side, 3)
            for picture in load_sample_images().images
        ]
        labels = np.repeat(np.arange(len(NAMES)), rows * columns)
        x = np.concatenate(patches).astype(np.uint8)
        return RawData(x, labels, levels=256, label_names=NAMES)
