"""Words: where one stands, and what fires on it."""

from __future__ import annotations

from typing import TypedDict


class WordOccurrences(TypedDict):
    """/api/words"""

    total: int
    occurrences: list[Occurrence]


class Occurrence(TypedDict):
    """The word is the tokens [at, at + length) of the `tokens`; `position` is that of its first token."""

    row: int
    document: int
    address: str
    position: int
    tokens: list[str]
    at: int
    length: int


class WordFeatures(TypedDict):
    """/api/words/features: what fires on `looked_at` of the `occurrences`, evenly spread."""

    total: int
    looked_at: int
    occurrences: int
    features: list[LiftedFeature]


class LiftedFeature(TypedDict):
    """On how many of the occurrences it fires, and that share over its share of all tokens that count."""

    index: int
    label: str | None
    hits: int
    lift: float
