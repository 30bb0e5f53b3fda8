"""One SAE's download: lock and open -> plan -> crawl -> publish -> count."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import saefetch
from saefetch import search
from saefetch.downloading.crawl import Crawl
from saefetch.downloading.crew import Crew
from saefetch.downloading.figures import begin_line
from saefetch.downloading.outcome import Outcome, Summary, count_features
from saefetch.downloading.session import Session, open_session, utc_now
from saefetch.downloading.tally import Tally
from saefetch.errors import RefusedError, RequestError, SaefetchError, StoreError, UsageError
from saefetch.names.identity import Target
from saefetch.publish import LABELS_NAME, METADATA_NAME, SaeInfo, publish, sizes
from saefetch.sources import Plan
from saefetch.store.records import State
from saefetch.store.store import Store


class Job:
    """One SAE's download. `priority` is its place in the queue, the first is 0."""

    def __init__(self, crew: Crew, target: Target, priority: int) -> None:
        self._crew, self._settings = crew, crew.settings
        self._target, self._priority = target, priority
        self._transport = crew.transport.with_own_counters()
        self._outcome = Outcome(target, Summary(target.neuronpedia_id, crew.settings.source))
        self._alone = crew.settings.source == "export"

    async def run(self) -> Outcome:
        """Do the job. Whatever goes wrong ends up in the outcome, so that it stops no other job."""
        began = self._transport.now()
        with self._errors_in_the_outcome():
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
        self._outcome.settle()
        self._outcome.take_counters(self._transport.counters, self._transport.now() - began)
        return self._outcome

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
        asked = range(d_sae) if self._crew.scope is None else self._crew.scope
        scope = range(min(asked.start, d_sae), min(asked.stop, d_sae))
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
        if not (tally.n_open or self._crew.refresh):
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
        names = (self._target.release, self._target.sae_id, self._target.neuronpedia_id)
        info = SaeInfo(*names, plan.d_sae, str(store.meta("downloaded_at", utc_now())))
        state = (store.generation, info, preference, saefetch.__version__)
        if store.meta("published") != repr((*state, sizes(session.folder))):
            version = saefetch.__version__
            stats = publish(store, info, preference, source=self._settings.source, version=version)
            search.build(store, plan.d_sae, preference)
            # Last, so that a crash before it makes the next run do all of it again.
            store.set_meta(published=repr((*state, sizes(session.folder))), with_descriptions=stats.with_descriptions)
        self._outcome.summary.labels_path = str(session.folder / LABELS_NAME)
        self._outcome.summary.metadata_path = str(session.folder / METADATA_NAME)

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
