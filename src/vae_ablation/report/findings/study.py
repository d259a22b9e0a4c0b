"""Findings on power, on the arm that is selected, and counts of runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import exp
from typing import Any

import pandas as pd

from vae_ablation.report.findings import words
from vae_ablation.report.findings.evidence import DECIDED, Evidence, Row, is_bound, matching
from vae_ablation.report.findings.finding import Finding, finder, part_of_test
from vae_ablation.report.findings.quotes import Part, Phrase, Quote, join, phrase, say, text_of
from vae_ablation.report.findings.wording import (
    alike,
    at,
    at_level,
    at_reference,
    bare,
    semicolons,
    span,
    subject,
)
from vae_ablation.study.axes import arm_names, axis_columns, level_text
from vae_ablation.study.metrics import Metric, bounded_by_flag, described

CRITERION = "validation_elbo"
"""The rate has weight 1 in every arm; `validation_objective` cannot rank arms across β."""


_SCORES = ("nll", "elbo")
"""Metrics in which selected arms are reported."""
_NOT_NAMED = {"dataset", "likelihood", "kl", "posterior", "seed"}
"""Axes that name no selected arm beside its likelihood: β tells of the KL term."""


def _aside(
    evidence: Evidence,
    topic: str,
    headline: Part,
    text: Part,
    section: str = "trust",
    rows: Sequence[dict[str, Any]] = (),
) -> Finding:
    """A finding that claims no difference."""
    return Finding(evidence.dataset, topic, section, phrase(headline), phrase(text), "", rows)


@finder
def power(evidence: Evidence) -> Iterator[Finding]:
    """Undecided comparisons and their price: what the study could not have seen."""
    rows = [row for row in evidence.rows
            if row.scope == "pooled" and row.cells.get("family") == "primary"]  # fmt: skip
    if not rows:
        return
    open_ = [row for row in rows if row.verdict not in DECIDED]
    by_metric: dict[str, list[Row]] = {}
    for row in rows:
        if row.number("detectable") is not None:
            by_metric.setdefault(row.metric.name, []).append(row)
    parts = [_detectable(evidence, own) for own in by_metric.values()]
    yield _aside(
        evidence, "power",
        "What this study could and could not have seen",
        text_of([_undecided(evidence, rows, open_), say(
            "The smallest difference that it would find in four of five repetitions is, over "
            "questions and levels, {parts}.", parts=semicolons(parts)) if parts else Phrase(),
            _seeds(open_), _looks(rows)]),
        rows=[row.shown for row in open_],
    )  # fmt: skip


def _undecided(evidence: Evidence, rows: Sequence[Row], open_: Sequence[Row]) -> Phrase:
    where = {"dataset": evidence.dataset, "scope": "pooled", "family": "primary"}
    total = Quote(f"{len(rows)}", len(rows), "contrasts", "", where, "rows")
    if len(rows) == 1:
        state = "undecided, which does not mean equal" if open_ else "decided"
        return phrase(f"The only comparison in a primary metric is {state}.")
    if not open_:
        return say("All {n} comparisons in primary metrics are decided.", n=total)
    if len(open_) == len(rows):
        return say("None of the {n} comparisons in primary metrics is decided, which does not mean "
                   "equal.", n=total)  # fmt: skip
    return say("Of {n} comparisons in primary metrics these are undecided, which does not mean "
               "equal: {names}.", n=total, names=semicolons(_comparisons(open_)))  # fmt: skip


def _comparisons(rows: Sequence[Row]) -> list[Phrase]:
    """Comparisons by their sides, each with its metrics: `NLL and rate at β = 4 against β = 1`."""
    sides: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        sides.setdefault((row.question, row.level, row.reference), []).append(row)
    return [
        say("{metrics} {at} against {reference}", at=at(own[0]),
            metrics=words.join(map(_metric, own)), reference=bare(at_reference(own[0])))
        for own in sides.values()
    ]  # fmt: skip


def _metric(row: Row) -> str:
    same = f" (the same in every {row.replicates.removesuffix('s')})" if alike(row) else ""
    return f"{row.metric.label}{same}"


def _looks(rows: Sequence[Row]) -> Phrase:
    """Looks at which verdicts were reached, where results were looked at several times."""
    decided, last = ({row.number("look"): row for row in rows if row.number("look") is not None
                      and (row.verdict in DECIDED) == told} for told in (True, False))  # fmt: skip
    parts = []
    for words_, found in (("verdicts were reached at", decided),
                          ("what is undecided was last looked at with", last)):  # fmt: skip
        each = [row.quote("look", f"{look:g}") for look, row in sorted(found.items())]
        if each:
            parts.append(say("{words} {looks}", words=words_, looks=join(each)))
    if not parts:
        return Phrase()
    return say("As {what} were added in rounds, {parts} {what}.", what=rows[0].replicates,
               parts=join(parts))  # fmt: skip


def _detectable(evidence: Evidence, rows: Sequence[Row]) -> Phrase:
    """The smallest and largest detectable difference of a metric over questions and levels."""
    metric = rows[0].metric
    ends = [min(rows, key=_size), max(rows, key=_size)]
    shown = [_detected(row) for row in ends]
    before = "a factor of " if rows[0].scale == "log" else ""
    unit = {"log": "", "arcsine": " percentage points at most"}.get(rows[0].scale, metric.suffix)
    return say("{before}{span}{unit} in {metric}", before=before, span=span(*shown), unit=unit,
               metric=subject(metric))  # fmt: skip


def _size(row: Row) -> float:
    return row.number("detectable") or 0.0


def _detected(row: Row) -> Quote:
    """A detectable difference; of shares the most that it can be, at a share of one half."""
    size = _size(row)
    if row.scale == "log":
        return row.quote("detectable", words.number(exp(size)), scale="exp")
    times = 50.0 if row.scale == "arcsine" else 1.0
    return row.quote("detectable", words.number(size * times), times)


def _seeds(open_: Sequence[Row]) -> Phrase:
    """Seeds that would decide what is undecided."""
    rows = [row for row in open_ if row.number("seeds_needed") is not None]
    if not rows:
        return Phrase()
    most = max(rows, key=lambda row: row.number("seeds_needed") or 0)
    needed = words.number(most.number("seeds_needed") or 0)
    these = (
        "these comparisons"
        if len(rows) == len(open_)
        else "those whose margin and spread are known"
    )
    return say("With {n} {what} for every arm it would decide {these} in four of five repetitions, "
               "before adjustment for their number, where there is no difference or one as large "
               "as the margin.", these=these, n=most.quote("seeds_needed", needed),
               what=most.replicates)  # fmt: skip


@finder
def selected(evidence: Evidence) -> Iterator[Finding]:
    """For each likelihood the arm with the best validation ELBO, and its scores on the test split.

    A selection, not a claim: of many arms one is always the best.
    """
    table = evidence.table("summary")
    if not len(table) or not any(evidence.decidable(name) for name in evidence.questions):
        return
    rows = matching(table, {"model": "vae", "metric": CRITERION})
    rows = rows[(rows["n"] >= 2) & rows["mean"].notna()]
    chosen = [own.iloc[int(own["mean"].argmax())]
              for _, own in rows.groupby("likelihood", sort=True) if len(own) > 1]  # fmt: skip
    if chosen:
        yield _aside(
            evidence, "selected", "Arms selected on the validation split",
            text_of([
                say("Highest mean validation ELBO: {arms}. Another arm may be as good: the best of "
                    "many is selected, not tested.",
                    arms=semicolons([_selected(evidence, rows, row) for row in chosen])),
                part_of_test(evidence, map(described, _SCORES)),
            ]),
            section="map", rows=[_tidy(row) for row in chosen],
        )  # fmt: skip


def _selected(evidence: Evidence, rows: pd.DataFrame, row: pd.Series) -> Phrase:
    axes = [name for name in axis_columns(rows.columns) if name not in _NOT_NAMED]
    names = [name for name in axes if len(rows[name].unique()) > 1]
    names.sort(key=lambda name: name != "beta")
    arm = {"model": "vae", **{name: row[name] for name in ("likelihood", "latent_dim", "arm")}}
    where = {"dataset": evidence.dataset, **arm, "metric": CRITERION}

    def level(name: str) -> Phrase:
        if name == "beta" and str(row["kl"]) == "False":
            return phrase("without the KL term")
        text = level_text(row[name])
        quote = Quote(text, row[name], "summary", name, where)
        return at_level(name, text, quote)

    place = join([level(names[0]), *(bare(level(name)) for name in names[1:])]) if names else ""
    scores: list[Part] = []
    for metric in _SCORES:
        if is_bound(matching(evidence.ok, arm), described(metric)):
            continue
        value = evidence.quoted("summary", "mean", {**arm, "metric": metric})
        if value is not None:
            scores.append(say("{label} {value}{unit}", label=described(metric).label, value=value,
                              unit=described(metric).suffix))  # fmt: skip
    test = say(" (test split: {scores})", scores=join(scores)) if scores else Phrase()
    return say("{likelihood} {place}{test}{measure}", likelihood=words.the(str(row["likelihood"])),
               place=place, test=test, measure=_measure(evidence, arm))  # fmt: skip


def _measure(evidence: Evidence, arm: dict[str, Any]) -> Phrase:
    """The base measure of an arm's scores."""
    runs = matching(evidence.ok, arm)
    run = runs[runs["measure"].notna()].head(1)
    if run.empty:
        return Phrase()
    text = str(run["measure"].iloc[0])
    where = {"dataset": evidence.dataset, "run": run["run"].iloc[0]}
    return say(", {measure}", measure=Quote(words.measure(text), text, "metrics", "measure", where))


def _tidy(row: pd.Series) -> dict[str, Any]:
    names = ("likelihood", "latent_dim", "arm", "metric", "mean", "ci_low", "ci_high", "n")
    return {name: getattr(row[name], "item", lambda v=row[name]: v)()
            for name in names if name in row and not pd.isna(row[name])}  # fmt: skip


@finder
def failures(evidence: Evidence) -> Iterator[Finding]:
    """Runs that diverged or failed; means of their arms are over the other seeds."""
    runs, bad = evidence.runs, evidence.runs[evidence.runs["status"] != "ok"]
    total = _rows(evidence, {})
    if not len(bad):
        all_ = "The only run" if len(runs) == 1 else say("All {n} runs", n=total)
        ended = say("{all} finished.", all=all_)
        yield _aside(evidence, "failures", "No run diverged or failed", ended)
        return
    groups = bad.groupby(["status", "likelihood", "arm"], sort=False)
    shown = sorted(groups, key=lambda group: -len(group[1]))
    parts = [
        say("{n} {status} ({likelihood}, {arm}{reason})",
            n=_rows(evidence, dict(zip(("status", "likelihood", "arm"), key, strict=True))),
            status=str(key[0]), likelihood=words.the(str(key[1])), arm=_arm(evidence, rows),
            reason=f": {text}" if (text := words_of(rows["reason"])) else "")
        for key, rows in shown[:4]
    ]  # fmt: skip
    rest = [Quote(f"{len(shown) - 4}", len(shown) - 4, "", "")] if len(shown) > 4 else []
    statuses = {"status": sorted(set(bad["status"].astype(str)))}
    headline = say("{n} of {all} runs diverged or failed", n=_rows(evidence, statuses), all=total)
    yield _aside(
        evidence, "failures", headline,
        text_of([
            say("Of {all} runs, {parts}{rest}.", all=total, parts=semicolons(parts),
                rest=say("; and {n} more arms", n=rest[0]) if rest else ""),
            _means(runs),
        ]),
    )  # fmt: skip


def _means(runs: pd.DataFrame) -> Phrase:
    """Sentence on what failures leave of the means of their arms."""
    arms = runs.groupby(["likelihood", "latent_dim", "arm"])["status"]
    whole = arms.agg(lambda status: (status == "ok").mean())
    lost, some = (whole == 0).any(), ((whole > 0) & (whole < 1)).any()
    others = "are over the other seeds only, so they are optimistic"
    if lost and some:
        return phrase(f"Arms of which no run is left have no means; means of the others {others}.")
    return phrase("These arms have no means." if lost else f"Means of these arms {others}.")


def _arm(evidence: Evidence, rows: pd.DataFrame) -> Phrase:
    """Name of the arm of some runs, with its β as a quote."""
    row = rows.iloc[0]
    label = arm_names(evidence.runs)[str(row["arm"])].label
    where = {"dataset": evidence.dataset, "model": "vae", "run": row["run"]}
    beta = f"{row['beta']:.4g}"
    before, found, after = label.partition(beta)
    if not found or not row["beta"]:
        return phrase(label)
    return say("{before}{beta}{after}", before=before, after=after,
               beta=Quote(beta, row["beta"], "metrics", "beta", where))  # fmt: skip


def _rows(evidence: Evidence, where: dict[str, Any]) -> Quote:
    full = {"dataset": evidence.dataset, "model": "vae", **where}
    n = len(matching(evidence.table("metrics"), full))
    return Quote(f"{n}", n, "metrics", "", full, "rows")


def words_of(reasons: pd.Series) -> str:
    """The most frequent reason, on one line, with how many others there are."""
    counts = reasons.dropna().astype(str).map(lambda text: " ".join(text.split())).value_counts()
    if counts.empty:
        return ""
    rest = f" (and {len(counts) - 1} more)" if len(counts) > 1 else ""
    return f"{counts.index[0].rstrip('.')}{rest}"


@finder
def convergence(evidence: Evidence) -> Iterator[Finding]:
    """By how much runs were still changing when training ended."""
    drifts = evidence.numbers("drift")
    if drifts.empty:
        return
    where = {"model": "vae", "status": "ok"}
    ends = [evidence.quoted("metrics", "drift", where, how) for how in ("min", "max")]
    low, high = ends
    if low is None or high is None:
        return
    small = [row for row in evidence.rows if row.below_drift
             and row.scope == "pooled" and row.cells.get("family") == "primary"]  # fmt: skip
    names = _comparisons(small)
    yield _aside(
        evidence, "convergence", "How much training was still changing",
        text_of([
            say("Over the last tenth of training the validation objective changed by {span} nats "
                "per run.", span=span(low, high)),
            say("Differences smaller than what that tenth added to their own metric: {names}.",
                names=semicolons(names)) if names else Phrase(),
        ]),
    )  # fmt: skip


@finder
def bounds(evidence: Evidence) -> Iterator[Finding]:
    """Runs in which metrics are only bounds."""
    for flag, metrics in bounded_by_flag():
        flagged = evidence.runs_with(flag)
        if flagged is not None and metrics[0].name in evidence.ok:
            yield _bound(evidence, flag, metrics, flagged)


def _bound(evidence: Evidence, flag: str, metrics: Sequence[Metric], flagged: Quote) -> Finding:
    total = evidence.runs_with()
    parts = [
        say("{metric} is {article} bound", metric=subject(metric), article=metric.bound.article)
        for metric in metrics
        if metric.bound and len(evidence.numbers(metric.name))
    ]
    first = metrics[0]
    reason = first.bound.reason if first.bound else ""
    return _aside(
        evidence, f"bounds/{flag}",
        say("{metric} is only a bound in {n} of {all} runs", n=flagged, all=total or "",
            metric=phrase(subject(first)).capital()),
        say("In these runs {parts}: {metric} {reason}. Their arms enter no mean of a comparison "
            "and no contrast of these metrics.", parts=join(parts), metric=subject(first),
            reason=reason),
    )  # fmt: skip
