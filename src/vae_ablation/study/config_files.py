"""Config files as they are written: no key twice, and text that YAML reads as text."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from vae_ablation.common.errors import UserError
from vae_ablation.study.config_types import Rule, inner_rule, types_of

NAMES_ALLOWED = "at most 100 letters, digits, '_' and '-', starting with a letter or digit"
"""Names of datasets, in words."""

_MERGE = "tag:yaml.org,2002:merge"
_TEXT = "tag:yaml.org,2002:str"


def read_file(path: Path, schema: Rule) -> Any:
    """Content of a config file, JSON or YAML, once `check_file` has nothing against it.

    Raises:
        OSError: the file cannot be read.
        yaml.YAMLError, ValueError, RecursionError: it is neither JSON nor YAML.
        UserError: see `check_file`.
    """
    text = path.read_text(encoding="utf-8-sig")
    _Written(path, text).check(schema)
    found, is_json = _as_json(text)
    return found if is_json else yaml.safe_load(text)


def check_file(path: Path, schema: Rule) -> None:
    """Refuse what is lost or changed when YAML is read, and cannot be seen afterwards.

    Args:
        path: a config file that can be read as JSON or YAML.
        schema: the rule of the whole file; an empty one where only keys that stand twice matter.

    Raises:
        UserError: a key occurs twice, at any depth; a plain scalar that YAML reads as something
            else (no, 007, 1e5, a date) stands where a name or text is wanted; or a number is
            written so that YAML reads another one (010).
    """
    try:
        _Written(path, path.read_text(encoding="utf-8-sig")).check(schema)
    except (OSError, yaml.YAMLError, ValueError, RecursionError):
        return  # tags that only Snakemake's loader knows; what it has read is checked anyway


def _as_json(text: str) -> tuple[Any, bool]:
    """The value of a JSON text, and whether it is one."""
    try:
        return json.loads(text), True
    except ValueError:
        return None, False


class _Written:
    """A config file's YAML nodes, which know their lines and spellings."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        # Tabs stand only between JSON's tokens, where YAML does not allow them.
        self.loader = yaml.SafeLoader(text.replace("\t", " ") if _as_json(text)[1] else text)
        self.seen: set[tuple[int, int]] = set()

    def check(self, schema: Rule) -> None:
        root = self.loader.get_single_node()
        if root is not None:
            self._check(root, schema, "")

    def _check(self, node: yaml.Node, rule: Rule, key: str) -> None:
        if (id(node), id(rule)) in self.seen:  # an anchor that stands here again
            return
        self.seen.add((id(node), id(rule)))
        if isinstance(node, yaml.MappingNode):
            self._check_mapping(node, rule, key)
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self._check(item, inner_rule(rule), f"{key}[{index}]")
        elif isinstance(node, yaml.ScalarNode):
            self._check_scalar(node, rule, key)

    def _check_mapping(self, node: yaml.MappingNode, rule: Rule, key: str) -> None:
        first: dict[str, yaml.Node] = {}
        for name, item in node.value:
            if name.tag == _MERGE:
                merged = item.value if isinstance(item, yaml.SequenceNode) else [item]
                for each in merged:
                    self._check(each, rule, key)
                continue
            text = str(self._read(name))
            place = f"{key}.{text}" if key else text
            if text in first:
                raise self._twice(place, first[text], name)
            first[text] = name
            if rule and isinstance(name, yaml.ScalarNode) and name.tag != _TEXT:
                has = f"{key} has" if key else "the config has"
                pattern = rule.get("propertyNames", {}).get("pattern", "")
                allowed = "" if re.match(pattern, name.value) else NAMES_ALLOWED
                raise self._not_text(f"{has} the name {_spelled(name)}", name, allowed)
            self._check(item, inner_rule(rule, text), place)

    def _check_scalar(self, node: yaml.ScalarNode, rule: Rule, key: str) -> None:
        types = types_of(rule)
        if "string" in types <= {"string", "null"} and "type" in rule:
            null = node.value == "" or ("null" in types and self._read(node) is None)
            if node.tag != _TEXT and not null:
                raise self._not_text(f"{key} is {_spelled(node)}", node)
        elif types & {"integer", "number"} and _misleads(node.value, self._read(node)):
            raise UserError(
                f"{self.path}: {key} is {_spelled(node)}, which YAML reads as "
                f"{self._read(node)}; allowed: a number without leading zeros and colons."
            )

    def _read(self, node: yaml.Node) -> Any:
        """Value that YAML reads from a scalar; the spelling of one that has a tag of its own."""
        try:
            return self.loader.construct_object(node, deep=True)
        except (yaml.YAMLError, ValueError):
            return node.value

    def _twice(self, place: str, first: yaml.Node, second: yaml.Node) -> UserError:
        lines = [node.start_mark.line + 1 for node in (first, second)]
        if first.value == second.value:
            where = f"in line {lines[0]} and in line {lines[1]}"
        else:
            where = f"as {_spelled(first)} and as {_spelled(second)}"
        return UserError(f"{self.path}: the key {place} occurs twice, {where}; allowed: once.")

    def _not_text(self, found: str, node: yaml.ScalarNode, allowed: str = "") -> UserError:
        quoted = f"text, here in quotes ('{node.value}')"
        return UserError(
            f"{self.path}: {found}, which YAML reads as {read_as(self._read(node))}; "
            f"allowed: {allowed or quoted}."
        )


def read_as(value: Any) -> str:
    """A value that YAML has read, in words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return f"the number {value}"
    if isinstance(value, str):  # of a kind that only YAML has, such as =
        return "something else than text"
    return f"the date {value}"


def _spelled(node: yaml.Node) -> str:
    return f"{node.value} in line {node.start_mark.line + 1}"


def _misleads(text: str, value: Any) -> bool:
    """Whether a number is written as YAML alone reads it: 010 is 8 there, and 1:30 is 90."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    digits = text.replace("_", "").lstrip("+-")
    return ":" in text or (digits.isdecimal() and int(digits) != abs(value))
