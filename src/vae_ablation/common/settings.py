"""Settings as they enter digests: by value and not by spelling, new keys only if not at default."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

import yaml

from vae_ablation.common.workflow_files import SCHEMA as SCHEMA_PATH

_FIRST = {
    "training": "epochs batch_size learning_rate learning_rate_schedule kl_warmup_epochs "
    "gradient_clip early_stopping_patience",
    "model": "hidden channels center activation posterior_sigma gaussian_scale gaussian_sigma "
    "scale_floor logit_clamp",
    "datasets": "source size examples genes proteins batches dropout perturbations layer label "
    "batch n_top_genes min_cells min_counts obs protein perturbation binarize corrupt max_held_out "
    "max_examples validation test split_seed",
    "datasets.perturbation": "key control separator held_out",
    "datasets.corrupt": "kind share",
}
FIRST_KEYS = frozenset(
    f"{section}.{key}" for section, keys in _FIRST.items() for key in keys.split()
)
"""Keys whose defaults were in the hashes of the first results, and stay in them.

A key that came later counts only where it differs from its default, so that it renames nothing;
who changes such a default raises TRAINING_VERSION or PREPARE_VERSION.
"""


@cache
def schema() -> dict[str, Any]:
    """The closed schema of a config as its file says it; read only."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loaded = yaml.load(SCHEMA_PATH.read_text(encoding="utf-8"), loader)
    assert isinstance(loaded, dict)
    return loaded


def counted(
    section: str, values: Mapping[str, Any], ignored: Collection[str] = ()
) -> dict[str, Any]:
    """The settings of a section that enter a hash.

    Args:
        section: dotted key of the section (of one dataset: datasets).
        values: the section of the resolved config, or of one that an earlier version resolved.
        ignored: keys that are not read here; they count as their default.
    """
    return _counted(section, values, _rule(section), ignored)


def _rule(section: str) -> Mapping[str, Any]:
    """The schema of a section."""
    rule: Mapping[str, Any] = schema()
    for key in section.split("."):
        rule = rule["properties"][key]
    return rule["additionalProperties"] if section == "datasets" else rule


def _counted(
    place: str, values: Mapping[str, Any], rule: Mapping[str, Any], ignored: Collection[str] = ()
) -> dict[str, Any]:
    rules = rule.get("properties", {})
    known = {}
    for key in sorted({*rules, *values}):
        own = rules.get(key, {})
        default = own.get("default")
        value = default if key in ignored else values.get(key, default)
        value, usual = (_value(f"{place}.{key}", one, own) for one in (value, default))
        if value != usual or f"{place}.{key}" in FIRST_KEYS:
            known[key] = value
    return known


def _value(place: str, value: Any, rule: Mapping[str, Any]) -> Any:
    """A value whatever its spelling: 1 is 1.0 where numbers are wanted, and 10.0 is 10."""
    if isinstance(value, Mapping):
        return _counted(place, value, rule)
    if isinstance(value, (list, tuple)):
        return [_value(place, item, rule.get("items", {})) for item in value]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    if "number" in _types(rule):
        return float(value) if abs(value) < 2**53 else value
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _types(rule: Mapping[str, Any]) -> list[str]:
    types = rule.get("type", [])
    return [types] if isinstance(types, str) else list(types)
