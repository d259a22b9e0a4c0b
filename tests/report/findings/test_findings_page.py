"""Findings as files: what stands in the tables reaches the page, and text stays text."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
from docutils.core import publish_parts

from vae_ablation.common.files import read_json
from vae_ablation.report.figures.registry import FIGURES
from vae_ablation.report.findings import (
    Finding,
    findings_page,
    front_page,
    read_findings,
    write_findings,
)
from vae_ablation.report.findings.page import first_sentence

EVIL = "<script>`x`*y*|z|`a <javascript:b>`_"


def finding(**changes: Any) -> Finding:
    fields: dict[str, Any] = {
        "kind": "collapse", "headline": "It collapses", "sentence": "No unit is active.",
        "dataset": "d", "likelihood": "gaussian", "figure": "heatmaps",
        "evidence": {"epochs": 80, "rows": [{"arm": "beta1", "active_units": 3.25, "n": 3}]},
    }  # fmt: skip
    return Finding(**(fields | changes))


class Page(HTMLParser):
    """What a browser makes of the page: text, links and loaded addresses."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.links, self.scripts, self.loads = "", [], 0, []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.scripts += tag == "script"
        if tag == "a":
            self.links.append(named["href"])
        elif "src" in named or "href" in named:
            self.loads.append(named)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_headline_sentence_evidence_and_figure_are_on_the_page() -> None:
    page = Page(findings_page([finding(), finding(dataset="e", conclusive=False)]))
    for text in ("It collapses", "No unit is active.", "3.25", "epochs: 80", "Dataset e",
                 "not conclusive", "figure: heatmaps, gaussian"):  # fmt: skip
        assert text in page.text
    assert page.links[0] == "../figures/d/gaussian/all/heatmaps.png"
    assert page.loads == []


def test_names_from_the_user_are_text_and_never_markup() -> None:
    evil = finding(
        dataset=EVIL, likelihood=EVIL, headline=EVIL, sentence=EVIL,
        evidence={"rows": [{EVIL: EVIL}], EVIL: 1},
    )  # fmt: skip
    page = Page(findings_page([evil]))
    assert page.scripts == 1  # the page's own
    assert page.text.count(EVIL) == 5  # underscores of columns and likelihoods are spaces
    assert '"' not in page.links[0]
    assert "<" not in page.links[0]


def test_a_study_without_runs_has_a_page_that_says_so() -> None:
    assert "no run" in Page(findings_page([])).text


def test_the_figure_lies_where_figures_are_drawn() -> None:
    assert finding(latent_dim=8).figure_path == "figures/d/gaussian/z8/heatmaps.png"
    assert finding(likelihood=None).figure_path == "figures/d/all/all/heatmaps.png"
    assert finding(figure=None).figure_path is None


def test_the_front_page_has_text_that_stays_text() -> None:
    (row,) = front_page([finding(headline=EVIL, sentence=f"{EVIL}\n\n.. raw:: html\n\n  <b>")])
    html = publish_parts(f"- {row['headline']}: {row['sentence']}", writer_name="html")["body"]
    assert "<script>" not in html
    assert "<b>" not in html
    assert "<a " not in html
    assert "<em>" not in html
    assert "|z|" in html


def test_the_front_page_names_the_place_of_the_figure() -> None:
    (row,) = front_page([finding(latent_dim=2)])
    assert row["path"] == "figures/d/gaussian/z2/heatmaps.png"
    assert (row["figure"], row["dataset"], row["likelihood"], row["latent_dim"]) == (
        "heatmaps", "d", "gaussian", 2,
    )  # fmt: skip


def tables(folder: Path, dataset: str) -> None:
    """A folder with the two tables that there always are, of a study with a collapse."""
    axes = {"model": "vae", "dataset": dataset, "likelihood": "gaussian", "latent_dim": 2,
            "kl": True, "posterior": "gaussian"}  # fmt: skip
    metrics, summary = [], []
    for beta, units in ((1.0, 2), (16.0, 0)):
        arm = axes | {"arm": f"beta{beta:g}", "beta": beta}
        metrics += [
            arm | {"run": f"r{beta}{seed}", "seed": seed, "status": "ok", "active_units": units}
            for seed in range(3)
        ]
        summary.append(arm | {"metric": "active_units", "n": 3, "mean": units, "ci_low": units,
                              "ci_high": units})  # fmt: skip
    metrics.append({"model": "raw", "dataset": dataset, "run": "raw", "status": "ok"})
    (folder / "tables").mkdir(parents=True)
    pd.DataFrame(metrics).to_csv(folder / "tables" / "metrics.csv", index=False)
    pd.DataFrame(summary).to_csv(folder / "tables" / "summary.csv", index=False)


def test_files_are_written_from_the_two_tables_that_there_always_are(tmp_path: Path) -> None:
    tables(tmp_path, "NA")
    write_findings(tmp_path)
    entries = read_json(tmp_path / "tables" / "findings.json")
    assert [entry["kind"] for entry in entries] == ["collapse", "failures"]
    assert set(entries[0]) == {
        "kind", "headline", "sentence", "dataset", "likelihood", "latent_dim", "figure",
        "conclusive", "evidence",
    }  # fmt: skip
    page = Page((tmp_path / "tables" / "findings.html").read_text(encoding="utf-8"))
    assert "Dataset NA" in page.text
    assert entries[0]["sentence"] in page.text.replace("\u00a0", " ")


def test_contrasts_and_importance_add_findings_where_they_are(tmp_path: Path) -> None:
    tables(tmp_path, "d")
    row = {"dataset": "d", "likelihood": "all", "levels": "regular", "metric": "rate", "n": 6}
    shares = [row | {"term": "beta", "share": 0.9}, row | {"term": "residual", "share": 0.1}]
    pd.DataFrame(shares).to_csv(tmp_path / "tables" / "importance.csv", index=False)
    pd.DataFrame(columns=["dataset", "primary"]).to_csv(
        tmp_path / "tables" / "contrasts.csv", index=False
    )
    write_findings(tmp_path)
    assert [found.kind for found in read_findings(tmp_path)] == [
        "collapse", "importance", "failures",
    ]  # fmt: skip


def test_findings_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    assert read_findings(tmp_path) == []
    tables(tmp_path, "d")
    write_findings(tmp_path)
    found = read_findings(tmp_path)
    assert found[0].figure in FIGURES
    assert front_page(found)[0]["kind"] == "collapse"


def test_the_same_tables_give_the_same_bytes(tmp_path: Path) -> None:
    tables(tmp_path, "d")
    written = []
    for _ in range(2):
        write_findings(tmp_path)
        files = sorted((tmp_path / "tables").glob("findings.*"))
        written.append([path.read_bytes() for path in files])
    assert written[0] == written[1]


def test_the_first_page_leads_with_the_first_sentence() -> None:
    assert first_sentence("It is 0.92 (95 % interval 0.42 to 1.42, n = 3). Then more. And") == (
        "It is 0.92 (95 % interval 0.42 to 1.42, n = 3)."
    )
    assert first_sentence("One alone.") == "One alone."
