"""The handwritten digits that come with scikit-learn."""

from __future__ import annotations

import numpy as np

from vae_ablation.common.registry import register
from vae_ablation.data.base import Observed, Options, RawData, Source


@register
class SklearnDigits(Source):
    """1,797 real 8×8 digits with 17 grey levels (Alpaydin and Kaynak 1998; UCI test split)."""

    name = "sklearn-digits"

    def known_labels(self, options: Options) -> tuple[str, ...]:
        """The digits."""
        return tuple("0123456789")

    def describe(self, options: Options) -> Observed:
        """Always 8×8 with grey levels 0 to 16."""
        return Observed(shape=(8, 8), levels=17, classes=10)

    def load(self, options: Options) -> RawData:
        """Read the images from the installed scikit-learn; nothing is downloaded."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        return RawData(digits.images.astype(np.uint8), digits.target.astype(np.int64), levels=17)
