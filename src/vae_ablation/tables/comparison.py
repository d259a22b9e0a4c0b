"""The engine of comparison: questions to any runs with axes, seeds and metrics.

STATISTICS of the differences that a question asks about: pooled over settings, within the levels
of the axis that the answer depends on, and in each setting.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
)
from vae_ablation.tables.replicates import Differences, Replicates
from vae_ablation.tables.scales import effect
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
    *("effect", "effect_low", "effect_high", "margin", "margin_from", "verdict", "depends_on"),
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
    def moderated(self) -> Settings:
        """Every pair as a setting, with a variance drawn towards those of the question."""
        return moderated(self.settings)

    @cached_property
    def correlation(self) -> float:
        """Correlation of differences between settings."""
        independent = self.differences.independent
        return consensus_correlation(independent[of] for of in self.groups.values())

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
        found = pool(settings, self.correlation)
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
                "se": found.error,
                "df": found.df,
                "drift": _over(used & ~np.isnan(self._drift[members]), self._drift[members]),
            }
        )
        table = table.assign(**self._names(members), scope=scope)
        table["members"] = [members[column] for column in used.T]
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
                "mean": arm,
                "estimate": own.mean[pair, metric],
                "se": own.error[pair, metric],
                "df": own.df[pair, metric],
                "drift": self._drift[pair, metric],
                "scope": "setting",
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


def compare(
    replicates: Replicates,
    questions: Sequence[Question],
    primary: Sequence[str],
    resolution: Resolution | None = None,
    looks: int = 1,
) -> pd.DataFrame:
    """Every question's pooled rows, rows within levels where the answer depends on one, settings.

    Args:
        replicates: the runs.
        questions: what is asked.
        primary: metrics in which verdicts are adjusted after Holm; others are exploratory.
        resolution: parts of the margins.
        looks: times that the data are looked at as seeds are added; each look has α / looks.

    Returns:
        question, scope, a column for each axis, `ORDER`.
    """
    resolution = resolution or Resolution()
    asked = [Answers(question, replicates, resolution) for question in questions]
    asked = [answers for answers in asked if answers.pairs]
    axes = [axis for axis in (replicates.arms[0] if replicates.arms else ()) if axis != "arm"]
    columns = ["question", "scope", *axes, *ORDER]
    if not asked:
        return pd.DataFrame(columns=columns)
    engine = _Engine(asked, replicates.metrics, {*primary}, resolution, looks)
    return engine.table().reindex(columns=columns)


@dataclass(frozen=True)
class _Engine:
    """Rows of all questions and what is said of them together."""

    asked: Sequence[Answers]
    metrics: Sequence[Metric]
    primary: set[str]
    resolution: Resolution
    looks: int

    @property
    def alpha(self) -> float:
        return ALPHA / self.looks

    def table(self) -> pd.DataFrame:
        """All rows, question by question: pooled, within levels, settings."""
        pooled = self._judged(self._pooled())
        depends = self._depending(pooled)
        if depends:
            pooled = self._rejudged(pooled, depends)
        settings = [answers.each_setting() for answers in self.asked]
        single = self._measured(pd.concat(settings, ignore_index=True)).assign(family="setting")
        single["verdict"] = self._verdicts(single, "p", "p_equivalence")
        single[["p", "p_adjusted", "p_equivalence"]] = np.nan
        rows = pd.concat([pooled, single], ignore_index=True)
        rank = {answers.question.name: i for i, answers in enumerate(self.asked)}
        kind = {"pooled": 0, "setting": 2}
        order = [(rank[question], kind.get(scope, 1)) for question, scope in
                 zip(rows["question"], rows["scope"], strict=True)]  # fmt: skip
        rows = rows.iloc[sorted(range(len(rows)), key=order.__getitem__)]
        return self._named(rows.reset_index(drop=True))

    def _pooled(self) -> pd.DataFrame:
        tables = []
        for place, answers in enumerate(self.asked):
            for members in answers.groups.values():
                tables.append(answers.pooled(members, "pooled").assign(asked=place))
        return pd.concat(tables, ignore_index=True)

    def _measured(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Rows with intervals, margins, unadjusted p and what more seeds would do."""
        keys = [tuple(key) for key in rows.reindex(columns=[*APART]).to_numpy(object)]
        rows = rows.join(margins(rows, keys, self.metrics, self.resolution))
        estimate, se, df, n, margin = (
            rows[name].to_numpy(float) for name in ("estimate", "se", "df", "n", "margin")
        )
        low, high = interval(estimate, se, df, self.alpha)
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
        )

    def _judged(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Pooled rows with families, heterogeneity and verdicts."""
        rows = self._measured(rows)
        primary = np.array([self.metrics[m].name in self.primary for m in rows["metric"]], bool)
        rows["family"] = ["primary" if one else "exploratory" for one in primary]
        rows["heterogeneity_p"] = [
            self.asked[a].heterogeneity(of, m)
            for a, of, m in zip(rows["asked"], rows["members"], rows["metric"], strict=True)
        ]
        return self._adjusted(rows)

    def _adjusted(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Rows with p adjusted in their families, and the verdicts that follow."""
        rows = rows.assign(p_adjusted=np.nan, p_equal=np.nan, p_spread=np.nan)
        counted = rows if "verdict" not in rows else rows[rows["verdict"] != "depends"]
        for (_, family), of in counted.groupby(["question", "family"], sort=False):
            adjust = holm if family == "primary" else benjamini_hochberg
            for name, raw in (
                ("p_adjusted", "p"), ("p_equal", "p_equivalence"), ("p_spread", "heterogeneity_p")
            ):  # fmt: skip
                rows.loc[of.index, name] = adjust(of[raw].to_numpy(float))
        told = self._verdicts(rows, "p_adjusted", "p_equal")
        kept = rows["verdict"] == "depends" if "verdict" in rows else np.zeros(len(rows), bool)
        return rows.assign(verdict=np.where(kept, "depends", told))

    def _verdicts(self, rows: pd.DataFrame, p: str, p_equivalence: str) -> NDArray[np.object_]:
        signs = np.array([self.metrics[m].sign for m in rows["metric"]], np.int64)
        estimate, one, other = (
            rows[name].to_numpy(float) for name in ("estimate", p, p_equivalence)
        )
        return verdicts(estimate, one, other, signs, self.alpha)

    def _depending(self, rows: pd.DataFrame) -> dict[int, str]:
        """Rows whose settings disagree, with the axis that carries it."""
        found: dict[int, str] = {}
        differing = rows[rows["p_spread"] <= self.alpha]
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
        rows = rows.assign(depends_on=rows.index.map(depends))
        rows.loc[[*depends], "verdict"] = "depends"
        parts = []
        for index, axis in depends.items():
            row: dict[Any, Any] = rows.loc[index].to_dict()
            for table in self.asked[row["asked"]].by_level(row["members"], axis, row["metric"]):
                parts.append(table.assign(asked=row["asked"]))
        within = self._judged(pd.concat(parts, ignore_index=True))
        within["verdict"] = "undecided"
        found = self._adjusted(pd.concat([rows, within], ignore_index=True))
        found.loc[found["verdict"] == "depends", ["p_adjusted"]] = np.nan
        return found

    def _named(self, rows: pd.DataFrame) -> pd.DataFrame:
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
            rows[name] = np.nan
            for one in set(scale):
                here = rows["scale"] == one
                reference = rows.loc[here, "reference_mean"].to_numpy(float)
                values = rows.loc[here, end].to_numpy(float)
                rows.loc[here, name] = effect(values, reference, one)
        rows["p_equivalence"] = rows["p_equal"].where(rows["family"] != "setting")
        open_ = rows["verdict"] == "undecided"
        return rows.assign(seeds_needed=rows["seeds_needed"].where(open_).astype("Int64"))
