"""Single settings that part from what is said of all of them together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vae_ablation.report.findings.evidence import Evidence, Row
from vae_ablation.report.findings.quotes import Phrase, Quote, join, say
from vae_ablation.report.findings.wording import (
    at,
    place,
    semicolons,
    setting,
    subject,
    uneven,
)

MOST_NAMED = 3
"""Settings of one verdict that are named; of more only their number is given."""


def apart(evidence: Evidence, rows: Iterable[Row]) -> Phrase:
    """Sentence on the settings whose verdict is another than that of their pooled row.

    `In single settings, by their own intervals, the MSE is worse with the Gaussian.`

    Args:
        evidence: the tables.
        rows: of a finding; those that pool over settings are gone through, by metric and level,
            and those within levels where the verdict depends on an axis.
    """
    units = [one for row in _pooled(rows) for one in _units(evidence, row)]
    levels = len({(row.question, row.level) for row in units}) > 1
    parting = [(row, groups) for row in units if (groups := _groups(evidence, row, not levels))]
    if not parting:
        return Phrase()
    each, last = [], ""
    for row, groups in parting:
        metric = subject(row.metric)
        where = join([at(row) if levels else "", place(row)], " ", " ")
        each.append(say("{where}{gap}{it} is {groups}", where=where, gap=" " if where else "",
                        it="it" if metric == last else metric, groups=join(groups)))  # fmt: skip
        last = metric
    return say("In single settings, by their own intervals, {each}.", each=semicolons(each))


def _pooled(rows: Iterable[Row]) -> list[Row]:
    """Rows over all settings, each once, by metric in their order and by level."""
    known = {(row.question, row.metric.name, row.level): row
             for row in rows if row.scope == "pooled"}  # fmt: skip
    metrics = list(dict.fromkeys(row.metric.name for row in known.values()))
    return sorted(known.values(), key=lambda row: (metrics.index(row.metric.name), row.key))


def _units(evidence: Evidence, row: Row) -> Sequence[Row]:
    return evidence.within(row) if row.verdict == "depends" else [row]


def _groups(evidence: Evidence, row: Row, alone: bool) -> list[Phrase]:
    """The verdicts of settings that part from that of a row, each with its settings.

    Args:
        evidence: the tables.
        row: the row.
        alone: whether its level is the only one: then settings without a clear difference part
            from it as well, where the F test finds that settings differ.
    """
    settings = evidence.settings(row)
    if len(settings) < 2:
        return []
    axes = evidence.varying(settings)
    found: dict[str, list[Row]] = {}
    for one in settings:
        open_ = alone and one.verdict == "undecided" and uneven(row, settings)
        equal = one.verdict == "equivalent" and row.differs
        if one.verdict != row.verdict and (one.differs or equal or open_):
            found.setdefault(one.verdict, []).append(one)
    return [say("{verdict} {where}", verdict=verdict, where=_places(row, own, settings, axes))
            for verdict, own in found.items()]  # fmt: skip


def _places(row: Row, own: Sequence[Row], settings: Sequence[Row], axes: Sequence[str]) -> Phrase:
    """Settings by name; of many their number."""
    if axes and len(own) <= MOST_NAMED:
        return _named(own, axes)
    where = {name: value for name, value in row.where.items() if value is not None}
    where |= {"scope": "setting"}
    n, every = (Quote(f"{len(rows)}", len(rows), "contrasts", "", where | more, "rows")
                for rows, more in ((own, {"verdict": own[0].verdict}), (settings, {})))  # fmt: skip
    return say("in {n} of {every} settings", n=n, every=every)


def _named(own: Sequence[Row], axes: Sequence[str]) -> Phrase:
    """Names of settings, those of one level of the last axis together.

    `with the Gaussian and with the Poisson at latent dimension 2`
    """
    *others, last = axes
    levels: dict[str, list[Row]] = {}
    for one in own:
        levels.setdefault(one.where_text(last), []).append(one)
    return join(
        join([join(setting(one, others) for one in same), setting(same[0], [last])], " ", " ")
        for same in levels.values()
    )
