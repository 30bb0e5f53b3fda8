"""An array whose bytes come out of a stream, such as a compressed one: its rows are best read in order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from encoder.arrays import AnyArray
from encoder.errors import ShardError
from encoder.readers.arrays import Array

SAVE_STORED = (
    "its rows do not lie together in the compressed file; save it again with np.savez, which does not compress"
)


class Forwards(Protocol):
    """A stream of unpacked bytes. `what` calls the array in messages; a jump back begins again."""

    @property
    def what(self) -> str: ...

    def read_at(self, offset: int, out: memoryview, /) -> None: ...


@dataclass(frozen=True, slots=True)
class ForwardArray(Array):
    """An array in a stream; `offset` counts the unpacked bytes."""

    stream: Forwards = field(kw_only=True)

    @property
    def is_sequential(self) -> bool:
        return True

    def read_into(self, rows: AnyArray, start: int) -> None:
        """Fill `rows`, C-contiguous and of the dtype on disk, with the rows from `start` on."""
        if rows.size == 0:
            return
        if not self.is_contiguous():
            raise ShardError(f"{self.path}: {self.stream.what}: {SAVE_STORED}")
        try:
            self.stream.read_at(self.offset + start * self.width * rows.itemsize, memoryview(rows.data).cast("B"))
            if self.swapped:
                rows.byteswap(inplace=True)
        except OSError as exc:
            raise ShardError(f"{self.path}: rows {start} to {start + len(rows)} cannot be read: {exc}") from exc
