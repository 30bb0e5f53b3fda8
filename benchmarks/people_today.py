"""What `saefetch` is compared with: the scripts that people write, each a process of its own.

    threads   ten threads of `requests`, one GET a feature, one JSON file at the end; a new connection for every GET, as
              `requests.get` in a thread pool makes it
    sessions  the same with one `requests.Session` a thread, so that connections are kept
    serial    one `requests.Session`, the export's batches one after the other, gzip + json, one JSON file at the end
    floor     no network, no file: gunzip (the standard library's) and orjson.loads of the same bytes in one thread

Each prints one JSON object: `{"requests", "bytes_received", "features"}`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import requests

N_THREADS = 10
Counts = dict[str, int]


def threads(args: argparse.Namespace) -> Counts:
    return _one_by_one(args, requests.get)


def sessions(args: argparse.Namespace) -> Counts:
    mine = threading.local()

    def get(url: str) -> requests.Response:
        if not hasattr(mine, "session"):
            mine.session = requests.Session()
        response: requests.Response = mine.session.get(url)
        return response

    return _one_by_one(args, get)


def _one_by_one(args: argparse.Namespace, get: Callable[[str], requests.Response]) -> Counts:
    def fetch(index: int) -> tuple[int, int, dict[str, Any]]:
        response = get(f"{args.api_url}/api/feature/{args.neuronpedia_id}/{index}")
        response.raise_for_status()
        feature = response.json()
        explanations = feature["explanations"]
        entry = {
            "description": explanations[0]["description"] if explanations else None,
            "top_positive_tokens": feature["pos_str"][:10],
            "top_negative_tokens": feature["neg_str"][:10],
            "max_activation": feature["maxActApprox"],
        }
        return index, len(response.content), entry

    labels, n_bytes = {}, 0
    with ThreadPoolExecutor(N_THREADS) as pool:
        for index, size, entry in pool.map(fetch, range(args.features)):
            labels[str(index)] = entry
            n_bytes += size
    args.out.write_text(json.dumps(labels))
    return {"requests": len(labels), "bytes_received": n_bytes, "features": len(labels)}


def serial(args: argparse.Namespace) -> Counts:
    session, n_requests, n_bytes = requests.Session(), 0, 0
    labels: dict[str, dict[str, Any]] = {}
    for folder in ("features", "explanations"):
        prefix = f"v1/{args.neuronpedia_id}/{folder}/"
        listing = session.get(f"{args.export_url}/?list-type=2&prefix={prefix}").text
        n_requests += 1
        for key in re.findall("<Key>(.*?)</Key>", listing):
            body = session.get(f"{args.export_url}/{key}").content
            n_requests, n_bytes = n_requests + 1, n_bytes + len(body)
            for line in gzip.decompress(body).decode().split("\n"):
                if line:
                    row = json.loads(line)
                    entry = labels.setdefault(str(row["index"]), {"description": None})
                    if folder == "explanations":
                        entry["description"] = row["description"]
                    else:
                        entry["top_positive_tokens"] = row["pos_str"][:10]
                        entry["top_negative_tokens"] = row["neg_str"][:10]
                        entry["max_activation"] = row["maxActApprox"]
    args.out.write_text(json.dumps(labels))
    return {"requests": n_requests, "bytes_received": n_bytes, "features": len(labels)}


def floor(args: argparse.Namespace) -> Counts:
    n_rows = n_bytes = 0
    for path in sorted(args.objects.rglob("*.jsonl.gz")):
        body = path.read_bytes()
        n_bytes += len(body)
        for line in gzip.decompress(body).split(b"\n"):
            try:
                orjson.loads(line)
            except orjson.JSONDecodeError:  # the empty last line, and the few with NaN in them
                continue
            n_rows += 1
    return {"requests": 0, "bytes_received": n_bytes, "features": n_rows}


def main() -> None:
    parser = argparse.ArgumentParser(description="The scripts that saefetch is compared with.")
    parser.add_argument("way", choices=["threads", "sessions", "serial", "floor"])
    parser.add_argument("--api-url")
    parser.add_argument("--export-url")
    parser.add_argument("--neuronpedia-id")
    parser.add_argument("--features", type=int)
    parser.add_argument("--objects", type=Path, help="folder with the export's objects, for the floor")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    ways = {"threads": threads, "sessions": sessions, "serial": serial, "floor": floor}
    print(json.dumps(ways[args.way](args)))


if __name__ == "__main__":
    main()
