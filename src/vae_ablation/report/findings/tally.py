"""A comparison repeated over likelihoods and latent dimensions, summarised in one sentence."""

from __future__ import annotations

from dataclasses import dataclass

from vae_ablation.report.findings import words
from vae_ablation.report.findings.evidence import Cell, Estimate, Evidence, Row


@dataclass(frozen=True)
class Comparison:
    """One arm and its reference, for one likelihood and latent dimension.

    Attributes:
        cell: the arm.
        reference: the arm that it is compared with.
        difference: the arm's value minus the reference's, paired by seed.
    """

    cell: Cell
    reference: Cell
    difference: Estimate


@dataclass(frozen=True)
class Tally:
    """The same comparison over likelihoods and latent dimensions.

    Attributes:
        metric: the column compared.
        comparisons: the smallest difference first; at least one.
        against: the reference's column, where it is another one.
    """

    metric: str
    comparisons: tuple[Comparison, ...]
    against: str

    @property
    def up(self) -> int:
        """Comparisons whose interval lies above 0."""
        return sum(one.difference.sign > 0 for one in self.comparisons)

    @property
    def down(self) -> int:
        """Comparisons whose interval lies below 0."""
        return sum(one.difference.sign < 0 for one in self.comparisons)

    @property
    def open(self) -> int:
        """Comparisons without an interval, or whose interval includes 0."""
        return len(self.comparisons) - self.up - self.down

    @property
    def conclusive(self) -> bool:
        """Whether all comparisons have the same significant sign."""
        return len(self.comparisons) in (self.up, self.down)


def tally_of(metric: str, comparisons: list[Comparison], against: str = "") -> Tally | None:
    """A tally of comparisons; None without any."""
    ordered = sorted(comparisons, key=lambda one: one.difference.mean)
    return Tally(metric, tuple(ordered), against or metric) if comparisons else None


def contrasted(evidence: Evidence, contrast: str, metric: str) -> Tally | None:
    """All comparisons of one kind that contrasts.csv has for a metric; None without any."""
    comparisons = [
        Comparison(cell, *pair)
        for cell in evidence.cells
        if (pair := evidence.contrast(contrast, cell, metric))
    ]
    return tally_of(metric, comparisons)


def headline(tally: Tally, up: str, down: str, question: str) -> str:
    """A tally in a few words.

    Args:
        tally: the tally.
        up: meaning of an increase.
        down: meaning of a decrease.
        question: question that is open where no comparison is significant.
    """
    total = len(tally.comparisons)
    if tally.conclusive:
        return up if tally.up else down
    if tally.up and tally.down:
        return f"{up} in {tally.up} of {total} comparisons, but the opposite in {tally.down}"
    if tally.up or tally.down:
        return f"{up if tally.up else down} in {tally.up or tally.down} of {total} comparisons"
    return f"Inconclusive: {question}"


def sentence(tally: Tally, subject: str, evidence: Evidence, name: str = "") -> str:
    """A tally as a sentence: counts of significant comparisons, and the range of differences.

    Args:
        tally: the tally.
        subject: the intervention, e.g. "Removing the KL term".
        evidence: tables for the values of arm and reference.
        name: the metric's name where it is not the usual one.
    """
    text = f"{subject} {_counts(tally, name or words.metric_name(tally.metric))}"
    first, last = (_change(evidence, tally, tally.comparisons[i]) for i in (0, -1))
    if len(tally.comparisons) == 1:
        return f"{text}: {first}."
    return f"{text}; paired by seed, the differences range from {first} to {last}."


def _counts(tally: Tally, name: str) -> str:
    total = len(tally.comparisons)
    clauses = [
        (verb, n)
        for verb, n in (
            ("raises", tally.up),
            ("lowers", tally.down),
            ("has no significant effect on", tally.open),
        )
        if n
    ]
    if total == 1:
        return f"{clauses[0][0]} the {name}"
    if tally.open == total:
        return f"{clauses[0][0]} the {name} in any of {total} comparisons"
    return words.join(
        f"{verb} {'it' if i else f'the {name}'} in {_share(n, total, first=not i)}"
        for i, (verb, n) in enumerate(clauses)
    )


def _share(n: int, total: int, first: bool) -> str:
    if n == total:
        return f"all {total} comparisons"
    return f"{n} of {total} comparisons" if first else str(n)


def _change(evidence: Evidence, tally: Tally, one: Comparison) -> str:
    """The difference with its interval, then the values of the arm and its reference."""
    before = evidence.estimate(one.reference, tally.against)
    after = evidence.estimate(one.cell, tally.metric)
    note = words.place(one.cell)
    if before and after:
        note += f", {words.number(after.mean)} compared with {words.number(before.mean)}"
    return words.estimate(one.difference, words.unit(tally.metric), note)


def rows(evidence: Evidence, tally: Tally) -> list[Row]:
    """A row of evidence for each comparison."""
    return [_row(evidence, tally, one) for one in tally.comparisons]


def _row(evidence: Evidence, tally: Tally, one: Comparison) -> Row:
    value = evidence.estimate(one.cell, tally.metric)
    reference = evidence.estimate(one.reference, tally.against)
    return (
        one.cell.row
        | {"reference": one.reference.arm, "metric": tally.metric}
        | ({"value": value.mean} if value else {})
        | ({"reference value": reference.mean} if reference else {})
        | one.difference.row("difference")
    )
