"""The file that a reader is asked about, and what the caller wants of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from encoder.errors import ShardError
from encoder.readers import hdf5_file, tar_archive, zarr_store
from encoder.readers.arrays import Array
from encoder.readers.containers import HEAD_BYTES, loader_of
from encoder.readers.listed import array_of
from encoder.readers.packed_stream import npy_in
from encoder.stores.same import status_of


@dataclass(frozen=True)
class Source:
    """One data file; its parsed contents are kept, as several readers look at them."""

    path: Path
    size: int
    head: bytes  # the first HEAD_BYTES, or fewer
    d_in: int | None
    select: Mapping[str, str]  # as `select.parse_select` makes it
    root: Path | None
    hook_name: str = ""  # the SAE's own, "" if it does not say
    model_name: str = ""  # the SAE's own, "" if it does not say
    _parsed: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)  # for all that `wanting` returns

    @classmethod
    def of(cls, path: Path, select: Mapping[str, str], root: Path | None) -> Source:
        if path.is_dir() and zarr_store.is_store(path):
            return cls(path, status_of(path).st_size, b"", None, select, root)
        if not path.is_file():
            raise ShardError(f"{path}: {_why_no_file(path)}")
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        return cls(path, path.stat().st_size, head, None, select, root)

    def wanting(self, d_in: int | None, hook_name: str, model_name: str) -> Source:
        """Return the same file, asked about for an SAE. What was parsed of it is parsed for all SAEs."""
        return replace(self, d_in=d_in, hook_name=hook_name, model_name=model_name)

    @property
    def contents(self) -> Any:
        """What a file of named arrays holds: an `Array`, or dicts and lists of them; None for other files."""
        if "contents" not in self._parsed:
            load = self._loader
            self._parsed["contents"] = None if load is None else load()
        return self._parsed["contents"]

    @property
    def packed_array(self) -> Array | None:
        """The array of a packed .npy, where its rows can be read in order as it is unpacked."""
        if "packed" not in self._parsed:
            self._parsed["packed"] = npy_in(self.path)
        found: Array | None = self._parsed["packed"]
        return found

    @property
    def holds_arrays(self) -> bool:
        """Whether this is a file of named arrays, or of one."""
        return self._loader is not None

    @property
    def _loader(self) -> Callable[[], Any] | None:
        path, head = self.path, self.head
        if path.is_dir():
            return lambda: zarr_store.load(path)
        if hdf5_file.looks_like(head):
            return lambda: hdf5_file.load(path)
        if self.is_tar:
            return lambda: self._tar[0]
        return loader_of(path, head, self.size)

    @property
    def is_tar(self) -> bool:
        return tar_archive.looks_like(self.head)

    @property
    def _tar(self) -> tuple[Any, list[str]]:
        if "tar" not in self._parsed:
            self._parsed["tar"] = tar_archive.load(self.path, self.size)
        found: tuple[Any, list[str]] = self._parsed["tar"]
        return found

    @property
    def passed_over(self) -> list[str]:
        """The names of an archive's members that are not read."""
        return self._tar[1] if self.is_tar else []

    @property
    def arrays(self) -> dict[str, Array]:
        """The arrays of `contents` by name; nested names join with dots. A file of one array has none."""
        if "arrays" not in self._parsed:
            is_one = isinstance(self.contents, Array)
            self._parsed["arrays"] = {} if is_one else arrays_in(self.path, self.contents)
        found: dict[str, Array] = self._parsed["arrays"]
        return found

    def has_arrays(self, *names: str) -> bool:
        """Whether the file is a mapping with an array under each of these names."""
        contents = self.contents
        return isinstance(contents, dict) and all(isinstance(contents.get(name), Array) for name in names)

    @property
    def axes(self) -> tuple[str, ...]:
        """The names of the array's axes, as --axes has them; () if it was not given."""
        axes = self.select.get("axes", "")
        return tuple(axes.split(",")) if axes else ()

    def takes(self, width: int) -> bool:
        """Say whether the SAE takes rows of this width."""
        return self.d_in in (None, width)

    def allow_select(self, *keys: str) -> None:
        """Refuse a --select or --axes that this format has no use for.

        Declarations, of a dtype or of files without a header, are always allowed; a layer may be chosen along an axis
        where axes can be named.
        """
        for key, value in self.select.items():
            if key in keys or key in ("dtype", "raw_dtype", "raw_shape") or (key == "layer" and "axes" in keys):
                continue
            if key == "axes":
                raise ShardError(f"{self.path}: leave --axes {value} out: the axes of this format are known")
            known = ", ".join(one for one in keys if one != "axes")
            raise ShardError(
                f"{self.path}: leave --select {key}={value} out: it has nothing to choose in this format, which takes"
                f" {known or 'no --select'}"
            )


def _why_no_file(path: Path) -> str:
    if path.is_dir():
        try:
            next(path.iterdir(), None)
        except OSError as exc:
            return f"a folder that cannot be listed: {exc.strerror}; allow it, and submit it again"
        return "a folder, and not a regular file; too deep below INPUT, or taken for a file"
    if path.is_symlink():
        return f"there is no such file: a link to {printable(path.readlink())}"
    return "not a regular file" if path.exists() else "there is no such file; was it moved, or is a copy incomplete?"


def arrays_in(path: Path, contents: Any) -> dict[str, Array]:
    """Return the arrays of nested mappings and lists by name, and token ids and masks that are plain lists."""
    named: dict[str, Array] = {}
    _flatten(path, contents, "", named)
    return named


def _flatten(path: Path, value: Any, name: str, named: dict[str, Array]) -> None:
    if isinstance(value, Array):
        if name in named:
            raise ShardError(f"{path}: two tensors are called {printable(name)}; rename one and save it again")
        named[name] = value
    elif _is_companion(name) and (listed := array_of(path, name, value)) is not None:
        named[name] = listed
    elif isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            _flatten(path, item, f"{name}.{key}" if name else str(key), named)


def _is_companion(name: str) -> bool:
    """Say whether a list of this name is token ids or a mask."""
    own = name.rpartition(".")[2].casefold()
    return own in ("token_ids", "input_ids", "tokens") or "mask" in own


def printable(name: object) -> str:
    """Give a name from a file as one that cannot break a line or drive a terminal."""
    text = str(name)[:80]
    return text if text.isprintable() else ascii(text)
