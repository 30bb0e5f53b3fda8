"""The API as a source: what to ask, and what to do about each fault. How it is asked is in `batch.py` and `feature.py`.

A request for many features can fail for four reasons, which are told apart by what else happens:

    its size or its time   413, 504, a stall            smaller requests at once, and for a while; they grow again
    a bad row or element   500, 400                     the same size once more (not for a 400), then its halves
    a lone fault           5xx, a cut or odd answer     the same size once more
    an outage              others, which have nothing in common with it, fail alike: one small request asks for all
                           whether the server is well, until it is (`saefetch.net.outage`); then the same size again

So a poisoned row is found by halving, and an outage is no reason to halve. Features that failed while others were
failing are asked for once more before the run ends: they are the chunks of `last_round`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from itertools import cycle
from typing import Protocol

from saefetch.decode import FeatureJson, add_explanation, add_feature, canonical_index
from saefetch.errors import (
    BadAnswerError,
    NotFoundError,
    RequestError,
    RequestRejectedError,
    ServerError,
    TimedOutError,
    TooLargeError,
)
from saefetch.net.request import Request
from saefetch.net.transport import Transport
from saefetch.sources import Plan
from saefetch.sources.breaker import Breaker
from saefetch.sources.known import KnownSae, spread
from saefetch.sources.size import Size
from saefetch.store.answers import Answers
from saefetch.store.records import State
from saefetch.store.store import Store

Chunk = Sequence[int]
Found = tuple[list[FeatureJson], bool]
"""The features of an answer, and whether it had to be repaired."""
N_CANARIES = 16


class Way(Protocol):
    """How features are asked for: at most `n_at_once` a request, `chunk_size` a transaction."""

    n_at_once: int
    chunk_size: int
    not_found_is_missing: bool
    """Whether a 404 is the answer for a feature that does not exist."""

    def request(self, indices: Sequence[int]) -> Request[Found]: ...


class ApiSource:
    """Ask for the features of the plan that the store lacks, in `way`."""

    def __init__(self, plan: Plan, way: Way, *, transport: Transport, store: Store) -> None:
        self._plan, self._way, self._transport, self._store = plan, way, transport, store
        self._source_id = plan.target.source_id
        self._size = Size(way.n_at_once)
        self._known = KnownSae(plan, self._find, way.n_at_once)
        self._breaker = Breaker()
        self._canaries = cycle(spread(plan.d_sae, N_CANARIES))
        self._good: int | None = None
        self._faults: list[Chunk] = []
        self._n_faults_before_success = 0
        self._n_outages = 0
        self._once_more: list[int] = []
        self._is_last_round = False

    async def plan(self) -> list[Chunk]:
        """Return the indices of the plan that are neither got nor missing, in chunks."""
        plan = self._plan
        states = self._store.states(plan.d_sae, api_only=plan.api_only, epoch=plan.epoch)
        todo = [index for index in plan.scope if states[index] not in (State.GOT, State.MISSING)]
        return chunks_of(todo, self._way.chunk_size)

    async def fetch(self, chunk: Chunk) -> AsyncIterator[Answers]:
        n_faults = len(self._faults)
        async for answers in self._get(chunk):
            if any(apart(fault, chunk) for fault in self._faults[n_faults:]):
                self._once_more += [index for index, _ in answers.failed]
            yield answers

    def last_round(self) -> list[Chunk]:
        """Return the features that failed while others were failing. From now on a feature is asked for just once."""
        self._is_last_round = True
        return chunks_of(sorted(self._once_more), self._way.chunk_size)

    async def _get(self, indices: Chunk) -> AsyncIterator[Answers]:
        while len(indices) > self._size.now:
            first, indices = indices[: self._size.now], indices[self._size.now :]
            async for answers in self._get(first):
                yield answers
        result = await self._try(indices, 2)
        if isinstance(result, Answers):
            yield result
        else:
            async for answers in self._divide(indices, result):
                yield answers

    async def _divide(self, indices: Chunk, fault: RequestError) -> AsyncIterator[Answers]:
        """Get the halves of a request that failed as a whole. A feature that fails by itself has failed."""
        if len(indices) == 1:
            self._breaker.failure(fault)
            yield Answers(failed=[(indices[0], str(fault))])
            return
        middle = (len(indices) + 1) // 2
        halves = indices[:middle], indices[middle:]
        if speaks_of_size(fault):
            self._size.shrink(middle)
            for half in halves:
                async for answers in self._get(half):
                    yield answers
            return
        n_outages, failed = self._n_outages, list[tuple[Chunk, RequestError]]()
        for half in halves:  # both first: where both fail, it may be an outage
            result = await self._try(half, 1)
            if isinstance(result, Answers):
                yield result
            else:
                failed.append((half, result))
        for half, half_fault in failed:
            again = self._get(half) if self._n_outages > n_outages else self._divide(half, half_fault)
            async for answers in again:
                yield answers
        if not failed and not isinstance(fault, RequestRejectedError):
            self._size.shrink(middle)  # no row of these is bad: so it was their number, or chance

    async def _try(self, indices: Chunk, n_tries: int) -> Answers | RequestError:
        """Ask, as often as makes sense for requests of this size; return the answers, or the fault that is left.

        Raises: RequestError or RefusedError when it makes no sense to go on with others.
        """
        max_attempts = self._transport.limits.max_attempts
        n_tries = max_attempts if len(indices) == 1 and not self._is_last_round else min(n_tries, max_attempts)
        n = 0
        while True:
            n += 1
            try:
                answers = await self._ask(indices)
            except RequestError as exc:
                if exc.stop or isinstance(exc, NotFoundError):
                    raise
                fault = exc
            else:
                self._succeeded(indices)
                return answers
            if isinstance(fault, RequestRejectedError) or (len(indices) > 1 and speaks_of_size(fault)):
                return fault
            if self._looks_like_an_outage(indices, fault) and not await self._transport.is_well(self._canary):
                self._n_outages += 1
                n = 0
            elif n >= n_tries or not fault.split or fault.retry_after_s is not None:
                return fault  # also where the transport has tried again already
            else:
                await self._transport.back_off(n)

    def _succeeded(self, indices: Chunk) -> None:
        self._n_faults_before_success = len(self._faults)
        self._breaker.success()
        self._size.success(len(indices))

    def _looks_like_an_outage(self, indices: Chunk, fault: RequestError) -> bool:
        """Note that these failed; return whether something apart from them has failed too, with no success between."""
        self._faults.append(indices)
        if isinstance(fault, BadAnswerError) and self._good is None:
            return False  # rather a wrong address
        return any(apart(other, indices) for other in self._faults[self._n_faults_before_success :])

    def _canary(self) -> Request[Found]:
        """Make the smallest request that the server can answer if it is well."""
        return self._way.request([next(self._canaries) if self._good is None else self._good])

    async def _ask(self, indices: Chunk) -> Answers:
        found, repaired = await self._find(indices)
        answers = Answers()
        answers.rows.repaired += repaired
        missing = set(indices)
        for feature in found:
            index = canonical_index(feature.index)
            if index in missing and feature.layer in (None, self._source_id):
                missing.remove(index)
                self._good = index
                add_feature(answers.rows, feature, index)
                for explanation in feature.explanations or ():
                    add_explanation(answers.rows, explanation, index)
            else:
                answers.rows.ignored += 1
        if len(missing) < len(indices):
            self._known.confirm()
        elif missing:
            await self._known.check()
        answers.missing += sorted(missing)
        return answers

    async def _find(self, indices: Chunk) -> Found:
        try:
            return await self._transport.send(self._way.request(indices))
        except NotFoundError:
            if not self._way.not_found_is_missing:
                raise
            return [], False


def chunks_of(indices: Chunk, size: int) -> list[Chunk]:
    return [indices[start : start + size] for start in range(0, len(indices), size)]


def speaks_of_size(fault: RequestError) -> bool:
    """Say whether a smaller request may succeed where this one did not."""
    gateway_timeout = isinstance(fault, ServerError) and fault.status == 504
    return gateway_timeout or isinstance(fault, TooLargeError | TimedOutError)


def apart(one: Chunk, other: Chunk) -> bool:
    """Say whether two runs of rising indices have nothing in common."""
    return one[-1] < other[0] or other[-1] < one[0]
