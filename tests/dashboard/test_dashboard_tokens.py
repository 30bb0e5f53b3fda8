"""Pieces of a vocabulary are shown as the text they stand for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.errors import DashboardError
from dashboard.model.tokens import (
    _BYTES,
    Vocabulary,
    from_byte_level,
    from_sentence_piece,
    from_word_piece,
    open_vocabulary,
)
from encoder.shard import Tokens

TO_CHARACTER = {byte: character for character, byte in _BYTES.items()}


@given(st.text(max_size=20))
def test_byte_level_pieces_of_whole_characters_are_the_text(text: str) -> None:
    assert from_byte_level("".join(TO_CHARACTER[byte] for byte in text.encode())) == text


@pytest.mark.parametrize(
    ("piece", "text"),
    [("Ġdogs", " dogs"), ("ĊĊ", "\n\n"), ("ðŁĺ", "<0xF0><0x9F><0x98>"), ("▁x", "▁x"), ("", "")],
)
def test_byte_level_pieces(piece: str, text: str) -> None:
    assert from_byte_level(piece) == text


@pytest.mark.parametrize(
    ("piece", "text"),
    [("▁dogs", " dogs"), ("▁▁▁", "   "), ("<0x0A>", "\n"), ("<0xF0>", "<0xF0>"), ("<0x0", "<0x0")],
)
def test_sentence_piece_pieces(piece: str, text: str) -> None:
    assert from_sentence_piece(piece) == text


def test_word_piece_pieces_go_on_a_word_or_begin_one() -> None:
    assert from_word_piece("##ing") == "ing" and from_word_piece("dog") == " dog"


def write_tokenizer(path: Path, pieces: list[str], decoder: dict[str, Any] | None) -> Path:
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    model = {"type": "BPE", "vocab": {piece: i for i, piece in enumerate(pieces)}, "merges": []}
    document = {"version": "1.0", "added_tokens": [{"id": 0, "content": pieces[0], **special}], "model": model}
    document |= {"truncation": None, "padding": None, "normalizer": None, "pre_tokenizer": None}
    path.write_text(json.dumps(document | {"post_processor": None, "decoder": decoder}))
    return path


BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}


@pytest.mark.parametrize(
    ("decoder", "pieces"),
    [
        (BYTE_LEVEL, ["<bos>", "Ġdogs", "Ċ"]),
        ({"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]}, ["<bos>", "▁dogs", "<0x0A>"]),
    ],
)
def test_a_tokenizer_gives_ids_their_texts(tmp_path: Path, decoder: dict[str, Any], pieces: list[str]) -> None:
    pytest.importorskip("tokenizers")
    vocabulary = open_vocabulary(write_tokenizer(tmp_path / "tokenizer.json", pieces, decoder))
    ids = np.array([0, 1, 2, 7, -1, 1 << 40], np.int64)
    texts = vocabulary.texts(Tokens(token_ids=ids), 0, len(ids))
    assert texts == ["<bos>", " dogs", "\n", "#7", "#-1", f"#{1 << 40}"]
    assert vocabulary.texts(Tokens(token_ids=ids[:1], texts=["own"]), 0, 1) == ["own"]


def test_what_is_no_tokenizer_is_refused_in_one_line(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    path = tmp_path / "tokenizer.json"
    with pytest.raises(DashboardError, match="No such file"):
        open_vocabulary(path)
    for text in ("", "{}", "[]", "\u2028", '{"model": 1}'):
        path.write_text(text)
        with pytest.raises(DashboardError, match=r"not a tokenizer\.json") as refused:
            open_vocabulary(path)
        assert "\n" not in str(refused.value)
    path.write_bytes(b"\xff")
    with pytest.raises(DashboardError, match=r"not a tokenizer\.json"):
        open_vocabulary(path)


def test_without_a_tokenizer_tokens_have_numbers() -> None:
    assert Vocabulary().texts(Tokens(token_ids=np.array([5, 6])), 0, 2) == ["#5", "#6"]
    assert Vocabulary().texts(Tokens(), 3, 2) == ["·3", "·4"]
