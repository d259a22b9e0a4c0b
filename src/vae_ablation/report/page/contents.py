"""Contents of the page: everything it shows, as one JSON value, by contract.schema.json."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from vae_ablation import __version__
from vae_ablation.common.errors import UserError
from vae_ablation.common.files import read_json
from vae_ablation.common.isolation import Isolated
from vae_ablation.data.examples import spaced
from vae_ablation.data.prepare import load_dataset
from vae_ablation.report.figures.results import StudyResults
from vae_ablation.report.findings import words
from vae_ablation.report.page.arms import Arms, control_rows, metrics_json, multiples
from vae_ablation.report.page.arrays import (
    MAX_CODES,
    Parts,
    Shown,
    describe_arms,
    describe_curves,
    describe_examples,
    describe_originals,
)
from vae_ablation.report.page.axes import PageAxis, page_axes
from vae_ablation.report.page.contrasts import contrast_columns
from vae_ablation.report.page.paper import paper_tables
from vae_ablation.report.page.profiles import MOST_NAMES, describe_profiles
from vae_ablation.report.page.values import Column, plain, scrubbed, shorts, table, without_places
from vae_ablation.study.axes import is_setting
from vae_ablation.study.metrics import CONVERGED_DRIFT, described
from vae_ablation.study.plugins import described_parts
from vae_ablation.study.workflow import read_frozen
from vae_ablation.tables.collect import summarize_applications, unscored

log = logging.getLogger(__name__)

MOST_ROWS = 5000
"""Rows of a table that is shown as it is."""
LOG_LINES = 20
_OBSERVED = ("shape", "levels", "binary", "counts", "classes", "proteins", "batches", "real")
MOST_LOGS = 50


class Contents:
    """Contents of the page of a study.

    Args:
        folder: results/<study>.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results = StudyResults(folder)
        self.parts = Parts()

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved config, without absolute paths."""
        return scrubbed(self.results.config)

    @cached_property
    def overview(self) -> dict[str, Any]:
        """tables/overview.json; empty without one."""
        path = self.folder / "tables" / "overview.json"
        return read_json(path) if path.is_file() else {}

    @cached_property
    def margin(self) -> float:
        """Nats by which the validation objective of a converged run may still change."""
        return float(self.overview.get("margin", CONVERGED_DRIFT))

    @cached_property
    def runs(self) -> pd.DataFrame:
        """Rows of trained models of metrics.csv."""
        metrics = self.results.metrics
        return metrics[metrics["model"] == "vae"]

    @cached_property
    def axes(self) -> list[PageAxis]:
        """Axes of the study; none without runs."""
        return page_axes(self.runs, self.references, words.likelihood) if len(self.runs) else []

    @cached_property
    def references(self) -> dict[str, Any]:
        """Reference levels that the config names, of settings those of the study itself."""
        own = {
            name: (self.config.get(section) or {})[key]
            for name in self.runs
            for section, _, key in [str(name).partition(".")]
            if is_setting(str(name)) and key in (self.config.get(section) or {})
        }
        return own | ((self.config.get("statistics") or {}).get("reference") or {})

    @cached_property
    def arms(self) -> Arms:
        """Arms of the study."""
        return Arms.of(self.runs, self.axes)

    @cached_property
    def primary(self) -> list[str]:
        """Primary metrics of the config."""
        return list((self.config.get("statistics") or {}).get("primary_metrics") or [])

    @cached_property
    def contrasts(self) -> pd.DataFrame:
        """contrasts.csv; empty where it names no questions."""
        found = self.results.contrasts
        return found if "question" in found else found.iloc[:0]

    @cached_property
    def applications(self) -> pd.DataFrame:
        """Scores of applications."""
        return self.results.applications

    def has(self, part: str) -> bool:
        """Whether a part is there; see `sections`."""
        if part == "effects":
            return bool(len(self.contrasts))
        if part == "elsewhere":
            return bool((self.contrasts["question"] == "model").any())
        if part == "applications":
            return bool(len(self.applications))
        if part == "curves":
            return bool(self.curves)
        wanted = {"pictures": "reconstructions", "codes": "codes"}[part]
        return any(wanted in arm for arm in self.shown.values())

    # --- parts ----------------------------------------------------------------------------------

    @cached_property
    def shown(self) -> dict[str, Any]:
        """Pictures, codes and decoders of arms by place."""
        fine = self.arms.runs[self.arms.runs["status"] == "ok"]
        if "split_seed" in fine:  # pictures of one split, whose examples are the originals
            first = fine.groupby("dataset")["split_seed"].transform("min")
            fine = fine[fine["split_seed"] == first]
        fine = fine.drop_duplicates("arm_at")
        runs = dict(zip(fine["arm_at"], fine["run"].astype(str), strict=True))
        order = sorted(runs, key=lambda at: (self._far(at), at))
        return describe_arms(self.results, [Shown(at, runs[at]) for at in order], self.parts)

    @cached_property
    def curves(self) -> dict[str, Any]:
        """Curves of training of runs by place."""
        runs = self.arms.runs
        places = runs["arm_at"].tolist()
        return describe_curves(self.results, runs["run"].astype(str).tolist(), places, self.parts)

    def _far(self, arm: int) -> tuple[int, int]:
        """Number of axes on which an arm is away from the reference, first not counting KL off."""
        levels = list(zip(self.axes, self.arms.frame["at"][arm], strict=True))
        away = [axis.levels[level].id for axis, level in levels if level != axis.reference]
        return sum(level != "kl-off" for level in away), len(away)

    @cached_property
    def datasets(self) -> dict[str, Any]:
        """Shape, classes and originals of each data set."""
        names: list[str] = sorted(set(self.runs["dataset"].astype(str)))
        safe = Isolated("report")
        nothing: dict[str, Any] = {}
        return {name: safe(name, partial(self._dataset, name), nothing) for name in names}

    def _dataset(self, name: str) -> dict[str, Any]:
        own = self.runs[self.runs["dataset"].astype(str) == name]
        shown = [arm["run"] for arm in self.shown.values() if arm["run"].startswith(f"{name}/")]
        runs = [*shown, *own.loc[own["status"] == "ok", "run"].astype(str).head(3)]
        record = next(filter(None, map(self._record, runs)), {})
        observed = record.get("observed") or {}
        described = {
            "observed": {key: observed[key] for key in _OBSERVED if key in observed},
            "originals": describe_originals(self.results, runs, name, self.parts),
        }
        return {**described, **self._examples(name, observed), **self._labels(name, runs, record)}

    def _examples(self, name: str, observed: Mapping[str, Any]) -> dict[str, Any]:
        """Test examples, or profiles of test cells; nothing where the data are not there."""

        def read() -> dict[str, Any]:
            study, _ = read_frozen(self.folder)
            prepared = study.prepared[study.data_of(name)[0]]
            dataset = load_dataset(name, prepared)
            if observed.get("counts"):
                return describe_profiles(dataset, MAX_CODES)
            if len(dataset.observed.shape) > 1:
                return describe_examples(dataset, self.parts)
            return {"features": [str(name) for name in dataset.features[:MOST_NAMES]]}

        nothing: dict[str, Any] = {}
        try:
            return Isolated("report")(f"examples of {name}", read, nothing)
        except (UserError, OSError) as error:
            log.warning("no examples of %s: %s", name, error)
            return nothing

    def _labels(self, name: str, runs: Sequence[str], record: Mapping[str, Any]) -> dict[str, Any]:
        """Class of each shown test example, and names of the classes."""
        arrays = next((found for run in runs if (found := self.results.codes(run))), None)
        if arrays is None or "labels" not in arrays:
            return {"labels": [], "classes": [], "test": None}
        labels = arrays["labels"]
        classes = sorted({int(label) for label in labels if label >= 0})
        names = record.get("label_names") or []
        rank = {label: at for at, label in enumerate(classes)}
        shown = labels[spaced(len(labels), MAX_CODES)].tolist()
        return {
            "labels": [rank.get(label, -1) for label in shown],
            "classes": [
                str(names[label]) if label < len(names) else str(label) for label in classes
            ],
            "test": len(labels),
        }

    def _record(self, run: str) -> dict[str, Any]:
        path = self.folder / "runs" / run / "run.json"
        return read_json(path) if path.is_file() else {}

    @cached_property
    def kl(self) -> dict[str, list[float | int | None]]:
        """KL of each latent dimension, largest first, by run (place as text)."""
        if len(self.arms.runs) > 1500:
            return {}
        rates = ((at, self.results.rate_per_dim(run)) for at, run in self._paths())
        return {
            str(at): shorts(sorted(rate, reverse=True)) for at, rate in rates if rate is not None
        }

    def _paths(self) -> Iterable[tuple[int, str]]:
        return enumerate(self.arms.runs["run"].astype(str))

    def contrasts_json(self) -> dict[str, Any]:
        """Rows of contrasts.csv by column, the most important first where there are too many."""
        return contrast_columns(self.contrasts, self.axes)

    def applications_json(self) -> list[dict[str, Any]]:
        """Mean score of each application, method and arm, with its interval over replicates."""
        if not len(self.applications):
            return []
        return [
            {str(name): plain(value) for name, value in row.items() if not pd.isna(value)}
            for row in summarize_applications(self.applications).to_dict("records")
        ]

    def tables_json(self) -> dict[str, dict[str, Column]]:
        """Tables that are shown as they are, by name, each by column."""
        found = {"importance": self.results.importance, "pareto": self.results.pareto}
        return {name: table(rows.iloc[:MOST_ROWS]) for name, rows in found.items() if len(rows)}

    def provenance(self) -> dict[str, Any]:
        """Versions, code, device and costs."""
        path = self.folder / "tables" / "costs.csv"
        costs = pd.read_csv(path).to_dict("records") if path.is_file() else []
        runs = self.arms.runs
        firsts = runs.loc[runs["status"] == "ok", "run"].astype(str).head(1)
        record = self._record(firsts.iloc[0]) if len(firsts) else {}
        note = self.folder / "tables" / "costs.txt"
        versions = {k: v for k, v in (record.get("versions") or {}).items() if k != "platform"}
        return {
            "version": __version__,
            "versions": {str(name): str(value) for name, value in versions.items()},
            "code": {str(k): int(v) for k, v in self.overview.get("code", {}).items()},
            "devices": [str(one) for one in self.overview.get("device", [])],
            "data": str(record.get("data_checksum", ""))[:12],
            "train_time": str(self.overview.get("train_time", "")),
            "costs": [{name: plain(value) for name, value in row.items()} for row in costs],
            "cost_note": note.read_text(encoding="utf-8").strip() if note.is_file() else "",
            "missing": [
                *(_unescaped(line) for line in self.overview.get("missing", [])),
                *map(without_places, unscored(self.results.applied_rows)),
            ],
            "parts": described_parts(),
        }

    @cached_property
    def packs(self) -> dict[str, str]:
        """Pack of each planned run; none where the study is tables alone."""
        path = self.folder / "plan.json"
        runs = read_json(path).get("runs", []) if path.is_file() else []
        return {str(one["path"]): str(one["pack"]) for one in runs}

    def config_path(self) -> str | None:
        """The config file from which the study was made; None where none is known."""
        path = self.folder / "plan.json"
        origin = read_json(path).get("config_path") if path.is_file() else None
        return without_places(str(origin)) if origin else None

    def logs(self) -> dict[str, list[str]]:
        """Last lines of the logs of runs that are not ok, by run (place as text)."""
        bad = self.arms.runs[self.arms.runs["status"] != "ok"].head(MOST_LOGS)
        found = {at: self._log(str(run)) for at, run in bad["run"].items()}
        return {str(at): lines for at, lines in found.items() if lines}

    def _log(self, run: str) -> list[str]:
        path = self.folder / "logs" / "train" / f"{self.packs.get(run, '')}.log"
        if not path.is_file():
            return []
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        return [without_places(line)[:500] for line in lines[-LOG_LINES:]]

    def to_json(self) -> dict[str, Any]:
        """Everything, as contract.schema.json describes it; compressed parts are in `parts`."""
        arms = self.arms
        shown = self.shown
        metrics = list(arms.metrics)
        return {
            "version": 1,
            "study": self.folder.name,
            "axes": [axis.to_json() for axis in self.axes],
            "metrics": self._metrics_json(metrics),
            "primary": [name for name in self.primary if name in metrics],
            "multiples": multiples(arms, self.primary),
            "datasets": self.datasets,
            "arms": arms.arms_json(self.results.summary),
            "runs": arms.runs_json(),
            "kl": self.kl,
            "shown": shown,
            "curves": self.curves,
            "settings": self._settings(),
            "contrasts": self.contrasts_json(),
            "labels": {name: described(name).label for name in _named(self.contrasts)},
            "paper": paper_tables(arms, multiples(arms, self.primary)),
            "controls": control_rows(self.results.metrics, metrics),
            "applications": self.applications_json(),
            "tables": self.tables_json(),
            "reproduce": {"config": self.config_path()},
            "logs": self.logs(),
            "provenance": self.provenance(),
            "omitted": self.parts.omitted,
        }

    def _metrics_json(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Metrics of the page; errors of data have the unit of the data, where all have one."""
        kinds = {_data_unit(one.get("observed") or {}) for one in self.datasets.values()}
        unit = kinds.pop() if len(kinds) == 1 else "data units"
        found = metrics_json(names)
        return {
            name: one | {"unit": f"{unit}²"} if one["unit"] == "intensity²" else one
            for name, one in found.items()
        }

    def _settings(self) -> dict[str, Any]:
        """Settings of model and training that the runs share, as text."""
        return {
            section: {
                key: _setting_text(value) for key, value in (self.config.get(section) or {}).items()
            }
            for section in ("model", "training")
        }

    def config_text(self) -> str:
        """The resolved config as YAML."""
        return yaml.safe_dump(self.config, sort_keys=False, allow_unicode=True)


def _data_unit(observed: Mapping[str, Any]) -> str:
    if observed.get("counts"):
        return "counts"
    return "standardised" if observed.get("real") else "intensity"


def _named(contrasts: pd.DataFrame) -> list[str]:
    return sorted(set(contrasts["metric"].astype(str))) if len(contrasts) else []


def _setting_text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value).replace("_", " ")


def _unescaped(text: Any) -> str:
    """A line of overview.json, which is escaped for reStructuredText, as text."""
    return without_places(str(text).replace("\\", ""))
