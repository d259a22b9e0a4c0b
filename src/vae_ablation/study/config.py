"""Config of a study: checked against the closed schema, completed with defaults."""

from __future__ import annotations

import copy
import itertools
import math
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from vae_ablation.common.errors import UserError, unknown_name
from vae_ablation.common.settings import SCHEMA_PATH as SCHEMA_PATH
from vae_ablation.common.settings import schema as file_schema
from vae_ablation.data import SOURCES
from vae_ablation.data.codes import SEPARATOR, parts_of
from vae_ablation.models.likelihoods import LIKELIHOODS
from vae_ablation.study import plugins
from vae_ablation.study.axes import (
    AXES,
    NOT_AXES,
    REPLICATES,
    SECTIONS,
    axis_order,
    is_setting,
    objective_levels,
)
from vae_ablation.study.config_files import NAMES_ALLOWED, read_as, read_file
from vae_ablation.study.config_types import (
    Rule,
    TwiceError,
    canonical,
    overlay,
    read_text,
    types_of,
)
from vae_ablation.study.external import check_external
from vae_ablation.study.looks import check_looks
from vae_ablation.study.metrics import described, primary_candidates

Config = dict[str, Any]

STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
LARGEST_WHOLE = 2**53 - 1
"""Whole numbers up to here are exact wherever numbers are floats."""


def read_config(path: Path) -> Config:
    """Read a config file and resolve it (see `resolve_config`).

    Raises:
        UserError: the file is absent, is not a YAML mapping, or has a value that is not allowed.
    """
    try:
        use_plugins_of(_peeked(path), path)
        raw = read_file(path, config_schema())
    except OSError as error:
        raise UserError(f"{path}: no config file can be read here ({error.strerror}).") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: not readable as YAML: {reason}.") from None
    return resolve_config({} if raw is None else raw, path)


def _peeked(path: Path) -> Any:
    """Content of a config file before it is checked; None where it cannot be read."""
    try:
        return read_file(path, {})
    except (OSError, UserError, yaml.YAMLError, ValueError, RecursionError):
        return None


def config_schema() -> dict[str, Any]:
    """The closed schema of a config, in which a grid takes the keys of model and training too.

    It has the settings and names of the known plug-ins.
    """
    return _composed(plugins.state())


@lru_cache(maxsize=4)
def _composed(known: object) -> dict[str, Any]:
    composed = copy.deepcopy(file_schema())
    plugins.compose_(composed)
    grid = composed["properties"]["grids"]["items"]["properties"]
    for section in SECTIONS:
        for key, rule in composed["properties"][section]["properties"].items():
            name = f"{section}.{key}"
            if name not in NOT_AXES:
                grid[name] = _axis_rule(name, rule)
    return composed


def _axis_rule(name: str, rule: Mapping[str, Any]) -> dict[str, Any]:
    """The rule of an axis whose levels are values of a key of the config."""
    return {
        "description": f"Levels of {name}; left out, the study's own.",
        "type": "array",
        "items": {key: value for key, value in rule.items() if key != "default"},
        "minItems": 1,
    }


def with_overrides(
    raw: Mapping[str, Any], entries: Iterable[str], given: Mapping[str, Any]
) -> Config:
    """A raw config in which what `--config key=value` gave has the type of its key.

    Args:
        raw: the config as Snakemake merged it.
        entries: the texts after `--config`.
        given: the same texts as Snakemake read them.
    """
    return overlay(raw, entries, given, config_schema())


def resolve_config(raw: Any, path: Path) -> Config:
    """Check a raw config, fill in every default and make its paths absolute.

    Args:
        raw: content of the YAML file.
        path: the config file, named in errors; relative paths are relative to its folder.

    Raises:
        UserError: one sentence naming file, key, what was found and what is allowed.
    """
    if not isinstance(raw, Mapping):
        raise UserError(f"{path}: the config is {_shown(raw)}; allowed: a mapping of keys.")
    try:
        _check_keys(raw, path)
        config = _plain(raw)
    except RecursionError:
        raise UserError(f"{path}: the config holds itself; allowed: finite nesting.") from None
    _check_finite(config, path)
    use_plugins_of(config, path)
    schema = config_schema()
    errors = sorted(Draft202012Validator(schema).iter_errors(config), key=_depth)
    if errors:
        raise _sentence(errors[0], path)
    filled = _with_defaults(config, schema)
    _fill_seeds(filled, config)
    _check_names(filled, path, schema, config.get("datasets", {}))
    resolved: Config = canonical(filled, schema)
    _check_finite(resolved, path)  # whole numbers that were written as floats
    if resolved["seeds"]:
        statistics = resolved["statistics"]
        statistics["looks"] = check_looks(str(path), resolved["seeds"], statistics["looks"])
    _resolve_paths(resolved, path)
    return resolved


def _fill_seeds(filled: Config, config: Config) -> None:
    """Give grids that name no seed those of the first round, where seeds come in rounds."""
    if not filled["seeds"]:
        return
    written = config.get("grids", [{}])
    for grid, own in zip(filled["grids"], written, strict=True):
        if "seed" not in own and len(grid["split_seed"]) == 1:
            grid["seed"] = list(range(int(filled["seeds"]["first"])))


def use_plugins_of(raw: Any, path: Path) -> None:
    """Know the parts of a config's plug-ins, before its other keys are checked.

    Args:
        raw: the config; what is not a list of texts is left to the schema.
        path: the config file, to whose folder paths are relative.

    Raises:
        UserError: see `plugins.use_plugins`.
    """
    files = raw.get("plugins") if isinstance(raw, Mapping) else None
    named = [file for file in files if isinstance(file, str)] if isinstance(files, list) else []
    plugins.use_plugins([_absolute(file, path, "plugins") for file in named])


def _check_keys(value: Any, path: Path, place: str = "") -> None:
    """Keys are text; of what YAML reads as something else (no, 007), nobody knows the spelling."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise UserError(
                    f"{path}: {place or 'the config'} has the name {key}, which YAML reads as "
                    f"{read_as(key)}; allowed: text, here in quotes."
                )
            _check_keys(item, path, f"{place}.{key}" if place else key)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check_keys(item, path, f"{place}[{index}]")


def _plain(value: Any) -> Any:
    """Ordinary dicts and lists (Snakemake hands over ordered ones)."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return copy.copy(value)


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _leaves(item, f"{key}.{name}" if key else name)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{key}[{index}]")
    else:
        yield key, value


def _check_finite(config: Config, path: Path) -> None:
    for key, value in _leaves(config):
        if isinstance(value, (int, float)) and not abs(value) <= sys.float_info.max:
            raise UserError(f"{path}: {key} is {_shown(value)}; allowed: a finite number.")
        if isinstance(value, int) and abs(value) > LARGEST_WHOLE:
            raise UserError(
                f"{path}: {key} is {_shown(value)}; allowed: whole numbers up to {LARGEST_WHOLE}."
            )


def _depth(error: ValidationError) -> tuple[bool, int, list[str]]:
    """Unknown keys first (a typo explains what follows), then outer keys before inner ones."""
    unknown = error.validator in {"additionalProperties", "pattern"}
    return (not unknown, len(error.absolute_path), [str(part) for part in error.absolute_path])


def _key(parts: Iterator[Any]) -> str:
    key = ""
    for part in parts:
        key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else str(part)
    return key


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _sentence(error: ValidationError, path: Path) -> UserError:
    """The schema's complaint as one sentence: file, key, value found, values allowed."""
    key = _key(iter(error.absolute_path))
    if error.validator == "additionalProperties":
        return _unknown_key(error, key, path)
    if error.validator == "pattern":
        return UserError(
            f"{path}: {key} has the name {_shown(error.instance)}; allowed: {NAMES_ALLOWED}."
        )
    where = f"{path}: {key}" if key else f"{path}: the config"
    return UserError(f"{where} is {_shown(error.instance)}; allowed: {_allowed(error)}.")


def _unknown_key(error: ValidationError, key: str, path: Path) -> UserError:
    known = list(_rule(error)["properties"])
    found = next(name for name in _instance(error) if name not in known)
    place = f"{key}.{found}" if key else found
    complaint = unknown_name(f"{path}: the key {place}", found, known)
    return UserError(str(complaint).replace(f" is {found!r}, which is not known", " is not known"))


def _rule(error: ValidationError) -> dict[str, Any]:
    """The part of the schema that was broken."""
    assert isinstance(error.schema, dict)
    return error.schema


def _instance(error: ValidationError) -> dict[str, Any]:
    """The mapping that breaks it."""
    assert isinstance(error.instance, dict)
    return error.instance


_TYPES = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping of keys",
    "null": "null",
}


def _allowed(error: ValidationError) -> str:
    """Values that the schema's rule allows, in words, and how they are written."""
    rule = _rule(error)
    return _in_words(rule) + _hint(error.instance, rule)


def _in_words(rule: Rule) -> str:
    if "oneOf" in rule:
        return " or ".join(map(_in_words, rule["oneOf"]))
    if "const" in rule:
        return str(rule["const"])
    if "enum" in rule:
        return ", ".join(map(str, rule["enum"]))
    types = rule.get("type", [])
    names = [types] if isinstance(types, str) else types
    text = " or ".join(_TYPES[name] for name in names if name != "null" or len(names) == 1)
    bounds = [
        f"{word} {rule[name]}"
        for name, word in (
            ("minimum", "at least"),
            ("exclusiveMinimum", "greater than"),
            ("maximum", "at most"),
            ("exclusiveMaximum", "less than"),
            ("multipleOf", "a multiple of"),
        )
        if name in rule
    ]
    least, most = rule.get("minItems"), rule.get("maxItems")
    if least and least == most:
        bounds.append(f"of {least} {'different ' if 'uniqueItems' in rule else ''}values")
    elif least:
        bounds.append(f"of at least {least} value{'s' if least > 1 else ''}")
    if rule.get("minProperties"):
        bounds.append("with at least one key")
    if rule.get("minLength"):
        bounds.append("that is not empty")
    null = ", or null" if "null" in names and len(names) > 1 else ""
    return " ".join([text, " and ".join(bounds)]).strip() + null


def _hint(found: Any, rule: Rule) -> str:
    """Hint on how to write a value of the wrong type so that it has the right one."""
    if isinstance(found, str):
        try:
            meant = canonical(read_text(found, rule), rule)
        except TwiceError:
            return ""
        if meant != found and _fits(meant, rule):
            if _is_text(found):
                return f" (YAML reads {found} as text; write {_written(meant)})"
            return f" (in quotes it is text; write {_written(meant)} without quotes)"
    if isinstance(found, (str, bool, int, float)) and _fits([found], rule):
        return f" (write {_written([found])})"
    quotable = not isinstance(found, (str, list, dict)) and found is not None
    if quotable and "string" in types_of(rule) and "type" in rule:
        return f" (YAML reads {read_as(found)} here; write text in quotes)"
    return ""


def _is_text(text: str) -> bool:
    """Whether YAML reads this, without quotes, as text."""
    try:
        return isinstance(yaml.safe_load(text), str)
    except (yaml.YAMLError, ValueError, RecursionError):
        return True


def _fits(value: Any, rule: Rule) -> bool:
    return bool(Draft202012Validator(rule).is_valid(value))


def _written(value: Any) -> str:
    """A value as it stands in YAML, on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=math.inf)
    return str(text).removesuffix("...\n").strip()


def _with_defaults(value: Any, schema: Mapping[str, Any]) -> Any:
    """`value` with the schema's defaults wherever a key is left out, at every depth."""
    if isinstance(value, dict):
        rules = schema.get("properties", {})
        filled = {
            key: copy.deepcopy(rule["default"])
            for key, rule in rules.items()
            if key not in value and "default" in rule
        } | value
        rest = schema.get("additionalProperties")
        return {
            key: _with_defaults(item, rules.get(key) or (rest if isinstance(rest, dict) else {}))
            for key, item in filled.items()
        }
    if isinstance(value, list) and "items" in schema:
        return [_with_defaults(item, schema["items"]) for item in value]
    return value


def _check_names(
    config: Config, path: Path, schema: Rule, written: Mapping[str, Mapping[str, Any]]
) -> None:
    """Names and options that the schema alone cannot refuse; `written` are datasets as written."""
    if not STUDY_NAME.fullmatch(config["study"]):
        raise UserError(
            f"{path}: study is {_shown(config['study'])}; allowed: a plain folder name of at most "
            "100 letters, digits, '.', '_' and '-', starting with a letter or digit."
        )
    primary = config["statistics"]["primary_metrics"]
    _check_each(f"{path}: statistics.primary_metrics", primary, primary_candidates())
    _check_margins(f"{path}: statistics.margins", config["statistics"]["margins"])
    for name, options in config["datasets"].items():
        if name == "all":
            raise UserError(f"{path}: datasets has the name 'all'; allowed: any other name.")
        if options["source"] not in SOURCES:
            raise unknown_name(f"{path}: datasets.{name}.source", options["source"], SOURCES)
        shown = {**options, **written.get(name, {})}
        _check_kind(f"{path}: datasets.{name}", options, shown)
        _check_read(f"{path}: datasets.{name}", options, shown, schema)
    _check_applications(config, path)
    for index, grid in enumerate(config["grids"]):
        where = f"{path}: grids[{index}]"
        grid["dataset"] = grid["dataset"] or list(config["datasets"])
        _check_each(f"{where}.dataset", grid["dataset"], config["datasets"])
        _check_each(f"{where}.likelihood", grid["likelihood"], LIKELIHOODS)
        _check_warmup(where, grid, path, config["training"])
        _check_precision(where, grid, path, config["training"])
        _check_objective(where, grid)
        _check_digits(where, grid)
        _check_splits(where, grid, config["datasets"])
        _check_conditions(where, grid, config["datasets"])
    _check_references(path, config)


def _levels_read(grid: Mapping[str, Any]) -> dict[str, set[Any]]:
    """Levels of the objective's axes that some run has: without a KL term there is no β, say."""
    axes = ("kl", "beta", "posterior", "importance_samples", "objective", "kl_warmup_epochs")
    products = itertools.product(*(grid[axis] for axis in axes))
    found = [objective_levels(dict(zip(axes, levels, strict=True))) for levels in products]
    return {axis: {levels[axis] for levels in found} for axis in found[0]}


def _check_margins(where: str, margins: Mapping[str, float]) -> None:
    """Margins are of results, and ratios are above 1, shares below it."""
    _check_each(where, list(margins), primary_candidates())
    for name, margin in margins.items():
        scale = described(name).scale
        if scale == "log" and margin <= 1:
            raise UserError(f"{where}.{name} is {margin:g}; allowed: a ratio above 1, as 1.05.")
        if scale == "arcsine" and margin >= 1:
            raise UserError(f"{where}.{name} is {margin:g}; allowed: a share below 1, as 0.02.")


def _check_splits(where: str, grid: Mapping[str, Any], datasets: Mapping[str, Any]) -> None:
    """A split of the user's own is not drawn again."""
    for name in grid["dataset"] if grid["split_seed"] != [None] else ():
        if datasets[name]["split"] is not None:
            raise UserError(
                f"{where}.split_seed is {grid['split_seed']}, and dataset {name} has a split of "
                f"its own (split: {datasets[name]['split']}); allowed: datasets with a drawn split."
            )


def _check_conditions(where: str, grid: dict[str, Any], datasets: Mapping[str, Any]) -> None:
    """Conditions name label, batch and covariates of each dataset; their order does not matter."""
    for place, condition in enumerate(grid["condition"]):
        parts = parts_of(condition)
        for dataset in grid["dataset"]:
            known = ["label", "batch", *(datasets[dataset]["covariates"] or {})]
            for part in parts:
                if part not in known:
                    key = f"{where}.condition[{place}] for dataset {dataset}"
                    raise unknown_name(key, part, ["none", *known])
        ordered = sorted({*parts}, key=lambda part: (part != "label", part != "batch", part))
        grid["condition"][place] = SEPARATOR.join(ordered) or "none"


def _check_digits(where: str, grid: Mapping[str, Any]) -> None:
    """Runs are named after levels, of which six digits are shown."""
    read = _levels_read(grid)
    for axis, levels in grid.items():
        for place, level in enumerate(levels if axis != "seed" else ()):
            named = axis not in read or level in read[axis]
            if named and isinstance(level, float) and float(f"{level:g}") != level:
                raise UserError(
                    f"{where}.{axis}[{place}] is {level!r}; allowed: at most six significant "
                    "digits, since runs are named after them."
                )


def _check_references(path: Path, config: Config) -> None:
    """A reference level is one of a level that some grid has."""
    for axis, level in config["statistics"]["reference"].items():
        where = f"{path}: statistics.reference.{axis}"
        if axis in {"dataset", "likelihood", *REPLICATES} or not (axis in AXES or is_setting(axis)):
            known = {name for grid in config["grids"] for name in grid}
            allowed = sorted(known - {"dataset", "likelihood", *REPLICATES}, key=axis_order)
            raise UserError(f"{where} is not an axis of contrasts; allowed: {', '.join(allowed)}.")
        levels = [value for grid in config["grids"] for value in grid.get(axis, [])]
        if is_setting(axis):
            section, _, key = axis.partition(".")
            levels.append(config[section].get(key))
        if not _fits(level, {"enum": levels}):  # to which true is not 1, but 1.0 is
            shown = ", ".join(dict.fromkeys(map(str, levels)))
            raise UserError(f"{where} is {_shown(level)}; allowed: a level of a grid ({shown}).")


def _check_applications(config: Config, path: Path) -> None:
    """Settings of an application for single datasets name datasets, and hold no others."""
    for name, block in config["applications"].items():
        for dataset, settings in (block or {}).get("datasets", {}).items():
            where = f"{path}: applications.{name}.datasets"
            if dataset not in config["datasets"]:
                raise unknown_name(f"{where} has a dataset that", dataset, config["datasets"])
            if settings and "datasets" in settings:
                raise UserError(
                    f"{where}.{dataset} has the key datasets; allowed: settings of this dataset."
                )


def _check_kind(where: str, options: Mapping[str, Any], shown: Mapping[str, Any]) -> None:
    """Pictures are binarised, counts are corrupted."""
    counts, real = SOURCES[options["source"]].counts, SOURCES[options["source"]].real
    if (counts or real) and options["binarize"] != "none":
        raise UserError(
            f"{where}.binarize is {options['binarize']}; allowed for "
            f"{'tables' if real else 'counts'} (source {options['source']}): none."
        )
    if options["corrupt"] and not counts:
        raise UserError(
            f"{where}.corrupt is {_shown(shown['corrupt'])}; allowed for "
            f"{'tables' if real else 'images'} "
            f"(source {options['source']}): null."
        )


def _check_read(
    where: str, options: Mapping[str, Any], shown: Mapping[str, Any], schema: Rule
) -> None:
    """Options that a source does not read have their default: they would do nothing."""
    source = SOURCES[options["source"]]
    rules = schema["properties"]["datasets"]["additionalProperties"]["properties"]
    for key, rule in rules.items():
        if key not in source.options and options[key] != rule["default"]:
            raise UserError(
                f"{where}.{key} is {_shown(shown[key])}, which source {source.name} does not "
                f"read; allowed with it: {', '.join(sorted(source.options))}."
            )


def _check_warmup(
    where: str, grid: dict[str, Any], path: Path, training: Mapping[str, Any]
) -> None:
    """A grid's warm-up, training's where it says none, ends before training if a run reads it."""
    own, lengths = grid["kl_warmup_epochs"], grid.get("training.epochs")
    epochs = min(lengths) if lengths else training["epochs"]
    ends = f"{where}.training.epochs has" if lengths else "training.epochs is"
    if own is None:
        grid["kl_warmup_epochs"] = [training["kl_warmup_epochs"]]
    read = _levels_read(grid)["kl_warmup_epochs"]
    for place, warmup in enumerate(grid["kl_warmup_epochs"]):
        if warmup > epochs and warmup in read:
            key = f"{path}: training.kl_warmup_epochs"
            key = key if own is None else f"{where}.kl_warmup_epochs[{place}]"
            raise UserError(
                f"{key} is {warmup}, and {ends} {epochs}; allowed: at most "
                f"{epochs}, since the KL term would never have its whole weight."
            )


def _check_precision(
    where: str, grid: Mapping[str, Any], path: Path, training: Mapping[str, Any]
) -> None:
    """Tensor cores round factors of matrix products; a device without them has float32 alone."""
    own = grid.get("training.precision")
    for precision in own or [training["precision"]]:
        if precision != "float32" and training["device"] in ("cpu", "mps"):
            key = f"{path}: training.precision" if own is None else f"{where}.training.precision"
            raise UserError(
                f"{key} has {precision!r}, and training.device is {training['device']!r}; "
                "allowed with it: float32 (tf32 and bf16 need an NVIDIA GPU)."
            )


def _check_objective(where: str, grid: Mapping[str, Any]) -> None:
    """The importance-weighted bound has no β and no variant without the KL term."""
    if "iwae" not in grid["objective"]:
        return
    for key, only in (("beta", 1), ("kl", True)):
        if any(value != only for value in grid[key]):
            raise UserError(
                f"{where}.objective has iwae, and {key} is {_shown(grid[key])}; "
                f"allowed beside iwae: {key} [{str(only).lower()}], in a grid of its own."
            )


def _check_each(where: str, found: list[str], known: Collection[str]) -> None:
    for index, name in enumerate(found):
        if name not in known:
            raise unknown_name(f"{where}[{index}]", name, known)


def _resolve_paths(config: Config, path: Path) -> None:
    config["plugins"] = [_absolute(file, path, "plugins") for file in config["plugins"]]
    for name, options in config["datasets"].items():
        for key in ("path", "root", "folder", "labels"):
            if options[key] is not None:
                options[key] = _absolute(options[key], path, f"datasets.{name}.{key}")
        SOURCES[options["source"]].check_options(f"{path}: datasets.{name}", options)
    for name, settings in config["external"].items():
        if settings["path"] is not None:
            settings["path"] = _absolute(settings["path"], path, f"external.{name}.path")
    check_external(config, str(path))


def _absolute(found: str, path: Path, key: str) -> str:
    """A path of the config file as an absolute one; a link keeps its name, which has the ending."""
    try:
        place = path.parent / Path(found).expanduser()
        return str(place.resolve() if place.name == ".." else place.parent.resolve() / place.name)
    except (ValueError, RuntimeError, OSError) as error:
        reason = str(error).rstrip(".")
        raise UserError(
            f"{path}: {key} is {_shown(found)}; allowed: the path of a file ({reason})."
        ) from None
