"""A made-up folder, a server over it and a real browser, for the tests that look at the pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import scipy.sparse
from browser import chromium, page_of
from dashboard_data import (
    LONG,
    write_features,
    write_labels,
    write_queue,
)
from dashboard_server import Dashboard, settings_for
from playwright.sync_api import Browser, Page

from dashboard.model.data import Data
from encoder.index.build import build_index


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pages")
    write_labels(path / "sae")
    write_features(path / "features", LONG)
    build_index(path / "features")
    write_queue(path / "queue")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for a module's pages: as long as it is there, no other test of the process can run an event loop."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def served(folder: Path) -> Iterator[Dashboard]:
    with Dashboard(Data(settings_for(folder, queue=folder / "queue"))) as dashboard:
        yield dashboard


@pytest.fixture
def page(browser: Browser, served: Dashboard) -> Iterator[Page]:
    with page_of(browser, served.address) as page:
        yield page


@pytest.fixture(scope="session")
def matrix(folder: Path) -> Any:
    names = ("capture", "corpus__part-0", "empty", "ids", "long", "nothing")
    return scipy.sparse.vstack([scipy.sparse.load_npz(folder / "features" / f"{name}.npz") for name in names]).tocsr()
