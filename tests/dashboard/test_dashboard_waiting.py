"""What is not there yet is waited for, and what is at work already is not asked for once more."""

from __future__ import annotations

import os
import time
from contextlib import closing
from pathlib import Path

import pytest
from browser import page_of
from dashboard_data import RELEASE, made_up, write_labels, write_shard
from dashboard_server import Dashboard, settings_for
from playwright.sync_api import Browser, expect

from dashboard.model.data import Data
from dashboard.model.pace import SHORTEST_S, WINDOW_S, Going, Pace, going_of
from encoder.queue.queue import Queue
from encoder.queue.ticket import Ticket
from encoder.shard import Tokens
from saefetch.files.lock import lock_folder
from saefetch.names.identity import DEFAULT_SAE_ID, sae_folder
from saefetch.store.answers import Answers
from saefetch.store.store import Store


def tickets(*jobs: str) -> list[Ticket]:
    return [Ticket(job, f"/data/{job}.npy", f"out/{job}.npz", {}) for job in jobs]


def test_a_folder_that_is_not_there_yet_is_waited_for(browser: Browser, tmp_path: Path) -> None:
    settings = settings_for(tmp_path, queue=tmp_path / "queue")
    with Dashboard(Data(settings)) as served, page_of(browser, served.address) as page:
        expect(page.get_by_role("heading", name="No features yet")).to_be_visible()
        expect(page.locator("main")).to_contain_text("sae-encode run ACTIVATIONS --out FEATURES")
        page.get_by_role("link", name="Health").click()
        expect(page.locator("main")).to_contain_text("QUEUE is not there yet, and is waited for")
        expect(page.locator("main")).to_contain_text("sae-encode submit ACTIVATIONS --queue QUEUE")
        page.get_by_role("link", name="Documents").click()
        expect(page.get_by_role("heading", name="No features yet")).to_be_visible()
        write_shard(tmp_path / "features" / "tales.npz", made_up(4, 1), Tokens(texts=[" once", " upon", " a", " time"]))
        expect(page.locator("a.document")).to_contain_text("once upon a time"), "by itself"


def test_no_command_is_offered_that_runs_already(tmp_path: Path) -> None:
    queue = Queue(tmp_path / "queue", create=True)
    queue.submit(tickets("a", "b"))
    folder = sae_folder(tmp_path / "sae", RELEASE, DEFAULT_SAE_ID)
    folder.mkdir(parents=True)
    settings = settings_for(tmp_path, queue=tmp_path / "queue")
    with Dashboard(Data(settings)) as served:
        waiting = served.api("health")["queue"]
        assert waiting["command"] == "sae-encode work --queue QUEUE" and waiting["is_there"]
        assert None not in [hint["command"] for hint in served.api("summary")["hints"]]
    claim = queue.claim()
    assert claim is not None
    with lock_folder(folder), Dashboard(Data(settings)) as served:
        assert served.api("health")["queue"]["command"] is None
        assert [hint["command"] for hint in served.api("summary")["hints"]] == [None, None]
    (claimed,) = (tmp_path / "queue" / "claimed").glob("*.json")
    os.utime(claimed, (1e9, 1e9))
    with Dashboard(Data(settings)) as served:
        assert served.api("health")["queue"]["command"] == "sae-encode work --queue QUEUE", "its worker is gone"


def test_a_queue_that_is_worked_on_says_how_fast_and_how_long(tmp_path: Path) -> None:
    queue = Queue(tmp_path / "queue", create=True)
    queue.submit(tickets("a", "b", "c", "d", "e", "f"))
    now = time.time()
    for k, job in enumerate(("a", "b", "c")):
        done = (tmp_path / "queue" / "ready" / f"{job}.json").rename(tmp_path / "queue" / "done" / f"{job}.json")
        os.utime(done, (now, now - 120 + 60 * k))
    settings = settings_for(tmp_path, queue=tmp_path / "queue")
    with Dashboard(Data(settings)) as served:
        assert served.api("health")["queue"]["per_s"] is None, "nobody works on it"
    claim = queue.claim()
    with Dashboard(Data(settings)) as served:
        going = served.api("health")["queue"]
        assert going["per_s"] == pytest.approx(2 / 120, rel=0.2) and going["left_s"] == pytest.approx(180, rel=0.2)
    assert claim is not None


def test_a_pace_is_that_of_the_last_minute() -> None:
    now = [0.0]
    pace = Pace(lambda: now[0])
    assert pace.going(100, 900) == Going()
    now[0] = SHORTEST_S / 2
    assert pace.going(200, 800) == Going(), "too soon to tell"
    now[0] = 10
    assert pace.going(300, 700) == Going(20, 35)
    now[0] = 10 + WINDOW_S
    assert pace.going(300, 700) == Going(), "nothing came within the last minute"
    now[0] += 10
    assert pace.going(370, 630) == Going(1, 630)
    assert pace.going(0, 1000) == Going(), "it was begun anew"
    assert going_of([], 5, 3) == going_of([1], 5, 3) == Going()
    assert going_of([0, 5, 10], 20, 4) == Going(0.1, 40)


def test_a_search_during_a_download_says_that_it_is_partial(browser: Browser, tmp_path: Path) -> None:
    folder = write_labels(tmp_path / "sae", finished=False)
    with closing(Store.open(folder)) as store:
        store.set_meta(num_features=600)
    with Dashboard(Data(settings_for(tmp_path))) as served:
        found = served.api("search", query="dogs")
        assert (found["labels_here"], found["labels_of"]) == (512, 600)
        with page_of(browser, f"{served.address}#/features?query=dogs") as page:
            expect(page.get_by_role("status").last).to_contain_text("the download is at 512 of 600 features")
        with closing(Store.open(folder)) as store:
            store.commit(Answers(missing=[12, *range(512, 600)]), "2026-11-25T00:00:00Z")
            store.settle()
    with Dashboard(Data(settings_for(tmp_path))) as served:
        assert served.api("search", query="dogs")["labels_here"] is None


def test_neuronpedias_figures_stand_under_their_own_heads(browser: Browser, tmp_path: Path) -> None:
    write_shard(tmp_path / "features" / "tales.npz", made_up(4, 1), Tokens(texts=[" once", " upon", " a", " time"]))
    write_labels(tmp_path / "sae")
    with Dashboard(Data(settings_for(tmp_path))) as served:
        with page_of(browser, f"{served.address}#/features") as page:
            expect(page.locator(".columns")).to_contain_text("max on Neuronpedia")
            expect(page.locator(".columns")).not_to_contain_text("tokens")
        with page_of(browser, f"{served.address}#/documents/tales?at=1") as page:
            expect(page.get_by_role("listitem").first).to_contain_text("of its max on Neuronpedia")
