"""Arms made elsewhere: what a config's `external` names, with their files. No torch."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator

from vae_ablation.common.errors import UserError, unknown_name
from vae_ablation.common.files import file_digest
from vae_ablation.common.registry import digests
from vae_ablation.models.external import EXTERNAL_MODELS
from vae_ablation.study.axes import AXES, REPLICATES, as_level, is_setting, level_cell

if TYPE_CHECKING:
    from vae_ablation.study.plan import Study

CONTROLS = ("vae", "pca", "raw", "untrained", "real", "full_gaussian", "optimum")
"""Values of the column `model` that this package gives itself."""
SUFFIXES = (".npz", ".h5ad", ".csv")
"""Files of codes."""
PATTERNS = ("seed", "latent_dim", "split_seed")
"""Names that a path may have in braces, one file for each value."""
_NOT_LEVELS = {"dataset", "latent_dim", *REPLICATES}


@dataclass(frozen=True)
class Place:
    """One row of an arm.

    Attributes:
        latent_dim: of the codes; None for as many as the file has.
        seed: of the replicate; None for a model without randomness.
        path: the file, or None where the model needs none.
    """

    latent_dim: int | None
    seed: int | None
    path: Path | None


@dataclass(frozen=True)
class ExternalArm:
    """An arm of `external`.

    Attributes:
        name: of the arm, a value of the column `model`.
        dataset: its dataset.
        path: of its files, with names in braces; None where the model needs none.
        key: of obsm.
        model: name of an `ExternalModel`; None for codes from files.
        latent_dims: of its codes; empty for as many as the file has.
        seeds: of its replicates; empty for a model without randomness.
        normal_prior: whether its codes have a prior N(0, I), which fixes their scale.
        levels: levels that it shares with trained arms, by axis.
        options: settings of the model.
    """

    name: str
    dataset: str
    path: str | None = None
    key: str | None = None
    model: str | None = None
    latent_dims: Sequence[int] = ()
    seeds: Sequence[int] = ()
    normal_prior: bool = False
    levels: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, settings: Mapping[str, Any]) -> ExternalArm:
        """The arm of a resolved entry of `external`."""
        return cls(
            name,
            settings["dataset"],
            settings["path"],
            settings["key"],
            settings["model"],
            settings["latent_dim"] or (),
            () if settings["deterministic"] else settings["seed"],
            settings["normal_prior"],
            settings["levels"],
            settings["options"],
        )

    def with_dims(self, dims: Sequence[int]) -> ExternalArm:
        """The arm, with these latent dimensions where it is a model and names none."""
        return replace(self, latent_dims=dims) if self.model and not self.latent_dims else self

    @property
    def cells(self) -> dict[str, Any]:
        """Its levels as cells of a table."""
        return {name: level_cell(as_level(level)) for name, level in self.levels.items()}

    def places(self, split_seed: int | None = None) -> Iterator[Place]:
        """Its rows under a split of the data."""
        for dim, seed in itertools.product(self.latent_dims or (None,), self.seeds or (None,)):
            yield Place(dim, seed, self._path(seed=seed, latent_dim=dim, split_seed=split_seed))

    def _path(self, **values: int | None) -> Path | None:
        if self.path is None:
            return None
        text = self.path
        for name, value in values.items():
            text = text.replace(f"{{{name}}}", str(value))
        return Path(text)

    def identity(self, split_seed: int | None) -> list[Any]:
        """Everything but data and code that its rows depend on, files by their bytes."""
        files = [_digest(place.path) for place in self.places(split_seed)]
        settings = [self.name, self.key, self.model, self.latent_dims, self.seeds]
        further = [self.normal_prior, self.cells, self.options]
        part = [("external model", self.model)] if self.model else []
        return [*settings, *further, files, digests(part)]


def _digest(path: Path | None) -> str | None:
    """Digest of a file's bytes; of an absent one, nothing, so that its rows count as missing."""
    return file_digest(path) if path is not None and path.is_file() else None


def external_arms(config: Mapping[str, Any]) -> list[ExternalArm]:
    """The arms of a resolved config."""
    return [ExternalArm.of(name, one) for name, one in config.get("external", {}).items()]


# --- checks of a config ---------------------------------------------------------------------------


def check_external(config: Mapping[str, Any], where: str) -> None:
    """Check the entries of `external`, and fill in their datasets and options.

    Args:
        config: with defaults filled in; its paths are absolute.
        where: the config file, named in errors.

    Raises:
        UserError: naming the key, what was found and what is allowed.
    """
    for name, settings in config["external"].items():
        key = f"{where}: external.{name}"
        if name in CONTROLS:
            raise UserError(
                f"{where}: external has the name {name!r}, which this package gives itself; "
                f"allowed: any name but {', '.join(CONTROLS)}."
            )
        _check_dataset(key, settings, config["datasets"])
        _check_made(key, settings)
        _check_levels(key, settings)
        _check_patterns(key, settings)


def _check_dataset(key: str, settings: dict[str, Any], datasets: Mapping[str, Any]) -> None:
    if settings["dataset"] is None:
        if len(datasets) > 1:
            raise UserError(
                f"{key}.dataset is left out; allowed in a study of several: {', '.join(datasets)}."
            )
        settings["dataset"] = next(iter(datasets))
    if settings["dataset"] not in datasets:
        raise unknown_name(f"{key}.dataset", settings["dataset"], datasets)


def _check_made(key: str, settings: dict[str, Any]) -> None:
    """Codes come from a file of a known kind or from a registered model."""
    path, model = settings["path"], settings["model"]
    if model is not None:
        if model not in EXTERNAL_MODELS:
            raise _unknown_model(f"{key}.model", model)
        settings["options"] = check_options(f"{key}.options", settings["options"], model)
        if settings["key"] is not None:
            raise UserError(f"{key}.key is {settings['key']!r} beside a model; allowed: null.")
        return
    if path is None:
        raise UserError(
            f"{key} has neither path nor model; allowed: a file of codes, or the name of an "
            "ExternalModel."
        )
    suffix = Path(path).suffix
    if suffix not in SUFFIXES:
        raise UserError(f"{key}.path is {path}; allowed: a file {', '.join(SUFFIXES)}.")
    if (settings["key"] is None) == (suffix == ".h5ad"):
        wanted = "a key of obsm" if suffix == ".h5ad" else f"null for a file {suffix}"
        raise UserError(f"{key}.key is {settings['key'] or 'null'}; allowed: {wanted}.")
    if settings["options"]:
        raise UserError(f"{key}.options are settings of a model; allowed without one: none.")


def _unknown_model(key: str, model: str) -> UserError:
    if EXTERNAL_MODELS:
        return unknown_name(key, model, EXTERNAL_MODELS)
    return UserError(
        f"{key} is {model!r}, and no plug-in registers an external model; allowed: the name of a "
        "class that derives from ExternalModel, in a file of plugins."
    )


def check_options(key: str, found: Mapping[str, Any], model: str) -> dict[str, Any]:
    """The settings of a model, its defaults filled in.

    Args:
        key: file and key, named in errors.
        found: as the config has them.
        model: name of the model.

    Raises:
        UserError: a key is not known, or its value is not allowed.
    """
    options = EXTERNAL_MODELS[model].options
    rules = options if isinstance(options, Mapping) else {}
    for name, value in found.items():
        if name not in rules:
            raise (
                unknown_name(f"{key}: the key", name, rules)
                if rules
                else UserError(
                    f"{key} has the key {name!r}; allowed: none, since {model} has no options."
                )
            )
        error = next(Draft202012Validator(rules[name]).iter_errors(value), None)
        if error is not None:
            raise UserError(f"{key}.{name}: {error.message}; allowed: {dict(rules[name])}.")
    return {name: rule["default"] for name, rule in rules.items()} | dict(found)


def _check_levels(key: str, settings: Mapping[str, Any]) -> None:
    for axis in settings["levels"]:
        if axis in _NOT_LEVELS or not (axis in AXES or is_setting(axis)):
            known = [name for name in AXES if name not in _NOT_LEVELS]
            raise unknown_name(f"{key}.levels: the axis", axis, known)


def _check_patterns(key: str, settings: Mapping[str, Any]) -> None:
    """Each value of a name in braces has its file, and each name with several values its braces."""
    path = settings["path"]
    named = re.findall(r"\{(\w*)\}", path or "")
    for name in named:
        if name not in PATTERNS:
            raise unknown_name(f"{key}.path: the name in braces", name, PATTERNS)
    if settings["deterministic"] and "seed" in named:
        raise UserError(
            f"{key}.deterministic is true, and path has {{seed}}; allowed: one file for all seeds."
        )
    if "latent_dim" in named and not settings["latent_dim"]:
        raise UserError(f"{key}.path has {{latent_dim}}; allowed beside it: latent_dim, a list.")
    for name in ("seed", "latent_dim"):
        values = settings[name] or ()
        if settings["model"] is None and len(values) > 1 and name not in named:
            if name == "seed" and settings["deterministic"]:
                continue
            raise UserError(
                f"{key}.{name} has {len(values)} values, and path has no {{{name}}}; allowed: a "
                "file for each."
            )


# --- checks of a study ----------------------------------------------------------------------------


def check_arms(study: Study, where: str) -> None:
    """Refuse arms whose name, dataset or levels do not go with the study's runs.

    Raises:
        UserError: naming the key, what was found and what is there.
    """
    names = {str(run.arm) for run in study.runs}
    for arm in study.external:
        key = f"{where}: external.{arm.name}"
        if arm.name in names:
            raise UserError(f"{key} has the name of a trained arm; allowed: any other name.")
        if arm.dataset not in study.datasets:
            used = ", ".join(study.datasets)
            raise UserError(f"{key}.dataset is {arm.dataset}, which no grid uses; allowed: {used}.")
        _check_shared(study, arm, key)
        seeds = [study.split_of(data) for data in study.data_of(arm.dataset)]
        if arm.path is not None and "{split_seed}" not in arm.path and len(seeds) > 1:
            raise UserError(
                f"{key}.path has no {{split_seed}}, and the grids have several splits of dataset "
                f"{arm.dataset}; allowed: a file for each split."
            )
        for place in (one for seed in seeds for one in arm.places(seed)):
            if place.path is not None and not place.path.is_file():
                raise UserError(f"{key}.path: {place.path} is not a file; allowed: a file.")


def _check_shared(study: Study, arm: ExternalArm, key: str) -> None:
    """Each level is one of a trained arm of the dataset."""
    runs = [run for run in study.runs if run.dataset == arm.dataset]
    for axis, level in arm.levels.items():
        own = study.setting(axis) if is_setting(axis) else None
        known = {level_cell(run.get(axis, own)) for run in runs}
        if level_cell(as_level(level)) not in known:
            shown = ", ".join(sorted(map(str, known)))
            raise UserError(
                f"{key}.levels.{axis} is {level!r}; allowed: a level of trained arms ({shown})."
            )
