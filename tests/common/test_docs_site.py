"""The documentation as pages: built strictly, with every link there and nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from chromium import open_chromium, requested, schemes
from vae_ablation.common.registry import ORIGINS, REGISTRIES
from vae_ablation.jobs.catalogue import KINDS, catalogue
from vae_ablation.study.axes import AXES
from vae_ablation.study.metrics import METRICS

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages, built as `make site` builds them."""
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)]
    done = subprocess.run(
        command, cwd=REPOSITORY, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return folder


class Addresses(HTMLParser):
    """Links, ids and loaded files of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = {name: value or "" for name, value in attrs}
        self.ids |= {known[name] for name in ("id", "name") if name in known}
        if tag == "a" and "href" in known:
            self.links.append(known["href"])
        self.loaded += [known["src"]] if "src" in known else []
        self.loaded += [known["href"]] if tag == "link" and "href" in known else []


def test_every_link_of_the_site_leads_somewhere(site: Path) -> None:
    pages = {path: Addresses(path.read_text("utf-8")) for path in sorted(site.rglob("*.html"))}
    assert len(pages) >= 13
    broken = []
    for path, page in pages.items():
        for address in (*page.links, *page.loaded):
            if (
                re.match(r"(https?:)?//|mailto:|data:|javascript:", address)
                or path.name == "404.html"
            ):
                continue
            place, _, anchor = address.partition("#")
            target = (path.parent / unquote(place)).resolve() if place else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file() or (anchor and unquote(anchor) not in pages[target].ids):
                broken.append(f"{path.name}: {address}")
    assert broken == []


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    for path in site.rglob("*.html"):
        loaded = Addresses(path.read_text("utf-8")).loaded
        assert [one for one in loaded if re.match(r"(https?:)?//", one)] == [], path.name
    for path in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", path.read_text("utf-8")), path


def test_every_page_of_the_docs_is_in_the_site(site: Path) -> None:
    for path in (REPOSITORY / "docs").glob("*.md"):
        assert (site / f"{path.stem}.html").is_file()
    text = (site / "index.html").read_text("utf-8")
    assert "images/report.png" in text
    assert (site / "images" / "report.png").is_file()


@pytest.mark.browser
def test_the_site_opens_and_searches_from_disk(site: Path, tmp_path: Path) -> None:
    with open_chromium(tmp_path / "profile", "1200,900") as driver:
        driver.get((site / "index.html").as_uri() + "?q=posterior")
        driver.set_script_timeout(20)
        found = driver.execute_async_script(
            "const done = arguments[0]; let left = 80; const look = () => {"
            " const found = document.querySelectorAll('.md-search-result__item').length;"
            " if (found || !left--) done(found); else setTimeout(look, 200); }; look();"
        )
        assert found > 0
        own = {"chrome"}  # what the browser asks for by itself
        assert schemes(requested(driver)) - own <= {"file", "data", "blob", "about"}


# --- the catalogue --------------------------------------------------------------------------------


def test_the_catalogue_in_the_repository_is_that_of_the_code() -> None:
    """After a new part, axis or metric: make docs."""
    assert not ORIGINS, "a test before this one left its plug-ins"
    assert (REPOSITORY / "docs" / "catalogue.md").read_text(encoding="utf-8") == catalogue()


def test_every_part_axis_and_metric_has_a_row_with_words() -> None:
    rows = [line.split(" | ") for line in catalogue().splitlines() if line.startswith("| `")]
    named = {row[0].removeprefix("| ").strip("`") for row in rows}
    own = {name for kind in KINDS for name in REGISTRIES[kind] if (kind, name) not in ORIGINS}
    assert own | {*AXES} | {*METRICS} <= named
    assert all(len(row[1].strip(" |")) > 0 for row in rows)
    assert "Metaclass" not in catalogue()
