"""Texts of `--config key=value`, read by the type that the schema gives their key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

Rule = Mapping[str, Any]

_NULLS = {"", "~", "null", "Null", "NULL", "None"}


def overlay(config: Mapping[str, Any], entries: Iterable[str], schema: Rule) -> dict[str, Any]:
    """`config` with entries such as ``allow_missing=true`` laid over it, each of its key's type.

    Snakemake reads such an entry as YAML without types, so that true is text, and a name such as
    007 a number; mappings are merged as Snakemake merges them, and everything else is replaced.

    Args:
        config: the config, entries included as Snakemake reads them.
        entries: what follows `--config`, as it was written.
        schema: the rule of the whole config.
    """
    laid = dict(config)
    for entry in entries:
        key, _, text = entry.partition("=")
        rule = inner_rule(schema, key)
        laid = _merged(laid, {key: read_text(text.strip("'\""), rule)})
    return laid


def _merged(below: Any, above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below) if isinstance(below, Mapping) else {}
    for key, value in above.items():
        merged[key] = _merged(merged.get(key), value) if isinstance(value, Mapping) else value
    return merged


def read_text(text: str, rule: Rule) -> Any:
    """A text as the value of a key: of the one type that its rule allows and the text spells.

    A text that spells none of them stays text, for the schema to refuse.
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
        return rule.get("items") or {}
    rest = rule.get("additionalProperties")
    return rule.get("properties", {}).get(key) or (rest if isinstance(rest, Mapping) else {})


def types_of(rule: Rule) -> set[str]:
    """Names of the types that a rule allows; none where it says nothing."""
    if "oneOf" in rule:
        return set().union(*map(types_of, rule["oneOf"]))
    if "enum" in rule or "const" in rule:
        return {"string"}
    types = rule.get("type", [])
    return {types} if isinstance(types, str) else set(types)


def _value(node: yaml.Node, rule: Rule) -> Any:
    if isinstance(node, yaml.MappingNode):
        return {key.value: _value(item, inner_rule(rule, key.value)) for key, item in node.value}
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
    """What YAML reads in a text; numbers also as Python spells them (1e3)."""
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
