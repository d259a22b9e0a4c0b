"""Runs: the levels of every axis, what they mean together, and the paths they name. No torch."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from vae_ablation.models.likelihoods import LIKELIHOODS
from vae_ablation.study.axes import (
    AXES,
    ArmName,
    Level,
    arm_kind,
    as_level,
    as_setting,
    axis_of,
    axis_order,
    further_levels,
    is_setting,
    level_order,
    objective_levels,
)

_DEFAULTS = {name: axis.default for name, axis in AXES.items()}


class Run(Mapping[str, Level]):
    """One arm with one seed: a frozen mapping of axis → level.

    It has every axis of `axes.AXES`, as an attribute too, and of the config's keys those in which
    it differs from the study's own settings. Its canonical text (`path`) is its identity. KL off
    is β = 0; a point posterior is KL off with the variance taken away; a fixed posterior has a
    variance that is not learned. Axes at their default leave no trace in the path, so that a new
    axis renames nothing.
    """

    dataset: str
    likelihood: str
    latent_dim: int
    beta: float
    kl: bool
    posterior: str
    seed: int
    architecture: str
    objective: str
    importance_samples: int
    condition: str
    kl_warmup_epochs: int
    dispersion: str
    train_examples: int | None
    prior: str
    split_seed: int | None

    def __init__(
        self,
        dataset: str,
        likelihood: str,
        latent_dim: int,
        beta: float,
        kl: bool,
        posterior: str,
        seed: int,
        **further: Level,
    ) -> None:
        """A run as written; `canonical_run` makes the one that axis values name.

        Args:
            dataset: name of the dataset.
            likelihood: name of the likelihood.
            latent_dim: dimensions of the code.
            beta: weight of the KL term.
            kl: whether there is one.
            posterior: gaussian, point or fixed.
            seed: of training.
            further: other axes by name, and settings by their dotted key.
        """
        core = (dataset, likelihood, latent_dim, beta, kl, posterior, seed)
        levels = _DEFAULTS | dict(zip(AXES, core, strict=False)) | further
        settings = [name for name in levels if name not in AXES]
        if unknown := [name for name in settings if not is_setting(name)]:
            raise TypeError(f"{unknown[0]} is not an axis")
        own = {name: as_level(levels.pop(name)) for name in sorted(settings, key=axis_order)}
        self.__dict__.update(levels, _settings=own)

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse: a run does not change."""
        raise AttributeError(f"a run is frozen; {name} cannot be set")

    def __getitem__(self, name: str) -> Level:
        return self.__dict__[name] if name in AXES else self.own[name]

    def __iter__(self) -> Iterator[str]:
        return iter([*AXES, *self.own])

    def __len__(self) -> int:
        return len(AXES) + len(self.own)

    def __hash__(self) -> int:
        return hash(self._standing)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Run):
            return False
        return self._standing == other._standing and self.own == other.own

    def __lt__(self, other: Run) -> bool:
        return self.order < other.order

    def __repr__(self) -> str:
        return f"Run({self.path})"

    @property
    def _standing(self) -> tuple[Any, ...]:
        return tuple(map(self.__dict__.get, AXES))

    @property
    def own(self) -> dict[str, Level]:
        """Settings in which the run differs from the study's."""
        settings: dict[str, Level] = self.__dict__["_settings"]
        return settings

    @property
    def order(self) -> tuple[Any, ...]:
        """Sort key of runs: by the levels of their axes."""
        standing = tuple(0 if level is None else level for level in self._standing)
        own = tuple((axis_order(name), level_order(level)) for name, level in self.own.items())
        return (*standing, own)

    def to_json(self) -> dict[str, Any]:
        """Plain form, for records and plans; `Run(**value)` reads it back."""
        return {name: as_setting(level) for name, level in self.items()}

    def model_settings(self, model: Mapping[str, Any]) -> dict[str, Any]:
        """The config's model section as it holds for this run."""
        return self._section("model", model)

    def training_settings(self, training: Mapping[str, Any]) -> dict[str, Any]:
        """The config's training section as it holds for this run."""
        return self._section("training", training)

    def _section(self, section: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        own = {
            name.partition(".")[2]: as_setting(level)
            for name, level in self.own.items()
            if name.startswith(f"{section}.")
        }
        return {**settings, **own}

    @cached_property
    def arm(self) -> ArmName:
        """Name of the arm: `beta0.5`, `kl-off`, `point`, `beta1-conv`, `beta1-given-batch`."""
        return ArmName(self.beta, arm_kind(self.kl, self.posterior), further_levels(self))

    @cached_property
    def path(self) -> str:
        """Folder of the run below runs/."""
        return f"{self._place}/{self.arm}/{'-'.join([*self._split, f'seed{self.seed}'])}"

    @property
    def data(self) -> str:
        """Key of the prepared data: the dataset, and the split where it is not the dataset's own.

        Names of datasets have no dot, so that no two keys are the same.
        """
        return data_key(self.dataset, self.split_seed)

    @cached_property
    def pack_key(self) -> str:
        """The levels that runs must share to be one batched program: all that shapes tensors."""
        shaping = self.arm.further.items()
        traces = [axis_of(n).traced(level) for n, level in shaping if axis_of(n).shapes]
        return "/".join([self._place, *traces, *self._split])

    @property
    def _split(self) -> list[str]:
        return [] if self.split_seed is None else [axis_of("split_seed").traced(self.split_seed)]

    @property
    def _place(self) -> str:
        return f"{self.dataset}/{self.likelihood}/z{self.latent_dim}"


def data_key(dataset: str, split_seed: int | None) -> str:
    """Key of a dataset's prepared data under a split seed; None is the dataset's own."""
    return dataset if split_seed is None else f"{dataset}.split{split_seed}"


def canonical_run(
    dataset: str,
    likelihood: str,
    latent_dim: int,
    beta: float,
    kl: bool,
    posterior: str,
    seed: int,
    **further: Any,
) -> Run:
    """The one run that these axis values name: see `canonical_levels`."""
    core = (dataset, likelihood, latent_dim, beta, kl, posterior, seed)
    return Run(**canonical_levels(dict(zip(AXES, core, strict=False)) | further))


def canonical_levels(levels: Mapping[str, Any]) -> dict[str, Any]:
    """The levels of the one run that these name.

    See `axes.objective_levels`; and most likelihoods have no dispersion.
    """
    found = dict(levels) | objective_levels(levels)
    dispersed = LIKELIHOODS[found["likelihood"]].dispersed
    found["dispersion"] = found.get("dispersion", "gene") if dispersed else "gene"
    return found


Reads = Callable[[Run, Mapping[str, Any]], Collection[str]]
"""The settings, as dotted keys, that a run reads under a config."""


def expand_runs(
    grids: Iterable[Mapping[str, Sequence[Any]]],
    config: Mapping[str, Any] | None = None,
    reads: Reads | None = None,
) -> list[Run]:
    """The union of the grids' products, sorted, each run once.

    Args:
        grids: the grids section of a resolved config.
        config: the resolved config; a setting that a run shares with it is no level of the run.
        reads: the settings that a run reads; any other is no level of it either.
    """
    runs = {own_run(run, config or {}, reads) for grid in grids for run in _product(grid)}
    return sorted(runs, key=lambda run: run.order)


def _product(grid: Mapping[str, Sequence[Any]]) -> list[Run]:
    """Every combination of a grid's levels, each run once."""
    names = [name for name in grid if name in AXES or is_setting(name)]
    products = itertools.product(*(map(as_level, grid[name]) for name in names))
    found = (canonical_levels(dict(zip(names, levels, strict=True))) for levels in products)
    unique = {tuple(levels.values()): levels for levels in found}
    return [Run(**levels) for levels in unique.values()]


def own_run(run: Run, config: Mapping[str, Any], reads: Reads | None) -> Run:
    """The run without settings that it shares with the config or does not read.

    Args:
        run: the run.
        config: a resolved config.
        reads: as in `expand_runs`.
    """
    own_split = config.get("datasets", {}).get(run.dataset, {}).get("split_seed")
    if run.split_seed is not None and run.split_seed == own_split:
        return own_run(Run(**{**run, "split_seed": None}), config, reads)
    own = run.own
    kept = {name: level for name, level in own.items() if level != _shared(name, config)}
    if reads is not None and kept:
        known = reads(run, config)
        kept = {name: level for name, level in kept.items() if name in known}
    return run if len(kept) == len(own) else Run(**{name: run[name] for name in AXES}, **kept)


def _shared(name: str, config: Mapping[str, Any]) -> Level:
    """The study's own setting of a dotted key."""
    section, _, key = name.partition(".")
    return as_level(config.get(section, {}).get(key, ...))
