"""Take screenshots of the running Compose stack: Dagster's runs and the dashboard's overview, in headless Chromium.

    python -m m5_assets_tests.support.docker.look FOLDER

Fails if a page does not show the forecast week. `images_check.sh` starts the stack.
"""

from __future__ import annotations

import sys
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions
from selenium.webdriver.support.ui import WebDriverWait

PAGES = {
    "stack-runs.png": ("http://127.0.0.1:3000/runs", "partition: 2016-04-18"),
    "stack-dashboard.png": ("http://127.0.0.1:8050/", "Week of 18 Apr 2016"),
}
"""File name to URL and a text that the page must show."""

_SECONDS = 90


def look(folder: Path) -> None:
    """Save a screenshot of each page in the folder.

    Raises:
        selenium.common.exceptions.TimeoutException: if a page does not show its text.
    """
    options = webdriver.ChromeOptions()
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1600,1000"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
    try:
        for name, (address, text) in PAGES.items():
            browser.get(address)
            body = (By.TAG_NAME, "body")
            WebDriverWait(browser, _SECONDS).until(expected_conditions.text_to_be_present_in_element(body, text))
            browser.save_screenshot(str(folder / name))
    finally:
        browser.quit()


if __name__ == "__main__":
    look(Path(sys.argv[1]))
