"""The pages in a browser: charts, keyboard, phone, accessibility, print."""

from __future__ import annotations

import base64
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from m5_assets_tests.support.dashboard_data import GONE, NEWEST, SCORED

PAGES = {
    "/": 1,
    "/explore": 1,
    f"/explore?store={GONE[1]}&item={GONE[0]}": 1,
    "/explore?q=FOODS": 0,
    "/exceptions": 0,
    f"/accuracy?week={SCORED}": 4,
    "/?week=2011-01-03": 0,
}
"""Each page and its number of charts."""

_CONTRAST = """
const channel = c => { c /= 255; return c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4 };
const light = ([r, g, b]) => .2126 * channel(r) + .7152 * channel(g) + .0722 * channel(b);
const parse = text => (text.match(/[\\d.]+/g) || []).map(Number);
const ground = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] > 0) return c } return [255, 255, 255] };
const low = [];
for (const e of document.querySelectorAll('body *')) {
  if (e.closest('svg, script, [data-figure]') || !e.offsetParent) continue;
  if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
  const [a, b] = [light(parse(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
  const ratio = (a + .05) / (b + .05);
  if (ratio < 4.5) low.push(`${e.tagName} ${e.className} ${e.textContent.trim().slice(0, 30)}: ${ratio.toFixed(2)}`);
}
return low;
"""

_STRUCTURE = """
const all = css => [...document.querySelectorAll(css)];
const named = e => (e.labels && e.labels.length) || e.getAttribute('aria-label') || e.textContent.trim() || e.title;
const labelled = 'a, button, input:not([type=hidden]), select, [role=region], [role=img], nav';
const ids = all('[id]').map(e => e.id);
return {
  language: document.documentElement.lang,
  title: document.title,
  headings: all('h1, h2, h3').map(h => Number(h.tagName[1])),
  mains: all('main').length,
  unnamed: all(labelled).filter(e => e.dataset.figure || !e.closest('.js-plotly-plot')).filter(e => !named(e)),
  twice: ids.filter((id, i) => ids.indexOf(id) !== i),
  headless: all('table').filter(t => !t.caption || !t.querySelector('th[scope=col]')).length,
  charts: all('[data-figure]').filter(c => !c.parentElement.querySelector('details table')).length,
};
"""

_DRAWN = """
return [...document.querySelectorAll('[data-figure]')].filter(c => c.querySelector('.main-svg .trace')).length;
"""

_BEYOND = """
return [...document.querySelectorAll('main *')]
  .filter(e => e.offsetParent && !e.closest('.scroll, svg, .js-plotly-plot, .hidden, thead'))
  .filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML);
"""


@pytest.fixture(autouse=True)
def desk(browser: Chrome) -> Iterator[None]:
    resize(browser, 1440)
    complaints(browser)
    yield
    resize(browser, 1440)


def resize(browser: Chrome, width: int) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def open_page(browser: Chrome, url: str) -> None:
    browser.get(url)
    wait(browser, "return document.documentElement.dataset.drawn !== undefined")


def complaints(browser: Chrome) -> list[str]:
    """Return the browser console's messages since the last call."""
    return [entry["message"] for entry in browser.get_log("browser")]  # type: ignore[no-untyped-call]  # selenium's


def wait(browser: Chrome, condition: str, *arguments: Any) -> None:
    WebDriverWait(browser, 20, 0.02).until(lambda b: b.execute_script(condition, *arguments))


@pytest.mark.parametrize(("page", "charts"), PAGES.items())
def test_a_page_draws_its_charts_and_is_accessible(browser: Chrome, address: str, page: str, charts: int) -> None:
    open_page(browser, address + page)
    assert browser.execute_script(_DRAWN) == charts
    assert [c for c in complaints(browser) if "404" not in c or charts] == []
    assert browser.execute_script(_CONTRAST) == []
    found = browser.execute_script(_STRUCTURE)
    assert found["language"] == "en"
    assert "Sales forecast" in found["title"]
    assert found["headings"].count(1) == 1
    assert found["headings"][0] == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(found["headings"]))
    assert found["mains"] == 1
    assert found["unnamed"] == []
    assert found["twice"] == []
    assert found["headless"] == 0
    assert found["charts"] == 0


@pytest.mark.parametrize("page", PAGES)
def test_a_phone_needs_no_horizontal_scrolling(browser: Chrome, address: str, page: str) -> None:
    resize(browser, 390)
    open_page(browser, address + page)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    assert browser.execute_script(_BEYOND) == []


def test_the_first_tab_stop_skips_to_the_content(browser: Chrome, address: str) -> None:
    open_page(browser, address)
    browser.switch_to.active_element.send_keys(Keys.TAB)
    assert browser.switch_to.active_element.text == "Skip to content"
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    wait(browser, "return document.activeElement.id === 'main'")


def test_the_focus_is_visible(browser: Chrome, address: str) -> None:
    open_page(browser, address)
    for _ in range(8):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        style = "return getComputedStyle(document.activeElement).outlineStyle"
        assert browser.execute_script(style) == "solid"


def test_an_exception_leads_to_its_item_by_keyboard(browser: Chrome, address: str) -> None:
    open_page(browser, f"{address}/exceptions?kind=out_of_stock")
    browser.find_element(By.CSS_SELECTOR, ".exceptions tbody a").send_keys(Keys.ENTER)
    wait(browser, "return location.pathname === '/explore' && document.readyState === 'complete'")
    assert browser.find_element(By.TAG_NAME, "h1").text == f"{GONE[0]} in {GONE[1]}"
    numbers = browser.find_element(By.CSS_SELECTOR, "details summary")
    numbers.send_keys(Keys.ENTER)
    assert browser.find_element(By.CSS_SELECTOR, "details table").is_displayed()


def test_the_drill_down_ends_at_an_item(browser: Chrome, address: str) -> None:
    open_page(browser, f"{address}/explore")
    for name in ("CA", "CA_1", "FOODS_1", "FOODS_1_001"):
        wait(browser, "return document.readyState === 'complete'")
        browser.find_element(By.XPATH, f"//table[contains(@class, 'compare')]//a[text()='{name}']").click()
    wait(browser, "return document.querySelector('h1').textContent === 'FOODS_1_001 in CA_1'")
    assert "Price" in browser.find_element(By.ID, "daily-chart").text


def test_the_search_suggests_and_finds_items(browser: Chrome, address: str) -> None:
    open_page(browser, f"{address}/explore?store=CA_1")
    box = browser.find_element(By.ID, "q")
    box.send_keys("foods 2")
    wait(browser, "return [...document.querySelectorAll('#items option')].some(o => o.value === 'FOODS_2_003')")
    box.send_keys(Keys.ENTER)
    wait(browser, "return document.querySelector('.found a') !== null")
    browser.find_element(By.CSS_SELECTOR, ".found a").click()
    wait(browser, "return document.querySelector('h1').textContent === 'FOODS_2_003 in CA_1'")


def test_the_chosen_week_stays_in_the_url(browser: Chrome, address: str) -> None:
    open_page(browser, f"{address}/explore?store=CA_1")
    Select(browser.find_element(By.ID, "week")).select_by_value(SCORED.key)
    browser.find_element(By.CSS_SELECTOR, ".week button").click()
    wait(browser, f"return location.search.includes('{SCORED}') && location.search.includes('store=CA_1')")
    browser.find_element(By.LINK_TEXT, "Exceptions").click()
    wait(browser, f"return location.pathname === '/exceptions' && location.search.includes('{SCORED}')")


@pytest.mark.parametrize(("form", "begins"), [("csv", b"\xef\xbb\xbfdate,"), ("xlsx", b"PK")])
def test_a_file_is_downloaded(browser: Chrome, address: str, downloads: Path, form: str, begins: bytes) -> None:
    open_page(browser, f"{address}/explore?store=CA_1")
    browser.find_element(By.LINK_TEXT, {"csv": "CSV", "xlsx": "Excel"}[form]).click()
    target = downloads / f"CA-CA_1-{NEWEST}.{form}"
    deadline = time.monotonic() + 20
    # Chromium first reserves the name with an empty file.
    while not (target.exists() and target.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert target.read_bytes().startswith(begins)


def test_print_shows_only_the_content(browser: Chrome, address: str) -> None:
    open_page(browser, address)
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    assert base64.b64decode(printed["data"]).startswith(b"%PDF")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    shown = {name: browser.find_element(By.CSS_SELECTOR, name).is_displayed() for name in (".top nav", ".week", "h1")}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert shown == {".top nav": False, ".week": False, "h1": True}
