"""Numbers, intervals and arms as words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import floor, isfinite, log10

from vae_ablation.report.figures.style import plain
from vae_ablation.report.findings.evidence import Cell, Estimate
from vae_ablation.study.metrics import described

DIGITS = 3
"""Significant digits of a number, where its interval does not call for more."""


def metric_name(metric: str) -> str:
    """A column's name in a sentence."""
    return described(metric).label


def unit(metric: str) -> str:
    """The unit behind a number, with a space before it; empty where there is none."""
    return described(metric).suffix


def number(value: float) -> str:
    """A number in three significant digits: `0.0123`, `12.3`, `1234`, `−3`."""
    is_whole = isfinite(value) and value == round(value) and abs(value) < 1e6
    return _fixed(value, 0 if is_whole else _decimals(abs(value)))


def _decimals(size: float) -> int:
    return max(0, DIGITS - 1 - floor(log10(size))) if size > 0 else 0


def _fixed(value: float, decimals: int) -> str:
    """Fixed decimals; powers of ten for sizes that fixed decimals cannot show."""
    if not isfinite(value):
        raise ValueError(f"{value} is no number for a sentence")
    if decimals > DIGITS + 3 or abs(value) >= 1e6:
        mantissa, exponent = f"{value:.{DIGITS - 1}e}".split("e")
        return f"{mantissa}e{int(exponent)}".replace("-", "−")
    text = f"{value:.{decimals}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def _shared_decimals(found: Estimate) -> int:
    """Decimals of a mean and its interval: three digits, one more where the interval is narrow."""
    low, high = found.low, found.high
    if low is None or high is None:
        return _decimals(abs(found.mean))
    decimals = _decimals(max(abs(found.mean), abs(low), abs(high)))
    half = (high - low) / 2
    return max(decimals, min(_decimals(half) - 1, decimals + 1)) if half > 0 else decimals


def estimate(found: Estimate, unit: str = "", note: str = "") -> str:
    """`12.3 nats (95 % interval 11.0 to 13.6, n = 3)`; with one seed it says so.

    Args:
        found: mean and interval.
        unit: behind the mean.
        note: last words within the brackets.
    """
    decimals = _shared_decimals(found)
    mean = number(found.mean) if found.low == found.high else _fixed(found.mean, decimals)
    tail = f"; {note}" if note else ""
    return f"{mean}{unit} ({_spread(found, decimals)}{tail})"


def _spread(found: Estimate, decimals: int) -> str:
    if found.low is None or found.high is None:
        return "one seed, no interval"
    if found.low == found.high:
        return f"the same in all {found.n} seeds"
    ends = f"{_fixed(found.low, decimals)} to {_fixed(found.high, decimals)}"
    return f"95 % interval {ends}, n = {found.n}"


def join(parts: Iterable[str], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    words = list(parts)
    return f" {last} ".join(part for part in [", ".join(words[:-1]), *words[-1:]] if part)


def few(parts: Sequence[str], most: int = 3) -> str:
    """A list cut after `most`, saying how many more there are."""
    shown = list(parts[:most])
    rest = len(parts) - len(shown)
    return join([*shown, f"{rest} more"] if rest else shown)


def setting(found: tuple[str, str]) -> str:
    """A likelihood, with the variant in brackets where it has one."""
    variant = found[1].strip("-_ ")
    return plain(found[0]) + (f" ({variant})" if variant else "")


def arm(cell: Cell) -> str:
    """`β = 1 at latent dimension 16`."""
    return f"{cell.arm.label} at latent dimension {cell.latent_dim}"


def place(cell: Cell) -> str:
    """Where a comparison of arms was made: `gaussian, latent dimension 16`."""
    return f"{setting(cell.setting)}, latent dimension {cell.latent_dim}"


def whole(cell: Cell) -> str:
    """Likelihood, arm and latent dimension."""
    return f"{plain(cell.likelihood)} with {arm(cell)}"


def count(n: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{n} {noun}{'' if n == 1 else 's'}"


def capital(text: str) -> str:
    """The first letter as a capital, as a sentence begins; a Greek letter is a symbol and stays."""
    return (text[:1].upper() if text[:1].isascii() else text[:1]) + text[1:]
