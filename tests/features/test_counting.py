"""Rows that do not count: which they are, that they are stored all the same, and that no figure is made of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import encoding
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from encoder import open_features, open_index
from encoder.cli.stats import describe
from encoder.errors import InputError, ShardError
from encoder.file.csr import CsrWriter
from encoder.index.build import build_index
from encoder.kernels import make_kernel
from encoder.kernels.kernel import Kernel
from encoder.rows import REASONS, Exclude, reasons_in
from encoder.sae.sae import LoadedSae
from encoder.shard import Shard, Tokens
from encoder.work.counting import Counted, exclude_by_norm, marked, reasons_of
from encoder.work.remarks import LONG_RUN, Oddities
from encoder.work.stream import Encoded

MASK, TOKEN, FIRST, NORM = 1, 2, 3, 4


def reasons(said: Tokens, n_rows: int, tokens: Any = None, first: int = 0) -> list[int]:
    return reasons_of(said, n_rows, Exclude.of(tokens, first, None), "a.pt").tolist()


def test_a_row_has_the_first_reason_that_applies() -> None:
    tokens = Tokens(token_ids=np.array([2, 5, 0, 2, 7, 0]), row_mask=np.array([1, 1, 1, 1, 1, 0], np.bool_))
    assert reasons(tokens, 6) == [0, 0, 0, 0, 0, MASK]
    assert reasons(tokens, 6, tokens=[0, 2]) == [TOKEN, 0, TOKEN, TOKEN, 0, MASK]
    assert reasons(tokens, 6, tokens=[0, 2], first=2) == [TOKEN, FIRST, TOKEN, TOKEN, 0, MASK]
    assert reasons(tokens, 6, first=9) == [FIRST] * 5 + [MASK]


def test_the_first_rows_are_those_of_each_document_that_are_not_masked() -> None:
    documents = np.array([0, 0, 0, 1, 1, 1, 1, 0, 0])
    assert reasons(Tokens(row_document=documents), 9, first=2) == [3, 3, 0, 3, 3, 0, 0, 3, 3]
    padded_left = np.array([0, 0, 1, 0, 1, 1, 1, 1, 1], np.bool_)
    marks = reasons(Tokens(row_document=documents, row_mask=padded_left), 9, first=1)
    assert marks == [MASK, MASK, FIRST, MASK, FIRST, 0, 0, FIRST, 0]
    assert reasons(Tokens(), 4, first=1) == [FIRST, 0, 0, 0], "a shard that says nothing is one document"
    assert reasons(Tokens(), 0, first=1) == []


def test_a_document_that_began_in_another_shard_has_no_first_rows_here() -> None:
    tokens = Tokens(row_document=np.array([7, 7, 8, 8]), row_position=np.array([100, 101, 0, 1]))
    assert reasons(tokens, 4, first=1) == [0, 0, FIRST, 0]
    assert reasons(replace(tokens, row_position=np.array([1, 2, 0, 1])), 4, first=2) == [FIRST, 0, FIRST, FIRST]


def test_token_ids_are_needed_to_exclude_by_them() -> None:
    with pytest.raises(ShardError, match=r"a\.pt: has no token ids for --exclude-tokens"):
        reasons(Tokens(texts=["a"]), 1, tokens=[0])


def test_norms_are_compared_with_the_median_of_the_rows_that_count_and_are_not_zero() -> None:
    why = np.array([MASK, MASK, MASK, 0, 0, 0, 0, 0, 0, 0], np.uint8)
    norms = np.array([900, 900, 900, 1, 2, 3, 30, 31, 0, 0], np.float64)
    exclude_by_norm(why, norms, 10)
    assert why.tolist() == [MASK] * 3 + [0, 0, 0, 0, NORM, 0, 0], "30 is 10 times the median, not more"
    nothing = np.zeros(3, np.uint8)
    exclude_by_norm(nothing, np.zeros(3), 2)
    assert nothing.tolist() == [0, 0, 0]


def test_a_file_says_why_only_where_the_user_excluded_rows() -> None:
    tokens = Tokens(row_mask=np.array([1, 0, 1], np.bool_))
    assert marked(tokens, np.array([0, MASK, 0], np.uint8)).row_reason is None
    found = marked(tokens, np.array([0, MASK, FIRST], np.uint8))
    assert found.row_mask is not None and found.row_mask.tolist() == [True, False, False]
    assert found.row_reason is not None and found.row_reason.tolist() == [0, MASK, FIRST]
    counts = np.array([True, False, False, False])
    assert reasons_in(counts, np.array([4, 9, 0, 2], np.uint8)).tolist() == [0, MASK, MASK, TOKEN], "damaged numbers"


@pytest.mark.parametrize(
    ("asked", "document"),
    [
        (("2,0, 2", 1, 10), {"tokens": [0, 2], "first": 1, "norm": 10.0}),
        ((np.array([2, 0]), np.int64(3), np.float32(2.5)), {"tokens": [0, 2], "first": 3, "norm": 2.5}),
        ((7, None, None), {"tokens": [7], "first": 0, "norm": None}),
        (("", 0, None), {"tokens": [], "first": 0, "norm": None}),
    ],
)
def test_what_is_excluded_is_kept_in_one_form(asked: tuple[Any, Any, Any], document: dict[str, Any]) -> None:
    exclude = Exclude.of(*asked)
    assert exclude.document() == document and Exclude.of_document(document) == exclude
    assert bool(exclude) == (document != Exclude().document())


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (("a", 0, None), "--exclude-tokens a"),
        (("-1", 0, None), "--exclude-tokens -1"),
        (([1.5], 0, None), "--exclude-tokens"),
        ((True, 0, None), "--exclude-tokens"),
        (((), -1, None), "--exclude-first -1"),
        (((), 1.0, None), "--exclude-first"),
        (((), 0, 0), "--exclude-norm 0"),
        (((), 0, float("nan")), "--exclude-norm nan"),
        (((), 0, "x"), "--exclude-norm x"),
    ],
)
def test_what_cannot_be_excluded_is_refused_with_the_flag(asked: tuple[Any, Any, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Exclude.of(*asked)


# What is odd about rows is told


def remarks(x: torch.Tensor, counts: np.ndarray[Any, Any] | None = None, batch: int = 7) -> list[str]:
    oddities = Oddities()
    for start in range(0, len(x), batch):
        part = x[start : start + batch]
        oddities.add(part, np.ones(len(part), np.bool_) if counts is None else counts[start : start + batch])
    return oddities.remarks()


@pytest.mark.parametrize("batch", [1, 7, 16, 1000])
def test_an_unwritten_end_and_runs_of_identical_rows_are_told_with_their_numbers(batch: int) -> None:
    x = torch.randn(200, 12, generator=torch.Generator().manual_seed(0))
    assert remarks(x, batch=batch) == []
    x[150:] = 0
    x[3] = 0
    assert remarks(x, batch=batch) == [
        "51 of 200 rows are all zeros, among them the last 50: was the end of the file never written?"
    ]
    x[20 : 20 + LONG_RUN] = x[20]
    x[60:140] = x[60]
    x[140 : 140 + LONG_RUN - 1] = x[5] * 2
    assert remarks(x, batch=batch)[1] == (
        "96 of 200 rows are in 2 runs of 16 or more identical rows, the longest 60 to 139"
    )
    counts = np.ones(200, np.bool_)
    counts[150:] = counts[3] = counts[60:130] = counts[25] = False
    assert remarks(x, counts, batch) == [], "what does not count is no cause for a remark"


def test_rows_that_are_alike_in_their_first_numbers_are_told_apart() -> None:
    x = torch.zeros(64, 12)
    x[torch.arange(64), 8 + torch.arange(64) % 4] = 1
    assert remarks(x) == []


def test_tokens_that_are_equal_are_in_memory_once() -> None:
    def counted(ids: list[int], texts: list[str] | None = None) -> Counted:
        return Counted(Tokens(token_ids=np.array(ids), texts=texts, row_mask=np.array([True, False])))

    first = counted([1, 2], ["a", "b"])
    assert counted([1, 2], ["a", "b"]).sharing(first).tokens is first.tokens
    for other in (counted([1, 3], ["a", "b"]), counted([1, 2], ["a", "c"]), counted([1, 2])):
        assert other.sharing(first).tokens is other.tokens and first.sharing(other).tokens is first.tokens


# No figure is made of them


@pytest.fixture(scope="module")
def sae(tmp_path_factory: pytest.TempPathFactory) -> LoadedSae:
    return encoding.load(encoding.save_params(tmp_path_factory.mktemp("sae") / "params.npz", encoding.dictionary()))


@pytest.fixture(scope="module")
def kernel(sae: LoadedSae) -> Kernel:
    return make_kernel(sae, torch.device("cpu"), "reference")


def write(folder: Path, sae: LoadedSae, kernel: Kernel, x: torch.Tensor, tokens: Tokens, exclude: Exclude) -> Encoded:
    """Encode rows as one shard of `folder`, and make the folder's index."""
    folder.mkdir(exist_ok=True)
    data = folder / "data"
    data.write_bytes(x.numpy().tobytes())
    shard = Shard(data, len(x), x.shape[1], "float32", lambda start, stop: x[start:stop].clone(), lambda: tokens)
    with CsrWriter(folder / "a.npz", sae.d_sae, temporary=folder / "a.tmp") as writer:
        found = encoding.encode_one(
            shard,
            sae,
            kernel,
            writer,
            batch_tokens=40,
            settings={"exclude": exclude.document()},
            status=data.stat(),
            stopping=bool,
            watch=lambda progress: None,
        )
        writer.publish()
    build_index(folder)
    return found


def figures(folder: Path, rows: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Return all figures of a folder; rows are told by their place in `rows`."""
    place = {int(row): i for i, row in enumerate(rows)}
    with open_features(folder) as features, open_index(folder) as index:
        told = describe(features)
        names = ("rows_counted", "nnz_counted", "mean_l0", "density", "dead_features")
        found = {name: told[name] for name in names} | {"max_l0": told["shards"][0]["max_l0"]}
        found["quality"] = features.meta[0]["quality"]
        for name in ("count", "density", "max", "min", "mean", "n_documents"):
            found[f"index {name}"] = getattr(index, name).tolist()
        found["documents"] = index.n_documents_counted
        for feature in range(len(index)):
            found[f"histogram {feature}"] = index.histogram(feature)[1].tolist()
            for k in (5, 500):
                top_rows, values = index.top(feature, k)
                found[f"top {k} of {feature}"] = [place[row] for row in top_rows.tolist()], values.tolist()
    return found


@settings(max_examples=12, deadline=None)
@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=12), seed=st.integers(0, 10**6))
def test_rows_that_do_not_count_change_no_figure_wherever_they_stand(
    tmp_path_factory: pytest.TempPathFactory, sae: LoadedSae, kernel: Kernel, lengths: list[int], seed: int
) -> None:
    """Padding, tokens, first rows and sinks are put among the rows of documents; the rest is as without them."""
    random, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("folder")
    own, document = (
        encoding.planted(sum(lengths), encoding.dictionary(), seed=seed),
        np.repeat(range(len(lengths)), lengths),
    )
    write(folder / "alone", sae, kernel, own, Tokens(row_document=document), Exclude())
    kinds, among, documents, ids, source = [], [], [], [], []
    for number, length in enumerate(lengths):
        inside = [*range(length), *random.choice([-MASK, -TOKEN, -NORM], random.integers(0, 9))]
        order = random.permutation(len(inside))
        rows = [value for value in np.array(inside)[order].tolist() if value < 0]
        places = set(random.choice(len(inside), len(rows), replace=False).tolist())
        mine = iter(np.flatnonzero(document == number).tolist())
        mixed = [rows.pop() if place in places else next(mine) for place in range(len(inside))]
        masked = [-MASK] * int(random.integers(0, 3))  # padding on the left, before the first token
        for value in [*masked, -FIRST, *mixed]:
            kind = -value if value < 0 else 0
            kinds.append(kind)
            source.append(value)
            documents.append(number)
            ids.append(99 if kind == TOKEN else 1)
            x = torch.randn(encoding.D_IN, generator=torch.Generator().manual_seed(len(kinds)))
            among.append(own[value] if kind == 0 else x * (3000 if kind == NORM else 200))
    why = np.array(kinds)
    assume((why == NORM).sum() < (why == 0).sum())  # else the median itself is a sink's
    tokens = Tokens(token_ids=np.array(ids), row_document=np.array(documents), row_mask=why != MASK)
    exclude = Exclude.of([99], 1, 100)
    encoded = write(folder / "among", sae, kernel, torch.stack(among), tokens, exclude)
    rows = np.flatnonzero(why == 0)
    assert encoded.excluded == {name: int((why == number).sum()) for number, name in enumerate(REASONS, 1)}
    assert [source[row] for row in rows] == list(range(len(own)))
    with open_features(folder / "among") as features:
        assert features.reasons(0).tolist() == kinds and features.counts(0).tolist() == (why == 0).tolist()
        with open_features(folder / "alone") as alone:
            assert (features[rows] != alone[:]).nnz == 0 and features.shape[0] == len(kinds)
    assert figures(folder / "among", rows) == figures(folder / "alone", np.arange(len(own)))
