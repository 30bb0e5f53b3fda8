"""One object of the bulk export: compressed blocks in, rows for the store out.

Nothing here waits or knows of the network: `saefetch.sources.export` runs it in a thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from saefetch.decode import Decoder, ExplanationJson, FeatureJson, Rows, add_explanation, add_feature, canonical_index
from saefetch.errors import BadAnswerError, TooLargeError
from saefetch.net.body import Inflater

MAX_LINE = 1 << 24
MAX_OBJECT = 1 << 32
RowT = TypeVar("RowT", FeatureJson, ExplanationJson)

_FEATURES = Decoder(FeatureJson)
_EXPLANATIONS = Decoder(ExplanationJson)


class Spec(NamedTuple):
    """What an object is said to hold: `folder` is features or explanations, `d_sae` bounds the indices taken."""

    what: str
    folder: str
    source_id: str
    d_sae: int


class ObjectReader:
    """Inflate an object's blocks as they come, cut at line ends, keep the lines that are rows of this SAE.

    An object that is served with `Content-Encoding: gzip` was unpacked on the way and comes here as plain lines.

    Raises: BrokenBodyError for damaged gzip; TooLargeError for a huge line or object; BadAnswerError where no line is a
    row.
    """

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._inflater = Inflater(spec.what, MAX_OBJECT)
        self._plain: bool | None = None
        self._tail = b""
        self._rows = Rows()

    def feed(self, block: bytes) -> None:
        if self._plain is None:
            self._plain = block.startswith(b"{")
        for piece in (block,) if self._plain else self._inflater.feed(block):
            text = self._tail + piece
            end = text.rfind(b"\n{") + 1  # a raw newline inside a string is no end of a line
            if end:
                self._read(text[:end])
            self._tail = text[end:]
            if len(self._tail) > MAX_LINE:
                raise TooLargeError(f"{self._spec.what}: a line is longer than {MAX_LINE:,} bytes")

    def finish(self) -> Rows:
        """Check that the object is whole; return its rows."""
        if not self._plain:
            self._inflater.finish()
        self._read(self._tail)
        rows = self._rows
        if rows.lost and rows.lost == rows.ignored and not (rows.features or rows.explanations):
            raise BadAnswerError(f"{self._spec.what}: none of its {rows.lost:,} lines is a row; this is not the export")
        return rows

    def _read(self, lines: bytes) -> None:
        if self._spec.folder == "features":
            self._keep(_FEATURES, add_feature, lines)
        else:
            self._keep(_EXPLANATIONS, add_explanation, lines)

    def _keep(self, decoder: Decoder[RowT], add: Callable[[Rows, RowT, int], None], lines: bytes) -> None:
        rows = self._rows
        documents, repaired, lost = decoder.lines(lines)
        rows.repaired += repaired
        rows.ignored += lost
        rows.lost += lost
        for document in documents:
            index = self._index(document)
            if index is None:
                rows.ignored += 1
            else:
                add(rows, document, index)

    def _index(self, row: FeatureJson | ExplanationJson) -> int | None:
        if row.layer is not None and row.layer != self._spec.source_id:
            return None
        index = canonical_index(row.index)
        return index if index is not None and index < self._spec.d_sae else None
