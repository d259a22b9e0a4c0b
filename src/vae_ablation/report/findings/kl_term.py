"""Findings on the KL term and on posterior collapse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from vae_ablation.report.findings.dimensions import by_dimension
from vae_ablation.report.findings.evidence import Evidence, Row, first, is_bound, matching
from vae_ablation.report.findings.finding import Finding, finder, finding_of
from vae_ablation.report.findings.quotes import Phrase, Quote, join, phrase, say, text_of
from vae_ablation.report.findings.replicates import Score, score
from vae_ablation.report.findings.wording import (
    at_level,
    at_reference,
    base,
    on_average,
    outcome,
    ratio,
    semicolons,
    span,
    spread,
    subject,
)
from vae_ablation.report.findings.words import number
from vae_ablation.study.axes import axis_of
from vae_ablation.study.metrics import described


@finder
def kl_term(evidence: Evidence) -> Iterator[Finding]:
    """Consequences of removing the KL term: posteriors, samples and their cause, reconstruction."""
    for make in (_posteriors, _samples, _cause, _nearly_none):
        found = make(evidence)
        if found is not None:
            yield found


def _off(evidence: Evidence, metric: str) -> Row | None:
    return first(evidence.pooled("kl_off", metric))


def _posteriors(evidence: Evidence) -> Finding | None:
    """The scale of posteriors, then rate and ELBO, which have no optimum without the KL term."""
    row = _off(evidence, "posterior_std")
    if row is None or not row.differs:
        return None
    parts = evidence.within(row)
    head = "shrink towards points" if (row.number("effect") or 1) < 1 else "change their scale"
    sentences = [_outcome(evidence, row, parts), _growth(evidence, row), _codes(evidence, row)]
    return finding_of(evidence, [row, *parts], f"Without the KL term posteriors {head}",
                      text_of(sentences), rank=1)  # fmt: skip


def _growth(evidence: Evidence, row: Row) -> Phrase:
    """Changes of rate, ELBO and marginal KL, which have no optimum without the KL term."""
    epochs = evidence.quoted("metrics", "epochs", {"model": "vae", "kl": False}, "max")
    changes = [change for metric in ("rate", "marginal_kl", "elbo")
               if (change := _change(evidence, row, metric))]  # fmt: skip
    if not changes or epochs is None:
        return Phrase()
    return say("{changes}. These have no optimum without the KL term: they depend on the length of "
               "training (here up to {epochs} epochs).",
               changes=semicolons([changes[0].capital(), *changes[1:]]), epochs=epochs)  # fmt: skip


def _change(evidence: Evidence, row: Row, name: str) -> Phrase | None:
    """The smallest and the largest change over settings; None unless all have one direction.

    A setting counts if its interval excludes 0; one that is only a bound leaves nothing to say.
    """
    metric = described(name)
    runs = matching(evidence.ok, {"kl": False})
    if name not in runs or is_bound(runs, metric):
        return None
    scores = [one for own in evidence.settings(row) if (one := _paired(evidence, own, name))]
    signs = {_sign(one) for one in scores}
    if len(signs) != 1 or 0 in signs or not scores:
        return None
    sign = signs.pop()
    ends = sorted(scores, key=lambda one: abs(one.values.mean()))
    sizes = [one.phrase(float(sign), metric.suffix) for one in (ends[0], ends[-1])]
    if str(sizes[0]) == str(sizes[1]):
        return say("{metric} {way} by {low}", metric=subject(metric),
                   way="rises" if sign > 0 else "falls", low=sizes[0])  # fmt: skip
    return say("{metric} {way} in every setting, by {low} at least and {high} at most",
               metric=subject(metric), way="rises" if sign > 0 else "falls", low=sizes[0],
               high=sizes[1])  # fmt: skip


def _paired(evidence: Evidence, row: Row, name: str) -> Score | None:
    """The change of a metric in one setting, from its arm's runs and its reference's."""
    levels = {axis: row.cells[axis] for axis in row.axes if axis in row.cells}
    where = {"dataset": evidence.dataset, "model": "vae", "status": "ok", **levels}
    arms = [{**where, "arm": row.cells.get(column)} for column in ("arm", "reference_arm")]
    return score("metrics", evidence.ok, name, arms[0], arms[1])


def _sign(one: Score) -> int:
    _, _, low, high = one.interval
    return int(low > 0) - int(high < 0)


def _codes(evidence: Evidence, row: Row) -> Phrase:
    """The scale of the codes by likelihood, which tells in which way they fail."""
    names = sorted({one.where_text("likelihood") for one in evidence.settings(row)} - {""})
    parts = []
    for name in names:
        where = {"metric": "code_rms", "model": "vae", "posterior": "gaussian", "kl": False,
                 "likelihood": name}  # fmt: skip
        ends = [evidence.quoted("summary", "mean", where, how) for how in ("min", "max")]
        low, high = ends
        if low is not None and high is not None:
            parts.append(say("{span} {likelihood}", span=span(low, high),
                             likelihood=at_level("likelihood", name)))  # fmt: skip
    if not parts:
        return Phrase()
    return say("Over arms the root mean square of the codes, in prior standard deviations, is then "
               "{parts}.", parts=join(parts))  # fmt: skip


def _outcome(evidence: Evidence, row: Row, parts: list[Row]) -> Phrase:
    return say("Without the KL term {metric} {outcome}, compared with {reference} ({base}){range}.",
               metric=subject(row.metric), outcome=outcome(row, parts), reference=_reference(row),
               base=base(row), range=spread(row, evidence.settings(row)))  # fmt: skip


def _reference(row: Row) -> Phrase:
    return say("β = {level}", level=row.quote("reference", row.reference))


def _samples(evidence: Evidence) -> Finding | None:
    """Samples from the prior."""
    row = _off(evidence, "sample_fid")
    if row is None or not row.differs:
        return None
    parts = evidence.within(row)
    axis = axis_of(str(row.cells.get("depends_on", ""))).label
    average = " on average" if on_average(row, evidence.settings(row)) else ""
    headline = f"Without the KL term samples from the prior are {row.verdict}{average}"
    if row.verdict == "depends":
        headline = f"How samples from the prior change without the KL term depends on the {axis}"
    return finding_of(
        evidence, [row, *parts], headline, _outcome(evidence, row, parts), rank=1,
    )  # fmt: skip


def _cause(evidence: Evidence) -> Finding | None:
    """Samples ex post, from a mixture fitted to the codes in both arms: prior or decoder."""
    prior, fitted = _off(evidence, "sample_fid"), _off(evidence, "sample_fid_expost")
    if prior is None or fitted is None or prior.verdict != "worse":
        return None
    high, low = fitted.number("ci_high"), prior.number("ci_low")
    if fitted.verdict == "worse":
        headline = "Without the KL term the decoder itself generates worse samples"
    elif high is not None and low is not None and high < low:
        headline = "The prior rather than the decoder accounts for the worse samples"
    else:
        return None
    text = say(
        "With z drawn in both arms from a mixture fitted to the codes, the Fréchet distance "
        "without the KL term is {fitted} times that {reference}; with z from the prior it is "
        "{prior} times as large ({base}).",
        fitted=ratio(fitted), reference=at_reference(fitted), prior=ratio(prior),
        base=base(fitted),
    )  # fmt: skip
    return finding_of(evidence, [fitted, prior], headline, text, rank=1, verdict=prior.verdict)


def _nearly_none(evidence: Evidence) -> Finding | None:
    """Metrics in which the smallest β is equivalent to no KL term, by the question `least_beta`."""
    named = (evidence.error_metric, "sample_fid_expost", "posterior_std", "nll_levels")
    rows = [row for row in evidence.pooled("least_beta")
            if row.cells.get("family") == "primary" or row.metric.name in named]  # fmt: skip
    same = [row for row in rows if row.verdict == "equivalent"]
    if not same:
        return None
    each = [say("{metric} {outcome}", metric=subject(row.metric),
                outcome=outcome(row, evidence.within(row)))
            for row in rows if row.verdict == "equivalent" or row.differs]  # fmt: skip
    headline = say("{beta} is equivalent to no KL term in {names}", beta=_reference(same[0]),
                   names=join(subject(row.metric) for row in same))  # fmt: skip
    text = say("Without the KL term, compared with {beta} ({base}): {each}.",
               beta=_reference(same[0]), base=base(same[0]), each=semicolons(each))  # fmt: skip
    differing = [row for row in rows if row.differs]
    return finding_of(evidence, [*same, *differing], headline, text, rank=3)


@finder
def decoder_scale(evidence: Evidence) -> Iterator[Finding]:
    """Learned scales of decoders over β: where they move, β weighs the rate differently."""
    table = evidence.table("summary")
    if not len(table) or not evidence.decidable("beta"):
        return
    rows = matching(table, {"model": "vae", "metric": "decoder_scale", "kl": True})
    parts = []
    for name in sorted(set(rows["likelihood"])):
        own = rows[rows["likelihood"] == name]
        if own["mean"].max() > 1.1 * own["mean"].min():
            ends = [_scale(evidence, own.iloc[int(place)])
                    for place in (own["mean"].argmin(), own["mean"].argmax())]  # fmt: skip
            parts.append(say("{likelihood} from {low} to {high}", low=ends[0], high=ends[1],
                             likelihood=at_level("likelihood", name)))  # fmt: skip
    if parts:
        yield Finding(
            evidence.dataset, "beta/decoder_scale", "beta",
            phrase("A learned decoder scale is a second, hidden weight of the KL term"),
            say("The learned standard deviation of the decoder ranges {parts}. The narrower the "
                "decoder, the less the same β weighs, so arms of one β are not alike across "
                "likelihoods.", parts=semicolons(parts)),
        )  # fmt: skip


def _scale(evidence: Evidence, row: pd.Series) -> Phrase:
    """A mean scale with the arm's β and latent dimension."""
    where = {"dataset": evidence.dataset, "model": "vae", "metric": "decoder_scale"}
    where |= {name: row[name] for name in ("likelihood", "latent_dim", "arm")}
    scale = Quote(number(float(row["mean"])), row["mean"], "summary", "mean", where)
    beta = Quote(f"{row['beta']:g}", row["beta"], "summary", "beta", where)
    dim = at_level("latent_dim", f"{row['latent_dim']:g}",
                   Quote(f"{row['latent_dim']:g}", row["latent_dim"], "summary", "latent_dim",
                         where))  # fmt: skip
    return say("{scale} {dim} and β = {beta}", scale=scale, beta=beta, dim=dim)


@finder
def trade_off(evidence: Evidence) -> Iterator[Finding]:
    """Down to which β better reconstruction costs no sample quality: the bend of the trade-off."""
    errors = evidence.pooled("beta", evidence.error_metric)
    samples = {row.level: row for row in evidence.pooled("beta", "sample_fid")}
    gains = [row for row in errors if row.verdict == "better" and row.level in samples]
    free = [row for row in gains if samples[row.level].verdict in ("equivalent", "better")]
    paid = [row for row in gains if samples[row.level].verdict == "worse"]
    if not free or not paid or min(free, key=_key).key < max(paid, key=_key).key:
        return
    last, next_ = min(free, key=_key), max(paid, key=_key)
    bend = say("between β = {low} and {high}", low=next_.quote("level", next_.level),
               high=last.quote("level", last.level))  # fmt: skip
    text = say(
        "Compared with β = {reference} ({base}): {each}.", base=base(*free, *paid),
        reference=last.quote("reference", last.reference),
        each=semicolons([_pair(row, samples[row.level]) for row in (last, next_)]),
    )  # fmt: skip
    yield finding_of(
        evidence, [last, samples[last.level], next_, samples[next_.level]],
        say("The trade-off of reconstruction and samples bends {bend}", bend=bend), text, rank=1,
        topic="beta/trade_off",
    )  # fmt: skip


def _key(row: Row) -> Any:
    return row.key


def _pair(error: Row, sample: Row) -> Phrase:
    return say("at β = {level} {metric} {change} and {fid} {cost}",
               level=error.quote("level", error.level), metric=subject(error.metric),
               change=outcome(error), fid=subject(sample.metric),
               cost=outcome(sample))  # fmt: skip


@finder
def collapse(evidence: Evidence) -> Iterator[Finding]:
    """Values of β at which no unit is active in any run, with what is active below them."""
    runs = evidence.ok
    if not {"active_units", "beta", "kl"} <= {*runs.columns} or not evidence.decidable("beta"):
        return
    runs = matching(runs, {"kl": True})
    runs = runs[runs["active_units"].notna()]
    most = runs.groupby("beta")["active_units"].max()
    gone = sorted(map(float, most.index[most == 0]))
    alive = sorted(map(float, most.index[most > 0]))
    if not gone or not alive or max(alive) > min(gone):
        return
    text = text_of(
        [
            say("No unit is active in any of {each}.",
                each=join(say("the {n} runs at β = {beta}", n=_count(evidence, beta),
                              beta=_beta_quote(evidence, beta)) for beta in gone)),
            _below(evidence, max(alive)),
        ]
    )  # fmt: skip
    yield Finding(
        evidence.dataset, "collapse", "collapse",
        say("Every model has collapsed at β = {levels}",
            levels=join(_beta_quote(evidence, beta) for beta in gone)),
        text, "collapsed", _rows(evidence, runs), 1,
    )  # fmt: skip


def _where(beta: float) -> dict[str, Any]:
    return {"model": "vae", "status": "ok", "kl": True, "beta": beta}


def _beta_quote(evidence: Evidence, beta: float) -> Quote:
    where = {"dataset": evidence.dataset, **_where(beta)}
    return Quote(f"{beta:g}", beta, "metrics", "beta", where, "max")


def _count(evidence: Evidence, beta: float) -> Quote:
    where = {"dataset": evidence.dataset, **_where(beta)}
    n = len(matching(evidence.table("metrics"), where))
    return Quote(f"{n}", n, "metrics", "", where, "rows")


def _below(evidence: Evidence, beta: float) -> Phrase:
    """Active units at the largest β that has not collapsed."""
    units = by_dimension(evidence, "metrics", "active_units", _where(beta))
    if not units:
        return Phrase()
    return say("At β = {beta} the number of active units of a run is {units}.",
               beta=_beta_quote(evidence, beta), units=units)  # fmt: skip


def _rows(evidence: Evidence, runs: pd.DataFrame) -> list[dict[str, Any]]:
    """Active units by setting and β, over seeds."""
    axes = [name for name in ("likelihood", "latent_dim", "arm") if name in runs]
    table = runs.groupby(axes, sort=False)["active_units"].agg(["min", "max", "count"])
    return [{**dict(zip(axes, map(_plain, key), strict=True)), "fewest active units": float(low),
             "most active units": float(high), "seeds": int(n)}
            for key, low, high, n in table.itertuples()]  # fmt: skip


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)
