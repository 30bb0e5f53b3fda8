"""The page's own files, and what the browser may load for them. The server sends the files, the export copies them."""

from __future__ import annotations

from pathlib import Path

KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".woff2": "font/woff2",
}
FOLDER = Path(__file__).parent / "web"


class WebFiles:
    """Files by their name below `folder`, with / between its parts. The list of names is made once, at the start."""

    def __init__(self, folder: Path = FOLDER) -> None:
        paths = sorted(path for path in folder.rglob("*") if path.suffix in KINDS and path.is_file())
        self.paths = {path.relative_to(folder).as_posix(): path for path in paths}

    def get(self, name: str) -> tuple[bytes, str] | None:
        """Return a file's bytes and its type, None if the name is not on the list."""
        path = self.paths.get(name)
        return None if path is None else (path.read_bytes(), KINDS[path.suffix])


def policy(source: str, frames: tuple[str, ...] = ()) -> str:
    """Return a Content-Security-Policy: a page loads files of `source` only, no inline script and no other site.

    Pages of the origins `frames`, and the page's own, may show it in a frame; without any none may.
    """
    allowed = {"script": source, "style": source, "connect": source, "img": f"{source} data:", "font": source}
    ancestors = " ".join(("'self'", *frames)) if frames else "'none'"
    lines = ["default-src 'none'", *(f"{kind}-src {sources}" for kind, sources in allowed.items())]
    return "; ".join([*lines, "base-uri 'none'", "form-action 'none'", f"frame-ancestors {ancestors}"])
