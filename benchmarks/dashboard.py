"""Benchmark the dashboard's server: `python -m benchmarks.dashboard [--quick]`, or `make bench`.

Time from a request to the first byte of its answer, over loopback, the server a process of its own:

    demo     the shape of the demo: 16,384 labels, three shards of 2,048 tokens, with and without the index
    large    10^9 stored values: most shards are one file under several names, so that they take 1 GB; the last one is a
             single document of 640,000 tokens
    wide     10^6 labels

Each of the rounds asks for another document, row or feature, so no answer is one that was kept; what is counted once
for all of them shows in the first. Files are in the system's cache, as they have just been written. Needs 20 GB of
scratch space, for the index of the large set.
"""

from __future__ import annotations

import argparse
import http.client
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import numpy as np

from benchmarks.report import Aim, describe_machine, head, promises, publish
from encoder.file.csr import Csr, CsrWriter
from encoder.index.build import build_index
from encoder.shard import Tokens
from saefetch.decode import Rows
from saefetch.explanations import Preference
from saefetch.names.identity import DEFAULT_RELEASE, DEFAULT_SAE_ID, sae_folder
from saefetch.search import build
from saefetch.store.answers import Answers
from saefetch.store.store import Store

NEURONPEDIA_ID = "gemma-2-2b/16-gemmascope-res-16k"
LIBRARIES = ("aiohttp", "numpy", "orjson", "saefetch", "scipy")
WIDTH, L0, DOCUMENT_TOKENS = 16_384, 100, 512
BLOCK_ROWS = 1 << 14
TEXT = "the dogs slept while legal proceedings on cryptography went on and weather was reported in HTML tags"
WORDS = TEXT.split()
DEMO_AIM_MS, LARGE_AIM_MS, START_AIM_S = 50, 100, 1.0
ADDRESSES = {
    "summary": "summary",
    "documents": "documents?offset={document}",
    "documents, searched": "documents?query=proceedings&offset={round}",
    "tokens by L0": "documents/{document}/tokens?colour=l0",
    "tokens by the strongest": "documents/{document}/tokens?colour=top",
    "tokens by a feature": "documents/{document}/tokens?colour=feature:{feature}",
    "tokens of the last document": "documents/{last}/tokens?colour=top&start={round}00",
    "features of a document": "documents/{document}/features",
    "row": "rows/{row}",
    "feature": "features/{feature}",
    "top of a feature": "features/{feature}/top",
    "search": "search?query={word}&offset={round}",
    "features by density": "search?sort=density&offset={feature}",
    "features of a document, sorted": "search?document={document}",
    "more here than there": "search?a={document}&b={other}",
    "more here than elsewhere": "search?a={document}",
    "plot of a contrast": "contrast?a={document}",
    "lanes of two pins": "documents/{document}/lanes?features={feature},1",
    "words": "words?word={word}&offset={round}",
    "features of a word": "words/features?word={word}",
    "documents of a feature": "features/{feature}/documents",
    "fires together": "features/{feature}/together",
    "groups": "groups?a={document}",
    "compare documents": "compare?a=doc:{document}&b=doc:{other}",
    "health": "health?offset={round}",
}


@dataclass(frozen=True, slots=True)
class Row:
    """First bytes of one address: `first_ms` of the very first request, the others of the rounds after it."""

    data: str
    address: str
    first_ms: float
    median_ms: float
    slowest_ms: float
    kilobytes: float


def write_labels(data_dir: Path, n_features: int) -> None:
    folder = sae_folder(data_dir, DEFAULT_RELEASE, DEFAULT_SAE_ID)
    folder.mkdir(parents=True)
    with closing(Store.open(folder)) as store:
        names = {"release": DEFAULT_RELEASE, "sae_id": DEFAULT_SAE_ID, "neuronpedia_id": NEURONPEDIA_ID}
        store.set_meta(**names, num_features=n_features)
        for start in range(0, n_features, BLOCK_ROWS):
            indices = range(start, min(n_features, start + BLOCK_ROWS))
            texts = [" ".join(WORDS[(i // 16**k + k) % 16] for k in range(2 + i % 7)) for i in indices]
            rows = Rows(
                features=[(i, 1.0 + i % 80, i % 997 / 1e4, b'[" a"]', b'[" b"]') for i in indices],
                explanations=[(i, "t", "m", f"references to {text}") for i, text in zip(indices, texts, strict=True)],
            )
            store.commit(Answers(rows=rows), "2026-11-25T00:00:00Z")
        build(store, n_features, Preference())
        store.settle()


def write_shard(path: Path, n_rows: int, width: int, seed: int, document_tokens: int = DOCUMENT_TOKENS) -> None:
    """Write a shard of L0 features a row, evenly spread, with texts and documents."""
    random = np.random.default_rng(seed)
    step = width // L0
    meta = {"sae_release": DEFAULT_RELEASE, "sae_id": DEFAULT_SAE_ID, "neuronpedia_id": NEURONPEDIA_ID}
    with CsrWriter(path, width) as writer:
        for start in range(0, n_rows, BLOCK_ROWS):
            n = min(BLOCK_ROWS, n_rows - start)
            columns = np.arange(L0) * step + random.integers(0, step, (n, L0))
            indptr = np.arange(0, n * L0 + 1, L0)
            values = random.gamma(2, 3, n * L0).astype(np.float32) + np.float32(1)
            writer.append(Csr(indptr, columns.ravel().astype(np.int32), values, (n, width)))
        rows = np.arange(n_rows)
        texts = [" " + WORDS[i % len(WORDS)] for i in range(n_rows)]
        writer.finish({**meta, "weights_sha256": "00"}, Tokens(texts=texts, row_document=rows // document_tokens))
        writer.publish()


@contextmanager
def serving(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str, float]]:
    """Start the server; yield it, its address, and the seconds from its start to its first answer."""
    command = [Path(sys.executable).parent / "sae-dashboard", "--port", "0"]
    began = time.perf_counter()
    process = subprocess.Popen([*command, "--data-dir", folder / "sae", "--features", folder / "features"], stdout=-1)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().decode().strip()
        yield process, address, time.perf_counter() - began
    finally:
        process.terminate()
        process.wait()


def first_byte(connection: http.client.HTTPConnection, target: str) -> tuple[float, int]:
    """Return the milliseconds to the first byte of the answer's body, and its length."""
    began = time.perf_counter()
    connection.request("GET", f"/api/{target}")
    response = connection.getresponse()
    first = response.read(1)
    took_ms = 1e3 * (time.perf_counter() - began)
    rest = response.read()
    if response.status != 200:
        raise RuntimeError(f"{target}: {response.status} {(first + rest)[:300]!r}")
    return took_ms, len(first + rest)


def measure(name: str, address: str, n_documents: int, n_features: int, rounds: int) -> list[Row]:
    connection = http.client.HTTPConnection(urlsplit(address).netloc)
    rows = []
    for what, template in ADDRESSES.items():
        taken = []
        for number in range(rounds + 1):
            document = (number * 7919 + len(rows) * 101) % (n_documents - 1)
            feature = (number * 104729 + len(rows)) % n_features
            target = template.format(
                round=number,
                document=document,
                last=n_documents - 1,
                other=(document + n_documents // 2) % (n_documents - 1),
                row=(document * DOCUMENT_TOKENS + number * 31),
                feature=feature,
                word=WORDS[number % len(WORDS)],
            )
            try:
                taken.append(first_byte(connection, target))
            except RuntimeError as exc:
                if " 409 " not in str(exc):  # needs the index
                    raise
        if taken:
            (first_ms, n_bytes), later = taken[0], sorted(ms for ms, _ in taken[1:])
            rows.append(Row(name, what, first_ms, median(later), later[-1], n_bytes / 1e3))
            print(line(rows[-1]), file=sys.stderr, flush=True)
    connection.close()
    return rows


def line(row: Row) -> str:
    times = " | ".join(f"{ms:,.1f}" for ms in (row.first_ms, row.median_ms, row.slowest_ms))
    return f"| {row.data} | {row.address} | {times} | {row.kilobytes:,.0f} |"


def demo(folder: Path, rounds: int) -> tuple[list[Row], list[Aim]]:
    """Measure data of the demo's size."""
    write_labels(folder / "sae", WIDTH)
    (folder / "features").mkdir()
    for number in range(3):
        write_shard(folder / "features" / f"{number}.npz", 2048, WIDTH, number)
    n_documents = 3 * 2048 // DOCUMENT_TOKENS
    rows = []
    for name in ("demo, no index", "demo, index"):
        with serving(folder) as (_, address, start_s):
            rows += measure(name, address, n_documents, WIDTH, rounds)
        build_index(folder / "features")
    slowest = max(rows, key=lambda row: row.median_ms)
    coldest = max(rows, key=lambda row: row.first_ms)
    aims = [
        aim("demo: first byte, slowest address, median", DEMO_AIM_MS, slowest.median_ms, slowest.address),
        aim("demo: first byte, slowest address, first request", DEMO_AIM_MS, coldest.first_ms, coldest.address),
        Aim("demo: from start to listening", f"< {START_AIM_S:g} s", f"{start_s:.2f} s", start_s < START_AIM_S),
    ]
    return rows, aims


def large(folder: Path, n_shards: int, n_rows: int, rounds: int) -> tuple[list[Row], list[Aim]]:
    """Measure 10^9 stored values."""
    write_labels(folder / "sae", WIDTH)
    features = folder / "features"
    features.mkdir()
    write_shard(features / "0000.npz", n_rows, WIDTH, 0)
    for number in range(1, n_shards):
        os.link(features / "0000.npz", features / f"{number:04}.npz")
    write_shard(features / "long.npz", n_rows, WIDTH, 1, n_rows)
    n_documents = n_shards * -(-n_rows // DOCUMENT_TOKENS) + 1
    name = f"{(n_shards + 1) * n_rows * L0:.1e} values"
    rows, aims = [], []
    for what in ("no index", "index"):
        if what == "index":
            build_index(features)
        with serving(folder) as (process, address, start_s):
            rows += measure(f"{name}, {what}", address, n_documents, WIDTH, rounds)
            own_mb = anonymous_mb(process)
        tokens = max((row for row in rows if row.address.startswith("tokens")), key=lambda row: row.first_ms)
        aims += [
            aim(f"{name}, {what}: token view, first request", LARGE_AIM_MS, tokens.first_ms, tokens.address),
            Aim(f"{name}, {what}: from start to listening", "< 1 s", f"{start_s:.2f} s", start_s < START_AIM_S),
            Aim(f"{name}, {what}: memory of its own", "< 200 MB", f"{own_mb:,.0f} MB", own_mb < 200),
        ]
    return rows, aims


def wide(folder: Path, n_features: int, rounds: int) -> list[Row]:
    """Measure a search and a sort over a million labels, without features."""
    write_labels(folder / "sae", n_features)
    (folder / "features").mkdir()
    rows = []
    with serving(folder) as (_, address, _):
        connection = http.client.HTTPConnection(urlsplit(address).netloc)
        for what, template in (("search", "search?query={}"), ("features by density", "search?sort=density&offset={}")):
            words = WORDS if what == "search" else [str(number * 1000) for number in range(rounds + 1)]
            taken = [first_byte(connection, template.format(word)) for word in words[: rounds + 1]]
            later = sorted(ms for ms, _ in taken[1:])
            rows.append(Row(f"{n_features:,} labels", what, taken[0][0], median(later), later[-1], taken[0][1] / 1e3))
            print(line(rows[-1]), file=sys.stderr, flush=True)
        connection.close()
    return rows


def anonymous_mb(process: subprocess.Popen[bytes]) -> float:
    """Return the process' memory without the files that it has mapped."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) * 1024 / 1e6


def aim(what: str, most_ms: float, got_ms: float, address: str) -> Aim:
    return Aim(what, f"< {most_ms:g} ms", f"{got_ms:.1f} ms ({address})", got_ms < most_ms)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a fiftieth of the large set; writes no results")
    args = parser.parse_args()
    rounds = 5 if args.quick else 15
    n_shards, n_rows = (4, 51_200) if args.quick else (15, 640_000)
    with tempfile.TemporaryDirectory(prefix="saefetch-bench-") as scratch:
        folders = [Path(scratch) / name for name in ("demo", "large", "wide")]
        for folder in folders:
            folder.mkdir()
        rows, aims = demo(folders[0], rounds)
        more, further = large(folders[1], n_shards, n_rows, rounds)
        rows, aims = rows + more, aims + further
        rows += wide(folders[2], 50_000 if args.quick else 1_000_000, rounds)
    machine = describe_machine("dashboard", LIBRARIES)
    lines = head("The dashboard's server", machine)
    lines += ["", "Milliseconds to the first byte: of the first request, then of others like it.", ""]
    lines += ["| data | address | first | median | slowest | kB |", "|---|---|---:|---:|---:|---:|", *map(line, rows)]
    lines += ["", *promises(aims)]
    document = {"rows": [asdict(row) for row in rows], "aims": [asdict(one) for one in aims]}
    publish("dashboard", machine, document, lines, quick=args.quick)


if __name__ == "__main__":
    main()
