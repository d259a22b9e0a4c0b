"""Chromium without a network, for the tests that look at pages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


@contextmanager
def open_chromium(profile: Path, size: str) -> Iterator[Any]:
    """A driver whose console and requests are recorded; the test is skipped without a browser."""
    webdriver = pytest.importorskip("selenium.webdriver")
    missing = [str(path) for path in (CHROMIUM, DRIVER) if not path.exists()]
    if missing:
        pytest.skip(f"no {' and no '.join(missing)}: install Debian's chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for option in (*OPTIONS, f"--window-size={size}", f"--user-data-dir={profile}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    yield driver
    driver.quit()


def requested(driver: Any) -> set[str]:
    """Addresses that were asked for since this was last called."""
    messages = (json.loads(entry["message"])["message"] for entry in driver.get_log("performance"))
    return {
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    }


def schemes(addresses: set[str]) -> set[str]:
    """What stands before the first colon of addresses."""
    return {address.split(":")[0] for address in addresses}
