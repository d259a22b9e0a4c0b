"""Objects of models made elsewhere: what their methods give of a dataset, checked."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from vae_ablation.common.errors import UserError
from vae_ablation.data.base import Dataset
from vae_ablation.data.examples import spaced
from vae_ablation.evaluation.context import TRAIN_CODES
from vae_ablation.evaluation.external_codes import SplitCodes
from vae_ablation.evaluation.family import Columns
from vae_ablation.evaluation.features import FITTED_VALUES, log_counts, outer_library, seen
from vae_ablation.models.external import EXTERNAL_MODELS, ExternalModel, TrainData
from vae_ablation.study.external import ExternalArm, Place

if TYPE_CHECKING:
    from vae_ablation.evaluation.controls import ControlSamples

Array = NDArray[np.floating]


class Held:
    """An object of a model for one latent dimension and seed, with its codes of a dataset.

    Args:
        arm: names the model.
        place: latent dimension, seed and file.
        dataset: the prepared dataset.
    """

    def __init__(self, arm: ExternalArm, place: Place, dataset: Dataset) -> None:
        assert arm.model is not None
        self.name = f"external model {arm.model}"
        self.kind: type[ExternalModel] = EXTERNAL_MODELS[arm.model]
        self.arm, self.place, self.dataset = arm, place, dataset

    @cached_property
    def model(self) -> ExternalModel:
        """The object, read or fitted."""
        limit = max(1, FITTED_VALUES // self.dataset.observed.dims)
        rows = self.dataset.rows("train")
        assert self.place.latent_dim is not None
        data = TrainData(
            self.x("train", limit),
            self.dataset.labels[rows[spaced(len(rows), limit)]],
            self.place.latent_dim,
            self.place.seed or 0,
            self.place.path,
            self.arm.options,
        )
        made = self.kind()
        made.load(data)
        return made

    @cached_property
    def codes(self) -> SplitCodes:
        """Codes of the train examples that are compared with held-out ones, and of these."""
        return SplitCodes(self._encoded("train"), self._encoded("test"))

    def _encoded(self, split: str) -> Array:
        x = self.x(split, TRAIN_CODES if split == "train" else None)
        return self._checked(self.model.encode(x), len(x), None, "encode")

    def x(self, split: str, limit: int | None = None) -> NDArray[np.float32]:
        """Examples of a split as the model takes them, at most `limit`, evenly spaced."""
        if self.dataset.observed.counts and self.kind.log_counts:
            return seen(self.dataset, split, limit)
        rows = self.dataset.rows(split)
        rows = rows if limit is None else rows[spaced(len(rows), limit)]
        return (self.dataset.x if self.dataset.fixed is None else self.dataset.fixed)[rows]

    def _checked(self, found: Any, count: int, width: int | None, method: str) -> Array:
        """Result of a method, as an array [count, width] of finite numbers."""
        values = np.asarray(found)
        right = values.ndim == 2 and len(values) == count and values.shape[1] > 0
        right = right and width in (None, values.shape[1]) and values.dtype.kind in "iuf"
        if not right:
            wanted = f"({count}, {'latent_dim' if width is None else width})"
            raise UserError(
                f"{self.name}: {method} gave {values.dtype} of shape {values.shape}; allowed: real "
                f"numbers of shape {wanted}."
            )
        if not np.isfinite(values).all():
            raise UserError(f"{self.name}: {method} gave numbers that are not finite.")
        return values

    def reconstruction(self) -> Columns:
        """Squared error of decoded codes of the test split; nothing without a decoder."""
        found = self.model.decode(self.codes.test)
        if found is None:
            return {}
        counts = self.dataset.observed.counts
        target = self.x("test") if counts else self.dataset.intensities("test")
        decoded = self._checked(found, len(target), target.shape[1], "decode")
        squares = np.square(decoded.astype(np.float64) - target)
        if self.dataset.present is not None:
            there = self.dataset.present[self.dataset.rows("test")]
            squares = squares * there / there.mean(1, keepdims=True)
        name = "mse_log1p" if counts and self.kind.log_counts else "mse"
        return {name: squares.mean(1)}

    def samples(self, samples: ControlSamples) -> Columns:
        """Quality of draws; nothing from a model that does not generate."""
        return dict(samples.columns(self.drawn)) if self.generates else {}

    @property
    def generates(self) -> bool:
        """Whether it gives draws of x."""
        return self.model.sample(1, np.random.default_rng(0)) is not None

    def drawn(self, count: int, random: np.random.Generator) -> NDArray[np.float64]:
        """Draws in the form in which samples are compared with data."""
        dims = self.dataset.observed.dims
        drawn = self._checked(self.model.sample(count, random), count, dims, "sample")
        if self.dataset.observed.counts and not self.kind.log_counts:
            library = self._library(count, random)
            counts = torch.from_numpy(np.asarray(drawn, np.float32))
            drawn = log_counts(counts, self.dataset.observed.genes, library).numpy()
        return np.asarray(drawn, np.float64)

    def _library(self, count: int, random: np.random.Generator) -> torch.Tensor | None:
        """Counts of genes outside x, of train cells drawn at random; None where there are none."""
        rows = self.dataset.rows("train")
        return outer_library(self.dataset, rows[random.integers(len(rows), size=count)])
