"""Unpacking: right for every way to cut and pack a body, and never wrong in silence."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
import zlib
from collections.abc import Iterable
from itertools import pairwise

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saefetch.errors import BadAnswerError, BrokenBodyError, TooLargeError
from saefetch.net.body import PIECE, Inflater, Unpacked, Whole

PLENTY = 1 << 30
TEXT = b'{"index": "7", "description": "dogs and other loyal animals"}\n' * 3


def cut(data: bytes, at: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted(min(edge, len(data)) for edge in at), len(data)]
    return [data[begin:end] for begin, end in pairwise(edges)]


def inflate(chunks: Iterable[bytes], max_bytes: int = PLENTY, wbits: int = 31) -> bytes:
    inflater = Inflater("GET x", max_bytes, wbits)
    pieces = [piece for chunk in chunks for piece in inflater.feed(chunk)]
    inflater.finish()
    assert all(len(piece) <= PIECE for piece in pieces)
    return b"".join(pieces)


@settings(max_examples=150, deadline=None)
@given(
    members=st.lists(st.tuples(st.binary(max_size=200), st.integers(1, 40), st.integers(0, 9)), min_size=1, max_size=5),
    padding=st.lists(st.integers(0, 5), min_size=5, max_size=5),
    edges=st.lists(st.integers(0, 5000), max_size=20),
)
def test_any_members_padded_with_zeros_and_cut_anywhere_come_out_as_they_went_in(
    members: list[tuple[bytes, int, int]], padding: list[int], edges: list[int]
) -> None:
    packed = b"".join(
        gzip.compress(text * times, level) + bytes(zeros)
        for (text, times, level), zeros in zip(members, padding, strict=False)
    )
    assert inflate(cut(packed, edges)) == b"".join(text * times for text, times, _ in members)


def test_a_byte_at_a_time_is_enough() -> None:
    packed = gzip.compress(TEXT) + gzip.compress(b"") + gzip.compress(TEXT)
    assert inflate([packed[at : at + 1] for at in range(len(packed))]) == TEXT + TEXT


@pytest.mark.parametrize("off", [-1, 0, 1])
@pytest.mark.parametrize("n_pieces", [1, 2])
@pytest.mark.parametrize("in_one_feed", [True, False])
def test_outputs_about_a_multiple_of_the_piece_are_whole(n_pieces: int, off: int, in_one_feed: bool) -> None:
    text = b"\0" * (n_pieces * PIECE + off)
    packed = gzip.compress(text) + gzip.compress(b"the end")
    assert inflate([packed] if in_one_feed else cut(packed, range(0, len(packed), 7))) == text + b"the end"


@pytest.mark.parametrize("n_bytes", [0, 100, PIECE - 1, PIECE, PIECE + 1, PIECE + 50, 2 * PIECE + 1])
def test_content_encoding_deflate_is_zlib(n_bytes: int) -> None:
    text = b"\0" * n_bytes
    assert inflate([zlib.compress(text)], wbits=15) == text


def test_cut_after_any_byte_it_is_broken() -> None:
    packed = gzip.compress(TEXT)
    for end in range(len(packed)):
        with pytest.raises(BrokenBodyError, match=r"GET x: .* ends early"):
            inflate([packed[:end]])


def test_a_second_member_that_is_cut_is_broken_too() -> None:
    first, second = gzip.compress(TEXT), gzip.compress(b"more")
    for end in range(1, len(second)):
        with pytest.raises(BrokenBodyError, match="ends early"):
            inflate([first, second[:end]])


def test_whatever_byte_is_damaged_the_text_is_right_or_refused() -> None:
    packed = gzip.compress(TEXT)
    n_refused = 0
    for at in range(len(packed)):
        for bit in range(8):
            damaged = bytearray(packed)
            damaged[at] ^= 1 << bit
            try:
                assert inflate([bytes(damaged)]) == TEXT, f"wrong and unnoticed: byte {at}, bit {bit}"
            except BrokenBodyError:
                n_refused += 1
    assert n_refused > 7 * (len(packed) - 10)


@pytest.mark.parametrize("garbage", [b"x", b"\0\0x", b"<html>", b"\x1f\x8b\x08"])
def test_garbage_after_the_last_member_is_refused(garbage: bytes) -> None:
    with pytest.raises(BrokenBodyError):
        inflate([gzip.compress(TEXT) + garbage])
    with pytest.raises(BrokenBodyError):
        inflate([gzip.compress(TEXT), garbage])


@pytest.mark.parametrize("body", [b"", b"\0\0", b"not gzip at all", b"{}"])
def test_what_is_no_gzip_is_broken(body: bytes) -> None:
    with pytest.raises(BrokenBodyError):
        inflate([body])


def test_the_cap_counts_what_comes_out_over_all_members() -> None:
    packed = gzip.compress(b"a" * 600) + gzip.compress(b"b" * 400)
    assert len(inflate([packed], max_bytes=1000)) == 1000
    with pytest.raises(TooLargeError, match=r"GET x: .* larger than 999 bytes"):
        inflate([packed], max_bytes=999)


def test_a_bomb_is_noticed_before_it_is_held() -> None:
    deflate = zlib.compressobj(9, zlib.DEFLATED, 31)
    blanks = b" " * PIECE
    bomb = b"".join([*(deflate.compress(blanks) for _ in range(64)), deflate.flush()])
    assert len(bomb) < PIECE // 2
    tracemalloc.start()
    try:
        with pytest.raises(TooLargeError):
            asyncio.run(_feed_all(Unpacked("GET x", "gzip", 4 * PIECE, Whole("GET x", PLENTY, len)), [bomb]))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 8 * PIECE


async def _feed_all(sink: Unpacked[int] | Whole[object], chunks: Iterable[bytes]) -> object:
    for chunk in chunks:
        await sink.feed(chunk)
    return await sink.finish()


def test_a_whole_body_is_held_to_its_cap_and_decoded_at_the_end() -> None:
    async def read(max_bytes: int, *chunks: bytes) -> object:
        return await _feed_all(Whole("GET x", max_bytes, orjson.loads), chunks)

    assert asyncio.run(read(8, b'{"a"', b": 1}")) == {"a": 1}
    with pytest.raises(TooLargeError, match="GET x"):
        asyncio.run(read(7, b'{"a"', b": 1}"))
    with pytest.raises(BadAnswerError, match="GET x: the answer is not the JSON"):
        asyncio.run(read(8, b'{"a"'))
