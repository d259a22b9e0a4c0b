"""Findings about the study as a whole: importance of axes, failures, convergence, bounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from vae_ablation.report.findings import words
from vae_ablation.report.findings.evidence import Cell, Evidence, Row
from vae_ablation.report.findings.finding import Finding, figure_of, finder
from vae_ablation.study.axes import axis_of
from vae_ablation.study.metrics import Metric, bounded_by_flag, converged, primary_candidates

INTERACTION = 0.1
"""Share of the variance above which an interaction of two axes is reported."""


def _term(name: str) -> str:
    return words.join(map(_axis, name.split(":")))


def _axis(name: str) -> str:
    """An axis within a sentence."""
    if name == "residual":
        return "the residual (seeds)"
    return name if (name := axis_of(name).label) == "β" else f"the {name}"


def _leader(top: str, leaders: Sequence[str]) -> str:
    most = f"in {leaders.count(top)} of {words.count(len(leaders), 'decomposition')}"
    if top == "residual":
        return f"Most of the variance lies between seeds, {most}"
    return f"{words.capital(_term(top))} explains the most variance, {most}"


@finder
def importance(evidence: Evidence) -> Iterator[Finding]:
    """Axis that explains most of the variance of the primary metrics."""
    shares = list(_shares(evidence))
    if not shares:
        return
    leaders = [str(rows.iloc[0]["term"]) for _, rows in shares]
    top = max(sorted(set(leaders)), key=leaders.count)
    yield Finding(
        kind="importance",
        headline=_leader(top, leaders),
        sentence="The largest shares of the variance are, by metric, "
        f"{'; '.join(_share(*pair) for pair in shares)}.",
        dataset=evidence.dataset,
        conclusive=leaders.count(top) == len(leaders) and top != "residual",
        evidence={"leads": leaders.count(top), "of": len(leaders),
                  "rows": [row for name, rows in shares for row in _share_rows(name, rows)]},
        **figure_of(("importance", "heatmaps"), evidence),
    )  # fmt: skip


def _shares(evidence: Evidence) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
    """The terms of each primary metric, the largest share first."""
    table = evidence.importance
    if "share" not in table:
        return
    if "levels" in table:
        table = table[table["levels"] == "regular"]
    known = table[table["share"].between(0, 1) & table["metric"].isin(_primary(evidence))]
    # With the likelihood as a factor there is one decomposition, and one for each of them as well.
    joint = known.loc[known["likelihood"] == "all", "metric"]
    known = known[(known["likelihood"] == "all") | ~known["metric"].isin(joint)]
    for (metric, likelihood), rows in known.groupby(["metric", "likelihood"], sort=False):
        if len(rows) > 1:
            ordered = rows.sort_values("share", ascending=False, kind="stable")
            yield (str(metric), str(likelihood)), ordered


def _primary(evidence: Evidence) -> set[str]:
    """The primary metrics as contrasts.csv marks them, else the config's, else every result."""
    rows = evidence.primary
    if len(rows):
        return set(rows["metric"].astype(str))
    return set(_setting(evidence, "statistics.primary_metrics") or primary_candidates())


def _share(name: tuple[str, str], rows: pd.DataFrame) -> str:
    metric, likelihood = name
    under = "" if likelihood == "all" else f" ({words.likelihood(likelihood)})"
    first = rows.iloc[0]
    text = f"{words.metric_name(metric)}{under}: {_term(first['term'])} {_percent(first['share'])}"
    extra = [
        f"the interaction of {_term(row['term'])} {_percent(row['share'])}"
        for _, row in rows.iloc[1:].iterrows()
        if ":" in row["term"] and row["share"] > INTERACTION
    ]
    return ", ".join([text, *extra]) + f" (n = {int(first['n'])} runs)"


def _percent(share: float) -> str:
    return f"{words.number(round(100 * share, 1))} %"


def _share_rows(name: tuple[str, str], rows: pd.DataFrame) -> list[Row]:
    return [
        {"metric": name[0], "likelihood": name[1], "term": str(row["term"]),
         "share": float(row["share"]), "percent": round(100 * float(row["share"]), 1),
         "runs": int(row["n"])}
        for _, row in rows.iterrows()
    ]  # fmt: skip


@finder
def failures(evidence: Evidence) -> Iterator[Finding]:
    """Runs that diverged or failed, by arm; other means are over the surviving runs."""
    total = len(evidence.runs)
    bad = evidence.runs[evidence.runs["status"] != "ok"]
    groups = [
        {"status": str(key[0]), "likelihood": str(key[1]), "arm": rows["arm"].iloc[0],
         "runs": len(rows), "reason": words_of(rows["reason"])}
        for key, rows in bad.groupby(["status", "likelihood", "arm"], sort=False)
    ]  # fmt: skip
    groups.sort(key=lambda group: -int(str(group["runs"])))
    yield Finding(
        kind="failures",
        headline=f"{len(bad)} of {words.count(total, 'run')} diverged or failed" if len(bad)
        else "No run diverged or failed",
        sentence=_failed(groups, len(bad), total) if len(bad)
        else f"All {words.count(total, 'run')} finished successfully." if total > 1
        else "The only run finished successfully.",
        dataset=evidence.dataset,
        evidence={"runs": total, "not ok": len(bad), "rows": groups},
    )  # fmt: skip


def words_of(reasons: pd.Series) -> str:
    """The most frequent reason, on one line, with how many others there are."""
    counts = reasons.dropna().astype(str).map(lambda text: " ".join(text.split())).value_counts()
    if counts.empty:
        return ""
    rest = f" (and {len(counts) - 1} more)" if len(counts) > 1 else ""
    return f"{counts.index[0]}{rest}"


def _failed(groups: Sequence[Row], bad: int, total: int) -> str:
    parts = [
        f"{words.the(group['likelihood'])} with {group['arm'].label}: "
        f"{group['runs']} {group['status']}"
        + (f", {group['reason'].rstrip('.')}" if group["reason"] else "")
        for group in groups
    ]
    shown = "; ".join(parts[:4]) + (f"; and {len(parts) - 4} more arms" if len(parts) > 4 else "")
    return (
        f"{bad} of {words.count(total, 'run')} diverged or failed. {words.capital(shown)}. Means "
        "of these arms are over the surviving seeds only, so they are optimistic."
    )


@finder
def convergence(evidence: Evidence) -> Iterator[Finding]:
    """Runs that had not converged when training ended."""
    drifts = _number_column(evidence.ok, "drift")
    if drifts.empty:
        return
    margin = evidence.converged_drift
    late = ~drifts.map(lambda drift: converged(drift, margin)).astype(bool)
    rows = _by_arm(evidence.ok.loc[drifts.index], late)
    text = (
        f"{int((~late).sum())} of {words.count(len(drifts), 'run')} changed their validation "
        f"objective by less than {margin:g} nats over the last tenth of training."
    )
    yield Finding(
        kind="convergence",
        headline="Every run had converged" if not late.any()
        else f"{int(late.sum())} of {words.count(len(drifts), 'run')} had not converged",
        sentence=text
        + (_most(rows, " Arms with the most unconverged runs: ") if late.any() else ""),
        dataset=evidence.dataset,
        conclusive=not late.any(),
        evidence={"runs": len(drifts), "converged": int((~late).sum()),
                  "nats": margin, "rows": rows},
        **figure_of(("loss_curves", "heatmaps"), evidence, _first_cell(evidence, rows)),
    )  # fmt: skip


@finder
def loose_bounds(evidence: Evidence) -> Iterator[Finding]:
    """Runs in which a metric is only a bound, not an estimate."""
    for flag, metrics in bounded_by_flag():
        if flag in evidence.ok and metrics[0].name in evidence.ok:
            yield from _only_bounds(evidence, flag, metrics)


def _only_bounds(evidence: Evidence, flag: str, metrics: Sequence[Metric]) -> Iterator[Finding]:
    """The runs in which a flag makes the first of some metrics a bound, and the others with it."""
    first, bound = metrics[0], metrics[0].bound
    scored = _number_column(evidence.ok, first.name)
    rows = evidence.ok.loc[scored.index]
    flagged = rows[flag].astype(str) == "True"
    if bound is None or not flagged.any():
        return
    of = f"{int(flagged.sum())} of {words.count(len(rows), 'run')}"
    samples = _setting(evidence, first.draws)
    arms = _by_arm(rows, flagged)
    yield Finding(
        kind="loose_bounds",
        headline=f"{words.capital(first.label)} is a loose bound in {of}",
        sentence=f"In {of} the {first.label}"
        + (f" from {words.count(samples, 'importance sample')}" if samples else "")
        + f" {bound.reason}: there it is only {bound.article} bound and is not ranked."
        + _others_bounded(evidence, metrics[1:]) + _most(arms, " Arms with the most such runs: "),
        dataset=evidence.dataset,
        conclusive=False,
        evidence={"runs": len(rows), "loose": int(flagged.sum()), "samples": samples,
                  "gap": bound.limit, "rows": arms},
        **figure_of(("heatmaps",), evidence, _first_cell(evidence, arms)),
    )  # fmt: skip


def _others_bounded(evidence: Evidence, metrics: Sequence[Metric]) -> str:
    """The further metrics that the same flag makes bounds."""
    parts = [
        f"the {metric.label} is {metric.bound.article} bound"
        for metric in metrics
        if metric.bound and len(_number_column(evidence.ok, metric.name))
    ]
    return f" In the same runs {words.join(parts)}." if parts else ""


def _setting(evidence: Evidence, key: str) -> Any:
    """A value of the config by its dotted key; None without one."""
    section, _, name = key.partition(".")
    return evidence.config.get(section, {}).get(name)


def _number_column(rows: pd.DataFrame, name: str) -> pd.Series:
    if name not in rows:
        return pd.Series(dtype=float)
    values = pd.to_numeric(rows[name], errors="coerce").astype(float)
    return values[values.abs() < float("inf")]


def _by_arm(rows: pd.DataFrame, flag: pd.Series) -> list[Row]:
    """Runs with a flag by likelihood and arm, most first."""
    found: list[dict[str, Any]] = [
        {"likelihood": str(key[0]), "arm": group["arm"].iloc[0],
         "runs": int(flag[group.index].sum()), "of": len(group)}
        for key, group in rows.groupby(["likelihood", "arm"], sort=False)
    ]  # fmt: skip
    return sorted((row for row in found if row["runs"]), key=lambda row: -row["runs"])


def _first_cell(evidence: Evidence, rows: Sequence[Row]) -> Cell | None:
    """The first arm of rows by arm, at its smallest latent dimension."""
    first = [(row["likelihood"], row["arm"]) for row in rows[:1]]
    return next((cell for cell in evidence.cells if (cell.likelihood, cell.arm) in first), None)


def _most(rows: Sequence[Row], start: str) -> str:
    parts = [
        f"{words.the(row['likelihood'])}, {row['arm'].label} ({row['runs']} of {row['of']})"
        for row in rows[:3]
    ]
    return f"{start}{'; '.join(parts)}."
