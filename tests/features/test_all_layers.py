"""Cross-layer transcoders and crosscoders of a file a layer: a layer alone, and all layers as one row.

The layouts are written as circuit-tracer and Gemma Scope 2's own loader read them, and what is encoded is compared with
the formula of each layer in float64.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from encoding import Command
from safetensors.torch import save_file

from encoder import encode, encode_files, load_sae
from encoder.errors import InputError
from encoder.sae.memory import of_path

L, D, F = 3, 16, 40
ROWS = torch.randn(30, L, D, generator=torch.Generator().manual_seed(1))


def layer(n: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(n)
    shapes = {"w_enc": (D, F), "w_dec": (F, L, D), "b_enc": (F,), "b_dec": (D,), "affine_skip_connection": (D, D)}
    made = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return made | {"threshold": torch.rand(F, generator=generator) * 3}


def gemma_scope(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for n in range(L):
        save_file(layer(n), folder / f"params_layer_{n}.safetensors")
    return folder


def circuit_tracer(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for n in range(L):
        w = layer(n)
        encoder = {f"W_enc_{n}": w["w_enc"].T.contiguous(), f"b_enc_{n}": w["b_enc"], f"b_dec_{n}": w["b_dec"]}
        save_file(encoder, folder / f"W_enc_{n}.safetensors")
        save_file({f"W_dec_{n}": w["w_dec"][:, n:].contiguous()}, folder / f"W_dec_{n}.safetensors")
    return folder


def expected(n: int, *, is_gemma: bool) -> torch.Tensor:
    """Return the features of a layer, in float64, from its own row."""
    w = {name: one.double() for name, one in layer(n).items()}
    h = ROWS[:, n].double() @ w["w_enc"] + w["b_enc"]
    return torch.where(h > (w["threshold"] if is_gemma else 0), h, 0)


@pytest.mark.parametrize("write", [gemma_scope, circuit_tracer])
def test_a_layer_alone_reads_its_own_layer_and_all_as_one_read_theirs(tmp_path: Path, write: object) -> None:
    is_gemma = write is gemma_scope
    folder = (gemma_scope if is_gemma else circuit_tracer)(tmp_path / "gemma-scope-2-1b-pt/clt/width_262k_l0_big")
    every = [expected(n, is_gemma=is_gemma) for n in range(L)]
    for n in range(L):
        sae = load_sae(sae_path=folder / f"{'params_layer' if is_gemma else 'W_enc'}_{n}.safetensors")
        found = encode(ROWS[:, n], sae).toarray()
        assert (found != 0).tolist() == (every[n] != 0).tolist()
        np.testing.assert_array_equal(found, every[n].float().numpy())
        if is_gemma:
            assert sae.hook_name == f"model.layers.{n}.pre_feedforward_layernorm.output"
            assert sae.model_name == "google/gemma-3-1b-pt"
    whole = load_sae(sae_path=folder)
    assert (whole.d_in, whole.d_sae, whole.rebuilds) == (L * D, L * F, False)
    np.testing.assert_array_equal(encode(ROWS.reshape(30, -1), whole).toarray(), torch.cat(every, 1).float().numpy())
    np.save(tmp_path / "x.npy", ROWS.numpy())
    features = encode_files(tmp_path / "x.npy", tmp_path / "out", folder, axes="token,layer,d", progress=False)
    np.testing.assert_array_equal(features[:].toarray(), torch.cat(every, 1).float().numpy())


def test_a_missing_layer_is_named(tmp_path: Path) -> None:
    folder = gemma_scope(tmp_path / "clt")
    (folder / "params_layer_2.safetensors").unlink()
    with pytest.raises(InputError, match=r"W_dec \[40, 3, 16\], expected .* for 2 layers: are some files missing"):
        load_sae(sae_path=folder)
    (folder / "params_layer_0.safetensors").rename(folder / "params_layer_5.safetensors")
    with pytest.raises(InputError, match=r"has the layers 1, 5: copy the others, or name one file"):
        load_sae(sae_path=folder)


def test_a_setting_that_is_not_jumprelu_is_refused(tmp_path: Path) -> None:
    folder = gemma_scope(tmp_path / "clt")
    (folder / "config.json").write_text(json.dumps({"architecture": "topk"}))
    for path in (folder, folder / "params_layer_1.safetensors"):
        with pytest.raises(InputError, match="architecture is 'topk'"):
            load_sae(sae_path=path)


def test_what_all_layers_take_is_said_before_it_is_taken_and_a_layer_alone_is_advised(
    tmp_path: Path, encode: Command
) -> None:
    """The widths of Gemma 3 1B's cross-layer transcoder, thirty times as many features, as files with holes."""
    n_layers, d, n_features = 26, 1152, 30 * 10_080
    shapes = {"w_enc": [d, n_features], "w_dec": [n_features, n_layers, d], "b_enc": [n_features], "b_dec": [d]}
    for n in range(n_layers):
        header, at = {}, 0
        for name, shape in (shapes | {"threshold": [n_features]}).items():
            size = 4 * torch.Size(shape).numel()
            header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
            at += size
        text = json.dumps(header).encode()
        with (tmp_path / f"params_layer_{n}.safetensors").open("wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            file.truncate(8 + len(text) + at)
    with pytest.raises(
        InputError, match=r"for 29,952 inputs and 7,862,400 features: .*several may be named: .*layer_0"
    ):
        load_sae(sae_path=tmp_path)
    assert "for 29,952 inputs and 7,862,400 features" in encode("info", "--sae-path", tmp_path).out
    alone = of_path(tmp_path / "params_layer_1.safetensors")
    assert alone is not None and (alone.d_in, alone.d_sae) == (d, n_features)
