"""What the service does by the calendar: forget old jobs, and look for labels that have changed (`--refresh-every`).

A look is a job like any other. It lists the export's objects and reads those with another ETag, so a look at an SAE of
which nothing has changed costs the two listings.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, suppress
from datetime import datetime, timedelta
from pathlib import Path

from saefetch import inventory
from saefetch.errors import StoreError
from saefetch.service.errors import ClosingError, ConflictError
from saefetch.service.rows import Wish
from saefetch.service.service import Service
from saefetch.store.store import Store
from saefetch.times import utc_now

LOOK_EVERY_S = 3600.0


class Upkeep:
    """`every` is how old an SAE's labels may get before they are looked at again, None for ever."""

    def __init__(
        self,
        service: Service,
        every: timedelta | None,
        *,
        now: Callable[[], str] = utc_now,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._service, self._every, self._now, self._sleep = service, every, now, sleep

    async def run(self) -> None:
        """Go on until this is cancelled."""
        pause_s = LOOK_EVERY_S
        if self._every is not None:
            pause_s = min(pause_s, self._every.total_seconds() / 4)
        while True:
            with suppress(StoreError):  # a full disk; the next hour is another chance
                self._service.forget_old_jobs()
                if self._every is not None:
                    await self.look(self._every)
            await self._sleep(pause_s)

    async def look(self, every: timedelta) -> None:
        """Queue a job for each complete SAE that nobody has looked at for `every`."""
        found = await asyncio.to_thread(lambda: list(_complete(self._service.data_dir)))
        now = datetime.fromisoformat(self._now())
        for wish, downloaded_at in found:
            latest = max(filter(None, (downloaded_at, self._service.last_look(wish.folder))), default="")
            if not latest or now - datetime.fromisoformat(latest) >= every:
                with suppress(ConflictError, ClosingError):  # then somebody has asked for this SAE just now
                    self._service.queue([wish])


def _complete(data_dir: Path) -> Iterator[tuple[Wish, str | None]]:
    """Yield a wish for each complete SAE of the folder, and when something of it came last."""
    for folder in inventory.folders(data_dir):
        found = inventory.progress(folder)
        if found.state != "complete" or not found.neuronpedia_id:
            continue
        with suppress(StoreError), closing(Store.open_read_only(folder)) as store:
            names = (found.sae_release, found.sae_id, found.neuronpedia_id, found.total_features)
            wish = Wish(folder.relative_to(data_dir).as_posix(), *names, str(store.meta("source", "auto")), "changed")
            yield wish, store.meta("downloaded_at")
