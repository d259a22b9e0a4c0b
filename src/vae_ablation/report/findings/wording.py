"""Verdicts in words: what changed, by how much, at which level, in which settings."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp

from vae_ablation.report.findings import words
from vae_ablation.report.findings.evidence import Row
from vae_ablation.report.findings.quotes import Part, Phrase, Quote, join, phrase, say
from vae_ablation.study.axes import axis_of
from vae_ablation.study.metrics import Metric
from vae_ablation.tables.verdicts import ALPHA

SPECIAL = {
    "kl_off": "without the KL term",
    "least_beta": "without the KL term",
    "point": "in a deterministic autoencoder",
}
"""Questions that set one kind of arm against a level of β."""

SMALL = 0.1
"""Ratio below which it is told in percent."""
_PLURAL = ("units", "samples", "nats")
_SPOKEN = {
    "posterior_std": "posterior standard deviation",
    "sample_fid_expost": "ex-post Fréchet distance",
}
"""Metrics whose labels are made for axes of figures."""


def subject(metric: Metric) -> str:
    """A metric as the subject of a sentence: `the NLL`, `the number of active units`."""
    label = _SPOKEN.get(metric.name, metric.label)
    plural = label.split(" of ")[0].endswith(_PLURAL)
    return f"the number of {label}" if plural else f"the {label}"


def at_level(question: str, level: str, quote: Quote | None = None) -> Phrase:
    """A level within a sentence: `at β = 4`, `with conv`, `without conditioning`.

    Args:
        question: an axis, or a key of `SPECIAL`.
        level: as text.
        quote: the level where its text holds a number.
    """
    if question in SPECIAL:
        return phrase(SPECIAL[question])
    axis = axis_of(question)
    if question == "model":
        text = "with the VAE" if level == "vae" else f"with {level}"
    elif question == "beta":
        text = f"at β = {level}"
    elif question == "likelihood":
        text = f"with {words.the(level)}"
    elif level == "none":
        text = f"without {axis.label}"
    elif axis.ordered and not axis.words:
        text = f"at {axis.label} {level}"
    else:
        described = axis.described(level)
        text = f"{'when' if described.startswith('conditioned') else 'with'} {described}"
    return _quoted(text, level, quote)


def _quoted(text: str, level: str, quote: Quote | None) -> Phrase:
    """The text with the level in it as a quote."""
    before, found, after = text.rpartition(level)
    if quote is None or not found or not any(letter.isdigit() for letter in level):
        return phrase(text)
    return Phrase(tuple(part for part in (before, quote, after) if part))


def at(row: Row) -> Phrase:
    """The compared level of a row: `at β = 4`."""
    return at_level(row.question, row.level, row.quote("level", row.level))


def at_reference(row: Row) -> Phrase:
    """The reference level of a row: `at β = 1`."""
    question = "beta" if row.question in SPECIAL else row.question
    return at_level(question, row.reference, row.quote("reference", row.reference))


def bare(level: Phrase) -> Phrase:
    """A level without its preposition: `β = 1`, `conv`, `no conditioning`."""
    head = str(level.parts[0]) if level.parts else ""
    cut = head.removeprefix("at ").removeprefix("with ").removeprefix("when ")
    cut = f"no {head.removeprefix('without ')}" if head.startswith("without ") else cut
    return Phrase(tuple(part for part in (cut, *level.parts[1:]) if part))


def place(row: Row) -> Phrase:
    """The settings of a row that pools over some: `with the Gaussian`, `at latent dimension 2`."""
    axis, _, level = row.scope.partition("=")
    return at_level(axis, level, row.quote(axis, level)) if level else Phrase()


def level_list(rows: Sequence[Row]) -> Phrase:
    """Levels of several rows: `at β = 4 and 16`, `with conv and with linear`."""
    each = [at(row) for row in rows]
    before = {str(one.parts[0]) for one in each if len(one.parts) == 2}
    if len(each) < 2 or len(before) != 1 or any(len(one.parts) != 2 for one in each):
        return join(each)
    return join([each[0], *(Phrase(one.parts[1:]) for one in each[1:])])


def held(row: Row) -> Phrase:
    """The level of β at which a question about another axis is asked: `, at β = 1`."""
    if row.question in SPECIAL or row.question == "beta" or row.number("beta") is None:
        return Phrase()
    level = f"{row.number('beta'):g}"
    return say(", {at}", at=at_level("beta", level, row.quote("beta", level)))


def base(*rows: Row) -> Phrase:
    """Seeds and settings of rows: `3 seeds in each of 9 settings`, or ranges of both."""
    seeds, settings = (_span(rows, column) for column in ("n", "settings"))
    if str(settings) == "1":
        return say("{n} {what} in {s} setting", n=seeds, s=settings, what=rows[0].replicates)
    return say("{n} {what} in each of {s} settings", n=seeds, s=settings, what=rows[0].replicates)


def _span(rows: Sequence[Row], column: str) -> Phrase:
    """The smallest and largest value of a column: `3`, `2 to 3`."""
    known = sorted(rows, key=lambda row: row.number(column) or 0)
    low, high = (row.quote(column, f"{row.number(column) or 0:g}") for row in (known[0], known[-1]))
    return span(low, high)


def difference(row: Row) -> Phrase:
    """An effect with its interval, its sign in words: `higher by 7.2 nats (5.1 to 9.3)`."""
    effect = row.number("effect")
    if effect is None:
        return phrase("different")
    if row.scale == "log":
        return _ratio(row, effect)
    sign = -1.0 if effect < 0 else 1.0
    return say("{way} by {size}", way="lower" if effect < 0 else "higher",
               size=_amount(row, sign))  # fmt: skip


def signed(row: Row) -> Phrase:
    """An effect with its interval as a number: `−0.1 nats (−0.5 to 0.3)`, `a factor of 1.02`."""
    if row.number("effect") is None:
        return phrase("not defined")
    return _ratio(row, None) if row.scale == "log" else _amount(row, 1.0)


def ratio(row: Row) -> Phrase:
    """A ratio with its interval: `0.91 (0.77 to 1.07)`."""
    return _numbers(row, 1.0, "", "")


def _ratio(row: Row, effect: float | None) -> Phrase:
    """`3.5 times as large (2.1 to 5.9)`, `1.1 % as large (0.9 % to 1.3 %)`, `a factor of …`."""
    if effect is None:
        return say("a factor of {size}", size=ratio(row))
    if effect < SMALL:
        return _numbers(row, 100.0, " %", " as large")
    return _numbers(row, 1.0, "", " times as large")


def _amount(row: Row, sign: float) -> Phrase:
    times, unit = shown_in(row.scale, row.metric)
    return _numbers(row, sign * times, "", unit)


def shown_in(scale: str, metric: Metric) -> tuple[float, str]:
    """Factor and unit in which effects on a scale are shown: shares in percentage points."""
    if scale == "arcsine":
        return 100.0, " percentage points"
    return 1.0, "" if scale == "log" else metric.suffix


def _numbers(row: Row, times: float, mark: str, unit: str) -> Phrase:
    """The effect, a unit after it, and the ends of its interval, all times a factor."""
    ends = ("effect_low", "effect_high") if times > 0 else ("effect_high", "effect_low")
    mean, low, high = (_times(row.number(name), times) for name in ("effect", *ends))
    if mean is None:
        return Phrase()
    none = abs(times) if row.scale == "log" else 0.0
    places = words.interval_decimals(mean, low, high, none=none)

    def quote(column: str, value: float) -> Quote:
        return row.quote(column, words.fixed(value, places), times)

    head = say("{mean}{mark}{unit}", mean=quote("effect", mean), mark=mark, unit=unit)
    if low is None or high is None:
        return head
    return say(
        "{head} ({low}{mark} to {high}{mark})",
        head=head, low=quote(ends[0], low), high=quote(ends[1], high), mark=mark,
    )  # fmt: skip


def _times(value: float | None, times: float) -> float | None:
    return None if value is None else value * times


def margin(row: Row) -> Phrase:
    """The margin of a row: `the margin of 0.5 nats`, `the margin of a factor of 1.05`."""
    value = row.number("margin")
    if value is None or row.scale == "arcsine":
        return phrase("the margin")
    if row.scale == "log":
        factor = exp(value)
        return say("the margin, a factor of {m}",
                   m=row.quote("margin", words.number(factor), scale="exp"))  # fmt: skip
    return say("the margin of {m}{unit}", m=row.quote("margin", words.number(value)),
               unit=row.metric.suffix)  # fmt: skip


def outcome(row: Row, parts: Sequence[Row] = ()) -> Phrase:
    """A verdict as a predicate: `is higher by 7.2 nats (5.1 to 9.3)`, `is equivalent: …`.

    Args:
        row: the pooled row.
        parts: rows of the levels of the axis on which the verdict depends.
    """
    if alike(row):
        return _alike(row)
    if row.verdict == "equivalent":
        return say("is equivalent: the difference, {size}, lies within {margin}",
                   size=signed(row), margin=margin(row))  # fmt: skip
    if row.verdict == "depends":
        axis = axis_of(str(row.cells.get("depends_on", ""))).label
        each = [say("{at} it {is_}", at=place(one), is_=outcome(one)) for one in parts]
        return say("depends on the {axis}: {each}", axis=axis, each=semicolons(each))
    if row.differs:
        small = ", less than the last tenth of training still added"
        return say("is {size}{small}", size=difference(row),
                   small=small if row.below_drift else "")  # fmt: skip
    return say("is undecided{why}: the difference is {size}", size=signed(row),
               why=" after adjustment" if _one_sided(row) else "")  # fmt: skip


def alike(row: Row) -> bool:
    """True where arm and reference are equal in every pair, which shows no spread."""
    return (row.number("n") or 0) > 1 and row.number("estimate") == 0 and not row.bounded


def _alike(row: Row) -> Phrase:
    """`is the same in every seed of every setting, which shows no spread, so it is undecided`."""
    rounded = say("as a rounded number it is equivalent within {margin}", margin=margin(row))
    return say("is the same in every {one}{settings}, which shows no spread: {verdict}",
               one=row.replicates.removesuffix("s"),
               settings=" of every setting" if (row.number("settings") or 1) > 1 else "",
               verdict=rounded if row.verdict == "equivalent" else "it stays undecided",
               )  # fmt: skip


def uneven(row: Row, settings: Sequence[Row]) -> bool:
    """Whether the settings of a pooled difference differ in it, by the F test at 5 %.

    Not where the verdict itself depends on an axis.
    """
    p = row.number("heterogeneity_p")
    known = [one for one in settings if one.number("effect") is not None]
    pooled = row.differs and row.verdict != "depends"
    return pooled and p is not None and p <= ALPHA and len(known) > 1


def on_average(row: Row, settings: Sequence[Row]) -> bool:
    """Whether a pooled difference holds on average only.

    Settings differ, and in one of them the estimate lies within the margin or on the other side.
    """
    mean, bar = row.number("estimate"), row.number("margin") or 0.0
    if mean is None or not uneven(row, settings):
        return False
    sign = 1.0 if mean > 0 else -1.0
    return any(sign * (one.number("estimate") or 0.0) <= bar for one in settings)


def spread(row: Row, settings: Sequence[Row], axes: Sequence[str] = ()) -> Phrase:
    """The smallest and the largest difference of single settings, where they differ.

    `, with differences from −0.2 to 27.0 nats in single settings`.

    Args:
        row: a pooled row.
        settings: its settings.
        axes: axes whose levels name the two settings; without them only the differences.
    """
    if not uneven(row, settings):
        return Phrase()
    known = [one for one in settings if one.number("effect") is not None]
    ends = sorted(known, key=lambda one: one.number("effect") or 0.0)
    times, unit = _shown(row)
    low, high = (_alone(one, axes, times, unit) for one in (ends[0], ends[-1]))
    what = "factors from " if row.scale == "log" else "differences from "
    return say(", with {what}{low} to {high}{unit} in single settings", low=low, high=high,
               what="" if unit == " %" else what, unit="" if axes else unit)  # fmt: skip


def _shown(row: Row) -> tuple[float, str]:
    """Factor and unit of a row's effect, as `difference` has them: small ratios in percent."""
    small = row.scale == "log" and (row.number("effect") or 1.0) < SMALL
    return (100.0, " %") if small else shown_in(row.scale, row.metric)


def _alone(row: Row, axes: Sequence[str], times: float, unit: str) -> Phrase:
    """An effect without its interval; with axes the unit and the setting: `27 nats with …`."""
    mean, *ends = (_times(row.number(name), times)
                   for name in ("effect", "effect_low", "effect_high"))  # fmt: skip
    none = 1.0 if row.scale == "log" else 0.0
    places = words.interval_decimals(mean or 0.0, *ends, none=none)
    number = row.quote("effect", words.fixed(mean or 0.0, places), times)
    if not axes:
        return phrase(number)
    return say("{mean}{unit} {where}", mean=number, unit=unit, where=setting(row, axes))


def setting(row: Row, axes: Sequence[str]) -> Phrase:
    """A single setting by its levels: `with the Gaussian at latent dimension 2`."""
    parts = [
        at_level(axis, row.where_text(axis), row.quote(axis, row.where_text(axis)))
        for axis in axes
        if axis in row.cells
    ]
    return join(parts, " ", " ")


def _one_sided(row: Row) -> bool:
    """Whether the interval excludes no difference, which the adjusted p does not."""
    low, high = row.number("ci_low"), row.number("ci_high")
    return low is not None and high is not None and (low > 0 or high < 0)


def span(low: Part, high: Part) -> Phrase:
    """`2 to 3`, or `3` where both read the same."""
    return phrase(low) if str(low) == str(high) else say("{a} to {b}", a=low, b=high)


def semicolons(parts: Sequence[Part]) -> Phrase:
    """Parts with semicolons between them."""
    found: list[str | Quote] = []
    for i, part in enumerate(parts):
        found += ["; "] if i else []
        found += phrase(part).parts
    return Phrase(tuple(found))
