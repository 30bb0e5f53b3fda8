"""What is dear is computed once, kept while there is room, and counted again only now and then."""

from __future__ import annotations

import threading
import time

import pytest

from dashboard.model.cache import PATIENCE, Cache


def test_an_answer_is_computed_once_whoever_asks_at_the_same_time() -> None:
    cache, made = Cache(4), []

    def make() -> int:
        made.append(threading.get_ident())
        time.sleep(0.02)
        return 7

    threads = [threading.Thread(target=cache.get, args=["x", make]) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1 and cache.get("x", make) == 7


def test_what_was_not_asked_for_longest_makes_room() -> None:
    cache = Cache(2)
    for key in ("a", "b", "a", "c"):
        cache.get(key, lambda key=key: key.upper())  # type: ignore[misc]
    assert [cache.peek(key) for key in "abc"] == ["A", None, "C"]


def test_another_version_is_made_anew_and_takes_the_place_of_the_old_one() -> None:
    cache = Cache(2)
    assert cache.get("x", lambda: 1, version=1) == 1 and cache.get("x", lambda: 2, version=1) == 1
    assert cache.get("x", lambda: 3, version=2) == 3
    assert cache.peek("x", 1) is None and cache.peek("x", 2) == 3


def test_a_failure_is_not_kept() -> None:
    cache = Cache(2)
    with pytest.raises(ZeroDivisionError):
        cache.get("x", lambda: 1 / 0)
    assert cache.get("x", lambda: 5) == 5


def test_what_changes_all_the_time_is_counted_again_after_ten_times_as_long_as_it_took() -> None:
    now = [0.0]
    cache = Cache(4, lambda: now[0])

    def find() -> float:
        now[0] += 3
        return now[0]

    assert cache.get("x", find, version=1, patience=PATIENCE) == 3
    now[0] = 3 + 3 * PATIENCE
    assert cache.get("x", find, version=2, patience=PATIENCE) == 3, "not yet"
    now[0] += 0.1
    assert cache.get("x", find, version=2, patience=PATIENCE) == pytest.approx(now[0])
    now[0] += 1000
    assert cache.get("x", find, version=2, patience=PATIENCE) == pytest.approx(now[0] - 1000), "the same version holds"
