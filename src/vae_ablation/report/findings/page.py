"""Findings as files: JSON, a page of their own, and text for the report's first page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment

from vae_ablation.common.files import read_json, write_json, write_text
from vae_ablation.report.figures.results import StudyResults
from vae_ablation.report.findings.finding import findings
from vae_ablation.report.findings.words import number
from vae_ablation.report.overview import rst_text

MAX_ROWS = 200
"""Rows of evidence on the page; findings.json has all of them."""

Entry = Mapping[str, Any]


def _unbroken(text: str) -> str:
    """Text without line breaks in equations and percentages."""
    return text.replace(" = ", "\u00a0=\u00a0").replace(" %", "\u00a0%")


def _value_text(value: Any) -> str:
    """A value of the evidence: numbers rounded, text as it is; empty for None."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return str(value) if isinstance(value, int) else number(value)


def _columns(rows: Sequence[Entry]) -> list[str]:
    """Columns of rows of evidence, in the order of their first occurrence."""
    return list(dict.fromkeys(name for row in rows for name in row))


def _caveats(entries: Iterable[Entry]) -> list[str]:
    """Every caveat once."""
    return list(dict.fromkeys(caveat for entry in entries for caveat in entry["caveats"]))


TEMPLATES = Environment(autoescape=True, trim_blocks=True)
TEMPLATES.filters |= {
    "unbroken": _unbroken,
    "value_text": _value_text,
    "columns": _columns,
    "caveats": _caveats,
}
TEMPLATES.tests["number"] = lambda value: isinstance(value, (int, float))

_PAGE = TEMPLATES.from_string("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Findings</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
body { font: 15px/1.55 system-ui, sans-serif; margin: 1.2rem auto; padding: 0 1rem;
  max-width: 62rem; color: #1a1a1a; background: #fff; }
h1 { font-size: 1.3rem; margin-bottom: .3rem; }
h2 { font-size: 1.05rem; margin: 1.8rem 0 .6rem; }
h3 { font-size: 1rem; line-height: 1.35; margin: 0; } .lead { color: #444; max-width: 72ch; }
article { border: 1px solid #e2e4e8; border-left: 4px solid #8a8f98; border-radius: 4px;
  padding: .8rem 1rem .7rem; margin: .8rem 0; }
article.claim { border-left-color: #0072b2; }
article p { margin: .4rem 0 .5rem; max-width: 78ch; overflow-wrap: anywhere; }
.head { display: flex; gap: .8rem; align-items: baseline; justify-content: space-between; }
.mark { font-size: .78rem; white-space: nowrap; color: #00567f; background: #e6f1f8;
  padding: .05rem .5rem; border-radius: 1rem; }
summary { cursor: pointer; } ul { max-width: 78ch; }
.wide { overflow: auto; max-height: 24rem; margin-top: .4rem; border: 1px solid #e2e4e8; }
table { border-collapse: collapse; font-size: 12.5px; }
th, td { padding: .22rem .6rem; border-bottom: 1px solid #ececec; text-align: left;
  white-space: nowrap; }
th { position: sticky; top: 0; background: #f4f5f7; font-weight: 600; }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
</style></head><body><h1>Findings</h1><p class="lead">{{ lead }}</p>
{% macro article(finding) %}
<article{% if finding.verdict %} class="claim"{% endif %}><div class="head">
<h3>{{ finding.headline | unbroken }}</h3>
{% if finding.verdict %}<span class="mark">{{ finding.verdict }}</span>{% endif %}</div>
<p>{{ finding.text | unbroken }}</p>
{% set rows = finding.evidence.rows[:max_rows] %}
{% if rows %}
{% set names = rows | columns %}
<details><summary>evidence</summary>
<div class="wide"><table><thead><tr>
{% for name in names %}<th>{{ name.replace("_", " ") }}</th>{% endfor %}
</tr></thead><tbody>
{% for row in rows %}
<tr>{% for name in names %}
<td{% if row.get(name) is number %} class="n"{% endif %}>{{ row.get(name) | value_text }}</td>
{% endfor %}</tr>
{% endfor %}
</tbody></table></div>
</details>
{% endif %}
</article>
{% endmacro %}
{% for dataset, findings in datasets %}
<section><h2>Dataset {{ dataset }}</h2>
{% for finding in findings if finding.lead %}{{ article(finding) }}{% endfor %}
{% set folded = findings | rejectattr("lead") | list %}
{% if folded %}
<details{% if folded | length == findings | length %} open{% endif %}>
<summary>{{ folded | length }} further findings</summary>
{% for finding in folded %}{{ article(finding) }}{% endfor %}
</details>
{% endif %}
{% set notes = findings | caveats %}
{% if notes %}
<h3>Limits</h3><ul>{% for note in notes %}<li>{{ note }}</li>{% endfor %}</ul>
{% endif %}
</section>
{% else %}
<p>The tables contain no runs yet.</p>
{% endfor %}
</body></html>
""")


_LEAD = (
    "Differences between arms on the test split, paired by seed and pooled over settings with "
    "equal weights; brackets hold 95 % confidence intervals. Verdicts are adjusted for the number "
    "of comparisons. “Undecided” does not mean equal; “equivalent” means that the difference is "
    "certainly smaller than the margin, which is what the evaluation can resolve."
)


def study_tables(folder: Path) -> dict[str, pd.DataFrame | None]:
    """The tables of a study that findings read, by name; absent ones are empty."""
    results = StudyResults(folder)
    return {
        "metrics": results.metrics,
        "summary": results.summary,
        "contrasts": results.contrasts,
        "importance": results.importance,
        "applications": results.applications,
        "matched": results.matched,
        "examples": results.examples,
    }


def write_findings(folder: Path) -> None:
    """Write tables/findings.json (docs/findings.md), findings.html and front_page.json.

    Args:
        folder: results/<study>. Tables other than metrics and summary may be absent.
    """
    tables = folder / "tables"
    found = findings(study_tables(folder), StudyResults(folder).config)
    entries = [finding.entry for finding in found]
    write_json(tables / "findings.json", entries)
    write_json(tables / "front_page.json", front_page(entries))
    write_text(tables / "findings.html", findings_page(entries))


def read_findings(folder: Path) -> list[dict[str, Any]]:
    """Entries of tables/findings.json; empty before there are any."""
    path = folder / "tables" / "findings.json"
    return list(read_json(path)) if path.is_file() else []


def front_page(entries: Iterable[Entry]) -> list[dict[str, str]]:
    """Headline and first sentence (`lead`) of the leading findings, as reStructuredText."""
    return [
        {"headline": rst_text(one["headline"]), "lead": rst_text(first_sentence(one["text"]))}
        for one in entries
        if one["lead"]
    ]


def first_sentence(text: str) -> str:
    """The text up to the first full stop that a capital letter follows."""
    return re.split(r"(?<=\.) (?=[A-Z])", text, maxsplit=1)[0]


def findings_page(entries: Sequence[Entry]) -> str:
    """The findings as one self-contained page: what leads first, the others folded."""
    groups = groupby(entries, key=lambda entry: entry["dataset"])
    datasets = [(dataset, list(group)) for dataset, group in groups]
    return _PAGE.render(datasets=datasets, lead=_LEAD, max_rows=MAX_ROWS)
