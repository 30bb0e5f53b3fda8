"""The page's own files, by name: what is not on the list, made when the server starts, does not exist."""

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
FOLDER = Path(__file__).parents[1] / "web"


class WebFiles:
    """Files by their name below `folder`, with / between its parts."""

    def __init__(self, folder: Path = FOLDER) -> None:
        paths = sorted(path for path in folder.rglob("*") if path.suffix in KINDS and path.is_file())
        self.paths = {path.relative_to(folder).as_posix(): path for path in paths}

    def get(self, name: str) -> tuple[bytes, str] | None:
        """Return a file's bytes and its type, None if it is not on the list."""
        path = self.paths.get(name)
        return None if path is None else (path.read_bytes(), KINDS[path.suffix])
