"""The index by feature: the transposed matrix, whatever the memory; its reader; and what may go wrong."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import encoding
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from test_features import META, arrays_of, change, write

import encoder.cli
from encoder import FeatureIndex, encode_files, index_state, open_features, open_index
from encoder.errors import EncoderError, InputError, ShardError
from encoder.index import older
from encoder.index.build import build_index
from encoder.index.format import row_dtype
from encoder.index.runs import Runs, split
from encoder.shard import Tokens
from saefetch.files.digest import Stopped

WIDTH = 24


def sparse(n_rows: int, seed: int, *, share: float = 0.3, width: int = WIDTH) -> scipy.sparse.csr_matrix:
    """Return values that float16 holds and of which many are equal; feature 0 fires always, the last one never."""
    random = np.random.default_rng(seed)
    dense = random.integers(1, 50, (n_rows, width)).astype(np.float32) / 4
    dense[random.random(dense.shape) > share] = 0
    dense[:, -1] = 0
    dense[::5] = 0
    dense[1::2, 0] = 3
    return scipy.sparse.csr_matrix(dense)


def fill(
    folder: Path, sizes: list[int], seed: int = 0, *, documents: bool = True, share: float = 0.3, masks: bool = True
) -> None:
    """Write shards of these numbers of rows: of every three one in float16, one without documents; every other masked.

    A mask leaves out whole documents, too.
    """
    folder.mkdir(exist_ok=True)
    for i, n_rows in enumerate(sizes):
        said = np.sort(np.random.default_rng(seed + i).integers(0, 1 + n_rows // 3, n_rows)) if n_rows else np.arange(0)
        mask = (np.arange(n_rows) + seed) % 7 < 4 if masks and i % 2 == 0 else None
        tokens = Tokens(row_document=said if documents and i % 3 else None, row_mask=mask)
        matrix = sparse(n_rows, seed + i, share=share)
        write(
            folder / f"{i:03}.npz",
            matrix,
            tokens,
            {**META, "shard_sha256": f"{i}"},
            "float16" if i % 3 == 1 else "float32",
        )


def whole(folder: Path) -> scipy.sparse.csr_matrix:
    """Return all rows, those that do not count without values."""
    with open_features(folder) as features:
        counts = np.concatenate([features.counts(i) for i in range(features.n_shards)])
        counted = scipy.sparse.csr_matrix(features[:].multiply(counts[:, None]))
    counted.eliminate_zeros()
    return counted


def documents_of(folder: Path) -> list[tuple[int, int]]:
    """Return the shard and the first row of each document, one row after the other."""
    found, row = [], 0
    with open_features(folder) as features:
        for i in range(features.n_shards):
            said = features.tokens(i).row_document
            before = None
            for at in range(features.shard(i).shape[0]):
                now = 0 if said is None else int(said[at])
                if now != before:
                    found.append((i, row))
                before, row = now, row + 1
    return found


def check_against_scipy(folder: Path) -> FeatureIndex:
    index = open_index(folder)
    truth = whole(folder).tocsc()
    truth.sort_indices()
    assert (index.shape, index.nnz) == (truth.shape, truth.nnz)
    documents = documents_of(folder)
    assert index.documents.tolist() == [*(row for _, row in documents), truth.shape[0]]
    assert index.document_shard.tolist() == [shard for shard, _ in documents]
    assert index.count.tolist() == np.diff(truth.indptr).tolist()
    with open_features(folder) as features:
        counted = np.flatnonzero(np.concatenate([features.counts(i) for i in range(features.n_shards)]))
    assert index.n_rows_counted == len(counted) == index.shape[0] - sum(index.excluded.values())
    assert index.n_documents_counted == len(set(index.document_of(counted).tolist()))
    assert index.density.tolist() == (index.count / max(1, len(counted))).tolist()
    for feature in range(truth.shape[1]):
        start, stop = truth.indptr[feature : feature + 2]
        rows, values = index.feature(feature)
        assert rows.tolist() == truth.indices[start:stop].tolist()
        assert values.tolist() == truth.data[start:stop].tolist() and values.dtype == np.float32
        order = sorted(range(len(rows)), key=lambda at: (-values[at], rows[at]))
        for k in (0, 3, 64, len(rows)):
            top_rows, top_values = index.top(feature, k)
            assert top_rows.tolist() == rows[order[:k]].tolist() and top_values.tolist() == values[order[:k]].tolist()
        assert index.max[feature] == max(values, default=0) and index.min[feature] == min(values, default=0)
        assert index.sum[feature] == float(values.astype(np.float64).sum())
        assert index.n_documents[feature] == len(set(index.document_of(rows).tolist()))
        edges, counts = index.histogram(feature)
        assert counts.sum() == len(rows) and len(edges) == 33 and edges[-1] == index.max[feature]
        if len(rows):
            expected = np.histogram(values.astype(np.float64), bins=32, range=(0, float(values.max())))[0]
            assert counts.tolist() == expected.tolist()
    return index


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.sampled_from([0, 1, 2, 7, 30, 90]), min_size=1, max_size=5),
    seed=st.integers(0, 1000),
    memory=st.integers(1, 20_000),
    share=st.sampled_from([0.0, 0.1, 1.0]),
)
def test_it_is_the_transposed_matrix_whatever_the_shards_and_the_memory(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], seed: int, memory: int, share: float
) -> None:
    folder = tmp_path_factory.mktemp("features")
    fill(folder, sizes, seed, share=share)
    build_index(folder, memory_bytes=memory)
    check_against_scipy(folder)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an index, not to be changed."""
    folder = tmp_path_factory.mktemp("made")
    fill(folder, [40, 0, 90, 33])
    build_index(folder)
    return folder


def copy(made: Path, to: Path) -> Path:
    to.mkdir(exist_ok=True)
    for path in made.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


def test_the_bytes_depend_on_the_shards_alone(made: Path, tmp_path: Path) -> None:
    expected = (made / "features.csc").read_bytes()
    folder = copy(made, tmp_path / "elsewhere")
    for memory in (1, 700, 5_000, 40_000, 1 << 30):
        build_index(folder, memory_bytes=memory)
        assert (folder / "features.csc").read_bytes() == expected, memory
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in made.iterdir())


def test_scipy_opens_it_and_the_folder_still_opens_as_features(made: Path) -> None:
    opened = scipy.sparse.load_npz(made / "features.csc")
    assert isinstance(opened, scipy.sparse.csc_matrix) and opened.has_canonical_format
    assert (opened != whole(made)).nnz == 0
    assert [path.suffix for path in open_features(made).paths] == [".npz"] * 4


def test_a_part_of_the_rows_of_a_feature_is_had_without_the_rest(made: Path) -> None:
    index = open_index(made)
    rows, values = index.feature(0)
    for start, stop in [(0, 1), (40, 90), (11, 12), (50, None), (9, 9)]:
        some, theirs = index.feature(0, start, stop)
        within = (rows >= start) & (rows < (stop or 10**9) if stop != 9 else rows < 0)
        assert some.tolist() == rows[within].tolist() and theirs.tolist() == values[within].tolist()
        assert not some.flags.owndata and not some.flags.writeable
    for feature in (-1, WIDTH):
        with pytest.raises(IndexError):
            index.feature(feature)
    with pytest.raises(IndexError):
        index.document_of([163])
    assert index.mean[0] == index.sum[0] / index.count[0] and index.density[0] == index.count[0] / 109
    index.close()
    with pytest.raises(EncoderError, match="closed"):
        index.top(0)


def test_signed_features_go_by_magnitude_and_keep_their_sign(tmp_path: Path) -> None:
    dense = np.array([[-1, -3], [4, -2], [-2, 0], [-4, -2], [0.5, 3]], np.float32)
    write(tmp_path / "a.npz", scipy.sparse.csr_matrix(dense))
    build_index(tmp_path)
    index = open_index(tmp_path)
    assert [array.tolist() for array in index.top(0)] == [[1, 3, 2, 0, 4], [4, -4, -2, -1, 0.5]]
    assert [array.tolist() for array in index.top(1)] == [[0, 4, 1, 3], [-3, 3, -2, -2]]
    assert index.max.tolist() == [4, -3] and index.min.tolist() == [-4, -3]
    for feature, column in enumerate(dense.T):
        edges, counts = index.histogram(feature)
        largest = float(np.abs(column).max())
        expected = np.histogram(column[column != 0].astype(np.float64), bins=32, range=(-largest, largest))
        assert counts.tolist() == expected[0].tolist() and edges.tolist() == expected[1].tolist()


def test_more_of_a_signed_features_strongest_rows_than_are_kept_go_by_magnitude(tmp_path: Path) -> None:
    column = np.random.default_rng(3).integers(-20, 21, 300).astype(np.float32)
    write(tmp_path / "a.npz", scipy.sparse.csr_matrix(column[:, None]))
    build_index(tmp_path)
    rows, values = open_index(tmp_path).top(0, 150)
    order = np.lexsort((np.arange(300), -np.abs(column)))[:150]
    assert rows.tolist() == order.tolist() and values.tolist() == column[order].tolist()


def test_rows_beyond_2_31_are_int64(made: Path, tmp_path: Path) -> None:
    far = 1 << 33
    indptr = np.array([0, 2, 3], np.int64)
    with Runs(tmp_path, 2, capacity=2) as runs:
        runs.add(far, np.array([0, 1, 2]), np.array([5, 7], np.int32), np.array([1, 2], np.float32))
        runs.add(far + 10, np.array([0, 1, 1]), np.array([3], np.int32), np.array([4], np.float32))
        parts = runs.rows(indptr, split(indptr, 2, 9), row_dtype(far))
        assert [part.entries.tolist() for part in parts] == [[far + 5, far + 13], [far + 7]]
    arrays = arrays_of(copy(made, tmp_path) / "features.csc")
    arrays["shape"][0] = arrays["document_rows"][-1] = far + 163
    for name in ("indices", "histogram", "word_rows"):
        arrays[name] = arrays[name].astype(np.int64)
    for name in ("indices", "top_rows"):
        arrays[name][arrays[name] >= 0] += far
    with (tmp_path / "features.csc").open("wb") as file:
        np.savez(file, **arrays)
    index, before = open_index(tmp_path), open_index(made)
    for rows, theirs in [(index.feature(0)[0], before.feature(0)[0]), (index.top(0)[0], before.top(0)[0])]:
        assert rows.dtype == np.int64 and rows.tolist() == [row + far for row in theirs.tolist()]
    assert index.state == "stale"


def test_ranges_fit_into_memory_or_are_one_feature() -> None:
    indptr = np.array([0, 5, 5, 6, 26, 30, 31], np.int64)
    assert split(indptr, 6, 10) == [(0, 3), (3, 4), (4, 6)]
    assert split(indptr, 100, 4) == [(0, 4), (4, 6)]
    assert split(np.zeros(1, np.int64), 6, 10) == []


def make_older(folder: Path) -> None:
    """Give the folder the index that an earlier version would have made: it knew no masks."""
    plain = folder.with_name(f"{folder.name} without masks")
    plain.mkdir()
    for path in folder.glob("*.npz"):
        with (plain / path.name).open("wb") as file:
            np.savez(file, **{name: array for name, array in arrays_of(path).items() if name != "row_mask"})
    build_index(plain)
    arrays = arrays_of(plain / "features.csc")
    meta = json.loads(arrays["meta"].tobytes())
    for name in ("rows_counted", "excluded", "n_documents_counted"):
        del meta[name]
    arrays["meta"] = np.frombuffer(json.dumps(meta | {"version": 1}).encode(), np.uint8)
    del arrays["min"]
    with (folder / "features.csc").open("wb") as file:
        np.savez(file, **arrays)


@pytest.mark.parametrize("block", [1, 50, older.BLOCK_ENTRIES])
@pytest.mark.parametrize("masks", [True, False])
def test_an_older_index_says_that_it_is_older_and_shows_no_figure_of_rows_that_do_not_count(
    tmp_path: Path, command: Any, monkeypatch: pytest.MonkeyPatch, masks: bool, block: int
) -> None:
    monkeypatch.setattr(older, "BLOCK_ENTRIES", block)
    folder = tmp_path / "f"
    fill(folder, [40, 0, 30], masks=masks)
    build_index(folder)
    before = keeps(folder)
    make_older(folder)
    with open_features(folder) as features, open_index(folder) as index:
        assert index_state(folder) == index.state == "older" and index.is_older
        assert index.excluded == features.excluded() and (sum(index.excluded.values()) > 0) == masks
    index = check_against_scipy(folder)
    index.close()
    with pytest.raises(EncoderError, match="closed"):
        index.top(3)
    assert json.loads(command(folder, "--json")[1])["state"] == "made"
    assert index_state(folder) == "ready" and keeps(folder) == before


def test_an_older_index_of_other_files_gives_no_figure(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    fill(folder, [40, 30, 20])
    build_index(folder)
    make_older(folder)
    remove(folder)
    with open_index(folder) as index:
        assert index.state == "stale"
        for ask in (index.top, index.feature, index.histogram, lambda _: index.max, lambda _: index.density):
            with pytest.raises(EncoderError, match="of an older version, and its features files are others now"):
                ask(3)


def test_an_older_index_with_rows_that_are_not_there_is_damaged(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    fill(folder, [40, 30])
    build_index(folder)
    make_older(folder)
    arrays = arrays_of(folder / "features.csc")
    arrays["indices"][7] = 70
    with (folder / "features.csc").open("wb") as file:
        np.savez(file, **arrays)
    with open_index(folder) as index, pytest.raises(EncoderError, match=r"has rows outside 0\.\.69; remove it and run"):
        _ = index.count


def remove(folder: Path) -> None:
    (folder / "002.npz").unlink()


def again(folder: Path) -> None:
    write(folder / "002.npz", sparse(90, 2), Tokens(), {**META, "shard_sha256": "2", "select": {"layer": "3"}})


def add(folder: Path) -> None:
    write(folder / "004.npz", sparse(3, 9))


def rename(folder: Path) -> None:
    (folder / "002.npz").rename(folder / "0021.npz")


@pytest.mark.parametrize("what", [remove, again, add, rename])
def test_it_is_stale_once_the_shards_are_others_and_ready_while_they_are_not(
    made: Path, tmp_path: Path, what: Callable[[Path], None]
) -> None:
    folder = copy(made, tmp_path / "f")
    assert index_state(folder) == open_index(folder).state == "ready"
    what(folder)
    assert index_state(folder) == open_index(folder).state == "stale"
    build_index(folder)
    assert index_state(folder) == "ready"
    (folder / "features.csc").unlink()
    assert index_state(folder) == "missing"
    with pytest.raises(EncoderError, match="has no index; `sae-encode index"):
        open_index(folder)


def meta_says(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Return what makes the index's meta say something else."""

    def to(meta: Any) -> Any:
        return np.frombuffer(json.dumps(json.loads(meta.tobytes()) | {name: value}).encode(), np.uint8)

    return change("meta", to)


def exercise(folder: Path) -> None:
    index = open_index(folder)
    for feature in range(min(index.shape[1], 100)):
        index.feature(feature)
        index.top(feature, 70)
        index.top(feature, 3)
        index.histogram(feature)
    index.document_of([0])
    _ = index.count, index.density, index.mean, index.n_documents, index.documents, index_state(folder)
    _ = index.max, index.min, index.n_documents_counted, index.excluded


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_index_gives_an_error_of_ours_or_a_sane_answer(
    made: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray((made / "features.csc").read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        new = data.draw(st.sampled_from([b"\xff", b"\0", b"\x80", b"9", b"\xff" * 8, b"\0" * 8]))
        content[at : at + len(new)] = new
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    folder = tmp_path_factory.getbasetemp() / "damaged"
    if not folder.exists():
        copy(made, folder)
    (folder / "features.csc").write_bytes(content)
    try:
        exercise(folder)
    except EncoderError as error:
        assert "\n" not in str(error) and "features.csc" in str(error)
    except IndexError:
        assert open_index(folder).shape[0] == 0  # there is no row 0


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (change("indptr", lambda a: a[:-1]), "indptr is int64"),
        (change("indptr", lambda a: -a), "indptr does not rise"),
        (change("indices", lambda a: a[::-1]), "rows of feature 0 do not rise"),
        (change("indices", lambda a: a + 200), "do not rise within 0..162"),
        (change("indices", lambda a: a.astype(np.int64)), "indices is int64"),
        (change("data", lambda a: a[:-1]), "data is float32"),
        (change("max", lambda a: a.astype(np.float64)), "max is float64"),
        (change("min", lambda a: a[1:]), "min is float32"),
        (lambda arrays: arrays.pop("min"), "has no min"),
        (meta_says("rows_counted", 164), "rows_counted 164 of 163"),
        (meta_says("rows_counted", "all"), "rows_counted 'all'"),
        (meta_says("n_documents_counted", -1), "n_documents_counted -1"),
        (meta_says("excluded", {"mask": "x"}), "its meta says excluded"),
        (change("sum", lambda a: a[1:]), "sum is float64"),
        (change("n_documents", lambda a: a[1:]), "n_documents is int64"),
        (change("histogram", lambda a: a[:, 1:]), "histogram is int32"),
        (change("top_rows", lambda a: a + 200), "strongest rows of feature 0 are not within"),
        (change("top_rows", lambda a: a[:, 0]), "top_rows is int64"),
        (change("top_values", lambda a: a[:, 1:]), "top_values is float32"),
        (change("document_rows", lambda a: a + 1), "documents do not rise"),
        (change("document_shard", lambda a: a[1:]), "document_rows is int64"),
        (change("shape", lambda a: np.array([163, -1])), "its shape is"),
        (change("meta", lambda a: np.frombuffer(b"[]", np.uint8)), "meta is not a JSON object"),
        (change("meta", lambda a: np.frombuffer(b"{", np.uint8)), "meta is not JSON"),
        (lambda arrays: arrays.pop("max"), "has no max"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_with_the_reason(
    made: Path, tmp_path: Path, damage: Callable[[dict[str, Any]], None], complaint: str
) -> None:
    arrays = arrays_of(made / "features.csc")
    damage(arrays)
    copy(made, tmp_path)
    with (tmp_path / "features.csc").open("wb") as file:
        np.savez(file, **arrays)
    with pytest.raises(EncoderError, match=complaint):
        exercise(tmp_path)


def keeps(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (change("indices", lambda a: a + 1), "column outside the width"),
        (change("indices", lambda a: a[::-1]), "columns that do not rise"),
        (change("indices", lambda a: np.concatenate([a[:1], a[:1], a[2:]])), "columns that do not rise"),
        (change("data", lambda a: a * np.float32(np.nan)), "zero, NaN or infinity"),
        (change("data", lambda a: a * 0), "zero, NaN or infinity"),
        (change("indptr", lambda a: np.where(a == 0, 1, a)), "indptr does not rise"),
        (change("indptr", lambda a: np.append(a[:-1], 3)), "indptr does not rise"),
        (change("indptr", lambda a: np.where(a > 50, a[-1], a)), "a row of"),
    ],
)
def test_a_damaged_shard_is_named_and_the_old_index_stays(
    made: Path, tmp_path: Path, damage: Callable[[dict[str, Any]], None], complaint: str
) -> None:
    copy(made, tmp_path)
    arrays = arrays_of(made / "002.npz")
    arrays["indices"][-1] = WIDTH - 1
    damage(arrays)
    np.savez(tmp_path / "002.npz", **arrays)
    before = keeps(tmp_path)
    with pytest.raises(ShardError, match=rf"002\.npz.*{complaint}") as refused:
        build_index(tmp_path)
    assert "\n" not in str(refused.value) and keeps(tmp_path) == before


def test_a_shard_that_is_replaced_or_cut_meanwhile_is_an_error(made: Path, tmp_path: Path) -> None:
    for what in ("replaced", "cut"):
        copy(made, tmp_path)
        last = tmp_path / "003.npz"

        def meddle(done: int, total: int, what: str = what, last: Path = last) -> None:
            if what == "cut":
                os.truncate(last, 100)
            else:
                write(last, sparse(33, 5))

        with pytest.raises(EncoderError, match=r"003\.npz: was replaced"):
            build_index(tmp_path, watch=meddle)
        assert not list(tmp_path.glob("*.tmp"))


def test_told_to_stop_at_any_step_it_leaves_the_old_index_and_nothing_else(made: Path, tmp_path: Path) -> None:
    copy(made, tmp_path)
    write(tmp_path / "003.npz", sparse(20, 5))
    before = keeps(tmp_path)
    for limit in range(1000):
        steps = iter(range(limit))
        try:
            build_index(tmp_path, memory_bytes=8000, stopping=lambda steps=steps: next(steps, None) is None)
        except Stopped:
            assert keeps(tmp_path) == before
        else:
            break
    assert 20 < limit < 999
    check_against_scipy(tmp_path)


def test_what_a_crash_left_is_removed_and_a_folder_is_worked_on_by_one(made: Path, tmp_path: Path) -> None:
    copy(made, tmp_path)
    (tmp_path / "features.csc.0abc.tmp").write_bytes(b"half")
    refused: list[EncoderError] = []

    def second(done: int, total: int) -> None:
        with pytest.raises(EncoderError, match="another process is making its index") as caught:
            build_index(tmp_path)
        refused.append(caught.value)

    build_index(tmp_path, watch=second)
    assert refused and keeps(tmp_path) == keeps(made)


def test_a_full_disk_is_one_line_and_leaves_the_old_index(made: Path, tmp_path: Path) -> None:
    copy(made, tmp_path)
    before = keeps(tmp_path)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        for n_bytes in (100, 30_000):
            resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, old[1]))
            with pytest.raises(EncoderError, match=r"features\.csc: cannot be written: File too large"):
                build_index(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
    assert keeps(tmp_path) == before


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """`sae-encode index` in this process -> exit status, stdout, stderr."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sae-encode", "index", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            encoder.cli.main()
        for number, handler in before.items():
            signal.signal(number, handler)
        return int(ended.value.code or 0), *capfd.readouterr()

    return run


def test_the_command_makes_it_once_and_says_so(made: Path, tmp_path: Path, command: Any) -> None:
    copy(made, tmp_path)
    (tmp_path / "features.csc").unlink()
    status, out, err = command(tmp_path, "--memory-mb", 1)
    assert (
        (status, err) == (0, "")
        and "109 rows" in out
        and "54 rows do not count (mask 54)" in out
        and str(tmp_path / "features.csc") in out
    )
    assert keeps(tmp_path) == keeps(made)
    stamp = (tmp_path / "features.csc").stat().st_mtime_ns
    status, out, _ = command(tmp_path)
    assert status == 0 and "nothing to do" in out
    status, out, _ = command(tmp_path, "--json")
    assert json.loads(out)["state"] == "unchanged" and json.loads(out)["rows"] == 163
    assert command(tmp_path, "--quiet") == (0, "", "")
    assert (tmp_path / "features.csc").stat().st_mtime_ns == stamp
    (tmp_path / "features.csc").write_bytes(b"damaged")
    assert json.loads(command(tmp_path, "--json")[1])["state"] == "made" and keeps(tmp_path) == keeps(made)


def test_the_command_refuses_in_one_line(made: Path, tmp_path: Path, command: Any) -> None:
    copy(made, tmp_path / "f")
    (tmp_path / "f" / "002.npz").write_bytes(b"PK")
    for words, expected, complaint in [
        ([tmp_path / "none"], 2, "is not a folder"),
        ([made / "002.npz"], 2, "is not a folder"),
        ([tmp_path], 1, "has no features files"),
        ([tmp_path / "f"], 1, "002.npz"),
        ([made, "--memory-mb", 0], 2, "memory-mb"),
    ]:
        status, out, err = command(*words)
        assert (status, out, err.count("\n")) == (expected, "", 1) and complaint in err, (words, err)
    with pytest.raises(InputError):
        build_index(tmp_path / "none")


INTERRUPTED = """
import glob, os, signal, sys
number = int(sys.argv.pop())
def hook(event, arguments):
    if event == "open" and str(arguments[0]).endswith("002.npz") and glob.glob(sys.argv[2] + "/features.csc.*.tmp"):
        os.kill(os.getpid(), number)
sys.addaudithook(hook)
import encoder.cli
try:
    encoder.cli.main()
finally:
    assert "torch" not in sys.modules
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_one_line_and_leaves_nothing(made: Path, tmp_path: Path, number: int) -> None:
    copy(made, tmp_path)
    (tmp_path / "features.csc").unlink()
    command = [sys.executable, "-c", INTERRUPTED, "index", tmp_path, str(int(number))]
    found = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}  # where `sae-encode` is
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], env=found)
    assert done.returncode == 128 + number and done.stdout == ""
    assert done.stderr == f"Interrupted; nothing was changed. To start again: sae-encode index {tmp_path}\n"
    assert not list(tmp_path.glob("features.csc*"))


def test_features_of_an_abs_top_k_sae_are_indexed_by_magnitude_from_end_to_end(tmp_path: Path) -> None:
    sae = encoding.save(encoding.make_module("abstopk", k=7), tmp_path / "sae")
    x = np.random.default_rng(0).standard_normal((120, encoding.D_IN)).astype(np.float32)
    np.save(tmp_path / "a.npy", x)
    with encode_files(tmp_path / "a.npy", tmp_path / "out", sae, progress=False) as features:
        dense = features[:].toarray()
    assert (dense < 0).sum() > 100 < (dense > 0).sum()
    build_index(tmp_path / "out")
    index = open_index(tmp_path / "out")
    for feature in np.flatnonzero(dense.any(axis=0)).tolist():
        column = dense[:, feature]
        order = np.lexsort((np.arange(120), -np.abs(column)))[: np.count_nonzero(column)]
        rows, values = index.top(feature, 120)
        assert rows.tolist() == order.tolist() and values.tolist() == column[order].tolist()
        assert index.max[feature] == values[0]
        edges, counts = index.histogram(feature)
        assert counts[:16].sum() == (0 if edges[0] == 0 else (column < 0).sum())
