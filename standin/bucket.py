"""The bulk export as objects: what Neuronpedia's bucket holds for each source, traps included.

    v1/{model}/{source}/release.jsonl  model.jsonl  sourceset.jsonl  source.jsonl
                        features/batch-{0,1,2,...}.jsonl.gz       rows sorted as text, some twice
                        explanations/batch-{0,1,2,...}.jsonl.gz   cut in another size; later runs appended
                        activations/batch-0.jsonl.gz              nobody should read it
                        features-prev/, explanations-prev/        siblings of the prefix, with wrong content
    v1/{model}/{source}__l0-143/features/, explanations/          a sibling of the source, with wrong content

A folder is built when it is first listed or read, and kept in memory or in `spool`.
"""

import gzip
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import md5
from pathlib import Path
from typing import Final

import orjson
from isal import igzip

from standin.payload import Payload, Style
from standin.records import model_record, source_record, source_set_record
from standin.world import Explanation, Feature, Source, World

_DECOY_SUFFIX: Final = "__l0-143"
_FEW_ROWS: Final = 40
_DECOY_TEXT: Final = "WRONG: a row of a sibling prefix"
_KINDS: Final = ("", "features/", "explanations/", "activations/", "features-prev/", "explanations-prev/")

Item = tuple[Feature, Explanation | None]


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object; `etag` comes with its quotes."""

    key: str
    etag: str
    size: int
    modified: str
    content: bytes | Path

    def read(self) -> bytes:
        """Return the bytes."""
        return self.content.read_bytes() if isinstance(self.content, Path) else self.content


@dataclass(frozen=True, slots=True)
class Folder:
    """One prefix and what it is made from."""

    prefix: str
    source: Source
    kind: str
    decoy: bool


class Bucket:
    """All the objects. Thread-safe."""

    def __init__(
        self,
        world: World,
        payload: Payload,
        *,
        spool: Path | None = None,
        features_batch: int = 1024,
        explanations_batch: int = 512,
    ) -> None:
        self._world = world
        self._payload = payload
        self._spool = spool
        self._features_batch = features_batch
        self._explanations_batch = explanations_batch
        self._built: dict[str, dict[str, StoredObject]] = {}
        self._lock = threading.Lock()

    def objects(self, prefix: str) -> list[StoredObject]:
        """Return the objects whose keys begin with `prefix`, in the binary order of their UTF-8 keys."""
        with self._lock:
            folders = [f for f in self._folders() if f.prefix.startswith(prefix) or prefix.startswith(f.prefix)]
            found = [o for folder in folders for o in self._contents(folder).values() if o.key.startswith(prefix)]
        return sorted(found, key=lambda o: o.key.encode())

    def get(self, key: str) -> StoredObject | None:
        """Return the object, or None."""
        prefix = key[: key.rfind("/") + 1]
        with self._lock:
            folder = next((f for f in self._folders() if f.prefix == prefix), None)
            return self._contents(folder).get(key) if folder else None

    def rebuild(self, model_id: str, source_id: str) -> None:
        """Export a source again, as after `World.override`: only objects whose content changed get a new ETag."""
        with self._lock:
            for folder in self._folders():
                if (folder.source.model_id, folder.source.source_id) == (model_id, source_id):
                    old = self._built.pop(folder.prefix, {})
                    new = self._contents(folder)
                    new.update((key, old[key]) for key in new if key in old and old[key].etag == new[key].etag)

    def rewrite(self, key: str, change: Callable[[bytes], bytes]) -> None:
        """Change an object's (uncompressed) lines, and so its ETag, until the source is rebuilt. KeyError: no object.

        For lines that no renderer writes: raw control characters, malformed JSON, foreign rows.
        """
        stored = self.get(key)
        if stored is None:
            raise KeyError(key)
        lines = change(gzip.decompress(stored.read()) if key.endswith(".gz") else stored.read())
        with self._lock:
            self._built[key[: key.rfind("/") + 1]][key] = self._store(key, lines)

    def lose(self, key: str) -> None:
        """Remove an object, until the source is rebuilt. KeyError: no object."""
        if self.get(key) is None:
            raise KeyError(key)
        with self._lock:
            del self._built[key[: key.rfind("/") + 1]][key]

    def _folders(self) -> list[Folder]:
        folders = []
        for source in self._world.sources:
            root = f"v1/{source.model_id}/{source.source_id}"
            folders += [Folder(f"{root}/{kind}", source, kind, kind.endswith("-prev/")) for kind in _KINDS]
            if self._world.source(source.model_id, source.source_id + _DECOY_SUFFIX) is None:
                decoys = ("features/", "explanations/")
                folders += [Folder(f"{root}{_DECOY_SUFFIX}/{kind}", source, kind, True) for kind in decoys]
        return folders

    def _contents(self, folder: Folder) -> dict[str, StoredObject]:
        if folder.prefix not in self._built:
            stored = (self._store(folder.prefix + name, lines) for name, lines in self._render(folder))
            self._built[folder.prefix] = {o.key: o for o in stored}
        return self._built[folder.prefix]

    def _store(self, key: str, lines: bytes) -> StoredObject:
        content = igzip.compress(lines, 1, mtime=0) if key.endswith(".gz") else lines
        etag = f'"{md5(content, usedforsecurity=False).hexdigest()}"'
        modified = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        if self._spool is None:
            return StoredObject(key, etag, len(content), modified, content)
        path = self._spool / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return StoredObject(key, etag, len(content), modified, path)

    def _render(self, folder: Folder) -> Iterator[tuple[str, bytes]]:
        source = folder.source
        if not folder.kind:
            yield "model.jsonl", orjson.dumps(model_record(source)) + b"\n"
            yield "release.jsonl", orjson.dumps({"name": "stand-in", "visibility": "PUBLIC"}) + b"\n"
            yield "source.jsonl", orjson.dumps(source_record(source)) + b"\n"
            yield "sourceset.jsonl", orjson.dumps(source_set_record(source)) + b"\n"
        elif folder.kind == "activations/":
            yield "batch-0.jsonl.gz", b"".join(self._payload.activation_row(source, f) for f, _ in self._items(folder))
        else:
            explained = folder.kind.startswith("explanations")
            size = self._explanations_batch if explained else self._features_batch
            for number, items in enumerate(_cut(self._items(folder), size)):
                style = Style.of_batch(number)
                rows = (
                    self._payload.explanation_row(source, f, e, style)
                    if e
                    else self._payload.feature_row(source, f, style)
                    for f, e in items
                )
                yield f"batch-{number}.jsonl.gz", b"".join(rows)

    def _items(self, folder: Folder) -> Iterator[Item]:
        """Yield what becomes rows, in order; the second and later explanations of a feature come from later runs."""
        source, later = folder.source, []
        few = folder.decoy or folder.kind == "activations/"
        for index in text_order(min(source.n_features, _FEW_ROWS) if few else source.n_features):
            feature = self._world.feature(source.model_id, source.source_id, index)
            if feature is None or index in source.absent_from_export:
                continue
            if folder.decoy:
                feature = _spoil(feature)
            if not folder.kind.startswith("explanations"):
                yield feature, None
            elif feature.explanations:
                first = index % len(feature.explanations)
                yield feature, feature.explanations[first]
                later += [(index, k) for k in range(len(feature.explanations)) if k != first]
        for index, k in later:
            feature = self._world.feature(source.model_id, source.source_id, index)
            if feature is not None and k < len(feature.explanations):
                yield feature, feature.explanations[k]


def text_order(n: int) -> Iterator[int]:
    """Yield 0 to n - 1 sorted as text (0, 1, 10, 100, 11, 2, ...), without holding them."""
    if n:
        yield 0
    index = 1
    for _ in range(n - 1):
        yield index
        if index * 10 < n:
            index *= 10
            continue
        if index + 1 >= n:
            index //= 10
        index += 1
        while index % 10 == 0:
            index //= 10


def _cut(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    """Cut into batches; every third begins with the last row of the one before, as paging over ties does."""
    batch: list[Item] = []
    n_batches = 0
    for item in items:
        if len(batch) == size:
            yield batch
            n_batches += 1
            batch = batch[-1:] if n_batches % 3 == 1 else []
        batch.append(item)
    if batch:
        yield batch


def _spoil(feature: Feature) -> Feature:
    explanation = Explanation(_DECOY_TEXT, "oai_token-act-pair", "gpt-4o-mini", f"cmdecoy{feature.index}")
    return replace(feature, explanations=(explanation,), pos_str=("WRONG",), neg_str=("WRONG",), max_act_approx=-1.0)
