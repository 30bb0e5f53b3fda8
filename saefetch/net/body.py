"""Response bodies, read as a stream: each piece is unpacked, counted against a cap, and handed to a sink.

`Inflater` is the only decompressor. It takes any number of gzip members and gives output in pieces of at most
`PIECE` bytes, so that a few kilobytes that unpack to gigabytes are noticed before they are held.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any, Generic, Protocol, TypeVar

from isal import isal_zlib

from saefetch.errors import BadAnswerError, BrokenBodyError, TooLargeError

PIECE = 1 << 16
"""A piece is so small that the allocator keeps its memory for the next piece, and does not map new pages for each."""
STEP = 1 << 16
"""Compressed bytes unpacked at a time. The inflater copies its unused input at each call, so the input is short."""
DAMAGE: tuple[Any, ...] = (isal_zlib.error, zlib.error)
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Sink(Protocol[T_co]):
    """Where the body of one attempt goes. A new sink for each attempt, so that a retry starts clean."""

    async def feed(self, data: bytes) -> None: ...

    async def finish(self) -> T_co: ...


class Inflater:
    """Undo gzip or zlib, checked to the trailer.

    Raises: BrokenBodyError on damage or an early end; TooLargeError past `max_bytes` of output.
    """

    def __init__(self, what: str, max_bytes: int, wbits: int = 31) -> None:
        self._what, self._max_bytes, self._wbits = what, max_bytes, wbits
        self._stream: Any = isal_zlib.decompressobj(wbits)
        self.n_bytes = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what `data` unpacks to."""
        for start in range(0, len(data), STEP):
            yield from self._feed(data[start : start + STEP])

    def _feed(self, data: bytes) -> Iterator[bytes]:
        more = False
        while data or more:
            if self._stream.eof:
                data = data.lstrip(b"\0")  # zero padding after a member is allowed
                if not data:
                    return
                self._stream = isal_zlib.decompressobj(self._wbits)
            try:
                piece = self._stream.decompress(data, PIECE)
            except DAMAGE as exc:
                raise BrokenBodyError(f"{self._what}: the compressed data is damaged ({exc})") from exc
            data = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
            more = len(piece) == PIECE and not self._stream.eof  # a full piece may leave output behind in the stream
            self.n_bytes += len(piece)
            check_size(self._what, self.n_bytes, self._max_bytes)
            if piece:
                yield piece

    def finish(self) -> None:
        if not self._stream.eof:
            raise BrokenBodyError(
                f"{self._what}: the compressed data ends early, after {self.n_bytes:,} bytes unpacked"
            )


def check_size(what: str, n_bytes: int, max_bytes: int) -> None:
    if n_bytes > max_bytes:
        raise TooLargeError(f"{what}: the answer is larger than {max_bytes:,} bytes; it was not read further")


class Whole(Generic[T]):
    """Collects a body of at most `max_bytes`, then decodes it with `decode`, which raises ValueError if it cannot."""

    def __init__(self, what: str, max_bytes: int, decode: Callable[[bytes], T]) -> None:
        self._what, self._max_bytes, self._decode = what, max_bytes, decode
        self._pieces: list[bytes] = []
        self._n_bytes = 0

    async def feed(self, data: bytes) -> None:
        self._n_bytes += len(data)
        check_size(self._what, self._n_bytes, self._max_bytes)
        self._pieces.append(data)

    async def finish(self) -> T:
        try:
            return self._decode(b"".join(self._pieces))
        except ValueError as exc:
            raise BadAnswerError(f"{self._what}: the answer is not the JSON or XML expected ({exc})") from exc


class Unpacked(Generic[T]):
    """Undoes a `Content-Encoding` of gzip or deflate in front of another sink."""

    def __init__(self, what: str, encoding: str, max_bytes: int, inner: Sink[T]) -> None:
        self._inflater = Inflater(what, max_bytes, 31 if encoding == "gzip" else 15)
        self._inner = inner

    async def feed(self, data: bytes) -> None:
        for piece in self._inflater.feed(data):
            await self._inner.feed(piece)

    async def finish(self) -> T:
        self._inflater.finish()
        return await self._inner.finish()
