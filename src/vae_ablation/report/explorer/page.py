"""The runs of one dataset as a single file without external resources."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from vae_ablation.common.files import write_text
from vae_ablation.common.isolation import Isolated
from vae_ablation.data.prepare import load_dataset
from vae_ablation.report.explorer.choice import Choice, choose_runs
from vae_ablation.report.explorer.payload import describe_examples, describe_run, shown_rows
from vae_ablation.report.figures.results import StudyResults
from vae_ablation.study.workflow import read_frozen

REPORT_BYTES = 1_540_000
"""Largest page that opens in the report: it lies there as a base64 address in a frame, and Chromium
opens no address above 2 MiB."""
_NOTES = 1000
"""Bytes for the other text of the page."""


@dataclass(frozen=True)
class Contents:
    """Contents of the pages of one dataset.

    Attributes:
        examples: `describe_examples`.
        wanted: number of runs chosen.
        runs: the runs that can be described, by importance. Left out are those without finite
            codes, and any in which an error arises that nobody foresaw (the log has it).
    """

    examples: dict[str, Any]
    wanted: int
    runs: dict[Choice, dict[str, Any]]

    @classmethod
    def of(cls, folder: Path, dataset_name: str) -> Contents:
        """Read a study's folder; see `write_explorer`."""
        study, _ = read_frozen(folder)
        dataset = load_dataset(dataset_name, study.prepared[study.data_of(dataset_name)[0]])
        rows = shown_rows(dataset)
        results = StudyResults(folder)
        choices = choose_runs(results, dataset_name)
        part = Isolated("explorer")
        described = {
            choice: part(choice.run, partial(describe_run, results, choice, rows), None)
            for choice in choices
        }
        runs = {choice: run for choice, run in described.items() if run is not None}
        return cls(describe_examples(dataset, rows), len(choices), runs)

    def page(self, max_bytes: int | None) -> str:
        """The page, with as many runs as `max_bytes` hold."""
        frame = len(render({**self.examples, "runs": []}).encode()) + _NOTES
        held = dict(_held(self.runs, None if max_bytes is None else max_bytes - frame))
        shown = sorted(held, key=lambda choice: choice.order)
        return render(
            {
                **self.examples,
                "runs": [held[choice] for choice in shown],
                "start": shown.index(next(iter(held))) if held else 0,
                "note": _note(self.wanted, len(self.runs), len(held)),
            }
        )


def write_explorers(folder: Path, dataset_name: str, target: Path) -> None:
    """Write the page for the report, and beside its folder one that leaves no run out.

    Args:
        folder: results/<study>.
        dataset_name: the dataset.
        target: <explorer>/report/<dataset>.html; the full page is <explorer>/<dataset>.html.
    """
    contents = Contents.of(folder, dataset_name)
    write_text(target.parents[1] / target.name, contents.page(None))
    write_text(target, contents.page(REPORT_BYTES))


def write_explorer(
    folder: Path, dataset_name: str, target: Path, max_bytes: int | None = REPORT_BYTES
) -> None:
    """Write the latent explorer of a dataset.

    Args:
        folder: results/<study>, with its tables.
        dataset_name: the dataset.
        target: the HTML file to write.
        max_bytes: size of the page at which further runs are left out (the page says how many), the
            least important first; None holds them all.

    Raises:
        UserError: the folder holds no study, or its data or weights cannot be read.
    """
    write_text(target, Contents.of(folder, dataset_name).page(max_bytes))


def _note(wanted: int, described: int, held: int) -> str:
    if not wanted:
        return "Nothing can be drawn: no successful run has two or more dimensions."
    if not described:
        return "Nothing can be drawn: no run has finite codes that can be shown."
    if not held:
        return "Nothing can be drawn: even one decoder is too large for a page of the report."
    notes = []
    if described > held:
        notes.append(
            f"{described - held} of the {wanted} selected runs do not fit into this page of the "
            "report; the page in the study's folder explorer/ has all of them."
        )
    if wanted > described:
        notes.append(
            f"{wanted - described} of the {wanted} selected runs cannot be shown; see the log of "
            "the explorer."
        )
    return " ".join(notes)


def _held(
    runs: Mapping[Choice, dict[str, Any]], room: int | None
) -> Iterator[tuple[Choice, dict[str, Any]]]:
    """Runs by importance, as long as there is room (bytes)."""
    for choice, described in runs.items():
        size = len(_json(described).encode()) + 2
        if room is None or size <= room:
            yield choice, described
            room = None if room is None else room - size


def render(page: dict[str, Any]) -> str:
    """The page with everything inlined."""
    parts = {name: _part(f"explorer.{name}") for name in ("html", "css", "js")}
    parts["js"] = _part("decoder.js") + parts["js"]
    filled = {
        "{{TITLE}}": html.escape(f"Latent explorer: {page['dataset']}"),
        "{{DATA}}": _json(page),
        "/*STYLE*/": parts["css"],
        "/*SCRIPT*/": parts["js"],
    }
    # in one pass, so that a mark inside of what is filled in stays what it is
    marks = "|".join(map(re.escape, filled))
    return re.sub(marks, lambda mark: filled[mark[0]], parts["html"])


def _part(name: str) -> str:
    return files("vae_ablation.report.explorer").joinpath(name).read_text(encoding="utf-8")


def _json(value: Any) -> str:
    """JSON that can stand in a script element: no `<` can end or open one."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
