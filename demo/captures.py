"""Activations as a researcher captures them: a file a text, with prompt and response.

activations/scripture/genesis-18.pt
    {"prompt": {text, tokens, token_ids, activations: {2: {"residual": [n, 384]}}}, "response": {same}}
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from demo.hidden_states import LAYER, Section, Transformer
from demo.texts import Text


def write_captures(folder: Path, texts: Sequence[Text]) -> int:
    """Let the transformer read the texts and write its hidden states; return the number of tokens."""
    texts = sorted(texts, key=lambda text: len(text.prompt + text.response))  # equal lengths need no padding
    n_tokens = 0
    for text, sections in zip(texts, Transformer().read(texts), strict=True):
        path = folder / text.book / f"{file_name(text.prompt)}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(dict(zip(("prompt", "response"), map(_captured, sections), strict=True)), path)
        n_tokens += sum(len(section.tokens) for section in sections)
    return n_tokens


def file_name(prompt: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", prompt.casefold()).strip("-")


def _captured(section: Section) -> dict[str, Any]:
    return {
        "text": section.text,
        "tokens": section.tokens,
        "token_ids": section.token_ids,
        "activations": {LAYER - 1: {"residual": section.states.half()}},  # blocks are counted from 0, as in hook names
    }
