"""Chromium without a window, driven by selenium, for pages that are opened from disk: Debian's packages chromium and
chromium-driver. Nothing is fetched: both programs are named to selenium, and the browser's own calls home are off."""

import base64
import json
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
MISSING = "Chromium is not installed: apt-get install chromium chromium-driver"
SECONDS = 60.0
QUIET = (
    "--headless=new", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-default-apps", "--disable-dev-shm-usage",
    "--hide-scrollbars",
)  # fmt: skip


class Browser:
    """One browser with a profile of its own, used in a `with` statement."""

    def __init__(self) -> None:
        options = Options()
        options.binary_location = CHROMIUM or ""
        for flag in (*QUIET, *(["--no-sandbox"] if os.geteuid() == 0 else [])):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        self.driver.set_page_load_timeout(SECONDS)
        self.resize(1280, 900)

    def __enter__(self) -> "Browser":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.driver.quit()

    def command(self, name: str, **arguments: Any) -> dict[str, Any]:
        """A command of the DevTools protocol."""
        return self.driver.execute_cdp_cmd(name, arguments)

    def resize(self, width: int, height: int, phone: bool = False) -> None:
        """The size of what is seen, in pixels."""
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone
        )

    def scheme(self, scheme: str) -> None:
        """The colours that the system prefers: `light` or `dark`; it never wants motion, which clicks would miss."""
        wanted = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
        self.command(
            "Emulation.setEmulatedMedia", features=[{"name": name, "value": value} for name, value in wanted.items()]
        )

    def open(self, page: Path) -> None:
        """Open a page from disk, its charts drawn when it has any."""
        self.driver.get(page.resolve().as_uri())
        if self.run("return !!document.querySelector('script[src]')"):
            self.wait("return !!document.querySelector('.main-svg')")

    def open_until(self, page: Path, condition: str) -> None:
        """Open a page again until a script returns something true: what the last page stored reaches the next one
        through another process, in its own time."""

        def opened(_: object) -> bool:
            self.open(page)
            return bool(self.run(condition))

        WebDriverWait(self.driver, SECONDS, poll_frequency=0.2).until(opened)

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script in the page; what it returns."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, condition: str) -> None:
        """Wait until a script returns something true."""
        WebDriverWait(self.driver, SECONDS, poll_frequency=0.05).until(lambda _: self.run(condition))

    def find(self, selector: str) -> WebElement:
        """The first element that fits a CSS selector."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        """The words of every element that fits a selector and is seen."""
        found = self.driver.find_elements(By.CSS_SELECTOR, selector)
        return [element.text for element in found if element.is_displayed()]

    def complaints(self) -> list[str]:
        """What the browser wrote to its console since it was last asked."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Addresses asked for since the last time."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]

    def picture(self, whole: bool = False) -> bytes:
        """What is seen, or the whole page, as PNG."""
        return base64.b64decode(self.command("Page.captureScreenshot", captureBeyondViewport=whole)["data"])

    def paper(self) -> bytes:
        """The page as it is printed, as PDF."""
        return base64.b64decode(self.command("Page.printToPDF", printBackground=False)["data"])
