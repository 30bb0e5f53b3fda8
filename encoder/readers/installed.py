"""Readers that other packages bring: an entry point of the group `saefetch.readers` each. See docs/readers.md.

    entry point -> module or object with NAME, claims, open_shard, and where it likes SUFFIXES and data_files

They are asked before our own, as what is more particular comes first. Code of theirs runs because they were installed,
never because of what is in a file. What they return is checked as a file is: rows of another number, width or dtype,
and tokens that do not match the rows, are refused. Whatever they raise fails the one shard.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encoder.errors import InputError, ShardError
from encoder.readers.arrays import FLOATS
from encoder.readers.assemble import finished
from encoder.readers.source import Source
from encoder.shard import Shard, Tokens

if TYPE_CHECKING:
    import torch

GROUP = "saefetch.readers"
_NEEDED = ("NAME", "claims", "open_shard")


@dataclass(frozen=True)
class Installed:
    """A reader of another package, behind checks."""

    reader: Any
    package: str

    @property
    def NAME(self) -> str:
        return f"{self.reader.NAME} ({self.package})"

    def takes(self, entry: Path) -> bool:
        """Say whether a file of a folder is this reader's by its ending."""
        return entry.name.endswith(tuple(getattr(self.reader, "SUFFIXES", ())))

    def data_files(self, folder: Path) -> list[Path] | None:
        """List the data files of a folder of this format; None of another one's, or where the reader has none."""
        if not hasattr(self.reader, "data_files"):
            return None
        with self._failing(folder):
            files = self.reader.data_files(folder)
            return None if files is None else [Path(one) for one in files]

    def claims(self, source: Source) -> bool:
        with self._failing(source.path):
            return bool(self.reader.claims(source))

    def open_shard(self, source: Source) -> Shard:
        """Open the shard behind checks. Raises: ShardError."""
        with self._failing(source.path):
            shard = self.reader.open_shard(source)
        self._check(
            source.path,
            isinstance(shard, Shard)
            and all(type(n) is int and n >= 0 for n in (shard.n_rows, shard.d_in))
            and shard.dtype in FLOATS,
            f"gave {str(shard)[:120]}, expected a Shard of n_rows, d_in and a dtype of {', '.join(FLOATS)}",
        )

        def read(start: int, stop: int) -> torch.Tensor:
            with self._failing(source.path):
                rows: torch.Tensor = shard.read(start, stop)
            self._check_rows(source.path, shard, rows, stop - start)
            return rows

        def tokens() -> Tokens:
            with self._failing(source.path):
                found: Tokens = shard.tokens()
            self._check_tokens(source.path, shard, found)
            return found

        notes = (*shard.notes, f"read by {self.NAME}")
        return finished(source, shard.n_rows, shard.d_in, shard.dtype, read, tokens, shard.hook_name, notes)

    def _check_rows(self, path: Path, shard: Shard, rows: Any, n_rows: int) -> None:
        got = f"{getattr(rows, 'dtype', type(rows).__name__)!s}{list(getattr(rows, 'shape', ()))}"
        wanted = f"torch.{shard.dtype}[{n_rows}, {shard.d_in}]"
        self._check(path, got.replace(" ", "") == wanted.replace(" ", ""), f"gave rows {got}, expected {wanted}")

    def _check_tokens(self, path: Path, shard: Shard, tokens: Any) -> None:
        self._check(path, isinstance(tokens, Tokens), f"gave tokens {type(tokens).__name__}, expected Tokens")
        for one in fields(tokens):
            values = getattr(tokens, one.name)
            if values is not None and one.name != "sections":
                what = f"gave {len(values):,} {one.name} for {shard.n_rows:,} rows"
                self._check(path, len(values) == shard.n_rows, what)

    def _check(self, path: Path, is_right: bool, what: str) -> None:
        if not is_right:
            raise ShardError(f"{path}: the reader {self.NAME} {what}; tell its authors")

    @contextmanager
    def _failing(self, path: Path) -> Iterator[None]:
        try:
            yield
        except (ShardError, MemoryError):
            raise
        except Exception as exc:  # anything can go wrong in code that is not ours
            why = (str(exc).splitlines() or [""])[0][:200]
            raise ShardError(f"{path}: the reader {self.NAME} failed: {type(exc).__name__}: {why}") from exc


@cache
def installed() -> tuple[Installed, ...]:
    """Load the readers of all packages, in order of the packages' and the entry points' names.

    Raises: InputError for one that cannot be loaded, as its files would be another reader's otherwise.
    """
    found = sorted(entry_points(group=GROUP), key=lambda one: (_package(one), one.name))
    return tuple(_loaded(entry) for entry in found)


def _loaded(entry: EntryPoint) -> Installed:
    what = f"the reader {entry.name!r} of the package {_package(entry)}"
    try:
        reader = entry.load()
    except Exception as exc:  # as it runs another package's code
        why = (str(exc).splitlines() or [""])[0][:200]
        raise InputError(f"{what} cannot be loaded: {type(exc).__name__}: {why}; update or uninstall it") from exc
    missing = [name for name in _NEEDED if not hasattr(reader, name)]
    if missing:
        raise InputError(f"{what} has no {' and no '.join(missing)}; update or uninstall it")
    return Installed(reader, _package(entry))


def _package(entry: EntryPoint) -> str:
    return "?" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"


def claimant(source: Source) -> Installed | None:
    """Return the reader that claims the file; None if none does. Raises: ShardError if two do."""
    found = [reader for reader in installed() if reader.claims(source)]
    if len(found) > 1:
        names = " and ".join(reader.NAME for reader in found)
        raise ShardError(f"{source.path}: claimed by {names}; uninstall one of them")
    return found[0] if found else None
