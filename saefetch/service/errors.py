"""What can be wrong with a request about a job, beside its words (`UsageError`)."""

from __future__ import annotations

from saefetch.errors import SaefetchError


class NoSuchJobError(SaefetchError):
    """There is no job of this id, or there has not been for 90 days."""


class ConflictError(SaefetchError):
    """The state of a job does not allow it. `job_id` is the job that stands in the way."""

    def __init__(self, message: str, job_id: str) -> None:
        super().__init__(message)
        self.job_id = job_id


class ClosingError(SaefetchError):
    """The service is being stopped, and takes no new jobs."""
