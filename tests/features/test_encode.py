"""One shard through reading, kernel and writing, on shards made up here: order, errors in each stage, an early stop."""

from __future__ import annotations

import hashlib
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import encoding
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from queueing import names

from encoder.errors import ShardError
from encoder.file.csr import CsrWriter
from encoder.kernels import make_kernel
from encoder.kernels.kernel import Kernel
from encoder.sae.quality import Quality
from encoder.sae.sae import LoadedSae
from encoder.shard import Shard, Tokens
from encoder.work.progress import Progress
from saefetch.files.digest import Stopped

CONTENT = b"the bytes that the rows were read from"


@pytest.fixture(scope="module")
def sae(tmp_path_factory: pytest.TempPathFactory) -> LoadedSae:
    path = tmp_path_factory.mktemp("sae") / "params.npz"
    return encoding.load(encoding.save_params(path, encoding.dictionary(threshold=1.0)))


@pytest.fixture(scope="module")
def kernel(sae: LoadedSae) -> Kernel:
    return make_kernel(sae, torch.device("cpu"), "reference")


def shard_of(folder: Path, x: torch.Tensor, **fields: Any) -> Shard:
    path = folder / "shard.bin"
    path.write_bytes(CONTENT)
    dtype = str(x.dtype).removeprefix("torch.")
    usual = {"path": path, "n_rows": len(x), "d_in": x.shape[1], "dtype": dtype, "read": lambda a, b: x[a:b]}
    return Shard(**usual | fields)


def encode(
    shard: Shard,
    sae: LoadedSae,
    kernel: Kernel,
    batch_tokens: int = 16,
    stopping: Callable[[], bool] = lambda: False,
    watch: Callable[[Progress], None] = lambda progress: None,
    values: Any = "float32",
) -> Quality:
    """Encode into features.npz beside the shard."""
    out = shard.path.with_name("features.npz")
    with CsrWriter(out, sae.d_sae, values=values) as writer:
        quality = encoding.encode_one(
            shard,
            sae,
            kernel,
            writer,
            batch_tokens=batch_tokens,
            settings={"values": values, "select": {}},
            status=shard.path.stat(),
            stopping=stopping,
            watch=watch,
        )
        writer.publish()
    return quality


def assert_nothing_left(shard: Shard) -> None:
    assert names(shard.path.parent) == ["shard.bin"]
    assert not [one for one in threading.enumerate() if one.name.startswith(("read", "write", "hash"))]


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(0, 70),
    batch_tokens=st.integers(1, 80),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    seed=st.integers(0, 1000),
)
def test_rows_come_out_in_order_whatever_the_batches(
    sae: LoadedSae, kernel: Kernel, n: int, batch_tokens: int, dtype: torch.dtype, seed: int
) -> None:
    x = torch.randn(n, encoding.D_IN, generator=torch.Generator().manual_seed(seed)).to(dtype)
    asked: list[tuple[int, int]] = []

    def read(start: int, stop: int) -> torch.Tensor:
        asked.append((start, stop))
        return x[start:stop]

    with tempfile.TemporaryDirectory() as folder:
        shard = shard_of(Path(folder), x, read=read)
        encode(shard, sae, kernel, batch_tokens)
        found = encoding.read(shard.path.with_name("features.npz")).toarray()
    expected = encoding.truth(sae, x)
    np.testing.assert_array_equal(found != 0, (expected != 0).numpy())
    np.testing.assert_array_max_ulp(found, expected.float().numpy(), maxulp=1)
    assert [start for start, _ in asked] == list(range(0, n, batch_tokens))
    assert all(stop - start <= batch_tokens for start, stop in asked)


def test_the_result_tells_the_shards_hash_tokens_and_notes(sae: LoadedSae, kernel: Kernel, tmp_path: Path) -> None:
    tokens = Tokens(
        token_ids=np.arange(5),
        texts=["a", "b", "c", "d", "é"],
        row_document=np.zeros(5, np.int64),
        row_position=np.arange(5),
        row_mask=np.array([True, True, False, True, True]),
        sections={"prompt": (0, 2), "response": (2, 5)},
    )
    x = encoding.planted(5, encoding.dictionary())
    encode(shard_of(tmp_path, x, tokens=lambda: tokens, notes=("rounded",)), sae, kernel)
    meta = encoding.meta(tmp_path / "features.npz")
    assert meta["shard_sha256"] == hashlib.sha256(CONTENT).hexdigest() and meta["shard_size"] == len(CONTENT)
    assert meta["sections"] == {"prompt": [0, 2], "response": [2, 5]} and meta["notes"] == ["rounded"]
    with np.load(tmp_path / "features.npz") as members:
        assert members["token_ids"].tolist() == members["row_position"].tolist() == [0, 1, 2, 3, 4]
        assert members["row_mask"].tolist() == [True, True, False, True, True]


@pytest.mark.parametrize("name", ["token_ids", "texts", "row_document", "row_position", "row_mask"])
def test_tokens_that_do_not_match_the_rows_are_refused(
    name: str, sae: LoadedSae, kernel: Kernel, tmp_path: Path
) -> None:
    tokens = replace(Tokens(), **{name: ["x"] * 4 if name == "texts" else np.zeros(4, np.int64)})
    shard = shard_of(tmp_path, encoding.planted(5, encoding.dictionary()), tokens=lambda: tokens)
    with pytest.raises(ShardError, match=f"4 {name} for 5 rows"):
        encode(shard, sae, kernel)
    assert_nothing_left(shard)


def test_rows_of_another_width_are_refused(sae: LoadedSae, kernel: Kernel, tmp_path: Path) -> None:
    shard = shard_of(tmp_path, torch.zeros(2, 7))
    with pytest.raises(ShardError, match=f"rows of 7 numbers, but the SAE takes {encoding.D_IN}"):
        encode(shard, sae, kernel)


def fail(*_: object) -> Any:
    raise ShardError("the disk went away")


def test_an_error_in_any_stage_is_raised_and_leaves_neither_file_nor_thread(
    sae: LoadedSae, kernel: Kernel, tmp_path: Path
) -> None:
    x = encoding.planted(50, encoding.dictionary())
    calls: list[int] = []

    def third_read_fails(start: int, stop: int) -> torch.Tensor:
        calls.append(start)
        return fail() if len(calls) == 3 else x[start:stop]

    class BrokenKernel(Kernel):
        encode = fail

    for shard, with_kernel in (
        (shard_of(tmp_path, x, read=third_read_fails), kernel),
        (shard_of(tmp_path, x, tokens=fail), kernel),
        (shard_of(tmp_path, x), BrokenKernel()),
    ):
        with pytest.raises(ShardError, match="the disk went away"):
            encode(shard, sae, with_kernel)
        assert_nothing_left(shard)
    with pytest.raises(ShardError, match="the disk went away"):
        encode(shard_of(tmp_path, x), sae, kernel, watch=fail)
    assert_nothing_left(shard_of(tmp_path, x))


def test_a_write_error_is_raised(sae: LoadedSae, kernel: Kernel, tmp_path: Path) -> None:
    x = encoding.planted(50, encoding.dictionary()) * 1e5
    with pytest.raises(ShardError, match="does not fit float16"):
        encode(shard_of(tmp_path, x), sae, kernel, values="float16")
    assert_nothing_left(shard_of(tmp_path, x))


def test_a_stop_is_heeded_after_the_batch(sae: LoadedSae, kernel: Kernel, tmp_path: Path) -> None:
    done: list[int] = []
    shard = shard_of(tmp_path, encoding.planted(100, encoding.dictionary()))
    with pytest.raises(Stopped):
        encode(
            shard, sae, kernel, 10, stopping=lambda: len(done) == 3, watch=lambda progress: done.append(progress.done)
        )
    assert done == [10, 20, 30]
    assert_nothing_left(shard)


def test_progress_counts_rows_features_and_the_seconds_of_each_stage(
    sae: LoadedSae, kernel: Kernel, tmp_path: Path
) -> None:
    seen: list[tuple[int, int, int]] = []
    last: list[Progress] = []

    def watch(progress: Progress) -> None:
        seen.append((progress.n_rows, progress.done, progress.nnz_counted))
        last.append(progress)

    encode(shard_of(tmp_path, encoding.planted(25, encoding.dictionary())), sae, kernel, 10, watch=watch)
    assert [(n, done) for n, done, _ in seen] == [(25, 10), (25, 20), (25, 25)]
    assert seen[-1][2] == encoding.read(tmp_path / "features.npz").nnz
    assert last[-1].seconds.keys() == {"read", "copy", "kernel", "write"} and last[-1].seconds["kernel"] > 0
