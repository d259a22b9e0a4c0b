"""Sentences that carry their numbers: each number keeps the table, row and column it stands in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from string import Formatter
from typing import Any, Literal

How = Literal["cell", "rows", "min", "max", "mean", "low", "high"]
Scale = Literal["identity", "exp"]


@dataclass(frozen=True)
class Quote:
    """A number, or a text with a number in it, as a sentence shows it.

    Attributes:
        text: as shown.
        value: as the table has it; of `rows`, their number.
        table: the table's name, without `.csv`.
        column: the column; empty for `rows`.
        where: cells that name the row, or the rows that are counted or searched; None: empty.
        how: the only cell; the number of rows; the smallest or largest value in the rows; or the
            mean over seeds and the ends of its 95 % Student-t interval.
        times: factor from the value to the number shown: 100 for percentages, −1 for a fall.
        scale: `exp` where the exponential of the value is shown.
        against: cells of rows that are subtracted first, seed by seed.
    """

    text: str
    value: Any
    table: str
    column: str
    where: Mapping[str, Any] = field(default_factory=dict)
    how: How = "cell"
    times: float = 1.0
    scale: Scale = "identity"
    against: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Phrase:
    """Part of a sentence: text and quotes in order."""

    parts: tuple[str | Quote, ...] = ()

    def __str__(self) -> str:
        return "".join(map(str, self.parts))

    def __bool__(self) -> bool:
        return bool(self.parts)

    @property
    def quotes(self) -> list[Quote]:
        """The numbers of the phrase, in order."""
        return [part for part in self.parts if isinstance(part, Quote)]

    @property
    def numbers(self) -> list[dict[str, Any]]:
        """The numbers as JSON."""
        return [asdict(quote) for quote in self.quotes]

    def capital(self) -> Phrase:
        """The phrase with a capital first letter, unless a number or a symbol comes first."""
        first = self.parts[0] if self.parts else ""
        if not isinstance(first, str) or not first[:1].isascii():
            return self
        return Phrase((first[:1].upper() + first[1:], *self.parts[1:]))


Part = str | Quote | Phrase


def say(template: str, **parts: Part) -> Phrase:
    """A phrase from a template: `say("{change} at {level}", change=…, level=…)`."""

    def pieces() -> Iterator[str | Quote]:
        for text, name, *_ in Formatter().parse(template):
            if text:
                yield text
            if name is not None:
                yield from phrase(parts[name]).parts

    return Phrase(tuple(_merged(pieces())))


def phrase(part: Part) -> Phrase:
    """A part of a sentence as a phrase."""
    if isinstance(part, Phrase):
        return part
    return Phrase((part,)) if part else Phrase()


def join(parts: Iterable[Part], last: str = " and ", between: str = ", ") -> Phrase:
    """`a`, `a and b`, `a, b and c`."""
    known = [found for part in parts if (found := phrase(part))]
    pieces: list[str | Quote] = []
    for i, one in enumerate(known):
        if i:
            pieces.append(last if i == len(known) - 1 else between)
        pieces += one.parts
    return Phrase(tuple(_merged(pieces)))


def text_of(parts: Iterable[Part]) -> Phrase:
    """Sentences one after another."""
    return join(parts, " ", " ")


def _merged(pieces: Iterable[str | Quote]) -> Iterator[str | Quote]:
    """The pieces with neighbouring texts as one."""
    held = ""
    for piece in pieces:
        if isinstance(piece, str):
            held += piece
            continue
        if held:
            yield held
        held = ""
        yield piece
    if held:
        yield held
