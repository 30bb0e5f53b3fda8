"""The demo prints the features of some words with their labels, and the contexts where some of them fire most."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from demo.naming import words_of
from demo.published import REPOSITORY, SAE_ID
from demo.stage import title
from encoder import Active, FeatureIndex, Features, LabelledFeatures, open_features, open_index
from saefetch import Labels, open_labels

DOCUMENTS = ("scripture__genesis-18", "factbook__japan-introduction", "manual__help-yield")
LEAST_LETTERS = 5
"""Words with fewer letters are passed over: most of them are in every text."""
N_WORDS, N_CONTEXTS = 6, 3
REACH = 6
"""Tokens shown on either side."""


def look(out: Path) -> None:
    """Print some of the features in `out`/queue/out, with the labels of their SAE in `out`/sae."""
    folder = out / "queue" / "out"
    with (
        open_labels(out / "sae", REPOSITORY, SAE_ID) as labels,
        open_features(folder) as features,
        open_index(folder) as index,
    ):
        _summarise(features, index, labels)
        title("What fires on some words, and what it means")
        joined = LabelledFeatures(features, labels)
        clearest: list[Active] = []
        there = {path.stem for path in features.paths}
        for document in filter(there.__contains__, DOCUMENTS):  # an edition of the manual may have other topics
            print(document)
            found = [(word, _clearest(joined, row)) for row, word in _words(features, document)]
            for word, active in found:
                print(f"{word:>16}  {active.index:5,}  {active.value:5.2f}  {active.description or '-'}")
            clearest.append(max((active for _, active in found), key=lambda active: active.share or 0))

        title("Where some of them fire most in all texts")
        for active in clearest:
            print(f"{active.index:,}  {active.description}")
            for row, value in zip(*index.top(active.index, N_CONTEXTS), strict=True):
                print(f"    {value:5.2f}  {_context(features, int(row))}")


def _summarise(features: Features, index: FeatureIndex, labels: Labels) -> None:
    n_rows, n_features = features.shape
    fire = sum(bool(count) for count in index.count)
    described = sum(bool(label.description) for label in labels)
    explained = sum(meta["quality"]["explained_variance"] * meta["rows"] for meta in features.meta) / n_rows
    print(
        f"{n_rows:,} tokens, {index.count.sum() / n_rows:.1f} features on each, which explain {explained:.0%} of the"
        f" variance; {fire:,} of {n_features:,} features fire at all; {described:,} have a label"
    )


def _words(features: Features, document: str) -> Iterator[tuple[int, str]]:
    """Yield rows and texts of the first words of a response that are long enough and one token each."""
    shard = [path.stem for path in features.paths].index(document)
    first = sum(meta["rows"] for meta in features.meta[:shard])
    said = features.tokens(shard)
    start, stop = said.sections["response"]
    texts = (said.texts or [])[start:stop]
    words, of = words_of(texts)
    at = [i for i, token in enumerate(texts) if len(words[of[i]]) >= LEAST_LETTERS and words[of[i]].isalpha()]
    whole = {texts[i].strip(): first + start + i for i in reversed(at) if words[of[i]] == texts[i].strip().casefold()}
    yield from ((row, word) for word, row in sorted(whole.items(), key=lambda found: found[1])[:N_WORDS])


def _clearest(joined: LabelledFeatures, row: int) -> Active:
    """Return the feature of a row whose value is the largest share of its own maximum."""
    return max(joined.strongest(row), key=lambda active: active.share or 0)


def _context(features: Features, row: int) -> str:
    """Return the token of a row in brackets with its neighbours, in one line."""
    shard, at = features.locate(row)
    texts = features.tokens(shard).texts or []
    token = texts[at]
    bare = token.strip()
    marked = token.replace(bare, f"[{bare}]", 1)
    return " ".join("".join([*texts[max(0, at - REACH) : at], marked, *texts[at + 1 : at + 1 + REACH]]).split())
