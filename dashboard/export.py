"""`--static OUT`: some documents as a folder that opens without a server, to attach to a paper or to send.

    OUT/index.html, *.js, *.css    the page, with source-static.js in the place of source-server.js
    OUT/data/<name>.js             staticData("<name>", <json>), loaded by the page when it needs the file:
                                   `exported.py` says which files there are

Equal data give equal bytes. The folder is written beside OUT and renamed, so OUT is never half a page.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dashboard.errors import DashboardError
from dashboard.exported import answers
from dashboard.model.look import Look
from dashboard.model.part import Part
from dashboard.model.selection import parse_selection
from dashboard.model.sums import Ranges
from dashboard.page import WebFiles, policy
from dashboard.views.answers import dumps
from saefetch.files.atomic import fsync_folder

MOST_NNZ = 2_000_000
"""Stored values: about 20,000 tokens of 100 active features, 150 MB as a folder."""
SOURCE, STATIC_SOURCE = "source-server.js", "source-static.js"
CHARSET = '<meta charset="utf-8">'
# Browsers differ in whether 'self' holds for a page that was opened from a file.
POLICY = policy("'self' file:").replace("; frame-ancestors 'none'", "")  # which means nothing in a <meta>


def export(look: Look, out: Path, selection: str | None, files: WebFiles) -> int:
    """Write the folder; return how many documents are in it.

    Raises: DashboardError if the set is too large, or `out` is something else than an earlier export.
    """
    out = out.absolute()
    _check_place(out, files)
    part = Part(look.features, _choose(look, selection))
    temporary = out.with_name(f".{out.name}.{secrets.token_hex(4)}.tmp")
    try:
        (temporary / "data").mkdir(parents=True)
        for name, content in _page(files):
            _write(temporary / name, content)
        for name, answer in answers(look, part):
            _write(temporary / "data" / f"{name}.js", as_script(name, answer))
        _take_the_place_of(out, temporary)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return len(part.documents.numbers)


def as_script(name: str, answer: Any) -> bytes:
    """Return the call that hands the data over; nothing in it can end a script element."""
    text = dumps(answer)
    for character in "<\u2028\u2029":
        text = text.replace(character.encode(), f"\\u{ord(character):04x}".encode())
    return b'staticData("%b", %b);\n' % (name.encode(), text)


def _choose(look: Look, selection: str | None) -> Ranges:
    """Read which documents are meant. Raises: DashboardError if they are too many for a page without a server."""
    documents = look.features.documents
    ranges = ((0, len(documents)),) if selection is None else parse_selection(selection, documents, "--documents")
    numbers = [number for bounds in ranges for number in range(*bounds)]
    nnz = 0
    for n_before, number in enumerate(numbers):
        document = documents[number]
        indptr = look.features.indptr(document.first_row, document.n_rows)
        nnz += int(indptr[-1] - indptr[0])
        if nnz > MOST_NNZ:
            raise DashboardError(
                f"--static: the {len(numbers):,} documents hold more than {MOST_NNZ:,} activations, too many for a page"
                f" without a server; choose fewer, the first {n_before:,} fit: --documents 0-9"
            )
    return ranges


def _page(files: WebFiles) -> Iterator[tuple[str, bytes]]:
    for name in files.paths:
        content, _ = files.get(name) or (b"", "")
        if name == "index.html":
            text = content.decode("utf-8").replace(SOURCE, STATIC_SOURCE)
            meta = f'{CHARSET}\n<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
            content = text.replace(CHARSET, meta, 1).encode()
        if name != SOURCE:
            yield name, content


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
