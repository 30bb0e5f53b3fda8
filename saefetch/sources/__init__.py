"""Three ways to get the same labels. `plan` says which chunks are still to get, `fetch` gets one.

export.py    the public bulk export: a listing, then objects of many features   (the cheapest)
batch.py     POST /api/features, many features a request
feature.py   GET /api/feature/..., one feature a request
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from saefetch.store.store import Answers

ChunkT = TypeVar("ChunkT")


class Source(Protocol[ChunkT]):
    """One way to get labels."""

    async def plan(self) -> list[ChunkT]:
        """Return the chunks that the store still lacks, in the order in which to get them."""

    async def fetch(self, chunk: ChunkT, answers: Answers) -> None:
        """Get one chunk and add what came to `answers`.

        What is in `answers` when this ends, even by an exception or by being cancelled, is worth committing.

        Raises: RequestError or RefusedError when it makes no sense to go on with other chunks.
        """
