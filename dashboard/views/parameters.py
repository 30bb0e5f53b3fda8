"""A request's parameters. Each is checked when it is read; a name that the address does not know is refused."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping

from dashboard.errors import RequestError

MAX_TEXT = 1000
_NUMBER = re.compile(r"[0-9]{1,15}")


class Parameters:
    """A request's parameters by name. Raises: RequestError, with the name, for an unknown name or a wrong value."""

    def __init__(self, given: Mapping[str, str], known: Collection[str]) -> None:
        for name in given:
            if name not in known:
                expected = f"expected {', '.join(sorted(known))}" if known else "there are none here"
                raise RequestError(f"unknown parameter {name[:40]!r}; {expected}")
        self._given = given

    def __contains__(self, name: str) -> bool:
        return bool(self._given.get(name))

    def number(self, name: str, default: int = 0, most: int = 10**15) -> int:
        """Return a whole number from 0 to `most`; a larger one is an error."""
        text = self._given.get(name)
        if text is None:
            return default
        if not _NUMBER.fullmatch(text) or int(text) > most:
            raise RequestError(f"{name} {text[:40]!r}: expected a whole number from 0 to {most:,}")
        return int(text)

    def value(self, name: str) -> float | None:
        """Return a finite number, None where there is none."""
        if name not in self:
            return None
        text = self._given[name]
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise RequestError(f"{name} {text[:40]!r}: expected a number")
        return value

    def text(self, name: str, default: str = "") -> str:
        text = self._given.get(name, default)
        if len(text) > MAX_TEXT:
            raise RequestError(f"{name}: longer than {MAX_TEXT:,} characters")
        return text

    def choice(self, name: str, choices: Collection[str], default: str) -> str:
        text = self._given.get(name, default)
        if text not in choices:
            raise RequestError(f"{name} {text[:40]!r}: expected one of {', '.join(choices)}")
        return text
