"""What every data source gives, and what every dataset is once prepared."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Options = dict[str, Any]

TRAIN, VALIDATION, TEST = 0, 1, 2
SPLITS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}

_STREAMS = {"subset": 1, "test": 2, "validation": 3, "binarize": 4, "draw": 5}


def generator(seed: int, purpose: str) -> np.random.Generator:
    """The random stream of a dataset's seed for one purpose, independent of its other streams."""
    return np.random.default_rng([seed, _STREAMS[purpose]])


@dataclass(frozen=True)
class Observed:
    """What is known of the observed variable x: enough to say which likelihoods fit it.

    Attributes:
        shape: shape of one example, e.g. (8, 8) or (64,).
        levels: number of equally spaced grey levels, or None where intensities are continuous.
        binary: x takes the values 0 and 1 only.
    """

    shape: tuple[int, ...]
    levels: int | None
    binary: bool = False

    @property
    def dims(self) -> int:
        """Number of data dimensions."""
        return int(np.prod(self.shape))


@dataclass(frozen=True)
class RawData:
    """What a source reads, before it is split.

    Attributes:
        x: [n, *shape] grey levels (integers from 0 to levels − 1) or intensities in [0, 1].
        labels: [n] class of each example, or None.
        levels: number of grey levels, or None where x holds intensities.
        official_test: [n] true where the source's own test split is, or None.
        factors: [n, factors] value of each generative factor, as its index, or None where unknown.
        factor_names: names of the factors, in the order of their columns.
    """

    x: NDArray[Any]
    labels: NDArray[np.int64] | None
    levels: int | None
    official_test: NDArray[np.bool_] | None = None
    factors: NDArray[np.int64] | None = None
    factor_names: tuple[str, ...] = ()

    def take(self, keep: NDArray[np.bool_]) -> RawData:
        """The examples where `keep`, [n], is true."""
        return replace(
            self,
            x=self.x[keep],
            labels=None if self.labels is None else self.labels[keep],
            official_test=None if self.official_test is None else self.official_test[keep],
            factors=None if self.factors is None else self.factors[keep],
        )


class Source(ABC):
    """One place that data come from. A subclass in a module of this package is all a new one needs.

    Attributes:
        name: what the config calls it.
        version: raised by hand when the source begins to give other data for the same options.
        own_options: keys of a dataset's section that belong to this source. They do not count for
            the identity of other sources' datasets, which a new key would else change.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    own_options: ClassVar[frozenset[str]] = frozenset()

    def check_options(self, where: str, options: Options) -> None:  # noqa: B027
        """Refuse options that cannot work, before anything runs.

        Args:
            where: file and key to name in the error.
            options: the dataset's section of the resolved config.

        Raises:
            UserError: an option is missing, or names a path that is absent.
        """

    def content(self, options: Options) -> list[Path]:
        """Files of the user whose bytes the data depend on."""
        return []

    @abstractmethod
    def describe(self, options: Options) -> Observed:
        """Shape and grey levels, known without reading the data as a whole."""

    @abstractmethod
    def load(self, options: Options) -> RawData:
        """Read the data.

        Raises:
            UserError: a file is absent, wrong or truncated, or its values are out of range.
        """


@dataclass(frozen=True)
class Dataset:
    """A prepared dataset: raw units, split, labels, and how it is observed.

    Attributes:
        name: what the study calls it.
        x: [n, dims] float32 intensities in [0, 1], before binarisation.
        fixed: [n, dims] float32 the one seeded binarisation, or None where x is observed as it is.
        split: [n] TRAIN, VALIDATION or TEST.
        labels: [n] class, −1 where there is none.
        observed: shape, levels and whether the observed variable is binary.
        dynamic: training redraws the binarisation each epoch.
        checksum: SHA-256 of the arrays.
        factors: [n, factors] value of each generative factor, as its index, or None where unknown.
        factor_names: names of the factors, in the order of their columns.
    """

    name: str
    x: NDArray[np.float32]
    fixed: NDArray[np.float32] | None
    split: NDArray[np.int8]
    labels: NDArray[np.int64]
    observed: Observed
    dynamic: bool
    checksum: str
    factors: NDArray[np.int64] | None = None
    factor_names: tuple[str, ...] = ()

    def rows(self, split: str) -> NDArray[np.int64]:
        """Positions of a split's examples."""
        return np.flatnonzero(self.split == SPLITS[split])

    def intensities(self, split: str) -> NDArray[np.float32]:
        """[n, dims] intensities in [0, 1] of a split, before binarisation."""
        return self.x[self.rows(split)]

    def observe(self, split: str) -> NDArray[np.float32]:
        """[n, dims] the observed variable of a split (held-out binarisation: one fixed draw)."""
        values = self.x if self.fixed is None else self.fixed
        return values[self.rows(split)]

    def labels_of(self, split: str) -> NDArray[np.int64]:
        """[n] labels of a split."""
        return self.labels[self.rows(split)]

    def factors_of(self, split: str) -> NDArray[np.int64] | None:
        """[n, factors] generative factors of a split, or None where they are not known."""
        return None if self.factors is None else self.factors[self.rows(split)]

    @property
    def has_labels(self) -> bool:
        """Whether there are labels at all."""
        return bool((self.labels >= 0).any())
