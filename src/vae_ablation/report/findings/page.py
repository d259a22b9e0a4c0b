"""Findings as a page of their own, as JSON, and as text for the report's first page."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from vae_ablation.common.files import read_json, write_json, write_text
from vae_ablation.report.figures.results import StudyResults
from vae_ablation.report.figures.style import number, plain
from vae_ablation.report.findings.finding import Finding, findings
from vae_ablation.report.overview import rst_text

MAX_ROWS = 200
"""Rows of evidence on the page; findings.json has all of them."""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Findings</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
body {{ font: 15px/1.55 system-ui, sans-serif; margin: 1.2rem auto; padding: 0 1rem;
  max-width: 62rem; color: #1a1a1a; background: #fff; }}
h1 {{ font-size: 1.3rem; margin-bottom: .3rem; }}
h2 {{ font-size: 1.05rem; margin: 1.8rem 0 .6rem; }}
h3 {{ font-size: 1rem; line-height: 1.35; margin: 0; }} .lead {{ color: #444; max-width: 72ch; }}
article {{ border: 1px solid #e2e4e8; border-left: 4px solid #0072b2; border-radius: 4px;
  padding: .8rem 1rem .7rem; margin: .8rem 0; }}
article.open {{ border-left-color: #e0a100; }}
article p {{ margin: .4rem 0 .5rem; max-width: 78ch; overflow-wrap: anywhere; }}
.head {{ display: flex; gap: .8rem; align-items: baseline; justify-content: space-between; }}
.mark {{ font-size: .78rem; white-space: nowrap; color: #00567f; background: #e6f1f8;
  padding: .05rem .5rem; border-radius: 1rem; }}
.open .mark {{ color: #6b4c00; background: #fdf3d6; }}
.foot {{ display: flex; flex-wrap: wrap; gap: .3rem 1.4rem; font-size: .87rem; color: #555; }}
a {{ color: #00619a; }} summary {{ cursor: pointer; }} details[open] {{ flex-basis: 100%; }}
.wide {{ overflow: auto; max-height: 24rem; margin-top: .4rem; border: 1px solid #e2e4e8; }}
table {{ border-collapse: collapse; font-size: 12.5px; }}
th, td {{ padding: .22rem .6rem; border-bottom: 1px solid #ececec; text-align: left;
  white-space: nowrap; }}
th {{ position: sticky; top: 0; background: #f4f5f7; font-weight: 600; }}
td.n {{ text-align: right; font-variant-numeric: tabular-nums; }}
</style></head><body><h1>Findings</h1>{body}{script}</body></html>
"""

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


def figure_words(finding: Finding) -> str:
    """`figure: rate distortion, gaussian, latent dimension 2`; empty without a figure."""
    if finding.figure is None:
        return ""
    parts = [finding.figure.replace("_", " ").replace("kl ", "KL ")]
    parts += [plain(finding.likelihood)] if finding.likelihood else []
    parts += [f"latent dimension {finding.latent_dim}"] if finding.latent_dim is not None else []
    return f"figure: {', '.join(parts)}"


def findings_page(found: Sequence[Finding]) -> str:
    """The findings as one self-contained page, usable as a file and in the report's frame."""
    sections = [
        f"<section><h2>Dataset {html.escape(dataset)}</h2>{''.join(map(_card, group))}</section>"
        for dataset, group in groupby(found, key=lambda finding: finding.dataset)
    ]
    body = _LEAD + ("".join(sections) or "<p>The tables hold no run yet.</p>")
    return _PAGE.format(body=body, script=_UNLINK)


def _card(finding: Finding) -> str:
    mark = "conclusive" if finding.conclusive else "not conclusive"
    return (
        f'<article{"" if finding.conclusive else " class=open"}><div class="head">'
        f'<h3>{_unbroken(finding.headline)}</h3><span class="mark">{mark}</span></div>'
        f"<p>{_unbroken(finding.sentence)}</p>"
        f'<div class="foot">{_link(finding)}{_evidence(finding.evidence)}</div></article>'
    )


def _unbroken(text: str) -> str:
    """Escaped text whose equations and percentages no line end tears apart."""
    return html.escape(text).replace(" = ", "\u00a0=\u00a0").replace(" %", "\u00a0%")


def _link(finding: Finding) -> str:
    path = finding.figure_path
    if path is None:
        return ""
    words = html.escape(figure_words(finding))
    return f'<span><a class="figure" href="../{html.escape(path)}">{words}</a></span>'


def _evidence(evidence: dict[str, Any]) -> str:
    rows = evidence.get("rows", [])
    single = {name: value for name, value in evidence.items() if name != "rows"}
    table = _rows_table(rows[:MAX_ROWS]) if rows else ""
    known = [f"{html.escape(n)}: {_text(v)}" for n, v in single.items() if v is not None]
    if not table and not known:
        return ""
    line = f"<div>{'; '.join(known)}</div>" if known else ""
    return f"<details><summary>evidence</summary>{line}{table}</details>"


def _rows_table(rows: Sequence[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th>{html.escape(name.replace('_', ' '))}</th>" for name in names)
    body = "".join(f"<tr>{''.join(_cell(row.get(name)) for name in names)}</tr>" for row in rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="wide">{table}</div>'


def _cell(value: Any) -> str:
    kind = ' class="n"' if isinstance(value, (int, float)) else ""
    return f"<td{kind}>{_text(value)}</td>"


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return html.escape(value if isinstance(value, str) else json.dumps(value))
    return str(value) if isinstance(value, int) else html.escape(number(value))
