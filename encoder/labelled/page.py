"""A page that `LabelledFeatures.show` makes: displayed by a notebook, or saved as a file that needs nothing else.

There is no script in it, and nothing is loaded: what a token's features are is in the page, and its style shows them.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from saefetch.files.atomic import atomic_write

_DOCUMENT = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
</head>
<body style="margin: 0; background: light-dark(#fff, #14171b)">
{body}
</body>
</html>
"""


@dataclass(frozen=True, slots=True)
class Page:
    """HTML with its style. `title` is plain text, `body` is HTML in which everything is escaped."""

    title: str
    body: str

    def _repr_html_(self) -> str:
        """Return what a notebook displays."""
        return f"<style>\n{_style()}</style>\n{self.body}"

    def save(self, path: str | Path) -> Path:
        """Write the page as a file of its own, and return where it is."""
        where = Path(path)
        text = _DOCUMENT.format(title=html.escape(self.title), body=self._repr_html_())
        with atomic_write(where) as file:
            file.write(text.encode("utf-8", "replace"))
        return where

    def __repr__(self) -> str:
        return f'<Page "{self.title}"; a notebook displays it, .save("page.html") writes it>'


@cache
def _style() -> str:
    return Path(__file__).with_name("style.css").read_text("utf-8")
