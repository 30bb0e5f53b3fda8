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
    """Which features of one SAE are wanted: those in `scope`, of `d_sae` in all.

    Answers that the API gave before `epoch` do not count. With `api_only`, rows of the export do not count either.
    `known`: the API has answered for features of this SAE already.
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
        """Get one chunk; yield each answer as it comes. Every answer is worth committing, also when an error follows.

        Raises: RequestError or RefusedError when it makes no sense to go on with other chunks.
        """
