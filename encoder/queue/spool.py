"""How a job's one file moves through the queue's folders. When it moves, and why, is in `encoder.queue`.

    ready/<job>.json  done/<job>.json  failed/<job>.json
    claimed/<job>.<attempt>.<owner>.<token>.json             the owner works on it
    claimed/<job>.<attempt>.<owner>.<token>.to-<state>.json  decided: it goes to <state>, and anybody may take it there
    claimed/<the same>.next                                  the content that the .json of this name is about to get

Two rules hold, and all else follows from them:

1. A job has one .json file, which is only ever moved by `rename`. For one source, `rename` succeeds once, whoever
   tries. So the folder is the job's state, and of all who want to take a job from the same place, one does.
2. A name in claimed/ is used once: its token is random. The .next is written before the .json of its name comes to be,
   and is used up by one rename over that .json. Whoever takes the .json away removes the .next first. A .next never
   comes back, so a process that wakes up late cannot bring a .json back to a place that the .json has left.

A lease is the mtime of a file, and all mtimes are on one clock: that of the file system, which is read by touching a
folder. So machines that share the folder need not agree on the time. An owner also holds a `flock` on its file for as
long as the owner lives. A process under the same kernel sees by the lock that an owner was killed, and need not wait
until the lease runs out.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import re
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from encoder.queue.ticket import MAX_TICKET_BYTES, is_job
from encoder.stores.object_path import ObjectPath
from saefetch.files.atomic import fsync_folder

STATES = ("ready", "claimed", "done", "failed")
OWNER = r"[A-Za-z0-9_-]{1,40}"
CLAIM = rf"[0-9]{{1,6}}\.{OWNER}\.[0-9a-f]{{8}}"
NAME = re.compile(rf"(.+)\.({CLAIM})(?:\.to-(ready|done|failed))?\.(json|next)", re.DOTALL)
GRACE_S = 1.0  # a file younger than this has an owner that may not have got to its flock yet


@dataclass(frozen=True, slots=True)
class Name:
    """What the name of a file in claimed/ says."""

    job: str
    attempt: int
    owner: str
    token: str
    to: str = ""

    @property
    def claim(self) -> str:
        return f"{self.attempt}.{self.owner}.{self.token}"

    def file(self, suffix: str) -> str:
        return f"{self.job}.{self.claim}{f'.to-{self.to}' if self.to else ''}.{suffix}"

    @classmethod
    def of(cls, job: str, claim: str, to: str = "") -> Name:
        attempt, owner, token = claim.split(".")
        return cls(job, int(attempt), owner, token, to)

    @classmethod
    def parse(cls, file: str) -> tuple[Name, str] | None:
        """Return the name and the suffix, or None for a foreign file."""
        found = NAME.fullmatch(file)
        if found is None or not is_job(found[1]):
            return None
        return cls.of(found[1], found[2], found[3] or ""), found[4]


@functools.cache
def kernel_tag() -> str:
    """Name the running kernel, so that processes under it know each other: by host and boot."""
    host = re.sub("[^A-Za-z0-9]+", "-", socket.gethostname())[:12] or "host"
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii")[:6]
    except OSError:
        boot = secrets.token_hex(3)  # no kernel to compare with: leases alone count
    return f"{host}-{boot}"


def new_worker() -> str:
    return f"{kernel_tag()}-{os.getpid()}-{secrets.token_hex(2)}"


def new_token() -> str:
    return secrets.token_hex(4)


class Spool:
    """The folders of one queue. `now` replaces the file system's clock in tests."""

    def __init__(self, root: Path, now: Callable[[], float] | None) -> None:
        self.root = root
        self._now = now

    def path(self, state: str, job: str) -> Path:
        return self.root / state / f"{job}.json"

    def spooled(self, out: Path) -> Path:
        """Return where an output is until it is published, but for its claim: beside its place, or in the queue."""
        if not isinstance(out, ObjectPath):
            return out
        return self.root / "outputs" / f"{hashlib.sha256(str(out).encode()).hexdigest()[:16]}.npz"

    def temporary_of(self, out: Path, name: Name) -> Path:
        """Return the file that a claim writes an output to."""
        spooled = self.spooled(out)
        return spooled.with_name(f"{spooled.name}.{name.claim}.tmp")

    def claimed(self, name: Name, suffix: str = "json") -> Path:
        return self.root / "claimed" / name.file(suffix)

    def list_jobs(self, state: str) -> tuple[list[str], list[str]]:
        """Return the jobs in ready/, done/ or failed/, sorted, and the files there that are none."""
        jobs, foreign = [], []
        for file in self._files(state):
            if file.endswith(".json") and is_job(file[:-5]):
                jobs.append(file[:-5])
            else:
                foreign.append(file)
        return sorted(jobs), foreign

    def list_claimed(self) -> tuple[list[Name], list[Name], list[str]]:
        """Return the names with a .json, those with a .next, and the files in claimed/ that are neither."""
        names: dict[str, list[Name]] = {"json": [], "next": []}
        foreign = []
        for file in self._files("claimed"):
            parsed = Name.parse(file)
            if parsed is None:
                foreign.append(file)
            else:
                names[parsed[1]].append(parsed[0])
        return names["json"], names["next"], foreign

    def _files(self, state: str) -> list[str]:
        with os.scandir(self.root / state) as entries:
            return sorted(one.name for one in entries if one.name[0] != "." and one.is_file(follow_symlinks=False))

    def enter(self, name: Name, source: Path, content: bytes, expected: bytes | None = None) -> BinaryIO | None:
        """Move a job's file from `source` to `name`, then give it its new content.

        Returns the grip on the file, to be closed when the work on it ends, or None where somebody else was first.
        With `expected`, the content that `content` was made from, also None where the file turned out to be another.
        """
        here, following = self.claimed(name), self.claimed(name, "next")
        grip = self.write_next(name, content)
        try:
            # The rename may report ENOENT although it was done, where NFS had to send it twice.
            if not rename(source, here) and not here.exists():
                following.unlink(missing_ok=True)
                grip.close()
                return None
            if expected is not None and read(here) != expected:
                following.unlink(missing_ok=True)
                rename(here, source)
                grip.close()
                return None
            is_ours = rename(following, here)
        except BaseException:
            if not here.exists():
                following.unlink(missing_ok=True)
            grip.close()
            raise
        if not is_ours and not name.to:  # somebody takes us for dead: do not even start
            grip.close()
            return None
        return grip

    def write_next(self, name: Name, content: bytes) -> BinaryIO:
        """Write the .next of a name that is not in use yet, durably, and return the grip on it."""
        path = self.claimed(name, "next")
        grip = path.open("xb")
        try:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(grip, fcntl.LOCK_EX | fcntl.LOCK_NB)
            grip.write(content)
            grip.flush()
            os.fsync(grip.fileno())
            self.stamp(grip.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            with suppress(OSError):  # it tries once more to write what found no room
                grip.close()
            raise
        return grip

    def settle(self, name: Name) -> None:
        """Take a job whose .next is gone to the state that was decided. Anybody may, any number of times."""
        if rename(self.claimed(name), self.path(name.to, name.job)):
            fsync_folder(self.root / name.to)
            fsync_folder(self.root / "claimed")

    def consume_next(self, name: Name) -> None:
        """Give a .json its new content, unless it has it."""
        rename(self.claimed(name, "next"), self.claimed(name))

    def stamp(self, file: Path | int) -> None:
        """Set the mtime of a path or a descriptor to now. Raises: FileNotFoundError."""
        os.utime(file, None if self._now is None else (self._now(), self._now()))

    def now(self) -> float:
        """Return the time on the clock that the leases are on, in s since 1970."""
        if self._now is not None:
            return self._now()
        folder = self.root / "claimed"
        os.utime(folder)
        return folder.stat().st_mtime

    def age_s(self, name: Name, now: float) -> float | None:
        """Return how long ago a claim was renewed, or None if it is gone. The future counts by its distance."""
        # In this order: where the .next is gone already, the .json has its mtime.
        mtimes = [mtime(self.claimed(name, suffix)) for suffix in ("next", "json")]
        return min((abs(now - one) for one in mtimes if one is not None), default=None)

    def is_abandoned(self, name: Name, now: float, lease_s: float) -> bool:
        """Tell whether a claim's lease ran out, or its owner is dead for sure."""
        age_s = self.age_s(name, now)
        return age_s is not None and (age_s > lease_s or (age_s > GRACE_S and self._is_dead(name)))

    def _is_dead(self, name: Name) -> bool:
        if not name.owner.startswith(f"{kernel_tag()}-"):
            return False
        for suffix in ("next", "json"):
            try:
                with self.claimed(name, suffix).open("r+b") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return True
            except FileNotFoundError:
                continue
            except OSError:  # held, or no locks here
                return False
        return False


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for the block, against others who do, where the file system has locks for folders."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def rename(source: Path, target: Path) -> bool:
    """Return False where `source` is gone."""
    try:
        source.replace(target)
    except FileNotFoundError:
        return False
    return True


def read(path: Path) -> bytes | None:
    """Return the file's bytes, at most one more than a ticket may have, or None where it is gone."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_TICKET_BYTES + 1)
    except FileNotFoundError:
        return None


def mtime(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return None
