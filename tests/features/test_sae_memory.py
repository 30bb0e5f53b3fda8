"""How much memory an SAE takes is said before it is taken, and too much is refused with the number."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch
from encoding import D_IN, D_SAE, Command, Site

from encoder import load_sae
from encoder.errors import InputError
from encoder.sae.memory import of_path, of_widths


def enormous(folder: Path, d_in: int = 2304, d_sae: int = 1 << 30) -> Path:
    """Write an SAE of Gemma Scope 2 that takes terabytes, as a file with holes."""
    shapes = {"w_enc": [d_in, d_sae], "w_dec": [d_sae, d_in], "b_enc": [d_sae], "b_dec": [d_in], "threshold": [d_sae]}
    header, at = {}, 0
    for name, shape in shapes.items():
        size = 2 * torch.Size(shape).numel()
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    folder.mkdir()
    with (folder / "params.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + at)
    (folder / "config.json").write_text(json.dumps({"architecture": "jump_relu", "width": d_sae, "type": "sae"}))
    return folder


def test_too_much_is_refused_with_the_number_before_it_is_taken(tmp_path: Path) -> None:
    folder = enormous(tmp_path / "sae")
    with pytest.raises(
        InputError, match=r"takes 27,660\.0 GB for 2,304 inputs and 1,073,741,824 features: .* are free"
    ):
        load_sae(sae_path=folder)


def test_info_says_what_an_sae_would_take(tmp_path: Path, encode: Command) -> None:
    site = Site(tmp_path)
    folder = enormous(tmp_path / "sae")
    said = encode("info", "--sae-path", folder).out
    assert "features: 18,440.0 GB" in said and "which is too little" in said
    (told,) = encode("info", "--sae-path", site.params, "--json").document["saes"]
    assert (told["memory"]["d_in"], told["memory"]["d_sae"]) == (D_IN, D_SAE)
    assert told["memory"]["weights"] == 4 * (2 * D_IN * D_SAE + 2 * D_SAE + D_IN)
    qwen = encode("info", "--sae-release", "qwen-scope-3-1.7b-base-w32k-l50", "--sae-id", "layer3").out
    assert "for 2,048 inputs and 32,768 features" in qwen


def test_the_headers_say_the_same_as_the_widths(tmp_path: Path) -> None:
    site = Site(tmp_path)
    by_headers, by_widths = of_path(site.params), of_widths(D_IN, D_SAE)
    assert by_headers is not None
    assert by_headers.weights == by_widths.weights and by_headers.screen == by_widths.screen
    assert of_path(tmp_path / "nowhere") is None


def test_weights_of_the_encoder_are_held_once(tmp_path: Path) -> None:
    from encoder.kernels import make_kernel

    site = Site(tmp_path)
    sae = load_sae(sae_path=site.params)
    kernel = make_kernel(sae, torch.device("cpu"), "cpu")
    assert sae.rule is not None
    kept = {tensor.data_ptr() for tensor in vars(kernel).values() if isinstance(tensor, torch.Tensor)}
    assert sae.rule.W_enc.data_ptr() in kept and len(sae.rule.W_enc.T) == D_SAE
