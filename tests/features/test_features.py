"""A folder of features files as one matrix: the rows of all of them, at the cost of the rows asked for."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from encoder import Features, open_features
from encoder.errors import EncoderError, MismatchError, ShardError
from encoder.file.csr import Csr, CsrWriter, Values
from encoder.file.feature_file import open_file
from encoder.shard import Tokens

ROOT = Path(__file__).parents[2]
WIDTH = 30
META = {"weights_sha256": "ab" * 32, "sae_id": "layer_16/width_16k/canonical"}


def write(path: Path, matrix: Any, tokens: Any = None, meta: Any = META, values: Values = "float32") -> Path:
    with CsrWriter(path, matrix.shape[1], values=values) as writer:
        writer.append(Csr(matrix.indptr.astype(np.int64), matrix.indices, matrix.data, matrix.shape))
        writer.finish(meta, tokens or Tokens())
        writer.publish()
    return path


def random_matrix(n_rows: int, seed: int) -> scipy.sparse.csr_matrix:
    """Return values that float16 holds exactly, with empty rows among them."""
    dense = np.random.default_rng(seed).integers(-9, 10, (n_rows, WIDTH)).astype(np.float32)
    dense[np.abs(dense) < 6] = 0
    dense[::3] = 0
    return scipy.sparse.csr_matrix(dense)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six shards: one without rows, one without features, one in float16."""
    path = tmp_path_factory.mktemp("features")
    for i, n_rows in enumerate([5, 0, 9, 4, 1, 20]):
        matrix = random_matrix(n_rows, i) if i != 3 else scipy.sparse.csr_matrix((n_rows, WIDTH), dtype=np.float32)
        tokens = Tokens(
            token_ids=np.arange(n_rows) + 100 * i,
            texts=[f"{i}.{row}" + "\0" * (i == 2) for row in range(n_rows)],
            row_mask=np.arange(n_rows) != 1,
            sections={"prompt": (0, n_rows)} if i == 5 else {},
        )
        write(path / f"{i}.npz", matrix, tokens, {**META, "number": i}, "float16" if i == 2 else "float32")
    (path / "6.npz.w.1.tmp").write_bytes(b"a worker's half-written file")
    return path


@pytest.fixture(scope="module")
def truth(folder: Path) -> np.ndarray[Any, Any]:
    shards = [scipy.sparse.load_npz(folder / f"{i}.npz").astype(np.float32).toarray() for i in range(6)]
    return np.concatenate(shards)


@pytest.fixture(scope="module")
def features(folder: Path) -> Features:
    return open_features(folder)


T = 39
SELECTIONS = st.one_of(
    st.integers(-T, T - 1),
    st.slices(T),
    st.lists(st.integers(-T, T - 1), max_size=30),
    st.lists(st.integers(-T, T - 1), max_size=30).map(lambda rows: np.array(rows, np.int32)),
    st.lists(st.booleans(), min_size=T, max_size=T),
    st.permutations(range(T)),
)


def test_an_array_of_a_shard_and_where_its_rows_begin(features: Features, folder: Path) -> None:
    assert features.first_rows.tolist() == [0, 5, 5, 14, 18, 19, 39]
    with np.load(folder / "5.npz") as shard:
        assert np.array_equal(features.array(5, "indptr"), shard["indptr"])
    assert features.array(5, "row_document") is None


@settings(max_examples=300, deadline=None)
@given(rows=SELECTIONS)
def test_any_rows_are_those_of_the_concatenated_truth(
    features: Features, truth: np.ndarray[Any, Any], rows: Any
) -> None:
    taken = features[rows]
    assert isinstance(taken, scipy.sparse.csr_matrix) and taken.dtype == np.float32
    expected = truth[[rows] if isinstance(rows, int) else rows if len(np.shape(rows)) == 0 or len(rows) else []]
    np.testing.assert_array_equal(taken.toarray(), expected.reshape(-1, WIDTH))
    taken.check_format(full_check=True)
    assert taken.has_canonical_format


def test_the_folder_says_its_shape_and_meta_and_gives_its_shards(
    features: Features, folder: Path, truth: np.ndarray[Any, Any]
) -> None:
    assert features.shape == (T, WIDTH) and len(features) == T and features.n_shards == 6
    assert features.nnz == np.count_nonzero(truth)
    assert [meta["number"] for meta in features.meta] == list(range(6))
    assert [path.name for path in features.paths] == [f"{i}.npz" for i in range(6)]
    np.testing.assert_array_equal(np.concatenate([shard.toarray() for shard in features]), truth)
    np.testing.assert_array_equal(features.shard(-1).toarray(), truth[-20:])
    np.testing.assert_array_equal(open_features(str(folder / "2.npz"))[:].toarray(), truth[5:14])
    assert features.locate(0) == (0, 0) and features.locate(5) == (2, 0) and features.locate(-1) == (5, 19)


def test_tokens_come_back_by_shard_and_by_rows_of_it(features: Features) -> None:
    tokens = features.tokens(2, 3, -4)
    assert tokens.texts == ["2.3\0", "2.4\0"] and tokens.token_ids is not None and tokens.row_mask is not None
    assert tokens.token_ids.tolist() == [203, 204] and tokens.row_mask.tolist() == [True, True]
    assert tokens.row_document is None and tokens.sections == {}
    assert features.tokens(5).texts == [f"5.{row}" for row in range(20)]
    assert features.tokens(5).sections == {"prompt": (0, 20)}
    assert features.tokens(1).texts == [] and features.tokens(0, 4, 2).texts == []


def test_what_is_copied_out_of_a_file_does_not_keep_it_mapped(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", scipy.sparse.csr_matrix(np.ones((400, 1000), np.float32)))
    with open_features(path) as features:
        rows = features[3:300]
    assert str(path) not in Path("/proc/self/maps").read_text()
    assert rows.nnz == 297_000


@pytest.mark.parametrize("rows", [T, -T - 1, [0, T], [True] * (T - 1), 1.5, [0.0], "a", (1, 2, [3]), [[1]], True, None])
def test_rows_that_are_not_there_or_not_rows_are_an_index_error(features: Features, rows: Any) -> None:
    with pytest.raises((IndexError, ValueError)):
        features[rows]


def test_a_shard_that_is_not_there_is_an_index_error(features: Features) -> None:
    for i in (6, -7):
        with pytest.raises(IndexError):
            features.shard(i)


def test_after_close_what_was_taken_stays_and_nothing_more_is_given(folder: Path, truth: np.ndarray[Any, Any]) -> None:
    with open_features(folder) as features:
        shard = features.shard(5)
    np.testing.assert_array_equal(shard.toarray(), truth[-20:])
    with pytest.raises(EncoderError, match="closed"):
        features[0]


def test_the_columns_of_a_large_shard_stay_on_disk(tmp_path: Path) -> None:
    matrix = scipy.sparse.csr_matrix(np.ones((400, 1000), np.float32))
    features = open_features(write(tmp_path / "a.npz", matrix))
    shard = features.shard(0)
    assert not shard.indices.flags.owndata and not shard.data.flags.owndata and not shard.data.flags.writeable
    with Path("/proc/self/maps").open() as maps:
        assert str(tmp_path / "a.npz") in maps.read()
    assert (shard != matrix).nnz == 0


def test_shards_of_different_saes_or_widths_are_refused_by_name(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "a.npz", random_matrix(3, 0))
    write(tmp_path / "b.npz", random_matrix(3, 0), meta={**META, "weights_sha256": "cd" * 32})
    with pytest.raises(MismatchError, match=r"a\.npz and b\.npz .* different SAEs .*abab.*cdcd"):
        open_features(tmp_path)
    write(tmp_path / "b.npz", random_matrix(3, 0)[:, :20])
    with pytest.raises(MismatchError, match=r"width 30.*width 20"):
        open_features(tmp_path)


def test_a_folder_without_features_or_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(EncoderError, match="has no features files"):
            open_features(path)


def test_a_file_that_was_replaced_since_is_not_mixed_with_its_old_headers(tmp_path: Path) -> None:
    features = open_features(write(tmp_path / "a.npz", random_matrix(5, 0)).parent)
    write(tmp_path / "a.npz", random_matrix(5, 1))
    with pytest.raises(EncoderError, match="was replaced since"):
        features[0]
    (tmp_path / "a.npz").unlink()
    with pytest.raises(EncoderError, match="cannot be opened any more"):
        features[0]


def exercise(path: Path) -> None:
    features = open_features(path)
    features[:]
    features[[0, -1]]
    for i, shard in enumerate(features):
        if shard.shape[1] < 1 << 16:  # damage may widen a matrix, which is sane as long as it stays sparse
            shard.toarray()
        features.tokens(i)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_a_damaged_or_hostile_file_gives_an_error_of_ours_or_a_sane_matrix(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray((folder / f"{data.draw(st.sampled_from([2, 5]))}.npz").read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        new = data.draw(st.sampled_from([b"\xff", b"\0", b"\x80", b"\x01", b"9", b"\xff" * 8, b"\0" * 8]))
        content[at : at + len(new)] = new
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    path = tmp_path_factory.getbasetemp() / "hostile.npz"
    path.write_bytes(content)
    try:
        exercise(path)
    except EncoderError as error:
        assert "\n" not in str(error) and "hostile.npz" in str(error)


def test_a_file_cut_anywhere_is_refused_when_it_is_opened(folder: Path, tmp_path: Path) -> None:
    content = (folder / "5.npz").read_bytes()
    for n_bytes in range(0, len(content), 37):
        (tmp_path / "a.npz").write_bytes(content[:n_bytes])
        with pytest.raises(EncoderError, match=r"a\.npz"):
            open_features(tmp_path)


def arrays_of(path: Path) -> dict[str, Any]:
    with np.load(path) as members:
        return {name: members[name] for name in members.files}


def change(name: str, to: Callable[[Any], Any]) -> Callable[[dict[str, Any]], None]:
    return lambda arrays: arrays.__setitem__(name, to(arrays[name]))


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (change("indptr", lambda a: a.astype(np.int32)), "indptr is int32"),
        (change("indptr", lambda a: a[:-1]), r"indptr is int64 \[20\]"),
        (change("indptr", lambda a: np.append(a[:-1], 10**9)), "indptr does not rise"),
        (change("indptr", lambda a: -a), "indptr does not rise"),
        (change("indices", lambda a: a + WIDTH), r"columns outside 0\.\.29"),
        (change("indices", lambda a: a - WIDTH), r"columns outside 0\.\.29"),
        (change("indices", lambda a: a.astype(np.int64)), "int64 .* indices"),
        (change("data", lambda a: a[:-1]), "values"),
        (change("data", lambda a: a.astype(np.float64)), "values are float64"),
        (change("shape", lambda a: np.array([20, -1])), "shape of"),
        (change("shape", lambda a: np.array([2**62, WIDTH])), "shape of"),
        (change("meta", lambda a: np.frombuffer(b"[]", np.uint8)), "meta is not a JSON object"),
        (change("meta", lambda a: np.frombuffer(b"[" * 100_000, np.uint8)), "meta is not JSON"),
        (change("token_ids", lambda a: a[1:]), "token_ids is int64"),
        (change("tokens", lambda a: np.array(["x"])), "tokens is <U1"),
        (change("tokens", lambda a: a.view(np.uint32).__iadd__(1 << 30).view(a.dtype)), "tokens are damaged"),
        (lambda arrays: arrays.pop("data"), "has no data"),
        (lambda arrays: arrays.pop("meta"), "has no meta"),
    ],
)
def test_arrays_that_do_not_fit_each_other_are_refused_with_the_reason(
    folder: Path, tmp_path: Path, damage: Callable[[dict[str, Any]], None], complaint: str
) -> None:
    arrays = arrays_of(folder / "5.npz")
    np.savez(tmp_path / "good.npz", **arrays)
    exercise(tmp_path / "good.npz")  # as numpy writes it, without alignment, it is fine
    damage(arrays)
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(EncoderError, match=complaint):
        exercise(tmp_path / "bad.npz")


def test_a_member_that_claims_more_than_is_there_is_refused(folder: Path, tmp_path: Path) -> None:
    content = (folder / "5.npz").read_bytes()
    nnz = open_features(folder / "5.npz").nnz
    said, more = f"'shape': ({nnz},), }}".encode(), f"'shape': ({10**12},), }}".encode()
    assert content.count(said) == 2  # of indices and of data, which must agree
    content = content.replace(said + b" " * (len(more) - len(said)), more)
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(EncoderError, match=r"says int32 .* 4,000,000,000,000 bytes, but has"):
        open_features(tmp_path)

    content = content.replace(
        more, f"'shape': ({10**9},), }}".encode().ljust(len(more))
    )  # the zip directory says so too
    member, claimed = struct.pack("<2I", 128 + 4 * nnz, 128 + 4 * nnz), struct.pack("<2I", *[128 + 4 * 10**9] * 2)
    assert content.count(member) == 2
    (tmp_path / "a.npz").write_bytes(content.replace(member, claimed))
    with pytest.raises(EncoderError, match=r"indices.* would end at byte 4,000,"):
        open_features(tmp_path)


def test_arrays_that_are_not_aligned_in_the_file_are_aligned_in_memory(folder: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=b"y", **arrays_of(folder / "5.npz"))
    loaded = open_file(tmp_path / "a.npz").load()
    assert any(member.offset % 8 for member in loaded.file.members.values())
    assert all(array.flags.aligned for array in loaded.arrays.values())


def test_a_compressed_file_and_an_object_array_are_refused(folder: Path, tmp_path: Path) -> None:
    arrays = arrays_of(folder / "5.npz")
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    with pytest.raises(EncoderError, match="compressed"):
        open_features(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", **{**arrays, "tokens": np.array([{}] * 20, object)})
    with pytest.raises(EncoderError, match="no plain npy header"):
        open_features(tmp_path / "b.npz")


def test_one_row_of_a_damaged_shard_is_refused_only_if_it_is_that_row(folder: Path, tmp_path: Path) -> None:
    arrays = arrays_of(folder / "5.npz")
    arrays["indices"][-1] = WIDTH
    np.savez(tmp_path / "a.npz", **arrays)
    features = open_features(tmp_path)
    features[0:19]
    for rows in (19, [19, 0], slice(18, 20)):
        with pytest.raises(ShardError, match="columns outside"):
            features[rows]


def bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


def n_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="needs Linux's /proc")
def test_opening_a_thousand_shards_reads_headers_only_and_holds_no_descriptor(tmp_path: Path) -> None:
    first = write(tmp_path / "0000.npz", scipy.sparse.csr_matrix(np.ones((300, 1000), np.float32)))
    for i in range(1, 1000):
        (tmp_path / f"{i:04}.npz").hardlink_to(first)
    before, descriptors = bytes_read(), n_descriptors()
    features = open_features(tmp_path)
    assert features.shape == (300_000, 1000)
    assert bytes_read() - before < 50_000 * 1000 < first.stat().st_size * 1000 / 40
    assert n_descriptors() == descriptors


FEW_DESCRIPTORS = """
import resource, sys
import numpy as np
from encoder import open_features
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
features = open_features(sys.argv[1])
assert "torch" not in sys.modules
one_of_each = features[np.arange(1000) * 300 + 7]
assert one_of_each.shape == (1000, 1000) and one_of_each.nnz == 1_000_000, one_of_each
assert sum(shard.nnz for shard in features) == 300_000_000
"""


def test_a_thousand_shards_can_be_used_with_256_descriptors_and_without_torch(tmp_path: Path) -> None:
    first = write(tmp_path / "0000.npz", scipy.sparse.csr_matrix(np.ones((300, 1000), np.float32)))
    for i in range(1, 1000):
        (tmp_path / f"{i:04}.npz").hardlink_to(first)
    done = subprocess.run([sys.executable, "-c", FEW_DESCRIPTORS, tmp_path], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_importing_encoder_imports_neither_numpy_nor_torch() -> None:
    code = "import sys, encoder; assert not {'numpy', 'scipy', 'torch'} & set(sys.modules), 'heavy'"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
