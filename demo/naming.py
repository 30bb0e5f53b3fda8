"""Label a feature by a rule, from the tokens on which it fires most and from the words around these tokens.

The feature fires on                                            its label
    mostly one token, which is a part of longer words           “-able” as in “hashable”
    mostly one token, mostly with the same word beside it       “lord” before “god”
    mostly one token, with some words often near it             “return” near “captivity”
    different tokens                                            “city”, “house”, “buildings”
    tokens of one book only                                     any of the above, and “(scripture)”

Words are compared without case. `spell_out` makes a sentence of the label, as long as those of language models are:
with the words where the feature fires most.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

MOSTLY = 0.7
"""A token, or a neighbour of it, is in the label if it is in this share of the contexts or in more."""
NEARLY_ALL = 0.95
"""A book is in the label if this share of the contexts or more is from it."""
SAYS_LITTLE = {",", ".", ";"}
"""A label never names these as the neighbour of a token."""
OFTEN = 0.3
"""A word is in the label as near only if it is in this share of the contexts or in more."""
LIFT = 4.0
"""A word is in the label as near only if it is so many times as frequent in the contexts as in the book."""
RAREST = 1e-3
"""The frequency of a word that the book has more seldom than this, or not at all."""
N_WORDS = 4
"""A label lists at most so many different words."""
N_NEAR = 2
"""A label names at most so many words as near."""
REACH = 8
"""So many words on either side of a token are near it."""
MOST_CHARACTERS = 108
"""A sentence is not longer than this, unless the label itself is."""


@dataclass(frozen=True, slots=True)
class Context:
    """A token where a feature fired: the book, the word that the token is in, and the words before and after it."""

    book: str
    token: str
    word: str
    before: Sequence[str]
    after: Sequence[str]

    @property
    def around(self) -> set[str]:
        return {*self.before, *self.after} - {self.word}


def describe(contexts: Sequence[Context], frequency: Mapping[str, Mapping[str, float]]) -> str:
    """Label a feature by its strongest contexts.

    `frequency[book][word]` is the share of all contexts of a book that have the word in reach.
    """
    (token, n), *_ = Counter(context.token for context in contexts).most_common(1)
    if n < MOSTLY * len(contexts):
        label = _of_many(contexts) + _near(contexts, frequency)
    else:
        own = [context for context in contexts if context.token == token]
        label = _of_one(token, own) or _quoted([token]) + (_beside(token, own) or _near(own, frequency))
    book, n = Counter(context.book for context in contexts).most_common(1)[0]
    return f"{label} ({book})" if n >= NEARLY_ALL * len(contexts) else label


def spell_out(label: str, strongest: Context) -> str:
    """Make a sentence of a label, with as many words around the strongest token as there is room for."""
    made = ""
    for reach in range(REACH + 1):
        words = [*strongest.before[max(0, len(strongest.before) - reach) :], strongest.word, *strongest.after[:reach]]
        said = re.sub(r" (?=[,.;:!?)\]’'])|(?<=[(\[]) ", "", " ".join(words))
        longer = f"fires on {label}, most strongly in “{said}”"
        if made and len(longer) > MOST_CHARACTERS:
            break
        made = longer
    return made


def _of_many(contexts: Sequence[Context]) -> str:
    words = Counter(context.word for context in contexts)
    most = words.most_common(N_WORDS)
    are_few = sum(n for _, n in most) >= len(contexts) / 2
    return _quoted(word for word, _ in most) + ("" if are_few else ", ...")


def _of_one(token: str, contexts: list[Context]) -> str:
    """Spell a token with the words that it is a part of; return nothing if it mostly is a whole word."""
    words = Counter(context.word for context in contexts if context.word != token)
    if sum(words.values()) < MOSTLY * len(contexts):
        return ""
    before = "" if all(word.startswith(token) for word in words) else "-"
    after = "" if all(word.endswith(token) for word in words) else "-"
    spelt = f"{before}{token}{after}"
    return (
        f"{_quoted([spelt])} {'as in' if len(words) > 1 else 'in'} {_quoted(word for word, _ in words.most_common(3))}"
    )


def _beside(token: str, contexts: list[Context]) -> str:
    """Name the word that mostly stands before the token, and the word that mostly stands after it."""
    said = ""
    for where, neighbours in (
        ("after", [word for context in contexts for word in context.before[-1:]]),
        ("before", [word for context in contexts for word in context.after[:1]]),
    ):
        ((word, n),) = Counter(neighbours).most_common(1) or [("", 0)]
        if n >= MOSTLY * len(contexts) and word not in SAYS_LITTLE:
            said += f" {where} {_quoted([word])}"
    return said


def _near(contexts: Sequence[Context], frequency: Mapping[str, Mapping[str, float]]) -> str:
    """Name the words that are near the token much more often than elsewhere in the same books."""
    books = Counter(context.book for context in contexts)
    lift: dict[str, float] = {}
    for word, n in Counter(word for context in contexts for word in context.around if word.isalpha()).items():
        expected = sum(frequency.get(book, {}).get(word, 0) * n_of for book, n_of in books.items())
        times = n / max(expected, RAREST * len(contexts))
        if n >= OFTEN * len(contexts) and times >= LIFT:
            lift[word] = n * times
    clearest = sorted(lift, key=lambda word: (-lift[word], word))[:N_NEAR]
    return f" near {_quoted(clearest)}" if clearest else ""


def _quoted(words: Iterable[str]) -> str:
    return ", ".join(f"“{word}”" for word in words)


def words_of(tokens: Sequence[str]) -> tuple[list[str], list[int]]:
    """Join tokens to the words that they spell; return the words, and for each token which word it is in.

    A token continues the word before it if both meet in letters or digits, without a space between them.
    """
    words: list[str] = []
    at: list[int] = []
    last = ""
    for token in tokens:
        if last.isalnum() and token[:1].isalnum():
            words[-1] += token.strip().casefold()
        else:
            words.append(token.strip().casefold())
        last = token[-1:]
        at.append(len(words) - 1)
    return words, at


def context_of(book: str, tokens: Sequence[str], words: Sequence[str], at: Sequence[int], position: int) -> Context:
    """Return the context of the token at `position`; `words` and `at` are what `words_of` returned for the tokens."""
    here = at[position]
    return Context(
        book,
        tokens[position].strip().casefold(),
        words[here],
        words[max(0, here - REACH) : here],
        words[here + 1 : here + 1 + REACH],
    )
