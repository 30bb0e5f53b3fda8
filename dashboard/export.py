"""`--static OUT`: a set of documents as a folder that opens without a server, to attach to a paper or to send.

    OUT/index.html, *.js, *.css     the page, with source-static.js in the place of source-server.js
    OUT/data/<name>.js              staticData("<name>", <json>), loaded by the page when it needs it:
        summary, documents, health  as the API answers, for the documents of the set
        document-<id>               tokens and CSR of one document
        labels                      of each feature that fires in the set: its label and figures
        features-<k>                the features 256 k to 256 k + 255: what the API answers, contexts from the set

It goes to others, so it holds nothing of documents outside the set but sums over all, and no paths of this machine.
Equal data give equal bytes. It is written beside OUT and renamed, so OUT is never half a page.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from scipy.sparse import csc_matrix, vstack

from dashboard.errors import DashboardError
from dashboard.model.contrast import parse_selection
from dashboard.model.corpus import Corpus
from dashboard.model.data import Look
from dashboard.model.documents import Document
from dashboard.model.figures import figures_of
from dashboard.page import WebFiles, policy
from dashboard.views import health
from dashboard.views.answers import dumps
from dashboard.views.documents import described, sections
from dashboard.views.features import contexts, feature, first_of_each, strongest_first, texts_of
from dashboard.views.parameters import Parameters
from dashboard.views.summary import summary
from encoder.arrays import F32, I64, Int
from saefetch.files.atomic import fsync_folder

MOST_NNZ = 2_000_000
"""Stored values: about 20,000 tokens of 100 active features, 150 MB as a folder."""
N_CONTEXTS, AROUND, MOST_CONTEXTS = 20, 12, 50_000
"""Of each feature the N_CONTEXTS strongest tokens and the strongest of N_CONTEXTS documents, each with AROUND tokens on
each side; fewer, but MIN_CONTEXTS, where so many features fire that it would be more than 2 MOST_CONTEXTS in all."""
MIN_CONTEXTS = 3
FEATURES_A_FILE = 256
SOURCE, STATIC_SOURCE = "source-server.js", "source-static.js"
CHARSET = '<meta charset="utf-8">'
# Browsers differ in whether 'self' holds for a page that was opened from a file.
POLICY = policy("'self' file:").replace("; frame-ancestors 'none'", "")  # which means nothing in a <meta>
_NOTHING = Parameters({}, ())


def export(look: Look, out: Path, selection: str | None, files: WebFiles) -> int:
    """Write the folder; return how many documents are in it.

    Raises: DashboardError if the set is too large, or `out` is something else than an earlier export.
    """
    out = out.absolute()
    _check_place(out, files)
    chosen = _choose(look, selection)
    temporary = out.with_name(f".{out.name}.{secrets.token_hex(4)}.tmp")
    try:
        (temporary / "data").mkdir(parents=True)
        for name, content in _page(files):
            _write(temporary / name, content)
        for name, document in _data(look, chosen):
            _write(temporary / "data" / f"{name}.js", as_script(name, document))
        _take_the_place_of(out, temporary)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return len(chosen)


def as_script(name: str, document: Any) -> bytes:
    """Return the call that hands the data over; nothing in it can end a script element."""
    told = dumps(document)
    for character in "<\u2028\u2029":
        told = told.replace(character.encode(), f"\\u{ord(character):04x}".encode())
    return b'staticData("%b", %b);\n' % (name.encode(), told)


def _choose(look: Look, selection: str | None) -> list[Document]:
    documents = look.features.documents
    ranges = ((0, len(documents)),) if selection is None else parse_selection(selection, len(documents), "--documents")
    n_documents = sum(stop - start for start, stop in ranges)
    nnz = 0
    chosen: list[Document] = []
    for start, stop in ranges:
        for number in range(start, stop):
            document = documents[number]
            indptr = look.features.indptr(document.first_row, document.n_rows)
            nnz += int(indptr[-1] - indptr[0])
            if nnz > MOST_NNZ:
                raise DashboardError(
                    f"--static: the {n_documents:,} documents hold more than {MOST_NNZ:,} activations, too many for a"
                    f" page without a server; choose fewer, the first {len(chosen):,} fit: --documents 0-9"
                )
            chosen.append(document)
    return chosen


def _page(files: WebFiles) -> Iterator[tuple[str, bytes]]:
    for name in files.paths:
        content, _ = files.get(name) or (b"", "")
        if name == "index.html":
            text = content.decode("utf-8").replace(SOURCE, STATIC_SOURCE)
            meta = f'{CHARSET}\n<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
            content = text.replace(CHARSET, meta, 1).encode()
        if name != SOURCE:
            yield name, content


def _data(look: Look, chosen: list[Document]) -> Iterator[tuple[str, Any]]:
    corpus = look.features
    yield "summary", _summary(look, chosen)
    yield "documents", {"total": len(chosen), "documents": [described(look, document) for document in chosen]}
    for document in chosen:
        yield f"document-{document.id}", _document(look, document)
    rows = np.concatenate([np.zeros(0, np.int64), *(np.arange(d.first_row, d.stop_row) for d in chosen)])
    parts = [corpus.rows(document.first_row, document.stop_row) for document in chosen]
    columns = vstack(parts, format="csr").tocsc() if parts else csc_matrix((0, corpus.d_sae), dtype=np.float32)
    firing = np.flatnonzero(np.diff(columns.indptr))
    yield "labels", _labels(look, firing)
    n = max(MIN_CONTEXTS, min(N_CONTEXTS, MOST_CONTEXTS // max(1, len(firing))))
    for k, indices in groupby(firing.tolist(), lambda index: index // FEATURES_A_FILE):
        yield f"features-{k}", {str(index): _feature(look, columns, rows, index, n) for index in indices}
    yield "health", _health(corpus, chosen)


def _summary(look: Look, chosen: list[Document]) -> dict[str, Any]:
    answer = summary(look, _NOTHING) | {"static": True, "hints": []}
    if answer["refusal"]:  # which names files
        answer["refusal"] = "the labels that were there are of another SAE than the features"
    features = answer["features"]
    features["folder"] = PurePath(features["folder"]).name
    features["n_documents"] = len(chosen)
    features["sae"]["path"] = features["sae"]["path"] and PurePath(str(features["sae"]["path"])).name
    features["index"]["command"] = ""
    return answer


def _document(look: Look, document: Document) -> dict[str, Any]:
    corpus = look.features
    matrix = corpus.rows(document.first_row, document.stop_row)
    said = corpus.features.tokens(document.shard, document.start, document.start + document.n_rows)
    return {
        "tokens": texts_of(look, document, 0, document.n_rows),
        "token_ids": said.token_ids,
        "masked": None if said.row_mask is None else ~said.row_mask,
        "sections": sections(document),
        "shard": corpus.name(document.shard),
        "first_row": document.first_row,
        "indptr": matrix.indptr,
        "indices": matrix.indices,
        "values": matrix.data,
    }


def _labels(look: Look, firing: I64) -> dict[str, Any]:
    labels, figures = look.pick(firing.tolist()), figures_of(look)
    is_here = figures.source == "here"
    return {
        "index": firing,
        "label": [labels[i].description if i in labels else None for i in firing.tolist()],
        "max_activation": [labels[i].max_activation if i in labels else None for i in firing.tolist()],
        "max_here": figures.by_name["max"][firing] if is_here else None,
        "density": figures.by_name["density"][firing],
        "count": figures.by_name["count"][firing],
        "figures_of": figures.source,
    }


def _feature(look: Look, columns: csc_matrix, rows: I64, index: int, n_contexts: int) -> dict[str, Any]:
    column = slice(columns.indptr[index], columns.indptr[index + 1])
    own, values = rows[columns.indices[column]], columns.data[column]
    order = strongest_first(values)

    def between(start: int, stop: int) -> tuple[Int, F32]:
        within = slice(*np.searchsorted(own, [start, stop]))
        return own[within], values[within]

    once = order[first_of_each(look.features.documents.of_rows(own[order]))]
    answer: dict[str, Any] = {"feature": feature(look, _NOTHING, index)}
    for name, wanted in (("top", order), ("distinct", once)):
        shown = wanted[:n_contexts]
        answer[name] = {"total": len(wanted), "contexts": contexts(look, own[shown], values[shown], AROUND, between)}
    return answer


def _health(corpus: Corpus, chosen: list[Document]) -> dict[str, Any]:
    numbers = sorted({document.shard for document in chosen})
    shards = list(health.shards(corpus, numbers, budget_s=float("inf")))
    for number, shard in zip(numbers, shards, strict=True):
        shard["shard_path"] = PurePath(shard["shard_path"]).name
        meta = corpus.features.meta[number]
        if not meta.get("sae_release"):
            shard["sae"] = PurePath(shard["sae"]).name
    return {
        "total": len(shards),
        "shards": shards,
        "dead_features": health.dead_features(corpus),
        "downloads": [],
        "queue": None,
    }


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _check_place(out: Path, files: WebFiles) -> None:
    """Raises: DashboardError unless `out` is free, empty, or an export to which nothing was added."""
    if not out.exists() and not out.is_symlink():
        return
    if out.is_symlink() or not out.is_dir() or (any(out.iterdir()) and not (out / "data" / "summary.js").is_file()):
        raise DashboardError(f"--static {out}: is there and not an export of sae-dashboard; choose another folder")
    if Path.cwd().is_relative_to(out.resolve()):
        raise DashboardError(f"--static {out}: you are in this folder, which would be replaced; go elsewhere")
    inside = (path.relative_to(out) for path in sorted(out.rglob("*")) if not path.is_dir() or path.is_symlink())
    for path in inside:
        is_data = path.parts[0] == "data" and len(path.parts) == 2 and path.suffix == ".js"
        if not is_data and path.as_posix() not in files.paths:
            raise DashboardError(
                f"--static {out}: holds {path}, which this export would not write; move it, or choose another folder"
            )


def _take_the_place_of(out: Path, temporary: Path) -> None:
    for folder in (temporary / "data", temporary):
        fsync_folder(folder)
    old = out.with_name(f".{out.name}.{secrets.token_hex(4)}.old")
    if out.exists():
        out.rename(old)
    try:
        temporary.rename(out)
    except OSError:
        if old.exists():
            old.rename(out)
        raise
    fsync_folder(out.absolute().parent)
    shutil.rmtree(old, ignore_errors=True)
