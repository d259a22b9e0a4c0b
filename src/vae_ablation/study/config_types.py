"""Values of a config in the type that the schema gives their key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from vae_ablation.common.errors import UserError

Rule = Mapping[str, Any]

_NULLS = {"", "~", "null", "Null", "NULL", "None"}
_ANYTHING: Rule = {}


def overlay(
    config: Mapping[str, Any], entries: Iterable[str], given: Mapping[str, Any], schema: Rule
) -> dict[str, Any]:
    """`config` with entries such as ``allow_missing=true`` laid over it, each of its key's type.

    Snakemake reads such an entry as YAML without types, so that true is text, and a name such as
    007 a number; mappings are merged as Snakemake merges them, and everything else is replaced.

    Args:
        config: the config, entries included as Snakemake reads them.
        entries: what follows `--config`, as it was written.
        given: the same as Snakemake reads it. What `config` does not hold was not for it: the
            config of a module may be another one.
        schema: the rule of the whole config.

    Raises:
        UserError: a key occurs twice in a mapping.
    """
    laid = dict(config)
    for entry in entries:
        key, _, text = entry.partition("=")
        if key in config and _holds(config[key], given[key]):
            try:
                value = read_text(text.strip("'\""), inner_rule(schema, key))
            except TwiceError as twice:
                raise UserError(f"--config {key}: {twice}; allowed: once.") from None
            laid = _merged(laid, {key: value})
    return laid


class TwiceError(Exception):
    """A key that occurs twice in one mapping."""


def _holds(value: Any, given: Any) -> bool:
    if isinstance(value, Mapping) and isinstance(given, Mapping):
        return all(key in value and _holds(value[key], item) for key, item in given.items())
    return bool(value == given)


def _merged(below: Any, above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below) if isinstance(below, Mapping) else {}
    for key, value in above.items():
        merged[key] = _merged(merged.get(key), value) if isinstance(value, Mapping) else value
    return merged


def read_text(text: str, rule: Rule) -> Any:
    """A text as the value of a key: of the one type that its rule allows and the text spells.

    A text that spells none of them stays text, for the schema to refuse.

    Raises:
        TwiceError: it is a mapping in which a key occurs twice.
    """
    if types_of(rule) <= {"string"}:
        return text
    try:
        node = yaml.compose(text, yaml.SafeLoader)
        return None if node is None else _value(node, rule)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text


def inner_rule(rule: Rule, key: str | None = None) -> Rule:
    """The rule of a mapping's key, or of a list's items; an empty one where there is none."""
    if key is None:
        found = rule.get("items")
    else:
        found = rule.get("properties", {}).get(key) or rule.get("additionalProperties")
    return found if isinstance(found, Mapping) else _ANYTHING


def types_of(rule: Rule) -> set[str]:
    """Names of the types that a rule allows; none where it says nothing."""
    if "oneOf" in rule:
        return set().union(*map(types_of, rule["oneOf"]))
    if "enum" in rule or "const" in rule:
        return {"string"}
    types = rule.get("type", [])
    return {types} if isinstance(types, str) else set(types)


def canonical(value: Any, rule: Rule) -> Any:
    """One form for each value, at every depth, so that spelling neither fails nor counts.

    Whole numbers are integers (10.0 is 10), other numbers floats (1 is 1.0, −0.0 is 0.0).
    """
    if isinstance(value, dict):
        return {key: canonical(item, inner_rule(rule, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [canonical(item, inner_rule(rule)) for item in value]
    if not _is_number(value):
        return value
    types = types_of(rule)
    if "number" in types:
        return float(value) + 0.0
    return int(value) if "integer" in types and float(value).is_integer() else value


def _value(node: yaml.Node, rule: Rule) -> Any:
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Any] = {}
        for key, item in node.value:
            if key.value in found:
                raise TwiceError(f"the key {key.value} occurs twice")
            found[key.value] = _value(item, inner_rule(rule, key.value))
        return found
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, inner_rule(rule)) for item in node.value]
    assert isinstance(node, yaml.ScalarNode)
    return _scalar(node, types_of(rule))


def _scalar(node: yaml.ScalarNode, types: set[str]) -> Any:
    """The first of null, truth value and number that the types allow and the text spells."""
    text = str(node.value)
    quoted = node.style in {"'", '"'}
    if "string" in types and quoted:
        return text
    if "null" in types and text in _NULLS:
        return None
    found = _plain_scalar(text)
    if "boolean" in types and isinstance(found, bool):
        return found
    if types & {"integer", "number"} and _is_number(found):
        return found
    return text


def _plain_scalar(text: str) -> Any:
    """Value that YAML reads in a text; numbers also as Python spells them (1e3)."""
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        found = text
    if not isinstance(found, str):
        return found
    try:
        return float(found)
    except ValueError:
        return found


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
