"""The bulk of every answer, which no reader of labels needs: histograms, embeddings, activation texts, score details.

Each pool holds pre-rendered fragments, a few hundred kilobytes of distinct text, and is walked with a stride, so that
neither is a row slow to render nor can gzip (window 32 KB) find a fragment twice. A fragment of fields ends with its
comma, so that a lean ballast is the same with empty fragments.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

import orjson

from standin.records import CREATED_AT, CREATOR_ID
from standin.words import token_stream

Fields = Mapping[str, Sequence[float]]

POOL: Final = 256
_STRIDE: Final = 101


@dataclass(frozen=True, slots=True)
class Ballast:
    """Pools of fragments; the `spaced` ones are as Python's json writes them, the others as JavaScript's does."""

    neighbours: tuple[bytes, ...]
    values: tuple[bytes, ...]
    histograms: tuple[bytes, ...]
    spaced_neighbours: tuple[bytes, ...]
    spaced_values: tuple[bytes, ...]
    spaced_histograms: tuple[bytes, ...]
    spaced_nan: bytes
    embedding_lists: tuple[bytes, ...]
    embedding_strings: tuple[bytes, ...]
    activations: tuple[tuple[bytes, bytes], ...]
    score_details: tuple[bytes, ...]

    @staticmethod
    def pick(index: int, salt: int = 0) -> int:
        """Return which fragment of a pool feature `index` gets: neighbours in the file never share one."""
        return (index * _STRIDE + salt) % POOL


@cache
def full_ballast() -> Ballast:
    """Build the realistic pools, once a process (about 0.3 s)."""
    draw = random.Random("ballast")
    neighbours = tuple(_fields(_neighbour_fields(draw)) for _ in range(POOL))
    values = tuple(orjson.dumps([round(3 * draw.random(), 12) for _ in range(10)]) for _ in range(POOL))
    # The export has every digit of the database's floats, the API few.
    exact = [_histogram_fields(draw) for _ in range(POOL)]
    rounded = [{name: [round(value, 6) for value in values] for name, values in fields.items()} for fields in exact]
    embeddings = [orjson.dumps([draw.randrange(-(10**9), 10**9) / 1e10 for _ in range(256)]) for _ in range(2 * POOL)]
    broken = b'"logits_hist_data_bar_heights": [NaN, Infinity, -Infinity, 0.5], "logits_hist_data_bar_values": [NaN], '
    return Ballast(
        neighbours,
        values,
        tuple(map(_fields, rounded)),
        tuple(map(_spaced, neighbours)),
        tuple(map(_spaced, values)),
        tuple(_spaced(_fields(fields)) for fields in exact),
        broken,
        tuple(map(_spaced, embeddings)),
        tuple(b'"' + embedding + b'"' for embedding in embeddings),
        tuple(_activation(draw) for _ in range(POOL)),
        tuple(_score_details(draw, n_texts) for n_texts in range(4, 68, 4)),
    )


@cache
def lean_ballast() -> Ballast:
    """Build pools of next to nothing, for sources of a million features."""
    empty = (b"",) * POOL
    arrays = (b"[]",) * POOL
    nulls = (b"null",) * (2 * POOL)
    return Ballast(empty, arrays, empty, empty, arrays, empty, b"", nulls, nulls, (), (b'""',))


@cache
def dead_ballast() -> Ballast:
    """Build pools in which every array is empty, for features that never fire."""
    draw = random.Random("dead")
    neighbours, histograms = (
        (_fields({name: [] for name in fields}),) * POOL
        for fields in (_neighbour_fields(draw), _histogram_fields(draw))
    )
    return replace(
        lean_ballast(),
        neighbours=neighbours,
        histograms=histograms,
        spaced_neighbours=tuple(map(_spaced, neighbours)),
        spaced_histograms=tuple(map(_spaced, histograms)),
    )


def _fields(fields: Fields) -> bytes:
    return orjson.dumps(fields)[1:-1] + b","


def _spaced(compact: bytes) -> bytes:
    return compact.replace(b",", b", ").replace(b":", b": ")


def _neighbour_fields(draw: random.Random) -> Fields:
    few = [draw.randrange(9216) for _ in range(3)]
    return {
        "topkCosSimIndices": [draw.randrange(16384) for _ in range(10)],
        "topkCosSimValues": sorted((draw.random() for _ in range(10)), reverse=True),
        "neuron_alignment_indices": few,
        "neuron_alignment_values": [round(draw.random(), 3) for _ in few],
        "neuron_alignment_l1": [round(draw.random(), 3) for _ in few],
        "correlated_neurons_indices": few,
        "correlated_neurons_pearson": [round(draw.random(), 3) for _ in few],
        "correlated_neurons_l1": [round(draw.random(), 3) for _ in few],
        "correlated_features_indices": [],
        "correlated_features_pearson": [],
        "correlated_features_l1": [],
    }


def _histogram_fields(draw: random.Random) -> Fields:
    step = draw.uniform(0.1, 2)
    return {
        "freq_hist_data_bar_heights": [draw.randrange(4000) for _ in range(50)],
        "freq_hist_data_bar_values": [(k + 0.5) * step for k in range(50)],
        "logits_hist_data_bar_heights": [draw.randrange(30_000) for _ in range(50)],
        "logits_hist_data_bar_values": [(k - 25) * step / 20 for k in range(50)],
        "decoder_weights_dist": [],
    }


def _activation(draw: random.Random) -> tuple[bytes, bytes]:
    """Return an activation text of 128 tokens in two parts; between them goes the feature that it belongs to."""
    stream = token_stream(False)
    at = draw.randrange(len(stream) - 128)
    values = [round(draw.uniform(0, 200), 3) if draw.random() < 0.12 else 0 for _ in range(128)]
    front = {"id": f"cm{draw.randbytes(11).hex()}", "tokens": stream[at : at + 128], "dataIndex": str(at)}
    back = {
        "dataSource": "monology/pile-uncopyrighted",
        "maxValue": max(values),
        "maxValueTokenIndex": values.index(max(values)),
        "minValue": 0,
        "values": values,
        "dfaValues": [],
        "dfaTargetIndex": None,
        "dfaMaxValue": None,
        "zQIndices": [],
        "zKIndices": [],
        "zValues": [],
        "creatorId": CREATOR_ID,
        "createdAt": CREATED_AT,
        "lossValues": [],
        "logitContributions": None,
        "binMin": None,
        "binMax": None,
        "binContains": None,
        "qualifyingTokenIndex": values.index(max(values)),
    }
    return orjson.dumps(front)[:-1], b"," + orjson.dumps(back)[1:]


def _score_details(draw: random.Random, n_texts: int) -> bytes:
    """Return what scorers leave behind: JSON inside a JSON string, 5 to 90 KB."""
    stream = token_stream(False)
    texts = []
    for _ in range(n_texts):
        at = draw.randrange(len(stream) - 64)
        activations = [round(draw.random(), 4) for _ in range(64)]
        texts.append({"str_tokens": stream[at : at + 64], "activations": activations, "correct": draw.random() < 0.5})
    return orjson.dumps(orjson.dumps(texts).decode())
