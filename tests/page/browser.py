"""A headless Chromium without a network: opens a page, does what a user does, and tells what went wrong in it."""

import json
import shutil
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium", "chromedriver")
AXE = Path(__file__).with_name("axe.min.js")
SWITCHES = (
    "--headless=new",
    "--no-sandbox",  # tests may run as root, where Chromium has none
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--window-size=1280,900",
)


class Browser:
    """What tests ask of a browser. Its profile lies in a folder of the tests."""

    def __init__(self, folder: Path) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = str(shutil.which("chromium"))
        for switch in (*SWITCHES, f"--user-data-dir={folder}"):
            options.add_argument(switch)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        # The path of the driver is given: Selenium would look for one in the network.
        self.driver = webdriver.Chrome(options=options, service=Service(str(shutil.which("chromedriver"))))
        self.command("Emulation.setFocusEmulationEnabled", enabled=True)
        self.command("Network.enable")
        self.command("Performance.enable", timeDomain="threadTicks")
        offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
        self.command("Network.emulateNetworkConditions", **offline)

    def quit(self) -> None:
        self.driver.quit()

    def command(self, name: str, **values: Any) -> Any:
        """A command of the DevTools protocol."""
        return self.driver.execute_cdp_cmd(name, values)

    def open(self, page: Path, address: str = "", width: int = 1280, dark: bool = False) -> None:
        """Open the page anew, in a window of this width, with what is logged from here on."""
        self.driver.get("about:blank")
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", features=[scheme])
        self.complaints()
        self.requests()
        self.driver.get(f"{page.as_uri()}{address}")

    def run(self, script: str, *arguments: Any) -> Any:
        """The value of a script, which `return`s it."""
        return self.driver.execute_script(script, *arguments)

    def click(self, selector: str) -> None:
        self.find(selector).click()

    def wait(self, selector: str) -> None:
        """Wait until a selector finds something: what a click begins may end a little later."""
        from selenium.webdriver.support.wait import WebDriverWait

        WebDriverWait(self.driver, 20, 0.1).until(lambda driver: driver.find_elements("css selector", selector))

    def find(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def texts(self, selector: str) -> list[str]:
        """The texts of all elements that a selector finds, as they are shown."""
        return self.run(
            "return [...document.querySelectorAll(arguments[0])].map(one => one.innerText.trim())", selector
        )

    def address(self) -> str:
        """The part of the address behind `#`."""
        return self.run("return decodeURIComponent(location.hash.slice(1))")

    def everything(self) -> None:
        """Have all sections made, as the printer does."""
        self.run("dispatchEvent(new Event('beforeprint'))")

    def busy(self) -> float:
        """Seconds of the processor that the page has taken since it was opened."""
        found = self.command("Performance.getMetrics")["metrics"]
        return next(float(one["value"]) for one in found if one["name"] == "TaskDuration")

    def complaints(self) -> list[str]:
        """What the browser has written to its console."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """The addresses that were asked for, those in the page itself apart."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"]
        return [url for url in asked if not url.startswith(("data:", "about:", "blob:"))]

    def accessibility(self) -> list[str]:
        """What axe-core finds wrong, a line for each rule, with the first element of each."""
        self.driver.execute_script(AXE.read_text(encoding="utf-8"))
        found = self.driver.execute_async_script(
            "const done = arguments[0]; axe.run(document, {resultTypes: ['violations']}).then(r => done(r.violations))"
        )
        return [f"{one['id']}: {one['help']}: {one['nodes'][0]['html'][:200]}" for one in found]
