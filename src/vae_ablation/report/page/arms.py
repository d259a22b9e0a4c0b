"""Arms and runs of a study as columns of the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from vae_ablation.report.findings import words
from vae_ablation.report.page.axes import PageAxis, level_ids
from vae_ablation.report.page.values import column, short, shorts, without_places
from vae_ablation.study.axes import axis_columns, replicate_columns
from vae_ablation.study.metrics import Metric, bounded_by_flag, described
from vae_ablation.tables.collect import averaged_columns, crossed_datasets

KEY = ["dataset", "likelihood", "latent_dim", "arm"]
"""Columns that identify an arm in every table."""


@dataclass(frozen=True)
class Arms:
    """Arms of a study, and the runs that replicate them.

    Attributes:
        axes: axes of the page.
        frame: a row per arm: `KEY`, its level on each axis by place (`at`), runs by place.
        runs: trained runs of metrics.csv in the order of the page, `arm_at` their arm by place.
        metrics: numeric columns with a value, in the order of columns.
    """

    axes: Sequence[PageAxis]
    frame: pd.DataFrame
    runs: pd.DataFrame
    metrics: list[str]

    @classmethod
    def of(cls, runs: pd.DataFrame, axes: Sequence[PageAxis]) -> Arms:
        """Arms of trained runs.

        Args:
            runs: rows of trained models of metrics.csv.
            axes: from `page_axes`.
        """
        places = pd.DataFrame(
            {
                axis.axis.name: [_place(axis)[level] for level in level_ids(axis.axis, runs)]
                for axis in axes
            },
            index=runs.index,
        )
        order = [axis.axis.name for axis in axes]
        names = replicate_columns(runs.columns)
        by_level = places.join(runs[names]).sort_values([*order, *names], kind="stable")
        runs, places = runs.loc[by_level.index], places.loc[by_level.index]
        keys = [tuple(key) for key in runs[KEY].astype(str).itertuples(index=False)]
        arms = {key: at for at, key in enumerate(dict.fromkeys(keys))}
        runs = runs.assign(arm_at=[arms[key] for key in keys])
        first = runs.drop_duplicates("arm_at")
        kept = first.assign(levels_measure=first.get("levels_measure", ""))[
            [*KEY, "measure", "levels_measure"]
        ]
        frame = kept.reset_index(drop=True)
        frame["at"] = pd.Series(places.loc[first.index].to_numpy().tolist(), dtype=object)
        known = [name for name in averaged_columns(runs) if runs[name].notna().any()]
        known = [name for name in known if name not in ("arm_at", *axis_columns(runs.columns))]
        return cls(axes, frame, runs.reset_index(drop=True), known)

    def arms_json(self, summary: pd.DataFrame) -> dict[str, Any]:
        """Arms by column: levels, names, and mean and interval of each metric.

        Args:
            summary: summary.csv.
        """
        by_arm = self.runs.groupby("arm_at", sort=True)
        crossed = crossed_datasets(self.runs)
        return {
            "at": self.frame["at"].tolist(),
            "name": self.frame["arm"].astype(str).tolist(),
            "kind": [getattr(arm, "kind", "beta") for arm in self.frame["arm"]],
            "measure": [words.measure(str(text)) for text in self.frame["measure"].fillna("")],
            "levels": self.frame["levels_measure"].fillna("").astype(str).tolist(),
            "n": [self._replicates(rows) for _, rows in by_arm],
            "unit": ["split" if name in crossed else "seed" for name in self.frame["dataset"]],
            "m": self._means(summary),
        }

    def _replicates(self, rows: pd.DataFrame) -> int:
        """Seeds of an arm that ended well, or splits of the data where its dataset has several."""
        fine = rows[rows["status"] == "ok"]
        crossed = {*rows["dataset"]} <= crossed_datasets(self.runs)
        return int(fine["split_seed"].nunique()) if crossed else len(fine)

    def _means(self, summary: pd.DataFrame) -> dict[str, dict[str, list[Any]]]:
        """Mean, low and high of each metric by arm, None where there is none."""
        places = {
            tuple(key): at
            for at, key in enumerate(self.frame[KEY].astype(str).itertuples(index=False))
        }
        rows = summary[(summary["model"] == "vae") & summary["mean"].notna()]
        rows = rows.assign(latent_dim=rows["latent_dim"].astype(self.runs["latent_dim"].dtype))
        keys = [tuple(key) for key in rows[KEY].astype(str).itertuples(index=False)]
        rows = rows.assign(at=[places.get(key, -1) for key in keys])
        rows = rows[rows["at"] >= 0]
        parts = dict(list(rows.groupby("metric", sort=False)))
        return {name: self._mean(parts[name]) for name in self.metrics if name in parts}

    def _mean(self, rows: pd.DataFrame) -> dict[str, list[Any]]:
        by_arm = rows.drop_duplicates("at").set_index("at").reindex(range(len(self.frame)))
        return {
            "mean": shorts(by_arm["mean"]),
            "low": shorts(by_arm["ci_low"]),
            "high": shorts(by_arm["ci_high"]),
        }

    def runs_json(self) -> dict[str, Any]:
        """Runs by column: arm, seed, status and every metric."""
        flags = [flag for flag, _ in bounded_by_flag() if flag in self.runs]
        reasons = self.runs["reason"].fillna("").map(lambda text: without_places(str(text)))
        return {
            "arm": self.runs["arm_at"].tolist(),
            "seed": self.runs["seed"].astype(int).tolist(),
            "split": [int(split) for split in self.runs.get("split_seed", ())],
            "path": self.runs["run"].astype(str).tolist(),
            "status": column(self.runs["status"].astype(str)),
            "reason": column(reasons),
            "m": {name: shorts(self.runs[name].astype(float)) for name in self.metrics},
            "flags": {flag: _flag(self.runs[flag]) for flag in flags},
        }


def _flag(values: pd.Series) -> list[int]:
    """Places of the rows in which a flag is True."""
    return [at for at, value in enumerate(values) if str(value) == "True"]


def _place(axis: PageAxis) -> dict[str, int]:
    return {level.id: at for at, level in enumerate(axis.levels)}


_FIRST = ("distortion", "rate", "elbo")


def multiples(arms: Arms, primary: Iterable[str]) -> list[str]:
    """Results in the order in which small multiples show them, as many as there is room for.

    The terms of the ELBO come first, then the primary metrics, then the others.
    """
    results = [name for name in arms.metrics if described(name).role == "result"]
    wanted = [*_FIRST, *primary, *results]
    return [name for name in dict.fromkeys(wanted) if name in results]


def metric_json(metric: Metric) -> dict[str, Any]:
    """A metric as the page describes it."""
    bound = metric.bound
    return {
        "label": metric.label,
        "unit": metric.unit,
        "suffix": metric.suffix,
        "better": metric.sign,
        "help": metric.tooltip,
        "description": metric.description,
        "scale": metric.scale,
        "comparable": metric.comparable,
        "role": metric.role,
        "whole": metric.type == "whole",
        "needs_kl": metric.needs_kl,
        "bound": {"flag": bound.flag, "sign": bound.sign} if bound else None,
    }


def metrics_json(names: Sequence[str]) -> dict[str, Any]:
    """Metrics of the page by name."""
    return {name: metric_json(described(name)) for name in names}


def control_rows(metrics: pd.DataFrame, names: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of models that are no arms (PCA, raw data, untrained encoders), with their metrics."""
    rows = metrics[metrics["model"] != "vae"]
    return [
        {
            "model": str(row["model"]),
            "dataset": str(row["dataset"]),
            "d": short(row["latent_dim"]),
            "m": {name: short(row[name]) for name in names if short(row[name]) is not None},
        }
        for row in rows.to_dict("records")
    ]
