"""The axis that moves a metric most, on one rectangle of levels without KL off and collapse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from vae_ablation.report.findings import words
from vae_ablation.report.findings.evidence import Evidence, matching
from vae_ablation.report.findings.finding import Finding, finder, part_of_test
from vae_ablation.report.findings.quotes import Phrase, Quote, join, phrase, say, text_of
from vae_ablation.report.findings.wording import semicolons, shown_in, subject
from vae_ablation.study.axes import axis_of
from vae_ablation.study.metrics import Metric, described

_ALL = "all"
_LABELS = ("probe_accuracy", "knn_accuracy")
"""Metrics of which this is the answer that readers ask for."""


@finder
def importance(evidence: Evidence) -> Iterator[Finding]:
    """Metrics that one axis moves more than each other.

    The intervals of the spans do not overlap, and no other axis has a larger share of the variance.
    """
    table = evidence.table("importance")
    if not {"levels", "span_low", "rectangle"} <= {*table.columns}:
        return
    table = matching(table, {"levels": "regular", "likelihood": _ALL})
    for metric in evidence.setting("statistics.primary_metrics") or []:
        rows = table[(table["metric"] == metric) & table["span_low"].notna()]
        rows = rows.sort_values("span", ascending=False, kind="stable")
        if len(rows) > 1 and _leads(rows):
            first = str(rows["term"].iloc[0])
            open_ = first if first in evidence.questions else "beta"
            if evidence.decidable(open_):
                yield _finding(evidence, rows, described(str(metric)))


def _leads(rows: pd.DataFrame) -> bool:
    """Whether the first of these axes leads in span and in share, where shares are known."""
    others = rows.iloc[1:]
    surpassed = (others["share"] > rows["share"].iloc[0]).any()
    return bool(not surpassed and rows["span_low"].iloc[0] > others["span_high"].max())


def _finding(evidence: Evidence, rows: pd.DataFrame, metric: Metric) -> Finding:
    records = rows.to_dict("records")
    first, *others = [_the(str(row["term"])) for row in records]
    levels = words.proper(str(records[0]["rectangle"]))
    spans = say(
        "On the levels {levels} ({n} {what}; intervals resample them), the means of {metric} span "
        "{spans}.{shares}",
        levels=_quote(evidence, records[0], "rectangle", levels),
        n=_quote(evidence, records[0], "seeds", f"{records[0]['seeds']:g}"),
        what=evidence.replicates,
        metric=subject(metric), spans=join(_span(evidence, row, metric) for row in records),
        shares=_shares(evidence, records),
    )  # fmt: skip
    return Finding(
        evidence.dataset, f"importance/{metric.name}", "effects",
        phrase(f"{words.capital(first)} moves {subject(metric)} more than {words.join(others)} "
               f"{'do' if len(others) > 1 else 'does'}"),
        text_of([spans, part_of_test(evidence, [metric])]), "leads",
        [{str(name): value for name, value in row.items() if not pd.isna(value)}
         for row in records],
        int(metric.name in _LABELS),
    )  # fmt: skip


def _quote(
    evidence: Evidence, row: dict[Any, Any], column: str, text: str, times: float = 1.0
) -> Quote:
    where = {"dataset": evidence.dataset}
    where |= {name: row[name] for name in ("likelihood", "levels", "metric", "term")}
    value = row[column]
    return Quote(text, value, "importance", column, where, times=times)


def _span(evidence: Evidence, row: dict[Any, Any], metric: Metric) -> Phrase:
    """`23 percentage points (22 to 24) over the latent dimension`."""
    times, unit = shown_in(metric.scale, metric)
    size, low, high = (row[name] * times for name in ("span", "span_low", "span_high"))
    places = words.interval_decimals(size, low, high, none=1.0 if metric.scale == "log" else 0.0)
    mean, first, last = (
        _quote(evidence, row, name, words.fixed(value, places), times)
        for name, value in (("span", size), ("span_low", low), ("span_high", high))
    )
    return say("{factor}{mean}{unit} ({low} to {high}) over {axis}", mean=mean, low=first,
               factor="a factor of " if metric.scale == "log" else "", unit=unit, high=last,
               axis=_the(str(row["term"])))  # fmt: skip


def _the(axis: str) -> str:
    known = axis_of(axis)
    return known.label if known.label == known.symbol else f"the {known.label}"


def _shares(evidence: Evidence, records: list[dict[Any, Any]]) -> Phrase:
    """Shares of the variance of the cell means, which follow the spans."""
    known = [row for row in records if not pd.isna(row["share"])]
    if len(known) < 2:
        return Phrase()
    parts = [
        say("{axis} {share} % ({low} % to {high} %)", axis=_the(str(row["term"])),
            share=_percent(evidence, row, "share"), low=_percent(evidence, row, "share_low"),
            high=_percent(evidence, row, "share_high"))
        for row in known
    ]  # fmt: skip
    return say(" Shares of their variance: {parts}.", parts=semicolons(parts))


def _percent(evidence: Evidence, row: dict[Any, Any], column: str) -> Quote:
    return _quote(evidence, row, column, words.fixed(100 * row[column], 0), 100.0)
