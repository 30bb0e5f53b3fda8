"""Scripted faults: what a network, an edge or a database does to an answer.

    faults=[Fault(TooMany(retry_after=2), match="POST /api/features", times=3, skip=1)]

The first fault that takes a request is applied; the others do not see it. Unmatched requests are served normally.
"""

import gzip
import random
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final, Protocol

from isal import igzip

from standin.api import database_down, not_available, too_many
from standin.s3 import no_such_key
from standin.wire import Record, Reply

_GZIP_MAGIC: Final = b"\x1f\x8b"
_BLANKS: Final = b" " * (1 << 20)


class Action(Protocol):
    """What a fault does. Where it `replaces` the answer, the server makes none, and does not count the request."""

    replaces: ClassVar[bool]

    def apply(self, reply: Reply, record: Record) -> Reply:
        """Return the answer to send instead of `reply`."""
        ...


@dataclass(slots=True)
class Fault:
    """One action and the requests that it is for.

    `match` is a substring of, or a pattern searched in, the percent-decoded "METHOD path?query", or a callable on the
    `Record` (whose `json()` is the parsed body). The first `skip` matches are spared; then `times` are hit (None: all),
    each with `probability`.
    """

    action: Action
    match: str | re.Pattern[str] | Callable[[Record], bool] = ""
    times: int | None = 1
    skip: int = 0
    probability: float | None = None
    seed: int = 0
    n_matched: int = field(default=0, init=False)
    n_hit: int = field(default=0, init=False)
    _draw: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._draw = random.Random(self.seed)

    def takes(self, record: Record) -> bool:
        """Tell whether this request is hit, and count it."""
        if (self.times is not None and self.n_hit >= self.times) or not self._matches(record):
            return False
        self.n_matched += 1
        if self.n_matched <= self.skip:
            return False
        if self.probability is not None and self._draw.random() >= self.probability:
            return False
        self.n_hit += 1
        return True

    def _matches(self, record: Record) -> bool:
        if isinstance(self.match, str):
            return self.match in record.line
        if isinstance(self.match, re.Pattern):
            return self.match.search(record.line) is not None
        return self.match(record)


@dataclass(frozen=True, slots=True)
class Respond:
    """Answer with this and nothing else."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    replaces: ClassVar[bool] = True

    def apply(self, reply: Reply, record: Record) -> Reply:
        """Ignore the normal answer."""
        return Reply(self.status, self.headers, self.body)


@dataclass(frozen=True, slots=True)
class TooMany:
    """Refuse, with the limiter's own body."""

    retry_after: float | str | None = None
    replaces: ClassVar[bool] = True

    def apply(self, reply: Reply, record: Record) -> Reply:
        """Ignore the normal answer."""
        return too_many(25_000, self.retry_after)


@dataclass(frozen=True, slots=True)
class Gone:
    """Say that the object or feature does not exist, as that origin says it."""

    replaces: ClassVar[bool] = True

    def apply(self, reply: Reply, record: Record) -> Reply:
        """Ignore the normal answer."""
        return not_available() if record.origin == "api" else no_such_key(record.path[1:])


@dataclass(frozen=True, slots=True)
class DatabaseDown:
    """Answer as every route of the API does while the database is down."""

    replaces: ClassVar[bool] = True

    def apply(self, reply: Reply, record: Record) -> Reply:
        """Ignore the normal answer."""
        return database_down(record)


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Accept the request and say nothing, until the client goes away."""

    replaces: ClassVar[bool] = True

    def apply(self, reply: Reply, record: Record) -> Reply:
        """Send not even a head."""
        return replace(reply, status=0, cut=-1, ending="hang")


@dataclass(frozen=True, slots=True)
class Delay:
    """Answer normally, later."""

    seconds: float
    replaces: ClassVar[bool] = False

    def apply(self, reply: Reply, record: Record) -> Reply:
        """Add to the delay."""
        return replace(reply, delay_s=reply.delay_s + self.seconds)


@dataclass(frozen=True, slots=True)
class Stall:
    """Send the head and some of the body, then nothing, until the client goes away."""

    after_bytes: int = 64
    replaces: ClassVar[bool] = False

    def apply(self, reply: Reply, record: Record) -> Reply:
        """Cut and hang."""
        return replace(reply, cut=self.after_bytes, ending="hang")


@dataclass(frozen=True, slots=True)
class Reset:
    """Abort the connection with a TCP RST in mid-body."""

    after_bytes: int = 64
    replaces: ClassVar[bool] = False

    def apply(self, reply: Reply, record: Record) -> Reply:
        """Cut and reset."""
        return replace(reply, cut=self.after_bytes, ending="reset")


@dataclass(frozen=True, slots=True)
class ShortBody:
    """Promise the whole body in Content-Length, send `n` bytes and close."""

    n: int
    replaces: ClassVar[bool] = False

    def apply(self, reply: Reply, record: Record) -> Reply:
        """Cut and close."""
        return replace(reply, cut=self.n, chunked=False, ending="close")


@dataclass(frozen=True, slots=True)
class TruncateGzip:
    """Valid HTTP, but the body is `body[:n]` (negative: so much is lost at the end)."""

    n: int
    replaces: ClassVar[bool] = False

    def apply(self, reply: Reply, record: Record) -> Reply:
        """Cut the body itself."""
        return replace(reply, body=reply.body[: self.n])


@dataclass(frozen=True, slots=True)
class CorruptGzip:
    """Flip the bits of one byte in the middle."""

    replaces: ClassVar[bool] = False

    def apply(self, reply: Reply, record: Record) -> Reply:
        """Damage the body."""
        middle = len(reply.body) // 2
        damaged = reply.body[:middle] + bytes([reply.body[middle] ^ 0xFF]) + reply.body[middle + 1 :]
        return replace(reply, body=damaged)


@dataclass(frozen=True, slots=True)
class Mangle:
    """Pass the body, decompressed where it is gzip, through a function. The ETag stays: damage on the way.

    For malformed content at rest, with an ETag that fits, use `Bucket.rewrite`.
    """

    change: Callable[[bytes], bytes]
    replaces: ClassVar[bool] = False

    def apply(self, reply: Reply, record: Record) -> Reply:
        """Change the body."""
        if not reply.body.startswith(_GZIP_MAGIC):
            return replace(reply, body=self.change(reply.body))
        return replace(reply, body=igzip.compress(self.change(gzip.decompress(reply.body)), 1, mtime=0))


@dataclass(frozen=True, slots=True)
class Oversize:
    """Pad the body with `n` blanks: a gzip body becomes a bomb, small on the wire."""

    n: int
    replaces: ClassVar[bool] = False

    def apply(self, reply: Reply, record: Record) -> Reply:
        """Pad the body."""
        if not reply.body.startswith(_GZIP_MAGIC):
            return replace(reply, body=reply.body + b" " * self.n)
        deflate = zlib.compressobj(1, zlib.DEFLATED, 31)
        parts = [deflate.compress(gzip.decompress(reply.body))]
        parts += [deflate.compress(_BLANKS[: self.n - done]) for done in range(0, self.n, len(_BLANKS))]
        return replace(reply, body=b"".join([*parts, deflate.flush()]))
