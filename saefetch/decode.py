"""Bytes from the server -> typed rows. JSON that a strict parser refuses is repaired.

The fast path is msgspec with just the fields we keep: everything else (activations, embeddings, vectors, histograms) is
skipped by the parser and never becomes an object. What it refuses goes through `repair`, which costs time and loses
nothing but the fault itself: raw control characters stay, lone surrogates become U+FFFD, NaN and Infinity become null,
a field of the wrong type becomes its empty value.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import msgspec

N_TOKENS = 10
"""How many of a feature's top tokens are kept."""
_encode = msgspec.json.Encoder().encode  # the same bytes as orjson's, but in an object without spare memory

T = TypeVar("T")
FeatureRow = tuple[int, float | None, float | None, bytes, bytes]
"""(index, max activation, share of tokens on which it fires, top positive and negative tokens as JSON lists)"""
ExplanationRow = tuple[int, str, str, str]
"""(index, type, model, text)"""


class ExplanationJson(msgspec.Struct, gc=False):
    """One explanation as the API nests it in a feature, and as the export has it, one a line."""

    index: int | str | None = None
    layer: str | None = None
    description: str | None = None
    explanationModelName: str | None = None
    typeName: str | None = None


class FeatureJson(msgspec.Struct, gc=False):
    """The part of a feature that we keep. `layer` is the source id."""

    index: int | str | None = None
    layer: str | None = None
    maxActApprox: float | None = None
    frac_nonzero: float | None = None
    pos_str: list[str] | None = None
    neg_str: list[str] | None = None
    explanations: list[ExplanationJson] | None = None


@dataclass(slots=True)
class Rows:
    """What one answer holds, ready for the store.

    `repaired` counts documents that needed repair, `ignored` those that are no row of this source: another source's, no
    index, an index out of range, or beyond repair. `lost` counts just the last.
    """

    features: list[FeatureRow] = field(default_factory=list)
    explanations: list[ExplanationRow] = field(default_factory=list)
    repaired: int = 0
    ignored: int = 0
    lost: int = 0

    def add(self, more: Rows) -> None:
        self.features += more.features
        self.explanations += more.explanations
        self.repaired += more.repaired
        self.ignored += more.ignored
        self.lost += more.lost


class Decoder(Generic[T]):
    """Decodes one document, or lines of them, into `kind`."""

    def __init__(self, kind: type[T]) -> None:
        self._kind = kind
        self._strict = msgspec.json.Decoder(kind)

    def document(self, body: bytes) -> tuple[T, bool]:
        """Return the document and whether it had to be repaired.

        Raises: ValueError if it is beyond repair.
        """
        try:
            return self._strict.decode(body), False
        except (msgspec.DecodeError, UnicodeDecodeError):
            return self._convert(repair(body)), True

    def lines(self, block: bytes) -> tuple[list[T], int, int]:
        """Decode whole lines; return the documents, how many were repaired and how many were beyond repair."""
        try:
            return self._strict.decode_lines(block), 0, 0
        except (msgspec.DecodeError, UnicodeDecodeError):
            return self._lines_one_by_one(block)

    def _lines_one_by_one(self, block: bytes) -> tuple[list[T], int, int]:
        documents: list[T] = []
        repaired = lost = 0
        for line in logical_lines(block):
            try:
                document, mended = self.document(line)
            except ValueError:
                lost += 1
            else:
                documents.append(document)
                repaired += mended
        return documents, repaired, lost

    def _convert(self, document: Any) -> T:
        try:
            return msgspec.convert(_only_what_fits(document), self._kind)
        except msgspec.ValidationError as exc:
            raise ValueError(str(exc)) from exc


def logical_lines(block: bytes) -> Iterator[bytes]:
    """Split JSON lines at newlines. One inside a string ends no line: the text after it does not begin with `{`."""
    pending: list[bytes] = []
    for line in block.split(b"\n"):
        if pending and line.lstrip().startswith(b"{"):
            yield b"\n".join(pending)
            pending = []
        if pending or line.strip():
            pending.append(line)
    if pending:
        yield b"\n".join(pending).rstrip(b"\r\n")


def repair(body: bytes) -> Any:
    """Parse JSON that a strict parser refuses.

    Raises: ValueError if it is still no JSON.
    """
    text = body.decode("utf-8-sig", "replace")
    try:
        return _scrub(json.loads(text, strict=False, parse_constant=lambda _: None))
    except RecursionError as exc:
        raise ValueError("nested too deeply") from exc


_SURROGATE = re.compile("[\ud800-\udfff]")


def _scrub(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_scrub(item) for item in value]
    if isinstance(value, dict):
        return {_scrub(key): _scrub(item) for key, item in value.items()}
    return value


def _only_what_fits(document: Any) -> Any:
    """Keep of each feature the fields that have the right type, so that one odd field costs only itself."""
    if isinstance(document, list):
        return [_only_what_fits(item) for item in document if isinstance(item, dict)]
    if not isinstance(document, dict):
        return document
    kept: dict[str, Any] = {}
    for name in ("layer", "description", "explanationModelName", "typeName"):
        kept[name] = document[name] if isinstance(document.get(name), str) else None
    for name in ("maxActApprox", "frac_nonzero"):
        number = document.get(name)
        kept[name] = float(number) if type(number) is float or (type(number) is int and abs(number) < 1e300) else None
    for name in ("pos_str", "neg_str"):
        tokens = document.get(name)
        kept[name] = [token for token in tokens if isinstance(token, str)] if isinstance(tokens, list) else None
    index = document.get("index")
    kept["index"] = index if isinstance(index, int | str) and not isinstance(index, bool) else None
    explanations = document.get("explanations")
    kept["explanations"] = _only_what_fits(explanations) if isinstance(explanations, list) else None
    return kept


def canonical_index(index: int | str | None) -> int | None:
    """Return 7 for 7 and "7"; None for "007", "7.0", "-1", null: the server keeps these apart too."""
    if isinstance(index, str):
        if not (index.isascii() and index.isdigit()) or (len(index) > 1 and index[0] == "0") or len(index) > 12:
            return None
        return int(index)
    return index if index is not None and index >= 0 else None


def add_feature(rows: Rows, feature: FeatureJson, index: int) -> None:
    """Append the feature's own row, without its explanations."""
    rows.features.append(
        (
            index,
            _finite(feature.maxActApprox),
            _finite(feature.frac_nonzero),
            _encode((feature.pos_str or [])[:N_TOKENS]),
            _encode((feature.neg_str or [])[:N_TOKENS]),
        )
    )


def add_explanation(rows: Rows, explanation: ExplanationJson, index: int) -> None:
    rows.explanations.append(
        (index, explanation.typeName or "", explanation.explanationModelName or "", explanation.description or "")
    )


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None
