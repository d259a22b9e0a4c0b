"""The report of a table of runs from elsewhere: the page of a study with what a table allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from vae_ablation import __version__
from vae_ablation.common.files import file_digest
from vae_ablation.report.findings import words
from vae_ablation.report.page.answer import answers_of
from vae_ablation.report.page.arms import Arms, metrics_json, multiples
from vae_ablation.report.page.axes import PageAxis, page_axes
from vae_ablation.report.page.contrasts import contrast_columns
from vae_ablation.report.page.paper import paper_tables
from vae_ablation.report.page.render import page
from vae_ablation.report.page.sections import Section, Table, effects, intervals, response
from vae_ablation.study.axes import axis_of, level_text
from vae_ablation.study.metrics import described

if TYPE_CHECKING:
    from vae_ablation.tables.analysis import Analysis


@dataclass(frozen=True)
class TablePage:
    """The page of an analysis; made within `RunTable.known`.

    Attributes:
        analysis: the answers.
        entries: its findings, as findings.json holds them, under our names.
    """

    analysis: Analysis
    entries: Sequence[Mapping[str, Any]]

    @cached_property
    def runs(self) -> pd.DataFrame:
        """The runs with the columns of trained models of metrics.csv that the page reads."""
        runs = self.analysis.runs
        names = runs[self.analysis.axes].map(level_text)
        labels = [axis_of(str(name)).label for name in names]
        arms = [
            ", ".join(f"{label}={level}" for label, level in zip(labels, row, strict=True))
            for row in names.itertuples(index=False)
        ]
        return runs.assign(likelihood="", latent_dim=0, arm=arms)

    @cached_property
    def axes(self) -> list[PageAxis]:
        """Axes of the page, the dataset first."""
        return page_axes(self.runs[self.analysis.columns], self.analysis.references, str)

    @cached_property
    def arms(self) -> Arms:
        """Arms of the page."""
        return Arms.of(self.runs, self.axes)

    @cached_property
    def contrasts(self) -> pd.DataFrame:
        """Contrasts with levels as the page names them."""
        rows = self.analysis.contrasts
        levels = {name: rows[name].map(_cell) for name in self.analysis.axes if name in rows}
        return rows.assign(**levels)

    def html(self) -> str:
        """The page."""
        found, asked = self.sections(), {*self.contrasts["question"]}
        table = self.analysis.table
        warnings = self.analysis.warnings
        some = words.count(len(warnings), "warning")
        return page(
            found,
            answers_of(self.entries, [section.id for section in found]),
            {},
            self.data(),
            asked=asked if self.analysis.replicates.ok.sum(axis=1).max() > 1 else (),
            kicker="Table of runs",
            study=table.path.stem,
            title=self.question(),
            design=self.design(),
            doubt=intervals("seeds" if self.analysis.replicates.ok.sum(axis=1).max() > 1 else ""),
            config=self.settings(),
            config_title="What was asked of which columns",
            provenance_heading="The table, and what was asked of it",
            filter_examples=self._examples(),
            checks=self.checks(),
            warnings=warnings,
            warning=some if warnings else "",
            made="this table alone; nothing was trained",
        )

    # --- text -----------------------------------------------------------------------------------

    def question(self) -> str:
        """`What do lr and model change in elbo and fid?`."""
        names = [axis.axis.label for axis in self.axes if axis.varied and not _is_data(axis)]
        metrics = [metric.label for metric in self.analysis.metrics]
        verb = words.does(names[0]) if len(names) == 1 else "do"
        return f"What {verb} {words.join(names)} change in {words.abridged(metrics)}?"

    def design(self) -> str:
        """Runs, arms, seeds and levels in two sentences."""
        runs, arms = self.analysis.runs, len(self.arms.frame)
        varied = [axis for axis in self.axes if axis.varied]
        product = prod(len(axis.levels) for axis in varied)
        which = (
            "every combination" if product == arms else f"{arms:,} of the {product:,} combinations"
        )
        named = {axis.axis.label: [one.short for one in axis.levels] for axis in varied}
        levels = words.join([f"{axis} ({words.abridged(names)})" for axis, names in named.items()])
        seeds = self.analysis.replicates.planned.sum(axis=1)
        each = f"{seeds.min()}" if seeds.min() == seeds.max() else f"{seeds.min()} to {seeds.max()}"
        one = seeds.max() == 1
        return (
            f"{self.analysis.table.path.name} has {words.count(len(runs), 'run')} of "
            f"{words.count(arms, 'arm')}, {which} of {levels}, with {each} "
            f"seed{'' if one else 's'} each. Its numbers are taken as they are."
        )

    def checks(self) -> list[dict[str, Any]]:
        """Counts that say what the numbers rest on."""
        runs = self.analysis.runs
        failed = int((runs["status"] != "ok").sum())
        seeds = self.analysis.replicates.ok.sum(axis=1)
        least, most = int(seeds.min()), int(seeds.max())
        decided = self.analysis.verdicts
        open_ = decided.get("undecided", 0)
        return [
            {"count": f"{failed:,} of {len(runs):,}", "good": not failed,
             "text": "runs did not end well."},
            {"count": f"{least}" if least == most else f"{least} to {most}", "good": least >= 5,
             "text": f"seed{'' if most == 1 else 's'} for each arm: intervals cover what a seed "
                     "changes, and nothing else."},
            {"count": f"{open_:,} of {sum(decided.values()):,}", "good": not open_,
             "text": "comparisons are undecided, which does not mean equal."},
        ]  # fmt: skip

    def settings(self) -> str:
        """What was asked, as YAML."""
        table, names = self.analysis.table, self.analysis.table.names
        metrics = {
            names[one.name]: {
                "column": table.columns[names[one.name]],
                "better": one.better or "neither",
                "scale": one.scale,
                "margin": "none" if one.convention is None else one.convention,
            }
            for one in self.analysis.metrics
        }
        axes = {
            axis.axis.label: {
                "column": table.columns[names.get(axis.axis.name, "dataset")],
                "reference": axis.levels[axis.reference].id,
                "levels": [one.id for one in axis.levels],
            }
            for axis in self.axes
            if axis.axis.name in names
        }
        asked = {"table": table.path.name, "sha256": file_digest(table.path), "axes": axes,
                 "metrics": metrics}  # fmt: skip
        return yaml.safe_dump(asked, sort_keys=False, allow_unicode=True)

    def _examples(self) -> tuple[str, str]:
        """Filters of the tables, as an example: a level, and a comparison."""
        varied = [axis for axis in self.axes if axis.varied]
        first = self.analysis.metrics[0]
        value = self.analysis.runs[first.name].median()
        return varied[-1].levels[0].short, f"{first.label}>{value:.3g}"

    # --- sections -------------------------------------------------------------------------------

    def sections(self) -> list[Section]:
        """A section for each axis with comparisons, then all effects, importance and trust."""
        asked = {*self.contrasts["question"]}
        return [
            *(self._axis(axis) for axis in self.axes if axis.axis.name in asked),
            effects(self.arms),
            *self._importance(),
            Section("trust", "What to trust", "What the numbers rest on", finds=False),
        ]

    def _axis(self, axis: PageAxis) -> Section:
        name, label = axis.axis.name, axis.axis.label
        return Section(
            name, label, f"What {label} {words.does(label)}", "", [response(axis, self.arms)], name
        )

    def _importance(self) -> list[Section]:
        """The table of spans and shares, where there is one."""
        rows = self.analysis.importance
        rows = rows[rows["span"].notna()]
        if rows.empty:
            return []
        several = len(rows["dataset"].unique()) > 1
        table = Table(
            "Span of the level means of each axis, and its share of their variance",
            ["Axis", *(["Data set"] if several else []), "Metric", "Span of level means",
             "Share of the variance"],
            [[axis_of(row["term"]).label, *([str(row["dataset"])] if several else []),
              described(row["metric"]).label, _span(row), _share(row)]
             for row in rows.to_dict("records")],
        )  # fmt: skip
        rectangle = words.join(list(dict.fromkeys(rows["rectangle"].astype(str))))
        text = (f"On the levels that all arms share: {rectangle}. Brackets are 95 % intervals over "
                "resampled seeds; × is a ratio.")  # fmt: skip
        return [Section("importance", "Importance", "Which axis moves a metric most", text,
                        table=table)]  # fmt: skip

    # --- data -----------------------------------------------------------------------------------

    def data(self) -> dict[str, Any]:
        """What contract.schema.json describes, without pictures, codes and curves."""
        arms = self.arms
        metrics = [metric.name for metric in self.analysis.metrics if metric.name in arms.metrics]
        shown = [name for name in multiples(arms, self.analysis.primary) if name in metrics]
        datasets: dict[str, Any] = {str(one): {} for one in arms.frame["dataset"].unique()}
        return {
            "version": 1,
            "study": self.analysis.table.path.stem,
            "axes": [self._as_given(axis.axis.name, axis.to_json()) for axis in self.axes],
            "metrics": {name: self._as_given(name, one)
                        for name, one in metrics_json(metrics).items()},
            "primary": [name for name in self.analysis.primary if name in metrics],
            "multiples": shown,
            "datasets": datasets,
            "arms": arms.arms_json(self._summary()),
            "runs": arms.runs_json(),
            "kl": {},
            "shown": {},
            "curves": {},
            "settings": {"model": {}, "training": {}},
            "contrasts": contrast_columns(self.contrasts, self.axes),
            "labels": {name: described(name).label for name in metrics},
            "paper": paper_tables(arms, shown),
            "controls": [],
            "applications": [],
            "tables": {},
            "reproduce": {"config": None},
            "logs": {},
            "provenance": {
                "version": __version__, "versions": {}, "code": {}, "devices": [],
                "data": file_digest(self.analysis.table.path)[:12], "train_time": "", "costs": [],
                "cost_note": "",
                "missing": [],
                "parts": [],
            },
            "omitted": 0,
        }  # fmt: skip

    def _as_given(self, name: str, described: dict[str, Any]) -> dict[str, Any]:
        """An axis or a metric, and whether its label is the caller's own name for it."""
        return described | {"given": described["label"] == self.analysis.table.names.get(name)}

    def _summary(self) -> pd.DataFrame:
        keys = self.runs.drop_duplicates(self.analysis.columns)
        keys = keys[[*self.analysis.columns, "likelihood", "latent_dim", "arm"]]
        return self.analysis.summary.merge(keys, on=self.analysis.columns).assign(model="vae")


def _is_data(axis: PageAxis) -> bool:
    return axis.axis.name == "dataset"


def _cell(level: Any) -> Any:
    return None if level is None or level != level else level_text(level)


def _span(row: Mapping[Any, Any]) -> str:
    times = 100.0 if row["scale"] == "arcsine" else 1.0
    ends = [row[name] * times for name in ("span", "span_low", "span_high")]
    none = 1.0 if row["scale"] == "log" else 0.0
    known = ends[1] == ends[1]
    places = words.interval_decimals(*ends, none=none) if known else words.decimals(abs(ends[0]))
    mean, *interval = (words.fixed(end, places) if end == end else "" for end in ends)
    sign = "×" if row["scale"] == "log" else ""
    unit = " percentage points" if row["scale"] == "arcsine" else ""
    return f"{sign}{mean}{unit}{f' [{interval[0]}, {interval[1]}]' if interval[0] else ''}"


def _share(row: Mapping[Any, Any]) -> str:
    if row["share"] != row["share"]:
        return f"not given: {row['refused']}" if row["refused"] == row["refused"] else "–"
    mean, low, high = (
        words.fixed(100 * row[name], 0) for name in ("share", "share_low", "share_high")
    )
    return f"{mean} % [{low} %, {high} %]"
