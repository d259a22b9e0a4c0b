"""Numbers, lists and names as words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from math import floor, isfinite, log10

from vae_ablation.study.names import PROPER_NAMES as PROPER_NAMES
from vae_ablation.study.names import likelihood as likelihood

DIGITS = 3
"""Significant digits of a number, where its interval does not call for more."""


def number(value: float) -> str:
    """A number in three significant digits: `0.0123`, `12.3`, `1234`, `−3`."""
    is_whole = isfinite(value) and value == round(value) and abs(value) < 1e6
    return fixed(value, 0 if is_whole else decimals(abs(value)))


def decimals(size: float) -> int:
    """Decimals that show three significant digits of a size."""
    return max(0, DIGITS - 1 - floor(log10(size))) if size > 0 else 0


def fixed(value: float, places: int) -> str:
    """Fixed decimals; powers of ten for sizes that fixed decimals cannot show."""
    if not isfinite(value):
        raise ValueError(f"{value} is not a finite number")
    if places > DIGITS + 3 or abs(value) >= 1e6:
        mantissa, exponent = f"{value:.{DIGITS - 1}e}".split("e")
        return f"{mantissa}e{int(exponent)}".replace("-", "−")
    text = f"{value:.{places}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def interval_decimals(
    mean: float, low: float | None, high: float | None, *, none: float = 0.0
) -> int:
    """Decimals of a mean and its interval, by the first digit of the half-width.

    One more where that digit is 1, and as many as show that the interval excludes `none`, the
    value of no difference; without an interval three significant digits of the mean.
    """
    if low is None or high is None or high <= low:
        return decimals(abs(mean))
    half = (high - low) / 2
    first = floor(log10(half))
    near = min(abs(low - none), abs(high - none)) if (low - none) * (high - none) > 0 else half
    needed = -floor(log10(2 * near))
    return max(0, -first + (half / 10**first < 2), needed)


def join(parts: Iterable[str], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    words = list(parts)
    return f" {last} ".join(part for part in [", ".join(words[:-1]), *words[-1:]] if part)


def few(parts: Sequence[str], most: int = 3) -> str:
    """The first `most` parts of a list and the number of the others."""
    shown = list(parts[:most])
    rest = len(parts) - len(shown)
    return join([*shown, f"{rest} more"] if rest else shown)


MOST_NAMED = 9
"""Names up to which a list is whole in a sentence."""


def abridged(names: Sequence[str], joined: Callable[[Sequence[str]], str] = join) -> str:
    """A list of names; of a long one the first ones, the last, and how many there are in all."""
    if len(names) <= MOST_NAMED:
        return joined(names)
    return f"{', '.join(names[: MOST_NAMED - 1])}, … {names[-1]}; {len(names)} in all"


def proper(text: str) -> str:
    """A text in which likelihoods have their proper names."""
    for name in sorted(PROPER_NAMES, key=len, reverse=True):
        text = text.replace(name, PROPER_NAMES[name])
    return text


def the(name: str) -> str:
    """A likelihood as a noun in a sentence: `the Gaussian`."""
    return f"the {likelihood(name)}"


def measure(text: str) -> str:
    """A base measure in plain words: `grey17/mass-equal` is `mass over 17 grey levels (equal
    cells)`.
    """
    space, _, kind = text.partition("/")
    kind, _, cells = kind.partition("-")
    if kind == "cross":
        return f"cross-entropy over {'intensities' if space == 'grey' else space}"
    edges = f" ({cells} cells)" if cells == "equal" else " (outer cells open)" if cells else ""
    levels = space.removeprefix("grey")
    if levels.isdigit() and levels != space:
        return f"{kind} over {levels} grey levels{edges}"
    if not kind:
        return text
    spaces = {
        "grey": "intensities",
        "binary": "binary pixels",
        "standardised": "standardised values",
    }
    kind, given, known = kind.partition(" given ")
    return f"{kind} over {spaces.get(space, space)}{given}{known}{edges}"


def count(n: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{n} {noun}{'' if n == 1 else 's'}"


def does(noun: str) -> str:
    """`does`, or `do` after a plural: `learning rate`, `epochs of KL warm-up`."""
    head = re.split(r" (?:of|from|per|on) ", noun)[0]
    return "do" if re.search(r"[^s]s$", head) else "does"


def capital(text: str) -> str:
    """Text with a capital first letter; symbols and names such as `β` and `iLISI` stay."""
    return text[:1].upper() + text[1:] if re.match(r"[a-z]+(?![A-Za-z0-9_])", text) else text
