"""One feature as Neuronpedia's JSON, and whether what is here of it may be served.

here, by the API                    served: that is Neuronpedia's own word
here, by the export                 served, once the export has been read whole, where it has an explanation
  without any explanation           served where the export alone was asked for; else the API is still to be asked
an explanation and nothing else     not yet: its tokens and its maximum are not here
missing, by the API                 404
missing in the export               not yet: only the API can tell
failed, or not asked for yet        not yet
"""

from __future__ import annotations

from enum import Enum, auto
from functools import cached_property

import orjson

from saefetch.search import preference_of
from saefetch.store.one import One
from saefetch.store.records import State


class Verdict(Enum):
    HERE = auto()
    GONE = auto()
    NOT_YET = auto()


class Sae:
    """What all features of one SAE have in common. `registered` is its width by the registry, 0 where that has none."""

    def __init__(self, model: str, source: str, registered: int = 0) -> None:
        self._model, self._source, self._registered = model, source, registered

    @cached_property
    def _names(self) -> tuple[bytes, bytes, bytes]:
        source_set = self._source.partition("-")[2] or self._source
        return orjson.dumps(self._model), orjson.dumps(self._source), orjson.dumps(source_set)

    def verdict(self, one: One, index: int) -> Verdict:
        """Say whether a feature may be served, does not exist, or is not here yet."""
        state = one.record.state
        if state == State.MISSING:
            return Verdict.GONE
        if one.by_api and state == State.GOT:
            return Verdict.HERE
        if state == State.GOT and not one.run.is_half:
            return Verdict.HERE
        if state == State.UNEXPLAINED and one.run.source == "export" and not one.run.export_open:
            return Verdict.HERE
        # Whoever gave a width by himself may have given less than the SAE has.
        is_beyond = index >= max(one.run.num_features or 0, self._registered, 1)
        return Verdict.GONE if is_beyond else Verdict.NOT_YET

    def render(self, one: One, *, whole: bool) -> bytes:
        """Render a feature that is here. `whole`: as GET answers, with the source; else as in the answer to POST."""
        record = one.record
        model, source, source_set = self._names
        frame = model, source, record.index
        preference = preference_of(one.run.explanation_types or "", one.run.explanation_models or "")
        explanations = b",".join(
            b'{"modelId":%b,"layer":%b,"source":%b,"index":"%d","description":%b,"explanationModelName":%b,"typeName":%b}'
            % (model, source, source, record.index, orjson.dumps(text), _or_null(by), _or_null(kind))
            for text, kind, by in preference.rank(record.explanations)
        )
        tail = b""
        if whole:
            width = one.run.num_features or 0
            tail = b',"source":{"id":%b,"modelId":%b,"saelensConfig":{"d_sae":%d}}' % (source, model, width)
        return (
            b'{"modelId":%b,"layer":%b,"index":"%d","sourceSetName":%b,"maxActApprox":%b,"neg_str":%b,"pos_str":%b,'
            b'"frac_nonzero":%b,"explanations":[%b],"activations":[]%b}'
            % (
                *frame,
                source_set,
                _number(record.max_activation),
                record.negative,
                record.positive,
                _number(record.frac_nonzero),
                explanations,
                tail,
            )
        )


def _or_null(name: str) -> bytes:
    """Render the type or the model of an explanation; the store has "" for Neuronpedia's null."""
    return orjson.dumps(name) if name else b"null"


def _number(value: float | None) -> bytes:
    """Render a number as JavaScript does, where a whole one has no fraction."""
    return orjson.dumps(int(value) if value is not None and value.is_integer() and abs(value) < 2**53 else value)
