"""From the inputs that the user names to jobs: which data files there are, and what each result is called."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encoder.errors import InputError
from encoder.queue.ticket import Ticket
from encoder.readers import find_inputs


@dataclass(frozen=True, slots=True)
class Input:
    """One data file, the folder that the user named it by, and the name of its result (without .npz)."""

    path: Path
    root: Path
    name: str


def inputs_of(
    paths: Iterable[Path], below: Path | None = None, unread: Callable[[Path], object] = lambda path: None
) -> list[Input]:
    """List the data files below `paths`. A result is named by the file's path below its INPUT, with `__` for `/`.

    `below` is a folder that stands for INPUT; `unread` hears of files that look like data but are of no known format.
    Raises: InputError if there is none, or two results would have one name.
    """
    found: dict[str, Input] = {}
    for path in paths:
        root = below or (path if path.is_dir() else path.parent)
        files = find_inputs(path, unread=unread)
        if not files:
            raise InputError(f"{path}: no activation files below it; formats are named in README.md")
        for file in files:
            name = "__".join(file.relative_to(root).with_suffix("").parts)
            other = found.get(name)
            if other is not None and other.path.resolve() != file.resolve():
                raise InputError(f"{other.path} and {file} would both become {name}.npz; submit them to two folders")
            found[name] = Input(file, root, name)
    return list(found.values())


def tickets_of(
    inputs: Iterable[Input], out: Path, sae: dict[str, Any], select: dict[str, str], **extra: Any
) -> list[Ticket]:
    """Return a job for each input. `extra` are further keys of its ticket."""
    return [
        Ticket(
            job=item.name,
            shard=str(item.path.absolute()),
            out=str(out.absolute() / f"{item.name}.npz"),
            sae=sae,
            select=select,
            extra={"root": str(item.root.absolute()), **extra},
        )
        for item in inputs
    ]
