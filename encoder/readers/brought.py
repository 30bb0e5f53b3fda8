"""Shards at an address in a format that is not read by ranges: they are copied to scratch, and read from there.

    s3://bucket/acts/deep/acts.h5 -> <TMPDIR>/saefetch-scratch-.../acts/deep/acts.h5 -> the reader of HDF5

What is read by ranges is listed here: formats of which the bytes of the rows lie together. The small files beside the
shard come along, as formats keep their indexes there. The copy goes when the shard does.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from encoder.errors import ShardError
from encoder.machine.scratch import Scratch
from encoder.readers import installed, numpy_archive, numpy_header, packed, raw_memmap, tables
from encoder.readers.arrow_skeleton import is_by_ranges
from encoder.readers.arrow_stream import CONTINUATION
from encoder.readers.safetensors_header import looks_like as is_safetensors
from encoder.readers.side_json import MAX_JSON_BYTES
from encoder.readers.source import Source
from encoder.readers.torch_archive import looks_like as is_torch_archive
from encoder.readers.torch_legacy import looks_like as is_legacy
from encoder.shard import Shard, Tokens
from encoder.stores.fetched import fetch
from encoder.stores.object_path import ObjectPath

if TYPE_CHECKING:
    import torch

MAX_BESIDE = 50
"""Small files that come along."""


def claims(source: Source) -> bool:
    path, head = source.path, source.head
    if not isinstance(path, ObjectPath):
        return False
    if path.is_dir() or any(reader.takes(path) for reader in installed.installed()):
        return True
    is_read_by_ranges = (
        packed.claims(source)
        or source.is_tar
        or head.startswith((numpy_header.MAGIC, tables.PARQUET))
        or (head.startswith(CONTINUATION) and is_by_ranges(path))
        or path.suffix in (*raw_memmap.SUFFIXES, ".memmap")
        or is_torch_archive(head)
        or is_legacy(head)
        or is_safetensors(head, source.size)
        or numpy_archive.looks_like(head)
    )
    return source.size > 0 and not is_read_by_ranges


class Brought:
    """A shard and its small neighbours in scratch, which goes with this and all that is read of it."""

    def __init__(self, source: Source) -> None:
        assert isinstance(source.path, ObjectPath)
        self.path, scratch = source.path, Scratch()
        above = source.root if source.root is not None and source.root in source.path.parents else source.path.parent
        self.root = scratch.folder / (above.name or "bucket")
        self.inner = self.root / source.path.relative_to(above)
        try:
            self.inner.parent.mkdir(parents=True, exist_ok=True)
            fetch(source.path, self.inner)
            self._bring_beside(source.path)
        except BaseException:
            scratch.remove()
            raise
        weakref.finalize(self, scratch.remove)

    def _bring_beside(self, path: ObjectPath) -> None:
        beside = [one for one in path.parent.iterdir() if one.suffix == ".json" and one.name != path.name]
        for one in beside[:MAX_BESIDE]:
            if one.is_file() and one.stat().st_size <= MAX_JSON_BYTES:
                (self.inner.parent / one.name).write_bytes(one.read_bytes())

    def outside(self, open_inner: Callable[[], Shard]) -> Shard:
        """Open a shard of the copy, and return it as one of the address."""
        with self.told():
            shard = open_inner()

        def read(start: int, stop: int) -> torch.Tensor:
            with self.told():
                return shard.read(start, stop)

        def tokens() -> Tokens:
            with self.told():
                return shard.tokens()

        notes = (*shard.notes, "not read by ranges: it was copied to a scratch file first")
        return replace(shard, path=self.path, read=read, tokens=tokens, notes=notes)

    @contextmanager
    def told(self) -> Iterator[None]:
        """Name the address in what goes wrong with the copy."""
        try:
            yield
        except ShardError as exc:
            exc.args = (str(exc).replace(str(self.root), str(self.path).removesuffix(self._below)),)
            raise

    @property
    def _below(self) -> str:
        return f"/{self.inner.relative_to(self.root).as_posix()}"
