"""Answers to a table of runs from elsewhere, as files: tables, findings and a report."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vae_ablation.common.files import write_json, write_text
from vae_ablation.report.findings.finding import findings
from vae_ablation.report.findings.words import count
from vae_ablation.report.page.elsewhere import TablePage

if TYPE_CHECKING:
    from vae_ablation.tables.analysis import Analysis

FINDERS = ("effects", "importance", "power")
"""Questions that any table of runs can answer."""


def write_analysis(analysis: Analysis, out: Path) -> list[str]:
    """Write the answers to a table of runs, and tell what limits them.

    Args:
        analysis: the answers; called within `RunTable.known`.
        out: folder to write into: the tables, findings.json and .md, report.html.

    Returns:
        Sentences: warnings, then what was written.

    Raises:
        UserError: nothing can be compared.
    """
    analysis.check()
    entries, table = _entries(analysis), analysis.table
    html = TablePage(analysis, entries).html()
    analysis.write(out)
    named = _named(entries, table.names)
    write_json(out / "findings.json", named)
    write_text(out / "findings.md", markdown(table.path.name, named, analysis.warnings))
    write_text(out / "report.html", html)
    counts = ", ".join(f"{number} {name}" for name, number in analysis.verdicts.items())
    return [
        *(f"Warning: {line}" for line in analysis.warnings),
        f"{count(len(analysis.runs), 'run')}; verdicts over settings: {counts or 'none'}.",
        f"Report: {out / 'report.html'}",
        f"Tables: {out}/contrasts.csv, importance.csv, summary.csv, ablation.*; findings.*",
    ]


def _entries(analysis: Analysis) -> list[dict[str, Any]]:
    """Findings as findings.json holds them, under our names."""
    tables = {
        "metrics": analysis.runs.assign(model="vae"),
        "contrasts": analysis.contrasts,
        "importance": analysis.importance,
        "summary": analysis.summary,
    }
    config = {"statistics": {"primary_metrics": [*analysis.primary]}, "elsewhere": True}
    found = [one.entry for one in findings(tables, config, FINDERS)]
    own = {True: "importance"}
    return [one | {"section": own.get(one["question"] == "importance", one["section"])}
            for one in found]  # fmt: skip


def _named(value: Any, names: Mapping[str, str]) -> Any:
    """A value of findings.json with the caller's names of axes and metrics in place of ours."""
    if isinstance(value, Mapping):
        return {names.get(str(key), str(key)): _named(one, names) for key, one in value.items()}
    if isinstance(value, list):
        return [_named(one, names) for one in value]
    if not isinstance(value, str):
        return value
    scope, sign, level = value.partition("=")
    if sign and scope in names:
        return f"{names[scope]}={level}"
    if value in names:
        return names[value]
    parts = value.split("/")
    known = [names.get(part, part) for part in parts]
    return "/".join(known) if known != parts else value


def markdown(name: str, entries: Sequence[Mapping[str, Any]], warnings: Sequence[str]) -> str:
    """findings.md: what leads, then the rest, by dataset, and what limits it.

    Args:
        name: of the table.
        entries: findings.
        warnings: sentences on the table.
    """
    return "\n".join(_lines(name, entries, warnings)) + "\n"


def _lines(
    name: str, entries: Sequence[Mapping[str, Any]], warnings: Sequence[str]
) -> Iterator[str]:
    yield f"# Findings: {plain(name)}\n"
    datasets = dict.fromkeys(one["dataset"] for one in entries)
    for dataset in datasets:
        own = [one for one in entries if one["dataset"] == dataset]
        if len(datasets) > 1:
            yield f"## {plain(dataset)}\n"
        if not any(one["verdict"] for one in own):
            yield "No comparison of this table supports a claim.\n"
        for one in sorted(own, key=lambda one: not one["lead"]):
            yield f"{'##' if len(datasets) < 2 else '###'} {plain(one['headline'])}\n"
            yield f"{plain(one['text'])}\n"
    limits = list(dict.fromkeys([*(text for one in entries for text in one["caveats"]), *warnings]))
    if limits:
        yield "## Limits\n"
        yield from (f"- {plain(text)}" for text in limits)


def plain(text: str) -> str:
    """Text in which nothing is Markdown or HTML."""
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", " ".join(text.split()))
