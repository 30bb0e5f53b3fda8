"""Take the docs' pictures: `make demo ARGS=--serve`, then `python tests/support/screenshots.py ADDRESS DIR`.

Every view, light and dark, and two of them as a phone shows them. What is shown is found by searching, as the demo's
SAE may have other features when it is trained again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

from browser import chromium, page_of

WORD = "island"
PHONE = ("document", "feature", "words")


def api(address: str, path: str, **parameters: Any) -> Any:
    with urlopen(f"{address}api/{path}?{urlencode(parameters)}", timeout=120) as answer:
        return json.load(answer)


def routes(address: str) -> dict[str, str]:
    """Return the route of each view; what they show is the feature whose label has WORD, where it fires most."""
    found = api(address, "search", query=WORD, sort="count")["features"]
    feature = found[0]["index"]
    contexts = api(address, f"features/{feature}/top", limit=2, distinct=1)["contexts"]
    strongest, next_one = contexts[0], contexts[1]
    others = [index for index in api(address, f"rows/{strongest['row']}")["active"]["index"] if index != feature]
    pins = ",".join(map(str, [feature, *others[:2]]))
    return {
        "documents": "#/documents",
        "document": f"#/documents/{strongest['document']}?at={strongest['position']}&colour=feature:{pins}",
        "words": f"#/words/{WORD}",
        "search": f"#/features?query={WORD}",
        "contrast": "#/features?a=scripture&b=factbook",
        "feature": f"#/features/{feature}",
        "compare": f"#/compare?a=row:{strongest['row']}&b=row:{next_one['row']}",
        "health": "#/health",
    }


def main() -> None:
    address, out = sys.argv[1], Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    shown = routes(address)
    with chromium() as browser:
        for scheme, size in (("light", "laptop"), ("dark", "laptop"), ("light", "phone")):
            for name, route in shown.items():
                if size == "phone" and name not in PHONE:
                    continue
                with page_of(browser, f"{address}{route}", scheme=scheme, size=size) as page:
                    page.wait_for_selector("main h1")
                    page.wait_for_timeout(800)
                    path = out / f"{name}-{scheme if size == 'laptop' else size}.png"
                    page.screenshot(path=path)
                    print(path)


if __name__ == "__main__":
    main()
