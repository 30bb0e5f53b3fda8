"""When to stop asking for features of which each fails by itself."""

from __future__ import annotations

from saefetch.errors import RequestError, ServerError, UnreachableError


class Breaker:
    """Stops a run in which feature after feature fails, although the server is well.

    A plain 500 may come from one bad feature and weighs 1. Any other failure, which was retried already, weighs 10.
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
