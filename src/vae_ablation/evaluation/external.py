"""Rows of models made elsewhere, by the definitions of the runs and beside the controls."""

from __future__ import annotations

from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vae_ablation.common.errors import UserError
from vae_ablation.common.isolation import Isolated
from vae_ablation.data.base import Dataset
from vae_ablation.data.examples import spaced
from vae_ablation.evaluation.codes import active_units
from vae_ablation.evaluation.context import TRAIN_CODES, CodeContext
from vae_ablation.evaluation.controls import ControlSamples
from vae_ablation.evaluation.external_codes import SplitCodes, read_codes
from vae_ablation.evaluation.families import FAMILIES
from vae_ablation.evaluation.family import Columns, means
from vae_ablation.evaluation.features import (
    FITTED_VALUES,
    FeatureNetworks,
    log_counts,
    outer_library,
    seen,
)
from vae_ablation.models.external import EXTERNAL_MODELS, ExternalModel, TrainData
from vae_ablation.study.external import ExternalArm, Place

Array = NDArray[np.floating]

FACTORS = "factors"
"""Family that needs codes alone and that controls leave out: nobody asked them to disentangle."""


class ExternalContext(CodeContext):
    """Codes of a model from elsewhere; under a prior they may have collapsed."""

    @property
    def collapsed(self) -> bool:
        """Whether a prior left no unit active."""
        return self.scaled and not active_units(self.codes)


def external_rows(
    arm: ExternalArm,
    split_seed: int | None,
    dataset: Dataset,
    seed: int,
    extractor: FeatureNetworks,
    draws: int,
) -> list[dict[str, Any]]:
    """Rows of metrics.csv of an arm: one for each latent dimension and seed.

    Of codes in a file only what needs no decoder is known; of an object what its methods give. An
    error that nobody foresaw costs the columns that it hit, which `reason` names.

    Args:
        arm: the arm.
        split_seed: of the data; None for the dataset's own split.
        dataset: the prepared dataset.
        seed: of the evaluation.
        extractor: features of the dataset, in which samples are compared with it.
        draws: sets of samples, as many in each as held-out examples.

    Raises:
        UserError: a file does not hold codes of these examples, or an object gives something else
            than its methods say.
    """
    samples = ControlSamples(dataset, extractor, seed, draws)
    return [_row(arm, place, dataset, seed, samples) for place in arm.places(split_seed)]


def _row(
    arm: ExternalArm, place: Place, dataset: Dataset, seed: int, samples: ControlSamples
) -> dict[str, Any]:
    part = Isolated(f"{arm.name} on {dataset.name}")
    held = None if arm.model is None else Held(arm, place, dataset)
    nothing: tuple[dict[str, Any], Columns] = ({"status": "failed"}, {})
    known, columns = part(
        "codes", lambda: _of_codes(arm, place, dataset, seed, held, part), nothing
    )
    if held is not None and not known.get("status"):
        none: Columns = {}
        columns |= part("reconstruction", held.reconstruction, none)
        columns |= part("samples", partial(held.samples, samples), none)
    values = {name: value for name, value in means(columns).items() if _defined(value)}
    traces = "" if place.seed is None else f"/seed{place.seed}"
    dim = known.get("latent_dim", place.latent_dim)
    return {
        "run": f"{dataset.name}/{arm.name}/z{dim}{traces}",
        "model": arm.name,
        "dataset": dataset.name,
        **arm.cells,
        "latent_dim": dim,
        **({} if place.seed is None else {"seed": place.seed}),
        **known,
        **values,
        **({"reason": part.reason} if part.reasons else {}),
    }


def _defined(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and not np.isfinite(value))


def _of_codes(
    arm: ExternalArm,
    place: Place,
    dataset: Dataset,
    seed: int,
    held: Held | None,
    part: Isolated,
) -> tuple[dict[str, Any], Columns]:
    """The latent dimension, and the columns of every family that asks for codes alone."""
    if held is not None:
        codes = held.codes
    else:
        assert place.path is not None
        codes = read_codes(place.path, arm.key, dataset)
    dim = codes.test.shape[1]
    if place.latent_dim not in (None, dim):
        raise UserError(
            f"external.{arm.name}: the codes of {place.path or arm.model} have {dim} dimensions; "
            f"allowed: {place.latent_dim}, as latent_dim says."
        )
    rows = dataset.rows("train")
    some = spaced(len(rows), TRAIN_CODES)
    train = codes.train[some] if len(codes.train) == len(rows) else codes.train
    context = ExternalContext(
        dataset, seed, codes.test, train, rows[some], scaled=arm.normal_prior, latent_dim=dim
    )
    columns: Columns = {}
    none: Columns = {}
    for each in FAMILIES.values():
        if each.codes or each.name == FACTORS:
            columns |= part(each.name, partial(each, context), none)
    return {"latent_dim": dim}, columns


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
            self._x("train", limit),
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
        x = self._x(split, TRAIN_CODES if split == "train" else None)
        return self._checked(self.model.encode(x), len(x), None, "encode")

    def _x(self, split: str, limit: int | None = None) -> NDArray[np.float32]:
        """Examples of a split as the model takes them, at most `limit`, evenly spaced."""
        if self.dataset.observed.counts and self.kind.log_counts:
            return seen(self.dataset, split, limit)
        rows = self.dataset.rows(split)
        rows = rows if limit is None else rows[spaced(len(rows), limit)]
        return (self.dataset.x if self.dataset.fixed is None else self.dataset.fixed)[rows]

    def _checked(self, found: Any, count: int, width: int | None, method: str) -> Array:
        """What a method gave, as an array [count, width] of finite numbers."""
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
        target = self._x("test") if counts else self.dataset.intensities("test")
        decoded = self._checked(found, len(target), target.shape[1], "decode")
        squares = np.square(decoded.astype(np.float64) - target)
        if self.dataset.present is not None:
            there = self.dataset.present[self.dataset.rows("test")]
            squares = squares * there / there.mean(1, keepdims=True)
        name = "mse_log1p" if counts and self.kind.log_counts else "mse"
        return {name: squares.mean(1)}

    def samples(self, samples: ControlSamples) -> Columns:
        """Quality of draws; nothing from a model that does not generate."""
        if self.model.sample(1, np.random.default_rng(0)) is None:
            return {}
        return dict(samples.columns(self._drawn))

    def _drawn(self, count: int, random: np.random.Generator) -> NDArray[np.float64]:
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
