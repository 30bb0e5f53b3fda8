"""Times as all files and answers have them: UTC, `2026-12-01T09:30:00Z`, which sorts as text."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def utc_now() -> str:
    return utc_text(datetime.now(UTC))
