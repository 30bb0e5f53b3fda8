"""What an attempt made of a job, SAE by SAE, and what the ticket keeps of it for the next attempt.

left -> {"skipped": true}     finished before
     -> {"absent": why}       the shard has no activations for it
     -> {"rows", "nnz", ...}  encoded; its file waits to be published
     -> {"error": why}        it cannot be encoded, and another attempt would fail alike
     -> still left            not its turn yet, or worth another attempt
"""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from encoder.errors import (
    ChangingError,
    EncoderError,
    FencedError,
    InputError,
    MismatchError,
    ShardError,
    UnreachableError,
)
from encoder.queue.ticket import Target, Ticket
from encoder.rows import in_words
from encoder.work.matching import Matched
from encoder.work.stream import Encoded
from encoder.work.totals import Totals

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""What a system answers where nothing can be written."""
LASTING = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG)
"""What a system answers about a path that leads to no file; it answers the same in the next attempt."""


@dataclass(slots=True)
class Made:
    """SAEs are called by the folders of their results; the only one of a ticket is called "".

    `errors` are worth another attempt, `outputs` are the files to be published, `without_sae` are the places in the
    shard that no SAE is for. `cause` is the first exception of this attempt.
    """

    ticket: Ticket
    said: dict[str, dict[str, Any]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    outputs: list[Path] = field(default_factory=list)
    without_sae: list[str] = field(default_factory=list)
    did: Totals = field(default_factory=Totals)
    line: str = ""
    cause: BaseException | None = None
    _encoded: list[Encoded] = field(default_factory=list)
    _is_resumed: bool = False

    @classmethod
    def resumed(cls, ticket: Ticket) -> Made:
        """Begin with what earlier attempts made."""
        made, before = cls(ticket), ticket.result.get("saes") if ticket.is_of_several else None
        if isinstance(before, dict):
            folders = {target.folder for target in ticket.targets}
            made.said = {name: said for name, said in before.items() if name in folders and isinstance(said, dict)}
            made._is_resumed = True
            without = ticket.result.get("without_sae")
            made.without_sae = list(map(str, without)) if isinstance(without, list) else []
        return made

    @property
    def left(self) -> list[str]:
        return [target.folder for target in self.targets()]

    def targets(self) -> list[Target]:
        """Return the SAEs that nothing is known of yet."""
        return [one for one in self.ticket.targets if one.folder not in self.said and one.folder not in self.errors]

    @contextmanager
    def failing(self, target: Target) -> Iterator[None]:
        """Make what goes wrong with an SAE its error; what is wrong for all SAEs is raised."""
        try:
            yield
        except (FencedError, MismatchError, ChangingError):
            raise
        except (EncoderError, OSError) as exc:
            self.fail(target.folder, exc)

    def fail(self, folder: str, exc: Exception) -> None:
        self.cause = self.cause or exc
        if is_for_good(exc):
            self.said[folder] = {"error": str(exc)}
        else:
            self.errors[folder] = words_of(exc)

    def take(self, matched: Matched) -> None:
        """Take which SAEs the shard has no rows for."""
        self.said |= {folder: {"absent": why} for folder, why in matched.absent.items()}
        if not self._is_resumed:  # the first attempt has looked at all SAEs
            self.without_sae = matched.without_sae
        for folder, exc in matched.errors.items():
            self.fail(folder, exc)

    def add(self, target: Target, encoded: Encoded, out: Path, warning: str | None) -> None:
        """Take the features of an SAE, which wait to be published as `out`."""
        self.said[target.folder] = {"rows": encoded.n_rows, "nnz": encoded.nnz, "warning": warning}
        self.outputs.append(out)
        self._encoded.append(encoded)

    @property
    def failed(self) -> dict[str, str]:
        """Return all errors, also of earlier attempts, by SAE."""
        return {folder: said["error"] for folder, said in self.said.items() if "error" in said} | self.errors

    @property
    def error(self) -> str:
        """Say what went wrong; what is the same for several SAEs is said once."""
        of_saes: dict[str, list[str]] = {}
        for folder, error in self.failed.items():
            of_saes.setdefault(error, []).append(folder)
        return "; ".join(f"{', '.join(names)}: {error}" if names != [""] else error for error, names in of_saes.items())

    @property
    def trace(self) -> str:
        return "" if self.cause is None else "".join(traceback.format_exception(self.cause))

    def result(self) -> dict[str, Any]:
        """Return what the ticket keeps."""
        if self.ticket.is_of_several:
            return {"saes": self.said, "without_sae": self.without_sae}
        return {} if "error" in self.said.get("", {}) else dict(self.said.get("", {}))

    def sum_up(self, seconds: float) -> None:
        """Sum up the attempt, which took so long."""
        for one in self._encoded:
            self.did.rows += one.n_rows
            self.did.nnz += one.nnz
            self.did.rows_counted += one.n_counted
            self.did.nnz_counted += one.nnz_counted
        if not self.ticket.is_of_several and self.outputs:
            self.said[""]["seconds"] = round(seconds, 3)
        is_over = not self.left and not self.failed
        states = {key for said in self.said.values() for key in said}
        self.did.done = int(is_over and "rows" in states)
        self.did.skipped = int(is_over and "rows" not in states and "skipped" in states)
        self.did.unmatched = int(is_over and states == {"absent"})
        self.line = self._in_words(seconds)

    def _in_words(self, seconds: float) -> str:
        parts = []
        if self._encoded:
            n_rows = sum(one.n_rows for one in self._encoded)
            l0 = sum(one.nnz_counted for one in self._encoded) / max(1, sum(one.n_counted for one in self._encoded))
            parts.append(f"{n_rows:,} tokens")
            if self.ticket.is_of_several:
                parts[0] = f"{_saes(len(self._encoded))}, {n_rows:,} tokens in all"
                parts.append(f"L0 {l0:.1f}")
            else:
                (one,) = self._encoded
                parts += [in_words(one.excluded), f"L0 {l0:.1f}", one.quality.in_words()]
            parts.append(f"{n_rows / max(seconds, 1e-9):,.0f} tokens/s")
        n_absent = sum("absent" in said for said in self.said.values())
        n_skipped = sum("skipped" in said for said in self.said.values())
        if self.ticket.is_of_several:
            parts.append(f"{_saes(n_skipped)} finished before" if n_skipped else "")
            parts.append(f"none here for {_saes(n_absent)}" if n_absent else "")
            parts.append(f"{_saes(len(self.left))} to go" if self.left else "")
        elif n_skipped:
            parts.append("finished before")
        return ", ".join(filter(None, parts))


def words_of(exc: BaseException) -> str:
    """Say what went wrong; of a disk that is full, what to do."""
    if isinstance(exc, OSError) and exc.errno in FULL:
        return f"its result cannot be written: {exc.strerror}; make room, and try again"
    return str(exc) or type(exc).__name__


def _saes(n: int) -> str:
    return "1 SAE" if n == 1 else f"{n:,} SAEs"


def is_for_good(exc: BaseException) -> bool:
    """Say whether another attempt would fail alike: the shard or the SAE is at fault, not a disk, a network or who
    still writes to it.
    """
    if not isinstance(exc, ShardError | InputError) or isinstance(exc, ChangingError | UnreachableError):
        return False
    cause = exc.__cause__
    return cause.errno in LASTING if isinstance(cause, OSError) else not isinstance(cause, EOFError)
