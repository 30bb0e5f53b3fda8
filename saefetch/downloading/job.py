"""One SAE's download: lock and open -> plan -> crawl -> publish -> count."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import saefetch
from saefetch import search
from saefetch.downloading.crawl import Crawl
from saefetch.downloading.crew import Crew
from saefetch.downloading.figures import begin_line
from saefetch.downloading.outcome import Outcome, Summary, count_features
from saefetch.downloading.session import Session, open_session
from saefetch.downloading.tally import Tally
from saefetch.errors import LockedError, RefusedError, RequestError, SaefetchError, StoreError, UsageError
from saefetch.names.identity import Target
from saefetch.publish import LABELS_NAME, METADATA_NAME, SaeInfo, publish, sizes
from saefetch.sources import Plan
from saefetch.store.records import State
from saefetch.store.store import FILE_NAME, Store
from saefetch.times import utc_now


class Job:
    """One SAE's download. `priority` is its place in the queue, the first is 0."""

    def __init__(self, crew: Crew, target: Target, priority: int) -> None:
        self._crew, self._settings = crew, crew.settings
        self._target, self._priority = target, priority
        self._transport = crew.transport.with_own_counters()
        self._outcome = Outcome(target, Summary(target.neuronpedia_id, crew.settings.source))
        self._alone = crew.settings.source == "export"
        self._looks = crew.refresh or crew.relist  # whether the server is asked also about what is here

    async def run(self) -> Outcome:
        """Do the job. Whatever goes wrong ends up in the outcome, so that it stops no other job."""
        began = self._transport.now()
        with self._errors_in_the_outcome():
            if self._is_done():
                await self._clear_up()
            else:
                await self._work()
        self._outcome.settle()
        self._outcome.take_counters(self._transport.counters, self._transport.now() - began)
        return self._outcome

    def _is_done(self) -> bool:
        """Tell whether all that is asked for is here and published, and count it then. Nothing is locked or written.

        So it works in another user's folder. What keeps the store from being read is said by the way with the lock.
        """
        folder = self._target.folder(self._settings.data_dir)
        if self._looks or not (folder / FILE_NAME).is_file():
            return False
        with suppress(StoreError), closing(Store.open_read_only(folder)) as store:
            settings, plan = self._settings, self._plan_of(store)
            if plan is None or len(self._here(store, plan)) < len(plan.scope):
                return False
            first, version, last = self._published(store, plan, folder)
            said, may_write = str(store.meta("published")), os.access(folder, os.W_OK)
            if may_write and (said != first + version + last or store.meta("source") != settings.source):
                return False
            if not (said.startswith(first) and said.endswith(last)):
                return False
            tally = self._begin(store, plan)
            self._name_files(folder)
            self._count(store, plan, tally)
            return True
        return False

    async def _clear_up(self) -> None:
        """Remove what a process left beside a complete store when it was killed; a living one keeps what it has."""
        folder = self._target.folder(self._settings.data_dir)
        if os.access(folder, os.W_OK) and any((*folder.glob(".lock"), *folder.glob(f"{FILE_NAME}-*"))):
            with suppress(LockedError):
                async with open_session(self._target, self._settings.data_dir):
                    pass  # closing a store takes its files along

    def _plan_of(self, store: Store) -> Plan | None:
        """Return the plan that the store alone can tell; None where it is another SAE's, or not the whole plan."""
        target = self._target
        n_held = store.meta("num_features", 0)
        d_sae = target.d_sae or n_held
        if not d_sae or d_sae != n_held or store.meta("neuronpedia_id") != target.neuronpedia_id:
            return None
        scope = self._scope(d_sae)
        return Plan(target, d_sae, scope) if scope else None

    async def _work(self) -> None:
        async with open_session(self._target, self._settings.data_dir) as session:
            plan = await self._plan(session.store)
            tally = self._begin(session.store, plan)
            try:
                await self._crawl(session, plan, tally)
                await session.writing_unless_cancelled(lambda: self._publish(session, plan))
            except asyncio.CancelledError:
                self._outcome.interrupted = True
                raise
            finally:
                self._count(session.store, plan, tally)

    @contextmanager
    def _errors_in_the_outcome(self) -> Iterator[None]:
        outcome = self._outcome
        try:
            yield
        except SaefetchError as exc:
            outcome.fail(exc)
        except OSError as exc:
            outcome.fail(StoreError(f"{exc.filename or self._target.name}: {exc.strerror}; what was committed is safe"))
        except asyncio.CancelledError:
            outcome.interrupted = True
        finally:
            self._crew.display.end(self._target.name)

    async def _plan(self, store: Store) -> Plan:
        """Check that the store is this SAE's and the features asked for are among its own; write down whose it is.

        Raises: UsageError, or whatever keeps the server from saying how many features there are.
        """
        target, settings = self._target, self._settings
        held = store.meta("neuronpedia_id")
        if held not in (None, target.neuronpedia_id):
            raise UsageError(
                f"{store.path.parent} holds the labels of {held}, not of {target.neuronpedia_id};"
                " choose another --data-dir"
            )
        d_sae = target.d_sae or int(store.meta("num_features", 0))
        if not d_sae:
            d_sae = await self._crew.widths.ask(self._transport, target)
        scope = self._scope(d_sae)
        if not scope:
            raise UsageError(f"--features: none of these is among the {d_sae:,} features, 0 to {d_sae - 1:,}")
        store.set_meta(
            release=target.release,
            sae_id=target.sae_id,
            neuronpedia_id=target.neuronpedia_id,
            num_features=d_sae,
            source=settings.source,
            explanation_types="\n".join(settings.preference.types),
            explanation_models="\n".join(settings.preference.models),
        )
        return Plan(target, d_sae, scope)

    def _scope(self, d_sae: int) -> range:
        asked = range(d_sae) if self._crew.scope is None else self._crew.scope
        return range(min(asked.start, d_sae), min(asked.stop, d_sae))

    def _begin(self, store: Store, plan: Plan) -> Tally:
        display, name, here = self._crew.display, self._target.name, self._here(store, plan)
        n_asked = len(plan.scope)
        n_open = n_asked - len(here)
        line = begin_line(n_asked, n_asked - n_open)
        display.begin(name, n_asked, n_asked - n_open, line=line, short=self._target.sae_id)
        return Tally(display, name, plan.d_sae, plan.scope, n_open, set() if self._crew.refresh else here)

    def _here(self, store: Store, plan: Plan) -> set[int]:
        """Return the features in scope that are accounted for already."""
        export_open = bool(store.meta("export_open"))
        if self._alone and export_open:
            return set()
        states = store.states(plan.d_sae, api_only=export_open)
        closed = {State.GOT, State.MISSING}
        if self._alone:
            closed |= {State.ORPHAN, State.NOT_EXPORTED, State.UNEXPLAINED}
        return {index for index in plan.scope if states[index] in closed}

    async def _crawl(self, session: Session, plan: Plan, tally: Tally) -> None:
        """Get the features that are not here yet. An error ends the job only where there is nothing to publish."""
        if not (tally.n_open or self._looks):
            return
        notes = self._outcome.notes
        crawl = Crawl(self._crew, session, plan, tally, transport=self._transport, priority=self._priority, notes=notes)
        try:
            await crawl.run()
        except (RequestError, RefusedError) as exc:
            if not session.store.generation:
                raise
            self._outcome.fail(exc)

    def _publish(self, session: Session, plan: Plan) -> None:
        """Write the files and the search index, unless they are those of the store as it is."""
        store, preference = session.store, self._settings.preference
        if not store.generation:
            return
        folder = session.folder
        if store.meta("published") != "".join(self._published(store, plan, folder)):
            version, info = saefetch.__version__, self._info(store, plan)
            stats = publish(store, info, preference, source=self._settings.source, version=version)
            search.build(store, plan.d_sae, preference)
            # Last, so that a crash before it makes the next run do all of it again.
            published = "".join(self._published(store, plan, folder))
            store.set_meta(published=published, with_descriptions=stats.with_descriptions)
        self._name_files(folder)

    def _info(self, store: Store, plan: Plan) -> SaeInfo:
        names = (self._target.release, self._target.sae_id, self._target.neuronpedia_id)
        return SaeInfo(*names, plan.d_sae, str(store.meta("downloaded_at", utc_now())))

    def _published(self, store: Store, plan: Plan, folder: Path) -> tuple[str, str, str]:
        """Return what the store says of its files when they are published: what is in them, by whom, how large."""
        first = repr((store.generation, self._info(store, plan), self._settings.preference))[:-1]
        return first, f", {saefetch.__version__!r}", f", {sizes(folder)!r})"

    def _name_files(self, folder: Path) -> None:
        self._outcome.summary.labels_path = str(folder / LABELS_NAME)
        self._outcome.summary.metadata_path = str(folder / METADATA_NAME)

    def _count(self, store: Store, plan: Plan, tally: Tally) -> None:
        outcome, summary = self._outcome, self._outcome.summary
        count_features(summary, store, plan, tally.fetched, alone=self._alone, interrupted=outcome.interrupted)
        if self._alone and summary.missing:
            only = "only the API can tell whether they exist"
            outcome.notes.append(f"{summary.missing:,} features are not in the export; {only}")
        if self._alone and summary.unexplained["export"]:
            only = "only the API can tell whether they have one; --source auto asks it"
            outcome.notes.append(
                f"{summary.unexplained['export']:,} features have no explanation in the export; {only}"
            )
        n_orphans = store.states(plan.d_sae)[plan.scope.start : plan.scope.stop].count(State.ORPHAN)
        if self._alone and n_orphans:
            lacking = "their tokens and max_activation are not known; --source auto asks the API"
            outcome.notes.append(f"of {n_orphans:,} features the export has an explanation and nothing else: {lacking}")
        outcome.notes += tally.notes
