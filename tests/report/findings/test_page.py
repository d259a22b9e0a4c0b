"""Findings as files: what stands in the tables reaches the page, and text stays text."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from docutils.core import publish_parts

from planted import contrast, runs, summary
from vae_ablation.common.files import read_json
from vae_ablation.report.findings import findings_page, front_page, read_findings, write_findings
from vae_ablation.report.findings.page import first_sentence

EVIL = "<script>`x`*y*|z|`a <javascript:b>`_"


def entry(**changes: Any) -> dict[str, Any]:
    return {
        "id": "d/collapse", "question": "collapse", "section": "collapse", "dataset": "d",
        "headline": "It collapses", "text": "No unit is active.", "verdict": "collapsed",
        "lead": True, "caveats": [], "numbers": [],
        "evidence": {"rows": [{"arm": "beta1", "active_units": 3.25, "n": 3}]}, **changes,
    }  # fmt: skip


class Page(HTMLParser):
    """What a browser makes of the page: text, scripts, loaded addresses and open folds."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.scripts = "", 0
        self.loads: list[dict[str, str | None]] = []
        self.folds: list[bool] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.scripts += tag == "script"
        if "src" in named or "href" in named:
            self.loads.append(named)
        if tag == "details":
            self.folds.append("open" in named)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_headline_text_evidence_and_verdict_are_on_the_page() -> None:
    page = Page(findings_page([entry(), entry(dataset="e", verdict="")]))
    for text in ("It collapses", "No unit is active.", "3.25", "Dataset e", "collapsed"):
        assert text in page.text
    assert page.loads == []


def test_what_does_not_lead_is_folded() -> None:
    page = Page(findings_page([entry(), entry(lead=False, headline="Aside"), entry(lead=False)]))
    assert "2 further findings" in page.text
    assert page.folds == [False] * 4
    assert page.text.index("It collapses") < page.text.index("Aside")


def test_a_page_on_which_nothing_leads_is_open() -> None:
    assert Page(findings_page([entry(lead=False)])).folds == [True, False]


def test_a_caveat_is_said_once() -> None:
    page = Page(
        findings_page([entry(caveats=["It is a bound."]), entry(caveats=["It is a bound."])])
    )
    assert page.text.count("It is a bound.") == 1


def test_names_from_the_user_are_text_and_never_markup() -> None:
    evil = entry(dataset=EVIL, headline=EVIL, text=EVIL, verdict=EVIL, caveats=[EVIL],
                 evidence={"rows": [{EVIL: EVIL}]})  # fmt: skip
    page = Page(findings_page([evil]))
    assert page.scripts == 0
    assert page.text.count(EVIL) == 6  # underscores of columns are spaces
    assert page.loads == []


def test_a_study_without_runs_has_a_page_that_says_so() -> None:
    assert "no run" in Page(findings_page([])).text


def test_the_front_page_has_text_that_stays_text() -> None:
    (row,) = front_page([entry(headline=EVIL, text=f"{EVIL}\n\n.. raw:: html\n\n  <b>")])
    html = publish_parts(f"- {row['headline']}: {row['lead']}", writer_name="html")["body"]
    for markup in ("<script>", "<b>", "<a ", "<em>"):
        assert markup not in html
    assert "|z|" in html


def test_the_front_page_has_what_leads() -> None:
    assert len(front_page([entry(), entry(lead=False)])) == 1


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("It fell. It rose.", "It fell."),
        ("It fell by 3.5 nats (2.1 to 4.0). It rose.", "It fell by 3.5 nats (2.1 to 4.0)."),
        ("It fell", "It fell"),
    ],
)
def test_the_first_sentence_ends_at_a_full_stop_before_a_capital(text: str, first: str) -> None:
    assert first_sentence(text) == first


def study(folder: Path, **more: pd.DataFrame) -> Path:
    """A study folder with tables of a collapse."""
    metrics = runs(lambda lik, dim, beta, seed: {"active_units": 0 if beta == 16 else 2})
    tables = {"metrics": metrics, "summary": summary(metrics), **more}
    (folder / "tables").mkdir(parents=True)
    for name, table in tables.items():
        table.to_csv(folder / "tables" / f"{name}.csv", index=False)
    return folder


def test_tables_without_contrasts_make_counts_and_no_claim(tmp_path: Path) -> None:
    write_findings(study(tmp_path))
    assert [one["id"] for one in read_findings(tmp_path)] == ["d/failures", "d/convergence"]


def test_files_follow_the_documented_schema(tmp_path: Path) -> None:
    rows = [contrast("beta", "16", "nll", (20.1, 18.0, 22.2), "worse")]
    write_findings(study(tmp_path, contrasts=pd.DataFrame(rows)))
    entries = read_json(tmp_path / "tables" / "findings.json")
    assert entries[0]["id"] == "d/collapse"
    described = Path("docs/findings.md").read_text(encoding="utf-8")
    for name in {*entries[0], *entries[0]["numbers"][0]}:
        assert f"`{name}`" in described
    page = Page((tmp_path / "tables" / "findings.html").read_text(encoding="utf-8"))
    assert entries[0]["text"] in page.text.replace("\u00a0", " ")
    assert len(read_json(tmp_path / "tables" / "front_page.json")) == 3


def test_a_study_without_findings_yet_has_none(tmp_path: Path) -> None:
    assert read_findings(tmp_path) == []
