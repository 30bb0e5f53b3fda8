"""From the inputs that the user names to jobs: which data files there are, and what each result is called."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encoder.errors import InputError
from encoder.queue.ticket import MAX_JOB_BYTES, Ticket, check_job
from encoder.readers import EMPTY, RAW_SUFFIXES, find_inputs, packed, packed_stream
from encoder.readers.walk import SUFFIXES, is_unfinished
from saefetch.terminal.output import printable

COMPRESSED = (".bz2", ".xz", ".lz4", ".br", ".z")
ARCHIVES = (".tar", ".zip", ".7z", ".rar")


@dataclass(frozen=True, slots=True)
class Input:
    """One data file, the folder that the user named it by, and the name of its result (without .npz)."""

    path: Path
    root: Path
    name: str

    @property
    def job(self) -> str:
        """The name of its job: that of the result where a job can have it, else one that begins like it."""
        return self.name if self.why_no_job is None else _speakable(self.name)

    @property
    def why_no_job(self) -> str | None:
        """Say why no result can have the name; None if one can."""
        path = printable(str(self.path))
        try:
            check_job(self.name)
        except InputError:
            length = len(os.fsencode(self.name))
            if length > MAX_JOB_BYTES:
                return (
                    f"{path}: shorten its name or those of its folders: a result's name has at most"
                    f" {MAX_JOB_BYTES} bytes, and this would have {length}"
                )
            return f"{path}: rename it: a result's name has no control characters and no dot in front"
        return None


def inputs_of(
    paths: Iterable[Path],
    below: Path | None = None,
    unread: Callable[[Path], object] = lambda path: None,
    prefix: str | None = None,
    select: Mapping[str, object] = EMPTY,
) -> list[Input]:
    """List the data files below `paths`. A result is named by the file's path below its INPUT, with `__` for `/`.

    `below` is a folder that stands for INPUT; `prefix` stands in front of each name, as if INPUT were in a folder of
    that name; `unread` hears of files and folders that are not read; `select` may declare files without a header.
    Raises: InputError if there is none, or two results would have one name.
    """
    if prefix is not None:
        check_prefix(prefix)
    found: dict[str, Input] = {}
    for path in paths:
        passed_over: list[Path] = []
        files = find_inputs(path, unread=passed_over.append, select=select)
        root = below or (path.parent if files == [path] else path)
        if not files:
            there = "".join(f"; {why_not_read(one)}" for one in passed_over[:1])
            raise InputError(f"{path}: no activation files below it{there}; formats are named in README.md")
        for one in passed_over:
            unread(one)
        for file in files:
            parts = without_ending(file.relative_to(root)).parts
            name = "__".join((prefix, *parts) if prefix is not None else parts)
            other = found.get(name)
            if other is not None and not _is_same(other.path, file):
                raise InputError(
                    f"{other.path} and {file} would both become {name}.npz. Name a folder above both as the INPUT, or"
                    " encode them apart, one with --prefix NAME or into another folder"
                )
            found[name] = Input(file, root, name)
    return list(found.values())


def without_ending(path: Path) -> Path:
    """Return a data file's path without its ending: x of x.npy and of x.npy.gz; of a folder, only `.zarr` is one."""
    if path.suffix.lower() in packed_stream.SUFFIXES and not path.is_dir():
        path = path.with_name(packed_stream.unpacked_name(path))
    if path.suffix != ".zarr" and (path.suffix == "" or path.is_dir()):
        return path
    return path.with_suffix("")


def check_prefix(prefix: str) -> None:
    """Raises: InputError if results' names cannot begin so."""
    try:
        check_job(prefix)
    except InputError:
        raise InputError(f"--prefix {prefix!r}: expected the beginning of a file's name, without '/'") from None


def tickets_of(
    inputs: Iterable[Input], out: Path, sae: dict[str, Any], select: dict[str, str], **extra: Any
) -> list[Ticket]:
    """Return a job for each input. `extra` are further keys of its ticket."""
    return [
        Ticket(
            job=item.job,
            shard=str(item.path.absolute()),
            out=str(out.absolute() / f"{item.job}.npz"),
            sae=sae,
            select=select,
            extra={"root": str(item.root.absolute()), **extra},
        )
        for item in inputs
    ]


def why_not_read(path: Path) -> str:
    """Say of a file or folder below an INPUT that it is passed over, so that no rows are left out in silence."""
    if path.is_dir():
        return f"{path} is not read: no format here reads folders of this kind"
    if path.suffix.lower() in COMPRESSED:
        return f"{path} is not read: unpack it first, as only gzip and zstd are unpacked here"
    if packed.is_beside_its_unpacked(path):
        return f"{path} is not read: what is in it lies beside it, unpacked"
    if path.suffix.lower() in packed_stream.SUFFIXES:
        return f"{path} is not read: unpack it, or name it by the data in it, as .npy.gz is"
    if path.suffix.lower() in ARCHIVES:
        return f"{path} is not read: unpack it first, as of archives only a whole tar is read"
    if path.suffix.lower() in RAW_SUFFIXES:
        return f"{path} is not read: numbers without a header: say --dtype and --shape, or name its file for more"
    if is_unfinished(path):
        return f"{path} is not read: by its name a backup or an unfinished copy; rename it if it is neither"
    if path.suffix in SUFFIXES - {".npz"}:
        return f"{path} is not read: its folder has an index, or files of a format, to which it does not belong"
    if path.suffix == ".npz":
        return f"{path} is not read: it is a sparse matrix, as features are"
    return f"{path} is not read: no format here has the ending {path.suffix or 'of ' + path.name}"


def is_result(path: Path, out: Path) -> bool:
    """Say whether a file in the folder of the results, which may be below an INPUT, is one of them or their index."""
    return path.suffix in (".npz", ".csc") and out.absolute() in path.absolute().parents


def strictly(unread: Iterable[Path]) -> dict[str, str]:
    """Return an error for each file or folder that is not read, as --strict has it."""
    return {str(path): f"{why_not_read(path)}; --strict makes that an error" for path in unread}


def _speakable(name: str) -> str:
    """Return a job's name that begins like `name` and is no other name's."""
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:8]
    plain = "".join(char if char.isprintable() else "_" for char in name).lstrip(".")
    return f"{os.fsencode(plain)[: MAX_JOB_BYTES - 40].decode('utf-8', 'ignore')}~{digest}"


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one of them is missing: its job will say so
        return one.absolute() == other.absolute()
