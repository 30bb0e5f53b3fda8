"""Which axis of an array is which: as --axes names them, or as the only reading; two readings are refused by name."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shards
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shards import listed, open_one, same_bits, whole

from encoder.errors import AmbiguousError, InputError, ShardError
from encoder.readers import parse_select

SIZES = {"layer": 3, "document": 2, "token": 5, "head": 4, "d": 6}


def residual_stream(n_layers: int, n_documents: int, n_tokens: int, d: int, seed: int = 0) -> torch.Tensor:
    """[layer, document, token, d]: each layer adds a little to the one before."""
    rnd = torch.Generator().manual_seed(seed)
    steps = torch.randn((n_layers, n_documents, n_tokens, d), generator=rnd)
    steps[1:] *= 0.3
    return steps.cumsum(0) + 3 * torch.randn(d, generator=rnd)


def texts(n_documents: int, n_tokens: int, d: int) -> torch.Tensor:
    return residual_stream(1, n_documents, n_tokens, d)[0]


def save(folder: Path, acts: torch.Tensor, name: str = "x.npy", **beside: torch.Tensor) -> Path:
    path = folder / name
    if name.endswith(".npy"):
        np.save(path, acts.numpy())
    else:
        torch.save({"acts": acts, **beside}, path)
    return path


def test_axes_are_parsed_or_refused_with_the_closest_name() -> None:
    assert parse_select("layer=16", "layer, document,token,d") == {"layer": "16", "axes": "layer,document,token,d"}
    assert parse_select(None, ("document", "document", "d")) == {"axes": "document,document,d"}
    assert parse_select("resid", None) == {"key": "resid"}
    for axes, message in (
        ("layers,token,d", "did you mean 'layer'"),
        ("batch,token,d", "known: layer, document, token, head, d"),
        ("layer,layer,token,d", "layer is named twice"),
        ("document,token", "which is d"),
        ("", "no axis ''"),
    ):
        with pytest.raises(InputError, match=message):
            parse_select(None, axes)


@pytest.mark.parametrize("axes", [one for n in (1, 2, 3, 4, 5) for one in permutations(SIZES, n) if "d" in one][::7])
@pytest.mark.parametrize("name", ["x.npy", "x.pt"])
def test_an_array_of_any_axes_gives_the_rows_of_the_layer_by_document_and_token(
    tmp_path: Path, axes: tuple[str, ...], name: str
) -> None:
    if len(axes) == 1:
        return
    acts = shards.random(tuple(SIZES[axis] for axis in axes), torch.float32)
    want = acts.permute([axes.index(axis) for axis in SIZES if axis in axes])
    want = want[1] if "layer" in axes else want
    width = (SIZES["head"] if "head" in axes else 1) * SIZES["d"]
    select = {"axes": ",".join(axes), **({"layer": "1"} if "layer" in axes else {})}
    shard = open_one(save(tmp_path, acts, name), width, select)
    assert same_bits(whole(shard), want.reshape(-1, width))
    n_tokens = SIZES["token"] if "token" in axes else 1
    tokens = shard.tokens()
    if "document" in axes:
        assert listed(tokens.row_document) == [i for i in range(SIZES["document"]) for _ in range(n_tokens)]
        assert listed(tokens.row_position) == [*range(n_tokens)] * SIZES["document"]
    else:
        assert tokens.row_document is None
    assert any("layer 1 of 3" in note for note in shard.notes) is ("layer" in axes)


def test_token_ids_and_a_mask_go_along_with_axes_in_another_order(tmp_path: Path) -> None:
    acts, ids = shards.random((5, 2, 4), torch.float32), torch.arange(10).reshape(5, 2)
    path = save(tmp_path, acts, "x.pt", input_ids=ids, attention_mask=ids % 3 != 0)
    tokens = open_one(path, 4, {"axes": "token,document,d"}).tokens()
    assert listed(tokens.token_ids) == ids.T.flatten().tolist()
    assert listed(tokens.row_mask) == (ids.T % 3 != 0).flatten().tolist()
    assert listed(tokens.row_position) == [*range(5)] * 2
    path = save(tmp_path, acts, "x.pt", input_ids=ids.T)
    assert listed(open_one(path, 4, {"axes": "token,document,d"}).tokens().token_ids) == ids.T.flatten().tolist()
    stack = shards.random((3, 2, 5, 4), torch.float32)
    path = save(tmp_path, stack, "x.pt", input_ids=ids.T)
    shard = open_one(path, 4, {"axes": "layer,document,token,d", "layer": "2"})
    assert same_bits(whole(shard), stack[2].reshape(-1, 4))
    assert listed(shard.tokens().token_ids) == ids.T.flatten().tolist()
    assert shard.hook_name == "acts[2] of 3"


@pytest.mark.parametrize(
    ("axes", "layer", "message"),
    [
        ("layer,document,token,d", None, r"--select layer=0.*several layers: 0, 1, 2"),
        ("layer,document,token,d", "3", "no layer '3'"),
        ("layer,document,token,d", "-1", "no layer '-1'"),
        ("layer,token,d", "1", r"name 4 axes: .*float32\[3, 2, 5, 4\]"),
        ("d,document,token,layer", "1", r"rows of 3, but the SAE takes 4, which is the size of axis|rows of 3"),
        ("document,document,token,d", "1", "name the layer axis in --axes"),
    ],
)
def test_axes_that_do_not_fit_are_refused(tmp_path: Path, axes: str, layer: str | None, message: str) -> None:
    path = save(tmp_path, shards.random((3, 2, 5, 4), torch.float32))
    select = {"axes": axes, **({} if layer is None else {"layer": layer})}
    with pytest.raises(ShardError, match=message):
        open_one(path, 4, select)


def test_axes_of_a_format_that_has_its_own_are_refused(tmp_path: Path) -> None:
    made = shards.saev(tmp_path, shards.random((2, 3, 4), torch.float32))
    with pytest.raises(ShardError, match="leave --axes document,token,d out"):
        open_one(made.path, 4, {**made.select, "axes": "document,token,d"})


@pytest.mark.parametrize("shape", [(4, 4, 16, 8), (4, 1, 16, 8), (1, 4, 16, 8), (2, 3, 4, 5, 8)])
@pytest.mark.parametrize("name", ["x.npy", "x.pt"])
def test_an_array_of_more_axes_is_refused_with_each_way_to_name_them(
    tmp_path: Path, shape: tuple[int, ...], name: str
) -> None:
    path = save(tmp_path, shards.random(shape, torch.float32), name)
    with pytest.raises(AmbiguousError, match=r"--axes layer,document,(document,)?token,d --select layer=N") as caught:
        open_one(path, 8)
    for way in str(caught.value).split("--axes ")[1:]:
        axes = way.partition(" ")[0]
        assert open_one(path, 8, {"axes": axes, **({"layer": "0"} if "layer" in axes else {})}).d_in == 8
    with pytest.raises(AmbiguousError, match="--select layer=1") as caught:
        open_one(path, 8, {"layer": "1"})
    assert "document,document,token,d (" not in str(caught.value)


def test_axes_of_one_are_no_axes(tmp_path: Path) -> None:
    for shape in ((1, 1, 7, 4), (1, 7, 4), (7, 1, 4), (7, 4)):
        assert open_one(save(tmp_path, shards.random(shape, torch.float32)), 4).n_rows == 7


def test_token_ids_say_which_axis_is_which(tmp_path: Path) -> None:
    ids = torch.arange(15).reshape(3, 5)
    for shape, beside, way in (
        ((7, 3, 5, 4), ids, r"--axes layer,document,token,d --select layer=N \(7 layers x 3 documents x 5 tokens\)$"),
        ((3, 7, 5, 4), ids, r"--axes document,layer,token,d --select layer=N \(3 documents x 7 layers x 5 tokens\)$"),
        ((3, 5, 7, 4), ids, r"--axes document,token,layer,d --select layer=N \(3 documents x 5 tokens x 7 layers\)$"),
        ((7, 5, 4), ids[0], r"--axes layer,token,d --select layer=N \(7 layers x 5 tokens\)$"),
        ((5, 7, 4), ids[0], r"--axes token,layer,d --select layer=N \(5 tokens x 7 layers\)$"),
        ((5, 3, 4), ids, r"--axes token,document,d \(5 tokens x 3 documents\)$"),
    ):
        path = save(tmp_path, shards.random(shape, torch.float32), "x.pt", token_ids=beside)
        with pytest.raises(AmbiguousError, match=r"\[[0-9, ]*\]: " + way):
            open_one(path, 4)
    deep = shards.random((2, 3, 5, 4), torch.float32)
    path = save(tmp_path, deep, "x.pt", token_ids=torch.zeros(2, 3, 5).long())
    assert open_one(path, 4).n_rows == 30


def test_rows_by_head_need_their_name_or_the_saes(tmp_path: Path) -> None:
    acts = shards.random((7, 3, 4), torch.float32)
    path = save(tmp_path, acts)
    with pytest.raises(AmbiguousError, match=r"--axes token,head,d \(7 tokens x 3 heads\)$"):
        open_one(path, 12)
    want = acts.reshape(7, 12)
    assert same_bits(whole(open_one(path, 12, {"axes": "token,head,d"})), want)
    assert same_bits(whole(open_one(path, 12, hook_name="blocks.1.attn.hook_z")), want)
    assert open_one(path, 4, hook_name="blocks.1.attn.hook_z").n_rows == 21
    path = save(tmp_path, shards.random((2, 7, 3, 4), torch.float32))
    assert open_one(path, 12, hook_name="blocks.1.attn.hook_z").n_rows == 14
    with pytest.raises(ShardError, match="rows of 4, but the SAE takes 777; give the SAE"):
        open_one(path, 777)
    with pytest.raises(ShardError, match=r"the SAE takes 7, which is the size of axis 1: is that axis d\?"):
        open_one(path, 7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layer_axis", [0, 1])
@pytest.mark.parametrize("n_layers", [3, 5, 27])
def test_a_stack_of_layers_of_one_text_is_not_taken_for_texts(
    tmp_path: Path, n_layers: int, layer_axis: int, dtype: torch.dtype
) -> None:
    stack = residual_stream(n_layers, 1, 40, 32)[:, 0].to(dtype)
    acts = stack if layer_axis == 0 else stack.transpose(0, 1)
    torch.save(acts, tmp_path / "x.pt")
    way = "--axes layer,token,d" if layer_axis == 0 else "--axes token,layer,d"
    with pytest.raises(AmbiguousError, match=f"axis {layer_axis} are alike.*{way}"):
        open_one(tmp_path / "x.pt", 32)
    axes = way.removeprefix("--axes ")
    assert same_bits(whole(open_one(tmp_path / "x.pt", 32, {"axes": axes, "layer": "2"})), stack[2])


@settings(deadline=None)
@given(seed=st.integers(0, 1000), kind=st.sampled_from(["texts", "template", "padding", "same", "zeros", "short"]))
def test_texts_are_not_taken_for_layers(tmp_path_factory: pytest.TempPathFactory, seed: int, kind: str) -> None:
    rnd = torch.Generator().manual_seed(seed)
    acts: Any = torch.randn((6, 30, 32), generator=rnd) + 3 * torch.randn(32, generator=rnd)
    if kind == "template":  # one template in other words: alike, but in no order
        acts = acts[:1] + 0.25 * torch.randn((6, 30, 32), generator=rnd)
    elif kind == "padding":
        acts[:, 10:] = acts[0, 0]
    elif kind == "same":
        acts = acts[:1].repeat(6, 1, 1)
    elif kind == "zeros":
        acts = torch.zeros(6, 30, 32)
    elif kind == "short":
        acts = acts[:, :2]
    path = tmp_path_factory.mktemp("texts") / "x.npy"
    np.save(path, acts.numpy())
    assert open_one(path, 32).n_rows == acts.shape[0] * acts.shape[1]
