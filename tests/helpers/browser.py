"""A headless Chromium that opens pages from files, and tells what they complained of and what they asked for."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--force-device-scale-factor=1", "--hide-scrollbars",
)  # fmt: skip
PROGRAMS = {"chromium": ("chromium", "chromium-browser", "google-chrome"), "chromedriver": ("chromedriver",)}


def missing(what: str) -> None:
    """Skip and say why; in CI, where nothing may be missing, fail."""
    text = f"page tests need {what}: pip install selenium; apt-get install chromium chromium-driver"
    if os.environ.get("CI"):
        pytest.fail(text)
    pytest.skip(text)


def _program(kind: str) -> str:
    found = next((path for name in PROGRAMS[kind] if (path := shutil.which(name))), None)
    if found is None:
        missing(kind)
    return str(found)


class Browser:
    """``driver`` is selenium's; a page is opened at one window size at a time."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, path: Path) -> None:
        self.complaints()
        self.requests()
        self.driver.get(path.as_uri())

    def resize(self, width: int, height: int) -> None:
        """The size of the page's view, whatever the window has around it."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        # The page hears of it with its next frame, so the frame after that one shows what it made of it.
        self.driver.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")

    def run(self, script: str, *given: Any) -> Any:
        return self.driver.execute_script(f"return {script}", *given)

    def complaints(self) -> list[str]:
        """Everything on the console since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Addresses that were asked for since the last call."""
        events = (json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance"))
        return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """One with the empty folder ``profile`` for its own files."""
    try:
        from selenium import webdriver
    except ImportError:
        missing("selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = _program("chromium")
    for option in (*OPTIONS, f"--user-data-dir={profile}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(executable_path=_program("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    try:
        yield Browser(driver)
    finally:
        driver.quit()
