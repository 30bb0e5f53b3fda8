"""Time searches in one store, in a process of its own: `python -m benchmarks.search FOLDER`; prints one JSON object."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from saefetch.search import search
from saefetch.store.store import Store

QUERIES = {
    "rare word": "cryptography",
    "common word": "references",
    "commonest word": "and",
    "two words": "legal dogs",
    "phrase": '"marine animals"',
    "beginning, long": "crypto*",
    "beginning, one letter": "a*",
    "five words": "references to dogs and cooking",
    "words that no label holds together": "HTML dogs suspicion vehicles",
}
ROUNDS = 7


def main() -> None:
    began = time.perf_counter()
    store = Store.open_read_only(Path(sys.argv[1]))
    opened_s = time.perf_counter() - began
    queries = {}
    for name, query in QUERIES.items():
        times_s = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            n_found = len(search(store, query, 10))
            times_s.append(time.perf_counter() - began)
        later_s = sorted(times_s[1:])
        queries[name] = {
            "query": query,
            "found": n_found,
            "first_ms": round(1e3 * times_s[0], 2),
            "later_median_ms": round(1e3 * later_s[len(later_s) // 2], 2),
        }
    print(json.dumps({"open_ms": round(1e3 * opened_s, 2), "queries": queries}))


if __name__ == "__main__":
    main()
