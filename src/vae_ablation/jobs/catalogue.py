"""Catalogue of parts, axes and metrics, from the registries, as Markdown (docs/catalogue.md)."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from vae_ablation import applications, data, report  # noqa: F401 - they register their parts
from vae_ablation.common.registry import ORIGINS, REGISTRIES
from vae_ablation.common.settings import schema
from vae_ablation.evaluation import families  # noqa: F401
from vae_ablation.models import architectures, likelihoods, objectives, posteriors, priors  # noqa: F401
from vae_ablation.report.figures import FIGURES
from vae_ablation.report.findings import finding  # noqa: F401 - it imports all of them
from vae_ablation.study.axes import AXES, NOT_AXES, SECTIONS, Axis, axis_of, level_text
from vae_ablation.study.metrics import METRICS, Metric

HEAD = """# Catalogue of parts, axes and metrics

What a config can name, made from the code by `make docs`. Each part is a class or a function under
`@register`, and [parts of your own](extending.md) stand beside them. The settings of a part are
described in [the config](../config/README.md).
"""
KINDS = {
    "likelihood": "Likelihoods: `likelihood` in a grid",
    "prior": "Priors: `prior` in a grid",
    "posterior": "Posteriors: `posterior` in a grid",
    "objective": "Objectives: `objective` in a grid",
    "architecture": "Architectures: `architecture` in a grid",
    "source": "Sources: `source` of a dataset",
    "application": "Applications: blocks of `applications`",
    FIGURES.kind: "Figures",
    "question": "Findings",
}
"""Headings of the kinds of parts, in order."""


def catalogue() -> str:
    """The text of docs/catalogue.md."""
    parts = [_kind(kind) for kind in KINDS]
    return "\n".join([HEAD, _axes(), *parts, _metrics()])


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    names = list(head)
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _kind(kind: str) -> str:
    entries = REGISTRIES[kind]
    own = {name: entry for name, entry in entries.items() if (kind, name) not in ORIGINS}
    options = any(_options(entry) for entry in own.values())
    head = ["name", "what it is", *(["settings"] if options else [])]
    rows = [
        [f"`{name}`", _summary(entry), *([_options(entry)] if options else [])]
        for name, entry in sorted(own.items())
    ]
    return f"## {KINDS[kind]}\n\n{_table(head, rows)}"


def _options(entry: Any) -> str:
    found = getattr(entry, "options", ())
    return ", ".join(f"`{name}`" for name in sorted({*found} - {"source"}))


def _summary(entry: Any) -> str:
    """First sentence of a part's docstring, code in it as in Markdown."""
    text = inspect.getdoc(_documented(entry)) or ""
    first = re.split(r"\n\s*\n", text)[0]
    return first.rstrip(".")


def _documented(entry: Any) -> Any:
    """Holder of the docstring: the drawing function, or the part's class."""
    drawing: Callable[..., Any] | None = getattr(entry, "draw", None)
    if drawing is not None:
        return inspect.unwrap(drawing)
    return entry if inspect.isfunction(entry) or inspect.isclass(entry) else type(entry)


# --- axes -----------------------------------------------------------------------------------------


def _axes() -> str:
    rows = [_axis_row(axis) for axis in AXES.values()]
    rows += [_axis_row(axis_of(name)) for name in _settings()]
    head = ["axis", "label", "levels in order", "default", "in an arm's name"]
    return f"## Axes: keys of a grid\n\n{_table(head, rows)}"


def _settings() -> Iterator[str]:
    """Keys of the config that can stand in a grid, in the schema's order."""
    rules: Mapping[str, Any] = schema()["properties"]
    for section in SECTIONS:
        for key in rules[section]["properties"]:
            if f"{section}.{key}" not in NOT_AXES:
                yield f"{section}.{key}"


def _axis_row(axis: Axis) -> list[str]:
    scale = {"category": "no", "linear": "yes", "log": "yes, by ratios"}[axis.scale]
    if axis.is_setting:
        default = "the study's setting"
    else:
        default = "" if axis.default is None else f"`{level_text(axis.default)}`"
    trace = f"`{axis.trace}…`" if axis.trace else ""
    return [f"`{axis.name}`", axis.label, scale, default, trace]


# --- metrics --------------------------------------------------------------------------------------


def _metrics() -> str:
    rows = [_metric_row(one) for one in METRICS.values() if _is_own(one)]
    head = ["column", "label", "unit", "better", "differences", "what it is"]
    return f"## Metrics: columns of metrics.csv\n\n{_table(head, rows)}"


def _is_own(metric: Metric) -> bool:
    owners = [name for name, family in REGISTRIES["metric family"].items()
              if metric.name in family.columns]  # fmt: skip
    return not any(("metric family", name) in ORIGINS for name in owners)


def _metric_row(metric: Metric) -> list[str]:
    scale = {"identity": "", "log": "ratios", "arcsine": "of shares"}[metric.scale]
    return [f"`{metric.name}`", metric.label, metric.unit, metric.better or "",
            scale if metric.role == "result" and metric.is_number else "not compared",
            metric.description]  # fmt: skip
