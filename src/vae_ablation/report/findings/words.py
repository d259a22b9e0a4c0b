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
    """Name of a column in a sentence."""
    return described(metric).label


def unit(metric: str) -> str:
    """Unit of a column after a number, with a space before it; empty without one."""
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
        raise ValueError(f"{value} is not a finite number")
    if decimals > DIGITS + 3 or abs(value) >= 1e6:
        mantissa, exponent = f"{value:.{DIGITS - 1}e}".split("e")
        return f"{mantissa}e{int(exponent)}".replace("-", "−")
    text = f"{value:.{decimals}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def _shared_decimals(value: Estimate) -> int:
    """Decimals of a mean and its interval: three digits, one more where the interval is narrow."""
    low, high = value.low, value.high
    if low is None or high is None:
        return _decimals(abs(value.mean))
    decimals = _decimals(max(abs(value.mean), abs(low), abs(high)))
    half = (high - low) / 2
    return max(decimals, min(_decimals(half) - 1, decimals + 1)) if half > 0 else decimals


def estimate(value: Estimate, unit: str = "", note: str = "") -> str:
    """`12.3 nats (95 % interval 11.0 to 13.6, n = 3)`, or `(one seed, no interval)`.

    Args:
        value: mean and interval.
        unit: after the mean.
        note: last words in the brackets.
    """
    decimals = _shared_decimals(value)
    mean = number(value.mean) if value.low == value.high else _fixed(value.mean, decimals)
    tail = f"; {note}" if note else ""
    return f"{mean}{unit} ({_spread(value, decimals)}{tail})"


def _spread(value: Estimate, decimals: int) -> str:
    if value.low is None or value.high is None:
        return "one seed, no interval"
    if value.low == value.high:
        return f"the same in all {value.n} seeds"
    ends = f"{_fixed(value.low, decimals)} to {_fixed(value.high, decimals)}"
    return f"95 % interval {ends}, n = {value.n}"


def join(parts: Iterable[str], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    words = list(parts)
    return f" {last} ".join(part for part in [", ".join(words[:-1]), *words[-1:]] if part)


def few(parts: Sequence[str], most: int = 3) -> str:
    """The first `most` parts of a list and the number of the others."""
    shown = list(parts[:most])
    rest = len(parts) - len(shown)
    return join([*shown, f"{rest} more"] if rest else shown)


PROPER_NAMES = {
    "bernoulli": "Bernoulli",
    "continuous_bernoulli": "continuous Bernoulli",
    "discretized_logistic": "discretised logistic",
    "gaussian": "Gaussian",
    "laplace": "Laplace",
    "log_normal_gaussian": "log-normal Gaussian",
    "negative_binomial": "negative binomial",
    "poisson": "Poisson",
    "student_t": "Student-t",
    "zero_inflated_negative_binomial": "zero-inflated negative binomial",
}
"""Likelihoods whose names are words of the language; others are written as they are called."""


def likelihood(name: str) -> str:
    """Proper name of a likelihood: `Gaussian`, `discretised logistic`."""
    return PROPER_NAMES.get(name, plain(name))


def the(name: str) -> str:
    """A likelihood as a noun in a sentence: `the Gaussian`."""
    return f"the {likelihood(name)}" if name in PROPER_NAMES else plain(name)


def measure(text: str) -> str:
    """A base measure in plain words: `grey17/mass` is `mass over 17 grey levels`."""
    space, _, kind = text.partition("/")
    levels = space.removeprefix("grey")
    if levels.isdigit() and levels != space:
        return f"{kind} over {levels} grey levels"
    if not kind:
        return text
    spaces = {
        "grey": "intensities",
        "binary": "binary pixels",
        "standardised": "standardised values",
    }
    kind, given, known = kind.partition(" given ")
    return f"{kind} over {spaces.get(space, space)}{given}{known}"


def setting(key: tuple[str, str]) -> str:
    """A likelihood, with the variant in brackets where it has one."""
    variant = key[1].strip("-_ ")
    return likelihood(key[0]) + (f" ({variant})" if variant else "")


def the_setting(key: tuple[str, str]) -> str:
    """A likelihood and its variant as a noun in a sentence: `the Gaussian (conv)`."""
    return f"the {setting(key)}" if key[0] in PROPER_NAMES else setting(key)


def arm(cell: Cell) -> str:
    """`β = 1 at latent dimension 16`."""
    return f"{cell.arm.label} at latent dimension {cell.latent_dim}"


def place(cell: Cell) -> str:
    """Likelihood and latent dimension of a comparison: `Gaussian, latent dimension 16`."""
    return f"{setting(cell.setting)}, latent dimension {cell.latent_dim}"


def whole(cell: Cell) -> str:
    """`the Gaussian with β = 1 at latent dimension 16`."""
    return f"{the(cell.likelihood)} with {arm(cell)}"


def count(n: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{n} {noun}{'' if n == 1 else 's'}"


def capital(text: str) -> str:
    """Text with a capital first letter; a Greek letter is a symbol and stays as it is."""
    return (text[:1].upper() if text[:1].isascii() else text[:1]) + text[1:]
