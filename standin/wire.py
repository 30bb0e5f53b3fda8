"""What passes between the server's parts: a request as it came, and a reply with the way in which it ends."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import unquote_plus

import orjson

Origin = Literal["api", "export"]
Ending = Literal["complete", "close", "reset", "hang"]


@dataclass(slots=True)
class Record:
    """One request as it came. `path` is raw, with its query; `status` is 0 until an answer is chosen."""

    time_s: float
    origin: Origin
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    status: int = 0

    @property
    def line(self) -> str:
        """Return `METHOD path?query`, percent-decoded: what faults are matched against."""
        return f"{self.method} {unquote_plus(self.path)}"

    def json(self) -> Any:
        """Return the parsed body, or None if it is not JSON."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. The first `cut` bytes of the body are sent (None: all; -1: not even the head), then `ending`."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    chunked: bool = True
    delay_s: float = 0.0
    cut: int | None = None
    ending: Ending = "complete"
