"""Tokens as text a person can read: the shard's own texts, else by a tokenizer from their ids, else their numbers.

A tokenizer.json holds pieces in one of three spellings, all turned back into the text they stand for:

    byte-level      "Ġdogs"    each byte is a character of its own; space is Ġ, newline Ċ      -> " dogs"
    SentencePiece   "▁dogs"    space is ▁; bytes without a piece are <0x0A>                    -> " dogs"
    WordPiece       "##ing"    what goes on a word; others begin one                           -> "ing", " dog"

Bytes that are no UTF-8 by themselves, as a part of an emoji is, are <0xF0> each. Where tokens that follow each other
hold the bytes of one character, the first of them has the character and the others have no text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from encoder.shard import Tokens

_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class Vocabulary:
    """Texts of token ids. Without `spell` they are written as numbers."""

    def __init__(self, spell: Callable[[int], str | None] | None = None) -> None:
        self._spell = spell

    def texts(self, tokens: Tokens, first_position: int, n_rows: int) -> list[str]:
        """Return a text for each of the `n_rows` rows that `tokens` tells about."""
        if tokens.texts is not None:
            return tokens.texts
        if tokens.token_ids is not None:
            return [self.text(number) for number in tokens.token_ids.tolist()]
        return [f"·{position}" for position in range(first_position, first_position + n_rows)]

    def text(self, number: int) -> str:
        piece = self._spell(number) if self._spell else None
        return f"#{number}" if piece is None else piece


def whole_characters(texts: list[str]) -> list[str]:
    """Put the bytes of one character together, for tokens that follow each other; what is no character stays as it is.

    Bytes below 0x80 are characters themselves, and are taken for bytes only where they are the whole of a token.
    """
    if not any("<0x" in text for text in texts):
        return texts
    found = [""] * len(texts)
    waiting: list[tuple[int, int]] = []  # bytes, each with its token
    for token, text in enumerate(texts):
        at = 0
        for match in _BYTE_PIECE.finditer(text):
            byte = int(match[1], 16)
            if byte < 0x80 and match[0] != text:
                continue
            if match.start() > at:
                _settle(waiting, found)
                found[token] += text[at : match.start()]
            waiting.append((byte, token))
            at = match.end()
        if at < len(text):
            _settle(waiting, found)
            found[token] += text[at:]
    _settle(waiting, found)
    return found


def _settle(waiting: list[tuple[int, int]], found: list[str]) -> None:
    """Give each character to the token of its first byte, and empty `waiting`."""
    while waiting:
        first, token = waiting[0]
        n_bytes = next((n for n, low in ((4, 0xF0), (3, 0xE0), (2, 0xC0)) if first >= low), 1)
        try:
            found[token] += bytes(byte for byte, _ in waiting[:n_bytes]).decode()
        except UnicodeDecodeError:
            found[token] += f"<0x{first:02X}>"
            n_bytes = 1
        del waiting[:n_bytes]


def spelling_of(document: Any) -> Callable[[str], str]:
    """Say how the pieces of a tokenizer.json are spelt."""
    kinds = set(_types(document.get("decoder"))) | set(_types(document.get("pre_tokenizer")))
    if "ByteLevel" in kinds:
        return from_byte_level
    if "WordPiece" in kinds or (document.get("model") or {}).get("type") == "WordPiece":
        return from_word_piece
    return from_sentence_piece


def _types(part: Any) -> list[str]:
    """Return the types of a part of the pipeline and of what it is made of."""
    if not isinstance(part, dict):
        return []
    nested: Sequence[Any] = [*(part.get("decoders") or ()), *(part.get("pretokenizers") or ())]
    return [str(part.get("type")), *(kind for one in nested for kind in _types(one))]


def from_byte_level(piece: str) -> str:
    if any(character not in _BYTES for character in piece):
        return piece  # a token that was added as it is
    return _readable(bytes(_BYTES[character] for character in piece))


def from_sentence_piece(piece: str) -> str:
    byte = _BYTE_PIECE.fullmatch(piece)
    return _readable(bytes.fromhex(byte[1])) if byte else piece.replace("▁", " ")


def from_word_piece(piece: str) -> str:
    return piece.removeprefix("##") if piece.startswith("##") else f" {piece}"


def _readable(encoded: bytes) -> str:
    return encoded.decode("utf-8", "surrogateescape").translate(_LONE)


def _byte_characters() -> dict[str, int]:
    """Return GPT-2's table: the printable bytes stand for themselves, the others for characters from 256 on."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + i): byte for i, byte in enumerate(others)}


_BYTES = _byte_characters()
_LONE = {0xDC00 + byte: f"<0x{byte:02X}>" for byte in range(0x80, 0x100)}
