"""Findings as the page shows them: which section each belongs to, and the answer in five or so."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vae_ablation.common.files import read_json
from vae_ablation.report.findings import words
from vae_ablation.report.page.values import without_places

MOST = 5
"""Findings on the first screen."""
MOST_BRIEF = 3
"""Further axes of which the first screen has a headline; others are named."""
MOST_WHOLE = 2
"""Findings that a section shows whole."""
MOST_FOLDED = 40
LONGEST = 230
"""Characters of a finding on the first screen, where its sentences can be cut there."""

_SECTIONS = {
    "best_arm": "map",
    "samples": "map",
    "collapse": "collapse",
    "kl_off": "kl_off",
    "point": "point",
    "importance": "effects",
    "applications": "applications",
    "counts": "cells",
    "holes_in_cells": "cells",
    "failures": "trust",
    "convergence": "trust",
    "loose_bounds": "trust",
    "likelihoods": "likelihood",
    "disentanglement": "map",
}
"""Section of a finding that names none, by the beginning of its kind."""


@dataclass(frozen=True)
class Answer:
    """A finding.

    Attributes:
        section: the section it belongs to.
        headline: the answer in a few words.
        text: the answer with its numbers.
        conclusive: whether the evidence decides the question.
        dataset: the data set that it is about; None where it is about all.
        rank: place in findings.json.
        leads: whether it may stand on the first screen.
        caveats: sentences about its metrics, shared by findings on them.
        primary: whether it rests on a primary metric.
    """

    section: str
    headline: str
    text: str
    conclusive: bool = True
    dataset: str | None = None
    rank: int = 0
    leads: bool = True
    caveats: tuple[str, ...] = ()
    primary: bool = True

    @property
    def lead(self) -> str:
        """The first sentences, as many as fit on the first screen."""
        return first_sentences(self.text, LONGEST)


def first_sentences(text: str, most: int) -> str:
    """Whole sentences from the beginning, at least one, within `most` characters if more.

    A first sentence that is far longer is cut at a semicolon, and says so by an ellipsis.
    """
    parts = re.split(r"(?<=[.!?]) +(?=[A-ZΑ-Ωβ“])", text)
    kept = parts[0]
    if len(kept) > 2 * most and ";" in kept[:most]:
        return f"{kept[:most].rpartition(';')[0]}; …"
    for part in parts[1:]:
        if len(kept) + 1 + len(part) > most:
            break
        kept = f"{kept} {part}"
    return kept


def read_answers(folder: Path, sections: Iterable[str]) -> list[Answer]:
    """Findings of tables/findings.json, in its order; none where there is no such file.

    Args:
        folder: results/<study>.
        sections: ids of the page's sections.
    """
    path = folder / "tables" / "findings.json"
    return answers_of(read_json(path) if path.is_file() else [], sections)


def answers_of(entries: Iterable[Mapping[str, Any]], sections: Iterable[str]) -> list[Answer]:
    """Entries of findings.json as the page shows them, in their order.

    Args:
        entries: the entries.
        sections: ids of the page's sections; the first has what belongs to none.
    """
    order = list(sections)
    return [_answer(rank, one, order) for rank, one in enumerate(entries)]


def _answer(rank: int, one: Mapping[str, Any], known: Sequence[str]) -> Answer:
    verdict = one.get("verdict")
    decided = one.get("conclusive", True) if verdict is None else verdict not in ("", "undecided")
    return Answer(
        section=_section(one, known),
        headline=_text(one["headline"]),
        text=_text(one.get("text") or one.get("sentence") or ""),
        conclusive=bool(decided),
        dataset=one.get("dataset"),
        rank=rank,
        leads=bool(one.get("lead", True)),
        caveats=tuple(map(_text, one.get("caveats", ()))),
        primary=_first_row(one).get("family", "primary") == "primary",
    )


def _first_row(one: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row that a finding is about; empty without rows."""
    return next(iter(one.get("evidence", {}).get("rows", ())), {})


def _text(text: Any) -> str:
    """Text without places, and without line breaks in equations and percentages."""
    kept = without_places(str(text))
    return kept.replace(" = ", "\u00a0=\u00a0").replace(" %", "\u00a0%")


def _section(one: Mapping[str, Any], known: Sequence[str]) -> str:
    """Section that a finding names, or that of its question or kind; the first otherwise."""
    kind = str(one.get("kind", ""))
    named = [str(one.get(key) or "") for key in ("section", "question")]
    named += ["kl_off", "beta"] if "point" in named else []
    by_kind = [section for name, section in _SECTIONS.items() if kind.startswith(name)]
    begins = [name for name in sorted(known, key=len, reverse=True) if kind.startswith(name)]
    return next((name for name in [*named, *by_kind, *begins] if name in known), known[0])


def five(answers: Sequence[Answer], order: Sequence[str]) -> list[Answer]:
    """The answer of the first screen: leading findings, one of each section before a second.

    Args:
        answers: all findings.
        order: sections of the page in order.
    """
    leading = sorted((one for one in answers if one.leads), key=_weight)
    seen: dict[str, int] = {}
    turns = []
    for one in leading:
        seen[one.section] = seen.get(one.section, 0) + 1
        turns.append((seen[one.section], *_weight(one)))
    chosen = [one for _, one in sorted(zip(turns, leading, strict=True), key=lambda pair: pair[0])]
    return in_order(chosen[:MOST], order)


def in_order(answers: Iterable[Answer], order: Sequence[str]) -> list[Answer]:
    """Findings by section and rank."""
    return sorted(answers, key=lambda one: (order.index(one.section), one.rank))


@dataclass(frozen=True)
class Rest:
    """What the first screen says of axes that none of its findings is about.

    Attributes:
        brief: a finding of each without its text.
        named: sections of those beyond `MOST_BRIEF`.
        undecided: sections of those without a conclusive finding on a primary metric.
    """

    brief: Sequence[Answer]
    named: Sequence[str]
    undecided: Sequence[str]

    @classmethod
    def of(cls, answers: Iterable[Answer], chosen: Iterable[Answer], asked: Iterable[str]) -> Rest:
        """The rest of the answer.

        Args:
            answers: all findings.
            chosen: those of `five`.
            asked: sections of the axes that are compared, in order.
        """
        told = {one.section for one in chosen if one.conclusive}
        first: dict[str, Answer] = {}
        for one in sorted(answers, key=lambda one: one.rank):
            if one.conclusive and one.primary:
                first.setdefault(one.section, one)
        open_ = [name for name in asked if name not in told]
        found = [first[name] for name in open_ if name in first]
        return cls(
            [replace(one, text="") for one in found[:MOST_BRIEF]],
            [one.section for one in found[MOST_BRIEF:]],
            [name for name in open_ if name not in first],
        )


def _weight(one: Answer) -> tuple[bool, bool, int]:
    return one.section == "trust", not one.conclusive, one.rank


@dataclass(frozen=True)
class Answers:
    """Findings of one section.

    Attributes:
        full: those shown whole.
        folded: those of which the headline is shown.
    """

    full: Sequence[Answer]
    folded: Sequence[Answer]

    @classmethod
    def of(cls, answers: Iterable[Answer]) -> Answers:
        """The first finding and another that leads are shown whole."""
        own = sorted(answers, key=lambda one: (not one.leads, not one.conclusive, one.rank))
        whole = max(1, sum(one.leads for one in own[:MOST_WHOLE]))
        return cls(own[:whole], own[whole:MOST_FOLDED])

    @property
    def caveats(self) -> list[tuple[Answer, list[str]]]:
        """Caveats of each data set, with the first finding on it."""
        by_dataset: dict[str | None, list[Answer]] = {}
        for one in (*self.full, *self.folded):
            by_dataset.setdefault(one.dataset, []).append(one)
        each = [(own[0], _caveats(own)) for own in by_dataset.values()]
        return [(first, lines) for first, lines in each if lines]


def _caveats(shown: Iterable[Answer]) -> list[str]:
    """Every caveat once, in order; those that begin alike become one sentence."""
    texts = dict.fromkeys(text for one in shown for text in one.caveats)
    subjects: dict[str, list[str]] = {}
    for text in texts:
        rule, colon, names = text.partition(": ")
        kept = subjects.setdefault(rule + colon, [])
        kept += [] if names.rstrip(".") in kept else [names.rstrip(".")]
    return [_sentence(rule, names) for rule, names in subjects.items()]


def _sentence(rule: str, names: Sequence[str]) -> str:
    """A rule with what it holds for; a sentence of its own where it names nothing."""
    if not names[0]:
        return rule
    parts = list(
        dict.fromkeys(
            part for name in names for part in re.split(r", (?=the )| and (?=the )", name)
        )
    )
    return f"{rule}{words.join(parts)}."
