"""When to stop asking a server that keeps failing."""

from __future__ import annotations

from saefetch.errors import RequestError, ServerError, UnreachableError


class Breaker:
    """Notices that a server is down, so that the rest of an SAE is not thrown at it one by one.

    A plain 500 may be one bad feature's and weighs 1; other failures, each already retried, weigh 10.
    """

    LIMIT = 50

    def __init__(self) -> None:
        self._weight = 0

    def success(self) -> None:
        self._weight = 0

    def failure(self, exc: RequestError) -> None:
        """Count a failure that outlived its retries.

        Raises: UnreachableError after too many in a row.
        """
        self._weight += 1 if isinstance(exc, ServerError) and exc.status == 500 else 10
        if self._weight >= self.LIMIT:
            raise UnreachableError(f"the server keeps failing, so this run stops; the last failure: {exc}") from exc
