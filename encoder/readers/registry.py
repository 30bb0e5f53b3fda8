"""The readers, and which of them takes a file. A new format is a module and a line here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from encoder.errors import ShardError
from encoder.readers import (
    activault,
    brought,
    columns,
    dictionary_learning,
    installed,
    language_model_saes,
    numpy_array,
    packed,
    prompt_capture,
    prompt_list,
    raw_memmap,
    sae_bench,
    sae_lens_dataset,
    saev,
    tensors,
    vllm,
)
from encoder.readers.select import RAW
from encoder.readers.source import Source, printable
from encoder.readers.torch_archive import RESAVE
from encoder.shard import Shard


class Reader(Protocol):
    """What a format's module offers. `claims` looks at the content and at what lies beside the file."""

    @property
    def NAME(self) -> str: ...
    def claims(self, source: Source, /) -> bool: ...
    def open_shard(self, source: Source, /) -> Shard: ...


class FolderReader(Reader, Protocol):
    """A format that owns folders: `data_files` lists the data files of one in order, or gives None for a foreign one.

    A file that is missing is listed too, and an index that cannot be believed is listed in the place of its files:
    opening either fails with the reason.
    """

    def data_files(self, folder: Path, /) -> list[Path] | None: ...


FOLDER_READERS: tuple[FolderReader, ...] = (
    saev,
    dictionary_learning,
    sae_lens_dataset,
    activault,
    language_model_saes,
)
# The first that claims a file has it, so what is more particular stands first.
READERS: tuple[Reader, ...] = (
    *FOLDER_READERS,
    sae_bench,
    vllm,
    prompt_capture,
    prompt_list,
    numpy_array,
    columns,
    tensors,
    raw_memmap,
)


class DataFile:
    """One data file, open for one SAE or several: its headers are read once.

    `root` is the folder the user named; side files of a store are looked for in the parent and up to there. Raises:
    ShardError if there is no such file.
    """

    def __init__(self, path: Path, select: Mapping[str, str], root: Path | None = None) -> None:
        self.path, self._select = path, select
        with _reading(path):
            self._source = Source.of(path, select, root)
        self._unpacked: tuple[packed.Unpacked | brought.Brought, DataFile] | None = None

    def shard_for(self, d_in: int | None, hook_name: str = "", model_name: str = "") -> Shard:
        """Find the rows for an SAE: `d_in` is the width that it takes, None if any will do; hook and model are its own,
        "" where they are not known.

        Raises: ShardError; NotHereError where the file has other places of the model; AmbiguousError where --select or
        --axes is needed.
        """
        with _reading(self.path):
            source = self._source.wanting(d_in, hook_name, model_name)
            if packed.claims(source) and (shard := packed.streamed(source)) is not None:
                return shard
            if brought.claims(source) or packed.claims(source):
                unpacked, inner = self._unpack()
                return unpacked.outside(lambda: inner.shard_for(d_in, hook_name, model_name))
            if (foreign := installed.claimant(source)) is not None:
                return _with_notes(foreign.open_shard(source), foreign, source)
            for reader in READERS:
                if reader.claims(source):
                    return _with_notes(reader.open_shard(source), reader, source)
        raise ShardError(f"{self.path}: {_why_unknown(source)}")

    def _unpack(self) -> tuple[packed.Unpacked | brought.Brought, DataFile]:
        if self._unpacked is None:
            source = self._source
            unpacked = brought.Brought(source) if brought.claims(source) else packed.Unpacked(source)
            with unpacked.told():
                self._unpacked = unpacked, DataFile(unpacked.inner, self._select, unpacked.root)
        return self._unpacked


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise ShardError(f"{path}: cannot be read: {exc}") from exc


def _with_notes(shard: Shard, reader: Reader, source: Source) -> Shard:
    """Say what of the file is not read, and of a file with a header that flags for files without one were not used."""
    notes = list(shard.notes)
    if source.is_tar:
        notes.append("a tar, of which each sample is a document" if isinstance(source.contents, list) else "a tar")
    if names := source.passed_over:
        more = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
        notes.append(f"{len(names):,} members are not read: {', '.join(map(printable, names[:5]))}{more}")
    flags = " and ".join(flag for key, flag in RAW.items() if key in source.select)
    if flags and reader is not raw_memmap:
        notes.append(f"{flags} are for files without a header, and were not used: {shard.dtype}, by its own header")
    return replace(shard, notes=tuple(notes))


def _why_unknown(source: Source) -> str:
    head = source.head
    if source.size == 0:
        return "the file is empty; copy or write it again"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the data; run `git lfs pull`"
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return f"a bare pickle, which can run code, so it is not loaded; {RESAVE}"
    if head.startswith(b"PK"):
        return "a zip file that is neither torch's nor numpy's; unpack it, and name what was in it"
    if source.path.suffix == ".memmap":
        return f"a memmap without its header; expected {source.path.with_suffix('.meta').name} beside it"
    if source.path.suffix in raw_memmap.SUFFIXES:
        return f"{raw_memmap.HOW}{source.path.stem}.json"
    names = ", ".join(reader.NAME for reader in READERS)
    return f"no reader knows these first bytes: {head[:16].hex(' ')}; known are {names}"
