"""What all jobs of a run share."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass

from saefetch.downloading.work import Slots
from saefetch.net.transport import Transport
from saefetch.settings import Settings
from saefetch.sources.width import Widths
from saefetch.terminal.progress import Display


@dataclass(frozen=True, slots=True)
class Crew:
    """`threads` unpack and parse the export. `scope` are the features asked for, None for all."""

    settings: Settings
    transport: Transport
    slots: Slots
    threads: Executor
    display: Display
    widths: Widths
    scope: range | None
    refresh: bool
