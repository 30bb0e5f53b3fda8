"""The handlers of the mirror. They read in the event loop: a lookup takes some tens of microseconds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

from saefetch.decode import canonical_index
from saefetch.service.http.given import JSON_TYPE, Given
from saefetch.service.http.problems import Problem
from saefetch.service.mirror.asked import features_asked
from saefetch.service.mirror.export import Exports, NotWholeError
from saefetch.service.mirror.feature import Verdict
from saefetch.service.mirror.shelf import Shelf

RETRY_AFTER_S = 30
N_IN_A_ROW = 32
"""Features of a POST that are looked up before others have their turn."""
NOT_AVAILABLE = (
    "The model, source, or feature you specified is not available. Check available public models/sources "
    "(including which ones have inference enabled) at https://www.neuronpedia.org/available-resources"
)
"""Neuronpedia's words."""


class Mirror:
    """Neuronpedia's read routes over the stores of `data_dir`."""

    def __init__(self, data_dir: Path) -> None:
        self._shelf = Shelf(data_dir)
        self._exports = Exports()

    async def close(self) -> None:
        self._shelf.close()

    def operations(self) -> dict[str, Callable[[web.Request, Given], Awaitable[web.StreamResponse]]]:
        return {"mirror_feature": self.feature, "mirror_features": self.features, "mirror_export": self.export}

    async def feature(self, request: web.Request, given: Given) -> web.StreamResponse:
        body = await self._find(given["model"], given["source"], canonical_index(given["index"]), whole=True)
        if body is None:
            raise not_available()
        return web.Response(body=body, content_type=JSON_TYPE)

    async def features(self, request: web.Request, given: Given) -> web.StreamResponse:
        found = []
        for n, (model, source, index) in enumerate(features_asked(given["body"]), 1):
            body = await self._find(model, source, index, whole=False)
            if body is not None:
                found.append(body)
            if n % N_IN_A_ROW == 0:
                await asyncio.sleep(0)
        return web.Response(body=b"[%b]" % b",".join(found), content_type=JSON_TYPE)

    async def export(self, request: web.Request, given: Given) -> web.StreamResponse:
        model, source = given["modelId"], given["saeId"]
        folders = [reader.folder for reader in await self._shelf.readers(model, source)]
        if not folders:
            raise not_available()
        words = ""
        for folder in folders:
            try:
                return await self._exports.answer(request, folder, model, source)
            except NotWholeError as exc:
                words = words or str(exc)
        raise not_yet(f"the explanations of {model}/{source} are not all here: {words}")

    async def _find(self, model: str, source: str, index: int | None, *, whole: bool) -> bytes | None:
        """Render a feature; None where Neuronpedia says that it does not exist.

        Where several stores have the SAE, the first one that knows is asked.

        Raises: Problem, 404 where the SAE is not here at all, 503 where the feature is not here yet.
        """
        readers = await self._shelf.readers(model, source)
        if not readers:
            raise not_available()
        if index is None:  # no feature is called so
            return None
        for reader in readers:
            one = reader.read(index)
            verdict = reader.sae.verdict(one, index)
            if verdict is Verdict.HERE:
                return reader.sae.render(one, whole=whole)
            if verdict is Verdict.GONE:
                return None
        raise not_yet(f"feature {index} of {model}/{source} is not here yet")


def not_available() -> Problem:
    """Say in Neuronpedia's words that there is no such thing."""
    return Problem(404, NOT_AVAILABLE, error=NOT_AVAILABLE)


def not_yet(words: str) -> Problem:
    return Problem(503, f"{words}; ask again later", {"Retry-After": str(RETRY_AFTER_S)}, error=words)
