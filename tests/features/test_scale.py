"""Values in Neuronpedia's scale: those of the SAE whose decoder norms are folded in, on the same active features."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import encoding
import numpy as np
import pytest
import torch
from encoding import D_IN, D_SAE, Command, dense, make_module, save

import encoder
from encoder.errors import MismatchError
from encoder.kernels import make_kernel
from encoder.sae.sae import LoadedSae
from encoder.sae.scale import AS_THEY_ARE, decoder_norms

CPU = torch.device("cpu")


def module_with_norms(architecture: str = "standard", least: float = 0.2, **settings: Any) -> Any:
    module = make_module(architecture, **settings)
    with torch.no_grad():
        module.W_dec /= module.W_dec.norm(dim=1, keepdim=True)
        module.W_dec *= torch.linspace(least, 5, D_SAE)[:, None]
    return module


def rows() -> torch.Tensor:
    return torch.randn(40, D_IN, generator=torch.Generator().manual_seed(5)) * 2


def features(sae: LoadedSae) -> np.ndarray[Any, Any]:
    return dense(make_kernel(sae, CPU, "auto").encode(rows()))


FOLDED: dict[str, dict[str, Any]] = {
    "standard": {},
    "standard with a norm": {"normalize_activations": "constant_norm_rescale"},
    "jumprelu": {},
    "gated": {},
    "transcoder": {"d_out": 9, "apply_b_dec_to_input": False},
}


@pytest.mark.parametrize("name", FOLDED)
def test_folded_values_are_those_of_the_folded_sae_and_the_active_features_are_the_same(
    name: str, tmp_path: Path
) -> None:
    module = module_with_norms(name.split()[0], **FOLDED[name])
    sae = encoder.load_sae(sae_path=save(module, tmp_path))
    folded = sae.fold_decoder_norm()
    own, found = features(sae), features(folded)
    np.testing.assert_array_equal(own != 0, found != 0)
    with torch.no_grad():
        theirs = copy.deepcopy(module).to(dtype=torch.float64)
        theirs.fold_W_dec_norm()
        expected = theirs.encode(rows().double()).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert np.abs(own - expected).max() > 1, "the scales differ"
    assert folded.identity["weights_sha256"] != sae.identity["weights_sha256"]
    assert folded.fold_decoder_norm() is folded


@pytest.mark.parametrize("name", FOLDED)
def test_the_way_back_from_folded_values_is_the_same(name: str, tmp_path: Path) -> None:
    sae = encoder.load_sae(sae_path=save(module_with_norms(name.split()[0], **FOLDED[name]), tmp_path))
    folded = sae.fold_decoder_norm()
    if sae.rebuilds:
        back = [one.decode(rows(), make_kernel(one, CPU, "auto").encode(rows())) for one in (sae, folded)]
        torch.testing.assert_close(back[0], back[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("architecture", ["topk", "abstopk", "matching_pursuit"])
def test_what_neuronpedia_does_not_fold_keeps_its_scale(architecture: str, tmp_path: Path) -> None:
    settings = {"k": 5} if "topk" in architecture else {}
    sae = encoder.load_sae(sae_path=save(module_with_norms(architecture, **settings), tmp_path))
    assert architecture in AS_THEY_ARE and not any("decoder rows" in note for note in sae.notes)
    np.testing.assert_array_equal(features(sae), features(sae.fold_decoder_norm()))


def test_norms_of_one_are_passed_over_in_silence(tmp_path: Path) -> None:
    module = module_with_norms()
    module.W_dec.data /= module.W_dec.data.norm(dim=1, keepdim=True)
    module = module.to(torch.bfloat16)
    module.cfg.dtype = "bfloat16"
    sae = encoder.load_sae(sae_path=save(module, tmp_path))
    assert sae.notes == () and sae.facts["value_scale"] == "neuronpedia"
    assert max(abs(norm - 1) for norm in sae.decoder_norm) < 0.01


def test_norms_are_those_of_float64(tmp_path: Path) -> None:
    module = module_with_norms(d_sae=D_SAE)
    np.testing.assert_allclose(decoder_norms(module), module.W_dec.detach().double().norm(dim=1).numpy(), rtol=1e-15)


def test_the_command_says_the_scale_writes_it_and_never_mixes_two(tmp_path: Path, encode: Command) -> None:
    folder = save(module_with_norms(), tmp_path / "sae")
    np.save(tmp_path / "a.npy", rows().numpy())
    run = ("run", tmp_path / "a.npy", "--sae-path", folder)
    ended = encode(*run, "--out", tmp_path / "own")
    assert ended.status == 0 and "norms of 0.2 to 5" in ended.err and "--fold-decoder-norm" in ended.err
    assert encode(*run, "--out", tmp_path / "folded", "--fold-decoder-norm").status == 0
    own, folded = (encoding.meta(tmp_path / name / "a.npz") for name in ("own", "folded"))
    assert (own["value_scale"], own["fold_decoder_norm"]) == ("own", False)
    assert (folded["value_scale"], folded["fold_decoder_norm"]) == ("neuronpedia", True)
    assert own["decoder_norm"] == folded["decoder_norm"] == {"least": 0.2, "largest": 5.0}
    assert own["quality"] == folded["quality"]
    assert "--fold-decoder-norm" in own["notes"][0] and "--fold-decoder-norm" not in folded["notes"][0]
    values = [encoding.read(tmp_path / name / "a.npz") for name in ("own", "folded")]
    norms = np.linspace(0.2, 5, D_SAE)
    np.testing.assert_allclose(values[1].data, values[0].data * norms[values[0].indices], rtol=1e-5)
    encode(*run, "--out", tmp_path / "own", "--fold-decoder-norm").refused("weights_sha256", "choose another --out")


def test_python_folds_as_the_command_does(tmp_path: Path) -> None:
    folder = save(module_with_norms(), tmp_path / "sae")
    np.save(tmp_path / "a.npy", rows().numpy())
    sae = encoder.load_sae(sae_path=folder)
    ways: list[Any] = [sae, sae.fold_decoder_norm(), folder]
    for number, way in enumerate(ways):
        encoder.encode_files(tmp_path / "a.npy", tmp_path / str(number), way, fold_decoder_norm=True, progress=False)
    contents = {(tmp_path / str(number) / "a.npz").read_bytes() for number in range(len(ways))}
    assert len(contents) == 1
    found = encoder.encode(rows(), sae.fold_decoder_norm())
    np.testing.assert_array_equal(found.toarray(), encoder.open_features(tmp_path / "0")[:].toarray())
    with pytest.raises(MismatchError):
        encoder.encode_files(tmp_path / "a.npy", tmp_path / "0", sae, progress=False)
