"""What one chunk brought, before it is taken into the store."""

from __future__ import annotations

from dataclasses import dataclass, field

from saefetch.decode import Rows


@dataclass(frozen=True, slots=True)
class ExportObject:
    """One object of the bulk export. `etag` is quoted, as S3 sends it; `size` is compressed bytes."""

    key: str
    etag: str
    size: int


@dataclass(slots=True)
class Answers:
    """Rows, and the indices for which there are none and why. `export_object` is set where an object was read whole."""

    rows: Rows = field(default_factory=Rows)
    missing: list[int] = field(default_factory=list)
    failed: list[tuple[int, str]] = field(default_factory=list)
    export_object: ExportObject | None = None

    def __bool__(self) -> bool:
        return bool(self.export_object or self.rows.features or self.missing or self.failed)

    def add(self, more: Answers) -> None:
        """Add what the same chunk brought besides."""
        self.rows.add(more.rows)
        self.missing += more.missing
        self.failed += more.failed
        self.export_object = self.export_object or more.export_object
