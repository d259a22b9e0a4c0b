"""Config reference: every key of a config with its type, default and meaning, as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from vae_ablation.common.settings import schema

HEAD = """# The config

Every key of a study's config, from [its schema](../workflow/schemas/config.schema.yaml). The
schema is closed: an unknown key is an error, and every key has a default. `config.yaml` in the
root folder is the default study, `vae-ablation init` writes a commented config for your own data,
and `workflow/studies/` has more of them.

Axes of `grids` take lists of levels. Beside the axes below, every key of `model` and `training`
but `training.device` can stand in a grid, written with its section (`model.hidden`,
`training.learning_rate`).
"""


def reference() -> str:
    """The text of config/README.md."""
    return "\n".join([HEAD, *_sections("", schema()["properties"])])


def _sections(place: str, rules: Mapping[str, Any]) -> Iterator[str]:
    """A table of the keys here, then a section for each key that has keys of its own."""
    if place:
        yield f"## `{place}`\n"
    yield "| key | type | default | meaning |\n|---|---|---|---|"
    for key, rule in rules.items():
        default = _default(rule)
        yield f"| `{key}` | {_type(rule)} | {default} | {_cell(rule['description'])} |"
    yield ""
    for key, rule in rules.items():
        inner, suffix = _inner(rule)
        if inner:
            yield from _sections(f"{place}.{key}{suffix}".lstrip("."), inner)


def _inner(rule: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """Keys below a key, and how their place is written."""
    for suffix, part in (
        ("", rule),
        (".<name>", rule.get("additionalProperties")),
        ("[]", rule.get("items")),
    ):
        if isinstance(part, Mapping) and part.get("properties"):
            return part["properties"], suffix
    return {}, ""


def _type(rule: Mapping[str, Any]) -> str:
    if "enum" in rule:
        return ", ".join(f"`{value}`" for value in rule["enum"])
    if "oneOf" in rule:
        return " or ".join(_type(one) for one in rule["oneOf"])
    if "const" in rule:
        return f"`{rule['const']}`"
    types = rule.get("type", [])
    text = " or ".join([types] if isinstance(types, str) else types)
    items = rule.get("items")
    return f"{text} of {_type(items)}" if items and _type(items) else text


def _default(rule: Mapping[str, Any]) -> str:
    if "default" not in rule or isinstance(rule["default"], Mapping):
        return ""
    text = yaml.safe_dump(rule["default"], default_flow_style=True, width=math.inf)
    written = str(text).removesuffix("...\n").strip()
    return f"`{written}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
