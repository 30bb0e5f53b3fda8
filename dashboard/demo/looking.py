"""The end of `make demo`: features of a sentence with their labels, and where some of them fire elsewhere."""

from __future__ import annotations

from pathlib import Path

from dashboard.demo.published import REPOSITORY, SAE_ID
from encoder import Features, LabelledFeatures, open_features, open_index
from saefetch import open_labels
from saefetch.demo.stage import title

DOCUMENT = "factbook__japan-introduction"
N_TOKENS = 14
N_ELSEWHERE = 4
N_CONTEXTS = 3
REACH = 6
"""Tokens shown on either side."""


def look(out: Path) -> None:
    """Print what fires on the beginning of a response, by the features in `out`/queue/out and the labels of its SAE."""
    folder = out / "queue" / "out"
    with (
        open_labels(out / "sae", REPOSITORY, SAE_ID) as labels,
        open_features(folder) as features,
        open_index(folder) as index,
    ):
        shard = [path.stem for path in features.paths].index(DOCUMENT)
        first = sum(meta["rows"] for meta in features.meta[:shard])
        start, _ = features.tokens(shard).sections["response"]
        title(f"What fires most on the beginning of {DOCUMENT}")
        joined = LabelledFeatures(features, labels)
        strongest: dict[int, float] = {}
        for position in range(start, start + N_TOKENS):
            (active, *_) = joined.strongest(first + position, 1)
            strongest[active.index] = max(active.value, strongest.get(active.index, 0))
            word = _text(features, first + position, 0).strip()
            print(f"{word:>16}  {active.index:5,}  {active.value:5.2f}  {active.description or '-'}")

        title("Where some of them fire most in all texts")
        for feature in sorted(strongest, key=lambda index: -strongest[index])[:N_ELSEWHERE]:
            print(f"{feature:,}  {labels[feature].description}")
            for row, value in zip(*index.top(feature, N_CONTEXTS), strict=True):
                print(f"    {value:5.2f}  {_text(features, int(row), REACH)}")


def _text(features: Features, row: int, reach: int) -> str:
    """Return the token of a row in brackets with `reach` tokens on either side, in one line; without any, just it."""
    shard, at = features.locate(row)
    texts = features.tokens(shard).texts or []
    before, after = texts[max(0, at - reach) : at], texts[at + 1 : at + 1 + reach]
    token = texts[at]
    marked = f"{token[: len(token) - len(token.lstrip())]}[{token.strip()}]" if reach else token
    return " ".join("".join([*before, marked, *after]).split())
