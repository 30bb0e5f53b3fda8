"""`/api/figure`: a document, a feature, a list of features or a comparison as a figure, or as a table, in one form.

Its figures are those of the views that the page shows, asked for with the same parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import saefetch
from dashboard.errors import RequestError
from dashboard.figures.figure import Bar, Cell, Figure, Flow, Mark, Scale, Table
from dashboard.figures.formats import FORMATS
from dashboard.model.look import Look
from dashboard.views.compare import compare
from dashboard.views.documents import tokens
from dashboard.views.features import feature, top
from dashboard.views.parameters import Parameters
from dashboard.views.rows import row
from dashboard.views.search import MOST_FEATURES, search
from dashboard.views.shapes.documents import DocumentTokens
from dashboard.views.shapes.state import TakenOut

KINDS = ("document", "token", "feature", "features", "compare")
PARAMETERS = (
    *("of", "format", "document", "at", "colour", "start", "stop", "index", "distinct", "below", "around", "limit"),
    *("query", "sort", "order", "in", "a", "b"),
)
MOST_TOKENS, MOST_BARS, MOST_ROWS = 1000, 25, 20_000
MOST_PINS = 5


def figure(look: Look, parameters: Parameters) -> TakenOut:
    kind = parameters.choice("of", KINDS, "document")
    form = FORMATS[parameters.choice("format", tuple(FORMATS), "svg")]
    drawn = _DRAW[kind](look, parameters)
    return {"name": f"{drawn.name}.{form.ending}", "type": form.type, "text": form.write(drawn)}


def _ask(given: Parameters, names: Sequence[str], **more: object) -> Parameters:
    """Return those of the parameters that a view knows, and others for it."""
    values = {name: given.text(name) for name in names if name in given}
    return Parameters(values | {name: str(value) for name, value in more.items()}, (*names, *more))


def _caption(look: Look, what: str = "") -> str:
    """Say of which SAE, corpus and version the figures are."""
    corpus, settings = look.corpus, look.settings
    meta: Mapping[str, Any] = corpus.features.meta[0] if corpus is not None and corpus.features.meta else {}
    names = [meta.get("neuronpedia_id"), " ".join(filter(None, (meta.get("sae_release"), meta.get("sae_id"))))]
    sae = next(filter(None, names), None) or settings.places.hide(str(meta.get("sae_path") or "not named"))
    said = [what] if what else []
    said.append(f"SAE: {sae}.")
    if corpus is not None:
        counted = corpus.n_rows - corpus.excluded.n_rows
        left = f", of which {corpus.excluded.n_rows:,} do not count" if counted != corpus.n_rows else ""
        n_documents = len(corpus.documents.numbers)
        said.append(f"Corpus: {settings.features.name}, {n_documents:,} documents, {corpus.n_rows:,} tokens{left}.")
    return " ".join([*said, f"saefetch {saefetch.__version__}."])


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _label(index: int, text: str | None) -> str:
    return f"{index:,} {text or 'no label'}"


def _document(look: Look, parameters: Parameters) -> Figure:
    number = look.features.documents.find(parameters.text("document"))
    total = look.features.documents[number].n_rows
    start = min(parameters.number("start"), total)
    stop = min(parameters.number("stop", start + MOST_TOKENS), total)
    if not start <= stop <= start + MOST_TOKENS:
        raise RequestError(f"start {start} and stop {stop}: a figure has up to {MOST_TOKENS:,} tokens, in rising order")
    colour = parameters.text("colour", "l0")
    pins = colour.removeprefix("feature:").split(",") if colour.startswith("feature:") else []
    if len(pins) > MOST_PINS:
        raise RequestError(f"colour {colour[:40]!r}: up to {MOST_PINS} features")
    colours = [f"feature:{pin}" for pin in pins] or [colour]
    asked = [tokens(look, _ask(parameters, (), start=start, stop=stop, colour=one), number) for one in colours]
    labels = look.pick([int(pin) for pin in pins])
    scales, names = [], []
    for pin, answer in enumerate(asked):
        index = int(pins[pin]) if pins else None
        known = labels.get(index) if index is not None else None
        words = {"l0": "features that fire on the token (L0)", "top": "activation of the token's strongest feature"}
        name = words[colour] if index is None else _label(index, known.description if known else None)
        is_cut = answer["floor"] > 0
        least, most = _figure(answer["floor"]), _figure(answer["scale"])
        ends = (f"≤ {least}", f"≥ {most}") if is_cut else ("0", most)
        scales.append(Scale(name, *ends, pin=None if index is None else pin))
        names.append(colour if index is None else str(index))
    first = asked[0]
    marks = [_mark(asked, i, is_pinned=bool(pins)) for i in range(stop - start)]
    rows: list[list[Cell]] = [
        [start + i, first["tokens"][i], *(float(answer["values"][i]) for answer in asked)] for i in range(stop - start)
    ]
    part = "" if stop - start == total else f"Tokens {start:,} to {stop - 1:,} of {total:,}. "
    return Figure(
        f"document-{_file_name(first['address'])}",
        first["address"],
        _caption(look, f"{part}Document {first['address']}."),
        Table(["position", "token", *names], rows),
        scales,
        [Flow(marks)],
    )


def _mark(asked: Sequence[DocumentTokens], i: int, *, is_pinned: bool) -> Mark:
    """Return a token in the colour of the pin that is strongest on it, as a share of the pin's scale."""
    reasons = asked[0]["reasons"]
    heats = [_heat(float(answer["values"][i]), answer["floor"], answer["scale"]) for answer in asked]
    pin = max(range(len(asked)), key=lambda k: heats[k])
    is_out = reasons is not None and reasons[i] is not None
    value = float(asked[pin]["values"][i])
    return Mark(asked[0]["tokens"][i], 0.0 if is_out else heats[pin], pin if is_pinned else -1, is_minus=value < 0)


def _heat(value: float, floor: float, scale: float) -> float:
    return min(1.0, max(0.0, (abs(value) - floor) / (scale - floor))) if scale > floor else 0.0


def _token(look: Look, parameters: Parameters) -> Figure:
    documents = look.features.documents
    document = documents[documents.find(parameters.text("document"))]
    answer = row(look, _ask(parameters, ()), document.row(parameters.number("at")))
    active = answer["active"]
    columns = zip(active["index"], active["value"], active["label"], active["share_here"], strict=True)
    rows: list[list[Cell]] = [[int(i), float(v), None if s is None else float(s), t] for i, v, t, s in columns]
    most = max((abs(float(value)) for value in active["value"]), default=1.0)
    bars = [
        Bar(_label(int(index), label), abs(float(value)) / most, _figure(float(value)))
        for index, value, label in zip(active["index"], active["value"], active["label"], strict=True)
    ]
    where = f"Token {answer['position']:,} of document {document.address}"
    return Figure(
        f"token-{_file_name(document.address)}-{answer['position']}",
        f"“{answer['token']}”: {answer['l0']:,} features fire",
        _caption(look, f"{where}; bars: activation."),
        Table(["feature", "activation", "share of its max", "label"], rows),
        bars=bars[:MOST_BARS],
        remarks=_more(len(bars)),
    )


def _feature(look: Look, parameters: Parameters) -> Figure:
    index = parameters.number("index")
    known = feature(look, _ask(parameters, ()), index)
    answer = top(
        look, _ask(parameters, ("distinct", "below", "around"), limit=parameters.number("limit", 20, 200)), index
    )
    here = known["here"]
    most = abs(float(here["max"])) if here is not None and here["max"] else 1.0
    flows: list[Flow] = []
    rows: list[list[Cell]] = []
    for context in answer["contexts"]:
        marks = [
            Mark(text, _heat(float(value), 0, most), is_minus=float(value) < 0, is_centre=i == context["at"])
            for i, (text, value) in enumerate(zip(context["tokens"], context["values"], strict=True))
        ]
        flows.append(Flow(marks, _figure(float(context["value"]))))
        where = (context["address"], context["position"])
        rows.append([float(context["value"]), *where, context["tokens"][context["at"]], "".join(context["tokens"])])
    facts = ""
    if here is not None:
        facts = f"It fires on {here['count']:,} tokens ({here['density']:.2%}) of {here['n_documents']:,} documents."
    return Figure(
        f"feature-{index}",
        f"Feature {index:,}: {known['label'] or 'no label'}",
        _caption(look, f"Feature {index:,}, where it fires most. {facts}".strip()),
        Table(["activation", "document", "position", "token", "context"], rows),
        [Scale("activation", "0", _figure(most))],
        flows,
    )


def _features(look: Look, parameters: Parameters) -> Figure:
    found = _all(search, look, parameters, ("query", "sort", "order", "a", "b"), document=parameters.text("in"))
    listed, is_contrast = found["features"], found["a"] is not None
    names = [name for name in ("here", "log_ratio", "z", "density", "max", "count") if _is_known(listed, name)]
    rows = [[one["index"], *(_known(one[name]) for name in names), one["label"]] for one in listed]
    by = "z" if is_contrast else "here" if "here" in names else "max"
    drawn, remarks = listed[:MOST_BARS], _more(found["total"] or len(listed))
    is_by_z = parameters.text("sort", "match") in ("match", "z") and "query" not in parameters
    if is_contrast and is_by_z and len(listed) > MOST_BARS:
        drawn = [*listed[: MOST_BARS // 2], *listed[-(MOST_BARS // 2) :]]
        remarks = [f"The first {MOST_BARS // 2} and the last {MOST_BARS // 2} of {len(listed):,} features are drawn."]
    sizes = [_known(one[by]) or 0.0 for one in drawn]
    most = max(map(abs, sizes), default=1.0) or 1.0
    bars = [
        Bar(_label(one["index"], one["label"]), size / most, _figure(size))
        for one, size in zip(drawn, sizes, strict=True)
    ]
    of = {"z": "z of the log ratio", "here": "sum of activations in the document", "max": "largest activation"}[by]
    title = f"A: {found['a']}\nB: {found['b']}" if is_contrast else parameters.text("query") or "Features"
    theirs = " Density and max are Neuronpedia's." if found["figures_of"] == "neuronpedia" else ""
    return Figure(
        "contrast" if is_contrast else "features",
        title,
        _caption(look, f"Bars: {of}.{theirs}"),
        Table(["feature", *names, "label"], rows),
        bars=bars,
        sides=("more in A", "more in B") if is_contrast else ("", ""),
        remarks=remarks,
    )


def _known(value: Any) -> float | None:
    """Return a figure as a number of Python, None where it is not known."""
    return None if value is None or math.isnan(value) else float(value) if isinstance(value, float) else value.item()


def _compare(look: Look, parameters: Parameters) -> Figure:
    found = _all(compare, look, parameters, ("a", "b"))
    listed = found["features"]
    most = max((abs(float(one["difference"])) for one in listed), default=1.0) or 1.0
    rows = [[one["index"], *(float(one[name]) for name in ("a", "b", "difference")), one["label"]] for one in listed]
    bars = [
        Bar(
            _label(one["index"], one["label"]),
            float(one["difference"]) / most,
            f"{_figure(float(one['a']))} : {_figure(float(one['b']))}",
        )
        for one in listed[:MOST_BARS]
    ]
    sides = [found[name] for name in ("a", "b")]
    titles = [
        f"{name}: {' '.join(side['title'].split())[:60] or side['name']}"
        for name, side in zip("AB", sides, strict=True)
    ]
    names = " and ".join(side["name"] for side in sides)
    return Figure(
        "compare",
        "\n".join(titles),
        _caption(look, f"{names}; bars: the difference of activations, of a document's mean of tokens that count."),
        Table(["feature", "A", "B", "difference", "label"], rows),
        bars=bars,
        sides=("more in A", "more in B"),
        remarks=_more(found["total"]),
    )


def _all(
    view: Callable[..., Any], look: Look, parameters: Parameters, names: Sequence[str], **more: object
) -> dict[str, Any]:
    """Return a view's answer with its list in full, up to MOST_ROWS; `limit` asks for fewer."""
    wanted = parameters.number("limit", MOST_ROWS, MOST_ROWS)
    more = {name: value for name, value in more.items() if value}
    answer: dict[str, Any] = {}
    listed: list[Any] = []
    while True:
        limit = min(MOST_FEATURES, wanted - len(listed))
        answer = dict(view(look, _ask(parameters, names, offset=len(listed), limit=limit, **more)))
        listed += answer["features"]
        if len(answer["features"]) < limit or len(listed) >= wanted:
            return answer | {"features": listed}


def _is_known(listed: Sequence[Mapping[str, Any]], name: str) -> bool:
    return any(one[name] is not None and not math.isnan(one[name]) for one in listed)


def _more(total: int) -> list[str]:
    return [f"The first {MOST_BARS} of {total:,} features are drawn."] if total > MOST_BARS else []


def _file_name(address: str) -> str:
    return "".join(character if character.isalnum() or character in "-_." else "_" for character in address)[:100]


_DRAW: Mapping[str, Callable[[Look, Parameters], Figure]] = {
    "document": _document,
    "token": _token,
    "feature": _feature,
    "features": _features,
    "compare": _compare,
}
