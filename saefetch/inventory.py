"""The SAEs under a data folder: how far each download is, and whether the finished ones are sound."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from saefetch.errors import StoreError
from saefetch.names import registry
from saefetch.names.identity import MAX_FEATURES
from saefetch.publish import LABELS_NAME, METADATA_NAME, SaeInfo, Stats, render
from saefetch.search import stored_preference
from saefetch.store.records import HERE, State
from saefetch.store.store import FILE_NAME, Store

NOTHING = "nothing to fetch; --refresh looks for changes"
MEND = "remove it, and `saefetch download` writes it anew"


@dataclass(slots=True)
class Progress:
    """How far one SAE's download is. `next_step` says what running it again would do.

    `unexplained` counts the features that are here without any explanation, by who says so: the API, which was asked
    at `unexplained_asked_at`, or the export alone.
    """

    sae_release: str
    sae_id: str
    neuronpedia_id: str
    path: str
    state: str
    total_features: int = 0
    successful: int = 0
    missing: int = 0
    failed: int = 0
    remaining: int = 0
    unexplained: dict[str, int] = field(default_factory=dict)
    unexplained_asked_at: str | None = None
    next_step: str = ""

    @property
    def has_more(self) -> bool:
        """Whether running it again would ask for anything."""
        return self.next_step != NOTHING

    @property
    def flags(self) -> list[str]:
        """The flags that name this SAE; its Neuronpedia id and width only where the registry says something else."""
        flags = ["--sae-release", self.sae_release, "--sae-id", self.sae_id]
        known = registry.find(self.sae_release, self.sae_id)
        if self.neuronpedia_id and (known is None or known.neuronpedia_id != self.neuronpedia_id):
            flags += ["--neuronpedia-id", self.neuronpedia_id]
        if self.total_features and (known is None or known.d_sae not in (None, self.total_features)):
            flags += ["--num-features", str(self.total_features)]
        return flags


def folders(data_dir: Path) -> Iterator[Path]:
    """Yield the folders that hold a store, in the order of their names."""
    yield from sorted(path.parent for path in data_dir.glob(f"*/*/{FILE_NAME}"))


def is_empty(folder: Path) -> bool:
    """Say whether nothing is in a folder's store: it is just being made, or was removed again as nothing came."""
    try:
        return (folder / FILE_NAME).stat().st_size == 0
    except FileNotFoundError:
        return True


def progress(folder: Path) -> Progress:
    """Read one store, also while a download writes to it; a store that cannot be read says so in `state`."""
    try:
        with closing(Store.open_read_only(folder)) as store:
            return _progress(store, folder)
    except StoreError as exc:
        return Progress(folder.parent.name, folder.name, "", str(folder), "unreadable", next_step=str(exc))


def _progress(store: Store, folder: Path) -> Progress:
    total = _d_sae(store)
    half = bool(store.meta("export_open"))
    states = store.states(total)
    n = {state: states.count(state) for state in State}
    found = Progress(
        str(store.meta("release", folder.parent.name)),
        str(store.meta("sae_id", folder.name)),
        str(store.meta("neuronpedia_id", "")),
        str(folder),
        state="complete",
        total_features=total,
        successful=sum(n[state] for state in HERE),
        missing=n[State.MISSING] + n[State.NOT_EXPORTED],
        failed=n[State.FAILED],
        remaining=n[State.UNKNOWN],
        unexplained=store.unexplained(range(total), states),
        unexplained_asked_at=store.meta("unexplained_asked_at"),
        next_step=NOTHING,
    )
    n_open = found.remaining + found.failed
    if half:
        found.next_step = f"fetch the rest of the export ({len(store.etags()):,} of its objects are here)"
    elif n_open:
        before = f", {found.failed:,} of which failed before" if found.failed else ""
        found.next_step = f"fetch {n_open:,} features{before}"
    elif not total:
        found.next_step = "fetch everything"
    unvouched = found.unexplained["export"] + n[State.NOT_EXPORTED] + n[State.ORPHAN]
    if not (half or n_open) and unvouched:
        found.next_step = f"ask the API about {unvouched:,} features of which the export says too little"
    # Whoever asked for the export alone has all that there is; whoever asked for more has not.
    if half or n_open or not total or (unvouched and store.meta("source", "export") != "export"):
        found.state = "incomplete"
    return found


def check(folder: Path) -> list[str]:
    """Compare the published files with the store, byte for byte, and the store with itself; return the problems."""
    if not (folder / FILE_NAME).is_file():
        return [f"{folder / FILE_NAME}: not there; `saefetch download` gets this SAE's labels"]
    try:
        with closing(Store.open_read_only(folder)) as store:
            try:
                return list(_problems(store, folder))
            except (StoreError, OSError) as exc:  # inside, so that every cursor is closed before the store is
                return [str(exc)]
    except StoreError as exc:
        return [str(exc)]


def _problems(store: Store, folder: Path) -> Iterator[str]:
    for (verdict,) in store.query("PRAGMA integrity_check(5)"):
        if verdict != "ok":
            reason = " ".join(verdict.split())
            yield f"{store.path}: damaged: {reason}; move it away, and `saefetch download` gets everything anew"
            return
    found = _progress(store, folder)
    if found.state != "complete":
        yield f"{store.path}: not finished; `saefetch download` would {found.next_step}"
    labels, metadata = folder / LABELS_NAME, folder / METADATA_NAME
    absent = [path for path in (labels, metadata) if not path.is_file()]
    for path in absent:
        yield f"{path}: not there; `saefetch download` writes it from the store"
    if not found.total_features:
        return
    info = SaeInfo(**{name: store.meta(name) for name in SaeInfo.__dataclass_fields__})
    stats = Stats(info.num_features)
    where = _first_difference(labels, render(store, info, stored_preference(store), stats), whole=labels in absent)
    if where is not None:
        yield f"{labels}: differs from the store {where}; {MEND}"
    if metadata not in absent:
        wrong = _wrong_members(metadata, info, stats)
        if wrong:
            yield f"{metadata}: {wrong}; {MEND}"


def _first_difference(labels: Path, expected: Iterator[bytes], *, whole: bool) -> str | None:
    """Compare, and read `expected` to its end in any case: it counts. With `whole` there is nothing to compare."""
    if whole:
        for _ in expected:
            pass
        return None
    where, n_bytes = None, 0
    with labels.open("rb") as file:
        for piece in expected:
            if where is None and file.read(len(piece)) != piece:
                where = f"near byte {n_bytes:,}"
            n_bytes += len(piece)
        if where is None and file.read(1):
            where = "after its end"
    return where


def _wrong_members(path: Path, info: SaeInfo, stats: Stats) -> str | None:
    """Compare `metadata.json` with the store, but for `source` and `saefetch_version`, which stand only there."""
    try:
        document = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as exc:
        return f"not valid JSON: {exc}"
    if not isinstance(document, dict):
        return "not a JSON object"
    expected: dict[str, Any] = {"sae_info": asdict(info), "stats": stats.document(), "missing": stats.missing}
    expected |= asdict(info) | stats.document()
    wrong = [name for name, value in expected.items() if document.get(name, ...) != value]
    wrong += [name for name in ("source", "saefetch_version") if not isinstance(document.get(name), str)]
    return f"{', '.join(wrong)} not as in the store" if wrong else None


def _d_sae(store: Store) -> int:
    d_sae = store.meta("num_features", 0)
    if not isinstance(d_sae, int) or not 0 <= d_sae <= MAX_FEATURES:
        raise StoreError(f"{store.path}: damaged: it says that it has {str(d_sae)[:40]!r} features")
    return d_sae
