"""A list of per-prompt tensors is one document after the other; tensors of one shape are not guessed at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import shards
import torch
from shards import listed, open_one, same_bits, whole

from encoder.errors import AmbiguousError, ShardError
from encoder.shard import Shard

LENGTHS = (7, 19, 4, 30)
PARTS = [shards.random((n, 6), torch.bfloat16, seed=n) for n in LENGTHS]
DOCUMENTS = [i for i, n in enumerate(LENGTHS) for _ in range(n)]


def opened(folder: Path, contents: Any, select: dict[str, str] | None = None) -> Shard:
    torch.save(contents, folder / "acts.pt")
    return open_one(folder / "acts.pt", 6, select)


@pytest.mark.parametrize(
    "contents",
    [
        PARTS,
        tuple(PARTS),
        [part[None] for part in PARTS],
        {f"prompt_{i}": part for i, part in enumerate(PARTS)},
        dict(enumerate(PARTS)),
        [{"hidden_states": part} for part in PARTS],
        list(torch.cat(PARTS).split(LENGTHS)),
    ],
)
def test_tensors_of_differing_length_are_documents(tmp_path: Path, contents: Any) -> None:
    shard = opened(tmp_path, contents)
    assert same_bits(whole(shard), torch.cat(PARTS))
    assert same_bits(shard.read(5, 29), torch.cat(PARTS)[5:29])
    tokens = shard.tokens()
    assert listed(tokens.row_document) == DOCUMENTS
    assert listed(tokens.row_position) == [i for n in LENGTHS for i in range(n)]
    assert tokens.token_ids is None and tokens.row_mask is None


def test_numbered_prompts_with_what_lies_beside_each_are_documents_also_of_one_length(tmp_path: Path) -> None:
    same = [shards.random((1, 5, 6), torch.bfloat16, seed=i) for i in range(3)]
    contents = {
        f"prompt_{i}": {"hidden_states": part, "attention_mask": torch.arange(5)[None] < 5 - i}
        for i, part in enumerate(same)
    }
    shard = opened(tmp_path, contents)
    assert same_bits(whole(shard), torch.cat(same).flatten(0, 1))
    assert listed(shard.tokens().row_mask) == [column < 5 - i for i in range(3) for column in range(5)]
    for others in (
        {i: {"residual": part} for i, part in enumerate(same)},
        {f"layer_{i}": {"acts": part, "input_ids": torch.ones(1, 5).int()} for i, part in enumerate(same)},
    ):
        with pytest.raises(AmbiguousError):
            opened(tmp_path, others)


def test_batches_of_differing_length_are_documents_each(tmp_path: Path) -> None:
    batches = [shards.random((2, 3, 6), torch.float32), shards.random((1, 5, 6), torch.float32)]
    shard = opened(tmp_path, batches)
    assert same_bits(whole(shard), torch.cat([batch.reshape(-1, 6) for batch in batches]))
    assert listed(shard.tokens().row_document) == [0] * 3 + [1] * 3 + [2] * 5


def test_token_ids_and_masks_beside_each_prompt_come_along(tmp_path: Path) -> None:
    entries: list[dict[str, Any]] = [
        {"input_ids": torch.arange(len(part)) + 100 * i, "acts": part} for i, part in enumerate(PARTS)
    ]
    entries[1]["attention_mask"] = torch.arange(19) < 12
    shard = opened(tmp_path, entries)
    tokens = shard.tokens()
    assert shard.hook_name == "acts"
    assert listed(tokens.token_ids) == [100 * i + j for i, n in enumerate(LENGTHS) for j in range(n)]
    assert listed(tokens.row_mask) == [True] * 7 + [j < 12 for j in range(19)] + [True] * 34
    del entries[2]["input_ids"]
    assert opened(tmp_path, entries).tokens().token_ids is None
    entries[2]["input_ids"] = torch.arange(5)
    with pytest.raises(ShardError, match="token ids of entry 2 are"):
        opened(tmp_path, entries)


def test_tensors_of_one_shape_may_be_layers_and_are_refused_with_the_ways(tmp_path: Path) -> None:
    layers = list(shards.random((3, 5, 6), torch.float32))
    with pytest.raises(AmbiguousError, match=r"3 tensors float32\[5, 6\] are: --axes document,token,d .*--select N"):
        opened(tmp_path, layers)
    shard = opened(tmp_path, layers, {"axes": "document,token,d"})
    assert listed(shard.tokens().row_document) == [i for i in range(3) for _ in range(5)]
    assert same_bits(whole(opened(tmp_path, layers, {"key": "1"})), layers[1])
    assert opened(tmp_path, layers, {"key": "1"}).hook_name == ""
    batches = [layer[None] for layer in layers]
    with pytest.raises(AmbiguousError, match="--axes document,document,token,d"):
        opened(tmp_path, batches)
    assert opened(tmp_path, batches, {"axes": "document,document,token,d"}).n_rows == 15
    assert opened(tmp_path, {f"prompt_{i}": layer for i, layer in enumerate(layers)}, {"key": "prompt_2"}).n_rows == 5
    for contents in ({f"layer_{i}": layer for i, layer in enumerate(layers)}, dict(enumerate(layers))):
        with pytest.raises(AmbiguousError, match="choose with --select"):
            opened(tmp_path, contents)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ([PARTS[0], PARTS[1].float()], "expected one dtype and one width"),
        ([PARTS[0], PARTS[1][:, :5]], "entry 1 is bfloat16.*rows of 5, but the SAE takes 6"),
        ([PARTS[0], torch.arange(6)], "entry 1 is int64"),
        ([PARTS[0], torch.zeros(2, 3, 4, 6)], "entry 1 is float32"),
        ([{"a": PARTS[0]}, {"b": PARTS[1]}], "entry 1 has no a"),
        ([PARTS[1]] * 500 + [PARTS[0]], "repeat the same rows"),
        ({"layer_0": PARTS[0], "layer_1": PARTS[1]}, "choose with --select layer_0"),
    ],
)
def test_lists_that_are_no_prompts_are_refused(tmp_path: Path, contents: Any, message: str) -> None:
    with pytest.raises(ShardError, match=message):
        opened(tmp_path, contents)
