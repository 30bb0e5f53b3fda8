"""One SAE's crawl: the bulk export, then the API for what the export lacks, as the setting `source` says."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

from saefetch.downloading.crew import Crew
from saefetch.downloading.session import Session
from saefetch.downloading.tally import Tally
from saefetch.downloading.work import work_off
from saefetch.errors import RefusedError, RequestError
from saefetch.net.transport import Transport
from saefetch.sources import ChunkT, Plan, Source
from saefetch.sources.api import ApiSource, Way
from saefetch.sources.batch import InBatches
from saefetch.sources.export import ExportSource
from saefetch.sources.feature import OneByOne
from saefetch.store.answers import Answers
from saefetch.store.records import State
from saefetch.times import utc_now

EXPORT_ROUNDS = 3
"""How often the export is listed again because it changed while it was read."""


class Crawl:
    """Gets the features of `plan` that the store of `session` lacks. `notes` takes remarks for the user."""

    def __init__(
        self,
        crew: Crew,
        session: Session,
        plan: Plan,
        tally: Tally,
        *,
        transport: Transport,
        priority: int,
        notes: list[str],
    ) -> None:
        self._crew, self._session, self._plan, self._tally = crew, session, plan, tally
        self._settings, self._store = crew.settings, session.store
        self._transport, self._priority, self._notes = transport, priority, notes
        self._alone = crew.settings.source == "export"

    async def run(self) -> None:
        """Raises: RequestError or RefusedError when it makes no sense to go on. Earlier answers are in the store."""
        exported = False
        if self._settings.source in ("export", "auto"):
            try:
                await self._export()
                exported = True
            except (RequestError, RefusedError) as exc:
                if self._alone:
                    raise
                self._notes.append(f"the bulk export could not be used, so the API is asked instead: {exc}")
        if not self._alone:
            await self._api(exported)

    async def _export(self) -> None:
        store, plan = self._store, self._plan
        source = ExportSource(
            plan,
            transport=self._transport,
            store=store,
            threads=self._crew.threads,
            export_url=self._settings.export_url,
        )
        for _ in range(EXPORT_ROUNDS):
            chunks = await source.plan()
            if not source.listed:
                hint = "; the API may know it: --source batch" if self._alone else ""
                raise RefusedError(f"the bulk export has nothing for {plan.target.neuronpedia_id}{hint}")
            if chunks:
                self._tally.expect_export(sum(chunk.size for chunk in chunks))
                store.set_meta(export_open=1)  # from here on, what came from the export may be half of it
            await self._work_off(source, chunks)
            if not source.stale:
                break
        self._note_holes(source.holes)
        if source.failures:
            n_failed = len(source.failures)
            raise RequestError(f"{n_failed:,} objects of the export failed; the first: {source.failures[0]}")
        if source.stale:
            raise RequestError("the export kept changing while it was read; try again later")
        await self._session.writing(partial(store.keep_objects, [o.key for o in source.listed]))
        store.set_meta(export_open=0, been_whole=1)  # whatever comes later replaces what is here, object by object
        if self._alone:
            await self._session.writing(self._mark_not_exported)

    def _note_holes(self, holes: list[str]) -> None:
        if not holes:
            return
        n = f"{len(holes):,} objects are" if len(holes) > 1 else "1 object is"
        then = "only the API can tell what was in it"
        if not self._alone:
            then = (
                "the API is asked for features without a label; one of several explanations may still be lacking, which"
                " --source batch --refresh makes up for"
            )
        self._notes.append(f"{n} missing from the export, by the numbers of the others: {holes[0]}; {then}")

    def _mark_not_exported(self) -> None:
        states = self._store.states(self._plan.d_sae)
        absent = [index for index, state in enumerate(states) if state in (State.UNKNOWN, State.FAILED)]
        if absent:
            self._store.mark_not_exported(absent, utc_now())
            self._tally.mark(absent)

    async def _api(self, exported: bool) -> None:
        store, d_sae, refresh = self._store, self._plan.d_sae, self._crew.refresh
        # A refresh asks for all that the export did not just bring; an export half read is not to be relied on.
        if refresh:
            store.begin_refresh(time.time())
        plan = replace(
            self._plan,
            epoch=int(store.meta("epoch", 0)) if refresh else 0,
            api_only=(refresh and not exported) or bool(store.meta("export_open")),
            # What the export says does not count: an answer without a feature makes the store forget the feature.
            known=State.GOT in store.states(d_sae, api_only=True),
        )
        source = ApiSource(plan, self._way(), transport=self._transport, store=store)
        await self._work_off(source, await source.plan())
        await self._work_off(source, source.last_round())
        if State.UNEXPLAINED not in store.states(d_sae):
            store.set_meta(unexplained_asked_at=utc_now())
        if refresh and not await source.plan():
            store.set_meta(refreshing=0)
        if store.meta("export_open"):
            states = store.states(d_sae, api_only=True)
            if all(state in (State.GOT, State.MISSING) for state in states):
                store.set_meta(export_open=0, been_whole=1)  # the API answered for all: the export is not needed

    def _way(self) -> Way:
        target, settings = self._plan.target, self._settings
        if settings.source == "feature":
            return OneByOne(target, settings.api_url, settings.max_response_bytes)
        return InBatches(target, settings.api_url, settings.batch_size, settings.max_response_bytes)

    async def _work_off(self, source: Source[ChunkT], chunks: list[ChunkT]) -> None:
        await work_off(source, chunks, self._tally.arrived, self._commit, self._crew.slots, self._priority)

    async def _commit(self, answers: Answers) -> None:
        await self._session.commit(answers)
        self._tally.committed(answers)
