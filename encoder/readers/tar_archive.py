"""A tar of data files, such as webdataset writes: its members are read where they lie in it, nothing is unpacked.

    000.acts.npy 000.input_ids.npy 000.json | 001.acts.npy ...    a sample each: a document, with what lies beside it
    000.npy | 001.npy | ...                                       a document each, in the archive's own order
    layer_12.npy | layer_16.npy                                   arrays by name, of which one is chosen
    acts.pt                                                       as that file alone
    acts.npy | acts_attention_mask.npy | input_ids.npy            as beside a file in a folder, see `sidecars`

Members are .npy, .npz, .safetensors and torch files. A sample is what has one name up to the first dot. As in a list of
prompts, documents of one length may be layers as well, and are refused with the ways to name. Text is passed over, with
a note; any other member is refused. Without its end mark an archive is truncated, as whole members may be missing.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from encoder.errors import ShardError
from encoder.hooks import parse
from encoder.readers.arrays import Array
from encoder.readers.companion_names import MASK_NAMES, NAMES, called_after
from encoder.readers.containers import HEAD_BYTES, loader_of
from encoder.stores.object_path import pread

MAX_MEMBERS = 200_000
_BLOCK = tarfile.BLOCKSIZE
_MAX_NAME_BYTES = 1 << 16  # of a long name, or a member's pax records
_SUFFIXES = (".npy", ".npz", ".safetensors", ".pt", ".pth")
_TEXT = (".json", ".jsonl", ".txt", ".md", ".yaml", ".yml", ".cls", ".csv", ".log", ".html")
_LONG_NAME, _PAX, _PAX_GLOBAL = b"L", b"x", b"g"
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE)
_PASSED_OVER = (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, b"K")


class Member(NamedTuple):
    """A file in the archive: its bytes are the `size` from `begin` on."""

    name: str
    begin: int
    size: int


def looks_like(head: bytes) -> bool:
    return head[257:262] == b"ustar"


def load(path: Path, size: int) -> tuple[Any, list[str]]:
    """Give the archive's arrays, as a file of them would have them, and the names of members that are not read.

    Raises: ShardError where the archive is truncated or damaged, or holds what cannot be read.
    """
    loaded: dict[str, Any] = {}
    passed_over = []
    with path.open("rb") as file:
        for member in _members(path, file, size):
            name = member.name.removeprefix("./")
            suffix = PurePosixPath(name).suffix.lower()
            if suffix in _TEXT or PurePosixPath(name).name.startswith("."):
                passed_over.append(name)
                continue
            stem = name.removesuffix(PurePosixPath(name).suffix) if suffix in _SUFFIXES else name
            if stem in loaded:
                raise ShardError(f"{path}: two members are called {_shown(stem)}; refused")
            load_member = loader_of(path, pread(file, HEAD_BYTES, member.begin), member.size, member.begin)
            if load_member is None:
                raise ShardError(
                    f"{path}: its member {_shown(name)} is not read within a tar, which may hold .npy, .npz,"
                    f" .safetensors and torch files; unpack it"
                )
            try:
                loaded[stem] = load_member()
            except ShardError as exc:
                raise ShardError(f"{path}: {_shown(name)}: {str(exc).removeprefix(f'{path}: ')}") from exc
    if not loaded:
        raise ShardError(
            f"{path}: a tar without arrays; it holds {', '.join(map(_shown, passed_over[:5])) or 'nothing'}"
        )
    return _arranged(loaded), passed_over


def _arranged(loaded: dict[str, Any]) -> Any:
    """Return the one member's contents, a list of samples, or arrays by name."""
    loaded = _with_sidecars(loaded)
    if len(loaded) == 1:
        return next(iter(loaded.values()))
    samples: dict[str, dict[str, Any]] = {}
    for stem, contents in loaded.items():
        folder, _, own = stem.rpartition("/")
        key, _, field = own.partition(".")
        samples.setdefault(f"{folder}/{key}", {})[field] = contents
    if len(samples) == 1 or any(_names_a_layer(key) for key in samples):
        return loaded
    return [next(iter(fields.values())) if len(fields) == 1 else fields for fields in samples.values()]


def _with_sidecars(loaded: dict[str, Any]) -> dict[str, Any]:
    """Call token ids and masks after the array that they belong to by their names: `acts.input_ids`.

    `acts_input_ids` and `acts-input_ids` belong to `acts`, and `input_ids` to the only array of its folder.
    """
    mains = {stem for stem, one in loaded.items() if isinstance(one, Array) and one.is_float and len(one.shape) > 1}
    mains -= {stem for stem in mains if _own_name(stem) in MASK_NAMES or _main_of(stem, mains)}
    named: dict[str, Any] = {}
    for stem, contents in loaded.items():
        found = None if stem in mains or not isinstance(contents, Array) else _main_of(stem, mains)
        name = stem if found is None else ".".join(found)
        if name in named:
            raise ShardError(f"{contents.path}: {_shown(stem)} and another member are both {_shown(name)}; keep one")
        named[name] = contents
    return named


def _main_of(stem: str, mains: set[str]) -> tuple[str, str] | None:
    """Return the array that a member is called after, or the only one of its folder, and what it is to that array."""
    found = next(((main, name) for main, name in called_after(stem) if main in mains), None)
    if found is None and _own_name(stem) in NAMES:
        beside = [main for main in mains if main.rpartition("/")[0] == stem.rpartition("/")[0]]
        return (beside[0], _own_name(stem)) if len(beside) == 1 else None
    return found


def _own_name(stem: str) -> str:
    return stem.rpartition("/")[2]


def _names_a_layer(key: str) -> bool:
    """Say whether a folder's or file's name tells a place in the model; a bare number may be a text's."""
    return any(parse(part).is_known for part in key.split("/") if part and not part.isdecimal())


def _members(path: Path, file: IO[bytes], size: int) -> Iterator[Member]:
    """Yield the files of the archive in order. Raises: ShardError if it is damaged, or has no end mark."""
    at, n_members, long_name = 0, 0, ""
    pax: dict[str, str] = {}
    while True:
        header = pread(file, _BLOCK, at)
        if header == bytes(_BLOCK):
            return
        try:
            info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
            n_bytes = int(pax.pop("size", info.size))
        except (tarfile.HeaderError, ValueError) as exc:
            raise ShardError(
                f"{path}: no tar header at byte {at:,} of {size:,} ({exc}): truncated, or damaged; copy it again"
            ) from exc
        begin, n_members = at + _BLOCK, n_members + 1
        at = begin + -(-n_bytes // _BLOCK) * _BLOCK
        if n_bytes < 0 or begin + n_bytes > size or n_members > MAX_MEMBERS:
            raise ShardError(
                f"{path}: member {n_members:,}, {_shown(info.name)}, claims {n_bytes:,} bytes from {begin:,} on, and"
                f" the file has {size:,}: truncated, or over {MAX_MEMBERS:,} members"
            )
        if info.type in (_LONG_NAME, _PAX, _PAX_GLOBAL):
            if n_bytes > _MAX_NAME_BYTES:
                raise ShardError(f"{path}: a name of {n_bytes:,} bytes in the tar; refused")
            record = pread(file, n_bytes, begin)
            if info.type == _LONG_NAME:
                long_name = record.rstrip(b"\0").decode("utf-8", "surrogateescape")
            elif info.type == _PAX:
                pax = _pax_records(path, record)
        elif info.type in _FILES:
            if any(key.startswith("GNU.sparse") for key in pax):
                raise ShardError(f"{path}: {_shown(info.name)} is a sparse file; pack it without --sparse")
            yield Member(pax.get("path") or long_name or info.name, begin, n_bytes)
            pax, long_name = {}, ""
        elif info.type in _PASSED_OVER:
            pax, long_name = {}, ""
        else:
            raise ShardError(f"{path}: {_shown(info.name)} is of the kind {info.type!r}, expected files; pack it anew")


def _pax_records(path: Path, record: bytes) -> dict[str, str]:
    """Read records "n key=value\\n", of which n is the length."""
    records, rest = {}, record
    while rest.rstrip(b"\0"):
        length, _, _ = rest.partition(b" ")
        n = int(length) if length.isdigit() and len(length) < 8 else 0
        key, equals, value = rest[len(length) + 1 : n].partition(b"=")
        if n < 5 or not equals or not value.endswith(b"\n"):
            raise ShardError(f"{path}: a pax header that is malformed; copy the file again, or pack it anew")
        records[key.decode("utf-8", "surrogateescape")] = value[:-1].decode("utf-8", "surrogateescape")
        rest = rest[n:]
    return records


def _shown(name: str) -> str:
    return ascii(name[:80])
