"""The views' answers for some documents, by the name of the file that holds them.

    summary, documents, health    as the API answers
    features                      every feature that fires in these documents, with its label and figures: columns
    features-<k>                  the features 256 k to 256 k + 255: what the API answers, and where they fire most
    document-<id>                 one document: its tokens, its colours, its rows, and what fires in it
    figures-<id>                  the document as a figure in each form, by its colour: l0 and top

The views are given a `Part` in place of the whole corpus. So each figure is that of the part, and the same as a server
would show that has only these documents. Labels and largest values stand in `features` alone; the page puts them beside
the features of a row. The folder goes to others, so it holds no text of other documents and no paths of this machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from dashboard.figures.formats import FORMATS
from dashboard.model.look import Look
from dashboard.model.part import Part
from dashboard.model.places import Places
from dashboard.model.sums import merge
from dashboard.views.documents import MOST_DOCUMENTS, MOST_TOKENS, documents, tokens
from dashboard.views.features import feature, top
from dashboard.views.figure import MOST_TOKENS as FIGURE_TOKENS
from dashboard.views.figure import figure
from dashboard.views.health import densities, shards, verdict, worst_first
from dashboard.views.parameters import Parameters
from dashboard.views.rows import row
from dashboard.views.search import MOST_FEATURES, search
from dashboard.views.summary import summary

N_CONTEXTS = 20
"""Of each feature the N_CONTEXTS strongest tokens and the strongest of N_CONTEXTS documents, by row: the page takes the
tokens around them, and the values, from the documents."""
FEATURES_A_FILE = 256


def answers(whole: Look, part: Part) -> Iterator[tuple[str, Any]]:
    """Yield the name and the contents of each file."""
    firing = part.firing
    look = replace(whole, corpus=part, picked=whole.pick(firing))
    numbers = part.documents.numbers
    yield "summary", _summary(look, part, len(whole.features.documents))
    yield "documents", _all(documents, look, "documents", MOST_DOCUMENTS)
    yield "features", _features(look, firing)
    for number in numbers:
        others = [other for other in numbers if other != number]
        yield f"document-{number}", _document(look, part, number, others)
        yield f"figures-{number}", _figures(look, number, part.documents[number].n_rows)
    for k, indices in groupby(firing, lambda index: index // FEATURES_A_FILE):
        yield f"features-{k}", {str(index): _feature(look, index) for index in indices}
    yield "health", _health(part, look.settings.places)


def _ask(**parameters: object) -> Parameters:
    return Parameters({name: str(value) for name, value in parameters.items()}, tuple(parameters))


def _all(view: Callable[..., Any], look: Look, listed: str, most: int, **parameters: object) -> dict[str, Any]:
    """Return a view's answer with the whole of its list, which it gives by pages of `most`."""
    answer = dict(view(look, _ask(limit=most, **parameters)))
    found = list(answer[listed])
    while len(found) < answer["total"]:
        found += view(look, _ask(limit=most, offset=len(found), **parameters))[listed]
    return answer | {listed: found}


def _summary(look: Look, part: Part, n_documents: int) -> dict[str, Any]:
    answer: dict[str, Any] = {**summary(look, _ask())}
    answer["features"]["index"]["command"] = ""
    if answer["refusal"]:  # which says what to do
        answer["refusal"] = "the labels that were there are of another SAE than the features"
    counts = {"n_documents": len(part.documents.numbers), "of_documents": n_documents}
    return answer | {"static": True, "sae": "", "saes": [], "jobs": False, "hints": [], "part": counts}


def _features(look: Look, firing: Sequence[int]) -> dict[str, Any]:
    answer = _all(search, look, "features", MOST_FEATURES, sort="index")
    wanted = set(firing)
    found = [feature for feature in answer["features"] if feature["index"] in wanted]
    labels = look.pick(()) if look.features.is_one_scale else {}
    return {
        **{name: answer[name] for name in ("figures_of", "labels_here", "labels_of")},
        **_columns(found, ("index", "label", "density", "max", "count")),
        "max_neuronpedia": [label and label.max_activation for label in (labels.get(one["index"]) for one in found)],
    }


def _columns(listed: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, list[Any]]:
    return {name: [entry[name] for entry in listed] for name in names}


def _document(look: Look, part: Part, number: int, others: Sequence[int]) -> dict[str, Any]:
    colours = [_tokens(look, part, number, colour) for colour in ("l0", "top")]
    document = part.documents[number]
    rows = [_row(look, at) for at in range(document.first_row, document.stop_row)]
    fires = _all(search, look, "features", MOST_FEATURES, document=number)["features"]
    contrast = None
    if others:
        ranges = merge([(other, other + 1) for other in others])
        b = ",".join(f"{start}-{stop - 1}" if stop - start > 1 else str(start) for start, stop in ranges)
        more = _all(search, look, "features", MOST_FEATURES, a=number, b=b)
        names = [more["a"], more["b"]]
        contrast = {"b": b, "names": names, **_columns(more["features"], ("index", "log_ratio", "z"))}
    return {
        "tokens": {name: value for name, value in colours[0].items() if name not in COLOURED},
        "colours": {answer["colour"]: {name: answer[name] for name in COLOURED} for answer in colours},
        "rows": rows,
        "fires": _columns(fires, ("index", "here", "here_count")),
        "contrast": contrast,
    }


def _figures(look: Look, number: int, n_rows: int) -> dict[str, Any]:
    def draw(colour: str, form: str) -> Any:
        asked = {"document": number, "colour": colour, "stop": min(n_rows, FIGURE_TOKENS), "format": form}
        return figure(look, _ask(of="document", **asked))

    return {colour: {form: draw(colour, form) for form in FORMATS} for colour in ("l0", "top")}


def _row(look: Look, number: int) -> dict[str, Any]:
    answer = row(look, _ask(), number)
    return {**answer, "active": {"index": answer["active"]["index"], "value": answer["active"]["value"]}}


COLOURED = ("colour", "values", "floor", "scale")
"""What an answer has of its colour; the rest of the answer is the same for each colour."""


def _tokens(look: Look, part: Part, number: int, colour: str) -> dict[str, Any]:
    """Return what the API answers of all of a document's tokens."""
    n_rows = part.documents[number].n_rows
    starts = range(0, max(1, n_rows), MOST_TOKENS)
    pieces: list[dict[str, Any]] = [
        {**tokens(look, _ask(start=at, stop=at + MOST_TOKENS, colour=colour), number)} for at in starts
    ]
    answer = pieces[0] | {"stop": n_rows}
    for name in ("tokens", "token_ids", "masked", "reasons", "values"):
        if len(pieces) > 1 and any(piece[name] is not None for piece in pieces):
            lists = [[None] * len(piece["tokens"]) if piece[name] is None else [*piece[name]] for piece in pieces]
            answer[name] = [value for values in lists for value in values]
    return answer


def _feature(look: Look, index: int) -> dict[str, Any]:
    """Describe a feature. Of the histogram's edges, which are evenly spaced, the first and the last."""
    answer: dict[str, Any] = {**feature(look, _ask(), index)}
    here = answer["here"]
    edges = here["histogram"]["edges"]
    answer["here"] = here | {"histogram": here["histogram"] | {"edges": [edges[0], edges[-1]]}}
    return {
        "feature": answer,
        "top": _strongest(look, index, distinct=0),
        "distinct": _strongest(look, index, distinct=1),
    }


def _strongest(look: Look, index: int, *, distinct: int) -> dict[str, Any]:
    found = top(look, _ask(limit=N_CONTEXTS, around=0, distinct=distinct), index)
    return {"total": found["total"], "rows": [context["row"] for context in found["contexts"]]}


def _health(part: Part, places: Places) -> dict[str, Any]:
    """Describe the whole of each shard that has a document in the part."""
    described = list(shards(part, worst_first(part), float("inf"), places))
    whole: dict[str, Any] = {"total": len(described), "verdict": verdict(part), "densities": densities(part)}
    return {**whole, "shards": described, "downloads": [], "queue": None}
