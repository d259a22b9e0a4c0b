"""One comparison made under several likelihoods and latent dimensions, told in one sentence."""

from __future__ import annotations

from dataclasses import dataclass

from vae_ablation.report.findings import words
from vae_ablation.report.findings.evidence import Cell, Estimate, Evidence, Row


@dataclass(frozen=True)
class Comparison:
    """One arm against its reference, for one likelihood and latent dimension.

    Attributes:
        cell: the arm.
        reference: what it is compared with.
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
        found: the comparisons, the smallest difference first; at least one.
        against: the reference's column, where it is another one.
    """

    metric: str
    found: tuple[Comparison, ...]
    against: str

    @property
    def up(self) -> int:
        """Comparisons whose interval lies above 0."""
        return sum(one.difference.sign > 0 for one in self.found)

    @property
    def down(self) -> int:
        """Comparisons whose interval lies below 0."""
        return sum(one.difference.sign < 0 for one in self.found)

    @property
    def open(self) -> int:
        """Comparisons whose interval includes 0, or that have none."""
        return len(self.found) - self.up - self.down

    @property
    def conclusive(self) -> bool:
        """Whether every comparison says the same."""
        return len(self.found) in (self.up, self.down)


def tally(metric: str, found: list[Comparison], against: str = "") -> Tally | None:
    """A tally of comparisons; None without any."""
    ordered = sorted(found, key=lambda one: one.difference.mean)
    return Tally(metric, tuple(ordered), against or metric) if found else None


def contrasted(evidence: Evidence, contrast: str, metric: str) -> Tally | None:
    """All comparisons of one kind that contrasts.csv has for a metric; None without any."""
    found = [
        Comparison(cell, *pair)
        for cell in evidence.cells
        if (pair := evidence.contrast(contrast, cell, metric))
    ]
    return tally(metric, found)


def headline(found: Tally, up: str, down: str, question: str) -> str:
    """A tally in a few words.

    Args:
        found: the tally.
        up: what a rise means.
        down: what a fall means.
        question: what stays open where no comparison decides.
    """
    total = len(found.found)
    if found.conclusive:
        return up if found.up else down
    if found.up and found.down:
        return f"{up} in {found.up} of {total} comparisons, but the opposite in {found.down}"
    if found.up or found.down:
        return f"{up if found.up else down}, in {found.up or found.down} of {total} comparisons"
    return f"Inconclusive: {question}"


def told(found: Tally, subject: str, evidence: Evidence, name: str = "") -> str:
    """A tally as a sentence: in how many comparisons what happens, and from where to where.

    Args:
        found: the tally.
        subject: what was done, e.g. "Taking the KL term away".
        evidence: tables for the values at both ends.
        name: the metric's name where it is not the usual one.
    """
    text = f"{subject} {_counts(found, name or words.metric_name(found.metric))}"
    first, last = (_change(evidence, found, found.found[i]) for i in (0, -1))
    if len(found.found) == 1:
        return f"{text}: {first}."
    return f"{text}; paired by seed, the difference runs from {first} to {last}."


def _counts(found: Tally, name: str) -> str:
    total = len(found.found)
    clauses = [("raises", "", found.up), ("lowers", "", found.down)]
    clauses = [part for part in [*clauses, ("leaves", " undecided", found.open)] if part[2]]
    if total == 1:
        verb, end, _ = clauses[0]
        return f"{verb} the {name}{end}"
    texts = [
        f"{verb} {'it' if i else f'the {name}'}{end} in {_share(n, total, first=not i)}"
        for i, (verb, end, n) in enumerate(clauses)
    ]
    return words.join(texts)


def _share(n: int, total: int, first: bool) -> str:
    if n == total:
        return f"all {total} comparisons"
    return f"{n} of {total} comparisons" if first else str(n)


def _change(evidence: Evidence, found: Tally, one: Comparison) -> str:
    """The difference with its interval, and the two values between which it lies."""
    before = evidence.estimate(one.reference, found.against)
    after = evidence.estimate(one.cell, found.metric)
    where = words.place(one.cell)
    if before and after:
        where += f", {words.number(after.mean)} against {words.number(before.mean)}"
    return words.estimate(one.difference, words.unit(found.metric), where)


def rows(evidence: Evidence, found: Tally) -> list[Row]:
    """A row of evidence for each comparison."""
    return [_row(evidence, found, one) for one in found.found]


def _row(evidence: Evidence, found: Tally, one: Comparison) -> Row:
    value = evidence.estimate(one.cell, found.metric)
    reference = evidence.estimate(one.reference, found.against)
    return (
        one.cell.row
        | {"reference": one.reference.arm, "metric": found.metric}
        | ({"value": value.mean} if value else {})
        | ({"reference value": reference.mean} if reference else {})
        | one.difference.row("difference")
    )
