"""Token ids and masks beside activations: the producer's mask is obeyed wherever it lies and however it is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import shards
import torch
from safetensors.torch import save_file
from shards import listed, open_one

from encoder.errors import ShardError

ACTS = shards.random((2, 3, 4), torch.float32)
REAL = [True, True, False, False, True, True]
MASK = torch.tensor(REAL).reshape(2, 3)
IDS = torch.arange(6).reshape(2, 3)


def tokens_of(folder: Path, contents: dict[str, Any]) -> Any:
    torch.save(contents, folder / "x.pt")
    return open_one(folder / "x.pt", 4).tokens()


@pytest.mark.parametrize(
    "mask",
    [
        MASK, MASK.long(), MASK.int() * 7, MASK.to(torch.uint8), MASK.float(), MASK.bfloat16(), MASK.flatten(),
        MASK[:, None, None].float(), (1 - MASK.float()) * -1e9, (~MASK[:, None, None]) * torch.finfo(torch.float16).min,
        torch.zeros(2, 3).masked_fill(~MASK, -torch.inf), torch.zeros(2, 3).masked_fill(~MASK, -10_000).long(),
        MASK * torch.tensor([[1], [2]]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["attention_mask", "attn_mask", "mask", "attention_masks", "Attention-Mask"])
def test_a_mask_is_obeyed_however_it_is_written(tmp_path: Path, mask: torch.Tensor, name: str) -> None:
    assert listed(tokens_of(tmp_path, {"hidden_states": ACTS, name: mask}).row_mask) == REAL


@pytest.mark.parametrize(
    "contents",
    [
        {"acts": ACTS, "inputs": {"input_ids": IDS, "attention_mask": MASK}},
        {"outputs": {"hidden_states": ACTS}, "inputs": {"input_ids": IDS, "attention_mask": MASK}},
        {"run": {"acts": ACTS, "attention_mask": MASK, "input_ids": IDS}, "attention_mask": ~MASK, "input_ids": -IDS},
        {"blocks.0.hook_resid_post": ACTS, "attention_mask": MASK, "input_ids": IDS},
        {"activations": ACTS, "tokens": IDS, "attention_mask": MASK},
        {"states": ACTS, "input_ids": IDS, "attention_mask": MASK},
        {"activation": ACTS, "tokens": IDS, "attention_mask": MASK},
        {"activation": ACTS, "tokens": IDS, "mask": MASK, "attention_mask": torch.ones(2, 3)},
    ],
)
def test_a_mask_is_found_beside_above_and_in_a_mapping_beside(tmp_path: Path, contents: dict[str, Any]) -> None:
    tokens = tokens_of(tmp_path, contents)
    assert listed(tokens.row_mask) == REAL
    assert listed(tokens.token_ids) == [*range(6)]


@pytest.mark.parametrize(
    ("name", "array", "why"),
    [
        ("keep", MASK, "programs disagree"),
        ("is_real", MASK, "programs disagree"),
        ("is_pad", MASK.long(), "programs disagree"),
        ("seq_len", torch.tensor([3, 2]), "the side of a text's padding"),
        ("lens", torch.tensor([[3], [2]]), "the side of a text's padding"),
    ],
)
def test_what_may_tell_of_padding_and_is_not_obeyed_is_told_of(
    tmp_path: Path, name: str, array: torch.Tensor, why: str
) -> None:
    torch.save({"hidden_states": ACTS, name: array}, tmp_path / "x.pt")
    shard = open_one(tmp_path / "x.pt", 4)
    assert shard.tokens().row_mask is None
    assert [note for note in shard.notes if note.startswith(f"{name} is not used") and why in note]


def test_of_two_masks_it_is_told_which_one_is_not_obeyed(tmp_path: Path) -> None:
    torch.save({"acts": ACTS, "mask": ~MASK, "attention_mask": MASK}, tmp_path / "x.pt")
    shard = open_one(tmp_path / "x.pt", 4)
    assert listed(shard.tokens().row_mask) == REAL and shard.notes == ("mask is not used, as attention_mask is",)


def test_a_mask_beside_vllms_states_and_in_the_sections_of_a_capture_is_obeyed(tmp_path: Path) -> None:
    states = shards.random((6, 2, 4), torch.float32)
    save_file(
        {"hidden_states": states, "token_ids": IDS.flatten(), "attention_mask": MASK.flatten().long()},
        tmp_path / "r.safetensors",
    )
    assert listed(open_one(tmp_path / "r.safetensors", 4, {"layer": "1"}).tokens().row_mask) == REAL
    section = {"activations": {3: {"residual": ACTS[0]}}, "token_ids": [1, 2, 3]}
    prompt = {**section, "attention_mask": MASK[0]}
    for response, expected in ((section, [*REAL[:3], True, True, True]), ({**section, "mask": MASK[1]}, REAL)):
        torch.save({"prompt": prompt, "response": response}, tmp_path / "c.pt")
        assert listed(open_one(tmp_path / "c.pt", 4).tokens().row_mask) == expected
    torch.save({"prompt": {**section, "keep": MASK[0]}}, tmp_path / "c.pt")
    shard = open_one(tmp_path / "c.pt", 4)
    assert shard.tokens().row_mask is None and "prompt.keep is not used" in str(shard.notes)
    torch.save({"prompt": {**section, "attention_mask": MASK[0][:2]}}, tmp_path / "c.pt")
    with pytest.raises(ShardError, match="the mask of the prompt is"):
        open_one(tmp_path / "c.pt", 4)


def test_a_mask_in_safetensors_is_obeyed(tmp_path: Path) -> None:
    save_file({"h": ACTS, "attention_mask": MASK}, tmp_path / "x.safetensors")
    assert listed(open_one(tmp_path / "x.safetensors", 4).tokens().row_mask) == REAL


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"h": ACTS, "attention_mask": torch.ones(2, 4)}, r"the mask is float32\[2, 4\].* 8 for 6 rows"),
        ({"h": ACTS, "attention_mask": torch.ones(3, 2)}, "--axes token,document,d"),
        ({"h": ACTS, "attn_mask": torch.ones(5)}, r"5 for 6 rows"),
        ({"h": ACTS, "input_ids": IDS.float()}, "expected integers"),
    ],
)
def test_a_mask_that_is_meant_for_rows_and_does_not_fit_is_refused(
    tmp_path: Path, contents: dict[str, torch.Tensor], message: str
) -> None:
    with pytest.raises(ShardError, match=message):
        tokens_of(tmp_path, contents)


def test_a_mask_of_odd_numbers_is_refused_with_one_of_them(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"the mask holds 0\.5, expected 1 for rows"):
        tokens_of(tmp_path, {"h": ACTS, "mask": torch.full((2, 3), 0.5)})


@pytest.mark.parametrize(
    ("name", "mask", "note"),
    [
        ("mask", torch.ones(3, 3).tril(), r"the mask is float32[3, 3], not one entry for each row, and is not used"),
        ("attention_mask", torch.ones(2, 1, 3, 3), r"the attention_mask is float32[2, 1, 3, 3], not one entry"),
        ("mask", torch.ones(4), "the mask is float32[4], not one entry"),
        ("padding_mask", MASK, "padding_mask is not used, as programs disagree on what 1 means in it"),
    ],
)
def test_a_mask_that_is_not_of_rows_is_passed_over_with_a_note(
    tmp_path: Path, name: str, mask: torch.Tensor, note: str
) -> None:
    torch.save({"acts": ACTS, name: mask}, tmp_path / "x.pt")
    shard = open_one(tmp_path / "x.pt", 4)
    assert shard.tokens().row_mask is None
    assert len(shard.notes) == 1 and shard.notes[0].startswith(note)


def test_flat_token_ids_fit_and_those_of_another_mapping_only_where_they_do(tmp_path: Path) -> None:
    assert listed(tokens_of(tmp_path, {"acts": ACTS, "input_ids": IDS.flatten()}).token_ids) == [*range(6)]
    assert tokens_of(tmp_path, {"acts": ACTS, "meta": {"tokens": torch.arange(5)}}).token_ids is None
    assert listed(tokens_of(tmp_path, {"acts": ACTS, "meta": {"tokens": IDS}}).token_ids) == [*range(6)]


def test_a_mask_to_be_added_that_is_all_zero_masks_nothing(tmp_path: Path) -> None:
    """As integers it masks everything: then 1 is for rows that count."""
    assert listed(tokens_of(tmp_path, {"h": ACTS, "attention_mask": torch.zeros(2, 3)}).row_mask) == [True] * 6
    assert listed(tokens_of(tmp_path, {"h": ACTS, "attention_mask": torch.zeros(2, 3).long()}).row_mask) == [False] * 6


@pytest.mark.parametrize("mask", [MASK.long() - 1, MASK.long() * -10_000 + ~MASK, MASK.float() / 2])
def test_a_mask_that_could_mean_either_is_refused(tmp_path: Path, mask: torch.Tensor) -> None:
    with pytest.raises(ShardError, match=r"the mask holds -?[\d.]+"):
        tokens_of(tmp_path, {"h": ACTS, "attention_mask": mask})


@pytest.mark.parametrize("name", ["loss_mask", "special_tokens_mask", "is_pad", "valid", "decoder_attention_mask"])
def test_what_may_be_a_mask_of_the_rows_is_named_in_a_note(tmp_path: Path, name: str) -> None:
    torch.save({"h": ACTS, name: MASK, "padding": torch.zeros(1)}, tmp_path / "x.pt")
    shard = open_one(tmp_path / "x.pt", 4)
    assert shard.tokens().row_mask is None
    (note,) = shard.notes
    assert note.startswith(f"{name} is not used") and "attention_mask" in note


@pytest.mark.parametrize("mask", [MASK.tolist(), MASK.long().tolist(), MASK.flatten().tolist(), MASK.float().tolist()])
def test_token_ids_and_a_mask_that_are_plain_lists_are_obeyed(tmp_path: Path, mask: list[Any]) -> None:
    tokens = tokens_of(tmp_path, {"acts": ACTS, "input_ids": IDS.tolist(), "attention_mask": mask})
    assert listed(tokens.row_mask) == REAL
    assert listed(tokens.token_ids) == [*range(6)]
    torch.save({"acts": ACTS.transpose(0, 1), "attention_mask": MASK.T.tolist()}, tmp_path / "x.pt")
    turned = open_one(tmp_path / "x.pt", 4, {"axes": "token,document,d"}).tokens()
    assert listed(turned.row_mask) == REAL
    with pytest.raises(ShardError, match=r"the mask is int64\[5\]"):
        tokens_of(tmp_path, {"acts": ACTS, "attention_mask": [1] * 5})
    with pytest.raises(ShardError, match="save the mask 'attention_mask' as a tensor: its lists differ in length"):
        tokens_of(tmp_path, {"acts": ACTS, "attention_mask": [[1, 1, 1], [1]]})
    for odd in (["a"], [1 << 70], []):
        assert tokens_of(tmp_path, {"acts": ACTS, "attention_mask": odd}).row_mask is None
    entries = [{"acts": ACTS[0, :2], "attention_mask": [1, 0]}, {"acts": ACTS[1], "attention_mask": [1, 1, 0]}]
    assert listed(tokens_of(tmp_path, entries).row_mask) == [True, False, True, True, False]  # type: ignore[arg-type]


def test_lengths_of_padded_texts_are_told_of(tmp_path: Path) -> None:
    torch.save({"acts": ACTS, "lengths": torch.tensor([3, 2])}, tmp_path / "x.pt")
    assert "save an attention_mask" in open_one(tmp_path / "x.pt", 4).notes[0]


@pytest.mark.parametrize("name", ["scale", "scales", "norm_factor"])
def test_what_the_activations_may_have_been_divided_by_is_told(tmp_path: Path, name: str) -> None:
    torch.save({"acts": ACTS, name: torch.tensor(3.0)}, tmp_path / "x.pt")
    (note,) = [note for note in open_one(tmp_path / "x.pt", 4).notes if note.startswith(f"{name} is not used")]
    assert "multiplied by it" in note
