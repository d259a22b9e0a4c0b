"""Findings as the page shows them: which section each belongs to, and the answer in five."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vae_ablation.common.files import read_json
from vae_ablation.report.page.values import scrubbed

MOST = 5
"""Findings on the first screen."""
LONGEST = 330
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
        where: level of an axis by its name, where it is about one level.
    """

    section: str
    headline: str
    text: str
    conclusive: bool = True
    dataset: str | None = None
    rank: int = 0
    where: Mapping[str, str] = field(default_factory=dict)

    @property
    def lead(self) -> str:
        """The first sentences, as many as fit on the first screen."""
        return first_sentences(self.text, LONGEST)


def first_sentences(text: str, most: int) -> str:
    """Whole sentences from the beginning, at least one, within `most` characters if more."""
    parts = re.split(r"(?<=[.!?;]) +(?=[A-ZΑ-Ωβ“])", text)
    kept = parts[0]
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
    found = scrubbed(read_json(path)) if path.is_file() else []
    known = set(sections)
    return [_answer(rank, one, known) for rank, one in enumerate(found)]


def _answer(rank: int, one: Mapping[str, Any], known: set[str]) -> Answer:
    where = {"likelihood": one["likelihood"]} if one.get("likelihood") else {}
    return Answer(
        section=_section(one, known),
        headline=str(one["headline"]),
        text=str(one.get("text") or one.get("sentence") or ""),
        conclusive=bool(one.get("conclusive", True)),
        dataset=one.get("dataset"),
        rank=rank,
        where=where,
    )


def _section(one: Mapping[str, Any], known: set[str]) -> str:
    """Section that a finding names, or that of its question or kind; the map otherwise."""
    kind = str(one.get("kind", ""))
    named = [str(one.get(key) or "") for key in ("section", "question")]
    by_kind = [section for name, section in _SECTIONS.items() if kind.startswith(name)]
    begins = [name for name in sorted(known, key=len, reverse=True) if kind.startswith(name)]
    return next((name for name in [*named, *by_kind, *begins] if name in known), "map")


def five(answers: Sequence[Answer], order: Sequence[str]) -> list[Answer]:
    """The answer of the first screen: one finding of each section, conclusive ones first.

    Args:
        answers: all findings.
        order: sections of the page in order.
    """
    best = {
        section: min(own, key=_weight)
        for section in order
        if (own := [one for one in answers if one.section == section])
    }
    chosen = sorted(best.values(), key=lambda one: (not one.conclusive, one.rank))[:MOST]
    if "trust" in best and best["trust"] not in chosen and len(chosen) == MOST:
        chosen[-1] = best["trust"]
    return sorted(chosen, key=lambda one: order.index(one.section))


def _weight(one: Answer) -> tuple[bool, int]:
    return not one.conclusive, one.rank
