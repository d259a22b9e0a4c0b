"""Findings: their type, and the registry of functions that make them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pandas as pd

from vae_ablation.common.isolation import Isolated
from vae_ablation.common.registry import Registry
from vae_ablation.report.findings.apart import apart
from vae_ablation.report.findings.evidence import Evidence, Row
from vae_ablation.report.findings.quotes import Part, Phrase, Quote, join, phrase, say, text_of
from vae_ablation.report.findings.wording import SPECIAL, subject
from vae_ablation.study.metrics import Metric

MOST_LEADING = 10
"""Findings of a study that lead; the others fold."""


@dataclass(frozen=True)
class Finding:
    """One result of a study in a sentence, with its numbers.

    Attributes:
        dataset: name of the dataset.
        topic: what it is about within the dataset, and its id there: `kl_off/sample_fid`.
        section: the part of the report: `collapse`, `map`, `trust`, `applications`, or a question
            (`kl_off`, `point` or an axis).
        headline: the answer in a few words, as text or by `say`.
        text: the answer with its numbers, likewise.
        verdict: as in contrasts.csv, or `collapsed`, `shown`; empty where it only counts, selects,
            or says what could be seen.
        evidence: rows of tables behind it.
        rank: 1 to 3 where it may lead, 1 first; 0 where it never does.
        lead: whether it is shown first; at most ten are.
        caveats: sentences about its metrics, the same for all findings on them.
    """

    dataset: str
    topic: str
    section: str
    headline: Phrase
    text: Phrase
    verdict: str = ""
    evidence: Sequence[Mapping[str, Any]] = ()
    rank: int = 0
    caveats: tuple[Phrase, ...] = ()
    lead: bool = False

    def __post_init__(self) -> None:
        """Take text for a phrase without numbers."""
        for name in ("headline", "text"):
            object.__setattr__(self, name, phrase(getattr(self, name)))

    @property
    def claims(self) -> bool:
        """Whether it states a difference."""
        return self.verdict not in ("", "equivalent")

    @property
    def entry(self) -> dict[str, Any]:
        """The finding as findings.json holds it (docs/findings.md)."""
        return {
            "id": f"{self.dataset}/{self.topic}",
            "question": self.topic.partition("/")[0],
            "section": self.section,
            "dataset": self.dataset,
            "headline": str(self.headline),
            "text": str(self.text),
            "verdict": self.verdict,
            "lead": self.lead,
            "caveats": [str(caveat) for caveat in self.caveats],
            "numbers": [
                plain(number)
                for part in (self.headline, self.text, *self.caveats)
                for number in part.numbers
            ],
            "evidence": {"rows": plain(list(self.evidence))},
        }


def plain(value: Any) -> Any:
    """A value of tables as JSON: NumPy's scalars as Python's own, missing ones as None."""
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    value = value.item() if hasattr(value, "item") else value
    return None if value is pd.NA or value != value else value


Finder = Callable[[Evidence], Iterator[Finding]]

_FINDERS: Registry[Finder] = Registry("question", lambda cls: cls().answer)


class Question(ABC):
    """A question about one dataset that a study's tables answer: a finder as a class.

    Attributes:
        name: kind of its findings.
    """

    registry: ClassVar[Registry[Finder]] = _FINDERS
    name: ClassVar[str]

    @abstractmethod
    def answer(self, evidence: Evidence) -> Iterator[Finding]:
        """Its findings; none where the tables cannot answer it."""


ORDER = (
    *("collapse", "kl_term", "trade_off", "sampled_codes", "effects", "likelihoods", "matched"),
    *("applications", "importance", "power", "selected", "failures", "convergence", "bounds"),
)
"""Reading order of the finders; any other comes after these."""


def finder(function: Finder) -> Finder:
    """Register a function that answers one question about one dataset."""
    _FINDERS.put(function.__name__, function, function.__module__)
    return function


def findings(
    tables: Mapping[str, pd.DataFrame | None],
    config: dict[str, Any],
    only: Collection[str] = (),
) -> list[Finding]:
    """All findings of a study, by dataset and in reading order.

    A question that the tables cannot answer (a column, an arm or a table is absent) has no finding.

    Args:
        tables: as for `Evidence`, of all datasets.
        config: the resolved config.
        only: names of the finders that are asked; all without any.
    """
    metrics = tables["metrics"]
    assert metrics is not None
    datasets = sorted(set(metrics.loc[metrics["model"] == "vae", "dataset"].astype(str)))
    room = max(1, MOST_LEADING // max(1, len(datasets)))
    found: list[Finding] = []
    for dataset in datasets:
        found += _leading(_of_dataset(Evidence(dataset, tables, config), only), room)
    return found


def _of_dataset(evidence: Evidence, only: Collection[str]) -> list[Finding]:
    """Findings of one dataset; of several on one topic the first counts."""
    found: dict[str, Finding] = {}
    for name in sorted((one for one in _FINDERS if not only or one in only), key=_place):
        for finding in _answers(name, evidence):
            found.setdefault(finding.topic, finding)
    return list(found.values())


def _leading(found: Sequence[Finding], room: int) -> list[Finding]:
    """The findings with at most so many leading: by rank, and last what could be seen."""
    known = sorted((one for one in found if one.rank and one.verdict), key=lambda one: one.rank)
    known = known if any(one.claims for one in known) else []
    power = [one for one in found if one.topic == "power" and known]
    leads = {one.topic for one in [*known[: room - len(power)], *power]}
    return [replace(one, lead=one.topic in leads) for one in found]


def _answers(name: str, evidence: Evidence) -> list[Finding]:
    """Findings of one finder, or one that reports its unforeseen error."""
    part = Isolated(f"findings on {evidence.dataset}")
    nothing: list[Finding] = []
    found = part(name, lambda: list(map(_checked, _FINDERS[name](evidence))), nothing)
    if not part.reasons:
        return found
    headline = phrase(f"The finding {name.replace('_', ' ')} could not be computed")
    text = f"Error: {part.reasons[0]}. The other findings are complete; see the log for details."
    return [Finding(evidence.dataset, f"error/{name}", "trust", headline, phrase(text))]


def _checked(finding: Finding) -> Finding:
    if not isinstance(finding, Finding):
        raise TypeError(f"answer gives {type(finding).__name__}; allowed: findings")
    return finding


def _place(name: str) -> tuple[int, str]:
    return (ORDER.index(name) if name in ORDER else len(ORDER)), name


_SECTIONS = {"least_beta": "kl_off"}
"""Sections of questions that have none of their own."""


def finding_of(
    evidence: Evidence,
    rows: Sequence[Row],
    headline: Part,
    text: Part,
    rank: int = 0,
    verdict: str = "",
    topic: str = "",
) -> Finding:
    """A finding that rests on rows of contrasts.csv, the first of which names its topic."""
    first = rows[0]
    return Finding(
        evidence.dataset,
        topic or f"{first.question}/{first.metric.name}",
        _SECTIONS.get(first.question, first.question),
        phrase(headline),
        text_of([text, apart(evidence, rows), part_of_test(evidence, (r.metric for r in rows))]),
        verdict or first.verdict,
        [row.shown for row in rows],
        rank,
        tuple(caveats(evidence, rows)),
    )


def part_of_test(evidence: Evidence, metrics: Iterable[Metric]) -> Phrase:
    """Sentence on the metrics that rest on a part of the test split; empty without any.

    `The encoder gap rests on 64 of the 359 test examples.`
    """
    groups: dict[tuple[str, str], list[tuple[Metric, Quote, Quote]]] = {}
    for metric in {one.name: one for one in metrics}.values():
        few, whole = (evidence.quoted("examples", column, {"metric": metric.name})
                      for column in ("examples", "test"))  # fmt: skip
        if few is not None and whole is not None:
            groups.setdefault((few.text, whole.text), []).append((metric, few, whole))
    return text_of(
        say("{metrics} {rest} on {few} of the {whole} test examples.",
            metrics=join(subject(one) for one, *_ in own).capital(),
            rest="rests" if len(own) == 1 else "rest", few=own[0][1], whole=own[0][2])
        for own in groups.values()
    )  # fmt: skip


def caveats(evidence: Evidence, rows: Iterable[Row]) -> Iterator[Phrase]:
    """Sentences about the metrics of some rows: bounds, missing runs, families."""
    known = list(rows)
    for metric in {row.metric.name: row.metric for row in known}.values():
        flagged = metric.bound and evidence.runs_with(metric.bound.flag)
        if metric.bound and flagged:
            yield say(
                "In {n} of {all} runs {metric} is only {article} bound, since it {reason}; the "
                "arms of these runs are left out.",
                n=flagged, all=evidence.runs_with() or "", metric=subject(metric),
                article=metric.bound.article, reason=metric.bound.reason,
            )  # fmt: skip
        if metric.needs_kl and any(row.question in SPECIAL for row in known):
            yield say("Without the KL term {metric} has no optimum: it depends on the length of "
                      "training.", metric=subject(metric))  # fmt: skip
    exploratory = {subject(row.metric): None for row in known
                   if row.cells.get("family") == "exploratory"}  # fmt: skip
    if exploratory:
        yield say("Exploratory, since not among the study's primary metrics: {names}.",
                  names=join(exploratory))  # fmt: skip
    lost = [row for row in known if row.number("lost")]
    if lost:
        yield say("Up to {n} pairs of runs are missing, since a run diverged or failed.",
                  n=max(lost, key=lambda row: row.number("lost") or 0).quote(
                      "lost", f"{max(row.number('lost') or 0 for row in lost):g}"))  # fmt: skip
