"""The bytes of one object, read by ranges: small pieces for headers, blocks ahead of the reader for rows.

    object   |head|..........rows............................................|directory|
    pieces    ^^                                                                ^^          read()
    blocks           [hashed][taken][ready][ready][asked for][asked for]                    fill()

A reader of rows finds its next blocks on their way, as many as `window` at a time, so that neither the latency of a
request nor the rate of one stream is the limit. The SHA-256 is made of the blocks that pass by: the hash follows the
reader, and a reader that is far ahead waits, as the object is not done before its hash is. So each byte comes once, and
memory is bounded by the window.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from saefetch.files.digest import Stopped

BLOCK_BYTES = 8 << 20
WINDOW = 12
"""Blocks from the reader's on: here, or on their way."""
LAG = 4
"""Blocks that a reader may be ahead of the hash."""
PIECE_BYTES = 1 << 16
MAX_PIECES = 64
MAX_MISSES = 32
"""Pieces that are asked for one by one; an object with more places to look at is read by blocks."""
_POLL_S = 0.05


class Ranges:
    """`read_range(start, stop)` gives bytes of the object, which has `size` bytes; `pool` runs it. Safe for threads."""

    def __init__(
        self,
        read_range: Callable[[int, int], bytes],
        size: int,
        pool: ThreadPoolExecutor,
        block_bytes: int = BLOCK_BYTES,
        window: int = WINDOW,
    ) -> None:
        self.size = size
        self._read_range, self._pool = read_range, pool
        self._block_bytes, self._window = block_bytes, window
        self._blocks: OrderedDict[int, Future[bytes]] = OrderedDict()  # the one that was used last stands last
        self._pieces: dict[int, bytes] = {}
        self._n_misses = 0
        self._at = self._reached = -1  # the reader's block, and its furthest
        self._hashed: int | None = None  # the hash's block, while there is a hash
        self._moved = threading.Condition()

    @property
    def n_blocks(self) -> int:
        return -(-self.size // self._block_bytes)

    def read(self, offset: int, n_bytes: int) -> bytes:
        """Return the bytes from `offset` on, fewer at the object's end: for headers and what is small."""
        n_bytes = max(0, min(n_bytes, self.size - offset))
        if n_bytes == 0:
            return b""
        first, last = offset // PIECE_BYTES, (offset + n_bytes - 1) // PIECE_BYTES
        if last - first >= MAX_PIECES or self._n_misses > MAX_MISSES:
            out = bytearray(n_bytes)
            self.fill(memoryview(out), offset)
            return bytes(out)
        if any(number not in self._pieces for number in range(first, last + 1)):
            self._take_pieces(first, last)
        joined = b"".join(self._pieces[number] for number in range(first, last + 1))
        begin = offset - first * PIECE_BYTES
        return joined[begin : begin + n_bytes]

    def _take_pieces(self, first: int, last: int) -> None:
        start, stop = first * PIECE_BYTES, min(self.size, (last + 1) * PIECE_BYTES)
        data = self._read_whole(start, stop)
        self._n_misses += 1
        for number in range(first, last + 1):
            self._pieces[number] = data[number * PIECE_BYTES - start :][:PIECE_BYTES]

    def fill(self, out: memoryview, offset: int) -> None:
        """Fill `out` with the bytes from `offset` on.

        Raises: EOFError where the object ends before; what `read_range` raises.
        """
        if offset + len(out) > self.size:
            raise EOFError(f"it ends after {self.size:,} bytes")
        at, last = 0, (offset + len(out) - 1) // self._block_bytes
        while at < len(out):
            number, skip = divmod(offset + at, self._block_bytes)
            data = self._block(number, last)
            n_bytes = min(len(out) - at, len(data) - skip)
            out[at : at + n_bytes] = memoryview(data)[skip : skip + n_bytes]
            at += n_bytes

    def _block(self, number: int, last: int) -> bytes:
        """Return a block to a reader that is going to ask for those up to `last` too."""
        with self._moved:
            is_next = self._at <= number <= self._at + 1
            self._at, self._reached = number, max(self._reached, number)
            self._moved.notify_all()
            while self._hashed is not None and number > self._hashed + LAG:
                self._moved.wait(_POLL_S)
            asked = self._asked(number, number + self._window if is_next else last + 1)
        return self._result(number, asked)

    def _asked(self, number: int, stop: int) -> Future[bytes]:
        for one in range(number, min(stop, number + self._window, self.n_blocks)):
            if one not in self._blocks:
                self._blocks[one] = self._pool.submit(self._ask, one)
        self._blocks.move_to_end(number)
        over = len(self._blocks) - self._window - LAG
        unused = [one for one, asked in self._blocks.items() if asked.done() and not self._is_needed(one)]
        for one in unused[: max(0, over)]:
            del self._blocks[one]
        return self._blocks[number]

    def _is_needed(self, number: int) -> bool:
        """Say whether the reader or the hash is going to take the block soon."""
        is_ahead = self._at <= number < self._at + self._window
        return is_ahead or (self._hashed is not None and self._hashed <= number <= self._hashed + LAG)

    def _result(self, number: int, asked: Future[bytes]) -> bytes:
        try:
            return asked.result()
        except BaseException:
            with self._moved:
                if self._blocks.get(number) is asked:
                    del self._blocks[number]
            raise

    def _ask(self, number: int) -> bytes:
        return self._read_whole(number * self._block_bytes, min(self.size, (number + 1) * self._block_bytes))

    def _read_whole(self, start: int, stop: int) -> bytes:
        data = self._read_range(start, stop)
        if len(data) != stop - start:
            raise EOFError(f"the store gave {len(data):,} of the bytes {start:,} to {stop:,}")
        return data

    def sha256(self, stopping: Callable[[], bool], is_read: Callable[[], bool] = lambda: True) -> str:
        """Hash the whole object, behind its reader until `is_read`. Raises: Stopped, soon after `stopping` says so."""
        digest = hashlib.sha256()
        try:
            for number in range(self.n_blocks):
                with self._moved:
                    self._hashed = number
                    self._moved.notify_all()
                    while not stopping() and not is_read() and self._reached < number:
                        self._moved.wait(_POLL_S)
                    if stopping():
                        raise Stopped
                    is_alone = self._reached < number or is_read()
                    asked = self._asked(number, number + (self._window if is_alone else 1))
                digest.update(self._result(number, asked))
        finally:
            with self._moved:
                self._hashed = None
                self._moved.notify_all()
        return digest.hexdigest()
