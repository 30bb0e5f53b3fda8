"""A label for a feature, by a rule, from the tokens on which it fires most and from what is around them.

    always the same token      "lord" before "god"          if one word mostly stands beside it
                               "return" near "captivity"    if some words are near it more often than elsewhere
                               "-able" as in "hashable"     if it is a part of words
    different tokens           "city", "house", "buildings"
    all in one book            ... (scripture)

Words are compared without case.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

MOSTLY = 0.7
"""The share of contexts from which something is said of all of them."""
OFTEN = 0.3
"""The share of contexts in which a word is that is worth telling as near,"""
LIFT = 4.0
"""if it is that many times as frequent as elsewhere."""
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


def describe(contexts: Sequence[Context], frequency: Mapping[str, float]) -> str:
    """Label a feature by its strongest contexts; `frequency` says in which share of all contexts a word is near."""
    tokens = Counter(context.token for context in contexts)
    (token, n), *_ = tokens.most_common(1)
    if n < MOSTLY * len(contexts):
        words = Counter(context.word for context in contexts)
        label = ", ".join(f'"{word}"' for word, _ in words.most_common(N_WORDS))
    else:
        label = _of_one_token(token, [context for context in contexts if context.token == token], frequency)
    book, n = Counter(context.book for context in contexts).most_common(1)[0]
    return f"{label} ({book})" if n >= 0.95 * len(contexts) else label


def _of_one_token(token: str, contexts: list[Context], frequency: Mapping[str, float]) -> str:
    words = Counter(context.word for context in contexts if context.word != token)
    if sum(words.values()) >= MOSTLY * len(contexts):
        spelt = f"{token}-" if _is_first(token, words) else f"-{token}" if _is_last(token, words) else f"-{token}-"
        most = ", ".join(f'"{word}"' for word, _ in words.most_common(3))
        return f'"{spelt}" as in {most}' if len(words) > 1 else f'"{spelt}" in {most}'
    before, after = (
        _most(contexts, lambda context: context.before[-1:]),
        _most(contexts, lambda context: context.after[:1]),
    )
    if before or after:
        return f'"{token}"' + (f' after "{before}"' if before else "") + (f' before "{after}"' if after else "")
    near = Counter(word for context in contexts for word in context.around if word.isalpha())
    telling = {
        word: count * lift
        for word, count in near.items()
        if count >= OFTEN * len(contexts) and (lift := count / len(contexts) / frequency.get(word, 1e-6)) >= LIFT
    }
    clearest = sorted(telling, key=lambda word: (-telling[word], word))[:N_NEAR]
    return f'"{token}"' + (" near " + ", ".join(f'"{word}"' for word in clearest) if clearest else "")


def _most(contexts: list[Context], neighbour: Callable[[Context], Sequence[str]]) -> str | None:
    """Return the neighbour that most contexts have, if there is one."""
    found = Counter(word for context in contexts for word in neighbour(context)).most_common(1)
    return found[0][0] if found and found[0][1] >= MOSTLY * len(contexts) else None


def _is_first(token: str, words: Iterable[str]) -> bool:
    return all(word.startswith(token) for word in words)


def _is_last(token: str, words: Iterable[str]) -> bool:
    return all(word.endswith(token) for word in words)


def words_of(tokens: Sequence[str]) -> tuple[list[str], list[int]]:
    """Join tokens to the words that they spell; return the words, and for each token which word it is in.

    A token goes on with a word if no space is before it, and letters or digits are on both sides.
    """
    words: list[str] = []
    at: list[int] = []
    for token in tokens:
        goes_on = bool(words) and token[:1].isalnum() and words[-1][-1:].isalnum()
        if goes_on:
            words[-1] += token.casefold()
        else:
            words.append(token.strip().casefold())
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
