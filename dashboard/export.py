"""`--static OUT`: some documents as a page that opens without a server, to attach to a paper or to send.

    OUT.html                       one file that holds all, packed; for a few documents, as four of them are under 1 MB

    OUT/index.html, *.js, *.css    the page, with source-static.js in the place of source-server.js
    OUT/data/<name>.js             staticData("<name>", <json>), loaded by the page when it needs the file:
                                   `exported.py` says which files there are

Equal data give equal bytes. The folder is written beside OUT and renamed, so OUT is never half a page.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import os
import re
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
from saefetch.files.atomic import atomic_write, fsync_folder

PACKED = b'<script type="application/json" id="packed">'
MOST_NNZ = 2_000_000
"""Stored values: about 20,000 tokens of 100 active features, 150 MB as a folder."""
SOURCE, STATIC_SOURCE = "source-server.js", "source-static.js"
CHARSET = '<meta charset="utf-8">'
# Browsers differ in whether 'self' holds for a page that was opened from a file.
POLICY = policy("'self' file:").replace("; frame-ancestors 'none'", "")  # which means nothing in a <meta>


def export(look: Look, out: Path, selection: str | None, files: WebFiles) -> int:
    """Write the folder, or one file where `out` ends with .html; return how many documents are in it.

    Raises: DashboardError if the set is too large, or `out` is something else than an earlier export.
    """
    out = out.absolute()
    if out.suffix == ".html":
        return _export_one(look, out, selection, files)
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


def _export_one(look: Look, out: Path, selection: str | None, files: WebFiles) -> int:
    if out.is_dir() or (out.exists() and PACKED not in out.read_bytes()):
        raise DashboardError(f"--static {out}: is there and not a page of sae-dashboard; choose another name")
    part = Part(look.features, _choose(look, selection))
    data = {name: answer for name, answer in answers(look, part) if not name.startswith("figures-")}
    packed = gzip.compress(dumps(data), mtime=0)
    content = _in_one(dict(_page(files)), base64.b64encode(packed))
    with atomic_write(out) as file:
        file.write(content)
    return len(part.documents.numbers)


def _in_one(page: dict[str, bytes], packed: bytes) -> bytes:
    """Put styles, scripts, the icon and the packed data into the page; the policy names each script by its digest."""
    text = page["index.html"]
    icon = b"data:image/svg+xml;base64," + base64.b64encode(page.get("icon.svg", b""))
    scripts, sources = [], []

    def take(found: re.Match[bytes]) -> bytes:
        content = page[found[1].decode()].replace(b"</script", b"<\\/script")
        sources.append(b"'sha256-" + base64.b64encode(hashlib.sha256(content).digest()) + b"'")
        scripts.append(b"<script>" + content + b"</script>")
        return b""

    text = re.sub(rb'<script defer src="([^"]+)"></script>\n?', take, text)
    text = re.sub(
        rb'<link rel="stylesheet" href="([^"]+)">', lambda m: b"<style>" + page[m[1].decode()] + b"</style>", text
    )
    policy_of_one = (
        b"default-src 'none'; script-src %b; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'"
    )
    text = text.replace(POLICY.encode(), policy_of_one % b" ".join(sources)).replace(b'"icon.svg"', b'"' + icon + b'"')
    data = PACKED + packed + b"</script>\n"
    return text.replace(b"</body>", data + b"\n".join(scripts) + b"\n</body>")


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
