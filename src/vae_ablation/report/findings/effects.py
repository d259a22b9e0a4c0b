"""One finding for each question and metric of contrasts.csv, whatever the axis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from vae_ablation.report.findings.dimensions import by_dimension
from vae_ablation.report.findings.evidence import DECIDED, Evidence, Row, level_key
from vae_ablation.report.findings.finding import Finding, finder, finding_of
from vae_ablation.report.findings.quotes import Part, Phrase, join, phrase, say, text_of
from vae_ablation.report.findings.wording import (
    SPECIAL,
    at,
    at_reference,
    bare,
    base,
    held,
    level_list,
    on_average,
    outcome,
    semicolons,
    setting,
    spread,
    subject,
)
from vae_ablation.study.axes import axis_of

SECONDARY = (
    *("mse", "mse_log1p", "sample_coverage", "generalization_gap", "inference_gap"),
    *("encoder_gap", "decoder_scale", "probe_accuracy_sampled", "total_correlation"),
    *("mig", "dci_disentanglement", "batch_knn_accuracy"),
)
"""Metrics beside the primary ones that have findings, headed as exploratory."""

_RANKS = {"beta": (2,), "kl_off": (1, 2, 2), "least_beta": ()}
"""Ranks of a question's first findings, where others tell of it as well; else 1 and 2."""
_CONTROLS = {
    "real": "real data",
    "full_gaussian": "a Gaussian fitted to the data",
    "raw": "the raw data",
    "pca": "PCA",
    "untrained": "an untrained encoder",
}
_CONTROLLED = ("probe_accuracy", "knn_accuracy", "sample_")
_GIVEN = ("elbo", "nll", "nll_levels", "bits_per_dim")
"""Scores of the data, of conditioned models given what these are told."""
_LABELLED = ("probe_accuracy", "knn_accuracy", "silhouette", "ari", "nmi")
"""Scores of the labels in codes."""
_GROUPS = ("worse", "better", "higher", "lower", "equivalent")


@finder
def effects(evidence: Evidence) -> Iterator[Finding]:
    """Each question in each metric in which a level has a verdict; the first one leads."""
    for question in evidence.questions:
        rows = evidence.pooled(question)
        primary = [row.metric.name for row in rows if row.cells.get("family") == "primary"]
        ranks = iter(_RANKS.get(question, (1, 2)))
        for metric in dict.fromkeys([*_in_order(evidence, primary), *SECONDARY]):
            own = [row for row in rows if row.metric.name == metric]
            if any(row.verdict in DECIDED for row in own):
                # Rates and active units follow from the question; scores answer it.
                large = any(row.differs and not row.below_drift for row in own)
                scored = own[0].metric.better and large
                yield _effect(evidence, own, next(ranks, 0) if scored else 0)


def _in_order(evidence: Evidence, metrics: Sequence[str]) -> list[str]:
    """Primary metrics in the config's order, then others as they come."""
    named = evidence.setting("statistics.primary_metrics") or []
    return [name for name in named if name in metrics] + list(metrics)


def _effect(evidence: Evidence, rows: Sequence[Row], rank: int) -> Finding:
    """The finding of one question in one metric, over all its levels."""
    decided = [row for row in rows if row.verdict in DECIDED]
    parts = [one for row in decided if row.verdict == "depends" for one in evidence.within(row)]
    differing = [row for row in decided if row.differs]
    return finding_of(
        evidence,
        [*(differing or decided), *(row for row in rows if row not in differing), *parts],
        _headline(evidence, rows, decided),
        text_of(
            [
                _sentence(evidence, rows),
                turning_point(
                    rows,
                    evidence.pooled(rows[0].question),
                    any(on_average(row, evidence.settings(row)) for row in decided),
                ),
                controls(evidence, rows[0]),
                _given(decided),
            ]
        ),
        rank,
    )


def _headline(evidence: Evidence, rows: Sequence[Row], decided: Sequence[Row]) -> Phrase:
    """`The NLL is worse at β = 4 than at β = 1`; of several levels, grouped by verdict."""
    first, metric = decided[0], subject(decided[0].metric)
    stated = {id(row): _verdict(evidence, row) for row in decided}
    if len(rows) == 1:
        return _headline_of_one(first, metric, stated[id(first)])
    groups: list[Part] = [
        say("{word} {levels}", word=word, levels=level_list(same))
        for word in (each for one in _GROUPS for each in (one, f"{one} on average"))
        if (same := [row for row in decided if stated[id(row)] == word])
    ]
    depends = [row for row in decided if row.verdict == "depends"]
    start = say("Compared with {reference}, ", reference=bare(at_reference(first)))
    ends: list[Part] = []
    if groups:
        ends.append(say("{metric} is {groups}", metric=metric, groups=join(groups)))
    for axis, same in _by_axis(depends):
        ends.append(say("{levels} {it} depends on the {axis}", levels=level_list(same),
                        it="it" if groups else f"the change in {metric}", axis=axis))  # fmt: skip
    return Phrase((*start.parts, *semicolons(ends).parts))


def _verdict(evidence: Evidence, row: Row) -> str:
    """The verdict, with `on average` where it does not hold in each setting."""
    average = " on average" if on_average(row, evidence.settings(row)) else ""
    return f"{row.verdict}{average}"


def _headline_of_one(row: Row, metric: str, verdict: str) -> Phrase:
    if row.verdict == "depends":
        return say("{at}, the change in {metric} depends on the {axis}", at=at(row).capital(),
                   metric=metric, axis=_axis(row))  # fmt: skip
    if row.verdict == "equivalent":
        return say("{at}, {metric} is equivalent to that {reference}", at=at(row).capital(),
                   metric=metric, reference=at_reference(row))  # fmt: skip
    return say("{metric} is {verdict} {at} than {reference}", metric=phrase(metric).capital(),
               verdict=verdict, at=at(row), reference=at_reference(row))  # fmt: skip


def _axis(row: Row) -> str:
    return axis_of(str(row.cells.get("depends_on", ""))).label


def _by_axis(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    axes = dict.fromkeys(map(_axis, rows))
    return [(axis, [row for row in rows if _axis(row) == axis]) for axis in axes]


def _sentence(evidence: Evidence, rows: Sequence[Row]) -> Phrase:
    """Every level's outcome with what it rests on."""
    metric = subject(rows[0].metric)
    each = [
        say("{at} {it} {outcome}{spread}", at=at(row), it=metric if not i else "it",
            outcome=outcome(row, evidence.within(row) if row.verdict == "depends" else ()),
            spread=_spread(evidence, row, named=len(rows) == 1))
        for i, row in enumerate(rows)
    ]  # fmt: skip
    return say("Compared with {reference} ({base}{held}{only}): {each}.",
               reference=bare(at_reference(rows[0])), base=base(*rows), held=held(rows[0]),
               only=_only(evidence, rows), each=semicolons(each))  # fmt: skip


def _only(evidence: Evidence, rows: Sequence[Row]) -> Phrase:
    """Levels to which rows are confined where other metrics have more: `, at latent dimension 2`.

    Elsewhere their metric is only a bound, or not defined.
    """
    every, own = ([one for row in some for one in evidence.settings(row)]
                  for some in (evidence.pooled(rows[0].question), rows))  # fmt: skip
    parts: list[Part] = []
    for axis in evidence.varying(every):
        levels = {one.where_text(axis): setting(one, [axis]) for one in own}
        if 0 < len(levels) < len({one.where_text(axis) for one in every}):
            first, *others = (levels[name] for name in sorted(levels, key=level_key))
            parts.append(say(", {levels}", levels=join([first, *map(bare, others)])))
    return join(parts, "", "")


def _spread(evidence: Evidence, row: Row, named: bool) -> Phrase:
    """The range over single settings where they differ; of a single level with their names."""
    settings = evidence.settings(row)
    return spread(row, settings, evidence.varying(settings) if named else ())


def turning_point(rows: Sequence[Row], every: Sequence[Row], average: bool = False) -> Phrase:
    """The neighbouring levels of an ordered axis between which a metric turns worse.

    Only of at least three levels, which are better or worse than the reference or equivalent to
    it; undecided levels in between widen it. Nothing where a level is better than the reference
    and none is worse on its other side.

    Args:
        rows: of the metric, by level.
        every: rows of the question in all metrics, which have all of its levels.
        average: whether a verdict holds on average only, so that settings may turn elsewhere.
    """
    first = rows[0]
    if first.question in SPECIAL or not axis_of(first.question).ordered or len(rows) < 2:
        return Phrase()
    known = [row for row in rows if row.verdict in ("better", "worse", "equivalent")]
    levels = sorted([
        (level_key(first.reference), "equivalent", first.quote("reference", first.reference)),
        *((row.key, row.verdict, row.quote("level", row.level)) for row in known),
    ], key=lambda level: level[0])  # fmt: skip
    turns = [(low[2], high[2]) for low, high in pairwise(levels)
             if (low[1] == "worse") != (high[1] == "worse")]  # fmt: skip
    good = [level for level in levels if level[1] != "worse"]
    axis, metric = axis_of(first.question).label, phrase(subject(first.metric)).capital()
    mean = " on average" if average else ""
    if len(turns) == 2:
        return say("The best {axis}{average} lies between {low} and {high}.", axis=axis,
                   low=turns[0][0], high=turns[1][1], average=mean)  # fmt: skip
    if len(turns) != 1 or any(level[1] == "better" for level in good):
        return Phrase()
    if len(good) > 1:
        return say("{metric} turns worse{average} between {axis} = {low} and {high}.", axis=axis,
                   metric=metric, low=turns[0][0], high=turns[0][1], average=mean)  # fmt: skip
    studied = {row.key for row in every} | {level_key(first.reference)}
    if len(known) < len(studied) - 1 or good[0] not in (levels[0], levels[-1]):
        return Phrase()
    end = "largest" if good[0] == levels[-1] else "smallest"
    return say("{metric} is best{average} at the {end} {axis} studied, so the best may lie beyond "
               "it.", metric=metric, end=end, axis=axis, average=mean)  # fmt: skip


def _given(rows: Sequence[Row]) -> Phrase:
    """Caution about a comparison with conditioned models, which are told what others are not."""
    if rows[0].question != "condition":
        return Phrase()
    told = join([row.level.replace("+", " and ") for row in rows if row.level != "none"], " or ")
    name = rows[0].metric.name
    if not told.parts:
        return Phrase()
    if name in _GIVEN:
        return say("A conditioned model is told the {told} and scores the data given it: as much "
                   "of the difference as knowing it is worth says nothing of the model.",
                   told=told)  # fmt: skip
    if name.startswith(_LABELLED) and any("label" in row.level for row in rows):
        return phrase("A model that is told the label need not encode it.")
    return Phrase()


def controls(evidence: Evidence, row: Row) -> Phrase:
    """Scores of the controls of a metric of labels or samples, from summary.csv."""
    metric = row.metric
    parts: list[Part] = []
    for model, name in _CONTROLS.items():
        if not metric.name.startswith(_CONTROLLED):
            continue
        where = {"model": model, "metric": metric.name}
        if scores := by_dimension(evidence, "summary", "mean", where):
            parts.append(say("{name} {scores}", name=name, scores=scores))
    return say("For comparison: {parts}.", parts=semicolons(parts)) if parts else Phrase()
