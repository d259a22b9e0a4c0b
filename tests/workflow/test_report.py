"""Snakemake's own report opens offline: figures visible, no error, no request to anywhere."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chromium import open_chromium, requested, schemes
from workflow.place import Place

pytestmark = pytest.mark.browser


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    """Chromium without a network, its console and its requests recorded."""
    with open_chromium(tmp_path / "chromium", "1400,1000") as driver:
        yield driver


def eventually(browser: Any, found: Callable[[Any], Any]) -> Any:
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, 20, poll_frequency=0.1).until(found)


def click_menu(browser: Any, name: str) -> None:
    entries = "nav li a"
    entry = eventually(
        browser,
        lambda driver: next(
            (e for e in driver.find_elements("css selector", entries) if e.text.strip() == name),
            None,
        ),
    )
    entry.click()


def categories(browser: Any) -> list[str]:
    """Headings below Results in the menu."""
    eventually(browser, lambda driver: driver.find_elements("css selector", "nav li a"))
    lines = browser.find_element("css selector", "nav").text.splitlines()
    return lines[lines.index("RESULTS") + 1 :]


def widths_of_figures(browser: Any) -> list[int]:
    """Natural widths of the pictures shown beside the menu; 0 is a broken one."""
    return browser.execute_script(
        "return [...document.querySelectorAll('#app img')]"
        ".filter(image => image.src.includes('image/png') && image.complete)"
        ".map(image => image.naturalWidth)"
    )


PAGES = {"Findings": ("article", 3)}
"""Headings whose results are pages, in order: what is in their frame, and how many at least."""


def show_first_result(browser: Any) -> None:
    eye = eventually(
        browser, lambda d: d.find_elements("css selector", "table tbody a[iconname=eye]")
    )
    eye[0].click()


def test_report_shows_tables_and_figures_without_a_network(
    finished: Place, tmp_path: Path, browser: Any
) -> None:
    place = Place(tmp_path / "study", finished.checkout)
    shutil.copytree(finished.folder, place.folder, symlinks=True)
    # a second latent dimension: the page then has labels to sort
    place.config["grids"][0]["latent_dim"] = [2, 16]
    place.call()
    place.call("--report", "results/tiny/snakemake-report.html")
    browser.get_log("performance")  # what the browser does before it is asked for anything
    browser.get((place.study / "snakemake-report.html").as_uri())

    page = eventually(
        browser, lambda d: "Study tiny" in (text := d.find_element("id", "app").text) and text
    )
    assert "9 runs" in page
    assert "9 ok" in page
    found = json.loads((place.study / "tables" / "findings.json").read_text(encoding="utf-8"))
    assert len(found) >= 3
    for finding in (one for one in found if one["lead"]):
        assert " ".join(finding["headline"].split()) in " ".join(page.split())
    names = categories(browser)
    assert [name.partition(". ")[2] for name in names[: len(PAGES)]] == list(PAGES)
    assert len(names) >= len(PAGES) + 3
    for name in names:
        click_menu(browser, name)
        show_first_result(browser)
        shown = PAGES.get(name.partition(". ")[2])
        if shown:
            frame = eventually(browser, lambda d: d.find_elements("css selector", "iframe"))[0]
            browser.switch_to.frame(frame)
            parts = eventually(
                browser,
                lambda d, wanted=shown: (
                    len(parts := d.find_elements("css selector", wanted[0])) >= wanted[1] and parts
                ),
            )
            assert all(part.is_displayed() for part in parts[:1])
            browser.switch_to.default_content()
        else:
            widths = eventually(browser, widths_of_figures)
            assert min(widths) > 300
        browser.save_screenshot(str(tmp_path / f"{name.replace(' ', '-')}.png"))
        browser.refresh()

    severe = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert severe == []
    assert schemes(requested(browser)) <= {"file", "data", "blob"}


def test_the_command_of_a_run_makes_it_again(finished: Place, tmp_path: Path, browser: Any) -> None:
    place = Place(tmp_path / "study", finished.checkout)
    shutil.copytree(finished.folder, place.folder, symlinks=True)
    place.call()
    browser.get((place.study / "report.html").as_uri())
    eventually(browser, lambda d: d.execute_script("return document.documentElement.dataset.ready"))
    run = "digits/gaussian/z2/beta0.5/seed1"
    command = browser.execute_script("return commandOf(data.runs.path.indexOf(arguments[0]))", run)
    before = place.held()
    deletes, snakemake = command.splitlines()
    assert snakemake.startswith("snakemake --cores all --configfile study.yaml -- results/tiny/")
    subprocess.run(deletes, shell=True, cwd=place.folder, check=True)
    assert not (place.run_folder(run) / "model.safetensors").exists()
    words = shlex.split(snakemake)[1:]
    program = [sys.executable, "-m", "snakemake", "--snakefile", str(place.checkout / "Snakefile")]
    subprocess.run(
        [*program, *words], cwd=place.folder, env=place.environment(), check=True, timeout=900
    )
    assert place.held()[run].digest == before[run].digest
    assert (place.run_folder(run) / "metrics.json").is_file()
