"""Tables as self-contained pages: sortable, filterable, without external resources."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import markdown
import pandas as pd

from vae_ablation.common.files import write_text
from vae_ablation.study.metrics import METRICS, Metric, described
from vae_ablation.study.plugins import docs_text
from vae_ablation.tables.collect import read_metrics, summarize_applications
from vae_ablation.tables.splits import replicate, worded

_TITLES = {
    "contrasts": "Contrasts between arms",
    "importance": "Importance of the axes",
    "pareto": "Pareto-optimal arms",
    "applications": "Applications of trained models",
}
_NOTES = {
    "contrasts": (
        "An arm minus its reference, paired by seed and split, on the metric's scale (of several "
        "splits the mean over the seeds of each): pooled over settings, "
        "within the levels of the axis that the answer depends on, and in each setting. The effect "
        "is a difference, a ratio (scale log) or a difference of shares (arcsine). Verdicts of "
        "pooled rows are adjusted (Holm for primary metrics, Benjamini-Hochberg for exploratory "
        "ones), so an interval that excludes 0 may stand beside undecided. Settings have moderated "
        "intervals and no p. Equivalent: within the margin, which is what the evaluation can "
        "resolve."
    ),
    "importance": (
        "What each axis changes in a metric (span, in its units; a ratio on the log scale) and its "
        "share in the variance of the cell means beyond noise, with bootstrap intervals over "
        "seeds, on the rectangle of levels that is named. Regular: without KL off and collapsed "
        "levels of beta."
    ),
    "applications": (
        "Scores of applications of the models: mean over seeds with its 95 % Student-t interval. "
        "Method vae is the model of that arm; the others are baselines on the same data, which "
        "have no arm."
    ),
    "pareto": (
        "Arms for which no other arm with the same measure is better on both columns. Loose bounds "
        "are excluded."
    ),
}

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 14px/1.45 system-ui, sans-serif; margin: 1rem; color: #1a1a1a; background: #fff; }}
h1 {{ font-size: 1.15rem; }} h2 {{ font-size: 1.05rem; margin-top: 1.6rem; }}
p, li {{ max-width: 75ch; }} input {{ font: inherit; padding: .25rem .5rem; width: 22rem; }}
.wide {{ overflow: auto; max-height: 82vh; border: 1px solid #ddd; margin-top: .6rem; }}
table {{ border-collapse: collapse; font-size: 12.5px; }}
th, td {{ padding: .25rem .55rem; border-bottom: 1px solid #e8e8e8; text-align: left;
  vertical-align: top; }}
.wide td {{ white-space: nowrap; }}
.wide th {{ position: sticky; top: 0; background: #f4f5f7; cursor: pointer; white-space: nowrap; }}
.wide th:focus-visible {{ outline: 2px solid #0072b2; }}
td.n {{ text-align: right; font-variant-numeric: tabular-nums; }}
output {{ color: #666; margin-left: .6rem; }} button {{ font: inherit; }}
td.bad {{ color: #a33b00; font-weight: 600; }} small {{ color: #666; }}
code {{ background: #f4f5f7; padding: 0 .2em; }}
</style></head><body><h1>{title}</h1>{body}</body></html>
"""

SHOWN = 500
"""Rows that a page shows at once: browsers take a quarter of a minute to lay 20,000 out."""

_BEHAVIOUR = """<script>
const table = document.querySelector(".wide table"), body = table.tBodies[0];
const count = document.querySelector("output"), more = document.querySelector("button");
const value = (row, i) => row.cells[i].dataset.v ?? row.cells[i].textContent;
let rows = [...body.rows], words = [], most = STEP;
const texts = new Map();
function text(row) {
  if (!texts.has(row)) texts.set(row, row.textContent.toLowerCase());
  return texts.get(row);
}
function show() {
  const found = rows.filter((row) => words.every((word) => text(row).includes(word)));
  const some = found.slice(0, most);
  body.replaceChildren(...some);
  body.hidden = false;
  more.hidden = some.length === found.length;
  count.textContent = (more.hidden ? "" : some.length + " of ") + found.length + " rows";
}
function sort(th) {
  const i = th.cellIndex, up = th.ariaSort !== "ascending";
  for (const other of table.tHead.rows[0].cells) other.ariaSort = "none";
  th.ariaSort = up ? "ascending" : "descending";
  rows.sort((a, b) => {
    const x = value(a, i), y = value(b, i);
    if (x === "" || y === "") return (x === "") - (y === "");
    const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
    return up ? order : -order;
  });
  show();
}
for (const th of table.tHead.rows[0].cells) {
  th.tabIndex = 0;
  th.onclick = () => sort(th);
  th.onkeydown = (event) => { if (event.key === "Enter") sort(th); };
}
document.querySelector("input").oninput = (event) => {
  words = event.target.value.toLowerCase().split(/\\s+/);
  most = STEP;
  show();
};
more.onclick = () => { most += STEP; show(); };
show();
</script>""".replace("STEP", str(SHOWN))


def write_pages(folder: Path, guide: Path) -> None:
    """Write every table as a page, and columns.html, into tables/.

    Args:
        folder: results/<study>.
        guide: docs/metrics.md.
    """
    tables = folder / "tables"
    summary = _read_table(tables / "summary.csv")
    metrics = read_metrics(tables / "metrics.csv")
    unit = replicate(metrics)
    write_text(tables / "arms.html", arms_page(summary, unit))
    write_text(tables / "runs.html", runs_page(metrics))
    for name in ("contrasts", "importance", "pareto"):
        frame = _read_table(tables / f"{name}.csv")
        note = worded(_NOTES[name], unit)
        write_text(tables / f"{name}.html", plain_page(_TITLES[name], frame, note))
    text = guide.read_text(encoding="utf-8") + docs_text()
    write_text(tables / "columns.html", guide_page(text))


def _read_table(path: Path) -> pd.DataFrame:
    """A table of the study; names of datasets such as 007, 1e5 or NA stay text."""
    return pd.read_csv(path, keep_default_na=False, na_values=[""], dtype={"dataset": "object"})


def write_applications_page(applications: pd.DataFrame, path: Path) -> None:
    """Write the page of applications: means over seeds, by method."""
    shown = summarize_applications(applications)
    text = worded(_NOTES["applications"], replicate(applications))
    note = " ".join([text, *unscored(applications)])
    write_text(path, plain_page(_TITLES["applications"], shown, note))


def unscored(applications: pd.DataFrame) -> list[str]:
    """Sentences about applications that gave nothing, one for each dataset and reason."""
    empty = applications[applications["metric"].isna()]
    groups = empty.groupby(["dataset", "application", "reason"], sort=True)
    return [
        f"The application {application} has no scores on {dataset} in {len(rows)} "
        f"{'run' if len(rows) == 1 else 'runs'}: {reason}."
        for (dataset, application, reason), rows in groups
    ]


def arms_page(summary: pd.DataFrame, unit: str = "seed") -> str:
    """One row per arm: mean over seeds (or splits) and, below it, the 95 % interval.

    Args:
        summary: summary.csv.
        unit: what replicates an arm, as from `splits.replicate`.
    """
    shown = [name for name in summary["metric"].unique() if _is_of_arms(described(name))]
    # untrained encoders have no arm: their architecture and condition tell them apart
    axes = ["model", "dataset", "likelihood", "latent_dim", "arm", "architecture", "condition"]
    axes = [axis for axis in axes if axis in summary]
    rows = []
    for key, group in summary.groupby(axes, dropna=False, sort=False):
        by_metric = group.set_index("metric")
        cells = [_text_cell(value) for value in key]
        cells.append(_number_cell(group["n"].max()))
        cells += [_interval_cell(by_metric, metric) for metric in shown]
        rows.append(cells)
    note = (
        "<p>Mean over seeds; below it the 95 % Student-t interval (none for one seed). Scores in "
        "nats per example are comparable only between likelihoods with the same base measure.</p>"
    )
    return _table_page("Arms", [*axes, f"{unit}s", *shown], rows, worded(note, unit))


def _is_of_arms(metric: Metric) -> bool:
    """Whether a metric is in the table of arms: results not determined by others, and checks."""
    return metric.role in ("result", "check") and not metric.follows


def runs_page(metrics: pd.DataFrame) -> str:
    """Every row of metrics.csv."""
    note = "Every run and control. An empty cell is an undefined value."
    return plain_page("Runs and controls", metrics, note)


def plain_page(title: str, frame: pd.DataFrame, note: str) -> str:
    """Every row of a table, with a note above it."""
    rows = [
        [_any_cell(name, value) for name, value in zip(frame.columns, row, strict=True)]
        for row in frame.itertuples(index=False)
    ]
    return _table_page(title, list(frame.columns), rows, f"<p>{html.escape(note)}</p>")


def guide_page(text: str) -> str:
    """docs/metrics.md as a page."""
    body = markdown.markdown(text, extensions=["tables"])
    return _PAGE.format(title="Definitions of columns", body=body)


def _table_page(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], note: str
) -> str:
    head = "".join(map(_heading, columns))
    body = "\n".join(f"<tr>{''.join(cells)}</tr>" for cells in rows)
    search = '<input type="search" placeholder="filter, e.g. gaussian beta1" aria-label="Filter">'
    shown = f"<output></output> <button hidden>{SHOWN} more</button>"
    whole = "<noscript><style>tbody { display: table-row-group; }</style></noscript>"
    table = f"<table><thead><tr>{head}</tr></thead><tbody hidden>{body}</tbody></table>"
    content = f'{note}{search} {shown}{whole}<div class="wide">{table}</div>{_BEHAVIOUR}'
    return _PAGE.format(title=html.escape(title), body=content)


def _heading(name: str) -> str:
    """Heading of a column, with the description of its metric as a tooltip."""
    tooltip = f' title="{html.escape(METRICS[name].tooltip)}"' if name in METRICS else ""
    return f'<th aria-sort="none"{tooltip}>{html.escape(name)}</th>'


def _text_cell(value: Any) -> str:
    text = "" if pd.isna(value) else f"{value:g}" if isinstance(value, float) else str(value)
    return f"<td>{html.escape(text)}</td>"


def _number_cell(value: Any) -> str:
    if pd.isna(value):
        return '<td class="n" data-v=""></td>'
    return f'<td class="n" data-v="{float(value)!r}">{float(value):.4g}</td>'


def _any_cell(name: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or pd.isna(value):
        bad = name == "status" and value != "ok"
        return _text_cell(value).replace("<td>", '<td class="bad">') if bad else _text_cell(value)
    return _number_cell(value)


def _interval_cell(by_metric: pd.DataFrame, metric: str) -> str:
    if metric not in by_metric.index:
        return '<td class="n" data-v=""></td>'
    row = by_metric.loc[metric]
    cell = _number_cell(row["mean"])
    if pd.isna(row["ci_low"]):
        return cell
    interval = f"<br><small>{row['ci_low']:.4g} to {row['ci_high']:.4g}</small></td>"
    return cell.removesuffix("</td>") + interval
