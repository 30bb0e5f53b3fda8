"""Features as bytes: the three shapes in which Neuronpedia serves one feature.

    single        GET  /api/feature    model, lists, source, ... every activation; explanations with ids and scores
    batch         POST /api/features   no model, source, ...; explanations with three fields, in any order
    feature_row, explanation_row       lines of the bulk export, as Python's json writes them (NaN included)

Key sets follow the recorded answers and the columns of Neuronpedia's export script.
"""

import json
import math
import zlib
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii
from typing import Final

import orjson

from standin.ballast import Ballast, dead_ballast, full_ballast, lean_ballast
from standin.records import CREATED_AT, CREATOR_ID, hook_name, source_set, surroundings
from standin.world import Explanation, Feature, Source

_UMAP: Final = b'"umap_cluster":null,"umap_log_feature_sparsity":null,"umap_x":null,"umap_y":null'
_FEATURE_ROW: Final = (
    b'{"modelId": %b, "layer": %b, "index": %b, "maxActApprox": %b, "frac_nonzero": %b, %b'
    b'"neg_str": %b, "pos_str": %b}\n'
)
_FEATURE_REST: Final = (
    b'"creatorId": "%b", %b%b"neg_values": %b, "pos_values": %b, "sourceSetName": %b, "vector": [], '
    b'"vectorLabel": null, "hookName": "%b", "vectorDefaultSteerStrength": 10, "hasVector": false, '
)
_EXPLANATION_ROW: Final = (
    b'{"id": "%b", "modelId": %b, "layer": %b, "index": %b, %b"description": %b, %b'
    b'"typeName": %b, "explanationModelName": %b}\n'
)
_EXPLANATION_REST: Final = (
    b'"authorId": "%b", "umap_x": 0, "umap_y": 0, "umap_cluster": 0, "umap_log_feature_sparsity": 0, '
)


@dataclass(frozen=True, slots=True)
class Style:
    """How one export batch is written; writers of different years disagree."""

    ascii: bool
    integer_index: bool
    string_embedding: bool

    @classmethod
    def of_batch(cls, number: int) -> "Style":
        """Return the style of batch `number`."""
        return cls(ascii=number % 2 == 0, integer_index=number % 3 == 1, string_embedding=number % 2 == 0)


class Payload:
    """Renders features; `lean` leaves out the ballast."""

    def __init__(self, *, lean: bool = False) -> None:
        self._lean = lean
        self._ballast: Ballast = lean_ballast() if lean else full_ballast()
        self._dead: Ballast = lean_ballast() if lean else dead_ballast()

    def single(self, source: Source, feature: Feature) -> bytes:
        """Render the answer to GET /api/feature, 60 to 330 KB."""
        ranked = sorted(((self._score(e), e) for e in feature.explanations), key=lambda pair: -pair[0])
        explanations = b",".join(self._scored(e, score) for score, e in ranked)
        return b'%b,%b,"activations":[%b],"explanations":[%b]}' % (
            self._columns(source, feature),
            orjson.dumps(surroundings(source))[1:-1],
            self._activations(source, feature, None),
            explanations,
        )

    def batch(self, source: Source, feature: Feature, max_acts: int | None) -> bytes:
        """Render one element of the answer to POST /api/features; `max_acts` None is all of the activations."""
        explanations = sorted(feature.explanations, key=lambda e: zlib.crc32(e.id.encode()))
        return b'%b,"explanations":%b,"activations":[%b]}' % (
            self._columns(source, feature),
            b"[%b]" % b",".join(b"{%b}" % _explanation_fields(e) for e in explanations),
            self._activations(source, feature, max_acts),
        )

    def feature_row(self, source: Source, feature: Feature, style: Style) -> bytes:
        """Render one line of `features/`, 4 KB."""
        ballast, at = self._pools(feature), Ballast.pick(feature.index)
        histograms = ballast.spaced_histograms[at]
        if source.odd and feature.index % 199 == 198 and histograms:
            histograms = ballast.spaced_nan
        rest = (
            b""
            if self._lean
            else _FEATURE_REST
            % (
                CREATOR_ID.encode(),
                histograms,
                ballast.spaced_neighbours[at],
                ballast.spaced_values[at],
                ballast.spaced_values[at - 1],
                _text(source_set(source)),
                hook_name(source).encode(),
            )
        )
        return _FEATURE_ROW % (
            _text(source.model_id),
            _text(source.source_id),
            _index(feature, style),
            _number(feature.max_act_approx),
            _number(feature.frac_nonzero),
            rest,
            _texts(feature.neg_str, style.ascii),
            _texts(feature.pos_str, style.ascii),
        )

    def explanation_row(self, source: Source, feature: Feature, explanation: Explanation, style: Style) -> bytes:
        """Render one line of `explanations/`, 3 to 4 KB."""
        embeddings = self._ballast.embedding_strings if style.string_embedding else self._ballast.embedding_lists
        embedding = b'"embedding": %b, ' % embeddings[Ballast.pick(feature.index) + 256 * (feature.index // 256 % 2)]
        if feature.index % 61 == 60:
            embedding = b"" if feature.index % 2 else b'"embedding": null, '
        return _EXPLANATION_ROW % (
            explanation.id.encode(),
            _text(source.model_id),
            _text(source.source_id),
            _index(feature, style),
            b"" if self._lean else _EXPLANATION_REST % CREATOR_ID.encode(),
            _text(explanation.description, style.ascii),
            embedding,
            _text(explanation.type_name),
            _text(explanation.model_name),
        )

    def activation_row(self, source: Source, feature: Feature) -> bytes:
        """Render one line of `activations/`, which no reader of labels has any business with."""
        return (self._activations(source, feature, 1) or b"{}") + b"\n"

    def _pools(self, feature: Feature) -> Ballast:
        return self._ballast if feature.pos_str or feature.neg_str or feature.max_act_approx else self._dead

    def _columns(self, source: Source, feature: Feature) -> bytes:
        ballast, at = self._pools(feature), Ballast.pick(feature.index)
        return (
            b'{"modelId":%b,"layer":%b,"index":"%d","sourceSetName":%b,"creatorId":"%b","createdAt":"%b",'
            b'"maxActApprox":%b,"hasVector":false,"vector":[],"vectorLabel":null,"vectorDefaultSteerStrength":10,'
            b'"hookName":"%b",%b"neg_str":%b,"neg_values":%b,"pos_str":%b,"pos_values":%b,"frac_nonzero":%b,%b%b'
        ) % (
            _text(source.model_id),
            _text(source.source_id),
            feature.index,
            _text(source_set(source)),
            CREATOR_ID.encode(),
            CREATED_AT.encode(),
            _number(feature.max_act_approx),
            hook_name(source).encode(),
            ballast.neighbours[at],
            _texts(feature.neg_str, False),
            ballast.values[at],
            _texts(feature.pos_str, False),
            ballast.values[at - 1],
            _number(feature.frac_nonzero),
            ballast.histograms[at],
            _UMAP,
        )

    def _activations(self, source: Source, feature: Feature, limit: int | None) -> bytes:
        pool = self._pools(feature).activations
        if not pool:
            return b""
        place = b',"index":"%d","layer":%b,"modelId":%b' % (
            feature.index,
            _text(source.source_id),
            _text(source.model_id),
        )
        start = Ballast.pick(feature.index)
        n = 30 + start * 7 % 31
        n = n if limit is None else min(n, limit)
        parts = (pool[(start + k) % len(pool)] for k in range(n))
        return b",".join(front + place + back for front, back in parts)

    def _score(self, explanation: Explanation) -> float:
        """Return the best score; unscored explanations sort first, as SQL nulls do."""
        roll = zlib.crc32(explanation.id.encode())
        return math.inf if roll % 3 == 0 else roll % 10_000 / 10_000

    def _scored(self, explanation: Explanation, score: float) -> bytes:
        scores = b"[]"
        if score != math.inf:
            details = self._ballast.score_details[int(score * 1e4) % len(self._ballast.score_details)]
            scores = (
                b'[{"id":"%b","initiatedByUserId":"%b","value":%b,"explanationId":"%b","explanationScoreTypeName":'
                b'"recall_alt","explanationScoreModelName":"gpt-4o-mini","jsonDetails":%b,"createdAt":"%b"}]'
            ) % (
                explanation.id[::-1].encode(),
                CREATOR_ID.encode(),
                _number(score),
                explanation.id.encode(),
                details,
                CREATED_AT.encode(),
            )
        return b'{"id":"%b",%b,"scores":%b,"triggeredByUser":null}' % (
            explanation.id.encode(),
            _explanation_fields(explanation),
            scores,
        )


def _explanation_fields(explanation: Explanation) -> bytes:
    return b'"description":%b,"explanationModelName":%b,"typeName":%b' % (
        _text(explanation.description),
        _text(explanation.model_name),
        _text(explanation.type_name),
    )


def _index(feature: Feature, style: Style) -> bytes:
    return b"%d" % feature.index if style.integer_index else b'"%d"' % feature.index


def _number(value: float | None) -> bytes:
    # orjson turns NaN into null; Python's json, which writes the export, does not.
    return orjson.dumps(value) if value is None or math.isfinite(value) else json.dumps(value).encode()


def _text(text: str | None, ascii_only: bool = False) -> bytes:
    if ascii_only and text is not None:
        return encode_basestring_ascii(text).encode()
    try:
        return orjson.dumps(text)
    except TypeError:
        # A lone surrogate has no UTF-8: it is served escaped, as JavaScript's JSON.stringify does.
        return json.dumps(text).encode()


def _texts(texts: tuple[str, ...], ascii_only: bool) -> bytes:
    if ascii_only:
        return f"[{', '.join(map(encode_basestring_ascii, texts))}]".encode()
    try:
        return orjson.dumps(texts)
    except TypeError:
        return json.dumps(texts).encode()
