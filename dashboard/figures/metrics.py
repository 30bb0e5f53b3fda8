"""How wide a text is in Helvetica, and so in Arial and Liberation Sans, which have its widths; and where it breaks.

The widths are those of Adobe's font metrics, in thousandths of the size. What they do not have is as wide as a digit,
and twice that where East Asian type is square.
"""

from __future__ import annotations

import unicodedata

FONT = "Helvetica, Arial, 'Liberation Sans', sans-serif"
_WIDTHS = {
    character: width
    for width, characters in {
        191: "'",
        222: "ijl",
        260: "|",
        278: " !,./:;I[\\]ft",
        333: "()-`r",
        334: "{}",
        355: '"',
        389: "*",
        469: "^",
        500: "ckszJvxy",
        556: "#$0123456789?L_abdeghnopqu",
        584: "+<=>~",
        611: "FTZ",
        667: "&ABEKPSVXY",
        722: "CDHNRUw",
        778: "GOQ",
        833: "Mm",
        889: "%",
        944: "W",
        1015: "@",
    }.items()
    for character in characters
}
DIGIT, SQUARE = 556, 1112


def width_of(text: str, size: float) -> float:
    return size / 1000 * sum(map(_width, text))


def _width(character: str) -> int:
    known = _WIDTHS.get(character)
    if known is not None:
        return known
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return SQUARE if unicodedata.east_asian_width(character) in "WF" else DIGIT


def wrapped(text: str, size: float, width: float) -> list[str]:
    """Break a text into lines of up to `width`, between words where there are some."""
    lines, line = [], ""
    for word in text.split():
        while width_of(word, size) > width:  # a word that is longer than a line
            n = max(1, next((i for i in range(1, len(word)) if width_of(word[: i + 1], size) > width), len(word)))
            lines += [line, word[:n]] if line else [word[:n]]
            line, word = "", word[n:]
        if line and width_of(f"{line} {word}", size) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return [*lines, line] if line or not lines else lines
