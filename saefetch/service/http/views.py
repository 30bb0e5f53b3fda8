"""The routes that read the data dir and the registry. Each runs in a thread, as it may wait for a disk.

An SAE is named by its two folders, RELEASE/FOLDER, which the table has checked for letters that a folder may have.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from saefetch.errors import StoreError
from saefetch.inventory import folders, is_empty
from saefetch.labels import Hit, Labels
from saefetch.names import registry
from saefetch.publish import members_of
from saefetch.search import stored_preference, terms_of
from saefetch.service.http.given import JSON_TYPE, Given
from saefetch.service.http.holdings import Holdings
from saefetch.service.http.problems import Problem
from saefetch.service.http.shapes import KnownSae, SearchHit
from saefetch.store.store import FILE_NAME, Store

N_THREADS = 4


class Views:
    """The handlers."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._holdings = Holdings(data_dir)
        self._threads = ThreadPoolExecutor(N_THREADS, thread_name_prefix="view")

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def operations(self) -> dict[str, Callable[[web.Request, Given], Awaitable[web.StreamResponse]]]:
        views = {"saes": self._saes, "registry": self._registry, "search": self._search, "feature": self._feature}
        return {name: self._in_thread(view) for name, view in views.items()}

    def _in_thread(
        self, view: Callable[[Given], bytes]
    ) -> Callable[[web.Request, Given], Awaitable[web.StreamResponse]]:
        async def answer(request: web.Request, given: Given) -> web.StreamResponse:
            body = await asyncio.get_running_loop().run_in_executor(self._threads, view, given)
            return web.Response(body=body, content_type=JSON_TYPE)

        return answer

    def _saes(self, given: Given) -> bytes:
        return orjson.dumps({"saes": self._holdings.look()})

    def _registry(self, given: Given) -> bytes:
        found: list[KnownSae] = [
            {
                "sae_release": sae.release,
                "sae_id": sae.sae_id,
                "neuronpedia_id": sae.neuronpedia_id,
                "num_features": sae.d_sae,
            }
            for sae in registry.search(given["q"])
        ]
        return orjson.dumps({"saes": found})

    def _search(self, given: Given) -> bytes:
        limit = given["limit"]
        terms_of(given["q"])  # what has no word is refused, also where there is nothing to search
        where = list(folders(self._data_dir)) if given["sae"] is None else [self._folder(*given["sae"].split("/"))]
        found: list[tuple[Hit, str]] = []
        for folder in where:
            name = f"{folder.parent.name}/{folder.name}"
            try:
                with closing(Labels(Store.open_read_only(folder))) as labels:
                    found += [(hit, name) for hit in labels.search(given["q"], limit)]
            except StoreError:
                if not is_empty(folder):
                    raise
        found.sort(key=lambda pair: (-pair[0].score, pair[1], pair[0].index))
        hits: list[SearchHit] = [
            {"index": hit.index, "description": hit.description, "sae": name} for hit, name in found[:limit]
        ]
        return orjson.dumps({"hits": hits})

    def _feature(self, given: Given) -> bytes:
        folder, index = self._folder(given["release"], given["folder"]), given["index"]
        with closing(Store.open_read_only(folder)) as store:
            d_sae: Any = store.meta("num_features", 0)
            if index >= d_sae:
                raise Problem(404, f"feature {index} is not among the {d_sae:,} of {folder.parent.name}/{folder.name}")
            members, _ = members_of(store.record(index), stored_preference(store))
        return b'{"index":%d,%b}' % (index, members)

    def _folder(self, release: str, folder: str) -> Path:
        path = self._data_dir / release / folder
        if not (path / FILE_NAME).is_file():
            raise Problem(404, f"no labels of {release}/{folder} are here; /v1/saes lists those that are")
        return path
