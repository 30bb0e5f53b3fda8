"""What gzip and zstd packed, as a stream of bytes; and an .npy in it, whose rows are taken from the stream in order.

    acts.npy.gz | header | rows, in the order that they are asked for -> memory for the rows asked for, and no disk

A jump back begins at the file's beginning again. So this is for arrays that are read once: of C order, with no axes to
choose from. What else is packed is unpacked to scratch, see `packed`. The stream is bounded by MAX_RATIO.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from encoder.errors import ShardError
from encoder.readers.arrays import ON_DISK, c_strides
from encoder.readers.forward import ForwardArray
from encoder.readers.numpy_header import MAGIC, Header, read_header, whole_array

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
SUFFIXES = {".gz": "", ".gzip": "", ".zst": "", ".zstd": "", ".tgz": ".tar", ".tzst": ".tar"}
"""The endings of packed files, and what each stands for without its packing."""
MAX_RATIO = 200  # real activations pack to half; padding of zeros is what packs better
_PIECE_BYTES = 1 << 20


def unpacked_name(path: Path) -> str:
    """Return the name without its packing: acts.npy of acts.npy.gz; that of another file as it is."""
    if path.suffix.lower() not in SUFFIXES:
        return path.name
    return path.name.removesuffix(path.suffix) + SUFFIXES[path.suffix.lower()]


def packing_of(head: bytes) -> str | None:
    """Return what a file that begins with `head` is packed with; None where it is not."""
    return "gzip" if head.startswith(GZIP) else "zstd" if head.startswith(ZSTD) else None


def limit_of(size: int) -> int:
    """Return how many bytes a packed file of this size may unpack to."""
    return MAX_RATIO * size + (1 << 26)


def pieces(path: Path, size: int, packing: str) -> Iterator[bytes]:
    """Yield what is packed. Raises: ShardError if it is damaged, too much, or packed once more."""
    limit, n_bytes = limit_of(size), 0
    try:
        with _stream(path, packing) as stream:
            while piece := stream.read(_PIECE_BYTES):
                if n_bytes == 0 and piece.startswith((GZIP, ZSTD)):
                    raise ShardError(f"{path}: packed twice; unpack it once: what is in it is packed again")
                n_bytes += len(piece)
                if n_bytes > limit:
                    raise ShardError(
                        f"{path}: unpacks from {size:,} bytes to over {limit:,}, which activations do not; unpack it by"
                        f" hand if you trust it"
                    )
                yield piece
    except (OSError, EOFError, ValueError) as exc:
        why = (str(exc).splitlines() or [type(exc).__name__])[0][:160]
        raise ShardError(f"{path}: cannot be unpacked ({why}): truncated, or damaged; copy it again") from exc


def npy_in(path: Path) -> ForwardArray | None:
    """Return the array of a packed .npy of C order, of which only the header is read; None of anything else.

    Raises: ShardError where it cannot be unpacked; OSError.
    """
    with path.open("rb") as file:
        packing = packing_of(file.read(len(ZSTD)))
    size = path.stat().st_size
    if packing is None or not unpacked_name(path).endswith(".npy"):
        return None
    stream = Unpacking(path, size, packing)
    start = stream.peek(len(MAGIC))
    if start != MAGIC:
        return None
    header = read_header(path, stream, limit_of(size))
    if header.strides != c_strides(header.shape):
        return None
    end = header.n_bytes + _n_bytes(header)
    if end > limit_of(size):
        raise ShardError(
            f"{path}: {size:,} packed bytes claim to hold {end:,}, which activations do not; unpack it by hand if you"
            f" trust it"
        )
    stream.end = end
    whole = whole_array(path, header, (header.n_bytes, end), "the array")
    return ForwardArray(
        path, whole.offset, whole.shape, whole.strides, whole.dtype, swapped=whole.swapped, stream=stream
    )


def _n_bytes(header: Header) -> int:
    n = ON_DISK[header.dtype].itemsize
    for length in header.shape:
        n *= length
    return n


class Unpacking:
    """The unpacked bytes of a file, forwards. Several arrays may be views of it, in several threads.

    `end` is how many bytes there have to be, where that is known.
    """

    what = "the array"

    def __init__(self, path: Path, size: int, packing: str) -> None:
        self._path, self._size, self._packing = path, size, packing
        self.end: int | None = None
        self._lock = threading.Lock()
        self._rewind()

    def _rewind(self) -> None:
        self._pieces = pieces(self._path, self._size, self._packing)
        self._piece, self._at = memoryview(b""), 0

    def peek(self, n_bytes: int) -> bytes:
        """Return the first bytes, which are still to be read."""
        start = self.read(n_bytes)
        self._rewind()
        return start

    def read(self, n_bytes: int) -> bytes:
        """Read on, as from a file: at most so many bytes, fewer at the end."""
        with self._lock:
            found = bytearray()
            while len(found) < n_bytes and (piece := self._next(n_bytes - len(found))):
                found += piece
            return bytes(found)

    def read_at(self, offset: int, out: memoryview) -> None:
        """Fill `out` with the bytes from `offset` on.

        Raises: ShardError where they are damaged, or end early, or go on where they should end.
        """
        with self._lock:
            if offset < self._at:
                self._rewind()
            while self._at < offset:
                self._some(offset - self._at)
            done = 0
            while done < len(out):
                piece = self._some(len(out) - done)
                out[done : done + len(piece)] = piece
                done += len(piece)
            if self._at == self.end and self._next(1):
                raise ShardError(
                    f"{self._path}: its header says {self.end:,} bytes, and more are packed: a false header, or two"
                    f" files in one"
                )

    def _some(self, limit: int) -> memoryview:
        piece = self._next(limit)
        if not piece:
            raise ShardError(
                f"{self._path}: cannot be unpacked (it ends after {self._at:,} bytes, expected {self.end or 0:,}):"
                f" truncated, or damaged; copy it again"
            )
        return piece

    def _next(self, limit: int) -> memoryview:
        """Return the next bytes, at most `limit`; none at the end, where gzip and zstd have compared their checksum."""
        if not self._piece:
            self._piece = memoryview(next(self._pieces, b""))
        piece, self._piece = self._piece[:limit], self._piece[limit:]
        self._at += len(piece)
        return piece


@contextmanager
def _stream(path: Path, packing: str) -> Iterator[IO[bytes] | Any]:
    if packing == "gzip":
        from isal import igzip

        with path.open("rb") as file, igzip.IGzipFile(fileobj=file, mode="rb") as stream:  # type: ignore[no-untyped-call]
            yield stream
        return
    try:
        import pyarrow
    except ImportError as exc:
        raise ShardError(f"{path}: needs pyarrow: pip install 'saefetch[encode]'") from exc
    with path.open("rb") as file, pyarrow.CompressedInputStream(pyarrow.PythonFile(file, "r"), "zstd") as stream:
        yield stream
