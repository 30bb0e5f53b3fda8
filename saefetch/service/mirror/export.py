"""All explanations of an SAE, as Neuronpedia's former `/api/explanation/export` gave them: a JSON array.

It is read from one moment of the store, in a thread, into a file that has no name, and sent from there: so a client
that is slow keeps no transaction open, and what is wrong with the store is known before the answer begins.
"""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import closing
from pathlib import Path
from typing import IO

import orjson
from aiohttp import web

from saefetch.search import stored_preference
from saefetch.service.http.given import JSON_TYPE
from saefetch.store.records import State
from saefetch.store.store import Store

AT_ONCE = 2
IN_MEMORY = 8 << 20
PIECE = 1 << 16


class NotWholeError(Exception):
    """Some of the SAE's explanations are not here yet; the text counts the features."""


class Exports:
    """Makes the arrays, `AT_ONCE` at a time, and sends them."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def answer(self, request: web.Request, folder: Path, model: str, source: str) -> web.StreamResponse:
        """Raises: NotWholeError; StoreError."""
        with tempfile.SpooledTemporaryFile(IN_MEMORY) as file:
            async with self._turns:
                writing = asyncio.ensure_future(asyncio.to_thread(_write, file, folder, model, source))
                try:
                    await asyncio.shield(writing)
                except asyncio.CancelledError:
                    await asyncio.wait([writing])  # the thread still writes to the file
                    raise
            response = web.StreamResponse(headers={"Content-Type": JSON_TYPE})
            response.content_length = file.tell()
            await response.prepare(request)
            if request.method != "HEAD":
                file.seek(0)
                while piece := file.read(PIECE):
                    await response.write(piece)
            await response.write_eof()
            return response


def _write(file: IO[bytes], folder: Path, model: str, source: str) -> None:
    names = orjson.dumps(model), orjson.dumps(source)
    with closing(Store.open_read_only(folder)) as store:
        store.connection.execute("BEGIN")  # all that is read is from the moment of the first look
        d_sae = int(store.meta("num_features", 0))
        _check_whole(store, d_sae)
        preference = stored_preference(store)
        separator = b"["
        for record in store.records(0, d_sae):
            for text, kind, by in preference.rank(record.explanations):
                file.write(
                    b'%b{"modelId":%b,"layer":%b,"index":"%d","description":%b,"typeName":%b,"explanationModelName":%b}'
                    % (
                        separator,
                        *names,
                        record.index,
                        orjson.dumps(text),
                        orjson.dumps(kind or None),
                        orjson.dumps(by or None),
                    )
                )
                separator = b","
        file.write(b"[]" if separator == b"[" else b"]")


def _check_whole(store: Store, d_sae: int) -> None:
    """Raises: NotWholeError where an explanation may exist that is not here yet."""
    states = store.states(d_sae)
    waiting = [State.UNKNOWN, State.FAILED]
    if store.meta("source") != "export":  # who asked for the export alone has what it has; else the API is to be asked
        waiting += [State.UNEXPLAINED, State.ORPHAN, State.NOT_EXPORTED]
    n_open = sum(map(states.count, waiting))
    is_half = bool(store.meta("export_open")) and not store.meta("been_whole")
    if n_open or is_half or not d_sae:
        n = d_sae if is_half else n_open
        raise NotWholeError(f"{n:,} of {d_sae:,} features are not here yet")
