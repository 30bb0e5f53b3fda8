"""Numbers without a header are read as a side file or the flags say, and refused where the file's size denies it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import encoding
import numpy as np
import pytest
import torch
from encoding import Command, Site
from shards import open_one, random, same_bits, whole

import encoder
from encoder.errors import InputError, ShardError
from encoder.readers import find_inputs, parse_select, select_of

ROWS = random((12, 8), torch.float16)


def memmap(path: Path, rows: torch.Tensor = ROWS, dtype: str | None = None) -> Path:
    """Write as np.memmap does."""
    array = rows.contiguous().view(torch.int16).numpy() if rows.dtype == torch.bfloat16 else rows.numpy()
    written = np.memmap(path, dtype or array.dtype, "w+", shape=array.shape)
    written[:] = array
    written.flush()
    return path


def beside(path: Path, name: str, **members: Any) -> None:
    (path.parent / name).write_text(json.dumps(members))


@pytest.mark.parametrize(
    ("name", "members"),
    [
        ("acts.json", {"dtype": "float16", "shape": [12, 8]}),
        ("acts.dat.json", {"dtype": "np.float16", "shape": [-1, 8]}),
        ("acts_meta.json", {"dtype": "<class 'numpy.float16'>", "shape": [12, 8]}),
        ("acts.meta", {"dtype": "torch.float16", "shape": [12, 8], "offset": 0, "order": "C"}),
        ("acts.metadata.json", {"data_type": "<f2", "n_tokens": 12, "d_model": 8}),
        ("metadata.json", {"dtype": "half", "shape": [12, 8], "model": "gpt2"}),
        ("meta.json", {"acts.dat": {"dtype": "fp16", "shape": [12, 8]}, "other.dat": {"dtype": "f8"}}),
        ("acts.json", {"dtype": "float16"}),
    ],
)
def test_a_side_file_of_a_usual_name_says_what_the_numbers_are(tmp_path: Path, name: str, members: Any) -> None:
    path = memmap(tmp_path / "acts.dat")
    beside(path, name, **members)
    unread: list[Path] = []
    assert find_inputs(tmp_path, unread=unread.append) == [path] and not unread
    assert same_bits(whole(open_one(path, 8)), ROWS)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("shape", [None, "12,8", "-1,8", "12x-1"])
def test_flags_say_it_where_there_is_no_side_file(tmp_path: Path, dtype: torch.dtype, shape: str | None) -> None:
    rows = random((12, 8), dtype)
    path = memmap(tmp_path / "acts.bin", rows)
    select = parse_select(None, None, str(dtype), shape)
    assert find_inputs(tmp_path) == [] and find_inputs(tmp_path, select=select) == [path]
    assert same_bits(whole(open_one(path, 8, select)), rows)


def test_documents_orders_and_the_other_byte_order_are_said_too(tmp_path: Path) -> None:
    path = memmap(tmp_path / "acts.dat", ROWS.reshape(3, 4, 8))
    shard = open_one(path, 8, parse_select(None, None, "float16", "3,4,8"))
    assert shard.tokens().row_document is not None and same_bits(whole(shard), ROWS)
    path.write_bytes(ROWS.numpy().astype(">f2").tobytes())
    for says in ({"dtype": ">f2"}, {"dtype": "float16", "byteorder": "big"}):
        beside(path, "acts.json", shape=[12, 8], **says)
        assert same_bits(whole(open_one(path, 8)), ROWS)
    path.write_bytes(bytes(64) + np.asfortranarray(ROWS.numpy()).tobytes("F"))
    beside(path, "acts.json", dtype="float16", shape=[12, 8], order="F", offset=64)
    assert same_bits(whole(open_one(path, 8)), ROWS)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"dtype": "float32", "shape": [12, 8]}, "acts.json says float32.*384 bytes, but the file has 192"),
        ({"dtype": "float16", "shape": [13, 8]}, "208 bytes, but the file has 192"),
        ({"dtype": "float16", "shape": [1 << 60, 1 << 60]}, "but the file has 192"),
        ({"dtype": "float16", "shape": [-1, 7]}, "no whole number"),
        ({"dtype": "float16", "shape": [-1, -1]}, "no whole number"),
        ({"dtype": "float16", "shape": [-1, 0]}, "no whole number"),
        ({"dtype": "float16", "shape": [12, 8], "offset": 64}, "but the file has 128"),
        ({"dtype": "float16", "shape": [12, 8], "offset": -1}, "offset"),
        ({"dtype": "float16", "shape": [12, 8], "order": "K"}, "order"),
        ({"dtype": "float16", "shape": "12,8"}, "expected a list of sizes"),
        ({"dtype": "float16", "shape": [12.0, 8]}, "expected a list of sizes"),
        ({"dtype": "float", "shape": [12, 8]}, "says dtype float, expected"),
        ({"dtype": "object", "shape": [12, 8]}, "says dtype object, expected"),
        ({"dtype": ["<f2"], "shape": [12, 8]}, "expected float16"),
        ({"shape": [12, 8]}, "say --dtype too"),
        ({"dtype": "float16", "shape": [4, 24]}, "rows of 24, but the SAE takes 8"),
        ({"dtype": "float16", "shape": [96]}, r"expected \[\.\.\., d_in\]"),
    ],
)
def test_a_side_file_that_does_not_fit_is_refused(tmp_path: Path, members: Any, message: str) -> None:
    path = memmap(tmp_path / "acts.dat")
    beside(path, "acts.json", **members)
    with pytest.raises(ShardError, match=message) as caught:
        open_one(path, 8)
    assert "\n" not in str(caught.value)


def test_side_files_and_flags_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    path = memmap(tmp_path / "acts.dat")
    beside(path, "acts.json", dtype="float16", shape=[12, 8])
    with pytest.raises(ShardError, match=r"--dtype says dtype bfloat16, but acts\.json says float16"):
        open_one(path, 8, parse_select(None, None, "bfloat16"))
    beside(path, "acts_meta.json", dtype="bfloat16", shape=[12, 8])
    with pytest.raises(ShardError, match=r"acts\.json and acts_meta\.json say different things"):
        open_one(path, 8)
    (tmp_path / "acts_meta.json").write_text("{")
    with pytest.raises(ShardError, match="not valid JSON"):
        open_one(path, 8)


def test_the_dtype_of_a_models_config_is_not_taken_for_the_files(tmp_path: Path) -> None:
    path = memmap(tmp_path / "acts.bin")
    beside(path, "config.json", torch_dtype="bfloat16", hidden_size=8, n_layer=12)
    unread: list[Path] = []
    assert find_inputs(tmp_path, unread=unread.append) == [] and unread == [path]
    with pytest.raises(ShardError, match=r"give --dtype and --shape, or put .* beside it as acts\.json"):
        open_one(path, 8)


@pytest.mark.parametrize("text", ["float", "object", "int8", "", "float16[2]", ">", "complex64"])
def test_a_dtype_that_says_nothing_is_refused_with_what_could_be_said(text: str) -> None:
    with pytest.raises(InputError, match=r"--dtype .*expected float16"):
        parse_select(None, None, text)


@pytest.mark.parametrize("text", ["8", "", "a,b", "-2,8", "-1,-1", "1,0", "1,,b", "9" * 30 + ",8"])
def test_a_shape_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"--shape .*expected sizes"):
        parse_select(None, None, None, text)


def test_the_keywords_of_python_are_the_flags(tmp_path: Path) -> None:
    wanted = {"raw_dtype": "float16", "raw_shape": "12x8"}
    assert select_of(None, None, "torch.float16", (12, 8)) == wanted == select_of({}, None, "f2", "(12, 8)")


def test_a_file_with_a_header_is_read_by_its_header_and_the_flags_are_a_note(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ROWS.numpy())
    shard = open_one(tmp_path / "a.npy", 8, parse_select(None, None, "float32", "-1,8"))
    assert same_bits(whole(shard), ROWS)
    assert any("--dtype and --shape are for files without a header" in note for note in shard.notes)


def test_the_command_and_the_call_encode_a_folder_of_them_to_the_features_of_the_rows(
    site: Site, encode: Command
) -> None:
    rows = encoding.planted(40, site.weights, dtype=torch.float16)
    memmap(site.acts / "a.dat", rows)
    plain = site.folder / "plain"
    plain.mkdir()
    np.save(plain / "a.npy", rows.numpy())
    flags = ("--sae-path", site.params, "--quiet")
    assert encode("run", plain, "--out", site.folder / "truth", *flags).status == 0
    ended = encode("run", site.acts, "--out", site.out, *flags, "--dtype", "float16", "--shape", "-1,48")
    assert ended.status == 0, ended
    truth = encoding.read(site.folder / "truth" / "a.npz")
    assert (encoding.read(site.out / "a.npz") != truth).nnz == 0 < truth.nnz
    assert encoding.meta(site.out / "a.npz")["select"] == {"raw_dtype": "float16", "raw_shape": "-1x48"}
    found = encoder.encode_files(
        f"file://{site.acts}", f"file://{site.folder}/by-call", site.params, dtype="float16", progress=False
    )
    with found:
        assert (found[:] != truth).nnz == 0
    encode("run", site.acts, "--out", site.out, *flags, "--dtype", "float").refused("--dtype float", "32 bits in torch")
    encode("run", "https://b/a.npy", "--out", site.out, *flags).refused("https://b/a.npy", "download it")
    encode("run", plain, "--out", "sftp://b/out", *flags).refused("sftp://b/out", "not a path of this machine")


@pytest.mark.parametrize("members", [{"scale": 3.0}, {"scale_factor": 0.5}, {"zero_point": 12}])
def test_numbers_that_are_to_be_scaled_are_refused(tmp_path: Path, members: dict[str, float]) -> None:
    path = memmap(tmp_path / "acts.dat")
    beside(path, "acts.json", dtype="float16", shape=[12, 8], **members)
    with pytest.raises(ShardError, match=r"acts\.json: \w+ is [\d.]+: the numbers are packed"):
        open_one(path, 8)
    beside(path, "acts.json", dtype="float16", shape=[12, 8], scale=1, zero_point=None)
    assert same_bits(whole(open_one(path, 8)), ROWS)
