"""First configs: commented configs for a user's own data, from the schema. No torch."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from vae_ablation.common.settings import schema
from vae_ablation.data.base import Observed
from vae_ablation.models.likelihoods import LIKELIHOODS

WIDTH = 110
UPDATES = 3000
"""Steps of training that a first study aims at, in epochs of at least 10 and at most 100."""
PREFERRED = (
    "bernoulli",
    "discretized_logistic",
    "gaussian",
    "continuous_bernoulli",
    "negative_binomial",
    "zero_inflated_negative_binomial",
    "student_t",
)
"""Likelihoods of a first study, the first two that the data support and that are proper on them."""
OPEN_SECTIONS = ("model", "training", "evaluation", "statistics")
"""Sections whose other keys are listed at their defaults."""


@dataclass(frozen=True)
class Look:
    """A first look at a dataset.

    Attributes:
        name: of the dataset in the study.
        options: its keys in the config.
        observed: its shape and kind.
        examples: their number, before the split.
    """

    name: str
    options: Mapping[str, Any]
    observed: Observed
    examples: int

    @property
    def summary(self) -> str:
        """The data in one line."""
        seen, shape = self.observed, " × ".join(map(str, self.observed.shape))
        if seen.counts:
            kind = f"cells with counts of {_count(seen.genes, 'gene')}"
            kind += f" and {_count(seen.proteins, 'protein')}" if seen.proteins else ""
        elif seen.real:
            kind = f"rows of {_count(seen.dims, 'real number')}"
            kind += ", some of them missing" if seen.missing else ""
        else:
            kind = f"{'pictures' if len(seen.shape) > 1 else 'examples'} of {shape}, "
            kind += f"{seen.levels} levels" if seen.levels else "continuous values"
        labels = f", {_count(seen.classes, 'class', 'classes')}" if seen.classes else ""
        batches = f", {_count(seen.batches, 'batch', 'batches')}" if seen.batches else ""
        return f"{self.examples:,} {kind}{labels}{batches}"


def _count(number: int, one: str, many: str = "") -> str:
    """A number of things in words; `many` is their plural where it is not one with s."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def first_config(study: str, look: Look) -> str:
    """The text of a config: a small study of this dataset, each key with its meaning.

    Keys at their defaults stand as comments, so that removing `# ` sets them.

    Args:
        study: name of the study.
        look: its dataset.
    """
    rules = schema()["properties"]
    values = _values(look)
    lines = [f"# A first study of {look.name}: {look.summary}.", ""]
    lines += [*_comment(rules["study"], ""), f"study: {_inline(study)}", ""]
    lines += [*_comment(rules["datasets"], ""), "datasets:", f"  {look.name}:"]
    lines += _keys(look.options, rules["datasets"]["additionalProperties"], "    ", False)
    lines += ["", *_comment(rules["grids"], ""), "grids:"]
    axes = list(_keys(values["grids"], rules["grids"]["items"], "    ", False))
    first = next(i for i, line in enumerate(axes) if not line.lstrip().startswith("#"))
    lines += [*axes[:first], f"  - {axes[first].strip()}", *axes[first + 1 :]]
    for section in (*OPEN_SECTIONS, *(["applications"] if look.observed.counts else [])):
        lines += ["", *_comment(rules[section], ""), f"{section}:"]
        lines += _keys(values[section], rules[section], "  ", True)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _values(look: Look) -> dict[str, dict[str, Any]]:
    """Keys that a first study sets, by section."""
    seen = look.observed
    dims = sorted({min(seen.dims, size) for size in ((10,) if seen.counts else (2, 8))})
    steps = max(1, round(0.7 * look.examples / 128))
    epochs = min(100, max(10, math.ceil(UPDATES / steps)))
    return {
        "grids": {
            "likelihood": first_likelihoods(seen),
            "latent_dim": dims,
            "beta": [0.1, 1, 4],
            "kl": [True, False],
            "seed": [0, 1, 2],
            **({"condition": ["none", "batch"]} if seen.batches > 1 else {}),
        },
        "model": {"hidden": [128]},
        "training": {"epochs": epochs, "learning_rate": 0.001},
        "evaluation": {"nll_samples": 256},
        "statistics": {"reference": {"beta": 1}},
        "applications": {"predictive_checks": {}, "forbidden_states": {}},
    }


def first_likelihoods(observed: Observed) -> list[str]:
    """The two likelihoods that a first study of these data compares; one where only one is fit."""
    rank = {name: place for place, name in enumerate(PREFERRED)}
    fit = [
        name
        for name, one in LIKELIHOODS.items()
        if one.unsupported(observed) is None and one.proper(observed)
    ]
    return sorted(fit, key=lambda name: rank.get(name, len(rank)))[: 1 if observed.binary else 2]


def _keys(
    values: Mapping[str, Any], rule: Mapping[str, Any], indent: str, others: bool
) -> Iterator[str]:
    """Lines of the keys of a section that are set, then of the others at their defaults."""
    rules = rule["properties"]
    for key, value in values.items():
        yield from _comment(rules[key], indent)
        yield f"{indent}{key}: {_inline(value)}"
    for key in rules if others else ():
        if key not in values:
            yield from _comment(rules[key], indent)
            yield f"{indent}# {key}: {_inline(rules[key].get('default'))}"


def _comment(rule: Mapping[str, Any], indent: str) -> list[str]:
    """The description of a key as a comment."""
    start = f"{indent}# "
    text = " ".join(str(rule["description"]).split())
    return textwrap.wrap(text, WIDTH, initial_indent=start, subsequent_indent=start)


def _inline(value: Any) -> str:
    """A value as it stands in YAML, on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=math.inf, allow_unicode=True)
    return str(text).removesuffix("...\n").strip()
