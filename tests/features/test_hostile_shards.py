"""Nothing that a file says is believed unchecked: every lie is a ShardError, nothing runs, nothing is allocated."""

from __future__ import annotations

import json
import os
import pickle
import resource
import struct
import subprocess
import sys
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shards
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shards import NPY, entry, npy_bytes, open_one, safetensors_bytes, same_bits, whole

from encoder.errors import ShardError

MADE: dict[str, tuple[shards.Made, bytes]] = {}
BY_NAME = {maker.__name__: maker for maker in shards.MAKERS}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy_bytes(NPY.format("<f4", False, (1 << 40, 4)), bytes(64)), "64 bytes for it"),
        (npy_bytes(NPY.format("<f4", False, (1 << 33, 1 << 33)), bytes(64)), "64 bytes for it"),
        (npy_bytes(NPY.format("<f4", False, (1 << 70, 4)), bytes(64)), "shape"),
        (npy_bytes(NPY.format("<f4", True, (1 << 40, 4)), bytes(64)), "64 bytes for it"),
        (npy_bytes(NPY.format("<f4", False, (-4, -4)), bytes(64)), "shape"),
        (npy_bytes(NPY.format("<f4", False, (4, 0)), b""), "expected"),
        (npy_bytes(NPY.format("<f4", False, (True, 4)), bytes(16)), "shape"),
        (npy_bytes(NPY.format("<f4", False, (1,) * 40 + (4,)), bytes(16)), "shape"),
        (npy_bytes(NPY.format("<f4", False, (2, 4)), bytes(31)), "truncated"),
        (npy_bytes(NPY.format("<f4", False, (2, 4)), bytes(33)), "two files"),
        (npy_bytes(NPY.format("<f4", False, (8,)), bytes(32)), r"\[\.\.\., d_in\]"),
        (npy_bytes(NPY.format("<f4", False, ()), bytes(4)), r"\[\.\.\., d_in\]"),
        (npy_bytes(NPY.format("|O", False, (2, 4)), pickle.dumps([1] * 8)), "object array"),
        (npy_bytes(NPY.format("<i8", False, (1, 4)), bytes(32)), "not integers"),
        (npy_bytes(NPY.format("<i2", False, (1, 4)), bytes(8)), "--select dtype=bfloat16"),
        (npy_bytes(NPY.format("<c8", False, (1, 4)), bytes(32)), "complex64"),
        (npy_bytes("__import__('os').system('touch PWNED')"), "malformed"),
        (npy_bytes("(" * 9000), "malformed"),
        (npy_bytes("{}", n_header=4_000_000_000, major=2), "4000000000"),
        (npy_bytes("{}", major=9), "version 9"),
        (b"\x93NUMPY", "version 0"),
    ],
)
def test_a_false_npy_header_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(content)
    with pytest.raises(ShardError, match=message) as caught:
        open_one(path, 4)
    assert str(path) in str(caught.value)
    assert not Path("PWNED").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (struct.pack("<Q", 1 << 24) + b'{"a"', "truncated"),
        (struct.pack("<Q", 1 << 62) + b'{"a"', "no reader knows"),
        (safetensors_bytes({"a": entry(0, 32)}, bytes(31)), "truncated"),
        (safetensors_bytes({"a": entry(0, 32)}, bytes(33)), "tile"),
        (safetensors_bytes({"a": entry(4, 36)}, bytes(36)), "tile"),
        (safetensors_bytes({"a": entry(0, 32), "b": entry(0, 32)}, bytes(32)), "tile"),
        (safetensors_bytes({"a": entry(0, 32, (1 << 40, 1 << 40))}, bytes(32)), "32 bytes for it"),
        (safetensors_bytes({"a": entry(0, 64)}, bytes(64)), "but has 64 bytes"),
        (safetensors_bytes({"a": entry(0, 1 << 60)}, bytes(32)), "truncated"),
        (safetensors_bytes({"a": entry(32, 0)}, bytes(32)), "data_offsets"),
        (safetensors_bytes({"a": entry(-32, 0)}, bytes(32)), "data_offsets"),
        (safetensors_bytes({"a": entry("0", 32)}, bytes(32)), "data_offsets"),
        (safetensors_bytes({"a": entry(0, 32, [2, "4"])}, bytes(32)), "shape"),
        (safetensors_bytes({"a": entry(0, 32, dtype=["F32"])}, bytes(32)), "malformed"),
        (safetensors_bytes({"a": 7}, bytes(32)), "malformed"),
        (safetensors_bytes({"a": entry(0, 32, dtype="I32")}, bytes(32)), "not integers"),
        (safetensors_bytes({"a": entry(0, 16, dtype="U16")}, bytes(16)), "--select dtype=bfloat16"),
        (safetensors_bytes(b'{"a":' * 100_000), "not valid JSON"),
        (safetensors_bytes(b"{nonsense"), "not valid JSON"),
    ],
)
def test_a_false_safetensors_header_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(ShardError, match=message):
        open_one(path, 4)


class Runs:
    """Unpickling this creates a file: the proof that something was executed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def rezip(path: Path, change: Callable[[str, bytes], bytes], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path) as old:
        entries = [(name, change(name.partition("/")[2], old.read(name))) for name in old.namelist()]
    with zipfile.ZipFile(path, "w", compression) as new:
        for name, content in entries:
            new.writestr(name, content)


@pytest.mark.parametrize("place", ["a value", "the file", "legacy", "bare", "npy", "saev metadata"])
def test_a_pickle_is_never_executed(tmp_path: Path, place: str) -> None:
    proof, path, select = tmp_path / "executed", tmp_path / "x.pt", {}
    acts = torch.zeros(2, 3, 4)
    if place == "a value":
        torch.save({"activations": acts, "tokens": torch.zeros(2, 3, dtype=torch.int64), "x": Runs(proof)}, path)
    elif place == "the file":
        torch.save(Runs(proof), path)
    elif place == "legacy":
        torch.save({"x": Runs(proof)}, path, _use_new_zipfile_serialization=False)
    elif place == "bare":
        path.write_bytes(pickle.dumps(Runs(proof)))
    elif place == "npy":
        path = tmp_path / "x.npy"
        np.save(path, np.array([[Runs(proof)] * 4], dtype=object), allow_pickle=True)
    else:
        made = shards.saev(tmp_path, acts)
        path, select = made.path, made.select
        metadata = path.parent / "metadata.json"
        data = {"data": pickle.dumps(Runs(proof)).hex(), "layers": "__import__('os')"}
        metadata.write_text(json.dumps(json.loads(metadata.read_text()) | data))
    with pytest.raises(ShardError, match=r"save|list of integers"):
        open_one(path, 4, select)
    assert not proof.exists()


def lie_about(old: bytes, new: bytes) -> Callable[[str, bytes], bytes]:
    def change(name: str, content: bytes) -> bytes:
        if name == "data.pkl":
            assert old in content
            return content.replace(old, new)
        return content

    return change


def test_torch_files_that_lie_about_sizes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"

    def save() -> None:
        torch.save(torch.arange(35 * 4, dtype=torch.float32).reshape(35, 4), path)

    rows = b"K#K\x04"  # (35, 4)
    for old, new in (
        (rows, b"\x8a\x06\x00\x00\x00\x00\x00\x01K\x04"),  # 2^40 rows
        (rows, b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7fK\x04"),
        (rows, b"J\xff\xff\xff\xffK\x04"),  # -1 rows
        (rows, b"K$K\x04"),  # one row more
        (b"K\x00K#", b"K\x04K#"),  # an offset of one row
    ):
        save()
        rezip(path, lie_about(old, new))
        with pytest.raises(ShardError, match=r"truncated|false header"):
            open_one(path, 4)
    save()
    rezip(path, lie_about(b"K\x8c", b"\x8a\x06\x00\x00\x00\x00\x00\x01"))  # 2^40 items of storage, unused
    assert same_bits(whole(open_one(path, 4)), torch.arange(35 * 4, dtype=torch.float32).reshape(35, 4))
    for change in (
        lambda name, content: content[:-8] if name == "data/0" else content,
        lambda name, content: b"middle" if name == "byteorder" else content,
        lambda name, content: b"" if name == "data.pkl" else content,
    ):
        save()
        rezip(path, change)
        with pytest.raises(ShardError):
            open_one(path, 4)
    save()
    content = path.read_bytes()
    for n in (0, 1, 10, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:n])
        with pytest.raises(ShardError):
            open_one(path, 4)


def test_a_zip_bomb_is_refused_before_it_is_inflated(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save(torch.zeros(1000, 4), path)
    rezip(path, lambda name, content: bytes(1 << 26) if name == "data/0" else content, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(ShardError, match="is compressed"):
        open_one(path, 4)


def test_two_entries_of_one_name_are_refused(tmp_path: Path) -> None:
    """Which of the two a program sees would depend on the program."""
    path = tmp_path / "x.pt"
    torch.save(torch.zeros(10, 4), path)
    with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings(action="ignore"):
        archive.writestr(next(name for name in archive.namelist() if name.endswith("data/0")), bytes(160))
    with pytest.raises(ShardError, match="two entries are called"):
        open_one(path, 4)


def test_a_zip_directory_that_claims_gigabytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save(torch.zeros(1000, 4), path)
    with path.open("r+b") as file:
        file.truncate(8 << 30)
        file.seek(0, 2)
        file.write(b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, 2 << 30, 0, 0))
    with pytest.raises(ShardError, match="directory claims 2147483648"):
        open_one(path, 4)


def test_tensors_without_data_of_their_own_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    for tensor, message in (
        (torch.zeros(1, 4).expand(1000, 4), "contiguous"),
        (torch.zeros(10, 4, device="meta"), "no data|holds no dense tensors"),
        (torch.zeros(10, 4).to_sparse(), "holds no dense tensors"),
        (torch.zeros(10, 4, dtype=torch.complex64), "holds no dense tensors"),
        (torch.zeros(10, 4, dtype=torch.int64), "not integers"),
        ([1, 2, 3], "holds no dense tensors"),
    ):
        torch.save(tensor, path)
        with pytest.raises(ShardError, match=message):
            open_one(path, 4)


def test_a_pickle_that_names_one_object_exponentially_often_is_refused(tmp_path: Path) -> None:
    path, nested = tmp_path / "x.pt", [torch.zeros(2, 4)]
    for _ in range(7):
        nested = [nested] * 20
    torch.save(nested, path)
    with pytest.raises(ShardError, match=r"nested deeper|objects"):
        open_one(path, 4)
    loop: dict[str, Any] = {}
    loop["x"] = loop
    torch.save(loop, path)
    with pytest.raises(ShardError, match="nested deeper"):
        open_one(path, 4)


def tuple_of_itself(depth: int) -> bytes:
    """A tuple (t, t) where t is (t, t) and so on: its hash and its text take 2^depth steps."""
    return b")" + b"q\x00h\x00\x86" * depth


BOMBS = {
    "ten gigabytes": b"cbuiltins\nbytearray\n\x8a\x06\x00\x00\x00\x80\x02\x00\x85R",
    "a tensor of a terabyte": b"ctorch\nFloatTensor\n\x8a\x06\x00\x00\x00\x00\x40\x00\x85R",
    "text that doubles": b"c_codecs\nencode\nq\x00X\x01\x00\x00\x00a"
    + b"q\x01h\x00h\x01X\x03\x00\x00\x00hex\x86R" * 50,
    "a key that takes for ever": b"}" + tuple_of_itself(60) + b"Ns",
    "a function that takes for ever to print": tuple_of_itself(60) + b")R",
    "keys that collide": b"}(" + b"".join(
        b"\x8a\x0a" + (k * ((1 << 61) - 1)).to_bytes(10, "little") + b"N" for k in range(1, 100_000)
    ) + b"u",
    "a million lists": b"](" + b"]" * 1_100_000 + b"e",
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_small_pickle_takes_neither_memory_nor_time(tmp_path: Path, bomb: str) -> None:
    """torch's own weights_only loading would. Processor time, as a busy machine does not add to it."""
    path = tmp_path / "x.pt"
    torch.save(torch.zeros(2, 4), path)
    rezip(path, lambda name, content: b"\x80\x02" + BOMBS[bomb] + b"." if name == "data.pkl" else content)
    began, peak = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ShardError, match="over 1,000,000 containers" if bomb == "a million lists" else None) as caught:
        open_one(path, 4)
    assert len(str(caught.value)) < 1000
    assert time.process_time() - began < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 512 << 10  # in KiB


@pytest.mark.parametrize(
    "contents",
    [
        {"activations": torch.zeros(2, 3, 4), "tokens": torch.zeros(2, 4, dtype=torch.int64)},
        {"activations": torch.zeros(2, 3, 4), "tokens": torch.zeros(3, 2, dtype=torch.int64)},
        {"activation": torch.zeros(2, 3, 4), "tokens": torch.zeros(2, 3)},
        {"activation": torch.zeros(2, 3, 4), "tokens": torch.zeros(2, 3).int(), "mask": torch.zeros(2, 2).bool()},
        {"states": torch.zeros(2, 3, 4), "input_ids": torch.zeros(6, 2, dtype=torch.int64)},
        {"hook": torch.zeros(2, 3, 4), "token_ids": torch.zeros(5, dtype=torch.int64)},
    ],
)
def test_tokens_that_do_not_match_the_rows_are_refused(tmp_path: Path, contents: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "x.pt"
    torch.save(contents, path)
    with pytest.raises(ShardError, match=r"(the token ids are|the mask is)"):
        open_one(path, 4)


def broken_capture(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    def section(n: int) -> dict[str, Any]:
        acts = {16: {"residual": torch.zeros(n, 4)}}
        return {"text": "", "tokens": ["a"] * n, "token_ids": list(range(n)), "activations": acts}

    made = {"prompt": section(3), "response": section(2)}
    change(made)
    return made


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["prompt"].update(tokens=["a"] * 4), "4 tokens but 3 rows"),
        (lambda c: c["response"].update(token_ids=[1]), "1 token_ids but 2 rows"),
        (lambda c: c["response"].update(token_ids=[1, 2.5]), "not 64-bit integers"),
        (lambda c: c["response"].update(token_ids=[1, 1 << 70]), "not 64-bit integers"),
        (lambda c: c["response"].update(tokens="ab"), "expected a list of strings"),
        (lambda c: c["response"].update(activations=[1]), "expected a mapping"),
        (lambda c: c["response"].update(activations={16: torch.zeros(2, 4)}), "has no layer 16"),
        (lambda c: c["response"].update(activations={17: {"residual": torch.zeros(2, 4)}}), "several layers"),
        (lambda c: c["response"]["activations"].update({"16": {"residual": torch.zeros(2, 4)}}), "a layer twice"),
        (lambda c: c["response"]["activations"][16].update(residual="x"), "expected a tensor"),
        (lambda c: c["response"]["activations"][16].update(residual=torch.zeros(2, 4).half()), "one dtype"),
        (lambda c: (c["prompt"].update(activations={}), c["response"].update(activations={})), "nothing was captured"),
    ],
)
def test_a_capture_that_cannot_be_aligned_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    path = tmp_path / "x.pt"
    torch.save(broken_capture(change), path)
    with pytest.raises(ShardError, match=message):
        open_one(path, 4)


def write_stream(path: Path, columns: dict[str, Any], *, compression: str | None = None) -> None:
    import pyarrow as pa

    table = pa.table(columns)
    with pa.ipc.new_stream(str(path), table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table)


def test_arrow_streams_that_are_not_what_they_say_are_refused(tmp_path: Path) -> None:
    import pyarrow as pa

    path = tmp_path / "x.arrow"
    nested = pa.list_(pa.list_(pa.float32()))
    good = pa.array([[[1.0] * 4] * 3] * 2, nested)
    for columns, message in (
        ({"h": pa.array([[[1.0] * 4] * 3, None], nested)}, "null"),
        ({"h": pa.array([[[1.0, None, 1.0, 1.0]] * 3], nested)}, "null"),
        ({"h": pa.array([[[1.0] * 4, [1.0] * 3]], nested)}, "expected 4 in each|7 values"),
        ({"h": pa.array([[[1] * 4]], pa.list_(pa.list_(pa.int32())))}, "holds int32"),
        ({"h": pa.array([[1.0] * 4], pa.list_(pa.float32()))}, "expected lists"),
        ({"h": pa.array([1.0])}, "no column"),
        ({"h": good, "g": good}, "several hooks"),
        ({"h": good, "token_ids": pa.array([[1] * 3, [1] * 2])}, "5 token ids for 6 rows"),
        ({"h": good, "token_ids": pa.array([[1.0] * 3] * 2)}, "expected lists of integers"),
        ({"h": good, "d": pa.array(["a", "b"]).dictionary_encode()}, "dictionary"),
    ):
        write_stream(path, columns)
        with pytest.raises(ShardError, match=message):
            open_one(path, 4)
    write_stream(path, {"h": pa.array([[[1.0] * 5, [1.0] * 3]], nested)})
    with pytest.raises(ShardError, match="a row has 5 values, the others 4"):
        whole(open_one(path, 4))
    write_stream(path, {"h": good, "token_ids": pa.array([[1] * 2, [1] * 4])})
    with pytest.raises(ShardError, match="differ in number"):
        open_one(path, 4).tokens()
    write_stream(path, {"h": pa.array([[[0.0] * 4] * 100_000], nested)}, compression="zstd")
    with pytest.raises(ShardError, match="compressed"):
        open_one(path, 4)


def test_an_arrow_stream_cut_at_any_byte_is_refused(tmp_path: Path) -> None:
    path = shards.arrow(tmp_path, shards.random((3, 2, 4), torch.float32)).path
    content = path.read_bytes()
    for n in [*range(0, len(content), 13), len(content) - 8, len(content) - 1]:
        path.write_bytes(content[:n])
        with pytest.raises(ShardError):
            open_one(path, 4)


def test_an_arrow_stream_whose_first_message_is_no_schema_does_not_crash(tmp_path: Path) -> None:
    """pyarrow 26 dies of SIGSEGV when it is asked to read another message as a schema."""
    path = shards.arrow(tmp_path, shards.random((3, 2, 4), torch.float32)).path
    content = path.read_bytes()
    n_schema = 8 + int.from_bytes(content[4:8], "little")
    for damaged in (content[n_schema:], content[:29] + b"\0" + content[30:], content[-8:]):
        path.write_bytes(damaged)
        with pytest.raises(ShardError, match=r"expected a schema|Arrow cannot read"):
            open_one(path, 4)


def edit_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"shape": [7, 4]}, "claims"),
        ({"shape": [5, 4]}, "but the file has 96 bytes"),
        ({"shape": [1 << 61, 1 << 61]}, "claims"),
        ({"shape": [-1, 4]}, "shape"),
        ({"shape": "6,4"}, "shape"),
        ({"dtype": "__import__('os')"}, "dtype"),
        ({"dtype": "torch.bfloat16"}, "but the file has 96 bytes"),
    ],
)
def test_a_memmap_that_its_meta_does_not_fit_is_refused(tmp_path: Path, meta: dict[str, Any], message: str) -> None:
    made = shards.memmap(tmp_path, shards.random((2, 3, 4), torch.float32))
    edit_json(made.path.with_suffix(".meta"), **meta)
    with pytest.raises(ShardError, match=message):
        open_one(made.path, 4)


def test_a_memmap_store_whose_tokens_do_not_fit_is_refused(tmp_path: Path) -> None:
    made = shards.memmap(tmp_path, shards.random((2, 3, 4), torch.float32))
    store = made.path.parent.parent
    torch.save(torch.tensor([0, 9, 5, 11]), store / "sequence_ranges.pt")
    with pytest.raises(ShardError, match="sequence_ranges"):
        open_one(made.path, 4).tokens()
    (made.path.parent / "shard_0.memmap").unlink()
    with pytest.raises(ShardError, match=r"11 tokens, but the shards in .* have 6 rows"):
        open_one(made.path, 4)
    torch.save(torch.zeros(3, 3), store / "tokens.pt")
    with pytest.raises(ShardError, match="expected one vector of integers"):
        open_one(made.path, 4)
    edit_json(made.path.parent / "config.json", store_tokens=False)
    assert open_one(made.path, 4).tokens().token_ids is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d_model": 5}, "truncated, or another run"),
        ({"d_model": 1 << 61}, "truncated, or another run"),
        ({"d_model": 0}, "truncated, or another run|claims|expected"),
        ({"d_model": "4"}, "whole number"),
        ({"layers": [13, 23, 33]}, "truncated, or another run"),
        ({"layers": "13"}, "list of integers"),
        ({"dtype": "float16"}, "float32"),
        ({"max_tokens_per_shard": 1}, "truncated, or another run"),
    ],
)
def test_saev_metadata_that_does_not_fit_the_file_is_refused(tmp_path: Path, changes: Any, message: str) -> None:
    made = shards.saev(tmp_path, shards.random((2, 3, 4), torch.float32))
    edit_json(made.path.parent / "metadata.json", **changes)
    with pytest.raises(ShardError, match=message):
        open_one(made.path, 4, made.select)


@pytest.mark.parametrize(
    "changes", [{"dtype": "os.system('true')"}, {"d_in": 5}, {"sequence_length": 4}, {"sequence_length": "3"}]
)
def test_activault_metadata_of_another_run_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    made = shards.activault(tmp_path, shards.random((2, 3, 4), torch.float32))
    edit_json(made.path.parent / "metadata.json", **changes)
    with pytest.raises(ShardError, match="metadata"):
        open_one(made.path, 4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"\x80", "no reader knows"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "git lfs pull"),
        (b"PK\x03\x04" + bytes(60), "zip file"),
        (b"ARROW1\0\0", "Arrow cannot read it"),
        (b"hello world, no shard", "no reader knows"),
    ],
)
def test_a_file_that_no_reader_knows_is_refused_with_the_reason(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(content)
    with pytest.raises(ShardError, match=message):
        open_one(path, 4)
    with pytest.raises(ShardError, match=r"no such file|not a regular file"):
        open_one(tmp_path / "nothing.npy", 4)
    with pytest.raises(ShardError, match="not a regular file"):
        open_one(tmp_path, 4)


@pytest.mark.parametrize("maker", BY_NAME)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_is_a_shard_error_or_harmless(maker: str, data: st.DataObject, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    if not folder.exists():
        folder.mkdir()
        made = BY_NAME[maker](folder, shards.random((2, 3, 4), torch.float32))
        MADE[maker] = made, made.path.read_bytes()
    made, content = MADE[maker]
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    made.path.write_bytes(damaged[: len(content) - data.draw(st.sampled_from([0, 0, 0, 1, len(content) // 2]))])
    try:
        shard = open_one(made.path, made.rows.shape[1], made.select)
        assert whole(shard).shape == (shard.n_rows, shard.d_in)
        shard.tokens()
    except ShardError as exc:
        assert str(made.path) in str(exc)


def test_damage_anywhere_is_refused_in_one_line_without_much_memory_or_time(tmp_path: Path) -> None:
    """In a process of its own, with a limit on memory; more rounds by hand: python tests/support/damage.py."""
    script = Path(__file__).parents[1] / "support" / "damage.py"
    done = subprocess.run([sys.executable, script, tmp_path, "900", "0"], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("", 0), done.stderr[-2000:]
