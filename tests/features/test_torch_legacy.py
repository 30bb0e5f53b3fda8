"""A torch file of the format before zip is read as data, and refused where it is cut or lies."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from shards import open_one, random, same_bits, whole

from encoder.errors import ShardError

ROWS = random((9, 4), torch.float32)


def saved(path: Path, value: Any) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=False)
    return path


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_it_gives_what_torch_load_gives(tmp_path: Path, dtype: torch.dtype) -> None:
    x = random((2, 5, 4), dtype)
    path = saved(tmp_path / "a.pt", {"acts": x, "input_ids": torch.arange(10).reshape(2, 5), "text": "a\nb", "n": 3})
    shard = open_one(path, 4)
    loaded = torch.load(path, weights_only=True)
    assert same_bits(whole(shard), loaded["acts"].reshape(-1, 4))
    ids = shard.tokens().token_ids
    assert ids is not None and ids.tolist() == list(range(10))


def test_views_of_one_storage_and_storages_of_other_kinds_are_stepped_over(tmp_path: Path) -> None:
    value = {"sparse": torch.eye(3).to_sparse(), "c": torch.zeros(5, dtype=torch.complex64), "x": ROWS[2:], "y": ROWS.T}
    path = saved(tmp_path / "a.pt", value)
    assert same_bits(whole(open_one(path, 4, {"key": "x"})), ROWS[2:])
    assert same_bits(whole(open_one(path, 9, {"key": "y"})), ROWS.T.contiguous())


def test_a_list_of_prompts_and_a_single_tensor_are_read_too(tmp_path: Path) -> None:
    assert same_bits(whole(open_one(saved(tmp_path / "a.pt", ROWS), 4)), ROWS)
    shard = open_one(saved(tmp_path / "b.pt", [ROWS[:4].clone(), ROWS[4:].clone()]), 4)
    document = shard.tokens().row_document
    assert same_bits(whole(shard), ROWS) and document is not None and document.tolist() == [0] * 4 + [1] * 5


def test_a_file_of_a_big_endian_machine_is_turned(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", ROWS)
    content = path.read_bytes()
    assert content.count(b"little_endianq\x02\x88") == 1
    turned = content.replace(b"little_endianq\x02\x88", b"little_endianq\x02\x89")
    data = ROWS.numpy().tobytes()
    path.write_bytes(turned.replace(data, ROWS.numpy().astype(">f4").tobytes()))
    assert same_bits(whole(open_one(path, 4)), ROWS)


def test_a_cut_at_any_byte_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", {"x": ROWS, "ids": torch.arange(9)})
    content = path.read_bytes()
    for n in range(20, len(content), 7):
        path.write_bytes(content[:n])
        with pytest.raises(ShardError, match=r"damaged|truncated|needs pickle|no reader|storages") as caught:
            open_one(path, 4)
        assert "\n" not in str(caught.value)
    path.write_bytes(content + b"1")
    with pytest.raises(ShardError, match="two files in one"):
        open_one(path, 4)


def test_sizes_that_lie_are_refused_before_anything_is_allocated(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", ROWS)
    content = path.read_bytes()
    shape, count = b"K\x09K\x04", (36).to_bytes(8, "little")
    assert content.count(shape) == 1 and content.count(count) == 1
    for old, new in (
        (shape, b"\x8a\x06\x00\x00\x00\x00\x00\x01K\x04"),
        (shape, b"K\x0aK\x04"),
        (count, (1 << 61).to_bytes(8, "little")),
        (count, (35).to_bytes(8, "little")),
        (count, ((1 << 64) - 4).to_bytes(8, "little")),
    ):
        path.write_bytes(content.replace(old, new))
        with pytest.raises(ShardError, match=r"truncated|two files in one"):
            open_one(path, 4)


def test_a_list_of_storages_that_is_not_the_tensors_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", {"x": ROWS, "y": ROWS.clone()})
    content = path.read_bytes()
    keys = sorted({part.decode() for part in content.split(b"X\x0f\x00\x00\x00")[1:] for part in [part[:15]]}) or None
    at = content.index(b"\x80\x02]q\x00")
    for listed in ([], ["1"], [*(keys or ()), *(keys or ())], [[]], {"a": 1}):
        path.write_bytes(content[:at] + pickle.dumps(listed, 2) + content[content.index(b".", at) + 1 :])
        with pytest.raises(ShardError, match=r"list of storages|damaged"):
            open_one(path, 4)
