"""Decoding: every label byte for byte, whatever the path; a fault costs itself and nothing else."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from saefetch.decode import (
    Decoder,
    ExplanationJson,
    FeatureJson,
    Rows,
    add_explanation,
    add_feature,
    canonical_index,
    logical_lines,
    repair,
)

FEATURE = Decoder(FeatureJson)
FEATURES = Decoder(list[FeatureJson])
EXPLANATION = Decoder(ExplanationJson)

# Text as a database can hold it: everything but surrogates.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    ["", " ", "a\u2028b\u2029c", "\U0001f415 dog", "\x00\x1f\x7f\x9b", '"\\/\b\f\n\r\t', "<b>&amp;", "\ufeff", "{\n{"]
)
NUMBER = st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70)
EXPLANATIONS = st.fixed_dictionaries(
    {}, optional={name: st.none() | TEXT for name in ("description", "explanationModelName", "typeName")}
)
BALLAST = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "index": st.none() | st.integers(-5, 2**40) | TEXT,
        "layer": st.none() | TEXT,
        "maxActApprox": NUMBER,
        "frac_nonzero": NUMBER,
        "pos_str": st.none() | st.lists(TEXT, max_size=12),
        "neg_str": st.none() | st.lists(TEXT, max_size=12),
        "explanations": st.none() | st.lists(EXPLANATIONS, max_size=3),
        "activations": BALLAST,
    },
)


def write(document: Any, *, ascii_only: bool) -> bytes:
    return json.dumps(document, ensure_ascii=ascii_only).encode()


# -- the two paths agree -----------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(document=DOCUMENTS, ascii_only=st.booleans())
@example(document={"explanations": [{"description": "\U0001f415\u2028"}], "pos_str": ["\x1b"]}, ascii_only=True)
def test_any_feature_comes_out_of_the_repair_as_out_of_the_fast_path(
    document: dict[str, Any], ascii_only: bool
) -> None:
    fast, repaired = FEATURE.document(write(document, ascii_only=ascii_only))
    assert not repaired
    slow, repaired = FEATURE.document(write({**document, "histogram": float("nan")}, ascii_only=ascii_only))
    assert repaired
    assert slow == fast
    for explanation, original in zip(fast.explanations or [], document.get("explanations") or [], strict=True):
        assert explanation.description == original.get("description")
    assert fast.pos_str == document.get("pos_str")


@settings(max_examples=80, deadline=None)
@given(documents=st.lists(DOCUMENTS, max_size=5), ascii_only=st.booleans(), crlf=st.booleans(), ended=st.booleans())
def test_lines_are_decoded_alike_whether_one_of_them_needs_repair_or_not(
    documents: list[dict[str, Any]], ascii_only: bool, crlf: bool, ended: bool
) -> None:
    newline = b"\r\n" if crlf else b"\n"
    block = newline.join(write(document, ascii_only=ascii_only) for document in documents) + newline * ended
    fast, repaired, lost = FEATURE.lines(block)
    assert (len(fast), repaired, lost) == (len(documents), 0, 0)
    damaged = b'{"index": NaN}' + newline + block
    slow, repaired, lost = FEATURE.lines(damaged)
    assert (repaired, lost) == (1, 0)
    assert slow == [FeatureJson(), *fast]


# -- repair ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"raw \x01 and \x1b and \t", "raw \x01 and \x1b and \t"),
        (b"raw\nnewline", "raw\nnewline"),
        (rb"cut \ud83d emoji", "cut \ufffd emoji"),
        (rb"\ude00 first", "\ufffd first"),
        (rb"\ud83d", "\ufffd"),
        (rb"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
        (b"bad \xff utf-8", "bad \ufffd utf-8"),
        (b"cut \xf0\x9f\x90", "cut \ufffd"),
    ],
)
def test_a_bad_string_is_mended_and_its_neighbours_stay_as_they_are(raw: bytes, text: str) -> None:
    body = b'{"index":"7","pos_str":["' + raw + b'"," ok"],"explanations":[{"description":" dogs\\u2028 "}]}'
    feature, repaired = FEATURE.document(body)
    assert repaired
    assert feature.index == "7"
    assert feature.pos_str == [text, " ok"]
    assert feature.explanations is not None
    assert feature.explanations[0].description == " dogs\u2028 "
    orjson.dumps(feature.pos_str)  # it can be stored


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999"])
@pytest.mark.parametrize("field", ["maxActApprox", "frac_nonzero"])
def test_a_number_that_is_none_becomes_null(field: str, number: bytes) -> None:
    feature, repaired = FEATURE.document(b'{"index": 7, "%b": %b, "pos_str": ["a"]}' % (field.encode(), number))
    assert repaired
    assert feature == FeatureJson(index=7, pos_str=["a"])


def test_a_byte_order_mark_is_no_reason_to_refuse() -> None:
    assert FEATURE.document(b'\xef\xbb\xbf{"index": 7}') == (FeatureJson(index=7), True)


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"index": 7', b"<html>", b"[]", b"7", b"null", b'{"index": 7} x', b"[" * 100_000]
)
def test_what_is_no_feature_is_beyond_repair(body: bytes) -> None:
    with pytest.raises(ValueError):
        FEATURE.document(body)


@settings(max_examples=200, deadline=None)
@given(body=st.binary(max_size=60) | st.text(max_size=60, alphabet='{}[]",:0a1eE+-.\\u \n').map(str.encode))
def test_whatever_comes_it_is_a_feature_or_a_value_error(body: bytes) -> None:
    for decoder in (FEATURE, FEATURES, EXPLANATION):
        try:
            decoder.document(body)
        except ValueError:
            decoder.lines(body)


# -- wrong types -------------------------------------------------------------------------------------------------------

GOOD = {
    "index": "7",
    "layer": "16-res",
    "maxActApprox": 1.5,
    "frac_nonzero": 0.25,
    "pos_str": ["a", " b"],
    "neg_str": ["c"],
    "explanations": [{"description": "dogs", "typeName": "t", "explanationModelName": "m"}],
}


@pytest.mark.parametrize("field", GOOD)
@pytest.mark.parametrize("wrong", [{}, {"a": [1]}, True, [[1]], [1, None], "text", 7.5, -1e300, 10**400])
def test_a_field_of_the_wrong_type_costs_only_itself(field: str, wrong: Any) -> None:
    expected, _ = FEATURE.document(json.dumps(GOOD).encode())
    document = {**GOOD, field: wrong}
    feature, _ = FEATURE.document(json.dumps(document).encode())
    for other in GOOD:
        if other != field:
            assert getattr(feature, other) == getattr(expected, other)
    in_batch, _ = FEATURES.document(json.dumps([GOOD, document, "nonsense", GOOD]).encode())
    assert in_batch == [expected, feature, expected]


def test_a_wrong_entry_in_a_list_costs_only_itself() -> None:
    feature, repaired = FEATURE.document(
        b'{"pos_str": ["a", 1, null, "b"], "explanations": [7, {"description": "x"}, []]}'
    )
    assert repaired
    assert feature.pos_str == ["a", "b"]
    assert feature.explanations == [ExplanationJson(description="x")]


# -- lines -------------------------------------------------------------------------------------------------------------


def test_a_raw_newline_in_a_string_does_not_end_the_line() -> None:
    block = b'{"index": 1, "description": "two\nlines\n\n"}\n{"index": 2}\n\n \n{"index": 3, "description": "\r\n"}'
    documents, repaired, lost = EXPLANATION.lines(block)
    assert [(e.index, e.description) for e in documents] == [(1, "two\nlines\n\n"), (2, None), (3, "\r\n")]
    assert (repaired, lost) == (2, 0)


def test_a_line_separator_is_text_and_no_end_of_line() -> None:
    block = '{"index": 1, "description": "a\u2028b\x85c\x0bd"}\n{"index": 2, "maxAct": NaN}\n'.encode()
    documents, repaired, lost = EXPLANATION.lines(block)
    assert [(e.index, e.description) for e in documents] == [(1, "a\u2028b\x85c\x0bd"), (2, None)]
    assert (repaired, lost) == (2, 0)


def test_a_lost_line_costs_only_itself() -> None:
    documents, repaired, lost = EXPLANATION.lines(b'{"index": 1}\n{"index": 2, "descr\n{"index": 3}\n{"index": NaN}\n')
    assert [e.index for e in documents] == [1, 3, None]
    assert (repaired, lost) == (1, 1)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.text('ab"{}\\ ,', max_size=8), max_size=8), st.booleans())
def test_lines_without_raw_newlines_are_just_the_lines(texts: list[str], ended: bool) -> None:
    lines = [b"{" + text.encode() for text in texts]
    assert list(logical_lines(b"\n".join(lines) + b"\n" * ended)) == lines


# -- rows --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("index", "canonical"),
    [
        (7, 7),
        ("7", 7),
        (0, 0),
        ("0", 0),
        ("16383", 16383),
        ("007", None),
        ("00", None),
        ("7.0", None),
        ("-1", None),
        (-1, None),
        ("+7", None),
        (" 7", None),
        ("", None),
        ("٧", None),
        ("²", None),
        ("1e3", None),
        ("1_0", None),
        ("9" * 13, None),
        (None, None),
    ],
)
def test_an_index_is_canonical_or_none(index: int | str | None, canonical: int | None) -> None:
    assert canonical_index(index) == canonical


@pytest.mark.parametrize("index", [b"7.0", b"7e0", b"true"])
@pytest.mark.parametrize("ballast", [b"1", b"NaN"])
def test_a_number_that_is_no_integer_is_no_index_on_either_path(index: bytes, ballast: bytes) -> None:
    feature, _ = FEATURE.document(b'{"index": %b, "ballast": %b}' % (index, ballast))
    assert canonical_index(feature.index) is None


def test_rows_hold_the_first_ten_tokens_byte_for_byte_and_blanks_for_nulls() -> None:
    rows = Rows()
    tokens = [f" \u2028{k}\U0001f415" for k in range(12)]
    add_feature(rows, FeatureJson(maxActApprox=float("inf"), frac_nonzero=0.5, pos_str=tokens), 3)
    add_explanation(rows, ExplanationJson(description=" x "), 3)
    add_explanation(rows, ExplanationJson(typeName="t", explanationModelName="m"), 3)
    assert rows.features == [(3, None, 0.5, orjson.dumps(tokens[:10]), b"[]")]
    assert rows.explanations == [(3, "", "", " x "), (3, "t", "m", "")]


def test_repair_parses_what_a_strict_parser_parses() -> None:
    body = orjson.dumps(GOOD)
    assert repair(body) == orjson.loads(body)
