"""gzip and zstd around any other file: .npy.gz, .safetensors.zst, .tar.gz.

    acts.npy.gz                                                       rows out of the stream, see `packed_stream`
    acts.pt.gz -> <TMPDIR>/saefetch-scratch-.../<folder>/acts.pt      unpacked first, then read as that file

Of an .npy in C order the rows are read one after the other. In all else they are read at any place: a layer of several,
arrays by name, what has its directory at the end. The scratch file is bounded: by MAX_RATIO times what is packed, and
by the room of the disk. It goes when the shard does; what a killed process left, the next one removes.
"""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from encoder.errors import ShardError
from encoder.machine.scratch import FREE_BYTES, Scratch
from encoder.readers import raw_memmap
from encoder.readers.packed_stream import SUFFIXES, packing_of, pieces, unpacked_name
from encoder.readers.side_json import MAX_JSON_BYTES
from encoder.readers.sidecars import named_after, one_array
from encoder.readers.source import Source
from encoder.shard import Shard, Tokens

if TYPE_CHECKING:
    import torch

_LOOK_BYTES = 1 << 20


def claims(source: Source) -> bool:
    return source.path.suffix.lower() in SUFFIXES and packing_of(source.head) is not None


def is_beside_its_unpacked(path: Path) -> bool:
    """Say whether what is in the file lies beside it, unpacked."""
    return path.suffix.lower() in SUFFIXES and (path.parent / unpacked_name(path)).is_file()


def streamed(source: Source) -> Shard | None:
    """Return the shard of a packed .npy whose rows are taken from the stream; None of what is unpacked first."""
    if source.axes or (array := source.packed_array) is None:
        return None
    source.allow_select("axes")
    inner = source.path.with_name(unpacked_name(source.path))

    @contextmanager
    def told() -> Iterator[None]:
        """Name the user's file in what goes wrong: the name of the file inside is a part of it."""
        try:
            yield
        except ShardError as exc:
            exc.args = (str(exc).replace(str(source.path), str(inner)).replace(str(inner), str(source.path)),)
            raise

    note = f"packed with {packing_of(source.head)}, and read as it is unpacked"
    return _outside(source.path, lambda: one_array(replace(source, path=inner), array, "the array"), told, note)


class Unpacked:
    """A packed file, unpacked once for all that is read of it. The scratch file goes with this and all its shards."""

    def __init__(self, source: Source) -> None:
        self.path, scratch = source.path, Scratch()
        self._packing = packing_of(source.head) or ""
        self.root = scratch.folder
        try:
            folder = scratch.folder / (source.path.absolute().parent.name or "root")
            folder.mkdir(exist_ok=True)
            self.inner = folder / unpacked_name(source.path)
            with self.inner.open("wb") as out:
                found = pieces(source.path, source.size, self._packing)
                for piece in _roomy(found, source.path, scratch.folder):
                    out.write(piece)
            for name in raw_memmap.side_names(self.inner):
                side = source.path.parent / name
                if side.is_file() and side.stat().st_size <= MAX_JSON_BYTES:
                    (folder / name).write_bytes(side.read_bytes())
            for side, _ in named_after(source.path.with_name(self.inner.name)):
                with (folder / unpacked_name(side)).open("wb") as out:
                    out.writelines(_content(side))
        except BaseException:
            scratch.remove()
            raise
        weakref.finalize(self, scratch.remove)

    def outside(self, open_inner: Callable[[], Shard]) -> Shard:
        """Open a shard of the scratch file, and return it as one of the user's file."""
        note = f"packed with {self._packing}, and read from a scratch file"
        return _outside(self.path, open_inner, self.told, note)

    @contextmanager
    def told(self) -> Iterator[None]:
        """Name the user's file in what goes wrong with the scratch file."""
        try:
            yield
        except ShardError as exc:
            exc.args = (str(exc).replace(str(self.inner), str(self.path)),)
            raise


def _content(side: Path) -> Iterator[bytes]:
    """Yield the content of a file of token ids or a mask, unpacked if it is packed."""
    with side.open("rb") as file:
        packing = packing_of(file.read(4))
        if packing is None:
            file.seek(0)
            while piece := file.read(_LOOK_BYTES):
                yield piece
            return
    yield from pieces(side, side.stat().st_size, packing)


def _outside(
    path: Path, open_inner: Callable[[], Shard], told: Callable[[], AbstractContextManager[None]], note: str
) -> Shard:
    with told():
        shard = open_inner()

    def read(start: int, stop: int) -> torch.Tensor:
        with told():
            return shard.read(start, stop)

    def tokens() -> Tokens:
        with told():
            return shard.tokens()

    return replace(shard, path=path, read=read, tokens=tokens, notes=(*shard.notes, note))


def _roomy(found: Iterable[bytes], path: Path, folder: Path) -> Iterator[bytes]:
    """Yield the pieces while there is room for them. Raises: ShardError."""
    n_bytes = 0
    for piece in found:
        n_bytes += len(piece)
        if n_bytes % (1 << 26) < _LOOK_BYTES and shutil.disk_usage(folder).free < FREE_BYTES:
            raise ShardError(
                f"{path}: no room to unpack it in {folder.parent}, after {n_bytes:,} bytes: set TMPDIR to a larger"
                f" disk, or unpack it by hand"
            )
        yield piece
