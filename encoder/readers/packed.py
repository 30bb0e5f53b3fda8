"""gzip and zstd around any other file: .npy.gz, .safetensors.zst, .tar.gz. It is unpacked to a scratch file first.

    acts.npy.gz -> <TMPDIR>/saefetch-scratch-.../<folder>/acts.npy -> the reader of .npy

Rows are read at any place, so they are not taken from the stream. The scratch file is bounded: by MAX_RATIO times what
is packed, and by the room of the disk. It goes when the shard does; what a killed process left, the next one removes.
"""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from encoder.errors import ShardError
from encoder.machine.scratch import FREE_BYTES, Scratch
from encoder.readers import raw_memmap
from encoder.readers.side_json import MAX_JSON_BYTES
from encoder.readers.source import Source
from encoder.shard import Shard, Tokens

if TYPE_CHECKING:
    import torch

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
SUFFIXES = {".gz": "", ".gzip": "", ".zst": "", ".zstd": "", ".tgz": ".tar", ".tzst": ".tar"}
"""The endings of packed files, and what each stands for without its packing."""
MAX_RATIO = 200  # real activations pack to half; padding of zeros is what packs better
_PIECE_BYTES = 1 << 20


def claims(source: Source) -> bool:
    return source.path.suffix.lower() in SUFFIXES and source.head.startswith((GZIP, ZSTD))


def unpacked_name(path: Path) -> str:
    """Return the name without its packing: acts.npy of acts.npy.gz."""
    return path.name.removesuffix(path.suffix) + SUFFIXES[path.suffix.lower()]


def is_beside_its_unpacked(path: Path) -> bool:
    """Say whether what is in the file lies beside it, unpacked."""
    return path.suffix.lower() in SUFFIXES and (path.parent / unpacked_name(path)).is_file()


class Unpacked:
    """A packed file, unpacked once for all that is read of it. The scratch file goes with this and all its shards."""

    def __init__(self, source: Source) -> None:
        self.path, scratch = source.path, Scratch()
        self._packing = "gzip" if source.head.startswith(GZIP) else "zstd"
        self.root = scratch.folder
        try:
            folder = scratch.folder / (source.path.absolute().parent.name or "root")
            folder.mkdir(exist_ok=True)
            self.inner = folder / unpacked_name(source.path)
            with self.inner.open("wb") as out:
                for piece in _pieces(source, scratch.folder):
                    out.write(piece)
            for name in raw_memmap.side_names(self.inner):
                side = source.path.parent / name
                if side.is_file() and side.stat().st_size <= MAX_JSON_BYTES:
                    (folder / name).write_bytes(side.read_bytes())
        except BaseException:
            scratch.remove()
            raise
        weakref.finalize(self, scratch.remove)

    def outside(self, open_inner: Callable[[], Shard]) -> Shard:
        """Open a shard of the scratch file, and return it as one of the user's file."""
        with self.told():
            shard = open_inner()

        def read(start: int, stop: int) -> torch.Tensor:
            with self.told():
                return shard.read(start, stop)

        def tokens() -> Tokens:
            with self.told():
                return shard.tokens()

        notes = (*shard.notes, f"packed with {self._packing}, and read from a scratch file")
        return replace(shard, path=self.path, read=read, tokens=tokens, notes=notes)

    @contextmanager
    def told(self) -> Iterator[None]:
        """Name the user's file in what goes wrong with the scratch file."""
        try:
            yield
        except ShardError as exc:
            exc.args = (str(exc).replace(str(self.inner), str(self.path)),)
            raise


def _pieces(source: Source, folder: Path) -> Iterator[bytes]:
    """Yield what is packed. Raises: ShardError if it is damaged, too much, or packed once more."""
    limit, n_bytes = MAX_RATIO * source.size + (1 << 26), 0
    try:
        with _stream(source) as stream:
            while piece := stream.read(_PIECE_BYTES):
                if n_bytes == 0 and piece.startswith((GZIP, ZSTD)):
                    raise ShardError(f"{source.path}: packed twice; unpack it once: what is in it is packed again")
                n_bytes += len(piece)
                if n_bytes > limit:
                    raise ShardError(
                        f"{source.path}: unpacks from {source.size:,} bytes to over {limit:,}, which activations do"
                        f" not; unpack it by hand if you trust it"
                    )
                if n_bytes % (1 << 26) < _PIECE_BYTES and shutil.disk_usage(folder).free < FREE_BYTES:
                    raise ShardError(
                        f"{source.path}: no room to unpack it in {folder.parent}, after {n_bytes:,} bytes: set TMPDIR"
                        f" to a larger disk, or unpack it by hand"
                    )
                yield piece
    except (OSError, EOFError, ValueError) as exc:
        why = (str(exc).splitlines() or [type(exc).__name__])[0][:160]
        raise ShardError(f"{source.path}: cannot be unpacked ({why}): truncated, or damaged; copy it again") from exc


@contextmanager
def _stream(source: Source) -> Iterator[IO[bytes] | Any]:
    if source.head.startswith(GZIP):
        from isal import igzip

        with source.path.open("rb") as file, igzip.IGzipFile(fileobj=file, mode="rb") as stream:  # type: ignore[no-untyped-call]
            yield stream
        return
    try:
        import pyarrow
    except ImportError as exc:
        raise ShardError(f"{source.path}: needs pyarrow: pip install 'saefetch[encode]'") from exc
    with source.path.open("rb") as file, pyarrow.CompressedInputStream(pyarrow.PythonFile(file, "r"), "zstd") as stream:
        yield stream
