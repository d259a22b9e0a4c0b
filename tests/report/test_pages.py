"""The tables as pages: every value on them, nothing loaded from elsewhere, text kept as text."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from chromium import open_chromium
from vae_ablation.report.pages import arms_page, guide_page, plain_page, runs_page, write_pages
from vae_ablation.tables.collect import summarize, write_csv
from vae_ablation.tables.contrasts import contrasts
from vae_ablation.tables.importance import importance
from vae_ablation.tables.pareto import pareto


@pytest.fixture
def metrics() -> pd.DataFrame:
    rows = [
        {"run": f"digits/gaussian/z2/beta1/seed{seed}", "model": "vae", "dataset": "digits",
         "likelihood": "gaussian", "latent_dim": 2, "beta": 1.0, "kl": True,
         "posterior": "gaussian", "seed": seed, "status": "ok", "reason": None, "proper": True,
         "measure": "grey/density",
         "arm": "beta1", "nll": 10.0 + seed, "mse": 0.125}
        for seed in range(3)
    ]  # fmt: skip
    rows.append(rows[0] | {"run": "bad", "seed": 3, "status": "diverged", "nll": np.nan,
                           "reason": "<b>&amp; it was not finite</b>", "mse": np.nan})  # fmt: skip
    rows.append({"run": "digits/raw", "model": "raw", "dataset": "digits", "status": "ok"})
    return pd.DataFrame(rows).astype({"latent_dim": "Int64", "seed": "Int64"})


class _Table(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.open = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")
            self.open = 1

    def handle_endtag(self, tag: str) -> None:
        if tag in {"td", "th"}:
            self.open = 0

    def handle_data(self, data: str) -> None:
        if self.open:
            self.rows[-1][-1] += data


def table(page: str) -> list[dict[str, str]]:
    parser = _Table()
    parser.feed(page)
    head, *rows = parser.rows
    assert all(len(row) == len(head) for row in rows)
    return [dict(zip(head, row, strict=True)) for row in rows]


def test_every_run_and_control_is_on_the_page(metrics: pd.DataFrame) -> None:
    rows = table(runs_page(metrics))
    assert [row["run"] for row in rows] == list(metrics["run"])
    assert rows[0]["nll"] == "10"
    assert rows[3]["nll"] == ""
    assert rows[4]["beta"] == ""


def test_text_of_the_user_stays_text(metrics: pd.DataFrame) -> None:
    page = runs_page(metrics)
    assert "<b>" not in page
    assert table(page)[3]["reason"] == html.unescape(html.escape("<b>&amp; it was not finite</b>"))


def test_an_arm_has_its_mean_interval_and_seeds(metrics: pd.DataFrame) -> None:
    rows = table(arms_page(summarize(metrics)))
    arm = next(row for row in rows if row["arm"] == "beta1")
    assert arm["seeds"] == "3"
    assert arm["nll"].startswith("11")
    low, high = 11 - 4.302653 / 3**0.5, 11 + 4.302653 / 3**0.5
    assert f"{low:.4g} to {high:.4g}" in arm["nll"]


def write_tables(folder: Path, metrics: pd.DataFrame) -> None:
    """The tables that `write_pages` shows."""
    write_csv(metrics, folder / "metrics.csv")
    write_csv(summarize(metrics), folder / "summary.csv")
    for name, found in (
        ("contrasts", contrasts(metrics, ["nll"], None)),
        ("importance", importance(metrics)),
        ("pareto", pareto(metrics)),
    ):
        write_csv(found, folder / f"{name}.csv")


def test_no_page_loads_anything(metrics: pd.DataFrame, tmp_path: Path) -> None:
    write_tables(tmp_path / "tables", metrics)
    guide = tmp_path / "metrics.md"
    guide.write_text("# Columns\n\n| column | meaning |\n|---|---|\n| `nll` | a bound |\n")
    write_pages(tmp_path, guide)
    for name in ("arms", "runs", "contrasts", "importance", "pareto", "columns"):
        page = (tmp_path / "tables" / f"{name}.html").read_text()
        assert page.startswith("<!doctype html>")
        assert not re.search(r"(src|href)\s*=|@import|url\(|fetch\(|XMLHttpRequest", page)
    assert "<code>nll</code>" in page


@pytest.mark.parametrize("name", ["007", "1e5", "no", "NA", "null", "0x10"])
def test_a_dataset_has_the_same_name_on_every_page(
    name: str, metrics: pd.DataFrame, tmp_path: Path
) -> None:
    metrics["dataset"] = name
    write_tables(tmp_path / "tables", metrics)
    for table_name in ("contrasts", "importance", "pareto"):
        found = pd.DataFrame({"dataset": [name], "nll": [1.0]})
        write_csv(found, tmp_path / "tables" / f"{table_name}.csv")
    guide = tmp_path / "guide.md"
    guide.write_text("# Guide\n")
    write_pages(tmp_path, guide)
    for page in ("arms", "runs", "contrasts", "importance", "pareto"):
        rows = table((tmp_path / "tables" / f"{page}.html").read_text())
        assert rows
        assert {row["dataset"] for row in rows} == {name}, page


def test_the_guide_is_shown_as_tables() -> None:
    root = Path(__file__).parents[2]
    page = guide_page((root / "docs" / "metrics.md").read_text(encoding="utf-8"))
    assert page.count("<table>") >= 1


def test_an_empty_study_still_has_pages(metrics: pd.DataFrame) -> None:
    none = metrics[metrics["status"] == "diverged"]
    assert table(arms_page(summarize(none))) == []
    assert len(table(runs_page(none))) == 1


def test_a_long_table_shows_some_rows_and_sorts_and_filters_all(tmp_path: Path) -> None:
    count = 1200
    frame = pd.DataFrame(
        {"arm": [f"arm{i:04d}" for i in range(count)], "nll": np.arange(count) * 7 % count}
    )
    page = tmp_path / "long.html"
    page.write_text(plain_page("Long", frame, "A note."), encoding="utf-8")
    with open_chromium(tmp_path / "profile", "1000,800") as driver:
        driver.get(page.as_uri())

        def column(number: int) -> list[str]:
            rows = "[...document.querySelectorAll('tbody tr')]"
            return list(
                driver.execute_script(f"return {rows}.map(row => row.cells[{number}].textContent)")
            )

        def told() -> str:
            return str(driver.find_element("css selector", "output").text)

        button = driver.find_element("css selector", "button")
        assert column(0) == list(frame["arm"][:500])
        assert told() == "500 of 1200 rows"
        assert driver.find_element("css selector", "tbody tr").is_displayed()
        button.click()
        assert len(column(0)) == 1000
        button.click()
        assert column(0) == list(frame["arm"])
        assert told() == "1200 rows"
        assert not button.is_displayed()
        box = driver.find_element("css selector", "input")
        box.send_keys("ARM11")
        assert column(0) == [f"arm11{i:02d}" for i in range(100)]
        assert told() == "100 rows"
        driver.find_elements("css selector", "th")[1].click()
        assert column(1) == sorted(column(1), key=float)
        assert len(column(1)) == 100
        box.clear()
        box.send_keys(" ")
        assert column(1) == [f"{i:.4g}" for i in range(500)]
        box.send_keys("nothing like it")
        assert column(0) == []
        assert told() == "0 rows"
