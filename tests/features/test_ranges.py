"""The bytes of an object by ranges: right at every place, each once, ahead of the reader, in bounded memory."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from encoder.stores.ranges import LAG, PIECE_BYTES, WINDOW, Ranges
from saefetch.files.digest import Stopped

BLOCK = 1 << 10
WAIT_S = 30.0


class Object:
    """Bytes that remember who asked for them. `held` keeps requests from being answered."""

    def __init__(self, n_bytes: int) -> None:
        self.data = random.Random(n_bytes).randbytes(n_bytes)
        self.asked: list[tuple[int, int]] = []
        self.held = threading.Event()
        self.held.set()

    def read_range(self, start: int, stop: int) -> bytes:
        self.asked.append((start, stop))
        assert self.held.wait(WAIT_S)
        return self.data[start:stop]

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(WINDOW) as pool:
        yield pool


def ranges_of(one: Object, pool: ThreadPoolExecutor) -> Ranges:
    return Ranges(one.read_range, len(one.data), pool, BLOCK)


def filled(ranges: Ranges, offset: int, n_bytes: int) -> bytes:
    out = bytearray(n_bytes)
    ranges.fill(memoryview(out), offset)
    return bytes(out)


@pytest.mark.parametrize("n_bytes", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 40 * BLOCK + 7])
def test_every_place_gives_the_objects_bytes(n_bytes: int, pool: ThreadPoolExecutor) -> None:
    one = Object(n_bytes)
    ranges, chance = ranges_of(one, pool), random.Random(0)
    for _ in range(200):
        start = chance.randint(0, n_bytes)
        stop = chance.randint(start, n_bytes)
        assert filled(ranges, start, stop - start) == one.data[start:stop]
        assert ranges.read(start, stop - start + 9) == one.data[start : stop + 9]
    assert ranges.sha256(lambda: False) == one.digest


def test_rows_in_order_cost_each_block_once_with_the_hash_beside_them(pool: ThreadPoolExecutor) -> None:
    one = Object(100 * BLOCK + 5)
    ranges, is_read = ranges_of(one, pool), threading.Event()
    with ThreadPoolExecutor(1) as hashing:
        digest = hashing.submit(ranges.sha256, lambda: False, is_read.is_set)
        got = b"".join(filled(ranges, at, min(700, len(one.data) - at)) for at in range(0, len(one.data), 700))
        is_read.set()
        assert (got, digest.result(WAIT_S)) == (one.data, one.digest)
    assert sorted(one.asked) == [(at, min(at + BLOCK, len(one.data))) for at in range(0, len(one.data), BLOCK)]


def test_rows_in_the_middle_are_read_beside_a_hash_of_all(pool: ThreadPoolExecutor) -> None:
    one = Object(60 * BLOCK)
    ranges, is_read = ranges_of(one, pool), threading.Event()
    with ThreadPoolExecutor(1) as hashing:
        digest = hashing.submit(ranges.sha256, lambda: False, is_read.is_set)
        got = b"".join(filled(ranges, at, 500) for at in range(30 * BLOCK, 40 * BLOCK, 500))
        is_read.set()
        assert got[: 10 * BLOCK] == one.data[30 * BLOCK : 40 * BLOCK] and digest.result(WAIT_S) == one.digest


def test_the_next_blocks_are_on_their_way_and_no_more_of_them_than_the_window(pool: ThreadPoolExecutor) -> None:
    one = Object(100 * BLOCK)
    ranges = ranges_of(one, pool)
    filled(ranges, 0, 10)
    pool.submit(lambda: None).result(WAIT_S)
    assert {start // BLOCK for start, _ in one.asked} == set(range(WINDOW))


def test_blocks_that_are_held_are_bounded_however_long_the_object(pool: ThreadPoolExecutor) -> None:
    one = Object(400 * BLOCK)
    ranges = ranges_of(one, pool)
    for at in range(0, len(one.data), BLOCK):
        filled(ranges, at, BLOCK)
        assert len(ranges._blocks) <= WINDOW + LAG + 1


def test_a_header_costs_one_small_request_and_looks_at_many_places_turn_to_blocks(pool: ThreadPoolExecutor) -> None:
    one = Object(200 * PIECE_BYTES)
    ranges = Ranges(one.read_range, len(one.data), pool, 1 << 20)
    assert ranges.read(0, 8) + ranges.read(8, 500) == one.data[:508] and one.asked == [(0, PIECE_BYTES)]
    for at in range(0, len(one.data), PIECE_BYTES):
        assert ranges.read(at + 5, 30) == one.data[at + 5 : at + 35]
    assert len(one.asked) < 80


def test_an_error_is_raised_and_another_try_asks_again(pool: ThreadPoolExecutor) -> None:
    failures = [OSError("cut off")]

    def read_range(start: int, stop: int) -> bytes:
        if failures:
            raise failures.pop()
        return bytes(stop - start)

    ranges = Ranges(read_range, 10, pool, BLOCK)
    with pytest.raises(OSError, match="cut off"):
        filled(ranges, 0, 10)
    assert filled(ranges, 0, 10) == bytes(10)


def test_an_answer_that_is_cut_short_is_never_taken_for_the_bytes(pool: ThreadPoolExecutor) -> None:
    ranges = Ranges(lambda start, stop: bytes(stop - start - 1), 10, pool, BLOCK)
    with pytest.raises(EOFError, match="gave 9 of the bytes 0 to 10"):
        filled(ranges, 0, 10)
    with pytest.raises(EOFError, match="gave 9"):
        ranges.read(0, 4)
    with pytest.raises(EOFError, match="it ends after 10 bytes"):
        filled(ranges, 5, 6)


def test_a_hash_whose_reader_never_comes_is_given_up_when_it_is_told_to(pool: ThreadPoolExecutor) -> None:
    one, stopping = Object(10 * BLOCK), threading.Event()
    ranges = ranges_of(one, pool)
    with ThreadPoolExecutor(1) as hashing:
        digest = hashing.submit(ranges.sha256, stopping.is_set, lambda: False)
        stopping.set()
        with pytest.raises(Stopped):
            digest.result(WAIT_S)
    assert filled(ranges, 9 * BLOCK, BLOCK) == one.data[9 * BLOCK :], "no reader waits for a hash that is gone"
