"""`sae-encode template`: a script or manifest that runs one part of the shards on each of many machines.

Each machine runs the same command with its own `--part`, counted from 1, and needs nothing in common with the others
but the places of the shards and of the results.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from encoder.errors import InputError
from encoder.stores.address import place_of

INSTALL = "python -m pip install --quiet 'saefetch[encode,cloud]'"
DEFAULT_IMAGE = "python:3.11"
_TIME = re.compile(r"(?:(\d{1,3})-)?(\d{1,3}):([0-5]\d):([0-5]\d)", re.ASCII)
_MAX_WORKERS = 100_000


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be run. `words` are those of `sae-encode run`, without its part; `folder` is above all local places.

    `time` is [D-]HH:MM:SS. `gpus` is a number, for SkyPilot with a kind in front, such as H100:1. Raises: InputError.
    """

    words: tuple[str, ...]
    workers: int
    time: str
    gpus: str
    image: str | None
    env_file: str | None
    folder: str | None

    @classmethod
    def of(
        cls,
        inputs: Sequence[str],
        out: str,
        flags: Sequence[str],
        sae_paths: Sequence[str] = (),
        *,
        workers: int = 8,
        time: str = "24:00:00",
        gpus: str = "1",
        image: str | None = None,
        env_file: str | None = None,
    ) -> Job:
        """Check what was asked for, and make paths absolute, as machines have other current folders."""
        if not 1 <= workers <= _MAX_WORKERS:
            raise InputError(f"--workers {workers}: expected a number from 1 to {_MAX_WORKERS:,}")
        if _TIME.fullmatch(time) is None:
            raise InputError(f"--time {time}: expected HH:MM:SS or D-HH:MM:SS, such as 24:00:00")
        if re.fullmatch(r"(?:[A-Za-z0-9-]{1,40}:)?[0-9]{1,3}", gpus, re.ASCII) is None:
            raise InputError(f"--gpus {gpus}: expected a number, or with SkyPilot a kind and a number, such as H100:1")
        if not inputs:
            raise InputError("name at least one INPUT")
        places = [_absolute(place) for place in (*inputs, out, *sae_paths)]
        n = len(inputs)
        of_sae = [word for path in places[n + 1 :] for word in ("--sae-path", path)]
        words = ("sae-encode", "run", *places[:n], "--out", places[n], *of_sae, *flags)
        for word in (*words, image or "", env_file or ""):
            if not word.isprintable():
                raise InputError(f"{word!r}: a script cannot have this word in it; rename it")
        local = [place for place in places if place.startswith("/")]
        folder = os.path.commonpath([os.path.dirname(place) for place in local]) if local else None  # noqa: PTH120
        return cls(words, workers, time, gpus, image, env_file, folder)

    @property
    def seconds(self) -> int:
        """The limit on time."""
        found = _TIME.fullmatch(self.time)
        days, hours, minutes, seconds = (int(part or 0) for part in (found.groups() if found else "0000"))
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds

    @property
    def n_gpus(self) -> int:
        return int(self.gpus.rpartition(":")[2])

    def command(self, part: str) -> str:
        """Return the command for the part with this number, an expression of the shell."""
        return f'{shlex.join(self.words)} --part "{part}/{self.workers}"'


def _absolute(named: str) -> str:
    place = place_of(named)
    return os.path.abspath(place) if isinstance(place, os.PathLike) else str(place)  # noqa: PTH100 - no link is followed
