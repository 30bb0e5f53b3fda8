"""One SAE's download: lock -> open the store -> crawl its sources -> publish and index -> count."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

import saefetch
from saefetch import search
from saefetch.download.crawl import Slots, work_off
from saefetch.download.figures import begin_line
from saefetch.download.outcome import Outcome, Summary, count_features
from saefetch.errors import RefusedError, RequestError, SaefetchError, StoreError, UsageError
from saefetch.files.lock import lock_folder
from saefetch.names.identity import Target
from saefetch.net.transport import Transport
from saefetch.publish import LABELS_NAME, METADATA_NAME, SaeInfo, publish, published
from saefetch.settings import Settings
from saefetch.sources.batch import BatchSource
from saefetch.sources.export import ExportSource
from saefetch.sources.feature import FeatureSource
from saefetch.sources.unpack import Unpacker
from saefetch.sources.width import ask_width
from saefetch.store.records import State
from saefetch.store.store import Answers, Store
from saefetch.terminal.progress import Display

T = TypeVar("T")
EXPORT_ROUNDS = 3
"""How often the export is listed again because it changed while we read it."""


@dataclass(frozen=True, slots=True)
class Crew:
    """What all jobs of a run share. `scope` are the features asked for, None for all."""

    settings: Settings
    transport: Transport
    slots: Slots
    unpacker: Unpacker
    display: Display
    scope: range | None
    refresh: bool


class Job:
    """One SAE's download. `priority` is its place in the queue, the first is 0."""

    def __init__(self, crew: Crew, target: Target, priority: int) -> None:
        self._crew, self._settings, self._display = crew, crew.settings, crew.display
        self._target, self._priority = target, priority
        self._transport = crew.transport.with_own_counters()
        self._folder = target.folder(crew.settings.data_dir)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._outcome = Outcome(target, Summary(target.neuronpedia_id, crew.settings.source))
        self._n_features = target.n_features or 0
        self._fetched = bytearray()
        self._n_done = 0
        self._export_bytes = self._export_bytes_read = 0
        self._n_repaired = self._n_ignored = 0
        self._interrupted = False

    async def run(self) -> Outcome:
        """Do the job. Whatever goes wrong ends up in the outcome, so that it stops no other job."""
        outcome, began = self._outcome, self._transport.now()
        error: SaefetchError | None = None
        try:
            async with self._open_store():
                try:
                    await self._download()
                finally:
                    self._count()
        except SaefetchError as exc:
            error = exc
        except OSError as exc:
            error = StoreError(f"{exc.filename or self._folder}: {exc.strerror}; what was committed is safe")
        except asyncio.CancelledError:
            outcome.interrupted = True
        finally:
            self._writer.shutdown(wait=True)
            self._display.end(self._target.name)
        if error is not None:
            outcome.exit_status, outcome.error = error.exit_status, str(error)
        elif outcome.summary.failed and not outcome.error and not outcome.interrupted:
            outcome.exit_status = 1
            outcome.error = (
                f"{outcome.summary.failed:,} features failed after all retries; the same command retries just those"
            )
        self._tally(self._transport.now() - began)
        return outcome

    # -- the straight path -------------------------------------------------------------------------------------------

    async def _download(self) -> None:
        store = self._store
        self._n_features = await self._width()
        if not self._scope:
            raise UsageError(
                f"--features: none of these is among the {self._n_features:,} features, 0 to {self._n_features - 1:,}"
            )
        self._fetched = bytearray(self._n_features)
        store.set_meta(
            release=self._target.release,
            sae_id=self._target.sae_id,
            neuronpedia_id=self._target.neuronpedia_id,
            num_features=self._n_features,
            explanation_types="\n".join(self._settings.preference.types),
            explanation_models="\n".join(self._settings.preference.models),
        )
        n_open = self._n_open()
        self._n_done = len(self._scope) - n_open
        n_asked = len(self._scope)
        self._display.begin(
            self._target.name,
            n_asked,
            self._n_done,
            line=begin_line(n_asked, self._n_done),
            short=self._target.sae_id,
        )
        if n_open or self._crew.refresh:
            try:
                await self._crawl()
            except (RequestError, RefusedError) as exc:
                if not store.generation:
                    raise
                self._stop(exc)  # what came before it is worth publishing
        self._crew.unpacker.leave()
        publishing = asyncio.ensure_future(self._in_writer(self._publish_unless_interrupted))
        try:
            await asyncio.shield(publishing)
        except asyncio.CancelledError:
            self._interrupted = True
            while not publishing.done():  # the files of a million features take a while; the next run writes them
                store.interrupt()  # again and again, as it hits only what runs at that moment
                await asyncio.wait([publishing], timeout=0.02)
            raise

    async def _crawl(self) -> None:
        exported = False
        if self._settings.source in ("export", "auto"):
            try:
                await self._crawl_export()
                exported = True
            except (RequestError, RefusedError) as exc:
                if self._settings.source == "export":
                    raise
                self._note(f"the bulk export could not be used, so the API is asked instead: {exc}")
        if self._settings.source != "export":
            await self._crawl_api(exported)

    async def _crawl_export(self) -> None:
        store, alone = self._store, self._settings.source == "export"
        source = ExportSource(
            self._target,
            self._n_features,
            transport=self._transport,
            store=store,
            unpacker=self._crew.unpacker,
            export_url=self._settings.export_url,
        )
        for _ in range(EXPORT_ROUNDS):
            chunks = await source.plan()
            if not source.listed:
                raise RefusedError(
                    f"the bulk export has nothing for {self._target.neuronpedia_id}"
                    + ("; the API may know it: --source batch" if alone else "")
                )
            if chunks:
                self._export_bytes = self._export_bytes_read + sum(chunk.size for chunk in chunks)
                store.set_meta(export_open=1)  # from here on, what came from the export may be half of it
            await work_off(source, chunks, self._commit, self._crew.slots, self._priority)
            if not source.stale:
                break
        if source.failures:
            raise RequestError(
                f"{len(source.failures):,} objects of the export failed; the first: {source.failures[0]}"
            )
        if source.stale:
            raise RequestError("the export kept changing while it was read; try again later")
        await self._in_writer(partial(store.keep_objects, [o.key for o in source.listed]))
        store.set_meta(export_open=0)
        if alone:
            await self._in_writer(self._mark_not_exported)

    async def _crawl_api(self, exported: bool) -> None:
        store, settings = self._store, self._settings
        # A refresh asks for all that the export did not just bring; an export half read is not to be relied on.
        afresh = self._crew.refresh
        if afresh:
            store.begin_refresh(time.time())
        epoch = int(store.meta("epoch", 0)) if afresh else 0
        api_only = (afresh and not exported) or bool(store.meta("export_open"))
        shared: dict[str, Any] = {
            "transport": self._transport,
            "store": store,
            "api_url": settings.api_url,
            "known": any(state in (State.GOT, State.ORPHAN) for state in store.states(self._n_features)),
            "api_only": api_only,
            "epoch": epoch,
        }
        source: BatchSource | FeatureSource
        if settings.source == "feature":
            source = FeatureSource(self._target, self._n_features, self._scope, **shared)
        else:
            source = BatchSource(self._target, self._n_features, self._scope, batch_size=settings.batch_size, **shared)
        await work_off(source, await source.plan(), self._commit, self._crew.slots, self._priority)
        if afresh and not await source.plan():
            store.set_meta(refreshing=0)
        if store.meta("export_open"):
            states = store.states(self._n_features, api_only=True)
            if all(state in (State.GOT, State.MISSING) for state in states):
                store.set_meta(export_open=0)  # the API answered for all: the export is not needed

    async def _commit(self, answers: Answers) -> None:
        await self._in_writer(partial(self._store.commit, answers, _utc_now()))
        rows, fetched = answers.rows, self._fetched
        arrived = [row[0] for row in rows.features] + answers.missing
        self._n_done += sum(not fetched[index] & 1 for index in arrived)
        for index in arrived:
            fetched[index] |= 1
        for explanation in rows.explanations:
            fetched[explanation[0]] |= 2
        self._n_repaired += rows.repaired
        self._n_ignored += rows.ignored
        n_shown = min(self._n_done, len(self._scope))
        if answers.export_object is not None:  # its features come before their labels: its bytes tell more
            self._export_bytes_read += answers.export_object.size
            n_shown = len(self._scope) * self._export_bytes_read // max(1, self._export_bytes)
        self._display.advance(self._target.name, n_shown)

    def _mark_not_exported(self) -> None:
        states = self._store.states(self._n_features)
        absent = [index for index, state in enumerate(states) if state in (State.UNKNOWN, State.FAILED)]
        if absent:
            self._store.mark_not_exported(absent, _utc_now())
            for index in absent:
                self._fetched[index] |= 1

    # -- the store ---------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _open_store(self) -> AsyncIterator[None]:
        """Lock the folder and open its store. A store that this run made and nothing came into is removed again."""
        folders = [self._folder, self._folder.parent]
        if not self._crew.settings.data_dir.exists():  # then it is not the user's own
            folders.append(self._crew.settings.data_dir)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise StoreError(f"{self._folder}: cannot be made: {exc.strerror}; choose another --data-dir") from exc
        try:
            with lock_folder(self._folder):
                opening = self._writer.submit(Store.open, self._folder)
                try:
                    await asyncio.shield(asyncio.wrap_future(opening))
                    self._store = opening.result()
                    yield
                finally:
                    if opening.exception() is None:  # also when this was cancelled while it was being opened
                        self._store = opening.result()
                        self._writer.submit(self._close_store).result()
        finally:
            with suppress(OSError):  # not empty, as a rule
                for folder in folders:
                    folder.rmdir()

    def _close_store(self) -> None:
        nothing = not self._store.generation
        with suppress(StoreError):  # a reader has it open: then the write-ahead log stays beside it until the next run
            self._store.settle()
        self._store.close()
        if nothing:
            self._store.path.unlink(missing_ok=True)

    async def _in_writer(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._writer, work)

    async def _width(self) -> int:
        """Check that the store is this SAE's; return the number of features."""
        held = self._store.meta("neuronpedia_id")
        if held not in (None, self._target.neuronpedia_id):
            raise UsageError(
                f"{self._folder} holds the labels of {held}, not of {self._target.neuronpedia_id};"
                " choose another --data-dir"
            )
        known = self._target.n_features or self._store.meta("num_features")
        if known:
            return int(known)
        urls = {"api_url": self._settings.api_url, "export_url": self._settings.export_url}
        return await ask_width(self._transport, self._target, **urls)

    @property
    def _scope(self) -> range:
        """The features asked for."""
        scope = range(self._n_features) if self._crew.scope is None else self._crew.scope
        return range(min(scope.start, self._n_features), min(scope.stop, self._n_features))

    def _n_open(self) -> int:
        """Count the features in scope that are not accounted for yet."""
        alone, export_open = self._settings.source == "export", bool(self._store.meta("export_open"))
        if alone and export_open:
            return len(self._scope)
        states = self._store.states(self._n_features, api_only=export_open)
        closed = {State.GOT, State.MISSING} | ({State.ORPHAN, State.NOT_EXPORTED} if alone else set())
        return sum(states[index] not in closed for index in self._scope)

    def _publish_unless_interrupted(self) -> None:
        """Swallow the interruption: a traceback would keep a statement open, and SQLite interrupt later ones too."""
        try:
            self._publish()
        except StoreError:
            if not self._interrupted:
                raise

    def _publish(self) -> None:
        """Write the files and the search index, unless they are those of the store as it is."""
        store, preference = self._store, self._settings.preference
        if not store.generation:
            return
        info = SaeInfo(
            self._target.release,
            self._target.sae_id,
            self._target.neuronpedia_id,
            self._n_features,
            str(store.meta("downloaded_at", _utc_now())),
        )
        state = repr((store.generation, info, preference, saefetch.__version__))
        if store.meta("published") != state or not published(self._folder):
            version = saefetch.__version__
            stats = publish(store, info, preference, source=self._settings.source, version=version)
            search.build(store, self._n_features, preference)
            store.set_meta(  # last, so that a crash before it makes the next run do all of it again
                published=state,
                with_descriptions=stats.with_descriptions,
            )
        self._outcome.summary.labels_path = str(self._folder / LABELS_NAME)
        self._outcome.summary.metadata_path = str(self._folder / METADATA_NAME)

    # -- the outcome -------------------------------------------------------------------------------------------------

    def _count(self) -> None:
        summary, alone = self._outcome.summary, self._settings.source == "export"
        count_features(summary, self._store, self._n_features, self._scope, self._fetched, alone=alone)
        if alone and summary.missing:
            self._note(f"{summary.missing:,} features are not in the export; only the API can tell whether they exist")

    def _tally(self, seconds: float) -> None:
        summary, counters = self._outcome.summary, self._transport.counters
        summary.requests, summary.retries = counters.requests, counters.retries
        summary.rate_limited, summary.bytes_received = counters.rate_limited, counters.bytes_received
        summary.seconds = round(seconds, 3)
        if self._n_repaired:
            self._note(f"{self._n_repaired:,} answers or lines held malformed JSON and were repaired")
        if self._n_ignored:
            self._note(f"{self._n_ignored:,} rows were not of these features, or beyond repair, and were left out")

    def _note(self, line: str) -> None:
        self._outcome.notes.append(line)

    def _stop(self, exc: SaefetchError) -> None:
        self._outcome.exit_status, self._outcome.error = exc.exit_status, str(exc)


def _utc_now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
