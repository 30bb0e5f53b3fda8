"""Hidden states as vLLM's connector writes them: a layer is chosen by its place, and every row has its token."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import zstandard
from safetensors.torch import save_file
from shards import open_one, random, same_bits, whole

from encoder.errors import AmbiguousError, ShardError
from encoder.readers import find_inputs

STATES = random((9, 3, 8), torch.bfloat16)
IDS = torch.arange(100, 109)


def captured(path: Path, states: torch.Tensor = STATES, ids: torch.Tensor = IDS) -> Path:
    """Write as the connector does: the lock first, then the tensors."""
    path.with_name(f"{path.name}.lock").touch()
    save_file({"hidden_states": states.contiguous(), "token_ids": ids}, path)
    return path


def test_a_layer_is_chosen_by_its_place_and_comes_with_its_tokens(tmp_path: Path) -> None:
    path = captured(tmp_path / "request-1.safetensors")
    unread: list[Path] = []
    assert find_inputs(tmp_path, unread=unread.append) == [path] and not unread
    with pytest.raises(AmbiguousError, match=r"--select layer=0.*0, 1, 2"):
        open_one(path, 8)
    for layer in range(3):
        shard = open_one(path, 8, {"layer": str(layer)})
        ids = shard.tokens().token_ids
        assert same_bits(whole(shard), STATES[:, layer].contiguous())
        assert ids is not None and ids.tolist() == IDS.tolist()
        assert any("eagle_aux_hidden_state_layer_ids" in note for note in shard.notes)
    with pytest.raises(ShardError, match="has no layer '3'"):
        open_one(path, 8, {"layer": "3"})
    alone = captured(tmp_path / "one.safetensors", STATES[:, :1])
    assert same_bits(whole(open_one(alone, 8)), STATES[:, 0].contiguous())


def test_the_compressed_files_of_the_online_connector_are_read_too(tmp_path: Path) -> None:
    path = captured(tmp_path / "r.safetensors")
    target = tmp_path / "r.safetensors.zst"
    target.write_bytes(zstandard.ZstdCompressor(level=3).compress(path.read_bytes()))
    path.unlink()
    assert find_inputs(tmp_path) == [target]
    assert same_bits(whole(open_one(target, 8, {"layer": "2"})), STATES[:, 2].contiguous())


@pytest.mark.parametrize("n_ids", [8, 10, 0, 1])
def test_rows_that_are_not_the_tokens_are_refused(tmp_path: Path, n_ids: int) -> None:
    path = captured(tmp_path / "r.safetensors", ids=torch.arange(n_ids))
    with pytest.raises(ShardError, match=f"rows of 9 tokens and {n_ids} token ids.*enable_prefix_caching=False"):
        open_one(path, 8, {"layer": "1"})


def test_axes_that_may_be_the_other_way_round_have_to_be_named(tmp_path: Path) -> None:
    square = random((4, 4, 8), torch.float32)
    path = captured(tmp_path / "r.safetensors", square, torch.arange(4))
    with pytest.raises(AmbiguousError, match=r"--axes token,layer,d|--axes layer,token,d"):
        open_one(path, 8, {"layer": "1"})
    assert same_bits(whole(open_one(path, 8, {"axes": "token,layer,d", "layer": "1"})), square[:, 1].contiguous())
    turned = captured(tmp_path / "t.safetensors", STATES.permute(1, 0, 2))
    with pytest.raises(AmbiguousError, match="--axes layer,token,d"):
        open_one(turned, 8, {"layer": "1"})


def test_ids_that_are_no_integers_are_not_vllms(tmp_path: Path) -> None:
    path = captured(tmp_path / "r.safetensors", ids=torch.zeros(9))
    with pytest.raises(ShardError):
        open_one(path, 8, {"layer": "1"})
