"""The pages in a real browser: from an upload to a deleted one, by hand, without a word of complaint."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.serve.conftest import PROFILES

pytestmark = pytest.mark.browser
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"),
    "--no-first-run",
]


@pytest.fixture(scope="module")
def browser() -> Iterator:
    sync = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no chromium")
    with sync.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        found.close()


def test_upload_rank_explain_compare_download_delete(shared, browser, tmp_path):
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    table = tmp_path / "mine.csv"
    PROFILES.to_csv(table)
    page.goto(shared.url)
    page.set_input_files("input[type=file]", str(table))
    page.select_option("select[name=unit]", "zscore_gene")
    page.click("text=Read and rank")
    page.wait_for_selector("h2#drugs")
    upload = page.url
    page.click("tbody a:has-text('why')")
    page.wait_for_selector("[data-drawn]")
    assert page.locator("[data-figure] .bars").count() > 0
    page.goto(f"{upload}/compare")
    page.wait_for_selector("[data-drawn]")
    page.goto(upload)
    with page.expect_download() as download:
        page.click("a.button:has-text('CSV')")
    assert "For Research Use Only" in download.value.path().read_text()
    page.click("text=Delete this upload now")
    page.wait_for_selector("text=Deleted")
    assert page.goto(upload).status == 404
    assert [text for text in said if "404" not in text] == []


def test_a_narrow_screen_does_not_scroll_sideways(shared, browser, tmp_path):
    page = browser.new_page(viewport={"width": 400, "height": 800}, color_scheme="dark")
    for path in ("/", "/drugs", "/model"):
        page.goto(shared.url + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 400, path


def test_pages_work_without_javascript(shared, browser, tmp_path):
    page = browser.new_context(java_script_enabled=False).new_page()
    table = tmp_path / "mine.csv"
    PROFILES.to_csv(table)
    page.goto(shared.url)
    page.set_input_files("input[type=file]", str(table))
    page.select_option("select[name=unit]", "zscore_gene")
    page.click("text=Read and rank")
    assert page.locator("h2#drugs + p + form + .scroll tbody tr").count() == 6
