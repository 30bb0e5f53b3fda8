"""What the two API sources share: which indices are still to ask, and whether the server knows the SAE at all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from saefetch.decode import FeatureJson, add_explanation, add_feature
from saefetch.errors import RefusedError, RequestError
from saefetch.sources import Plan
from saefetch.store.answers import Answers
from saefetch.store.records import State
from saefetch.store.store import Store

Chunk = Sequence[int]


def chunks_of(store: Store, plan: Plan, size: int) -> list[Chunk]:
    """Cut the indices of the plan that are neither got nor missing into chunks of at most `size`."""
    states = store.states(plan.d_sae, api_only=plan.api_only, epoch=plan.epoch)
    todo = [index for index in plan.scope if states[index] not in (State.GOT, State.MISSING)]
    return [todo[start : start + size] for start in range(0, len(todo), size)]


def spread(d_sae: int, n: int) -> list[int]:
    """Return at most `n` indices spread evenly over all features."""
    return sorted({round(k * (d_sae - 1) / max(1, n - 1)) for k in range(n)})


def take_feature(answers: Answers, feature: FeatureJson, index: int) -> None:
    add_feature(answers.rows, feature, index)
    for explanation in feature.explanations or ():
        add_explanation(answers.rows, explanation, index)


async def any_exists(waiting: list[list[int]], ask: Callable[[list[int]], Awaitable[bool]]) -> bool:
    """Ask about one group of features after the other until `ask` finds one that exists.

    A group that fails is halved, as one bad feature may have poisoned it.

    Raises: the last failure, if none was found and not all could be asked.
    """
    problem = None
    while waiting:
        indices = waiting.pop()
        try:
            if await ask(indices):
                return True
        except RequestError as exc:
            if exc.stop:
                raise
            problem = exc
            if len(indices) > 1:
                waiting += [indices[1::2], indices[::2]]
    if problem is not None:
        raise problem
    return False


class KnownSae:
    """Whether the server knows the SAE at all.

    It answers alike for a feature that does not exist and for an SAE that does not: with nothing. So before the first
    feature is called missing, `some_exist` looks at features spread over the whole SAE.
    """

    def __init__(self, plan: Plan, *, some_exist: Callable[[], Awaitable[bool]]) -> None:
        self._target, self._known, self._some_exist = plan.target, plan.known, some_exist
        self._asking = asyncio.Lock()

    def confirm(self) -> None:
        self._known = True

    async def check(self) -> None:
        """Return if the server knows the SAE.

        Raises: RefusedError if not one of the features looked at exists.
        """
        async with self._asking:
            if not self._known and not await self._some_exist():
                raise RefusedError(
                    f"Neuronpedia knows no feature of {self._target.neuronpedia_id}: wrong --neuronpedia-id, or an SAE"
                    " without public features. `saefetch list` shows those that SAELens maps to Neuronpedia."
                )
            self._known = True
