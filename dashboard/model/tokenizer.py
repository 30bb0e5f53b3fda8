"""From what `--tokenizer` names to a vocabulary.

    FILE           a tokenizer.json, or a sentencepiece model such as tokenizer.model
    FOLDER         as a model or a tokenizer is saved: a tokenizer.json in it, else a sentencepiece model
    OWNER/NAME     the tokenizer.json of a model in the hub's cache; nothing is downloaded

A path that exists is taken for a path, so a folder called google/gemma-2-2b comes before the model of that name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dashboard.errors import DashboardError
from dashboard.model.tokens import Vocabulary, from_sentence_piece, spelling_of

TOKENIZER_JSON = "tokenizer.json"
SENTENCEPIECE_NAMES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_CONVERT = (
    "make a tokenizer.json of it with transformers: AutoTokenizer.from_pretrained(MODEL).save_pretrained(FOLDER),"
    " and name that FOLDER"
)


def open_vocabulary(name: str) -> Vocabulary:
    """Open what `--tokenizer` names. Raises: DashboardError if it is no tokenizer, or a library is not installed."""
    path = _find(name)
    try:
        raw = path.read_bytes()
    except OSError as exc:
        raise DashboardError(f"--tokenizer {path}: {exc.strerror}") from exc
    is_json = path.suffix == ".json" or raw.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")
    return _of_json(path, raw) if is_json else _of_sentencepiece(path, raw)


def _find(name: str) -> Path:
    """Return the file that holds the vocabulary."""
    path = Path(name)
    if path.is_dir():
        for file_name in (TOKENIZER_JSON, *SENTENCEPIECE_NAMES):
            if (path / file_name).is_file():
                return path / file_name
        raise DashboardError(f"--tokenizer {path}: the folder has no {TOKENIZER_JSON} and no {SENTENCEPIECE_NAMES[0]}")
    if path.exists():
        return path
    if not _HUB_NAME.fullmatch(name):
        raise DashboardError(
            f"--tokenizer {path}: No such file or folder; expected a {TOKENIZER_JSON}, its folder, or OWNER/NAME in the"
            " hub's cache"
        )
    return _cached(name)


def _cached(name: str) -> Path:
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError as exc:
        raise DashboardError(_needs("huggingface_hub")) from exc
    for file_name in (TOKENIZER_JSON, *SENTENCEPIECE_NAMES):
        try:
            found = try_to_load_from_cache(name, file_name)
        except ValueError as exc:  # no name that the hub allows
            raise DashboardError(f"--tokenizer {name}: no such file, and no name of a model ({exc})") from exc
        if isinstance(found, str):
            return Path(found)
    raise DashboardError(
        f"--tokenizer {name}: no such file, and the hub's cache has no {TOKENIZER_JSON} of that model;"
        f" `hf download {name} {TOKENIZER_JSON}` brings it there"
    )


def _of_json(path: Path, raw: bytes) -> Vocabulary:
    try:
        from tokenizers import Tokenizer
    except ImportError as exc:
        raise DashboardError(_needs("tokenizers")) from exc
    try:
        text = raw.decode("utf-8-sig")
        tokenizer: Any = Tokenizer.from_str(text)
        spelling = spelling_of(json.loads(text))
    except Exception as exc:  # the library raises plain Exception
        raise DashboardError(f"--tokenizer {path}: not a {TOKENIZER_JSON} ({_short(exc)})") from exc
    special = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}

    def spell(number: int) -> str | None:
        piece: str | None = tokenizer.id_to_token(number) if 0 <= number < 1 << 32 else None
        return piece if piece is None or number in special else spelling(piece)

    return Vocabulary(spell)


def _of_sentencepiece(path: Path, raw: bytes) -> Vocabulary:
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError as exc:
        raise DashboardError(f"--tokenizer {path}: not a {TOKENIZER_JSON}; {_CONVERT}") from exc
    try:
        if not raw:
            raise ValueError("it is empty")
        processor: Any = SentencePieceProcessor(model_proto=raw)
    except Exception as exc:  # the library raises RuntimeError
        message = (
            f"--tokenizer {path}: neither a {TOKENIZER_JSON} nor a sentencepiece model ({_short(exc)}); {_CONVERT}"
        )
        raise DashboardError(message) from exc
    return Vocabulary(_speller(processor))


def _speller(processor: Any) -> Callable[[int], str | None]:
    size = int(processor.get_piece_size())

    def spell(number: int) -> str | None:
        if not 0 <= number < size:
            return None
        piece = str(processor.id_to_piece(number))
        return piece if processor.is_control(number) or processor.is_unknown(number) else from_sentence_piece(piece)

    return spell


def _needs(library: str) -> str:
    return f"--tokenizer needs the library {library}: pip install 'saefetch[dashboard]'"


def _short(exc: Exception) -> str:
    return " ".join(str(exc).split())[:200]
