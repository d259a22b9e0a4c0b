"""Levels of an axis at matched rate: only what bounds without parameters decide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from vae_ablation.report.findings import words
from vae_ablation.report.findings.evidence import Evidence
from vae_ablation.report.findings.finding import Finding, finder
from vae_ablation.report.findings.quotes import Phrase, Quote, join, phrase, say, text_of
from vae_ablation.report.findings.wording import at_level, bare, semicolons, subject
from vae_ablation.study.axes import axis_columns, axis_of
from vae_ablation.study.metrics import described

Row = dict[str, Any]


@finder
def matched(evidence: Evidence) -> Iterator[Finding]:
    """Errors of two levels at the same rate, by metric: pairs that are decided, and what is not."""
    table = evidence.table("matched")
    if not {"axis", "metric", "verdict"} <= {*table.columns}:
        return
    for (axis, metric), group in table.groupby(["axis", "metric"], sort=False):
        rows = [_known(row) for row in group.to_dict("records")]
        known = [row for row in rows if row["verdict"] not in ("refused", "undecided")]
        if not evidence.decidable("beta"):
            known = []
        yield _finding(evidence, str(axis), str(metric), rows, known)


def _known(row: dict[Any, Any]) -> Row:
    return {str(name): value for name, value in row.items() if not pd.isna(value)}


def _finding(
    evidence: Evidence, axis: str, metric: str, rows: Sequence[Row], known: Sequence[Row]
) -> Finding:
    name, label = subject(described(metric)), axis_of(axis).label
    best = [row for row in known if row["verdict"] in ("better", "worse")]
    complete = " only in part" if len(known) < len(rows) else ""
    if not known:
        headline = phrase(f"Which {label} has the better {described(metric).label} at the same "
                          "rate is not decided")  # fmt: skip
    elif best and all(row in best and _winner(row) == _winner(best[0]) for row in rows
                      if _winner(best[0]) in (row["level"], row["reference"])):  # fmt: skip
        headline = say("At the same rate, {name} is best {winner}", name=name,
                       winner=at_level(axis, _winner(best[0])))  # fmt: skip
    else:
        headline = phrase(f"The order of {label}s in {name} at the same rate is known{complete}")
    decided = [_sentence(evidence, axis, row, name) for row in known]
    open_ = [row for row in rows if row not in known]
    text = text_of([
        say("{each}.", each=semicolons(decided)).capital() if decided else Phrase(),
        say("Not decided: {each}.", each=semicolons([_open(evidence, axis, row) for row in open_]))
        if open_ else Phrase(),
    ])  # fmt: skip
    return Finding(
        evidence.dataset, f"{axis}/matched_{metric}", axis, headline, text,
        str(best[0]["verdict"]) if best else "equivalent" if known else "", list(rows),
        2 if best else 0,
    )  # fmt: skip


def _winner(row: Row) -> str:
    return str(row["level"] if row["verdict"] == "better" else row["reference"])


def _level(axis: str, level: str) -> Phrase:
    return bare(at_level(axis, level))


def _quote(evidence: Evidence, row: Row, column: str, text: str) -> Quote:
    names = ["axis", "level", "reference", "metric", *axis_columns(row)]
    where = {"dataset": evidence.dataset, **{name: row[name] for name in names}}
    return Quote(text, row[column], "matched", column, where)


def _place(evidence: Evidence, row: Row) -> Phrase:
    dim = f"{row['latent_dim']:g}"
    return at_level("latent_dim", dim, _quote(evidence, row, "latent_dim", dim))


def _rest(evidence: Evidence, row: Row) -> Phrase:
    """The levels of other axes, where pairs of several are compared: `, without conditioning`."""
    table = evidence.table("matched")
    names = [name for name in axis_columns(table.columns) if name != "latent_dim"]
    varied = [name for name in names if name in row and len(table[name].unique()) > 1]
    each = [at_level(name, str(row[name]), _quote(evidence, row, name, str(row[name])))
            for name in varied]  # fmt: skip
    return say(", {each}", each=join(each)) if each else Phrase()


def _sentence(evidence: Evidence, axis: str, row: Row, metric: str) -> Phrase:
    """The ratio at one rate, with the ends that convexity and seeds leave."""
    low, high = row["bound_low"], row["bound_high"]
    places = words.interval_decimals(row["ratio"], low, high, none=1.0)
    ratio, first, last = (
        _quote(evidence, row, name, words.fixed(row[name], places))
        for name in ("ratio", "bound_low", "bound_high")
    )
    return say(
        "{place} and a rate of {rate} nats{rest}, {metric} of {level} is {ratio} times that of "
        "{other} (bounds {low} to {high}{same})",
        place=_place(evidence, row), rate=_quote(evidence, row, "rate", words.number(row["rate"])),
        rest=_rest(evidence, row),
        metric=metric, level=_level(axis, str(row["level"])), ratio=ratio,
        other=_level(axis, str(row["reference"])), low=first, high=last,
        same=", equivalent" if row["verdict"] == "equivalent" else "",
    )  # fmt: skip


def _open(evidence: Evidence, axis: str, row: Row) -> Phrase:
    """A pair that is not decided, with what would settle it."""
    pair = join([_level(axis, str(row["level"])), _level(axis, str(row["reference"]))])
    reason = str(row.get("reason", ""))
    text = words.proper(reason)
    for name in (str(row["level"]), str(row["reference"])):
        text = text.replace(f" for {words.proper(name)}", f" for {_level(axis, name)}")
    settle = _quote(evidence, row, "reason", text) if reason else ""
    return say("{pair} {place}{rest}{reason}", pair=pair, place=_place(evidence, row),
               rest=_rest(evidence, row),
               reason=say(" ({settle})", settle=settle) if reason else "")  # fmt: skip
