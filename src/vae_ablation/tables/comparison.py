"""The engine of comparison: questions to any runs with axes, seeds and metrics.

STATISTICS of the differences that a question asks about: pooled over settings, within the levels
of the axis that the answer depends on, and in each setting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vae_ablation.study.axes import level_cell, level_text
from vae_ablation.study.metrics import Metric
from vae_ablation.study.questions import APART, Pair, Question
from vae_ablation.tables.margins import Resolution, margins
from vae_ablation.tables.pooling import (
    Settings,
    by_setting,
    consensus_correlation,
    moderated,
    pool,
    spread_test,
    variance_pattern,
)
from vae_ablation.tables.replicates import Differences, Replicates
from vae_ablation.tables.scales import effects
from vae_ablation.tables.verdicts import (
    ALPHA,
    benjamini_hochberg,
    detectable,
    equivalence,
    holm,
    interval,
    seeds_needed,
    two_sided,
    verdicts,
)

Array = NDArray[np.float64]
Places = NDArray[np.int64]

ORDER = [
    *("level", "reference", "arm", "reference_arm", "metric", "primary", "scale"),
    *("settings", "n", "lost", "reference_mean", "mean", "estimate", "ci_low", "ci_high"),
    *("effect", "effect_low", "effect_high", "margin", "margin_from"),
    *("verdict", "look", "depends_on"),
    *("df", "se", "p", "p_adjusted", "p_equivalence", "family", "heterogeneity_p"),
    *("detectable", "seeds_needed", "below_drift"),
]
"""Columns behind those that say where a row is."""


class Answers:
    """One question to some runs, with its pairs and their settings.

    Args:
        question: the question.
        replicates: the runs.
        resolution: what the evaluation can tell apart.
    """

    def __init__(self, question: Question, replicates: Replicates, resolution: Resolution) -> None:
        self.question = question
        self.replicates = replicates
        self.resolution = resolution
        self.pairs: list[Pair] = question.pairs(replicates.arms)
        self.groups = {key: np.array(of) for key, of in question.answering(self.pairs).items()}

    @cached_property
    def differences(self) -> Differences:
        """Differences of every pair."""
        return Differences(self.replicates, self.pairs)

    @cached_property
    def settings(self) -> Settings:
        """Every pair as a setting, with its own variance."""
        differences = self.differences
        return by_setting(
            differences.independent, self.replicates.floor, differences.size, differences.overlap
        )

    @cached_property
    def equal(self) -> NDArray[np.bool_]:
        """Whether all differences of a pair are exactly 0, which shows no spread: [pairs, metrics].

        Intervals are left out then, since they would be those of an assumed spread.
        """
        return np.asarray((np.nan_to_num(self.differences.independent) == 0).all(axis=1))

    @cached_property
    def moderated(self) -> Settings:
        """Every pair as a setting, with a variance drawn towards those of the question."""
        return moderated(self.settings)

    @cached_property
    def correlation(self) -> float:
        """Correlation of differences between settings."""
        independent = self.differences.independent
        return consensus_correlation(independent[of] for of in self.groups.values())

    @cached_property
    def pattern(self) -> Array:
        """Relative variance of the setting of each pair, [pairs]."""
        keys = {self.question.setting(arm): None for arm, _ in self.pairs}
        number = {key: i for i, key in enumerate(keys)}
        place = np.array([number[self.question.setting(arm)] for arm, _ in self.pairs], int)
        own = self.settings
        contrasts = ((place[of], own.of(of)) for of in self.groups.values())
        return variance_pattern(contrasts, len(number))[place]

    @cached_property
    def replicated(self) -> NDArray[np.int64]:
        """Replicates that both arms of each pair were meant to have, [pairs]."""
        arms, references = self.differences.ends
        counts = self.replicates.counts
        return np.minimum(counts[arms], counts[references])

    @cached_property
    def _means(self) -> tuple[Array, Array]:
        return self.differences.means()

    @cached_property
    def _drift(self) -> Array:
        """The larger drift of both arms, [pairs, metrics]."""
        drift = self.resolution.drift
        if drift is None:
            return np.full(self.settings.n.shape, np.nan)
        arms, references = self.differences.ends
        return np.fmax(drift[arms], drift[references])

    def pooled(self, members: Places, scope: str) -> pd.DataFrame:
        """A row for each metric that has a difference, over some pairs."""
        settings = self.settings.of(members)
        found = pool(settings, self.correlation, self.pattern[members])
        used = found.used
        arm, reference = (_over(used, means[members]) for means in self._means)
        least = np.where(used, settings.n, np.iinfo(np.int64).max).min(axis=0)
        table = pd.DataFrame(
            {
                "metric": np.arange(used.shape[1]),
                "settings": used.sum(axis=0),
                "n": least,
                "lost": int(self.differences.lost[members].sum()),
                "overlap": float(self.differences.overlap[members].max()),
                "reference_mean": reference,
                "mean": arm,
                "estimate": found.estimate,
                "equal": (self.equal[members] | ~used).all(axis=0),
                "se": found.error,
                "df": found.df,
                "drift": _over(used & ~np.isnan(self._drift[members]), self._drift[members]),
            }
        )
        planned = int(self.replicated[members].min())
        table = table.assign(**self._names(members), scope=scope, replicated=planned)
        table["members"] = [members[column] for column in used.T]
        bases = self._means[1][members]
        apart = settings.mean - found.estimate
        table["bases"] = [bases[column, metric] for metric, column in enumerate(used.T)]
        table["apart"] = [apart[column, metric] for metric, column in enumerate(used.T)]
        return table.iloc[np.flatnonzero(used.any(axis=0))]

    def each_setting(self) -> pd.DataFrame:
        """A row for each pair and metric that has a difference."""
        pair, metric = np.nonzero(self.settings.n > 0)
        own = self.moderated
        arm, reference = (means[pair, metric] for means in self._means)
        table = pd.DataFrame(
            {
                "metric": metric,
                "settings": 1,
                "n": own.n[pair, metric],
                "lost": self.differences.lost[pair],
                "overlap": self.differences.overlap[pair],
                "reference_mean": reference,
                "bases": list(reference[:, None]),
                "apart": [np.zeros(1)] * len(pair),
                "mean": arm,
                "estimate": own.mean[pair, metric],
                "equal": self.equal[pair, metric],
                "se": own.error[pair, metric],
                "df": own.df[pair, metric],
                "drift": self._drift[pair, metric],
                "scope": "setting",
                "group": pair,
                "replicated": self.replicated[pair],
            }
        )
        names = pd.DataFrame([self._names(np.array([i])) for i in range(len(self.pairs))])
        return table.join(names.iloc[pair].reset_index(drop=True))

    def _names(self, members: Places) -> dict[str, Any]:
        """Levels that the pairs of a row share; empty where it is pooled over."""
        arms, references = zip(*(self.pairs[i] for i in members), strict=True)
        question = self.question
        levels = {
            axis: _shared(level_cell(arm[axis]) for arm in arms)
            for axis in arms[0]
            if axis != "arm" and axis not in question.varies
        }
        return {
            "question": question.name,
            **levels,
            "level": question.level(arms[0]),
            "reference": _shared(question.reference_level(arm) for arm in references),
            "arm": _shared(arm.name for arm in arms),
            "reference_arm": _shared(arm.name for arm in references),
        }

    def heterogeneity(self, members: Places, metric: int) -> float:
        """P of settings that do not differ; NaN with one."""
        return self._spread(members, metric, np.arange(len(members)))

    def _spread(self, members: Places, metric: int, groups: Places) -> float:
        # Each with its own variance: moderated ones, from few settings, make 5 % of tests 12 %.
        own = self.settings.of(members)
        means, errors, df = own.mean[:, metric], own.error[:, metric], own.df[:, metric]
        return spread_test(means, errors, df, self.correlation, groups)

    def extremes(self, members: Places, metric: int, alpha: float) -> tuple[float, float]:
        """The lowest and highest mean of settings clearly below and above 0; NaN without one.

        Clearly: by the intervals of the moderated settings, at α over their number.
        """
        own = self.moderated.of(members)
        mean = own.mean[:, metric]
        error, df = own.error[:, metric], own.df[:, metric]
        low, high = interval(mean, error, df, alpha / len(members))
        below, above = mean[high < 0], mean[low > 0]
        return (
            float(below.min()) if len(below) else float("nan"),
            float(above.max()) if len(above) else float("nan"),
        )

    def carrier(self, members: Places, metric: int) -> str:
        """The axis between whose levels settings differ most clearly; empty without one."""
        tests = {axis: self._spread(members, metric, places)
                 for axis, places in self._open(members).items()}  # fmt: skip
        known = {axis: p for axis, p in tests.items() if p == p}
        return min(known, key=lambda axis: known[axis]) if known else ""

    def _open(self, members: Places) -> dict[str, Places]:
        """Axes that vary among pairs, with the place of each pair's level."""
        arms = [self.pairs[i][0] for i in members]
        found = {}
        for axis in arms[0]:
            if axis != "arm" and axis not in self.question.varies:
                levels = list(dict.fromkeys(arm[axis] for arm in arms))
                if len(levels) > 1:
                    found[axis] = np.array([levels.index(arm[axis]) for arm in arms])
        return found

    def by_level(self, members: Places, axis: str, metric: int) -> Iterator[pd.DataFrame]:
        """A pooled row within each level of an axis."""
        places = self._open(members)[axis]
        for place in range(places.max() + 1):
            of = members[places == place]
            level = level_text(self.pairs[of[0]][0][axis])
            table = self.pooled(of, f"{axis}={level}")
            yield table[table["metric"] == metric]


def _over(used: NDArray[np.bool_], values: Array) -> Array:
    """Means over the settings that are used, [metrics]; NaN without any."""
    count = used.sum(axis=0)
    sums = np.where(used, values, 0.0).sum(axis=0)
    return np.where(count > 0, sums / np.maximum(count, 1), np.nan)


def _shared(levels: Any) -> Any:
    """The one level that all have, else nothing."""
    known = set(levels)
    return known.pop() if len(known) == 1 else None


Look = int | None
"""Replicates at which the data are looked at; None is all of them, at the only look."""


def compare(
    replicates: Replicates,
    questions: Sequence[Question],
    primary: Sequence[str],
    resolution: Resolution | Callable[[Replicates], Resolution] | None = None,
    looks: Sequence[int] = (),
    at: Callable[[int], Replicates] | None = None,
) -> pd.DataFrame:
    """Every question's pooled rows, rows within levels where the answer depends on one, settings.

    With several looks every row is judged at one look after the other by the first replicates of
    its arms, and its verdict is that of the first look that decides it, with the numbers of that
    look: what comes later, for other comparisons, changes neither. A row that no look has reached
    is undecided.

    Args:
        replicates: the runs.
        questions: what is asked.
        primary: metrics in which verdicts are adjusted after Holm; others are exploratory.
        resolution: parts of the margins, or what gives those of the runs of a look.
        looks: numbers of replicates at which the data are looked at, in order, as seeds are added;
            each of k looks has α / k.
        at: gives the runs as they were at a look; by default their first replicates.

    Returns:
        question, scope, a column for each axis, `ORDER`.
    """
    axes = [axis for axis in (replicates.arms[0] if replicates.arms else ()) if axis != "arm"]
    columns = ["question", "scope", *axes, *ORDER]
    rows: pd.DataFrame | None = None
    for look in _looks(replicates, looks):
        seen = replicates if look is None else (at or replicates.up_to)(look)
        known = resolution(seen) if callable(resolution) else resolution or Resolution()
        asked = [Answers(question, seen, known) for question in questions]
        asked = [answers for answers in asked if answers.pairs]
        if not asked:
            return pd.DataFrame(columns=columns)
        engine = _Engine(asked, seen.metrics, {*primary}, known, look, max(1, len(looks)))
        rows = engine.table(rows)
    assert rows is not None  # there is a look
    return engine.named(rows).reindex(columns=columns)


def _looks(replicates: Replicates, looks: Sequence[int]) -> list[Look]:
    """The looks that some arm has reached, the first in any case; one at all where none is set."""
    most = int(replicates.counts.max(initial=0))
    ordered: list[Look] = [*sorted(looks)]
    return [look for look in ordered if look and look <= most] or ordered[:1] or [None]


def _apart(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows over several settings, and those of single ones."""
    single = rows["scope"] == "setting"
    return rows[~single], rows[single]


_KEY = ["asked", "group", "scope", "metric"]
"""Columns that name a row at every look."""


@dataclass(frozen=True)
class _Engine:
    """Rows of all questions at a look, and what is said of them together."""

    asked: Sequence[Answers]
    metrics: Sequence[Metric]
    primary: set[str]
    resolution: Resolution
    look: Look
    looks: int

    @property
    def alpha(self) -> float:
        return ALPHA / self.looks

    def table(self, earlier: pd.DataFrame | None) -> pd.DataFrame:
        """All rows, question by question: pooled, within levels, settings.

        Args:
            earlier: those of the look before, if there was one.
        """
        kinds = (None, None) if earlier is None else _apart(earlier)
        rows = pd.concat([self._pooled_rows(kinds[0]), self._setting_rows(kinds[1])])
        kind = {"pooled": 0, "setting": 2}
        rows = rows.assign(kind=[kind.get(scope, 1) for scope in rows["scope"]])
        order = ["asked", "kind", "group", "metric"]
        return rows.sort_values(order, kind="stable", ignore_index=True)

    def _pooled_rows(self, earlier: pd.DataFrame | None) -> pd.DataFrame:
        """Rows over several settings, with verdicts by families."""
        tables = [self._pooled()]
        if earlier is not None:
            tables += self._within_earlier(earlier)
        now = self._described(pd.concat(tables, ignore_index=True))
        rows = self._adjusted(self._after(earlier, now))
        depends = self._depending(rows)
        return self._rejudged(rows, depends) if depends else rows

    def _setting_rows(self, earlier: pd.DataFrame | None) -> pd.DataFrame:
        """Rows of single settings, each by its own interval."""
        settings = [answers.each_setting().assign(asked=place)
                    for place, answers in enumerate(self.asked)]  # fmt: skip
        now = self._measured(pd.concat(settings, ignore_index=True)).assign(family="setting")
        rows = self._after(earlier, now)
        told = self._verdicts(rows, "p", "p_equivalence")
        rows = rows.assign(verdict=np.where(rows["open"], told, rows["verdict"]))
        rows[["p", "p_adjusted", "p_equivalence"]] = np.nan
        return rows

    def _after(self, earlier: pd.DataFrame | None, now: pd.DataFrame) -> pd.DataFrame:
        """Rows of this look, but for those that an earlier one has decided or has seen as well.

        `open` are those on which this look decides.
        """
        reached = self.look is None or now["replicated"] >= self.look
        look = self.look if self.look is not None else np.nan
        now = now.assign(open=reached, look=np.where(reached, look, np.nan), verdict="undecided")
        if earlier is None:
            return now
        here = pd.MultiIndex.from_frame(earlier[_KEY])
        renewed = here.isin(pd.MultiIndex.from_frame(now.loc[now["open"], _KEY]))
        kept = earlier[(earlier["verdict"] != "undecided") | ~renewed].assign(open=False)
        known = pd.MultiIndex.from_frame(now[_KEY]).isin(pd.MultiIndex.from_frame(kept[_KEY]))
        return pd.concat([kept, now[~known]], ignore_index=True)

    def _pooled(self) -> pd.DataFrame:
        tables = []
        for place, answers in enumerate(self.asked):
            for group, members in enumerate(answers.groups.values()):
                table = answers.pooled(members, "pooled")
                tables.append(table.assign(asked=place, group=group))
        return pd.concat(tables, ignore_index=True)

    def _within_earlier(self, earlier: pd.DataFrame) -> list[pd.DataFrame]:
        """Rows within the levels of the axes on which answers were found to depend."""
        depend = earlier[earlier["verdict"] == "depends"]
        return [table for row in depend.to_dict("records")
                for table in self._within(row, row["depends_on"])]  # fmt: skip

    def _within(self, row: dict[Any, Any], axis: str) -> list[pd.DataFrame]:
        tables = self.asked[row["asked"]].by_level(row["members"], axis, row["metric"])
        return [table.assign(asked=row["asked"], group=row["group"]) for table in tables]

    def _measured(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Rows with intervals, margins, unadjusted p and what more seeds would do."""
        keys = [tuple(key) for key in rows.reindex(columns=[*APART]).to_numpy(object)]
        rows = rows.join(margins(rows, keys, self.metrics, self.resolution))
        estimate, se, df, n, margin = (
            rows[name].to_numpy(float) for name in ("estimate", "se", "df", "n", "margin")
        )
        spread = np.where(rows["equal"], np.nan, se)
        low, high = interval(estimate, spread, df, self.alpha)
        drift = rows["drift"].to_numpy(float)
        below = np.array(np.abs(estimate) < drift, object)
        below[np.isnan(drift)] = None
        return rows.assign(
            ci_low=low,
            ci_high=high,
            p=two_sided(estimate, se, df),
            p_equivalence=equivalence(estimate, se, df, margin),
            detectable=detectable(se, df, self.alpha),
            seeds_needed=seeds_needed(
                se, df, n, margin, self.alpha, rows["overlap"].to_numpy(float)
            ),
            below_drift=below,
            depends_on=None,
        )

    def _described(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Pooled rows with families and heterogeneity."""
        rows = self._measured(rows)
        primary = np.array([self.metrics[m].name in self.primary for m in rows["metric"]], bool)
        rows["family"] = ["primary" if one else "exploratory" for one in primary]
        rows["heterogeneity_p"] = [
            self.asked[a].heterogeneity(of, m)
            for a, of, m in zip(rows["asked"], rows["members"], rows["metric"], strict=True)
        ]
        return rows.assign(p_adjusted=np.nan, p_equal=np.nan, p_spread=np.nan)

    def _adjusted(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Rows with p adjusted in their families, and the verdicts that follow.

        Rows that are not open count in their families by the p of their own look.
        """
        rows = rows.copy()
        counted = rows[rows["verdict"] != "depends"]
        for (_, family), of in counted.groupby(["asked", "family"], sort=False):
            adjust = holm if family == "primary" else benjamini_hochberg
            open_ = of["open"].to_numpy(bool)
            for name, raw in (
                ("p_adjusted", "p"), ("p_equal", "p_equivalence"), ("p_spread", "heterogeneity_p")
            ):  # fmt: skip
                adjusted = adjust(of[raw].to_numpy(float))
                rows.loc[of.index[open_], name] = adjusted[open_]
        told = self._verdicts(rows, "p_adjusted", "p_equal")
        return rows.assign(verdict=np.where(rows["open"], told, rows["verdict"]))

    def _verdicts(self, rows: pd.DataFrame, p: str, p_equivalence: str) -> NDArray[np.object_]:
        signs = np.array([self.metrics[m].sign for m in rows["metric"]], np.int64)
        estimate, one, other = (
            rows[name].to_numpy(float) for name in ("estimate", p, p_equivalence)
        )
        return verdicts(estimate, one, other, signs, self.alpha)

    def _depending(self, rows: pd.DataFrame) -> dict[int, str]:
        """Rows whose settings disagree, with the axis that carries it."""
        found: dict[int, str] = {}
        pooled = rows["open"] & (rows["scope"] == "pooled")
        differing = rows[pooled & (rows["p_spread"] <= self.alpha)]
        for index, row in zip(differing.index, differing.to_dict("records"), strict=True):
            answers = self.asked[row["asked"]]
            place = row["members"], row["metric"]
            low, high = answers.extremes(*place, self.alpha)
            margin = np.nan_to_num(row["margin"])
            below, above = low < -margin, high > margin
            equal = row["verdict"] == "equivalent"
            if (below and above) or (equal and (below or above)):
                axis = answers.carrier(*place)
                found |= {int(index): axis} if axis else {}
        return found

    def _rejudged(self, rows: pd.DataFrame, depends: dict[int, str]) -> pd.DataFrame:
        """Rows with those of each level of the axis in the place of one that depends on it."""
        rows = rows.copy()
        found = [*depends]
        rows.loc[found, "depends_on"] = [depends[index] for index in found]
        rows.loc[found, "verdict"] = "depends"
        rows.loc[found, "open"] = False
        rows.loc[found, ["p_adjusted", "p_equal"]] = np.nan
        parts = [table for index in found
                 for table in self._within(rows.loc[index].to_dict(), depends[index])]  # fmt: skip
        within = self._after(None, self._described(pd.concat(parts, ignore_index=True)))
        return self._adjusted(pd.concat([rows, within], ignore_index=True))

    def named(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Rows as the table shows them."""
        metrics = [self.metrics[m] for m in rows["metric"]]
        scale = np.array([metric.scale for metric in metrics], object)
        rows = rows.assign(
            metric=[metric.name for metric in metrics],
            primary=[metric.name in self.primary for metric in metrics],
            scale=scale,
        )
        for name, end in (
            ("effect", "estimate"), ("effect_low", "ci_low"), ("effect_high", "ci_high")
        ):  # fmt: skip
            rows[name] = [
                effects(value, apart, bases, one)
                for value, apart, bases, one in zip(
                    rows[end], rows["apart"], rows["bases"], scale, strict=True
                )
            ]
        rows["p_equivalence"] = rows["p_equal"].where(rows["family"] != "setting")
        open_ = rows["verdict"] == "undecided"
        return rows.assign(
            seeds_needed=rows["seeds_needed"].where(open_).astype("Int64"),
            look=rows["look"].astype("Int64"),
        )
