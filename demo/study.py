"""Find out what the features of the demo's SAE fire on, in the texts that the SAE was trained on.

Shapes: T tokens, D d_in, F d_sae, K contexts a feature.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from sae_lens import SAE
from safetensors.torch import load_file
from tokenizers import Tokenizer

from demo.hidden_states import model_folder
from demo.naming import Context, context_of, describe, spell_out, words_of
from demo.published import Published

K = 100
"""So many of the strongest activations of each feature are kept."""
N_CONTEXTS = 30
"""A label is made of at most so many contexts."""
MOST_PER_TEXT = 2
"""At most so many contexts of a label are from the same text."""
LEAST_CONTEXTS = 5
"""A feature with fewer contexts gets no label."""
N_CLOSE = 10
BATCH_TOKENS = 4096
EVERY = 50
"""The frequency of words is counted in the context of every 50th token."""


@dataclass(frozen=True, slots=True)
class Studied:
    """A text as the SAE was shown it: the book that it is from, its tokens, and the row of its first token."""

    book: str
    tokens: list[str]
    first_row: int


def study(module: SAE, x: torch.Tensor, texts: Sequence[Studied]) -> Iterator[Published]:
    """Yield what Neuronpedia would publish of each feature. `x` [T, D] are the rows of the texts."""
    values, rows, density = _strongest(module, x)
    words = [words_of(text.tokens) for text in texts]
    starts = torch.tensor([text.first_row for text in texts])
    close = _close_words(module)

    def context(row: int) -> tuple[int, Context]:
        at = int(torch.searchsorted(starts, row, right=True)) - 1
        text = texts[at]
        return at, context_of(text.book, text.tokens, *words[at], row - text.first_row)

    frequency = _frequency(context(row)[1] for row in range(0, len(x), EVERY))
    for feature in range(values.shape[1]):
        fired = rows[values[:, feature] > 0, feature].tolist()
        contexts = list(_varied(map(context, fired)))[:N_CONTEXTS]
        is_clear = len(contexts) >= LEAST_CONTEXTS
        label = spell_out(describe(contexts, frequency), contexts[0]) if is_clear else None
        positive, negative = close[feature] if fired else ([], [])
        yield Published(label, positive, negative, float(values[0, feature]), float(density[feature]))


def _frequency(contexts: Iterable[Context]) -> dict[str, dict[str, float]]:
    """Return, for each book, the share of its contexts that have each word in reach."""
    n_contexts: Counter[str] = Counter()
    near: dict[str, Counter[str]] = {}
    for context in contexts:
        n_contexts[context.book] += 1
        near.setdefault(context.book, Counter()).update(context.around)
    return {book: {word: n / n_contexts[book] for word, n in words.items()} for book, words in near.items()}


def _varied(contexts: Iterator[tuple[int, Context]]) -> Iterator[Context]:
    seen: Counter[int] = Counter()
    for text, context in contexts:
        seen[text] += 1
        if seen[text] <= MOST_PER_TEXT:
            yield context


@torch.no_grad()
def _strongest(module: SAE, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the largest values [K, F], falling, their rows [K, F], and in which share of rows each feature fires."""
    d_sae = int(module.cfg.d_sae)
    values, rows, count = torch.zeros(0, d_sae), torch.zeros(0, d_sae, dtype=torch.long), torch.zeros(d_sae)
    for at in range(0, len(x), BATCH_TOKENS):
        batch = module.encode(x[at : at + BATCH_TOKENS].float())
        count += (batch > 0).sum(dim=0)
        new, own = batch.topk(min(K, len(batch)), dim=0)
        values, rows = torch.cat([values, new]), torch.cat([rows, own + at])
        values, order = values.topk(min(K, len(values)), dim=0)
        rows = rows.gather(0, order)
    return values, rows, count / len(x)


def _close_words(module: SAE) -> list[tuple[list[str], list[str]]]:
    """Return, for each feature, the words whose embeddings lie closest to its direction and farthest from it.

    This transformer predicts no next token. Its embeddings take the place of a language model's unembedding.
    """
    folder = model_folder()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    embeddings = load_file(folder / "model.safetensors")["embeddings.word_embeddings.weight"]
    centred = torch.nn.functional.normalize(embeddings - embeddings.mean(dim=0), dim=1)
    closeness = module.W_dec.detach() @ centred.T
    spelt = [tokenizer.id_to_token(number) or "" for number in range(len(embeddings))]
    closest, farthest = (
        [[spelt[number] for number in numbers] for numbers in side.topk(N_CLOSE).indices.tolist()]
        for side in (closeness, -closeness)
    )
    return list(zip(closest, farthest, strict=True))
