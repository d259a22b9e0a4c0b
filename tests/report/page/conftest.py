"""A browser in which pages of the report are opened."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from chromium import open_chromium, requested, schemes
from vae_ablation.report.page.build import write_report


def axe() -> str:
    """The script of axe-core: VAE_ABLATION_AXE names one, or axe-core-python brings it."""
    named = os.environ.get("VAE_ABLATION_AXE")
    if named:
        return Path(named).read_text("utf-8")
    return (files("axe_core_python") / "axe.min.js").read_text("utf-8")


class Page:
    """A report in a browser, and what can be read off it."""

    def __init__(self, driver: Any, folder: Path) -> None:
        self.driver, self.folder = driver, folder

    def open(self, study: Path) -> Path:
        """Build the report of a study and open it; its file."""
        path = self.folder / "report.html"
        write_report(study, path)
        self.show(path)
        return path

    def show(self, path: Path) -> None:
        """Open a file and wait until it is drawn."""
        self.driver.get("about:blank")
        self.driver.get(path.as_uri())
        deadline = time.monotonic() + 30
        while not self.run("return document.documentElement.dataset.ready"):
            assert time.monotonic() < deadline, self.driver.get_log("browser")
            time.sleep(0.05)
        self.settle()

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def settle(self) -> None:
        """Let parts inflate and frames pass."""
        self.driver.execute_async_script(
            "const done = arguments[0];"
            "Promise.all([...inflated.values(), ...loadedArms.values()])"
            ".then(() => setTimeout(() => requestAnimationFrame(() => done()), 60));"
        )

    def every_state(self) -> int:
        """Show every arm with all figures drawn; their number."""
        return self.driver.execute_async_script(
            "const done = arguments[0];"
            "(async () => { for (let arm = 0; arm < ARM_COUNT; arm++) { choose(arm); redraw(true);"
            " await loadArm(arm); } done(ARM_COUNT); })();"
        )

    def broken(self) -> list[str]:
        """Figures and cells in which an undefined value shows."""
        return self.run(
            "return [...document.querySelectorAll('svg, td, dd, p, button, small')]"
            ".map((one) => one.tagName === 'svg' ? one.outerHTML : one.textContent)"
            ".filter((text) => /NaN|undefined|Infinity|\\[object/.test(text))"
            ".map((text) => text.slice(0, 300))"
        )

    def violations(self) -> dict[str, list[Any]]:
        """What axe-core finds in the light and the dark page: rule and element of each."""
        self.run(axe())
        found = {}
        for theme in ("light", "dark"):
            self.run("document.documentElement.dataset.theme = arguments[0]", theme)
            found[theme] = self.driver.execute_async_script(
                "const done = arguments[0]; axe.run().then((result) => done("
                "result.violations.map((one) => [one.id, one.nodes[0].html.slice(0, 200)])))"
            )
        return found

    def overflow(self) -> int:
        """Pixels by which the page is wider than its window."""
        return self.run("return document.documentElement.scrollWidth - innerWidth")


@pytest.fixture(scope="session")
def chromium_of_pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium without a network, its console and its requests recorded."""
    with open_chromium(tmp_path_factory.mktemp("chromium"), "1440,900") as driver:
        driver.set_script_timeout(60)
        yield driver


@pytest.fixture
def page(chromium_of_pages: Any, tmp_path: Path) -> Iterator[Page]:
    """A page of the browser; the test fails if anything was complained of or fetched."""
    opened = Page(chromium_of_pages, tmp_path)
    chromium_of_pages.set_window_size(1440, 900)
    chromium_of_pages.get("about:blank")
    chromium_of_pages.get_log("browser")
    requested(chromium_of_pages)
    yield opened
    assert [entry["message"] for entry in chromium_of_pages.get_log("browser")] == []
    assert schemes(requested(chromium_of_pages)) <= {"file", "data", "blob", "about"}
