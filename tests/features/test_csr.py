"""Features files as they are written: what is in them, that the bytes are always the same, and what a crash leaves."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tracemalloc
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from encoder.errors import FencedError, ShardError
from encoder.file.csr import Csr, CsrWriter, Values, check
from encoder.file.npz import ALIGNMENT, find_members
from encoder.shard import Tokens

META = {"weights_sha256": "ab" * 32, "shard_path": "/data/\udcff.pt", "explained": None}
ARRAYS = ("shape", "meta", "indptr", "indices", "data", "token_ids", "row_mask", "tokens", "tokens_offsets")


def csr_of(dense: np.ndarray[Any, Any]) -> Csr:
    rows, columns = np.nonzero(dense)
    indptr = np.zeros(len(dense) + 1, np.int64)
    np.cumsum((dense != 0).sum(axis=1), out=indptr[1:])
    return Csr(indptr, columns.astype(np.int32), dense[rows, columns], dense.shape)


@st.composite
def dense_matrices(draw: st.DrawFn, width: Literal[16, 32] = 32) -> np.ndarray[Any, Any]:
    """Any [T, F] of floats of `width` bits, T and empty rows included."""
    n_rows, n_columns = draw(st.integers(0, 12)), draw(st.integers(1, 40))
    value = st.floats(width=width, allow_nan=False, allow_infinity=False).map(lambda number: number or 1.0)
    dense = np.zeros((n_rows, n_columns), np.float32)
    if n_rows:
        places = st.tuples(st.integers(0, n_rows - 1), st.integers(0, n_columns - 1))
        for place, number in draw(st.dictionaries(places, value, max_size=25)).items():
            dense[place] = number
    return dense


def write(
    path: Path, dense: Any, cuts: Any = (), values: Values = "float32", tokens: Any = None, meta: Any = META
) -> Path:
    """Write `dense` as a features file, in batches that end at `cuts`."""
    edges = [0, *sorted(cuts), len(dense)]
    with CsrWriter(path, dense.shape[1], values=values) as writer:
        for start, stop in pairwise(edges):
            writer.append(csr_of(dense[start:stop]))
        writer.finish(meta, tokens or Tokens())
        writer.publish()
    return path


@settings(max_examples=80, deadline=None)
@given(st.data(), dense_matrices())
def test_any_split_into_batches_gives_the_same_bytes_and_scipy_reads_the_matrix(
    data: st.DataObject, dense: np.ndarray[Any, Any]
) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(dense)), max_size=4))
    with tempfile.TemporaryDirectory() as folder:
        whole, split = write(Path(folder, "a.npz"), dense), write(Path(folder, "b.npz"), dense, cuts)
        assert whole.read_bytes() == split.read_bytes()
        read = scipy.sparse.load_npz(split)
        assert (read.format, read.shape, read.dtype) == ("csr", dense.shape, np.float32)
        np.testing.assert_array_equal(read.toarray(), dense)
        check(read)
        with np.load(split, allow_pickle=False) as members:
            assert members["indptr"].dtype == np.int64 and members["indices"].dtype == np.int32
            assert members["format"] == b"csr" and members["shape"].tolist() == list(dense.shape)
            told = json.loads(members["meta"].tobytes().decode())
            assert told == {**META, "rows": len(dense), "nnz": np.count_nonzero(dense)}
        assert sorted(path.name for path in Path(folder).iterdir()) == ["a.npz", "b.npz"]


@settings(max_examples=40, deadline=None)
@given(dense_matrices(width=16))
def test_float16_values_come_back_as_they_were(dense: np.ndarray[Any, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        read = scipy.sparse.load_npz(write(Path(folder, "a.npz"), dense, values="float16"))
        assert read.dtype == np.float16
        np.testing.assert_array_equal(read.astype(np.float32).toarray(), dense)


def test_equal_inputs_give_equal_bytes_at_another_time_and_with_meta_in_another_order(tmp_path: Path) -> None:
    dense = np.eye(5, 8, dtype=np.float32)
    first = write(tmp_path / "a.npz", dense, meta={"a": 1, "b": {"c": 2, "d": 3}}).read_bytes()
    assert write(tmp_path / "a.npz", dense, meta={"b": {"d": 3, "c": 2}, "a": 1}).read_bytes() == first
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert archive.testzip() is None


@pytest.mark.parametrize("n_rows", [0, 1, 7])
def test_a_shard_without_any_feature_is_a_matrix_of_empty_rows(tmp_path: Path, n_rows: int) -> None:
    read = scipy.sparse.load_npz(write(tmp_path / "a.npz", np.zeros((n_rows, 9), np.float32)))
    assert read.shape == (n_rows, 9) and read.nnz == 0


def test_a_file_to_which_nothing_was_appended_has_no_rows(tmp_path: Path) -> None:
    with CsrWriter(tmp_path / "a.npz", 9) as writer:
        writer.finish({}, Tokens(token_ids=np.zeros(0, np.int64), texts=[]))
        writer.publish()
    assert scipy.sparse.load_npz(tmp_path / "a.npz").shape == (0, 9)
    assert np.load(tmp_path / "a.npz")["tokens"].shape == (0,)


def test_a_value_too_small_for_the_dtype_stays_on_and_one_too_large_is_refused(tmp_path: Path) -> None:
    dense = np.array([[1e-30, -1e-30, 2.0]], np.float32)
    read = scipy.sparse.load_npz(write(tmp_path / "a.npz", dense, values="float16"))
    assert read.data.tolist() == [2.0**-24, -(2.0**-24), 2.0]
    with pytest.raises(ShardError, match="70000 does not fit float16; use --values float32"):
        write(tmp_path / "b.npz", np.array([[1.0, 70000.0]], np.float32), values="float16")
    kept = Csr.of_kept(
        np.array([0, 3]), np.arange(3, dtype=np.int32), np.array([1e-60, -1e-60, 3.0]), np.ones(3, np.bool_), 3
    )
    assert kept.data.dtype == np.float32 and kept.data.tolist() == [2.0**-149, -(2.0**-149), 3.0]


@settings(max_examples=60, deadline=None)
@given(dense_matrices(), dense_matrices(), st.randoms(use_true_random=False))
def test_of_kept_and_concatenate_do_what_they_do_to_dense_rows(
    a: np.ndarray[Any, Any], b: np.ndarray[Any, Any], random: Any
) -> None:
    width = min(a.shape[1], b.shape[1])
    dense = np.concatenate([a[:, :width], b[:, :width]])
    joined = Csr.concatenate([csr_of(a[:, :width]), csr_of(b[:, :width])], width)
    check(joined)
    keep = np.array([random.random() < 0.5 for _ in joined.data], np.bool_)
    kept = Csr.of_kept(joined.indptr, joined.indices, joined.data.astype(np.float64), keep, width)
    check(kept)
    rows, columns = np.nonzero(dense)
    dense[rows[~keep], columns[~keep]] = 0
    read = scipy.sparse.csr_matrix((kept.data, kept.indices, kept.indptr), shape=kept.shape)
    np.testing.assert_array_equal(read.toarray(), dense)


def test_no_parts_concatenate_to_no_rows() -> None:
    check(empty := Csr.concatenate([], 7))
    assert empty.shape == (0, 7) and empty.indices.dtype == np.int32 and empty.data.dtype == np.float32


@pytest.mark.parametrize(
    ("indptr", "indices", "data", "complaint"),
    [
        ([1, 2], [0, 1], [1, 1], "does not rise"),
        ([0, 2, 1, 2], [0, 1], [1, 1], "does not rise"),
        ([0, 1], [0, 1], [1, 1], "does not rise"),
        ([0, 2], [1, 0], [1, 1], "columns that do not rise"),
        ([0, 2], [1, 1], [1, 1], "columns that do not rise"),
        ([0, 1, 4], [1, 0, 2, 1], [1, 1, 1, 1], "row 1 has columns that do not rise"),
        ([0, 1, 1, 2], [0, 4], [1, 1], "row 2 has a column outside"),
        ([0, 1], [-1], [1], "a column outside"),
        ([0, 2], [0, 1], [1, 0], "zero, NaN"),
        ([0, 2], [0, 1], [np.nan, 1], "zero, NaN"),
        ([0, 2], [0, 1], [1, np.inf], "zero, NaN"),
        ([0, 2], [0, 1], [1], "2 columns and 1 values"),
        ([], [], [], "0 row bounds"),
    ],
)
def test_rows_that_break_the_format_are_refused_and_leave_no_file(
    tmp_path: Path, indptr: list[int], indices: list[int], data: list[float], complaint: str
) -> None:
    bad = Csr(np.array(indptr, np.int64), np.array(indices, np.int32), np.array(data, np.float32), (len(indptr) - 1, 4))
    with pytest.raises(ShardError, match=complaint), CsrWriter(tmp_path / "a.npz", 4) as writer:
        writer.append(bad)
    assert list(tmp_path.iterdir()) == []


def test_check_looks_across_the_seams_of_its_blocks() -> None:
    n = (1 << 20) + 1
    columns = np.arange(n, dtype=np.int32)
    check(Csr(np.array([0, n]), columns, np.ones(n, np.float32), (1, n)))
    columns[n - 1] = columns[n - 2]
    with pytest.raises(ShardError, match="columns that do not rise"):
        check(Csr(np.array([0, n]), columns, np.ones(n, np.float32), (1, n)))
    check(Csr(np.array([0, n - 1, n]), columns, np.ones(n, np.float32), (2, n)))


def test_a_batch_of_another_width_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="width 4, expected 5"), CsrWriter(tmp_path / "a.npz", 5) as writer:
        writer.append(csr_of(np.ones((2, 4), np.float32)))


def test_what_the_shard_says_of_its_rows_is_in_the_file(tmp_path: Path) -> None:
    tokens = Tokens(
        token_ids=np.array([2, 2**40, 7]),
        texts=["<bos>", " caf\u00e9", "\ud800"],
        row_document=np.array([0, 0, 1]),
        row_position=np.array([0, 1, 0]),
        row_mask=np.array([True, False, True]),
        sections={"prompt": (0, 2), "response": (2, 3)},
    )
    write(tmp_path / "a.npz", np.ones((3, 2), np.float32), tokens=tokens)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as members:
        assert members["tokens"].tolist() == tokens.texts
        assert members["token_ids"].tolist() == [2, 2**40, 7] and members["token_ids"].dtype == np.int64
        assert members["row_document"].tolist() == [0, 0, 1] and members["row_position"].tolist() == [0, 1, 0]
        assert members["row_mask"].tolist() == [True, False, True] and members["row_mask"].dtype == np.bool_
        assert json.loads(members["meta"].tobytes())["sections"] == {"prompt": [0, 2], "response": [2, 3]}


@pytest.mark.parametrize("texts", [["a", "b" * 100_000, ""], ["a\0", "\0", ""]])
def test_long_tokens_and_those_that_end_in_nul_are_stored_exactly_in_little_room(
    tmp_path: Path, texts: list[str]
) -> None:
    path = write(tmp_path / "a.npz", np.ones((3, 2), np.float32), tokens=Tokens(texts=texts))
    assert path.stat().st_size < 4000 + sum(map(len, texts))
    with np.load(path, allow_pickle=False) as members:
        encoded, offsets = members["tokens"].tobytes(), members["tokens_offsets"]
    assert [encoded[offsets[i] : offsets[i + 1]].decode() for i in range(3)] == texts


@pytest.mark.parametrize(
    "tokens",
    [Tokens(token_ids=np.arange(4)), Tokens(texts=["a"] * 2), Tokens(row_mask=np.ones((3, 1), np.bool_))],
)
def test_tokens_that_do_not_match_the_rows_are_refused_and_leave_no_file(tmp_path: Path, tokens: Tokens) -> None:
    with pytest.raises(ShardError, match=r"a\.npz: .* expected \[3\]"):
        write(tmp_path / "a.npz", np.ones((3, 2), np.float32), tokens=tokens)
    assert list(tmp_path.iterdir()) == []


def test_every_array_starts_at_a_multiple_of_64(tmp_path: Path) -> None:
    tokens = Tokens(token_ids=np.arange(7), row_mask=np.arange(7) > 2, texts=["\0"] * 7)
    for n_meta in range(66):
        path = write(tmp_path / "a.npz", np.eye(7, dtype=np.float32), tokens=tokens, meta={"m": "x" * n_meta})
        with path.open("rb") as file:
            members = find_members(path, file, ARRAYS)
        assert set(members) == set(ARRAYS)
        assert [member.offset % ALIGNMENT for member in members.values()] == [0] * len(members)
    with np.load(path) as expected:
        for name, member in members.items():
            np.testing.assert_array_equal(member.of(path.read_bytes()), expected[name])


def test_zip64_records_as_of_4_gib_are_written_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dense = np.arange(1, 2001, dtype=np.float32).reshape(50, 40)
    small = write(tmp_path / "small.npz", dense).stat().st_size
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 300)  # where the standard library starts to use them
    path = write(tmp_path / "large.npz", dense)
    monkeypatch.undo()
    assert path.stat().st_size > small and b"PK\x06\x06" in path.read_bytes()
    np.testing.assert_array_equal(scipy.sparse.load_npz(path).toarray(), dense)
    with path.open("rb") as file:
        members = find_members(path, file, ARRAYS)
    np.testing.assert_array_equal(members["data"].of(path.read_bytes()), dense.ravel())


def test_nothing_has_the_final_name_before_publish_and_nothing_is_left_without_it(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with CsrWriter(path, 4, temporary=tmp_path / "a.npz.host-7.2.tmp") as writer:
        writer.append(csr_of(np.ones((2, 4), np.float32)))
        assert list(tmp_path.iterdir()) == []
        writer.finish({}, Tokens())
        assert [one.name for one in tmp_path.iterdir()] == ["a.npz.host-7.2.tmp"]
        assert scipy.sparse.load_npz(writer.temporary.open("rb")).nnz == 8
    assert list(tmp_path.iterdir()) == []


def test_an_exception_at_any_step_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", np.ones((2, 4), np.float32))
    before = path.read_bytes()
    for n_steps in range(3):
        with pytest.raises(KeyboardInterrupt), CsrWriter(path, 4) as writer:
            if n_steps >= 1:
                writer.append(csr_of(np.eye(4, dtype=np.float32)))
            if n_steps >= 2:
                writer.finish({}, Tokens())
            raise KeyboardInterrupt
        assert [one.name for one in tmp_path.iterdir()] == ["a.npz"] and path.read_bytes() == before
    with pytest.raises(ValueError, match="JSON"):
        write(path, np.ones((2, 4), np.float32), meta={"explained": float("nan")})
    assert [one.name for one in tmp_path.iterdir()] == ["a.npz"] and path.read_bytes() == before


def test_a_writer_whose_file_was_taken_away_cannot_publish(tmp_path: Path) -> None:
    with pytest.raises(FencedError), CsrWriter(tmp_path / "a.npz", 4) as writer:
        writer.finish({}, Tokens())
        writer.temporary.unlink()
        writer.publish()
    assert list(tmp_path.iterdir()) == []


CRASHING = """
import os, resource, signal, sys
import numpy as np
from pathlib import Path
from encoder.file.csr import Csr, CsrWriter
from encoder.shard import Tokens
columns = np.tile(np.arange(100, dtype=np.int32), 4000)
batch = Csr(np.arange(0, 400_001, 100), columns, np.ones(400_000, np.float32), (4000, 100))
with CsrWriter(Path(sys.argv[1]), 100, temporary=Path(sys.argv[1] + ".w.tmp")) as writer:
    writer.append(batch)
    if sys.argv[2] == "append":
        os.kill(os.getpid(), signal.SIGKILL)
    if sys.argv[2] == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, resource.RLIM_INFINITY))
    writer.finish({}, Tokens())
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    ("how", "left", "status"),
    [("append", [], -9), ("finish", ["a.npz.w.tmp"], -9), ("full", [], 1)],
)
def test_a_kill_or_a_full_disk_leaves_no_final_file(tmp_path: Path, how: str, left: list[str], status: int) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", CRASHING, tmp_path / "a.npz", how], cwd=root, capture_output=True, text=True
    )
    assert done.returncode == status and (how != "full" or "File too large" in done.stderr), done.stderr
    assert [one.name for one in tmp_path.iterdir()] == left


def test_memory_is_bounded_by_the_batch(tmp_path: Path) -> None:
    batch = csr_of(np.ones((200, 1000), np.float32))
    tracemalloc.start()
    try:
        with CsrWriter(tmp_path / "a.npz", 1000) as writer:
            for _ in range(30):
                writer.append(batch)
            writer.finish({}, Tokens())
            assert writer.temporary.stat().st_size > 48_000_000
        assert tracemalloc.get_traced_memory()[1] < 16_000_000
    finally:
        tracemalloc.stop()
