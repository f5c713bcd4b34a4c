"""A real browser on pages that were written from made runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rlpipe.records.runs import find
from rlpipe.report.page import write

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Opened = Callable[..., "Page"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium: the one of the system, or that of RLPIPE_CHROMIUM."""
    sync_api = pytest.importorskip("playwright.sync_api")
    program = os.environ.get("RLPIPE_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium: install one, or set RLPIPE_CHROMIUM to its program")
    with sync_api.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def opened(browser: Browser) -> Iterator[Opened]:
    """Open a file's page; at the end, whatever it complained about or asked for fails the test."""
    trouble: list[str] = []
    pages = []

    def heard(message: Any) -> None:
        if message.type in ("error", "warning"):
            trouble.append(f"console: {message.text}")

    def open_it(path: Path, width: int = 1280, theme: str = "light", **settings: Any) -> Page:
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme, **settings)
        pages.append(page)
        page.on("console", heard)
        page.on("pageerror", lambda error: trouble.append(f"error: {error}"))
        page.on("request", lambda asked: asked.url == path.as_uri() or trouble.append(f"request: {asked.url}"))
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]", timeout=20_000)
        return page

    yield open_it
    for page in pages:
        page.close()
    assert not trouble, "\n".join(trouble)


def written(folder: Path, target: Path) -> Path:
    """Write the page of all runs below a folder."""
    write(find([folder]), None, target)
    return target
