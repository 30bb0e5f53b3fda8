"""A label for a feature, by a rule, from the tokens on which it fires most and from what is around them.

    mostly the same token    “lord” before “god”          if one word mostly stands beside it
                             “return” near “captivity”    if some words are near it more often than elsewhere
                             “-able” as in “hashable”     if it is a part of words
    different tokens         “city”, “house”, “buildings”
    all in one book          ... (scripture)

Words are compared without case.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

MOSTLY, NEARLY_ALL = 0.7, 0.95
"""The shares of contexts from which a token or neighbour, or a book, is said of all of them."""
SAYS_LITTLE = {",", ".", ";"}
"""No word is named as beside these."""
OFTEN = 0.3
"""The share of contexts in which a word is that is worth telling as near,"""
LIFT = 4.0
"""if it is that many times as frequent as elsewhere."""
RAREST = 1e-3
"""No word counts as rarer."""
N_WORDS = 4
N_NEAR = 2
REACH = 8
"""How many words on either side are near."""


@dataclass(frozen=True, slots=True)
class Context:
    """A token in its text: all words of the text, which of them the token is in, and the token itself."""

    book: str
    token: str
    word: str
    before: Sequence[str]
    after: Sequence[str]

    @property
    def around(self) -> set[str]:
        return {*self.before, *self.after} - {self.word}


def describe(contexts: Sequence[Context], frequency: Mapping[str, Mapping[str, float]]) -> str:
    """Label a feature by its strongest contexts; `frequency[book][word]` is the share of contexts with the word."""
    (token, n), *_ = Counter(context.token for context in contexts).most_common(1)
    if n < MOSTLY * len(contexts):
        label = _of_many(contexts) + _near(contexts, frequency)
    else:
        own = [context for context in contexts if context.token == token]
        label = _of_one(token, own) or _quoted([token]) + (_beside(token, own) or _near(own, frequency))
    book, n = Counter(context.book for context in contexts).most_common(1)[0]
    return f"{label} ({book})" if n >= NEARLY_ALL * len(contexts) else label


def _of_many(contexts: Sequence[Context]) -> str:
    words = Counter(context.word for context in contexts)
    most = words.most_common(N_WORDS)
    are_few = sum(n for _, n in most) >= len(contexts) / 2
    return _quoted(word for word, _ in most) + ("" if are_few else ", ...")


def _of_one(token: str, contexts: list[Context]) -> str:
    """Say which words a token is a part of, if it is."""
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
    """Say which word mostly stands before it, and which after it."""
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
    """Say which words are near more often than they are elsewhere in the same books."""
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

    A token goes on with a word if no space is before it, and letters or digits are on both sides.
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
    """Return the context of the token at `position`; `words` and `at` are those of `words_of`."""
    here = at[position]
    return Context(
        book,
        tokens[position].strip().casefold(),
        words[here],
        words[max(0, here - REACH) : here],
        words[here + 1 : here + 1 + REACH],
    )
