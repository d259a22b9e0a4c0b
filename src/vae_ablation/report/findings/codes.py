"""Labels in means and in sampled codes: what a label metric of the means hides."""

from __future__ import annotations

from collections.abc import Iterator

from vae_ablation.report.findings import words
from vae_ablation.report.findings.evidence import Evidence, Row, first
from vae_ablation.report.findings.finding import Finding, finder, finding_of
from vae_ablation.report.findings.quotes import Phrase, say
from vae_ablation.report.findings.wording import at, at_reference, base, difference, outcome

PAIRS = {"probe_accuracy": "probe_accuracy_sampled", "knn_accuracy": "knn_accuracy_sampled"}
"""Label metrics of the posterior means, and the same of sampled codes."""


@finder
def sampled_codes(evidence: Evidence) -> Iterator[Finding]:
    """Levels at which sampled codes lose labels that the means keep, or lose clearly more."""
    rank = 3
    for question in evidence.questions:
        if question == "condition":  # a model that is told the label need not encode it
            continue
        for means, sampled in PAIRS.items():
            rows = evidence.pooled(question, sampled)
            pairs = [(row, first(one for one in evidence.pooled(question, means)
                                 if one.level == row.level)) for row in rows]  # fmt: skip
            known = [(s, m) for s, m in pairs if m is not None and _hidden(s, m)]
            if known:
                yield _finding(evidence, known, rank)
                rank = 0
                break


def _hidden(sampled: Row, means: Row) -> bool:
    """Whether sampled codes lose clearly more than means: intervals that do not overlap."""
    high, low = sampled.number("ci_high"), means.number("ci_low")
    return sampled.verdict == "worse" and high is not None and low is not None and high < low


def _finding(evidence: Evidence, known: list[tuple[Row, Row]], rank: int) -> Finding:
    sampled, means = max(known, key=lambda pair: -(pair[0].number("estimate") or 0))
    label = means.metric.label
    headline = say("{at}, sampled codes lose {more}", at=at(sampled).capital(),
                   more="labels that posterior means keep" if means.verdict == "equivalent"
                   else "more labels than posterior means do")  # fmt: skip
    text = say(
        "Compared with {reference} ({base}), the {label} {at} is {lost} when read from sampled "
        "codes, from {a} to {b}; read from posterior means, it {kept}. Means can differ by far "
        "less than a posterior standard deviation and still separate the labels; nothing that "
        "draws z can use such differences.",
        reference=_noun(sampled), base=base(sampled), label=label, at=at(sampled),
        lost=difference(sampled), a=_share(sampled, "reference_mean"), b=_share(sampled, "mean"),
        kept=outcome(means, evidence.within(means) if means.verdict == "depends" else ()),
    )  # fmt: skip
    return finding_of(evidence, [sampled, means], headline, text, rank)


def _noun(row: Row) -> Phrase:
    return say("arms {reference}", reference=at_reference(row))


def _share(row: Row, column: str) -> Phrase:
    value = row.number(column)
    return say("{value}", value=row.quote(column, words.fixed(value or 0.0, 2)))
