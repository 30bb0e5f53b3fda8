"""The words of an index: on which rows each token and each word of the texts stands.

Case is ignored, and so are the blanks around a token and the signs that tokenizers put in their place. A word that is
made of several tokens stands on the row of its first one; each of these tokens is found by itself, too. A token goes on
with the word before it if both meet in letters or digits, as " hash" and "able" do; in a shard whose tokens are spelt
as "##able" where they do so, these alone do. Scripts that do not part words are left as their tokens. Where a shard has
ids of tokens and no texts, id 42 is the text #42.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property

import numpy as np

from encoder.arrays import I64, AnyArray, Int

MOST_TOKENS = 16
"""A longer run of letters is no word that anybody looks for."""
_UNPARTED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\U0010ffff]")
_BLANKS = re.compile("^[▁ĠĊ]+")
_CONTINUED = re.compile(r"##\w")


def plain(token: str) -> str:
    """Return a token as it is looked for, "" for blanks."""
    text = token[2:] if is_continued(token) else _BLANKS.sub("", token)
    return text.strip().casefold()


def is_continued(token: str) -> bool:
    """Say whether a token is spelt as one that goes on with a word."""
    return _CONTINUED.match(token) is not None


def begins_within(token: str) -> bool:
    """Say whether a token may go on with a word."""
    return token[:1].isalnum() and not _BLANKS.match(token) and not _UNPARTED.match(token)


def ends_within(token: str) -> bool:
    """Say whether the token after this one may go on with its word."""
    return token[-1:].isalnum() and not _UNPARTED.match(token[-1])


def length_at(texts: list[str], at: int, word: str) -> int:
    """Return of how many of the tokens from `at` on the word is made, 1 if it is not there."""
    spelt = ""
    for n in range(min(MOST_TOKENS, len(texts) - at)):
        spelt += plain(texts[at + n])
        if spelt == word:
            return n + 1
    return 1


class Words:
    """Texts in order, with the rows of each: texts uint8 and offsets [W + 1] into them; rows and indptr [W + 1].

    `check` is given the rows of a word before anybody else, and raises if they are damaged.
    """

    def __init__(self, texts: AnyArray, offsets: I64, indptr: I64, rows: Int, check: Callable[[Int], None]) -> None:
        self._texts, self._offsets, self._indptr, self._rows, self._check = texts, offsets, indptr, rows, check

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, number: int) -> str:
        return self._bytes(number).decode("utf-8", "replace")

    def rows(self, word: str) -> Int:
        """Return the rows on which a word stands, rising; none if it is nowhere. A view of the file."""
        at = self._place(_encoded(word))
        return self._of(at) if at < len(self) and self._bytes(at) == _encoded(word) else self._rows[:0]

    def rows_of_beginning(self, beginning: str, most: int = 1000) -> Int:
        """Return the rows of all words that begin so, of the first `most` of them; in no order."""
        first = self._place(_encoded(beginning))
        stop = min(self._place(_encoded(beginning) + b"\xff"), first + most)
        return np.concatenate([self._rows[:0], *(self._of(at) for at in range(first, stop))])

    @cached_property
    def by_id(self) -> dict[int, int]:
        """The place of each id of a token, where shards have no texts."""
        first, stop = self._place(b"#"), self._place(b"$")
        found = ((self[at][1:], at) for at in range(first, stop))
        return {int(number): at for number, at in found if number.isascii() and number.isdigit()}

    def rows_at(self, place: int) -> Int:
        return self._of(place)

    def _of(self, at: int) -> Int:
        rows = self._rows[int(self._indptr[at]) : int(self._indptr[at + 1])]
        self._check(rows)
        return rows

    def _bytes(self, at: int) -> bytes:
        return self._texts[int(self._offsets[at]) : int(self._offsets[at + 1])].tobytes()

    def _place(self, text: bytes) -> int:
        """Return the place of the first text that does not come before this one."""
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self._bytes(middle) < text else (low, middle)
        return low


def _encoded(word: str) -> bytes:
    return plain(word).encode("utf-8", "surrogatepass")
