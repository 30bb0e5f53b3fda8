"""What the stand-in knows: models, sources and, for each, made-up features.

A feature is a pure function of (seed, model, source, index), so a source of a million features costs nothing until it
is asked, and the three surfaces cannot disagree. Tests plant what they need with `override`.

    overridden  >  missing  >  labelled (`labels=`)  >  made up
"""

import gzip
import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import orjson

from standin.words import FRAMES, MODEL_NAMES, ODD_LABELS, TOPICS, TYPE_NAMES, token_stream

_STREAM_MARGIN: Final = 16
_WORDS: Final = struct.Struct("<8I")


@dataclass(frozen=True, slots=True)
class Explanation:
    """One explanation; both names can be null, the text can be blank."""

    description: str | None
    type_name: str | None
    model_name: str | None
    id: str


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature, as the database has it. A non-finite `max_act_approx` is a row that the API cannot serve."""

    index: int
    explanations: tuple[Explanation, ...]
    pos_str: tuple[str, ...]
    neg_str: tuple[str, ...]
    max_act_approx: float | None
    frac_nonzero: float


@dataclass(frozen=True, slots=True)
class Source:
    """One source (SAE) and what is wrong with it."""

    model_id: str
    source_id: str
    n_features: int
    missing: frozenset[int]
    absent_from_export: frozenset[int]
    odd: bool
    all_explained: bool


class World:
    """All the features of all the sources; random access, a few microseconds each.

    `labels` is a gzip of JSON lines with `modelId`, `layer`, `index`, `description`: those features get exactly that
    text as their one explanation.
    """

    def __init__(self, seed: int = 0, labels: Path | None = None) -> None:
        self._seed = seed
        self._labels = _read_labels(labels) if labels else {}
        self._sources: dict[tuple[str, str], Source] = {}
        self._keys: dict[tuple[str, str], bytes] = {}
        self._overrides: dict[tuple[str, str], dict[int, Feature]] = {}

    @property
    def sources(self) -> tuple[Source, ...]:
        """Return every source, in the order in which they were added."""
        return tuple(self._sources.values())

    def add_source(
        self,
        model_id: str,
        source_id: str,
        n_features: int,
        *,
        missing: Iterable[int] = (),
        absent_from_export: Iterable[int] = (),
        odd: bool = True,
        all_explained: bool = False,
    ) -> Source:
        """Add a source: `missing` features exist nowhere, `absent_from_export` ones only in the API.

        With `all_explained` every feature has an explanation; else a few in a hundred have none, as in the real one.
        `odd` sprinkles in emoji, newlines, U+2028, HTML, control characters and non-finite ballast.
        """
        source = Source(
            model_id, source_id, n_features, frozenset(missing), frozenset(absent_from_export), odd, all_explained
        )
        place = (model_id, source_id)
        self._sources[place] = source
        self._keys[place] = blake2b(f"{self._seed}/{model_id}/{source_id}".encode(), digest_size=32).digest()
        self._overrides[place] = {}
        return source

    def override(self, model_id: str, source_id: str, feature: Feature) -> None:
        """Make `feature` what this source has at its index, from now on."""
        self._overrides[model_id, source_id][feature.index] = feature

    def plant(self, path: Path) -> None:
        """Override by a gzip of JSON lines with Neuronpedia's own names of columns, `explanations` in each line."""
        with gzip.open(path, "rb") as lines:
            for row in map(orjson.loads, lines):
                self.override(row["modelId"], row["layer"], _planted(row))

    def source(self, model_id: str, source_id: str) -> Source | None:
        """Return the source, or None if there is none."""
        return self._sources.get((model_id, source_id))

    def has_model(self, model_id: str) -> bool:
        """Tell whether any source belongs to this model."""
        return any(known == model_id for known, _ in self._sources)

    def d_sae(self, model_id: str, source_id: str) -> int:
        """Return the number of features. KeyError: no such source."""
        return self._sources[model_id, source_id].n_features

    def feature(self, model_id: str, source_id: str, index: int) -> Feature | None:
        """Return the feature, or None where there is no such source or feature."""
        place = (model_id, source_id)
        source = self._sources.get(place)
        if source is None:
            return None
        planted = self._overrides[place].get(index)
        if planted is not None:
            return planted
        if not 0 <= index < source.n_features or index in source.missing:
            return None
        digest = blake2b(index.to_bytes(8, "little"), key=self._keys[place], digest_size=32).digest()
        feature = _invent(index, digest, source.odd, self._labels.get((model_id, source_id, index)))
        if source.all_explained and not feature.explanations:
            feature = replace(feature, explanations=(_explain(digest, 0, _label(index), index),))
        return feature


def _planted(row: dict[str, Any]) -> Feature:
    index = int(row["index"])
    place = f"{row['modelId']}/{row['layer']}/{index}"
    explanations = (
        Explanation(said["description"], said["typeName"], said["explanationModelName"], _id_of(f"{place}/{k}"))
        for k, said in enumerate(row["explanations"])
    )
    return Feature(
        index,
        tuple(explanations),
        tuple(row["pos_str"]),
        tuple(row["neg_str"]),
        row["maxActApprox"],
        row["frac_nonzero"],
    )


def _id_of(place: str) -> str:
    return f"cm{blake2b(place.encode(), digest_size=11).hexdigest()}0"


def _invent(index: int, digest: bytes, odd: bool, label: str | None) -> Feature:
    kind, many, subject, positive, negative, height, shape, frequency = _WORDS.unpack(digest)
    if label is not None:
        explanations: tuple[Explanation, ...] = (_explain(digest, 0, label, subject),)
    elif kind % 1000 < 5:
        return Feature(index, (), (), (), 0 if many % 2 else None, 0)
    else:
        explanations = _explanations(digest, kind % 1000, many, subject, odd)
    stream = token_stream(odd)
    n_pos = n_neg = 10
    if shape % 64 < 4:
        n_pos, n_neg = shape // 64 % 15, shape // 1024 % 15
    at_pos, at_neg = (word % (len(stream) - _STREAM_MARGIN) for word in (positive, negative))
    max_act = 1e22 if odd and shape % 1000 == 999 else height % 200_000 / 1000
    return Feature(
        index,
        explanations,
        stream[at_pos : at_pos + n_pos],
        stream[at_neg : at_neg + n_neg],
        max_act,
        frequency / (1 << 32) / 100,
    )


def _explanations(digest: bytes, kind: int, many: int, subject: int, odd: bool) -> tuple[Explanation, ...]:
    if kind >= 60 or (kind >= 40 and not odd):
        return (_explain(digest, 0, _label(subject), subject),)
    if kind < 15:
        return ()
    if kind < 20:
        return (_explain(digest, 0, " " if many % 2 else "", subject),)
    if kind >= 40:
        return (_explain(digest, 0, ODD_LABELS[many % len(ODD_LABELS)].format(_label(subject)), subject),)
    subjects = (subject + k * 0x9E37 for k in range(2 + many % 3))
    return tuple(_explain(digest, k, _label(each), subject + k + 1) for k, each in enumerate(subjects))


def _label(subject: int) -> str:
    first, second = subject // len(FRAMES), subject // len(FRAMES) // len(TOPICS)
    return FRAMES[subject % len(FRAMES)].format(TOPICS[first % len(TOPICS)], TOPICS[second % len(TOPICS)])


def _explain(digest: bytes, k: int, text: str, subject: int) -> Explanation:
    # Nearly all come from the common run; one in sixteen, and those that have company, from any type and model.
    names = subject if subject % 16 == 0 or k else 0
    return Explanation(
        text,
        TYPE_NAMES[names % len(TYPE_NAMES)],
        MODEL_NAMES[names // 5 % len(MODEL_NAMES)],
        f"cm{digest.hex()[:22]}{k}",
    )


def _read_labels(path: Path) -> dict[tuple[str, str, int], str]:
    with gzip.open(path, "rb") as lines:
        rows = (orjson.loads(line) for line in lines)
        return {(row["modelId"], row["layer"], int(row["index"])): row["description"] for row in rows}
