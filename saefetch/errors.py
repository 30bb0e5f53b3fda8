"""Everything that can go wrong, as one tree. The class says what to do next.

    SaefetchError                  exit 1: a plain message for a person, never a traceback
    |-- UsageError                 exit 2: a flag, a config key, an SAE that nobody knows
    |   `-- MissingExtraError        exit 2: a library that is not installed; the message says which extra brings it
    |-- DownloadError                exit 1: `saefetch.download` ended with features that failed; what came is safe
    |-- StoreError                 exit 1: the folder or labels.sqlite is full, read-only, foreign, corrupt
    |-- LockedError                exit 4: another process is downloading this SAE
    |-- RefusedError               exit 3: the server will not: 401, 403, unknown SAE        -> stop everything
    `-- RequestError               exit 1: one request failed
        |-- NotFoundError                  404: there is no such thing                    -> skip: it is an answer
        |-- TooLargeError                  413, or a body over our cap                    -> split at once
        |-- RequestRejectedError           any other 4xx, a redirect we do not follow     -> skip
        |-- ServerError                    5xx                                            -> split at once, or retry
        |-- TimedOutError                  stalled, or too long in all                    -> split at once, or retry
        |-- BrokenBodyError                reset or cut in mid-body, bad gzip             -> retry, then skip
        |-- BadAnswerError                 HTML with 200, wrong type, JSON beyond repair  -> retry, then skip
        |-- UnreachableError               DNS, refused, TLS, no connection in time       -> retry, then stop
        `-- RateLimitedError               429: everybody pauses, one probe tries again   -> retry, then stop

`retry` says that the same request may be sent again, `split` that a smaller one may succeed where this one did not, and
`stop` that, once retries are used up, it makes no sense to go on with others.
"""

from __future__ import annotations

from typing import Any


class SaefetchError(Exception):
    """Base of all errors that saefetch raises on purpose; `str()` of it is written for the user.

    `outcome` is the object that the command prints with --json.
    """

    exit_status = 1

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.outcome: dict[str, Any] = {"error": message, "exit_status": self.exit_status}


class UsageError(SaefetchError):
    exit_status = 2


class MissingExtraError(UsageError, ImportError):
    """A library is not installed. It is an ImportError too, for those who try an import and go on without it."""


class DownloadError(SaefetchError):
    """Some features failed, or all of them. What was fetched is in the store; the same call goes on from there."""


class StoreError(SaefetchError):
    """The data folder or the store in it cannot be used; nothing in it was changed."""


class LockedError(SaefetchError):
    exit_status = 4


class RefusedError(SaefetchError):
    exit_status = 3


class RequestError(SaefetchError):
    """One request failed.

    `retry_after_s` is how long the server asked to wait, if it did.
    """

    retry = False
    split = False
    stop = False

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotFoundError(RequestError):
    pass


class TooLargeError(RequestError):
    split = True


class RequestRejectedError(RequestError):
    pass


class ServerError(RequestError):
    retry = True
    split = True

    def __init__(self, message: str, *, status: int, retry_after_s: float | None = None) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.status = status


class TimedOutError(RequestError):
    retry = True
    split = True


class UnreachableError(RequestError):
    retry = True
    stop = True


class BrokenBodyError(RequestError):
    retry = True


class BadAnswerError(RequestError):
    retry = True


class RateLimitedError(RequestError):
    """429. `hour_left_s` is the time to the next full hour by the server's clock: then its limit begins anew."""

    retry = True
    stop = True

    def __init__(self, message: str, *, retry_after_s: float | None = None, hour_left_s: float | None = None) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.hour_left_s = hour_left_s
