"""Data sources, the raw data that they read, and prepared datasets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from vae_ablation.common.errors import UserError
from vae_ablation.common.registry import Registry, Rule
from vae_ablation.data.codes import (
    HELD_OUT,
    SPLIT_OPTIONS,
    SPLITS,
    TEST,
    TRAIN,
    VALIDATION,
    parts_of,
)
from vae_ablation.data.labels import label_text

if TYPE_CHECKING:
    from vae_ablation.data.counts import CountMatrix
    from vae_ablation.data.mapped import MappedPictures

__all__ = ["HELD_OUT", "SPLITS", "SPLIT_OPTIONS", "TEST", "TRAIN", "VALIDATION"]

Options = dict[str, Any]

_PURPOSES = ("subset", "test", "validation", "binarize", "draw", "corrupt", "train")
_STREAMS = {purpose: number for number, purpose in enumerate(_PURPOSES, 1)}


def generator(seed: int, purpose: str) -> np.random.Generator:
    """The random stream of a dataset's seed for one purpose, independent of its other streams."""
    return np.random.default_rng([seed, _STREAMS[purpose]])


_FURTHER = (
    *("counts", "proteins", "classes", "batches", "outside", "distinct_labels"),
    *("real", "missing", "covariates"),
)
"""Fields of Observed that a record has where they are not empty."""


@dataclass(frozen=True)
class Observed:
    """Metadata of the observed variable x, from which the likelihoods that fit it follow.

    Attributes:
        shape: shape of one example: (height, width) of a grey picture, (height, width, channels) of
            one in colour, or (dims,).
        levels: number of equally spaced grey levels, or None where intensities are continuous.
        binary: x takes the values 0 and 1 only.
        counts: x holds counts (RNA molecules, say).
        proteins: how many of the last data dimensions count proteins; the others count RNA.
        classes: number of label classes, 0 without labels; as a source describes it, an upper
            bound: options that leave examples out may leave fewer.
        batches: number of batches (plates, donors), likewise.
        distinct_labels: each labelled example has a label of its own; such labels are left out, so
            there are no classes.
        outside: the library size counts genes too that are not among the data dimensions.
        real: x holds real numbers, standardised.
        missing: some of them are missing; then the context begins with which are there.
        covariates: name and number of columns of each covariate, known once the data are prepared.
    """

    shape: tuple[int, ...]
    levels: int | None
    binary: bool = False
    counts: bool = False
    proteins: int = 0
    classes: int = 0
    batches: int = 0
    outside: bool = False
    distinct_labels: bool = False
    real: bool = False
    missing: bool = False
    covariates: tuple[tuple[str, int], ...] = ()

    @property
    def dims(self) -> int:
        """Number of data dimensions."""
        return int(np.prod(self.shape))

    @property
    def is_image(self) -> bool:
        """Whether an example is a picture."""
        return len(self.shape) in {2, 3}

    @property
    def channels(self) -> int:
        """Channels of a picture: 1 where it is grey."""
        return self.shape[2] if len(self.shape) == 3 else 1

    @property
    def genes(self) -> int:
        """Number of data dimensions that count RNA (all but the proteins)."""
        return self.dims - self.proteins

    def to_json(self) -> dict[str, Any]:
        """Plain form, for a record; what is not there is left out."""
        always = {"shape": list(self.shape), "levels": self.levels, "binary": self.binary}
        further = {name: getattr(self, name) for name in _FURTHER}
        return always | {name: value for name, value in further.items() if value}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Observed:
        """Read `to_json`'s form back; other keys do not matter."""
        known = {field.name: value[field.name] for field in fields(cls) if field.name in value}
        pairs = tuple((str(name), int(size)) for name, size in known.get("covariates", ()))
        return cls(**known | {"shape": tuple(value["shape"]), "covariates": pairs})

    def condition_size(self, condition: str) -> int:
        """Columns of a condition: none, or label, batch and covariates joined by "+"."""
        sizes = dict(self.covariates) | {"label": self.classes, "batch": self.batches}
        return sum(sizes[part] for part in parts_of(condition))


@dataclass(frozen=True)
class Cells:
    """Metadata of cells; each array [n], in the order of the examples.

    Attributes:
        features: names of the columns of x: genes, then proteins.
        label_names: name of each label class; empty where labels are bare numbers.
        batch: batch of each cell, counted from 0, or None.
        batch_names: name of each batch.
        perturbation: perturbation of each cell, as its index in perturbation_names, or None.
        perturbation_names: the control first; a combination is "a+b", its parts sorted.
        obs: further columns of the user's table, numbers or text.
        truth: what is known of simulated cells, by name. Keys that begin with "cell/" hold one row
            a cell; the others are about genes, programmes or perturbations.
    """

    features: tuple[str, ...]
    label_names: tuple[str, ...] = ()
    batch: NDArray[np.int64] | None = None
    batch_names: tuple[str, ...] = ()
    perturbation: NDArray[np.int64] | None = None
    perturbation_names: tuple[str, ...] = ()
    obs: dict[str, NDArray[Any]] = field(default_factory=dict)
    truth: dict[str, NDArray[Any]] = field(default_factory=dict)

    def take(self, keep: NDArray[Any]) -> Cells:
        """The cells that `keep` (a mask or positions) selects."""
        return replace(
            self,
            batch=None if self.batch is None else self.batch[keep],
            perturbation=None if self.perturbation is None else self.perturbation[keep],
            obs={name: values[keep] for name, values in self.obs.items()},
            truth={
                name: values[keep] if name.startswith("cell/") else values
                for name, values in self.truth.items()
            },
        )


@dataclass(frozen=True)
class RawData:
    """Data as a source reads them, before the split.

    Attributes:
        x: [n, *shape] grey levels (integers from 0 to levels − 1), intensities in [0, 1], or
            counts, which may be a scipy CSR matrix.
        labels: [n] class of each example, or None.
        levels: number of grey levels, or None where x holds intensities or counts.
        label_names: name of each label class of images; empty where classes are called by their
            numbers. Those of cells are in `cells`.
        official_test: [n] true where the source's own test split is, or None.
        factors: [n, factors] value of each generative factor, as its index, or None where unknown.
        factor_names: names of the factors, in the order of their columns.
        proteins: how many of the last columns of x count proteins.
        cells: what is known of cells; None makes x something else than counts.
        held_out: [n] true for examples that belong to no split, or None.
        outside: [n] RNA counts of genes that x leaves out, where they count for the library size;
            None where there are none.
        split: [n] the user's split, HELD_OUT for examples in none, or None where it is drawn.
        groups: [n] group of each example, of which none may be in two splits, or None.
        features: name of each column of a table of real numbers, in which NaN is a missing one;
            empty where x is something else.
        covariates: [n] column of each covariate as in the file, by name.
    """

    x: Any
    labels: NDArray[np.int64] | None
    levels: int | None
    label_names: tuple[str, ...] = ()
    official_test: NDArray[np.bool_] | None = None
    factors: NDArray[np.int64] | None = None
    factor_names: tuple[str, ...] = ()
    proteins: int = 0
    cells: Cells | None = None
    held_out: NDArray[np.bool_] | None = None
    outside: NDArray[np.int64] | None = None
    split: NDArray[np.int8] | None = None
    groups: NDArray[np.int64] | None = None
    features: tuple[str, ...] = ()
    covariates: dict[str, NDArray[Any]] = field(default_factory=dict)

    def take(self, keep: NDArray[np.bool_]) -> RawData:
        """The examples where `keep`, [n], is true."""
        return replace(
            self,
            x=self.x[keep],
            labels=None if self.labels is None else self.labels[keep],
            official_test=None if self.official_test is None else self.official_test[keep],
            factors=None if self.factors is None else self.factors[keep],
            cells=None if self.cells is None else self.cells.take(keep),
            held_out=None if self.held_out is None else self.held_out[keep],
            outside=None if self.outside is None else self.outside[keep],
            split=None if self.split is None else self.split[keep],
            groups=None if self.groups is None else self.groups[keep],
            covariates={name: column[keep] for name, column in self.covariates.items()},
        )


_MEAN_ROWS = 4096
_EVERY = slice(None)

COMMON_OPTIONS = frozenset({"source", "max_examples", "validation", "split_seed", "binarize"})
"""Keys of a dataset's section that every source reads; of binarize, counts allow none alone."""

COUNT_OPTIONS = frozenset({"corrupt", "max_held_out"})
"""Keys of a dataset's section that belong to all sources of counts, and to no other."""


COVARIATE_OPTIONS = frozenset({"covariates"})
"""The key of a dataset's section that names columns to condition on."""


SOURCES: Registry[Source] = Registry("source")


class Source(ABC):
    """One place that data come from. A registered subclass is all that a new one needs.

    A class from outside the package writes its settings as `options`, keys of a dataset's section
    with their JSON schema; an empty rule means a key that the section has already, such as path.

    Attributes:
        name: what the config calls it.
        counts: whether it gives counts of cells, and not images.
        real: whether it gives tables of real numbers.
        version: raised by hand when the source begins to give other data for the same options.
        own_options: keys of a dataset's section that belong to this source. They do not count for
            the identity of other sources' datasets, which a new key would else change.
        shared_options: keys that this source and some others read: test, path, root.
        rules: JSON schema of own_options, where the config's schema does not have it.
    """

    registry: ClassVar[Registry[Source]] = SOURCES
    name: ClassVar[str]
    version: ClassVar[int] = 1
    counts: ClassVar[bool] = False
    rules: ClassVar[Mapping[str, Rule]] = {}
    real: ClassVar[bool] = False
    own_options: ClassVar[frozenset[str]] = frozenset()
    shared_options: ClassVar[frozenset[str]] = frozenset({"test"})

    def __init_subclass__(cls) -> None:
        """Take `options` of a class body for the keys that it reads."""
        fragment = cls.__dict__.get("options")
        if isinstance(fragment, Mapping):
            del cls.options
            cls.rules = {key: rule for key, rule in fragment.items() if rule}
            cls.own_options = frozenset(cls.rules)
            cls.shared_options = frozenset({"test", *(fragment.keys() - cls.rules.keys())})

    @property
    def options(self) -> frozenset[str]:
        """Keys of a dataset's section that this source reads."""
        counts = COUNT_OPTIONS if self.counts else frozenset()
        return COMMON_OPTIONS | self.shared_options | self.own_options | counts

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

    def layout(self, options: Options) -> list[str]:
        """Names of these files that the data depend on too."""
        return []

    def known_labels(self, options: Options) -> Sequence[str] | None:
        """Labels as text (none where there are none); None if known after preparation only."""
        return None

    @abstractmethod
    def describe(self, options: Options) -> Observed:
        """Shape, grey levels and classes, known without reading the data as a whole."""

    def label_names(self, options: Options) -> tuple[str, ...]:
        """Names that labels may have, as far as they are known before the data are read."""
        return ()

    def suggested(self, options: Options) -> dict[str, Any]:
        """Further options that a look at the data suggests, for a first config."""
        return {}

    def count(self, options: Options) -> int:
        """Number of examples, before the split."""
        return int(self.load(options).x.shape[0])

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
        x: [n, dims] float32 intensities in [0, 1], before binarisation, or counts; a CountMatrix
            or MappedPictures,
            which gives dense rows for positions, where they are too many to hold.
        fixed: [n, dims] float32 the one seeded binarisation, or None where x is observed as it is.
        split: [n] TRAIN, VALIDATION or TEST.
        labels: [n] class from 0 without gaps, −1 where there is none.
        observed: shape, levels and whether the observed variable is binary.
        dynamic: training redraws the binarisation each epoch.
        checksum: SHA-256 of the arrays.
        label_names: name of each label class of images as in the user's file; empty where classes
            are called by their numbers.
        factors: [n, factors] value of each generative factor, as its index, or None where unknown.
        factor_names: names of the factors, in the order of their columns.
        cells: what is known of cells, or None where the data are no counts.
        clean: counts before the dataset's `corrupt` option took some away, as x, or None.
        corruption: that option: kind (thin or zero) and share, or None.
        outside: [n] RNA counts of genes that x leaves out, which belong to the library size; None
            where there are none. Corruption leaves them as they are.
        features: name of each column of a table of real numbers.
        standard: [2, dims] means and standard deviations that a table was standardised by, or None.
        present: [n, dims] 1 where a number of a table is there and 0 where it is missing (and 0 in
            x), or None where none is missing.
        covariates: [n, size] values of each covariate as networks see them, by name.
    """

    name: str
    x: NDArray[np.float32] | CountMatrix | MappedPictures
    fixed: NDArray[np.float32] | MappedPictures | None
    split: NDArray[np.int8]
    labels: NDArray[np.int64]
    observed: Observed
    dynamic: bool
    checksum: str
    label_names: tuple[str, ...] = ()
    factors: NDArray[np.int64] | None = None
    factor_names: tuple[str, ...] = ()
    cells: Cells | None = None
    clean: NDArray[np.float32] | CountMatrix | None = None
    corruption: Mapping[str, Any] | None = None
    outside: NDArray[np.int64] | None = None
    features: tuple[str, ...] = ()
    standard: NDArray[np.float64] | None = None
    present: NDArray[np.float32] | None = None
    covariates: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    def rows(self, split: str) -> NDArray[np.int64]:
        """Positions of a split's examples."""
        return np.flatnonzero(self.split == SPLITS[split])

    def with_train_examples(self, count: int | None) -> Dataset:
        """The same data with a train split of `count` examples; None leaves all of them.

        Stratified by label, drawn by one fixed stream and nested: a smaller train split is part of
        every larger one. The other train examples are in no split.

        Raises:
            UserError: the train split has fewer.
        """
        rows = self.rows("train")
        if count is None or count == len(rows):
            return self
        if count > len(rows):
            raise UserError(
                f"train_examples is {count} for dataset {self.name}, whose train split has "
                f"{len(rows)} examples; allowed: at most {len(rows)}."
            )
        split = self.split.copy()
        split[rows[_nested_order(self.labels[rows])[count:]]] = HELD_OUT
        return replace(self, split=split)

    def intensities(
        self, split: str, places: NDArray[np.int64] | slice = _EVERY
    ) -> NDArray[np.float32]:
        """[n, dims] intensities in [0, 1] of a split, before binarisation.

        Args:
            split: train, validation or test.
            places: positions of the examples in the split; all of them where left out.
        """
        return self.x[self.rows(split)[places]]

    def observe(
        self, split: str, places: NDArray[np.int64] | slice = _EVERY
    ) -> NDArray[np.float32]:
        """[n, dims] the observed variable of a split (held-out binarisation: one fixed draw).

        Args:
            split: train, validation or test.
            places: as of `intensities`.
        """
        values = self.x if self.fixed is None else self.fixed
        return values[self.rows(split)[places]]

    def rna(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """[len(rows), genes] RNA counts of cells."""
        return self.x[rows][:, : self.observed.genes]

    def labels_of(self, split: str) -> NDArray[np.int64]:
        """[n] labels of a split."""
        return self.labels[self.rows(split)]

    def factors_of(self, split: str) -> NDArray[np.int64] | None:
        """[n, factors] generative factors of a split, or None where they are not known."""
        return None if self.factors is None else self.factors[self.rows(split)]

    def train_mean(self) -> NDArray[np.float64]:
        """[dims] mean of the train split's intensities."""
        rows = self.rows("train")
        if isinstance(self.x, np.ndarray):
            return np.asarray(self.x[rows].mean(0, dtype=np.float64))
        total = np.zeros(self.observed.dims)
        for start in range(0, len(rows), _MEAN_ROWS):
            total += self.x[rows[start : start + _MEAN_ROWS]].sum(0, dtype=np.float64)
        return np.asarray(total / len(rows))

    @property
    def has_labels(self) -> bool:
        """Whether there are labels at all."""
        return bool((self.labels >= 0).any())

    @property
    def class_names(self) -> tuple[str, ...]:
        """Name of each label class; empty where classes are called by their numbers."""
        return self.label_names or (self.cells.label_names if self.cells else ())

    def label_name(self, label: int) -> str:
        """The name of a label class as in the user's file."""
        return self.class_names[label] if self.class_names else str(label)

    def label_pairs(self, pairs: Sequence[Sequence[Any]]) -> list[tuple[int, int]]:
        """Pairs of labels, as the user's file has them, as classes; without labels it has not."""
        known = np.unique(self.labels[self.labels >= 0]).tolist()
        classes = {self.label_name(code): code for code in known}
        named = [[classes.get(label_text(label), -1) for label in pair] for pair in pairs]
        return [(first, second) for first, second in named if min(first, second) >= 0]

    def context(self, rows: NDArray[np.int64], condition: str = "none") -> NDArray[np.float32]:
        """Inputs of encoder and decoder beside x and z: [len(rows), context].

        For counts the first column is the library size (see `library`); for tables with missing
        numbers the first columns say which are there; then the one-hot condition, all 0 for an
        example without a label.

        Args:
            rows: positions of examples.
            condition: none, or label, batch and covariates joined by "+".
        """
        columns = [self.library(rows)[:, None]] if self.observed.counts else []
        columns += [self.present[rows]] if self.present is not None else []
        for part in parts_of(condition):
            if part in self.covariates:
                columns.append(self.covariates[part][rows])
            elif size := self.observed.condition_size(part):
                columns.append(_one_hot(self.condition_values(part)[rows], size))
        return np.concatenate([np.empty((len(rows), 0), np.float32), *columns], axis=1)

    def library(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """[len(rows)] observed library size of cells: the sum of RNA counts, 1 at least.

        Of the genes in x, and of those outside them where the dataset's option `library` is all.
        """
        return self._library_sizes[rows]

    @cached_property
    def _library_sizes(self) -> NDArray[np.float32]:
        genes = slice(0, self.observed.genes)
        if not hasattr(self.x, "row_sums"):
            sums = self.x[:, genes].sum(1, dtype=np.float64)
        else:
            sums = self.x.row_sums(genes)
        sums = sums if self.outside is None else sums + self.outside
        return np.maximum(sums, 1).astype(np.float32)

    def condition_values(self, condition: str) -> NDArray[np.int64]:
        """[n] the label or batch of every example; −1 where it has none."""
        if condition == "batch":
            assert self.cells is not None
            assert self.cells.batch is not None
            return self.cells.batch
        return self.labels


def _nested_order(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """An order of examples [n] of which every beginning has each label's share, shuffled."""
    random, place = generator(0, "train"), np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        place[members] = (random.permutation(len(members)) + 0.5) / len(members)
    return np.argsort(place, kind="stable")


def _one_hot(values: NDArray[np.int64], size: int) -> NDArray[np.float32]:
    """[n, size]; a row of 0 for −1."""
    return (values[:, None] == np.arange(size)).astype(np.float32)
