"""From the store to the two files that people read, `feature_labels.json` and `metadata.json`.

The same store gives the same bytes. Everything is written as it is read: memory does not grow with the SAE.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from saefetch.explanations import Preference
from saefetch.files.atomic import atomic_write
from saefetch.store.records import Record, State
from saefetch.store.store import Store

LABELS_NAME = "feature_labels.json"
METADATA_NAME = "metadata.json"


@dataclass(frozen=True, slots=True)
class SaeInfo:
    """The `sae_info` of both files. `downloaded_at` is UTC, the time of the last change to the labels."""

    release: str
    sae_id: str
    neuronpedia_id: str
    num_features: int
    downloaded_at: str


@dataclass(slots=True)
class Stats:
    """The `stats` of both files: `successful` + `failed` = `total_features`; `failed` includes the `missing` ones."""

    total_features: int
    with_descriptions: int = 0
    successful: int = 0
    missing: int = 0

    def document(self) -> dict[str, int]:
        return {
            "total_features": self.total_features,
            "with_descriptions": self.with_descriptions,
            "successful": self.successful,
            "failed": self.total_features - self.successful,
        }


def publish(store: Store, info: SaeInfo, preference: Preference, *, source: str, version: str) -> Stats:
    """Write both files from the store; a reader sees the old file or the new one.

    `metadata.json` holds `sae_info` and `stats` as objects, and their members beside them as well.
    """
    folder = store.path.parent
    stats = Stats(info.num_features)
    with atomic_write(folder / LABELS_NAME) as file:
        file.writelines(render(store, info, preference, stats))
    metadata: dict[str, Any] = {"sae_info": asdict(info), "stats": stats.document()}
    metadata |= asdict(info) | stats.document()
    metadata |= {"source": source, "missing": stats.missing, "saefetch_version": version}
    with atomic_write(folder / METADATA_NAME) as file:
        file.write(orjson.dumps(metadata, option=orjson.OPT_INDENT_2) + b"\n")
    return stats


def render(store: Store, info: SaeInfo, preference: Preference, stats: Stats | None = None) -> Iterator[bytes]:
    """Yield the bytes of `feature_labels.json`, a feature at a time, and fill in `stats`."""
    stats = stats or Stats(info.num_features)
    yield b'{"sae_info":' + orjson.dumps(asdict(info)) + b',\n"features":{'
    separator = b"\n"
    for record in store.records(0, info.num_features):
        members, described = members_of(record, preference)
        stats.with_descriptions += described
        stats.successful += record.error is None
        stats.missing += record.state in (State.MISSING, State.NOT_EXPORTED)
        yield b'%b"%d":{%b}' % (separator, record.index, members)
        separator = b",\n"
    yield b'\n},\n"stats":' + orjson.dumps(stats.document()) + b"}\n"


def sizes(folder: Path) -> tuple[int, int] | None:
    """Return the sizes of both files, which tell a copy that was cut short; None if one is not there."""
    try:
        return (folder / LABELS_NAME).stat().st_size, (folder / METADATA_NAME).stat().st_size
    except OSError:
        return None


def members_of(record: Record, preference: Preference) -> tuple[bytes, bool]:
    """Render what a feature's object in `features` holds; return its bytes and whether it has a description."""
    ranked = preference.rank(record.explanations)
    described = bool(ranked) and not ranked[0].blank
    extra = b""
    if len(ranked) > 1:
        extra = b',"all_descriptions":' + orjson.dumps([explanation.text for explanation in ranked])
    if record.error is not None:
        extra = b',"error":' + orjson.dumps(record.error)
    members = (
        b'"description":%b,"top_positive_tokens":%b,"top_negative_tokens":%b,"max_activation":%b,"has_explanations":%b%b'
    ) % (
        orjson.dumps(ranked[0].text) if described else b"null",
        record.positive,
        record.negative,
        orjson.dumps(record.max_activation),
        b"true" if ranked else b"false",
        extra,
    )
    return members, described


def all_texts(record: Record, preference: Preference) -> Iterable[str]:
    """Yield a feature's readable texts, each once, the published one first."""
    ranked = preference.rank(record.explanations)
    return dict.fromkeys(explanation.text for explanation in ranked if not explanation.blank)
