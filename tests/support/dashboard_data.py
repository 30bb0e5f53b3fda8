"""A made-up folder for the dashboard's tests, and to look at: `python tests/support/dashboard_data.py OUT`.

OUT/sae        labels of 512 features: hostile ones, several explanations, missing and failed ones
OUT/features   shards with texts and documents, a prompt and a response, padding, ids only, nothing, no rows
OUT/queue      jobs in every state
"""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import scipy.sparse

from encoder.file.csr import Csr, CsrWriter
from encoder.queue.queue import Queue
from encoder.queue.ticket import Ticket
from encoder.shard import Tokens
from saefetch.decode import Rows
from saefetch.explanations import Preference
from saefetch.names.identity import DEFAULT_RELEASE, DEFAULT_SAE_ID, sae_folder
from saefetch.search import build
from saefetch.store.answers import Answers
from saefetch.store.store import Store

RELEASE, SAE_ID, NEURONPEDIA_ID = DEFAULT_RELEASE, DEFAULT_SAE_ID, "gemma-2-2b/16-gemmascope-res-16k"
WIDTH = 512
SAE = {"sae_release": RELEASE, "sae_id": SAE_ID, "neuronpedia_id": NEURONPEDIA_ID, "sae_path": None}
HOSTILE = {
    0: "<script>alert('label')</script><img src=x onerror=alert(1)>",
    1: "quotes \" ' ` and & < > and \\ and ${x} {{y}}",
    2: "line\nbreaks\r\n\tand a tab",
    3: "\u202eright to left override\u202c, שלום and مرحبا",
    4: "emoji 👩‍👩‍👧‍👦🏳️‍🌈 and combining z̸̤̖͖a̶l̷g̸o̴",
    5: "a very long label " + "that goes on and on " * 40,
    6: "https://example.org/?a=1&b=2#c javascript:alert(1)",
}
MISSING, FAILED, UNEXPLAINED = (10, 11), (12,), (13, 14, 15)
TOPICS = ("dogs", "cats", "legal proceedings", "cryptography", "the weather", "cooking", "HTML tags", "negation")
MANNERS = (
    "particularly in sentences that report what somebody else has said about it",
    "often right after a comma and before a verb in the past tense",
    "and phrases that concern how it is described to readers who do not know it",
)
TEXT = "the dogs slept while legal proceedings on cryptography went on and the weather was fine"
WORDS = TEXT.split()
PROMPT = ["<bos>", "Tell", " me", " about", " dogs", ".", "\n"]
RESPONSE = [" Dogs", " sleep", ",", "\t", "<b>", " bark", " &", " run", "\n\n", "犬", "🐕", " \u202edeb", "."]


LONG, LONG_ID = 10_000, 6
"""Tokens and number of the long document of `write_features(folder, LONG)`."""
EXCLUDED_ROWS = (59, 99, 139)
"""The rows of `write_features` that do not count: the producer marked them as padding."""


def write_labels(data_dir: Path, *, n_features: int = WIDTH, finished: bool = True, **names: str) -> Path:
    """Write a store of labels; return its folder. `names` replaces the release, the id or the Neuronpedia id."""
    told = {"release": RELEASE, "sae_id": SAE_ID, "neuronpedia_id": NEURONPEDIA_ID} | names
    folder = sae_folder(data_dir, told["release"], told["sae_id"])
    folder.mkdir(parents=True, exist_ok=True)
    absent = {*MISSING, *FAILED}
    here = [i for i in range(n_features) if i not in absent]
    tokens = orjson.dumps([" dog", "▁puppy", "<script>", "\n", "‮x"])
    features = [(i, 5.0 + i % 40, (i % 97) / 5000, tokens, orjson.dumps([f" not{i}"])) for i in here]
    explained = [i for i in here if i not in UNEXPLAINED]
    explanations = [(i, "oai_token-act-pair", "gpt-4o-mini", label(i)) for i in explained]
    explanations += [(i, "eleuther_acts_top20", "claude-3-5-haiku", also(i)) for i in explained if i % 7 == 0]
    with closing(Store.open(folder)) as store:
        store.set_meta(**told, num_features=n_features, downloaded_at="2026-11-25T00:00:00Z")
        failed = [(i, "HTTP 500 after 5 attempts") for i in FAILED]
        answers = Answers(rows=Rows(features=features, explanations=explanations), missing=[*MISSING], failed=failed)
        store.commit(answers, "2026-11-25T00:00:00Z")
        if finished:
            build(store, n_features, Preference())
        store.settle()
    return folder


def label(index: int) -> str:
    """Return a label as long as those of language models are."""
    said = f"references to {TOPICS[index % len(TOPICS)]}, kind {index // len(TOPICS)}, {MANNERS[index % len(MANNERS)]}"
    return HOSTILE.get(index, said)


def also(index: int) -> str:
    return f"also {label(index)}"


def published(index: int) -> str | None:
    """Return the label that is shown: where nothing is preferred, the first by its text."""
    if index in (*MISSING, *FAILED, *UNEXPLAINED):
        return None
    return min(label(index), also(index)) if index % 7 == 0 else label(index)


def made_up(n_rows: int, seed: int, width: int = WIDTH, density: float = 0.06) -> scipy.sparse.csr_matrix:
    """Return rows of which the first is empty and the second has every feature."""
    random = np.random.default_rng(seed)
    dense = random.gamma(2, 3, (n_rows, width)).astype(np.float32)
    dense[random.random((n_rows, width)) > density] = 0
    dense[:, 7] = 0  # a dead feature
    dense[:1] = 0
    dense[1:2] = np.arange(1, width + 1) / 16
    dense[:, 7] = 0
    return scipy.sparse.csr_matrix(dense)


def write_shard(path: Path, matrix: Any, tokens: Tokens | None = None, **meta: Any) -> Path:
    """Publish a shard as `sae-encode` does."""
    told = {**SAE, "weights_sha256": "ab" * 32, "shard_path": f"/data/{path.stem}.pt", "dtype_read": "bfloat16"}
    told |= {"values": "float32", "quality": {"explained_variance": 0.812, "cosine": 0.93}, **meta}
    path.parent.mkdir(parents=True, exist_ok=True)
    with CsrWriter(path, matrix.shape[1]) as writer:
        writer.append(Csr(matrix.indptr.astype(np.int64), matrix.indices, matrix.data, matrix.shape))
        writer.finish(told, tokens or Tokens())
        writer.publish()
    return path


def write_features(folder: Path, long: int = 0) -> Path:
    """Write shards of all kinds; `long` adds one document of so many tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = [*PROMPT, *RESPONSE]
    sections = {"prompt": (0, len(PROMPT)), "response": (len(PROMPT), len(texts))}
    write_shard(folder / "capture.npz", made_up(len(texts), 0), Tokens(texts=texts, sections=sections))
    lengths = [30, 1, 80, 40]
    n = sum(lengths)
    words = [" " + WORDS[i % len(WORDS)] for i in range(n)]
    tokens = Tokens(
        token_ids=np.arange(n) % 50,
        texts=words,
        row_document=np.repeat([0, 1, 2, 0], lengths),  # a number that comes again is another document
        row_position=np.concatenate([np.arange(length) for length in lengths]),
        row_mask=np.arange(n) % 40 != 39,
    )
    note = "2 files were read as one"
    write_shard(folder / "corpus__part-0.npz", made_up(n, 1), tokens, notes=[note], warning="explains just 12%")
    write_shard(folder / "empty.npz", made_up(0, 2))
    write_shard(folder / "ids.npz", made_up(25, 3), Tokens(token_ids=np.arange(25)))
    write_shard(folder / "nothing.npz", made_up(12, 4))
    if long:
        words = [("\n" if i % 60 == 59 else " ") + WORDS[i * 7 % len(WORDS)] for i in range(long)]
        write_shard(folder / "long.npz", made_up(long, 5), Tokens(texts=words))
    return folder


def write_queue(folder: Path) -> Path:
    """Make a queue with jobs in every state."""
    queue = Queue(folder, create=True, max_attempts=1)
    jobs = ["a-failed", "b-claimed", "c-ready", "d-ready"]
    queue.submit([Ticket(job, f"/data/{job}.npy", f"out/{job}.npz", dict(SAE)) for job in jobs])
    failed, claimed = queue.claim(), queue.claim()
    assert failed is not None and claimed is not None
    failed.fail("<b>NaN</b> in row 3\nand more", "a traceback")
    return folder


def main() -> None:
    out = Path(sys.argv[1])
    write_labels(out / "sae")
    write_features(out / "features", long=10_000)
    write_queue(out / "queue")
    print(f"sae-dashboard --data-dir {out}/sae --features {out}/features --queue {out}/queue")


if __name__ == "__main__":
    main()
