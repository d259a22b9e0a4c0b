"""Findings as a page of their own, as JSON, and as text for the report's first page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment

from vae_ablation.common.files import read_json, write_json, write_text
from vae_ablation.report.figures.results import StudyResults
from vae_ablation.report.figures.style import number, plain
from vae_ablation.report.findings.finding import Finding, findings
from vae_ablation.report.overview import rst_text

MAX_ROWS = 200
"""Rows of evidence on the page; findings.json has all of them."""


def _unbroken(text: str) -> str:
    """Text without line breaks in equations and percentages."""
    return text.replace(" = ", "\u00a0=\u00a0").replace(" %", "\u00a0%")


def _value_text(value: Any) -> str:
    """A value of the evidence: numbers rounded, text as it is, others as JSON; empty for None."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value if isinstance(value, str) else json.dumps(value)
    return str(value) if isinstance(value, int) else number(value)


def _single(evidence: Mapping[str, Any]) -> str:
    """The evidence outside of rows: `epochs: 80; floor: 3`."""
    known = ((n, v) for n, v in evidence.items() if n != "rows" and v is not None)
    return "; ".join(f"{name}: {_value_text(value)}" for name, value in known)


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Columns of rows of evidence, in the order of their first occurrence."""
    return list(dict.fromkeys(name for row in rows for name in row))


def figure_words(finding: Finding) -> str:
    """`figure: rate distortion, gaussian, latent dimension 2`; empty without a figure."""
    if finding.figure is None:
        return ""
    parts = [finding.figure.replace("_", " ").replace("kl ", "KL ")]
    parts += [plain(finding.likelihood)] if finding.likelihood else []
    parts += [f"latent dimension {finding.latent_dim}"] if finding.latent_dim is not None else []
    return f"figure: {', '.join(parts)}"


TEMPLATES = Environment(autoescape=True, trim_blocks=True)
TEMPLATES.filters |= {
    "unbroken": _unbroken,
    "value_text": _value_text,
    "single": _single,
    "columns": _columns,
    "figure_words": figure_words,
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
article { border: 1px solid #e2e4e8; border-left: 4px solid #0072b2; border-radius: 4px;
  padding: .8rem 1rem .7rem; margin: .8rem 0; }
article.open { border-left-color: #e0a100; }
article p { margin: .4rem 0 .5rem; max-width: 78ch; overflow-wrap: anywhere; }
.head { display: flex; gap: .8rem; align-items: baseline; justify-content: space-between; }
.mark { font-size: .78rem; white-space: nowrap; color: #00567f; background: #e6f1f8;
  padding: .05rem .5rem; border-radius: 1rem; }
.open .mark { color: #6b4c00; background: #fdf3d6; }
.foot { display: flex; flex-wrap: wrap; gap: .3rem 1.4rem; font-size: .87rem; color: #555; }
a { color: #00619a; } summary { cursor: pointer; } details[open] { flex-basis: 100%; }
.wide { overflow: auto; max-height: 24rem; margin-top: .4rem; border: 1px solid #e2e4e8; }
table { border-collapse: collapse; font-size: 12.5px; }
th, td { padding: .22rem .6rem; border-bottom: 1px solid #ececec; text-align: left;
  white-space: nowrap; }
th { position: sticky; top: 0; background: #f4f5f7; font-weight: 600; }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
</style></head><body><h1>Findings</h1><p class="lead">{{ lead }}</p>
{% for dataset, findings in datasets %}
<section><h2>Dataset {{ dataset }}</h2>
{% for finding in findings %}
<article{% if not finding.conclusive %} class="open"{% endif %}><div class="head">
<h3>{{ finding.headline | unbroken }}</h3>
<span class="mark">{{ "conclusive" if finding.conclusive else "not conclusive" }}</span></div>
<p>{{ finding.sentence | unbroken }}</p>
<div class="foot">
{% if finding.figure_path %}
<span><a class="figure" href="../{{ finding.figure_path }}">{{ finding | figure_words }}</a></span>
{% endif %}
{% set rows = finding.evidence.rows[:max_rows] if "rows" in finding.evidence else [] %}
{% set single = finding.evidence | single %}
{% if rows or single %}
<details><summary>evidence</summary>
{% if single %}<div>{{ single }}</div>{% endif %}
{% if rows %}
{% set names = rows | columns %}
<div class="wide"><table><thead><tr>
{% for name in names %}<th>{{ name.replace("_", " ") }}</th>{% endfor %}
</tr></thead><tbody>
{% for row in rows %}
<tr>{% for name in names %}
<td{% if row.get(name) is number %} class="n"{% endif %}>{{ row.get(name) | value_text }}</td>
{% endfor %}</tr>
{% endfor %}
</tbody></table></div>
{% endif %}
</details>
{% endif %}
</div></article>
{% endfor %}
</section>
{% else %}
<p>The tables contain no runs yet.</p>
{% endfor %}
{{ script | safe }}</body></html>
""")


_LEAD = (
    "Results of the tables as sentences. Values are means over seeds on the test split with a 95 % "
    "Student-t interval (n = seeds); arms are chosen on the validation split; differences are "
    "paired by seed. “Not significant” and “within noise” mean that the interval of the difference "
    "includes 0, which does not imply equality. Intervals may extend beyond the range of a column."
)

# In the report this page stands in a frame, from which no figure can be reached by its path.
_UNLINK = """<script>
if (window.self !== window.top)
  for (const a of document.querySelectorAll("a.figure")) a.replaceWith(a.textContent);
</script>"""


def write_findings(folder: Path) -> None:
    """Write tables/findings.json, findings.html and front_page.json (see `front_page`).

    Args:
        folder: results/<study>. contrasts.csv and importance.csv may be absent: fewer findings.
    """
    results, tables = StudyResults(folder), folder / "tables"
    found = findings(
        results.metrics,
        results.summary,
        results.contrasts,
        results.importance,
        results.config,
        results.applications,
    )
    write_json(tables / "findings.json", [asdict(finding) for finding in found])
    write_json(tables / "front_page.json", front_page(found))
    write_text(tables / "findings.html", findings_page(found))


def read_findings(folder: Path) -> list[Finding]:
    """Findings of a study, from tables/findings.json; empty before there are any."""
    path = folder / "tables" / "findings.json"
    return [Finding(**entry) for entry in read_json(path)] if path.is_file() else []


def front_page(found: Iterable[Finding]) -> list[dict[str, Any]]:
    """Findings for the report's first page: text that reStructuredText reads as text, and places.

    Returns:
        For each finding headline, sentence and lead, which is the first of several sentences (all
        escaped), link (its figure in words, escaped),
        kind, dataset, likelihood, latent_dim, figure, conclusive, and path: the figure's path
        below results/<study>/, or None.
    """
    return [
        {
            "headline": rst_text(finding.headline),
            "sentence": rst_text(finding.sentence),
            "lead": rst_text(first_sentence(finding.sentence)),
            "link": rst_text(figure_words(finding)),
            "path": finding.figure_path,
        }
        | {
            name: getattr(finding, name)
            for name in ("kind", "dataset", "likelihood", "latent_dim", "figure", "conclusive")
        }
        for finding in found
    ]


def first_sentence(text: str) -> str:
    """The text up to the first full stop that a capital letter follows."""
    return re.split(r"(?<=\.) (?=[A-Z])", text, maxsplit=1)[0]


def findings_page(found: Sequence[Finding]) -> str:
    """The findings as one self-contained page, usable as a file and in the report's frame."""
    groups = groupby(found, key=lambda finding: finding.dataset)
    datasets = [(dataset, list(group)) for dataset, group in groups]
    return _PAGE.render(datasets=datasets, lead=_LEAD, script=_UNLINK, max_rows=MAX_ROWS)
