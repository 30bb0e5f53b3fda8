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
from dashboard.model.tokenizer import open_vocabulary
from dashboard.model.tokens import _BYTES, Vocabulary, from_byte_level, from_sentence_piece, from_word_piece
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
    vocabulary = open_vocabulary(str(write_tokenizer(tmp_path / "tokenizer.json", pieces, decoder)))
    ids = np.array([0, 1, 2, 7, -1, 1 << 40], np.int64)
    texts = vocabulary.texts(Tokens(token_ids=ids), 0, len(ids))
    assert texts == ["<bos>", " dogs", "\n", "#7", "#-1", f"#{1 << 40}"]
    assert vocabulary.texts(Tokens(token_ids=ids[:1], texts=["own"]), 0, 1) == ["own"]


def test_what_is_no_tokenizer_is_refused_in_one_line(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    path = tmp_path / "tokenizer.json"
    with pytest.raises(DashboardError, match="No such file"):
        open_vocabulary(str(path))
    for text in ("", "{}", "[]", "\u2028", '{"model": 1}'):
        path.write_text(text)
        with pytest.raises(DashboardError, match=r"not a tokenizer\.json") as refused:
            open_vocabulary(str(path))
        assert "\n" not in str(refused.value)
    path.write_bytes(b"\xff")
    with pytest.raises(DashboardError, match=r"not a tokenizer\.json"):
        open_vocabulary(str(path))


def texts_of(name: Path | str, *ids: int) -> list[str]:
    return open_vocabulary(str(name)).texts(Tokens(token_ids=np.array(ids)), 0, len(ids))


def write_sentencepiece(path: Path) -> Path:
    """Train a model of bytes and a few pieces: 0 is unknown, 1 and 2 are control tokens, then the bytes from 3 on."""
    trainer = pytest.importorskip("sentencepiece").SentencePieceTrainer
    texts = iter(["the dogs and the dog"] * 50)
    with path.open("wb") as file:
        trainer.train(sentence_iterator=texts, model_writer=file, vocab_size=275, byte_fallback=True, model_type="bpe")
    return path


def test_a_folder_stands_for_the_tokenizer_in_it(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    with pytest.raises(DashboardError, match=r"has no tokenizer\.json and no tokenizer\.model"):
        open_vocabulary(str(tmp_path))
    write_sentencepiece(tmp_path / "tokenizer.model")
    assert texts_of(tmp_path, 3 + 0x0A) == ["\n"]
    write_tokenizer(tmp_path / "tokenizer.json", ["<bos>", "Ġdogs", "Ċ"], BYTE_LEVEL)
    assert texts_of(tmp_path, 1) == [" dogs"], "the tokenizer.json comes first"


def test_a_sentencepiece_model_gives_ids_their_texts(tmp_path: Path) -> None:
    path = write_sentencepiece(tmp_path / "any name")
    processor = pytest.importorskip("sentencepiece").SentencePieceProcessor(model_file=str(path))
    ids = processor.encode("the dogs")
    assert "".join(texts_of(path, *ids)) == " the dogs"
    assert texts_of(path, 0, 1, 3 + 0xF0, -1, 275) == ["<unk>", "<s>", "<0xF0>", "#-1", "#275"]


def test_a_model_of_the_hubs_cache_is_found_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tokenizers")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(DashboardError, match=r"`hf download some/model tokenizer\.json`"):
        open_vocabulary("some/model")
    model = tmp_path / "models--some--model"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text("abc")
    (model / "snapshots" / "abc").mkdir(parents=True)
    write_tokenizer(model / "snapshots" / "abc" / "tokenizer.json", ["<bos>", "Ġdogs"], BYTE_LEVEL)
    assert texts_of("some/model", 1) == [" dogs"]


def test_a_file_of_another_kind_is_refused_with_the_way_to_convert_it(tmp_path: Path) -> None:
    pytest.importorskip("sentencepiece")
    for name, content in (
        ("tokenizer.model", b"IQ== 0\nIg== 1\n"),
        ("empty.model", b""),
        ("vocab.bin", bytes(range(256))),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DashboardError, match=r"AutoTokenizer.*save_pretrained") as refused:
            open_vocabulary(str(tmp_path / name))
        assert "\n" not in str(refused.value)


def test_without_a_tokenizer_tokens_have_numbers() -> None:
    assert Vocabulary().texts(Tokens(token_ids=np.array([5, 6])), 0, 2) == ["#5", "#6"]
    assert Vocabulary().texts(Tokens(), 3, 2) == ["·3", "·4"]
