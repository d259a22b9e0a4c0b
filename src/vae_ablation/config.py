"""From the user's config to a resolved one: checked against the closed schema, with defaults."""

from __future__ import annotations

import copy
import math
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from vae_ablation.columns import PRIMARY_METRICS
from vae_ablation.data import SOURCES
from vae_ablation.errors import UserError, unknown_name
from vae_ablation.likelihoods import LIKELIHOODS
from vae_ablation.overrides import overlay

Config = dict[str, Any]

SCHEMA_PATH = Path(__file__).parents[2] / "workflow" / "schemas" / "config.schema.yaml"
STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
LARGEST_WHOLE = 2**53 - 1
"""Whole numbers up to here are exact wherever numbers are floats."""


def read_config(path: Path) -> Config:
    """Read a config file and resolve it (see `resolve_config`).

    Raises:
        UserError: the file is absent, is no YAML mapping, or says something that is not allowed.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: no config file can be read here ({error.strerror}).") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: not readable as YAML: {reason}.") from None
    return resolve_config({} if raw is None else raw, path)


def read_schema() -> dict[str, Any]:
    """The closed schema of a config."""
    schema: dict[str, Any] = yaml.safe_load(SCHEMA_PATH.read_text(encoding="utf-8"))
    return schema


def with_overrides(raw: Mapping[str, Any], entries: Iterable[str]) -> Config:
    """A raw config in which what `--config key=value` gave has the type of its key.

    Args:
        raw: the config as Snakemake merged it.
        entries: the texts after `--config`.
    """
    return overlay(raw, entries, read_schema())


def resolve_config(raw: Any, path: Path) -> Config:
    """Check a raw config, fill in every default and make its paths absolute.

    Args:
        raw: what the YAML file holds.
        path: the config file, named in errors; relative paths are relative to its folder.

    Raises:
        UserError: one sentence naming file, key, what was found and what is allowed.
    """
    schema = read_schema()
    if not isinstance(raw, Mapping):
        raise UserError(f"{path}: the config is {_shown(raw)}; allowed: a mapping of keys.")
    try:
        config = _plain(raw)
    except RecursionError:
        raise UserError(f"{path}: the config holds itself; allowed: finite nesting.") from None
    _check_finite(config, path)
    errors = sorted(Draft202012Validator(schema).iter_errors(config), key=_depth)
    if errors:
        raise _sentence(errors[0], path)
    resolved = _with_defaults(config, schema)
    _check_names(resolved, path)
    _resolve_paths(resolved, path)
    return resolved


def _plain(value: Any) -> Any:
    """Ordinary dicts and lists (Snakemake hands over ordered ones), keys as text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
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
            f"{path}: {key} has the name {_shown(error.instance)}; "
            "allowed: at most 100 letters, digits, '_' and '-', starting with a letter or digit."
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
    """What the schema's rule for this value allows, in words."""
    rule = _rule(error)
    if error.validator == "oneOf":
        return "auto or a whole number from 1"
    if "enum" in rule:
        return ", ".join(map(str, rule["enum"]))
    types = rule.get("type", [])
    text = " or ".join(_TYPES[name] for name in ([types] if isinstance(types, str) else types))
    bounds = [
        f"{word} {rule[name]}"
        for name, word in (
            ("minimum", "at least"),
            ("exclusiveMinimum", "greater than"),
            ("maximum", "at most"),
            ("multipleOf", "a multiple of"),
        )
        if name in rule
    ]
    if rule.get("minItems"):
        bounds.append(f"at least {rule['minItems']} value{'s' if rule['minItems'] > 1 else ''}")
    if "maxItems" in rule:
        bounds.append(f"at most {rule['maxItems']} values")
    if rule.get("minProperties"):
        bounds.append("at least one key")
    hint = ""
    if error.validator == "type" and isinstance(error.instance, str) and "number" in text:
        hint = _number_hint(error.instance)
    return " ".join([text, " and ".join(bounds)]).strip() + hint


def _number_hint(text: str) -> str:
    try:
        value = float(text)
    except ValueError:
        return ""
    if not math.isfinite(value):
        return ""
    return f" (YAML reads {text} as text; write {value!r})"


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


def _check_names(config: Config, path: Path) -> None:
    if not STUDY_NAME.fullmatch(config["study"]):
        raise UserError(
            f"{path}: study is {_shown(config['study'])}; allowed: a plain folder name of at most "
            "100 letters, digits, '.', '_' and '-', starting with a letter or digit."
        )
    primary = config["statistics"]["primary_metrics"]
    _check_each(f"{path}: statistics.primary_metrics", primary, PRIMARY_METRICS)
    for name, options in config["datasets"].items():
        if name == "all":
            raise UserError(f"{path}: datasets has the name 'all'; allowed: any other name.")
        if options["source"] not in SOURCES:
            raise unknown_name(f"{path}: datasets.{name}.source", options["source"], SOURCES)
        _check_kind(f"{path}: datasets.{name}", options)
    for index, grid in enumerate(config["grids"]):
        where = f"{path}: grids[{index}]"
        grid["dataset"] = grid["dataset"] or list(config["datasets"])
        grid["kl_warmup_epochs"] = grid["kl_warmup_epochs"] or [
            config["training"]["kl_warmup_epochs"]
        ]
        _check_each(f"{where}.dataset", grid["dataset"], config["datasets"])
        _check_each(f"{where}.likelihood", grid["likelihood"], LIKELIHOODS)
        _check_objective(where, grid)
        for place, beta in enumerate(grid["beta"]):
            if float(f"{beta:g}") != beta:
                raise UserError(
                    f"{where}.beta[{place}] is {beta!r}; allowed: at most six significant digits, "
                    "since runs are named after them."
                )


def _check_kind(where: str, options: Mapping[str, Any]) -> None:
    """Pictures are binarised, counts are corrupted."""
    counts = SOURCES[options["source"]].counts
    if counts and options["binarize"] != "none":
        raise UserError(
            f"{where}.binarize is {options['binarize']}; allowed for counts "
            f"(source {options['source']}): none."
        )
    if options["corrupt"] and not counts:
        raise UserError(
            f"{where}.corrupt is {_shown(options['corrupt'])}; allowed for images "
            f"(source {options['source']}): null."
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
    for name, options in config["datasets"].items():
        for key in ("path", "root"):
            if options[key] is not None:
                options[key] = _absolute(options[key], path, f"datasets.{name}.{key}")
        SOURCES[options["source"]].check_options(f"{path}: datasets.{name}", options)


def _absolute(found: str, path: Path, key: str) -> str:
    """A path of the config file as an absolute one."""
    try:
        return str((path.parent / Path(found).expanduser()).resolve())
    except (ValueError, RuntimeError, OSError) as error:
        reason = str(error).rstrip(".")
        raise UserError(
            f"{path}: {key} is {_shown(found)}; allowed: the path of a file ({reason})."
        ) from None
