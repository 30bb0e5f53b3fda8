"""Whether the server knows the SAE at all.

It answers alike for a feature that does not exist and for an SAE that does not: with nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from saefetch.decode import FeatureJson
from saefetch.errors import RefusedError, RequestError
from saefetch.sources import Plan

Find = Callable[[Sequence[int]], Awaitable[tuple[list[FeatureJson], bool]]]
N_SINGLES = 16


class KnownSae:
    """Before the first feature is called missing, features that are spread over the whole SAE are asked for."""

    def __init__(self, plan: Plan, find: Find, n_at_once: int) -> None:
        self._plan, self._find, self._n_at_once = plan, find, n_at_once
        self._known = plan.known
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
                    f"Neuronpedia knows no feature of {self._plan.target.neuronpedia_id}: wrong --neuronpedia-id, or an"
                    " SAE without public features. `saefetch list` shows those that SAELens maps to Neuronpedia."
                )
            self._known = True

    async def _some_exist(self) -> bool:
        if self._n_at_once == 1:
            groups = [[index] for index in reversed(spread(self._plan.d_sae, N_SINGLES))]
        else:
            groups = [spread(self._plan.d_sae, self._n_at_once)]
        return await any_exists(groups, self._exists)

    async def _exists(self, indices: list[int]) -> bool:
        found, _ = await self._find(indices)
        return any(feature.layer in (None, self._plan.target.source_id) for feature in found)


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


def spread(d_sae: int, n: int) -> list[int]:
    """Return at most `n` indices spread evenly over all features."""
    return sorted({round(k * (d_sae - 1) / max(1, n - 1)) for k in range(n)})
