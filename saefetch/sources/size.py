"""How many features a request asks for: fewer where number is to blame, more again as soon as that goes well."""

from __future__ import annotations

SOON = 2


class Size:
    """`now` is at most `most`. It doubles after a run of successes: twice as long a run each time it did not last."""

    def __init__(self, most: int) -> None:
        self.now = self._most = most
        self._successes, self._patience = 0, SOON
        self._is_trial = False

    def shrink(self, n: int) -> None:
        self._successes = 0
        if self._is_trial:
            self._patience *= 2
            self._is_trial = False
        self.now = min(self.now, n)

    def success(self, n: int) -> None:
        """`n` features came with one request."""
        if n < self.now:
            return
        if self._is_trial:
            self._is_trial = False
            self._patience = SOON
        if self.now == self._most:
            return
        self._successes += 1
        if self._successes >= self._patience:
            self._successes = 0
            self._is_trial = True
            self.now = min(self._most, 2 * self.now)
