"""Three ways to get the same labels. `plan` says which chunks are still to get, `fetch` gets one, answer by answer.

What comes in is a `Plan`: which SAE, which of its features, and which of the store's answers count. What goes out are
`Answers`, of which the crawl makes one transaction a chunk.

    width.py     how many features there are, where nobody here knows
    export.py    the public bulk export: a listing, then objects of many features   (the cheapest)
    listing.py       what is in the bucket
    batch.py     POST /api/features, many features a request
    feature.py   GET /api/feature/..., one feature a request
    api.py       the API as a source: what to do about each fault
    size.py          how many features a request asks for
    known.py         whether the server knows the SAE at all
    breaker.py   when to stop asking a server that keeps failing
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from saefetch.names.identity import Target
from saefetch.store.answers import Answers

ChunkT = TypeVar("ChunkT")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be got of one SAE: the features `scope` of its `d_sae`.

    What the API said before `epoch` does not count, nor, with `api_only`, what came from the export. `known` says that
    the server is known to have this SAE.
    """

    target: Target
    d_sae: int
    scope: range
    epoch: int = 0
    api_only: bool = False
    known: bool = False


class Source(Protocol[ChunkT]):
    """One way to get labels."""

    async def plan(self) -> list[ChunkT]:
        """Return the chunks that the store still lacks, in the order in which to get them."""

    def fetch(self, chunk: ChunkT) -> AsyncIterator[Answers]:
        """Get one chunk; yield what comes, as it comes. All that was yielded is worth committing.

        Raises: RequestError or RefusedError when it makes no sense to go on with other chunks.
        """
