"""A real browser for the dashboard's tests: headless Chromium, as it is installed, driven by Playwright.

On no page may there be messages on the console (errors, refusals of the Content Security Policy), exceptions, dialogs,
or requests to anywhere else.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, Playwright, expect, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MS = 120_000
SIZES = {"laptop": (1280, 800), "phone": (390, 844)}
expect.set_options(timeout=PATIENCE_MS)


def find_chromium(playwright: Playwright) -> str | None:
    """Return the browser that is installed, or the one that Playwright has downloaded; None if there is neither."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    own = playwright.chromium.executable_path
    return found or (own if Path(own).is_file() else None)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a browser for the block; skip where there is none, but fail with SAEFETCH_NEEDS_BROWSER, as in CI."""
    with sync_playwright() as playwright:
        path = find_chromium(playwright)
        if path is None:
            give_up = pytest.fail if os.environ.get("SAEFETCH_NEEDS_BROWSER") else pytest.skip
            give_up("no Chromium to test the pages in: apt-get install chromium, or playwright install chromium")
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def page_of(
    browser: Browser, address: str, *, size: str = "laptop", scheme: Any = "light", refused: str = "no status"
) -> Iterator[Page]:
    """Open a page for the block; when it ends nothing may have gone wrong on it.

    `refused` is a status, "404", of which the browser may complain, as the server is asked for what it does not have.
    """
    width, height = SIZES[size]
    base = address.partition("#")[0].rpartition("/")[0]
    with browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
    ) as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        problems: list[str] = []
        page.on("console", lambda message: refused in message.text or problems.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: problems.append(f"exception: {error}"))
        page.on("dialog", lambda dialog: (problems.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda asked: asked.url.startswith(base) or problems.append(f"request: {asked.url}"))
        page.goto(address)
        yield page
        assert not problems, problems


def go(page: Page, route: str) -> None:
    """Go to another view and wait until it is there."""
    page.evaluate("document.querySelector('main > *')?.setAttribute('data-left', '')")
    page.evaluate(f"location.hash = {route!r}")
    page.wait_for_selector("main > :not([data-left]) h1")


def panel(page: Page) -> Locator:
    """Return the list of what fires on the token that is looked at."""
    return page.get_by_role("list", name="Features that fire on this token")


def strongest(matrix: Any, row: int) -> list[tuple[int, float]]:
    """Return the features of a row and their values, the largest value first."""
    one = matrix[row]
    order = np.argsort(-one.data, kind="stable")
    return [(int(one.indices[at]), float(one.data[at])) for at in order]


CALM = """async () => {
  let [seen, calm] = [0, 0];
  while (calm < 4) {
    await new Promise((resolve) => setTimeout(resolve, 25));
    const now = performance.getEntriesByType("resource").length;
    [seen, calm] = [now, now === seen ? calm + 1 : 0];
  }
}"""


def settle(page: Page) -> None:
    """Wait until nothing more has arrived for a tenth of a second."""
    page.evaluate(CALM)
