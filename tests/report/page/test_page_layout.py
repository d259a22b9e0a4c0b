"""What stands on the page neither overlaps nor leaves the window, on a desk and on a phone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from report.page.studies import GRID, made_rows, ten_axes, write_study

pytestmark = pytest.mark.browser

OVERLAPS = """
const seen = [];
for (const svg of document.querySelectorAll(arguments[0])) {
  const words = [...svg.querySelectorAll("text")].filter((one) => one.textContent.trim());
  words.forEach((one, k) => words.slice(k + 1).forEach((other) => {
    const [a, b] = [one, other].map((word) => word.getBoundingClientRect());
    const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (wide > 4 && high > 5) seen.push(`${one.textContent} | ${other.textContent}`);
  }));
}
return seen;
"""


@contextmanager
def window(page: Any, width: int) -> Iterator[None]:
    """A window of this width."""
    screen = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    try:
        yield
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("width", [390, 1440])
def test_words_of_charts_keep_apart(width: int, page: Any, tmp_path: Path) -> None:
    with window(page, width):
        page.open(write_study(tmp_path / "results" / "made", made_rows(GRID)))
        for arm in range(page.run("return ARM_COUNT")):
            page.run("choose(arguments[0]); redraw(true)", arm)
            for figure in ("map", "response-beta", "response-likelihood", "trust"):
                selector = f'[data-figure="{figure}"] svg'
                assert page.run(OVERLAPS, selector) == [], (arm, figure)


def test_charts_are_as_wide_as_their_places(page: Any, tmp_path: Path) -> None:
    page.open(write_study(tmp_path / "results" / "made", made_rows(GRID)))
    scales = page.run(
        "return [...document.querySelectorAll('figure svg[viewBox]')].map((svg) =>"
        " svg.getBoundingClientRect().width / svg.viewBox.baseVal.width)"
    )
    assert len(scales) > 10
    assert max(scales) < 1.15


def test_further_axes_open_on_the_screen_of_a_phone(page: Any, tmp_path: Path) -> None:
    with window(page, 390):
        page.open(write_study(tmp_path / "results" / "made", ten_axes()))
        page.run("document.querySelector('.bar details.pick').open = true")
        box = page.run(
            "const box = document.querySelector('.bar details.pick > div').getBoundingClientRect();"
            "return [box.left, box.top, innerWidth - box.right, innerHeight - box.bottom]"
        )
        assert min(box) >= 0
        assert page.overflow() <= 0
