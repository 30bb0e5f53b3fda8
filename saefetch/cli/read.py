"""`saefetch search` and `saefetch show`: labels for a person to read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from saefetch.cli.options import one_sae
from saefetch.errors import UsageError
from saefetch.labels import Label, Labels, open_labels
from saefetch.search import MARK
from saefetch.terminal.output import bold, in_colour, print_json, printable


def search(
    query: str,
    sae_release: str | None,
    sae_id: str | None,
    limit: int,
    data_dir: Path | None,
    config: Path | None,
    *,
    as_json: bool,
) -> None:
    """Print the hits, the best first, with the words that matched shown."""
    with open_labels(*one_sae(sae_release, sae_id, data_dir, config)) as labels:
        hits = labels.search(query, limit)
        if as_json:
            results = [
                {
                    "index": hit.index,
                    "score": round(hit.score, 4),
                    "description": hit.description,
                    "marked": _brackets(hit.marked),
                }
                for hit in hits
            ]
            print_json({"query": query, "neuronpedia_id": labels.neuronpedia_id, "results": results})
            return
        if not hits:
            print(
                f"No label of {labels.neuronpedia_id} matches {query!r}."
                f" A beginning matches with a star: {query.split()[0]}*"
            )
            return
        for hit in hits:
            print(f"{hit.index:>8,}  {_shown(hit.marked)}")


def show(
    indices: list[int],
    sae_release: str | None,
    sae_id: str | None,
    data_dir: Path | None,
    config: Path | None,
    *,
    as_json: bool,
) -> None:
    """Print features in full."""
    with open_labels(*one_sae(sae_release, sae_id, data_dir, config)) as labels:
        outside = [index for index in indices if not 0 <= index < len(labels)]
        if outside:
            raise UsageError(
                f"feature {outside[0]} does not exist: {labels.neuronpedia_id} has 0 to {len(labels) - 1:,}"
            )
        found = [labels[index] for index in indices]
        if as_json:
            print_json({"neuronpedia_id": labels.neuronpedia_id, "features": [_document(label) for label in found]})
            return
        print("\n\n".join(_page(labels, label) for label in found))


def _document(label: Label) -> dict[str, Any]:
    return {
        "index": label.index,
        "description": label.description,
        "explanations": [{"text": e.text, "type": e.type, "model": e.model} for e in label.explanations],
        "top_positive_tokens": list(label.top_positive_tokens),
        "top_negative_tokens": list(label.top_negative_tokens),
        "max_activation": label.max_activation,
        "frac_nonzero": label.frac_nonzero,
        "error": label.error,
    }


def _page(labels: Labels, label: Label) -> str:
    lines = [bold(f"feature {label.index:,} of {labels.neuronpedia_id}")]
    if label.error:
        return "\n".join([*lines, f"  not here: {label.error}"])
    lines.append(f"  label      {printable(label.description.strip()) if label.description else '(none)'}")
    for explanation in label.explanations:
        origin = ", ".join(filter(None, (explanation.type, explanation.model))) or "origin unknown"
        lines.append(f"             - {printable(explanation.text.strip()) or '(blank)'}  [{printable(origin)}]")
    lines.append(f"  promotes   {_tokens(label.top_positive_tokens)}")
    lines.append(f"  suppresses {_tokens(label.top_negative_tokens)}")
    largest = "unknown" if label.max_activation is None else f"{label.max_activation:g}"
    share = "" if label.frac_nonzero is None else f", fires on {label.frac_nonzero:.3%} of Neuronpedia's tokens"
    lines.append(f"  max        {largest}{share}")
    return "\n".join(lines)


def _tokens(tokens: tuple[str, ...]) -> str:
    return " ".join(repr(printable(token)) for token in tokens) or "(none)"


def _shown(marked: str) -> str:
    """Render a hit on one line: matched words bold on a terminal, in brackets elsewhere."""
    on, off = ("\x1b[1;33m", "\x1b[0m") if in_colour() else ("[", "]")
    texts = (" ".join(text.split()) for text in marked.split("\n"))
    line = "  |  ".join(text for text in texts if text)
    return "".join(on if c == MARK[0] else off if c == MARK[1] else printable(c) for c in line)


def _brackets(marked: str) -> str:
    return marked.replace(MARK[0], "[").replace(MARK[1], "]")
