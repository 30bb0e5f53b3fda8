"""What is asked, within what limits, and what was counted on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from saefetch.net.body import Sink

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request(Generic[T]):
    """What to ask and where the answer goes.

    `sink` gets the response's ETag ("" if there is none) and is called anew for each attempt.
    `divisible` requests are handed back at the first failure that a smaller one may not have. Only those `with_key` may
    carry the API key.
    `max_bytes` is the cap on what a Content-Encoding unpacks to, where it is not `Limits.max_response_bytes`.
    """

    url: str
    sink: Callable[[str], Sink[T]]
    json: Any = None
    content_types: tuple[str, ...] = ()
    divisible: bool = False
    with_key: bool = False
    max_bytes: int | None = None

    @property
    def method(self) -> str:
        return "GET" if self.json is None else "POST"


@dataclass(slots=True)
class Counters:
    """What was done so far. `bytes_received` are body bytes as they came over the wire."""

    requests: int = 0
    retries: int = 0
    rate_limited: int = 0
    bytes_received: int = 0
    parent: Counters | None = None

    def add(self, *, requests: int = 0, retries: int = 0, rate_limited: int = 0, bytes_received: int = 0) -> None:
        """Count, here and in the parent."""
        self.requests += requests
        self.retries += retries
        self.rate_limited += rate_limited
        self.bytes_received += bytes_received
        if self.parent is not None:
            self.parent.add(
                requests=requests, retries=retries, rate_limited=rate_limited, bytes_received=bytes_received
            )


@dataclass(frozen=True, slots=True)
class Limits:
    """How the transport behaves. Sizes in bytes after decompression, times in seconds.

    `requests_per_second` bounds all requests together; where it is None each origin has its own polite rate.
    """

    requests_per_second: float | None = None
    api_requests_per_second: float = 20.0
    export_requests_per_second: float = 200.0
    concurrency: int = 8
    max_attempts: int = 6
    max_wait_s: float = 3900.0
    backoff_base_s: float = 0.5
    backoff_cap_s: float = 30.0
    connect_timeout_s: float = 10.0
    stall_timeout_s: float = 30.0
    total_timeout_s: float = 300.0
    max_response_bytes: int = 32 << 20
