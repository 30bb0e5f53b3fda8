"""Where the export's objects are unpacked and parsed: in the parser process, or where there is none, in threads.

If the parser process ends by itself, as when the system runs out of memory and picks it, the objects in it fail as if
their connection had been cut: they are fetched again, and parsed in threads from then on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from types import TracebackType
from typing import Any, Protocol

import msgspec

from saefetch import errors
from saefetch.decode import Rows
from saefetch.errors import BrokenBodyError
from saefetch.objects import ObjectReader, Spec
from saefetch.sources.parser import BLOCK, DROP, FAILED, HEADER, LAST, OPEN, ROWS, Child

BLOCK_SIZE = 1 << 17
"""Compressed bytes that are unpacked in one go."""
N_THREADS = 2
_decode_rows = msgspec.msgpack.Decoder(Rows).decode


class Reader(Protocol):
    """Takes one object in blocks. To be closed in the end, also when it was not finished."""

    async def feed(self, block: bytes) -> None: ...

    async def finish(self, block: bytes) -> Rows: ...

    def close(self) -> None: ...


class Unpacker:
    """Opens a reader for each object. Use as an async context manager; it ends `child`, and calls `lost` if it dies.

    The child is ended when all `n_users` have left: publishing, which comes then, can do with its memory.
    """

    def __init__(self, child: Child | None, lost: Callable[[], None], n_users: int = 1) -> None:
        self._child, self._lost, self._n_users = child, lost, n_users
        self._threads = ThreadPoolExecutor(N_THREADS, thread_name_prefix="unpack")
        self._line: _Line | None = None

    async def __aenter__(self) -> Unpacker:
        if self._child is not None:
            loop = asyncio.get_running_loop()
            _, self._line = await loop.create_connection(lambda: _Line(self._lost), sock=self._child.socket)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end_child()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def leave(self) -> None:
        """Say that one user opens no more readers. Those that never say so are waited for until the end."""
        self._n_users -= 1
        if not self._n_users:
            self._end_child()

    def _end_child(self) -> None:
        child, self._child = self._child, None
        if self._line is not None:
            self._line.close()
        if child is not None:
            child.end()

    def open(self, spec: Spec) -> Reader:
        if self._line is not None and self._line.up:
            return _InProcess(self._line, spec)
        return _InThread(self._threads, spec)


class _InThread:
    def __init__(self, threads: ThreadPoolExecutor, spec: Spec) -> None:
        self._threads, self._reader = threads, ObjectReader(spec)

    async def feed(self, block: bytes) -> None:
        await asyncio.get_running_loop().run_in_executor(self._threads, self._reader.feed, block)

    async def finish(self, block: bytes) -> Rows:
        await self.feed(block)
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._reader.finish)

    def close(self) -> None: ...


class _InProcess:
    """While the child parses one block the next may arrive: what went wrong with one is said by the call after it."""

    def __init__(self, line: _Line, spec: Spec) -> None:
        self._line, self._what = line, spec.what
        self._stream = line.new_stream()
        self._answer: asyncio.Future[Rows | None] | None = None
        line.send(self._stream, OPEN, msgspec.msgpack.encode(spec))

    async def feed(self, block: bytes) -> None:
        await self._settled()
        self._answer = self._line.ask(self._stream, BLOCK, block)

    async def finish(self, block: bytes) -> Rows:
        await self._settled()
        self._answer = self._line.ask(self._stream, LAST, block)
        rows = await self._settled()
        assert rows is not None
        return rows

    def close(self) -> None:
        self._line.forget(self._stream)

    async def _settled(self) -> Rows | None:
        try:
            return None if self._answer is None else await self._answer
        except ConnectionError as exc:
            raise BrokenBodyError(f"{self._what}: the process that was unpacking it is gone") from exc


class _Line(asyncio.Protocol):
    """The parent's end of the socket: questions out, answers back to who asked."""

    def __init__(self, lost: Callable[[], None]) -> None:
        self.up = False
        self._lost = lost
        self._transport: Any = None
        self._streams = count()
        self._waiting: dict[int, asyncio.Future[Rows | None]] = {}
        self._arrived = bytearray()

    def new_stream(self) -> int:
        return next(self._streams) % (1 << 32)

    def send(self, stream: int, kind: int, body: bytes = b"") -> None:
        if self.up:
            self._transport.write(HEADER.pack(stream, kind, len(body)))
            self._transport.write(body)

    def ask(self, stream: int, kind: int, body: bytes) -> asyncio.Future[Rows | None]:
        answer: asyncio.Future[Rows | None] = asyncio.get_running_loop().create_future()
        self._waiting[stream] = answer
        if not self.up:
            answer.set_exception(ConnectionResetError())
        self.send(stream, kind, body)
        return answer

    def forget(self, stream: int) -> None:
        """Tell the child to drop what it has of a stream; nobody waits for an answer any more."""
        answer = self._waiting.pop(stream, None)
        if answer is not None and not answer.cancel() and not answer.cancelled():
            answer.exception()  # seen, or asyncio would complain that nobody ever looked at it
        self.send(stream, DROP)

    def close(self) -> None:
        self.up = False
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.up, self._transport = True, transport

    def data_received(self, data: bytes) -> None:
        self._arrived += data
        while len(self._arrived) >= HEADER.size:
            stream, kind, length = HEADER.unpack_from(self._arrived)
            end = HEADER.size + length
            if len(self._arrived) < end:
                return
            self._answered(stream, kind, bytes(self._arrived[HEADER.size : end]))
            del self._arrived[:end]

    def _answered(self, stream: int, kind: int, body: bytes) -> None:
        answer = self._waiting.get(stream)
        if answer is None or answer.done():  # nobody waits any more
            return
        if kind == FAILED:
            name, message = msgspec.msgpack.decode(body)
            answer.set_exception(getattr(errors, name)(message))
        else:
            answer.set_result(_decode_rows(body) if kind == ROWS else None)

    def connection_lost(self, exc: Exception | None) -> None:
        by_itself, self.up = self.up, False
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(ConnectionResetError())
        if by_itself:
            self._lost()
